#include "executor/step_figures.h"

#include <algorithm>

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

// Of a table that a step selects rows of, the bytes of as many rows as it selects; of another input all.
double BytesRead(const Plan& plan, const Step& step, size_t i, const ValueType& type) {
  const double all = static_cast<double>(ByteSize(type.dtype, type.shape->ElementCount().value()));
  const auto rows = [&](double count, int64_t axis) {
    const int64_t rank = type.shape->rank();
    const int64_t of = rank == 0 ? 1 : (*type.shape)[(axis % rank + rank) % rank].value();
    return all * std::min(1.0, count / static_cast<double>(std::max<int64_t>(of, 1)));
  };
  const Node& node = *step.node;
  const std::string& op = node.op().type;
  if ((op == "Gather" && i == 0) || (op == "GatherBlockQuantized" && i != 1)) {
    const ValueType* indices = TypeOf(plan, step.inputs, 1);
    const int64_t axis = node.IntOr(op == "Gather" ? "axis" : "gather_axis", 0);
    return indices == nullptr ? all : rows(Elements(*indices), axis);
  }
  if (op == "QuantizedMatMul" && i == 1) {
    // Fields, and a scale of 16 bits for each block; the matrix itself is read by packing alone.
    const double scale_bits = 16.0 / static_cast<double>(node.IntOr("block_size", 32));
    return Elements(type) * (static_cast<double>(node.IntOr("bits", 8)) + scale_bits) / 8;
  }
  if (i == 0 && (op == "GatherND" || op == "GatherElements" || op == "Slice")) {
    return std::min(all, static_cast<double>(step.output_bytes));
  }
  // Tables of cosines and sines, [positions, D / 2]: a row for each token of x, [B, T, H * D] or [B, H, T, D].
  if (op == "RotaryEmbedding" && i > 0 && type.dtype != DataType::kInt64 && type.shape->rank() == 2) {
    const ValueType* x = TypeOf(plan, step.inputs, 0);
    if (x != nullptr && x->shape->rank() >= 3) {
      return rows(static_cast<double>((*x->shape)[0].value() * (*x->shape)[x->shape->rank() - 2].value()), 0);
    }
  }
  return all;
}

bool IsProduct(const Node& node) {
  const std::string& type = node.op().type;
  return type == "MatMul" || type == "Gemm" || type == "MatMulInteger" || type == "QLinearMatMul" ||
         type == "FusedMatMul" || type == "FusedGemm" || type == "DynamicQuantizeMatMul" ||
         type == "MatMulIntegerToFloat" || type == "QuantizedMatMul";
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
    figures.bytes += static_cast<int64_t>(BytesRead(plan, step, i, *type));
  }
  return figures;
}

}  // namespace rondo
