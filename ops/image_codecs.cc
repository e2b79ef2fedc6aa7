#include "ops/image_codecs.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "graph/status.h"

#ifdef RONDO_WITH_JPEG
#include <jpeglib.h>
#endif
#ifdef RONDO_WITH_PNG
#include <png.h>
#endif
#ifdef RONDO_WITH_TIFF
#include <tiffio.h>
#endif
#ifdef RONDO_WITH_WEBP
#include <webp/decode.h>
#endif
#ifdef RONDO_WITH_OPENJPEG
#include <openjpeg.h>
#endif

namespace rondo {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;

[[maybe_unused]] absl::Status NotBuilt(absl::string_view format) {
  return Unimplemented("rondo was built without support for ", format, " images");
}

}  // namespace

absl::StatusOr<DecodedImage> NewImage(int64_t height, int64_t width) {
  if (height < 1 || width < 1) return InvalidArgument("expected an image with pixels, got ", width, " x ", height);
  if (height > kMaxPixels / width) {
    return ResourceExhausted("an image of ", width, " x ", height, " pixels, the limit is ", kMaxPixels);
  }
  DecodedImage image;
  image.height = height;
  image.width = width;
  image.rgb.resize(static_cast<size_t>(height * width * 3));
  return image;
}

// --- JPEG -----------------------------------------------------------------------------------------------------------

#ifdef RONDO_WITH_JPEG
namespace {

// libjpeg reports errors by a function that must not return; everything between setjmp and the jump is C.
struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void JpegFail(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->jump, 1);
}

struct JpegReader {
  jpeg_decompress_struct info;
  JpegErrors errors;

  // False: errors.message says why.
  bool ReadHeader(absl::Span<const uint8_t> bytes) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    return true;
  }

  bool ReadPixels(uint8_t* rgb) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_start_decompress(&info);
    const size_t stride = static_cast<size_t>(info.output_width) * 3;
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = rgb + info.output_scanline * stride;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }
};

}  // namespace

absl::StatusOr<DecodedImage> DecodeJpeg(absl::Span<const uint8_t> bytes) {
  JpegReader reader = {};
  reader.info.err = jpeg_std_error(&reader.errors.manager);
  reader.errors.manager.error_exit = JpegFail;
  reader.errors.manager.output_message = [](j_common_ptr) {};
  absl::StatusOr<DecodedImage> image = InvalidArgument("");
  bool read = reader.ReadHeader(bytes);
  if (read) {
    image = NewImage(reader.info.image_height, reader.info.image_width);
    read = image.ok() && reader.ReadPixels(image->rgb.data());
    if (!image.ok()) {
      jpeg_destroy_decompress(&reader.info);
      return image;
    }
  }
  jpeg_destroy_decompress(&reader.info);
  if (!read) return InvalidArgument("JPEG image: ", reader.errors.message);
  return image;
}
#else
absl::StatusOr<DecodedImage> DecodeJpeg(absl::Span<const uint8_t>) { return NotBuilt("JPEG"); }
#endif

// --- PNG ------------------------------------------------------------------------------------------------------------

#ifdef RONDO_WITH_PNG
namespace {

struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  absl::Span<const uint8_t> rest;
  char message[200] = "";

  static void Fail(png_structp png, png_const_charp text) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(reader->message, sizeof(reader->message), "%s", text);
    png_longjmp(png, 1);
  }
  static void Read(png_structp png, png_bytep to, size_t count) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > reader->rest.size()) png_error(png, "the file ends early");
    std::memcpy(to, reader->rest.data(), count);
    reader->rest.remove_prefix(count);
  }

  bool Open(absl::Span<const uint8_t> bytes) {
    rest = bytes;
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, Fail, [](png_structp, png_const_charp) {});
    if (png == nullptr) return false;
    info = png_create_info_struct(png);
    if (info == nullptr || setjmp(png_jmpbuf(png)) != 0) return false;
    png_set_read_fn(png, this, Read);
    png_read_info(png, info);
    // Whatever is stored becomes 8-bit RGB.
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
  }

  bool ReadRows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    png_read_image(png, rows);
    return true;
  }

  ~PngReader() {
    if (png != nullptr) png_destroy_read_struct(&png, &info, nullptr);
  }
};

}  // namespace

