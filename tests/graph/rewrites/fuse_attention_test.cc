// Attention in the forms of each exporter: it is found, reads K and V where they come from, and gives the same results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Not;

constexpr float kInfinity = INFINITY;

// q [B, 4, T, 8], k [B, 2, S, 8], v [B, 2, S, 6], mask [B, 1, T, S] float, keep [B, 1, T, S] bool; symbolic B, T, S.
class FuseAttentionTest : public ::testing::Test {
 protected:
  GraphBuilder b;
  Value* q = b.Input("q", DataType::kFloat, {"batch", "4", "queries", "8"});
  Value* k = b.Input("k", DataType::kFloat, {"batch", "2", "keys", "8"});
  Value* v = b.Input("v", DataType::kFloat, {"batch", "2", "keys", "6"});
  Value* mask = b.Input("mask", DataType::kFloat, {"batch", "1", "queries", "keys"});
  Value* keep = b.Input("keep", DataType::kBool, {"batch", "1", "queries", "keys"});

  Value* Scalar(float x) { return b.Constant(FloatTensor({}, {x})); }
  Value* Ints(std::vector<int64_t> values) {
    return b.Constant(Int64Tensor({static_cast<int64_t>(values.size())}, values));
  }
  Value* Transpose(Value* x, std::vector<int64_t> perm) { return b.Op("Transpose", 13, {x}, {{"perm", perm}}); }
  Value* SwapLast(Value* x) { return Transpose(x, {0, 1, 3, 2}); }
  Value* MatMul(Value* x, Value* y) { return b.Op("MatMul", 13, {x, y}); }
  Value* Softmax(Value* x) { return b.Op("Softmax", 13, {x}, {{"axis", int64_t{-1}}}); }
  Value* Mul(Value* x, float factor) { return b.Op("Mul", 14, {x, Scalar(factor)}); }
  Value* Add(Value* x, Value* y) { return b.Op("Add", 14, {x, y}); }
  Value* Where(Value* condition, Value* x, Value* y) { return b.Op("Where", 16, {condition, x, y}); }
  Value* Reshape(Value* x, std::vector<Value*> parts) {
    return b.Op("Reshape", 14, {x, b.Op("Concat", 13, parts, {{"axis", int64_t{0}}})});
  }
  Value* Dim(Value* x, int64_t axis) { return b.Op("Shape", 15, {x}, {{"start", axis}, {"end", axis + 1}}); }
  // Heads 0 1 -> 0 0 1 1, as transformers' repeat_kv.
  Value* Repeat(Value* x) {
    Value* unsqueezed = b.Op("Unsqueeze", 13, {x, Ints({2})});
    Value* shape = b.Op("Concat", 13, {Dim(x, 0), Ints({2, 2}), Dim(x, 2), Dim(x, 3)}, {{"axis", int64_t{0}}});
    return Reshape(b.Op("Expand", 13, {unsqueezed, shape}), {Dim(x, 0), Ints({4}), Dim(x, 2), Dim(x, 3)});
  }
  // [B, H, S, D] -> [B * H, S, D]
  Value* Flat(Value* x) { return Reshape(x, {Ints({-1}), Dim(x, 2), Dim(x, 3)}); }

  std::vector<Tensor> Inputs() {
    std::vector<bool> kept(2 * 3 * 5);
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = i % 3 != 0;
    for (size_t i = 5; i < 10; ++i) kept[i] = false;  // a row of nothing
    return {RandomFloats({2, 4, 3, 8}, 1), RandomFloats({2, 2, 5, 8}, 2), RandomFloats({2, 2, 5, 6}, 3),
            RandomFloats({2, 1, 3, 5}, 4), BoolTensor({2, 1, 3, 5}, kept)};
  }

  // The graph fuses to attention over k and v themselves, with the same result.
  Node* ExpectFused(Value* y, int operators = 1, double tolerance = 1e-5) {
    b.Output(y);
    ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs(), tolerance);
    EXPECT_EQ(OperatorsOf(b.graph()).size(), operators);
    for (const auto& node : b.graph().nodes()) {
      if (!node->Is("Attention")) continue;
      EXPECT_EQ(node->input(1), k);
      EXPECT_EQ(node->input(2), v);
      return node.get();
    }
    ADD_FAILURE() << "no Attention";
    return nullptr;
  }
  void ExpectLeftAlone(Value* y) {
    b.Output(y);
    EXPECT_EQ(ApplyRewrite(b.graph(), "fuse_attention"), 0);
  }
};

