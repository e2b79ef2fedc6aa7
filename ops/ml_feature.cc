// Operators of ai.onnx.ml that prepare features: ArrayFeatureExtractor, Binarizer, FeatureVectorizer, Imputer,
// Normalizer, OneHotEncoder, Scaler.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/families.h"
#include "ops/ml_common.h"
#include "ops/parallel.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;
using MlNumberTypes = TypeList<float, double, int64_t, int32_t>;

// The last axis of a tensor, "the features"; 1 for a scalar.
int64_t LastDim(absl::Span<const int64_t> dims) { return dims.empty() ? 1 : dims.back(); }

// ---- ArrayFeatureExtractor ------------------------------------------------------------------------------------------
// Z = X[..., Y]: elements of the last axis by index.
//   X [..., C], numbers or strings; Y int64, any shape, its K elements in [0, C); Z [..., K], with [1, K] for X [C].

absl::Status InferArrayFeatureExtractor(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(
      ctx.ExpectDtype(0, {DataType::kFloat, DataType::kDouble, DataType::kInt64, DataType::kInt32, DataType::kString}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, std::numeric_limits<int>::max()));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape out = ctx.shape(0);
  out.back() = ctx.has_shape(1) ? ctx.shape(1).ElementCount() : Dim::Unknown();
  if (out.rank() == 1) out.insert(out.begin(), Dim(1));
  ctx.SetOutput(0, ctx.dtype(0), std::move(out));
  return absl::OkStatus();
}

template <typename T>
absl::Status ExtractFeatures(RunContext& ctx) {
  const Tensor& x = ctx.input(0);
  const Tensor& indices = ctx.input(1);
  const int64_t* index = indices.data<int64_t>();
  const int64_t columns = x.dims().back();
  const int64_t count = indices.size();
  for (int64_t k = 0; k < count; ++k) {
    if (index[k] < 0 || index[k] >= columns) {
      return OutOfRange("index ", index[k], " is out of range [0, ", columns - 1, "] on axis ", x.rank() - 1);
    }
  }
  const int64_t rows = CountBetween(x.dims(), 0, x.rank() - 1);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < count; ++k) ctx.out<T>(0)[r * count + k] = x.data<T>()[r * columns + index[k]];
  }
  return absl::OkStatus();
}

KernelOr PrepareArrayFeatureExtractor(PrepareContext& ctx) {
  return DispatchBySize<KernelOr>(ctx.input_dtype(0), [](auto tag) -> KernelOr {
    return MakeKernel(ExtractFeatures<typename decltype(tag)::type>);
  });
}

// ---- Binarizer ------------------------------------------------------------------------------------------------------
// y = x > threshold ? 1 : 0. X: numbers, any shape; Y: same type and shape, may be X. threshold = 0.

absl::Status InferNumbers(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  return InferSameAsInput(ctx);
}

absl::Status InferNumbersToFloat(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kMlNumbers));
  return InferSameShape(ctx, DataType::kFloat);
}

KernelOr PrepareBinarizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const float threshold, ctx.attributes.Float("threshold", 0.0f));
  return DispatchResult<KernelOr>(MlNumberTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([threshold](RunContext& run) {
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      ParallelFor(run.input(0).size(), kVectorGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = static_cast<double>(x[i]) > threshold ? T(1) : T(0);
      });
      return absl::OkStatus();
    });
  });
}

// ---- FeatureVectorizer ----------------------------------------------------------------------------------------------
// Y [N, sum of the widths] = the inputs side by side, as floats.
//   X...: [N, C] or [C], which is [1, C], numbers of one type; attribute inputdimensions = the widths: an input with
//   more columns than its width is cut, one with fewer is filled with zeros.

