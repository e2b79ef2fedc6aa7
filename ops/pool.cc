// Poolings over windows and whole planes: MaxPool, AveragePool, LpPool, GlobalMaxPool, GlobalAveragePool, GlobalLpPool,
// over any number of spatial axes; and the channels-last forms that rewrites make (domain "rondo", attribute layout).
// oneDNN does max and average in floating point; the plain kernels do the rest: indices, int8, powers, odd windows.
#include <cmath>
#include <limits>

#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/onednn/onednn.h"
#include "ops/pool_common.h"

namespace rondo {
namespace {

using MaxTypes = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t>;
using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

absl::StatusOr<Window> ReadPoolWindow(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadWindow(attributes));
  RONDO_ASSIGN_OR_RETURN(window.ceil_mode, attributes.Flag("ceil_mode", false));
  return window;
}

absl::StatusOr<PoolGeometry> ReadGeometry(PrepareContext& ctx, Window window) {
  PoolGeometry g;
  RONDO_ASSIGN_OR_RETURN(g.channels_last, ReadChannelsLast(ctx.attributes));
  g.x = ToChannelsFirst(ctx.input_dims(0), g.channels_last);
  g.y = ToChannelsFirst(ctx.output_dims(0), g.channels_last);
  g.window = std::move(window);
  g.Finish();
  if (g.spatial_rank() > 8) return Unimplemented("pooling over ", g.spatial_rank(), " axes");
  return g;
}

// The whole plane as one window.
Window PlaneWindow(absl::Span<const int64_t> spatial) {
  Window window;
  window.kernel.assign(spatial.begin(), spatial.end());
  window.strides.assign(spatial.size(), 1);
  window.dilations.assign(spatial.size(), 1);
  window.pads_begin.assign(spatial.size(), 0);
  window.pads_end.assign(spatial.size(), 0);
  return window;
}

// oneDNN's pooling, for float32 and bfloat16; Unimplemented where its meaning differs.
KernelOr PrepareOneDnn(PrepareContext& ctx, const PoolGeometry& g, onednn::PoolKind kind) {
  const DataType dtype = ctx.output_dtype(0);
  if (ctx.plain() || g.spatial_rank() > 3 || !g.window.IsModest()) return Unimplemented("not asked for");
  const bool native = dtype == DataType::kFloat || (dtype == DataType::kBFloat16 && onednn::HasBFloat16());
  if (!native && dtype != DataType::kFloat16) return Unimplemented("element type");
  const DataType compute = native ? dtype : DataType::kFloat;
  auto layout = [&](const Dims& dims) {
    return g.channels_last ? onednn::Layout::ChannelsLast(compute, dims) : onednn::Layout::Dense(compute, dims);
  };
  const Window& w = g.window;
  onednn::PoolSpec spec{kind, layout(g.x), layout(g.y), w.kernel, w.strides, w.dilations, w.pads_begin, w.pads_end};
  for (int i = 0; i < w.rank(); ++i) {
    // What the last window needs: more than the pads in ceil mode, less where the stride leaves some over.
    const int64_t need = (g.y[i + 2] - 1) * w.strides[i] + w.Extent(i) - g.x[i + 2] - w.pads_begin[i];
    if (kind == onednn::PoolKind::kAverageIncludePad && need > w.pads_end[i]) {
      return Unimplemented("windows beyond the pads count fewer elements");
    }
    spec.pads_end[i] = std::max<int64_t>(0, need);
    // A window of pads alone has no maximum and no average.
    if (w.pads_begin[i] >= w.Extent(i) || spec.pads_end[i] >= w.Extent(i)) return Unimplemented("window of pads");
    // Dilated taps may all miss.
    if (w.dilations[i] > 1 && kind != onednn::PoolKind::kMax) return Unimplemented("dilated average");
    if (w.dilations[i] > g.x[i + 2]) return Unimplemented("dilation");
  }
  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr pool, onednn::Pool(ctx, spec));
  onednn::PipelineBuilder pipeline(ctx);
  onednn::Arg x = onednn::Arg::Input(0), y = onednn::Arg::Output(0);
  if (!native) {
    int64_t count = 1;
    for (int64_t d : g.x) count *= d;
    RONDO_ASSIGN_OR_RETURN(x, pipeline.AsFloat(x, dtype, count));
    y = pipeline.Scratch(spec.y.bytes());
  }
  pipeline.Add(pool, {x, y});
  if (!native) {
    pipeline.FinishFloat(y, onednn::Arg::Output(0), dtype, static_cast<int64_t>(spec.y.bytes() / sizeof(float)));
  }
  return pipeline.Build();
}

