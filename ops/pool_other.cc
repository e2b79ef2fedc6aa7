// Poolings beside the plain ones: MaxUnpool (the reverse of MaxPool with indices), MaxRoiPool (the maximum of each cell
// of regions of interest), and com.microsoft's poolings of quantised planes.
#include <cmath>
#include <limits>

#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/onednn/onednn.h"
#include "ops/pool_common.h"
#include "ops/quantized_product.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// MaxUnpool(X, I int64, output_shape?) -> Y: zeros, but Y[I[i]] = X[i]. I counts over the tensor that kernel_shape,
// strides and pads give: (in - 1) * stride + kernel - pads; output_shape (all dims) may be larger than that.
absl::StatusOr<Dims> UnpooledDims(const Window& window, absl::Span<const int64_t> x) {
  Dims y(x.begin(), x.end());
  for (int i = 0; i < window.rank(); ++i) {
    y[i + 2] = (x[i + 2] - 1) * window.strides[i] + window.kernel[i] - window.pads_begin[i] - window.pads_end[i];
    if (y[i + 2] < 0) return InvalidArgument("pads exceed the output on spatial axis ", i);
  }
  return y;
}

absl::Status InferMaxUnpool(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_ASSIGN_OR_RETURN(Window window, ReadWindow(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, window.rank() + 2, window.rank() + 2));
  Shape y = Shape::UnknownOfRank(window.rank() + 2);
  if (ctx.has_input(2)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(2, {DataType::kInt64}));
    if (const auto shape = ctx.constant_ints(2); shape.has_value()) {
      if (static_cast<int>(shape->size()) != window.rank() + 2) {
        return InvalidArgument("output_shape: expected ", window.rank() + 2, " values, got ", shape->size());
      }
      for (int i = 0; i < y.rank(); ++i) {
        if ((*shape)[i] < 0) return InvalidArgument("output_shape: expected no negative value, got ", (*shape)[i]);
        y[i] = Dim((*shape)[i]);
      }
    }
  } else if (ctx.has_shape(0)) {
    y = ctx.shape(0);
    for (int i = 0; i < window.rank(); ++i) {
      y[i + 2] = (y[i + 2] - Dim(1)) * Dim(window.strides[i]) +
                 Dim(window.kernel[i] - window.pads_begin[i] - window.pads_end[i]);
    }
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

KernelOr PrepareMaxUnpool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadWindow(ctx.attributes));
  if (ctx.input_dims(0) != ctx.input_dims(1)) {
    return InvalidArgument("I has shape ", DimsToString(ctx.input_dims(1)), ", expected X's ",
                           DimsToString(ctx.input_dims(0)));
  }
  RONDO_ASSIGN_OR_RETURN(Dims inner, UnpooledDims(window, ctx.input_dims(0)));
  const Dims y = ctx.output_dims(0);
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([inner, y](RunContext& run) -> absl::Status {
      const T* x = run.in<T>(0);
      const int64_t* indices = run.in<int64_t>(1);
      T* out = run.out<T>(0);
      std::fill_n(out, run.output(0).size(), T{});
      int64_t total = 1;
      for (int64_t d : inner) total *= d;
      for (int64_t i = 0; i < run.input(0).size(); ++i) {
        int64_t at = indices[i];
        if (at < 0 || at >= total) return OutOfRange("index ", at, " is out of range [0, ", total - 1, "]");
        if (inner != y) {
          int64_t offset = 0, stride = 1;
          bool inside = true;
          for (int axis = static_cast<int>(y.size()) - 1; axis >= 0; --axis) {
            const int64_t coordinate = at % inner[axis];
            at /= inner[axis];
            inside = inside && coordinate < y[axis];
            offset += coordinate * stride;
            stride *= y[axis];
          }
          if (!inside) continue;
          at = offset;
        }
        out[at] = x[i];
      }
      return absl::OkStatus();
    });
  });
}

// MaxRoiPool(X [N, C, H, W], rois [R, 5]: batch index, x1, y1, x2, y2) -> [R, C, pooled_shape...]. spatial_scale = 1
// maps region coordinates to X; each region is cut into pooled_shape cells.
absl::StatusOr<std::vector<int64_t>> ReadPooledShape(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> pooled, attributes.Ints("pooled_shape"));
  RONDO_RETURN_IF_ERROR(CheckPositive("pooled_shape", pooled, 2));
  return pooled;
}

absl::Status InferMaxRoiPool(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 4, 4));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 2, 2));
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> pooled, ReadPooledShape(ctx.attributes));
  ctx.SetOutput(0, ctx.dtype(0),
                {ctx.has_shape(1) ? ctx.shape(1)[0] : Dim::Unknown(),
                 ctx.has_shape(0) ? ctx.shape(0)[1] : Dim::Unknown(), Dim(pooled[0]), Dim(pooled[1])});
  return absl::OkStatus();
}

