// Einsum by contraction against the definition (the plain kernel); Det, Inverse; DeformConv, Col2Im, MaxUnpool,
// MaxRoiPool.
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using Ints = std::vector<int64_t>;

void Compare(const std::string& equation, std::vector<Dims> dims, DataType dtype = DataType::kFloat) {
  SCOPED_TRACE(equation);
  std::vector<Tensor> results;
  for (bool plain : {false, true}) {
    OpRunner run("Einsum", 12);
    run.Attr("equation", equation).Plain(plain);
    for (size_t i = 0; i < dims.size(); ++i) {
      Tensor t = RandomFloats(dims[i], static_cast<int>(i) + 1);
      if (dtype == DataType::kInt64) {
        Tensor ints = Tensor::Make(dtype, t.dims());
        for (int64_t j = 0; j < t.size(); ++j)
          ints.mutable_data<int64_t>()[j] = static_cast<int64_t>(t.data<float>()[j] * 9);
        t = ints;
      }
      run.Input(t);
    }
    results.push_back(run.Run()[0]);
  }
  if (dtype == DataType::kInt64) {
    EXPECT_EQ(Int64s(results[0]), Int64s(results[1]));
  } else {
    EXPECT_EQ(FirstDifference(results[0], results[1], 1e-5, 1e-5), "");
  }
}

TEST(EinsumTest, ContractionsAgreeWithTheDefinition) {
  Compare("ij,jk->ik", {{3, 4}, {4, 5}});
  Compare("ij,jk", {{3, 4}, {4, 5}});
  Compare("ij,kj->ik", {{3, 4}, {5, 4}});
  Compare("bhid,bhjd->bhij", {{2, 3, 4, 8}, {2, 3, 5, 8}});
  Compare("bihd,bjhd->bhij", {{2, 4, 3, 8}, {2, 5, 3, 8}});
  Compare("bhij,bjhd->bihd", {{2, 3, 4, 5}, {2, 5, 3, 8}});
  Compare("i,i->", {{7}, {7}});
  Compare("i,j->ij", {{3}, {4}});
  Compare("ij->ji", {{3, 4}});
  Compare("ij->", {{3, 4}});
  Compare("ij->j", {{3, 4}});
  Compare("ii->i", {{4, 4}});
  Compare("ii", {{4, 4}});
  Compare("...ii->...i", {{2, 3, 4, 4}});
  Compare("...ij,...jk->...ik", {{2, 3, 4}, {4, 5}});
  Compare("...ij,...jk->...ik", {{2, 1, 3, 4}, {5, 4, 6}});
  Compare("ab,cd,ef->acdf", {{2, 3}, {4, 5}, {6, 7}});
  Compare("abc,cd,db->ad", {{2, 3, 4}, {4, 5}, {5, 3}});
  Compare("abcd,cde->abe", {{2, 3, 4, 5}, {4, 5, 6}});
  Compare("bchw,bkhw->bck", {{2, 3, 4, 5}, {2, 6, 4, 5}});
  Compare("ij,ij->ij", {{3, 4}, {1, 4}});
  Compare(" i j , j k -> i k ", {{3, 4}, {4, 5}});
  Compare("aB,Bc->ac", {{3, 4}, {4, 5}});
  Compare("ij,jk->ik", {{3, 0}, {0, 5}});
  Compare("bij,bjk->bik", {{2, 3, 4}, {2, 4, 5}}, DataType::kInt64);
}

TEST(EinsumTest, ReportsWhatDoesNotFit) {
  OpRunner sizes("Einsum", 12);
  sizes.Attr("equation", std::string("ij,jk->ik")).Input(RandomFloats({2, 3})).Input(RandomFloats({4, 5}));
  EXPECT_NE(sizes.RunError().find("sizes 3 and 4"), std::string::npos) << sizes.RunError();
  OpRunner rank("Einsum", 12);
  rank.Attr("equation", std::string("ijk->i")).Input(RandomFloats({2, 3}));
  EXPECT_NE(rank.RunError().find("does not fit an operand of rank 2"), std::string::npos) << rank.RunError();
  OpRunner output("Einsum", 12);
  output.Attr("equation", std::string("ij->ik")).Input(RandomFloats({2, 3}));
  EXPECT_NE(output.RunError().find("unknown or repeated"), std::string::npos) << output.RunError();
  OpRunner text("Einsum", 12);
  text.Attr("equation", std::string("i-j->i")).Input(RandomFloats({2, 3}));
  EXPECT_NE(text.RunError().find("unexpected \"-\""), std::string::npos) << text.RunError();
}

