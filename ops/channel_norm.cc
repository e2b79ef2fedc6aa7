// Normalisation over channels and planes of x [N, C, d...]: BatchNormalization, InstanceNormalization,
// GroupNormalization, LRN; and over any axes: LpNormalization, MeanVarianceNormalization.
//
// Most end as y = x * a[c] + b[c]; what differs is where a and b come from. The 16-bit types compute in float.
#include <cmath>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/half_rows.h"
#include "ops/kernels/row_norm.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"
#include "ops/reduce_plan.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// y = x * a + b over a run of one channel.
template <typename T, typename C>
void ScaleShift(const VectorMath& math, const T* x, T* y, int64_t n, C a, C b) {
  if constexpr (std::is_same_v<T, float>) {
    math.scale_shift(x, y, n, a, b);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<C>(x[i]) * a + b);
  }
}

// Mean and population variance of n contiguous elements.
template <typename T, typename C>
void MeanVariance(const T* x, int64_t n, C* mean, C* variance) {
  if constexpr (std::is_same_v<T, float>) {
    GetRowNorm().mean_variance(x, n, mean, variance);
  } else {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(static_cast<C>(x[i]));
    double m = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) {
      double d = static_cast<double>(static_cast<C>(x[i])) - m;
      squares += d * d;
    }
    *mean = static_cast<C>(m);
    *variance = static_cast<C>(squares / static_cast<double>(n));
  }
}

absl::Status ExpectFloats(const InferContext& ctx, int i) {
  return ctx.ExpectDtype(i, {DataType::kFloat, DataType::kFloat16, DataType::kDouble, DataType::kBFloat16});
}

// ---- BatchNormalization ---------------------------------------------------------------------------------------------
//
//   y = (x - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + bias[c]
//
// Training (training_mode = 1 since opset 14; before: when more than y is asked for) takes mean and var from the batch:
//   running_mean = input_mean * momentum + mean * (1 - momentum), running_var likewise.
//
// Inputs:     x [N, C, d...]; scale, bias, mean, var [C] ([C, d...] with spatial = 0, before opset 9)
// Outputs:    y; running_mean, running_var; before opset 14 also saved_mean, saved_var: those of the batch
// Attributes: epsilon = 1e-5, momentum = 0.9; training_mode = 0; spatial = 1; is_test, consumed_inputs (no meaning
// left)

bool IsTraining(const Node& node) {
  if (node.op().version >= 14) return node.IntOr("training_mode", 0) != 0;
  return node.output(1) != nullptr || node.output(2) != nullptr || node.output(3) != nullptr ||
         node.output(4) != nullptr;
}

absl::Status InferBatchNorm(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("epsilon", 1e-5f).status());
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("momentum", 0.9f).status());
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("training_mode", false).status());
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("spatial", true).status());
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 64));
  for (int i = 0; i < 5; ++i) RONDO_RETURN_IF_ERROR(ExpectFloats(ctx, i));
  ctx.SetOutputType(0, ctx.input_type(0));
  for (int i = 1; i < ctx.num_outputs(); ++i) ctx.SetOutputType(i, ctx.input_type(i % 2 == 1 ? 3 : 4));
  return absl::OkStatus();
}

struct BatchNormSpec {
  int64_t batch, channels, plane;  // a channel is one value of scale
  float epsilon, momentum;
  bool training;
};

// a and b of y = x * a + b from mean and variance of a channel.
template <typename C>
void Coefficients(const BatchNormSpec& s, const RunContext& ctx, int64_t c, C mean, C variance, C* a, C* b) {
  *a = ElementAs<C>(ctx.input(1), c) / std::sqrt(variance + static_cast<C>(s.epsilon));
  *b = ElementAs<C>(ctx.input(2), c) - mean * *a;
}

