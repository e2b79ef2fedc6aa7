#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ConstantTest, EveryAttribute) {
  EXPECT_THAT(Int64s(OpRunner("Constant", 12).Attr("value_int", int64_t{3}).Run()[0]), ElementsAre(3));
  EXPECT_THAT(Int64s(OpRunner("Constant", 12).Attr("value_ints", std::vector<int64_t>{3, 4}).Run()[0]),
              ElementsAre(3, 4));
  EXPECT_THAT(Floats(OpRunner("Constant", 12).Attr("value_float", 2.5f).Run()[0]), ElementsAre(2.5));
  EXPECT_THAT(Floats(OpRunner("Constant", 12).Attr("value_floats", std::vector<float>{1, 2}).Run()[0]),
              ElementsAre(1, 2));
  EXPECT_EQ(OpRunner("Constant", 12).Attr("value_string", std::string("s")).Run()[0].data<std::string>()[0], "s");
  EXPECT_EQ(OpRunner("Constant", 12).Attr("value_strings", std::vector<std::string>{"s", "t"}).Run()[0].dims(),
            (Dims{2}));
  EXPECT_THAT(Floats(OpRunner("Constant", 1).Attr("value", FloatTensor({1}, {4})).Run()[0]), ElementsAre(4));
  EXPECT_THAT(OpRunner("Constant", 12).RunError(), HasSubstr("got none"));
  EXPECT_THAT(OpRunner("Constant", 12).Attr("value_int", int64_t{3}).Attr("value_float", 1.0f).RunError(),
              HasSubstr("expected one value attribute"));
}

TEST(ConstantOfShapeTest, ValuesAndErrors) {
  EXPECT_THAT(Floats(OpRunner("ConstantOfShape", 9).Input(Tensor::FromInt64s({2})).Run()[0]), ElementsAre(0, 0));
  EXPECT_EQ(OpRunner("ConstantOfShape", 9).Input(Tensor::FromInt64s({})).Run()[0].dims(), (Dims{}));
  EXPECT_THAT(Int64s(OpRunner("ConstantOfShape", 9)
                         .Attr("value", Int64Tensor({1}, {-1}))
                         .Input(Tensor::FromInt64s({1, 3}))
                         .Run()[0]),
              ElementsAre(-1, -1, -1));
  EXPECT_THAT(OpRunner("ConstantOfShape", 9).Constant(Tensor::FromInt64s({-1})).RunError(), HasSubstr("got -1"));
  EXPECT_THAT(OpRunner("ConstantOfShape", 9).Constant(Tensor::FromInt64s({1LL << 40, 1LL << 40})).RunError(),
              testing::Not(""));
}

TEST(RangeTest, TypesDirectionsAndErrors) {
  auto ints = [](int64_t a, int64_t b, int64_t c) {
    OpRunner op("Range", 11);
    return op.Input(Int64Tensor({}, {a})).Input(Int64Tensor({}, {b})).Input(Int64Tensor({}, {c}));
  };
  EXPECT_THAT(Int64s(ints(10, 4, -2).Run()[0]), ElementsAre(10, 8, 6));
  EXPECT_THAT(Int64s(ints(4, 10, -2).Run()[0]), ElementsAre());
  EXPECT_THAT(Int64s(ints(INT64_MAX - 1, INT64_MAX, 5).Run()[0]), ElementsAre(INT64_MAX - 1));
  EXPECT_THAT(ints(0, 1, 0).RunError(), HasSubstr("delta"));
  EXPECT_THAT(ints(INT64_MIN, INT64_MAX, 1).RunError(), testing::Not(""));
  OpRunner floats("Range", 11);
  floats.Input(FloatTensor({}, {1})).Input(FloatTensor({}, {2})).Input(FloatTensor({}, {0.4f}));
  EXPECT_THAT(Floats(floats.Run()[0]), ElementsAre(1, testing::FloatEq(1.4f), testing::FloatEq(1.8f)));
  OpRunner nan("Range", 11);
  nan.Input(FloatTensor({}, {NAN})).Input(FloatTensor({}, {2})).Input(FloatTensor({}, {0.4f}));
  EXPECT_THAT(nan.RunError(), HasSubstr("finite"));
}

