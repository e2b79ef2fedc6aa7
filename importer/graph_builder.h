// Nodes, names and subgraphs of a model -> Graph.
//
// ONNX binds by name, lexically: a subgraph sees every name of the graphs around it, a function body sees only its
// formal inputs. Graph binds by pointer, and a subgraph sees only what is handed to it. So each body is analysed once
// (an order in which nodes follow what they read; the names it reads from outside), and built as often as it is
// needed: once for a graph, once per call for a function.
//
//   - A node with subgraphs captures the outer values that any of its subgraphs reads, directly or through a nested
//     one. Constants are not captured: the subgraph gets a constant that shares the tensor.
//   - An inner definition hides an outer one of the same name.
//   - A function call becomes its nodes, named "<call>/<name>"; attribute references are replaced by what the call
//     passes, else by the declared default, else dropped.
//   - Constant nodes become constants.
#ifndef RONDO_IMPORTER_GRAPH_BUILDER_H_
#define RONDO_IMPORTER_GRAPH_BUILDER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "graph/graph.h"
#include "importer/function_table.h"
#include "importer/importer.h"
#include "importer/tensor_reader.h"
#include "onnx/onnx_pb.h"

namespace rondo {

class GraphBuilder {
 public:
  // All arguments outlive the builder. `functions` have been measured.
  GraphBuilder(const FunctionTable* functions, const OpsetTable* opsets, TensorReader* tensors,
               const ImportLimits& limits, std::vector<std::string>* warnings)
      : functions_(functions), opsets_(opsets), tensors_(tensors), limits_(limits), warnings_(warnings) {}

  absl::StatusOr<std::unique_ptr<Graph>> Build(onnx::GraphProto* proto);
  // What the file says of each output, beside the types of the graph's values: an output may be an input or a constant.
  const std::vector<ValueType>& declared_outputs() const { return declared_outputs_; }
  // Inputs that were left out because an initializer gives their value.
  const std::vector<std::string>& overridable_inputs() const { return overridable_inputs_; }

 private:
  using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
  using AttributeBindings = absl::flat_hash_map<absl::string_view, onnx::AttributeProto*>;

  // What the names of one body stand for. A null value is an optional input that the call left out.
  struct Scope {
    Graph* graph = nullptr;
    Scope* parent = nullptr;
    int depth = 0;  // of subgraphs
    absl::flat_hash_map<absl::string_view, Value*> names;
  };
  // The function call in which nodes are read; the default is the model itself.
  struct Frame {
    const Function* function = nullptr;
    AttributeBindings attributes;
    std::string prefix;
  };
  struct Body {
    const Nodes* nodes;
    std::vector<absl::string_view> definitions;  // inputs and initializers
    std::vector<absl::string_view> outputs;
  };
  struct BodyInfo {
    std::vector<int> order;                     // node indices, each after what it reads
    std::vector<absl::string_view> free_names;  // read, not defined; in order of first use
    absl::flat_hash_set<absl::string_view> free_set;
  };
  struct Subgraph {
    std::string name;
    onnx::GraphProto* proto;
    Graph* graph = nullptr;
  };

  absl::StatusOr<const BodyInfo*> Analyze(const Body& body);
  absl::StatusOr<const BodyInfo*> AnalyzeGraph(const onnx::GraphProto& proto);
  absl::Status OrderNodes(const Nodes& nodes, const absl::flat_hash_map<absl::string_view, int>& producers,
                          const std::vector<std::vector<absl::string_view>>& reads, BodyInfo* info) const;

  absl::Status AddInitializers(onnx::GraphProto* proto, Scope* scope, const Frame& frame);
  absl::Status AddModelInputs(const onnx::GraphProto& proto, Scope* scope);
  absl::Status AddModelOutputs(const onnx::GraphProto& proto, Scope* scope);
  absl::Status ApplyDeclaredTypes(const onnx::GraphProto& proto, Scope* scope);
  absl::Status BuildNodes(Nodes* nodes, const BodyInfo& info, Scope* scope, const Frame& frame);
  absl::Status BuildNode(onnx::NodeProto* proto, Scope* scope, const Frame& frame);
  absl::Status BuildConstant(onnx::NodeProto* proto, Scope* scope, const Frame& frame);
  absl::Status BuildCall(onnx::NodeProto* proto, Function* function, Scope* scope, const Frame& frame);
  absl::Status BuildSubgraphs(Node* node, std::vector<Subgraph> subgraphs, Scope* scope, const Frame& frame);
  absl::Status BuildSubgraph(const Subgraph& subgraph, const BodyInfo& info, absl::string_view owner, Scope* scope,
                             const Frame& frame);

  absl::StatusOr<int> OpsetVersion(const onnx::NodeProto& proto, const Frame& frame);
  // The attribute that `proto` stands for: itself, what a reference is bound to, or null when that is absent.
  absl::StatusOr<onnx::AttributeProto*> Resolve(onnx::AttributeProto* proto, const Frame& frame);
  // False when the name is not defined. May add a constant to the scope's graph.
  static bool Lookup(Scope* scope, absl::string_view name, Value** value);
  static bool Find(const Scope* scope, absl::string_view name, Value** value);
  absl::StatusOr<std::vector<Value*>> ResolveInputs(const onnx::NodeProto& proto, Scope* scope);
  std::string NameIn(const Frame& frame, absl::string_view name);
  void Warn(std::string text);

  const FunctionTable* const functions_;
  const OpsetTable* const opsets_;
  TensorReader* const tensors_;
  const ImportLimits& limits_;
  std::vector<std::string>* const warnings_;
  std::vector<ValueType> declared_outputs_;
  std::vector<std::string> overridable_inputs_;
  absl::flat_hash_map<const void*, std::unique_ptr<BodyInfo>> bodies_;
  absl::flat_hash_map<const onnx::AttributeProto*, Tensor> constants_;
  absl::flat_hash_set<std::string> prefixes_;
  absl::flat_hash_set<std::string> warned_;
  int64_t copied_attribute_bytes_ = 0;
  int64_t next_id_ = 0;
};

}  // namespace rondo

#endif  // RONDO_IMPORTER_GRAPH_BUILDER_H_
