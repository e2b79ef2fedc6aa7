#include "tools/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "tools/text.h"
#include "tools/values.h"

namespace rondo {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Comparison Different(std::string message) { return {false, kInfinity, std::move(message)}; }

// |got - want|: 0 where both are NaN or the same infinity, infinite where only one of them is.
double Distance(double got, double want) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
  const double d = std::abs(got - want);
  return std::isfinite(d) ? d : kInfinity;
}

// Root mean square of the finite components.
double Rms(const Tensor& t) {
  double sum = 0;
  int64_t n = 0;
  for (int64_t i = 0; i < ComponentCount(t); ++i) {
    const double v = Component(t, i);
    if (!std::isfinite(v)) continue;
    sum += v * v;
    ++n;
  }
  return n == 0 ? 0 : std::sqrt(sum / static_cast<double>(n));
}

std::string At(const Tensor& got, const Tensor& want, int64_t component) {
  const int64_t element = IsComplex(want.dtype()) ? component / 2 : component;
  return absl::StrCat(IndexText(element, want.dims()), ": got ", ElementText(got, element), ", expected ",
                      ElementText(want, element));
}

Comparison CompareExactly(const Tensor& got, const Tensor& want) {
  int64_t first = -1, count = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    if (SameElement(got, want, i)) continue;
    if (count++ == 0) first = i;
  }
  if (count == 0) return {};
  return Different(absl::StrCat(At(got, want, first), " (", count, " of ", want.size(), " elements differ)"));
}

Comparison CompareFloats(const Tensor& got, const Tensor& want, const Tolerance& tolerance) {
  const double rms = tolerance.measure == Tolerance::Measure::kAllClose ? 0 : Rms(want);
  const int64_t n = ComponentCount(want);
  int64_t first = -1, beyond = 0;
  double largest = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double w = Component(want, i);
    const double d = Distance(Component(got, i), w);
    squares += d * d;
    // All-zero references leave max_rel and rms_rel nothing to divide by; the absolute tolerance then serves.
    const double scale =
        tolerance.measure == Tolerance::Measure::kAllClose
            ? tolerance.atol + tolerance.rtol * std::abs(w)
            : std::max({tolerance.measure == Tolerance::Measure::kMaxRel && std::isfinite(w) ? std::abs(w) : 0, rms,
                        rms == 0 ? tolerance.atol : 0});
    const double limit = tolerance.measure == Tolerance::Measure::kAllClose ? 1 : tolerance.tol;
    const double error = d == 0 ? 0 : std::isfinite(d) && scale > 0 ? d / scale : kInfinity;
    largest = std::max(largest, error);
    if (error > limit && beyond++ == 0) first = i;
  }
  double limit = tolerance.tol;
  Comparison result;
  switch (tolerance.measure) {
    case Tolerance::Measure::kAllClose:
      result = {largest <= 1, largest, ""};
      limit = 1;
      break;
    case Tolerance::Measure::kMaxRel:
      result = {largest <= tolerance.tol, largest, ""};
      break;
    case Tolerance::Measure::kRmsRel: {
      const double difference = n == 0 ? 0 : std::sqrt(squares / static_cast<double>(n));
      const double error = difference == 0 ? 0 : difference / (rms > 0 ? rms : tolerance.atol);
      result = {error <= tolerance.tol, error, ""};
      break;
    }
  }
  if (result.same) return result;
  // rms_rel may fail without any single element beyond its limit.
  result.message = absl::StrCat(first >= 0 ? At(got, want, first) : std::string("over the whole tensor"), " (", beyond,
                                " of ", n, " elements beyond; ", MeasureName(tolerance.measure));
  if (tolerance.measure == Tolerance::Measure::kAllClose) {
    absl::StrAppendFormat(&result.message, " rtol %g atol %g, worst %.3g times that)", tolerance.rtol, tolerance.atol,
                          result.error);
  } else {
    absl::StrAppendFormat(&result.message, " %.3g, allowed %.3g)", result.error, limit);
  }
  return result;
}

// A map's entries by ascending key: maps have no order of their own.
TensorMap Sorted(const TensorMap& map) {
  std::vector<int64_t> order(map.keys.size());
  std::iota(order.begin(), order.end(), 0);
  // Keys of other types do not occur.
  const auto sort = [&](const auto* keys) {
    std::stable_sort(order.begin(), order.end(), [keys](int64_t x, int64_t y) { return keys[x] < keys[y]; });
  };
  if (map.keys.dtype() == DataType::kString) sort(map.keys.data<std::string>());
  if (map.keys.dtype() == DataType::kInt64) sort(map.keys.data<int64_t>());
  const auto reorder = [&](const Tensor& from) {
    Tensor to = from.Clone();
    const size_t width = ByteSize(from.dtype(), 1);
    for (size_t i = 0; i < order.size(); ++i) {
      if (from.dtype() == DataType::kString) {
        to.mutable_data<std::string>()[i] = from.data<std::string>()[order[i]];
      } else {
        std::memcpy(to.mutable_data<char>() + i * width, from.data<char>() + order[i] * width, width);
      }
    }
    return to;
  };
  return {reorder(map.keys), reorder(map.values)};
}

