// MatMul, Gemm and their fused forms: values by hand, then oneDNN against the plain kernel.
#include <gtest/gtest.h>

#include <cstring>

#include "graph/numeric.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

Tensor AsType(const Tensor& t, DataType dtype) {
  Tensor r = Tensor::Make(dtype, t.dims());
  for (int64_t i = 0; i < t.size(); ++i) {
    const float v = t.data<float>()[i];
    switch (dtype) {
      case DataType::kFloat16:
        r.mutable_data<Float16>()[i] = Float16(v);
        break;
      case DataType::kBFloat16:
        r.mutable_data<BFloat16>()[i] = BFloat16(v);
        break;
      case DataType::kDouble:
        r.mutable_data<double>()[i] = v;
        break;
      case DataType::kInt32:
        r.mutable_data<int32_t>()[i] = static_cast<int32_t>(v * 100);
        break;
      case DataType::kInt64:
        r.mutable_data<int64_t>()[i] = static_cast<int64_t>(v * 100);
        break;
      default:
        r.mutable_data<float>()[i] = v;
    }
  }
  return r;
}

Tensor ToFloats(const Tensor& t) {
  Tensor r = Tensor::Make(DataType::kFloat, t.dims());
  for (int64_t i = 0; i < t.size(); ++i) {
    float v = 0;
    switch (t.dtype()) {
      case DataType::kFloat16:
        v = static_cast<float>(t.data<Float16>()[i]);
        break;
      case DataType::kBFloat16:
        v = static_cast<float>(t.data<BFloat16>()[i]);
        break;
      default:
        v = t.data<float>()[i];
    }
    r.mutable_data<float>()[i] = v;
  }
  return r;
}

struct Options {
  bool constant_b = false;
  DataType dtype = DataType::kFloat;
  double tolerance = 1e-5;
};

// Runs with oneDNN and plain, expects the same, returns oneDNN's implementation name.
std::string Compare(OpRunner& fast, OpRunner& plain, double tolerance) {
  std::vector<Tensor> a = fast.Run(), b = plain.Plain().Run();
  EXPECT_EQ(FirstDifference(ToFloats(a[0]), ToFloats(b[0]), tolerance, tolerance), "");
  EXPECT_EQ(plain.implementation(), "plain");
  EXPECT_NE(fast.implementation().substr(0, 3), "ref");
  return fast.implementation();
}

std::string CompareMatMul(Dims a, Dims b, Options o = {}) {
  OpRunner fast("MatMul", 13), plain("MatMul", 13);
  for (OpRunner* run : {&fast, &plain}) {
    run->Input(AsType(RandomFloats(a, 1), o.dtype));
    Tensor tb = AsType(RandomFloats(b, 2), o.dtype);
    o.constant_b ? run->Constant(tb) : run->Input(tb);
  }
  return Compare(fast, plain, o.tolerance);
}

TEST(MatMulTest, MultipliesRowsByColumns) {
  OpRunner run("MatMul", 13);
  run.Input(FloatTensor({2, 2}, {1, 2, 3, 4})).Input(FloatTensor({2, 3}, {1, 0, 2, 0, 1, 3}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({2, 3}, {1, 2, 8, 3, 4, 18})), "");
}

TEST(MatMulTest, RankOneOperandsAreRowAndColumn) {
  OpRunner dot("MatMul", 13);
  dot.Input(FloatTensor({3}, {1, 2, 3})).Input(FloatTensor({3}, {4, 5, 6}));
  EXPECT_EQ(FirstDifference(dot.Run()[0], FloatTensor({}, {32})), "");
  OpRunner row("MatMul", 13);
  row.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(FirstDifference(row.Run()[0], FloatTensor({2, 2}, {7, 10, 19, 22})), "");
  OpRunner column("MatMul", 13);
  column.Input(FloatTensor({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})).Input(FloatTensor({2}, {1, 2}));
  EXPECT_EQ(FirstDifference(column.Run()[0], FloatTensor({2, 2}, {5, 11, 17, 23})), "");
}

TEST(MatMulTest, PackedWeightsAgreeWithPlain) {
  for (Dims a : {Dims{1, 64}, Dims{7, 64}, Dims{2, 3, 64}, Dims{1, 1, 64}}) {
    CompareMatMul(a, {64, 33}, {.constant_b = true});
    CompareMatMul(a, {64, 33});
  }
  CompareMatMul({5, 1}, {1, 9}, {.constant_b = true});
  CompareMatMul({5, 9}, {9, 1}, {.constant_b = true});
  CompareMatMul({4, 5, 9}, {4, 9, 3}, {.constant_b = true});
}

