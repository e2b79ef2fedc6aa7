// Object detection: NonMaxSuppression and RoiAlign.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

// ---------------------------------------------------------------------------------------------------------------------
// NonMaxSuppression(boxes [B, N, 4], scores [B, C, N], max_output_boxes_per_class? = 0, iou_threshold? = 0,
// score_threshold?) -> [selected, 3], rows (batch, class, box). Per batch and class boxes are taken by falling score,
// if above the score threshold and if no box taken before has an intersection over union above the IoU threshold with
// them. Attribute center_point_box: 0 (default) boxes are two opposite corners y, x, y, x; 1 centre x, y, width,
// height.

absl::Status InferNonMaxSuppression(InferContext& ctx) {
  for (int i : {0, 1}) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 3));
  }
  if (ctx.has_input(2)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(2, {DataType::kInt64}));
  for (int i : {3, 4}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  }
  ctx.SetOutput(0, DataType::kInt64, {Dim::Unknown(), 3});
  return absl::OkStatus();
}

struct Box {
  float x1, y1, x2, y2;  // x1 <= x2, y1 <= y2
  float area() const { return (x2 - x1) * (y2 - y1); }
};

Box ReadBox(const float* p, bool center_point) {
  if (center_point) return {p[0] - p[2] / 2, p[1] - p[3] / 2, p[0] + p[2] / 2, p[1] + p[3] / 2};
  return {std::min(p[1], p[3]), std::min(p[0], p[2]), std::max(p[1], p[3]), std::max(p[0], p[2])};
}

bool Overlaps(const Box& a, const Box& b, float threshold) {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (!(width > 0) || !(height > 0) || !(a.area() > 0) || !(b.area() > 0)) return false;
  const float intersection = width * height;
  return intersection / (a.area() + b.area() - intersection) > threshold;
}

struct Suppression {
  int64_t limit;
  float iou_threshold;
  float score_threshold;  // -infinity when there is none
  bool center_point;
};

