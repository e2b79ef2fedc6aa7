// A vector of floats and one of 32-bit integers in the widest registers of the instruction set that a source is
// compiled for, with what the kernels need of them: loads and stores of whole and partial vectors, selection, and the
// elementary functions. For *_isa.cc only (see isa.h for the rule on includes).
//
// The compilers' vector extension gives + - * / comparisons and `mask ? a : b`; comparisons yield I with all bits of a
// lane set where true. Everything has internal linkage, so that no copy of one instruction set serves another.
//
// The elementary functions are polynomials fitted to minimise the relative error over the reduced range (max error of
// the fit below 1e-8); what is left is rounding, 1 to 3 units in the last place.
#ifndef RONDO_OPS_KERNELS_SIMD_H_
#define RONDO_OPS_KERNELS_SIMD_H_

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(RONDO_ISA)
#error "simd.h is for sources that are compiled once per instruction set (*_isa.cc)"
#endif

#define RONDO_SIMD inline __attribute__((always_inline, unused))

namespace rondo {
namespace RONDO_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F __attribute__((vector_size(4 * kLanes)));
typedef int32_t I __attribute__((vector_size(4 * kLanes)));
typedef uint32_t U __attribute__((vector_size(4 * kLanes)));
typedef uint16_t U16 __attribute__((vector_size(2 * kLanes)));
typedef int16_t I16 __attribute__((vector_size(2 * kLanes)));
typedef uint8_t U8 __attribute__((vector_size(kLanes)));
typedef int8_t I8 __attribute__((vector_size(kLanes)));

// Bits of one type as another of the same size.
template <typename To, typename From>
RONDO_SIMD To Bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To r;
  memcpy(&r, &v, sizeof(r));
  return r;
}

RONDO_SIMD F Set(float s) { return s - F{}; }  // keeps -0, as 0 + s would not

template <typename V, typename T>
RONDO_SIMD V LoadAs(const T* p) {
  V v;
  memcpy(&v, p, sizeof(v));
  return v;
}
RONDO_SIMD F Load(const float* p) { return LoadAs<F>(p); }
template <typename T, typename V>
RONDO_SIMD void Store(T* p, V v) {
  memcpy(p, &v, sizeof(v));
}

// The first n < kLanes elements; the other lanes are zero.
template <typename V, typename T>
RONDO_SIMD V LoadPartialAs(const T* p, int64_t n) {
  V v = {};
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(T));
  return v;
}
template <typename T, typename V>
RONDO_SIMD void StorePartial(T* p, V v, int64_t n) {
  if (n < 0) __builtin_unreachable();  // else g++ 14 warns of copies beyond all memory
  memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}
RONDO_SIMD F LoadPartial(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return (F)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  return LoadPartialAs<F>(p, n);
#endif
}
RONDO_SIMD void StorePartial(float* p, F v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
#else
  if (n < 0) __builtin_unreachable();  // as above
  memcpy(p, &v, static_cast<size_t>(n) * sizeof(float));
#endif
}

RONDO_SIMD F Abs(F x) { return Bits<F>(Bits<U>(x) & 0x7fffffffu); }
RONDO_SIMD F CopySign(F magnitude, F sign) {
  return Bits<F>((Bits<U>(magnitude) & 0x7fffffffu) | (Bits<U>(sign) & 0x80000000u));
}
// A NaN in `x` stays; a NaN in the bound does not count. (One minps or maxps each.)
RONDO_SIMD F AtLeast(F x, F low) { return low > x ? low : x; }
RONDO_SIMD F AtMost(F x, F high) { return high < x ? high : x; }
// A NaN in either operand stays, as ONNX's Max and Min have it.
RONDO_SIMD F MaxNan(F a, F b) { return ((a > b) | (a != a)) ? a : b; }
RONDO_SIMD F MinNan(F a, F b) { return ((a < b) | (a != a)) ? a : b; }

// By quarters: a chain over the lanes would cost as much as the work on a short row.
typedef float F4 __attribute__((vector_size(16)));
RONDO_SIMD float HorizontalSum(F v) {
  F4 part[kLanes / 4];
  memcpy(part, &v, sizeof(v));
  for (int i = 1; i < kLanes / 4; ++i) part[0] += part[i];
  return (part[0][0] + part[0][2]) + (part[0][1] + part[0][3]);
}
RONDO_SIMD float HorizontalMax(F v) {
  F4 part[kLanes / 4];
  memcpy(part, &v, sizeof(v));
  for (int i = 1; i < kLanes / 4; ++i) part[0] = part[i] > part[0] ? part[i] : part[0];
  const float a = part[0][0] > part[0][2] ? part[0][0] : part[0][2];
  const float b = part[0][1] > part[0][3] ? part[0][1] : part[0][3];
  return a > b ? a : b;
}
RONDO_SIMD float HorizontalMin(F v) {
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = v[i] < m ? v[i] : m;
  return m;
}

