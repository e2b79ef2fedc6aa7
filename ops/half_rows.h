// Rows of any floating-point type as floats, for kernels that exist for float only.
#ifndef RONDO_OPS_HALF_ROWS_H_
#define RONDO_OPS_HALF_ROWS_H_

#include <type_traits>

#include "graph/numeric.h"
#include "ops/kernels/vector_math.h"

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

}  // namespace rondo

#endif  // RONDO_OPS_HALF_ROWS_H_
