// If, Loop and Scan on graphs that are built by hand, so that no importer stands between.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/program.h"
#include "gmock/gmock.h"
#include "graph/graph.h"
#include "gtest/gtest.h"
#include "ops/parallel.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ValueType FloatType(Shape shape) { return ValueType::Tensor(DataType::kFloat, std::move(shape)); }
const ValueType& BoolScalar() {
  static const ValueType type = ValueType::Tensor(DataType::kBool, Shape());
  return type;
}
const ValueType& IntScalar() {
  static const ValueType type = ValueType::Tensor(DataType::kInt64, Shape());
  return type;
}

Value* Op(Graph& graph, absl::string_view type, std::vector<Value*> inputs, int version = 16) {
  return graph.AddNode({"", std::string(type), version}, absl::StrCat(type, "_", graph.nodes().size()), inputs, 1)
      ->output(0);
}

// A program with one session; every call runs the same plan instances again.
class Runner {
 public:
  explicit Runner(std::unique_ptr<Graph> graph, int64_t max_iterations = 1000000) {
    ProgramOptions options;
    options.threads = 2;
    options.max_loop_iterations = max_iterations;
    absl::StatusOr<std::unique_ptr<Program>> program = Program::Create(std::move(graph), options);
    if (program.ok()) {
      program_ = *std::move(program);
    } else {
      load_error_ = std::string(program.status().message());
    }
  }

  absl::StatusOr<std::vector<RuntimeValue>> TryRun(std::vector<RuntimeValue> inputs) {
    if (program_ == nullptr) return absl::InvalidArgumentError(load_error_);
    std::vector<const RuntimeValue*> in;
    for (const RuntimeValue& input : inputs) in.push_back(&input);
    std::vector<RuntimeValue> outputs(program_->graph().outputs().size());
    std::vector<RuntimeValue*> out;
    for (RuntimeValue& output : outputs) out.push_back(&output);
    ScopedThreads threads(program_->resources().threads);
    absl::Status status = program_->root().Run(in, absl::MakeSpan(out), &state_);
    if (!status.ok()) return status;
    return outputs;
  }
  std::vector<RuntimeValue> Run(std::vector<RuntimeValue> inputs) {
    absl::StatusOr<std::vector<RuntimeValue>> outputs = TryRun(std::move(inputs));
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    return outputs.ok() ? *outputs : std::vector<RuntimeValue>(8, RuntimeValue(FloatTensor({0}, {})));
  }
  std::string Error(std::vector<RuntimeValue> inputs) {
    return std::string(TryRun(std::move(inputs)).status().message());
  }
  const std::string& load_error() const { return load_error_; }

 private:
  std::unique_ptr<Program> program_;
  RegionState state_;
  std::string load_error_;
};

// --- If -------------------------------------------------------------------------------------------------------------

// y = cond ? x : Concat(x, x)
std::unique_ptr<Graph> BranchesOfDifferentShape() {
  auto graph = std::make_unique<Graph>();
  Value* cond = graph->AddInput("cond", BoolScalar());
  Value* x = graph->AddInput("x", FloatType({Dim::Symbol("n")}));
  Node* node = graph->AddNode({"", "If", 16}, "branch", {cond}, 1);
  for (const char* branch : {"then_branch", "else_branch"}) {
    graph->SetSubgraph(node, branch, std::make_unique<Graph>());
  }
  graph->AddCapture(node, x);
  Graph& then_branch = *node->subgraph("then_branch");
  then_branch.AddOutput(Op(then_branch, "Identity", {then_branch.inputs()[0]}));
  Graph& else_branch = *node->subgraph("else_branch");
  Value* both = Op(else_branch, "Concat", {else_branch.inputs()[0], else_branch.inputs()[0]});
  both->producer()->set_attribute("axis", int64_t{0});
  else_branch.AddOutput(both);
  graph->AddOutput(node->output(0));
  return graph;
}

