// Resize (opset 10, 11, 13, 18, 19) and its predecessor Upsample (1, 7, 9): resampling of any axes of a tensor.
//
// An output position x maps to a coordinate of the input (coordinate_transformation_mode), and the input is read there
// by a filter: nearest, linear or cubic, stretched by 1/scale when it shrinks with antialias. All of that is separable,
// so it becomes one table per axis (ops/resample.h).
//
// Coordinates are computed in double. Scales are float32 in the model, so 1/0.1f times 3 is 29.9999996: before a
// coordinate is rounded to a pixel it is snapped to the nearest half where it is that close.
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "graph/numeric.h"
#include "ops/families.h"
#include "ops/resample.h"

namespace rondo {
namespace {

enum class Mode { kNearest, kLinear, kCubic };
enum class Transform {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfHalfPixelForNn,
  kTfCropAndResize
};
enum class Rounding { kPreferFloor, kPreferCeil, kFloor, kCeil, kCeilWhenShrinking };
enum class Aspect { kStretch, kNotLarger, kNotSmaller };

struct ResizeSpec {
  Mode mode = Mode::kNearest;
  Transform transform = Transform::kAsymmetric;
  Rounding rounding = Rounding::kFloor;
  Aspect aspect = Aspect::kStretch;
  double cubic_a = -0.75;
  bool exclude_outside = false;
  bool antialias = false;
  float extrapolation = 0;
  std::vector<int> axes;  // those that roi, scales and sizes speak of
  // Input indices; -1 = this version has none.
  int roi = -1;
  int scales = -1;
  int sizes = -1;
};

template <typename Enum>
struct Name {
  absl::string_view name;
  Enum value;
};
constexpr Name<Mode> kModes[] = {
    {"nearest", Mode::kNearest}, {"linear", Mode::kLinear}, {"bilinear", Mode::kLinear}, {"cubic", Mode::kCubic}};
constexpr Name<Transform> kTransforms[] = {{"half_pixel", Transform::kHalfPixel},
                                           {"half_pixel_symmetric", Transform::kHalfPixelSymmetric},
                                           {"pytorch_half_pixel", Transform::kPytorchHalfPixel},
                                           {"align_corners", Transform::kAlignCorners},
                                           {"asymmetric", Transform::kAsymmetric},
                                           {"tf_half_pixel_for_nn", Transform::kTfHalfPixelForNn},
                                           {"tf_crop_and_resize", Transform::kTfCropAndResize}};
constexpr Name<Rounding> kRoundings[] = {{"round_prefer_floor", Rounding::kPreferFloor},
                                         {"round_prefer_ceil", Rounding::kPreferCeil},
                                         {"floor", Rounding::kFloor},
                                         {"ceil", Rounding::kCeil}};
constexpr Name<Aspect> kAspects[] = {
    {"stretch", Aspect::kStretch}, {"not_larger", Aspect::kNotLarger}, {"not_smaller", Aspect::kNotSmaller}};

template <typename Enum, size_t n>
absl::StatusOr<Enum> ReadName(const AttributeReader& attributes, absl::string_view attribute,
                              absl::string_view fallback, const Name<Enum> (&names)[n]) {
  RONDO_ASSIGN_OR_RETURN(std::string text, attributes.String(attribute, fallback));
  std::string expected;
  for (const Name<Enum>& name : names) {
    if (name.name == text) return name.value;
    absl::StrAppend(&expected, expected.empty() ? "" : ", ", name.name);
  }
  return InvalidArgument("attribute \"", attribute, "\": expected one of ", expected, ", got \"", text, "\"");
}

absl::StatusOr<ResizeSpec> ReadSpec(const Node& node, const AttributeReader& attributes, int rank) {
  ResizeSpec spec;
  const int version = node.op().version;
  RONDO_ASSIGN_OR_RETURN(spec.mode, ReadName(attributes, "mode", "nearest", kModes));
  if (node.op().type == "Upsample" || version < 11) {
    if (spec.mode == Mode::kCubic) return InvalidArgument("attribute \"mode\": expected nearest or linear, got cubic");
    if (node.op().type == "Resize") spec.rounding = Rounding::kCeilWhenShrinking;
    spec.scales = node.op().type == "Resize" || version >= 9 ? 1 : -1;
    for (int i = 0; i < rank; ++i) spec.axes.push_back(i);
    return spec;
  }
  spec.roi = 1;
  spec.scales = 2;
  spec.sizes = 3;
  RONDO_ASSIGN_OR_RETURN(spec.transform,
                         ReadName(attributes, "coordinate_transformation_mode", "half_pixel", kTransforms));
  RONDO_ASSIGN_OR_RETURN(spec.rounding, ReadName(attributes, "nearest_mode", "round_prefer_floor", kRoundings));
  RONDO_ASSIGN_OR_RETURN(spec.cubic_a, attributes.Float("cubic_coeff_a", -0.75f));
  RONDO_ASSIGN_OR_RETURN(spec.exclude_outside, attributes.Flag("exclude_outside", false));
  RONDO_ASSIGN_OR_RETURN(spec.extrapolation, attributes.Float("extrapolation_value", 0.0f));
  RONDO_ASSIGN_OR_RETURN(spec.antialias, attributes.Flag("antialias", false));
  RONDO_ASSIGN_OR_RETURN(spec.aspect, ReadName(attributes, "keep_aspect_ratio_policy", "stretch", kAspects));
  if (!attributes.Has("axes")) {
    for (int i = 0; i < rank; ++i) spec.axes.push_back(i);
    return spec;
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> axes, attributes.Ints("axes"));
  std::vector<bool> seen(rank, false);
  for (int64_t value : axes) {
    RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(value, rank, "attribute \"axes\""));
    if (seen[axis]) return InvalidArgument("attribute \"axes\": axis ", axis, " appears twice");
    seen[axis] = true;
    spec.axes.push_back(axis);
  }
  return spec;
}

absl::StatusOr<std::vector<double>> ReadFloats(const Tensor& tensor, absl::string_view what) {
  std::vector<double> values(tensor.size());
  for (int64_t i = 0; i < tensor.size(); ++i) {
    switch (tensor.dtype()) {
      case DataType::kFloat:
        values[i] = tensor.data<float>()[i];
        break;
      case DataType::kDouble:
        values[i] = tensor.data<double>()[i];
        break;
      case DataType::kFloat16:
        values[i] = static_cast<float>(tensor.data<Float16>()[i]);
        break;
      case DataType::kBFloat16:
        values[i] = static_cast<float>(tensor.data<BFloat16>()[i]);
        break;
      default:
        return InvalidArgument(what, ": expected floats, got ", DataTypeName(tensor.dtype()));
    }
  }
  return values;
}

absl::Status CheckScales(const std::vector<double>& scales, size_t expected) {
  if (scales.size() != expected) return InvalidArgument("scales: expected ", expected, " values, got ", scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!(scales[i] > 0) || !std::isfinite(scales[i])) {
      return InvalidArgument("scales[", i, "]: expected a positive number, got ", scales[i]);
    }
  }
  return absl::OkStatus();
}

