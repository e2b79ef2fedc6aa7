// Attention serves a group of query heads from one key/value head by itself; exporters that do not know it repeat the
// heads before (torch writes Attention-23 behind Unsqueeze, Expand, Reshape). K and V are read where they come from:
//
//   Attention(Q, repeat(K), repeat(V)) = Attention(Q, K, V)
//
// which is also where a cache updates them: operands of rank 3 become rank 4 when K and V are made as such.
#include "graph/rewrites/attention_operand.h"
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

enum Input { kQuery, kKey, kValue, kMask, kPastKey, kPastValue };

// With a past, or with other results than Y, the repeated heads are seen outside.
bool HeadsShowOutside(const Node& node) {
  if (node.input(kPastKey) != nullptr || node.input(kPastValue) != nullptr) return true;
  for (size_t i = 1; i < node.outputs().size(); ++i) {
    if (node.outputs()[i] != nullptr) return true;
  }
  return false;
}

AxisTrace TraceOf(Value* operand, int64_t heads) {
  const Shape& shape = *operand->type().shape;
  if (shape.rank() == 4) {
    return AxisTrace(
        operand,
        {{{kBatchRole, shape[0]}}, {{kBatchRole, shape[1]}}, {{kRowsRole, shape[2]}}, {{kSizeRole, shape[3]}}});
  }
  return AxisTrace(operand, {{{kBatchRole, shape[0]}},
                             {{kRowsRole, shape[1]}},
                             {{kBatchRole, Dim(heads)}, {kSizeRole, Dim::FloorDiv(shape[2], Dim(heads))}}});
}

// The reading of rank 4 nearest to the source.
std::optional<AttentionOperand> Source(Value* operand, int64_t heads) {
  for (AttentionOperand& reading : AttentionOperands(TraceOf(operand, heads), false, false)) {
    if (reading.AsIs()) return std::move(reading);
  }
  return std::nullopt;
}

// Operands of rank 3 that are rows of all heads in truth, merely transposed back and forth, stay of rank 3.
bool IsMadeOfRows(const Value* value) { return !value->is_graph_output() && ProducerOf(value, "Transpose") != nullptr; }

}  // namespace

absl::StatusOr<int> ShareHeads(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!node->Is("Attention") || HeadsShowOutside(*node)) continue;
    const int rank = RankOf(node->input(kQuery));
    const int64_t heads = node->IntOr("q_num_heads", 0), kv_heads = node->IntOr("kv_num_heads", 0);
    if (RankOf(node->input(kKey)) != rank || RankOf(node->input(kValue)) != rank) continue;
    if (rank != 4 && (rank != 3 || heads <= 0 || kv_heads <= 0)) continue;
    const std::optional<AttentionOperand> k = Source(node->input(kKey), kv_heads);
    const std::optional<AttentionOperand> v = Source(node->input(kValue), kv_heads);
    if (!k.has_value() || !v.has_value() || !Agree(*k, *v)) continue;
    if (k->value == node->input(kKey) && v->value == node->input(kValue)) continue;
    if (rank == 4) {
      graph.SetInput(node, kKey, k->value);
      graph.SetInput(node, kValue, v->value);
      ++fired;
      continue;
    }
    const Dim& hidden = node->input(kQuery)->type().shape->back();
    const Dim& v_size = v->size;
    if ((k->group == Dim(1) && IsMadeOfRows(k->value) && IsMadeOfRows(v->value)) || !hidden.known() ||
        hidden.value() % heads != 0 || !v_size.known()) {
      continue;
    }
    RONDO_ASSIGN_OR_RETURN(
        Value * q, AddReshape(graph, context, *node, node->input(kQuery), {0, 0, heads, hidden.value() / heads}));
    std::vector<Value*> inputs = node->inputs();
    RONDO_ASSIGN_OR_RETURN(inputs[kQuery], Transposed(graph, context, *node, q, {0, 2, 1, 3}));
    inputs[kKey] = k->value;
    inputs[kValue] = v->value;
    std::vector<std::pair<std::string, Attribute>> attributes;
    for (const auto& [name, attribute] : node->attributes()) {
      if (name != "q_num_heads" && name != "kv_num_heads") attributes.emplace_back(name, attribute);
    }
    RONDO_ASSIGN_OR_RETURN(Node * by_head,
                           AddTyped(graph, context, node->op(), *node, inputs, 1, std::move(attributes)));
    RONDO_ASSIGN_OR_RETURN(Value * y, Transposed(graph, context, *node, by_head->output(0), {0, 2, 1, 3}));
    RONDO_ASSIGN_OR_RETURN(y, AddReshape(graph, context, *node, y, {0, 0, heads * v_size.value()}));
    graph.ReplaceAllUses(node->output(0), y);
    ++fired;
  }
  return fired;
}

}  // namespace rondo
