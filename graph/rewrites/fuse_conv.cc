// A convolution with constant weights and what follows it become one rondo.Conv, Y = activation(conv(X) + B +
// residual).
#include "graph/rewrites/fused_activation.h"
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsFused(const Node* node) { return node->Is(kRondoDomain, "Conv"); }

bool IsCandidate(const Node* node) {
  if (IsFused(node)) return node->StringOr("activation", "").empty();
  return node->Is("Conv") && IsFloat32(node->input(0)) && node->input(1) != nullptr && node->input(1)->is_constant() &&
         RankOf(node->input(0)) == 4;
}

}  // namespace

absl::StatusOr<int> FuseConv(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!IsCandidate(node)) continue;
    Value* end = node->output(0);
    Node* user = SoleUserOf(end);
    if (user == nullptr) continue;
    std::vector<Value*> inputs = node->inputs();
    inputs.resize(4, nullptr);
    std::vector<std::pair<std::string, Attribute>> attributes(node->attributes().begin(), node->attributes().end());
    Value* other = user->Is("Add") ? OtherInput(user, end) : nullptr;
    if (other != nullptr && inputs[3] == nullptr && other != end && SameShape(other, end) && IsFloat32(other)) {
      inputs[3] = other;
    } else if (std::optional<FusedActivation> activation = AsFusedActivation(*user)) {
      for (auto& [name, value] : activation->Attributes()) attributes.emplace_back(name, value);
    } else {
      continue;
    }
    RONDO_ASSIGN_OR_RETURN(
        Node * fused, AddTyped(graph, context, {kRondoDomain, "Conv", 1}, *node, inputs, 1, std::move(attributes)));
    graph.ReplaceAllUses(user->output(0), fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
