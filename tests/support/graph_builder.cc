#include "tests/support/graph_builder.h"

#include <gtest/gtest.h>

#include "absl/strings/numbers.h"
#include "graph/status.h"
#include "graph/verify.h"
#include "ops/infer.h"
#include "ops/parallel.h"
#include "tests/support/op_runner.h"

namespace rondo {

Value* GraphBuilder::Input(absl::string_view name, DataType type, const std::vector<std::string>& dims) {
  Shape shape;
  for (const std::string& dim : dims) {
    int64_t number;
    shape.push_back(absl::SimpleAtoi(dim, &number) ? Dim(number) : Dim::Parse(dim));
  }
  return graph_->AddInput(name, ValueType::Tensor(type, std::move(shape)));
}

Value* GraphBuilder::Constant(Tensor tensor) {
  return graph_->AddConstant(absl::StrCat("constant", count_++), std::move(tensor));
}

Node* GraphBuilder::Node_(absl::string_view type, int version, const std::vector<Value*>& inputs, int num_outputs,
                          NamedAttributes attributes) {
  const size_t colons = type.find("::");
  OpId op;
  op.domain = colons == absl::string_view::npos ? "" : std::string(type.substr(0, colons));
  op.type = std::string(colons == absl::string_view::npos ? type : type.substr(colons + 2));
  op.version = version;
  Node* node = graph_->AddNode(std::move(op), absl::StrCat("node", count_++), inputs, num_outputs);
  for (auto& [name, value] : attributes) node->set_attribute(name, std::move(value));
  absl::Status status = InferNode(*node);
  EXPECT_TRUE(status.ok()) << status;
  return node;
}

Value* GraphBuilder::Op(absl::string_view type, int version, const std::vector<Value*>& inputs,
                        NamedAttributes attributes) {
  return Node_(type, version, inputs, 1, std::move(attributes))->output(0);
}

std::vector<std::string> OperatorsOf(const Graph& graph) {
  std::vector<std::string> operators;
  for (const auto& node : graph.nodes()) operators.push_back(node->op().ToString());
  return operators;
}

int ApplyRewrite(Graph& graph, absl::string_view name) {
  std::vector<std::string> disabled;
  for (const Rewrite& rewrite : AllRewrites()) {
    if (rewrite.name != name) disabled.emplace_back(rewrite.name);
  }
  ProgramResources resources;
  PrimitiveCache primitives;
  WeightCache weights;
  resources.primitives = &primitives;
  resources.weights = &weights;
  RewriteContext context;
  context.infer = [](Node& node) { return InferNode(node); };
  context.evaluate = [&](const Node& node, absl::Span<const Tensor> inputs) {
    return EvaluateNode(node, inputs, resources);
  };
  context.fold_budget_bytes = size_t{1} << 20;
  absl::StatusOr<std::vector<RewriteReport>> reports = ApplyRewrites(graph, context, disabled);
  EXPECT_TRUE(reports.ok()) << reports.status();
  absl::Status verified = Verify(graph);
  EXPECT_TRUE(verified.ok()) << verified;
  if (!reports.ok()) return -1;
  for (const RewriteReport& report : *reports) {
    if (report.name == name) return report.fired;
  }
  ADD_FAILURE() << "no rewrite " << name;
  return -1;
}

std::unique_ptr<Program> MakeProgram(std::unique_ptr<Graph> graph, ProgramOptions options) {
  absl::StatusOr<std::unique_ptr<Program>> program = Program::Create(std::move(graph), options);
  EXPECT_TRUE(program.ok()) << program.status();
  return program.ok() ? *std::move(program) : nullptr;
}

absl::StatusOr<std::vector<RuntimeValue>> RunProgram(Program& program, const std::vector<RuntimeValue>& inputs,
                                                     RegionState* state) {
  RegionState fresh;
  std::vector<const RuntimeValue*> in;
  for (const RuntimeValue& input : inputs) in.push_back(&input);
  std::vector<RuntimeValue> outputs(program.graph().outputs().size());
  std::vector<RuntimeValue*> out;
  for (RuntimeValue& output : outputs) out.push_back(&output);
  ScopedThreads threads(program.resources().threads);  // as a session does
  RONDO_RETURN_IF_ERROR(program.root().Run(in, absl::MakeSpan(out), state == nullptr ? &fresh : state));
  return outputs;
}

std::vector<Tensor> RunGraph(const Graph& graph, const std::vector<Tensor>& inputs, bool plain) {
  ProgramOptions options;
  options.plain = plain;
  std::unique_ptr<Program> program = MakeProgram(graph.Clone(), options);
  if (program == nullptr) return {};
  absl::StatusOr<std::vector<RuntimeValue>> outputs =
      RunProgram(*program, std::vector<RuntimeValue>(inputs.begin(), inputs.end()));
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  std::vector<Tensor> tensors;
  if (outputs.ok()) {
    for (const RuntimeValue& output : *outputs) tensors.push_back(output.is_tensor() ? output.tensor() : Tensor());
  }
  return tensors;
}

void ExpectSameResults(Graph& graph, const std::vector<absl::string_view>& names, const std::vector<Tensor>& inputs,
                       double tolerance) {
  const std::vector<Tensor> before = RunGraph(graph, inputs, /*plain=*/true);
  for (absl::string_view name : names) EXPECT_GT(ApplyRewrite(graph, name), 0) << name;
  const std::vector<Tensor> after = RunGraph(graph, inputs, /*plain=*/true);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(FirstDifference(after[i], before[i], tolerance, tolerance), "");
}

}  // namespace rondo