TEST(MatMulTest, ASingleRowOfManyColumnsAgreesWithPlain) {
  for (int64_t k : {5, 64, 900}) {
    for (int64_t n : {64, 200, 1152}) {
      CompareMatMul({1, k}, {k, n}, {.constant_b = true});
      OpRunner fast("MatMul", 1, "rondo"), plain("MatMul", 1, "rondo");
      for (OpRunner* run : {&fast, &plain}) {
        run->Input(RandomFloats({1, 1, k}, 1)).Constant(RandomFloats({k, n}, 2)).Constant(RandomFloats({n}, 3));
        run->Input(RandomFloats({1, 1, n}, 4));
      }
      Compare(fast, plain, 1e-4);
    }
  }
}

// A sequence is to get the same bits whether it is decoded alone or with others.
TEST(MatMulTest, ASingleRowGivesTheBitsOfTheSameRowAmongOthers) {
  for (DataType dtype : {DataType::kFloat, DataType::kFloat16}) {
    const int64_t k = 96, n = 200, rows = 4;
    const Tensor many = AsType(RandomFloats({rows, k}, 1), dtype), weight = AsType(RandomFloats({k, n}, 2), dtype);
    const Tensor single = Tensor::Borrow(dtype, {1, k}, many.raw(), many.owner());
    OpRunner alone("MatMul", 13), among("MatMul", 13);
    const Tensor y = alone.Input(single).Constant(weight).Run()[0];
    const Tensor ys = among.Input(many).Constant(weight).Run()[0];
    EXPECT_EQ(std::memcmp(y.raw(), ys.raw(), y.bytes()), 0) << DataTypeName(dtype);
    if (among.implementation() == "brg:avx512_core") {
      EXPECT_EQ(alone.implementation(), "own:gemv");
    }
  }
}

TEST(MatMulTest, BatchDimsBroadcast) {
  CompareMatMul({2, 3, 5, 8}, {2, 3, 8, 6});
  CompareMatMul({2, 1, 5, 8}, {1, 3, 8, 6});
  CompareMatMul({2, 1, 2, 5, 8}, {3, 1, 8, 6});
  CompareMatMul({5, 8}, {2, 3, 8, 6});
  CompareMatMul({2, 3, 5, 8}, {3, 8, 6});
}

TEST(MatMulTest, SixteenBitFloatsAgreeWithPlain) {
  for (DataType dtype : {DataType::kFloat16, DataType::kBFloat16}) {
    CompareMatMul({3, 5, 64}, {64, 32}, {.constant_b = true, .dtype = dtype, .tolerance = 2e-2});
    CompareMatMul({3, 5, 64}, {3, 64, 32}, {.dtype = dtype, .tolerance = 2e-2});
  }
}

TEST(MatMulTest, IntegersWrapAndDoublesWork) {
  OpRunner run("MatMul", 13);
  run.Input(Int32Tensor({1, 2}, {1 << 30, 1 << 30})).Input(Int32Tensor({2, 1}, {2, 2}));
  EXPECT_EQ(run.Run()[0].data<int32_t>()[0], 0);
  OpRunner d("MatMul", 13);
  d.Input(AsType(FloatTensor({1, 2}, {1, 2}), DataType::kDouble));
  d.Input(AsType(FloatTensor({2, 1}, {3, 4}), DataType::kDouble));
  EXPECT_EQ(d.Run()[0].data<double>()[0], 11);
}

TEST(MatMulTest, EmptyInnerDimGivesZeros) {
  OpRunner run("MatMul", 13);
  run.Input(Tensor::Make(DataType::kFloat, {2, 0})).Input(Tensor::Make(DataType::kFloat, {0, 3}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({2, 3}, {0, 0, 0, 0, 0, 0})), "");
  OpRunner none("MatMul", 13);
  none.Input(Tensor::Make(DataType::kFloat, {0, 4})).Constant(RandomFloats({4, 3}));
  EXPECT_EQ(none.Run()[0].dims(), (Dims{0, 3}));
}

