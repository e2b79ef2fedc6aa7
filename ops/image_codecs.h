// Decoders of encoded images, each through the format's library. A format whose library was not there when rondo was
// built gives Unimplemented. All take untrusted bytes: sizes are checked before pixels are allocated.
#ifndef RONDO_OPS_IMAGE_CODECS_H_
#define RONDO_OPS_IMAGE_CODECS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rondo {

struct DecodedImage {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

// An image of that size with zeroed pixels; an error when it has none or too many.
absl::StatusOr<DecodedImage> NewImage(int64_t height, int64_t width);

absl::StatusOr<DecodedImage> DecodeJpeg(absl::Span<const uint8_t> bytes);
absl::StatusOr<DecodedImage> DecodePng(absl::Span<const uint8_t> bytes);
absl::StatusOr<DecodedImage> DecodeTiff(absl::Span<const uint8_t> bytes);
absl::StatusOr<DecodedImage> DecodeWebp(absl::Span<const uint8_t> bytes);
absl::StatusOr<DecodedImage> DecodeJpeg2000(absl::Span<const uint8_t> bytes);

}  // namespace rondo

#endif  // RONDO_OPS_IMAGE_CODECS_H_
