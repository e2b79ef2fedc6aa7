// Shape and type inference over a graph, by the operators' own rules.
#ifndef RONDO_OPS_INFER_H_
#define RONDO_OPS_INFER_H_

#include "absl/status/status.h"
#include "graph/graph.h"
#include "ops/op.h"

namespace rondo {

// Sets type (and symbolic content) of every node output, subgraphs included, in topological order. Graph inputs keep
// their declared types. Errors name the node. Sub-graphs' formal inputs are typed by their node's rule.
absl::Status InferGraph(Graph& graph);

// Infers one node from its inputs' current types and sets its outputs' types. For rewrites that add nodes.
absl::Status InferNode(Node& node);

// Arity, required inputs and known operator of one node. Errors name node, expected and got.
absl::Status CheckNode(const Node& node);

// Runs `def.infer` for a node with types, constants and contents from callbacks: the executor's entry, where types are
// those of one shape binding instead of the graph's own.
struct InferInputs {
  absl::FunctionRef<const ValueType&(int)> type;
  absl::FunctionRef<Tensor(int)> constant;
  absl::FunctionRef<std::optional<std::vector<Dim>>(int)> content;
};
struct InferredOutput {
  ValueType type;
  std::optional<std::vector<Dim>> content;
};
absl::StatusOr<std::vector<InferredOutput>> InferNodeWith(const Node& node, const InferInputs& inputs);

}  // namespace rondo

#endif  // RONDO_OPS_INFER_H_
