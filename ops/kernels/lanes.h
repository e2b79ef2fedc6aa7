// Vectors of floats as wide as the instruction set that a file is compiled for, on GCC's vector extension: arithmetic,
// comparison and `mask ? a : b` are the language's own. For files compiled once per instruction set; everything lives
// in an unnamed namespace, so that no copy made for one set can be linked into another.
#ifndef RONDO_OPS_KERNELS_LANES_H_
#define RONDO_OPS_KERNELS_LANES_H_

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "graph/numeric.h"
#include "rondo/data_type.h"

namespace rondo {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));

inline Floats Load(const float* p) {
  Floats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void Store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof(v)); }
inline Floats Splat(float f) {
#if defined(__AVX512F__)
  return _mm512_set1_ps(f);
#elif defined(__AVX2__)
  return _mm256_set1_ps(f);
#else
  return Floats{f, f, f, f};
#endif
}
inline Floats Max(Floats a, Floats b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
inline float SumOf(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#else
  float s = 0;
  for (int i = 0; i < kLanes; ++i) s += v[i];
  return s;
#endif
}
inline float MaxOf(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(v);
#else
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = m > v[i] ? m : v[i];
  return m;
#endif
}

// e^x with a relative error below 2e-7; 0 below -87.3, +inf above 88.7, NaN for NaN.
inline Floats Exp(Floats x) {
  const Floats too_low = Splat(-87.33654f), too_high = Splat(88.72283f);
  const Floats magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  Floats n = x * Splat(1.44269504f) + magic;
  Bits exponent;
  __builtin_memcpy(&exponent, &n, sizeof(n));
  n -= magic;
  Floats r = x - n * Splat(0.693359375f);
  r -= n * Splat(-2.12194440e-4f);
  Floats p = Splat(1.9875691500e-4f);
  p = p * r + Splat(1.3981999507e-3f);
  p = p * r + Splat(8.3334519073e-3f);
  p = p * r + Splat(4.1665795894e-2f);
  p = p * r + Splat(1.6666665459e-1f);
  p = p * r + Splat(5.0000001201e-1f);
  p = p * (r * r) + r + Splat(1.0f);
  // 2^n in two factors, so that n = 128 does not overflow where e^x does not.
  const Bits half = (exponent - 0x4b400000u + 512u) >> 1;                // (n + 512) / 2: never negative in range
  const Bits low = half - 256u, high = (exponent - 0x4b400000u) - low;   // wraps, as unsigned may
  Bits f1 = (low + 127u) << 23, f2 = (high + 127u) << 23;
  Floats s1, s2;
  __builtin_memcpy(&s1, &f1, sizeof(s1));
  __builtin_memcpy(&s2, &f2, sizeof(s2));
  Floats y = p * s1 * s2;
  y = x < too_low ? Splat(0.0f) : y;
  y = x > too_high ? Splat(__builtin_inff()) : y;
  return y;
}

// Absolute error below 3e-7.
inline Floats Tanh(Floats x) {
  const Floats limit = Splat(15.0f);
  Floats c = x > limit ? limit : x;
  c = c < -limit ? -limit : c;
  return Splat(1.0f) - Splat(2.0f) / (Exp(c + c) + Splat(1.0f));
}

// 16-bit floats to float, kLanes at a time.
inline float HalfBitsToFloat(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, rest = h & 0x7fff;
  uint32_t u;
  if (rest >= 0x7c00) {
    u = sign | 0x7f800000u | (rest & 0x3ff) << 13;
  } else {
    // Shift the exponent by scaling: exact also for subnormals.
    uint32_t shifted = rest << 13;
    float f;
    __builtin_memcpy(&f, &shifted, 4);
    f *= 5.192296858534828e+33f;  // 2^112
    __builtin_memcpy(&u, &f, 4);
    u |= sign;
  }
  float result;
  __builtin_memcpy(&result, &u, 4);
  return result;
#endif
}
inline Floats LoadFloat16(const uint16_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__) && defined(__AVX2__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = HalfBitsToFloat(p[i]);
  return v;
#endif
}

// n floats of any of the three types, as floats.
inline void LoadFloats(const void* data, DataType dtype, int64_t n, float* out) {
  int64_t i = 0;
  if (dtype == DataType::kFloat) {
    __builtin_memcpy(out, data, static_cast<size_t>(n) * 4);
  } else if (dtype == DataType::kFloat16) {
    const uint16_t* p = static_cast<const uint16_t*>(data);
    for (; i + kLanes <= n; i += kLanes) Store(out + i, LoadFloat16(p + i));
    for (; i < n; ++i) out[i] = HalfBitsToFloat(p[i]);
  } else {
    const uint16_t* p = static_cast<const uint16_t*>(data);
    for (; i < n; ++i) {
      const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
      __builtin_memcpy(out + i, &bits, 4);
    }
  }
}
inline void StoreFloats(const float* in, int64_t n, DataType dtype, void* out) {
  if (dtype == DataType::kFloat) {
    __builtin_memcpy(out, in, static_cast<size_t>(n) * 4);
  } else if (dtype == DataType::kFloat16) {
    uint16_t* p = static_cast<uint16_t*>(out);
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + i), _mm512_cvtps_ph(_mm512_loadu_ps(in + i), 0));
    }
#endif
    for (; i < n; ++i) p[i] = Float16::FromFloat(in[i]);
  } else {
    uint16_t* p = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < n; ++i) {
      uint32_t u;
      __builtin_memcpy(&u, in + i, 4);
      const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
      p[i] = static_cast<uint16_t>(nan ? (u >> 16) | 0x40 : (u + 0x7fffu + ((u >> 16) & 1)) >> 16);
    }
  }
}

}  // namespace
}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_LANES_H_
