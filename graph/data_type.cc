// One table of what is known about each element type; every function of data_type.h is a look-up in it.
#include "rondo/data_type.h"

#include <string>

namespace rondo {
namespace {

enum Traits : uint8_t { kNone = 0, kFloating = 1, kInteger = 2, kSigned = 4 };

struct TypeRow {
  absl::string_view name;
  uint8_t bits;
  uint8_t traits;
};

// Indexed by the enum's number.
constexpr TypeRow kTypes[kNumDataTypes] = {
    {"undefined", 0, kNone},
    {"float32", 32, kFloating | kSigned},
    {"uint8", 8, kInteger},
    {"int8", 8, kInteger | kSigned},
    {"uint16", 16, kInteger},
    {"int16", 16, kInteger | kSigned},
    {"int32", 32, kInteger | kSigned},
    {"int64", 64, kInteger | kSigned},
    {"string", 0, kNone},
    {"bool", 8, kNone},
    {"float16", 16, kFloating | kSigned},
    {"float64", 64, kFloating | kSigned},
    {"uint32", 32, kInteger},
    {"uint64", 64, kInteger},
    {"complex64", 64, kNone},
    {"complex128", 128, kNone},
    {"bfloat16", 16, kFloating | kSigned},
    {"float8e4m3fn", 8, kFloating | kSigned},
    {"float8e4m3fnuz", 8, kFloating | kSigned},
    {"float8e5m2", 8, kFloating | kSigned},
    {"float8e5m2fnuz", 8, kFloating | kSigned},
    {"uint4", 4, kInteger},
    {"int4", 4, kInteger | kSigned},
    {"float4e2m1", 4, kFloating | kSigned},
    {"float8e8m0", 8, kFloating},
    {"uint2", 2, kInteger},
    {"int2", 2, kInteger | kSigned},
};

const TypeRow& Row(DataType type) {
  int32_t i = static_cast<int32_t>(type);
  return kTypes[i >= 0 && i < kNumDataTypes ? i : 0];
}

}  // namespace

int BitWidth(DataType type) { return Row(type).bits; }

size_t ByteSize(DataType type, int64_t count) {
  if (type == DataType::kString) return static_cast<size_t>(count) * sizeof(std::string);
  // Split so that a count whose bits overflow 64 bits still gives its bytes.
  size_t n = static_cast<size_t>(count), bits = static_cast<size_t>(BitWidth(type));
  return n / 8 * bits + (n % 8 * bits + 7) / 8;
}

absl::string_view DataTypeName(DataType type) { return Row(type).name; }

DataType DataTypeFromName(absl::string_view name) {
  if (name == "float") return DataType::kFloat;
  if (name == "double") return DataType::kDouble;
  for (int i = 1; i < kNumDataTypes; ++i) {
    if (kTypes[i].name == name) return static_cast<DataType>(i);
  }
  return DataType::kUndefined;
}

bool IsKnownDataType(int32_t onnx_number) { return onnx_number > 0 && onnx_number < kNumDataTypes; }
bool IsFloatingPoint(DataType type) { return (Row(type).traits & kFloating) != 0; }
bool IsInteger(DataType type) { return (Row(type).traits & kInteger) != 0; }
bool IsSigned(DataType type) { return (Row(type).traits & kSigned) != 0; }

}  // namespace rondo