TEST(EyeLikeTest, DiagonalsAndTypes) {
  Tensor x = Tensor::Make(DataType::kFloat, {2, 3});
  EXPECT_THAT(Floats(OpRunner("EyeLike", 9).Attr("k", int64_t{1}).Input(x).Run()[0]), ElementsAre(0, 1, 0, 0, 0, 1));
  EXPECT_THAT(Int64s(OpRunner("EyeLike", 9).Attr("k", int64_t{-1}).Attr("dtype", int64_t{7}).Input(x).Run()[0]),
              ElementsAre(0, 0, 0, 1, 0, 0));
  EXPECT_THAT(Floats(OpRunner("EyeLike", 9).Attr("k", INT64_MIN).Input(x).Run()[0]), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(OpRunner("EyeLike", 9).Attr("dtype", int64_t{99}).Input(x).RunError(), HasSubstr("no element type"));
}

TEST(WindowTest, SymmetricEndsAndSingleElement) {
  auto run = [](int64_t size) {
    OpRunner op("HannWindow", 17);
    return Floats(op.Attr("periodic", int64_t{0}).Input(Int64Tensor({}, {size})).Run()[0]);
  };
  EXPECT_THAT(run(3), ElementsAre(0, 1, testing::FloatNear(0, 1e-6)));
  EXPECT_EQ(run(1).size(), 1);
  EXPECT_EQ(run(0).size(), 0);
}

TEST(MelWeightMatrixTest, RefusesPointsOutsideTheSpectrogram) {
  OpRunner op("MelWeightMatrix", 17);
  op.Input(Int64Tensor({}, {4})).Input(Int64Tensor({}, {8})).Input(Int64Tensor({}, {8192}));
  op.Input(FloatTensor({}, {0})).Input(FloatTensor({}, {1e6}));
  EXPECT_THAT(op.RunError(), HasSubstr("outside"));
}

TEST(RandomTest, SeededRunsRepeatAndMomentsFit) {
  auto run = [](int threads) {
    OpRunner op("RandomNormal", 1);
    return op.Attr("shape", std::vector<int64_t>{200, 100})
        .Attr("seed", 3.0f)
        .Attr("mean", 2.0f)
        .Attr("scale", 0.5f)
        .Threads(threads)
        .Run()[0];
  };
  Tensor a = run(1);
  EXPECT_EQ(FirstDifference(a, run(2)), "");
  double sum = 0, squares = 0;
  for (float v : Floats(a)) sum += v, squares += (v - 2) * (v - 2);
  EXPECT_NEAR(sum / 20000, 2, 0.02);
  EXPECT_NEAR(squares / 20000, 0.25, 0.01);
}

TEST(RandomTest, UniformBernoulliAndMultinomialStayInRange) {
  Tensor u = OpRunner("RandomUniformLike", 1)
                 .Attr("low", -1.0f)
                 .Attr("high", 3.0f)
                 .Input(Tensor::Make(DataType::kFloat, {10000}))
                 .Run()[0];
  double sum = 0;
  for (float v : Floats(u)) {
    ASSERT_GE(v, -1);
    ASSERT_LE(v, 3);
    sum += v;
  }
  EXPECT_NEAR(sum / 10000, 1, 0.1);
  std::vector<float> ones = Floats(OpRunner("Bernoulli", 15).Input(FloatTensor({4}, {0, 1, 0, 1})).Run()[0]);
  EXPECT_THAT(ones, ElementsAre(0, 1, 0, 1));
  Tensor m = OpRunner("Multinomial", 7)
                 .Attr("sample_size", int64_t{5})
                 .Attr("dtype", int64_t{7})
                 .Input(FloatTensor({1, 3}, {-INFINITY, 0, -INFINITY}))
                 .Run()[0];
  EXPECT_THAT(Int64s(m), ElementsAre(1, 1, 1, 1, 1));
  EXPECT_THAT(OpRunner("Multinomial", 7).Input(FloatTensor({1, 1}, {NAN})).RunError(), HasSubstr("finite"));
}

TEST(RandomTest, UniformFillsItsRangeEvenly) {
  OpRunner run("RandomUniform", 1);
  run.Attr("shape", std::vector<int64_t>{100, 100}).Attr("low", 2.0f).Attr("high", 6.0f).Attr("seed", 3.0f);
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{100, 100}));
  int quarters[4] = {};
  for (float v : Floats(y)) {
    ASSERT_GE(v, 2);
    ASSERT_LE(v, 6);
    ++quarters[std::min(3, static_cast<int>(v - 2))];
  }
  for (int count : quarters) EXPECT_NEAR(count, 2500, 250);
  OpRunner doubles("RandomUniform", 22);
  doubles.Attr("shape", std::vector<int64_t>{3}).Attr("dtype", static_cast<int64_t>(DataType::kDouble));
  EXPECT_EQ(doubles.Run()[0].dtype(), DataType::kDouble);
}

TEST(RandomTest, NormalLikeTakesShapeAndType) {
  OpRunner run("RandomNormalLike", 1);
  run.Attr("mean", 5.0f)
      .Attr("scale", 2.0f)
      .Attr("seed", 1.0f)
      .Input(FloatTensor({100, 100}, std::vector<float>(10000)));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{100, 100}));
  double sum = 0, squares = 0;
  for (float v : Floats(y)) {
    sum += v;
    squares += (v - 5.0) * (v - 5.0);
  }
  EXPECT_NEAR(sum / 10000, 5, 0.1);
  EXPECT_NEAR(squares / 10000, 4, 0.3);
  OpRunner typed("RandomNormalLike", 22);
  typed.Attr("dtype", static_cast<int64_t>(DataType::kFloat16)).Input(Int64Tensor({2}, {0, 0}));
  EXPECT_EQ(typed.Run()[0].dtype(), DataType::kFloat16);
}

}  // namespace
}  // namespace rondo