// MaxPool(X [N, C, spatial...]) -> Y, Indices? (int64: position in X flattened, n and c included). kernel_shape;
// strides, dilations = 1; pads = 0; auto_pad; ceil_mode = 0; storage_order = 0 (1: indices count spatial dims
// column-major).
absl::Status InferPool(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadChannelsLast(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  Shape y = Shape::UnknownOfRank(window.rank() + 2);
  if (ctx.has_shape(0)) {
    RONDO_ASSIGN_OR_RETURN(y, PoolShape(window, ctx.shape(0), last));
  }
  if (ctx.has_output(1)) ctx.SetOutput(1, DataType::kInt64, y);
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

template <typename T>
std::unique_ptr<Kernel> PlainMaxPool(PoolGeometry geometry, bool column_major, std::string implementation) {
  return MakeKernel(
      [g = std::move(geometry), column_major](RunContext& ctx) {
        const T* x = ctx.in<T>(0);
        T* y = ctx.out<T>(0);
        int64_t* indices = ctx.has_output(1) ? ctx.out<int64_t>(1) : nullptr;
        int64_t plane_size = 1;
        for (size_t i = 2; i < g.x.size(); ++i) plane_size *= g.x[i];
        ForEachOutput(g, [&](int64_t plane, int64_t x_base, int64_t y_offset, const int64_t* output) {
          using C = ComputeType<T>;
          C best = std::numeric_limits<C>::has_infinity ? -std::numeric_limits<C>::infinity()
                                                        : std::numeric_limits<C>::lowest();
          int64_t best_index = -1;
          VisitWindow(g, output, column_major, [&](int64_t offset, int64_t index) {
            const C v = static_cast<C>(x[x_base + offset]);
            if (best_index < 0 || v > best || v != v) {
              best = v;
              best_index = index;
            }
          });
          y[y_offset] = static_cast<T>(best);
          if (indices != nullptr) indices[y_offset] = best_index < 0 ? -1 : plane * plane_size + best_index;
        });
        return absl::OkStatus();
      },
      std::move(implementation));
}

KernelOr PrepareMax(PrepareContext& ctx, PoolGeometry g, bool column_major) {
  if (!ctx.has_output(1)) {
    auto kernel = PrepareOneDnn(ctx, g, onednn::PoolKind::kMax);
    if (kernel.ok() || !absl::IsUnimplemented(kernel.status())) return kernel;
  }
  return DispatchResult<KernelOr>(MaxTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return PlainMaxPool<typename decltype(tag)::type>(std::move(g), column_major, ctx.plain() ? "plain" : "own");
  });
}

KernelOr PrepareMaxPool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(bool column_major, ctx.attributes.Flag("storage_order", false));
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, ReadGeometry(ctx, std::move(window)));
  return PrepareMax(ctx, std::move(g), column_major);
}

// AveragePool(X) -> Y: mean of each window; count_include_pad = 0 (1: pads count as zeros; what ceil_mode adds beyond
// them never counts).
template <typename T>
std::unique_ptr<Kernel> PlainAveragePool(PoolGeometry geometry, bool include_pad, std::string implementation) {
  return MakeKernel(
      [g = std::move(geometry), include_pad](RunContext& ctx) {
        const T* x = ctx.in<T>(0);
        T* y = ctx.out<T>(0);
        ForEachOutput(g, [&](int64_t, int64_t x_base, int64_t y_offset, const int64_t* output) {
          using C = ComputeType<T>;
          C sum = 0;
          int64_t inside = 0;
          const int64_t padded = VisitWindow(g, output, false, [&](int64_t offset, int64_t) {
            sum += static_cast<C>(x[x_base + offset]);
            ++inside;
          });
          const int64_t count = include_pad ? padded : inside;
          y[y_offset] = static_cast<T>(count == 0 ? C(0) : sum / static_cast<C>(count));
        });
        return absl::OkStatus();
      },
      std::move(implementation));
}