template <typename T, typename C>
void BatchStatistics(const BatchNormSpec& s, RunContext& ctx, const T* x, C* a, C* b) {
  double count = static_cast<double>(s.batch * s.plane);
  for (int64_t c = 0; c < s.channels; ++c) {
    double sum = 0, squares = 0;
    auto each = [&](auto fn) {
      for (int64_t n = 0; n < s.batch; ++n) {
        const T* run = x + (n * s.channels + c) * s.plane;
        for (int64_t i = 0; i < s.plane; ++i) fn(static_cast<double>(static_cast<C>(run[i])));
      }
    };
    each([&](double v) { sum += v; });
    double mean = sum / count;
    each([&](double v) { squares += (v - mean) * (v - mean); });
    double variance = squares / count;
    Coefficients<C>(s, ctx, c, static_cast<C>(mean), static_cast<C>(variance), a + c, b + c);
    auto running = [&](int input, double now) {
      double momentum = static_cast<double>(s.momentum);
      return ElementAs<double>(ctx.input(input), c) * momentum + now * (1 - momentum);
    };
    // The inputs may be the outputs' storage: read before written.
    double new_mean = running(3, mean), new_variance = running(4, variance);
    if (ctx.has_output(1)) SetElement(ctx.output(1), c, new_mean);
    if (ctx.has_output(2)) SetElement(ctx.output(2), c, new_variance);
    if (ctx.has_output(3)) SetElement(ctx.output(3), c, mean);
    if (ctx.has_output(4)) SetElement(ctx.output(4), c, variance);
  }
}

template <typename T>
absl::Status RunBatchNorm(const BatchNormSpec& s, RunContext& ctx) {
  using C = ComputeType<T>;
  const VectorMath& math = GetVectorMath();
  const T* x = ctx.in<T>(0);
  C* a = static_cast<C*>(ctx.scratch());
  C* b = a + s.channels;
  if (s.training) {
    BatchStatistics<T, C>(s, ctx, x, a, b);
  } else {
    for (int64_t c = 0; c < s.channels; ++c) {
      C mean = ElementAs<C>(ctx.input(3), c), variance = ElementAs<C>(ctx.input(4), c);
      Coefficients<C>(s, ctx, c, mean, variance, a + c, b + c);
    }
  }
  if (!ctx.has_output(0)) return absl::OkStatus();
  T* y = ctx.out<T>(0);
  if (s.plane == 1) {
    ParallelFor(s.batch, GrainFor(s.channels * kScalarCost), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const T* in = x + n * s.channels;
        T* out = y + n * s.channels;
        for (int64_t c = 0; c < s.channels; ++c) out[c] = static_cast<T>(static_cast<C>(in[c]) * a[c] + b[c]);
      }
    });
    return absl::OkStatus();
  }
  ParallelFor(s.batch * s.channels, GrainFor(s.plane * kVectorCost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t c = i % s.channels;
      ScaleShift<T, C>(math, x + i * s.plane, y + i * s.plane, s.plane, a[c], b[c]);
    }
  });
  return absl::OkStatus();
}

KernelOr PrepareBatchNorm(PrepareContext& ctx) {
  BatchNormSpec s;
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(s.epsilon, ctx.attributes.Float("epsilon", 1e-5f));
  RONDO_ASSIGN_OR_RETURN(s.momentum, ctx.attributes.Float("momentum", 0.9f));
  RONDO_ASSIGN_OR_RETURN(bool spatial, ctx.attributes.Flag("spatial", true));
  s.training = IsTraining(ctx.node());
  s.batch = dims[0];
  s.channels = dims.size() > 1 ? dims[1] : 1;
  s.plane = dims.size() > 2 ? Product(absl::MakeConstSpan(dims).subspan(2)) : 1;
  // Without `spatial` every place of the plane is a channel of its own.
  if (ctx.version() < 9 && !spatial) s.channels *= s.plane, s.plane = 1;
  for (int i = 1; i < 5; ++i) {
    if (Product(ctx.input_dims(i)) != s.channels) {
      return InvalidArgument("input ", i, ": expected ", s.channels, " elements, one per channel, got the shape ",
                             DimsToString(ctx.input_dims(i)));
    }
  }
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    ctx.RequestScratch(2 * s.channels * sizeof(ComputeType<T>));
    return MakeKernel([s](RunContext& run) { return RunBatchNorm<T>(s, run); });
  });
}

