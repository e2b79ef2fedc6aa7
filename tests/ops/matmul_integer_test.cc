// Products and convolutions of 8-bit integers: oneDNN with its corrections against the plain kernels, which must agree
// to the last bit, and values by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using Ints = std::vector<int64_t>;

template <typename T>
Tensor Bytes(Dims dims, int seed) {
  Tensor t = Tensor::Make(std::is_signed_v<T> ? DataType::kInt8 : DataType::kUInt8, dims);
  std::mt19937 random(static_cast<unsigned>(seed));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<T>()[i] = static_cast<T>(random());
  return t;
}
Tensor RandomBytes(bool is_signed, Dims dims, int seed) {
  return is_signed ? Bytes<int8_t>(dims, seed) : Bytes<uint8_t>(dims, seed);
}
Tensor Byte(bool is_signed, int value) {
  if (is_signed) return Tensor::FromVector<int8_t>(DataType::kInt8, {}, {static_cast<int8_t>(value)});
  return Tensor::FromVector<uint8_t>(DataType::kUInt8, {}, {static_cast<uint8_t>(value)});
}

void ExpectSameBytes(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dims(), b.dims());
  ASSERT_EQ(a.dtype(), b.dtype());
  for (size_t i = 0; i < a.bytes(); ++i) {
    ASSERT_EQ(static_cast<const uint8_t*>(a.raw())[i], static_cast<const uint8_t*>(b.raw())[i]) << "byte " << i;
  }
}

TEST(MatMulIntegerTest, EverySignIsExact) {
  for (int signs = 0; signs < 4; ++signs) {
    const bool a_signed = signs & 1, b_signed = signs & 2;
    for (bool constant : {true, false}) {
      for (int zeros = 0; zeros < 4; ++zeros) {
        SCOPED_TRACE(testing::Message() << signs << " " << constant << " " << zeros);
        std::vector<Tensor> results;
        for (bool plain : {false, true}) {
          OpRunner run("MatMulInteger", 10);
          run.Plain(plain).Input(RandomBytes(a_signed, {3, 5, 37}, 1));
          Tensor b = RandomBytes(b_signed, {37, 19}, 2);
          constant ? run.Constant(b) : run.Input(b);
          zeros == 0 ? run.Absent() : run.Input(Byte(a_signed, 7));
          if (zeros == 1) run.Absent();
          if (zeros == 2) run.Input(Byte(b_signed, b_signed ? -3 : 131));
          if (zeros == 3) run.Constant(RandomBytes(b_signed, {19}, 3));
          results.push_back(run.Run()[0]);
        }
        ExpectSameBytes(results[0], results[1]);
      }
    }
  }
}

TEST(MatMulIntegerTest, SubtractsZeroPoints) {
  OpRunner run("MatMulInteger", 10);
  run.Input(Tensor::FromVector<uint8_t>(DataType::kUInt8, {2, 2}, {11, 7, 10, 6}));
  run.Input(Tensor::FromVector<uint8_t>(DataType::kUInt8, {2, 1}, {1, 4})).Input(Byte(false, 12)).Input(Byte(false, 2));
  Tensor y = run.Run()[0];
  EXPECT_EQ(y.data<int32_t>()[0], (11 - 12) * (1 - 2) + (7 - 12) * (4 - 2));
  EXPECT_EQ(y.data<int32_t>()[1], (10 - 12) * (1 - 2) + (6 - 12) * (4 - 2));
}

TEST(MatMulIntegerTest, BatchesAgree) {
  std::vector<Tensor> results;
  for (bool plain : {false, true}) {
    OpRunner run("MatMulInteger", 10);
    run.Plain(plain).Input(RandomBytes(false, {2, 3, 5, 16}, 1)).Input(RandomBytes(true, {2, 3, 16, 8}, 2));
    results.push_back(run.Input(Byte(false, 9)).Input(Byte(true, 1)).Run()[0]);
  }
  ExpectSameBytes(results[0], results[1]);
}

TEST(QLinearMatMulTest, FastAndPlainAgree) {
  for (bool is_signed : {false, true}) {
    std::vector<Tensor> results;
    for (bool plain : {false, true}) {
      OpRunner run("QLinearMatMul", 10);
      run.Plain(plain).Input(RandomBytes(is_signed, {4, 40}, 1)).Constant(FloatTensor({}, {0.02f}));
      run.Constant(Byte(is_signed, 3)).Constant(RandomBytes(is_signed, {40, 12}, 2));
      run.Constant(RandomFloats({12}, 4)).Constant(RandomBytes(is_signed, {12}, 5)).Constant(FloatTensor({}, {0.4f}));
      results.push_back(run.Constant(Byte(is_signed, 100)).Run()[0]);
    }
    ExpectSameBytes(results[0], results[1]);
  }
}

TEST(MatMulIntegerToFloatTest, ScalesAndAddsBias) {
  OpRunner run("MatMulIntegerToFloat", 1, "com.microsoft");
  run.Input(Tensor::FromVector<uint8_t>(DataType::kUInt8, {1, 2}, {3, 5}));
  run.Constant(Tensor::FromVector<int8_t>(DataType::kInt8, {2, 2}, {1, -2, 3, 4}));
  run.Input(FloatTensor({}, {0.5f})).Input(FloatTensor({2}, {2, 4})).Input(Byte(false, 1)).Absent();
  run.Input(FloatTensor({2}, {1, -1}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 2}, {15, 23})), "");
}

