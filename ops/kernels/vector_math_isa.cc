// The kernels of vector_math.h, for one instruction set. See simd.h for the vector type and the elementary functions.
#include "ops/kernels/simd.h"
#include "ops/kernels/vector_math.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

#define RONDO_UNARY(Name, expr)                            \
  void Name(const float* px, float* py, int64_t n) {       \
    Map(px, py, n, [](F x) RONDO_LAMBDA { return expr; }); \
  }
#define RONDO_UNARY_ALPHA(Name, expr)                             \
  void Name(const float* px, float* py, int64_t n, float alpha) { \
    Map(px, py, n, [alpha](F x) RONDO_LAMBDA { return expr; });   \
  }
#define RONDO_UNARY_ALPHA_BETA(Name, expr)                                    \
  void Name(const float* px, float* py, int64_t n, float alpha, float beta) { \
    Map(px, py, n, [alpha, beta](F x) RONDO_LAMBDA { return expr; });         \
  }
#define RONDO_BINARY(Name, expr)                                      \
  void Name(const float* pa, const float* pb, float* py, int64_t n) { \
    Map2(pa, pb, py, n, [](F a, F b) RONDO_LAMBDA { return expr; });  \
  }
#define RONDO_BINARY_SCALAR(Name, expr)                            \
  void Name(const float* pa, float scalar, float* py, int64_t n) { \
    F b = Set(scalar);                                             \
    Map(pa, py, n, [b](F a) RONDO_LAMBDA { return expr; });        \
  }
#define RONDO_LAMBDA __attribute__((always_inline))

RONDO_UNARY(VExp, Exp(x))
RONDO_UNARY(VLog, Log(x))
RONDO_UNARY(VTanh, Tanh(x))
RONDO_UNARY(VErf, Erf(x))
RONDO_UNARY(VReciprocal, 1.0f / x)
RONDO_UNARY(VAbs, Abs(x))
RONDO_UNARY(VNeg, -x)
RONDO_UNARY(VSigmoid, Sigmoid(x))
RONDO_UNARY(VRelu, AtLeast(x, F{}))
RONDO_UNARY(VSoftplus, AtLeast(x, F{}) + Log1pOfUnit(Exp(-Abs(x))))
RONDO_UNARY(VSoftsign, x / (1.0f + Abs(x)))
// tanh(log(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2)
RONDO_SIMD F Mish(F x) {
  F e = Exp(AtMost(x, Set(20.0f)));
  F t = e * (e + 2.0f);
  return x * (t / (t + 2.0f));
}
RONDO_UNARY(VMish, Mish(x))
RONDO_UNARY(VHardSwish, x* AtMost(AtLeast(x*(1.0f / 6.0f) + 0.5f, F{}), Set(1.0f)))
RONDO_UNARY(VGeluErf, GeluErf(x))
RONDO_UNARY(VGeluTanh, GeluTanh(x))
RONDO_UNARY_ALPHA(VSwish, Swish(x, Set(alpha)))
RONDO_UNARY_ALPHA(VLeakyRelu, x < 0.0f ? x * alpha : x)
RONDO_UNARY_ALPHA(VElu, x < 0.0f ? alpha * Expm1(x) : x)
RONDO_UNARY_ALPHA(VCelu, AtLeast(x, F{}) + AtMost(alpha * Expm1(AtMost(x, F{}) / alpha), F{}))
RONDO_UNARY_ALPHA_BETA(VSelu, beta*(x < 0.0f ? alpha * Expm1(x) : x))
RONDO_UNARY_ALPHA_BETA(VClip, AtMost(AtLeast(x, Set(alpha)), Set(beta)))
RONDO_UNARY_ALPHA_BETA(VHardSigmoid, AtLeast(AtMost(x* alpha + beta, Set(1.0f)), F{}))
RONDO_UNARY_ALPHA_BETA(VScaleShift, x* alpha + beta)

// Magnitudes from 2^23 on are integers already; below, adding and subtracting 2^23 rounds to one. The sign is put back
// for results that are zero.
RONDO_SIMD F Round(F x) {
  F a = Abs(x);
  F r = (a + 8388608.0f) - 8388608.0f;
  return a < 8388608.0f ? CopySign(r, x) : x;
}
RONDO_SIMD F Floor(F x) {
  F r = Round(x);
  return r > x ? r - 1.0f : r;
}
RONDO_SIMD F Ceil(F x) {
  F r = Round(x);
  return CopySign(r < x ? r + 1.0f : r, x);
}
RONDO_UNARY(VRound, Round(x))
RONDO_UNARY(VFloor, Floor(x))
RONDO_UNARY(VCeil, Ceil(x))

void VSqrt(const float* x, float* y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = __builtin_sqrtf(x[i]);
}

