// Each rewrite alone: it fires on the form that exporters emit, not on its near misses, and results stay the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

Tensor Scalar(float value) { return FloatTensor({}, {value}); }

TEST(RewritesTest, UnknownNamesAreRefusedWithTheList) {
  Graph graph;
  auto reports = ApplyRewrites(graph, RewriteContext(), {"no_such"});
  EXPECT_THAT(std::string(reports.status().message()), HasSubstr("unknown rewrite \"no_such\"; there are: "));
  EXPECT_THAT(std::string(reports.status().message()), HasSubstr("fold_constants"));
}

TEST(ReadTransposedTest, ProductsReadTheMatrixAsItLies) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* table = b.Constant(RandomFloats({6, 8}));
  b.Output(b.Op("MatMul", 13, {x, b.Op("Transpose", 13, {table}, {{"perm", std::vector<int64_t>{1, 0}}})}));
  b.Output(b.Op("Gather", 13, {table, b.Constant(Int64Tensor({1}, {2}))}));
  ExpectSameResults(b.graph(), {"read_transposed"}, {RandomFloats({5, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), UnorderedElementsAre("rondo::MatMul", "Gather"));
}

TEST(ReadTransposedTest, ATransposeThatOthersReadStays) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* transposed = b.Op("Transpose", 13, {b.Constant(RandomFloats({6, 8}))});
  b.Output(b.Op("MatMul", 13, {x, transposed}));
  b.Output(transposed);
  EXPECT_EQ(ApplyRewrite(b.graph(), "read_transposed"), 0);
}

TEST(FoldConstantsTest, ComputesConstantNodes) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"2"});
  Value* sum = b.Op("Add", 14, {b.Constant(FloatTensor({2}, {1, 2})), b.Constant(FloatTensor({2}, {3, 4}))});
  b.Output(b.Op("Mul", 14, {x, sum}));
  ExpectSameResults(b.graph(), {"fold_constants"}, {FloatTensor({2}, {5, 6})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Mul"));
}

TEST(FoldConstantsTest, NeverOutgrowsItsBudget) {
  GraphBuilder b;
  b.Output(b.Op("ConstantOfShape", 9, {b.Constant(Int64Tensor({2}, {1 << 15, 1 << 15}))}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "fold_constants"), 0);
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("ConstantOfShape"));
}

TEST(FoldConstantsTest, UsesShapesThatInferenceKnows) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "8"});
  Value* width = b.Op("Gather", 13, {b.Op("Shape", 15, {x}), b.Constant(Int64Tensor({}, {1}))});
  b.Output(width);
  EXPECT_GT(ApplyRewrite(b.graph(), "fold_constants"), 0);
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Gather")));
}

TEST(RemoveNoOpsTest, DropsIdentitiesCastsAndOrderlyTransposes) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "4"});
  Value* v = b.Op("Identity", 16, {x});
  v = b.Op("Cast", 13, {v}, {{"to", int64_t{1}}});
  v = b.Op("Transpose", 13, {v}, {{"perm", std::vector<int64_t>{0, 1}}});
  b.Output(b.Op("Relu", 14, {v}));
  ExpectSameResults(b.graph(), {"remove_no_ops"}, {RandomFloats({3, 4})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Relu"));
}

TEST(RemoveNoOpsTest, MergesTransposes) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"2", "3", "4"});
  Value* v = b.Op("Transpose", 13, {x}, {{"perm", std::vector<int64_t>{1, 2, 0}}});
  v = b.Op("Transpose", 13, {v}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
  b.Output(b.Op("Relu", 14, {v}));
  ExpectSameResults(b.graph(), {"remove_no_ops"}, {RandomFloats({2, 3, 4})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Transpose", "Relu"));
}

TEST(RemoveNoOpsTest, AReversingSliceStays) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"4"});
  Value* v = b.Op("Slice", 13,
                  {x, b.Constant(Int64Tensor({1}, {-1})), b.Constant(Int64Tensor({1}, {INT64_MIN})),
                   b.Constant(Int64Tensor({1}, {0})), b.Constant(Int64Tensor({1}, {-1}))});
  b.Output(b.Op("Relu", 14, {v}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "remove_no_ops"), 0);
}

