#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Softplus(double x) { return std::log1p(std::exp(x)); }

TEST(ActivationTest, FormulasWithDefaultAttributes) {
  const struct {
    const char* domain;
    const char* type;
    int version;
    std::function<double(double)> f;
  } cases[] = {
      {"", "Relu", 14, [](double x) { return std::max(x, 0.0); }},
      {"", "LeakyRelu", 16, [](double x) { return x < 0 ? 0.01 * x : x; }},
      {"", "Elu", 6, [](double x) { return x < 0 ? std::expm1(x) : x; }},
      {"", "Selu", 6, [](double x) { return 1.0507009873554805 * (x < 0 ? 1.6732632423543772 * std::expm1(x) : x); }},
      {"", "Selu", 1, [](double x) { return 1.0507 * (x < 0 ? 1.6732 * std::expm1(x) : x); }},
      {"", "Celu", 12, [](double x) { return x < 0 ? std::expm1(x) : x; }},
      {"", "Sigmoid", 13, Sigmoid},
      {"", "HardSigmoid", 6, [](double x) { return std::max(0.0, std::min(1.0, 0.2 * x + 0.5)); }},
      {"", "HardSwish", 14, [](double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); }},
      {"", "Softplus", 1, Softplus},
      {"", "Softsign", 1, [](double x) { return x / (1 + std::abs(x)); }},
      {"", "ThresholdedRelu", 10, [](double x) { return x > 1 ? x : 0; }},
      {"", "Mish", 18, [](double x) { return x * std::tanh(Softplus(x)); }},
      {"", "Swish", 24, [](double x) { return x * Sigmoid(x); }},
      {"", "Gelu", 20, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"", "Shrink", 9, [](double x) { return std::abs(x) > 0.5 ? x : 0; }},
      {"com.microsoft", "Gelu", 1, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"com.microsoft", "QuickGelu", 1, [](double x) { return x * Sigmoid(1.702 * x); }},
      {"com.microsoft", "FastGelu", 1,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
  };
  Tensor x = Tensor::Make(DataType::kFloat, {5, 9});
  for (int i = 0; i < 45; ++i) x.mutable_data<float>()[i] = static_cast<float>(i - 22) / 4;
  for (const auto& c : cases) {
    Tensor want = x.Clone();
    for (int i = 0; i < 45; ++i) want.mutable_data<float>()[i] = static_cast<float>(c.f(x.data<float>()[i]));
    for (bool plain : {false, true}) {
      Tensor y = OpRunner(c.type, c.version, c.domain).Plain(plain).Input(x).Run()[0];
      EXPECT_EQ(FirstDifference(y, want, 1e-6, 1e-6), "") << c.type << c.version << (plain ? " plain" : "");
    }
  }
}

TEST(ActivationTest, Attributes) {
  Tensor x = FloatTensor({3}, {-2, 0.5f, 2});
  OpRunner gelu("Gelu", 20), shrink("Shrink", 9), bad("Gelu", 20), wrong("Elu", 6);
  gelu.Attr("approximate", std::string("tanh")).Input(x);
  EXPECT_NEAR(gelu.Run()[0].data<float>()[0], -0.0454023, 1e-6);
  shrink.Attr("lambd", 1.0f).Attr("bias", 0.5f).Input(x);
  EXPECT_THAT(Floats(shrink.Run()[0]), ElementsAre(-1.5f, 0, 1.5f));
  bad.Attr("approximate", std::string("quick")).Input(x);
  EXPECT_THAT(bad.RunError(), HasSubstr("got \"quick\""));
  wrong.Attr("alpha", int64_t{1}).Input(x);
  EXPECT_THAT(wrong.RunError(), HasSubstr("expected FLOAT, got INT"));
}

TEST(ActivationTest, BiasGeluAddsTheBiasPerChannel) {
  Tensor x = RandomFloats({4, 7}), bias = RandomFloats({7}, 2);
  Tensor sum = OpRunner("Add", 14).Input(x).Input(bias).Run()[0];
  for (const char* type : {"BiasGelu", "FastGelu"}) {
    Tensor want = OpRunner(type == std::string("BiasGelu") ? "Gelu" : type, 1, "com.microsoft").Input(sum).Run()[0];
    for (bool plain : {false, true}) {
      Tensor y = OpRunner(type, 1, "com.microsoft").Plain(plain).Input(x).Input(bias).Run()[0];
      EXPECT_EQ(FirstDifference(y, want), "") << type;
    }
  }
  EXPECT_THAT(OpRunner("BiasGelu", 1, "com.microsoft").Input(x).Input(RandomFloats({6})).RunError(),
              HasSubstr("expected 7 elements, got 6"));
}

