// LayerNormalization and RMSNormalization as exporters decompose them, back into one operator:
//
//   d = x - ReduceMean(x);  y = d / Sqrt(ReduceMean(d^2) + epsilon) [* scale] [+ bias]        LayerNormalization-17
//   y = x / Sqrt(ReduceMean(x^2) + epsilon) [* scale]                                         RMSNormalization-23
//
// over the last axis. The division may be a product with a reciprocal; float16 models compute it between two Casts,
// which is what stash_type = 1 of both operators says.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

struct Normalized {
  Value* x = nullptr;  // what is normalised
  Value* y = nullptr;  // d / sqrt(...)
  double epsilon = 0;
  bool centered = false;  // LayerNormalization
};

// v == ReduceMean(t^2) + epsilon over the last axis -> t.
Value* MeanOfSquares(const Value* v, double* epsilon) {
  Node* add = SoleProducerOf(v, "Add");
  auto with_epsilon = WithScalar(add);
  if (!with_epsilon.has_value()) return nullptr;
  *epsilon = with_epsilon->second;
  Node* mean = SoleProducerOf(with_epsilon->first, "ReduceMean");
  if (!ReducesLastAxis(mean)) return nullptr;
  if (Node* pow = SoleProducerOf(mean->input(0), "Pow")) return IsScalar(pow->input(1), 2) ? pow->input(0) : nullptr;
  Node* square = SoleProducerOf(mean->input(0), "Mul");
  return square != nullptr && square->input(0) == square->input(1) ? square->input(0) : nullptr;
}

// The operand of Sqrt in `1 / Sqrt(v)`, `Reciprocal(Sqrt(v))` or `Pow(v, -0.5)`.
Value* InverseRootOf(const Value* value) {
  if (Node* reciprocal = SoleProducerOf(value, "Reciprocal")) {
    Node* sqrt = SoleProducerOf(reciprocal->input(0), "Sqrt");
    return sqrt == nullptr ? nullptr : sqrt->input(0);
  }
  if (Node* div = SoleProducerOf(value, "Div")) {
    Node* sqrt = SoleProducerOf(div->input(1), "Sqrt");
    return sqrt != nullptr && IsScalar(div->input(0), 1) ? sqrt->input(0) : nullptr;
  }
  Node* pow = SoleProducerOf(value, "Pow");
  return pow != nullptr && IsScalar(pow->input(1), -0.5) ? pow->input(0) : nullptr;
}

bool Match(Node* node, Normalized* result) {
  Value* numerator = nullptr;
  Value* squared = nullptr;
  if (node->Is("Div")) {
    Node* sqrt = SoleProducerOf(node->input(1), "Sqrt");
    if (sqrt == nullptr) return false;
    numerator = node->input(0);
    squared = MeanOfSquares(sqrt->input(0), &result->epsilon);
  } else if (node->Is("Mul")) {
    for (int i = 0; i < 2 && squared == nullptr; ++i) {
      Value* root = InverseRootOf(node->input(i));
      if (root == nullptr) continue;
      numerator = node->input(1 - i);
      squared = MeanOfSquares(root, &result->epsilon);
    }
  }
  if (squared == nullptr || squared != numerator) return false;
  result->y = node->output(0);
  result->x = numerator;
  if (Node* sub = ProducerOf(numerator, "Sub")) {
    Node* mean = SoleProducerOf(sub->input(1), "ReduceMean");
    if (ReducesLastAxis(mean) && mean->input(0) == sub->input(0) && numerator->uses().size() <= 3) {
      result->x = sub->input(0);
      result->centered = true;
    }
  }
  return true;
}

// scale or bias of the normalised axis: rank 1 with the last dim of x.
bool IsPerChannel(const Value* value, const Value* x) {
  return RankOf(value) == 1 && RankOf(x) >= 1 && (*value->type().shape)[0] == x->type().shape->back();
}

Value* PerChannelOperand(const Node* node, const Value* known, const Value* x) {
  Value* other = OtherInput(node, known);
  return IsPerChannel(other, x) ? other : nullptr;
}

}  // namespace

absl::StatusOr<int> FuseLayerNorm(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    Normalized norm;
    if (!Match(node, &norm) || !IsFloat32(norm.x) || RankOf(norm.x) < 1) continue;
    const Dim& channels = norm.x->type().shape->back();
    Value* x = norm.x;
    Value* end = norm.y;
    // Computed in float32 between two casts, in a 16-bit model.
    Node* up = ProducerOf(x, "Cast");
    Node* down = SoleUserOf(end, "Cast");
    if (up != nullptr && down != nullptr && up->input(0)->type().dtype == down->output(0)->type().dtype &&
        IsFloatingPoint(up->input(0)->type().dtype)) {
      x = up->input(0);
      end = down->output(0);
    }
    Value* scale = nullptr;
    if (Node* mul = SoleUserOf(end, "Mul")) {
      scale = PerChannelOperand(mul, end, x);
      if (scale != nullptr && scale->type().dtype == x->type().dtype) {
        end = mul->output(0);
      } else {
        scale = nullptr;
      }
    }
    if (scale == nullptr) {
      if (!channels.known() || x->type().dtype != DataType::kFloat) continue;
      const std::vector<float> ones(channels.value(), 1.0f);
      scale = graph.AddConstant("", Tensor::FromVector(DataType::kFloat, {channels.value()}, ones));
    }
    Value* bias = nullptr;
    if (norm.centered) {
      if (Node* add = SoleUserOf(end, "Add")) {
        bias = PerChannelOperand(add, end, x);
        if (bias != nullptr && bias->type().dtype == x->type().dtype) {
          end = add->output(0);
        } else {
          bias = nullptr;
        }
      }
    }
    std::vector<Value*> inputs = {x, scale};
    if (bias != nullptr) inputs.push_back(bias);
    OpId op = norm.centered ? OpId{"", "LayerNormalization", 17} : OpId{"", "RMSNormalization", 23};
    RONDO_ASSIGN_OR_RETURN(Node * fused,
                           AddTyped(graph, context, op, *node, inputs, 1,
                                    {{"axis", int64_t{-1}}, {"epsilon", static_cast<float>(norm.epsilon)}}));
    graph.ReplaceAllUses(end, fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