TEST(IfTest, BranchesMayDifferInShape) {
  Runner runner(BranchesOfDifferentShape());
  const Tensor x = FloatTensor({2}, {1, 2});
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_THAT(Floats(runner.Run({BoolTensor({}, {true}), x})[0].tensor()), ElementsAre(1, 2));
    EXPECT_THAT(Floats(runner.Run({BoolTensor({}, {false}), x})[0].tensor()), ElementsAre(1, 2, 1, 2));
  }
}

TEST(IfTest, ConditionMayBeOneElementOfAnyRank) {
  auto graph = BranchesOfDifferentShape();
  graph->inputs()[0]->set_type(ValueType::Tensor(DataType::kBool, Shape({1})));
  Runner runner(std::move(graph));
  EXPECT_THAT(Floats(runner.Run({BoolTensor({1}, {true}), FloatTensor({1}, {7})})[0].tensor()), ElementsAre(7));
}

TEST(IfTest, ResultFeedsNodesThatArePlannedWhenItIsThere) {
  auto graph = BranchesOfDifferentShape();
  Value* doubled = Op(*graph, "Concat", {graph->outputs()[0], graph->outputs()[0]});
  doubled->producer()->set_attribute("axis", int64_t{0});
  graph->SetOutput(0, doubled);
  Runner runner(std::move(graph));
  const Tensor x = FloatTensor({1}, {3});
  EXPECT_THAT(Floats(runner.Run({BoolTensor({}, {false}), x})[0].tensor()), ElementsAre(3, 3, 3, 3));
  EXPECT_THAT(Floats(runner.Run({BoolTensor({}, {true}), x})[0].tensor()), ElementsAre(3, 3));
}

TEST(IfTest, CapturesReachTwoLevelsDown) {
  auto graph = std::make_unique<Graph>();
  Value* outer = graph->AddInput("outer", BoolScalar());
  Value* inner = graph->AddInput("inner", BoolScalar());
  Value* x = graph->AddInput("x", FloatType({2}));
  Node* node = graph->AddNode({"", "If", 16}, "outer_if", {outer}, 1);
  for (const char* branch : {"then_branch", "else_branch"}) {
    graph->SetSubgraph(node, branch, std::make_unique<Graph>());
  }
  graph->AddCapture(node, inner);
  graph->AddCapture(node, x);
  Graph& then_branch = *node->subgraph("then_branch");
  Node* nested = then_branch.AddNode({"", "If", 16}, "inner_if", {then_branch.inputs()[0]}, 1);
  for (const char* branch : {"then_branch", "else_branch"}) {
    then_branch.SetSubgraph(nested, branch, std::make_unique<Graph>());
  }
  then_branch.AddCapture(nested, then_branch.inputs()[1]);
  Graph& deep_then = *nested->subgraph("then_branch");
  deep_then.AddOutput(Op(deep_then, "Add", {deep_then.inputs()[0], deep_then.inputs()[0]}));
  Graph& deep_else = *nested->subgraph("else_branch");
  deep_else.AddOutput(deep_else.inputs()[0]);
  then_branch.AddOutput(nested->output(0));
  Graph& else_branch = *node->subgraph("else_branch");
  else_branch.AddOutput(else_branch.AddConstant("zeros", FloatTensor({2}, {0, 0})));
  graph->AddOutput(node->output(0));

  Runner runner(std::move(graph));
  const Tensor x_value = FloatTensor({2}, {1, 2});
  const Tensor yes = BoolTensor({}, {true});
  const Tensor no = BoolTensor({}, {false});
  EXPECT_THAT(Floats(runner.Run({yes, yes, x_value})[0].tensor()), ElementsAre(2, 4));
  EXPECT_THAT(Floats(runner.Run({yes, no, x_value})[0].tensor()), ElementsAre(1, 2));
  EXPECT_THAT(Floats(runner.Run({no, no, x_value})[0].tensor()), ElementsAre(0, 0));
}

