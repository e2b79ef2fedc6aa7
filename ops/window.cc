#include "ops/window.h"

#include <algorithm>

#include "absl/strings/str_join.h"

namespace rondo {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;

}  // namespace

absl::Status CheckPositive(absl::string_view what, absl::Span<const int64_t> values, size_t count) {
  if (values.size() != count) {
    return InvalidArgument("attribute \"", what, "\": expected ", count, " values, got ", values.size());
  }
  for (int64_t v : values) {
    if (v < 1 || v > kMaxSize) {
      return InvalidArgument("attribute \"", what, "\": expected values in [1, 2^31], got [",
                             absl::StrJoin(values, ", "), "]");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Window> ReadWindow(const AttributeReader& attributes, absl::Span<const int64_t> kernel) {
  Window w;
  const size_t n = kernel.size();
  w.kernel.assign(kernel.begin(), kernel.end());
  RONDO_RETURN_IF_ERROR(CheckPositive("kernel_shape", kernel, n));
  std::vector<int64_t> ones(n, 1);
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> strides, attributes.Ints("strides", ones));
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> dilations, attributes.Ints("dilations", ones));
  if (strides.empty()) strides = ones;
  if (dilations.empty()) dilations = ones;
  RONDO_RETURN_IF_ERROR(CheckPositive("strides", strides, n));
  RONDO_RETURN_IF_ERROR(CheckPositive("dilations", dilations, n));
  RONDO_ASSIGN_OR_RETURN(std::string auto_pad, attributes.String("auto_pad", "NOTSET"));
  if (auto_pad == "SAME_UPPER") {
    w.auto_pad = AutoPad::kSameUpper;
  } else if (auto_pad == "SAME_LOWER") {
    w.auto_pad = AutoPad::kSameLower;
  } else if (auto_pad == "VALID") {
    w.auto_pad = AutoPad::kValid;
  } else if (auto_pad != "NOTSET" && !auto_pad.empty()) {
    return InvalidArgument("attribute \"auto_pad\": expected NOTSET, SAME_UPPER, SAME_LOWER or VALID, got \"", auto_pad,
                           "\"");
  }
  std::vector<int64_t> zeros(2 * n, 0);
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> pads, attributes.Ints("pads", zeros));
  if (pads.empty() || w.auto_pad != AutoPad::kNotSet) pads = zeros;
  if (pads.size() != 2 * n) {
    return InvalidArgument("attribute \"pads\": expected ", 2 * n, " values, got ", pads.size());
  }
  for (int64_t p : pads) {
    if (p < 0 || p > kMaxSize) {
      return InvalidArgument("attribute \"pads\": expected values in [0, 2^31], got [", absl::StrJoin(pads, ", "), "]");
    }
  }
  w.strides.assign(strides.begin(), strides.end());
  w.dilations.assign(dilations.begin(), dilations.end());
  w.pads_begin.assign(pads.begin(), pads.begin() + n);
  w.pads_end.assign(pads.begin() + n, pads.end());
  return w;
}

absl::StatusOr<Window> ReadWindow(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> kernel, attributes.Ints("kernel_shape"));
  if (kernel.empty()) return InvalidArgument("attribute \"kernel_shape\": expected at least one value, got none");
  return ReadWindow(attributes, kernel);
}

absl::StatusOr<Dim> Window::Output(int i, const Dim& input) const {
  if (input.unknown()) return Dim::Unknown();
  if (auto_pad == AutoPad::kSameUpper || auto_pad == AutoPad::kSameLower) return Dim::CeilDiv(input, Dim(strides[i]));
  const Dim span = input + Dim(pads_begin[i] + pads_end[i] - Extent(i));
  if (input.known() && span.value() < 0) {
    return InvalidArgument("kernel of extent ", Extent(i), " exceeds the input of ", input.value(), " padded by ",
                           pads_begin[i], " and ", pads_end[i], " on spatial axis ", i);
  }
  const Dim floor = Dim::FloorDiv(span, Dim(strides[i])) + Dim(1);
  if (!ceil_mode || strides[i] == 1) return floor;
  // A last window that would start beyond the input and its left pad is dropped.
  return Dim::Min(Dim::CeilDiv(span, Dim(strides[i])) + Dim(1),
                  Dim::CeilDiv(input + Dim(pads_begin[i]), Dim(strides[i])));
}

bool Window::IsModest() const {
  constexpr int64_t kModest = 1 << 16;
  for (const Dims* values : {&strides, &dilations, &pads_begin, &pads_end}) {
    for (int64_t v : *values) {
      if (v > kModest) return false;
    }
  }
  return true;
}

void Window::Resolve(absl::Span<const int64_t> spatial) {
  if (auto_pad == AutoPad::kSameUpper || auto_pad == AutoPad::kSameLower) {
    for (int i = 0; i < rank(); ++i) {
      int64_t output = CeilDiv(spatial[i], strides[i]);
      int64_t total = std::max<int64_t>(0, (output - 1) * strides[i] + Extent(i) - spatial[i]);
      pads_begin[i] = auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
      pads_end[i] = total - pads_begin[i];
    }
  }
  auto_pad = AutoPad::kNotSet;
}

Shape ToChannelsFirst(const Shape& shape, bool channels_last) {
  Shape result = shape;
  if (channels_last && shape.rank() > 2) std::rotate(result.begin() + 1, result.end() - 1, result.end());
  return result;
}

Shape FromChannelsFirst(const Shape& shape, bool channels_last) {
  Shape result = shape;
  if (channels_last && shape.rank() > 2) std::rotate(result.begin() + 1, result.begin() + 2, result.end());
  return result;
}

Dims ToChannelsFirst(const Dims& dims, bool channels_last) {
  Dims result = dims;
  if (channels_last && dims.size() > 2) std::rotate(result.begin() + 1, result.end() - 1, result.end());
  return result;
}

Dims ChannelsFirstStrides(const Dims& dims, bool channels_last) {
  Dims strides(dims.size());
  int64_t stride = 1;
  if (channels_last) {
    strides[1] = 1;
    stride = dims[1];
  }
  for (int i = static_cast<int>(dims.size()) - 1; i >= (channels_last ? 2 : 1); --i) {
    strides[i] = stride;
    stride = WrappingProduct(stride, dims[i]);
  }
  strides[0] = stride;
  return strides;
}

absl::StatusOr<bool> ReadChannelsLast(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string layout, attributes.String("layout", "NCHW"));
  if (layout == "NHWC") return true;
  if (layout == "NCHW") return false;
  return InvalidArgument("attribute \"layout\": expected NCHW or NHWC, got \"", layout, "\"");
}

}  // namespace rondo
