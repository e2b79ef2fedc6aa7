#include <cmath>
#include <complex>
#include <numbers>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The sum itself, over a complex signal [n, 2].
std::vector<std::complex<double>> Transform(const Tensor& x, int64_t length) {
  std::vector<std::complex<double>> result;
  for (int64_t k = 0; k < length; ++k) {
    std::complex<double> sum = 0;
    for (int64_t i = 0; i < std::min(length, x.dim(1)); ++i) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(k * i % length) / static_cast<double>(length);
      sum += std::complex<double>(x.data<float>()[2 * i], x.data<float>()[2 * i + 1]) * std::polar(1.0, angle);
    }
    result.push_back(sum);
  }
  return result;
}

// Powers of two, short lengths and long odd ones take different algorithms.
TEST(DftTest, EveryLengthAgreesWithTheSum) {
  for (int64_t n : {1, 2, 3, 8, 47, 48, 49, 64, 97, 100, 128, 211}) {
    const Tensor x = RandomFloats({1, n, 2});
    OpRunner run("DFT", 20);
    run.Input(x);
    const Tensor out = run.Run()[0];
    ASSERT_THAT(out.dims(), ElementsAre(1, n, 2));
    const auto expected = Transform(x, n);
    for (int64_t k = 0; k < n; ++k) {
      EXPECT_NEAR(out.data<float>()[2 * k], expected[k].real(), 1e-5) << n << " at " << k;
      EXPECT_NEAR(out.data<float>()[2 * k + 1], expected[k].imag(), 1e-5) << n << " at " << k;
    }
  }
}

TEST(DftTest, InverseUndoesIt) {
  for (int64_t n : {4, 30, 125}) {
    const Tensor x = RandomFloats({2, n, 3, 2});
    OpRunner forward("DFT", 17);
    const Tensor spectrum = forward.Input(x).Run()[0];
    OpRunner inverse("DFT", 17);
    EXPECT_EQ(FirstDifference(inverse.Attr("inverse", int64_t{1}).Input(spectrum).Run()[0], x, 1e-5, 1e-5), "");
  }
}

TEST(DftTest, OnesidedHalvesAndComesBack) {
  for (int64_t n : {8, 9}) {
    const Tensor x = RandomFloats({1, n, 1});
    OpRunner forward("DFT", 20);
    const Tensor half = forward.Attr("onesided", int64_t{1}).Input(x).Run()[0];
    EXPECT_THAT(half.dims(), ElementsAre(1, n / 2 + 1, 2));
    OpRunner inverse("DFT", 20);
    inverse.Attr("onesided", int64_t{1}).Attr("inverse", int64_t{1}).Input(half).Input(Int64Tensor({}, {n}));
    EXPECT_EQ(FirstDifference(inverse.Run()[0], x, 1e-5, 1e-5), "");
  }
}

TEST(DftTest, LengthCutsOrPads) {
  for (int64_t length : {3, 7}) {
    const Tensor x = RandomFloats({1, 5, 2});
    OpRunner run("DFT", 20);
    const Tensor out = run.Input(x).Input(Int64Tensor({}, {length})).Run()[0];
    ASSERT_THAT(out.dims(), ElementsAre(1, length, 2));
    const auto expected = Transform(x, length);
    for (int64_t k = 0; k < length; ++k) EXPECT_NEAR(out.data<float>()[2 * k], expected[k].real(), 1e-5);
  }
}

TEST(DftTest, BadLengthsAndAxesAreErrors) {
  for (int64_t length : {int64_t{0}, int64_t{-1}, INT64_MAX}) {
    OpRunner run("DFT", 20);
    run.Input(RandomFloats({1, 4, 2})).Constant(Int64Tensor({}, {length}));
    EXPECT_THAT(run.RunError(), HasSubstr("transform length: expected 1 to"));
  }
  OpRunner axis("DFT", 20);
  axis.Input(RandomFloats({1, 4, 2})).Absent().Constant(Int64Tensor({}, {-1}));
  EXPECT_THAT(axis.RunError(), HasSubstr("axis -1 holds the real and imaginary parts"));
  OpRunner parts("DFT", 20);
  parts.Input(RandomFloats({1, 4, 3}));
  EXPECT_THAT(parts.RunError(), HasSubstr("expected 1 or 2 on the last axis"));
}

TEST(StftTest, FramesAreTransformsOfWindowedPieces) {
  const Tensor signal = RandomFloats({1, 20, 1});
  const Tensor window = FloatTensor({6}, {1, 2, 3, 3, 2, 1});
  OpRunner run("STFT", 17);
  run.Attr("onesided", int64_t{0}).Input(signal).Input(Int64Tensor({}, {4})).Input(window);
  const Tensor out = run.Run()[0];
  ASSERT_THAT(out.dims(), ElementsAre(1, 4, 6, 2));
  for (int64_t frame = 0; frame < 4; ++frame) {
    Tensor piece = Tensor::Make(DataType::kFloat, {1, 6, 2});
    for (int64_t i = 0; i < 6; ++i) {
      piece.mutable_data<float>()[2 * i] = signal.data<float>()[frame * 4 + i] * window.data<float>()[i];
    }
    const auto expected = Transform(piece, 6);
    for (int64_t k = 0; k < 6; ++k) {
      EXPECT_NEAR(out.data<float>()[(frame * 6 + k) * 2], expected[k].real(), 1e-5);
      EXPECT_NEAR(out.data<float>()[(frame * 6 + k) * 2 + 1], expected[k].imag(), 1e-5);
    }
  }
}

TEST(StftTest, BadFramesAreErrors) {
  OpRunner step("STFT", 17);
  step.Input(RandomFloats({1, 20, 1})).Constant(Int64Tensor({}, {0})).Absent().Constant(Int64Tensor({}, {4}));
  EXPECT_THAT(step.RunError(), HasSubstr("frame_step: expected >= 1, got 0"));
  OpRunner length("STFT", 17);
  length.Input(RandomFloats({1, 20, 1})).Constant(Int64Tensor({}, {4})).Absent().Constant(Int64Tensor({}, {21}));
  EXPECT_THAT(length.RunError(), HasSubstr("a signal of 20 has no frame of 21"));
}

TEST(StftTest, LengthsThatAreNoIntegersAreErrors) {
  OpRunner step("STFT", 17);
  step.Input(RandomFloats({1, 20, 1})).Input(FloatTensor({}, {4})).Absent().Constant(Int64Tensor({}, {4}));
  EXPECT_THAT(step.RunError(), HasSubstr("input 1: expected int64 or int32, got float32"));
  OpRunner length("STFT", 17);
  length.Input(RandomFloats({1, 20, 1})).Constant(Int64Tensor({}, {4})).Absent().Input(FloatTensor({}, {4}));
  EXPECT_THAT(length.RunError(), HasSubstr("input 3: expected int64 or int32, got float32"));
}

}  // namespace
}  // namespace rondo
