// Rotary position embedding in the forms of each exporter becomes one RotaryEmbedding with the same results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

// x [B, 3, T, 8] or another layout; positions [B, T]; angles [B, T, 4] are positions * frequencies.
class FuseRotaryEmbeddingTest : public ::testing::Test {
 protected:
  GraphBuilder b;
  std::vector<Tensor> inputs;

  Value* Input(const std::vector<std::string>& dims, Tensor tensor) {
    Value* value = b.Input(absl::StrCat("input", inputs.size()), tensor.dtype(), dims);
    inputs.push_back(std::move(tensor));
    return value;
  }
  Value* Heads() { return Input({"batch", "3", "tokens", "8"}, RandomFloats({2, 3, 5, 8})); }
  Value* Angles(int64_t count = 4) {
    Value* positions = Input({"batch", "tokens", "1"}, RandomFloats({2, 5, 1}, 2));
    return b.Op("Mul", 14, {positions, b.Constant(RandomFloats({count}, 3))});
  }
  Value* Ints(std::vector<int64_t> values) {
    return b.Constant(Int64Tensor({static_cast<int64_t>(values.size())}, values));
  }
  Value* Slice(Value* x, int64_t from, int64_t to, int64_t step = 1) {
    return b.Op("Slice", 13, {x, Ints({from}), Ints({to}), Ints({-1}), Ints({step})});
  }
  Value* Concat(Value* x, Value* y) { return b.Op("Concat", 13, {x, y}, {{"axis", int64_t{-1}}}); }
  Value* Mul(Value* x, Value* y) { return b.Op("Mul", 14, {x, y}); }
  Value* Add(Value* x, Value* y) { return b.Op("Add", 14, {x, y}); }
  Value* Neg(Value* x) { return b.Op("Neg", 13, {x}); }
  Value* Cos(Value* x) { return b.Op("Cos", 7, {x}); }
  Value* Sin(Value* x) { return b.Op("Sin", 7, {x}); }
  Value* Unsqueeze(Value* x, int64_t axis) { return b.Op("Unsqueeze", 13, {x, Ints({axis})}); }
  Value* RotateHalf(Value* x, int64_t size = 8) {
    return Concat(Neg(Slice(x, size / 2, INT64_MAX)), Slice(x, 0, size / 2));
  }
  Value* Rotate(Value* x, Value* cos, Value* sin, int64_t size = 8) {
    return Add(Mul(x, cos), Mul(RotateHalf(x, size), sin));
  }
  // [.., n] and [.., n] -> [.., 2 n], alternating
  Value* Alternate(Value* x, Value* y, const std::vector<int64_t>& dims) {
    return b.Op("Reshape", 14, {Concat(Unsqueeze(x, -1), Unsqueeze(y, -1)), Ints(dims)});
  }

  void ExpectFused(Value* y, double tolerance = 1e-5) {
    b.Output(y);
    ExpectSameResults(b.graph(), {"fuse_rotary_embedding"}, inputs, tolerance);
    EXPECT_THAT(OperatorsOf(b.graph()), Contains("RotaryEmbedding").Times(1));
    EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Neg")));
    EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Add")));
    EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Sub")));
  }
  void ExpectLeftAlone(Value* y) {
    b.Output(y);
    EXPECT_EQ(ApplyRewrite(b.graph(), "fuse_rotary_embedding"), 0);
  }
};

TEST_F(FuseRotaryEmbeddingTest, HalvesAgainstEachOther) {
  Value* x = Heads();
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  ExpectFused(Rotate(x, Unsqueeze(Cos(twice), 1), Unsqueeze(Sin(twice), 1)));
  EXPECT_THAT(OperatorsOf(b.graph()), ElementsAre("Mul", "Cos", "Sin", "RotaryEmbedding"));
}

TEST_F(FuseRotaryEmbeddingTest, LayersShareTheirTables) {
  Value* q = Heads();
  Value* k = Heads();
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  Value *cos = Unsqueeze(Cos(twice), 1), *sin = Unsqueeze(Sin(twice), 1);
  b.Output(Rotate(q, cos, sin));
  b.Output(Rotate(k, cos, sin));
  ExpectSameResults(b.graph(), {"fuse_rotary_embedding", "share_common"}, inputs);
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("RotaryEmbedding").Times(2));
  EXPECT_THAT(OperatorsOf(b.graph()), Contains("Cos").Times(1));
}