// ---- InstanceNormalization, GroupNormalization ----------------------------------------------------------------------
//
//   y = (x - mean) / sqrt(variance + epsilon) * scale + bias
//
// with the statistics of each batch item's group of C / num_groups channels; InstanceNormalization: of each channel.
//
// Inputs:     x [N, C, d...]; scale, bias [C] (GroupNormalization 18: [num_groups])
// Attributes: epsilon = 1e-5; num_groups (required); stash_type = 1 (since 21; statistics are float or wider anyway)

absl::Status InferGroupNorm(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("epsilon", 1e-5f).status());
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 64));
  for (int i = 0; i < 3; ++i) RONDO_RETURN_IF_ERROR(ExpectFloats(ctx, i));
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

struct GroupNormSpec {
  int64_t batch, groups, group_channels, plane;
  bool per_group;  // scale and bias: one value per group instead of one per channel
  float epsilon;
};

template <typename T>
absl::Status RunGroupNorm(const GroupNormSpec& s, RunContext& ctx) {
  using C = ComputeType<T>;
  const VectorMath& math = GetVectorMath();
  const T* x = ctx.in<T>(0);
  T* y = ctx.out<T>(0);
  int64_t size = s.group_channels * s.plane;
  ParallelFor(s.batch * s.groups, GrainFor(size * 2 * kVectorCost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      C mean, variance;
      MeanVariance<T, C>(x + i * size, size, &mean, &variance);
      C inv = C{1} / std::sqrt(variance + static_cast<C>(s.epsilon));
      for (int64_t k = 0; k < s.group_channels; ++k) {
        int64_t c = s.per_group ? i % s.groups : i % s.groups * s.group_channels + k;
        C a = ElementAs<C>(ctx.input(1), c) * inv;
        C b = ElementAs<C>(ctx.input(2), c) - mean * a;
        int64_t at = i * size + k * s.plane;
        ScaleShift<T, C>(math, x + at, y + at, s.plane, a, b);
      }
    }
  });
  return absl::OkStatus();
}

enum class GroupForm { kInstance, kPerGroup, kPerChannel };

template <GroupForm kForm>
KernelOr PrepareGroupNorm(PrepareContext& ctx) {
  Dims dims = ctx.input_dims(0);
  int64_t channels = dims[1];
  GroupNormSpec s;
  RONDO_ASSIGN_OR_RETURN(s.epsilon, ctx.attributes.Float("epsilon", 1e-5f));
  s.batch = dims[0];
  s.groups = channels;
  if (kForm != GroupForm::kInstance) {
    RONDO_ASSIGN_OR_RETURN(s.groups, ctx.attributes.Int("num_groups"));
  }
  if (s.groups <= 0 || channels % s.groups != 0) {
    return InvalidArgument("attribute \"num_groups\": expected a divisor of the ", channels, " channels, got ",
                           s.groups);
  }
  s.group_channels = channels / s.groups;
  s.plane = Product(absl::MakeConstSpan(dims).subspan(2));
  s.per_group = kForm == GroupForm::kPerGroup;
  int64_t parameters = s.per_group ? s.groups : channels;
  for (int i : {1, 2}) {
    if (Product(ctx.input_dims(i)) != parameters) {
      return InvalidArgument("input ", i, ": expected ", parameters, " elements, got the shape ",
                             DimsToString(ctx.input_dims(i)));
    }
  }
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([s](RunContext& run) { return RunGroupNorm<T>(s, run); });
  });
}

// ---- LRN ------------------------------------------------------------------------------------------------------------
//
//   y[n, c] = x[n, c] / (bias + alpha / size * sum x[n, i]^2)^beta,
//   i from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2), inside [0, C)
//
// Inputs:     x [N, C, d...]
// Attributes: size (required), alpha = 0.0001, beta = 0.75, bias = 1

