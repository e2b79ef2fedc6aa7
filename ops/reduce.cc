// ReduceSum and its nine relatives: elements of some axes become one.
//
//   y[kept] = finish(combine over the reduced axes of map(x))
//
//   ReduceSum        sum x                ReduceMax, ReduceMin   numpy's: a NaN wins
//   ReduceMean       sum x / count        ReduceLogSum           log(sum x)
//   ReduceProd       product x            ReduceLogSumExp        log(sum exp x), without overflow
//   ReduceL1         sum |x|              ReduceL2               sqrt(sum x^2)
//   ReduceSumSquare  sum x^2
//
// Inputs:     x [any shape]; since opset 18 (ReduceSum: 13) axes int64 [n], optional. Before: attribute axes.
// Attributes: keepdims = 1; noop_with_empty_axes = 0 (with the axes input): without axes, 1 reduces nothing, each
//             element passes through map and finish alone; 0 reduces all axes.
// Empty sets give the neutral element: 0, 1, the lowest or highest value (infinities for floats), log 0, mean NaN.
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"
#include "ops/reduce_plan.h"

namespace rondo {
namespace {

enum class Finish { kNone, kMean, kSqrt, kLog };

// ---- Reducers: what is done with an element, and how two results meet -----------------------------------------------

// Sums of integers wrap like numpy's, without the undefined behaviour of signed overflow.
template <typename T>
using SumType = std::conditional_t<!std::is_integral_v<T>, ComputeType<T>,
                                   std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

template <typename A>
A WrapAdd(A a, A b) {
  if constexpr (std::is_integral_v<A>) {
    return static_cast<A>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}
template <typename A>
A WrapMultiply(A a, A b) {
  if constexpr (std::is_integral_v<A>) {
    return static_cast<A>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return a * b;
  }
}

template <typename T>
struct Sum {
  using Acc = SumType<T>;
  static constexpr Acc kNeutral = 0;
  static Acc Map(T x) { return static_cast<Acc>(x); }
  static Acc Combine(Acc a, Acc b) { return WrapAdd(a, b); }
};
template <typename T>
struct SumAbs : Sum<T> {
  using typename Sum<T>::Acc;
  static Acc Map(T x) {
    Acc a = static_cast<Acc>(x);
    if constexpr (std::is_integral_v<Acc>) {
      return a < Acc{0} ? static_cast<Acc>(0 - static_cast<uint64_t>(a)) : a;
    } else {
      return std::abs(a);
    }
  }
};
template <typename T>
struct SumSquare : Sum<T> {
  using typename Sum<T>::Acc;
  static Acc Map(T x) { return WrapMultiply(static_cast<Acc>(x), static_cast<Acc>(x)); }
};
template <typename T>
struct Prod {
  using Acc = SumType<T>;
  static constexpr Acc kNeutral = 1;
  static Acc Map(T x) { return static_cast<Acc>(x); }
  static Acc Combine(Acc a, Acc b) { return WrapMultiply(a, b); }
};

template <typename A, bool kHighest>
constexpr A Extreme() {
  using Limits = std::numeric_limits<A>;
  if constexpr (Limits::has_infinity) return kHighest ? Limits::infinity() : -Limits::infinity();
  return kHighest ? Limits::max() : Limits::lowest();
}
template <typename T>
struct Max {
  using Acc = ComputeType<T>;
  static constexpr Acc kNeutral = Extreme<Acc, false>();
  static Acc Map(T x) { return static_cast<Acc>(x); }
  // Once NaN, `a` stays: no comparison with it is true.
  static Acc Combine(Acc a, Acc b) { return b > a || b != b ? b : a; }
};
template <typename T>
struct Min {
  using Acc = ComputeType<T>;
  static constexpr Acc kNeutral = Extreme<Acc, true>();
  static Acc Map(T x) { return static_cast<Acc>(x); }
  static Acc Combine(Acc a, Acc b) { return b < a || b != b ? b : a; }
};

// Out of an integer's range (log 0, log of a wrapped sum) the cast would be undefined: the nearest value instead.
template <typename T>
T FromDouble(double d) {
  if constexpr (std::is_integral_v<T>) {
    using Limits = std::numeric_limits<T>;
    if (!(d > static_cast<double>(Limits::lowest()))) return Limits::lowest();
    return d >= static_cast<double>(Limits::max()) ? Limits::max() : static_cast<T>(d);
  } else {
    return static_cast<T>(static_cast<ComputeType<T>>(d));
  }
}

template <typename T, typename A>
T Finished(A value, Finish finish, int64_t count) {
  switch (finish) {
    case Finish::kNone:
      return static_cast<T>(value);
    case Finish::kMean:
      if constexpr (std::is_integral_v<A>) {
        return static_cast<T>(count == 0 ? A{0} : static_cast<A>(value / static_cast<A>(count)));
      } else {
        return static_cast<T>(value / static_cast<A>(count));
      }
    case Finish::kSqrt:
    case Finish::kLog:
      break;
  }
  return FromDouble<T>(finish == Finish::kSqrt ? std::sqrt(static_cast<double>(value))
                                               : std::log(static_cast<double>(value)));
}

// ---- Loops ----------------------------------------------------------------------------------------------------------

constexpr int kLanes = 16;
// Float lanes are emptied into a wider total this often, so that long sums keep their precision.
constexpr int64_t kLaneRun = 1024;

template <typename T, typename R>
struct RowTotal {
  using Acc = typename R::Acc;
  using Total = std::conditional_t<std::is_same_v<Acc, float>, double, Acc>;
  Total value = static_cast<Total>(R::kNeutral);

  void Add(const T* x, int64_t n) {
    for (int64_t begin = 0; begin < n; begin += kLaneRun) AddRun(x + begin, std::min(kLaneRun, n - begin));
  }

 private:
  static Total Meet(Total a, Total b) {
    if constexpr (std::is_same_v<Total, Acc>) {
      return R::Combine(a, b);
    } else if constexpr (std::is_same_v<R, Max<T>> || std::is_same_v<R, Min<T>>) {
      return static_cast<Total>(R::Combine(static_cast<Acc>(a), static_cast<Acc>(b)));
    } else if constexpr (std::is_same_v<R, Prod<T>>) {
      return a * b;
    } else {
      return a + b;
    }
  }

  void AddRun(const T* x, int64_t n) {
    if constexpr (std::is_same_v<R, Sum<float>> || std::is_same_v<R, SumSquare<float>>) {
      const VectorMath& math = GetVectorMath();
      value += static_cast<Total>(std::is_same_v<R, Sum<float>> ? math.sum(x, n) : math.sum_squares(x, n));
      return;
    }
    Acc lanes[kLanes];
    std::fill_n(lanes, kLanes, R::kNeutral);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) lanes[j] = R::Combine(lanes[j], R::Map(x[i + j]));
    }
    for (int j = 0; i < n; ++i, ++j) lanes[j] = R::Combine(lanes[j], R::Map(x[i]));
    for (Acc lane : lanes) value = Meet(value, static_cast<Total>(lane));
  }
};

constexpr int64_t kColumnBlock = 512;

template <typename T, typename R>
void ReduceRows(const ReducePlan& p, const T* x, T* y, Finish finish) {
  ParallelFor(p.outputs, GrainFor(p.count * kVectorCost), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      RowTotal<T, R> total;
      const T* base = x + p.kept[o];
      for (int64_t r = 0; r < p.reduced.size(); ++r) total.Add(base + p.reduced[r], p.inner);
      y[o] = Finished<T>(total.value, finish, p.count);
    }
  });
}

