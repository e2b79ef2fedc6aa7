// Linear layers: a product with a constant matrix and what follows it become one rondo.MatMul,
//
//   Y = activation(A x B + bias) + residual
//
// so that bias, activation and residual are applied while the product is still in registers. From MatMul and Gemm; each
// call of the rewrite adds one part (bias, then activation or residual), the driver calls it until nothing is left.
// A rondo.QuantizedMatMul (quantize_weights.cc) is given its bias and residual likewise, but no activation.
#include "graph/rewrites/fused_activation.h"
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

const OpId kFusedMatMul = {kRondoDomain, "MatMul", 1};

bool IsFused(const Node* node) { return node->Is(kRondoDomain, "MatMul") || node->Is(kRondoDomain, "QuantizedMatMul"); }
bool IsBare(const Node* node) { return node->input(3) == nullptr && node->StringOr("activation", "").empty(); }

bool IsConstantMatrix(const Value* value) { return value != nullptr && value->is_constant() && RankOf(value) == 2; }

// A constant vector of the product's N columns, whatever leading ones it has.
bool IsBias(const Value* value, const Dim& columns) {
  if (value == nullptr || !value->is_constant() || !columns.known() || !IsFloat32(value)) return false;
  const Tensor& t = value->constant();
  return t.rank() >= 1 && t.dims().back() == columns.value() && t.size() == columns.value();
}

Value* AsVector(Graph& graph, Value* value) {
  if (value->constant().rank() == 1) return value;
  return graph.AddConstant(value->name(), value->constant().Reshaped({value->constant().size()}));
}

absl::StatusOr<Node*> FromMatMul(Graph& graph, const RewriteContext& context, Node* node) {
  if (!node->Is("MatMul") || !IsFloat32(node->input(0)) || RankOf(node->input(0)) < 2) return nullptr;
  if (!IsConstantMatrix(node->input(1))) return nullptr;
  return AddTyped(graph, context, kFusedMatMul, *node, {node->input(0), node->input(1)}, 1);
}

absl::StatusOr<Node*> FromGemm(Graph& graph, const RewriteContext& context, Node* node) {
  if (!node->Is("Gemm") || !IsFloat32(node->input(0)) || RankOf(node->input(0)) != 2) return nullptr;
  if (node->FloatOr("alpha", 1) != 1 || node->FloatOr("beta", 1) != 1 || node->IntOr("transA", 0) != 0) return nullptr;
  if (!IsConstantMatrix(node->input(1))) return nullptr;
  std::vector<Value*> inputs = {node->input(0), node->input(1)};
  if (node->input(2) != nullptr) {
    if (!IsBias(node->input(2), node->output(0)->type().shape->back())) return nullptr;
    inputs.push_back(AsVector(graph, node->input(2)));
  }
  return AddTyped(graph, context, kFusedMatMul, *node, inputs, 1, {{"trans_b", node->IntOr("transB", 0)}});
}

// The fused node again with one input or attribute more, defining `end` instead.
absl::StatusOr<Node*> Extend(Graph& graph, const RewriteContext& context, const Node* node, int input, Value* value,
                             std::vector<std::pair<std::string, Attribute>> attributes) {
  std::vector<Value*> inputs = node->inputs();
  if (input >= 0) {
    inputs.resize(std::max<size_t>(inputs.size(), input + 1), nullptr);
    inputs[input] = value;
  }
  for (const auto& [name, attribute] : node->attributes()) attributes.emplace_back(name, attribute);
  return AddTyped(graph, context, node->op(), *node, inputs, 1, std::move(attributes));
}

}  // namespace

absl::StatusOr<int> FuseMatMul(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    Node* fused = nullptr;
    Value* end = node->output(0);
    if (node->Is("MatMul")) {
      RONDO_ASSIGN_OR_RETURN(fused, FromMatMul(graph, context, node));
    } else if (node->Is("Gemm")) {
      RONDO_ASSIGN_OR_RETURN(fused, FromGemm(graph, context, node));
    } else if (IsFused(node) && IsBare(node) && end->has_one_use()) {
      Node* user = SoleUserOf(end);
      Value* other = user->Is("Add") ? OtherInput(user, end) : nullptr;
      if (other != nullptr && node->input(2) == nullptr && IsBias(other, end->type().shape->back()) &&
          RankOf(other) <= RankOf(end)) {
        RONDO_ASSIGN_OR_RETURN(fused, Extend(graph, context, node, 2, AsVector(graph, other), {}));
      } else if (other != nullptr && other != end && !other->is_constant() && SameShape(other, end) &&
                 IsFloat32(other)) {
        RONDO_ASSIGN_OR_RETURN(fused, Extend(graph, context, node, 3, other, {}));
      } else if (std::optional<FusedActivation> activation = AsFusedActivation(*user);
                 activation.has_value() && node->Is(kRondoDomain, "MatMul")) {
        RONDO_ASSIGN_OR_RETURN(fused, Extend(graph, context, node, -1, nullptr, activation->Attributes()));
      }
      if (fused != nullptr) end = user->output(0);
    }
    if (fused == nullptr) continue;
    graph.ReplaceAllUses(end, fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