RONDO_BINARY(VAdd, a + b)
RONDO_BINARY(VSub, a - b)
RONDO_BINARY(VMul, a* b)
RONDO_BINARY(VDiv, a / b)
RONDO_BINARY(VMax, MaxNan(a, b))
RONDO_BINARY(VMin, MinNan(a, b))
RONDO_BINARY_SCALAR(VAddScalar, a + b)
RONDO_BINARY_SCALAR(VSubScalar, a - b)
RONDO_BINARY_SCALAR(VMulScalar, a* b)
RONDO_BINARY_SCALAR(VDivScalar, a / b)
RONDO_BINARY_SCALAR(VRsubScalar, b - a)
RONDO_BINARY_SCALAR(VRdivScalar, b / a)
RONDO_BINARY_SCALAR(VMaxScalar, MaxNan(a, b))
RONDO_BINARY_SCALAR(VMinScalar, MinNan(a, b))

void VAxpy(const float* a, float b, const float* x, float* y, int64_t n) {
  Map2(a, x, y, n, [b](F va, F vx) RONDO_LAMBDA { return va + b * vx; });
}
void VSwiglu(const float* gate, const float* up, float* y, int64_t n, float alpha) {
  F va = Set(alpha);
  Map2(gate, up, y, n, [va](F g, F u) RONDO_LAMBDA { return Swish(g, va) * u; });
}

// Four accumulators hide the latency of the addition; their sum is nearer to pairwise than to serial summation.
template <typename Term>
RONDO_SIMD float SumOf(int64_t n, Term term) {
  F s0 = {}, s1 = {}, s2 = {}, s3 = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 += term(i, int64_t{kLanes});
    s1 += term(i + kLanes, int64_t{kLanes});
    s2 += term(i + 2 * kLanes, int64_t{kLanes});
    s3 += term(i + 3 * kLanes, int64_t{kLanes});
  }
  for (; i + kLanes <= n; i += kLanes) s0 += term(i, int64_t{kLanes});
  if (i < n) s1 += term(i, n - i);
  return HorizontalSum((s0 + s1) + (s2 + s3));
}
RONDO_SIMD F LoadUpTo(const float* p, int64_t n) { return n == kLanes ? Load(p) : LoadPartial(p, n); }

float VSum(const float* x, int64_t n) {
  return SumOf(n, [x](int64_t i, int64_t m) RONDO_LAMBDA { return LoadUpTo(x + i, m); });
}
float VSumSquares(const float* x, int64_t n) {
  return SumOf(n, [x](int64_t i, int64_t m) RONDO_LAMBDA {
    F v = LoadUpTo(x + i, m);
    return v * v;
  });
}
float VDot(const float* a, const float* b, int64_t n) {
  return SumOf(n, [a, b](int64_t i, int64_t m) RONDO_LAMBDA { return LoadUpTo(a + i, m) * LoadUpTo(b + i, m); });
}

void VMinMax(const float* x, int64_t n, float* low, float* high) {
  F lo = Set(__builtin_inff()), hi = Set(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F v = Load(x + i);
    lo = v < lo ? v : lo;
    hi = v > hi ? v : hi;
  }
  float l = HorizontalMin(lo), h = HorizontalMax(hi);
  for (; i < n; ++i) {
    l = x[i] < l ? x[i] : l;
    h = x[i] > h ? x[i] : h;
  }
  *low = l;
  *high = h;
}
float VMaxValue(const float* x, int64_t n) {
  F hi = Set(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F v = Load(x + i);
    hi = v > hi ? v : hi;
  }
  float h = HorizontalMax(hi);
  for (; i < n; ++i) h = x[i] > h ? x[i] : h;
  return h;
}
float VExpSubSum(const float* x, float shift, float* y, int64_t n) {
  F sum = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F e = Exp(Load(x + i) - shift);
    Store(y + i, e);
    sum += e;
  }
  float total = HorizontalSum(sum);
  if (i < n) {
    F e = Exp(LoadPartial(x + i, n - i) - shift);
    StorePartial(y + i, e, n - i);
    for (int64_t k = 0; k < n - i; ++k) total += e[k];
  }
  return total;
}

// In and out of other element types, a vector at a time.
template <typename V, typename T, typename Op>
RONDO_SIMD void Widen(const T* x, float* y, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, op(LoadAs<V>(x + i)));
  if (i < n) StorePartial(y + i, op(LoadPartialAs<V>(x + i, n - i)), n - i);
}
template <typename T, typename Op>
RONDO_SIMD void Narrow(const float* x, T* y, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, op(Load(x + i)));
  if (i < n) StorePartial(y + i, op(LoadPartial(x + i, n - i)), n - i);
}

