// Softmax, LogSoftmax, Hardmax and com.microsoft::BiasSoftmax.
//
//   Softmax     y = e^(x - m) / sum e^(x - m)         m the greatest element of the group
//   LogSoftmax  y = (x - m) - log(sum e^(x - m))
//   Hardmax     y = 1 at the first greatest element, 0 elsewhere
//
// A group is, since opset 13, the elements along `axis` (default -1); before, x is read as a matrix of
// [product of dims before axis, product of the rest] (axis default 1) and a group is a row of it.
//
// Inputs:  x float types [rank >= 1]
// Outputs: y as x; in place for Softmax
#include <cmath>
#include <limits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/half_rows.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

enum class Form { kSoftmax, kLogSoftmax, kHardmax };

constexpr int64_t kRowCost = 2 * kVectorCost;

int64_t DefaultAxis(int version) { return version < 13 ? 1 : -1; }

absl::Status InferSoftmax(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", DefaultAxis(ctx.version())));
  if (ctx.has_shape(0)) RONDO_RETURN_IF_ERROR(NormalizeAxis(axis, ctx.shape(0).rank()).status());
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

void FloatRow(const VectorMath& math, Form form, const float* x, float* y, int64_t n) {
  switch (form) {
    case Form::kSoftmax: {
      float sum = math.exp_sub_sum(x, math.max_value(x, n), y, n);
      math.mul_scalar(y, 1.0f / sum, y, n);
      return;
    }
    case Form::kLogSoftmax: {
      float greatest = math.max_value(x, n);
      float sum = math.exp_sub_sum(x, greatest, y, n);
      // Two subtractions: greatest + log(sum) would lose the logarithm of a large greatest.
      math.sub_scalar(x, greatest, y, n);
      math.sub_scalar(y, std::log(sum), y, n);
      return;
    }
    case Form::kHardmax: {
      int64_t best = 0;
      for (int64_t i = 1; i < n; ++i) {
        if (x[i] > x[best]) best = i;
      }
      std::fill_n(y, n, 0.0f);
      y[best] = 1.0f;
      return;
    }
  }
}

void FloatRows(const AxisSplit& s, Form form, const float* x, float* y) {
  const VectorMath& math = GetVectorMath();
  ParallelFor(s.outer, GrainFor(s.size * kRowCost), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) FloatRow(math, form, x + o * s.size, y + o * s.size, s.size);
  });
}

// Softmax over an axis that is not the last: many neighbouring groups at a time, so that memory is read in runs.
void FloatColumns(const AxisSplit& s, const float* x, float* y) {
  constexpr int64_t kBlock = 256;
  const VectorMath& math = GetVectorMath();
  int64_t blocks = (s.inner - 1) / kBlock + 1;
  ParallelFor(s.outer * blocks, GrainFor(s.size * kRowCost * std::min(kBlock, s.inner)),
              [&](int64_t begin, int64_t end) {
                float greatest[kBlock], sum[kBlock];
                for (int64_t i = begin; i < end; ++i) {
                  int64_t first = i % blocks * kBlock, n = std::min(kBlock, s.inner - first);
                  int64_t base = i / blocks * s.size * s.inner + first;
                  std::copy_n(x + base, n, greatest);
                  for (int64_t k = 1; k < s.size; ++k) math.max(greatest, x + base + k * s.inner, greatest, n);
                  std::fill_n(sum, n, 0.0f);
                  for (int64_t k = 0; k < s.size; ++k) {
                    float* out = y + base + k * s.inner;
                    math.sub(x + base + k * s.inner, greatest, out, n);
                    math.exp(out, out, n);
                    math.add(sum, out, sum, n);
                  }
                  math.reciprocal(sum, sum, n);
                  for (int64_t k = 0; k < s.size; ++k) {
                    float* out = y + base + k * s.inner;
                    math.mul(out, sum, out, n);
                  }
                }
              });
}

// Any layout and type, an element at a time.
template <typename T>
void Strided(const AxisSplit& s, Form form, const T* x, T* y) {
  using C = ComputeType<T>;
  ParallelFor(s.outer * s.inner, GrainFor(s.size * 2 * kLibmCost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t base = i / s.inner * s.size * s.inner + i % s.inner;
      auto at = [&](int64_t k) { return static_cast<C>(x[base + k * s.inner]); };
      int64_t best = 0;
      C greatest = at(0);
      for (int64_t k = 1; k < s.size; ++k) {
        if (at(k) > greatest) greatest = at(k), best = k;
      }
      if (form == Form::kHardmax) {
        for (int64_t k = 0; k < s.size; ++k) y[base + k * s.inner] = static_cast<T>(C(k == best ? 1 : 0));
        continue;
      }
      C sum = 0;
      for (int64_t k = 0; k < s.size; ++k) sum += std::exp(at(k) - greatest);
      C log_sum = std::log(sum);
      for (int64_t k = 0; k < s.size; ++k) {
        C d = at(k) - greatest;
        y[base + k * s.inner] = static_cast<T>(form == Form::kSoftmax ? std::exp(d) / sum : d - log_sum);
      }
    }
  });
}

template <typename T>
void HalfRows(const AxisSplit& s, const RowTasks& tasks, Form form, const T* x, T* y, float* scratch) {
  const VectorMath& math = GetVectorMath();
  tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
    float* in = scratch + task * 2 * s.size;
    float* out = in + s.size;
    for (int64_t o = begin; o < end; ++o) {
      RowToFloat(math, x + o * s.size, in, s.size);
      FloatRow(math, form, in, out, s.size);
      RowFromFloat(math, out, y + o * s.size, s.size);
    }
  });
}

