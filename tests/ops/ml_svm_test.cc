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

// Two support vectors, (1, 0) and (0, 2), coefficients 3 and -1, rho 0.5.
OpRunner Regressor(const char* kernel) {
  OpRunner run("SVMRegressor", 1, "ai.onnx.ml");
  run.Attr("n_supports", int64_t{2}).Attr("support_vectors", Numbers{1, 0, 0, 2}).Attr("coefficients", Numbers{3, -1});
  run.Attr("rho", Numbers{0.5}).Attr("kernel_type", std::string(kernel)).Attr("kernel_params", Numbers{0.5, 1, 2});
  return run;
}

TEST(SvmRegressorTest, Kernels) {
  const double x[] = {2, 1};  // products 2 and 2, squared distances 2 and 5
  const auto value = [&](const char* kernel) {
    OpRunner run = Regressor(kernel);
    run.Input(FloatTensor({1, 2}, {static_cast<float>(x[0]), static_cast<float>(x[1])}));
    return Floats(run.Run()[0])[0];
  };
  EXPECT_FLOAT_EQ(value("LINEAR"), 3 * 2 - 2 + 0.5);
  EXPECT_FLOAT_EQ(value("POLY"), 3 * 4 - 4 + 0.5);
  EXPECT_FLOAT_EQ(value("RBF"), 3 * std::exp(-1.0) - std::exp(-2.5) + 0.5);
  EXPECT_FLOAT_EQ(value("SIGMOID"), 2 * std::tanh(2.0) + 0.5);
}

TEST(SvmRegressorTest, WithoutSupportVectorsItIsLinear) {
  OpRunner run("SVMRegressor", 1, "ai.onnx.ml");
  run.Attr("coefficients", Numbers{2, -1}).Attr("rho", Numbers{1}).Input(Int64Tensor({2, 2}, {1, 1, 0, 3}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 1}));
  EXPECT_THAT(Floats(y), ElementsAre(2, -2));
  run.Attr("one_class", int64_t{1});
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1, -1));
}

TEST(SvmRegressorTest, LengthsMustFit) {
  OpRunner features = Regressor("RBF");
  features.Input(FloatTensor({1, 3}, {1, 2, 3}));
  EXPECT_THAT(features.RunError(), HasSubstr("expected 2 features as the attributes have, got 3"));
  OpRunner count("SVMRegressor", 1, "ai.onnx.ml");
  count.Attr("n_supports", int64_t{1} << 40).Attr("coefficients", Numbers{2, -1}).Attr("rho", Numbers{1});
  count.Input(FloatTensor({1, 2}, {1, 2}));
  EXPECT_THAT(count.RunError(), HasSubstr("\"support_vectors\": expected a multiple of"));
  OpRunner kernel = Regressor("CUBIC");
  kernel.Input(FloatTensor({1, 2}, {1, 2}));
  EXPECT_THAT(kernel.RunError(), HasSubstr("got \"CUBIC\""));
}

// Three classes on a line with one vector each, at -1, 0 and 1, and a linear kernel.
OpRunner Classifier() {
  OpRunner run("SVMClassifier", 1, "ai.onnx.ml");
  run.Attr("vectors_per_class", Ints{1, 1, 1}).Attr("support_vectors", Numbers{-1, 0, 1});
  // Rows: coefficients of a class's vectors against the first and the second of the others.
  run.Attr("coefficients", Numbers{1, -1, -1, 1, 1, -1}).Attr("rho", Numbers{-0.5, 0, 0.5}).Outputs(2);
  return run;
}

TEST(SvmClassifierTest, PairsVote) {
  OpRunner run = Classifier();
  run.Attr("classlabels_ints", Ints{5, 6, 7}).Input(FloatTensor({3, 1}, {-2, 0.25, 2}));
  const std::vector<Tensor> y = run.Run();
  // d01 = K(x,-1) - K(x,0) - 0.5 = -x - 0.5;  d02 = K(x,-1) - K(x,1) = -2x;  d12 = K(x,0) - K(x,1) + 0.5 = 0.5 - x
  EXPECT_EQ(FirstDifference(y[1], FloatTensor({3, 3}, {1.5, 4, 2.5, -0.75, -0.5, 0.25, -2.5, -4, -1.5})), "");
  EXPECT_THAT(Int64s(y[0]), ElementsAre(5, 6, 7));
}