TEST_F(FuseAttentionTest, RepeatedHeads) {
  Node* fused = ExpectFused(MatMul(Softmax(Add(MatMul(q, SwapLast(Repeat(k))), mask)), Repeat(v)));
  EXPECT_EQ(fused->input(0), q);
  EXPECT_EQ(fused->input(3), mask);
  EXPECT_EQ(fused->FloatOr("scale", 0), 1);
}

TEST_F(FuseAttentionTest, HeadsRepeatedBehindTheKeysTransposeByTileOrByConcat) {
  Value* k_columns = b.Op("Unsqueeze", 13, {SwapLast(k), Ints({2})});
  k_columns = b.Op("Tile", 13, {k_columns, Ints({1, 1, 2, 1, 1})});
  k_columns = Reshape(k_columns, {Dim(k, 0), Ints({4}), Dim(k, 3), Dim(k, 2)});
  Value* vs = b.Op("Unsqueeze", 13, {v, Ints({2})});
  vs = Reshape(b.Op("Concat", 13, {vs, vs}, {{"axis", int64_t{2}}}), {Dim(v, 0), Ints({4}), Dim(v, 2), Dim(v, 3)});
  ExpectFused(MatMul(Softmax(MatMul(q, k_columns)), vs));
}

TEST_F(FuseAttentionTest, KeysTransposedInTheFlattenedForm) {
  Value* columns = Transpose(Flat(Repeat(k)), {0, 2, 1});
  columns = Mul(Reshape(columns, {Dim(q, 0), Ints({4}), Dim(k, 3), Dim(k, 2)}), 0.5f);
  Node* fused = ExpectFused(MatMul(Softmax(MatMul(Mul(q, 0.5f), columns)), Repeat(v)));
  EXPECT_EQ(fused->FloatOr("scale", 0), 0.25f);
}

TEST_F(FuseAttentionTest, ScaledAfterTheProduct) {
  Value* scores = b.Op("Div", 14, {MatMul(q, SwapLast(Repeat(k))), Scalar(4)});
  EXPECT_EQ(ExpectFused(MatMul(Softmax(Add(scores, mask)), Repeat(v)))->FloatOr("scale", 0), 0.25f);
}

TEST_F(FuseAttentionTest, ARowOfNothingIsZeroBehindAGuard) {
  Value* excluding = Where(keep, Scalar(0), Scalar(-kInfinity));
  Value* p = Softmax(Add(MatMul(q, SwapLast(Repeat(k))), excluding));
  p = Where(b.Op("IsNaN", 13, {p}), Scalar(0), p);
  Node* fused = ExpectFused(MatMul(p, Repeat(v)), 2);
  EXPECT_EQ(fused->input(3), excluding);
}

TEST_F(FuseAttentionTest, ReplacedByMinusInfinityIsABooleanMask) {
  Value* scores = Where(keep, MatMul(q, SwapLast(Repeat(k))), Scalar(-kInfinity));
  Value* p = Softmax(scores);
  p = Where(b.Op("IsNaN", 13, {p}), Scalar(0), p);
  EXPECT_EQ(ExpectFused(MatMul(p, Repeat(v)))->input(3), keep);
}

TEST_F(FuseAttentionTest, ReplacedWhereTrueIsTheInverseMask) {
  Value* drop = b.Op("Not", 1, {keep});
  Value* p = Softmax(Where(drop, Scalar(-kInfinity), Mul(MatMul(q, SwapLast(Repeat(k))), 0.5f)));
  p = Where(b.Op("IsNaN", 13, {p}), Scalar(0), p);
  ExpectFused(MatMul(p, Repeat(v)), 3);
}

TEST_F(FuseAttentionTest, ReplacedByTheLowestNumberKeepsTheMeanOfRowsOfNothing) {
  Value* scores = Add(Where(keep, MatMul(q, SwapLast(Repeat(k))), Scalar(-FLT_MAX)), mask);
  ExpectFused(MatMul(Softmax(scores), Repeat(v)), 2, 1e-4);
}

