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

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

template <typename T>
std::vector<T> Values(const Tensor& t) {
  return std::vector<T>(t.data<T>(), t.data<T>() + t.size());
}

// Each row: an operator, its first opset, an argument and the value there.
TEST(UnaryTest, RealFunctionsInAllFloatingTypes) {
  const struct {
    const char* type;
    int since;
    float x;
    double y;
  } cases[] = {
      {"Abs", 13, -1.5f, 1.5},
      {"Neg", 13, 1.5f, -1.5},
      {"Exp", 13, 1.0f, std::exp(1.0)},
      {"Log", 13, 2.0f, std::log(2.0)},
      {"Sqrt", 13, 2.0f, std::sqrt(2.0)},
      {"Reciprocal", 13, 4.0f, 0.25},
      {"Floor", 13, -1.5f, -2},
      {"Ceil", 13, -1.5f, -1},
      {"Round", 11, 2.5f, 2},
      {"Sign", 13, -3.0f, -1},
      {"Erf", 13, 0.5f, std::erf(0.5)},
      {"Sin", 7, 1.0f, std::sin(1.0)},
      {"Cos", 7, 1.0f, std::cos(1.0)},
      {"Tan", 7, 1.0f, std::tan(1.0)},
      {"Asin", 7, 0.5f, std::asin(0.5)},
      {"Acos", 7, 0.5f, std::acos(0.5)},
      {"Atan", 7, 0.5f, std::atan(0.5)},
      {"Sinh", 9, 1.0f, std::sinh(1.0)},
      {"Cosh", 9, 1.0f, std::cosh(1.0)},
      {"Tanh", 13, 1.0f, std::tanh(1.0)},
      {"Asinh", 9, 0.5f, std::asinh(0.5)},
      {"Acosh", 9, 1.5f, std::acosh(1.5)},
      {"Atanh", 9, 0.5f, std::atanh(0.5)},
  };
  for (const auto& c : cases) {
    for (bool plain : {false, true}) {
      SCOPED_TRACE(c.type);
      Tensor y = OpRunner(c.type, c.since).Plain(plain).Input(FloatTensor({3}, {c.x, c.x, c.x})).Run()[0];
      EXPECT_NEAR(y.data<float>()[2], c.y, 1e-6 * std::abs(c.y));
      Tensor d = Tensor::FromVector<double>(DataType::kDouble, {1}, {c.x});
      EXPECT_NEAR(OpRunner(c.type, c.since).Plain(plain).Input(d).Run()[0].data<double>()[0], c.y, 1e-15);
      Tensor h = Tensor::FromVector<Float16>(DataType::kFloat16, {1}, {Float16(c.x)});
      Tensor hy = OpRunner(c.type, c.since).Plain(plain).Input(h).Run()[0];
      EXPECT_EQ(hy.data<Float16>()[0].bits, Float16::FromFloat(static_cast<float>(c.y)));
      Tensor b = Tensor::FromVector<BFloat16>(DataType::kBFloat16, {1}, {BFloat16(c.x)});
      Tensor by = OpRunner(c.type, c.since).Plain(plain).Input(b).Run()[0];
      EXPECT_EQ(by.data<BFloat16>()[0].bits, BFloat16::FromFloat(static_cast<float>(c.y)));
    }
  }
}

TEST(UnaryTest, RoundTakesHalvesToEven) {
  for (bool plain : {false, true}) {
    Tensor y = OpRunner("Round", 11).Plain(plain).Input(FloatTensor({6}, {0.5, 1.5, 2.5, -0.5, -1.5, -2.5})).Run()[0];
    EXPECT_THAT(Floats(y), ElementsAre(0, 2, 2, 0, -2, -2));
  }
}

TEST(UnaryTest, IntegersWrap) {
  Tensor x = Tensor::FromVector<int8_t>(DataType::kInt8, {3}, {-128, -1, 5});
  EXPECT_THAT(Values<int8_t>(OpRunner("Abs", 13).Input(x).Run()[0]), ElementsAre(-128, 1, 5));
  EXPECT_THAT(Values<int8_t>(OpRunner("Neg", 13).Input(x).Run()[0]), ElementsAre(-128, 1, -5));
  EXPECT_THAT(Values<int8_t>(OpRunner("Sign", 13).Input(x).Run()[0]), ElementsAre(-1, -1, 1));
  EXPECT_THAT(Values<int8_t>(OpRunner("BitwiseNot", 18).Input(x).Run()[0]), ElementsAre(127, 0, -6));
}

TEST(UnaryTest, ScalarsAndEmptyTensors) {
  EXPECT_THAT(Floats(OpRunner("Exp", 13).Input(FloatTensor({}, {0})).Run()[0]), ElementsAre(1));
  Tensor empty = OpRunner("Exp", 13).Input(FloatTensor({0, 3}, {})).Run()[0];
  EXPECT_EQ(empty.dims(), (Dims{0, 3}));
}

TEST(UnaryTest, VersionOneIgnoresConsumedInputs) {
  OpRunner run("Abs", 1);
  run.Attr("consumed_inputs", std::vector<int64_t>{0}).Input(FloatTensor({1}, {-2}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(2));
}

TEST(UnaryTest, NotIsForBools) {
  EXPECT_THAT(Values<uint8_t>(OpRunner("Not", 1).Input(BoolTensor({2}, {true, false})).Run()[0]), ElementsAre(0, 1));
  EXPECT_THAT(OpRunner("Not", 1).Input(FloatTensor({1}, {1})).RunError(), HasSubstr("expected bool, got float32"));
}

TEST(UnaryTest, IsNanAndIsInf) {
  Tensor x = FloatTensor({4}, {1, kNan, kInf, -kInf});
  EXPECT_THAT(Values<uint8_t>(OpRunner("IsNaN", 13).Input(x).Run()[0]), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(Values<uint8_t>(OpRunner("IsInf", 10).Input(x).Run()[0]), ElementsAre(0, 0, 1, 1));
  OpRunner positive("IsInf", 10);
  positive.Attr("detect_negative", int64_t{0}).Input(x);
  EXPECT_THAT(Values<uint8_t>(positive.Run()[0]), ElementsAre(0, 0, 1, 0));
  Tensor small = Tensor::FromVector<uint8_t>(DataType::kFloat8E5M2, {3}, {0x7c, 0xfc, 0x7f});
  EXPECT_THAT(Values<uint8_t>(OpRunner("IsInf", 20).Input(small).Run()[0]), ElementsAre(1, 1, 0));
  EXPECT_THAT(Values<uint8_t>(OpRunner("IsNaN", 20).Input(small).Run()[0]), ElementsAre(0, 0, 1));
}

TEST(UnaryTest, UnsupportedTypeIsNamed) {
  EXPECT_THAT(OpRunner("Exp", 13).Input(Int64Tensor({1}, {1})).RunError(), HasSubstr("int64"));
}

}  // namespace
}  // namespace rondo
