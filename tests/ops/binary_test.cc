#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "ops/broadcast.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename T>
std::vector<T> Values(const Tensor& t) {
  return std::vector<T>(t.data<T>(), t.data<T>() + t.size());
}

// Index by index, the slow way.
Tensor ReferenceSub(const Tensor& a, const Tensor& b) {
  Dims out = *BroadcastDims(a.dims(), b.dims());
  Tensor y = Tensor::Make(DataType::kFloat, out);
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t rest = i, at[2] = {0, 0}, stride[2] = {1, 1};
    for (int d = static_cast<int>(out.size()) - 1; d >= 0; --d) {
      int64_t index = rest % out[d];
      rest /= out[d];
      int k = 0;
      for (const Tensor* t : {&a, &b}) {
        int p = d - static_cast<int>(out.size()) + t->rank();
        if (p >= 0) {
          if (t->dim(p) != 1) at[k] += index * stride[k];
          stride[k] *= t->dim(p);
        }
        ++k;
      }
    }
    y.mutable_data<float>()[i] = a.data<float>()[at[0]] - b.data<float>()[at[1]];
  }
  return y;
}

TEST(BinaryTest, BroadcastsAsTheIndexDefinitionSays) {
  const std::vector<std::pair<Dims, Dims>> cases = {
      {{2, 3}, {2, 3}},
      {{2, 3}, {}},
      {{}, {4}},
      {{2, 3}, {3}},
      {{2, 3}, {2, 1}},
      {{2, 1}, {1, 3}},
      {{4, 1, 3}, {2, 1}},
      {{2, 3, 4, 5}, {3, 1, 1}},
      {{2, 3, 4, 5}, {4, 5}},
      {{1, 3, 1, 5}, {2, 1, 4, 1}},
      {{5, 1}, {1, 40}},
      {{1}, {1, 1}},
      {{70, 1, 33}, {1, 9, 1}},
      {{0, 3}, {1, 3}},
      {{3, 1}, {0}},
  };
  for (const auto& [a_dims, b_dims] : cases) {
    Tensor a = RandomFloats(a_dims, 1), b = RandomFloats(b_dims, 2);
    for (bool plain : {false, true}) {
      Tensor y = OpRunner("Sub", 14).Plain(plain).Input(a).Input(b).Run()[0];
      EXPECT_EQ(FirstDifference(y, ReferenceSub(a, b), 0, 0), "") << DimsToString(a_dims) << DimsToString(b_dims);
    }
  }
}

TEST(BinaryTest, LargeInputsRunInParallel) {
  Tensor a = RandomFloats({300, 1000}, 1), b = RandomFloats({300, 1}, 2);
  EXPECT_EQ(FirstDifference(OpRunner("Sub", 14).Input(a).Input(b).Run()[0], ReferenceSub(a, b), 0, 0), "");
}

TEST(BinaryTest, HalvesAreComputedInFloatAndRounded) {
  Tensor a = Tensor::Make(DataType::kFloat16, {3000}), b = Tensor::Make(DataType::kFloat16, {1});
  for (int i = 0; i < 3000; ++i) a.mutable_data<Float16>()[i] = Float16(static_cast<float>(i) * 0.37f);
  b.mutable_data<Float16>()[0] = Float16(1.7f);
  Tensor y = OpRunner("Mul", 14).Input(a).Input(b).Run()[0];
  for (int i = 0; i < 3000; ++i) {
    float product = static_cast<float>(a.data<Float16>()[i]) * static_cast<float>(b.data<Float16>()[0]);
    ASSERT_EQ(y.data<Float16>()[i].bits, Float16::FromFloat(product));
  }
}

