#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename T>
std::vector<T> Values(const Tensor& t) {
  return std::vector<T>(t.data<T>(), t.data<T>() + t.size());
}

Tensor Cast(const Tensor& x, DataType to) {
  OpRunner run("Cast", 25);
  run.Attr("to", static_cast<int64_t>(to)).Input(x);
  return run.Run()[0];
}

const std::vector<DataType> kNumbers = {
    DataType::kFloat,        DataType::kDouble,         DataType::kFloat16,    DataType::kBFloat16,
    DataType::kInt8,         DataType::kUInt8,          DataType::kInt16,      DataType::kUInt16,
    DataType::kInt32,        DataType::kUInt32,         DataType::kInt64,      DataType::kUInt64,
    DataType::kFloat8E4M3FN, DataType::kFloat8E4M3FNUZ, DataType::kFloat8E5M2, DataType::kFloat8E5M2FNUZ,
    DataType::kFloat4E2M1,   DataType::kInt4,           DataType::kUInt4};

TEST(CastTest, SmallIntegersSurviveEveryPairOfTypes) {
  Tensor x = Int64Tensor({7}, {0, 1, 2, 3, 4, 6, 0});
  for (DataType a : kNumbers) {
    for (DataType b : kNumbers) {
      Tensor back = Cast(Cast(Cast(x, a), b), DataType::kInt64);
      EXPECT_THAT(Int64s(back), ElementsAre(0, 1, 2, 3, 4, 6, 0)) << DataTypeName(a) << " " << DataTypeName(b);
    }
    EXPECT_THAT(Values<uint8_t>(Cast(Cast(x, a), DataType::kBool)), ElementsAre(0, 1, 1, 1, 1, 1, 0));
  }
}

TEST(CastTest, LongTensorsGoBlockByBlock) {
  Tensor x = Tensor::Make(DataType::kFloat, {70001});
  for (int i = 0; i < 70001; ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 8);
  Tensor packed = Cast(x, DataType::kInt4);
  EXPECT_EQ(FirstDifference(Cast(packed, DataType::kFloat), x, 0, 0), "") << "4-bit elements wrap at 8";
}

TEST(CastTest, FloatsOutsideTheRangeAreDefined) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Tensor x = FloatTensor({6}, {1e20f, -1e20f, kInf, -kInf, std::nanf(""), -1.9f});
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = std::numeric_limits<int64_t>::min();
  EXPECT_THAT(Int64s(Cast(x, DataType::kInt64)), ElementsAre(kMax, kMin, kMax, kMin, 0, -1));
  constexpr int32_t kMax32 = std::numeric_limits<int32_t>::max(), kMin32 = std::numeric_limits<int32_t>::min();
  EXPECT_THAT(Values<int32_t>(Cast(x, DataType::kInt32)), ElementsAre(kMax32, kMin32, kMax32, kMin32, 0, -1));
  EXPECT_EQ(Values<uint8_t>(Cast(x, DataType::kUInt8))[5], 255);
  EXPECT_EQ(Values<uint64_t>(Cast(FloatTensor({1}, {0x1p63f}), DataType::kUInt64))[0], uint64_t{1} << 63);
}

TEST(CastTest, DoubleToHalfRoundsOnce) {
  // Just above the middle of two float16: by way of float it would be the middle, and go to even.
  double x = 1.0 + 0x1p-11 + 0x1p-40;
  Tensor y = Cast(Tensor::FromVector<double>(DataType::kDouble, {1}, {x}), DataType::kFloat16);
  EXPECT_EQ(y.data<uint16_t>()[0], 0x3c01);
}

TEST(CastTest, SaturateAndRoundModeAttributes) {
  Tensor x = FloatTensor({1}, {1000});
  OpRunner run("Cast", 25);
  run.Attr("to", static_cast<int64_t>(DataType::kFloat8E4M3FN)).Attr("saturate", int64_t{0}).Input(x);
  EXPECT_EQ(run.Run()[0].data<uint8_t>()[0], 0x7f);
  OpRunner down("Cast", 25);
  down.Attr("to", static_cast<int64_t>(DataType::kFloat8E8M0)).Attr("round_mode", std::string("down")).Input(x);
  EXPECT_EQ(down.Run()[0].data<uint8_t>()[0], 127 + 9);
}

TEST(CastTest, Strings) {
  Tensor s = Cast(FloatTensor({5}, {3.5f, 1.0f, 1e-7f, std::nanf(""), -std::numeric_limits<float>::infinity()}),
                  DataType::kString);
  EXPECT_THAT(Values<std::string>(s), ElementsAre("3.5", "1.0", "1e-07", "NaN", "-INF"));
  EXPECT_THAT(Values<std::string>(Cast(Int64Tensor({1}, {-12}), DataType::kString)), ElementsAre("-12"));
  Tensor t = StringTensor({5}, {"1e-5", "100.5", "+INF", "nan", " -7 "});
  Tensor f = Cast(t, DataType::kFloat);
  EXPECT_FLOAT_EQ(f.data<float>()[0], 1e-5f);
  EXPECT_TRUE(std::isinf(f.data<float>()[2]));
  EXPECT_TRUE(std::isnan(f.data<float>()[3]));
  EXPECT_EQ(f.data<float>()[4], -7);
  EXPECT_EQ(Int64s(Cast(t, DataType::kInt64))[1], 100);
  OpRunner bad("Cast", 13);
  bad.Attr("to", int64_t{1}).Input(StringTensor({2}, {"1", "Hello World!"}));
  EXPECT_THAT(bad.RunError(), HasSubstr("\"Hello World!\" at position 1 is no number"));
}

TEST(CastTest, VersionOneNamesTheType) {
  OpRunner run("Cast", 1);
  run.Attr("to", std::string("INT64")).Input(FloatTensor({1}, {2.5f}));
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(2));
}

TEST(CastTest, UnknownTypesAreErrors) {
  OpRunner run("Cast", 13), missing("Cast", 13);
  run.Attr("to", int64_t{99}).Input(FloatTensor({1}, {1}));
  EXPECT_THAT(run.RunError(), HasSubstr("99 is no element type"));
  EXPECT_THAT(missing.Input(FloatTensor({1}, {1})).RunError(), HasSubstr("\"to\" is missing"));
}

TEST(CastTest, CastLikeTakesTheTypeOnly) {
  Tensor y = OpRunner("CastLike", 15).Input(FloatTensor({2}, {1.5f, 2})).Input(Int64Tensor({0}, {})).Run()[0];
  EXPECT_THAT(Int64s(y), ElementsAre(1, 2));
}

TEST(BitCastTest, ReinterpretsTypesOfOneWidth) {
  OpRunner run("BitCast", 26), wrong("BitCast", 26);
  run.Attr("to", static_cast<int64_t>(DataType::kInt32)).Input(FloatTensor({1}, {1}));
  EXPECT_EQ(run.Run()[0].data<int32_t>()[0], 0x3f800000);
  wrong.Attr("to", static_cast<int64_t>(DataType::kInt64)).Input(FloatTensor({1}, {1}));
  EXPECT_THAT(wrong.RunError(), HasSubstr("got 32 and 64 bits"));
}

}  // namespace
}  // namespace rondo
