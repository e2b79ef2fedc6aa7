// Storage types of the element types that C++ lacks, with conversions to and from float: round to nearest even, as ONNX
// asks for. Float8/Float4 conversions take `saturate` (ONNX Cast's attribute).
#ifndef RONDO_GRAPH_NUMERIC_H_
#define RONDO_GRAPH_NUMERIC_H_

#include <bit>
#include <cstdint>

namespace rondo {

struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(float f) : bits(FromFloat(f)) {}
  explicit operator float() const { return ToFloat(bits); }
  static uint16_t FromFloat(float f);
  static float ToFloat(uint16_t h);
};

struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float f) : bits(FromFloat(f)) {}
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  static uint16_t FromFloat(float f) {
    uint32_t u = std::bit_cast<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // keep NaN a NaN
    return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
  }
};

// FP8 and FP4 formats by their ONNX names (onnx.ai/onnx/technical/float8.html, float4.html).
enum class SmallFloat { kE4M3FN, kE4M3FNUZ, kE5M2, kE5M2FNUZ, kE2M1 };
uint8_t SmallFloatFromFloat(SmallFloat format, float f, bool saturate);
float SmallFloatToFloat(SmallFloat format, uint8_t bits);
// E8M0: a power of two, 2^(bits - 127); 255 is NaN. Rounding for the reverse: "up", "down" or "nearest".
float E8M0ToFloat(uint8_t bits);
enum class E8M0Rounding { kUp, kDown, kNearest };
uint8_t E8M0FromFloat(float f, E8M0Rounding rounding, bool saturate);

inline Float16 ToFloat16(float f) { return Float16(f); }

// Packed sub-byte integers: element i of a packed array, sign-extended for signed types.
inline int GetInt4(const uint8_t* p, int64_t i) {
  int v = (p[i >> 1] >> ((i & 1) * 4)) & 0xf;
  return v >= 8 ? v - 16 : v;
}
inline int GetUInt4(const uint8_t* p, int64_t i) { return (p[i >> 1] >> ((i & 1) * 4)) & 0xf; }
inline void SetInt4(uint8_t* p, int64_t i, int v) {
  int shift = static_cast<int>(i & 1) * 4;
  p[i >> 1] = static_cast<uint8_t>((p[i >> 1] & ~(0xf << shift)) | ((v & 0xf) << shift));
}
inline int GetUInt2(const uint8_t* p, int64_t i) { return (p[i >> 2] >> ((i & 3) * 2)) & 3; }
inline int GetInt2(const uint8_t* p, int64_t i) {
  int v = GetUInt2(p, i);
  return v >= 2 ? v - 4 : v;
}
inline void SetInt2(uint8_t* p, int64_t i, int v) {
  int shift = static_cast<int>(i & 3) * 2;
  p[i >> 2] = static_cast<uint8_t>((p[i >> 2] & ~(3 << shift)) | ((v & 3) << shift));
}

}  // namespace rondo

#endif  // RONDO_GRAPH_NUMERIC_H_