TEST_F(FuseAttentionTest, ReplacedByALowNumberKeepsTheMeanOfRowsOfNothing) {
  Value* scores = Where(keep, MatMul(q, SwapLast(Repeat(k))), Scalar(-10000));
  ExpectFused(MatMul(Softmax(scores), Repeat(v)), 2, 1e-4);
}

TEST_F(FuseAttentionTest, SeveralMasksAreOne) {
  Value* scores = Add(MatMul(q, SwapLast(Repeat(k))), mask);
  Value* p = Softmax(Add(Where(keep, scores, Scalar(-kInfinity)), mask));
  p = Where(b.Op("IsNaN", 13, {p}), Scalar(0), p);
  ExpectFused(MatMul(p, Repeat(v)), 3);
}

TEST_F(FuseAttentionTest, SoftCap) {
  Value* scores = Mul(MatMul(q, SwapLast(Repeat(k))), 0.5f);
  scores = Mul(b.Op("Tanh", 13, {b.Op("Div", 14, {scores, Scalar(3)})}), 3);
  Node* fused = ExpectFused(MatMul(Softmax(Add(scores, mask)), Repeat(v)));
  EXPECT_EQ(fused->FloatOr("softcap", 0), 3);
  EXPECT_EQ(fused->FloatOr("scale", 0), 0.5f);
}

TEST_F(FuseAttentionTest, FlattenedHeadsWithFlattenedAlibi) {
  // As in bloom: everything in [B * H, T, S], the alibi made there, the mask in [B, H, T, S].
  Value* slopes = b.Op("Slice", 13, {Repeat(k), Ints({0}), Ints({1}), Ints({3})});  // any [B, 4, S, 1]
  Value* alibi = Flat(SwapLast(slopes));
  Value* scores = MatMul(Flat(q), Transpose(Flat(Repeat(k)), {0, 2, 1}));
  scores = Add(Mul(scores, 0.5f), alibi);
  scores = Add(Reshape(scores, {Dim(q, 0), Ints({4}), Dim(q, 2), Dim(k, 2)}), mask);
  Value* y = MatMul(Reshape(Softmax(scores), {Ints({-1}), Dim(q, 2), Dim(k, 2)}), Flat(Repeat(v)));
  b.Output(Reshape(y, {Dim(q, 0), Ints({4}), Dim(q, 2), Ints({6})}));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("MatMul")));
}

TEST_F(FuseAttentionTest, BatchesThatAreNeverSplitIntoHeads) {
  Value* y = MatMul(Softmax(MatMul(Flat(k), Transpose(Flat(k), {0, 2, 1}))), Flat(v));
  b.Output(Transpose(y, {1, 0, 2}));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
}

TEST_F(FuseAttentionTest, GroupsOfQueriesBroadcastAgainstTheirKeys) {
  Value* grouped = Reshape(q, {Dim(q, 0), Ints({2, 2}), Dim(q, 2), Ints({8})});
  Value* columns = b.Op("Unsqueeze", 13, {SwapLast(k), Ints({2})});
  Value* y = MatMul(Softmax(MatMul(grouped, columns)), b.Op("Unsqueeze", 13, {v, Ints({2})}));
  Node* fused = ExpectFused(Reshape(y, {Dim(q, 0), Ints({4}), Dim(q, 2), Ints({6})}));
  EXPECT_EQ(fused->input(0), q);
}

TEST_F(FuseAttentionTest, RowsBeforeHeadsAreTransposed) {
  // Caches of [S, heads, size], without a batch.
  Value* q = b.Input("q_rows", DataType::kFloat, {"n", "4", "8"});
  Value* k = b.Input("k_rows", DataType::kFloat, {"s", "2", "8"});
  Value* grouped = b.Op("Reshape", 14, {Transpose(q, {1, 0, 2}), Ints({2, 2, -1, 8})});
  Value* columns = b.Op("Unsqueeze", 13, {Transpose(k, {1, 2, 0}), Ints({1})});
  Value* rows = b.Op("Unsqueeze", 13, {Transpose(k, {1, 0, 2}), Ints({1})});
  Value* y = MatMul(Softmax(MatMul(grouped, columns)), rows);
  b.Output(b.Op("Reshape", 14, {y, Ints({4, -1, 8})}));
  std::vector<Tensor> inputs = Inputs();
  inputs.push_back(RandomFloats({3, 4, 8}, 6));
  inputs.push_back(RandomFloats({7, 2, 8}, 7));
  ExpectSameResults(b.graph(), {"fuse_attention"}, inputs);
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("MatMul")));
}

