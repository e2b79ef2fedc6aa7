#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::HasSubstr;

// One FlexAttention node; `edit` may give it subgraphs.
struct Flex {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  Node* node = nullptr;
  Value* bias = nullptr;  // a graph input that bodies may capture

  Flex() {
    std::vector<Value*> inputs;
    for (const char* name : {"q", "k", "v"}) {
      inputs.push_back(graph->AddInput(name, ValueType::Tensor(DataType::kFloat, Shape::UnknownOfRank(4))));
    }
    bias = graph->AddInput("bias", ValueType::Tensor(DataType::kFloat, Shape{Dim(1)}));
    node = graph->AddNode({"ai.onnx.preview", "FlexAttention", 1}, "flex", inputs, 1);
    node->set_attribute("scale", 1.0f);
    graph->AddOutput(node->outputs()[0]);
  }

  absl::StatusOr<std::vector<RuntimeValue>> Run() {
    RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Program> program, Program::Create(std::move(graph), {}));
    // One query (1, 0), two keys (1, 0) and (3, 0): scores 1 and 3.
    return RunProgram(*program, {FloatTensor({1, 1, 1, 2}, {1, 0}), FloatTensor({1, 1, 2, 2}, {1, 0, 3, 0}),
                                 FloatTensor({1, 1, 2, 1}, {10, 20}), FloatTensor({1}, {2})});
  }
};

TEST(FlexAttentionTest, WithoutBodiesItIsAttention) {
  const auto y = Flex().Run();
  ASSERT_TRUE(y.ok()) << y.status();
  const float e = std::exp(2.0f);
  EXPECT_EQ(FirstDifference((*y)[0].tensor(), FloatTensor({1, 1, 1, 1}, {(10 + 20 * e) / (1 + e)})), "");
}

// A body of one node.
std::unique_ptr<Graph> Body(absl::string_view op, int version) {
  auto body = std::make_unique<Graph>();
  Value* scores = body->AddInput("scores", ValueType());
  Node* node = body->AddNode({"", std::string(op), version}, "mod", {scores}, 1);
  body->AddOutput(node->outputs()[0]);
  return body;
}

TEST(FlexAttentionTest, ScoresAndProbabilitiesPassThroughBodies) {
  Flex flex;
  flex.graph->SetSubgraph(flex.node, "score_mod", Body("Neg", 13));
  const auto y = flex.Run();
  ASSERT_TRUE(y.ok()) << y.status();
  const float e = std::exp(-2.0f);
  EXPECT_EQ(FirstDifference((*y)[0].tensor(), FloatTensor({1, 1, 1, 1}, {(10 + 20 * e) / (1 + e)})), "");
  Flex floors;
  floors.graph->SetSubgraph(floors.node, "prob_mod", Body("Floor", 13));
  const auto none = floors.Run();
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(FirstDifference((*none)[0].tensor(), FloatTensor({1, 1, 1, 1}, {0})), "");
}

TEST(FlexAttentionTest, BodiesSeeOuterValues) {
  Flex flex;
  auto body = std::make_unique<Graph>();
  body->AddInput("scores", ValueType());
  flex.graph->SetSubgraph(flex.node, "score_mod", std::move(body));
  flex.graph->AddCapture(flex.node, flex.bias);
  Graph* inside = flex.node->subgraph("score_mod");
  Node* product = inside->AddNode({"", "Mul", 14}, "scaled", {inside->inputs()[0], inside->inputs()[1]}, 1);
  inside->AddOutput(product->outputs()[0]);
  const auto y = flex.Run();
  ASSERT_TRUE(y.ok()) << y.status();
  const float e = std::exp(4.0f);
  EXPECT_EQ(FirstDifference((*y)[0].tensor(), FloatTensor({1, 1, 1, 1}, {(10 + 20 * e) / (1 + e)})), "");
}

TEST(FlexAttentionTest, ABodyThatChangesTheShapeIsAnError) {
  Flex flex;
  flex.graph->SetSubgraph(flex.node, "score_mod", Body("Size", 13));
  EXPECT_THAT(std::string(flex.Run().status().message()), HasSubstr("subgraph \"score_mod\": expected one output"));
}

TEST(FlexAttentionTest, HeadsAndLengthsMustFit) {
  OpRunner run("FlexAttention", 1, "ai.onnx.preview");
  run.Input(RandomFloats({1, 3, 2, 4})).Input(RandomFloats({1, 2, 5, 4})).Input(RandomFloats({1, 2, 5, 4}));
  EXPECT_THAT(run.RunError(), HasSubstr("expected a multiple of the 2 key heads"));
  OpRunner rank("FlexAttention", 1, "ai.onnx.preview");
  rank.Input(RandomFloats({3, 2, 4})).Input(RandomFloats({1, 3, 5, 4})).Input(RandomFloats({1, 3, 5, 4}));
  EXPECT_NE(rank.RunError(), "");
}

}  // namespace
}  // namespace rondo
