#include <cmath>

#include "gmock/gmock.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// (x - mean) * inv * scale + bias over the last n elements of each row; scale and bias may be undefined.
Tensor LayerNorm(const Tensor& x, int64_t n, double epsilon, bool centered, const Tensor& scale, const Tensor& bias) {
  Tensor y = Tensor::Make(DataType::kFloat, x.dims());
  for (int64_t row = 0; row < x.size() / n; ++row) {
    const float* in = x.data<float>() + row * n;
    double mean = 0, square = 0;
    for (int64_t i = 0; centered && i < n; ++i) mean += static_cast<double>(in[i]) / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) square += (in[i] - mean) * (in[i] - mean) / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) {
      double v = (in[i] - mean) / std::sqrt(square + epsilon);
      if (scale.defined()) v *= scale.data<float>()[i];
      if (bias.defined()) v += bias.data<float>()[i];
      y.mutable_data<float>()[row * n + i] = static_cast<float>(v);
    }
  }
  return y;
}

Tensor Sum(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::Make(DataType::kFloat, a.dims());
  for (int64_t i = 0; i < a.size(); ++i)
    y.mutable_data<float>()[i] = a.data<float>()[i] + b.data<float>()[i % b.size()];
  return y;
}

TEST(LayerNormTest, AnyAxisOptimisedAndPlain) {
  Tensor x = RandomFloats({4, 3, 50});
  for (bool plain : {false, true}) {
    for (int64_t axis : {0, 1, 2, -1}) {
      Dims dims(x.dims().begin() + (axis < 0 ? axis + 3 : axis), x.dims().end());
      Tensor scale = RandomFloats(dims, 2), bias = RandomFloats(dims, 3);
      OpRunner run("LayerNormalization", 17);
      run.Attr("axis", axis).Input(x).Constant(scale).Constant(bias).Outputs(3).Plain(plain);
      std::vector<Tensor> y = run.Run();
      EXPECT_EQ(FirstDifference(y[0], LayerNorm(x, scale.size(), 1e-5, true, scale, bias)), "");
      EXPECT_EQ(y[1].size(), x.size() / scale.size());
      EXPECT_EQ(y[2].rank(), 3);
    }
  }
}

TEST(LayerNormTest, ScaleMayBroadcast) {
  Tensor x = RandomFloats({2, 3, 4});
  OpRunner one("LayerNormalization", 17), rows("LayerNormalization", 17);
  one.Attr("axis", int64_t{1}).Input(x).Input(RandomFloats({3, 1}, 5));
  Tensor expanded = Tensor::Make(DataType::kFloat, {3, 4});
  Tensor s = RandomFloats({3, 1}, 5);
  for (int i = 0; i < 12; ++i) expanded.mutable_data<float>()[i] = s.data<float>()[i / 4];
  EXPECT_EQ(FirstDifference(one.Run()[0], LayerNorm(x, 12, 1e-5, true, expanded, Tensor())), "");
  // A scale of its own for each batch item.
  Tensor per_row = RandomFloats({2, 1, 4}, 6);
  rows.Input(x).Input(per_row);
  Tensor y = rows.Run()[0], plain = LayerNorm(x, 4, 1e-5, true, Tensor(), Tensor());
  for (int i = 0; i < 24; ++i) {
    ASSERT_NEAR(y.data<float>()[i], plain.data<float>()[i] * per_row.data<float>()[i / 12 * 4 + i % 4], 1e-5);
  }
}

TEST(LayerNormTest, RefusesAScaleThatDoesNotFit) {
  OpRunner run("LayerNormalization", 17);
  run.Input(RandomFloats({2, 4})).Input(RandomFloats({3}));
  EXPECT_THAT(run.RunError(), HasSubstr("scale: expected a shape that broadcasts to [2, 4], got [3]"));
}

TEST(LayerNormTest, DoubleAndHalf) {
  Tensor x = RandomFloats({3, 20});
  std::vector<double> wide(x.data<float>(), x.data<float>() + 60);
  std::vector<Float16> half;
  for (double v : wide) half.push_back(Float16(static_cast<float>(v)));
  Tensor want = LayerNorm(x, 20, 1e-5, true, Tensor(), Tensor());
  OpRunner d("LayerNormalization", 17), h("LayerNormalization", 17);
  d.Input(Tensor::FromVector(DataType::kDouble, {3, 20}, wide))
      .Input(Tensor::FromVector(DataType::kDouble, {20}, std::vector<double>(20, 1)));
  h.Input(Tensor::FromVector(DataType::kFloat16, {3, 20}, half))
      .Input(Tensor::FromVector(DataType::kFloat16, {20}, std::vector<Float16>(20, Float16(1.0f))));
  Tensor yd = d.Run()[0], yh = h.Run()[0];
  for (int i = 0; i < 60; ++i) {
    ASSERT_NEAR(yd.data<double>()[i], want.data<float>()[i], 1e-5);
    ASSERT_NEAR(static_cast<float>(yh.data<Float16>()[i]), want.data<float>()[i], 5e-3);
  }
}

