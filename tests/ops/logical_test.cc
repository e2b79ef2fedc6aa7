#include "gmock/gmock.h"
#include "graph/graph.h"
#include "graph/numeric.h"
#include "gtest/gtest.h"
#include "ops/infer.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> Bools(const Tensor& t) { return std::vector<int>(t.data<uint8_t>(), t.data<uint8_t>() + t.size()); }

TEST(LogicalTest, Comparisons) {
  Tensor a = FloatTensor({4}, {1, 2, 3, std::nanf("")}), b = FloatTensor({1}, {2});
  EXPECT_THAT(Bools(OpRunner("Less", 13).Input(a).Input(b).Run()[0]), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(Bools(OpRunner("LessOrEqual", 16).Input(a).Input(b).Run()[0]), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(Bools(OpRunner("Greater", 13).Input(a).Input(b).Run()[0]), ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(Bools(OpRunner("GreaterOrEqual", 16).Input(a).Input(b).Run()[0]), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(Bools(OpRunner("Equal", 13).Input(a).Input(b).Run()[0]), ElementsAre(0, 1, 0, 0));
}

TEST(LogicalTest, ComparisonsOfHalvesAndStrings) {
  Tensor a = Tensor::FromVector<Float16>(DataType::kFloat16, {2}, {Float16(1), Float16(3)});
  Tensor b = Tensor::FromVector<Float16>(DataType::kFloat16, {2, 1}, {Float16(2), Float16(3)});
  EXPECT_THAT(Bools(OpRunner("Less", 13).Input(a).Input(b).Run()[0]), ElementsAre(1, 0, 1, 0));
  EXPECT_THAT(Bools(OpRunner("Equal", 19).Input(StringTensor({2}, {"a", "b"})).Input(StringTensor({}, {"b"})).Run()[0]),
              ElementsAre(0, 1));
}

TEST(LogicalTest, AndOrXor) {
  Tensor a = BoolTensor({4}, {false, false, true, true}), b = BoolTensor({4}, {false, true, false, true});
  EXPECT_THAT(Bools(OpRunner("And", 7).Input(a).Input(b).Run()[0]), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(Bools(OpRunner("Or", 7).Input(a).Input(b).Run()[0]), ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(Bools(OpRunner("Xor", 7).Input(a).Input(b).Run()[0]), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(OpRunner("And", 7).Input(Int64Tensor({1}, {1})).Input(Int64Tensor({1}, {1})).RunError(),
              HasSubstr("expected bool"));
}

TEST(LogicalTest, WhereBroadcastsAllThree) {
  Tensor c = BoolTensor({2, 1}, {true, false});
  Tensor x = FloatTensor({3}, {1, 2, 3}), y = FloatTensor({}, {-1});
  EXPECT_THAT(Floats(OpRunner("Where", 16).Input(c).Input(x).Input(y).Run()[0]), ElementsAre(1, 2, 3, -1, -1, -1));
  Tensor row = BoolTensor({3}, {true, false, true});
  EXPECT_THAT(Floats(OpRunner("Where", 16).Input(row).Input(y).Input(x).Run()[0]), ElementsAre(-1, 2, -1));
  EXPECT_THAT(Int64s(OpRunner("Where", 16).Input(row).Input(Int64Tensor({}, {1})).Input(Int64Tensor({}, {0})).Run()[0]),
              ElementsAre(1, 0, 1));
  Tensor s = OpRunner("Where", 16)
                 .Input(row)
                 .Input(StringTensor({}, {"x"}))
                 .Input(StringTensor({3}, {"a", "b", "c"}))
                 .Run()[0];
  EXPECT_EQ(s.data<std::string>()[0], "x");
  EXPECT_EQ(s.data<std::string>()[1], "b");
}

// Shape arithmetic stays symbolic through the idiom by which exporters write torch's expand(-1, n): -1 in the wanted
// shape, found by Equal, is replaced by the extent that is there.
TEST(LogicalTest, ExpandIdiomKeepsSymbols) {
  Graph graph;
  Shape shape = {Dim::Symbol("batch"), 1, Dim::Symbol("past") + Dim::Symbol("sequence")};
  Value* x = graph.AddInput("x", ValueType::Tensor(DataType::kFloat, shape));
  auto op = [&](const char* type, std::vector<Value*> inputs) {
    Node* node = graph.AddNode({"", type, 18}, type, inputs, 1);
    EXPECT_TRUE(InferNode(*node).ok()) << type;
    return node->output(0);
  };
  Value* dims = op("Shape", {x});
  Value* minus = op("Mul", {graph.AddConstant("ones", Int64Tensor({3}, {1, 1, 1})),
                            graph.AddConstant("minus", Int64Tensor({}, {-1}))});
  Value* wanted = op("Add", {dims, graph.AddConstant("zero", Int64Tensor({1}, {0}))});
  Value* chosen =
      op("Where", {op("Equal", {wanted, minus}), graph.AddConstant("one", Int64Tensor({3}, {1, 1, 1})), wanted});
  ASSERT_TRUE(chosen->content().has_value());
  EXPECT_EQ((*chosen->content())[0], Dim::Symbol("batch"));
  EXPECT_EQ((*chosen->content())[2], Dim::Symbol("past") + Dim::Symbol("sequence"));
}

TEST(LogicalTest, ContentOfArithmetic) {
  Graph graph;
  Dim s = Dim::Symbol("s");
  Value* x = graph.AddInput("x", ValueType::Tensor(DataType::kFloat, Shape{s, 8}));
  auto op = [&](const char* type, std::vector<Value*> inputs) {
    Node* node = graph.AddNode({"", type, 18}, type, inputs, 1);
    EXPECT_TRUE(InferNode(*node).ok()) << type;
    return node->output(0);
  };
  Value* dims = op("Shape", {x});
  Value* two = graph.AddConstant("two", Int64Tensor({}, {2}));
  EXPECT_EQ((*op("Mul", {dims, two})->content())[0], s * 2);
  EXPECT_EQ((*op("Sub", {dims, two})->content())[1], Dim(6));
  EXPECT_EQ((*op("Div", {op("Mul", {dims, two}), two})->content())[0], s);
  EXPECT_EQ((*op("Max", {dims, graph.AddConstant("zero", Int64Tensor({}, {0}))})->content())[0], s);
  EXPECT_EQ((*op("Neg", {dims})->content())[1], Dim(-8));
  Value* less = op("Less", {dims, graph.AddConstant("nine", Int64Tensor({}, {9}))});
  EXPECT_TRUE((*less->content())[0].unknown());
  EXPECT_EQ((*less->content())[1], Dim(1));
}

}  // namespace
}  // namespace rondo