// A region's coordinate: rounded, and kept within what int64 arithmetic can bear. NaN gives the low end.
int64_t RoundCoordinate(float v) {
  constexpr float kLimit = 1e9f;
  v = v > -kLimit ? v : -kLimit;
  v = v < kLimit ? v : kLimit;
  return static_cast<int64_t>(std::round(v));
}

template <typename T>
KernelOr MakeMaxRoiPool(Dims x_dims, Dims y_dims, float scale) {
  return MakeKernel([x_dims, y_dims, scale](RunContext& ctx) -> absl::Status {
    const T* x = ctx.in<T>(0);
    const T* rois = ctx.in<T>(1);
    T* y = ctx.out<T>(0);
    const int64_t channels = x_dims[1], height = x_dims[2], width = x_dims[3], rows = y_dims[2], columns = y_dims[3];
    for (int64_t r = 0; r < y_dims[0]; ++r) {
      auto roi = [&](int i) { return static_cast<float>(rois[r * 5 + i]); };
      const int64_t batch = RoundCoordinate(roi(0));
      if (batch < 0 || batch >= x_dims[0]) {
        return OutOfRange("index ", batch, " is out of range [0, ", x_dims[0] - 1, "] on axis 0");
      }
      const int64_t left = RoundCoordinate(roi(1) * scale), top = RoundCoordinate(roi(2) * scale);
      const int64_t right = RoundCoordinate(roi(3) * scale), bottom = RoundCoordinate(roi(4) * scale);
      const float cell_h = static_cast<float>(std::max<int64_t>(1, bottom - top + 1)) / static_cast<float>(rows);
      const float cell_w = static_cast<float>(std::max<int64_t>(1, right - left + 1)) / static_cast<float>(columns);
      auto clamp = [](int64_t v, int64_t high) { return std::max<int64_t>(0, std::min(v, high)); };
      for (int64_t c = 0; c < channels; ++c) {
        const T* plane = x + (batch * channels + c) * height * width;
        for (int64_t i = 0; i < rows; ++i) {
          const float fi = static_cast<float>(i);
          const int64_t y0 = clamp(static_cast<int64_t>(std::floor(fi * cell_h)) + top, height);
          const int64_t y1 = clamp(static_cast<int64_t>(std::ceil((fi + 1) * cell_h)) + top, height);
          for (int64_t j = 0; j < columns; ++j) {
            const float fj = static_cast<float>(j);
            const int64_t x0 = clamp(static_cast<int64_t>(std::floor(fj * cell_w)) + left, width);
            const int64_t x1 = clamp(static_cast<int64_t>(std::ceil((fj + 1) * cell_w)) + left, width);
            T best{};
            bool first = true;
            for (int64_t a = y0; a < y1; ++a) {
              for (int64_t b = x0; b < x1; ++b) {
                const T v = plane[a * width + b];
                if (first || static_cast<ComputeType<T>>(v) > static_cast<ComputeType<T>>(best)) best = v;
                first = false;
              }
            }
            *y++ = best;
          }
        }
      }
    }
    return absl::OkStatus();
  });
}

KernelOr PrepareMaxRoiPool(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float scale, ctx.attributes.Float("spatial_scale", 1.0f));
  const Dims x = ctx.input_dims(0), y = ctx.output_dims(0);
  if (ctx.input_dims(1)[1] != 5) {
    return InvalidArgument("expected rois [R, 5], got ", DimsToString(ctx.input_dims(1)));
  }
  return DispatchResult<KernelOr>(TypeList<float, double, Float16>{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return MakeMaxRoiPool<typename decltype(tag)::type>(x, y, scale);
  });
}

// com.microsoft QLinearAveragePool(X, x_scale, x_zero_point?, y_scale, y_zero_point?) -> Y: AveragePool of the real
// numbers; channels_last = 0. QLinearGlobalAveragePool is that over whole planes.
absl::StatusOr<bool> ReadLast(const AttributeReader& attributes) { return attributes.Flag("channels_last", false); }

absl::Status CheckQuantized(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kUInt8, DataType::kInt8}));
  if (!ctx.has_input(3)) return InvalidArgument("expected an input y_scale (3), got none");
  for (int i : {1, 3}) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  for (int i : {2, 4}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
  }
  return absl::OkStatus();
}

absl::StatusOr<Window> ReadPoolWindow(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(Window window, ReadWindow(attributes));
  RONDO_ASSIGN_OR_RETURN(window.ceil_mode, attributes.Flag("ceil_mode", false));
  return window;
}

