// ArgMax and ArgMin.
//
//   y[..., ...] = index along the axis of the greatest (least) element; of equal ones the first, or the last with
//   select_last_index = 1 (since opset 12). As in numpy, the first NaN wins over every number.
//
// Inputs:     x [any shape of rank >= 1]
// Outputs:    y int64, x's shape with the axis as 1 (keepdims = 1) or without it
// Attributes: axis = 0, keepdims = 1, select_last_index = 0
#include <algorithm>
#include <type_traits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

absl::Status InferArg(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 0));
  RONDO_ASSIGN_OR_RETURN(bool keep, ctx.attributes.Flag("keepdims", true));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("select_last_index", false).status());
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, DataType::kInt64);
    return absl::OkStatus();
  }
  Shape y = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, y.rank()));
  if (keep) {
    y[a] = 1;
  } else {
    y.erase(y.begin() + a);
  }
  ctx.SetOutput(0, DataType::kInt64, std::move(y));
  return absl::OkStatus();
}

// True when a later element x takes over from `best`.
template <typename C, bool kGreatest, bool kLast>
bool TakesOver(C x, C best) {
  if (best != best) return false;
  if (x != x) return true;
  if (kLast && x == best) return true;
  return kGreatest ? x > best : x < best;
}

// First greatest or least of a row of floats, found in vector registers; -1 when there is a NaN (or infinities of both
// signs): then the elements must be looked at one by one.
template <bool kGreatest>
int64_t FastArg(const VectorMath& math, const float* row, int64_t n) {
  float sum = math.sum(row, n);
  if (sum != sum) return -1;
  float best, other;
  kGreatest ? math.min_max(row, n, &other, &best) : math.min_max(row, n, &best, &other);
  return std::find(row, row + n, best) - row;
}

template <typename T, bool kGreatest, bool kLast>
void ArgAlong(const AxisSplit& s, const T* x, int64_t* y) {
  using C = ComputeType<T>;
  constexpr int64_t kBlock = 256;
  constexpr int64_t kWorthVectors = 64;
  if (s.inner == 1) {
    ParallelFor(s.outer, GrainFor(s.size * 2 * kVectorCost), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T* row = x + o * s.size;
        if constexpr (std::is_same_v<T, float> && !kLast) {
          if (s.size >= kWorthVectors) {
            y[o] = FastArg<kGreatest>(GetVectorMath(), row, s.size);
            if (y[o] >= 0) continue;
          }
        }
        C best = static_cast<C>(row[0]);
        int64_t at = 0;
        for (int64_t i = 1; i < s.size; ++i) {
          C v = static_cast<C>(row[i]);
          if (TakesOver<C, kGreatest, kLast>(v, best)) best = v, at = i;
        }
        y[o] = at;
      }
    });
    return;
  }
  int64_t blocks = (s.inner - 1) / kBlock + 1;
  ParallelFor(s.outer * blocks, GrainFor(s.size * std::min(kBlock, s.inner) * kScalarCost),
              [&](int64_t begin, int64_t end) {
                C best[kBlock];
                for (int64_t i = begin; i < end; ++i) {
                  int64_t o = i / blocks, first = i % blocks * kBlock, n = std::min(kBlock, s.inner - first);
                  const T* base = x + o * s.size * s.inner + first;
                  int64_t* out = y + o * s.inner + first;
                  for (int64_t j = 0; j < n; ++j) best[j] = static_cast<C>(base[j]), out[j] = 0;
                  for (int64_t k = 1; k < s.size; ++k) {
                    const T* row = base + k * s.inner;
                    for (int64_t j = 0; j < n; ++j) {
                      C v = static_cast<C>(row[j]);
                      if (TakesOver<C, kGreatest, kLast>(v, best[j])) best[j] = v, out[j] = k;
                    }
                  }
                }
              });
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

template <bool kGreatest>
KernelOr PrepareArg(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 0));
  RONDO_ASSIGN_OR_RETURN(bool last, ctx.attributes.Flag("select_last_index", false));
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(dims.size())));
  AxisSplit split = SplitAtAxis(dims, a);
  if (split.size == 0 && split.outer * split.inner > 0) {
    return InvalidArgument("axis ", axis, " of ", DimsToString(dims), " has no elements to choose from");
  }
  return DispatchResult<KernelOr>(NumericTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([split, last](RunContext& run) {
      if (last) {
        ArgAlong<T, kGreatest, true>(split, run.in<T>(0), run.out<int64_t>(0));
      } else {
        ArgAlong<T, kGreatest, false>(split, run.in<T>(0), run.out<int64_t>(0));
      }
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "ArgMax", .since = 1, .infer = InferArg, .prepare = PrepareArg<true>},
    {.type = "ArgMin", .since = 1, .infer = InferArg, .prepare = PrepareArg<false>},
};

}  // namespace

absl::Span<const OpDef> ArgReduceFamily() { return kRows; }

}  // namespace rondo