AxisSplit GroupsOf(absl::Span<const int64_t> dims, int axis, int version) {
  AxisSplit s = SplitAtAxis(dims, axis);
  if (version < 13) s.size *= s.inner, s.inner = 1;
  return s;
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

template <typename T, Form kForm>
KernelOr MakeSoftmax(PrepareContext& ctx, const AxisSplit& s) {
  if (ctx.plain()) {
    return MakeKernel(
        [s](RunContext& run) {
          Strided<T>(s, kForm, run.in<T>(0), run.out<T>(0));
          return absl::OkStatus();
        },
        "plain");
  }
  if constexpr (kIsHalf<T>) {
    if (s.inner == 1) {
      RowTasks tasks = RowTasks::For(ctx.threads(), s.outer, s.size * kRowCost);
      ctx.RequestScratch(sizeof(float) * 2 * s.size * tasks.tasks);
      return MakeKernel([s, tasks](RunContext& run) {
        HalfRows<T>(s, tasks, kForm, run.in<T>(0), run.out<T>(0), static_cast<float*>(run.scratch()));
        return absl::OkStatus();
      });
    }
  }
  return MakeKernel([s](RunContext& run) {
    const T* x = run.in<T>(0);
    T* y = run.out<T>(0);
    if constexpr (std::is_same_v<T, float>) {
      if (s.inner == 1) {
        FloatRows(s, kForm, x, y);
        return absl::OkStatus();
      }
      if (kForm == Form::kSoftmax) {
        FloatColumns(s, x, y);
        return absl::OkStatus();
      }
    }
    Strided<T>(s, kForm, x, y);
    return absl::OkStatus();
  });
}

template <Form kForm>
KernelOr PrepareSoftmax(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", DefaultAxis(ctx.version())));
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(dims.size())));
  AxisSplit s = GroupsOf(dims, a, ctx.version());
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    return MakeSoftmax<typename decltype(tag)::type, kForm>(ctx, s);
  });
}

// ---- com.microsoft::BiasSoftmax -------------------------------------------------------------------------------------
//
//   y = softmax(x + bias) over the dims from `axis` on (default 1), bias broadcast as numpy does
//
// Attribute is_inner_broadcast says which dims of bias are 1; its dims say so too, so it only has to be there.

absl::Status InferBiasSoftmax(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 1));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (ctx.has_shape(0)) RONDO_RETURN_IF_ERROR(NormalizeAxis(axis, ctx.shape(0).rank()).status());
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

KernelOr PrepareBiasSoftmax(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 1));
  Dims dims = ctx.input_dims(0), given = ctx.input_dims(1);
  int rank = static_cast<int>(dims.size());
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, rank));
  Dims bias(rank, 1);  // aligned at the right
  bool fits = given.size() <= dims.size();
  if (fits) std::copy(given.begin(), given.end(), bias.end() - given.size());
  for (int i = 0; i < rank; ++i) fits &= bias[i] == dims[i] || (i < a && bias[i] == 1);
  if (!fits) {
    return InvalidArgument("bias: expected a shape that broadcasts to the dims before axis ", axis, " of ",
                           DimsToString(dims), " and equals the rest, got ", DimsToString(given));
  }
  AxisSplit s = GroupsOf(dims, a, /*version=*/1);
  // Where the bias of each row begins.
  std::vector<int64_t> rows(s.outer, 0);
  int64_t stride = s.size, repeat = 1;
  for (int i = a - 1; i >= 0; --i) {
    if (bias[i] != 1) {
      for (int64_t r = 0; r < s.outer; ++r) rows[r] += r / repeat % dims[i] * stride;
      stride *= bias[i];
    }
    repeat *= dims[i];
  }
  RowTasks tasks = RowTasks::For(ctx.threads(), s.outer, s.size * kRowCost);
  ctx.RequestScratch(sizeof(float) * 2 * s.size * tasks.tasks);
  return DispatchResult<KernelOr>(TypeList<float, Float16, BFloat16>{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([s, tasks, rows = std::move(rows)](RunContext& run) {
      const VectorMath& math = GetVectorMath();
      const T *x = run.in<T>(0), *bias = run.in<T>(1);
      T* y = run.out<T>(0);
      tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
        float* a = static_cast<float*>(run.scratch()) + task * 2 * s.size;
        float* b = a + s.size;
        for (int64_t o = begin; o < end; ++o) {
          if constexpr (kIsHalf<T>) {
            RowToFloat(math, x + o * s.size, a, s.size);
            RowToFloat(math, bias + rows[o], b, s.size);
            math.add(a, b, a, s.size);
            FloatRow(math, Form::kSoftmax, a, b, s.size);
            RowFromFloat(math, b, y + o * s.size, s.size);
          } else {
            math.add(x + o * s.size, bias + rows[o], a, s.size);
            FloatRow(math, Form::kSoftmax, a, y + o * s.size, s.size);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "Softmax", .infer = InferSoftmax, .prepare = PrepareSoftmax<Form::kSoftmax>, .in_place = InputBit(0)},
    {.type = "LogSoftmax", .infer = InferSoftmax, .prepare = PrepareSoftmax<Form::kLogSoftmax>},
    {.type = "Hardmax", .infer = InferSoftmax, .prepare = PrepareSoftmax<Form::kHardmax>},
    {.domain = "com.microsoft",
     .type = "BiasSoftmax",
     .inputs = {2, 2},
     .infer = InferBiasSoftmax,
     .prepare = PrepareBiasSoftmax},
};

}  // namespace

absl::Span<const OpDef> SoftmaxFamily() { return kRows; }

}  // namespace rondo