KernelOr PrepareAverage(PrepareContext& ctx, PoolGeometry g, bool include_pad) {
  auto kernel =
      PrepareOneDnn(ctx, g, include_pad ? onednn::PoolKind::kAverageIncludePad : onednn::PoolKind::kAverageExcludePad);
  if (kernel.ok() || !absl::IsUnimplemented(kernel.status())) return kernel;
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return PlainAveragePool<typename decltype(tag)::type>(std::move(g), include_pad, ctx.plain() ? "plain" : "own");
  });
}

KernelOr PrepareAveragePool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(bool include_pad, ctx.attributes.Flag("count_include_pad", false));
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, ReadGeometry(ctx, std::move(window)));
  return PrepareAverage(ctx, std::move(g), include_pad);
}

// LpPool(X) -> Y: (sum |x|^p)^(1/p) of each window, p = 2 (a float in version 1).
absl::StatusOr<double> ReadP(const AttributeReader& attributes, int version) {
  double p = 2;
  if (version < 2) {
    RONDO_ASSIGN_OR_RETURN(p, attributes.Float("p", 2.0f));
  } else {
    RONDO_ASSIGN_OR_RETURN(int64_t exponent, attributes.Int("p", 2));
    p = static_cast<double>(exponent);
  }
  if (!(p > 0)) return InvalidArgument("attribute \"p\": expected a positive value, got ", p);
  return p;
}

template <typename T>
std::unique_ptr<Kernel> PlainLpPool(PoolGeometry geometry, double p, std::string implementation) {
  return MakeKernel(
      [g = std::move(geometry), p](RunContext& ctx) {
        const T* x = ctx.in<T>(0);
        T* y = ctx.out<T>(0);
        ForEachOutput(g, [&](int64_t, int64_t x_base, int64_t y_offset, const int64_t* output) {
          double sum = 0;
          VisitWindow(g, output, false, [&](int64_t offset, int64_t) {
            const double v = std::abs(static_cast<double>(static_cast<ComputeType<T>>(x[x_base + offset])));
            sum += p == 2 ? v * v : p == 1 ? v : std::pow(v, p);
          });
          const double result = p == 2 ? std::sqrt(sum) : p == 1 ? sum : std::pow(sum, 1 / p);
          y[y_offset] = static_cast<T>(static_cast<ComputeType<T>>(result));
        });
        return absl::OkStatus();
      },
      std::move(implementation));
}

KernelOr PrepareLp(PrepareContext& ctx, PoolGeometry g) {
  RONDO_ASSIGN_OR_RETURN(double p, ReadP(ctx.attributes, ctx.version()));
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return PlainLpPool<typename decltype(tag)::type>(std::move(g), p, ctx.plain() ? "plain" : "own");
  });
}

KernelOr PrepareLpPool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, ReadGeometry(ctx, std::move(window)));
  return PrepareLp(ctx, std::move(g));
}

// GlobalMaxPool, GlobalAveragePool, GlobalLpPool(X [N, C, spatial...]) -> [N, C, 1...].
absl::Status InferGlobal(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadChannelsLast(ctx.attributes));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  if (ctx.shape(0).rank() < 2) {
    return InvalidArgument("expected X of rank 2 or more, [N, C, spatial...], got ", ctx.shape(0).ToString());
  }
  Shape y = ToChannelsFirst(ctx.shape(0), last);
  for (int i = 2; i < y.rank(); ++i) y[i] = Dim(1);
  ctx.SetOutput(0, ctx.dtype(0), FromChannelsFirst(y, last));
  return absl::OkStatus();
}

absl::StatusOr<PoolGeometry> GlobalGeometry(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadChannelsLast(ctx.attributes));
  const Dims x = ToChannelsFirst(ctx.input_dims(0), last);
  return ReadGeometry(ctx, PlaneWindow(absl::Span<const int64_t>(x).subspan(2)));
}

// A plane without elements has no window to walk; the result is what an empty maximum or mean is.
bool EmptyWindow(const PoolGeometry& g) {
  for (int64_t k : g.window.kernel) {
    if (k == 0) return true;
  }
  return g.window.rank() == 0;
}