TEST(RemoveNoOpsTest, DropsFactorsOfOneAndEmptyOperands) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "4"});
  Value* empty = b.Op("Slice", 13,
                      {x, b.Constant(Int64Tensor({1}, {4})), b.Constant(Int64Tensor({1}, {INT64_MAX})),
                       b.Constant(Int64Tensor({1}, {1}))});
  Value* v = b.Op("Mul", 14, {x, b.Constant(Scalar(1))});
  v = b.Op("Concat", 13, {v, empty}, {{"axis", int64_t{1}}});
  b.Output(b.Op("Relu", 14, {v}));
  ExpectSameResults(b.graph(), {"remove_no_ops"}, {RandomFloats({3, 4})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Relu"));
}

TEST(RemoveNoOpsTest, AFactorOfOneThatAddsAnAxisStays) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"4"});
  b.Output(b.Op("Relu", 14, {b.Op("Mul", 14, {x, b.Constant(FloatTensor({1, 1}, {1}))})}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "remove_no_ops"), 0);
}

TEST(RemoveNoOpsTest, AReshapeBackIsNone) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "seq", "8"});
  Value* split = b.Op("Reshape", 14, {x, b.Constant(Int64Tensor({4}, {0, 0, 2, 4}))});
  b.Output(b.Op("Relu", 14, {b.Op("Reshape", 14, {split, b.Constant(Int64Tensor({3}, {0, 0, 8}))})}));
  ExpectSameResults(b.graph(), {"remove_no_ops"}, {RandomFloats({2, 3, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Relu"));
}

TEST(ShareCommonTest, EqualNodesAreOne) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"4"});
  Value* first = b.Op("Mul", 14, {x, b.Constant(Scalar(2))});
  Value* second = b.Op("Mul", 14, {x, b.Constant(Scalar(2))});
  b.Output(b.Op("Sub", 14, {first, b.Op("Neg", 13, {second})}));
  ExpectSameResults(b.graph(), {"share_common"}, {RandomFloats({4})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Mul", "Neg", "Sub"));
}

TEST(ShareCommonTest, OtherAttributesAreOtherNodes) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"2", "2"});
  Value* first = b.Op("Softmax", 13, {x}, {{"axis", int64_t{0}}});
  Value* second = b.Op("Softmax", 13, {x}, {{"axis", int64_t{1}}});
  b.Output(b.Op("Add", 14, {first, second}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "share_common"), 0);
}

// The form of torch's TorchScript exporter.
Value* DecomposedLayerNorm(GraphBuilder& b, Value* x, bool reciprocal) {
  const NamedAttributes last = {{"axes", std::vector<int64_t>{-1}}};
  Value* d = b.Op("Sub", 14, {x, b.Op("ReduceMean", 13, {x}, last)});
  Value* variance = b.Op("ReduceMean", 13, {b.Op("Pow", 13, {d, b.Constant(Scalar(2))})}, last);
  Value* root = b.Op("Sqrt", 13, {b.Op("Add", 14, {variance, b.Constant(Scalar(1e-5f))})});
  Value* y = reciprocal ? b.Op("Mul", 14, {d, b.Op("Reciprocal", 13, {root})}) : b.Op("Div", 14, {d, root});
  y = b.Op("Mul", 14, {y, b.Constant(RandomFloats({8}, 2))});
  return b.Op("Add", 14, {y, b.Constant(RandomFloats({8}, 3))});
}

TEST(FuseLayerNormTest, RecognisesBothFormsOfTheDivision) {
  for (bool reciprocal : {false, true}) {
    GraphBuilder b;
    Value* x = b.Input("x", DataType::kFloat, {"batch", "8"});
    b.Output(DecomposedLayerNorm(b, x, reciprocal));
    ExpectSameResults(b.graph(), {"fuse_layer_norm"}, {RandomFloats({3, 8})});
    EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("LayerNormalization"));
  }
}

TEST(FuseLayerNormTest, RecognisesRmsNorm) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "seq", "8"});
  Value* mean =
      b.Op("ReduceMean", 18, {b.Op("Pow", 13, {x, b.Constant(Scalar(2))}), b.Constant(Int64Tensor({1}, {-1}))});
  Value* root = b.Op("Sqrt", 13, {b.Op("Add", 14, {mean, b.Constant(Scalar(1e-6f))})});
  Value* y = b.Op("Mul", 14, {x, b.Op("Div", 14, {b.Constant(Scalar(1)), root})});
  b.Output(b.Op("Mul", 14, {b.Constant(RandomFloats({8}, 2)), y}));
  ExpectSameResults(b.graph(), {"fuse_layer_norm"}, {RandomFloats({2, 3, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("RMSNormalization"));
}

TEST(FuseLayerNormTest, AMeanOverAnotherAxisIsNoNorm) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"4", "8"});
  Value* mean = b.Op("ReduceMean", 13, {b.Op("Mul", 14, {x, x})}, {{"axes", std::vector<int64_t>{0}}});
  b.Output(b.Op("Div", 14, {x, b.Op("Sqrt", 13, {b.Op("Add", 14, {mean, b.Constant(Scalar(1e-6f))})})}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "fuse_layer_norm"), 0);
}

