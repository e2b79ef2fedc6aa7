// Gelu as exporters decompose it, back into Gelu-20:
//
//   0.5 x (1 + Erf(x / sqrt(2)))                                  approximate = "none"
//   0.5 x (1 + Tanh(sqrt(2 / pi) (x + 0.044715 x^3)))             approximate = "tanh"
//
// The three factors may be multiplied in any order.
#include <cmath>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr double kSqrt2 = 1.4142135623730951;
constexpr double kSqrt2OverPi = 0.7978845608028654;

// x of Erf's argument x / sqrt(2).
Value* ErfArgument(const Value* value) {
  if (Node* div = SoleProducerOf(value, "Div")) return IsScalar(div->input(1), kSqrt2) ? div->input(0) : nullptr;
  auto scaled = WithScalar(SoleProducerOf(value, "Mul"));
  return scaled.has_value() && std::abs(scaled->second - 1 / kSqrt2) < 1e-4 ? scaled->first : nullptr;
}

bool IsCube(const Value* value, const Value* x) {
  if (Node* pow = SoleProducerOf(value, "Pow")) return pow->input(0) == x && IsScalar(pow->input(1), 3);
  Node* mul = SoleProducerOf(value, "Mul");
  Node* square = mul == nullptr ? nullptr : SoleProducerOf(OtherInput(mul, x), "Mul");
  return square != nullptr && square->input(0) == x && square->input(1) == x;
}

// x of Tanh's argument sqrt(2/pi) (x + 0.044715 x^3).
Value* TanhArgument(const Value* value) {
  auto scaled = WithScalar(SoleProducerOf(value, "Mul"));
  if (!scaled.has_value() || std::abs(scaled->second - kSqrt2OverPi) > 1e-4) return nullptr;
  Node* add = SoleProducerOf(scaled->first, "Add");
  for (int i = 0; add != nullptr && i < 2; ++i) {
    Value* x = add->input(i);
    auto cubic = WithScalar(SoleProducerOf(add->input(1 - i), "Mul"));
    if (cubic.has_value() && std::abs(cubic->second - 0.044715) < 1e-5 && IsCube(cubic->first, x)) return x;
  }
  return nullptr;
}

// From 1 + erf(...) on: multiplies with x and 0.5 in whatever order; returns the product's last value.
Value* ProductWithHalfX(Value* one_plus, const Value* x) {
  Node* first = SoleUserOf(one_plus, "Mul");
  if (first == nullptr) return nullptr;
  Value* other = OtherInput(first, one_plus);
  if (other == nullptr) return nullptr;
  auto half_x = WithScalar(ProducerOf(other, "Mul"));
  if (half_x.has_value() && half_x->first == x && std::abs(half_x->second - 0.5) < 1e-6) return first->output(0);
  if (Node* div = ProducerOf(other, "Div"); div != nullptr && div->input(0) == x && IsScalar(div->input(1), 2)) {
    return first->output(0);
  }
  Node* second = SoleUserOf(first->output(0), "Mul");
  if (second == nullptr) return nullptr;
  Value* last = OtherInput(second, first->output(0));
  const bool x_then_half = other == x && IsScalar(last, 0.5, 1e-6);
  const bool half_then_x = IsScalar(other, 0.5, 1e-6) && last == x;
  return x_then_half || half_then_x ? second->output(0) : nullptr;
}

}  // namespace

absl::StatusOr<int> FuseGelu(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    const bool erf = node->Is("Erf");
    if (!erf && !node->Is("Tanh")) continue;
    Value* x = erf ? ErfArgument(node->input(0)) : TanhArgument(node->input(0));
    if (x == nullptr) continue;
    Node* add = SoleUserOf(node->output(0), "Add");
    if (add == nullptr || !IsScalar(OtherInput(add, node->output(0)), 1, 1e-6)) continue;
    Value* end = ProductWithHalfX(add->output(0), x);
    if (end == nullptr || !SameShape(end, x)) continue;
    RONDO_ASSIGN_OR_RETURN(Node * gelu, AddTyped(graph, context, {"", "Gelu", 20}, *node, {x}, 1,
                                                 {{"approximate", std::string(erf ? "none" : "tanh")}}));
    graph.ReplaceAllUses(end, gelu->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
