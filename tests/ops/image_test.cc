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

}  // namespace
}  // namespace rondo
