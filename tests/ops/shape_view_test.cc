#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ops/infer.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Builds graphs whose inferred shapes the tests read.
class ShapeRules : public testing::Test {
 protected:
  Value* Input(absl::string_view name, DataType dtype, const std::vector<std::string>& dims) {
    Shape shape;
    for (const std::string& d : dims) shape.push_back(Dim::Parse(d));
    return graph_.AddInput(name, ValueType::Tensor(dtype, std::move(shape)));
  }
  Value* Ints(const std::vector<int64_t>& values) {
    return graph_.AddConstant(absl::StrCat("c", counter_++), Tensor::FromInt64s(values));
  }
  Value* Scalar(int64_t value) { return graph_.AddConstant(absl::StrCat("c", counter_++), Int64Tensor({}, {value})); }
  Value* Op(absl::string_view type, const std::vector<Value*>& inputs,
            const std::vector<std::pair<std::string, Attribute>>& attributes = {}, int outputs = 1) {
    Node* node = graph_.AddNode({"", std::string(type), 18}, absl::StrCat("n", counter_++), inputs, outputs);
    for (const auto& [name, value] : attributes) node->set_attribute(name, value);
    absl::Status status = InferNode(*node);
    EXPECT_TRUE(status.ok()) << status;
    return node->output(0);
  }
  static std::string Type(const Value* value) { return value->type().ToString(); }
  static std::vector<std::string> Content(const Value* value) {
    std::vector<std::string> text;
    if (!value->content().has_value()) return {"none"};
    for (const Dim& d : *value->content()) text.push_back(d.ToString());
    return text;
  }

  Graph graph_;
  int counter_ = 0;
};

TEST_F(ShapeRules, ReshapeSplitsHeadsSymbolically) {
  Value* x = Input("x", DataType::kFloat, {"B", "S", "768"});
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({0, 0, 12, 64})})), "float32[B, S, 12, 64]");
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({0, -1, 12, 64})})), "float32[B, S, 12, 64]");
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({-1, 768})})), "float32[B*S, 768]");
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({-1, 64})})), "float32[12*B*S, 64]");
}

TEST_F(ShapeRules, ReshapeToDimsOfAShapeIsExact) {
  Value* x = Input("x", DataType::kFloat, {"B", "P + S", "H*D"});
  Value* shape = Op("Shape", {x});
  Value* batch = Op("Unsqueeze", {Op("Gather", {shape, Scalar(0)}), Ints({0})});
  Value* length = Op("Unsqueeze", {Op("Gather", {shape, Scalar(1)}), Ints({0})});
  Value* wanted = Op("Concat", {batch, length, Ints({-1, 64})}, {{"axis", int64_t{0}}});
  EXPECT_THAT(Content(wanted), ElementsAre("B", "P + S", "-1", "64"));
  EXPECT_EQ(Type(Op("Reshape", {x, wanted})), "float32[B, P + S, floor((D*H)/64), 64]");
}

TEST_F(ShapeRules, ReshapeKeepsUnknownDimsOutOfTheQuotient) {
  Value* x = Input("x", DataType::kFloat, {"", "197", "768"});
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({0, -1})})), "float32[?, 151296]");
  EXPECT_EQ(Type(Op("Reshape", {x, Ints({0, 0, 12, -1})})), "float32[?, 197, 12, 64]");
}

