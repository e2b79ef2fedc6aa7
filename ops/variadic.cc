// Max, Min, Sum, Mean of one or more broadcast tensors of one type.
//
// Computed input by input with the output as the running result. An input that shared the output's memory would be
// overwritten before its turn, so these operators do not run in place.
#include <vector>

#include "ops/binary.h"
#include "ops/families.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/vector_math.h"

namespace rondo {
namespace {

// A NaN in either operand is the result, as in numpy.
struct MaxOp {
  template <typename T>
  static T Apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
struct MinOp {
  template <typename T>
  static T Apply(T a, T b) {
    return a < b || a != a ? a : b;
  }
};
struct SumOp {
  template <typename T>
  static T Apply(T a, T b) {
    return a + b;
  }
};

RONDO_VECTOR_LOOP(VectorMax, max, max_scalar, max_scalar)
RONDO_VECTOR_LOOP(VectorMin, min, min_scalar, min_scalar)
RONDO_VECTOR_LOOP(VectorSum, add, add_scalar, add_scalar)

// ---- Infer ----------------------------------------------------------------------------------------------------------
// All inputs of one type, broadcast (before opset 8: of one shape).

absl::Status InferVariadic(InferContext& ctx) {
  for (int i = 1; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
  }
  return InferBroadcast(ctx, ctx.num_inputs(), ctx.dtype(0));
}

absl::Status InferExtremum(InferContext& ctx, Dim (*pick)(const Dim&, const Dim&)) {
  RONDO_RETURN_IF_ERROR(InferVariadic(ctx));
  std::optional<std::vector<Dim>> result;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    std::optional<std::vector<Dim>> content = ctx.content(i);
    if (!content.has_value() || !ctx.has_shape(i) || ctx.shape(i).rank() > 1) return absl::OkStatus();
    if (i == 0) {
      result = std::move(content);
      continue;
    }
    if (result->size() == 1) result->resize(content->size(), result->front());
    if (content->size() == 1) content->resize(result->size(), content->front());
    if (content->size() != result->size()) return absl::OkStatus();
    for (size_t k = 0; k < result->size(); ++k) (*result)[k] = pick((*result)[k], (*content)[k]);
  }
  ctx.SetOutputContent(0, *std::move(result));
  return absl::OkStatus();
}
absl::Status InferMax(InferContext& ctx) { return InferExtremum(ctx, Dim::Max); }
absl::Status InferMin(InferContext& ctx) { return InferExtremum(ctx, Dim::Min); }

// ---- Kernel ---------------------------------------------------------------------------------------------------------

class VariadicKernel final : public Kernel {
 public:
  // `steps`: the broadcast of input 0 (then of the output so far) and input i + 1.
  VariadicKernel(std::vector<BroadcastLoop<2>> steps, const BinaryLoops& loops, DataType dtype, bool mean)
      : steps_(std::move(steps)), loops_(loops), dtype_(dtype), mean_(mean) {}

  absl::Status Run(RunContext& ctx) const override {
    Tensor& y = ctx.output(0);
    if (steps_.empty()) {
      y.CopyFrom(ctx.input(0));
      return absl::OkStatus();
    }
    const void* sum = ctx.input(0).raw();
    for (size_t i = 0; i < steps_.size(); ++i) {
      RunBroadcast(steps_[i], loops_, dtype_, dtype_, sum, ctx.input(static_cast<int>(i) + 1).raw(), y.mutable_raw());
      sum = y.raw();
    }
    if (mean_) Divide(y, static_cast<float>(steps_.size() + 1));
    return absl::OkStatus();
  }
  std::string Implementation() const override { return loops_.implementation; }

 private:
  template <typename T>
  static void DivideAs(Tensor& y, float count) {
    using C = ComputeType<T>;
    T* p = y.mutable_data<T>();
    for (int64_t i = 0; i < y.size(); ++i) p[i] = T(static_cast<C>(p[i]) / static_cast<C>(count));
  }
  static void Divide(Tensor& y, float count) {
    switch (y.dtype()) {
      case DataType::kFloat:
        return DivideAs<float>(y, count);
      case DataType::kDouble:
        return DivideAs<double>(y, count);
      case DataType::kFloat16:
        return DivideAs<Float16>(y, count);
      default:
        return DivideAs<BFloat16>(y, count);
    }
  }

  const std::vector<BroadcastLoop<2>> steps_;
  const BinaryLoops loops_;
  const DataType dtype_;
  const bool mean_;
};

template <typename Op, typename... Ts>
KernelOr PrepareVariadic(PrepareContext& ctx, TypeList<Ts...> types, BinaryFn vector, bool mean = false) {
  BinaryLoops loops;
  if (UsesVectorMath(ctx)) {
    loops.fn = vector;
    loops.implementation = std::string("own:") + IsaName(ActiveIsa());
  } else {
    loops.implementation = "plain";
    RONDO_RETURN_IF_ERROR(DispatchResult<absl::Status>(types, LoopType(ctx.input_dtype(0)), [&](auto tag) {
      loops.fn = BinaryLoop<Op, typename decltype(tag)::type>;
      return absl::OkStatus();
    }));
  }
  const Dims output = ctx.output_dims(0);
  std::vector<BroadcastLoop<2>> steps;
  for (int i = 1; i < ctx.num_inputs(); ++i) {
    steps.emplace_back(output, std::array<Dims, 2>{i == 1 ? ctx.input_dims(0) : output, ctx.input_dims(i)});
  }
  return std::make_unique<VariadicKernel>(std::move(steps), loops, ctx.input_dtype(0), mean);
}

using OrderedTypes = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
using RealTypes = TypeList<float, double>;

// Max, Min: element type numeric.
KernelOr PrepareMax(PrepareContext& ctx) { return PrepareVariadic<MaxOp>(ctx, OrderedTypes(), VectorMax); }
KernelOr PrepareMin(PrepareContext& ctx) { return PrepareVariadic<MinOp>(ctx, OrderedTypes(), VectorMin); }
// Sum, Mean (the sum divided by the number of inputs): floating point.
KernelOr PrepareSum(PrepareContext& ctx) { return PrepareVariadic<SumOp>(ctx, RealTypes(), VectorSum); }
KernelOr PrepareMean(PrepareContext& ctx) { return PrepareVariadic<SumOp>(ctx, RealTypes(), VectorSum, /*mean=*/true); }

const OpDef kRows[] = {
    {.type = "Max", .inputs = {1, Arity::kMany}, .infer = InferMax, .prepare = PrepareMax},
    {.type = "Mean", .inputs = {1, Arity::kMany}, .infer = InferVariadic, .prepare = PrepareMean},
    {.type = "Min", .inputs = {1, Arity::kMany}, .infer = InferMin, .prepare = PrepareMin},
    {.type = "Sum", .inputs = {1, Arity::kMany}, .infer = InferVariadic, .prepare = PrepareSum},
};

}  // namespace

absl::Span<const OpDef> VariadicFamily() { return kRows; }

}  // namespace rondo