absl::Status InferLrn(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t size, ctx.attributes.Int("size"));
  if (size < 1) return InvalidArgument("attribute \"size\": expected at least 1, got ", size);
  for (absl::string_view name : {"alpha", "beta", "bias"}) {
    RONDO_RETURN_IF_ERROR(ctx.attributes.Float(name, 0).status());
  }
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 64));
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

KernelOr PrepareLrn(PrepareContext& ctx) {
  Dims dims = ctx.input_dims(0);
  AxisSplit s = SplitAtAxis(dims, 1);
  RONDO_ASSIGN_OR_RETURN(int64_t size, ctx.attributes.Int("size"));
  RONDO_ASSIGN_OR_RETURN(float alpha, ctx.attributes.Float("alpha", 0.0001f));
  RONDO_ASSIGN_OR_RETURN(float beta, ctx.attributes.Float("beta", 0.75f));
  RONDO_ASSIGN_OR_RETURN(float bias, ctx.attributes.Float("bias", 1.0f));
  float scale = alpha / static_cast<float>(size);
  // No channel is farther away than C, so a huge window is all of them.
  int64_t below = std::min((size - 1) / 2, s.size), above = std::min(size / 2, s.size);
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      using C = ComputeType<T>;
      constexpr int64_t kBlock = 256;
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      int64_t blocks = (s.inner - 1) / kBlock + 1;
      ParallelFor(
          s.outer * s.size * blocks, GrainFor(std::min(s.inner, kBlock) * kLibmCost), [&](int64_t begin, int64_t end) {
            C sum[kBlock];
            for (int64_t i = begin; i < end; ++i) {
              int64_t first = i % blocks * kBlock, n = std::min(kBlock, s.inner - first);
              int64_t c = i / blocks % s.size;
              const T* item = x + i / blocks / s.size * s.size * s.inner + first;
              std::fill_n(sum, n, C{0});
              for (int64_t k = std::max<int64_t>(0, c - below); k <= std::min(s.size - 1, c + above); ++k) {
                for (int64_t j = 0; j < n; ++j) {
                  C v = static_cast<C>(item[k * s.inner + j]);
                  sum[j] += v * v;
                }
              }
              T* out = y + i / blocks * s.inner + first;
              for (int64_t j = 0; j < n; ++j) {
                C divisor = std::pow(static_cast<C>(bias) + static_cast<C>(scale) * sum[j], static_cast<C>(beta));
                out[j] = static_cast<T>(static_cast<C>(item[c * s.inner + j]) / divisor);
              }
            }
          });
      return absl::OkStatus();
    });
  });
}

// ---- LpNormalization ------------------------------------------------------------------------------------------------
//
//   y = x / ||x||_p along the axis; where the norm is 0, y is 0
//
// Attributes: axis = -1, p = 2 (1 or 2)

absl::Status InferLpNorm(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_ASSIGN_OR_RETURN(int64_t p, ctx.attributes.Int("p", 2));
  if (p != 1 && p != 2) return InvalidArgument("attribute \"p\": expected 1 or 2, got ", p);
  if (ctx.has_shape(0)) RONDO_RETURN_IF_ERROR(NormalizeAxis(axis, ctx.shape(0).rank()).status());
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

KernelOr PrepareLpNorm(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_ASSIGN_OR_RETURN(int64_t p, ctx.attributes.Int("p", 2));
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(dims.size())));
  AxisSplit s = SplitAtAxis(dims, a);
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([s, p](RunContext& run) {
      using C = ComputeType<T>;
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      ParallelFor(s.outer * s.inner, GrainFor(s.size * 2 * kScalarCost), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          int64_t base = i / s.inner * s.size * s.inner + i % s.inner;
          C norm = 0;
          for (int64_t k = 0; k < s.size; ++k) {
            C v = static_cast<C>(x[base + k * s.inner]);
            norm += p == 1 ? std::abs(v) : v * v;
          }
          if (p == 2) norm = std::sqrt(norm);
          for (int64_t k = 0; k < s.size; ++k) {
            C v = static_cast<C>(x[base + k * s.inner]);
            y[base + k * s.inner] = static_cast<T>(norm == 0 ? C{0} : v / norm);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- MeanVarianceNormalization --------------------------------------------------------------------------------------
//
//   y = (x - mean) / (sqrt(variance) + 1e-9) over the elements of `axes`
//
// Attributes: axes = [0, 2, 3]

absl::StatusOr<std::vector<bool>> MvnAxes(const AttributeReader& attributes, int rank) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> axes, attributes.Ints("axes", {0, 2, 3}));
  std::vector<bool> reduce(rank, false);
  for (int64_t axis : axes) {
    RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, rank));
    reduce[a] = true;
  }
  return reduce;
}

