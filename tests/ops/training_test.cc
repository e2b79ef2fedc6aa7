#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::HasSubstr;

OpRunner Optimizer(absl::string_view type) { return OpRunner(type, 1, "ai.onnx.preview.training"); }
Tensor Doubles(const std::vector<double>& values) {
  return Tensor::FromVector(DataType::kDouble, {static_cast<int64_t>(values.size())}, values);
}

TEST(AdagradTest, RateDecaysAndGradientsAccumulate) {
  OpRunner run = Optimizer("Adagrad");
  run.Attr("decay_factor", 0.5f).Attr("epsilon", 0.25f).Attr("norm_coefficient", 0.5f).Outputs(2);
  run.Input(FloatTensor({}, {3})).Input(Int64Tensor({}, {4}));
  run.Input(FloatTensor({1}, {2})).Input(FloatTensor({1}, {3})).Input(FloatTensor({1}, {9}));
  const std::vector<Tensor> y = run.Run();
  // rate 3 / (1 + 4 / 2) = 1; g = 0.5 * 2 + 3 = 4; H' = 9 + 16 = 25; X' = 2 - 4 / (5 + 0.25)
  EXPECT_EQ(FirstDifference(y[0], FloatTensor({1}, {2 - 4 / 5.25f})), "");
  EXPECT_EQ(FirstDifference(y[1], FloatTensor({1}, {25})), "");
}

TEST(AdamTest, BiasIsCorrectedAfterTheFirstStep) {
  const auto step = [](int64_t count) {
    OpRunner run = Optimizer("Adam");
    run.Attr("alpha", 0.5f).Attr("beta", 0.75f).Attr("norm_coefficient_post", 0.5f).Outputs(3);
    run.Input(FloatTensor({}, {1})).Input(Int64Tensor({}, {count}));
    run.Input(Doubles({8})).Input(Doubles({4})).Input(Doubles({2})).Input(Doubles({16}));
    return run.Run();
  };
  // V' = 1 + 2 = 3; H' = 12 + 4 = 16; X' = (8 - r 3 / 4) / 2
  EXPECT_EQ(FirstDifference(step(0)[0], Doubles({(8 - 0.75) / 2})), "");
  const double rate = std::sqrt(1 - 0.75 * 0.75) / (1 - 0.25);
  EXPECT_EQ(FirstDifference(step(2)[0], Doubles({(8 - rate * 0.75) / 2})), "");
  EXPECT_EQ(FirstDifference(step(2)[1], Doubles({3})), "");
  EXPECT_EQ(FirstDifference(step(2)[2], Doubles({16})), "");
}

OpRunner Momentum(const char* mode) {
  OpRunner run = Optimizer("Momentum");
  run.Attr("alpha", 0.5f).Attr("beta", 2.0f).Attr("norm_coefficient", 0.0f).Attr("mode", std::string(mode));
  return run;
}

TEST(MomentumTest, SeveralTensorsOfSeveralShapes) {
  OpRunner run = Momentum("nesterov");
  run.Outputs(4).Input(FloatTensor({}, {0.5})).Input(Int64Tensor({}, {1}));
  run.Input(FloatTensor({1}, {10})).Input(FloatTensor({2, 1}, {20, 30}));  // X
  run.Input(FloatTensor({1}, {1})).Input(FloatTensor({2, 1}, {2, 3}));     // G
  run.Input(FloatTensor({1}, {4})).Input(FloatTensor({2, 1}, {0, 2}));     // V
  const std::vector<Tensor> y = run.Run();
  // V' = V / 2 + 2 G; X' = X - (G + V' / 2) / 2
  EXPECT_EQ(FirstDifference(y[2], FloatTensor({1}, {4})), "");
  EXPECT_EQ(FirstDifference(y[3], FloatTensor({2, 1}, {4, 7})), "");
  EXPECT_EQ(FirstDifference(y[0], FloatTensor({1}, {8.5})), "");
  EXPECT_EQ(FirstDifference(y[1], FloatTensor({2, 1}, {18, 26.75})), "");
}

TEST(MomentumTest, TheFirstStepHasNoBeta) {
  OpRunner run = Momentum("standard");
  run.Outputs(2).Input(FloatTensor({}, {1})).Input(Int64Tensor({}, {0}));
  run.Input(FloatTensor({1}, {10})).Input(FloatTensor({1}, {1})).Input(FloatTensor({1}, {4}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1}, {7})), "");
}

TEST(MomentumTest, BadModesCountsAndShapesAreErrors) {
  OpRunner mode = Momentum("heavy");
  mode.Outputs(2).Input(FloatTensor({}, {1})).Input(Int64Tensor({}, {0}));
  mode.Input(FloatTensor({1}, {1})).Input(FloatTensor({1}, {1})).Input(FloatTensor({1}, {1}));
  EXPECT_THAT(mode.RunError(), HasSubstr("got \"heavy\""));
  OpRunner count = Momentum("standard");
  count.Outputs(2).Input(FloatTensor({}, {1})).Input(Int64Tensor({}, {0}));
  for (int i = 0; i < 4; ++i) count.Input(FloatTensor({1}, {1}));
  EXPECT_THAT(count.RunError(), HasSubstr("expected R, T and 3 tensors for each"));
  OpRunner shape = Momentum("standard");
  shape.Outputs(2).Input(FloatTensor({}, {1})).Input(Int64Tensor({}, {0}));
  shape.Input(FloatTensor({1}, {1})).Input(FloatTensor({2}, {1, 1})).Input(FloatTensor({1}, {1}));
  EXPECT_THAT(shape.RunError(), HasSubstr("input 3: expected the shape of input 2, [1], got [2]"));
  OpRunner rate = Momentum("standard");
  rate.Outputs(2).Input(FloatTensor({2}, {1, 1})).Input(Int64Tensor({}, {0}));
  rate.Input(FloatTensor({1}, {1})).Input(FloatTensor({1}, {1})).Input(FloatTensor({1}, {1}));
  EXPECT_THAT(rate.RunError(), HasSubstr("R: expected one number, got [2]"));
}

}  // namespace
}  // namespace rondo