constexpr float kLog2E = 1.44269504089f;
constexpr float kLn2High = 0.693359375f;  // few bits, so that its product with a small integer is exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits

// x = n ln2 + r with |r| <= ln2/2.
struct ExpParts {
  F n;  // integral
  F r;
};
RONDO_SIMD ExpParts ReduceForExp(F x) {
  F n = (x * kLog2E + kRoundToInteger) - kRoundToInteger;
  F r = x - n * kLn2High;
  r = r - n * kLn2Low;
  return {n, r};
}
// (e^r - 1 - r) / r^2 on the reduced range.
RONDO_SIMD F ExpTail(F r) {
  F q = Set(0.00138131424f);
  q = q * r + 0.00836941879f;
  q = q * r + 0.041668456f;
  q = q * r + 0.166665152f;
  q = q * r + 0.49999994f;
  return q;
}
// p * 2^n for |n| < 300, subnormal results and infinity included.
RONDO_SIMD F Scale(F p, F n) {
#if defined(__AVX512F__)
  return (F)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  // In two steps, as 2^n itself may be outside the range of normal floats.
  U i = Bits<U>(n + kRoundToInteger) - 0x4b400000u;
  U half = Bits<U>(Bits<I>(i) >> 1);
  F first = Bits<F>((half + 127u) << 23);
  F second = Bits<F>((i - half + 127u) << 23);
  return p * first * second;
#endif
}

RONDO_SIMD F Exp(F x) {
  // What rounds to 0 is not calculated: a result that underflows costs more than a hundred cycles, and masks are full
  // of them.
  I gone = x < -104.0f;
  ExpParts e = ReduceForExp(AtMost(gone ? Set(0.0f) : x, Set(90.0f)));
  F p = e.r * e.r * ExpTail(e.r) + e.r + 1.0f;
  return gone ? Set(0.0f) : Scale(p, e.n);
}

// e^x - 1 without cancellation near 0.
RONDO_SIMD F Expm1(F x) {
  ExpParts e = ReduceForExp(AtMost(AtLeast(x, Set(-105.0f)), Set(90.0f)));
  F p = e.r * e.r * ExpTail(e.r) + e.r;
  F power = Scale(Set(1.0f), e.n);
  // n reaches 129 or 130 just before the overflow, where 2^n alone is infinite but p may be negative.
  F large = Scale(p + 1.0f, e.n);
  F exact = p * power + (power - 1.0f);
  return e.n > 64.0f ? large : exact;
}

// log(1 + t) for sqrt(1/2) - 1 <= t <= sqrt(2) - 1, plus n ln2.
RONDO_SIMD F LogOfReduced(F t, F n) {
  F q = Set(-0.0763442963f);
  q = q * t + 0.127615497f;
  q = q * t - 0.131601945f;
  q = q * t + 0.142017618f;
  q = q * t - 0.166233569f;
  q = q * t + 0.200012267f;
  q = q * t - 0.250008225f;
  q = q * t + 0.333333313f;
  F square = t * t;
  F low = square * t * q + n * kLn2Low;
  low = low - 0.5f * square;
  return (low + t) + n * kLn2High;
}

RONDO_SIMD F Log(F x) {
  I subnormal = x < 1.17549435e-38f;
  F scaled = subnormal ? x * 8388608.0f : x;
  U u = Bits<U>(scaled);
  I exponent = Bits<I>(u - 0x3f3504f3u) >> 23;  // of the mantissa in [sqrt(1/2), sqrt(2))
  F mantissa = Bits<F>(u - (Bits<U>(exponent) << 23));
  exponent = exponent - (subnormal & 23);
  F r = LogOfReduced(mantissa - 1.0f, __builtin_convertvector(exponent, F));
  const F infinity = Set(__builtin_inff());
  r = x == infinity ? x : r;
  r = x == 0.0f ? -infinity : r;
  return x >= 0.0f ? r : Set(__builtin_nanf(""));
}

// log(1 + u) for 0 <= u <= 1.
RONDO_SIMD F Log1pOfUnit(F u) {
  I upper = u > 0.41421356f;
  F t = upper ? (u - 1.0f) * 0.5f : u;  // 1 + u = 2 (1 + t)
  return LogOfReduced(t, upper ? Set(1.0f) : Set(0.0f));
}