Comparison CompareMaps(const TensorMap& got, const TensorMap& want, const Tolerance& tolerance) {
  if (got.keys.size() != want.keys.size()) {
    return Different(absl::StrCat("got ", got.keys.size(), " entries, expected ", want.keys.size()));
  }
  if (want.keys.size() == 0) return {};
  const TensorMap a = Sorted(got), b = Sorted(want);
  Comparison result = CompareTensors(a.keys, b.keys, tolerance);
  if (result.same) result = CompareTensors(a.values, b.values, tolerance);
  if (!result.same) result.message = absl::StrCat("entries by key: ", result.message);
  return result;
}

}  // namespace

absl::string_view MeasureName(Tolerance::Measure measure) {
  switch (measure) {
    case Tolerance::Measure::kAllClose:
      return "allclose";
    case Tolerance::Measure::kMaxRel:
      return "max_rel";
    case Tolerance::Measure::kRmsRel:
      return "rms_rel";
  }
  return "";
}

absl::StatusOr<Tolerance> ParseCheckJson(absl::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return InvalidArgument("check.json: not a JSON object");
  Tolerance tolerance;
  for (const auto& [key, value] : json.items()) {
    double* number = key == "tol"    ? &tolerance.tol
                     : key == "rtol" ? &tolerance.rtol
                     : key == "atol" ? &tolerance.atol
                                     : nullptr;
    if (number != nullptr) {
      if (!value.is_number() || !(value.get<double>() >= 0)) {
        return InvalidArgument("check.json: \"", key, "\": expected a number that is not negative");
      }
      *number = value.get<double>();
    } else if (key == "measure") {
      const std::string name = value.is_string() ? value.get<std::string>() : "";
      if (name == "max_rel") {
        tolerance.measure = Tolerance::Measure::kMaxRel;
      } else if (name == "rms_rel") {
        tolerance.measure = Tolerance::Measure::kRmsRel;
      } else if (name != "allclose") {
        return InvalidArgument("check.json: measure \"", Printable(name), "\" (expected max_rel, rms_rel or allclose)");
      }
    } else if (key == "or") {
      if (value != "f32compute") return InvalidArgument("check.json: \"or\": expected \"f32compute\"");
      tolerance.or_f32compute = true;
    }
  }
  if (tolerance.measure != Tolerance::Measure::kAllClose && !json.contains("tol")) {
    return InvalidArgument("check.json: \"tol\" is missing");
  }
  return tolerance;
}

Comparison CompareTensors(const Tensor& got, const Tensor& want, const Tolerance& tolerance) {
  if (got.dtype() != want.dtype()) {
    return Different(absl::StrCat("got type ", DataTypeName(got.dtype()), ", expected ", DataTypeName(want.dtype())));
  }
  if (got.dims() != want.dims()) {
    return Different(absl::StrCat("got shape ", DimsToString(got.dims()), ", expected ", DimsToString(want.dims())));
  }
  if (IsFloatingPoint(want.dtype()) || IsComplex(want.dtype())) return CompareFloats(got, want, tolerance);
  return CompareExactly(got, want);
}

Comparison CompareValues(const RuntimeValue& got, const RuntimeValue& want, const Tolerance& tolerance) {
  const bool same_kind = got.value.index() == want.value.index();
  if (!same_kind) return Different(absl::StrCat("got ", ValueTypeText(got), ", expected ", ValueTypeText(want)));
  if (want.empty()) return {};
  if (want.is_tensor()) return CompareTensors(got.tensor(), want.tensor(), tolerance);
  if (want.is_map()) return CompareMaps(got.map(), want.map(), tolerance);
  if (got.sequence().size() != want.sequence().size()) {
    return Different(absl::StrCat("got ", got.sequence().size(), " elements, expected ", want.sequence().size()));
  }
  Comparison worst;
  for (size_t i = 0; i < want.sequence().size(); ++i) {
    Comparison element = CompareValues(got.sequence()[i], want.sequence()[i], tolerance);
    if (!element.same) {
      element.message = absl::StrCat("element ", i, ": ", element.message);
      return element;
    }
    worst.error = std::max(worst.error, element.error);
  }
  return worst;
}

}  // namespace rondo
