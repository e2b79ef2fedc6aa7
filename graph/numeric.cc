// Conversions between float and the narrow formats, by integer arithmetic on the bits: the baseline ISA has no
// instruction for any of them. Arrays of float16 and bfloat16 go through ops/kernels/, which has vector forms.
//
// All roundings are to nearest, ties to even, done once: the 24-bit significand is shifted to the target's width, and a
// carry out of the mantissa runs into the exponent field, where it belongs.
#include "graph/numeric.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace rondo {

namespace {

// m >> shift, to nearest, ties to even. 0 for shifts that leave less than half a unit of a 24-bit significand.
uint32_t ShiftRightToNearestEven(uint32_t m, int shift) {
  if (shift > 25) return 0;
  uint32_t kept = m >> shift;
  uint32_t rest = m & ((uint32_t{1} << shift) - 1);
  uint32_t half = shift > 0 ? uint32_t{1} << (shift - 1) : 1;
  if (shift > 0 && (rest > half || (rest == half && (kept & 1) != 0))) ++kept;
  return kept;
}

// Magnitude bits of a finite float `u` (sign removed) in a format of `mantissa_bits` and `bias`; may exceed the largest
// finite code, which the caller then treats as overflow.
uint32_t RoundMagnitude(uint32_t u, int mantissa_bits, int bias) {
  int exponent = static_cast<int>(u >> 23) - 127;
  uint32_t significand = u & 0x7fffff;
  if (exponent == -127) {
    exponent = -126;  // a float subnormal
  } else {
    significand |= 0x800000;
  }
  int min_exponent = 1 - bias;
  int shift = 23 - mantissa_bits;
  if (exponent < min_exponent) {
    return ShiftRightToNearestEven(significand, shift + (min_exponent - exponent));
  }
  uint32_t rounded = ShiftRightToNearestEven(significand, shift);
  // `rounded` holds the implicit bit, so the biased exponent is one less here. (A float subnormal arrives only when the
  // format has float's own range, and then lacks the bit: the sum is still right.)
  return (static_cast<uint32_t>(exponent + bias - 1) << mantissa_bits) + rounded;
}

float PowerOfTwo(int exponent) {  // REQUIRES: -126 <= exponent <= 127
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

struct SmallFormat {
  int mantissa_bits;
  int bias;
  uint8_t sign_bit;
  uint8_t max_code;       // largest finite magnitude
  uint8_t overflow_code;  // magnitude (or, for FNUZ, all bits) that stands for "too large" when not saturating
  uint8_t nan_code;
  bool unsigned_zero;  // FNUZ: 0x80 is NaN, there is no -0
};

const SmallFormat& FormatOf(SmallFloat format) {
  static constexpr SmallFormat kFormats[] = {
      {3, 7, 0x80, 0x7e, 0x7f, 0x7f, false},   // E4M3FN
      {3, 8, 0x80, 0x7f, 0x80, 0x80, true},    // E4M3FNUZ
      {2, 15, 0x80, 0x7b, 0x7c, 0x7e, false},  // E5M2
      {2, 16, 0x80, 0x7f, 0x80, 0x80, true},   // E5M2FNUZ
      {1, 1, 0x08, 0x07, 0x07, 0x00, false},   // E2M1: neither infinity nor NaN; NaN becomes a zero
  };
  return kFormats[static_cast<int>(format)];
}

}  // namespace

uint16_t Float16::FromFloat(float f) {
#if defined(__F16C__)
  return static_cast<uint16_t>(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT));
#else
  uint32_t bits = std::bit_cast<uint32_t>(f);
  uint32_t sign = (bits >> 16) & 0x8000;
  uint32_t u = bits & 0x7fffffff;
  if (u > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | ((u >> 13) & 0x3ff));
  if (u >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // 65520 and above, infinity
  return static_cast<uint16_t>(sign | RoundMagnitude(u, 10, 15));
#endif
}

float Float16::ToFloat(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t magnitude = h & 0x7fff;
  if (magnitude >= 0x7c00) {
    uint32_t quiet = magnitude > 0x7c00 ? 0x400000 : 0;
    return std::bit_cast<float>(sign | 0x7f800000 | quiet | ((magnitude & 0x3ff) << 13));
  }
  if (magnitude < 0x400) {  // zero and subnormals: magnitude * 2^-24, exact
    uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(magnitude) * PowerOfTwo(-24));
    return std::bit_cast<float>(sign | bits);
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
#endif
}

uint8_t SmallFloatFromFloat(SmallFloat format, float f, bool saturate) {
  const SmallFormat& p = FormatOf(format);
  uint32_t bits = std::bit_cast<uint32_t>(f);
  uint8_t sign = (bits >> 31) != 0 ? p.sign_bit : 0;
  uint32_t u = bits & 0x7fffffff;
  if (u > 0x7f800000) return p.unsigned_zero ? p.nan_code : static_cast<uint8_t>(sign | p.nan_code);
  uint32_t code = u == 0x7f800000 ? uint32_t{p.max_code} + 1 : RoundMagnitude(u, p.mantissa_bits, p.bias);
  if (code > p.max_code) {
    if (saturate) return static_cast<uint8_t>(sign | p.max_code);
    return p.unsigned_zero ? p.overflow_code : static_cast<uint8_t>(sign | p.overflow_code);
  }
  if (code == 0 && p.unsigned_zero) return 0;
  return static_cast<uint8_t>(sign | code);
}

float SmallFloatToFloat(SmallFloat format, uint8_t bits) {
  const SmallFormat& p = FormatOf(format);
  constexpr uint32_t kQuietNan = 0x7fc00000;
  uint32_t sign = (bits & p.sign_bit) != 0 ? 0x80000000u : 0;
  uint32_t magnitude = bits & (p.sign_bit - 1u);
  if (p.unsigned_zero) {
    if (bits == p.nan_code) return std::bit_cast<float>(kQuietNan);
  } else if (magnitude > p.max_code) {
    bool infinite = format == SmallFloat::kE5M2 && magnitude == p.overflow_code;
    return std::bit_cast<float>(sign | (infinite ? 0x7f800000u : kQuietNan));
  }
  uint32_t mantissa = magnitude & ((1u << p.mantissa_bits) - 1);
  uint32_t exponent = magnitude >> p.mantissa_bits;
  float value;
  if (exponent == 0) {
    value = static_cast<float>(mantissa) * PowerOfTwo(1 - p.bias - p.mantissa_bits);
  } else {
    uint32_t biased = exponent + static_cast<uint32_t>(127 - p.bias);
    value = std::bit_cast<float>((biased << 23) | (mantissa << (23 - p.mantissa_bits)));
  }
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

float E8M0ToFloat(uint8_t bits) {
  if (bits == 255) return std::bit_cast<float>(uint32_t{0x7fc00000});
  if (bits == 0) return std::bit_cast<float>(uint32_t{0x00400000});  // 2^-127, subnormal in float
  return PowerOfTwo(static_cast<int>(bits) - 127);
}

// The format has no sign and no zero. The sign is ignored (ONNX leaves negative values open); what lies outside
// [2^-127, 2^127], zero included, is clamped when saturating and NaN otherwise.
uint8_t E8M0FromFloat(float f, E8M0Rounding rounding, bool saturate) {
  constexpr uint8_t kNan = 255;
  constexpr uint8_t kMax = 254;
  uint32_t u = std::bit_cast<uint32_t>(f) & 0x7fffffff;
  if (u > 0x7f800000) return kNan;
  if (u == 0x7f800000) return saturate ? kMax : kNan;
  if (u < 0x00400000) return saturate ? 0 : kNan;
  // Exponent field of the power of two at or below |f|, and the fraction above it scaled to 23 bits.
  uint32_t exponent = u >> 23;
  uint32_t fraction = u & 0x7fffff;
  if (exponent == 0) fraction = (fraction << 1) & 0x7fffff;  // 2^-127 <= |f| < 2^-126
  bool up = false;
  switch (rounding) {
    case E8M0Rounding::kUp:
      up = fraction != 0;
      break;
    case E8M0Rounding::kDown:
      break;
    case E8M0Rounding::kNearest:
      up = fraction >= 0x400000;
      break;
  }
  uint32_t code = exponent + (up ? 1 : 0);
  if (code > kMax) return saturate ? kMax : kNan;
  return static_cast<uint8_t>(code);
}

}  // namespace rondo