// Indices of the boxes that one class keeps, by falling score; equal scores by index.
std::vector<int64_t> SelectBoxes(const float* boxes, const float* scores, int64_t count, const Suppression& how) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] > how.score_threshold) order.push_back(i);  // false for NaN
  }
  std::sort(order.begin(), order.end(),
            [scores](int64_t a, int64_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  std::vector<int64_t> selected;
  std::vector<Box> kept;
  for (int64_t i : order) {
    if (static_cast<int64_t>(selected.size()) >= how.limit) break;
    const Box box = ReadBox(boxes + 4 * i, how.center_point);
    const bool suppressed = std::any_of(kept.begin(), kept.end(),
                                        [&](const Box& other) { return Overlaps(box, other, how.iou_threshold); });
    if (suppressed) continue;
    selected.push_back(i);
    kept.push_back(box);
  }
  return selected;
}

absl::StatusOr<float> OptionalFloat(const RunContext& ctx, int i, float fallback, absl::string_view what) {
  if (!ctx.has_input(i)) return fallback;
  if (ctx.input(i).size() != 1) {
    return InvalidArgument(what, ": expected one number, got ", DimsToString(ctx.input(i).dims()));
  }
  return *ctx.in<float>(i);
}

absl::Status RunNonMaxSuppression(RunContext& ctx, bool center_point) {
  const Tensor& boxes = ctx.input(0);
  const Tensor& scores = ctx.input(1);
  const int64_t batch = boxes.dim(0);
  const int64_t count = boxes.dim(1);
  const int64_t classes = scores.dim(1);
  if (boxes.dim(2) != 4 || scores.dim(0) != batch || scores.dim(2) != count) {
    return InvalidArgument("expected boxes [B, N, 4] and scores [B, C, N], got ", DimsToString(boxes.dims()), " and ",
                           DimsToString(scores.dims()));
  }
  Suppression how{.limit = 0, .iou_threshold = 0, .score_threshold = 0, .center_point = center_point};
  if (ctx.has_input(2)) {
    RONDO_ASSIGN_OR_RETURN(how.limit, ScalarInt(ctx.input(2), "max_output_boxes_per_class"));
  }
  RONDO_ASSIGN_OR_RETURN(how.iou_threshold, OptionalFloat(ctx, 3, 0, "iou_threshold"));
  RONDO_ASSIGN_OR_RETURN(how.score_threshold,
                         OptionalFloat(ctx, 4, -std::numeric_limits<float>::infinity(), "score_threshold"));
  if (!(how.iou_threshold >= 0 && how.iou_threshold <= 1)) {
    return InvalidArgument("iou_threshold: expected a number in [0, 1], got ", how.iou_threshold);
  }
  std::vector<std::vector<int64_t>> selected(how.limit > 0 ? batch * classes : 0);
  ParallelFor(static_cast<int64_t>(selected.size()), std::max<int64_t>(1, 2000 / std::max<int64_t>(1, count)),
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  selected[i] =
                      SelectBoxes(ctx.in<float>(0) + i / classes * count * 4, ctx.in<float>(1) + i * count, count, how);
                }
              });
  int64_t rows = 0;
  for (const auto& indices : selected) rows += static_cast<int64_t>(indices.size());
  RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, {rows, 3}));
  int64_t* out = ctx.out<int64_t>(0);
  for (size_t i = 0; i < selected.size(); ++i) {
    for (int64_t box : selected[i]) {
      *out++ = static_cast<int64_t>(i) / classes;
      *out++ = static_cast<int64_t>(i) % classes;
      *out++ = box;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareNonMaxSuppression(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool center_point, ctx.attributes.Flag("center_point_box", false));
  return MakeKernel([center_point](RunContext& ctx) { return RunNonMaxSuppression(ctx, center_point); });
}

// ---------------------------------------------------------------------------------------------------------------------
// RoiAlign(X [N, C, H, W], rois [R, 4] as x1, y1, x2, y2, batch_indices [R]) -> [R, C, output_height, output_width].
// Each output bin pools bilinear samples on a regular grid inside it. Attributes: mode (avg | max), output_height (1),
// output_width (1), sampling_ratio (0 = as many as input pixels per bin), spatial_scale (1);
// coordinate_transformation_mode from opset 16 on (half_pixel, which shifts by half a pixel; output_half_pixel, the
// only behaviour before, which does not and widens regions to at least one pixel).

struct RoiAlignSpec {
  bool max = false;
  bool half_pixel = true;
  int64_t output_height = 1;
  int64_t output_width = 1;
  int64_t sampling_ratio = 0;
  float spatial_scale = 1;
};

absl::StatusOr<RoiAlignSpec> ReadRoiAlign(const Node& node, const AttributeReader& attributes) {
  RoiAlignSpec spec;
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode", "avg"));
  if (mode != "avg" && mode != "max") {
    return InvalidArgument("attribute \"mode\": expected avg or max, got \"", mode, "\"");
  }
  spec.max = mode == "max";
  RONDO_ASSIGN_OR_RETURN(spec.output_height, attributes.Int("output_height", 1));
  RONDO_ASSIGN_OR_RETURN(spec.output_width, attributes.Int("output_width", 1));
  RONDO_ASSIGN_OR_RETURN(spec.sampling_ratio, attributes.Int("sampling_ratio", 0));
  RONDO_ASSIGN_OR_RETURN(spec.spatial_scale, attributes.Float("spatial_scale", 1.0f));
  if (spec.output_height < 1 || spec.output_width < 1) {
    return InvalidArgument("expected a positive output size, got ", spec.output_height, " x ", spec.output_width);
  }
  constexpr int64_t kMaxSamplingRatio = 1 << 14;
  if (spec.sampling_ratio < 0 || spec.sampling_ratio > kMaxSamplingRatio) {
    return InvalidArgument("attribute \"sampling_ratio\": expected 0 to ", kMaxSamplingRatio, ", got ",
                           spec.sampling_ratio);
  }
  if (node.op().version < 16) {
    spec.half_pixel = false;
    return spec;
  }
  RONDO_ASSIGN_OR_RETURN(std::string transform, attributes.String("coordinate_transformation_mode", "half_pixel"));
  if (transform != "half_pixel" && transform != "output_half_pixel") {
    return InvalidArgument(
        "attribute \"coordinate_transformation_mode\": expected half_pixel or output_half_pixel, got \"", transform,
        "\"");
  }
  spec.half_pixel = transform == "half_pixel";
  return spec;
}

absl::Status InferRoiAlign(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 4, 4));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 2, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(2, {DataType::kInt64}));
  RONDO_ASSIGN_OR_RETURN(RoiAlignSpec spec, ReadRoiAlign(ctx.node(), ctx.attributes));
  const Dim rois = ctx.has_shape(1) ? ctx.shape(1)[0] : ctx.has_shape(2) ? ctx.shape(2)[0] : Dim::Unknown();
  const Dim channels = ctx.has_shape(0) ? ctx.shape(0)[1] : Dim::Unknown();
  ctx.SetOutput(0, ctx.dtype(0), {rois, channels, spec.output_height, spec.output_width});
  return absl::OkStatus();
}