// Scales that are attributes (Upsample 1 and 7).
absl::StatusOr<std::vector<double>> ScalesFromAttributes(const Node& node, const AttributeReader& attributes,
                                                         int rank) {
  std::vector<double> scales;
  if (node.op().version >= 7) {
    RONDO_ASSIGN_OR_RETURN(std::vector<float> values, attributes.Floats("scales"));
    scales.assign(values.begin(), values.end());
  } else {
    if (rank != 4) return InvalidArgument("input 0: expected rank 4, got ", rank);
    RONDO_ASSIGN_OR_RETURN(float height, attributes.Float("height_scale"));
    RONDO_ASSIGN_OR_RETURN(float width, attributes.Float("width_scale"));
    scales = {1.0, 1.0, height, width};
  }
  RONDO_RETURN_IF_ERROR(CheckScales(scales, rank));
  return scales;
}

// floor(extent * scale), in float32 as the exporters compute it.
absl::StatusOr<Dim> ScaledExtent(const Dim& extent, double scale) {
  if (extent.known()) {
    const float product = std::floor(static_cast<float>(extent.value()) * static_cast<float>(scale));
    if (!(product < 1e12f)) {
      return ResourceExhausted("an axis of ", extent.value(), " scaled by ", scale, " is too large");
    }
    return Dim(static_cast<int64_t>(product));
  }
  if (scale == 1) return extent;
  if (scale == std::floor(scale) && scale < 1e9) return extent * Dim(static_cast<int64_t>(scale));
  const double inverse = std::round(1 / scale);
  if (inverse > 1 && inverse < 1e9 && inverse * scale == 1.0) {
    return Dim::FloorDiv(extent, Dim(static_cast<int64_t>(inverse)));
  }
  return Dim::Unknown();
}

