// Blocks of elements from one type to another, for all types but strings and complex numbers. Serves Cast, the
// quantizing operators, and whoever computes on float copies of small formats.
//
// A conversion goes through one of four canonical types: float (for all formats that float holds), double, int64 (all
// smaller integers and bool), uint64. Where C++ leaves a conversion undefined, this is what happens:
//   floating point -> integer   truncates. NaN is 0. To 64 and 32 bits: clamps to the range, but negative numbers to
//                               unsigned types take the low bits of the int64. Narrower: the low bits of the int64.
//   integer -> narrower         the low bits.
//   to bool                     anything but 0 is true, NaN too.
//   to float8, float4, E8M0     as in ONNX's tables, see graph/numeric.h.
#ifndef RONDO_OPS_CONVERT_H_
#define RONDO_OPS_CONVERT_H_

#include <cstdint>

#include "graph/numeric.h"
#include "rondo/data_type.h"

namespace rondo {

enum class Canonical { kFloat, kDouble, kInt64, kUInt64 };
Canonical CanonicalOf(DataType type);

struct ConvertOptions {
  bool saturate = true;  // to float8 and E8M0
  E8M0Rounding rounding = E8M0Rounding::kUp;
};

// Blocks of packed types may start at any element, but two threads must not write into one byte: a multiple of four
// elements is a safe boundary.
inline constexpr int64_t kConvertBlock = 1024;

// Elements [begin, begin + n) of `from` to `to[0..n)`. REQUIRES: CanonicalOf(type) is kFloat.
void LoadFloats(DataType type, const void* from, int64_t begin, int64_t n, float* to);
// REQUIRES: CanonicalOf(type) is kInt64.
void LoadIntegers(DataType type, const void* from, int64_t begin, int64_t n, int64_t* to);
// Any of the types, rounded to float.
void LoadAsFloats(DataType type, const void* from, int64_t begin, int64_t n, float* to);

// `from[0..n)` to elements [begin, begin + n) of `to`.
void StoreConverted(DataType type, const ConvertOptions& options, const float* from, int64_t begin, int64_t n,
                    void* to);
void StoreConverted(DataType type, const ConvertOptions& options, const double* from, int64_t begin, int64_t n,
                    void* to);
void StoreConverted(DataType type, const ConvertOptions& options, const int64_t* from, int64_t begin, int64_t n,
                    void* to);
void StoreConverted(DataType type, const ConvertOptions& options, const uint64_t* from, int64_t begin, int64_t n,
                    void* to);

// Elements [begin, begin + n) of both arrays. REQUIRES: n <= kConvertBlock.
void ConvertBlock(DataType source, DataType target, const ConvertOptions& options, const void* from, int64_t begin,
                  int64_t n, void* to);

}  // namespace rondo

#endif  // RONDO_OPS_CONVERT_H_