absl::Status InferFeatureVectorizer(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> widths, ctx.attributes.Ints("inputdimensions", {}));
  if (!widths.empty()) {
    RONDO_RETURN_IF_ERROR(ExpectCount("inputdimensions", static_cast<int64_t>(widths.size()), ctx.num_inputs()));
  }
  Dim rows = Dim::Unknown(), total = 0;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, kMlNumbers));
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, 0));
    RONDO_ASSIGN_OR_RETURN(const MlRows input, InferRows(ctx, i));
    if (rows.known() && input.rows.known() && rows.value() != input.rows.value()) {
      return InvalidArgument("input ", i, ": expected ", rows.value(), " rows as before, got ", input.rows.value());
    }
    if (!rows.known()) rows = input.rows;
    if (widths.empty()) {
      total = total + input.columns;
      continue;
    }
    if (widths[i] < 0 || widths[i] > std::numeric_limits<int32_t>::max()) {
      return InvalidArgument("attribute \"inputdimensions\": element ", i, " is ", widths[i],
                             ", expected a number of columns");
    }
    total = total + Dim(widths[i]);
  }
  ctx.SetOutput(0, DataType::kFloat, Shape{rows, total});
  return absl::OkStatus();
}

KernelOr PrepareFeatureVectorizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> widths, ctx.attributes.Ints("inputdimensions", {}));
  for (int i = 0; widths.size() < static_cast<size_t>(ctx.num_inputs()); ++i) {
    widths.push_back(ctx.input_dims(i).back());
  }
  const Dims dims = ctx.output_dims(0);
  return DispatchResult<KernelOr>(MlNumberTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([widths, dims](RunContext& run) {
      int64_t at = 0;
      for (size_t i = 0; i < widths.size(); ++i) {
        const T* x = run.in<T>(static_cast<int>(i));
        const int64_t columns = run.input(static_cast<int>(i)).dims().back();
        const int64_t copied = std::min(columns, widths[i]);
        for (int64_t n = 0; n < dims[0]; ++n) {
          float* y = run.out<float>(0) + n * dims[1] + at;
          for (int64_t c = 0; c < copied; ++c) y[c] = static_cast<float>(x[n * columns + c]);
          std::fill(y + copied, y + widths[i], 0.0f);
        }
        at += widths[i];
      }
      return absl::OkStatus();
    });
  });
}

// ---- Imputer --------------------------------------------------------------------------------------------------------
// y = x == replaced ? imputed[c] : x, c counting on the last axis; a NaN to replace means every NaN.
//   X [*, F] numbers; Y: same type and shape, may be X. Floats: imputed_value_floats (1 or F), replaced_value_float =
//   0; integers: imputed_value_int64s, replaced_value_int64 = 0.

struct ImputerSpec {
  std::vector<float> floats;
  std::vector<int64_t> ints;
  float replaced_float = 0;
  int64_t replaced_int = 0;
};

absl::StatusOr<ImputerSpec> ReadImputer(const AttributeReader& attributes, DataType dtype) {
  ImputerSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.floats, attributes.Floats("imputed_value_floats", {}));
  RONDO_ASSIGN_OR_RETURN(spec.ints, attributes.Ints("imputed_value_int64s", {}));
  RONDO_ASSIGN_OR_RETURN(spec.replaced_float, attributes.Float("replaced_value_float", 0.0f));
  RONDO_ASSIGN_OR_RETURN(spec.replaced_int, attributes.Int("replaced_value_int64", 0));
  if (!spec.floats.empty() && !spec.ints.empty()) {
    return InvalidArgument("attributes \"imputed_value_floats\" and \"imputed_value_int64s\": expected only one");
  }
  if (IsInteger(dtype) ? spec.ints.empty() : spec.floats.empty()) {
    return InvalidArgument("attribute \"", IsInteger(dtype) ? "imputed_value_int64s" : "imputed_value_floats",
                           "\" is missing, which ", DataTypeName(dtype), " needs");
  }
  if (dtype == DataType::kInt32) {
    for (int64_t value : spec.ints) {
      if (value != static_cast<int32_t>(value)) {
        return InvalidArgument("attribute \"imputed_value_int64s\": ", value, " does not fit int32");
      }
    }
  }
  return spec;
}

