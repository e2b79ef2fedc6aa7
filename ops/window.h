// Sliding windows, as convolutions and poolings have them: attributes kernel_shape, strides, dilations, pads, auto_pad;
// the output size they give, for symbolic and concrete dims; and channels-last dims.
#ifndef RONDO_OPS_WINDOW_H_
#define RONDO_OPS_WINDOW_H_

#include <vector>

#include "absl/status/statusor.h"
#include "ops/op.h"

namespace rondo {

enum class AutoPad { kNotSet, kSameUpper, kSameLower, kValid };

struct Window {
  Dims kernel, strides, dilations;
  Dims pads_begin, pads_end;  // for SAME: set by Resolve()
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;  // poolings

  int rank() const { return static_cast<int>(kernel.size()); }
  int64_t Extent(int i) const { return (kernel[i] - 1) * dilations[i] + 1; }  // of the dilated kernel
  // Output size along spatial axis i; Unknown in, Unknown out. An error when the kernel exceeds the padded input.
  absl::StatusOr<Dim> Output(int i, const Dim& input) const;
  // Whether all parameters are of a size that 32-bit kernels (oneDNN's) were made for.
  bool IsModest() const;
  // Fixes the pads that SAME_UPPER and SAME_LOWER leave to the input's size; clears auto_pad.
  void Resolve(absl::Span<const int64_t> spatial);
};

// Reads strides, dilations, pads and auto_pad; `kernel` from the caller (kernel_shape or the weights' dims). Errors: a
// wrong count, values that are not positive, pads that are negative, sizes beyond 2^31.
absl::StatusOr<Window> ReadWindow(const AttributeReader& attributes, absl::Span<const int64_t> kernel);
// Reads kernel_shape itself; its absence is an error.
absl::StatusOr<Window> ReadWindow(const AttributeReader& attributes);
absl::Status CheckPositive(absl::string_view what, absl::Span<const int64_t> values, size_t count);

// [N, spatial..., C] <-> [N, C, spatial...]; identity unless `channels_last`.
Shape ToChannelsFirst(const Shape& shape, bool channels_last);
Shape FromChannelsFirst(const Shape& shape, bool channels_last);
Dims ToChannelsFirst(const Dims& dims, bool channels_last);
// Element strides of such a tensor in channels-first order of dims.
Dims ChannelsFirstStrides(const Dims& channels_first_dims, bool channels_last);
// Attribute "layout": "NCHW" (default) or "NHWC".
absl::StatusOr<bool> ReadChannelsLast(const AttributeReader& attributes);

// Strides of a tensor without elements may overflow; nobody follows them.
inline int64_t WrappingProduct(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
inline int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
inline int64_t CeilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0 && (a < 0) == (b < 0)); }

}  // namespace rondo

#endif  // RONDO_OPS_WINDOW_H_