KernelOr PrepareEmptyPlanes(PrepareContext& ctx, const PoolGeometry& g, double value) {
  if (g.window.rank() == 0) {
    return MakeKernel([](RunContext& run) {
      run.output(0).CopyFrom(run.input(0));
      return absl::OkStatus();
    });
  }
  return DispatchResult<KernelOr>(MaxTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    T fill{};
    if constexpr (!std::is_integral_v<T>) fill = T(static_cast<ComputeType<T>>(value));
    return MakeKernel([fill](RunContext& run) {
      std::fill_n(run.out<T>(0), run.output(0).size(), fill);
      return absl::OkStatus();
    });
  });
}

KernelOr PrepareGlobalMax(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, GlobalGeometry(ctx));
  if (EmptyWindow(g)) return PrepareEmptyPlanes(ctx, g, -std::numeric_limits<double>::infinity());
  return PrepareMax(ctx, std::move(g), false);
}

KernelOr PrepareGlobalAverage(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, GlobalGeometry(ctx));
  if (EmptyWindow(g)) return PrepareEmptyPlanes(ctx, g, std::numeric_limits<double>::quiet_NaN());
  return PrepareAverage(ctx, std::move(g), false);
}

KernelOr PrepareGlobalLp(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(PoolGeometry g, GlobalGeometry(ctx));
  if (EmptyWindow(g)) return PrepareEmptyPlanes(ctx, g, 0);
  return PrepareLp(ctx, std::move(g));
}

// com.microsoft NhwcMaxPool(X [N, spatial..., C] int8 or uint8) -> Y: MaxPool with channels last.
absl::Status InferNhwcMaxPool(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  Shape y = Shape::UnknownOfRank(window.rank() + 2);
  if (ctx.has_shape(0)) {
    RONDO_ASSIGN_OR_RETURN(y, PoolShape(window, ctx.shape(0), true));
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

KernelOr PrepareNhwcMaxPool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  PoolGeometry g;
  g.channels_last = true;
  g.x = ToChannelsFirst(ctx.input_dims(0), true);
  g.y = ToChannelsFirst(ctx.output_dims(0), true);
  g.window = std::move(window);
  g.Finish();
  if (g.spatial_rank() > 8) return Unimplemented("pooling over ", g.spatial_rank(), " axes");
  return PrepareMax(ctx, std::move(g), false);
}

const OpDef kRows[] = {
    {.type = "MaxPool", .outputs = {1, 2}, .infer = InferPool, .prepare = PrepareMaxPool},
    {.type = "AveragePool", .infer = InferPool, .prepare = PrepareAveragePool},
    {.type = "LpPool", .infer = InferPool, .prepare = PrepareLpPool},
    {.type = "GlobalMaxPool", .infer = InferGlobal, .prepare = PrepareGlobalMax},
    {.type = "GlobalAveragePool", .infer = InferGlobal, .prepare = PrepareGlobalAverage},
    {.type = "GlobalLpPool", .infer = InferGlobal, .prepare = PrepareGlobalLp},
    {.domain = "com.microsoft", .type = "NhwcMaxPool", .infer = InferNhwcMaxPool, .prepare = PrepareNhwcMaxPool},
    {.domain = kRondoDomain, .type = "MaxPool", .infer = InferPool, .prepare = PrepareMaxPool},
    {.domain = kRondoDomain, .type = "AveragePool", .infer = InferPool, .prepare = PrepareAveragePool},
    {.domain = kRondoDomain, .type = "GlobalAveragePool", .infer = InferGlobal, .prepare = PrepareGlobalAverage},
};

}  // namespace

absl::StatusOr<Shape> PoolShape(const Window& window, const Shape& x, bool channels_last) {
  if (x.rank() != window.rank() + 2) {
    return InvalidArgument("kernel_shape has ", window.rank(), " values: expected X of rank ", window.rank() + 2,
                           ", got ", x.ToString());
  }
  Shape y = ToChannelsFirst(x, channels_last);
  for (int i = 2; i < y.rank(); ++i) {
    RONDO_ASSIGN_OR_RETURN(y[i], window.Output(i - 2, y[i]));
  }
  return FromChannelsFirst(y, channels_last);
}

absl::Span<const OpDef> PoolFamily() { return kRows; }

}  // namespace rondo