TEST(SvmClassifierTest, ProbabilitiesOfTwoClassesAreTheSigmoid) {
  OpRunner run("SVMClassifier", 1, "ai.onnx.ml");
  run.Attr("vectors_per_class", Ints{1, 1}).Attr("support_vectors", Numbers{1, -1}).Attr("rho", Numbers{0});
  run.Attr("coefficients", Numbers{1, -1}).Attr("prob_a", Numbers{-1}).Attr("prob_b", Numbers{0.25});
  run.Attr("classlabels_strings", Texts{"up", "down"}).Outputs(2).Input(FloatTensor({2, 1}, {0.5, -1}));
  const std::vector<Tensor> y = run.Run();
  const auto p = [](double x) { return static_cast<float>(1 / (1 + std::exp(-2 * x + 0.25))); };
  EXPECT_EQ(FirstDifference(y[1], FloatTensor({2, 2}, {p(0.5), 1 - p(0.5), p(-1), 1 - p(-1)}), 5e-3), "");
  EXPECT_EQ(y[0].data<std::string>()[0], "up");
  EXPECT_EQ(y[0].data<std::string>()[1], "down");
}

TEST(SvmClassifierTest, CoupledProbabilitiesSumToOneAndFollowThePairs) {
  OpRunner run = Classifier();
  run.Attr("classlabels_ints", Ints{5, 6, 7}).Attr("prob_a", Numbers{-2, -2, -2}).Attr("prob_b", Numbers{0, 0, 0});
  run.Input(FloatTensor({1, 1}, {-2}));
  const std::vector<float> p = Floats(run.Run()[1]);
  ASSERT_EQ(p.size(), 3u);
  EXPECT_NEAR(p[0] + p[1] + p[2], 1, 1e-5);
  EXPECT_GT(p[0], p[1]);
  EXPECT_GT(p[1], p[2]);
}

TEST(SvmClassifierTest, TwoClassesHaveTheDecisionAndItsOpposite) {
  OpRunner run("SVMClassifier", 1, "ai.onnx.ml");
  run.Attr("vectors_per_class", Ints{1, 1}).Attr("support_vectors", Numbers{1, -1}).Attr("rho", Numbers{1});
  run.Attr("coefficients", Numbers{1, -1}).Attr("classlabels_ints", Ints{0, 1}).Outputs(2);
  run.Input(FloatTensor({2, 1}, {0.5, -3}));
  const std::vector<Tensor> y = run.Run();
  EXPECT_THAT(Floats(y[1]), ElementsAre(-2, 2, 5, -5));
  EXPECT_THAT(Int64s(y[0]), ElementsAre(0, 1));
}

TEST(SvmClassifierTest, WithoutSupportVectorsItIsLinear) {
  OpRunner run("SVMClassifier", 1, "ai.onnx.ml");
  run.Attr("coefficients", Numbers{1, 0, 0, 1}).Attr("rho", Numbers{0.5}).Attr("classlabels_ints", Ints{3, 4});
  run.Outputs(2).Input(FloatTensor({2, 2}, {1, 2, 4, -1}));
  const std::vector<Tensor> y = run.Run();
  EXPECT_THAT(Floats(y[1]), ElementsAre(1.5, 2.5, 4.5, -0.5));
  EXPECT_THAT(Int64s(y[0]), ElementsAre(4, 3));
}

TEST(SvmClassifierTest, LengthsMustFit) {
  const auto error = [](const char* name, Attribute value) {
    OpRunner run("SVMClassifier", 1, "ai.onnx.ml");
    std::vector<std::pair<std::string, Attribute>> attributes = {
        {"vectors_per_class", Ints{1, 1}},
        {"support_vectors", Numbers{1, -1}},
        {"rho", Numbers{0}},
        {"coefficients", Numbers{1, -1}},
        {"classlabels_ints", Ints{0, 1}},
        {"prob_a", Numbers{1}},
        {"prob_b", Numbers{0}},
    };
    for (auto& [key, attribute] : attributes) run.Attr(key, key == name ? value : attribute);
    run.Input(FloatTensor({1, 1}, {1}));
    return run.RunError();
  };
  EXPECT_THAT(error("vectors_per_class", Ints{-1, 3}), HasSubstr("\"vectors_per_class\": element 0 is -1"));
  EXPECT_THAT(error("vectors_per_class", Ints{2, 2}), HasSubstr("\"support_vectors\": expected a multiple of the 4"));
  EXPECT_THAT(error("vectors_per_class", Ints{2}), HasSubstr("\"vectors_per_class\": expected 2 elements, got 1"));
  EXPECT_THAT(error("rho", Numbers{1, 2}), HasSubstr("\"rho\": expected 1 elements, got 2"));
  EXPECT_THAT(error("coefficients", Numbers{1, 2, 3}), HasSubstr("\"coefficients\": expected 2 elements, got 3"));
  EXPECT_THAT(error("prob_b", Numbers{}), HasSubstr("\"prob_b\": expected 1 elements, got 0"));
  EXPECT_THAT(error("classlabels_ints", Ints{4}), HasSubstr("expected at least 2 labels, got 1"));
}

}  // namespace
}  // namespace rondo