absl::Status InferMvn(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectFloats(ctx, 0));
  if (ctx.has_shape(0)) RONDO_RETURN_IF_ERROR(MvnAxes(ctx.attributes, ctx.shape(0).rank()).status());
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

KernelOr PrepareMvn(PrepareContext& ctx) {
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(std::vector<bool> reduce, MvnAxes(ctx.attributes, static_cast<int>(dims.size())));
  ReducePlan plan = ReducePlan::Make(dims, reduce);
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([plan = std::move(plan)](RunContext& run) {
      using C = ComputeType<T>;
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      const ReducePlan& p = plan;
      int64_t length = p.inner_reduced ? p.inner : 1;
      ParallelFor(p.outputs, GrainFor(p.count * 3 * kScalarCost), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          int64_t base = p.inner_reduced ? p.kept[o] : p.kept[o / p.inner] + o % p.inner;
          auto each = [&](auto fn) {
            for (int64_t r = 0; r < p.reduced.size(); ++r) {
              int64_t at = base + p.reduced[r];
              for (int64_t j = 0; j < length; ++j) fn(at + j);
            }
          };
          double sum = 0, squares = 0;
          each([&](int64_t i) { sum += static_cast<double>(static_cast<C>(x[i])); });
          double mean = sum / static_cast<double>(p.count);
          each([&](int64_t i) {
            double d = static_cast<double>(static_cast<C>(x[i])) - mean;
            squares += d * d;
          });
          double divisor = std::sqrt(squares / static_cast<double>(p.count)) + 1e-9;
          each([&](int64_t i) {
            double v = (static_cast<double>(static_cast<C>(x[i])) - mean) / divisor;
            y[i] = static_cast<T>(static_cast<C>(v));
          });
        }
      });
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "BatchNormalization",
     .inputs = {5, 5},
     .outputs = {1, 5},
     .infer = InferBatchNorm,
     .prepare = PrepareBatchNorm,
     .in_place = InputBit(0)},
    {.type = "InstanceNormalization",
     .inputs = {3, 3},
     .infer = InferGroupNorm,
     .prepare = PrepareGroupNorm<GroupForm::kInstance>,
     .in_place = InputBit(0)},
    {.type = "GroupNormalization",
     .since = 18,
     .inputs = {3, 3},
     .infer = InferGroupNorm,
     .prepare = PrepareGroupNorm<GroupForm::kPerGroup>,
     .in_place = InputBit(0)},
    {.type = "GroupNormalization",
     .since = 21,
     .inputs = {3, 3},
     .infer = InferGroupNorm,
     .prepare = PrepareGroupNorm<GroupForm::kPerChannel>,
     .in_place = InputBit(0)},
    {.type = "LRN", .infer = InferLrn, .prepare = PrepareLrn},
    {.type = "LpNormalization", .infer = InferLpNorm, .prepare = PrepareLpNorm, .in_place = InputBit(0)},
    {.type = "MeanVarianceNormalization",
     .since = 9,
     .infer = InferMvn,
     .prepare = PrepareMvn,
     .in_place = InputBit(0)},
};

}  // namespace

absl::Span<const OpDef> ChannelNormFamily() { return kRows; }

}  // namespace rondo
