// Compiled once per instruction set; see isa.h for what may be included here.
#include "ops/kernels/row_norm.h"
#include "ops/kernels/simd.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

// Sum of x.
RONDO_SIMD float RowSum(const float* x, int64_t n) {
  F s0 = {}, s1 = {}, s2 = {}, s3 = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 += Load(x + i);
    s1 += Load(x + i + kLanes);
    s2 += Load(x + i + 2 * kLanes);
    s3 += Load(x + i + 3 * kLanes);
  }
  for (; i + kLanes <= n; i += kLanes) s0 += Load(x + i);
  if (i < n) s1 += LoadPartial(x + i, n - i);
  return HorizontalSum((s0 + s1) + (s2 + s3));
}

// Sum of (x - mean)^2.
RONDO_SIMD float RowSquares(const float* x, int64_t n, float mean) {
  F m = Set(mean), s0 = {}, s1 = {}, s2 = {}, s3 = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    F a = Load(x + i) - m, b = Load(x + i + kLanes) - m;
    F c = Load(x + i + 2 * kLanes) - m, d = Load(x + i + 3 * kLanes) - m;
    s0 += a * a;
    s1 += b * b;
    s2 += c * c;
    s3 += d * d;
  }
  for (; i + kLanes <= n; i += kLanes) {
    F a = Load(x + i) - m;
    s0 += a * a;
  }
  float rest = 0;
  for (; i < n; ++i) rest += (x[i] - mean) * (x[i] - mean);
  return HorizontalSum((s0 + s1) + (s2 + s3)) + rest;
}

// y = (x - mean) * inv [* scale] [+ bias].
template <bool kScale, bool kBias>
RONDO_SIMD void Apply(const float* x, const float* scale, const float* bias, float* y, int64_t n, float mean,
                      float inv) {
  F m = Set(mean), v = Set(inv);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F r = (Load(x + i) - m) * v;
    if (kScale) r = r * Load(scale + i);
    if (kBias) r = r + Load(bias + i);
    Store(y + i, r);
  }
  if (i < n) {
    F r = (LoadPartial(x + i, n - i) - m) * v;
    if (kScale) r = r * LoadPartial(scale + i, n - i);
    if (kBias) r = r + LoadPartial(bias + i, n - i);
    StorePartial(y + i, r, n - i);
  }
}

void RMeanVariance(const float* x, int64_t n, float* mean, float* variance) {
  *mean = RowSum(x, n) / static_cast<float>(n);
  *variance = RowSquares(x, n, *mean) / static_cast<float>(n);
}

void RLayerNorm(const float* x, const float* scale, const float* bias, float* y, int64_t n, float epsilon, float* mean,
                float* inv_std) {
  float m, variance;
  RMeanVariance(x, n, &m, &variance);
  float inv = 1.0f / __builtin_sqrtf(variance + epsilon);
  *mean = m;
  *inv_std = inv;
  if (scale != nullptr && bias != nullptr) {
    Apply<true, true>(x, scale, bias, y, n, m, inv);
  } else if (scale != nullptr) {
    Apply<true, false>(x, scale, bias, y, n, m, inv);
  } else if (bias != nullptr) {
    Apply<false, true>(x, scale, bias, y, n, m, inv);
  } else {
    Apply<false, false>(x, scale, bias, y, n, m, inv);
  }
}

void RRmsNorm(const float* x, const float* scale, float* y, int64_t n, float epsilon, float* inv_rms) {
  float inv = 1.0f / __builtin_sqrtf(RowSquares(x, n, 0.0f) / static_cast<float>(n) + epsilon);
  *inv_rms = inv;
  if (scale != nullptr) {
    Apply<true, false>(x, scale, nullptr, y, n, 0.0f, inv);
  } else {
    Apply<false, false>(x, nullptr, nullptr, y, n, 0.0f, inv);
  }
}

void RAdd(const float* a, const float* b, const float* c, float* y, int64_t n) {
  int64_t i = 0;
  if (c == nullptr) {
    for (; i + kLanes <= n; i += kLanes) Store(y + i, Load(a + i) + Load(b + i));
    for (; i < n; ++i) y[i] = a[i] + b[i];
  } else {
    for (; i + kLanes <= n; i += kLanes) Store(y + i, Load(a + i) + Load(b + i) + Load(c + i));
    for (; i < n; ++i) y[i] = a[i] + b[i] + c[i];
  }
}

}  // namespace

extern const RowNorm kRowNorm;
const RowNorm kRowNorm = {
    .layer_norm = RLayerNorm,
    .rms_norm = RRmsNorm,
    .add = RAdd,
    .mean_variance = RMeanVariance,
};

}  // namespace RONDO_ISA
}  // namespace rondo
