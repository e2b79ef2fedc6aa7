#include "graph/numeric.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace rondo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

TEST(Float16Test, EveryFiniteCodeSurvivesTheRoundTrip) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    if ((code & 0x7c00) == 0x7c00 && (code & 0x3ff) != 0) continue;  // NaN
    uint16_t h = static_cast<uint16_t>(code);
    EXPECT_EQ(Float16::FromFloat(Float16::ToFloat(h)), h);
  }
}

TEST(Float16Test, TiesGoToTheEvenCode) {
  EXPECT_EQ(Float16::FromFloat(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(Float16::FromFloat(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(Float16::FromFloat(0x1p-25f), 0x0000);
  EXPECT_EQ(Float16::FromFloat(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
}

TEST(Float16Test, LargeValuesBecomeInfinity) {
  EXPECT_EQ(Float16::FromFloat(65504.0f), 0x7bff);
  EXPECT_EQ(Float16::FromFloat(65519.996f), 0x7bff);
  EXPECT_EQ(Float16::FromFloat(65520.0f), 0x7c00);
  EXPECT_EQ(Float16::FromFloat(-kInf), 0xfc00);
  EXPECT_TRUE(std::isnan(Float16::ToFloat(Float16::FromFloat(kNan))));
}

TEST(BFloat16Test, RoundsToNearestEven) {
  EXPECT_EQ(BFloat16::FromFloat(1.0f), 0x3f80);
  EXPECT_EQ(BFloat16::FromFloat(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(BFloat16::FromFloat(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(kNan))));
}

TEST(SmallFloatTest, CodesSurviveTheRoundTrip) {
  for (SmallFloat format :
       {SmallFloat::kE4M3FN, SmallFloat::kE4M3FNUZ, SmallFloat::kE5M2, SmallFloat::kE5M2FNUZ, SmallFloat::kE2M1}) {
    int codes = format == SmallFloat::kE2M1 ? 16 : 256;
    for (int code = 0; code < codes; ++code) {
      float value = SmallFloatToFloat(format, static_cast<uint8_t>(code));
      if (std::isnan(value)) continue;
      EXPECT_EQ(SmallFloatFromFloat(format, value, /*saturate=*/false), code) << static_cast<int>(format);
    }
  }
}

TEST(SmallFloatTest, LargestValues) {
  EXPECT_EQ(SmallFloatToFloat(SmallFloat::kE4M3FN, 0x7e), 448.0f);
  EXPECT_EQ(SmallFloatToFloat(SmallFloat::kE4M3FNUZ, 0x7f), 240.0f);
  EXPECT_EQ(SmallFloatToFloat(SmallFloat::kE5M2, 0x7b), 57344.0f);
  EXPECT_EQ(SmallFloatToFloat(SmallFloat::kE5M2FNUZ, 0x7f), 57344.0f);
  EXPECT_EQ(SmallFloatToFloat(SmallFloat::kE2M1, 0x7), 6.0f);
}

TEST(SmallFloatTest, SaturationClampsInfinityAndLargeValues) {
  for (float large : {1e6f, kInf}) {
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FN, large, true), 0x7e);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FNUZ, -large, true), 0xff);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE5M2, large, true), 0x7b);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE5M2FNUZ, large, true), 0x7f);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE2M1, -large, true), 0x0f);
  }
}

TEST(SmallFloatTest, WithoutSaturationLargeValuesBecomeNanOrInfinity) {
  for (float large : {1e6f, kInf}) {
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FN, large, false), 0x7f);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FNUZ, -large, false), 0x80);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE5M2, -large, false), 0xfc);
    EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE5M2FNUZ, large, false), 0x80);
  }
}

TEST(SmallFloatTest, FnuzFormatsHaveNoNegativeZero) {
  EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FNUZ, -1e-7f, true), 0);
  EXPECT_EQ(SmallFloatFromFloat(SmallFloat::kE4M3FN, -1e-7f, true), 0x80);
}

TEST(E8M0Test, PowersOfTwoAreExact) {
  for (int code = 0; code < 255; ++code) {
    float value = E8M0ToFloat(static_cast<uint8_t>(code));
    for (E8M0Rounding r : {E8M0Rounding::kUp, E8M0Rounding::kDown, E8M0Rounding::kNearest}) {
      EXPECT_EQ(E8M0FromFloat(value, r, true), code);
    }
  }
}

TEST(E8M0Test, Rounds) {
  EXPECT_EQ(E8M0FromFloat(2.1f, E8M0Rounding::kUp, true), 129);
  EXPECT_EQ(E8M0FromFloat(3.9f, E8M0Rounding::kDown, true), 128);
  EXPECT_EQ(E8M0FromFloat(3.0f, E8M0Rounding::kNearest, true), 129);
  EXPECT_EQ(E8M0FromFloat(2.9f, E8M0Rounding::kNearest, true), 128);
}

TEST(E8M0Test, ValuesOutsideTheRange) {
  EXPECT_EQ(E8M0FromFloat(0.0f, E8M0Rounding::kUp, true), 0);
  EXPECT_EQ(E8M0FromFloat(0.0f, E8M0Rounding::kNearest, false), 255);
  EXPECT_EQ(E8M0FromFloat(kInf, E8M0Rounding::kUp, true), 254);
  EXPECT_EQ(E8M0FromFloat(kInf, E8M0Rounding::kNearest, false), 255);
  EXPECT_EQ(E8M0FromFloat(kNan, E8M0Rounding::kUp, true), 255);
}

TEST(PackedIntTest, ElementsAreSignExtended) {
  uint8_t packed[2] = {0, 0};
  SetInt4(packed, 0, -8);
  SetInt4(packed, 1, 7);
  EXPECT_EQ(GetInt4(packed, 0), -8);
  EXPECT_EQ(GetInt4(packed, 1), 7);
  EXPECT_EQ(GetUInt4(packed, 0), 8);
  SetInt2(packed, 4, -2);
  SetInt2(packed, 5, 1);
  EXPECT_EQ(GetInt2(packed, 4), -2);
  EXPECT_EQ(GetInt2(packed, 5), 1);
  EXPECT_EQ(GetUInt2(packed, 4), 2);
}

}  // namespace
}  // namespace rondo