absl::Status InferImputer(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(InferNumbers(ctx));
  RONDO_ASSIGN_OR_RETURN(const ImputerSpec spec, ReadImputer(ctx.attributes, ctx.dtype(0)));
  const int64_t count = static_cast<int64_t>(IsInteger(ctx.dtype(0)) ? spec.ints.size() : spec.floats.size());
  if (count == 1 || !ctx.has_shape(0)) return absl::OkStatus();
  const Shape& shape = ctx.shape(0);
  const Dim features = shape.empty() ? Dim(1) : shape.back();
  if (features.known() && features.value() != count) {
    return InvalidArgument("expected 1 or ", features.value(), " imputed values, one per feature, got ", count);
  }
  return absl::OkStatus();
}

template <typename T, typename V>
std::unique_ptr<Kernel> MakeImputer(std::vector<V> imputed, V replaced) {
  return MakeKernel([imputed = std::move(imputed), replaced](RunContext& run) {
    const int64_t features = static_cast<int64_t>(imputed.size());
    const bool replace_nan = replaced != replaced;
    const T* x = run.in<T>(0);
    T* y = run.out<T>(0);
    ParallelFor(run.input(0).size(), kVectorGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const bool match = replace_nan ? x[i] != x[i] : x[i] == static_cast<T>(replaced);
        y[i] = match ? static_cast<T>(imputed[i % features]) : x[i];
      }
    });
    return absl::OkStatus();
  });
}

KernelOr PrepareImputer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ImputerSpec spec, ReadImputer(ctx.attributes, ctx.input_dtype(0)));
  if (ctx.input_dtype(0) == DataType::kInt32 && spec.replaced_int != static_cast<int32_t>(spec.replaced_int)) {
    // No element can be equal to it.
    return MakeKernel([](RunContext& run) {
      if (run.output(0).raw() != run.input(0).raw()) run.output(0).CopyFrom(run.input(0));
      return absl::OkStatus();
    });
  }
  return DispatchResult<KernelOr>(MlNumberTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_integral_v<T>) {
      return MakeImputer<T, int64_t>(std::move(spec.ints), spec.replaced_int);
    } else {
      return MakeImputer<T, float>(std::move(spec.floats), spec.replaced_float);
    }
  });
}

// ---- Normalizer -----------------------------------------------------------------------------------------------------
// Each row divided by a norm of it: MAX its largest magnitude, L1 the sum of its magnitudes, L2 its Euclidean norm;
// unchanged where that is 0. The text writes max(X), sum(X) and sqrt(X^2 / sum(X^2)); magnitudes, and the signs that L2
// keeps, are the reference's.
//   X [N, C] or [C], numbers; Y float, same shape. norm = "MAX".

enum class Norm { kMax, kL1, kL2 };

absl::StatusOr<Norm> ReadNorm(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(const std::string norm, attributes.String("norm", "MAX"));
  if (norm == "MAX") return Norm::kMax;
  if (norm == "L1") return Norm::kL1;
  if (norm == "L2") return Norm::kL2;
  return InvalidArgument("attribute \"norm\": expected MAX, L1 or L2, got \"", norm, "\"");
}

absl::Status InferNormalizer(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 2));
  RONDO_RETURN_IF_ERROR(ReadNorm(ctx.attributes).status());
  return InferNumbersToFloat(ctx);
}

