#include "ops/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/kernels/vector_math.h"

namespace rondo {
namespace {

// ---- First step: to a canonical type --------------------------------------------------------------------------------

template <typename S, typename C>
void Widen(const void* from, int64_t begin, int64_t n, C* to) {
  const S* p = static_cast<const S*>(from) + begin;
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<C>(p[i]);
}

bool SmallFloatOf(DataType type, SmallFloat* format) {
  switch (type) {
    case DataType::kFloat8E4M3FN:
      *format = SmallFloat::kE4M3FN;
      return true;
    case DataType::kFloat8E4M3FNUZ:
      *format = SmallFloat::kE4M3FNUZ;
      return true;
    case DataType::kFloat8E5M2:
      *format = SmallFloat::kE5M2;
      return true;
    case DataType::kFloat8E5M2FNUZ:
      *format = SmallFloat::kE5M2FNUZ;
      return true;
    case DataType::kFloat4E2M1:
      *format = SmallFloat::kE2M1;
      return true;
    default:
      return false;
  }
}

}  // namespace

void LoadFloats(DataType type, const void* from, int64_t begin, int64_t n, float* to) {
  const VectorMath& math = GetVectorMath();
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  SmallFloat format;
  switch (type) {
    case DataType::kFloat:
      return Widen<float>(from, begin, n, to);
    case DataType::kFloat16:
      return math.float16_to_float(static_cast<const uint16_t*>(from) + begin, to, n);
    case DataType::kBFloat16:
      return math.bfloat16_to_float(static_cast<const uint16_t*>(from) + begin, to, n);
    case DataType::kFloat8E8M0:
      for (int64_t i = 0; i < n; ++i) to[i] = E8M0ToFloat(bytes[begin + i]);
      return;
    case DataType::kFloat4E2M1:
      for (int64_t i = 0; i < n; ++i) {
        to[i] = SmallFloatToFloat(SmallFloat::kE2M1, static_cast<uint8_t>(GetUInt4(bytes, begin + i)));
      }
      return;
    default:
      SmallFloatOf(type, &format);
      for (int64_t i = 0; i < n; ++i) to[i] = SmallFloatToFloat(format, bytes[begin + i]);
  }
}

void LoadIntegers(DataType type, const void* from, int64_t begin, int64_t n, int64_t* to) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  switch (type) {
    case DataType::kInt64:
      return Widen<int64_t>(from, begin, n, to);
    case DataType::kInt8:
      return Widen<int8_t>(from, begin, n, to);
    case DataType::kUInt8:
      return Widen<uint8_t>(from, begin, n, to);
    case DataType::kInt16:
      return Widen<int16_t>(from, begin, n, to);
    case DataType::kUInt16:
      return Widen<uint16_t>(from, begin, n, to);
    case DataType::kInt32:
      return Widen<int32_t>(from, begin, n, to);
    case DataType::kUInt32:
      return Widen<uint32_t>(from, begin, n, to);
    case DataType::kBool:
      for (int64_t i = 0; i < n; ++i) to[i] = bytes[begin + i] != 0;
      return;
    case DataType::kInt4:
      for (int64_t i = 0; i < n; ++i) to[i] = GetInt4(bytes, begin + i);
      return;
    case DataType::kUInt4:
      for (int64_t i = 0; i < n; ++i) to[i] = GetUInt4(bytes, begin + i);
      return;
    case DataType::kInt2:
      for (int64_t i = 0; i < n; ++i) to[i] = GetInt2(bytes, begin + i);
      return;
    default:
      for (int64_t i = 0; i < n; ++i) to[i] = GetUInt2(bytes, begin + i);
  }
}

