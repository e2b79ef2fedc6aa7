// GridSample and AffineGrid: an input is read at positions that a grid gives.
//
// GridSample(X [N, C, D1..Dr], grid [N, O1..Or, r]) -> [N, C, O1..Or]. grid's last axis holds the position in order
// x, y, z (that is: of axis Dr first), normalized to [-1, 1] over the input: its corner pixels' centres with
// align_corners = 1, their outer edges with 0 (default). Attributes: mode (opset 16: bilinear, nearest, bicubic;
// 20: linear, nearest, cubic), padding_mode (zeros, border, reflection).
//
// AffineGrid(theta [N, 2, 3] or [N, 3, 4], size [N, C, H, W] or [N, C, D, H, W]) -> [N, H, W, 2] or [N, D, H, W, 3]:
// the grid whose entries are theta times (x, y, z, 1) of the regular grid. Attribute align_corners (0).
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

enum class Filter { kLinear, kNearest, kCubic };
enum class Padding { kZeros, kBorder, kReflection };

struct GridSampleSpec {
  Filter filter = Filter::kLinear;
  Padding padding = Padding::kZeros;
  bool align_corners = false;
};

absl::StatusOr<GridSampleSpec> ReadSpec(const Node& node, const AttributeReader& attributes) {
  GridSampleSpec spec;
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode", node.op().version < 20 ? "bilinear" : "linear"));
  if (mode == "bilinear" || mode == "linear") {
    spec.filter = Filter::kLinear;
  } else if (mode == "nearest") {
    spec.filter = Filter::kNearest;
  } else if (mode == "bicubic" || mode == "cubic") {
    spec.filter = Filter::kCubic;
  } else {
    return InvalidArgument("attribute \"mode\": expected linear, nearest or cubic, got \"", mode, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(std::string padding, attributes.String("padding_mode", "zeros"));
  if (padding == "zeros") {
    spec.padding = Padding::kZeros;
  } else if (padding == "border") {
    spec.padding = Padding::kBorder;
  } else if (padding == "reflection") {
    spec.padding = Padding::kReflection;
  } else {
    return InvalidArgument("attribute \"padding_mode\": expected zeros, border or reflection, got \"", padding, "\"");
  }
  RONDO_ASSIGN_OR_RETURN(spec.align_corners, attributes.Flag("align_corners", false));
  return spec;
}

absl::Status InferGridSample(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ReadSpec(ctx.node(), ctx.attributes).status());
  if (!ctx.has_shape(0) && !ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const int rank = ctx.has_shape(0) ? ctx.shape(0).rank() : ctx.shape(1).rank();
  if (rank < 3 || rank > 5) return InvalidArgument("input 0: expected rank 3 to 5, got ", rank);
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, rank, rank));
  Shape out = Shape::UnknownOfRank(rank);
  if (ctx.has_shape(0)) {
    out[0] = ctx.shape(0)[0];
    out[1] = ctx.shape(0)[1];
  }
  if (ctx.has_shape(1)) {
    const Shape& grid = ctx.shape(1);
    for (int i = 2; i < rank; ++i) out[i] = grid[i - 1];
    if (grid[rank - 1].known() && grid[rank - 1].value() != rank - 2) {
      return InvalidArgument("grid: expected ", rank - 2, " coordinates on its last axis, got ", grid.ToString());
    }
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(out));
  return absl::OkStatus();
}

// The input pixels that count along one axis. An index of -1 reads zero.
struct AxisTaps {
  int count;
  int64_t index[4];
  double weight[4];
};

class AxisSampler {
 public:
  AxisSampler(const GridSampleSpec& spec, int64_t extent)
      : spec_(spec),
        extent_(extent),
        low_(spec.align_corners ? 0 : -0.5),
        high_(spec.align_corners ? static_cast<double>(extent - 1) : static_cast<double>(extent) - 0.5) {}