RONDO_SIMD F Tanh(F x) {
  F a = Abs(x);
  F z = x * x;
  F q = Set(-0.00570497848f);
  q = q * z + 0.0206390787f;
  q = q * z - 0.0537397116f;
  q = q * z + 0.133314416f;
  q = q * z - 0.333332807f;
  F small = x * z * q + x;
  F e = Exp(AtMost(a, Set(10.0f)) * 2.0f);
  F large = CopySign(1.0f - 2.0f / (e + 1.0f), x);
  return a > 0.625f ? large : small;  // NaN takes the polynomial and stays
}

RONDO_SIMD F Erf(F x) {
  F a = AtMost(Abs(x), Set(4.0f));
  F z = x * x;
  F p = Set(7.85385782e-05f);
  p = p * z - 0.000801019254f;
  p = p * z + 0.00518832775f;
  p = p * z - 0.026853811f;
  p = p * z + 0.112835854f;
  p = p * z - 0.37612626f;
  p = p * z + 1.12837911f;
  F small = p * x;
  F l = Set(0.000186380086f);  // log(erfc(a)) for 1 <= a <= 4
  l = l * a - 0.00294766668f;
  l = l * a + 0.0218380969f;
  l = l * a - 0.103106819f;
  l = l * a - 0.638144732f;
  l = l * a - 1.12708926f;
  l = l * a - 0.000341512583f;
  F large = CopySign(1.0f - Exp(l), x);
  return a > 1.0f ? large : small;
}

RONDO_SIMD F Sigmoid(F x) { return 1.0f / (1.0f + Exp(-x)); }
RONDO_SIMD F Swish(F x, F alpha) { return x / (1.0f + Exp(-(alpha * x))); }
RONDO_SIMD F GeluErf(F x) { return 0.5f * x * (1.0f + Erf(x * 0.707106781f)); }
// 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
RONDO_SIMD F GeluTanh(F x) {
  F u = 0.797884561f * x * (1.0f + 0.044715f * x * x);
  return x / (1.0f + Exp(u * -2.0f));
}

// float16 as its bits, bfloat16 as its bits.
RONDO_SIMD F FromFloat16(U16 h) {
#if defined(__AVX512F__)
  return (F)_mm512_cvtph_ps((__m256i)h);
#elif defined(__AVX2__)
  return (F)_mm256_cvtph_ps((__m128i)h);
#else
  U w = __builtin_convertvector(h, U);
  U sign = (w & 0x8000u) << 16;
  U magnitude = w & 0x7fffu;
  F normal = Bits<F>((magnitude << 13) + (112u << 23));
  F subnormal = __builtin_convertvector(Bits<I>(magnitude), F) * 5.9604644775390625e-8f;  // 2^-24
  F special = Bits<F>((magnitude << 13) + (224u << 23));
  F r = Bits<I>(magnitude) < 0x400 ? subnormal : normal;
  r = Bits<I>(magnitude) >= 0x7c00 ? special : r;
  return Bits<F>(Bits<U>(r) | sign);
#endif
}
RONDO_SIMD U16 ToFloat16(F x) {
#if defined(__AVX512F__)
  return (U16)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__)
  return (U16)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
#else
  U u = Bits<U>(x);
  U sign = (u >> 16) & 0x8000u;
  u &= 0x7fffffffu;
  U normal = ((u + 0xfffu + ((u >> 13) & 1u)) >> 13) - (112u << 10);
  // 0.5 has a last place of 2^-24, float16's smallest step: the addition rounds.
  U subnormal = Bits<U>(Bits<F>(u) + 0.5f) - 0x3f000000u;
  I bits = Bits<I>(u);
  U r = bits < 0x38800000 ? subnormal : normal;
  r = bits >= 0x477ff000 ? U{} + 0x7c00u : r;
  r = bits > 0x7f800000 ? 0x7e00u | ((u >> 13) & 0x3ffu) : r;
  return __builtin_convertvector(r | sign, U16);
#endif
}
RONDO_SIMD F FromBFloat16(U16 h) { return Bits<F>(__builtin_convertvector(h, U) << 16); }
RONDO_SIMD U16 ToBFloat16(F x) {
  U u = Bits<U>(x);
  U rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  U r = x != x ? (u >> 16) | 0x40u : rounded;
  return __builtin_convertvector(r, U16);
}

// y[i] = op(x[i]); y may be x.
template <typename Op>
RONDO_SIMD void Map(const float* x, float* y, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, op(Load(x + i)));
  if (i < n) StorePartial(y + i, op(LoadPartial(x + i, n - i)), n - i);
}
// y[i] = op(a[i], b[i]); y may be a or b.
template <typename Op>
RONDO_SIMD void Map2(const float* a, const float* b, float* y, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, op(Load(a + i), Load(b + i)));
  if (i < n) StorePartial(y + i, op(LoadPartial(a + i, n - i), LoadPartial(b + i, n - i)), n - i);
}

}  // namespace
}  // namespace RONDO_ISA
}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_SIMD_H_