TEST(ActivationTest, SwiGlu) {
  Tensor gate = RandomFloats({3, 50}), up = RandomFloats({3, 50}, 2);
  Tensor want = gate.Clone();
  for (int i = 0; i < 150; ++i) {
    double g = gate.data<float>()[i];
    want.mutable_data<float>()[i] = static_cast<float>(g * Sigmoid(2 * g) * up.data<float>()[i]);
  }
  for (bool plain : {false, true}) {
    OpRunner run("SwiGlu", 1, kRondoDomain);
    run.Plain(plain).Attr("alpha", 2.0f).Input(gate).Input(up);
    EXPECT_EQ(FirstDifference(run.Run()[0], want), "");
  }
}

TEST(ClipTest, BoundsAsAttributesAndAsInputs) {
  Tensor x = FloatTensor({4}, {-5, 0, 5, std::nanf("")});
  OpRunner old("Clip", 6);
  old.Attr("min", -1.0f).Attr("max", 1.0f).Input(x);
  EXPECT_THAT(Floats(old.Run()[0]), ElementsAre(-1, 0, 1, testing::IsNan()));
  Tensor low = FloatTensor({}, {-1});
  EXPECT_THAT(Floats(OpRunner("Clip", 13).Input(x).Input(low).Run()[0]), ElementsAre(-1, 0, 5, testing::IsNan()));
  EXPECT_THAT(Floats(OpRunner("Clip", 13).Input(x).Absent().Input(low).Run()[0]),
              ElementsAre(-5, -1, -1, testing::IsNan()));
  EXPECT_THAT(Int64s(OpRunner("Clip", 13).Input(Int64Tensor({2}, {-5, 5})).Input(Int64Tensor({}, {0})).Run()[0]),
              ElementsAre(0, 5));
  EXPECT_THAT(OpRunner("Clip", 13).Input(x).Input(FloatTensor({2}, {1, 2})).RunError(), HasSubstr("expected a scalar"));
}

TEST(ClipTest, CrossedBoundsGiveTheMaximum) {
  Tensor x = FloatTensor({3}, {-5, 0, 5});
  EXPECT_THAT(Floats(OpRunner("Clip", 13).Input(x).Input(FloatTensor({}, {2})).Input(FloatTensor({}, {1})).Run()[0]),
              ElementsAre(1, 1, 1));
}

TEST(DropoutTest, InferenceCopiesAndMasksNothing) {
  Tensor x = FloatTensor({3}, {1, 2, 3});
  std::vector<Tensor> y = OpRunner("Dropout", 13).Outputs(2).Input(x).Run();
  EXPECT_THAT(Floats(y[0]), ElementsAre(1, 2, 3));
  EXPECT_EQ(y[1].dtype(), DataType::kBool);
  EXPECT_EQ(y[1].data<uint8_t>()[2], 1);
  EXPECT_EQ(OpRunner("Dropout", 7).Outputs(2).Input(x).Run()[1].dtype(), DataType::kFloat);
}

TEST(DropoutTest, TrainingScalesWhatItKeeps) {
  OpRunner run("Dropout", 13);
  run.Attr("seed", int64_t{7})
      .Outputs(2)
      .Input(Tensor::FromVector(DataType::kFloat, {1000}, std::vector<float>(1000, 1)));
  run.Input(FloatTensor({}, {0.75f})).Input(BoolTensor({}, {true}));
  std::vector<Tensor> y = run.Run();
  int kept = 0;
  for (int i = 0; i < 1000; ++i) {
    bool keep = y[1].data<uint8_t>()[i] != 0;
    kept += keep;
    EXPECT_EQ(y[0].data<float>()[i], keep ? 4.0f : 0.0f);
  }
  EXPECT_NEAR(kept, 250, 60);
}

TEST(ActivationTest, SwiGluOfOnnxTakesEqualShapesOnly) {
  OpRunner run("SwiGLU", 28);
  run.Attr("alpha", 2.0f).Input(FloatTensor({2}, {1, -0.5})).Input(FloatTensor({2}, {3, 4}));
  const float e = std::exp(-2.0f), f = std::exp(1.0f);
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({2}, {3 / (1 + e), -2 / (1 + f)})), "");
  OpRunner broadcast("SwiGLU", 28);
  broadcast.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({1}, {3}));
  EXPECT_NE(broadcast.RunError().find("expected inputs of one shape, got [2] and [1]"), std::string::npos);
}

}  // namespace
}  // namespace rondo
