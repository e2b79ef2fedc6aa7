// Rows and single elements of any floating-point type as floats, for kernels that exist for float only.
#ifndef RONDO_OPS_HALF_ROWS_H_
#define RONDO_OPS_HALF_ROWS_H_

#include <algorithm>
#include <type_traits>

#include "graph/numeric.h"
#include "ops/kernels/vector_math.h"
#include "rondo/tensor.h"

namespace rondo {

template <typename T>
inline constexpr bool kIsHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

inline void RowToFloat(const VectorMath& math, const Float16* x, float* y, int64_t n) {
  math.float16_to_float(reinterpret_cast<const uint16_t*>(x), y, n);
}
inline void RowToFloat(const VectorMath& math, const BFloat16* x, float* y, int64_t n) {
  math.bfloat16_to_float(reinterpret_cast<const uint16_t*>(x), y, n);
}
inline void RowFromFloat(const VectorMath& math, const float* x, Float16* y, int64_t n) {
  math.float_to_float16(x, reinterpret_cast<uint16_t*>(y), n);
}
inline void RowFromFloat(const VectorMath& math, const float* x, BFloat16* y, int64_t n) {
  math.float_to_bfloat16(x, reinterpret_cast<uint16_t*>(y), n);
}

inline bool IsFloatOrHalf(DataType type) {
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kBFloat16;
}

// Elements [offset, offset + n) of an array of `type` as floats: where they lie when they are floats, else converted
// into `buffer` [n]. REQUIRES: IsFloatOrHalf(type) or kDouble.
inline const float* ReadRow(const VectorMath& math, DataType type, const void* base, int64_t offset, int64_t n,
                            float* buffer) {
  switch (type) {
    case DataType::kFloat:
      return static_cast<const float*>(base) + offset;
    case DataType::kFloat16:
      RowToFloat(math, static_cast<const Float16*>(base) + offset, buffer, n);
      break;
    case DataType::kBFloat16:
      RowToFloat(math, static_cast<const BFloat16*>(base) + offset, buffer, n);
      break;
    default: {
      const double* x = static_cast<const double*>(base) + offset;
      std::transform(x, x + n, buffer, [](double d) { return static_cast<float>(d); });
    }
  }
  return buffer;
}
// The reverse: where to write a row of floats so that WriteRow stores it.
inline float* RowTarget(DataType type, void* base, int64_t offset, float* buffer) {
  return type == DataType::kFloat ? static_cast<float*>(base) + offset : buffer;
}
inline void WriteRow(const VectorMath& math, DataType type, const float* row, void* base, int64_t offset, int64_t n) {
  switch (type) {
    case DataType::kFloat: {
      float* y = static_cast<float*>(base) + offset;
      if (y != row) std::copy_n(row, n, y);
      break;
    }
    case DataType::kFloat16:
      RowFromFloat(math, row, static_cast<Float16*>(base) + offset, n);
      break;
    case DataType::kBFloat16:
      RowFromFloat(math, row, static_cast<BFloat16*>(base) + offset, n);
      break;
    default:
      std::copy_n(row, n, static_cast<double*>(base) + offset);
  }
}

// One element of a floating-point tensor as C, whatever float type it has (parameters may differ from x in type).
template <typename C>
C ElementAs(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DataType::kFloat16:
      return static_cast<C>(static_cast<float>(t.data<Float16>()[i]));
    case DataType::kBFloat16:
      return static_cast<C>(static_cast<float>(t.data<BFloat16>()[i]));
    case DataType::kDouble:
      return static_cast<C>(t.data<double>()[i]);
    default:
      return static_cast<C>(t.data<float>()[i]);
  }
}
template <typename C>
void SetElement(Tensor& t, int64_t i, C value) {
  switch (t.dtype()) {
    case DataType::kFloat16:
      t.mutable_data<Float16>()[i] = Float16(static_cast<float>(value));
      break;
    case DataType::kBFloat16:
      t.mutable_data<BFloat16>()[i] = BFloat16(static_cast<float>(value));
      break;
    case DataType::kDouble:
      t.mutable_data<double>()[i] = static_cast<double>(value);
      break;
    default:
      t.mutable_data<float>()[i] = static_cast<float>(value);
  }
}

}  // namespace rondo

#endif  // RONDO_OPS_HALF_ROWS_H_