// The common scale of keep_aspect_ratio_policy; in and out are those of the axes that are resized.
double CommonScale(Aspect aspect, const std::vector<int64_t>& in, const std::vector<int64_t>& out) {
  double scale = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const double ratio = in[i] == 0 ? 1.0 : static_cast<double>(out[i]) / static_cast<double>(in[i]);
    if (i == 0 || (aspect == Aspect::kNotLarger ? ratio < scale : ratio > scale)) scale = ratio;
  }
  return scale;
}

absl::Status CheckSizes(absl::Span<const int64_t> sizes, size_t expected) {
  if (sizes.size() != expected) return InvalidArgument("sizes: expected ", expected, " values, got ", sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 0 || sizes[i] > std::numeric_limits<int32_t>::max()) {
      return InvalidArgument("sizes[", i, "]: expected 0 to ", std::numeric_limits<int32_t>::max(), ", got ", sizes[i]);
    }
  }
  return absl::OkStatus();
}

// An optional input that is given as an empty tensor counts as absent.
bool HasElements(const InferContext& ctx, int i) {
  if (i < 0 || !ctx.has_input(i)) return false;
  return !ctx.has_shape(i) || ctx.shape(i).rank() != 1 || !(ctx.shape(i)[0] == Dim(0));
}

// ---------------------------------------------------------------------------------------------------------------------
// Infer

absl::Status InferFromSizes(InferContext& ctx, const ResizeSpec& spec, Shape* out) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(spec.sizes, {DataType::kInt64, DataType::kInt32}));
  const size_t count = spec.axes.size();
  const std::optional<std::vector<Dim>> content = ctx.content(spec.sizes);
  if (!content.has_value()) {
    for (int axis : spec.axes) (*out)[axis] = Dim::Unknown();
    return absl::OkStatus();
  }
  if (content->size() != count) return InvalidArgument("sizes: expected ", count, " values, got ", content->size());
  std::vector<int64_t> in;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < count; ++i) {
    const Dim& dim = (*out)[spec.axes[i]];
    if ((*content)[i].known()) {
      sizes.push_back((*content)[i].value());
      RONDO_RETURN_IF_ERROR(CheckSizes(absl::MakeConstSpan(sizes).subspan(sizes.size() - 1), 1));
    }
    if (dim.known()) in.push_back(dim.value());
  }
  const bool numbers = in.size() == count && sizes.size() == count;
  for (size_t i = 0; i < count; ++i) {
    Dim& dim = (*out)[spec.axes[i]];
    if (spec.aspect == Aspect::kStretch) {
      dim = (*content)[i];
    } else if (numbers) {
      dim = static_cast<int64_t>(CommonScale(spec.aspect, in, sizes) * static_cast<double>(in[i]) + 0.5);
    } else {
      dim = Dim::Unknown();
    }
  }
  return absl::OkStatus();
}

