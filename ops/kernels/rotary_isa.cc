// Compiled once per instruction set; see isa.h for what may be included here.
#include "ops/kernels/rotary_kernels.h"
#include "ops/kernels/simd.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

void RFloat32(const float* x, const float* cos, const float* sin, int64_t half, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    F a = Load(x + i), b = Load(x + half + i), c = Load(cos + i), s = Load(sin + i);
    Store(y + i, c * a - s * b);
    Store(y + half + i, s * a + c * b);
  }
  if (i == half) return;
  const int64_t n = half - i;
  F a = LoadPartial(x + i, n), b = LoadPartial(x + half + i, n), c = LoadPartial(cos + i, n),
    s = LoadPartial(sin + i, n);
  StorePartial(y + i, c * a - s * b, n);
  StorePartial(y + half + i, s * a + c * b, n);
}

void RFloat16(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, int64_t half, uint16_t* y) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t n = half - i < kLanes ? half - i : kLanes;
    F a = FromFloat16(LoadPartialAs<U16>(x + i, n)), b = FromFloat16(LoadPartialAs<U16>(x + half + i, n));
    F c = FromFloat16(LoadPartialAs<U16>(cos + i, n)), s = FromFloat16(LoadPartialAs<U16>(sin + i, n));
    StorePartial(y + i, ToFloat16(c * a - s * b), n);
    StorePartial(y + half + i, ToFloat16(s * a + c * b), n);
  }
}

}  // namespace

extern const RotaryKernels kRotaryKernels;
const RotaryKernels kRotaryKernels = {.float32 = RFloat32, .float16 = RFloat16};

}  // namespace RONDO_ISA
}  // namespace rondo
