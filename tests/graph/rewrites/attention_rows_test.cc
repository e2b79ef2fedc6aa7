// Around attention and rotary embedding the transposes between rows of all heads and heads of rows vanish.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

class AttentionRowsTest : public ::testing::Test {
 protected:
  GraphBuilder b;
  Value* Reshape(Value* x, std::vector<int64_t> dims) {
    return b.Op("Reshape", 14, {x, b.Constant(Int64Tensor({static_cast<int64_t>(dims.size())}, dims))});
  }
  Value* Swap(Value* x) { return b.Op("Transpose", 13, {x}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}); }
  // [B, T, H * D] -> [B, H, T, D]
  Value* Heads(Value* x, int64_t heads, int64_t size) { return Swap(Reshape(x, {0, 0, heads, size})); }
  Value* Rows(Value* x, int64_t hidden) { return Reshape(Swap(x), {0, 0, hidden}); }
  int TransposesAfter(const std::vector<Tensor>& inputs, const std::vector<absl::string_view>& rewrites) {
    ExpectSameResults(b.graph(), rewrites, inputs);
    const std::vector<std::string> operators = OperatorsOf(b.graph());
    return static_cast<int>(std::count(operators.begin(), operators.end(), "Transpose"));
  }
};

TEST_F(AttentionRowsTest, AttentionReadsProjectionsAsTheyAre) {
  Value* q = b.Input("q", DataType::kFloat, {"batch", "tokens", "32"});
  Value* k = b.Input("k", DataType::kFloat, {"batch", "keys", "16"});
  Value* v = b.Input("v", DataType::kFloat, {"batch", "keys", "12"});
  Value* mask = b.Input("mask", DataType::kFloat, {"tokens", "keys"});
  b.Output(Rows(b.Op("Attention", 23, {Heads(q, 4, 8), Heads(k, 2, 8), Heads(v, 2, 6), mask}), 24));
  const std::vector<Tensor> inputs = {RandomFloats({2, 3, 32}, 1), RandomFloats({2, 5, 16}, 2),
                                      RandomFloats({2, 5, 12}, 3), RandomFloats({3, 5}, 4)};
  EXPECT_EQ(TransposesAfter(inputs, {"attention_rows", "remove_no_ops"}), 0);
}

TEST_F(AttentionRowsTest, RotaryEmbeddingTurnsRows) {
  Value* x = b.Input("x", DataType::kFloat, {"batch", "tokens", "32"});
  Value* cos = b.Input("cos", DataType::kFloat, {"batch", "tokens", "4"});
  Value* sin = b.Input("sin", DataType::kFloat, {"batch", "tokens", "4"});
  b.Output(Rows(b.Op("RotaryEmbedding", 23, {Heads(x, 4, 8), cos, sin}), 32));
  const std::vector<Tensor> inputs = {RandomFloats({2, 3, 32}, 1), RandomFloats({2, 3, 4}, 2),
                                      RandomFloats({2, 3, 4}, 3)};
  EXPECT_EQ(TransposesAfter(inputs, {"attention_rows", "remove_no_ops"}), 0);
}

TEST_F(AttentionRowsTest, ASingleTokenNeedsNoTranspose) {
  Value* q = b.Input("q", DataType::kFloat, {"batch", "4", "1", "8"});
  Value* k = b.Input("k", DataType::kFloat, {"batch", "keys", "16"});
  b.Output(b.Op("Attention", 23, {q, Heads(k, 2, 8), Heads(k, 2, 8)}));
  const std::vector<Tensor> inputs = {RandomFloats({2, 4, 1, 8}, 1), RandomFloats({2, 5, 16}, 2)};
  EXPECT_EQ(TransposesAfter(inputs, {"attention_rows", "remove_no_ops"}), 1);  // of the result
}

TEST_F(AttentionRowsTest, HeadsOfACacheStayFirst) {
  Value* q = b.Input("q", DataType::kFloat, {"batch", "tokens", "32"});
  Value* cache = b.Input("cache", DataType::kFloat, {"batch", "2", "keys", "8"});
  b.Output(Rows(b.Op("Attention", 23, {Heads(q, 4, 8), cache, cache}), 32));
  EXPECT_EQ(ApplyRewrite(b.graph(), "attention_rows"), 0);
}

TEST_F(AttentionRowsTest, KeysThatAreAResultStay) {
  Value* q = b.Input("q", DataType::kFloat, {"batch", "tokens", "16"});
  Value* keys = Heads(q, 2, 8);
  b.Output(keys);
  b.Output(Rows(b.Op("Attention", 23, {Heads(q, 2, 8), keys, keys}), 16));
  EXPECT_EQ(ApplyRewrite(b.graph(), "attention_rows"), 0);
}

// ---- cancel_transposes ----

TEST_F(AttentionRowsTest, TransposesCancelAcrossViews) {
  Value* x = b.Input("x", DataType::kFloat, {"1", "tokens", "4", "8"});
  Value* y = b.Op("Squeeze", 13, {Swap(x), b.Constant(Int64Tensor({1}, {0}))});
  y = b.Op("Transpose", 13, {y}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
  b.Output(b.Op("Relu", 14, {Reshape(y, {0, 32})}));
  EXPECT_EQ(TransposesAfter({RandomFloats({1, 3, 4, 8})}, {"cancel_transposes"}), 0);
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Reshape", "Relu"));
}

TEST_F(AttentionRowsTest, ATransposeOfAxesOfOneIsAView) {
  Value* x = b.Input("x", DataType::kFloat, {"batch", "1", "4", "8"});
  b.Output(b.Op("Relu", 14, {Swap(x)}));
  EXPECT_EQ(TransposesAfter({RandomFloats({2, 1, 4, 8})}, {"cancel_transposes"}), 0);
}

TEST_F(AttentionRowsTest, TransposesThatReorderStay) {
  Value* x = b.Input("x", DataType::kFloat, {"2", "3", "4", "8"});
  Value* y = Reshape(Swap(x), {2, 12, 8});
  b.Output(b.Op("Relu", 14, {Reshape(b.Op("Transpose", 13, {y}, {{"perm", std::vector<int64_t>{0, 2, 1}}}), {-1})}));
  EXPECT_EQ(ApplyRewrite(b.graph(), "cancel_transposes"), 0);
}

}  // namespace
}  // namespace rondo