absl::StatusOr<DecodedImage> DecodePng(absl::Span<const uint8_t> bytes) {
  PngReader reader;
  if (!reader.Open(bytes)) return InvalidArgument("PNG image: ", reader.message);
  RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(png_get_image_height(reader.png, reader.info),
                                                      png_get_image_width(reader.png, reader.info)));
  if (png_get_rowbytes(reader.png, reader.info) != static_cast<size_t>(image.width) * 3) {
    return Unimplemented("PNG image: a pixel format that does not become RGB");
  }
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y) rows.push_back(image.rgb.data() + y * image.width * 3);
  if (!reader.ReadRows(rows.data())) return InvalidArgument("PNG image: ", reader.message);
  return image;
}
#else
absl::StatusOr<DecodedImage> DecodePng(absl::Span<const uint8_t>) { return NotBuilt("PNG"); }
#endif

// --- TIFF -----------------------------------------------------------------------------------------------------------

#ifdef RONDO_WITH_TIFF
namespace {

struct TiffSource {
  absl::Span<const uint8_t> bytes;
  uint64_t position = 0;
};

tmsize_t TiffRead(thandle_t handle, void* to, tmsize_t count) {
  auto* source = static_cast<TiffSource*>(handle);
  if (count <= 0 || source->position >= source->bytes.size()) return 0;
  const size_t n = std::min<size_t>(static_cast<size_t>(count), source->bytes.size() - source->position);
  std::memcpy(to, source->bytes.data() + source->position, n);
  source->position += n;
  return static_cast<tmsize_t>(n);
}

toff_t TiffSeek(thandle_t handle, toff_t offset, int whence) {
  auto* source = static_cast<TiffSource*>(handle);
  const uint64_t base = whence == SEEK_CUR ? source->position : whence == SEEK_END ? source->bytes.size() : 0;
  source->position = base + offset;
  return source->position;
}

}  // namespace

absl::StatusOr<DecodedImage> DecodeTiff(absl::Span<const uint8_t> bytes) {
  // libtiff's handlers are process-wide; its messages go nowhere, ours says which image it was.
  static const bool quiet = [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetWarningHandler(nullptr);
    return true;
  }();
  (void)quiet;
  TiffSource source{bytes};
  const auto no_write = [](thandle_t, void*, tmsize_t) -> tmsize_t { return 0; };
  const auto close = [](thandle_t) { return 0; };
  const auto size = [](thandle_t handle) -> toff_t { return static_cast<TiffSource*>(handle)->bytes.size(); };
  // "m": no memory mapping, which would ask for a mapping function.
  std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff(
      TIFFClientOpen("image", "rm", &source, TiffRead, no_write, TiffSeek, close, size, nullptr, nullptr), TIFFClose);
  if (tiff == nullptr) return InvalidArgument("TIFF image: its header cannot be read");
  uint32_t width = 0;
  uint32_t height = 0;
  TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &height);
  RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(height, width));
  std::vector<uint32_t> rgba(static_cast<size_t>(width) * height);
  if (TIFFReadRGBAImageOriented(tiff.get(), width, height, rgba.data(), ORIENTATION_TOPLEFT, /*stop=*/1) == 0) {
    return InvalidArgument("TIFF image: its pixels cannot be read");
  }
  for (size_t i = 0; i < rgba.size(); ++i) {
    image.rgb[3 * i] = static_cast<uint8_t>(TIFFGetR(rgba[i]));
    image.rgb[3 * i + 1] = static_cast<uint8_t>(TIFFGetG(rgba[i]));
    image.rgb[3 * i + 2] = static_cast<uint8_t>(TIFFGetB(rgba[i]));
  }
  return image;
}
#else
absl::StatusOr<DecodedImage> DecodeTiff(absl::Span<const uint8_t>) { return NotBuilt("TIFF"); }
#endif

// --- WebP -----------------------------------------------------------------------------------------------------------

#ifdef RONDO_WITH_WEBP
absl::StatusOr<DecodedImage> DecodeWebp(absl::Span<const uint8_t> bytes) {
  int width = 0;
  int height = 0;
  if (WebPGetInfo(bytes.data(), bytes.size(), &width, &height) == 0) {
    return InvalidArgument("WebP image: its header cannot be read");
  }
  RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(height, width));
  if (WebPDecodeRGBInto(bytes.data(), bytes.size(), image.rgb.data(), image.rgb.size(), width * 3) == nullptr) {
    return InvalidArgument("WebP image: its pixels cannot be read");
  }
  return image;
}
#else
absl::StatusOr<DecodedImage> DecodeWebp(absl::Span<const uint8_t>) { return NotBuilt("WebP"); }
#endif

// --- JPEG 2000 ------------------------------------------------------------------------------------------------------

