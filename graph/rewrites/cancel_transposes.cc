// A chain of transposes and views that puts the elements back into the order in which they were is a view:
//
//   Reshape(Transpose(Squeeze(Transpose(x)))) = Reshape(x)
//
// where the transposes undo each other across the views, or move axes of 1 only.
#include <algorithm>

#include "graph/rewrites/axis_trace.h"
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

// A trace of `value` whose factors all have the same role.
AxisTrace TraceOf(Value* value) {
  std::vector<std::vector<AxisTrace::Factor>> axes;
  for (const Dim& dim : *value->type().shape) axes.push_back({{0, dim}});
  return AxisTrace(value, std::move(axes));
}

// The elements of the trace's current value are in the order of those of the value where it began.
bool InOrder(const AxisTrace& trace) {
  int from = 0;
  for (int i = 0; i < trace.rank(); ++i) {
    const int count = trace.CountOfRole(i, 0, from);
    if (count < 0) return false;
    from += count;
  }
  return from == static_cast<int>(trace.role(0).size());  // nothing is repeated
}

struct Source {
  Value* value = nullptr;
  std::vector<int64_t> dims;  // for the Reshape
};

// What is farthest behind a transpose and has the elements in the order of `value`.
Source FindSource(Value* value) {
  Source source;
  AxisTrace trace = TraceOf(value);
  bool transposed = false;
  for (int steps = 0; steps < 16; ++steps) {
    transposed |= ProducerOf(trace.value(), "Transpose") != nullptr;
    if (!trace.StepBack()) break;
    if (!transposed || !InOrder(trace)) continue;
    std::optional<std::vector<int64_t>> dims = ReshapeDims(*trace.value()->type().shape, *value->type().shape);
    if (dims.has_value()) source = {trace.value(), *std::move(dims)};
  }
  return source;
}

}  // namespace

absl::StatusOr<int> CancelTransposes(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  std::reverse(nodes.begin(), nodes.end());  // ends of chains first: what is within goes with them
  for (Node* node : nodes) {
    Value* value = node->output(0);
    if (!node->Is("Transpose") && BeforeView(value) == nullptr) continue;
    if (RankOf(value) < 1 || value->is_graph_output() || value->uses().empty()) continue;
    const Source source = FindSource(value);
    if (source.value == nullptr) continue;
    Value* end = source.value;
    if (!SameShape(end, value)) {
      RONDO_ASSIGN_OR_RETURN(end, AddReshape(graph, context, *node, end, source.dims));
    }
    graph.ReplaceAllUses(value, end);
    ++fired;
  }
  return fired;
}

}  // namespace rondo
