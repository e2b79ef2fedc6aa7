// Builds small graphs in tests and runs them.
#ifndef RONDO_TESTS_SUPPORT_GRAPH_BUILDER_H_
#define RONDO_TESTS_SUPPORT_GRAPH_BUILDER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "executor/program.h"
#include "graph/graph.h"

namespace rondo {

using NamedAttributes = std::vector<std::pair<std::string, Attribute>>;

class GraphBuilder {
 public:
  GraphBuilder() : owned_(std::make_unique<Graph>()), graph_(owned_.get()) {}
  explicit GraphBuilder(Graph& graph) : graph_(&graph) {}  // adds to a graph that is there: a subgraph

  // Dims as text: "4" is a number, "batch" a symbol.
  Value* Input(absl::string_view name, DataType type, const std::vector<std::string>& dims);
  Value* Constant(Tensor tensor);
  // A node of ai.onnx (or `domain::Type`) with one output; its type is inferred at once.
  Value* Op(absl::string_view type, int version, const std::vector<Value*>& inputs, NamedAttributes attributes = {});
  Node* Node_(absl::string_view type, int version, const std::vector<Value*>& inputs, int num_outputs,
              NamedAttributes attributes = {});
  void Output(Value* value) { graph_->AddOutput(value); }

  Graph& graph() { return *graph_; }
  std::unique_ptr<Graph> Take() { return std::move(owned_); }

 private:
  std::unique_ptr<Graph> owned_;
  Graph* graph_;
  int count_ = 0;
};

// Operators of the graph in order, "MatMul", "rondo::MatMul".
std::vector<std::string> OperatorsOf(const Graph& graph);
// Applies one rewrite by name as the driver does (all graphs, clean-up, inference) and verifies; returns how often it
// fired. Aborts the test on errors.
int ApplyRewrite(Graph& graph, absl::string_view name);

std::unique_ptr<Program> MakeProgram(std::unique_ptr<Graph> graph, ProgramOptions options = {});
absl::StatusOr<std::vector<RuntimeValue>> RunProgram(Program& program, const std::vector<RuntimeValue>& inputs,
                                                     RegionState* state = nullptr);
// One run of a copy of the graph, with or without rewrites; fails the test on errors.
std::vector<Tensor> RunGraph(const Graph& graph, const std::vector<Tensor>& inputs, bool plain = false);
// Applies the rewrites in `names`, each of which must fire, and checks that the results are still those of the
// original.
void ExpectSameResults(Graph& graph, const std::vector<absl::string_view>& names, const std::vector<Tensor>& inputs,
                       double tolerance = 1e-5);

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_GRAPH_BUILDER_H_
