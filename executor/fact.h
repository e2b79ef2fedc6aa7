// What a shape binding knows of a value: its concrete type, and its elements where they do not depend on the inputs'
// data (weights, folded shape arithmetic).
#ifndef RONDO_EXECUTOR_FACT_H_
#define RONDO_EXECUTOR_FACT_H_

#include "graph/value_type.h"
#include "rondo/tensor.h"

namespace rondo {

struct Fact {
  ValueType type;
  Tensor constant;  // undefined when the elements are not known

  // A tensor whose dims are not all numbers: whoever reads it cannot be prepared yet.
  bool waits() const { return type.is_tensor() && !type.has_known_shape(); }
  static Fact Of(Tensor tensor) {
    Fact fact;
    fact.type = ValueType::Tensor(tensor.dtype(), Shape::FromDims(tensor.dims()));
    fact.constant = std::move(tensor);
    return fact;
  }
  // The type of a value at run time; its elements are not taken to be constant.
  static Fact TypeOf(const RuntimeValue& value, const ValueType& declared) {
    Fact fact;
    fact.type = declared;
    if (value.is_tensor()) {
      fact.type = ValueType::Tensor(value.tensor().dtype(), Shape::FromDims(value.tensor().dims()));
    }
    return fact;
  }
};

}  // namespace rondo

#endif  // RONDO_EXECUTOR_FACT_H_
