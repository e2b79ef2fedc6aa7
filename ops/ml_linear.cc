// Linear models of ai.onnx.ml: LinearClassifier and LinearRegressor.
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/ml_common.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// K functions of C features: coefficients [K, C], intercepts [K] or none.
struct LinearFunctions {
  std::vector<float> coefficients;
  std::vector<float> intercepts;

  double At(int64_t k, const double* x, int64_t columns) const {
    double sum = intercepts.empty() ? 0.0 : intercepts[k];
    const float* row = coefficients.data() + k * columns;
    for (int64_t c = 0; c < columns; ++c) sum += x[c] * row[c];
    return sum;
  }
};

absl::StatusOr<LinearFunctions> ReadFunctions(const AttributeReader& attributes) {
  LinearFunctions functions;
  RONDO_ASSIGN_OR_RETURN(functions.coefficients, attributes.Floats("coefficients"));
  RONDO_ASSIGN_OR_RETURN(functions.intercepts, attributes.Floats("intercepts", {}));
  if (functions.coefficients.empty()) return InvalidArgument("attribute \"coefficients\" is empty");
  return functions;
}

// ---- LinearClassifier -----------------------------------------------------------------------------------------------
// s_k = coefficients[k] x + intercepts[k];  one function and two labels: scores [-s, s];  Z = post_transform(scores)
// Y = the label of the largest score; with one score and not two labels, label 0 (1 without labels) where it reaches 0
// (0.5 after a transform), else 0 or "".
//   X [N, C] or [C] numbers; Y [N] int64 or string; Z [N, E] float. Attributes: classlabels_ints or
//   classlabels_strings (none: the positions), post_transform = NONE; multi_class changes nothing.

struct ClassifierSpec {
  LinearFunctions functions;
  MlLabels labels;
  PostTransform transform = PostTransform::kNone;

  // Scores per row when there are `count` functions.
  int64_t Scores(int64_t count) const { return count == 1 && labels.size() == 2 ? 2 : count; }
};

absl::StatusOr<ClassifierSpec> ReadClassifier(const AttributeReader& attributes) {
  ClassifierSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.functions, ReadFunctions(attributes));
  RONDO_ASSIGN_OR_RETURN(spec.labels, ReadLabels(attributes, "classlabels_ints", "classlabels_strings"));
  RONDO_ASSIGN_OR_RETURN(spec.transform, ReadPostTransform(attributes));
  RONDO_RETURN_IF_ERROR(attributes.Int("multi_class", 0).status());
  return spec;
}

// The number of functions for rows of `columns`; checks all lengths.
absl::StatusOr<int64_t> CountFunctions(const ClassifierSpec& spec, int64_t columns) {
  const int64_t weights = static_cast<int64_t>(spec.functions.coefficients.size());
  if (columns == 0 || weights % columns != 0) {
    return InvalidArgument("attribute \"coefficients\": expected a multiple of the ", columns, " features, got ",
                           weights, " elements");
  }
  const int64_t count = weights / columns;
  if (!spec.functions.intercepts.empty()) {
    RONDO_RETURN_IF_ERROR(ExpectCount("intercepts", static_cast<int64_t>(spec.functions.intercepts.size()), count));
  }
  if (count > 1 && !spec.labels.empty() && spec.labels.size() != count) {
    return InvalidArgument("expected one label for each of the ", count, " functions, got ", spec.labels.size());
  }
  if (count == 1 && spec.labels.size() > 2) {
    return InvalidArgument("expected at most 2 labels for one function, got ", spec.labels.size());
  }
  return count;
}

