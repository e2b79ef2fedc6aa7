// What the operators of ai.onnx.ml share: class labels, rows of features as numbers, and the transforms of scores.
//
// The texts of these operators leave much open. Where they do, rondo does what ONNX's reference implementation does,
// and where that has nothing either, what the models that converters write need; the contract comments say which.
#ifndef RONDO_OPS_ML_COMMON_H_
#define RONDO_OPS_ML_COMMON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "ops/op.h"

namespace rondo {

inline constexpr absl::string_view kMlDomain = "ai.onnx.ml";
// Numeric inputs of most of these operators.
inline constexpr DataType kMlNumbers[] = {DataType::kFloat, DataType::kDouble, DataType::kInt64, DataType::kInt32};

// Class labels or keys, integers or strings: one of two attributes, of which exactly one may be given.
struct MlLabels {
  std::vector<int64_t> ints;
  std::vector<std::string> strings;

  bool is_strings() const { return !strings.empty(); }
  bool empty() const { return ints.empty() && strings.empty(); }
  int64_t size() const { return static_cast<int64_t>(is_strings() ? strings.size() : ints.size()); }
  DataType dtype() const { return is_strings() ? DataType::kString : DataType::kInt64; }
  // A tensor [size()] of them.
  Tensor ToTensor() const;
  // Writes label `i` as element `at` of a tensor of dtype(); i = -1 is "no label": 0 or "".
  void Store(int64_t i, int64_t at, Tensor* to) const;
};
absl::StatusOr<MlLabels> ReadLabels(const AttributeReader& attributes, absl::string_view ints,
                                    absl::string_view strings);

// Input i as rows of features: [N, C] as it is, [C] as one row. `columns` and `rows` may be unknown.
struct MlRows {
  Dim rows;
  Dim columns;
};
absl::StatusOr<MlRows> InferRows(const InferContext& ctx, int i);
// The loop over rows that most kernels are: input 0's rows as doubles, and some doubles of their own for each row.
class MlRowLoop {
 public:
  // Requests the scratch. `own`: doubles that the work on one row needs; `cost`: nanoseconds that it takes.
  static absl::StatusOr<MlRowLoop> Plan(PrepareContext& ctx, int64_t own, int64_t cost);
  int64_t columns() const { return columns_; }
  // Calls fn(row, numbers, own) for each row, in parallel; own[] holds anything.
  void Run(RunContext& ctx, absl::FunctionRef<void(int64_t, const double*, double*)> fn) const;

 private:
  int64_t rows_ = 0, columns_ = 0, own_ = 0, grain_ = 1;
  int64_t copied_ = 0;  // doubles of scratch that hold the input's copy
};

enum class PostTransform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };
// Attribute post_transform: NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT.
absl::StatusOr<PostTransform> ReadPostTransform(const AttributeReader& attributes);
// On one row of scores, in place.
//   SOFTMAX: e^(s - max) / sum;  LOGISTIC: 1 / (1 + e^-s);  SOFTMAX_ZERO: as SOFTMAX, but a score of 0 stays 0;
//   PROBIT: sqrt(2) erf^-1(2 s - 1), by Winitzki's approximation of erf^-1, as every implementation has it.
void ApplyPostTransform(PostTransform transform, absl::Span<double> scores);

// InvalidArgument `attribute "rho": expected 3 elements, got 2` unless they agree.
absl::Status ExpectCount(absl::string_view attribute, int64_t got, int64_t expected);

}  // namespace rondo

#endif  // RONDO_OPS_ML_COMMON_H_
