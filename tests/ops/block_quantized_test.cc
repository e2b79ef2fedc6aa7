#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

Tensor RandomBytes(absl::Span<const int64_t> dims, int seed) {
  Tensor t = Tensor::Make(DataType::kUInt8, dims);
  std::mt19937 rng(seed);
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(rng());
  return t;
}

enum class Zero { kNone, kPacked, kFloat };
struct Case {
  int64_t m, n, k, block, bits;
  Zero zero;
  bool bias;
};

OpRunner NBits(const Case& c, int64_t accuracy) {
  const int64_t blocks = (c.k + c.block - 1) / c.block;
  OpRunner run("MatMulNBits", 1, kMicrosoft);
  run.Attr("K", c.k).Attr("N", c.n).Attr("block_size", c.block).Attr("bits", c.bits).Attr("accuracy_level", accuracy);
  run.Input(RandomFloats({1, c.m, c.k}, 1)).Constant(RandomBytes({c.n, blocks, c.block * c.bits / 8}, 2));
  Tensor scales = RandomFloats({c.n * blocks}, 3);
  for (int64_t i = 0; i < scales.size(); ++i) scales.mutable_data<float>()[i] *= 0.05f;
  run.Constant(scales);
  if (c.zero == Zero::kPacked) run.Constant(RandomBytes({c.n * ((blocks * c.bits + 7) / 8)}, 4));
  if (c.zero == Zero::kFloat) run.Constant(RandomFloats({c.n, blocks}, 5));
  if (c.zero == Zero::kNone) run.Absent();
  run.Absent();
  if (c.bias) run.Constant(RandomFloats({c.n}, 6));
  return run;
}

TEST(MatMulNBitsTest, PackedEqualsPlain) {
  for (int64_t bits : {2, 4, 8}) {
    for (Zero zero : {Zero::kNone, Zero::kPacked, Zero::kFloat}) {
      for (const Case& c : {Case{1, 40, 96, 32, bits, zero, false}, Case{13, 33, 70, 16, bits, zero, true},
                            Case{3, 16, 64, 128, bits, zero, false}, Case{2, 5, 300, 64, bits, zero, true}}) {
        SCOPED_TRACE(absl::StrCat(bits, " bits, zero ", static_cast<int>(zero), ", ", c.m, "x", c.k, "x", c.n));
        const Tensor plain = NBits(c, 0).Plain().Run()[0];
        OpRunner exact = NBits(c, 0), rounded = NBits(c, 4);
        EXPECT_LT(RelativeError(exact.Run()[0], plain), 1e-6);
        const Tensor plain_rounded = NBits(c, 4).Plain().Run()[0];
        EXPECT_LT(RelativeError(rounded.Run()[0], plain_rounded), 1e-6);
        const double rounding = RelativeError(plain_rounded, plain);
        EXPECT_GT(rounding, 0.0005);
        EXPECT_LT(rounding, 0.01);
        EXPECT_NE(exact.implementation(), "plain");
      }
    }
  }
}

TEST(MatMulNBitsTest, FollowsTheFormula) {
  // N = 1, K = 16, one block: fields 0..15, zero point 3, scale 0.5.
  Tensor a = Tensor::Make(DataType::kFloat, {1, 16}), b = Tensor::Make(DataType::kUInt8, {1, 1, 8});
  float expected = 10;
  for (int i = 0; i < 16; ++i) {
    a.mutable_data<float>()[i] = static_cast<float>(i * i % 7);
    expected += a.data<float>()[i] * 0.5f * static_cast<float>(i - 3);
  }
  for (int i = 0; i < 8; ++i) b.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(2 * i | (2 * i + 1) << 4);
  OpRunner run("MatMulNBits", 1, kMicrosoft);
  run.Attr("K", int64_t{16}).Attr("N", int64_t{1}).Attr("block_size", int64_t{16}).Input(a).Constant(b);
  run.Constant(FloatTensor({1, 1}, {0.5f})).Constant(Tensor::FromVector<uint8_t>(DataType::kUInt8, {1, 1}, {3}));
  run.Absent().Constant(FloatTensor({1}, {10}));
  EXPECT_FLOAT_EQ(Floats(run.Run()[0])[0], expected);
}