KernelOr PrepareNormalizer(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const Norm norm, ReadNorm(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(const MlRowLoop loop, MlRowLoop::Plan(ctx, 0, 2 * LastDim(ctx.input_dims(0))));
  return MakeKernel([norm, loop](RunContext& run) {
    const int64_t columns = loop.columns();
    float* y = run.out<float>(0);
    loop.Run(run, [&](int64_t n, const double* x, double*) {
      double divisor = 0;
      for (int64_t c = 0; c < columns; ++c) {
        switch (norm) {
          case Norm::kMax:
            divisor = std::max(divisor, std::abs(x[c]));
            break;
          case Norm::kL1:
            divisor += std::abs(x[c]);
            break;
          case Norm::kL2:
            divisor += x[c] * x[c];
            break;
        }
      }
      if (norm == Norm::kL2) divisor = std::sqrt(divisor);
      if (divisor == 0) divisor = 1;
      for (int64_t c = 0; c < columns; ++c) y[n * columns + c] = static_cast<float>(x[c] / divisor);
    });
    return absl::OkStatus();
  });
}

// ---- OneHotEncoder --------------------------------------------------------------------------------------------------
// Y[..., k] = 1 where x is category k, 0 elsewhere; numbers are truncated to integers first.
//   X: numbers or strings, any shape; Y float, X's shape and the number of categories. Attributes cats_int64s or
//   cats_strings; zeros = 1: an unknown category gives zeros, else it is an error.

absl::StatusOr<MlLabels> ReadCategories(const AttributeReader& attributes, DataType dtype) {
  RONDO_ASSIGN_OR_RETURN(MlLabels categories, ReadLabels(attributes, "cats_int64s", "cats_strings"));
  if (categories.empty()) return InvalidArgument("attribute \"cats_int64s\" or \"cats_strings\": expected one of them");
  if (categories.is_strings() != (dtype == DataType::kString)) {
    return InvalidArgument("categories are ", DataTypeName(categories.dtype()), ", the input is ", DataTypeName(dtype));
  }
  return categories;
}

absl::Status InferOneHotEncoder(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(
      ctx.ExpectDtype(0, {DataType::kFloat, DataType::kDouble, DataType::kInt64, DataType::kInt32, DataType::kString}));
  RONDO_ASSIGN_OR_RETURN(const MlLabels categories, ReadCategories(ctx.attributes, ctx.dtype(0)));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("zeros", true).status());
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kFloat);
    return absl::OkStatus();
  }
  Shape out = ctx.shape(0);
  out.push_back(Dim(categories.size()));
  ctx.SetOutput(0, DataType::kFloat, std::move(out));
  return absl::OkStatus();
}

template <typename Key>
absl::flat_hash_map<Key, int64_t> IndexByKey(const std::vector<Key>& keys) {
  absl::flat_hash_map<Key, int64_t> index;
  for (size_t i = 0; i < keys.size(); ++i) index[keys[i]] = static_cast<int64_t>(i);
  return index;
}

template <typename T, typename Key>
std::unique_ptr<Kernel> MakeOneHot(const std::vector<Key>& categories, bool zeros) {
  const int64_t count = static_cast<int64_t>(categories.size());
  return MakeKernel([index = IndexByKey(categories), count, zeros](RunContext& run) -> absl::Status {
    const T* x = run.in<T>(0);
    float* y = run.out<float>(0);
    std::fill(y, y + run.output(0).size(), 0.0f);
    for (int64_t i = 0; i < run.input(0).size(); ++i) {
      auto found = index.end();
      if constexpr (std::is_floating_point_v<T>) {
        constexpr double kLimit = 9223372036854775808.0;  // 2^63
        const double value = x[i];
        if (value >= -kLimit && value < kLimit) found = index.find(static_cast<int64_t>(value));
      } else {
        found = index.find(x[i]);
      }
      if (found != index.end()) {
        y[i * count + found->second] = 1;
      } else if (!zeros) {
        return InvalidArgument("element ", i, " of the input, ", x[i], ", is none of the ", count,
                               " categories (attribute \"zeros\" is 0)");
      }
    }
    return absl::OkStatus();
  });
}

KernelOr PrepareOneHotEncoder(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const MlLabels categories, ReadCategories(ctx.attributes, ctx.input_dtype(0)));
  RONDO_ASSIGN_OR_RETURN(const bool zeros, ctx.attributes.Flag("zeros", true));
  if (categories.is_strings()) return MakeOneHot<std::string, std::string>(categories.strings, zeros);
  return DispatchResult<KernelOr>(MlNumberTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    return MakeOneHot<typename decltype(tag)::type, int64_t>(categories.ints, zeros);
  });
}

