#include "graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/verify.h"

namespace rondo {
namespace {

using ::testing::HasSubstr;

const OpId kRelu = {"", "Relu", 14};
const OpId kIf = {"", "If", 16};

ValueType FloatVector() { return ValueType::Tensor(DataType::kFloat, Shape{Dim::Symbol("n")}); }

Tensor One() { return Tensor::FromVector(DataType::kFloat, {1}, std::vector<float>{1}); }

TEST(GraphTest, UsesFollowEveryEdit) {
  Graph g;
  Value* x = g.AddInput("x", FloatVector());
  Node* a = g.AddNode(kRelu, "a", {x}, 1);
  Node* b = g.AddNode(kRelu, "b", {a->output(0)}, 1);
  g.AddOutput(b->output(0));
  EXPECT_TRUE(x->has_one_use());
  g.SetInput(b, 0, x);
  EXPECT_EQ(x->uses().size(), 2u);
  EXPECT_TRUE(a->output(0)->uses().empty());
  EXPECT_TRUE(Verify(g).ok()) << Verify(g);
}

TEST(GraphTest, ReplacingAGraphOutputKeepsItsName) {
  Graph g;
  Value* x = g.AddInput("x", FloatVector());
  Node* a = g.AddNode(kRelu, "a", {x}, 1);
  Node* b = g.AddNode(kRelu, "b", {a->output(0)}, std::vector<std::string>{"y"});
  g.AddOutput(b->output(0));
  g.ReplaceAllUses(b->output(0), a->output(0));
  EXPECT_EQ(g.outputs()[0]->name(), "y");
  EXPECT_EQ(g.outputs()[0]->producer(), a);
  EXPECT_EQ(g.RemoveDead(), 1);
  EXPECT_TRUE(Verify(g).ok()) << Verify(g);
}

TEST(GraphTest, RemoveDeadTakesChainsAndConstants) {
  Graph g;
  Value* x = g.AddInput("x", FloatVector());
  Value* c = g.AddConstant("c", One());
  Node* add = g.AddNode({"", "Add", 14}, "add", {x, c}, 1);
  g.AddNode(kRelu, "dead", {add->output(0)}, 1);
  Node* live = g.AddNode(kRelu, "live", {x}, 1);
  g.AddOutput(live->output(0));
  EXPECT_EQ(g.RemoveDead(), 2);
  EXPECT_EQ(g.nodes().size(), 1u);
  EXPECT_EQ(g.values().size(), 2u);  // x and the output
}

TEST(GraphTest, SortMendsOrderAndIsStable) {
  Graph g;
  Value* x = g.AddInput("x", FloatVector());
  Node* late = g.AddNode(kRelu, "late", {x}, 1);
  Node* early = g.AddNode(kRelu, "early", {x}, 1);
  g.SetInput(late, 0, early->output(0));
  g.AddOutput(late->output(0));
  EXPECT_FALSE(Verify(g).ok());
  ASSERT_TRUE(g.Sort().ok());
  EXPECT_EQ(g.nodes()[0]->name(), "early");
  EXPECT_TRUE(Verify(g).ok());
}

TEST(GraphTest, ACycleIsNamed) {
  Graph g;
  Node* a = g.AddNode(kRelu, "a", {nullptr}, 1);
  Node* b = g.AddNode(kRelu, "b", {a->output(0)}, 1);
  g.SetInput(a, 0, b->output(0));
  const absl::Status status = g.Sort();
  EXPECT_THAT(std::string(status.message()), HasSubstr("cycle through node \"a\" (Relu), node \"b\" (Relu)"));
}

std::unique_ptr<Graph> Branch(Value** inner) {
  auto branch = std::make_unique<Graph>();
  *inner = branch->AddInput("x", FloatVector());
  branch->AddOutput(branch->AddNode(kRelu, "inner", {*inner}, 1)->output(0));
  return branch;
}

TEST(GraphTest, CapturesAreInputsOfNodeAndBodies) {
  Graph g;
  Value* condition = g.AddInput("c", ValueType::Tensor(DataType::kBool, Shape{}));
  Value* x = g.AddInput("x", FloatVector());
  Node* node = g.AddNode(kIf, "if", {condition}, 1);
  auto then_branch = std::make_unique<Graph>();
  auto else_branch = std::make_unique<Graph>();
  g.SetSubgraph(node, "then_branch", std::move(then_branch));
  g.SetSubgraph(node, "else_branch", std::move(else_branch));
  g.AddCapture(node, x);
  for (const char* name : {"then_branch", "else_branch"}) {
    Graph* branch = node->subgraph(name);
    branch->AddOutput(branch->AddNode(kRelu, "inner", {branch->inputs()[0]}, 1)->output(0));
  }
  g.AddOutput(node->output(0));
  EXPECT_EQ(node->num_formal_inputs(), 1);
  EXPECT_EQ(x->uses().size(), 1u);
  EXPECT_TRUE(Verify(g).ok()) << Verify(g);

  std::unique_ptr<Graph> copy = g.Clone();
  EXPECT_TRUE(Verify(*copy).ok()) << Verify(*copy);
  EXPECT_EQ(copy->TotalNodes(), g.TotalNodes());
  EXPECT_EQ(copy->TotalNodes(), 3);
}

TEST(GraphTest, RemovingACaptureShiftsTheOthers) {
  Graph g;
  Value* condition = g.AddInput("c", ValueType::Tensor(DataType::kBool, Shape{}));
  Value* a = g.AddInput("a", FloatVector());
  Value* b = g.AddInput("b", FloatVector());
  Node* node = g.AddNode(kIf, "if", {condition}, 1);
  Value* inner;
  g.SetSubgraph(node, "then_branch", std::make_unique<Graph>());
  g.AddCapture(node, a);
  g.AddCapture(node, b);
  Graph* branch = node->subgraph("then_branch");
  inner = branch->inputs()[1];
  branch->AddOutput(branch->AddNode(kRelu, "inner", {inner}, 1)->output(0));
  g.AddOutput(node->output(0));
  g.RemoveCapture(node, 0);
  ASSERT_EQ(branch->inputs().size(), 1u);
  EXPECT_EQ(branch->inputs()[0], inner);
  EXPECT_EQ(node->inputs()[1], b);
  EXPECT_TRUE(a->uses().empty());
  EXPECT_TRUE(Verify(g).ok()) << Verify(g);
}

TEST(GraphTest, InlineSplicesABodyInPlaceOfItsInputs) {
  Graph g;
  Value* x = g.AddInput("x", FloatVector());
  Value* inner;
  std::unique_ptr<Graph> body = Branch(&inner);
  std::vector<Value*> outputs = g.Inline(*body, {x}, "f/");
  g.AddOutput(outputs[0]);
  EXPECT_EQ(g.nodes()[0]->name(), "f/inner");
  EXPECT_EQ(g.nodes()[0]->input(0), x);
  EXPECT_TRUE(Verify(g).ok()) << Verify(g);
}

TEST(GraphTest, SharedConstantsCountOnce) {
  Graph g;
  Tensor t = One();
  g.AddConstant("a", t);
  g.AddConstant("b", t);
  EXPECT_EQ(g.ConstantBytes(), 4u);
}

TEST(NodeTest, DescribeEscapesAndCutsNames) {
  Graph g;
  Node* node = g.AddNode(kRelu, std::string("\x1b[31m") + std::string(500, 'a'), {nullptr}, 1);
  EXPECT_THAT(node->Describe(), HasSubstr("\\x1b[31m"));
  EXPECT_LT(node->Describe().size(), 260u);
}

}  // namespace
}  // namespace rondo