namespace {

// ---- Second step: from a canonical type C ---------------------------------------------------------------------------

// The int64 whose low bits narrow integers take.
template <typename C>
int64_t ToInt64(C v) {
  if constexpr (std::is_floating_point_v<C>) {
    if (!(v == v)) return 0;
    if (v >= static_cast<C>(0x1p63)) return std::numeric_limits<int64_t>::max();
    if (v < static_cast<C>(-0x1p63)) return std::numeric_limits<int64_t>::min();
  }
  return static_cast<int64_t>(v);
}

template <typename T, typename C>
T ToInteger(C v) {
  if constexpr (std::is_floating_point_v<C> && std::is_same_v<T, uint64_t>) {
    if (v >= static_cast<C>(0x1p64)) return std::numeric_limits<uint64_t>::max();
    if (v >= static_cast<C>(0x1p63)) return static_cast<uint64_t>(v);
  }
  if constexpr (std::is_floating_point_v<C> && std::is_same_v<T, uint32_t>) {
    if (v >= static_cast<C>(0x1p32)) return std::numeric_limits<uint32_t>::max();
  }
  if constexpr (std::is_floating_point_v<C> && std::is_same_v<T, int32_t>) {
    if (v >= static_cast<C>(0x1p31)) return std::numeric_limits<int32_t>::max();
    if (v < static_cast<C>(-0x1p31)) return std::numeric_limits<int32_t>::min();
  }
  return static_cast<T>(ToInt64(v));
}

// A float that a second rounding, to a format of fewer bits, takes to where one rounding of `v` would go: the last bit
// is set when the conversion was inexact.
float RoundToOdd(double v) {
  float f = static_cast<float>(v);
  if (static_cast<double>(f) == v || !(v == v) || std::isinf(f)) return f;
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 1) != 0) return f;
  // Towards the side of `v` that the rounding left.
  bool away = std::abs(v) > std::abs(static_cast<double>(f));
  return std::bit_cast<float>(away ? bits + 1 : bits - 1);
}
float ForNarrowing(float v) { return v; }
float ForNarrowing(double v) { return RoundToOdd(v); }
float ForNarrowing(int64_t v) { return RoundToOdd(static_cast<double>(v)); }
float ForNarrowing(uint64_t v) { return RoundToOdd(static_cast<double>(v)); }

template <typename T, typename C>
void NarrowToIntegers(const C* from, int64_t begin, int64_t n, void* to) {
  T* p = static_cast<T*>(to) + begin;
  for (int64_t i = 0; i < n; ++i) p[i] = ToInteger<T>(from[i]);
}
template <typename T, typename C>
void NarrowToReals(const C* from, int64_t begin, int64_t n, void* to) {
  T* p = static_cast<T*>(to) + begin;
  for (int64_t i = 0; i < n; ++i) p[i] = static_cast<T>(from[i]);
}

template <typename C>
void Store(DataType type, const ConvertOptions& options, const C* from, int64_t begin, int64_t n, void* to) {
  uint8_t* bytes = static_cast<uint8_t*>(to);
  SmallFloat format;
  switch (type) {
    case DataType::kFloat:
      return NarrowToReals<float>(from, begin, n, to);
    case DataType::kDouble:
      return NarrowToReals<double>(from, begin, n, to);
    case DataType::kInt8:
      return NarrowToIntegers<int8_t>(from, begin, n, to);
    case DataType::kUInt8:
      return NarrowToIntegers<uint8_t>(from, begin, n, to);
    case DataType::kInt16:
      return NarrowToIntegers<int16_t>(from, begin, n, to);
    case DataType::kUInt16:
      return NarrowToIntegers<uint16_t>(from, begin, n, to);
    case DataType::kInt32:
      return NarrowToIntegers<int32_t>(from, begin, n, to);
    case DataType::kUInt32:
      return NarrowToIntegers<uint32_t>(from, begin, n, to);
    case DataType::kInt64:
      return NarrowToIntegers<int64_t>(from, begin, n, to);
    case DataType::kUInt64:
      return NarrowToIntegers<uint64_t>(from, begin, n, to);
    case DataType::kBool:
      for (int64_t i = 0; i < n; ++i) bytes[begin + i] = from[i] != C(0);
      return;
    case DataType::kFloat16:
    case DataType::kBFloat16: {
      uint16_t* halves = static_cast<uint16_t*>(to) + begin;
      if constexpr (std::is_same_v<C, float>) {
        const VectorMath& math = GetVectorMath();
        (type == DataType::kFloat16 ? math.float_to_float16 : math.float_to_bfloat16)(from, halves, n);
      } else {
        for (int64_t i = 0; i < n; ++i) {
          float f = ForNarrowing(from[i]);
          halves[i] = type == DataType::kFloat16 ? Float16::FromFloat(f) : BFloat16::FromFloat(f);
        }
      }
      return;
    }
    case DataType::kFloat8E8M0:
      for (int64_t i = 0; i < n; ++i) {
        bytes[begin + i] = E8M0FromFloat(ForNarrowing(from[i]), options.rounding, options.saturate);
      }
      return;
    case DataType::kFloat4E2M1:
      for (int64_t i = 0; i < n; ++i) {
        SetInt4(bytes, begin + i, SmallFloatFromFloat(SmallFloat::kE2M1, ForNarrowing(from[i]), /*saturate=*/true));
      }
      return;
    case DataType::kInt4:
    case DataType::kUInt4:
      for (int64_t i = 0; i < n; ++i) SetInt4(bytes, begin + i, static_cast<int>(ToInt64(from[i]) & 0xf));
      return;
    case DataType::kInt2:
    case DataType::kUInt2:
      for (int64_t i = 0; i < n; ++i) SetInt2(bytes, begin + i, static_cast<int>(ToInt64(from[i]) & 3));
      return;
    default:
      SmallFloatOf(type, &format);
      for (int64_t i = 0; i < n; ++i) {
        bytes[begin + i] = SmallFloatFromFloat(format, ForNarrowing(from[i]), options.saturate);
      }
  }
}

}  // namespace

