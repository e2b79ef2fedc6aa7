// Projections make rows of all heads, [batch, tokens, heads * size], and so does what follows an attention want them;
// exporters transpose to [batch, heads, tokens, size] between. Attention and RotaryEmbedding read rows as they are:
//
//   RotaryEmbedding(Transpose(x)) = Transpose(RotaryEmbedding of rank 3 (x))
//   Attention(Transpose(q), Transpose(k), Transpose(v)) = Transpose(Attention of rank 3 (q, k, v))
//
// and the transpose behind meets the exporter's own, which undoes it. Operands are of one rank: where K or V are not
// rows (a cache keeps heads first), nothing changes.
#include <algorithm>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

const std::vector<int64_t>& Swap() {
  static const auto& perm = *new std::vector<int64_t>{0, 2, 1, 3};
  return perm;
}

// The rows behind an operand [B, H, T, D]: what was transposed to it, or itself where T is 1 and the order of the two
// does not matter. Null when it is neither, or when heads and size are not numbers.
Value* RowsBehind(Value* operand) {
  if (RankOf(operand) != 4 || operand->is_graph_output()) return nullptr;
  const Shape& shape = *operand->type().shape;
  if (!shape[1].known() || !shape[3].known()) return nullptr;
  Node* transpose = ProducerOf(operand, "Transpose");
  if (transpose != nullptr && transpose->IntsOr("perm", {}) == Swap()) return transpose->input(0);
  return shape[2] == Dim(1) ? operand : nullptr;
}

// [B, T, H * D] of the rows behind `operand`.
absl::StatusOr<Value*> JoinedHeads(Graph& graph, const RewriteContext& context, const Node& like, Value* operand) {
  const Shape& shape = *operand->type().shape;
  Value* rows = RowsBehind(operand);
  const int64_t tokens = rows == operand ? 1 : 0;  // 0: as the rows have them
  return AddReshape(graph, context, like, rows, {0, tokens, shape[1].value() * shape[3].value()});
}

// [B, T, H * D] back to [B, H, T, D].
absl::StatusOr<Value*> HeadsFirst(Graph& graph, const RewriteContext& context, const Node& like, Value* rows,
                                  int64_t heads, int64_t size) {
  RONDO_ASSIGN_OR_RETURN(Value * split, AddReshape(graph, context, like, rows, {0, 0, heads, size}));
  return Transposed(graph, context, like, split, Swap());
}

absl::StatusOr<bool> RotateRows(Graph& graph, const RewriteContext& context, Node* node) {
  Value* x = node->input(0);
  if (RowsBehind(x) == nullptr || RowsBehind(x) == x) return false;
  const Shape& shape = *x->type().shape;
  std::vector<Value*> inputs = node->inputs();
  RONDO_ASSIGN_OR_RETURN(inputs[0], JoinedHeads(graph, context, *node, x));
  std::vector<std::pair<std::string, Attribute>> attributes(node->attributes().begin(), node->attributes().end());
  std::erase_if(attributes, [](const auto& attribute) { return attribute.first == "num_heads"; });
  attributes.emplace_back("num_heads", shape[1].value());
  RONDO_ASSIGN_OR_RETURN(Node * rows, AddTyped(graph, context, node->op(), *node, inputs, 1, std::move(attributes)));
  RONDO_ASSIGN_OR_RETURN(Value * end,
                         HeadsFirst(graph, context, *node, rows->output(0), shape[1].value(), shape[3].value()));
  graph.ReplaceAllUses(node->output(0), end);
  return true;
}

absl::StatusOr<bool> AttendRows(Graph& graph, const RewriteContext& context, Node* node) {
  constexpr int kPastKey = 4, kPastValue = 5;
  if (node->input(kPastKey) != nullptr || node->input(kPastValue) != nullptr) return false;
  for (size_t i = 1; i < node->outputs().size(); ++i) {
    if (node->outputs()[i] != nullptr) return false;
  }
  int transposed = 0;
  for (int i = 0; i < 3; ++i) {
    Value* rows = RowsBehind(node->input(i));
    if (rows == nullptr) return false;
    transposed += rows != node->input(i);
  }
  if (transposed == 0) return false;
  const Shape& q = *node->input(0)->type().shape;
  const Shape& v = *node->input(2)->type().shape;
  std::vector<std::pair<std::string, Attribute>> attributes(node->attributes().begin(), node->attributes().end());
  if (node->attribute("scale") == nullptr && q[3].value() == 0) return false;
  attributes.emplace_back("q_num_heads", q[1].value());
  attributes.emplace_back("kv_num_heads", v[1].value());
  std::vector<Value*> inputs = node->inputs();
  for (int i = 0; i < 3; ++i) {
    RONDO_ASSIGN_OR_RETURN(inputs[i], JoinedHeads(graph, context, *node, node->input(i)));
  }
  const int64_t heads = q[1].value(), size = v[3].value();
  RONDO_ASSIGN_OR_RETURN(Node * rows, AddTyped(graph, context, node->op(), *node, inputs, 1, std::move(attributes)));
  RONDO_ASSIGN_OR_RETURN(Value * end, HeadsFirst(graph, context, *node, rows->output(0), heads, size));
  graph.ReplaceAllUses(node->output(0), end);
  return true;
}

}  // namespace

absl::StatusOr<int> AttentionRows(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    bool changed = false;
    if (node->Is("RotaryEmbedding")) {
      RONDO_ASSIGN_OR_RETURN(changed, RotateRows(graph, context, node));
    } else if (node->Is("Attention")) {
      RONDO_ASSIGN_OR_RETURN(changed, AttendRows(graph, context, node));
    }
    fired += changed;
  }
  return fired;
}

}  // namespace rondo