absl::Status InferLinearClassifier(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const ClassifierSpec spec, ReadClassifier(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  Dim scores = Dim::Unknown();
  if (rows.columns.known()) {
    RONDO_ASSIGN_OR_RETURN(const int64_t count, CountFunctions(spec, rows.columns.value()));
    scores = Dim(spec.Scores(count));
  }
  ctx.SetOutput(0, spec.labels.dtype(), Shape{rows.rows});
  ctx.SetOutput(1, DataType::kFloat, Shape{rows.rows, scores});
  return absl::OkStatus();
}

KernelOr PrepareLinearClassifier(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ClassifierSpec spec, ReadClassifier(ctx.attributes));
  const int64_t columns = ctx.input_dims(0).back();
  RONDO_ASSIGN_OR_RETURN(const int64_t count, CountFunctions(spec, columns));
  const int64_t width = spec.Scores(count);
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, width, count * (columns + 20)));
  return MakeKernel([spec = std::move(spec), loop, count, width](RunContext& run) {
    Tensor* labels = run.has_output(0) ? &run.output(0) : nullptr;
    float* z = run.has_output(1) ? run.out<float>(1) : nullptr;
    loop.Run(run, [&](int64_t n, const double* x, double* scores) {
      for (int64_t k = 0; k < count; ++k) scores[k] = spec.functions.At(k, x, loop.columns());
      if (width > count) {
        scores[1] = scores[0];
        scores[0] = -scores[0];
      }
      ApplyPostTransform(spec.transform, absl::MakeSpan(scores, width));
      if (z != nullptr) std::copy_n(scores, width, z + n * width);
      if (labels == nullptr) return;
      int64_t best = std::max_element(scores, scores + width) - scores;
      if (width == 1) best = scores[0] >= (spec.transform == PostTransform::kNone ? 0 : 0.5) ? 0 : -1;
      if (spec.labels.empty()) {
        labels->mutable_data<int64_t>()[n] = width == 1 ? best + 1 : best;
      } else {
        spec.labels.Store(best, n, labels);
      }
    });
    return absl::OkStatus();
  });
}

// ---- LinearRegressor ------------------------------------------------------------------------------------------------
// Y [N, targets] = post_transform(coefficients[t] x + intercepts[t]).
//   X [N, C] or [C] numbers; Y float. Attributes: targets = 1, post_transform = NONE.

struct RegressorSpec {
  LinearFunctions functions;
  int64_t targets = 1;
  PostTransform transform = PostTransform::kNone;
};

absl::StatusOr<RegressorSpec> ReadRegressor(const AttributeReader& attributes) {
  RegressorSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.functions, ReadFunctions(attributes));
  RONDO_ASSIGN_OR_RETURN(spec.targets, attributes.Int("targets", 1));
  RONDO_ASSIGN_OR_RETURN(spec.transform, ReadPostTransform(attributes));
  const int64_t weights = static_cast<int64_t>(spec.functions.coefficients.size());
  if (spec.targets <= 0 || weights % spec.targets != 0) {
    return InvalidArgument("attribute \"targets\": expected a positive divisor of the ", weights, " coefficients, got ",
                           spec.targets);
  }
  if (!spec.functions.intercepts.empty()) {
    RONDO_RETURN_IF_ERROR(
        ExpectCount("intercepts", static_cast<int64_t>(spec.functions.intercepts.size()), spec.targets));
  }
  return spec;
}

absl::Status InferLinearRegressor(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  RONDO_ASSIGN_OR_RETURN(const RegressorSpec spec, ReadRegressor(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRows rows, InferRows(ctx, 0));
  const int64_t weights = static_cast<int64_t>(spec.functions.coefficients.size());
  if (rows.columns.known() && rows.columns.value() != weights / spec.targets) {
    return InvalidArgument("input 0: expected ", weights / spec.targets, " features, one per coefficient, got ",
                           rows.columns.value());
  }
  ctx.SetOutput(0, DataType::kFloat, Shape{rows.rows, Dim(spec.targets)});
  return absl::OkStatus();
}

KernelOr PrepareLinearRegressor(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(RegressorSpec spec, ReadRegressor(ctx.attributes));
  const int64_t cost = static_cast<int64_t>(spec.functions.coefficients.size());
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, spec.targets, cost));
  return MakeKernel([spec = std::move(spec), loop](RunContext& run) {
    float* y = run.out<float>(0);
    loop.Run(run, [&](int64_t n, const double* x, double* scores) {
      for (int64_t t = 0; t < spec.targets; ++t) scores[t] = spec.functions.At(t, x, loop.columns());
      ApplyPostTransform(spec.transform, absl::MakeSpan(scores, spec.targets));
      std::copy_n(scores, spec.targets, y + n * spec.targets);
    });
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.domain = kMlDomain,
     .type = "LinearClassifier",
     .outputs = {1, 2},
     .infer = InferLinearClassifier,
     .prepare = PrepareLinearClassifier},
    {.domain = kMlDomain, .type = "LinearRegressor", .infer = InferLinearRegressor, .prepare = PrepareLinearRegressor},
};

}  // namespace

absl::Span<const OpDef> MlLinearFamily() { return kRows; }

}  // namespace rondo