void VFloat16ToFloat(const uint16_t* x, float* y, int64_t n) {
  Widen<U16>(x, y, n, [](U16 h) RONDO_LAMBDA { return FromFloat16(h); });
}
void VFloatToFloat16(const float* x, uint16_t* y, int64_t n) {
  Narrow(x, y, n, [](F v) RONDO_LAMBDA { return ToFloat16(v); });
}
void VBFloat16ToFloat(const uint16_t* x, float* y, int64_t n) {
  Widen<U16>(x, y, n, [](U16 h) RONDO_LAMBDA { return FromBFloat16(h); });
}
void VFloatToBFloat16(const float* x, uint16_t* y, int64_t n) {
  Narrow(x, y, n, [](F v) RONDO_LAMBDA { return ToBFloat16(v); });
}

// Clamped to what the low bits of kRoundToInteger can hold; the caller's range lies inside. NaN becomes 0.
RONDO_SIMD I RoundToInt(F x) {
  F c = AtMost(AtLeast(x, Set(-4194304.0f)), Set(4194303.0f));
  I r = Bits<I>(Bits<U>(c + kRoundToInteger) - 0x4b400000u);
  return x == x ? r : I{};
}
template <typename V, typename T>
RONDO_SIMD void Quantize(const float* x, T* y, int64_t n, float scale, int32_t zero_point, int32_t low, int32_t high) {
  F s = Set(scale);
  Narrow(x, y, n, [=](F v) RONDO_LAMBDA {
    I q = RoundToInt(v / s) + zero_point;
    q = q < low ? I{} + low : q;
    q = q > high ? I{} + high : q;
    // By way of 16 bits: the compiler has no single step and would go element by element.
    return __builtin_convertvector(__builtin_convertvector(q, I16), V);
  });
}
void VQuantizeUint8(const float* x, uint8_t* y, int64_t n, float scale, int32_t zero_point) {
  Quantize<U8>(x, y, n, scale, zero_point, 0, 255);
}
void VQuantizeInt8(const float* x, int8_t* y, int64_t n, float scale, int32_t zero_point) {
  Quantize<I8>(x, y, n, scale, zero_point, -128, 127);
}
void VDequantizeUint8(const uint8_t* x, float* y, int64_t n, float scale, int32_t zero_point) {
  Widen<U8>(x, y, n, [=](U8 v) RONDO_LAMBDA {
    return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(v, I16), I) - zero_point, F) * scale;
  });
}
void VDequantizeInt8(const int8_t* x, float* y, int64_t n, float scale, int32_t zero_point) {
  Widen<I8>(x, y, n, [=](I8 v) RONDO_LAMBDA {
    return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(v, I16), I) - zero_point, F) * scale;
  });
}

}  // namespace

extern const VectorMath kVectorMath;
const VectorMath kVectorMath = {
    .exp = VExp,
    .log = VLog,
    .tanh = VTanh,
    .erf = VErf,
    .sqrt = VSqrt,
    .reciprocal = VReciprocal,
    .abs = VAbs,
    .neg = VNeg,
    .floor = VFloor,
    .ceil = VCeil,
    .round = VRound,
    .sigmoid = VSigmoid,
    .relu = VRelu,
    .softplus = VSoftplus,
    .softsign = VSoftsign,
    .mish = VMish,
    .hard_swish = VHardSwish,
    .gelu_erf = VGeluErf,
    .gelu_tanh = VGeluTanh,
    .swish = VSwish,
    .leaky_relu = VLeakyRelu,
    .elu = VElu,
    .celu = VCelu,
    .selu = VSelu,
    .clip = VClip,
    .hard_sigmoid = VHardSigmoid,
    .scale_shift = VScaleShift,
    .add = VAdd,
    .sub = VSub,
    .mul = VMul,
    .div = VDiv,
    .max = VMax,
    .min = VMin,
    .add_scalar = VAddScalar,
    .sub_scalar = VSubScalar,
    .mul_scalar = VMulScalar,
    .div_scalar = VDivScalar,
    .rsub_scalar = VRsubScalar,
    .rdiv_scalar = VRdivScalar,
    .max_scalar = VMaxScalar,
    .min_scalar = VMinScalar,
    .axpy = VAxpy,
    .swiglu = VSwiglu,
    .sum = VSum,
    .sum_squares = VSumSquares,
    .dot = VDot,
    .max_value = VMaxValue,
    .min_max = VMinMax,
    .exp_sub_sum = VExpSubSum,
    .float16_to_float = VFloat16ToFloat,
    .float_to_float16 = VFloatToFloat16,
    .bfloat16_to_float = VBFloat16ToFloat,
    .float_to_bfloat16 = VFloatToBFloat16,
    .quantize_uint8 = VQuantizeUint8,
    .quantize_int8 = VQuantizeInt8,
    .dequantize_uint8 = VDequantizeUint8,
    .dequantize_int8 = VDequantizeInt8,
};

}  // namespace RONDO_ISA
}  // namespace rondo
