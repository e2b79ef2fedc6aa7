#include "tools/values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "graph/numeric.h"
#include "graph/status.h"
#include "tools/text.h"

namespace rondo {
namespace {

double SmallFloat8(const Tensor& t, SmallFloat format, int64_t i) {
  return SmallFloatToFloat(format, t.data<uint8_t>()[i]);
}

template <typename T>
void Store(Tensor* t, int64_t i, double v) {
  if constexpr (std::is_integral_v<T>) {
    const double low = static_cast<double>(std::numeric_limits<T>::min());
    const double high = static_cast<double>(std::numeric_limits<T>::max());
    if (std::isnan(v)) v = 0;
    // The largest 64-bit integers round up to a double that does not fit back.
    t->mutable_data<T>()[i] = v <= low    ? std::numeric_limits<T>::min()
                              : v >= high ? std::numeric_limits<T>::max()
                                          : static_cast<T>(v);
  } else {
    t->mutable_data<T>()[i] = T(static_cast<float>(v));
  }
}

void StoreSmallFloat(Tensor* t, SmallFloat format, int64_t i, double v) {
  t->mutable_data<uint8_t>()[i] = SmallFloatFromFloat(format, static_cast<float>(v), /*saturate=*/true);
}

int ClampToInt(double v, int low, int high) {
  return std::isnan(v) ? 0 : static_cast<int>(std::clamp(v, static_cast<double>(low), static_cast<double>(high)));
}

// False when `t` is of a type that holds no plain numbers.
bool SetElement(Tensor* t, int64_t i, double v) {
  switch (t->dtype()) {
    case DataType::kFloat:
      t->mutable_data<float>()[i] = static_cast<float>(v);
      return true;
    case DataType::kDouble:
      t->mutable_data<double>()[i] = v;
      return true;
    case DataType::kFloat16:
      Store<Float16>(t, i, v);
      return true;
    case DataType::kBFloat16:
      Store<BFloat16>(t, i, v);
      return true;
    case DataType::kUInt8:
      Store<uint8_t>(t, i, v);
      return true;
    case DataType::kInt8:
      Store<int8_t>(t, i, v);
      return true;
    case DataType::kUInt16:
      Store<uint16_t>(t, i, v);
      return true;
    case DataType::kInt16:
      Store<int16_t>(t, i, v);
      return true;
    case DataType::kInt32:
      Store<int32_t>(t, i, v);
      return true;
    case DataType::kInt64:
      Store<int64_t>(t, i, v);
      return true;
    case DataType::kUInt32:
      Store<uint32_t>(t, i, v);
      return true;
    case DataType::kUInt64:
      Store<uint64_t>(t, i, v);
      return true;
    case DataType::kBool:
      t->mutable_data<bool>()[i] = v != 0;
      return true;
    case DataType::kFloat8E4M3FN:
      StoreSmallFloat(t, SmallFloat::kE4M3FN, i, v);
      return true;
    case DataType::kFloat8E4M3FNUZ:
      StoreSmallFloat(t, SmallFloat::kE4M3FNUZ, i, v);
      return true;
    case DataType::kFloat8E5M2:
      StoreSmallFloat(t, SmallFloat::kE5M2, i, v);
      return true;
    case DataType::kFloat8E5M2FNUZ:
      StoreSmallFloat(t, SmallFloat::kE5M2FNUZ, i, v);
      return true;
    case DataType::kFloat8E8M0:
      t->mutable_data<uint8_t>()[i] = E8M0FromFloat(static_cast<float>(v), E8M0Rounding::kNearest, /*saturate=*/true);
      return true;
    case DataType::kFloat4E2M1:
      SetInt4(t->mutable_data<uint8_t>(), i,
              SmallFloatFromFloat(SmallFloat::kE2M1, static_cast<float>(v), /*saturate=*/true));
      return true;
    case DataType::kInt4:
      SetInt4(t->mutable_data<uint8_t>(), i, ClampToInt(v, -8, 7));
      return true;
    case DataType::kUInt4:
      SetInt4(t->mutable_data<uint8_t>(), i, ClampToInt(v, 0, 15));
      return true;
    case DataType::kInt2:
      SetInt2(t->mutable_data<uint8_t>(), i, ClampToInt(v, -2, 1));
      return true;
    case DataType::kUInt2:
      SetInt2(t->mutable_data<uint8_t>(), i, ClampToInt(v, 0, 3));
      return true;
    default:
      return false;
  }
}

std::string FloatText(double v) { return absl::StrFormat("%.6g", v); }

}  // namespace

bool IsComplex(DataType type) { return type == DataType::kComplex64 || type == DataType::kComplex128; }

int64_t ComponentCount(const Tensor& tensor) { return tensor.size() * (IsComplex(tensor.dtype()) ? 2 : 1); }

double Component(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DataType::kFloat:
    case DataType::kComplex64:
      return t.data<float>()[i];
    case DataType::kDouble:
    case DataType::kComplex128:
      return t.data<double>()[i];
    case DataType::kFloat16:
      return static_cast<float>(t.data<Float16>()[i]);
    case DataType::kBFloat16:
      return static_cast<float>(t.data<BFloat16>()[i]);
    case DataType::kUInt8:
      return t.data<uint8_t>()[i];
    case DataType::kInt8:
      return t.data<int8_t>()[i];
    case DataType::kUInt16:
      return t.data<uint16_t>()[i];
    case DataType::kInt16:
      return t.data<int16_t>()[i];
    case DataType::kInt32:
      return t.data<int32_t>()[i];
    case DataType::kInt64:
      return static_cast<double>(t.data<int64_t>()[i]);
    case DataType::kUInt32:
      return t.data<uint32_t>()[i];
    case DataType::kUInt64:
      return static_cast<double>(t.data<uint64_t>()[i]);
    case DataType::kBool:
      return t.data<uint8_t>()[i] != 0;
    case DataType::kFloat8E4M3FN:
      return SmallFloat8(t, SmallFloat::kE4M3FN, i);
    case DataType::kFloat8E4M3FNUZ:
      return SmallFloat8(t, SmallFloat::kE4M3FNUZ, i);
    case DataType::kFloat8E5M2:
      return SmallFloat8(t, SmallFloat::kE5M2, i);
    case DataType::kFloat8E5M2FNUZ:
      return SmallFloat8(t, SmallFloat::kE5M2FNUZ, i);
    case DataType::kFloat8E8M0:
      return E8M0ToFloat(t.data<uint8_t>()[i]);
    case DataType::kFloat4E2M1:
      return SmallFloatToFloat(SmallFloat::kE2M1, static_cast<uint8_t>(GetUInt4(t.data<uint8_t>(), i)));
    case DataType::kInt4:
      return GetInt4(t.data<uint8_t>(), i);
    case DataType::kUInt4:
      return GetUInt4(t.data<uint8_t>(), i);
    case DataType::kInt2:
      return GetInt2(t.data<uint8_t>(), i);
    case DataType::kUInt2:
      return GetUInt2(t.data<uint8_t>(), i);
    case DataType::kString:
    case DataType::kUndefined:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::string ElementText(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DataType::kString:
      return absl::StrCat("\"", Printable(t.data<std::string>()[i], 60), "\"");
    case DataType::kBool:
      return t.data<uint8_t>()[i] != 0 ? "true" : "false";
    case DataType::kInt64:
      return absl::StrCat(t.data<int64_t>()[i]);
    case DataType::kUInt64:
      return absl::StrCat(t.data<uint64_t>()[i]);
    case DataType::kComplex64:
    case DataType::kComplex128:
      return absl::StrFormat("(%.6g%+.6gi)", Component(t, 2 * i), Component(t, 2 * i + 1));
    default:
      return IsInteger(t.dtype()) ? absl::StrCat(static_cast<int64_t>(Component(t, i))) : FloatText(Component(t, i));
  }
}

std::string FirstElementsText(const Tensor& t, int64_t count) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < std::min(count, t.size()); ++i) texts.push_back(ElementText(t, i));
  if (t.size() > count) texts.push_back("...");
  return absl::StrJoin(texts, ", ");
}