// ---- Scaler ---------------------------------------------------------------------------------------------------------
// y = (x - offset[c]) scale[c], c counting on the last axis.
//   X numbers; Y float, same shape. offset, scale: 1 or as many elements as features; defaults 0 and 1.

struct ScalerSpec {
  std::vector<float> offset, scale;
};

absl::StatusOr<ScalerSpec> ReadScaler(const AttributeReader& attributes) {
  ScalerSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.offset, attributes.Floats("offset", {}));
  RONDO_ASSIGN_OR_RETURN(spec.scale, attributes.Floats("scale", {}));
  if (spec.offset.empty()) spec.offset = {0.0f};
  if (spec.scale.empty()) spec.scale = {1.0f};
  return spec;
}

absl::Status InferScaler(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(InferNumbersToFloat(ctx));
  RONDO_ASSIGN_OR_RETURN(const ScalerSpec spec, ReadScaler(ctx.attributes));
  if (!ctx.has_shape(0)) return absl::OkStatus();
  const Dim features = ctx.shape(0).empty() ? Dim(1) : ctx.shape(0).back();
  if (!features.known()) return absl::OkStatus();
  if (spec.offset.size() > 1) {
    RONDO_RETURN_IF_ERROR(ExpectCount("offset", static_cast<int64_t>(spec.offset.size()), features.value()));
  }
  if (spec.scale.size() > 1) {
    RONDO_RETURN_IF_ERROR(ExpectCount("scale", static_cast<int64_t>(spec.scale.size()), features.value()));
  }
  return absl::OkStatus();
}

KernelOr PrepareScaler(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ScalerSpec spec, ReadScaler(ctx.attributes));
  const size_t features = static_cast<size_t>(std::max<int64_t>(1, LastDim(ctx.input_dims(0))));
  if (spec.offset.size() == 1) spec.offset.resize(features, spec.offset[0]);
  if (spec.scale.size() == 1) spec.scale.resize(features, spec.scale[0]);
  return DispatchResult<KernelOr>(MlNumberTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([spec](RunContext& run) {
      const int64_t columns = static_cast<int64_t>(spec.offset.size());
      const T* x = run.in<T>(0);
      float* y = run.out<float>(0);
      ParallelFor(run.input(0).size() / columns, std::max<int64_t>(1, kVectorGrain / columns),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin * columns, c = 0; i < end * columns; ++i, c = c + 1 < columns ? c + 1 : 0) {
                      y[i] = static_cast<float>((static_cast<double>(x[i]) - spec.offset[c]) * spec.scale[c]);
                    }
                  });
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.domain = kMlDomain,
     .type = "ArrayFeatureExtractor",
     .inputs = {2, 2},
     .infer = InferArrayFeatureExtractor,
     .prepare = PrepareArrayFeatureExtractor},
    {.domain = kMlDomain,
     .type = "Binarizer",
     .infer = InferNumbers,
     .prepare = PrepareBinarizer,
     .in_place = InputBit(0)},
    {.domain = kMlDomain,
     .type = "FeatureVectorizer",
     .inputs = {1, Arity::kMany},
     .infer = InferFeatureVectorizer,
     .prepare = PrepareFeatureVectorizer},
    {.domain = kMlDomain, .type = "Imputer", .infer = InferImputer, .prepare = PrepareImputer, .in_place = InputBit(0)},
    {.domain = kMlDomain, .type = "Normalizer", .infer = InferNormalizer, .prepare = PrepareNormalizer},
    {.domain = kMlDomain, .type = "OneHotEncoder", .infer = InferOneHotEncoder, .prepare = PrepareOneHotEncoder},
    {.domain = kMlDomain, .type = "Scaler", .infer = InferScaler, .prepare = PrepareScaler},
};

}  // namespace

absl::Span<const OpDef> MlFeatureFamily() { return kRows; }

}  // namespace rondo