// One coordinate between two pixels of an axis.
struct Tap {
  int64_t low;
  int64_t high;
  float high_weight;
  bool outside;
};

Tap MakeTap(float position, int64_t extent) {
  if (position < -1 || position > static_cast<float>(extent)) return {0, 0, 0, true};
  position = std::max(position, 0.0f);
  const int64_t low = static_cast<int64_t>(position);
  if (low >= extent - 1) return {extent - 1, extent - 1, 0, false};
  return {low, low + 1, position - static_cast<float>(low), false};
}

template <typename T>
class RoiAlignKernel final : public Kernel {
 public:
  explicit RoiAlignKernel(const RoiAlignSpec& spec) : spec_(spec) {}

  absl::Status Run(RunContext& ctx) const override {
    const Tensor& input = ctx.input(0);
    const int64_t count = ctx.input(1).dim(0);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t batch = ctx.in<int64_t>(2)[r];
      if (batch < 0 || batch >= input.dim(0)) {
        return OutOfRange("index ", batch, " is out of range [0, ", input.dim(0) - 1, "] on axis 0");
      }
      RONDO_RETURN_IF_ERROR(CheckRoi(ctx.in<T>(1) + 4 * r, r));
    }
    const int64_t channels = input.dim(1);
    ParallelFor(count * channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) Align(ctx, i / channels, i % channels);
    });
    return absl::OkStatus();
  }

 private:
  struct Axis {
    float start;
    float bin;
    int64_t samples;
  };

  Axis MakeAxis(float low, float high, int64_t bins) const {
    const float offset = spec_.half_pixel ? 0.5f : 0.0f;
    const float start = low * spec_.spatial_scale - offset;
    float extent = high * spec_.spatial_scale - offset - start;
    if (!spec_.half_pixel) extent = std::max(extent, 1.0f);
    const float bin = extent / static_cast<float>(bins);
    const int64_t samples =
        spec_.sampling_ratio > 0 ? spec_.sampling_ratio : static_cast<int64_t>(std::ceil(std::max(bin, 0.0f)));
    return {start, bin, samples};
  }

  absl::Status CheckRoi(const T* roi, int64_t r) const {
    constexpr float kLargest = 1e6f;  // bounds the samples that one bin takes
    for (int k = 0; k < 4; ++k) {
      const float value = static_cast<float>(roi[k]) * spec_.spatial_scale;
      if (!(std::fabs(value) < kLargest)) {
        return OutOfRange("rois[", r, ", ", k, "]: expected a coordinate below ", kLargest, ", got ", value);
      }
    }
    return absl::OkStatus();
  }

  void Align(RunContext& ctx, int64_t r, int64_t channel) const {
    const Tensor& input = ctx.input(0);
    const int64_t height = input.dim(2);
    const int64_t width = input.dim(3);
    const T* roi = ctx.in<T>(1) + 4 * r;
    const Axis x_axis = MakeAxis(static_cast<float>(roi[0]), static_cast<float>(roi[2]), spec_.output_width);
    const Axis y_axis = MakeAxis(static_cast<float>(roi[1]), static_cast<float>(roi[3]), spec_.output_height);
    const T* plane = ctx.in<T>(0) + (ctx.in<int64_t>(2)[r] * input.dim(1) + channel) * height * width;
    T* out = ctx.out<T>(0) + (r * input.dim(1) + channel) * spec_.output_height * spec_.output_width;
    for (int64_t y = 0; y < spec_.output_height; ++y) {
      for (int64_t x = 0; x < spec_.output_width; ++x) {
        *out++ = static_cast<T>(Pool(plane, height, width, y_axis, x_axis, y, x));
      }
    }
  }

  float Pool(const T* plane, int64_t height, int64_t width, const Axis& y_axis, const Axis& x_axis, int64_t y,
             int64_t x) const {
    const auto position = [](const Axis& axis, int64_t bin, int64_t sample) {
      return axis.start + axis.bin * (static_cast<float>(bin) +
                                      (static_cast<float>(sample) + 0.5f) / static_cast<float>(axis.samples));
    };
    float sum = 0;
    float largest = 0;
    bool first = true;
    for (int64_t iy = 0; iy < y_axis.samples; ++iy) {
      const Tap ty = MakeTap(position(y_axis, y, iy), height);
      for (int64_t ix = 0; ix < x_axis.samples; ++ix) {
        const Tap tx = MakeTap(position(x_axis, x, ix), width);
        const float value = Sample(plane, width, ty, tx);
        sum += value;
        largest = first ? value : std::max(largest, value);
        first = false;
      }
    }
    const int64_t samples = std::max<int64_t>(1, y_axis.samples * x_axis.samples);
    return spec_.max ? largest : sum / static_cast<float>(samples);
  }

  float Sample(const T* plane, int64_t width, const Tap& y, const Tap& x) const {
    if (y.outside || x.outside) return 0;
    const auto at = [&](int64_t row, int64_t column) { return static_cast<float>(plane[row * width + column]); };
    const float a = (1 - y.high_weight) * (1 - x.high_weight) * at(y.low, x.low);
    const float b = (1 - y.high_weight) * x.high_weight * at(y.low, x.high);
    const float c = y.high_weight * (1 - x.high_weight) * at(y.high, x.low);
    const float d = y.high_weight * x.high_weight * at(y.high, x.high);
    // "max" is the largest of the four weighted pixels, not of the interpolated values: the official test has it so.
    return spec_.max ? std::max(std::max(a, b), std::max(c, d)) : a + b + c + d;
  }

  RoiAlignSpec spec_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareRoiAlign(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(RoiAlignSpec spec, ReadRoiAlign(ctx.node(), ctx.attributes));
  const Dims x = ctx.input_dims(0);
  const Dims rois = ctx.input_dims(1);
  if (rois[1] != 4 || ctx.input_dims(2)[0] != rois[0]) {
    return InvalidArgument("expected rois [R, 4] and batch_indices [R], got ", DimsToString(rois), " and ",
                           DimsToString(ctx.input_dims(2)));
  }
  if (x[2] == 0 || x[3] == 0) return InvalidArgument("expected an image with pixels, got ", DimsToString(x));
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  return DispatchResult<Result>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> Result {
    return std::make_unique<RoiAlignKernel<typename decltype(tag)::type>>(spec);
  });
}

const OpDef kRows[] = {
    {.type = "NonMaxSuppression",
     .since = 10,
     .inputs = {2, 5},
     .infer = InferNonMaxSuppression,
     .prepare = PrepareNonMaxSuppression},
    {.type = "RoiAlign", .since = 10, .inputs = {3, 3}, .infer = InferRoiAlign, .prepare = PrepareRoiAlign},
    {.type = "RoiAlign", .since = 16, .inputs = {3, 3}, .infer = InferRoiAlign, .prepare = PrepareRoiAlign},
};

}  // namespace

absl::Span<const OpDef> DetectionFamily() { return kRows; }

}  // namespace rondo
