#include "kvcache/step_inputs.h"

#include <limits>

#include "absl/functional/function_ref.h"
#include "graph/numeric.h"
#include "graph/status.h"

namespace rondo {
namespace {

absl::StatusOr<Tensor> Filled(const Value& input, absl::Span<const int64_t> dims,
                              absl::FunctionRef<double(int64_t flat)> element) {
  const DataType type = input.type().dtype;
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(type, dims));
  const auto fill = [&](auto* data, auto convert) {
    for (int64_t i = 0; i < tensor.size(); ++i) data[i] = convert(element(i));
  };
  switch (type) {
    case DataType::kInt64:
      fill(tensor.mutable_data<int64_t>(), [](double x) { return static_cast<int64_t>(x); });
      break;
    case DataType::kInt32:
      fill(tensor.mutable_data<int32_t>(), [](double x) { return static_cast<int32_t>(x); });
      break;
    case DataType::kBool:
      fill(tensor.mutable_data<uint8_t>(), [](double x) { return static_cast<uint8_t>(x != 0); });
      break;
    case DataType::kFloat:
      fill(tensor.mutable_data<float>(), [](double x) { return static_cast<float>(x); });
      break;
    case DataType::kFloat16:
      fill(tensor.mutable_data<Float16>(), [](double x) { return Float16(static_cast<float>(x)); });
      break;
    default:
      return Unimplemented("input \"", input.name(), "\" of type ", DataTypeName(type));
  }
  return tensor;
}

}  // namespace

absl::StatusOr<Tensor> MakeStepInput(const Value& input, PortRole role, const StepShape& shape) {
  const int64_t keys = shape.past + shape.rows;
  const Shape& declared = *input.type().shape;
  const auto key_dim = [&](const Dim& dim) { return dim.known() ? dim.value() : keys; };
  switch (role) {
    case PortRole::kMask: {
      const int64_t length = key_dim(declared[1]);
      return Filled(input, {shape.batch, length}, [&](int64_t i) { return i % length < keys ? 1 : 0; });
    }
    case PortRole::kMask4D: {
      const int64_t length = key_dim(declared[3]);
      const bool boolean = input.type().dtype == DataType::kBool;
      return Filled(input, {shape.batch, 1, shape.rows, length}, [&](int64_t i) {
        const bool visible = i % length <= shape.past + i / length % shape.rows;
        return boolean ? static_cast<double>(visible) : visible ? 0.0 : -std::numeric_limits<double>::infinity();
      });
    }
    case PortRole::kPositions:
      return Filled(input, {shape.batch, shape.rows},
                    [&](int64_t i) { return static_cast<double>(shape.past + i % shape.rows); });
    case PortRole::kCachePosition:
      return Filled(input, {shape.rows}, [&](int64_t i) { return static_cast<double>(shape.past + i); });
    case PortRole::kWriteIndices:
      return Filled(input, {shape.batch}, [&](int64_t) { return static_cast<double>(shape.past); });
    case PortRole::kValidLengths:
      return Filled(input, {shape.batch}, [&](int64_t) { return static_cast<double>(keys); });
    case PortRole::kKeepLogits: {
      const Dims one(declared.rank(), 1);
      return Filled(input, one, [](int64_t) { return 1.0; });
    }
    default:
      return Internal("input \"", input.name(), "\" (", PortRoleName(role), ") is not made here");
  }
}

}  // namespace rondo
