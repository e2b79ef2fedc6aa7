// com.microsoft::MultiHeadAttention, as onnxruntime's builder and optimiser write it, into Attention of ai.onnx, so
// that what follows knows one operator. [B, T, heads * size] stays; keys and values of [B, heads, L, size] (a cache
// that is read as it is) make the query rank 4 too.
//
// Left as they are: packed operands, biases of the projections, padding masks of integers (they add mask_filter_value,
// which Attention does not say), and pasts in shared buffers.
#include <cmath>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

enum Input { kQuery, kKey, kValue, kBias, kPaddingMask, kAttentionBias, kPastKey, kPastValue };
constexpr int kQkOutput = 3;

bool CanLower(const Node& node) {
  if (!node.Is("com.microsoft", "MultiHeadAttention") || RankOf(node.input(kQuery)) != 3) return false;
  const int rank = RankOf(node.input(kKey));
  if ((rank != 3 && rank != 4) || RankOf(node.input(kValue)) != rank) return false;
  if (node.input(kBias) != nullptr || node.input(kPaddingMask) != nullptr || node.output(kQkOutput) != nullptr) {
    return false;
  }
  for (size_t i = kPastValue + 1; i < node.inputs().size(); ++i) {
    if (node.inputs()[i] != nullptr) return false;
  }
  const int64_t heads = node.IntOr("num_heads", 0);
  const Dim& hidden = node.input(kQuery)->type().shape->back();
  return heads > 0 && hidden.known() && hidden.value() % heads == 0;
}

}  // namespace

absl::StatusOr<int> LowerMultiHeadAttention(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!CanLower(*node)) continue;
    const int64_t heads = node->IntOr("num_heads", 0);
    const int64_t size = node->input(kQuery)->type().shape->back().value() / heads;
    const bool by_head = RankOf(node->input(kKey)) == 4;
    const Dim& v_last = node->input(kValue)->type().shape->back();
    if (by_head && !v_last.known()) continue;
    const float scale = node->FloatOr("scale", 0);
    std::vector<std::pair<std::string, Attribute>> attributes = {
        {"scale", scale != 0 ? scale : 1 / std::sqrt(static_cast<float>(size))},
        {"is_causal", node->IntOr("unidirectional", 0)}};
    std::vector<Value*> inputs = {node->input(kQuery),         node->input(kKey),     node->input(kValue),
                                  node->input(kAttentionBias), node->input(kPastKey), node->input(kPastValue)};
    if (by_head) {
      RONDO_ASSIGN_OR_RETURN(Value * q, AddReshape(graph, context, *node, inputs[0], {0, 0, heads, size}));
      RONDO_ASSIGN_OR_RETURN(inputs[0], Transposed(graph, context, *node, q, {0, 2, 1, 3}));
    } else {
      attributes.emplace_back("q_num_heads", heads);
      attributes.emplace_back("kv_num_heads", heads);
    }
    while (inputs.back() == nullptr) inputs.pop_back();
    const int num_outputs = static_cast<int>(node->outputs().size());
    RONDO_ASSIGN_OR_RETURN(Node * attention, AddTyped(graph, context, {"", "Attention", 23}, *node, inputs, num_outputs,
                                                      std::move(attributes)));
    std::vector<Value*> results = attention->outputs();
    if (by_head) {
      RONDO_ASSIGN_OR_RETURN(Value * y, Transposed(graph, context, *node, results[0], {0, 2, 1, 3}));
      RONDO_ASSIGN_OR_RETURN(results[0], AddReshape(graph, context, *node, y, {0, 0, heads * v_last.value()}));
    }
    for (size_t i = 0; i < results.size(); ++i) {
      if (node->outputs()[i] != nullptr) graph.ReplaceAllUses(node->outputs()[i], results[i]);
      if (node->outputs()[i] == nullptr) graph.DropOutput(attention, static_cast<int>(i));
    }
    ++fired;
  }
  return fired;
}

}  // namespace rondo
