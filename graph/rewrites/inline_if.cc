// An If whose condition is constant is its branch.
#include "absl/strings/str_cat.h"
#include "graph/rewrites/list.h"
#include "graph/status.h"

namespace rondo {

absl::StatusOr<int> InlineIf(Graph& graph, const RewriteContext& context) {
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) {
    const Value* condition = node->input(0);
    if (!node->Is("If") || condition == nullptr || !condition->is_constant()) continue;
    if (condition->constant().dtype() == DataType::kBool && condition->constant().size() == 1) {
      nodes.push_back(node.get());
    }
  }
  for (Node* node : nodes) {
    const bool taken = *node->input(0)->constant().data<bool>();
    const Graph* branch = node->subgraph(taken ? "then_branch" : "else_branch");
    if (branch == nullptr) continue;
    std::vector<Value*> captures(node->inputs().begin() + node->num_formal_inputs(), node->inputs().end());
    std::vector<Value*> outputs = graph.Inline(*branch, captures, absl::StrCat(node->name(), "/"));
    // What the branch merely hands on needs a value of its own where the If was a graph output.
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Value* output = node->output(static_cast<int>(i));
      if (output == nullptr || !output->is_graph_output()) continue;
      if (outputs[i]->producer() != nullptr && !outputs[i]->is_graph_output()) continue;
      Node* copy = graph.AddNode({"", "Identity", 16}, absl::StrCat(node->name(), "/output"), {outputs[i]}, 1);
      RONDO_RETURN_IF_ERROR(context.infer(*copy));
      outputs[i] = copy->output(0);
    }
    graph.ReplaceNode(node, outputs);
  }
  return static_cast<int>(nodes.size());
}

}  // namespace rondo