TEST_F(ShapeRules, ContentsPassThroughMovement) {
  Value* x = Input("x", DataType::kFloat, {"B", "3", "H", "W"});
  Value* shape = Op("Shape", {x});
  EXPECT_THAT(Content(shape), ElementsAre("B", "3", "H", "W"));
  EXPECT_THAT(Content(Op("Slice", {shape, Ints({2}), Ints({1 << 30}), Ints({0})})), ElementsAre("H", "W"));
  EXPECT_THAT(Content(Op("Slice", {shape, Ints({-1}), Ints({-100}), Ints({0}), Ints({-1})})),
              ElementsAre("W", "H", "3", "B"));
  EXPECT_THAT(Content(Op("Gather", {shape, Ints({3, -4})})), ElementsAre("W", "B"));
  EXPECT_THAT(Content(Op("Identity", {shape})), ElementsAre("B", "3", "H", "W"));
  EXPECT_THAT(Content(Op("Transpose", {Op("Reshape", {shape, Ints({2, 2})})})), ElementsAre("B", "H", "3", "W"));
  EXPECT_THAT(Content(Op("Tile", {Op("Slice", {shape, Ints({0}), Ints({2})}), Ints({2})})),
              ElementsAre("B", "3", "B", "3"));
  EXPECT_THAT(Content(Op("Expand", {Op("Slice", {shape, Ints({2}), Ints({3})}), Ints({3})})),
              ElementsAre("H", "H", "H"));
  EXPECT_THAT(Content(Op("Squeeze", {Op("Slice", {shape, Ints({0}), Ints({1})}), Ints({0})})), ElementsAre("B"));
  EXPECT_THAT(Content(Op("Size", {x})), ElementsAre("3*B*H*W"));
  EXPECT_THAT(Content(Op("Split", {shape, Ints({1, 3})}, {}, 2)), ElementsAre("B"));
  EXPECT_THAT(Content(Op("ConstantOfShape", {Ints({2})}, {{"value", Int64Tensor({1}, {7})}})), ElementsAre("7", "7"));
  EXPECT_THAT(Content(Op("Range", {Scalar(3), Scalar(9), Scalar(2)})), ElementsAre("3", "5", "7"));
}

TEST_F(ShapeRules, RangeAndConstantOfShapeOfSymbols) {
  Value* x = Input("x", DataType::kFloat, {"B", "S"});
  Value* length = Op("Gather", {Op("Shape", {x}), Scalar(1)});
  EXPECT_EQ(Type(Op("Range", {Scalar(0), length, Scalar(1)})), "int64[S]");
  EXPECT_EQ(Type(Op("ConstantOfShape", {Op("Shape", {x})})), "float32[B, S]");
  EXPECT_EQ(Type(Op("Expand", {Input("y", DataType::kFloat, {"1", "S"}), Op("Shape", {x})})), "float32[B, S]");
}

TEST_F(ShapeRules, ConcatAddsAndSliceTakesBack) {
  Value* past = Input("past", DataType::kFloat, {"B", "8", "P", "64"});
  Value* now = Input("now", DataType::kFloat, {"B", "8", "S", "64"});
  Value* both = Op("Concat", {past, now}, {{"axis", int64_t{-2}}});
  EXPECT_EQ(Type(both), "float32[B, 8, P + S, 64]");
  Value* length = Op("Unsqueeze", {Op("Gather", {Op("Shape", {past}), Scalar(2)}), Ints({0})});
  EXPECT_EQ(Type(Op("Slice", {both, length, Ints({INT64_MAX}), Ints({2})})), "float32[B, 8, S, 64]");
  EXPECT_EQ(Type(Op("Slice", {both, Ints({0}), length, Ints({2})})), "float32[B, 8, P, 64]");
  EXPECT_EQ(Type(Op("Slice", {both, Ints({-1}), Ints({INT64_MIN}), Ints({2}), Ints({-1})})),
            "float32[B, 8, P + S, 64]");
}

TEST_F(ShapeRules, FlattenAndShapeBounds) {
  Value* x = Input("x", DataType::kFloat, {"B", "3", "H", "W"});
  EXPECT_EQ(Type(Op("Flatten", {x})), "float32[B, 3*H*W]");
  EXPECT_EQ(Type(Op("Flatten", {x}, {{"axis", int64_t{-1}}})), "float32[3*B*H, W]");
  EXPECT_EQ(Type(Op("Flatten", {x}, {{"axis", int64_t{0}}})), "float32[1, 3*B*H*W]");
  EXPECT_THAT(Content(Op("Shape", {x}, {{"start", int64_t{-2}}})), ElementsAre("H", "W"));
  EXPECT_THAT(Content(Op("Shape", {x}, {{"start", int64_t{1}}, {"end", int64_t{-1}}})), ElementsAre("3", "H"));
  EXPECT_EQ(Type(Op("Shape", {x}, {{"start", int64_t{3}}, {"end", int64_t{1}}})), "int64[0]");
}

