// The rotation of one head by rotary position embedding: pairs (x1, x2) of a vector turn by the angles of a position,
//   (x1, x2) -> (cos x1 - sin x2, sin x1 + cos x2),
// where a pair is (x[i], x[i + half]), or (x[2i], x[2i + 1]) when interleaved. Su et al., "RoFormer".
#ifndef RONDO_OPS_KERNELS_ROTARY_H_
#define RONDO_OPS_KERNELS_ROTARY_H_

#include <cstdint>
#include <type_traits>

#include "graph/numeric.h"
#include "ops/kernels/rotary_kernels.h"

namespace rondo {

// x, y: [2 * half], may be the same. cos, sin: [half]. Computes in float.
template <typename T>
void RotateHead(const T* x, const T* cos, const T* sin, int64_t half, bool interleaved, T* y) {
  if (interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = static_cast<float>(x[2 * i]), b = static_cast<float>(x[2 * i + 1]);
      const float c = static_cast<float>(cos[i]), s = static_cast<float>(sin[i]);
      y[2 * i] = T(c * a - s * b);
      y[2 * i + 1] = T(s * a + c * b);
    }
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    return GetRotaryKernels().float32(x, cos, sin, half, y);
  } else if constexpr (std::is_same_v<T, Float16>) {
    const auto bits = [](const Float16* p) { return reinterpret_cast<const uint16_t*>(p); };
    return GetRotaryKernels().float16(bits(x), bits(cos), bits(sin), half, reinterpret_cast<uint16_t*>(y));
  }
  for (int64_t i = 0; i < half; ++i) {
    const float a = static_cast<float>(x[i]), b = static_cast<float>(x[i + half]);
    const float c = static_cast<float>(cos[i]), s = static_cast<float>(sin[i]);
    y[i] = T(c * a - s * b);
    y[i + half] = T(s * a + c * b);
  }
}

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_ROTARY_H_