TEST(IfTest, BranchesOfDifferentElementTypesAreAnErrorAtLoad) {
  auto graph = std::make_unique<Graph>();
  Value* cond = graph->AddInput("cond", BoolScalar());
  Node* node = graph->AddNode({"", "If", 16}, "branch", {cond}, 1);
  auto then_branch = std::make_unique<Graph>();
  then_branch->AddOutput(then_branch->AddConstant("a", FloatTensor({1}, {1})));
  graph->SetSubgraph(node, "then_branch", std::move(then_branch));
  auto else_branch = std::make_unique<Graph>();
  else_branch->AddOutput(else_branch->AddConstant("b", Int64Tensor({1}, {1})));
  graph->SetSubgraph(node, "else_branch", std::move(else_branch));
  graph->AddOutput(node->output(0));
  Runner runner(std::move(graph));
  EXPECT_THAT(runner.load_error(), HasSubstr("then_branch gives float32[1], else_branch int64[1]"));
}

// --- Loop -----------------------------------------------------------------------------------------------------------

struct LoopGraph {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  Node* node = nullptr;
  Graph* body = nullptr;
};

// A Loop over `carried` with trip count and condition as graph inputs, and an empty body that has its formal inputs.
LoopGraph MakeLoop(const std::vector<ValueType>& carried, int outputs) {
  LoopGraph loop;
  std::vector<Value*> inputs = {loop.graph->AddInput("M", IntScalar()), loop.graph->AddInput("cond", BoolScalar())};
  for (size_t i = 0; i < carried.size(); ++i) {
    inputs.push_back(loop.graph->AddInput(absl::StrCat("v", i), carried[i]));
  }
  loop.node = loop.graph->AddNode({"", "Loop", 16}, "l", inputs, outputs);
  auto body = std::make_unique<Graph>();
  body->AddInput("iteration", IntScalar());
  body->AddInput("cond_in", BoolScalar());
  for (size_t i = 0; i < carried.size(); ++i) body->AddInput(absl::StrCat("v", i), carried[i]);
  loop.graph->SetSubgraph(loop.node, "body", std::move(body));
  loop.body = loop.node->subgraph("body");
  for (int i = 0; i < outputs; ++i) loop.graph->AddOutput(loop.node->output(i));
  return loop;
}

TEST(LoopTest, CarriedValueMayGrowEachTurn) {
  LoopGraph loop = MakeLoop({FloatType({Dim::Symbol("n")})}, 2);
  loop.body->AddOutput(loop.body->inputs()[1]);
  Value* grown = Op(*loop.body, "Concat", {loop.body->inputs()[2], loop.body->inputs()[2]});
  grown->producer()->set_attribute("axis", int64_t{0});
  loop.body->AddOutput(grown);
  loop.body->AddOutput(loop.body->inputs()[0]);
  Runner runner(std::move(loop.graph));
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto outputs = runner.Run({Int64Tensor({}, {3}), BoolTensor({}, {true}), FloatTensor({1}, {5})});
    EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(5, 5, 5, 5, 5, 5, 5, 5));
    EXPECT_THAT(Int64s(outputs[1].tensor()), ElementsAre(0, 1, 2));
  }
}

TEST(LoopTest, NoTurnGivesInitialValuesAndEmptyScans) {
  LoopGraph loop = MakeLoop({FloatType({2})}, 2);
  loop.body->AddOutput(loop.body->inputs()[1]);
  loop.body->AddOutput(Op(*loop.body, "Add", {loop.body->inputs()[2], loop.body->inputs()[2]}));
  loop.body->AddOutput(loop.body->inputs()[2]);
  Runner runner(std::move(loop.graph));
  const Tensor v = FloatTensor({2}, {1, 2});
  for (const auto& [trips, cond] : {std::pair{0, true}, std::pair{-4, true}, std::pair{5, false}}) {
    auto outputs = runner.Run({Int64Tensor({}, {trips}), BoolTensor({}, {cond}), v});
    EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(1, 2));
    EXPECT_THAT(outputs[1].tensor().dims(), ElementsAre(0, 2));
  }
}