TEST(DynamicQuantizeMatMulTest, IsNearTheFloatProduct) {
  const Tensor a = RandomFloats({6, 64}, 1);
  const Tensor b = Bytes<int8_t>({64, 24}, 2);
  std::vector<float> widened(b.data<int8_t>(), b.data<int8_t>() + b.size());
  for (float& v : widened) v *= 0.01f;
  OpRunner exact("MatMul", 13);
  exact.Input(a).Input(FloatTensor({64, 24}, widened));
  for (bool plain : {false, true}) {
    OpRunner run("DynamicQuantizeMatMul", 1, "com.microsoft");
    run.Plain(plain).Input(a).Constant(b).Constant(FloatTensor({}, {0.01f}));
    EXPECT_EQ(FirstDifference(run.Run()[0], exact.Run()[0], 0.02, 0.06), "");
  }
}

TEST(QGemmTest, FloatAndQuantisedResults) {
  for (bool quantised : {false, true}) {
    std::vector<Tensor> results;
    for (bool plain : {false, true}) {
      OpRunner run("QGemm", 1, "com.microsoft");
      run.Attr("transB", int64_t{1}).Attr("alpha", 0.5f).Plain(plain);
      run.Input(RandomBytes(false, {5, 16}, 1)).Constant(FloatTensor({}, {0.1f})).Constant(Byte(false, 12));
      run.Constant(RandomBytes(true, {7, 16}, 2)).Constant(RandomFloats({7}, 3)).Constant(RandomBytes(true, {7}, 6));
      run.Constant(Int32Tensor({7}, {1, 2, 3, 4, 5, 6, 7}));
      if (quantised) run.Constant(FloatTensor({}, {2.5f})).Constant(Byte(false, 128));
      results.push_back(run.Run()[0]);
    }
    ExpectSameBytes(results[0], results[1]);
  }
}

struct ConvCase {
  Dims x, w;
  Ints strides, pads, dilations;
  int64_t group;
};
const ConvCase kConvs[] = {
    {{2, 3, 9, 8}, {8, 3, 3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},
    {{1, 16, 9, 8}, {12, 16, 1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
    {{1, 16, 9, 8}, {16, 1, 3, 3}, {2, 2}, {0, 1, 2, 1}, {1, 1}, 16},
    {{1, 8, 9, 8}, {6, 4, 3, 2}, {2, 1}, {1, 0, 1, 0}, {2, 1}, 2},
    {{1, 8, 20}, {6, 8, 3}, {1}, {2, 2}, {2}, 1},
};

TEST(ConvIntegerTest, EverySignIsExact) {
  for (const ConvCase& c : kConvs) {
    for (int signs = 0; signs < 4; ++signs) {
      SCOPED_TRACE(DimsToString(c.w) + std::to_string(signs));
      const bool x_signed = signs & 1, w_signed = signs & 2;
      std::vector<Tensor> results;
      for (bool plain : {false, true}) {
        OpRunner run("ConvInteger", 10);
        run.Plain(plain).Attr("strides", c.strides).Attr("pads", c.pads).Attr("dilations", c.dilations);
        run.Attr("group", c.group).Input(RandomBytes(x_signed, c.x, 1)).Constant(RandomBytes(w_signed, c.w, 2));
        run.Input(Byte(x_signed, 9)).Constant(Byte(w_signed, w_signed ? 0 : 128));
        results.push_back(run.Run()[0]);
      }
      ExpectSameBytes(results[0], results[1]);
    }
  }
}

TEST(QLinearConvTest, FastAndPlainAgreeInBothLayouts) {
  for (const ConvCase& c : kConvs) {
    for (int64_t last : {0, 1}) {
      SCOPED_TRACE(DimsToString(c.w) + std::to_string(last));
      std::vector<Tensor> results;
      for (bool plain : {false, true}) {
        OpRunner run("QLinearConv", last ? 1 : 10, last ? "com.microsoft" : "");
        Dims x = c.x;
        if (last) std::rotate(x.begin() + 1, x.begin() + 2, x.end());
        run.Plain(plain).Attr("strides", c.strides).Attr("pads", c.pads).Attr("dilations", c.dilations);
        if (last) run.Attr("channels_last", last);
        run.Attr("group", c.group).Input(RandomBytes(false, x, 1)).Constant(FloatTensor({}, {0.05f}));
        run.Constant(Byte(false, 117)).Constant(RandomBytes(true, c.w, 2)).Constant(RandomFloats({c.w[0]}, 3));
        run.Constant(Byte(true, 0)).Constant(FloatTensor({}, {3.0f})).Constant(Byte(false, 120));
        run.Constant(Int32Tensor({c.w[0]}, std::vector<int32_t>(static_cast<size_t>(c.w[0]), 77)));
        results.push_back(run.Run()[0]);
      }
      ExpectSameBytes(results[0], results[1]);
    }
  }
}

TEST(QLinearAveragePoolTest, AveragesRealNumbers) {
  OpRunner run("QLinearGlobalAveragePool", 1, "com.microsoft");
  run.Input(Tensor::FromVector<uint8_t>(DataType::kUInt8, {1, 1, 1, 4}, {10, 12, 14, 20}));
  run.Constant(FloatTensor({}, {1}))
      .Constant(Byte(false, 10))
      .Constant(FloatTensor({}, {0.5f}))
      .Constant(Byte(false, 1));
  EXPECT_EQ(run.Run()[0].data<uint8_t>()[0], 9);  // mean 4 -> 8 + 1
}

}  // namespace
}  // namespace rondo
