#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OpRunner Decode(const std::string& bytes, const char* format = "RGB") {
  Tensor encoded = Tensor::Make(DataType::kUInt8, {static_cast<int64_t>(bytes.size())});
  std::copy(bytes.begin(), bytes.end(), encoded.mutable_data<char>());
  OpRunner run("ImageDecoder", 20);
  run.Attr("pixel_format", std::string(format)).Input(std::move(encoded));
  return run;
}

std::vector<int> Bytes(const Tensor& tensor) {
  return std::vector<int>(tensor.data<uint8_t>(), tensor.data<uint8_t>() + tensor.size());
}

TEST(ImageDecoderTest, ReadsPnmInTextAndBinary) {
  EXPECT_THAT(Bytes(Decode("P3 # comment\n1 2 255\n1 2 3 4 5 6\n").Run()[0]), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Bytes(Decode("P6\n1 2\n255\n\x01\x02\x03\x04\x05\x06").Run()[0]), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Bytes(Decode("P5 1 1 15 \x0f", "Grayscale").Run()[0]), ElementsAre(255));
  EXPECT_THAT(Bytes(Decode("P1 3 1 101", "Grayscale").Run()[0]), ElementsAre(0, 255, 0));
  EXPECT_THAT(Bytes(Decode("P4 3 1 \xa0", "Grayscale").Run()[0]), ElementsAre(0, 255, 0));
}

TEST(ImageDecoderTest, ChannelOrderAndLuma) {
  EXPECT_THAT(Bytes(Decode("P3 1 1 255 1 2 3", "BGR").Run()[0]), ElementsAre(3, 2, 1));
  const Tensor gray = Decode("P3 1 1 255 255 0 0", "Grayscale").Run()[0];
  EXPECT_THAT(gray.dims(), ElementsAre(1, 1, 1));
  EXPECT_THAT(Bytes(gray), ElementsAre(76));
}

TEST(ImageDecoderTest, ReadsBmpBottomUp) {
  std::string bmp("BM", 2);
  const auto put = [&bmp](uint32_t value, int width) {
    for (int i = 0; i < width; ++i) bmp.push_back(static_cast<char>(value >> (8 * i)));
  };
  for (uint32_t v : {62u, 0u, 54u, 40u, 1u, 2u}) put(v, 4);
  put(1, 2);
  put(24, 2);
  for (int i = 0; i < 6; ++i) put(0, 4);
  for (uint32_t row : {0x030201u, 0x060504u}) put(row, 4);  // blue, green, red, padding
  EXPECT_THAT(Bytes(Decode(bmp).Run()[0]), ElementsAre(6, 5, 4, 3, 2, 1));
  EXPECT_THAT(Decode(bmp.substr(0, 60)).RunError(), HasSubstr("BMP image: expected 62 bytes, got 60"));
}

TEST(ImageDecoderTest, DamagedImagesAreErrors) {
  for (const std::string& bytes :
       {std::string("nothing that is known"), std::string(), std::string("P6 9 9 255 x"), std::string("P5 0 1 255 "),
        std::string("P6 99999999 99999999 255 "), std::string("\xff\xd8\xff\xe0 too short"),
        std::string("\x89PNG\r\n\x1a\nxxxxxxxxxxxx"), std::string("RIFF\x10\0\0\0WEBPVP8 ", 16),
        std::string("II*\0\x08\0\0\0", 8), std::string("\0\0\0\x0cjP  \r\n\x87\n", 12),
        std::string("\xff\x4f\xff\x51\0\x29", 6), std::string("BM") + std::string(60, '\xff')}) {
    EXPECT_NE(Decode(bytes).RunError(), "");
  }
}

// Small images as the formats' own libraries write them: 3 x 2 pixels whose components are 5, 18, 31 ... (the JPEG:
// 4 x 2 gray pixels 10, 80, 150, 220 in both rows).
constexpr char kPng[] =
    "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d000000184944415408996364159257"
    "575757575767ac6a9f026101001ffc03a2186b4bcd0000000049454e44ae426082";
constexpr char kJpeg[] =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000101010101010101010101010101010101010101010101"
    "0101010101010101010101010101010101010101010101010101010101010101010101010101010101ffc0000b080002"
    "000401011100ffc40014000100000000000000000000000000000009ffc4001a10000007000000000000000000000000"
    "00000507093984b5ffda0008010100003f004f180231d10b592423ffd9";
constexpr char kWebp[] =
    "5249464632000000574542505650384c250000002f024000002f2010481c92d89f7189179cfce364fe13db50d3b6011b"
    "eafccba911fd8fe90500";
