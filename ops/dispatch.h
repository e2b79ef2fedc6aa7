// From a DataType to a C++ type, once, at Prepare: DispatchNumeric(dtype, [&](auto tag) { using T = typename
// decltype(tag)::type; ... }). A list of types keeps the number of instantiations in hand.
#ifndef RONDO_OPS_DISPATCH_H_
#define RONDO_OPS_DISPATCH_H_

#include <complex>
#include <string>
#include <type_traits>

#include "graph/numeric.h"
#include "graph/status.h"
#include "rondo/data_type.h"

namespace rondo {

template <typename T>
struct TypeTag {
  using type = T;
};

template <typename T>
struct DataTypeOf;
#define RONDO_TYPE_PAIR(T, D)                      \
  template <>                                      \
  struct DataTypeOf<T> {                           \
    static constexpr DataType value = DataType::D; \
  };
RONDO_TYPE_PAIR(float, kFloat)
RONDO_TYPE_PAIR(double, kDouble)
RONDO_TYPE_PAIR(Float16, kFloat16)
RONDO_TYPE_PAIR(BFloat16, kBFloat16)
RONDO_TYPE_PAIR(int8_t, kInt8)
RONDO_TYPE_PAIR(uint8_t, kUInt8)
RONDO_TYPE_PAIR(int16_t, kInt16)
RONDO_TYPE_PAIR(uint16_t, kUInt16)
RONDO_TYPE_PAIR(int32_t, kInt32)
RONDO_TYPE_PAIR(uint32_t, kUInt32)
RONDO_TYPE_PAIR(int64_t, kInt64)
RONDO_TYPE_PAIR(uint64_t, kUInt64)
RONDO_TYPE_PAIR(bool, kBool)
RONDO_TYPE_PAIR(std::string, kString)
RONDO_TYPE_PAIR(std::complex<float>, kComplex64)
RONDO_TYPE_PAIR(std::complex<double>, kComplex128)
#undef RONDO_TYPE_PAIR

template <typename... Ts>
struct TypeList {};
using FloatTypes = TypeList<float, double, Float16, BFloat16>;
using IntTypes = TypeList<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
using NumericTypes = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                              int64_t, uint64_t>;

// The type in which an element is computed: float for the 16-bit formats, itself otherwise.
template <typename T>
using ComputeType = std::conditional_t<std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>, float, T>;

// Calls fn(TypeTag<T>) for the T of the list that `type` names and returns its result (a Status or StatusOr);
// Unimplemented `type complex64 is not supported` when the list has none.
template <typename Result, typename Fn, typename... Ts>
Result DispatchResult(TypeList<Ts...>, DataType type, Fn&& fn) {
  Result result = Unimplemented("element type ", DataTypeName(type), " is not supported here");
  bool found = ((DataTypeOf<Ts>::value == type && (result = fn(TypeTag<Ts>{}), true)) || ...);
  (void)found;
  return result;
}

// By size alone, for data movement: 1, 2, 4, 8, 16 bytes as uint8_t..., std::string for strings.
struct Bytes16 {
  uint64_t low, high;
};
template <typename Result, typename Fn>
Result DispatchBySize(DataType type, Fn&& fn) {
  if (type == DataType::kString) return fn(TypeTag<std::string>{});
  switch (BitWidth(type)) {
    case 8:
      return fn(TypeTag<uint8_t>{});
    case 16:
      return fn(TypeTag<uint16_t>{});
    case 32:
      return fn(TypeTag<uint32_t>{});
    case 64:
      return fn(TypeTag<uint64_t>{});
    case 128:
      return fn(TypeTag<Bytes16>{});
    default:
      return Unimplemented("element type ", DataTypeName(type), " is not supported here");
  }
}

}  // namespace rondo

#endif  // RONDO_OPS_DISPATCH_H_
