#include "ops/elementwise.h"

#include <algorithm>

#include "ops/kernels/isa.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {

absl::Status InferSameShape(InferContext& ctx, DataType dtype) {
  if (!ctx.input_type(0).is_tensor()) {
    return InvalidArgument("input 0: expected a tensor, got ", ctx.input_type(0).ToString());
  }
  if (ctx.has_shape(0)) {
    ctx.SetOutput(0, dtype, ctx.shape(0));
  } else {
    ctx.SetOutputOfUnknownRank(0, dtype);
  }
  return absl::OkStatus();
}

absl::Status InferSameAsInput(InferContext& ctx) { return InferSameShape(ctx, ctx.dtype(0)); }

absl::Status InferBroadcast(InferContext& ctx, int count, DataType dtype) {
  std::optional<Shape> shape = Shape();
  for (int i = 0; i < count; ++i) {
    if (!ctx.input_type(i).is_tensor()) {
      return InvalidArgument("input ", i, ": expected a tensor, got ", ctx.input_type(i).ToString());
    }
    if (!ctx.has_shape(i)) {
      shape.reset();
    } else if (shape.has_value()) {
      RONDO_ASSIGN_OR_RETURN(shape, BroadcastShapes(*shape, ctx.shape(i)));
    }
  }
  if (shape.has_value()) {
    ctx.SetOutput(0, dtype, *std::move(shape));
  } else {
    ctx.SetOutputOfUnknownRank(0, dtype);
  }
  return absl::OkStatus();
}

std::optional<std::vector<Dim>> BroadcastContent(const InferContext& ctx, int i, size_t size) {
  if (!ctx.has_shape(i)) return std::nullopt;
  std::optional<std::vector<Dim>> content = ctx.content(i);
  if (!content.has_value()) return std::nullopt;
  if (content->size() == size) return content;
  if (content->size() != 1) return std::nullopt;
  return std::vector<Dim>(size, content->front());
}

namespace {

// Elements of the broadcast of inputs 0 and 1 when their order is that of the longer operand.
std::optional<size_t> BroadcastSize(const InferContext& ctx) {
  size_t size = 1;
  int rank = 0;
  for (int i = 0; i < 2; ++i) {
    if (!ctx.has_shape(i)) return std::nullopt;
    std::optional<std::vector<Dim>> content = ctx.content(i);
    if (!content.has_value()) return std::nullopt;
    if (size == 1) {
      size = content->size();
    } else if (content->size() != 1 && content->size() != size) {
      return std::nullopt;
    }
    rank = std::max(rank, ctx.shape(i).rank());
  }
  // [n, 1] against [1, n] have as many elements, but not in one order.
  if (rank > 1 && !(ctx.shape(0) == ctx.shape(1)) && ctx.content(0)->size() != 1 && ctx.content(1)->size() != 1) {
    return std::nullopt;
  }
  return size;
}

}  // namespace

void PropagateContent(InferContext& ctx, absl::FunctionRef<Dim(const Dim&, const Dim&)> fn) {
  std::optional<size_t> size = BroadcastSize(ctx);
  if (!size.has_value()) return;
  std::vector<Dim> a = *BroadcastContent(ctx, 0, *size), b = *BroadcastContent(ctx, 1, *size);
  std::vector<Dim> result;
  result.reserve(*size);
  for (size_t k = 0; k < *size; ++k) {
    result.push_back(a[k].unknown() || b[k].unknown() ? Dim::Unknown() : fn(a[k], b[k]));
  }
  ctx.SetOutputContent(0, std::move(result));
}

void PropagateContent(InferContext& ctx, absl::FunctionRef<Dim(const Dim&)> fn) {
  std::optional<std::vector<Dim>> content = ctx.content(0);
  if (!content.has_value()) return;
  for (Dim& d : *content) {
    if (!d.unknown()) d = fn(d);
  }
  ctx.SetOutputContent(0, *std::move(content));
}

Dim ProveLess(const Dim& a, const Dim& b) {
  Dim difference = b - a;  // a < b exactly when it is >= 1
  if (difference.unknown()) return Dim::Unknown();
  if (difference.known()) return difference.value() > 0 ? 1 : 0;
  if (Dim::Max(difference, 1) == difference) return 1;
  Dim opposite = a - b;
  if (Dim::Max(opposite, 0) == opposite) return 0;
  return Dim::Unknown();
}