template <typename T, typename R>
void ReduceColumns(const ReducePlan& p, const T* x, T* y, Finish finish) {
  [[maybe_unused]] const VectorMath& math = GetVectorMath();
  int64_t blocks = (p.inner - 1) / kColumnBlock + 1;
  ParallelFor(p.kept.size() * blocks, GrainFor(p.reduced.size() * std::min(p.inner, kColumnBlock)),
              [&](int64_t begin, int64_t end) {
                using Acc = typename R::Acc;
                Acc acc[kColumnBlock];
                for (int64_t i = begin; i < end; ++i) {
                  int64_t o = i / blocks, first = i % blocks * kColumnBlock;
                  int64_t n = std::min(kColumnBlock, p.inner - first);
                  const T* base = x + p.kept[o] + first;
                  std::fill_n(acc, n, R::kNeutral);
                  for (int64_t r = 0; r < p.reduced.size(); ++r) {
                    const T* row = base + p.reduced[r];
                    if constexpr (std::is_same_v<R, Sum<float>> || std::is_same_v<R, Max<float>>) {
                      (std::is_same_v<R, Sum<float>> ? math.add : math.max)(acc, row, acc, n);
                      continue;
                    }
                    int64_t j = 0;
                    for (; j + kLanes <= n; j += kLanes) {
                      for (int k = 0; k < kLanes; ++k) acc[j + k] = R::Combine(acc[j + k], R::Map(row[j + k]));
                    }
                    for (; j < n; ++j) acc[j] = R::Combine(acc[j], R::Map(row[j]));
                  }
                  T* out = y + o * p.inner + first;
                  for (int64_t j = 0; j < n; ++j) out[j] = Finished<T>(acc[j], finish, p.count);
                }
              });
}