absl::Status InferResize(InferContext& ctx) {
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape out = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(ResizeSpec spec, ReadSpec(ctx.node(), ctx.attributes, out.rank()));
  std::vector<double> scales;
  if (spec.scales < 0) {
    RONDO_ASSIGN_OR_RETURN(scales, ScalesFromAttributes(ctx.node(), ctx.attributes, out.rank()));
  } else if (HasElements(ctx, spec.scales)) {
    if (HasElements(ctx, spec.sizes)) return InvalidArgument("expected either scales or sizes, got both");
    const Tensor tensor = ctx.constant(spec.scales);
    if (!tensor.defined()) {
      for (int axis : spec.axes) out[axis] = Dim::Unknown();
      ctx.SetOutput(0, ctx.dtype(0), std::move(out));
      return absl::OkStatus();
    }
    RONDO_ASSIGN_OR_RETURN(scales, ReadFloats(tensor, "scales"));
    RONDO_RETURN_IF_ERROR(CheckScales(scales, spec.axes.size()));
  } else if (HasElements(ctx, spec.sizes)) {
    RONDO_RETURN_IF_ERROR(InferFromSizes(ctx, spec, &out));
  } else {
    return InvalidArgument("expected scales or sizes, got neither");
  }
  for (size_t i = 0; i < scales.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(out[spec.axes[i]], ScaledExtent(out[spec.axes[i]], scales[i]));
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(out));
  return absl::OkStatus();
}

// ---------------------------------------------------------------------------------------------------------------------
// Tables

// What one axis needs for its coordinates. `length` is the output's extent before rounding to an integer: the
// specification's align_corners and tf_crop_and_resize use it so.
struct AxisScale {
  double scale = 1;
  double length = 0;
  double roi_start = 0;
  double roi_end = 1;
};

double Coordinate(Transform transform, const AxisScale& axis, int64_t in, int64_t out, int64_t x) {
  const double last = static_cast<double>(in - 1);
  const double half_pixel = (static_cast<double>(x) + 0.5) / axis.scale - 0.5;
  switch (transform) {
    case Transform::kHalfPixel:
      return half_pixel;
    case Transform::kPytorchHalfPixel:
      return out > 1 ? half_pixel : 0;
    case Transform::kHalfPixelSymmetric: {
      // Keeps the centre in place when the exact output length is no integer.
      const double adjustment = static_cast<double>(out) / axis.length;
      return half_pixel + static_cast<double>(in) / 2 * (1 - adjustment);
    }
    case Transform::kAlignCorners:
      return axis.length == 1 ? 0 : static_cast<double>(x) * last / (axis.length - 1);
    case Transform::kAsymmetric:
      return static_cast<double>(x) / axis.scale;
    case Transform::kTfHalfPixelForNn:
      return (static_cast<double>(x) + 0.5) / axis.scale;
    case Transform::kTfCropAndResize: {
      const double extent = axis.roi_end - axis.roi_start;
      const double offset =
          axis.length == 1 ? extent * last / 2 : static_cast<double>(x) * extent * last / (axis.length - 1);
      return axis.roi_start * last + offset;
    }
  }
  return 0;
}

double RoundCoordinate(Rounding rounding, double coordinate, double scale) {
  const double snapped = std::round(coordinate * 2) / 2;
  if (std::fabs(snapped - coordinate) < 1e-6 * (1 + std::fabs(coordinate))) coordinate = snapped;
  switch (rounding) {
    case Rounding::kPreferFloor:
      return std::ceil(coordinate - 0.5);
    case Rounding::kPreferCeil:
      return std::floor(coordinate + 0.5);
    case Rounding::kFloor:
      return std::floor(coordinate);
    case Rounding::kCeil:
      return std::ceil(coordinate);
    case Rounding::kCeilWhenShrinking:
      return scale < 1 ? std::ceil(coordinate) : std::floor(coordinate);
  }
  return 0;
}