Dim ProveEqual(const Dim& a, const Dim& b) {
  if (a == b) return 1;
  Dim difference = a - b;
  if (difference.known()) return difference.value() == 0 ? 1 : 0;
  if (ProveLess(a, b) == Dim(1) || ProveLess(b, a) == Dim(1)) return 0;
  return Dim::Unknown();
}

namespace {

constexpr int64_t kBlock = 1024;  // elements of a 16-bit format that are widened at a time

class Float32MapKernel final : public Kernel {
 public:
  Float32MapKernel(FloatMap::F32 map, const FloatMapParameters& p, int64_t grain, std::string implementation)
      : map_(map), p_(p), grain_(grain), implementation_(std::move(implementation)) {}

  absl::Status Run(RunContext& ctx) const override {
    const float* x = ctx.in<float>(0);
    float* y = ctx.out<float>(0);
    ParallelFor(ctx.input(0).size(), grain_,
                [&](int64_t begin, int64_t end) { map_(x + begin, y + begin, end - begin, p_.data()); });
    return absl::OkStatus();
  }
  std::string Implementation() const override { return implementation_; }

 private:
  const FloatMap::F32 map_;
  const FloatMapParameters p_;
  const int64_t grain_;
  const std::string implementation_;
};

// float16 and bfloat16, told apart by the conversions.
class Float16MapKernel final : public Kernel {
 public:
  Float16MapKernel(DataType dtype, FloatMap::F32 map, const FloatMapParameters& p, int64_t grain,
                   std::string implementation)
      : bfloat_(dtype == DataType::kBFloat16),
        map_(map),
        p_(p),
        grain_(grain),
        implementation_(std::move(implementation)) {}

  absl::Status Run(RunContext& ctx) const override {
    const uint16_t* x = ctx.in<uint16_t>(0);
    uint16_t* y = ctx.out<uint16_t>(0);
    const VectorMath& math = GetVectorMath();
    auto widen = bfloat_ ? math.bfloat16_to_float : math.float16_to_float;
    auto narrow = bfloat_ ? math.float_to_bfloat16 : math.float_to_float16;
    ParallelFor(ctx.input(0).size(), grain_, [&](int64_t begin, int64_t end) {
      float block[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        int64_t n = std::min(kBlock, end - i);
        widen(x + i, block, n);
        map_(block, block, n, p_.data());
        narrow(block, y + i, n);
      }
    });
    return absl::OkStatus();
  }
  std::string Implementation() const override { return implementation_; }

 private:
  const bool bfloat_;
  const FloatMap::F32 map_;
  const FloatMapParameters p_;
  const int64_t grain_;
  const std::string implementation_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFloatMap(PrepareContext& ctx, const FloatMap& map,
                                                        const FloatMapParameters& parameters) {
  bool fast = map.fast != nullptr && !ctx.plain();
  FloatMap::F32 f32 = fast ? map.fast : map.plain;
  int64_t grain = fast ? kVectorGrain : kScalarGrain;
  std::string implementation = fast ? std::string("own:") + IsaName(ActiveIsa()) : "plain";
  switch (ctx.input_dtype(0)) {
    case DataType::kFloat:
      return std::make_unique<Float32MapKernel>(f32, parameters, grain, implementation);
    case DataType::kFloat16:
    case DataType::kBFloat16:
      return std::make_unique<Float16MapKernel>(ctx.input_dtype(0), f32, parameters, grain, implementation);
    case DataType::kDouble:
      return MakeKernel(
          [f64 = map.f64, parameters](RunContext& run) {
            const double* x = run.in<double>(0);
            double* y = run.out<double>(0);
            ParallelFor(run.input(0).size(), kScalarGrain,
                        [&](int64_t begin, int64_t end) { f64(x + begin, y + begin, end - begin, parameters.data()); });
            return absl::OkStatus();
          },
          "plain");
    default:
      return Unimplemented("element type ", DataTypeName(ctx.input_dtype(0)), " is not supported here");
  }
}

}  // namespace rondo