TEST(RmsNormTest, AllItsNames) {
  Tensor x = RandomFloats({5, 64}), scale = RandomFloats({64}, 2);
  Tensor want = LayerNorm(x, 64, 1e-5, false, scale, Tensor());
  OpRunner rms("RMSNormalization", 23), simplified("SimplifiedLayerNormalization", 14),
      contrib("SimplifiedLayerNormalization", 1, "com.microsoft");
  EXPECT_EQ(FirstDifference(rms.Input(x).Input(scale).Run()[0], want), "");
  EXPECT_EQ(FirstDifference(simplified.Input(x).Input(scale).Outputs(2).Run()[0], want), "");
  EXPECT_EQ(FirstDifference(contrib.Input(x).Input(scale).Run()[0], want), "");
}

TEST(RmsNormTest, OutputHasTheScalesType) {
  Tensor x = RandomFloats({2, 4});
  OpRunner run("RMSNormalization", 23);
  run.Input(x).Input(Tensor::FromVector(DataType::kFloat16, {4}, std::vector<Float16>(4, Float16(2.0f))));
  Tensor y = run.Run()[0], want = LayerNorm(x, 4, 1e-5, false, Tensor(), Tensor());
  ASSERT_EQ(y.dtype(), DataType::kFloat16);
  for (int i = 0; i < 8; ++i) ASSERT_NEAR(static_cast<float>(y.data<Float16>()[i]), 2 * want.data<float>()[i], 4e-3);
}

TEST(SkipNormTest, AddsSkipAndBiasAndGivesTheSum) {
  Tensor x = RandomFloats({2, 3, 32}), gamma = RandomFloats({32}, 2), beta = RandomFloats({32}, 3),
         bias = RandomFloats({32}, 4);
  for (const Dims& dims : {Dims{2, 3, 32}, Dims{1, 3, 32}, Dims{3, 32}}) {
    for (bool plain : {false, true}) {
      Tensor skip = RandomFloats(dims, 5);
      Tensor sum = Sum(Sum(x, skip), bias);
      OpRunner layer("SkipLayerNormalization", 1, "com.microsoft");
      layer.Attr("epsilon", 1e-3f).Input(x).Input(skip).Input(gamma).Input(beta).Input(bias).Outputs(4).Plain(plain);
      std::vector<Tensor> y = layer.Run();
      EXPECT_EQ(FirstDifference(y[0], LayerNorm(sum, 32, 1e-3, true, gamma, beta)), "") << DimsToString(dims);
      EXPECT_EQ(FirstDifference(y[3], sum), "");
      EXPECT_EQ(y[1].size(), 6);
      OpRunner rms("SkipSimplifiedLayerNormalization", 1, "com.microsoft");
      rms.Attr("epsilon", 1e-3f).Input(x).Input(skip).Input(gamma).Outputs(1).Plain(plain);
      EXPECT_EQ(FirstDifference(rms.Run()[0], LayerNorm(Sum(x, skip), 32, 1e-3, false, gamma, Tensor())), "");
    }
  }
}

TEST(SkipNormTest, RefusesASkipThatDoesNotFit) {
  OpRunner run("SkipSimplifiedLayerNormalization", 1, "com.microsoft");
  run.Input(RandomFloats({2, 3, 4})).Input(RandomFloats({2, 4})).Input(RandomFloats({4}));
  EXPECT_THAT(run.RunError(), HasSubstr("skip: expected"));
}

TEST(EmbedNormTest, SumsEmbeddingsAndCountsTheMask) {
  Tensor words = RandomFloats({10, 8}), positions = RandomFloats({6, 8}, 2), segments = RandomFloats({2, 8}, 3);
  Tensor gamma = RandomFloats({8}, 4), beta = RandomFloats({8}, 5);
  OpRunner run("EmbedLayerNormalization", 1, "com.microsoft");
  run.Input(Int32Tensor({2, 3}, {1, 9, 0, 4, 4, 2}))
      .Input(Int32Tensor({2, 3}, {0, 1, 1, 0, 0, 1}))
      .Input(words)
      .Input(positions)
      .Input(segments)
      .Input(gamma)
      .Input(beta)
      .Input(Int32Tensor({2, 3}, {1, 1, 0, 1, 1, 1}))
      .Outputs(3);
  std::vector<Tensor> y = run.Run();
  const float *w = words.data<float>(), *p = positions.data<float>(), *s = segments.data<float>();
  EXPECT_NEAR(y[2].data<float>()[8 + 3], w[9 * 8 + 3] + p[8 + 3] + s[8 + 3], 1e-6);
  EXPECT_EQ(FirstDifference(y[0], LayerNorm(y[2], 8, 1e-12, true, gamma, beta)), "");
  EXPECT_EQ(y[1].data<int32_t>()[0], 2);
  EXPECT_EQ(y[1].data<int32_t>()[1], 3);
}

