#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename T>
std::vector<int> Values(const Tensor& t) {
  return std::vector<int>(t.data<T>(), t.data<T>() + t.size());
}
Tensor UInt8s(absl::Span<const int64_t> dims, const std::vector<uint8_t>& v) {
  return Tensor::FromVector(DataType::kUInt8, dims, v);
}

TEST(QuantizeLinearTest, PerTensorRoundsHalfToEvenAndSaturates) {
  Tensor x = FloatTensor({6}, {0, 1, 3, 1000, -254, -1000}), scale = FloatTensor({}, {2});
  for (bool plain : {false, true}) {
    OpRunner run("QuantizeLinear", 10);
    run.Plain(plain).Input(x).Input(scale).Input(UInt8s({}, {128}));
    EXPECT_THAT(Values<uint8_t>(run.Run()[0]), ElementsAre(128, 128, 130, 255, 1, 0));
    EXPECT_THAT(Values<uint8_t>(OpRunner("QuantizeLinear", 10).Plain(plain).Input(x).Input(scale).Run()[0]),
                ElementsAre(0, 0, 2, 255, 0, 0));
  }
}

TEST(QuantizeLinearTest, PerAxisOnAnyAxis) {
  Tensor x = FloatTensor({2, 2, 2}, {2, 4, 6, 8, 10, 12, 14, 16}), scale = FloatTensor({2}, {1, 2});
  auto run = [&](int64_t axis, bool plain) {
    OpRunner op("QuantizeLinear", 13);
    op.Attr("axis", axis).Plain(plain).Input(x).Input(scale).Input(UInt8s({2}, {0, 1}));
    return Values<uint8_t>(op.Run()[0]);
  };
  for (bool plain : {false, true}) {
    EXPECT_THAT(run(0, plain), ElementsAre(2, 4, 6, 8, 6, 7, 8, 9));
    EXPECT_THAT(run(1, plain), ElementsAre(2, 4, 4, 5, 10, 12, 8, 9));
    EXPECT_THAT(run(-1, plain), ElementsAre(2, 3, 6, 5, 10, 7, 14, 9));
  }
}

TEST(QuantizeLinearTest, BlocksOnBothKindsOfAxis) {
  Tensor x = FloatTensor({3, 4}, {2, 4, 6, 8, 2, 4, 6, 8, 2, 4, 6, 8});
  OpRunner inner("QuantizeLinear", 21), outer("QuantizeLinear", 21);
  inner.Attr("axis", int64_t{1}).Attr("block_size", int64_t{3}).Input(x).Input(FloatTensor({3, 2}, {1, 2, 1, 2, 2, 1}));
  EXPECT_THAT(Values<uint8_t>(inner.Run()[0]), ElementsAre(2, 4, 6, 4, 2, 4, 6, 4, 1, 2, 3, 8));
  outer.Attr("axis", int64_t{0}).Attr("block_size", int64_t{2}).Input(x);
  outer.Input(FloatTensor({2, 4}, {1, 1, 2, 2, 2, 2, 1, 1}));
  EXPECT_THAT(Values<uint8_t>(outer.Run()[0]), ElementsAre(2, 4, 3, 4, 2, 4, 3, 4, 1, 2, 6, 8));
  OpRunner wrong("QuantizeLinear", 21);
  wrong.Attr("axis", int64_t{1})
      .Attr("block_size", int64_t{3})
      .Input(x)
      .Input(FloatTensor({3, 3}, std::vector<float>(9, 1)));
  EXPECT_THAT(wrong.RunError(), HasSubstr("expected shape [3, 2]"));
}