// Scans v while doubling it until it reaches the captured limit.
LoopGraph DoubleUntilLimit() {
  LoopGraph loop = MakeLoop({FloatType({})}, 2);
  Value* limit = loop.graph->AddInput("limit", FloatType({}));
  loop.graph->AddCapture(loop.node, limit);
  Value* doubled = Op(*loop.body, "Add", {loop.body->inputs()[2], loop.body->inputs()[2]});
  loop.body->AddOutput(Op(*loop.body, "Less", {doubled, loop.body->inputs()[3]}));
  loop.body->AddOutput(doubled);
  loop.body->AddOutput(loop.body->inputs()[2]);
  return loop;
}

TEST(LoopTest, ConditionOfTheBodyEndsIt) {
  Runner runner(DoubleUntilLimit().graph);
  const Tensor trips = Int64Tensor({}, {1000});
  auto outputs = runner.Run({trips, BoolTensor({}, {true}), FloatTensor({}, {1}), FloatTensor({}, {40})});
  EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(64));
  EXPECT_THAT(Floats(outputs[1].tensor()), ElementsAre(1, 2, 4, 8, 16, 32));
}

TEST(LoopTest, ScanOutputOutgrowsItsFirstBuffer) {
  LoopGraph loop = MakeLoop({FloatType({})}, 2);
  loop.body->AddOutput(loop.body->inputs()[1]);
  loop.body->AddOutput(loop.body->inputs()[2]);
  loop.body->AddOutput(loop.body->inputs()[0]);
  Runner runner(std::move(loop.graph));
  auto outputs = runner.Run({Int64Tensor({}, {1000}), BoolTensor({}, {true}), FloatTensor({}, {1})});
  ASSERT_THAT(outputs[1].tensor().dims(), ElementsAre(1000));
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(Int64s(outputs[1].tensor())[i], i);
}

TEST(LoopTest, ConstantTripCountGivesStaticScanShape) {
  LoopGraph loop = MakeLoop({FloatType({2})}, 2);
  loop.graph->SetInput(loop.node, 0, loop.graph->AddConstant("four", Int64Tensor({}, {4})));
  loop.graph->SetInput(loop.node, 1, nullptr);
  loop.body->AddOutput(Op(*loop.body, "Identity", {loop.body->inputs()[1]}));
  Value* doubled = Op(*loop.body, "Add", {loop.body->inputs()[2], loop.body->inputs()[2]});
  loop.body->AddOutput(doubled);
  loop.body->AddOutput(doubled);
  Node* node = loop.node;
  Runner runner(std::move(loop.graph));
  ASSERT_EQ(runner.load_error(), "");
  EXPECT_EQ(node->output(1)->type().ToString(), "float32[4, 2]");
  auto outputs = runner.Run({Int64Tensor({}, {0}), BoolTensor({}, {true}), FloatTensor({2}, {1, 3})});
  EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(16, 48));
  EXPECT_THAT(Floats(outputs[1].tensor()), ElementsAre(2, 6, 4, 12, 8, 24, 16, 48));
}

TEST(LoopTest, EndlessLoopStopsAtTheLimit) {
  LoopGraph loop = MakeLoop({}, 1);
  loop.body->AddOutput(loop.body->inputs()[1]);
  loop.body->AddOutput(loop.body->inputs()[0]);
  Runner runner(std::move(loop.graph), 5000);
  EXPECT_THAT(runner.Error({Int64Tensor({}, {INT64_MAX}), BoolTensor({}, {true})}),
              HasSubstr("Loop \"l\" ran 5000 iterations, the limit is 5000"));
  // As many turns as the limit are none too many.
  EXPECT_THAT(runner.Run({Int64Tensor({}, {5000}), BoolTensor({}, {true})})[0].tensor().dims(), ElementsAre(5000));
}

