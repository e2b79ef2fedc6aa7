// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss (opset 12, 13).
//
//   loss[n, d...] = -x[n, target, d...] * weight[target]         target = targets[n, d...]
//   SoftmaxCrossEntropyLoss takes log(softmax(x over C)) for x first, and gives it out as log_prob.
//   reduction "none": loss; "sum": its sum; "mean" (default): its sum / sum of the weights that took part (1 without
//   a weight input). Targets equal to ignore_index take no part.
//
// Inputs:  x float types [N, C, d...], targets int32 or int64 [N, d...], weight as x [C], optional
// Outputs: loss [N, d...] or [], log_prob [N, C, d...], optional
#include <cmath>
#include <limits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

enum class Reduction { kNone, kSum, kMean };

absl::StatusOr<Reduction> ReadReduction(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string name, attributes.String("reduction", "mean"));
  if (name == "none") return Reduction::kNone;
  if (name == "sum") return Reduction::kSum;
  if (name == "mean") return Reduction::kMean;
  return InvalidArgument("attribute \"reduction\": expected none, sum or mean, got \"", name, "\"");
}

absl::Status InferLoss(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Reduction reduction, ReadReduction(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 64));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt32, DataType::kInt64}));
  if (ctx.has_input(2)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
  }
  if (reduction != Reduction::kNone) {
    ctx.SetOutput(0, ctx.dtype(0), Shape());
  } else if (ctx.has_shape(0)) {
    Shape y = ctx.shape(0);
    y.erase(y.begin() + 1);
    ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  } else {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
  }
  if (ctx.has_output(1)) ctx.SetOutputType(1, ctx.input_type(0));
  return absl::OkStatus();
}

struct LossSpec {
  AxisSplit split;  // [N, C, d...]
  Reduction reduction;
  bool has_ignore;
  int64_t ignore;
};

// log(softmax) over C, of element i of the N * d... positions.
template <typename T, typename C>
C LogSumExpAt(const T* x, const AxisSplit& s, int64_t base) {
  C greatest = -std::numeric_limits<C>::infinity(), sum = 0;
  for (int64_t c = 0; c < s.size; ++c) greatest = std::max(greatest, static_cast<C>(x[base + c * s.inner]));
  if (!std::isfinite(greatest)) greatest = 0;
  for (int64_t c = 0; c < s.size; ++c) sum += std::exp(static_cast<C>(x[base + c * s.inner]) - greatest);
  return greatest + std::log(sum);
}

template <typename T, typename Index, bool kSoftmax>
absl::Status RunLoss(const LossSpec& spec, RunContext& ctx) {
  using C = ComputeType<T>;
  const AxisSplit& s = spec.split;
  const T* x = ctx.in<T>(0);
  const Index* targets = ctx.in<Index>(1);
  const T* weight = ctx.has_input(2) ? ctx.in<T>(2) : nullptr;
  T* log_prob = kSoftmax && ctx.has_output(1) ? ctx.out<T>(1) : nullptr;
  T* losses = ctx.has_output(0) ? ctx.out<T>(0) : nullptr;
  double sum = 0, weights = 0;
  for (int64_t i = 0; i < s.outer * s.inner; ++i) {
    int64_t base = i / s.inner * s.size * s.inner + i % s.inner;
    C log_sum = 0;
    if constexpr (kSoftmax) {
      log_sum = LogSumExpAt<T, C>(x, s, base);
      if (log_prob != nullptr) {
        for (int64_t c = 0; c < s.size; ++c) {
          log_prob[base + c * s.inner] = static_cast<T>(static_cast<C>(x[base + c * s.inner]) - log_sum);
        }
      }
    }
    int64_t target = static_cast<int64_t>(targets[i]);
    C loss = 0;
    if (!spec.has_ignore || target != spec.ignore) {
      if (target < 0 || target >= s.size) {
        return OutOfRange("target ", target, " is out of range [0, ", s.size - 1, "] on axis 1");
      }
      C w = weight == nullptr ? C{1} : static_cast<C>(weight[target]);
      loss = (log_sum - static_cast<C>(x[base + target * s.inner])) * w;
      sum += static_cast<double>(loss);
      weights += static_cast<double>(w);
    }
    if (spec.reduction == Reduction::kNone && losses != nullptr) losses[i] = static_cast<T>(loss);
  }
  if (spec.reduction != Reduction::kNone && losses != nullptr) {
    losses[0] = static_cast<T>(static_cast<C>(spec.reduction == Reduction::kMean ? sum / weights : sum));
  }
  return absl::OkStatus();
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

template <bool kSoftmax>
KernelOr PrepareLoss(PrepareContext& ctx) {
  LossSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.reduction, ReadReduction(ctx.attributes));
  spec.has_ignore = ctx.attributes.Has("ignore_index");
  RONDO_ASSIGN_OR_RETURN(spec.ignore, ctx.attributes.Int("ignore_index", 0));
  Dims dims = ctx.input_dims(0), targets = ctx.input_dims(1);
  Dims expected = dims;
  expected.erase(expected.begin() + 1);
  if (targets != expected) {
    return InvalidArgument("target: expected the shape ", DimsToString(expected), ", got ", DimsToString(targets));
  }
  if (ctx.has_input(2) && ctx.input_dims(2)[0] != dims[1]) {
    return InvalidArgument("weights: expected the shape [", dims[1], "], got ", DimsToString(ctx.input_dims(2)));
  }
  spec.split = SplitAtAxis(dims, 1);
  bool wide = ctx.input_dtype(1) == DataType::kInt64;
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([spec, wide](RunContext& run) {
      return wide ? RunLoss<T, int64_t, kSoftmax>(spec, run) : RunLoss<T, int32_t, kSoftmax>(spec, run);
    });
  });
}

const OpDef kRows[] = {
    {.type = "NegativeLogLikelihoodLoss",
     .since = 12,
     .inputs = {2, 3},
     .infer = InferLoss,
     .prepare = PrepareLoss<false>},
    {.type = "SoftmaxCrossEntropyLoss",
     .since = 12,
     .inputs = {2, 3},
     .outputs = {1, 2},
     .infer = InferLoss,
     .prepare = PrepareLoss<true>},
};

}  // namespace

absl::Span<const OpDef> LossFamily() { return kRows; }

}  // namespace rondo
