#include "executor/step_figures.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rondo {
namespace {

const ValueType* TypeOf(const Plan& plan, absl::Span<const int> slots, size_t i) {
  if (i >= slots.size() || slots[i] < 0) return nullptr;
  const ValueType& type = plan.slots[slots[i]].type;
  return type.has_known_shape() ? &type : nullptr;
}

double Elements(const ValueType& type) { return static_cast<double>(type.shape->ElementCount().value()); }

std::string TypesText(const Plan& plan, absl::Span<const int> slots) {
  return absl::StrJoin(slots, " ", [&](std::string* out, int slot) {
    absl::StrAppend(out, slot < 0 ? "-" : plan.slots[slot].type.ToString());
  });
}

// Whether a step reads only some rows of its first input.
bool Selects(const Node& node) {
  const std::string& type = node.op().type;
  return type == "Gather" || type == "GatherND" || type == "GatherElements" || type == "GatherBlockQuantized" ||
         type == "Slice";
}

bool IsProduct(const Node& node) {
  const std::string& type = node.op().type;
  return type == "MatMul" || type == "Gemm" || type == "MatMulInteger" || type == "QLinearMatMul" ||
         type == "FusedMatMul" || type == "FusedGemm" || type == "DynamicQuantizeMatMul" ||
         type == "MatMulIntegerToFloat";
}

bool IsConvolution(const Node& node) {
  const std::string& type = node.op().type;
  return type == "Conv" || type == "FusedConv" || type == "ConvInteger" || type == "QLinearConv" || type == "NhwcConv";
}

// Two operations per multiplication and addition.
double FlopsOf(const Plan& plan, const Step& step) {
  const ValueType* a = TypeOf(plan, step.inputs, 0);
  const ValueType* y = TypeOf(plan, step.outputs, 0);
  if (a == nullptr || y == nullptr || a->shape->empty() || y->shape->empty()) return 0;
  const Node& node = *step.node;
  if (node.op().type == "MatMulNBits") return 2 * Elements(*y) * static_cast<double>(node.IntOr("K", 0));
  if (IsProduct(node)) {
    const bool transposed = node.IntOr("transA", 0) != 0 && a->shape->rank() == 2;
    return 2 * Elements(*y) * static_cast<double>((*a->shape)[transposed ? 0 : a->shape->rank() - 1].value());
  }
  if (IsConvolution(node)) {
    // QLinearConv has scale and zero point of x before the weights.
    const ValueType* w = TypeOf(plan, step.inputs, node.op().type == "QLinearConv" ? 3 : 1);
    if (w == nullptr || w->shape->empty() || (*w->shape)[0].value() == 0) return 0;
    return 2 * Elements(*y) * Elements(*w) / static_cast<double>((*w->shape)[0].value());
  }
  return 0;
}

}  // namespace

StepFigures FiguresOf(const Plan& plan, const Step& step) {
  StepFigures figures;
  figures.shapes = absl::StrCat(TypesText(plan, step.inputs), " -> ", TypesText(plan, step.outputs));
  figures.flops = FlopsOf(plan, step);
  figures.bytes = step.output_bytes;
  if (step.kind != Step::Kind::kKernel) {
    figures.bytes = 0;
    return figures;
  }
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    const ValueType* type = TypeOf(plan, step.inputs, i);
    if (type == nullptr) {  // state, sequences: what is read of them is not in the plan
      figures.bytes = 0;
      return figures;
    }
    if (i == 0 && Selects(*step.node)) {
      figures.bytes += step.output_bytes;
      continue;
    }
    figures.bytes += static_cast<int64_t>(ByteSize(type->dtype, type->shape->ElementCount().value()));
  }
  return figures;
}

}  // namespace rondo