TEST(ReshapeTest, InfersAndCopiesAtRunTime) {
  Tensor x = RandomFloats({2, 3, 4});
  EXPECT_EQ(OpRunner("Reshape", 14).Input(x).Input(Int64Tensor({2}, {0, -1})).Run()[0].dims(), (Dims{2, 12}));
  EXPECT_EQ(FirstDifference(OpRunner("Reshape", 1).Attr("shape", std::vector<int64_t>{4, -1}).Input(x).Run()[0],
                            x.Reshaped({4, 6})),
            "");
}

TEST(ReshapeTest, ZeroElements) {
  Tensor empty = Tensor::Make(DataType::kFloat, {0, 4, 6});
  auto dims = [&](const std::vector<int64_t>& shape) {
    return OpRunner("Reshape", 13).Input(empty).Constant(Tensor::FromInt64s(shape)).Run()[0].dims();
  };
  EXPECT_EQ(dims({0, -1, 2}), (Dims{0, 12, 2}));
  EXPECT_EQ(dims({-1, 24}), (Dims{0, 24}));
  EXPECT_EQ(OpRunner("Reshape", 14)
                .Attr("allowzero", int64_t{1})
                .Input(empty)
                .Constant(Tensor::FromInt64s({3, 0}))
                .Run()[0]
                .dims(),
            (Dims{3, 0}));
}

TEST(ReshapeTest, Errors) {
  auto error = [](const std::vector<int64_t>& shape) {
    return OpRunner("Reshape", 14).Input(RandomFloats({2, 3})).Constant(Tensor::FromInt64s(shape)).RunError();
  };
  EXPECT_THAT(error({4, -1}), HasSubstr("cannot reshape [2, 3] to [4, -1]"));
  EXPECT_THAT(error({-1, -1}), HasSubstr("at most one dim may be -1"));
  EXPECT_THAT(error({-2, 3}), HasSubstr("got -2"));
  EXPECT_THAT(error({6, 1, 0}), HasSubstr("does not have"));
  EXPECT_THAT(error({5}), HasSubstr("cannot reshape"));
  EXPECT_THAT(error({INT64_MAX, INT64_MAX}), testing::Not(""));
}

TEST(SqueezeTest, BothForms) {
  Tensor x = RandomFloats({1, 3, 1, 5});
  EXPECT_EQ(OpRunner("Squeeze", 11).Attr("axes", std::vector<int64_t>{-2}).Input(x).Run()[0].dims(), (Dims{1, 3, 5}));
  EXPECT_EQ(OpRunner("Squeeze", 13).Input(x).Run()[0].dims(), (Dims{3, 5}));
  EXPECT_EQ(OpRunner("Squeeze", 13).Input(x).Input(Int64Tensor({1}, {0})).Run()[0].dims(), (Dims{3, 1, 5}));
  EXPECT_THAT(OpRunner("Squeeze", 13).Input(x).Constant(Int64Tensor({1}, {1})).RunError(),
              HasSubstr("expected a dim of 1 to squeeze, got 3"));
  EXPECT_THAT(OpRunner("Squeeze", 13).Input(x).Constant(Int64Tensor({1}, {4})).RunError(), HasSubstr("out of range"));
}

TEST(UnsqueezeTest, BothForms) {
  Tensor x = RandomFloats({3, 5});
  EXPECT_EQ(OpRunner("Unsqueeze", 11).Attr("axes", std::vector<int64_t>{0, 3}).Input(x).Run()[0].dims(),
            (Dims{1, 3, 5, 1}));
  EXPECT_EQ(OpRunner("Unsqueeze", 13).Input(x).Input(Int64Tensor({2}, {-1, 1})).Run()[0].dims(), (Dims{3, 1, 5, 1}));
  EXPECT_THAT(OpRunner("Unsqueeze", 13).Input(x).Constant(Int64Tensor({2}, {1, 1})).RunError(), HasSubstr("twice"));
}

TEST(SizeTest, CountsElements) {
  EXPECT_THAT(Int64s(OpRunner("Size", 13).Input(RandomFloats({3, 5})).Run()[0]), ElementsAre(15));
}

}  // namespace
}  // namespace rondo
