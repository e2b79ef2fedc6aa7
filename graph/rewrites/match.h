// What pattern rewrites share: looking at producers, users and constants. All functions accept null and say no.
#ifndef RONDO_GRAPH_REWRITES_MATCH_H_
#define RONDO_GRAPH_REWRITES_MATCH_H_

#include <optional>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "graph/rewrites/rewrite.h"

namespace rondo {

// The node of ai.onnx's `type` that makes `value`; null when something else does.
Node* ProducerOf(const Value* value, absl::string_view type);
// As ProducerOf, and nothing else reads the value: a fusion may absorb the node.
Node* SoleProducerOf(const Value* value, absl::string_view type);
// The only reader of `value`, when it is of ai.onnx's `type` and the value is no graph output.
Node* SoleUserOf(const Value* value, absl::string_view type);
// The only reader, of whatever operator.
Node* SoleUserOf(const Value* value);

// A constant with one element, as a number.
std::optional<double> ScalarConstant(const Value* value);
bool IsScalar(const Value* value, double expected, double relative_tolerance = 1e-3);
// A constant int64/int32 tensor.
std::optional<std::vector<int64_t>> IntsConstant(const Value* value);

// For a commutative binary node: the input that is not `known`; null when `known` is neither (or both differ).
Value* OtherInput(const Node* node, const Value* known);
// For a commutative binary node with a scalar constant operand: (the other operand, the constant).
std::optional<std::pair<Value*, double>> WithScalar(const Node* node);

int RankOf(const Value* value);  // -1 when unknown
// Provably the same shape.
bool SameShape(const Value* a, const Value* b);
bool IsFloat32(const Value* value);

// The axes of a Reduce node, normalised, whether they are an attribute or an input; nullopt when not constant.
std::optional<std::vector<int64_t>> ReduceAxes(const Node* node);
// A Reduce node over the last axis alone, with keepdims.
bool ReducesLastAxis(const Node* node);

// Adds a node for `rewrite` near `like` (its name is derived from it) and types its outputs.
absl::StatusOr<Node*> AddTyped(Graph& graph, const RewriteContext& context, OpId op, const Node& like,
                               absl::Span<Value* const> inputs, int num_outputs,
                               std::vector<std::pair<std::string, Attribute>> attributes = {});

// What a Reshape from one shape to the other is given: numbers, 0 where a symbolic dim stays at its place, -1 for one
// that does not. No value when more than one would need it.
std::optional<std::vector<int64_t>> ReshapeDims(const Shape& from, const Shape& to);
// `value` under other dims; 0 copies the input's dim, -1 takes the rest.
absl::StatusOr<Value*> AddReshape(Graph& graph, const RewriteContext& context, const Node& like, Value* value,
                                  absl::Span<const int64_t> dims);
// `value` transposed: itself when `perm` ascends, else the output of an equal Transpose that is there, else of a new
// one.
absl::StatusOr<Value*> Transposed(Graph& graph, const RewriteContext& context, const Node& like, Value* value,
                                  const std::vector<int64_t>& perm);
// The input of a Reshape, Squeeze, Unsqueeze or Flatten that makes `value`; null when something else does.
Value* BeforeView(const Value* value);

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_MATCH_H_
