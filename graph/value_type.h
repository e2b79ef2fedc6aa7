// The static type of a value: tensor(elem)[shape], seq(type), optional(type), map(key, type), state.
#ifndef RONDO_GRAPH_VALUE_TYPE_H_
#define RONDO_GRAPH_VALUE_TYPE_H_

#include <memory>
#include <optional>
#include <string>

#include "graph/dim.h"
#include "rondo/data_type.h"

namespace rondo {

struct ValueType {
  enum class Kind { kUnknown, kTensor, kSequence, kOptional, kMap, kState };

  Kind kind = Kind::kUnknown;
  DataType dtype = DataType::kUndefined;     // tensor: element type; map: key type
  std::optional<Shape> shape;                // tensor: absent when even the rank is unknown
  std::shared_ptr<const ValueType> element;  // sequence, optional, map: what it holds

  static ValueType Tensor(DataType dtype, std::optional<Shape> shape);
  static ValueType Sequence(ValueType element);
  static ValueType Optional(ValueType element);
  static ValueType Map(DataType key, ValueType element);
  static ValueType State();  // a RuntimeState; only in graphs that rewrites made

  bool is_tensor() const { return kind == Kind::kTensor; }
  bool has_known_shape() const { return is_tensor() && shape.has_value() && shape->known(); }
  std::string ToString() const;  // "float32[batch, 3]", "seq(int64[?])"
};

}  // namespace rondo

#endif  // RONDO_GRAPH_VALUE_TYPE_H_