TEST(MatMulNBitsTest, GroupIndicesPickTheBlock) {
  Case c{2, 3, 32, 16, 4, Zero::kNone, false};
  const Tensor straight = NBits(c, 0).Run()[0];
  OpRunner run("MatMulNBits", 1, kMicrosoft);
  run.Attr("K", c.k).Attr("N", c.n).Attr("block_size", c.block);
  run.Input(RandomFloats({1, 2, 32}, 1)).Constant(RandomBytes({3, 2, 8}, 2));
  Tensor scales = RandomFloats({6}, 3), swapped = scales.Clone();
  for (int i = 0; i < 6; ++i) swapped.mutable_data<float>()[i] = 0.05f * scales.data<float>()[i ^ 1];
  std::vector<int32_t> groups(32);
  for (int i = 0; i < 32; ++i) groups[i] = i < 16 ? 1 : 0;
  run.Constant(swapped).Absent().Constant(Int32Tensor({32}, groups));
  EXPECT_EQ(FirstDifference(run.Run()[0], straight), "");
}

TEST(MatMulNBitsTest, WrongAttributesAndSizesAreErrors) {
  const auto error = [](int64_t k, int64_t n, int64_t block, int64_t bits, int64_t bytes) {
    OpRunner run("MatMulNBits", 1, kMicrosoft);
    run.Attr("K", k).Attr("N", n).Attr("block_size", block).Attr("bits", bits);
    run.Input(RandomFloats({1, 32})).Constant(RandomBytes({bytes}, 1)).Constant(RandomFloats({2}));
    return run.RunError();
  };
  EXPECT_NE(error(32, 2, 32, 3, 32).find("bits is 3"), std::string::npos);
  EXPECT_NE(error(32, 2, 0, 4, 32).find("block_size is 0"), std::string::npos);
  EXPECT_NE(error(32, 2, int64_t{1} << 31, 4, 32).find("block_size is 2147483648"), std::string::npos);
  EXPECT_NE(error(32, -1, 32, 4, 32).find("N is -1"), std::string::npos);
  EXPECT_NE(error(32, 2, 32, 4, 31).find("B has 31 elements: expected 32"), std::string::npos);
  EXPECT_NE(error(64, 2, 32, 4, 64).find("last dim of A is 32, K is 64"), std::string::npos);
}

TEST(GatherBlockQuantizedTest, DequantizesRowsAndZeroesWhatIsOutOfRange) {
  // Two rows of 32 fields of 4 bits in blocks of 16; row r holds r + 1 in the first block, r + 9 in the second.
  Tensor data = Tensor::Make(DataType::kUInt8, {2, 16});
  for (int r = 0; r < 2; ++r) {
    for (int i = 0; i < 16; ++i)
      data.mutable_data<uint8_t>()[r * 16 + i] = static_cast<uint8_t>((i < 8 ? r + 1 : r + 9) * 17);
  }
  OpRunner run("GatherBlockQuantized", 1, kMicrosoft);
  run.Attr("block_size", int64_t{16}).Attr("quantize_axis", int64_t{1}).Constant(data);
  run.Input(Int64Tensor({2, 2}, {1, -1, 2, -3})).Constant(FloatTensor({2, 2}, {1, 2, 3, 4}));
  const Tensor y = run.Run()[0];
  ASSERT_EQ(DimsToString(y.dims()), "[2, 2, 32]");
  for (int i = 0; i < 32; ++i) {
    const float expected = i < 16 ? 3.0f * (2 - 8) : 4.0f * (10 - 8);
    EXPECT_EQ(Floats(y)[i], expected);
    EXPECT_EQ(Floats(y)[32 + i], expected);
    EXPECT_EQ(Floats(y)[64 + i], 0);
    EXPECT_EQ(Floats(y)[96 + i], 0);
  }
}

TEST(GatherBlockQuantizedTest, SignedFieldsAndOtherAxes) {
  // int4 [16, 2], blocks along axis 0, gathered along axis 1.
  Tensor data = Tensor::Make(DataType::kInt4, {16, 2});
  for (int i = 0; i < 16; ++i) data.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i | (15 - i) << 4);
  OpRunner run("GatherBlockQuantized", 1, kMicrosoft);
  run.Attr("block_size", int64_t{16}).Attr("quantize_axis", int64_t{0}).Attr("gather_axis", int64_t{1}).Constant(data);
  run.Input(Int32Tensor({1}, {1})).Constant(FloatTensor({1, 2}, {1, 2}));
  const Tensor y = run.Run()[0];
  ASSERT_EQ(DimsToString(y.dims()), "[16, 1]");
  for (int i = 0; i < 16; ++i)
    EXPECT_EQ(Floats(y)[i], 2.0f * static_cast<float>(15 - i >= 8 ? 15 - i - 16 : 15 - i)) << i;
}

}  // namespace
}  // namespace rondo