TEST_F(FuseAttentionTest, FusedMatMulOfOnnxruntime) {
  Value* scores = b.Op("com.microsoft::FusedMatMul", 1, {q, Repeat(k)}, {{"alpha", 0.25f}, {"transB", int64_t{1}}});
  EXPECT_EQ(ExpectFused(MatMul(Softmax(scores), Repeat(v)))->FloatOr("scale", 0), 0.25f);
}

TEST_F(FuseAttentionTest, HalfPrecisionWithASoftmaxInFloat) {
  const auto half = [&](Value* x) { return b.Op("Cast", 13, {x}, {{"to", int64_t{10}}}); };
  const auto single = [&](Value* x) { return b.Op("Cast", 13, {x}, {{"to", int64_t{1}}}); };
  Value *q16 = half(q), *k16 = half(k), *v16 = half(v);
  Value* p = Softmax(Add(single(MatMul(q16, SwapLast(Repeat(k16)))), mask));
  b.Output(single(MatMul(half(p), Repeat(v16))));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs(), 4e-3);
  for (const auto& node : b.graph().nodes()) {
    if (!node->Is("Attention")) continue;
    EXPECT_EQ(node->input(0), q16);
    EXPECT_EQ(node->input(1), k16);
    EXPECT_EQ(node->input(2), v16);
    EXPECT_EQ(node->IntOr("softmax_precision", 0), 1);
  }
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
}

TEST_F(FuseAttentionTest, ValuesThatAreWidenedAfterTheirRepetition) {
  // Optimum in float16: scores and values in float32.
  const auto cast = [&](Value* x, int64_t to) { return b.Op("Cast", 13, {x}, {{"to", to}}); };
  Value *q16 = cast(q, 10), *k16 = cast(k, 10), *v16 = cast(v, 10);
  Value* p = Softmax(Add(cast(MatMul(q16, SwapLast(Repeat(k16))), 1), mask));
  b.Output(MatMul(p, cast(Repeat(v16), 1)));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs(), 4e-3);
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Expand")));
}

TEST_F(FuseAttentionTest, HeadsRepeatedInTurnAreNoGroups) {
  // 0 1 0 1: query heads 0 and 1 do not share a key head.
  Value* ks = b.Op("Tile", 13, {k, Ints({1, 2, 1, 1})});
  Value* vs = b.Op("Tile", 13, {v, Ints({1, 2, 1, 1})});
  b.Output(MatMul(Softmax(MatMul(q, SwapLast(ks))), vs));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Tile"));
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
}

TEST_F(FuseAttentionTest, HeadsRepeatedForKeysOnlyStayRepeated) {
  Value* vs = b.Op("Tile", 13, {v, Ints({1, 2, 1, 1})});
  b.Output(MatMul(Softmax(MatMul(q, SwapLast(Repeat(k)))), vs));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Expand"));
}

TEST_F(FuseAttentionTest, ASoftmaxOverAnotherAxisIsNoAttention) {
  Value* p = b.Op("Softmax", 13, {MatMul(q, SwapLast(Repeat(k)))}, {{"axis", int64_t{2}}});
  ExpectLeftAlone(MatMul(p, Repeat(v)));
}

TEST_F(FuseAttentionTest, ScoresThatOthersReadStay) {
  Value* scores = MatMul(q, SwapLast(Repeat(k)));
  b.Output(scores);
  ExpectLeftAlone(MatMul(Softmax(scores), Repeat(v)));
}

TEST_F(FuseAttentionTest, ProbabilitiesThatOthersReadStay) {
  Value* p = Softmax(MatMul(q, SwapLast(Repeat(k))));
  b.Output(p);
  ExpectLeftAlone(MatMul(p, Repeat(v)));
}