template <typename T, typename R>
std::unique_ptr<Kernel> MakeReduceKernel(ReducePlan plan, Finish finish) {
  return MakeKernel([plan = std::move(plan), finish](RunContext& ctx) {
    const T* x = ctx.in<T>(0);
    T* y = ctx.out<T>(0);
    if (plan.count == 0) {
      std::fill_n(y, plan.outputs, Finished<T>(R::kNeutral, finish, 0));
    } else if (plan.inner_reduced) {
      ReduceRows<T, R>(plan, x, y, finish);
    } else {
      ReduceColumns<T, R>(plan, x, y, finish);
    }
    return absl::OkStatus();
  });
}

// log(sum exp x) = m + log(sum exp(x - m)) with the greatest element m.
template <typename T>
std::unique_ptr<Kernel> MakeLogSumExpKernel(ReducePlan plan) {
  return MakeKernel([p = std::move(plan)](RunContext& ctx) {
    using C = std::conditional_t<std::is_integral_v<T>, double, ComputeType<T>>;
    const T* x = ctx.in<T>(0);
    T* y = ctx.out<T>(0);
    int64_t run = p.inner_reduced ? p.inner : 1;
    ParallelFor(p.outputs, GrainFor(p.count * kLibmCost), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        C sum = 0, shift = 0;
        if (p.count > 0) {
          const T* base = p.inner_reduced ? x + p.kept[o] : x + p.kept[o / p.inner] + o % p.inner;
          C greatest = -std::numeric_limits<C>::infinity();
          for (int64_t r = 0; r < p.reduced.size(); ++r) {
            const T* row = base + p.reduced[r];
            for (int64_t j = 0; j < run; ++j) greatest = std::max(greatest, static_cast<C>(row[j]));
          }
          // An infinite shift would give inf - inf.
          if (std::isfinite(greatest)) shift = greatest;
          for (int64_t r = 0; r < p.reduced.size(); ++r) {
            const T* row = base + p.reduced[r];
            for (int64_t j = 0; j < run; ++j) sum += std::exp(static_cast<C>(row[j]) - shift);
          }
        }
        y[o] = FromDouble<T>(shift + std::log(sum));
      }
    });
    return absl::OkStatus();
  });
}

// ---- Axes -----------------------------------------------------------------------------------------------------------

// Which axes go, from what the model gives (negative ones count from the back; repeats are an error).
absl::StatusOr<std::vector<bool>> ReducedAxes(const std::vector<int64_t>& axes, bool noop_when_empty, int rank) {
  std::vector<bool> reduce(rank, axes.empty() && !noop_when_empty);
  for (int64_t axis : axes) {
    RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, rank));
    if (reduce[a]) return InvalidArgument("axes: axis ", axis, " is given twice");
    reduce[a] = true;
  }
  return reduce;
}

// Symbolic shape arithmetic: the product of a Shape's elements is the number of elements.
void ReduceContent(InferContext& ctx, absl::string_view type) {
  std::optional<std::vector<Dim>> x = ctx.content(0);
  if (!x.has_value() || x->empty()) return;
  Dim result = (*x)[0];
  for (size_t i = 1; i < x->size(); ++i) {
    const Dim& d = (*x)[i];
    if (type == "ReduceSum") {
      result = result + d;
    } else if (type == "ReduceProd") {
      result = result * d;
    } else if (type == "ReduceMax") {
      result = Dim::Max(result, d);
    } else if (type == "ReduceMin") {
      result = Dim::Min(result, d);
    } else {
      return;
    }
  }
  if (type == "ReduceSum" || type == "ReduceProd" || type == "ReduceMax" || type == "ReduceMin") {
    ctx.SetOutputContent(0, {result});
  }
}

template <bool kAxesInput>
absl::Status InferReduce(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool keep, ctx.attributes.Flag("keepdims", true));
  bool noop = false, known = true;
  std::vector<int64_t> axes;
  if constexpr (kAxesInput) {
    RONDO_ASSIGN_OR_RETURN(noop, ctx.attributes.Flag("noop_with_empty_axes", false));
    if (ctx.has_input(1)) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
      std::optional<std::vector<int64_t>> given = ctx.constant_ints(1);
      known = given.has_value();
      if (known) axes = *std::move(given);
    }
  } else {
    RONDO_ASSIGN_OR_RETURN(axes, ctx.attributes.Ints("axes", {}));
  }
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& x = ctx.shape(0);
  if (!known) {
    if (keep) {
      ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(x.rank()));
    } else {
      ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    }
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<bool> reduce, ReducedAxes(axes, noop, x.rank()));
  Shape y;
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduce[i]) {
      y.push_back(x[i]);
    } else if (keep) {
      y.push_back(1);
    }
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  if (x.rank() == 1 && reduce[0]) ReduceContent(ctx, ctx.node().op().type);
  return absl::OkStatus();
}

