// op(Transpose(x)) = Transpose(op(x)) for elementwise operators: moves transposes towards the end of the graph, where
// they meet their inverses (remove_no_ops merges and drops them) or at least run once instead of per operand.
//
// A binary operator's other operand must be transposed alike or be a scalar; Concat needs all operands transposed alike
// and changes its axis. Only where the transposed value has no other reader: otherwise both orders would be computed.
#include <algorithm>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsUnary(const Node& node) {
  for (absl::string_view type : {"Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Clip", "Swish",
                                 "Gelu", "Elu", "Selu", "Softplus", "Mish", "Neg", "Abs", "Sqrt", "Exp", "Erf"}) {
    if (node.Is(type)) return true;
  }
  return false;
}

bool IsBinary(const Node& node) {
  return (node.Is("Add") || node.Is("Sub") || node.Is("Mul") || node.Is("Div")) && node.op().version >= 7;
}

// The permutation of a transpose that makes `value` and that nothing else reads; empty otherwise.
std::vector<int64_t> PermOf(const Value* value) {
  Node* transpose = SoleProducerOf(value, "Transpose");
  return transpose == nullptr ? std::vector<int64_t>{} : transpose->IntsOr("perm", {});
}

bool IsScalarLike(const Value* value) {
  return value != nullptr && value->is_constant() && value->constant().size() == 1;
}

// The inputs without their transposes; empty when the node cannot be moved.
std::vector<Value*> Untransposed(const Node& node, const std::vector<int64_t>& perm) {
  std::vector<Value*> inputs = node.inputs();
  const int moved = IsUnary(node) ? 1 : static_cast<int>(inputs.size());
  for (int i = 0; i < moved; ++i) {
    if (IsBinary(node) && IsScalarLike(inputs[i])) continue;
    if (PermOf(inputs[i]) != perm) return {};
    inputs[i] = inputs[i]->producer()->input(0);
  }
  return inputs;
}

}  // namespace

absl::StatusOr<int> SinkTransposes(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    const bool concat = node->Is("Concat");
    if (!IsUnary(*node) && !IsBinary(*node) && !concat) continue;
    std::vector<int64_t> perm;
    for (const Value* input : node->inputs()) {
      if (perm.empty()) perm = PermOf(input);
    }
    if (perm.empty() || node->output(0) == nullptr || RankOf(node->output(0)) != static_cast<int>(perm.size()))
      continue;
    std::vector<Value*> inputs = Untransposed(*node, perm);
    if (inputs.empty()) continue;
    std::vector<std::pair<std::string, Attribute>> attributes(node->attributes().begin(), node->attributes().end());
    if (concat) {
      int64_t axis = node->IntOr("axis", 1);
      if (axis < 0) axis += static_cast<int64_t>(perm.size());
      if (axis < 0 || axis >= static_cast<int64_t>(perm.size())) continue;
      for (auto& [name, value] : attributes) {
        if (name == "axis") value = perm[axis];
      }
    }
    RONDO_ASSIGN_OR_RETURN(Node * moved, AddTyped(graph, context, node->op(), *node, inputs, 1, std::move(attributes)));
    RONDO_ASSIGN_OR_RETURN(Node * transpose, AddTyped(graph, context, {"", "Transpose", 13}, *node, {moved->output(0)},
                                                      1, {{"perm", perm}}));
    graph.ReplaceAllUses(node->output(0), transpose->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