Canonical CanonicalOf(DataType type) {
  if (type == DataType::kDouble) return Canonical::kDouble;
  if (type == DataType::kUInt64) return Canonical::kUInt64;
  return IsFloatingPoint(type) ? Canonical::kFloat : Canonical::kInt64;
}

void StoreConverted(DataType type, const ConvertOptions& options, const float* from, int64_t begin, int64_t n,
                    void* to) {
  Store(type, options, from, begin, n, to);
}
void StoreConverted(DataType type, const ConvertOptions& options, const double* from, int64_t begin, int64_t n,
                    void* to) {
  Store(type, options, from, begin, n, to);
}
void StoreConverted(DataType type, const ConvertOptions& options, const int64_t* from, int64_t begin, int64_t n,
                    void* to) {
  Store(type, options, from, begin, n, to);
}
void StoreConverted(DataType type, const ConvertOptions& options, const uint64_t* from, int64_t begin, int64_t n,
                    void* to) {
  Store(type, options, from, begin, n, to);
}

void LoadAsFloats(DataType type, const void* from, int64_t begin, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += kConvertBlock) {
    int64_t m = std::min(kConvertBlock, n - i);
    switch (CanonicalOf(type)) {
      case Canonical::kFloat:
        LoadFloats(type, from, begin + i, m, to + i);
        break;
      case Canonical::kDouble:
        Widen<double>(from, begin + i, m, to + i);
        break;
      case Canonical::kUInt64:
        Widen<uint64_t>(from, begin + i, m, to + i);
        break;
      case Canonical::kInt64: {
        int64_t block[kConvertBlock];
        LoadIntegers(type, from, begin + i, m, block);
        for (int64_t k = 0; k < m; ++k) to[i + k] = static_cast<float>(block[k]);
        break;
      }
    }
  }
}

void ConvertBlock(DataType source, DataType target, const ConvertOptions& options, const void* from, int64_t begin,
                  int64_t n, void* to) {
  switch (CanonicalOf(source)) {
    case Canonical::kFloat: {
      if (source == DataType::kFloat) {
        return Store(target, options, static_cast<const float*>(from) + begin, begin, n, to);
      }
      if (target == DataType::kFloat) return LoadFloats(source, from, begin, n, static_cast<float*>(to) + begin);
      float block[kConvertBlock];
      LoadFloats(source, from, begin, n, block);
      return Store(target, options, block, begin, n, to);
    }
    case Canonical::kDouble:
      return Store(target, options, static_cast<const double*>(from) + begin, begin, n, to);
    case Canonical::kUInt64:
      return Store(target, options, static_cast<const uint64_t*>(from) + begin, begin, n, to);
    case Canonical::kInt64: {
      if (source == DataType::kInt64) {
        return Store(target, options, static_cast<const int64_t*>(from) + begin, begin, n, to);
      }
      if (target == DataType::kInt64) return LoadIntegers(source, from, begin, n, static_cast<int64_t*>(to) + begin);
      int64_t block[kConvertBlock];
      LoadIntegers(source, from, begin, n, block);
      return Store(target, options, block, begin, n, to);
    }
  }
}

}  // namespace rondo