TEST(MatMulTest, InnerDimsThatDifferAreAnError) {
  OpRunner run("MatMul", 13);
  run.Input(RandomFloats({2, 3})).Input(RandomFloats({4, 5}));
  EXPECT_NE(run.RunError().find("inner dims differ: A is [2, 3], B is [4, 5]"), std::string::npos) << run.RunError();
}

TEST(GemmTest, AllAttributesAgreeWithPlain) {
  for (Dims c : {Dims{}, Dims{1}, Dims{6}, Dims{1, 6}, Dims{5, 1}, Dims{5, 6}}) {
    for (bool constant : {false, true}) {
      for (float beta : {1.0f, 0.25f, 0.0f}) {
        OpRunner fast("Gemm", 13), plain("Gemm", 13);
        for (OpRunner* run : {&fast, &plain}) {
          run->Attr("transA", int64_t{1}).Attr("transB", int64_t{1}).Attr("alpha", beta == 1 ? 1.0f : 0.5f);
          run->Attr("beta", beta).Input(RandomFloats({9, 5}, 1));
          if (constant) {
            run->Constant(RandomFloats({6, 9}, 2)).Constant(RandomFloats(c, 3));
          } else {
            run->Input(RandomFloats({6, 9}, 2)).Input(RandomFloats(c, 3));
          }
        }
        Compare(fast, plain, 1e-5);
      }
    }
  }
}

TEST(GemmTest, WithoutC) {
  OpRunner run("Gemm", 11);
  run.Input(FloatTensor({1, 2}, {1, 2})).Input(FloatTensor({2, 1}, {3, 4}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1}, {11})), "");
}

TEST(FusedMatMulTest, TransposesBatchesAndScales) {
  OpRunner run("FusedMatMul", 1, "com.microsoft"), plain("FusedMatMul", 1, "com.microsoft");
  for (OpRunner* r : {&run, &plain}) {
    r->Attr("transB", int64_t{1}).Attr("alpha", 0.125f).Input(RandomFloats({2, 4, 5, 8}, 1));
    r->Input(RandomFloats({2, 4, 7, 8}, 2));
  }
  Compare(run, plain, 1e-5);
  OpRunner batch("FusedMatMul", 1, "com.microsoft"), batch_plain("FusedMatMul", 1, "com.microsoft");
  for (OpRunner* r : {&batch, &batch_plain}) {
    r->Attr("transBatchA", int64_t{1}).Attr("transBatchB", int64_t{1});
    r->Input(RandomFloats({5, 4, 8}, 1)).Input(RandomFloats({8, 4, 7}, 2));
  }
  Compare(batch, batch_plain, 1e-5);
}

TEST(RondoMatMulTest, EveryActivationAgreesWithPlain) {
  for (const char* act : {"", "Relu", "Gelu", "GeluTanh", "Silu", "QuickGelu", "Sigmoid", "Tanh", "LeakyRelu",
                          "HardSwish", "HardSigmoid", "Elu", "Softplus", "Mish", "Clip"}) {
    for (bool residual : {false, true}) {
      OpRunner fast("MatMul", 1, "rondo"), plain("MatMul", 1, "rondo");
      for (OpRunner* run : {&fast, &plain}) {
        run->Attr("activation", std::string(act)).Attr("trans_b", int64_t{1}).Attr("alpha", residual ? 0.5f : 1.0f);
        run->Input(RandomFloats({2, 3, 16}, 1)).Constant(RandomFloats({24, 16}, 2)).Constant(RandomFloats({24}, 3));
        if (residual) run->Input(RandomFloats({2, 3, 24}, 4));
      }
      Compare(fast, plain, 1e-4);
    }
  }
}

TEST(RondoMatMulTest, SixteenBitFloatsTakeBiasAndResidual) {
  for (DataType dtype : {DataType::kFloat16, DataType::kBFloat16}) {
    OpRunner fast("MatMul", 1, "rondo"), plain("MatMul", 1, "rondo");
    for (OpRunner* run : {&fast, &plain}) {
      run->Attr("activation", std::string("Relu")).Input(AsType(RandomFloats({3, 16}, 1), dtype));
      run->Constant(AsType(RandomFloats({16, 24}, 2), dtype)).Input(AsType(RandomFloats({24}, 3), dtype));
      run->Input(AsType(RandomFloats({3, 24}, 4), dtype));
    }
    Compare(fast, plain, 2e-2);
  }
}

}  // namespace
}  // namespace rondo
