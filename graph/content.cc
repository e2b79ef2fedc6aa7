#include "graph/content.h"

namespace rondo {

Tensor TensorFromContent(const ValueType& type, const std::vector<Dim>& content) {
  if (!type.has_known_shape()) return Tensor();
  for (const Dim& d : content) {
    if (!d.known()) return Tensor();
  }
  if (type.shape->ElementCount() != Dim(static_cast<int64_t>(content.size()))) return Tensor();
  Tensor tensor = Tensor::Make(type.dtype, type.shape->ToDims());
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const int64_t v = content[i].value();
    switch (type.dtype) {
      case DataType::kInt64:
        tensor.mutable_data<int64_t>()[i] = v;
        break;
      case DataType::kInt32:
        if (v < INT32_MIN || v > INT32_MAX) return Tensor();
        tensor.mutable_data<int32_t>()[i] = static_cast<int32_t>(v);
        break;
      case DataType::kBool:
        tensor.mutable_data<uint8_t>()[i] = v != 0;
        break;
      default:
        return Tensor();
    }
  }
  return tensor;
}

}  // namespace rondo
