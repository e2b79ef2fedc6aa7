// Scaled dot-product attention as exporters decompose it, back into ONNX Attention-23:
//
//   scores = [scale *] MatMul(Q, Transpose(K)) [* scale] [+ mask];  P = Softmax(scores);  [P = Where(IsNaN(P), 0, P)]
//   Y = MatMul(P, V)                                                   Q, K, V: [B, H, S, D]
//
// The scale may sit on the scores, on Q, on K, or half of it (its root) on each. The mask is additive and is handed on
// as it is: nothing is assumed about what it masks. A row that the mask excludes entirely (all -inf) gives 0, which is
// what the IsNaN form computes and what Attention says.
#include <algorithm>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

// Strips a product with (or quotient by) a scalar constant off `value`, collecting the factor.
Value* StripScale(Value* value, double* scale) {
  if (auto scaled = WithScalar(SoleProducerOf(value, "Mul"))) {
    *scale *= scaled->second;
    return scaled->first;
  }
  if (Node* div = SoleProducerOf(value, "Div")) {
    std::optional<double> divisor = ScalarConstant(div->input(1));
    if (divisor.has_value() && *divisor != 0) {
      *scale /= *divisor;
      return div->input(0);
    }
  }
  return value;
}

// P of Where(IsNaN(P), 0, P).
Value* StripNanGuard(Value* value) {
  Node* where = SoleProducerOf(value, "Where");
  if (where == nullptr || !IsScalar(where->input(1), 0)) return value;
  Node* is_nan = SoleProducerOf(where->input(0), "IsNaN");
  return is_nan != nullptr && is_nan->input(0) == where->input(2) ? where->input(2) : value;
}

bool IsSoftmaxOverLastAxis(const Node* node) {
  const int64_t axis = node->IntOr("axis", node->op().version >= 13 ? -1 : 1);
  return axis == -1 || axis == RankOf(node->input(0)) - 1;
}

struct Pattern {
  Value *q = nullptr, *k = nullptr, *v = nullptr, *mask = nullptr;
  std::vector<int64_t> k_perm;  // how K must be transposed to [B, H, S, D]; empty when it is
  double scale = 1;
};

bool Match(Node* product, Pattern* p) {
  if (!product->Is("MatMul") || RankOf(product->input(1)) != 4 || !IsFloat32(product->input(1))) return false;
  p->v = product->input(1);
  Value* guarded = product->input(0);
  Value* probabilities = StripNanGuard(guarded);
  Node* softmax =
      probabilities == guarded ? SoleProducerOf(probabilities, "Softmax") : ProducerOf(probabilities, "Softmax");
  if (softmax == nullptr || RankOf(softmax->input(0)) != 4 || !IsSoftmaxOverLastAxis(softmax)) return false;
  Value* scores = softmax->input(0);
  Node* matmul = nullptr;
  if (Node* add = SoleProducerOf(scores, "Add")) {
    for (int i = 0; i < 2 && matmul == nullptr; ++i) {
      double scale = 1;
      matmul = SoleProducerOf(StripScale(add->input(i), &scale), "MatMul");
      if (matmul == nullptr) continue;
      p->mask = add->input(1 - i);
      p->scale = scale;
    }
  } else {
    matmul = SoleProducerOf(StripScale(scores, &p->scale), "MatMul");
  }
  if (matmul == nullptr || RankOf(matmul->input(0)) != 4 || RankOf(matmul->input(1)) != 4) return false;
  if (p->mask != nullptr && (!IsFloat32(p->mask) || RankOf(p->mask) < 1 || RankOf(p->mask) > 4)) return false;
  p->q = StripScale(matmul->input(0), &p->scale);
  Value* transposed = StripScale(matmul->input(1), &p->scale);
  Node* transpose = ProducerOf(transposed, "Transpose");
  if (transpose == nullptr) return false;
  const std::vector<int64_t> perm = transpose->IntsOr("perm", {});
  if (perm.size() != 4) return false;
  // The product reads K as [B, H, D, S]; Attention wants the last two swapped.
  p->k = transpose->input(0);
  p->k_perm = {perm[0], perm[1], perm[3], perm[2]};
  double k_scale = 1;
  p->k = StripScale(p->k, &k_scale);
  p->scale *= k_scale;
  return RankOf(p->q) == 4 && RankOf(p->k) == 4;
}

}  // namespace

absl::StatusOr<int> FuseAttention(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    Pattern p;
    if (!node->Is("MatMul") || !Match(node, &p)) continue;
    // Attention needs equal batches, and query heads that are a multiple of the key heads: here they are equal.
    const Shape& q = *p.q->type().shape;
    const Shape& v = *p.v->type().shape;
    if (!q[1].known() || q[1] != v[1] || !q[3].known()) continue;
    if (p.k_perm != std::vector<int64_t>{0, 1, 2, 3}) {
      RONDO_ASSIGN_OR_RETURN(Node * transpose,
                             AddTyped(graph, context, {"", "Transpose", 13}, *node, {p.k}, 1, {{"perm", p.k_perm}}));
      p.k = transpose->output(0);
    }
    if ((*p.k->type().shape)[1] != q[1]) continue;
    std::vector<Value*> inputs = {p.q, p.k, p.v};
    if (p.mask != nullptr) inputs.push_back(p.mask);
    RONDO_ASSIGN_OR_RETURN(Node * fused, AddTyped(graph, context, {"", "Attention", 23}, *node, inputs, 1,
                                                  {{"scale", static_cast<float>(p.scale)}}));
    if (!SameShape(fused->output(0), node->output(0)) && RankOf(fused->output(0)) != 4) continue;
    graph.ReplaceAllUses(node->output(0), fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
