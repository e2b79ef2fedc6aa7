// Computes at load what does not depend on the inputs: nodes whose inputs are all constant, and values whose content
// shape inference knows in full (Shape of a static shape, and the arithmetic on it).
//
// What folding adds is bounded by the model's own size: a 152-byte file must not become a 108 PB tensor. A node whose
// result is over the budget stays a node; it may still be needed only in part, or never.
#include "graph/content.h"
#include "graph/file_pages.h"
#include "graph/rewrites/list.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr size_t kAlwaysFoldedBytes = 4096;

bool AllInputsConstant(const Node& node) {
  for (const Value* input : node.inputs()) {
    if (input != nullptr && !input->is_constant()) return false;
  }
  return true;
}

Tensor KnownContent(const Value& value) {
  return value.content().has_value() ? TensorFromContent(value.type(), *value.content()) : Tensor();
}

// Bytes of the outputs; SIZE_MAX when a shape is unknown.
size_t OutputBytes(const Node& node) {
  size_t bytes = 0;
  for (const Value* output : node.outputs()) {
    if (output == nullptr) continue;
    if (!output->type().has_known_shape()) return SIZE_MAX;
    absl::StatusOr<size_t> size = CheckedByteSize(output->type().dtype, output->type().shape->ToDims());
    if (!size.ok()) return SIZE_MAX;
    bytes += *size;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<int> FoldConstants(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  size_t spent = 0;
  for (const auto& node : graph.nodes()) {
    bool all_known = !node->outputs().empty();
    std::vector<Tensor> known;
    for (const Value* output : node->outputs()) {
      known.push_back(output == nullptr ? Tensor() : KnownContent(*output));
      all_known &= output == nullptr || known.back().defined();
    }
    if (!all_known) {
      if (!node->subgraphs().empty() || !AllInputsConstant(*node)) continue;
      const size_t bytes = OutputBytes(*node);
      if (bytes > kAlwaysFoldedBytes &&
          (bytes > context.fold_budget_bytes || spent > context.fold_budget_bytes - bytes)) {
        continue;
      }
      std::vector<Tensor> inputs;
      for (const Value* input : node->inputs()) inputs.push_back(input == nullptr ? Tensor() : input->constant());
      absl::StatusOr<std::vector<Tensor>> outputs = context.evaluate(*node, inputs);
      // An error that is certain to occur in the run is reported there, with the run's own checks.
      if (!outputs.ok()) continue;
      known = *std::move(outputs);
      for (const Tensor& input : inputs) {
        if (input.defined()) ForgetFilePages(input.raw(), input.bytes());
      }
      spent += bytes;
    }
    bool changed = false;
    for (size_t i = 0; i < known.size(); ++i) {
      Value* output = node->output(static_cast<int>(i));
      if (output == nullptr || (output->uses().empty() && !output->is_graph_output())) continue;
      graph.MakeConstant(output, std::move(known[i]));
      changed = true;
    }
    fired += changed;
  }
  return fired;
}

}  // namespace rondo
