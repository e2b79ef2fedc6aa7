// CumSum (opset 11) and CumProd (opset 26): running sums and products along an axis.
//
//   y[i] = x[0] + ... + x[i]            exclusive = 1: without x[i], so that y[0] is the neutral element
//   reverse = 1: from the end of the axis to its begin
//
// Inputs:     x [any shape of rank >= 1], axis int32 or int64, one element, in [-rank, rank)
// Outputs:    y as x. The 16-bit float formats accumulate in float; integers wrap.
#include <type_traits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

absl::Status InferCumulative(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("exclusive", false).status());
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("reverse", false).status());
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt32, DataType::kInt64}));
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

template <typename C, bool kProduct>
C Accumulate(C a, C b) {
  if constexpr (std::is_integral_v<C>) {
    uint64_t ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
    return static_cast<C>(kProduct ? ua * ub : ua + ub);
  } else {
    return kProduct ? a * b : a + b;
  }
}

template <typename T, bool kProduct>
void Accumulate(const AxisSplit& s, bool exclusive, bool reverse, const T* x, T* y) {
  using C = ComputeType<T>;
  constexpr int64_t kBlock = 256;
  int64_t blocks = (s.inner - 1) / kBlock + 1;
  ParallelFor(s.outer * blocks, GrainFor(s.size * std::min(kBlock, s.inner) * kScalarCost),
              [&](int64_t begin, int64_t end) {
                C running[kBlock];
                for (int64_t i = begin; i < end; ++i) {
                  int64_t first = i % blocks * kBlock, n = std::min(kBlock, s.inner - first);
                  int64_t base = i / blocks * s.size * s.inner + first;
                  std::fill_n(running, n, static_cast<C>(kProduct ? 1 : 0));
                  for (int64_t k = 0; k < s.size; ++k) {
                    int64_t at = base + (reverse ? s.size - 1 - k : k) * s.inner;
                    for (int64_t j = 0; j < n; ++j) {
                      C sum = Accumulate<C, kProduct>(running[j], static_cast<C>(x[at + j]));
                      y[at + j] = static_cast<T>(exclusive ? running[j] : sum);
                      running[j] = sum;
                    }
                  }
                }
              });
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

template <bool kProduct>
KernelOr PrepareCumulative(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool exclusive, ctx.attributes.Flag("exclusive", false));
  RONDO_ASSIGN_OR_RETURN(bool reverse, ctx.attributes.Flag("reverse", false));
  if (Product(ctx.input_dims(1)) != 1) {
    return InvalidArgument("axis: expected one element, got the shape ", DimsToString(ctx.input_dims(1)));
  }
  return DispatchResult<KernelOr>(NumericTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([exclusive, reverse](RunContext& run) -> absl::Status {
      const Tensor& x = run.input(0);
      const Tensor& axis = run.input(1);
      int64_t given = axis.dtype() == DataType::kInt32 ? *axis.data<int32_t>() : *axis.data<int64_t>();
      RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(given, x.rank()));
      Accumulate<T, kProduct>(SplitAtAxis(x.dims(), a), exclusive, reverse, x.data<T>(), run.out<T>(0));
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "CumSum",
     .since = 11,
     .inputs = {2, 2},
     .infer = InferCumulative,
     .prepare = PrepareCumulative<false>,
     .in_place = InputBit(0)},
    {.type = "CumProd",
     .since = 26,
     .inputs = {2, 2},
     .infer = InferCumulative,
     .prepare = PrepareCumulative<true>,
     .in_place = InputBit(0)},
};

}  // namespace

absl::Span<const OpDef> CumulativeFamily() { return kRows; }

}  // namespace rondo
