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

Tensor Softmax(const Tensor& x, int64_t axis, int version = 13, const char* type = "Softmax", bool plain = false) {
  OpRunner run(type, version);
  run.Attr("axis", axis).Input(x).Plain(plain);
  return run.Run()[0];
}

Tensor ToHalf(const Tensor& x) {
  std::vector<Float16> values;
  for (int64_t i = 0; i < x.size(); ++i) values.push_back(Float16(x.data<float>()[i]));
  return Tensor::FromVector(DataType::kFloat16, x.dims(), values);
}

TEST(SoftmaxTest, EveryAxisEqualsTheFormula) {
  Tensor x = RandomFloats({3, 5, 300});
  for (int axis = 0; axis < 3; ++axis) {
    for (bool plain : {false, true}) {
      Tensor y = Softmax(x, axis, 13, "Softmax", plain), l = Softmax(x, axis - 3, 13, "LogSoftmax", plain);
      int64_t inner = axis == 2 ? 1 : axis == 1 ? 300 : 1500, n = x.dim(axis);
      for (int64_t i = 0; i < x.size(); ++i) {
        int64_t base = i / (n * inner) * n * inner + i % inner;
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) sum += std::exp(static_cast<double>(x.data<float>()[base + k * inner]));
        double v = static_cast<double>(x.data<float>()[i]);
        ASSERT_NEAR(y.data<float>()[i], std::exp(v) / sum, 1e-6) << axis;
        ASSERT_NEAR(l.data<float>()[i], v - std::log(sum), 1e-5) << axis;
      }
    }
  }
}

TEST(SoftmaxTest, BeforeOpset13TheRestOfTheDimsIsOneGroup) {
  Tensor x = RandomFloats({2, 3, 4});
  Tensor y = Softmax(x, 1, 11);
  Tensor flat = Softmax(x.Reshaped({2, 12}), 1, 13);
  EXPECT_EQ(FirstDifference(y.Reshaped({2, 12}), flat), "");
}

TEST(SoftmaxTest, LargeNumbersDoNotOverflow) {
  Tensor y = Softmax(FloatTensor({3}, {10000, 10001, -std::numeric_limits<float>::infinity()}), 0);
  EXPECT_NEAR(y.data<float>()[1], 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_EQ(y.data<float>()[2], 0);
}

TEST(SoftmaxTest, FullyMaskedRowsAreNan) {
  float low = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(Softmax(FloatTensor({2}, {low, low}), 0).data<float>()[0]));
}

TEST(SoftmaxTest, HalfEqualsFloatRounded) {
  Tensor x = RandomFloats({50, 70});
  for (int64_t axis : {0, 1}) {
    Tensor y = Softmax(x, axis), h = Softmax(ToHalf(x), axis);
    for (int64_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(static_cast<float>(h.data<Float16>()[i]), y.data<float>()[i], 1e-4);
    }
  }
}

TEST(SoftmaxTest, HardmaxMarksTheFirstGreatest) {
  Tensor y = Softmax(FloatTensor({2, 3}, {1, 7, 7, 5, 0, 1}), 1, 13, "Hardmax");
  EXPECT_THAT(Floats(y), ElementsAre(0, 1, 0, 1, 0, 0));
}

TEST(SoftmaxTest, RefusesAnAxisOutsideTheRank) {
  OpRunner run("Softmax", 13);
  run.Attr("axis", int64_t{2}).Input(RandomFloats({2, 3}));
  EXPECT_THAT(run.RunError(), HasSubstr("axis"));
}

TEST(BiasSoftmaxTest, BroadcastsTheBiasOverInnerAndOuterDims) {
  Tensor x = RandomFloats({2, 3, 4, 5});
  for (const Dims& dims : {Dims{2, 1, 1, 5}, Dims{1, 1, 4, 5}, Dims{4, 5}, Dims{2, 3, 4, 5}}) {
    Tensor bias = RandomFloats(dims, 7);
    Tensor sum = x.Clone();
    for (int64_t i = 0; i < x.size(); ++i) {
      int64_t at = 0, rest = i, stride = 1;
      for (int d = 3, b = static_cast<int>(dims.size()) - 1; b >= 0; --d, --b) {
        if (dims[b] != 1) at += rest % x.dim(d) * stride;
        stride *= dims[b];
        rest /= x.dim(d);
      }
      sum.mutable_data<float>()[i] += bias.data<float>()[at];
    }
    Tensor want = Softmax(sum, -1);
    OpRunner run("BiasSoftmax", 1, "com.microsoft");
    run.Attr("axis", int64_t{3}).Attr("is_inner_broadcast", int64_t{1}).Input(x).Input(bias);
    EXPECT_EQ(FirstDifference(run.Run()[0], want), "") << DimsToString(dims);
  }
}

TEST(LossTest, MeanLeavesOutIgnoredTargets) {
  OpRunner run("NegativeLogLikelihoodLoss", 13);
  run.Attr("ignore_index", int64_t{-5})
      .Input(FloatTensor({3, 2}, {-1, -2, -3, -4, -5, -6}))
      .Input(Int64Tensor({3}, {0, -5, 1}))
      .Input(FloatTensor({2}, {1, 3}));
  EXPECT_FLOAT_EQ(run.Run()[0].data<float>()[0], (1 + 6 * 3) / 4.0f);
}

TEST(LossTest, CrossEntropyGivesLogProbabilities) {
  Tensor x = RandomFloats({2, 3, 4});
  OpRunner run("SoftmaxCrossEntropyLoss", 13);
  run.Attr("reduction", std::string("none")).Input(x).Input(Int64Tensor({2, 4}, {0, 1, 2, 0, 2, 2, 1, 0})).Outputs(2);
  std::vector<Tensor> y = run.Run();
  Tensor want = Softmax(x, 1, 13, "LogSoftmax");
  EXPECT_EQ(FirstDifference(y[1], want), "");
  EXPECT_FLOAT_EQ(y[0].data<float>()[1], -want.data<float>()[4 + 1]);
}

TEST(LossTest, RefusesTargetsOutsideTheClasses) {
  OpRunner run("SoftmaxCrossEntropyLoss", 13);
  run.Input(RandomFloats({2, 3})).Input(Int64Tensor({2}, {0, 3}));
  EXPECT_THAT(run.RunError(), HasSubstr("3 is out of range [0, 2] on axis 1"));
}

}  // namespace
}  // namespace rondo
