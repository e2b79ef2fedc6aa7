// ImageDecoder(encoded uint8 [n]) -> uint8 [height, width, 3 or 1]: BMP, JPEG, JPEG 2000, PNG, PNM, TIFF and WebP, told
// apart by their first bytes. Attribute pixel_format: RGB (default), BGR, Grayscale (ITU-R 601 luma). BMP and PNM are
// read here; the others through their libraries (ops/image_codecs.h).
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/image_codecs.h"

namespace rondo {
namespace {

using Bytes = absl::Span<const uint8_t>;

bool StartsWith(Bytes bytes, absl::string_view magic, size_t at = 0) {
  if (bytes.size() < at + magic.size()) return false;
  return std::equal(magic.begin(), magic.end(), bytes.begin() + at,
                    [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

// --- PNM: P1 to P6 ---------------------------------------------------------------------------------------------------

class PnmReader {
 public:
  explicit PnmReader(Bytes bytes) : bytes_(bytes), at_(2) {}

  absl::StatusOr<DecodedImage> Read() {
    const int kind = bytes_[1] - '0';
    const bool bitmap = kind == 1 || kind == 4;
    const int channels = kind == 3 || kind == 6 ? 3 : 1;
    RONDO_ASSIGN_OR_RETURN(int64_t width, Number());
    RONDO_ASSIGN_OR_RETURN(int64_t height, Number());
    int64_t max = 1;
    if (!bitmap) {
      RONDO_ASSIGN_OR_RETURN(max, Number());
      if (max < 1 || max > 65535) return InvalidArgument("PNM image: expected a maximum of 1 to 65535, got ", max);
    }
    if (kind >= 4) ++at_;  // the one white space before the samples
    RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(height, width));
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width * channels; ++x) {
        int64_t value = 0;
        if (kind == 4) {
          RONDO_ASSIGN_OR_RETURN(value, Bit(y * ((width + 7) / 8), x));
        } else if (kind == 1) {
          RONDO_ASSIGN_OR_RETURN(value, Digit());
        } else if (kind < 4) {
          RONDO_ASSIGN_OR_RETURN(value, Number());
        } else {
          RONDO_ASSIGN_OR_RETURN(value, Binary(max > 255 ? 2 : 1));
        }
        if (bitmap) value = 1 - value;  // 1 is black
        const uint8_t sample = static_cast<uint8_t>((std::min(value, max) * 255 + max / 2) / max);
        uint8_t* pixel = &image.rgb[(y * width + x / channels) * 3];
        if (channels == 3) {
          pixel[x % 3] = sample;
        } else {
          std::fill_n(pixel, 3, sample);
        }
      }
    }
    return image;
  }

 private:
  static absl::Status Short() { return InvalidArgument("PNM image: the file ends early"); }

  void SkipSpace() {
    while (at_ < bytes_.size()) {
      if (bytes_[at_] == '#') {
        while (at_ < bytes_.size() && bytes_[at_] != '\n') ++at_;
      } else if (bytes_[at_] == ' ' || (bytes_[at_] >= '\t' && bytes_[at_] <= '\r')) {
        ++at_;
      } else {
        return;
      }
    }
  }
  absl::StatusOr<int64_t> Number() {
    SkipSpace();
    if (at_ >= bytes_.size()) return Short();
    int64_t value = 0;
    const size_t begin = at_;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_) {
      value = value * 10 + (bytes_[at_] - '0');
      if (value > (int64_t{1} << 31)) return InvalidArgument("PNM image: a number is too large");
    }
    if (at_ == begin) return InvalidArgument("PNM image: expected a number at byte ", begin);
    return value;
  }
  absl::StatusOr<int64_t> Digit() {
    SkipSpace();
    if (at_ >= bytes_.size()) return Short();
    return bytes_[at_++] == '1' ? 1 : 0;
  }
  absl::StatusOr<int64_t> Binary(int width) {
    if (at_ + width > bytes_.size()) return Short();
    int64_t value = 0;
    for (int i = 0; i < width; ++i) value = value * 256 + bytes_[at_++];
    return value;
  }
  absl::StatusOr<int64_t> Bit(int64_t row, int64_t x) const {
    const size_t at = at_ + static_cast<size_t>(row + x / 8);
    if (at >= bytes_.size()) return Short();
    return bytes_[at] >> (7 - x % 8) & 1;
  }

