#include "ops/infer.h"

#include "gtest/gtest.h"

namespace rondo {
namespace {

TEST(InferTest, SubgraphOfAnOperatorThatTakesNoneIsAnError) {
  Graph graph;
  Value* x = graph.AddInput("x", ValueType::Tensor(DataType::kFloat, Shape({2})));
  Node* node = graph.AddNode({"", "Relu", 14}, "n", {x}, 1);
  graph.AddOutput(node->output(0));
  EXPECT_TRUE(CheckNode(*node).ok());
  graph.SetSubgraph(node, "body", std::make_unique<Graph>());
  graph.AddCapture(node, x);
  EXPECT_EQ(CheckNode(*node).message(),
            "node \"n\" (Relu): attribute \"body\": unexpected GRAPH, the operator takes none");
}

}  // namespace
}  // namespace rondo
