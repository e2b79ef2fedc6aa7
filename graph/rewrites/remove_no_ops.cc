// Removes nodes that change nothing: Identity, Dropout outside training, casts to the type a value has, products with
// 1, transposes that keep the order, Reshape / Expand / Slice / Pad to the same shape, Concat and Sum of one, empty
// operands of Concat; and merges chains: transpose of transpose, reshape of reshape. Exporters emit hundreds of these;
// every pattern that follows is written without them.
#include <algorithm>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsView(const Node& node) {
  return node.Is("Reshape") || node.Is("Squeeze") || node.Is("Unsqueeze") || node.Is("Flatten");
}

std::vector<int64_t> PermOf(const Node& node) {
  std::vector<int64_t> perm = node.IntsOr("perm", {});
  if (!perm.empty()) return perm;
  for (int i = RankOf(node.input(0)) - 1; i >= 0; --i) perm.push_back(i);
  return perm;
}

bool IsAscending(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

bool OnlyFirstOutputUsed(const Node& node) {
  for (size_t i = 1; i < node.outputs().size(); ++i) {
    const Value* output = node.outputs()[i];
    if (output != nullptr && (!output->uses().empty() || output->is_graph_output())) return false;
  }
  return true;
}

// Dropout hands its input on unless it trains; ratio and mask do not matter then.
bool IsInferenceDropout(const Node& node) {
  if (!node.Is("Dropout") || !OnlyFirstOutputUsed(node)) return false;
  if (node.op().version < 7) return node.IntOr("is_test", 0) == 1;
  if (node.op().version < 12 || node.input(2) == nullptr) return true;
  const Value* training = node.input(2);
  return training->is_constant() && training->constant().size() == 1 && !*training->constant().data<bool>();
}

// True when the node's output 0 equals its input 0.
bool HandsOnItsInput(const Node& node) {
  const Value* in = node.input(0);
  const Value* out = node.output(0);
  if (in == nullptr || out == nullptr) return false;
  if (node.Is("Identity") || IsInferenceDropout(node)) return true;
  if (node.Is("Cast") || node.Is("CastLike")) {
    return in->type().is_tensor() && in->type().dtype != DataType::kUndefined && in->type().dtype == out->type().dtype;
  }
  if (node.Is("Transpose")) return RankOf(in) >= 0 && IsAscending(PermOf(node));
  if ((node.Is("Mul") || node.Is("Div")) && node.op().version >= 7)
    return IsScalar(node.input(1), 1, 0) && SameShape(in, out);
  if ((node.Is("Concat") || node.Is("Sum") || node.Is("Max") || node.Is("Min") || node.Is("Mean")) &&
      node.num_formal_inputs() == 1) {
    return true;
  }
  if (IsView(node) || node.Is("Expand") || node.Is("Slice")) {
    // A slice to the same extents may still reverse: steps must be positive.
    if (node.Is("Slice") && node.op().version >= 10) {
      if (node.input(4) != nullptr) {
        std::optional<std::vector<int64_t>> steps = IntsConstant(node.input(4));
        if (!steps.has_value()) return false;
        for (int64_t step : *steps) {
          if (step != 1) return false;
        }
      }
    }
    return SameShape(in, out);
  }
  if (node.Is("Pad") && SameShape(in, out)) {
    std::optional<std::vector<int64_t>> pads = IntsConstant(node.input(1));
    if (node.input(1) == nullptr) pads = node.IntsOr("pads", node.IntsOr("paddings", {1}));
    if (!pads.has_value()) return false;
    for (int64_t pad : *pads) {
      if (pad != 0) return false;
    }
    return true;
  }
  return false;
}

// Takes an operand without elements out of a Concat; returns how many it took.
int DropEmptyOperand(Graph& graph, Node* node) {
  const int rank = RankOf(node->output(0));
  const int count = static_cast<int>(node->inputs().size());
  int64_t axis = node->IntOr("axis", 1);
  if (axis < 0) axis += rank;
  if (!node->Is("Concat") || count < 2 || axis < 0 || axis >= rank) return 0;
  for (int i = 0; i < count; ++i) {
    const Value* input = node->input(i);
    if (RankOf(input) != rank || (*input->type().shape)[axis] != Dim(0)) continue;
    for (int j = i; j + 1 < count; ++j) graph.SetInput(node, j, node->input(j + 1));
    graph.ResizeInputs(node, count - 1);
    return 1;
  }
  return 0;
}

}  // namespace

absl::StatusOr<int> RemoveNoOps(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    fired += DropEmptyOperand(graph, node);
    Value* out = node->output(0);
    if (out == nullptr || (out->uses().empty() && !out->is_graph_output())) continue;
    if (HandsOnItsInput(*node)) {
      // A graph output keeps its name: an input or constant cannot take it over.
      if (out->is_graph_output() && (node->input(0)->producer() == nullptr || node->input(0)->is_graph_output())) {
        continue;
      }
      graph.ReplaceAllUses(out, node->input(0));
      ++fired;
      continue;
    }
    if (node->Is("Transpose")) {
      Node* before = ProducerOf(node->input(0), "Transpose");
      if (before == nullptr || RankOf(before->input(0)) < 0) continue;
      const std::vector<int64_t> first = PermOf(*before), second = PermOf(*node);
      std::vector<int64_t> merged;
      for (int64_t axis : second) merged.push_back(first[axis]);
      graph.SetInput(node, 0, before->input(0));
      node->set_attribute("perm", merged);
      ++fired;
    } else if (node->Is("Reshape")) {
      Node* before = node->input(0)->producer();
      if (before == nullptr || !IsView(*before)) continue;
      if (SameShape(before->input(0), out) && !out->is_graph_output()) {
        graph.ReplaceAllUses(out, before->input(0));
        ++fired;
        continue;
      }
      // The second reshape alone decides the shape, unless it copies dims (0) of what the first made.
      std::optional<std::vector<int64_t>> shape = IntsConstant(node->input(1));
      if (!shape.has_value() || std::find(shape->begin(), shape->end(), 0) != shape->end()) continue;
      graph.SetInput(node, 0, before->input(0));
      ++fired;
    }
  }
  return fired;
}

}  // namespace rondo