TEST(LoopTest, CarriedValueThatChangesItsElementTypeIsAnErrorAtLoad) {
  LoopGraph loop = MakeLoop({FloatType({})}, 1);
  loop.body->AddOutput(loop.body->inputs()[1]);
  loop.body->AddOutput(loop.body->inputs()[0]);
  Runner runner(std::move(loop.graph));
  EXPECT_THAT(runner.load_error(),
              HasSubstr("carried value 0 starts as float32[] and comes out of the body as int64[]"));
}

TEST(LoopTest, ScanOutputOfVaryingShapeIsAnError) {
  LoopGraph loop = MakeLoop({FloatType({Dim::Symbol("n")})}, 2);
  loop.body->AddOutput(loop.body->inputs()[1]);
  Value* grown = Op(*loop.body, "Concat", {loop.body->inputs()[2], loop.body->inputs()[2]});
  grown->producer()->set_attribute("axis", int64_t{0});
  loop.body->AddOutput(grown);
  loop.body->AddOutput(grown);
  Runner runner(std::move(loop.graph));
  EXPECT_THAT(runner.Error({Int64Tensor({}, {2}), BoolTensor({}, {true}), FloatTensor({1}, {5})}),
              HasSubstr("turn 1: scan output 0: turn 1 gives float32[4], expected float32[2]"));
}

TEST(LoopTest, NestedLoopsKeepTheirValuesApart) {
  // for i < M: for j < M: v += 1, with the outer trip count captured by the inner loop.
  LoopGraph loop = MakeLoop({FloatType({})}, 1);
  loop.graph->AddCapture(loop.node, loop.graph->inputs()[0]);
  Graph& body = *loop.body;
  Node* inner = body.AddNode({"", "Loop", 16}, "inner", {body.inputs()[3], nullptr, body.inputs()[2]}, 1);
  auto inner_body = std::make_unique<Graph>();
  inner_body->AddInput("j", IntScalar());
  inner_body->AddInput("cond", BoolScalar());
  inner_body->AddInput("v", FloatType({}));
  inner_body->AddOutput(inner_body->inputs()[1]);
  inner_body->AddOutput(
      Op(*inner_body, "Add", {inner_body->inputs()[2], inner_body->AddConstant("one", FloatTensor({}, {1}))}));
  body.SetSubgraph(inner, "body", std::move(inner_body));
  body.AddOutput(body.inputs()[1]);
  body.AddOutput(inner->output(0));
  Runner runner(std::move(loop.graph));
  for (int trips : {3, 5}) {
    auto outputs = runner.Run({Int64Tensor({}, {trips}), BoolTensor({}, {true}), FloatTensor({}, {0})});
    EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(trips * trips));
  }
}

TEST(LoopTest, CarriedSequenceCollectsOneElementPerTurn) {
  const ValueType sequence = ValueType::Sequence(FloatType({}));
  LoopGraph loop = MakeLoop({sequence}, 1);
  Value* x = loop.graph->AddInput("x", FloatType({2}));
  loop.graph->AddCapture(loop.node, x);
  loop.body->AddOutput(loop.body->inputs()[1]);
  loop.body->AddOutput(Op(*loop.body, "SequenceInsert", {loop.body->inputs()[2], loop.body->inputs()[3]}));
  Runner runner(std::move(loop.graph));
  auto outputs = runner.Run(
      {Int64Tensor({}, {3}), BoolTensor({}, {true}), RuntimeValue(TensorSequence()), FloatTensor({2}, {1, 2})});
  ASSERT_TRUE(outputs[0].is_sequence());
  ASSERT_EQ(outputs[0].sequence().size(), 3u);
  EXPECT_THAT(Floats(outputs[0].sequence()[2].tensor()), ElementsAre(1, 2));
}

// --- Scan -----------------------------------------------------------------------------------------------------------

