// com.microsoft::MultiHeadAttention, and Attention with a past, as onnxruntime's builder and optimiser write it, into
// Attention of ai.onnx, so that what follows knows one operator. [B, T, heads * size] stays; keys and values of [B,
// heads, L, size] (a cache that is read as it is) make the query rank 4 too.
//
// Attention's projections become a product and a Split, and its past of [2, batch, heads, rows, size] two halves.
//
// Left as they are: packed operands, biases of the projections, padding masks of integers (they add mask_filter_value,
// which Attention does not say), and pasts in shared buffers.
#include <cmath>

#include "absl/strings/str_cat.h"
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

// ---- com.microsoft::Attention ----
enum PackedInput { kX, kWeights, kProjectionBias, kMaskIndex, kPast, kScoresBias };

bool CanLowerPacked(const Node& node) {
  if (!node.Is("com.microsoft", "Attention") || node.input(kPast) == nullptr || RankOf(node.input(kX)) != 3) {
    return false;
  }
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    if (node.inputs()[i] != nullptr && (i == kMaskIndex || i > kScoresBias)) return false;
  }
  if (node.IntOr("do_rotary", 0) != 0 || node.IntOr("past_present_share_buffer", 0) != 0) return false;
  const Value* weights = node.input(kWeights);
  const int64_t heads = node.IntOr("num_heads", 0);
  if (RankOf(weights) != 2 || !weights->type().shape->back().known() || heads <= 0) return false;
  // A past of one tensor: heads of keys and of values have one size.
  const int64_t columns = weights->type().shape->back().value();
  const std::vector<int64_t> sizes = node.IntsOr("qkv_hidden_sizes", {});
  const bool equal = sizes.empty() || (sizes.size() == 3 && sizes[0] == sizes[1] && sizes[1] == sizes[2]);
  return equal && columns % (3 * heads) == 0 && columns > 0;
}

absl::Status LowerPacked(Graph& graph, const RewriteContext& context, Node* node) {
  const auto add = [&](absl::string_view type, int version, absl::Span<Value* const> inputs, int num_outputs,
                       std::vector<std::pair<std::string, Attribute>> attributes = {}) {
    return AddTyped(graph, context, {"", std::string(type), version}, *node, inputs, num_outputs,
                    std::move(attributes));
  };
  const auto constant = [&](absl::string_view what, Tensor tensor) {
    return graph.AddConstant(absl::StrCat(node->name(), ".", what), std::move(tensor));
  };
  const int64_t hidden = node->input(kWeights)->type().shape->back().value() / 3;
  const int64_t heads = node->IntOr("num_heads", 0);
  RONDO_ASSIGN_OR_RETURN(Node * projected, add("MatMul", 13, {node->input(kX), node->input(kWeights)}, 1));
  if (node->input(kProjectionBias) != nullptr) {
    RONDO_ASSIGN_OR_RETURN(projected, add("Add", 14, {projected->output(0), node->input(kProjectionBias)}, 1));
  }
  RONDO_ASSIGN_OR_RETURN(
      Node * split,
      add("Split", 13, {projected->output(0), constant("sizes", Tensor::FromInt64s({hidden, hidden, hidden}))}, 3,
          {{"axis", int64_t{2}}}));
  Value* past[2];
  for (int64_t i : {0, 1}) {
    Value* index = constant("half", Tensor::FromInt64s({i}).Reshaped({}));
    RONDO_ASSIGN_OR_RETURN(Node * half, add("Gather", 13, {node->input(kPast), index}, 1, {{"axis", int64_t{0}}}));
    past[i] = half->output(0);
  }
  const float scale = node->FloatOr("scale", 0);
  RONDO_ASSIGN_OR_RETURN(
      Node * attention,
      add("Attention", 23,
          {split->output(0), split->output(1), split->output(2), node->input(kScoresBias), past[0], past[1]}, 3,
          {{"scale", scale != 0 ? scale : 1 / std::sqrt(static_cast<float>(hidden / heads))},
           {"is_causal", node->IntOr("unidirectional", 0)},
           {"q_num_heads", heads},
           {"kv_num_heads", heads}}));
  graph.ReplaceAllUses(node->output(0), attention->output(0));
  if (node->output(1) == nullptr) return absl::OkStatus();
  Value* axis = constant("axis", Tensor::FromInt64s({0}));
  Value* present[2];
  for (int i : {0, 1}) {
    RONDO_ASSIGN_OR_RETURN(Node * half, add("Unsqueeze", 13, {attention->output(1 + i), axis}, 1));
    present[i] = half->output(0);
  }
  RONDO_ASSIGN_OR_RETURN(Node * joined, add("Concat", 13, present, 1, {{"axis", int64_t{0}}}));
  graph.ReplaceAllUses(node->output(1), joined->output(0));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> LowerMultiHeadAttention(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (CanLowerPacked(*node)) {
      RONDO_RETURN_IF_ERROR(LowerPacked(graph, context, node));
      ++fired;
    }
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