  AxisTaps At(double normalized) const {
    double position = spec_.align_corners ? (normalized + 1) / 2 * static_cast<double>(extent_ - 1)
                                          : ((normalized + 1) * static_cast<double>(extent_) - 1) / 2;
    // Far away positions all read the same; NaN reads what -infinity does.
    constexpr double kFar = 1e9;
    position = position > -kFar ? std::min(position, kFar) : -kFar;
    if (spec_.filter == Filter::kNearest) position = std::nearbyint(position);
    if (position < low_ || position > high_) {
      if (spec_.padding == Padding::kBorder) position = std::clamp(position, 0.0, static_cast<double>(extent_ - 1));
      if (spec_.padding == Padding::kReflection) position = Reflect(position);
    }
    AxisTaps taps;
    if (spec_.filter == Filter::kNearest) {
      taps.count = 1;
      taps.index[0] = Pixel(std::nearbyint(position));
      taps.weight[0] = 1;
      return taps;
    }
    const double base = std::floor(position);
    const double t = position - base;
    if (spec_.filter == Filter::kLinear) {
      taps.count = 2;
      taps.weight[0] = 1 - t;
      taps.weight[1] = t;
    } else {
      taps.count = 4;
      constexpr double kA = -0.75;
      const auto near = [](double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; };
      const auto far = [](double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
      taps.weight[0] = far(t + 1);
      taps.weight[1] = near(t);
      taps.weight[2] = near(1 - t);
      taps.weight[3] = far(2 - t);
    }
    const double first = taps.count == 4 ? base - 1 : base;
    for (int k = 0; k < taps.count; ++k) taps.index[k] = Pixel(first + k);
    return taps;
  }

 private:
  // Mirrors at the borders until inside.
  double Reflect(double position) const {
    const double range = high_ - low_;
    if (!(range > 0)) return 0;
    double from_low = std::fmod(std::fabs(position - low_), 2 * range);
    if (from_low > range) from_low = 2 * range - from_low;
    return low_ + from_low;
  }

  int64_t Pixel(double position) const {
    if (position >= 0 && position <= static_cast<double>(extent_ - 1)) return static_cast<int64_t>(position);
    switch (spec_.padding) {
      case Padding::kZeros:
        return -1;
      case Padding::kBorder:
        return position < 0 ? 0 : extent_ - 1;
      case Padding::kReflection: {
        const double reflected = std::nearbyint(Reflect(position));
        return static_cast<int64_t>(std::clamp(reflected, 0.0, static_cast<double>(extent_ - 1)));
      }
    }
    return -1;
  }

  GridSampleSpec spec_;
  int64_t extent_;
  double low_;
  double high_;
};

template <typename T, typename G>
class GridSampleKernel final : public Kernel {
 public:
  GridSampleKernel(const GridSampleSpec& spec, absl::Span<const int64_t> input) {
    for (size_t i = 2; i < input.size(); ++i) axes_.emplace_back(spec, input[i]);
    dims_.assign(input.begin() + 2, input.end());
    for (int64_t extent : dims_) image_ *= extent;
  }

  absl::Status Run(RunContext& ctx) const override {
    const Tensor& input = ctx.input(0);
    const Tensor& grid = ctx.input(1);
    const int rank = static_cast<int>(axes_.size());
    const int64_t channels = input.dim(1);
    const int64_t points = grid.size() / (grid.dim(0) * rank);
    ParallelFor(grid.dim(0) * points, std::max<int64_t>(1, 1024 / channels), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t batch = p / points;
        Point(ctx.in<G>(1) + p * rank, ctx.in<T>(0) + batch * channels * image_,
              ctx.out<T>(0) + batch * channels * points + p % points, channels, points);
      }
    });
    return absl::OkStatus();
  }

 private:
  void Point(const G* position, const T* image, T* out, int64_t channels, int64_t out_stride) const {
    using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
    constexpr int kMaxTaps = 64;  // 4 on each of three axes
    const int rank = static_cast<int>(axes_.size());
    int64_t offsets[kMaxTaps] = {0};
    C weights[kMaxTaps] = {1};
    int count = 1;
    // The product of the axes' taps, outermost axis first; those that read padding drop out.
    for (int a = 0; a < rank; ++a) {
      const AxisTaps taps = axes_[a].At(static_cast<double>(static_cast<ComputeType<G>>(position[rank - 1 - a])));
      int64_t next_offsets[kMaxTaps];
      C next_weights[kMaxTaps];
      int next = 0;
      for (int i = 0; i < count; ++i) {
        for (int k = 0; k < taps.count; ++k) {
          if (taps.index[k] < 0) continue;
          next_offsets[next] = offsets[i] * dims_[a] + taps.index[k];
          next_weights[next] = weights[i] * static_cast<C>(taps.weight[k]);
          ++next;
        }
      }
      count = next;
      std::copy_n(next_offsets, count, offsets);
      std::copy_n(next_weights, count, weights);
    }
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = image + c * image_;
      C sum = 0;
      if (count == 1 && weights[0] == 1) {
        out[c * out_stride] = plane[offsets[0]];
        continue;
      }
      for (int i = 0; i < count; ++i) {
        sum += weights[i] * static_cast<C>(static_cast<ComputeType<T>>(plane[offsets[i]]));
      }
      out[c * out_stride] = static_cast<T>(static_cast<ComputeType<T>>(sum));
    }
  }

  std::vector<AxisSampler> axes_;
  std::vector<int64_t> dims_;
  int64_t image_ = 1;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGridSample(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(GridSampleSpec spec, ReadSpec(ctx.node(), ctx.attributes));
  const Dims input = ctx.input_dims(0);
  const Dims grid = ctx.input_dims(1);
  const int64_t rank = static_cast<int64_t>(input.size()) - 2;
  if (grid[0] != input[0] || grid.back() != rank) {
    return InvalidArgument("expected a grid [", input[0], ", ..., ", rank, "], got ", DimsToString(grid));
  }
  for (size_t i = 2; i < input.size(); ++i) {
    if (input[i] == 0) return InvalidArgument("expected an image with pixels, got ", DimsToString(input));
  }
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  using GridTypes = TypeList<float, double, Float16, BFloat16>;
  return DispatchResult<Result>(NumericTypes{}, ctx.input_dtype(0), [&](auto tag) -> Result {
    using T = typename decltype(tag)::type;
    if (ctx.input_dtype(1) == ctx.input_dtype(0) || ctx.input_dtype(1) == DataType::kFloat) {
      using G = std::conditional_t<std::is_integral_v<T>, float, T>;
      if (ctx.input_dtype(1) == DataTypeOf<G>::value) return std::make_unique<GridSampleKernel<T, G>>(spec, input);
    }
    return DispatchResult<Result>(GridTypes{}, ctx.input_dtype(1), [&](auto grid_tag) -> Result {
      return std::make_unique<GridSampleKernel<T, typename decltype(grid_tag)::type>>(spec, input);
    });
  });
}

