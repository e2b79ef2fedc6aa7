#include "rondo/tensor.h"

namespace rondo {
namespace {

bool HoldsTransient(const RuntimeValue& value) {
  if (value.is_tensor()) return value.tensor().transient();
  if (!value.is_sequence()) return false;
  for (const RuntimeValue& element : value.sequence()) {
    if (HoldsTransient(element)) return true;
  }
  return false;
}

}  // namespace

RuntimeValue RuntimeValue::Kept() const {
  if (!HoldsTransient(*this)) return *this;
  if (is_tensor()) return RuntimeValue(tensor().Clone());
  TensorSequence kept;
  kept.reserve(sequence().size());
  for (const RuntimeValue& element : sequence()) kept.push_back(element.Kept());
  return RuntimeValue(std::move(kept));
}

}  // namespace rondo