TEST(BinaryTest, OldOpsetsBroadcastAtAnAxis) {
  Tensor a = RandomFloats({2, 3, 4}, 1), b = FloatTensor({3}, {1, 2, 3});
  OpRunner run("Sub", 6);
  run.Attr("broadcast", int64_t{1}).Attr("axis", int64_t{1}).Input(a).Input(b);
  EXPECT_EQ(FirstDifference(run.Run()[0], ReferenceSub(a, b.Reshaped({3, 1})), 0, 0), "");
  OpRunner suffix("Sub", 1);
  suffix.Attr("broadcast", int64_t{1}).Input(a).Input(FloatTensor({4}, {1, 2, 3, 4}));
  EXPECT_EQ(FirstDifference(suffix.Run()[0], ReferenceSub(a, FloatTensor({4}, {1, 2, 3, 4})), 0, 0), "");
  EXPECT_THAT(OpRunner("Sub", 6).Input(a).Input(b).RunError(), HasSubstr("broadcast is 0"));
  OpRunner bad("Sub", 6);
  bad.Attr("broadcast", int64_t{1}).Attr("axis", int64_t{2}).Input(a).Input(b);
  EXPECT_THAT(bad.RunError(), HasSubstr("does not broadcast"));
}

TEST(BinaryTest, IntegerArithmeticIsDefinedEverywhere) {
  constexpr int32_t kMin = std::numeric_limits<int32_t>::min(), kMax = std::numeric_limits<int32_t>::max();
  Tensor a = Int32Tensor({3}, {kMin, kMax, -7}), b = Int32Tensor({3}, {-1, 1, 2});
  EXPECT_THAT(Values<int32_t>(OpRunner("Div", 14).Input(a).Input(b).Run()[0]), ElementsAre(kMin, kMax, -3));
  EXPECT_THAT(Values<int32_t>(OpRunner("Add", 14).Input(a).Input(b).Run()[0]), ElementsAre(kMax, kMin, -5));
  EXPECT_THAT(Values<int32_t>(OpRunner("Mod", 13).Input(a).Input(b).Run()[0]), ElementsAre(0, 0, 1));
  OpRunner fmod("Mod", 13);
  fmod.Attr("fmod", int64_t{1}).Input(a).Input(b);
  EXPECT_THAT(Values<int32_t>(fmod.Run()[0]), ElementsAre(0, 0, -1));
  Tensor zero = Int32Tensor({1}, {0});
  EXPECT_THAT(OpRunner("Div", 14).Input(a).Input(zero).RunError(), HasSubstr("integer division by zero"));
  EXPECT_THAT(OpRunner("Mod", 13).Input(a).Input(zero).RunError(), HasSubstr("integer remainder by zero"));
}

TEST(BinaryTest, ModOfFloatsNeedsFmod) {
  Tensor a = FloatTensor({2}, {-5.5f, 5.5f}), b = FloatTensor({1}, {2});
  EXPECT_THAT(OpRunner("Mod", 13).Input(a).Input(b).RunError(), HasSubstr("fmod"));
  OpRunner fmod("Mod", 13);
  fmod.Attr("fmod", int64_t{1}).Input(a).Input(b);
  EXPECT_THAT(Floats(fmod.Run()[0]), ElementsAre(-1.5f, 1.5f));
}

TEST(BinaryTest, PowTakesExponentsOfOtherTypes) {
  EXPECT_THAT(
      Values<int32_t>(OpRunner("Pow", 15).Input(Int32Tensor({3}, {2, 3, -2})).Input(FloatTensor({}, {3})).Run()[0]),
      ElementsAre(8, 27, -8));
  EXPECT_THAT(Floats(OpRunner("Pow", 15).Input(FloatTensor({2}, {2, 4})).Input(Int64Tensor({2}, {-1, 2})).Run()[0]),
              ElementsAre(0.5f, 16));
  for (float e : {-1.0f, 0.5f, 1.0f, 2.0f, 3.0f, 2.5f}) {
    Tensor y = OpRunner("Pow", 15).Input(FloatTensor({2}, {2.25f, 3})).Input(FloatTensor({}, {e})).Run()[0];
    EXPECT_NEAR(y.data<float>()[0], std::pow(2.25, e), 1e-5);
    EXPECT_NEAR(y.data<float>()[1], std::pow(3.0, e), 1e-5);
  }
}