#ifdef RONDO_WITH_OPENJPEG
namespace {

struct Jpeg2000Source {
  absl::Span<const uint8_t> bytes;
  size_t position = 0;
};

OPJ_SIZE_T Jpeg2000Read(void* to, OPJ_SIZE_T count, void* user) {
  auto* source = static_cast<Jpeg2000Source*>(user);
  const size_t n = std::min<size_t>(count, source->bytes.size() - source->position);
  if (n == 0) return static_cast<OPJ_SIZE_T>(-1);
  std::memcpy(to, source->bytes.data() + source->position, n);
  source->position += n;
  return n;
}

OPJ_OFF_T Jpeg2000Skip(OPJ_OFF_T count, void* user) {
  auto* source = static_cast<Jpeg2000Source*>(user);
  if (count < 0) return -1;
  const size_t n = std::min<size_t>(static_cast<size_t>(count), source->bytes.size() - source->position);
  source->position += n;
  return static_cast<OPJ_OFF_T>(n);
}

OPJ_BOOL Jpeg2000Seek(OPJ_OFF_T position, void* user) {
  auto* source = static_cast<Jpeg2000Source*>(user);
  if (position < 0 || static_cast<size_t>(position) > source->bytes.size()) return OPJ_FALSE;
  source->position = static_cast<size_t>(position);
  return OPJ_TRUE;
}

uint8_t Jpeg2000Sample(const opj_image_comp_t& component, int64_t index) {
  int64_t value = component.data[index];
  if (component.sgnd) value += int64_t{1} << (component.prec - 1);
  if (component.prec > 8) value >>= component.prec - 8;
  if (component.prec < 8) value = value * 255 / ((int64_t{1} << component.prec) - 1);
  return static_cast<uint8_t>(std::clamp<int64_t>(value, 0, 255));
}

}  // namespace

absl::StatusOr<DecodedImage> DecodeJpeg2000(absl::Span<const uint8_t> bytes) {
  const bool codestream = bytes.size() >= 4 && bytes[0] == 0xff && bytes[1] == 0x4f;
  Jpeg2000Source source{bytes};
  std::unique_ptr<opj_codec_t*, void (*)(opj_codec_t**)> codec(
      new opj_codec_t*(opj_create_decompress(codestream ? OPJ_CODEC_J2K : OPJ_CODEC_JP2)), [](opj_codec_t** p) {
        opj_destroy_codec(*p);
        delete p;
      });
  std::unique_ptr<opj_stream_t*, void (*)(opj_stream_t**)> stream(
      new opj_stream_t*(opj_stream_default_create(/*p_is_input=*/OPJ_TRUE)), [](opj_stream_t** p) {
        opj_stream_destroy(*p);
        delete p;
      });
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  opj_stream_set_user_data(*stream, &source, nullptr);
  opj_stream_set_user_data_length(*stream, bytes.size());
  opj_stream_set_read_function(*stream, Jpeg2000Read);
  opj_stream_set_skip_function(*stream, Jpeg2000Skip);
  opj_stream_set_seek_function(*stream, Jpeg2000Seek);
  opj_image_t* raw = nullptr;
  const bool header = opj_setup_decoder(*codec, &parameters) && opj_read_header(*stream, *codec, &raw);
  std::unique_ptr<opj_image_t, void (*)(opj_image_t*)> decoded(raw, opj_image_destroy);
  if (!header || decoded == nullptr) return InvalidArgument("JPEG 2000 image: its header cannot be read");
  RONDO_ASSIGN_OR_RETURN(DecodedImage image, NewImage(int64_t{decoded->y1} - int64_t{decoded->y0},
                                                      int64_t{decoded->x1} - int64_t{decoded->x0}));
  if (!opj_decode(*codec, *stream, decoded.get()) || !opj_end_decompress(*codec, *stream)) {
    return InvalidArgument("JPEG 2000 image: its pixels cannot be read");
  }
  const int components = decoded->numcomps >= 3 ? 3 : 1;
  for (int c = 0; c < components; ++c) {
    if (decoded->numcomps < 1) return InvalidArgument("JPEG 2000 image: it has no components");
    const opj_image_comp_t& component = decoded->comps[c];
    if (component.w != static_cast<OPJ_UINT32>(image.width) || component.h != static_cast<OPJ_UINT32>(image.height) ||
        component.data == nullptr || component.prec < 1 || component.prec > 31) {
      return Unimplemented("JPEG 2000 image: subsampled components");
    }
    for (int64_t i = 0; i < image.height * image.width; ++i) {
      const uint8_t sample = Jpeg2000Sample(component, i);
      for (int k = c; k < (components == 1 ? 3 : c + 1); ++k) image.rgb[3 * i + k] = sample;
    }
  }
  return image;
}
#else
absl::StatusOr<DecodedImage> DecodeJpeg2000(absl::Span<const uint8_t>) { return NotBuilt("JPEG 2000"); }
#endif

}  // namespace rondo
