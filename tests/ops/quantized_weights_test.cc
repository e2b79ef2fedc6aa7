// rondo.QuantizedMatMul: products whose weights are quantised when they are packed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

struct Case {
  int64_t m, k, n, bits;
  bool trans_b;
};

OpRunner Quantized(const Case& c, const Tensor& a, const Tensor& w) {
  OpRunner run("QuantizedMatMul", 1, kRondoDomain);
  run.Attr("bits", c.bits).Attr("block_size", int64_t{32}).Attr("trans_b", int64_t{c.trans_b});
  run.Input(a).Constant(w);
  return run;
}

Tensor Cast(const Tensor& t, DataType type) {
  OpRunner run("Cast", 13);
  return run.Attr("to", static_cast<int64_t>(type)).Input(t).Run()[0];
}

Tensor Transposed(const Tensor& t) {
  Tensor to = Tensor::Make(DataType::kFloat, {t.dim(1), t.dim(0)});
  for (int64_t i = 0; i < t.dim(0); ++i) {
    for (int64_t j = 0; j < t.dim(1); ++j) {
      to.mutable_data<float>()[j * t.dim(0) + i] = t.data<float>()[i * t.dim(1) + j];
    }
  }
  return to;
}

const Case kCases[] = {{1, 64, 64, 8, false},  {1, 64, 64, 4, true},   {7, 96, 200, 4, false}, {7, 96, 200, 8, true},
                       {3, 70, 65, 4, false},  {3, 70, 65, 4, true},   {2, 33, 17, 8, false},  {2, 31, 130, 4, true},
                       {5, 500, 64, 8, false}, {40, 128, 48, 4, false}};

// What MatMulNBits makes of the same fields and scales: a matrix that blocks can represent loses nothing.
TEST(QuantizedMatMulTest, AMatrixThatBlocksCanRepresentIsKeptExactly) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(absl::StrCat(c.m, "x", c.k, "x", c.n, ", ", c.bits, " bits, trans_b ", c.trans_b));
    std::mt19937 random(7);
    const int64_t blocks = (c.k + 31) / 32;
    const int middle = 1 << (c.bits - 1);
    Tensor w = Tensor::Make(DataType::kFloat, {c.n, c.k});
    Tensor fields = Tensor::Make(DataType::kUInt8, {c.n, blocks, 32 * c.bits / 8});
    Tensor scales = Tensor::Make(DataType::kFloat, {c.n, blocks});
    for (int64_t n = 0; n < c.n; ++n) {
      for (int64_t b = 0; b < blocks; ++b) {
        // A power of two times few bits: exact as float16. Either sign.
        const float scale = (random() % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + random() % 7) / 1024;
        scales.mutable_data<float>()[n * blocks + b] = scale;
        for (int64_t i = 0; i < 32; ++i) {
          // The first is the lowest field, so that the scale shows.
          const bool outside = b * 32 + i >= c.k;
          const int field = outside ? middle : i == 0 ? 0 : static_cast<int>(random() % (2 * middle));
          uint8_t& byte = fields.mutable_data<uint8_t>()[(n * blocks + b) * 32 * c.bits / 8 + i * c.bits / 8];
          byte = static_cast<uint8_t>(c.bits == 8 || i % 2 == 0 ? field : byte | field << 4);
          if (!outside) w.mutable_data<float>()[n * c.k + b * 32 + i] = static_cast<float>(field - middle) * scale;
        }
      }
    }
    const Tensor a = RandomFloats({c.m, c.k}, 3);
    OpRunner nbits("MatMulNBits", 1, "com.microsoft");
    nbits.Attr("K", c.k).Attr("N", c.n).Attr("block_size", int64_t{32}).Attr("bits", c.bits);
    nbits.Attr("accuracy_level", int64_t{4}).Input(a).Constant(fields).Constant(scales);
    EXPECT_EQ(FirstDifference(Quantized(c, a, c.trans_b ? w : Transposed(w)).Run()[0], nbits.Run()[0], 1e-6, 1e-6), "");
  }
}

TEST(QuantizedMatMulTest, ErrorsAreThoseOfTheBits) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(absl::StrCat(c.m, "x", c.k, "x", c.n, ", ", c.bits, " bits, trans_b ", c.trans_b));
    const Tensor a = RandomFloats({c.m, c.k}, 1), w = RandomFloats({c.n, c.k}, 2);
    OpRunner exact("MatMul", 13);
    exact.Input(a).Constant(Transposed(w));
    const double error = RelativeError(Quantized(c, a, c.trans_b ? w : Transposed(w)).Run()[0], exact.Run()[0]);
    // Uniform weights: a step of 1/8 or 1/128 is off by 0.29 steps, beside a root mean square of 0.58.
    EXPECT_LT(error, c.bits == 4 ? 0.09 : 0.012);
    EXPECT_GT(error, c.bits == 4 ? 0.02 : 0.0005) << "it must have been quantised";
  }
}

