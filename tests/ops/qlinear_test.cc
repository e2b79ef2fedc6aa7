#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

Tensor Bytes(absl::Span<const int64_t> dims, const std::vector<uint8_t>& values) {
  return Tensor::FromVector(DataType::kUInt8, dims, values);
}
Tensor SignedBytes(absl::Span<const int64_t> dims, const std::vector<int8_t>& values) {
  return Tensor::FromVector(DataType::kInt8, dims, values);
}
Tensor Scale(float s) { return FloatTensor({}, {s}); }

std::vector<int> Values(const Tensor& t) {
  std::vector<int> v;
  for (int64_t i = 0; i < t.size(); ++i) {
    v.push_back(t.dtype() == DataType::kInt8 ? t.data<int8_t>()[i] : t.data<uint8_t>()[i]);
  }
  return v;
}

TEST(QLinearTest, AddBroadcastsAndSaturates) {
  OpRunner run("QLinearAdd", 1, kMicrosoft);
  run.Input(Bytes({2, 1, 2}, {10, 20, 200, 255})).Input(Scale(0.5f)).Input(Bytes({}, {10}));
  run.Input(Bytes({2, 1}, {0, 4})).Input(Scale(0.25f)).Absent();
  run.Input(Scale(0.5f)).Input(Bytes({}, {100}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(DimsToString(y.dims()), "[2, 2, 2]");
  // ((a - 10) / 2 + b / 4) * 2 + 100
  EXPECT_EQ(Values(y), (std::vector<int>{100, 110, 102, 112, 255, 255, 255, 255}));
}

TEST(QLinearTest, MulRoundsHalfToEven) {
  OpRunner run("QLinearMul", 1, kMicrosoft);
  run.Input(SignedBytes({5}, {1, 3, 5, -1, -128})).Input(Scale(0.5f)).Absent();
  run.Input(SignedBytes({}, {1})).Input(Scale(1)).Absent().Input(Scale(1)).Input(SignedBytes({}, {-100}));
  EXPECT_EQ(Values(run.Run()[0]), (std::vector<int>{-100, -98, -98, -100, -128}));
}

TEST(QLinearTest, BinaryShapesEqualTheElementwiseFormula) {
  const std::vector<std::pair<Dims, Dims>> shapes = {{{2, 3, 4}, {2, 3, 4}}, {{2, 3, 4}, {4}}, {{2, 3, 4}, {3, 1}},
                                                     {{2, 1, 4}, {1, 3, 1}}, {{}, {5}},        {{1, 70000}, {1}}};
  for (const auto& [a, b] : shapes) {
    const int64_t na = *CheckedElementCount(a), nb = *CheckedElementCount(b);
    std::vector<uint8_t> av(na), bv(nb);
    for (int64_t i = 0; i < na; ++i) av[i] = static_cast<uint8_t>(i * 37);
    for (int64_t i = 0; i < nb; ++i) bv[i] = static_cast<uint8_t>(i * 91 + 5);
    OpRunner quantized("QLinearAdd", 1, kMicrosoft), plain("Add", 14);
    quantized.Input(Bytes(a, av)).Input(Scale(1)).Absent().Input(Bytes(b, bv)).Input(Scale(1)).Absent().Input(Scale(2));
    plain.Input(FloatTensor(a, std::vector<float>(av.begin(), av.end())));
    plain.Input(FloatTensor(b, std::vector<float>(bv.begin(), bv.end())));
    const Tensor y = quantized.Run()[0];
    const std::vector<float> sums = Floats(plain.Run()[0]);
    ASSERT_EQ(y.size(), static_cast<int64_t>(sums.size()));
    for (int64_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y.data<uint8_t>()[i], static_cast<int>(std::nearbyint(sums[i] / 2))) << DimsToString(a) << " at " << i;
    }
  }
}

TEST(QLinearTest, SigmoidAndLeakyRelu) {
  OpRunner sigmoid("QLinearSigmoid", 1, kMicrosoft);
  sigmoid.Input(Bytes({3}, {0, 128, 255})).Input(Scale(0.1f)).Input(Bytes({}, {128})).Input(Scale(1.0f / 256)).Absent();
  EXPECT_EQ(Values(sigmoid.Run()[0]), (std::vector<int>{0, 128, 255}));
  OpRunner relu("QLinearLeakyRelu", 1, kMicrosoft);
  relu.Attr("alpha", 0.5f).Input(SignedBytes({3}, {-20, 0, 20})).Input(Scale(1)).Absent().Input(Scale(1)).Absent();
  EXPECT_EQ(Values(relu.Run()[0]), (std::vector<int>{-10, 0, 20}));
}

TEST(QLinearTest, ConcatBringsInputsToOneScale) {
  OpRunner run("QLinearConcat", 1, kMicrosoft);
  run.Attr("axis", int64_t{1}).Input(Scale(0.5f)).Input(Bytes({}, {0}));
  run.Input(Bytes({2, 1}, {1, 2})).Input(Scale(0.5f)).Input(Bytes({}, {0}));
  run.Input(Bytes({2, 2}, {10, 20, 30, 200})).Input(Scale(1)).Input(Bytes({}, {10}));
  EXPECT_EQ(Values(run.Run()[0]), (std::vector<int>{1, 0, 20, 2, 40, 255}));
}

TEST(QLinearTest, SoftmaxOverTheAxis) {
  for (int64_t opset : {12, 13}) {
    OpRunner run("QLinearSoftmax", 1, kMicrosoft);
    run.Attr("axis", int64_t{0})
        .Attr("opset", opset)
        .Input(Bytes({2, 2}, {10, 10, 10, 10}))
        .Input(Scale(0.1f))
        .Absent();
    run.Input(Scale(1.0f / 256)).Absent();
    // One dim of two from opset 13 on; before, all four elements are one row.
    EXPECT_EQ(Values(run.Run()[0])[0], opset < 13 ? 64 : 128);
  }
}

TEST(QLinearTest, MissingScaleIsAnError) {
  OpRunner run("QLinearAdd", 1, kMicrosoft);
  run.Input(Bytes({1}, {1})).Input(Scale(1)).Absent().Input(Bytes({1}, {1})).Input(Scale(1));
  EXPECT_NE(run.RunError().find("input 6 (a scale) is required"), std::string::npos) << run.RunError();
}

}  // namespace
}  // namespace rondo