TEST(FuseGeluTest, RecognisesTheExactForm) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* erf = b.Op("Erf", 13, {b.Op("Div", 14, {x, b.Constant(Scalar(std::sqrt(2.0f)))})});
  Value* y = b.Op("Mul", 14, {x, b.Op("Add", 14, {erf, b.Constant(Scalar(1))})});
  b.Output(b.Op("Mul", 14, {y, b.Constant(Scalar(0.5f))}));
  ExpectSameResults(b.graph(), {"fuse_gelu"}, {RandomFloats({3, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Gelu"));
}

TEST(FuseGeluTest, RecognisesTheTanhForm) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* half = b.Op("Mul", 14, {b.Constant(Scalar(0.5f)), x});
  Value* cube = b.Op("Mul", 14, {b.Constant(Scalar(0.044715f)), b.Op("Pow", 13, {x, b.Constant(Scalar(3))})});
  Value* inner = b.Op("Mul", 14, {b.Op("Add", 14, {x, cube}), b.Constant(Scalar(0.7978845608f))});
  b.Output(b.Op("Mul", 14, {half, b.Op("Add", 14, {b.Op("Tanh", 13, {inner}), b.Constant(Scalar(1))})}));
  ExpectSameResults(b.graph(), {"fuse_gelu"}, {RandomFloats({3, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Gelu"));
}

TEST(FuseSwishTest, RecognisesSwishAndSwiGlu) {
  GraphBuilder b;
  Value* gate = b.Input("gate", DataType::kFloat, {"n", "8"});
  Value* up = b.Input("up", DataType::kFloat, {"n", "8"});
  b.Output(b.Op("Mul", 14, {b.Op("Mul", 14, {gate, b.Op("Sigmoid", 13, {gate})}), up}));
  ExpectSameResults(b.graph(), {"fuse_swish"}, {RandomFloats({3, 8}), RandomFloats({3, 8}, 2)});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("rondo::SwiGlu"));
}

TEST(FuseMatMulTest, AbsorbsBiasActivationAndResidual) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* y = b.Op("MatMul", 13, {x, b.Constant(RandomFloats({8, 8}, 2))});
  y = b.Op("Relu", 14, {b.Op("Add", 14, {y, b.Constant(RandomFloats({8}, 3))})});
  y = b.Op("Gemm", 13, {y, b.Constant(RandomFloats({8, 8}, 4)), b.Constant(RandomFloats({8}, 5))},
           {{"transB", int64_t{1}}});
  b.Output(b.Op("Add", 14, {x, y}));
  ExpectSameResults(b.graph(), {"fuse_matmul"}, {RandomFloats({5, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("rondo::MatMul", "rondo::MatMul"));
}

TEST(FuseMatMulTest, AProductThatOthersReadKeepsItsValue) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n", "8"});
  Value* y = b.Op("MatMul", 13, {x, b.Constant(RandomFloats({8, 8}, 2))});
  b.Output(y);
  b.Output(b.Op("Relu", 14, {y}));
  ExpectSameResults(b.graph(), {"fuse_matmul"}, {RandomFloats({5, 8})});
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("rondo::MatMul", "Relu"));
}

TEST(FoldBatchNormTest, BecomesTheConvolutionsOwnWeights) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"1", "3", "6", "6"});
  Value* y = b.Op("Conv", 11, {x, b.Constant(RandomFloats({4, 3, 3, 3}, 2))});
  Tensor variance = FloatTensor({4}, {0.5, 1, 2, 3});
  b.Output(b.Op("BatchNormalization", 15,
                {y, b.Constant(RandomFloats({4}, 3)), b.Constant(RandomFloats({4}, 4)),
                 b.Constant(RandomFloats({4}, 5)), b.Constant(variance)}));
  ExpectSameResults(b.graph(), {"fold_batch_norm"}, {RandomFloats({1, 3, 6, 6})}, 1e-4);
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Conv"));
}

TEST(FuseConvTest, AbsorbsResidualAndActivation) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"1", "4", "6", "6"});
  const NamedAttributes same = {{"pads", std::vector<int64_t>{1, 1, 1, 1}}};
  Value* y = b.Op("Conv", 11, {x, b.Constant(RandomFloats({4, 4, 3, 3}, 2)), b.Constant(RandomFloats({4}, 3))}, same);
  b.Output(b.Op("Relu", 14, {b.Op("Add", 14, {y, x})}));
  ExpectSameResults(b.graph(), {"fuse_conv"}, {RandomFloats({1, 4, 6, 6})}, 1e-4);
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("rondo::Conv"));
}

}  // namespace
}  // namespace rondo