TEST_F(FuseAttentionTest, MasksAreScaledWithTheirScores) {
  Value* scores = Where(keep, Add(MatMul(q, SwapLast(Repeat(k))), mask), Scalar(-FLT_MAX));
  Value* y = MatMul(Softmax(b.Op("Div", 14, {scores, Scalar(4)})), Repeat(v));
  b.Output(y);
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs(), 1e-4);
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("MatMul")));
}

TEST_F(FuseAttentionTest, AMaskInsideTheCapIsNoMask) {
  Value* scores = Add(MatMul(q, SwapLast(Repeat(k))), mask);
  scores = Mul(b.Op("Tanh", 13, {b.Op("Div", 14, {scores, Scalar(3)})}), 3);
  ExpectLeftAlone(MatMul(Softmax(scores), Repeat(v)));
}

TEST_F(FuseAttentionTest, HeadsRepeatedByGather) {
  const auto repeat = [&](Value* x) { return b.Op("Gather", 13, {x, Ints({0, 0, 1, 1})}, {{"axis", int64_t{1}}}); };
  ExpectFused(MatMul(Softmax(MatMul(q, SwapLast(repeat(k)))), repeat(v)));
}

TEST_F(FuseAttentionTest, HeadsGatheredInAnotherOrderStayGathered) {
  const auto gather = [&](Value* x) { return b.Op("Gather", 13, {x, Ints({1, 0, 1, 1})}, {{"axis", int64_t{1}}}); };
  b.Output(MatMul(Softmax(MatMul(q, SwapLast(gather(k)))), gather(v)));
  ExpectSameResults(b.graph(), {"fuse_attention"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Gather"));
}

TEST_F(FuseAttentionTest, ScoresReplacedByAnOrdinaryNumberAreNotMasked) {
  Value* scores = Where(keep, MatMul(q, SwapLast(Repeat(k))), Scalar(-1));
  ExpectLeftAlone(MatMul(Softmax(scores), Repeat(v)));
}

// ---- share_heads ----

TEST_F(FuseAttentionTest, AttentionReadsWhatWasRepeatedForIt) {
  Value* y = b.Op("Attention", 23, {q, Repeat(k), Repeat(v), mask});
  b.Output(y);
  ExpectSameResults(b.graph(), {"share_heads"}, Inputs());
  EXPECT_THAT(OperatorsOf(b.graph()), Each("Attention"));
}

TEST_F(FuseAttentionTest, APastKeepsTheRepeatedHeads) {
  Value* repeated = Repeat(k);
  Node* attention = b.Node_("Attention", 23, {q, repeated, repeated, nullptr, repeated, repeated}, 3);
  b.Output(attention->output(0));
  b.Output(attention->output(1));
  EXPECT_EQ(ApplyRewrite(b.graph(), "share_heads"), 0);
}

// ---- lower_multi_head_attention ----

TEST_F(FuseAttentionTest, MultiHeadAttentionReadsTheCacheBehindItsRepetition) {
  // onnxruntime-genai's builder: heads repeated, then put side by side.
  const auto rows = [&](Value* x, int64_t hidden) {
    return b.Op("Reshape", 14, {Transpose(x, {0, 2, 1, 3}), Ints({0, 0, hidden})});
  };
  Value* y = b.Op("com.microsoft::MultiHeadAttention", 1,
                  {rows(q, 32), rows(Repeat(k), 32), rows(Repeat(v), 24), nullptr, nullptr, mask},
                  {{"num_heads", int64_t{4}}});
  b.Output(y);
  ExpectSameResults(b.graph(), {"lower_multi_head_attention", "share_heads", "remove_no_ops"}, Inputs());
  for (const auto& node : b.graph().nodes()) {
    if (!node->Is("Attention")) continue;
    EXPECT_EQ(node->input(1), k);
    EXPECT_EQ(node->input(2), v);
  }
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Attention"));
}

TEST_F(FuseAttentionTest, MultiHeadAttentionWithAPaddingMaskStays) {
  Value* x = b.Input("x", DataType::kFloat, {"2", "3", "8"});
  Value* padding = b.Input("padding", DataType::kInt32, {"2", "3"});
  b.Output(b.Op("com.microsoft::MultiHeadAttention", 1, {x, x, x, nullptr, padding}, {{"num_heads", int64_t{2}}}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "lower_multi_head_attention"), 0);
}

}  // namespace
}  // namespace rondo