// ---------------------------------------------------------------------------------------------------------------------

absl::Status InferAffineGrid(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 3, 3));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  const std::optional<std::vector<Dim>> size = ctx.content(1);
  if (!size.has_value()) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const int rank = static_cast<int>(size->size()) - 2;
  if (rank != 2 && rank != 3) return InvalidArgument("size: expected 4 or 5 values, got ", size->size());
  Shape out = {(*size)[0]};
  for (int i = 0; i < rank; ++i) out.push_back((*size)[2 + i]);
  for (const Dim& dim : out) {
    if (dim.known() && dim.value() < 0) return InvalidArgument("size: expected extents >= 0, got ", dim.value());
  }
  out.push_back(rank);
  ctx.SetOutput(0, ctx.dtype(0), std::move(out));
  return absl::OkStatus();
}

template <typename T>
absl::Status RunAffineGrid(RunContext& ctx, bool align_corners) {
  using C = ComputeType<T>;
  const Tensor& output = ctx.output(0);
  const int rank = static_cast<int>(output.dim(output.rank() - 1));
  const int64_t points = output.size() / (output.dim(0) * rank);
  ParallelFor(output.dim(0) * points, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const T* theta = ctx.in<T>(0) + p / points * rank * (rank + 1);
      T* out = ctx.out<T>(0) + p * rank;
      C position[4];  // x, y, z, then 1 after the last one
      int64_t rest = p % points;
      for (int k = 0; k < rank; ++k) {
        const int64_t extent = output.dim(rank - k);
        const C i = static_cast<C>(rest % extent);
        rest /= extent;
        const C n = static_cast<C>(extent);
        position[k] = align_corners ? (extent > 1 ? 2 * i / (n - 1) - 1 : C{0}) : (2 * i + 1) / n - 1;
      }
      for (int r = 0; r < rank; ++r) {
        C sum = static_cast<C>(theta[r * (rank + 1) + rank]);
        for (int k = 0; k < rank; ++k) sum += static_cast<C>(theta[r * (rank + 1) + k]) * position[k];
        out[r] = static_cast<T>(sum);
      }
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareAffineGrid(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool align_corners, ctx.attributes.Flag("align_corners", false));
  const Dims theta = ctx.input_dims(0);
  const Dims out = ctx.output_dims(0);
  const int64_t rank = out.back();
  if (theta[0] != out[0] || theta[1] != rank || theta[2] != rank + 1) {
    return InvalidArgument("theta: expected [", out[0], ", ", rank, ", ", rank + 1, "], got ", DimsToString(theta));
  }
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  return DispatchResult<Result>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> Result {
    using T = typename decltype(tag)::type;
    return MakeKernel([align_corners](RunContext& ctx) { return RunAffineGrid<T>(ctx, align_corners); });
  });
}

const OpDef kRows[] = {
    {.type = "GridSample", .since = 16, .inputs = {2, 2}, .infer = InferGridSample, .prepare = PrepareGridSample},
    {.type = "GridSample", .since = 20, .inputs = {2, 2}, .infer = InferGridSample, .prepare = PrepareGridSample},
    {.type = "AffineGrid",
     .since = 20,
     .inputs = {2, 2},
     .infer = InferAffineGrid,
     .prepare = PrepareAffineGrid,
     .content_inputs = InputBit(1)},
};

}  // namespace

absl::Span<const OpDef> GridSampleFamily() { return kRows; }

}  // namespace rondo