// sum, x_t -> sum + x_t, sum + x_t
std::unique_ptr<Graph> RunningSum(int version, ValueType initial, ValueType x, Shape element) {
  auto graph = std::make_unique<Graph>();
  std::vector<Value*> inputs;
  if (version < 9) inputs.push_back(graph->AddInput("lengths", ValueType::Tensor(DataType::kInt64, Shape({2}))));
  inputs.push_back(graph->AddInput("initial", std::move(initial)));
  inputs.push_back(graph->AddInput("x", std::move(x)));
  Node* node = graph->AddNode({"", "Scan", version}, "scan", inputs, 2);
  node->set_attribute("num_scan_inputs", int64_t{1});
  auto body = std::make_unique<Graph>();
  body->AddInput("sum", FloatType(element));
  body->AddInput("x_t", FloatType(element));
  Value* sum = Op(*body, "Add", {body->inputs()[0], body->inputs()[1]});
  body->AddOutput(sum);
  body->AddOutput(sum);
  graph->SetSubgraph(node, "body", std::move(body));
  for (int i : {0, 1}) graph->AddOutput(node->output(i));
  return graph;
}

TEST(ScanTest, SumsAlongTheFirstAxis) {
  Runner runner(RunningSum(9, FloatType({2}), FloatType({Dim::Symbol("t"), 2}), {2}));
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto outputs = runner.Run({FloatTensor({2}, {0, 0}), FloatTensor({3, 2}, {1, 2, 3, 4, 5, 6})});
    EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(9, 12));
    EXPECT_THAT(Floats(outputs[1].tensor()), ElementsAre(1, 2, 4, 6, 9, 12));
  }
}

TEST(ScanTest, AxesAndDirectionsSayWhereSlicesLie) {
  auto graph = RunningSum(16, FloatType({2}), FloatType({2, 3}), {2});
  Node& node = *graph->nodes()[0];
  node.set_attribute("scan_input_axes", std::vector<int64_t>{-1});
  node.set_attribute("scan_input_directions", std::vector<int64_t>{1});
  node.set_attribute("scan_output_axes", std::vector<int64_t>{1});
  node.set_attribute("scan_output_directions", std::vector<int64_t>{1});
  Runner runner(std::move(graph));
  auto outputs = runner.Run({FloatTensor({2}, {0, 0}), FloatTensor({2, 3}, {1, 2, 3, 10, 20, 30})});
  EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(6, 60));
  EXPECT_THAT(outputs[1].tensor().dims(), ElementsAre(2, 3));
  EXPECT_THAT(Floats(outputs[1].tensor()), ElementsAre(6, 5, 3, 60, 50, 30));
}

TEST(ScanTest, NoSliceLeavesTheInitialState) {
  Runner runner(RunningSum(9, FloatType({2}), FloatType({Dim::Symbol("t"), 2}), {2}));
  auto outputs = runner.Run({FloatTensor({2}, {3, 4}), FloatTensor({0, 2}, {})});
  EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(3, 4));
  EXPECT_THAT(outputs[1].tensor().dims(), ElementsAre(0, 2));
}

TEST(ScanTest, OldFormRunsEachBatchRowOverItsLength) {
  Runner runner(RunningSum(8, FloatType({2, 1}), FloatType({2, 3, 1}), {1}));
  const Tensor x = FloatTensor({2, 3, 1}, {1, 2, 3, 10, 20, 30});
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto outputs = runner.Run({Int64Tensor({2}, {3, 2}), FloatTensor({2, 1}, {0, 100}), x});
    EXPECT_THAT(Floats(outputs[0].tensor()), ElementsAre(6, 130));
    EXPECT_THAT(outputs[1].tensor().dims(), ElementsAre(2, 3, 1));
    EXPECT_THAT(Floats(outputs[1].tensor()), ElementsAre(1, 3, 6, 110, 130, 0));
  }
  EXPECT_THAT(runner.Error({Int64Tensor({2}, {3, 4}), FloatTensor({2, 1}, {0, 0}), x}),
              HasSubstr("sequence_lens[1] = 4 is out of range [0, 3]"));
}

}  // namespace
}  // namespace rondo