TEST(BinaryTest, IntegerPowWithNegativeExponents) {
  Tensor base = Int64Tensor({4}, {1, -1, 2, 10}), exponent = Int64Tensor({4}, {-3, -3, -1, 18});
  EXPECT_THAT(Int64s(OpRunner("Pow", 15).Input(base).Input(exponent).Run()[0]),
              ElementsAre(1, -1, 0, 1000000000000000000));
  EXPECT_THAT(OpRunner("Pow", 15).Input(Int64Tensor({1}, {0})).Input(Int64Tensor({1}, {-1})).RunError(),
              HasSubstr("negative power"));
}

TEST(BinaryTest, ShiftsBeyondTheWidthAreErrors) {
  Tensor x = Tensor::FromVector<uint8_t>(DataType::kUInt8, {2}, {0x81, 3});
  Tensor one = Tensor::FromVector<uint8_t>(DataType::kUInt8, {}, {1}),
         eight = Tensor::FromVector<uint8_t>(DataType::kUInt8, {}, {8});
  OpRunner left("BitShift", 11), right("BitShift", 11), far("BitShift", 11), wrong("BitShift", 11);
  left.Attr("direction", std::string("LEFT")).Input(x).Input(one);
  EXPECT_THAT(Values<uint8_t>(left.Run()[0]), ElementsAre(2, 6));
  right.Attr("direction", std::string("RIGHT")).Input(x).Input(one);
  EXPECT_THAT(Values<uint8_t>(right.Run()[0]), ElementsAre(0x40, 1));
  far.Attr("direction", std::string("LEFT")).Input(x).Input(eight);
  EXPECT_THAT(far.RunError(), HasSubstr("shift amount"));
  wrong.Attr("direction", std::string("UP")).Input(x).Input(one);
  EXPECT_THAT(wrong.RunError(), HasSubstr("expected \"LEFT\" or \"RIGHT\", got \"UP\""));
}

TEST(BinaryTest, PReluBroadcastsTheSlopeOneWay) {
  Tensor x = FloatTensor({1, 2, 2}, {-1, 2, -3, -4});
  EXPECT_THAT(Floats(OpRunner("PRelu", 16).Input(x).Input(FloatTensor({2, 1}, {0.5f, 2})).Run()[0]),
              ElementsAre(-0.5f, 2, -6, -8));
  EXPECT_THAT(Floats(OpRunner("PRelu", 6).Input(x).Input(FloatTensor({2}, {0.5f, 2})).Run()[0]),
              ElementsAre(-0.5f, 2, -6, -8));
  EXPECT_THAT(OpRunner("PRelu", 16).Input(x).Input(FloatTensor({3, 1, 1, 1}, {1, 1, 1})).RunError(),
              HasSubstr("slope"));
}

TEST(BinaryTest, TypesMustAgree) {
  EXPECT_THAT(OpRunner("Add", 14).Input(FloatTensor({1}, {1})).Input(Int64Tensor({1}, {1})).RunError(),
              HasSubstr("float32 and int64"));
}

TEST(BroadcastLoopTest, CollapsesNeighboursThatMoveTogether) {
  BroadcastLoop<2> same({2, 3, 4}, {Dims{2, 3, 4}, Dims{2, 3, 4}});
  EXPECT_EQ(same.levels(), 1);
  EXPECT_EQ(same.inner(), 24);
  BroadcastLoop<2> row({2, 3, 4}, {Dims{2, 3, 4}, Dims{4}});
  EXPECT_EQ(row.levels(), 2);
  BroadcastLoop<2> channel({2, 3, 4, 5}, {Dims{2, 3, 4, 5}, Dims{3, 1, 1}});
  EXPECT_EQ(channel.levels(), 3);
  EXPECT_EQ(channel.inner(), 20);
  EXPECT_TRUE(channel.step(0));
  EXPECT_FALSE(channel.step(1));
}

}  // namespace
}  // namespace rondo