double CubicWeight(double distance, double a) {
  const double d = std::fabs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

int32_t ClampIndex(double index, int64_t in) {
  if (!(index > 0)) return 0;
  return static_cast<int32_t>(index < static_cast<double>(in - 1) ? index : static_cast<double>(in - 1));
}

AxisTable MakeTable(const ResizeSpec& spec, const AxisScale& axis, int64_t in, int64_t out) {
  AxisTable table{.in = in, .out = out};
  if (out == 0) return table;
  const bool cubic = spec.mode == Mode::kCubic;
  const double radius = cubic ? 2 : 1;
  // The filter is stretched over the input pixels that one output pixel covers.
  const double stretch = spec.antialias ? std::min(axis.scale, 1.0) : 1.0;
  const int first = static_cast<int>(std::floor(-radius / stretch)) + 1;
  if (spec.mode != Mode::kNearest) table.taps = 2 - 2 * first;
  table.index.reserve(out * table.taps);
  if (spec.mode != Mode::kNearest) table.weight.reserve(out * table.taps);
  bool any_outside = false;
  std::vector<uint8_t> outside(out, 0);
  std::vector<double> weights(table.taps);
  for (int64_t x = 0; x < out; ++x) {
    const double coordinate = Coordinate(spec.transform, axis, in, out, x);
    if (spec.transform == Transform::kTfCropAndResize) {
      constexpr double kSlack = 1e-6;
      outside[x] = !(coordinate >= -kSlack && coordinate <= static_cast<double>(in - 1) + kSlack);
      any_outside = any_outside || outside[x];
    }
    if (spec.mode == Mode::kNearest) {
      table.index.push_back(ClampIndex(RoundCoordinate(spec.rounding, coordinate, axis.scale), in));
      continue;
    }
    const double base = std::floor(coordinate);
    double sum = 0;
    for (int k = 0; k < table.taps; ++k) {
      const double position = base + first + k;
      const double distance = (position - coordinate) * stretch;
      double weight = cubic ? CubicWeight(distance, spec.cubic_a) : std::max(0.0, 1 - std::fabs(distance));
      if (spec.exclude_outside && (position < 0 || position > static_cast<double>(in - 1))) weight = 0;
      weights[k] = weight;
      sum += weight;
      table.index.push_back(ClampIndex(position, in));
    }
    const bool normalize = (spec.antialias || spec.exclude_outside) && sum != 0;
    for (double weight : weights) table.weight.push_back(normalize ? weight / sum : weight);
  }
  if (any_outside) table.outside = std::move(outside);
  return table;
}

AxisTable IdentityTable(int64_t extent) {
  AxisTable table{.in = extent, .out = extent};
  for (int64_t i = 0; i < extent; ++i) table.index.push_back(static_cast<int32_t>(i));
  table.weight.assign(extent, 1.0);
  return table;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareResize(PrepareContext& ctx) {
  const Dims in = ctx.input_dims(0);
  const Dims out = ctx.output_dims(0);
  const int rank = static_cast<int>(in.size());
  RONDO_ASSIGN_OR_RETURN(ResizeSpec spec, ReadSpec(ctx.node(), ctx.attributes, rank));
  for (int i = 0; i < rank; ++i) {
    if (in[i] > std::numeric_limits<int32_t>::max()) return Unimplemented("an axis of ", in[i], " elements");
    if (in[i] == 0 && out[i] > 0) return InvalidArgument("axis ", i, " is empty and cannot become ", out[i]);
  }

  std::vector<double> scales;
  bool scaled = spec.scales < 0;
  if (scaled) {
    RONDO_ASSIGN_OR_RETURN(scales, ScalesFromAttributes(ctx.node(), ctx.attributes, rank));
  } else if (ctx.has_input(spec.scales) && ctx.constant(spec.scales).size() > 0) {
    RONDO_ASSIGN_OR_RETURN(scales, ReadFloats(ctx.constant(spec.scales), "scales"));
    scaled = true;
  }
  double common = 0;
  if (!scaled && spec.aspect != Aspect::kStretch) {
    const std::vector<int64_t> sizes = ctx.constant_ints(spec.sizes);
    std::vector<int64_t> resized;
    for (int axis : spec.axes) resized.push_back(in[axis]);
    RONDO_RETURN_IF_ERROR(CheckSizes(sizes, resized.size()));
    common = CommonScale(spec.aspect, resized, sizes);
  }
  std::vector<double> roi;
  const bool crop = spec.transform == Transform::kTfCropAndResize;
  if (crop) {
    if (!ctx.has_input(spec.roi)) return InvalidArgument("tf_crop_and_resize: expected input roi, got none");
    RONDO_ASSIGN_OR_RETURN(roi, ReadFloats(ctx.constant(spec.roi), "roi"));
    if (roi.size() != 2 * spec.axes.size()) {
      return InvalidArgument("roi: expected ", 2 * spec.axes.size(), " values, got ", roi.size());
    }
    for (double value : roi) {
      if (!std::isfinite(value)) return InvalidArgument("roi: expected finite numbers, got ", value);
    }
  }

  ResamplePlan plan{.dtype = ctx.input_dtype(0), .nearest = spec.mode == Mode::kNearest, .fill = spec.extrapolation};
  std::vector<AxisScale> axis_scales(rank);
  std::vector<bool> listed(rank, false);
  for (size_t i = 0; i < spec.axes.size(); ++i) {
    const int axis = spec.axes[i];
    AxisScale& target = axis_scales[axis];
    listed[axis] = true;
    const double in_extent = static_cast<double>(in[axis]);
    const double out_extent = static_cast<double>(out[axis]);
    target.scale = scaled ? scales[i] : common > 0 ? common : in[axis] == 0 ? 1 : out_extent / in_extent;
    target.length = scaled || common > 0 ? target.scale * in_extent : out_extent;
    if (crop) {
      target.roi_start = roi[i];
      target.roi_end = roi[i + spec.axes.size()];
    }
  }
  for (int i = 0; i < rank; ++i) {
    plan.axes.push_back(listed[i] ? MakeTable(spec, axis_scales[i], in[i], out[i]) : IdentityTable(in[i]));
  }
  return MakeResampleKernel(ctx, std::move(plan));
}

constexpr uint32_t kResizeContents = InputBit(1) | InputBit(2) | InputBit(3);

const OpDef kRows[] = {
    // mode (nearest), coordinates asymmetric. 1: height_scale, width_scale; 7: scales; 9: scales is an input.
    {.type = "Upsample", .since = 1, .infer = InferResize, .prepare = PrepareResize},
    {.type = "Upsample", .since = 7, .infer = InferResize, .prepare = PrepareResize},
    {.type = "Upsample",
     .since = 9,
     .inputs = {2, 2},
     .infer = InferResize,
     .prepare = PrepareResize,
     .content_inputs = InputBit(1)},
    {.type = "Upsample", .since = 10, .inputs = {2, 2}, .infer = RemovedOperator},
    // (X, scales): mode (nearest), coordinates asymmetric.
    {.type = "Resize",
     .since = 10,
     .inputs = {2, 2},
     .infer = InferResize,
     .prepare = PrepareResize,
     .content_inputs = InputBit(1)},
    // (X, roi?, scales? or sizes?): mode (nearest), coordinate_transformation_mode (half_pixel), nearest_mode
    // (round_prefer_floor), cubic_coeff_a (-0.75), exclude_outside (0), extrapolation_value (0); 18 adds antialias (0),
    // axes (all), keep_aspect_ratio_policy (stretch).
    {.type = "Resize",
     .since = 11,
     .inputs = {1, 4},
     .infer = InferResize,
     .prepare = PrepareResize,
     .content_inputs = kResizeContents},
};

}  // namespace

absl::Span<const OpDef> ResizeFamily() { return kRows; }

}  // namespace rondo