absl::Status InferQuantizedAverage(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(CheckQuantized(ctx));
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  Shape y = Shape::UnknownOfRank(window.rank() + 2);
  if (ctx.has_shape(0)) {
    RONDO_ASSIGN_OR_RETURN(y, PoolShape(window, ctx.shape(0), last));
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::Status InferQuantizedGlobal(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(CheckQuantized(ctx));
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  if (ctx.shape(0).rank() < 3) {
    return InvalidArgument("expected X of rank 3 or more, got ", ctx.shape(0).ToString());
  }
  Shape y = ToChannelsFirst(ctx.shape(0), last);
  for (int i = 2; i < y.rank(); ++i) y[i] = Dim(1);
  ctx.SetOutput(0, ctx.dtype(0), FromChannelsFirst(y, last));
  return absl::OkStatus();
}

template <typename T>
KernelOr MakeQuantizedAverage(PrepareContext& ctx, PoolGeometry geometry, bool include_pad) {
  return MakeKernel(
      [g = std::move(geometry), include_pad](RunContext& run) {
        const T* x = run.in<T>(0);
        T* y = run.out<T>(0);
        const int64_t x_zero = run.has_input(2) ? *run.in<T>(2) : 0;
        const int32_t y_zero = run.has_input(4) ? *run.in<T>(4) : 0;
        const float ratio = *run.in<float>(1) / *run.in<float>(3);
        const float low = static_cast<float>(std::numeric_limits<T>::min() - y_zero);
        const float high = static_cast<float>(std::numeric_limits<T>::max() - y_zero);
        ForEachOutput(g, [&](int64_t, int64_t x_base, int64_t y_offset, const int64_t* output) {
          int64_t sum = 0, inside = 0;
          const int64_t padded = VisitWindow(g, output, false, [&](int64_t offset, int64_t) {
            sum += x[x_base + offset] - x_zero;
            ++inside;
          });
          const int64_t count = std::max<int64_t>(1, include_pad ? padded : inside);
          const float mean = static_cast<float>(sum) / static_cast<float>(count);
          y[y_offset] = static_cast<T>(RoundClamped(mean * ratio, low, high) + y_zero);
        });
        return absl::OkStatus();
      },
      ctx.plain() ? "plain" : "own");
}

KernelOr PrepareQuantized(PrepareContext& ctx, Window window, bool last, bool include_pad) {
  PoolGeometry g;
  g.channels_last = last;
  g.x = ToChannelsFirst(ctx.input_dims(0), last);
  g.y = ToChannelsFirst(ctx.output_dims(0), last);
  g.window = std::move(window);
  g.Finish();
  if (g.spatial_rank() > 8) return Unimplemented("pooling over ", g.spatial_rank(), " axes");
  for (int i = 1; i < 5; ++i) {
    if (!ctx.has_input(i)) continue;
    for (int64_t d : ctx.input_dims(i)) {
      if (d != 1) return InvalidArgument("input ", i, ": expected a scalar, got ", DimsToString(ctx.input_dims(i)));
    }
  }
  for (int64_t k : g.window.kernel) {
    if (k == 0) return InvalidArgument("expected planes with elements, got ", DimsToString(ctx.input_dims(0)));
  }
  if (ctx.input_dtype(0) == DataType::kInt8) return MakeQuantizedAverage<int8_t>(ctx, std::move(g), include_pad);
  return MakeQuantizedAverage<uint8_t>(ctx, std::move(g), include_pad);
}

KernelOr PrepareQuantizedAverage(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(Window window, ReadPoolWindow(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(bool include_pad, ctx.attributes.Flag("count_include_pad", false));
  return PrepareQuantized(ctx, std::move(window), last, include_pad);
}

KernelOr PrepareQuantizedGlobal(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  const Dims x = ToChannelsFirst(ctx.input_dims(0), last);
  Window window;
  window.kernel.assign(x.begin() + 2, x.end());
  window.strides.assign(x.size() - 2, 1);
  window.dilations = window.strides;
  window.pads_begin.assign(x.size() - 2, 0);
  window.pads_end = window.pads_begin;
  return PrepareQuantized(ctx, std::move(window), last, false);
}

const OpDef kRows[] = {
    {.type = "MaxUnpool",
     .since = 9,
     .inputs = {2, 3},
     .infer = InferMaxUnpool,
     .prepare = PrepareMaxUnpool,
     .content_inputs = InputBit(2)},
    {.type = "MaxRoiPool", .inputs = {2, 2}, .infer = InferMaxRoiPool, .prepare = PrepareMaxRoiPool},
    {.domain = "com.microsoft",
     .type = "QLinearAveragePool",
     .inputs = {2, 5},
     .infer = InferQuantizedAverage,
     .prepare = PrepareQuantizedAverage},
    {.domain = "com.microsoft",
     .type = "QLinearGlobalAveragePool",
     .inputs = {2, 5},
     .infer = InferQuantizedGlobal,
     .prepare = PrepareQuantizedGlobal},
};

}  // namespace

absl::Span<const OpDef> PoolOtherFamily() { return kRows; }

}  // namespace rondo