TEST(EmbedNormTest, ChecksIds) {
  OpRunner run("EmbedLayerNormalization", 1, "com.microsoft");
  run.Input(Int32Tensor({1, 1}, {10}))
      .Absent()
      .Input(RandomFloats({10, 8}))
      .Input(RandomFloats({6, 8}))
      .Absent()
      .Input(RandomFloats({8}))
      .Input(RandomFloats({8}))
      .Outputs(1);
  EXPECT_THAT(run.RunError(), HasSubstr("index 10 is out of range [0, 9] on axis 0"));
}

TEST(BatchNormTest, InferenceAndTraining) {
  Tensor x = FloatTensor({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  Tensor scale = FloatTensor({2}, {2, 1}), bias = FloatTensor({2}, {0, 10}), mean = FloatTensor({2}, {1, 2}),
         var = FloatTensor({2}, {4, 1});
  OpRunner infer("BatchNormalization", 15);
  infer.Attr("epsilon", 0.0f).Input(x).Input(scale).Input(bias).Input(mean).Input(var);
  EXPECT_THAT(Floats(infer.Run()[0]), ElementsAre(0, 1, 11, 12, 4, 5, 15, 16));
  OpRunner train("BatchNormalization", 15);
  train.Attr("epsilon", 0.0f)
      .Attr("momentum", 0.5f)
      .Attr("training_mode", int64_t{1})
      .Input(x)
      .Input(scale)
      .Input(bias)
      .Input(mean)
      .Input(var)
      .Outputs(3);
  std::vector<Tensor> y = train.Run();
  // Channel 0 holds 1, 2, 5, 6: mean 3.5, variance 4.25.
  EXPECT_FLOAT_EQ(y[1].data<float>()[0], (1 + 3.5f) / 2);
  EXPECT_FLOAT_EQ(y[2].data<float>()[0], (4 + 4.25f) / 2);
  EXPECT_NEAR(y[0].data<float>()[0], (1 - 3.5) / std::sqrt(4.25) * 2, 1e-5);
}

TEST(BatchNormTest, WithoutSpatialEveryPlaceHasItsOwnValues) {
  OpRunner run("BatchNormalization", 7);
  Tensor one = FloatTensor({2, 1}, {1, 1}), zero = FloatTensor({2, 1}, {0, 0});
  run.Attr("spatial", int64_t{0})
      .Attr("epsilon", 0.0f)
      .Input(FloatTensor({1, 2, 1}, {3, 4}))
      .Input(FloatTensor({2, 1}, {2, 3}))
      .Input(zero)
      .Input(zero)
      .Input(one);
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(6, 12));
}

TEST(BatchNormTest, RefusesParametersOfAnotherSize) {
  OpRunner run("BatchNormalization", 15);
  run.Input(RandomFloats({1, 3, 2}));
  for (int i = 0; i < 4; ++i) run.Input(RandomFloats({2}));
  EXPECT_THAT(run.RunError(), HasSubstr("expected 3 elements"));
}

TEST(GroupNormTest, GroupsEqualLayerNormOfTheirChannels) {
  Tensor x = RandomFloats({2, 6, 5});
  Tensor want = LayerNorm(x.Reshaped({6, 10}), 10, 1e-5, true, Tensor(), Tensor()).Reshaped({2, 6, 5});
  OpRunner per_channel("GroupNormalization", 21), per_group("GroupNormalization", 18);
  Tensor ones = FloatTensor({6}, {1, 1, 1, 1, 1, 1}), zeros = FloatTensor({6}, {0, 0, 0, 0, 0, 0});
  per_channel.Attr("num_groups", int64_t{3}).Input(x).Input(ones).Input(zeros);
  EXPECT_EQ(FirstDifference(per_channel.Run()[0], want), "");
  per_group.Attr("num_groups", int64_t{3})
      .Input(x)
      .Input(FloatTensor({3}, {1, 1, 2}))
      .Input(FloatTensor({3}, {0, 0, 1}));
  Tensor y = per_group.Run()[0];
  EXPECT_NEAR(y.data<float>()[0], want.data<float>()[0], 1e-5);
  EXPECT_NEAR(y.data<float>()[4 * 5], want.data<float>()[4 * 5] * 2 + 1, 1e-5);
  OpRunner bad("GroupNormalization", 21);
  bad.Attr("num_groups", int64_t{4}).Input(x).Input(ones).Input(zeros);
  EXPECT_THAT(bad.RunError(), HasSubstr("num_groups"));
}

TEST(LpNormTest, ZeroRowsStayZero) {
  OpRunner run("LpNormalization", 1);
  run.Attr("p", int64_t{1}).Input(FloatTensor({2, 2}, {3, -1, 0, 0}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0.75f, -0.25f, 0, 0));
}

TEST(LrnTest, WindowIsCutAtTheFirstAndLastChannel) {
  OpRunner run("LRN", 13);
  run.Attr("size", int64_t{2})
      .Attr("alpha", 2.0f)
      .Attr("beta", 1.0f)
      .Attr("bias", 1.0f)
      .Input(FloatTensor({1, 3, 1}, {1, 2, 3}));
  // Of size 2: the channel itself and the one after it.
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1 / 6.0f, 2 / 14.0f, 3 / 10.0f));
}

}  // namespace
}  // namespace rondo