TEST_F(FuseRotaryEmbeddingTest, SplitOperandsInOtherOrderAndScaledTables) {
  Value* x = Heads();
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  Node* halves = b.Node_("Split", 18, {x}, 2, {{"axis", int64_t{-1}}, {"num_outputs", int64_t{2}}});
  Value* turned = Concat(Neg(halves->output(1)), halves->output(0));
  const auto table = [&](Value* t) { return Unsqueeze(Mul(b.Constant(FloatTensor({}, {1.5f})), t), 1); };
  ExpectFused(Add(Mul(table(Sin(twice)), turned), Mul(table(Cos(twice)), x)));
}

TEST_F(FuseRotaryEmbeddingTest, AnglesTransposedAfterTheirDoubling) {
  Value* x = Heads();
  Value* columns = b.Op("Transpose", 13, {Angles()}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  Value* twice = b.Op("Concat", 13, {columns, columns}, {{"axis", int64_t{1}}});
  twice = b.Op("Transpose", 13, {twice}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  ExpectFused(Rotate(x, Unsqueeze(Cos(twice), 1), Unsqueeze(Sin(twice), 1)));
}

TEST_F(FuseRotaryEmbeddingTest, HalvesComputedApart) {
  Value* x = Heads();
  Value* angles = Angles();
  Value *cos = Unsqueeze(Cos(angles), 1), *sin = Unsqueeze(Sin(angles), 1);
  Value *x1 = Slice(x, 0, 4), *x2 = Slice(x, 4, 8);
  ExpectFused(Concat(b.Op("Sub", 14, {Mul(x1, cos), Mul(x2, sin)}), Add(Mul(x2, cos), Mul(x1, sin))));
}

TEST_F(FuseRotaryEmbeddingTest, AlternatingElements) {
  Value* x = Heads();
  Value* angles = Angles();
  Value* column = Unsqueeze(angles, -1);
  Value* twice = b.Op("Reshape", 14, {Concat(column, column), Ints({0, 0, 8})});
  Value* turned = Alternate(Neg(Slice(x, 1, INT64_MAX, 2)), Slice(x, 0, INT64_MAX, 2), {0, 0, 0, 8});
  ExpectFused(Add(Mul(x, Unsqueeze(Cos(twice), 1)), Mul(turned, Unsqueeze(Sin(twice), 1))));
}

TEST_F(FuseRotaryEmbeddingTest, AlternatingElementsComputedApart) {
  Value* x = Heads();
  Value* angles = Angles();
  Value *cos = Unsqueeze(Cos(angles), 1), *sin = Unsqueeze(Sin(angles), 1);
  Value *x1 = Slice(x, 0, INT64_MAX, 2), *x2 = Slice(x, 1, INT64_MAX, 2);
  ExpectFused(Alternate(b.Op("Sub", 14, {Mul(x1, cos), Mul(x2, sin)}), Add(Mul(x1, sin), Mul(x2, cos)), {0, 0, 0, 8}));
}

TEST_F(FuseRotaryEmbeddingTest, APartOfEachHead) {
  Value* x = Heads();
  Value* angles = Angles(2);
  Value* twice = Concat(angles, angles);
  Value* part = Rotate(Slice(x, 0, 4), Unsqueeze(Cos(twice), 1), Unsqueeze(Sin(twice), 1), 4);
  ExpectFused(Concat(part, Slice(x, 4, 8)));
  EXPECT_THAT(OperatorsOf(b.graph()), Not(Contains("Concat")));
}

TEST_F(FuseRotaryEmbeddingTest, TablesThatPositionsLookUp) {
  Value* x = Heads();
  Value* positions = Input({"batch", "tokens"}, Int64Tensor({2, 5}, {0, 1, 2, 3, 4, 3, 4, 5, 6, 7}));
  const auto table = [&](int seed) {
    std::vector<float> half = Floats(RandomFloats({8, 4}, seed)), whole;
    for (int row = 0; row < 8; ++row) {
      for (int copy = 0; copy < 2; ++copy) whole.insert(whole.end(), &half[row * 4], &half[row * 4] + 4);
    }
    return Unsqueeze(b.Op("Gather", 13, {b.Constant(FloatTensor({8, 8}, whole)), positions}), 1);
  };
  ExpectFused(Rotate(x, table(4), table(5)));
}

TEST_F(FuseRotaryEmbeddingTest, OneTableForAllBatches) {
  Value* x = Heads();
  Value* angles = Input({"tokens", "4"}, RandomFloats({5, 4}, 2));
  Value* twice = Concat(angles, angles);
  ExpectFused(Rotate(x, Cos(twice), Sin(twice)));
}

TEST_F(FuseRotaryEmbeddingTest, TokensBeforeHeads) {
  Value* x = Input({"batch", "tokens", "3", "8"}, RandomFloats({2, 5, 3, 8}));
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  ExpectFused(Rotate(x, Unsqueeze(Cos(twice), 2), Unsqueeze(Sin(twice), 2)));
}

TEST_F(FuseRotaryEmbeddingTest, TokensBeforeHeadsWithoutABatch) {
  Value* x = Input({"tokens", "3", "8"}, RandomFloats({5, 3, 8}));
  Value* angles = Input({"tokens", "4"}, RandomFloats({5, 4}, 2));
  Value* twice = Concat(angles, angles);
  ExpectFused(Rotate(x, Unsqueeze(Cos(twice), 1), Unsqueeze(Sin(twice), 1)));
}

TEST_F(FuseRotaryEmbeddingTest, HeadsWithoutABatch) {
  Value* x = Input({"3", "tokens", "8"}, RandomFloats({3, 5, 8}));
  Value* angles = Input({"tokens", "4"}, RandomFloats({5, 4}, 2));
  Value* twice = Concat(angles, angles);
  ExpectFused(Rotate(x, Cos(twice), Sin(twice)));
}

TEST_F(FuseRotaryEmbeddingTest, HalfPrecision) {
  const auto half = [&](Value* v) { return b.Op("Cast", 13, {v}, {{"to", int64_t{10}}}); };
  Value* x = half(Heads());
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  Value* y = Rotate(x, Unsqueeze(half(Cos(twice)), 1), Unsqueeze(half(Sin(twice)), 1));
  ExpectFused(b.Op("Cast", 13, {y}, {{"to", int64_t{1}}}), 4e-3);
}

TEST_F(FuseRotaryEmbeddingTest, DifferentAnglesInTheTwoHalvesAreNoRotation) {
  Value* x = Heads();
  Value* twice = Concat(Angles(), Angles());
  ExpectLeftAlone(Rotate(x, Unsqueeze(Cos(twice), 1), Unsqueeze(Sin(twice), 1)));
}

TEST_F(FuseRotaryEmbeddingTest, TheOtherSignIsAnotherRotation) {
  Value* x = Heads();
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  Value* turned = Concat(Slice(x, 4, 8), Neg(Slice(x, 0, 4)));
  ExpectLeftAlone(Add(Mul(x, Unsqueeze(Cos(twice), 1)), Mul(turned, Unsqueeze(Sin(twice), 1))));
}

TEST_F(FuseRotaryEmbeddingTest, AnglesInHalvesDoNotServeAlternatingElements) {
  Value* x = Heads();
  Value* angles = Angles();
  Value* twice = Concat(angles, angles);
  Value* turned = Alternate(Neg(Slice(x, 1, INT64_MAX, 2)), Slice(x, 0, INT64_MAX, 2), {0, 0, 0, 8});
  ExpectLeftAlone(Add(Mul(x, Unsqueeze(Cos(twice), 1)), Mul(turned, Unsqueeze(Sin(twice), 1))));
}

TEST_F(FuseRotaryEmbeddingTest, TablesThatDifferByHeadAreNone) {
  Value* x = Heads();
  Value* angles = Input({"batch", "3", "tokens", "4"}, RandomFloats({2, 3, 5, 4}, 2));
  Value* twice = Concat(angles, angles);
  ExpectLeftAlone(Rotate(x, Cos(twice), Sin(twice)));
}

}  // namespace
}  // namespace rondo
