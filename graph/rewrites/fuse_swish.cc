// x * Sigmoid(x) is Swish-24; Swish(gate) * up is rondo's SwiGlu, the feed-forward gate of most decoders.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

absl::StatusOr<Node*> MatchSwish(Graph& graph, const RewriteContext& context, Node* mul) {
  for (int i = 0; i < 2; ++i) {
    Node* sigmoid = SoleProducerOf(mul->input(i), "Sigmoid");
    if (sigmoid != nullptr && sigmoid->input(0) == mul->input(1 - i)) {
      return AddTyped(graph, context, {"", "Swish", 24}, *mul, {sigmoid->input(0)}, 1, {{"alpha", 1.0f}});
    }
  }
  return nullptr;
}

absl::StatusOr<Node*> MatchSwiGlu(Graph& graph, const RewriteContext& context, Node* mul) {
  for (int i = 0; i < 2; ++i) {
    Node* swish = SoleProducerOf(mul->input(i), "Swish");
    if (swish == nullptr || !IsFloat32(swish->input(0)) || !SameShape(mul->input(0), mul->input(1))) continue;
    return AddTyped(graph, context, {kRondoDomain, "SwiGlu", 1}, *mul, {swish->input(0), mul->input(1 - i)}, 1,
                    {{"alpha", swish->FloatOr("alpha", 1.0f)}});
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<int> FuseSwish(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!node->Is("Mul") || node->inputs().size() != 2) continue;
    RONDO_ASSIGN_OR_RETURN(Node * fused, MatchSwish(graph, context, node));
    if (fused == nullptr) {
      RONDO_ASSIGN_OR_RETURN(fused, MatchSwiGlu(graph, context, node));
    }
    if (fused == nullptr) continue;
    graph.ReplaceAllUses(node->output(0), fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
