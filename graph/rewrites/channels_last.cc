// Convolutions and poolings run fastest where a pixel's channels lie side by side. This rewrite gives them NHWC images
// as plain tensors, so that nothing else in rondo has to know of blocked layouts:
//
//   Conv(x) -> Transpose(NHWC to NCHW, rondo.Conv[layout = NHWC](Transpose(NCHW to NHWC, x)))
//
// sink_transposes then moves the transposes towards each other through elementwise operators, and remove_no_ops lets
// pairs vanish: a convolutional network keeps one transpose at its start and one at its end.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

const std::vector<int64_t> kToChannelsLast = {0, 2, 3, 1};
const std::vector<int64_t> kToChannelsFirst = {0, 3, 1, 2};

bool IsConv(const Node& node) {
  if (node.Is(kRondoDomain, "Conv")) return node.StringOr("layout", "NCHW") == "NCHW";
  return node.Is("Conv") && node.input(1) != nullptr && node.input(1)->is_constant();
}

bool IsPool(const Node& node) {
  if (node.Is("MaxPool")) {
    const Value* indices = node.output(1);
    return node.IntOr("storage_order", 0) == 0 &&
           (indices == nullptr || (indices->uses().empty() && !indices->is_graph_output()));
  }
  return node.Is("AveragePool") || node.Is("GlobalAveragePool");
}

}  // namespace

absl::StatusOr<int> ChannelsLast(Graph& graph, const RewriteContext& context) {
  // Poolings gain nothing by themselves: they follow a convolution's layout.
  bool has_conv = false;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) {
    if (!IsFloat32(node->input(0)) || RankOf(node->input(0)) != 4) continue;
    const bool conv = IsConv(*node);
    has_conv |= conv || node->Is(kRondoDomain, "Conv");
    if (conv || IsPool(*node)) nodes.push_back(node.get());
  }
  if (!has_conv) return 0;
  for (Node* node : nodes) {
    std::vector<Value*> inputs = node->inputs();
    RONDO_ASSIGN_OR_RETURN(inputs[0], Transposed(graph, context, *node, inputs[0], kToChannelsLast));
    if (IsConv(*node) && inputs.size() > 3 && inputs[3] != nullptr) {  // the residual
      RONDO_ASSIGN_OR_RETURN(inputs[3], Transposed(graph, context, *node, inputs[3], kToChannelsLast));
    }
    std::vector<std::pair<std::string, Attribute>> attributes(node->attributes().begin(), node->attributes().end());
    attributes.emplace_back("layout", std::string("NHWC"));
    RONDO_ASSIGN_OR_RETURN(Node * last, AddTyped(graph, context, {kRondoDomain, node->op().type, 1}, *node, inputs, 1,
                                                 std::move(attributes)));
    RONDO_ASSIGN_OR_RETURN(Value * first, Transposed(graph, context, *node, last->output(0), kToChannelsFirst));
    graph.ReplaceAllUses(node->output(0), first);
  }
  return static_cast<int>(nodes.size());
}

}  // namespace rondo
