// Element types of tensors. The numbers are those of ONNX's TensorProto.DataType, so a file's value converts by a
// checked cast and nothing has to be kept in step.
#ifndef RONDO_DATA_TYPE_H_
#define RONDO_DATA_TYPE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace rondo {

enum class DataType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
};
inline constexpr int kNumDataTypes = 27;

// Bits of one element: 2 and 4 for the packed types (element 0 in the low bits), 0 for strings and kUndefined.
int BitWidth(DataType type);

// Bytes that `count` >= 0 elements occupy: ceil(count * bits / 8). Strings: count * sizeof(std::string), the size of
// their in-memory array. The caller has checked that the product does not overflow (CheckedByteSize does).
size_t ByteSize(DataType type, int64_t count);

// Lower-case ONNX name, "float32", "int64", "bfloat16", "float8e4m3fn"; "undefined" for anything else.
absl::string_view DataTypeName(DataType type);
// The reverse; kUndefined when no type has that name. Takes ONNX's "float" and "double" as well.
DataType DataTypeFromName(absl::string_view name);

// True for a number that names a type of this enum other than kUndefined.
bool IsKnownDataType(int32_t onnx_number);
bool IsFloatingPoint(DataType type);  // float64/32/16, bfloat16, all float8, float4
bool IsInteger(DataType type);        // signed and unsigned of 2 to 64 bits; not bool
bool IsSigned(DataType type);         // signed integers and floating-point types

}  // namespace rondo

#endif  // RONDO_DATA_TYPE_H_
