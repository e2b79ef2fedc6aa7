#include "importer/type_reader.h"

#include <utility>

#include "graph/status.h"

namespace rondo {
namespace {

// Longer texts are names, not arithmetic that somebody wrote; parsing them could only cost.
constexpr size_t kMaxExpressionBytes = 256;

absl::StatusOr<DataType> ReadElementType(int32_t number) {
  if (number == 0) return DataType::kUndefined;
  if (!IsKnownDataType(number)) return InvalidArgument("unknown data type ", number);
  return static_cast<DataType>(number);
}

absl::StatusOr<Shape> ReadShape(const onnx::TensorShapeProto& proto, const ImportLimits& limits) {
  if (proto.dim_size() > limits.max_rank) return InvalidArgument("rank ", proto.dim_size(), " > ", limits.max_rank);
  Shape shape;
  for (const auto& dim : proto.dim()) {
    if (dim.has_dim_value()) {
      shape.push_back(dim.dim_value() < 0 ? Dim::Unknown() : Dim(dim.dim_value()));
    } else if (dim.dim_param().size() > kMaxExpressionBytes) {
      shape.push_back(Dim::Symbol(dim.dim_param()));
    } else {
      shape.push_back(Dim::Parse(dim.dim_param()));
    }
  }
  return shape;
}

}  // namespace

absl::StatusOr<ValueType> ReadType(const onnx::TypeProto& proto, const ImportLimits& limits) {
  switch (proto.value_case()) {
    case onnx::TypeProto::kTensorType: {
      RONDO_ASSIGN_OR_RETURN(const DataType dtype, ReadElementType(proto.tensor_type().elem_type()));
      std::optional<Shape> shape;
      if (proto.tensor_type().has_shape()) {
        RONDO_ASSIGN_OR_RETURN(shape, ReadShape(proto.tensor_type().shape(), limits));
      }
      return ValueType::Tensor(dtype, std::move(shape));
    }
    case onnx::TypeProto::kSequenceType: {
      RONDO_ASSIGN_OR_RETURN(ValueType element, ReadType(proto.sequence_type().elem_type(), limits));
      return ValueType::Sequence(std::move(element));
    }
    case onnx::TypeProto::kOptionalType: {
      RONDO_ASSIGN_OR_RETURN(ValueType element, ReadType(proto.optional_type().elem_type(), limits));
      return ValueType::Optional(std::move(element));
    }
    case onnx::TypeProto::kMapType: {
      RONDO_ASSIGN_OR_RETURN(const DataType key, ReadElementType(proto.map_type().key_type()));
      RONDO_ASSIGN_OR_RETURN(ValueType element, ReadType(proto.map_type().value_type(), limits));
      return ValueType::Map(key, std::move(element));
    }
    case onnx::TypeProto::kSparseTensorType:
      return Unimplemented("sparse tensor as the type of a value");
    case onnx::TypeProto::kOpaqueType:
      return Unimplemented("opaque type");
    default:
      return ValueType();
  }
}

}  // namespace rondo
