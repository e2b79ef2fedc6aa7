// Elements of tensors as people and comparisons want them: doubles, text, statistics.
#ifndef RONDO_TOOLS_VALUES_H_
#define RONDO_TOOLS_VALUES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "rondo/tensor.h"

namespace rondo {

bool IsComplex(DataType type);
// Element i of a tensor that holds numbers or bools. Complex tensors have two components per element, real then
// imaginary: i counts components there.
double Component(const Tensor& tensor, int64_t i);
int64_t ComponentCount(const Tensor& tensor);
// Element i: "3", "-0.25", "true", "\"text\"", "(1+2i)".
std::string ElementText(const Tensor& tensor, int64_t i);
// The first `count` elements: "1, 2, 3, ...".
std::string FirstElementsText(const Tensor& tensor, int64_t count);
// Exactly the same element: NaN equals NaN of the same bits only; for the types that are compared exactly.
bool SameElement(const Tensor& a, const Tensor& b, int64_t i);

struct Statistics {
  double min = 0, mean = 0, max = 0;  // over the elements that are no NaN
  int64_t nans = 0;
  bool defined = false;  // false: nothing to count (no elements, strings, complex)
};
Statistics ComputeStatistics(const Tensor& tensor);

// "float32[1, 3]", "seq of 3", "map of 2", "none".
std::string ValueTypeText(const RuntimeValue& value);
// [i, j, k] of the flat element index.
std::string IndexText(int64_t flat, absl::Span<const int64_t> dims);

// The same numbers in another element type; floats to integers round toward zero. For element types that npy files
// cannot hold. Unimplemented for strings and complex numbers.
absl::StatusOr<Tensor> ConvertElements(const Tensor& tensor, DataType type);

}  // namespace rondo

#endif  // RONDO_TOOLS_VALUES_H_