TEST(QuantizeLinearTest, OutputTypes) {
  Tensor x = FloatTensor({3}, {-100, 5, 100}), scale = FloatTensor({}, {1});
  OpRunner int16("QuantizeLinear", 21), int4("QuantizeLinear", 21), wrong("QuantizeLinear", 21);
  int16.Attr("output_dtype", static_cast<int64_t>(DataType::kInt16)).Input(x).Input(scale);
  EXPECT_THAT(Values<int16_t>(int16.Run()[0]), ElementsAre(-100, 5, 100));
  int4.Attr("output_dtype", static_cast<int64_t>(DataType::kInt4)).Input(x).Input(scale);
  EXPECT_THAT(Values<uint8_t>(int4.Run()[0].Reshaped({3})), ElementsAre(0x58, 0x07, testing::_));
  wrong.Attr("output_dtype", static_cast<int64_t>(DataType::kFloat)).Input(x).Input(scale);
  EXPECT_THAT(wrong.RunError(), HasSubstr("cannot quantize to float32"));
}

TEST(DequantizeLinearTest, PerTensorPerAxisAndInt32) {
  for (bool plain : {false, true}) {
    OpRunner tensor("DequantizeLinear", 10), axis("DequantizeLinear", 13), wide("DequantizeLinear", 10);
    tensor.Plain(plain).Input(UInt8s({3}, {0, 128, 255})).Input(FloatTensor({}, {0.5f})).Input(UInt8s({}, {128}));
    EXPECT_THAT(Floats(tensor.Run()[0]), ElementsAre(-64, 0, 63.5f));
    axis.Plain(plain).Attr("axis", int64_t{1}).Input(UInt8s({2, 2}, {1, 2, 3, 4})).Input(FloatTensor({2}, {1, 10}));
    axis.Input(UInt8s({2}, {0, 1}));
    EXPECT_THAT(Floats(axis.Run()[0]), ElementsAre(1, 10, 3, 30));
    wide.Plain(plain)
        .Input(Int32Tensor({1}, {16777217}))
        .Input(FloatTensor({}, {1}))
        .Input(Int32Tensor({}, {16777216}));
    EXPECT_THAT(Floats(wide.Run()[0]), ElementsAre(1));
  }
}

TEST(DequantizeLinearTest, QuantizeThenDequantizeIsNear) {
  Tensor x = RandomFloats({64, 700});
  Tensor scale = FloatTensor({}, {1.0f / 127}), zero = Tensor::FromVector<int8_t>(DataType::kInt8, {}, {0});
  Tensor q = OpRunner("QuantizeLinear", 13).Input(x).Input(scale).Input(zero).Run()[0];
  Tensor y = OpRunner("DequantizeLinear", 13).Input(q).Input(scale).Input(zero).Run()[0];
  EXPECT_EQ(FirstDifference(y, x, 0, 0.51 / 127), "");
}

TEST(DynamicQuantizeLinearTest, ScaleCoversZero) {
  for (bool plain : {false, true}) {
    OpRunner run("DynamicQuantizeLinear", 11);
    std::vector<Tensor> y = run.Plain(plain).Outputs(3).Input(FloatTensor({6}, {0, 2, -3, -2.5f, 1.34f, 0.5f})).Run();
    EXPECT_THAT(Values<uint8_t>(y[0]), ElementsAre(153, 255, 0, 26, 221, 179));
    EXPECT_FLOAT_EQ(y[1].data<float>()[0], 0.019607844f);
    EXPECT_EQ(y[2].data<uint8_t>()[0], 153);
  }
}

TEST(DynamicQuantizeLinearTest, AllZeroAndEmptyInputs) {
  std::vector<Tensor> zero = OpRunner("DynamicQuantizeLinear", 11).Outputs(3).Input(FloatTensor({2}, {0, 0})).Run();
  EXPECT_EQ(zero[1].data<float>()[0], 1);
  EXPECT_EQ(zero[0].data<uint8_t>()[0], 0);
  std::vector<Tensor> empty = OpRunner("DynamicQuantizeLinear", 11).Outputs(3).Input(FloatTensor({0}, {})).Run();
  EXPECT_EQ(empty[2].data<uint8_t>()[0], 0);
}

}  // namespace
}  // namespace rondo