bool SameElement(const Tensor& a, const Tensor& b, int64_t i) {
  if (a.dtype() == DataType::kString) return a.data<std::string>()[i] == b.data<std::string>()[i];
  if (a.dtype() == DataType::kBool) return (a.data<uint8_t>()[i] != 0) == (b.data<uint8_t>()[i] != 0);
  const int bits = BitWidth(a.dtype());
  if (bits < 8) return Component(a, i) == Component(b, i);
  const size_t width = bits / 8;
  return std::memcmp(a.data<char>() + i * width, b.data<char>() + i * width, width) == 0;
}

Statistics ComputeStatistics(const Tensor& t) {
  Statistics s;
  if (t.dtype() == DataType::kString || IsComplex(t.dtype())) return s;
  double sum = 0;
  for (int64_t i = 0; i < t.size(); ++i) {
    const double v = Component(t, i);
    if (std::isnan(v)) {
      ++s.nans;
      continue;
    }
    s.min = s.defined ? std::min(s.min, v) : v;
    s.max = s.defined ? std::max(s.max, v) : v;
    s.defined = true;
    sum += v;
  }
  if (s.defined) s.mean = sum / static_cast<double>(t.size() - s.nans);
  return s;
}

std::string ValueTypeText(const RuntimeValue& value) {
  if (value.empty()) return "none";
  if (value.is_sequence()) return absl::StrCat("seq of ", value.sequence().size());
  if (value.is_map()) return absl::StrCat("map of ", value.map().keys.size());
  return absl::StrCat(DataTypeName(value.tensor().dtype()), DimsToString(value.tensor().dims()));
}

std::string IndexText(int64_t flat, absl::Span<const int64_t> dims) {
  std::vector<int64_t> index(dims.size());
  for (size_t d = dims.size(); d-- > 0;) {
    index[d] = flat % dims[d];
    flat /= dims[d];
  }
  return absl::StrCat("[", absl::StrJoin(index, ", "), "]");
}

absl::StatusOr<Tensor> ConvertElements(const Tensor& from, DataType type) {
  if (from.dtype() == type) return from;
  RONDO_ASSIGN_OR_RETURN(Tensor to, Tensor::Create(type, from.dims()));
  if (from.dtype() == DataType::kString || IsComplex(from.dtype()) || type == DataType::kString || IsComplex(type)) {
    return Unimplemented("cannot convert ", DataTypeName(from.dtype()), " to ", DataTypeName(type));
  }
  for (int64_t i = 0; i < from.size(); ++i) SetElement(&to, i, Component(from, i));
  return to;
}

}  // namespace rondo