constexpr char kTiff[] =
    "49492a002000000080014241f160e48c53301b4f4874a2855cbb64355c5010000a000001030001000000030000000101"
    "0300010000000200000002010300030000009e0000000301030001000000050000000601030001000000020000001101"
    "040001000000080000001201030001000000010000001501030001000000030000001701040001000000170000001c01"
    "0300010000000100000000000000080008000800";
constexpr char kJpeg2000[] =
    "0000000c6a5020200d0a870a00000014667479706a703220000000006a7032200000002d6a7032680000001669686472"
    "00000002000000030003070700000000000f636f6c72010000000000100000009f6a703263ff4fff51002f0000000000"
    "03000000020000000000000000000000030000000200000000000000000003070101070101070101ff52000c00000001"
    "010004040001ff5c00044040ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e"
    "352e30ff90000a0000000000270001ff93cfb42006416d8c9437fa7fc1f20401d8883fc1f20408909c3fffd9";

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Big-endian `value` over the four bytes at `at`.
std::string WithNumber(std::string bytes, size_t at, uint32_t value) {
  std::string number;
  for (int shift = 24; shift >= 0; shift -= 8) number.push_back(static_cast<char>(value >> shift));
  return bytes.replace(at, number.size(), number);
}

// Decodes, or skips where rondo was built without the format's library.
#define RONDO_SKIP_WITHOUT_CODEC(bytes)                                             \
  if (testing::Value(Decode(bytes).RunError(), HasSubstr("built without support"))) \
  GTEST_SKIP() << Decode(bytes).RunError()

TEST(ImageDecoderTest, LosslessFormatsGiveThePixels) {
  std::vector<int> pixels;
  for (int i = 0; i < 18; ++i) pixels.push_back(i * 13 + 5);
  for (const char* hex : {kPng, kWebp, kTiff, kJpeg2000}) {
    RONDO_SKIP_WITHOUT_CODEC(FromHex(hex));
    const Tensor image = Decode(FromHex(hex)).Run()[0];
    EXPECT_EQ(image.dims(), (Dims{2, 3, 3})) << hex;
    EXPECT_EQ(Bytes(image), pixels) << hex;
  }
}

TEST(ImageDecoderTest, JpegIsClose) {
  RONDO_SKIP_WITHOUT_CODEC(FromHex(kJpeg));
  const Tensor image = Decode(FromHex(kJpeg), "Grayscale").Run()[0];
  ASSERT_EQ(image.dims(), (Dims{2, 4, 1}));
  const int want[] = {10, 80, 150, 220, 10, 80, 150, 220};
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(Bytes(image)[i], want[i], 2) << i;
}

// Every truncation and every damaged byte gives an error or an image of a sensible size, never more.
TEST(ImageDecoderTest, DamageAnywhereIsHarmless) {
  for (const char* hex : {kPng, kJpeg, kWebp, kTiff, kJpeg2000}) {
    const std::string whole = FromHex(hex);
    const auto decode = [&](const std::string& bytes) {
      const auto result = Decode(bytes).TryRun();
      if (result.ok()) {
        EXPECT_LE((*result)[0].tensor().size(), int64_t{3} << 28);
      }
      return result.ok();
    };
    for (size_t n = 0; n < whole.size(); ++n) {
      decode(whole.substr(0, n));
      std::string damaged = whole;
      damaged[n] = static_cast<char>(~damaged[n]);
      decode(damaged);
    }
    EXPECT_FALSE(decode(whole.substr(0, whole.size() / 3))) << hex;
  }
}

TEST(ImageDecoderTest, GiantDimensionsAllocateNothing) {
  constexpr uint32_t kGiant = 0x7ffffff0;
  const std::string png = FromHex(kPng), jpeg = FromHex(kJpeg), tiff = FromHex(kTiff), jp2 = FromHex(kJpeg2000);
  EXPECT_NE(Decode(WithNumber(WithNumber(png, 16, kGiant), 20, kGiant)).RunError(), "");
  const size_t frame = jpeg.find("\xff\xc0");
  EXPECT_NE(Decode(WithNumber(jpeg, frame + 5, 0xffffffffu)).RunError(), "");
  std::string wide = tiff;  // both dims, 16 bits each: the pixels' bytes are missing
  const size_t width = tiff.find(std::string("\x00\x01\x03\x00", 4)), height = width + 12;
  wide.replace(width + 8, 2, "\xff\xff").replace(height + 8, 2, "\xff\xff");
  EXPECT_NE(Decode(wide).RunError(), "");
  const size_t siz = jp2.find("\xff\x4f\xff\x51");
  EXPECT_NE(Decode(WithNumber(WithNumber(jp2, siz + 8, kGiant), siz + 12, kGiant)).RunError(), "");
}

}  // namespace
}  // namespace rondo