absl::StatusOr<ReducePlan> PlanOf(PrepareContext& ctx, bool axes_input) {
  bool noop = false;
  std::vector<int64_t> axes;
  if (axes_input) {
    RONDO_ASSIGN_OR_RETURN(noop, ctx.attributes.Flag("noop_with_empty_axes", false));
    if (ctx.has_input(1)) axes = ctx.constant_ints(1);
  } else {
    RONDO_ASSIGN_OR_RETURN(axes, ctx.attributes.Ints("axes", {}));
  }
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(std::vector<bool> reduce, ReducedAxes(axes, noop, static_cast<int>(dims.size())));
  return ReducePlan::Make(dims, reduce);
}

using ArithmeticTypes = TypeList<float, double, Float16, BFloat16, int32_t, int64_t, uint32_t, uint64_t>;
using OrderedTypes = TypeList<float, double, Float16, BFloat16, int32_t, int64_t, uint32_t, uint64_t, int8_t, uint8_t,
                              int16_t, uint16_t, bool>;
using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

template <template <typename> typename R, typename Types, Finish kFinish, bool kAxesInput>
KernelOr PrepareReduce(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ReducePlan plan, PlanOf(ctx, kAxesInput));
  return DispatchResult<KernelOr>(Types{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeReduceKernel<T, R<T>>(std::move(plan), kFinish);
  });
}

template <bool kAxesInput>
KernelOr PrepareLogSumExp(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ReducePlan plan, PlanOf(ctx, kAxesInput));
  return DispatchResult<KernelOr>(ArithmeticTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    return MakeLogSumExpKernel<typename decltype(tag)::type>(std::move(plan));
  });
}

template <template <typename> typename R, typename Types, Finish kFinish>
constexpr OpDef AttributeForm(absl::string_view type) {
  return {.type = type, .since = 1, .infer = InferReduce<false>, .prepare = PrepareReduce<R, Types, kFinish, false>};
}
template <template <typename> typename R, typename Types, Finish kFinish>
constexpr OpDef InputForm(absl::string_view type, int since) {
  return {.type = type,
          .since = since,
          .inputs = {1, 2},
          .infer = InferReduce<true>,
          .prepare = PrepareReduce<R, Types, kFinish, true>,
          .content_inputs = InputBit(1)};
}

const OpDef kRows[] = {
    AttributeForm<Sum, ArithmeticTypes, Finish::kNone>("ReduceSum"),
    InputForm<Sum, ArithmeticTypes, Finish::kNone>("ReduceSum", 13),
    AttributeForm<Sum, ArithmeticTypes, Finish::kMean>("ReduceMean"),
    InputForm<Sum, ArithmeticTypes, Finish::kMean>("ReduceMean", 18),
    AttributeForm<Max, OrderedTypes, Finish::kNone>("ReduceMax"),
    InputForm<Max, OrderedTypes, Finish::kNone>("ReduceMax", 18),
    AttributeForm<Min, OrderedTypes, Finish::kNone>("ReduceMin"),
    InputForm<Min, OrderedTypes, Finish::kNone>("ReduceMin", 18),
    AttributeForm<Prod, ArithmeticTypes, Finish::kNone>("ReduceProd"),
    InputForm<Prod, ArithmeticTypes, Finish::kNone>("ReduceProd", 18),
    AttributeForm<SumAbs, ArithmeticTypes, Finish::kNone>("ReduceL1"),
    InputForm<SumAbs, ArithmeticTypes, Finish::kNone>("ReduceL1", 18),
    AttributeForm<SumSquare, ArithmeticTypes, Finish::kSqrt>("ReduceL2"),
    InputForm<SumSquare, ArithmeticTypes, Finish::kSqrt>("ReduceL2", 18),
    AttributeForm<Sum, ArithmeticTypes, Finish::kLog>("ReduceLogSum"),
    InputForm<Sum, ArithmeticTypes, Finish::kLog>("ReduceLogSum", 18),
    AttributeForm<SumSquare, ArithmeticTypes, Finish::kNone>("ReduceSumSquare"),
    InputForm<SumSquare, ArithmeticTypes, Finish::kNone>("ReduceSumSquare", 18),
    {.type = "ReduceLogSumExp", .since = 1, .infer = InferReduce<false>, .prepare = PrepareLogSumExp<false>},
    {.type = "ReduceLogSumExp",
     .since = 18,
     .inputs = {1, 2},
     .infer = InferReduce<true>,
     .prepare = PrepareLogSumExp<true>,
     .content_inputs = InputBit(1)},
};

}  // namespace

absl::Span<const OpDef> ReduceFamily() { return kRows; }

}  // namespace rondo
