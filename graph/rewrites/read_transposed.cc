// A product with the transpose of a constant matrix reads the matrix as it lies. Folding the Transpose would keep a
// second copy of what is often the largest weight: the table of embeddings, which is the last layer's matrix too.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

// The matrix that `value` is the transpose of; null when it is none.
Value* ConstantBehindTranspose(const Value* value) {
  const Node* node = value->producer();
  if (node == nullptr || !node->Is("Transpose") || !value->has_one_use()) return nullptr;
  Value* matrix = node->input(0);
  if (!matrix->is_constant() || RankOf(matrix) != 2) return nullptr;
  const std::vector<int64_t> perm = node->IntsOr("perm", {1, 0});
  return perm == std::vector<int64_t>{1, 0} ? matrix : nullptr;
}

}  // namespace

absl::StatusOr<int> ReadTransposed(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!node->Is("MatMul") || !IsFloat32(node->input(0)) || RankOf(node->input(0)) < 2) continue;
    Value* matrix = ConstantBehindTranspose(node->input(1));
    if (matrix == nullptr) continue;
    RONDO_ASSIGN_OR_RETURN(Node * fused, AddTyped(graph, context, {kRondoDomain, "MatMul", 1}, *node,
                                                  {node->input(0), matrix}, 1, {{"trans_b", int64_t{1}}}));
    graph.ReplaceAllUses(node->output(0), fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
