// Rows written along an inner axis, as torch's index_put and index_copy are exported:
//
//   Transpose(ScatterND(Transpose(x, p), indices [n, 1], Transpose(rows, p)), p^-1) = ScatterRows(x, indices, rows)
//
// Taken literally, a decoder with such a cache transposes all of it twice in every step, and cannot write in place.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsPermutation(const std::vector<int64_t>& perm, int rank) {
  if (static_cast<int>(perm.size()) != rank) return false;
  std::vector<bool> seen(rank, false);
  for (int64_t d : perm) {
    if (d < 0 || d >= rank || seen[d]) return false;
    seen[d] = true;
  }
  return true;
}

std::vector<int64_t> Inverse(const std::vector<int64_t>& perm) {
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inverse[perm[i]] = static_cast<int64_t>(i);
  return inverse;
}

// The permutation of the Transpose that makes the data, when the node is such an update and somebody transposes its
// result back; empty otherwise.
std::vector<int64_t> PermOf(const Node& node) {
  if (!node.Is("ScatterND") || node.StringOr("reduction", "none") != "none") return {};
  const Node* before = ProducerOf(node.input(0), "Transpose");
  const Value* indices = node.input(1);
  const int rank = RankOf(node.input(0));
  if (before == nullptr || RankOf(indices) != 2 || indices->type().shape->back() != Dim(1)) return {};
  if (RankOf(node.input(2)) != rank) return {};
  std::vector<int64_t> perm = before->IntsOr("perm", {});
  if (!IsPermutation(perm, rank)) return {};
  const std::vector<int64_t> back = Inverse(perm);
  for (const Use& use : node.output(0)->uses()) {
    if (use.node->Is("Transpose") && use.node->IntsOr("perm", {}) == back) return perm;
  }
  return {};
}

}  // namespace

absl::StatusOr<int> ScatterRows(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    const std::vector<int64_t> perm = PermOf(*node);
    if (perm.empty()) continue;
    RONDO_ASSIGN_OR_RETURN(Value * rows, Transposed(graph, context, *node, node->input(2), Inverse(perm)));
    Value* whole = node->input(0)->producer()->input(0);
    RONDO_ASSIGN_OR_RETURN(Node * scatter, AddTyped(graph, context, {kRondoDomain, "ScatterRows", 1}, *node,
                                                    {whole, node->input(1), rows}, 1, {{"axis", perm[0]}}));
    RONDO_ASSIGN_OR_RETURN(Value * result, Transposed(graph, context, *node, scatter->output(0), perm));
    graph.ReplaceAllUses(node->output(0), result);
    ++fired;
  }
  return fired;
}

}  // namespace rondo
