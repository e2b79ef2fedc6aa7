#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ints = std::vector<int64_t>;
using Numbers = std::vector<float>;
using Texts = std::vector<std::string>;

OpRunner Linear(absl::string_view type, const Numbers& coefficients) {
  OpRunner run(type, 1, "ai.onnx.ml");
  run.Attr("coefficients", coefficients);
  return run;
}

float Sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

TEST(LinearClassifierTest, TheLargestScoreWins) {
  OpRunner run = Linear("LinearClassifier", {1, 0, 0, 1, 1, 1});
  run.Attr("intercepts", Numbers{0, 0.5, -3}).Attr("classlabels_ints", Ints{10, 20, 30}).Outputs(2);
  run.Input(FloatTensor({3, 2}, {2, 0, 0, 2, 5, 5}));
  const std::vector<Tensor> y = run.Run();
  EXPECT_THAT(Int64s(y[0]), ElementsAre(10, 20, 30));
  EXPECT_THAT(Floats(y[1]), ElementsAre(2, 0.5, -1, 0, 2.5, -1, 5, 5.5, 7));
}

TEST(LinearClassifierTest, OneFunctionServesTwoLabels) {
  OpRunner run = Linear("LinearClassifier", {1, -1});
  run.Attr("classlabels_strings", Texts{"no", "yes"}).Attr("post_transform", std::string("LOGISTIC")).Outputs(2);
  run.Input(Tensor::FromVector<double>(DataType::kDouble, {2, 2}, {3, 1, 1, 2}));
  const std::vector<Tensor> y = run.Run();
  EXPECT_EQ(y[0].data<std::string>()[0], "yes");
  EXPECT_EQ(y[0].data<std::string>()[1], "no");
  const Tensor want = FloatTensor({2, 2}, {Sigmoid(-2), Sigmoid(2), Sigmoid(1), Sigmoid(-1)});
  EXPECT_EQ(FirstDifference(y[1], want), "");
}

TEST(LinearClassifierTest, OneScoreIsComparedWithAThreshold) {
  OpRunner run = Linear("LinearClassifier", {1});
  run.Attr("classlabels_ints", Ints{7}).Outputs(2).Input(Int32Tensor({2, 1}, {0, -1}));
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(7, 0));
}

TEST(LinearClassifierTest, PostTransforms) {
  const auto scores = [](const char* transform) {
    OpRunner run = Linear("LinearClassifier", {1, 0, 0, 1});
    run.Attr("post_transform", std::string(transform)).Outputs(2).Input(FloatTensor({1, 2}, {0, 0.75}));
    return run.Run()[1];
  };
  const float e = std::exp(0.75f);
  EXPECT_EQ(FirstDifference(scores("SOFTMAX"), FloatTensor({1, 2}, {1 / (1 + e), e / (1 + e)})), "");
  EXPECT_EQ(FirstDifference(scores("SOFTMAX_ZERO"), FloatTensor({1, 2}, {0, 1})), "");
  // The quantile of 0.75 is 0.67449; Winitzki's approximation is good for three digits. That of 0 is infinite: 0 there.
  EXPECT_EQ(FirstDifference(scores("PROBIT"), FloatTensor({1, 2}, {0, 0.67449f}), 2e-3), "");
}

TEST(LinearClassifierTest, LengthsMustFit) {
  OpRunner weights = Linear("LinearClassifier", {1, 2, 3});
  weights.Outputs(2).Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(weights.RunError(), HasSubstr("\"coefficients\": expected a multiple of the 2 features, got 3"));
  OpRunner labels = Linear("LinearClassifier", {1, 2, 3, 4});
  labels.Attr("classlabels_ints", Ints{1, 2, 3}).Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(labels.RunError(), HasSubstr("one label for each of the 2 functions, got 3"));
  OpRunner intercepts = Linear("LinearClassifier", {1, 2, 3, 4});
  intercepts.Attr("intercepts", Numbers{1}).Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(intercepts.RunError(), HasSubstr("\"intercepts\": expected 2 elements, got 1"));
  OpRunner transform = Linear("LinearClassifier", {1, 2});
  transform.Attr("post_transform", std::string("EXP")).Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(transform.RunError(), HasSubstr("got \"EXP\""));
}

TEST(LinearRegressorTest, OneRowOfCoefficientsPerTarget) {
  OpRunner run = Linear("LinearRegressor", {1, 2, 3, 4});
  run.Attr("targets", int64_t{2}).Attr("intercepts", Numbers{0.5, -0.5}).Input(Int64Tensor({2, 2}, {1, 1, 0, 2}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 2}));
  EXPECT_THAT(Floats(y), ElementsAre(3.5, 6.5, 4.5, 7.5));
}

TEST(LinearRegressorTest, AVectorIsOneRow) {
  OpRunner run = Linear("LinearRegressor", {2, 3});
  run.Input(FloatTensor({2}, {1, 10}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(32));
}

TEST(LinearRegressorTest, LengthsMustFit) {
  OpRunner targets = Linear("LinearRegressor", {1, 2, 3});
  targets.Attr("targets", int64_t{2}).Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(targets.RunError(), HasSubstr("a positive divisor of the 3 coefficients, got 2"));
  OpRunner features = Linear("LinearRegressor", {1, 2, 3});
  features.Input(FloatTensor({1, 2}, {0, 1}));
  EXPECT_THAT(features.RunError(), HasSubstr("expected 3 features, one per coefficient, got 2"));
}

}  // namespace
}  // namespace rondo
