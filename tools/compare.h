// Comparing results with recorded ones.
//
// Three measures for floating-point outputs; everything else is compared exactly.
//   allclose  |got - want| <= atol + rtol * |want|                        for every element
//   max_rel   |got - want| <= tol * max(|want|, rms(want))                for every element
//   rms_rel   rms(got - want) <= tol * rms(want)                          over the tensor
// NaN equals NaN, an infinity equals itself.
#ifndef RONDO_TOOLS_COMPARE_H_
#define RONDO_TOOLS_COMPARE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rondo/tensor.h"

namespace rondo {

struct Tolerance {
  enum class Measure { kAllClose, kMaxRel, kRmsRel };
  Measure measure = Measure::kAllClose;
  double rtol = 1e-3, atol = 1e-7;  // allclose
  double tol = 0;                   // max_rel, rms_rel
  bool or_f32compute = false;       // the results may match f32compute_output_J.pb instead
};

// What a folder's check.json says: {"measure": "max_rel", "tol": 1e-4} or {"rtol": 1e-3, "atol": 1e-7}.
absl::StatusOr<Tolerance> ParseCheckJson(absl::string_view text);
absl::string_view MeasureName(Tolerance::Measure measure);

struct Comparison {
  bool same = true;
  double error = 0;     // by the measure; of allclose the largest |got - want| / (atol + rtol |want|)
  std::string message;  // when not same: where, both values, how far
};
Comparison CompareTensors(const Tensor& got, const Tensor& want, const Tolerance& tolerance);
Comparison CompareValues(const RuntimeValue& got, const RuntimeValue& want, const Tolerance& tolerance);

}  // namespace rondo

#endif  // RONDO_TOOLS_COMPARE_H_
