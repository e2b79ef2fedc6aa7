#include "graph/value_type.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace rondo {

ValueType ValueType::Tensor(DataType dtype, std::optional<Shape> shape) {
  ValueType type;
  type.kind = Kind::kTensor;
  type.dtype = dtype;
  type.shape = std::move(shape);
  return type;
}

ValueType ValueType::Sequence(ValueType element) {
  ValueType type;
  type.kind = Kind::kSequence;
  type.element = std::make_shared<const ValueType>(std::move(element));
  return type;
}

ValueType ValueType::Optional(ValueType element) {
  ValueType type;
  type.kind = Kind::kOptional;
  type.element = std::make_shared<const ValueType>(std::move(element));
  return type;
}

ValueType ValueType::Map(DataType key, ValueType element) {
  ValueType type;
  type.kind = Kind::kMap;
  type.dtype = key;
  type.element = std::make_shared<const ValueType>(std::move(element));
  return type;
}

ValueType ValueType::State() {
  ValueType type;
  type.kind = Kind::kState;
  return type;
}

std::string ValueType::ToString() const {
  const std::string inner = element ? element->ToString() : "?";
  switch (kind) {
    case Kind::kUnknown:
      return "unknown";
    case Kind::kTensor:
      return absl::StrCat(DataTypeName(dtype), shape ? shape->ToString() : "[...]");
    case Kind::kSequence:
      return absl::StrCat("seq(", inner, ")");
    case Kind::kOptional:
      return absl::StrCat("optional(", inner, ")");
    case Kind::kMap:
      return absl::StrCat("map(", DataTypeName(dtype), ", ", inner, ")");
    case Kind::kState:
      return "state";
  }
  return "unknown";
}

}  // namespace rondo
