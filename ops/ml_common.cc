#include "ops/ml_common.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "graph/numeric.h"
#include "ops/parallel.h"

namespace rondo {

Tensor MlLabels::ToTensor() const {
  if (is_strings()) return Tensor::FromVector<std::string>(DataType::kString, {size()}, strings);
  return Tensor::FromInt64s(ints);
}

void MlLabels::Store(int64_t i, int64_t at, Tensor* to) const {
  if (is_strings()) {
    to->mutable_data<std::string>()[at] = i < 0 ? std::string() : strings[i];
  } else {
    to->mutable_data<int64_t>()[at] = i < 0 ? 0 : ints[i];
  }
}

absl::StatusOr<MlLabels> ReadLabels(const AttributeReader& attributes, absl::string_view ints,
                                    absl::string_view strings) {
  MlLabels labels;
  RONDO_ASSIGN_OR_RETURN(labels.ints, attributes.Ints(ints, {}));
  RONDO_ASSIGN_OR_RETURN(labels.strings, attributes.Strings(strings, {}));
  if (!labels.ints.empty() && !labels.strings.empty()) {
    return InvalidArgument("attributes \"", ints, "\" and \"", strings, "\": expected only one of them");
  }
  return labels;
}

absl::StatusOr<MlRows> InferRows(const InferContext& ctx, int i) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 1, 2));
  if (!ctx.has_shape(i)) return MlRows{Dim::Unknown(), Dim::Unknown()};
  const Shape& shape = ctx.shape(i);
  if (shape.rank() == 1) return MlRows{Dim(1), shape[0]};
  return MlRows{shape[0], shape[1]};
}

namespace {

// Elements [begin, begin + n) of a tensor of one of kMlNumbers or float16.
void LoadNumbers(const Tensor& from, int64_t begin, int64_t n, double* to) {
  switch (from.dtype()) {
    case DataType::kFloat:
      std::copy_n(from.data<float>() + begin, n, to);
      return;
    case DataType::kInt32:
      std::copy_n(from.data<int32_t>() + begin, n, to);
      return;
    case DataType::kFloat16:
      std::transform(from.data<Float16>() + begin, from.data<Float16>() + begin + n, to,
                     [](Float16 h) { return static_cast<float>(h); });
      return;
    default:
      std::transform(from.data<int64_t>() + begin, from.data<int64_t>() + begin + n, to,
                     [](int64_t v) { return static_cast<double>(v); });
  }
}

}  // namespace

absl::StatusOr<MlRowLoop> MlRowLoop::Plan(PrepareContext& ctx, int64_t own, int64_t cost) {
  const Dims dims = ctx.input_dims(0);
  MlRowLoop loop;
  loop.rows_ = dims.size() == 1 ? 1 : dims[0];
  loop.columns_ = dims.back();
  loop.own_ = own;
  loop.grain_ = std::max<int64_t>(1, 20000 / (cost + 1));
  const int64_t copied = ctx.input_dtype(0) == DataType::kDouble ? 0 : loop.columns_;
  RONDO_ASSIGN_OR_RETURN(const size_t bytes, CheckedByteSize(DataType::kDouble, {loop.rows_, copied + own}));
  if (bytes > ctx.max_tensor_bytes()) return ResourceExhausted(bytes, " bytes of scratch for ", loop.rows_, " rows");
  loop.copied_ = loop.rows_ * copied;
  ctx.RequestScratch(bytes);
  return loop;
}

void MlRowLoop::Run(RunContext& ctx, absl::FunctionRef<void(int64_t, const double*, double*)> fn) const {
  double* copy = static_cast<double*>(ctx.scratch());
  double* own = copy + copied_;
  const Tensor& input = ctx.input(0);
  const bool direct = input.dtype() == DataType::kDouble;
  const double* numbers = direct ? input.data<double>() : copy;
  ParallelFor(rows_, grain_, [&](int64_t begin, int64_t end) {
    if (!direct) LoadNumbers(input, begin * columns_, (end - begin) * columns_, copy + begin * columns_);
    for (int64_t n = begin; n < end; ++n) fn(n, numbers + n * columns_, own + n * own_);
  });
}

absl::StatusOr<PostTransform> ReadPostTransform(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const std::string name, attributes.String("post_transform", "NONE"));
  if (name == "NONE") return PostTransform::kNone;
  if (name == "SOFTMAX") return PostTransform::kSoftmax;
  if (name == "LOGISTIC") return PostTransform::kLogistic;
  if (name == "SOFTMAX_ZERO") return PostTransform::kSoftmaxZero;
  if (name == "PROBIT") return PostTransform::kProbit;
  return InvalidArgument(
      "attribute \"post_transform\": expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT, "
      "got \"",
      name, "\"");
}

namespace {

void Softmax(absl::Span<double> scores, bool zero_stays) {
  constexpr double kZero = 1e-7;
  if (scores.empty()) return;
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) {
    s = zero_stays && std::abs(s) <= kZero ? s * std::exp(-top) : std::exp(s - top);
    sum += s;
  }
  for (double& s : scores) s = sum == 0 ? 0.5 : s / sum;
}

double Probit(double p) {
  const double x = 2 * p - 1;
  const double product = (1 - x) * (1 + x);
  if (product == 0) return 0;
  constexpr double kA = 0.147;
  const double log = std::log(product);
  const double v = 2 / (std::numbers::pi * kA) + 0.5 * log;
  return std::copysign(std::numbers::sqrt2 * std::sqrt(-v + std::sqrt(v * v - log / kA)), x);
}

}  // namespace

void ApplyPostTransform(PostTransform transform, absl::Span<double> scores) {
  switch (transform) {
    case PostTransform::kNone:
      return;
    case PostTransform::kSoftmax:
      return Softmax(scores, /*zero_stays=*/false);
    case PostTransform::kSoftmaxZero:
      return Softmax(scores, /*zero_stays=*/true);
    case PostTransform::kLogistic:
      for (double& s : scores) s = 1 / (1 + std::exp(-s));
      return;
    case PostTransform::kProbit:
      for (double& s : scores) s = Probit(s);
      return;
  }
}

absl::Status ExpectCount(absl::string_view attribute, int64_t got, int64_t expected) {
  if (got == expected) return absl::OkStatus();
  return InvalidArgument("attribute \"", attribute, "\": expected ", expected, " elements, got ", got);
}

}  // namespace rondo
