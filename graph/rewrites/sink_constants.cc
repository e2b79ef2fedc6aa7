// A subgraph captures outer values as inputs; what has become constant outside (by folding) becomes a constant inside,
// so that kernels in the body can pack it and shapes that depend on it are known.
#include "graph/rewrites/list.h"

namespace rondo {

absl::StatusOr<int> SinkConstants(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  for (const auto& node : graph.nodes()) {
    if (node->subgraphs().empty()) continue;
    const int captures = static_cast<int>(node->inputs().size()) - node->num_formal_inputs();
    for (int c = captures - 1; c >= 0; --c) {
      const Value* outer = node->inputs()[node->num_formal_inputs() + c];
      bool unused = true;
      for (const auto& [name, body] : node->subgraphs()) {
        const int left = static_cast<int>(node->inputs().size()) - node->num_formal_inputs();
        Value* inner = body->inputs()[body->inputs().size() - left + c];
        if (outer->is_constant()) {
          if (!inner->uses().empty() || inner->is_graph_output()) {
            body->ReplaceAllUses(inner, body->AddConstant(inner->name(), outer->constant()));
          }
        } else {
          unused &= inner->uses().empty() && !inner->is_graph_output();
        }
      }
      if (!unused) continue;
      graph.RemoveCapture(node.get(), c);
      ++fired;
    }
  }
  return fired;
}

}  // namespace rondo