TEST(LinearAlgebraTest, DetAndInverse) {
  OpRunner det("Det", 11);
  det.Input(FloatTensor({2, 2, 2}, {0, 2, 3, 4, 1, 2, 2, 4}));
  EXPECT_EQ(FirstDifference(det.Run()[0], FloatTensor({2}, {-6, 0})), "");
  OpRunner inverse("Inverse", 1, "com.microsoft");
  inverse.Input(FloatTensor({2, 2}, {0, 2, 4, 0}));
  EXPECT_EQ(FirstDifference(inverse.Run()[0], FloatTensor({2, 2}, {0, 0.25f, 0.5f, 0})), "");
}

TEST(DeformConvTest, WithoutOffsetsItIsConv) {
  OpRunner deform("DeformConv", 19), conv("Conv", 11);
  for (OpRunner* run : {&deform, &conv}) {
    run->Attr("pads", Ints{1, 1, 1, 1}).Attr("group", int64_t{2});
    run->Input(RandomFloats({2, 4, 6, 7}, 1)).Constant(RandomFloats({6, 2, 3, 3}, 2));
  }
  deform.Attr("offset_group", int64_t{2}).Input(Tensor::Make(DataType::kFloat, {2, 36, 6, 7}));
  deform.Constant(RandomFloats({6}, 3));
  conv.Constant(RandomFloats({6}, 3));
  EXPECT_EQ(FirstDifference(deform.Run()[0], conv.Run()[0], 1e-5, 1e-5), "");
}

TEST(DeformConvTest, OffsetsThatAreNoNumbersReadNothing) {
  OpRunner run("DeformConv", 19);
  run.Input(RandomFloats({1, 1, 2, 2}, 1)).Constant(FloatTensor({1, 1, 1, 1}, {1}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  run.Input(FloatTensor({1, 2, 2, 2}, {nan, 1e30f, -1e30f, nan, 0, 0, 0, 0}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 2, 2}, {0, 0, 0, 0})), "");
}

TEST(Col2ImTest, AddsOverlappingBlocks) {
  OpRunner run("Col2Im", 18);
  run.Input(FloatTensor({1, 2, 2}, {1, 2, 10, 20})).Input(Int64Tensor({2}, {1, 3})).Input(Int64Tensor({2}, {1, 2}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 1, 3}, {1, 12, 20})), "");
}

TEST(MaxUnpoolTest, PutsValuesAtTheirIndices) {
  OpRunner run("MaxUnpool", 11);
  run.Attr("kernel_shape", Ints{2}).Attr("strides", Ints{2}).Input(FloatTensor({1, 1, 2}, {5, 6}));
  run.Input(Int64Tensor({1, 1, 2}, {1, 2}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 4}, {0, 5, 6, 0})), "");
  OpRunner outside("MaxUnpool", 11);
  outside.Attr("kernel_shape", Ints{2}).Attr("strides", Ints{2}).Input(FloatTensor({1, 1, 2}, {5, 6}));
  outside.Input(Int64Tensor({1, 1, 2}, {1, 4}));
  EXPECT_NE(outside.RunError().find("index 4 is out of range [0, 3]"), std::string::npos) << outside.RunError();
  OpRunner shape("MaxUnpool", 11);
  shape.Attr("kernel_shape", Ints{2}).Input(FloatTensor({1, 1, 2}, {5, 6})).Input(Int64Tensor({1, 1, 2}, {1, 2}));
  shape.Input(FloatTensor({3}, {1, 1, 4}));
  EXPECT_NE(shape.RunError().find("input 2: expected int64, got float32"), std::string::npos) << shape.RunError();
}

TEST(MaxRoiPoolTest, PoolsCellsOfRegions) {
  OpRunner run("MaxRoiPool", 1);
  run.Attr("pooled_shape", Ints{1, 2}).Input(FloatTensor({1, 1, 2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}));
  run.Input(FloatTensor({1, 5}, {0, 0, 0, 3, 1}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 1, 1, 2}, {6, 8})), "");
  OpRunner batch("MaxRoiPool", 1);
  batch.Attr("pooled_shape", Ints{1, 1}).Input(RandomFloats({1, 1, 2, 4})).Input(FloatTensor({1, 5}, {1, 0, 0, 3, 1}));
  EXPECT_NE(batch.RunError().find("index 1 is out of range [0, 0]"), std::string::npos) << batch.RunError();
}

}  // namespace
}  // namespace rondo