TEST(QuantizedMatMulTest, BiasResidualAndHalves) {
  const Case c = {5, 96, 80, 8, false};
  const Tensor a = RandomFloats({1, 5, 96}, 1), w = RandomFloats({96, 80}, 2), bias = RandomFloats({80}, 3);
  const Tensor residual = RandomFloats({1, 5, 80}, 4);
  Tensor expected = Quantized(c, a, w).Run()[0];
  for (int64_t i = 0; i < expected.size(); ++i) {
    expected.mutable_data<float>()[i] += bias.data<float>()[i % 80] + residual.data<float>()[i];
  }
  OpRunner all = Quantized(c, a, w);
  EXPECT_EQ(FirstDifference(all.Constant(bias).Input(residual).Run()[0], expected), "");
  OpRunner no_bias = Quantized(c, a, w);
  EXPECT_EQ(no_bias.Absent().Input(residual).Run()[0].dims(), (Dims{1, 5, 80}));
  for (const DataType type : {DataType::kFloat16, DataType::kBFloat16}) {
    const Tensor y = Quantized(c, Cast(a, type), Cast(w, type)).Run()[0];
    EXPECT_EQ(y.dtype(), type);
    OpRunner exact("MatMul", 13);
    EXPECT_LT(RelativeError(Cast(y, DataType::kFloat), exact.Input(a).Constant(w).Run()[0]), 0.02);
  }
}

TEST(QuantizedMatMulTest, WhatIsNotFiniteShowsInItsColumnAlone) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
    Tensor w = RandomFloats({64, 64}, 2);
    w.mutable_data<float>()[20 * 64 + 5] = bad;  // [20, 5]
    const Tensor y = Quantized({1, 64, 64, 4, false}, RandomFloats({1, 64}, 1), w).Run()[0];
    for (int64_t n = 0; n < 64; ++n) EXPECT_EQ(std::isfinite(y.data<float>()[n]), n != 5) << bad << " " << n;
  }
}

TEST(QuantizedMatMulTest, BlocksOfZerosAndOfWhatIsNearly) {
  Tensor w = Tensor::Make(DataType::kFloat, {64, 64});
  for (int64_t k = 0; k < 64; ++k) w.mutable_data<float>()[k * 64 + 1] = 1e-42f;
  for (int64_t k = 0; k < 64; ++k) w.mutable_data<float>()[k * 64 + 2] = 1e-20f;
  const Tensor y = Quantized({1, 64, 64, 8, false}, FloatTensor({1, 64}, std::vector<float>(64, 1)), w).Run()[0];
  EXPECT_EQ(y.data<float>()[0], 0);
  EXPECT_NEAR(y.data<float>()[1], 0, 1e-39f);
  EXPECT_NEAR(y.data<float>()[2], 64e-20f, 1e-20f);
}

// ---- the rewrite ----

std::unique_ptr<Graph> TwoLayers() {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "96"});
  Value* y = b.Op("MatMul", 13, {x, b.Constant(RandomFloats({96, 128}, 2))});
  y = b.Op("Relu", 14, {b.Op("Add", 14, {y, b.Constant(RandomFloats({128}, 3))})});
  y = b.Op("Gemm", 13, {y, b.Constant(RandomFloats({96, 128}, 4)), b.Constant(RandomFloats({96}, 5))},
           {{"transB", int64_t{1}}});
  y = b.Op("Add", 14, {x, y});
  y = b.Op("MatMul", 13, {y, b.Constant(RandomFloats({96, 8}, 6))});  // small: stays
  Value* table = b.Constant(RandomFloats({64, 96}, 7));
  Value* transposed = b.Op("Transpose", 13, {table}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.Output(b.Op("MatMul", 13, {b.Op("Add", 14, {x, b.Op("ReduceSum", 11, {y})}), transposed}));
  return b.graph().Clone();
}

TEST(QuantizeWeightsTest, QuantisesLargeMatricesWhereAskedForAndTheLastInEightBits) {
  for (const int bits : {0, 8, 4}) {
    SCOPED_TRACE(bits);
    ProgramOptions options;
    options.weight_bits = bits;
    const auto program = MakeProgram(TwoLayers(), options);
    std::vector<int64_t> found;
    int small = 0;
    for (const auto& node : program->graph().nodes()) {
      if (node->Is(kRondoDomain, "QuantizedMatMul")) found.push_back(node->IntOr("bits", 0));
      small += node->Is(kRondoDomain, "MatMul");
    }
    if (bits == 0) {
      EXPECT_THAT(found, testing::IsEmpty());
      EXPECT_EQ(small, 4);
    } else {
      EXPECT_THAT(found, testing::UnorderedElementsAre(bits, bits, 8));
      EXPECT_EQ(small, 1);
    }
    // Bias and residual went into the products.
    EXPECT_EQ(OperatorsOf(program->graph()).size(), bits == 0 ? 6u : 7u)
        << testing::PrintToString(OperatorsOf(program->graph()));
    const Tensor x = RandomFloats({3, 96}, 9);
    const auto y = RunProgram(*program, {RuntimeValue(x)});
    ASSERT_TRUE(y.ok()) << y.status();
    const Tensor expected = RunGraph(*TwoLayers(), {x}, /*plain=*/true)[0];
    EXPECT_LT(RelativeError((*y)[0].tensor(), expected), bits == 0 ? 1e-5 : bits == 8 ? 0.01 : 0.1);
  }
}

TEST(QuantizeWeightsTest, OtherBitsAreAnError) {
  ProgramOptions options;
  options.weight_bits = 5;
  EXPECT_EQ(Program::Create(TwoLayers(), options).status().message(),
            "weight bits is 5: expected 8, 4, or 0 for as exported");
}

}  // namespace
}  // namespace rondo