  Bytes bytes_;
  size_t at_;
};

// --- BMP: uncompressed, 1 to 32 bits a pixel
// --------------------------------------------------------------------------

absl::StatusOr<DecodedImage> DecodeBmp(Bytes bytes) {
  const auto read = [&](size_t at, int width) {
    int64_t value = 0;
    for (int i = width - 1; i >= 0; --i) value = value * 256 + (at + i < bytes.size() ? bytes[at + i] : 0);
    return value;
  };
  const auto read_signed = [&](size_t at) { return int64_t{static_cast<int32_t>(static_cast<uint32_t>(read(at, 4)))}; };
  const int64_t pixels = read(10, 4);
  const int64_t header = read(14, 4);
  if (header < 40) return Unimplemented("BMP image: a header of ", header, " bytes");
  const int64_t width = read_signed(18);
  const int64_t signed_height = read_signed(22);
  const int64_t height = std::abs(signed_height);
  const int64_t bits = read(28, 2);
  const int64_t compression = read(30, 4);
  constexpr int64_t kBitFields = 3;
  if (compression != 0 && !(compression == kBitFields && (bits == 16 || bits == 32))) {
    return Unimplemented("BMP image: compression ", compression, " with ", bits, " bits a pixel");
  }
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return InvalidArgument("BMP image: expected 1, 4, 8, 16, 24 or 32 bits a pixel, got ", bits);
  }
  RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(height, width));
  const int64_t stride = (width * bits + 31) / 32 * 4;
  if (pixels + stride * height > static_cast<int64_t>(bytes.size())) {
    return InvalidArgument("BMP image: expected ", pixels + stride * height, " bytes, got ", bytes.size());
  }
  // Masks of the channels in a 16- or 32-bit pixel; the top bits count.
  int64_t masks[3] = {bits == 16 ? 0x7c00 : 0xff0000, bits == 16 ? 0x3e0 : 0xff00, bits == 16 ? 0x1f : 0xff};
  if (compression == kBitFields) {
    for (int c = 0; c < 3; ++c) masks[c] = read(54 + 4 * c, 4);
  }
  for (int64_t y = 0; y < height; ++y) {
    const int64_t row = pixels + (signed_height > 0 ? height - 1 - y : y) * stride;
    for (int64_t x = 0; x < width; ++x) {
      uint8_t* out = &image.rgb[(y * width + x) * 3];
      if (bits <= 8) {
        const int64_t bit = x * bits;
        const int64_t entry = bytes[row + bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1);
        for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(read(14 + header + entry * 4 + 2 - c, 1));
      } else if (bits == 24) {
        for (int c = 0; c < 3; ++c) out[c] = bytes[row + x * 3 + 2 - c];
      } else {
        const int64_t pixel = read(row + x * bits / 8, static_cast<int>(bits / 8));
        for (int c = 0; c < 3; ++c) {
          if (masks[c] == 0) continue;
          const int64_t low = masks[c] & -masks[c];
          out[c] = static_cast<uint8_t>((pixel & masks[c]) / low * 255 / (masks[c] / low));
        }
      }
    }
  }
  return image;
}

absl::StatusOr<DecodedImage> Decode(Bytes bytes) {
  if (StartsWith(bytes, "\xff\xd8\xff")) return DecodeJpeg(bytes);
  if (StartsWith(bytes, "\x89PNG\r\n\x1a\n")) return DecodePng(bytes);
  if (StartsWith(bytes, "RIFF") && StartsWith(bytes, "WEBP", 8)) return DecodeWebp(bytes);
  if (StartsWith(bytes, "II*") || StartsWith(bytes, "MM")) return DecodeTiff(bytes);
  if (StartsWith(bytes, "jP  ", 4) || StartsWith(bytes, "\xff\x4f\xff\x51")) return DecodeJpeg2000(bytes);
  if (StartsWith(bytes, "BM") && bytes.size() >= 54) return DecodeBmp(bytes);
  if (StartsWith(bytes, "P") && bytes.size() > 2 && bytes[1] >= '1' && bytes[1] <= '6') return PnmReader(bytes).Read();
  return InvalidArgument("expected a BMP, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP image, got ", bytes.size(),
                         " bytes of something else");
}

enum class PixelFormat { kRgb, kBgr, kGrayscale };

absl::StatusOr<PixelFormat> ReadPixelFormat(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string format, attributes.String("pixel_format", "RGB"));
  if (format == "RGB") return PixelFormat::kRgb;
  if (format == "BGR") return PixelFormat::kBgr;
  if (format == "Grayscale") return PixelFormat::kGrayscale;
  return InvalidArgument("attribute \"pixel_format\": expected RGB, BGR or Grayscale, got \"", format, "\"");
}

absl::Status InferImageDecoder(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kUInt8}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1));
  RONDO_ASSIGN_OR_RETURN(PixelFormat format, ReadPixelFormat(ctx.attributes));
  ctx.SetOutput(0, DataType::kUInt8, {Dim::Unknown(), Dim::Unknown(), format == PixelFormat::kGrayscale ? 1 : 3});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareImageDecoder(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(PixelFormat format, ReadPixelFormat(ctx.attributes));
  return MakeKernel([format](RunContext& ctx) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(DecodedImage image, Decode(Bytes(ctx.in<uint8_t>(0), ctx.input(0).size())));
    const int64_t channels = format == PixelFormat::kGrayscale ? 1 : 3;
    RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, {image.height, image.width, channels}));
    uint8_t* out = ctx.out<uint8_t>(0);
    for (int64_t i = 0; i < image.height * image.width; ++i) {
      const uint8_t* rgb = &image.rgb[3 * i];
      switch (format) {
        case PixelFormat::kRgb:
          std::copy_n(rgb, 3, out + 3 * i);
          break;
        case PixelFormat::kBgr:
          std::reverse_copy(rgb, rgb + 3, out + 3 * i);
          break;
        case PixelFormat::kGrayscale:
          // 0.299, 0.587 and 0.114 in 16 bits, rounded.
          out[i] = static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
          break;
      }
    }
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.type = "ImageDecoder", .since = 20, .infer = InferImageDecoder, .prepare = PrepareImageDecoder},
};

}  // namespace

absl::Span<const OpDef> ImageFamily() { return kRows; }

}  // namespace rondo
