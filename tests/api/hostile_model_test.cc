// Malformed models that only operators' rules or a run can find, loaded as a user loads them. The numbers are those of
// the project's list of cases, as in tests/importer/hostile_test.cc, which has the others.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rondo/model.h"
#include "tests/importer/model_builder.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

absl::StatusOr<Model> Load(const ModelProto& proto, const ModelOptions& options = {}) {
  const std::string path = NewTempDir() + "/model.onnx";
  WriteFile(path, proto.SerializeAsString());
  return Model::Load(path, options);
}

absl::Status LoadAndRun(const ModelProto& proto, const NamedTensors& inputs, const ModelOptions& options = {}) {
  const absl::StatusOr<Model> model = Load(proto, options);
  if (!model.ok()) return model.status();
  Session session(*model);
  return session.Run(inputs).status();
}

struct Case {
  const char* number;
  std::function<void(ModelProto&)> change;  // of x (float32[2]) -> Relu "n" -> y
  std::vector<const char*> errors;
};

void PrintTo(const Case& c, std::ostream* out) { *out << "case " << c.number; }

class HostileLoadTest : public testing::TestWithParam<Case> {};

TEST_P(HostileLoadTest, GetsItsError) {
  ModelProto model = ReluModel();
  GetParam().change(model);
  for (const bool plain : {false, true}) {
    ModelOptions options;
    options.plain = plain;
    const absl::Status status = Load(model, options).status();
    ASSERT_FALSE(status.ok());
    for (const char* error : GetParam().errors) ExpectError(status, {"model.onnx: ", error});
  }
}

GraphProto& G(ModelProto& model) { return *model.mutable_graph(); }
NodeProto& N(ModelProto& model) { return *model.mutable_graph()->mutable_node(0); }
onnx::TypeProto::Tensor& OutputType(ModelProto& model) {
  return *G(model).mutable_output(0)->mutable_type()->mutable_tensor_type();
}
void DeclareOutput(ModelProto& model, int32_t type, const std::vector<int64_t>& dims) {
  G(model).clear_output();
  AddOutput(&G(model), "y", type, dims);
}

// Replaces the node by an If on "c" whose branches return x.
NodeProto* MakeIf(ModelProto& model, int32_t condition_type = TensorProto::BOOL,
                  const std::vector<int64_t>& condition_dims = {}) {
  AddInput(&G(model), "c", condition_type, condition_dims);
  NodeProto* node = &N(model);
  node->set_op_type("If");
  node->set_input(0, "c");
  for (const char* name : {"then_branch", "else_branch"}) {
    GraphProto* body = AddGraphAttribute(node, name);
    AddNode(body, "Neg", "", {"x"}, {"r"});
    AddOutput(body, "r");
  }
  return node;
}

// Replaces the node by a Loop of "m" turns that carries x to y; returns its body.
GraphProto* MakeLoop(ModelProto& model) {
  AddInput(&G(model), "m", TensorProto::INT64, {});
  NodeProto* node = &N(model);
  node->set_op_type("Loop");
  node->clear_input();
  for (const char* input : {"m", "", "x"}) node->add_input(input);
  GraphProto* body = AddGraphAttribute(node, "body");
  AddInput(body, "turn", TensorProto::INT64, {});
  AddInput(body, "go", TensorProto::BOOL, {});
  AddInput(body, "state");
  AddNode(body, "Identity", "", {"go"}, {"go_on"});
  AddNode(body, "Neg", "", {"state"}, {"next"});
  AddOutput(body, "go_on", TensorProto::BOOL, {});
  AddOutput(body, "next");
  return body;
}

const Case kNodeCases[] = {
    {"22 no inputs",
     [](ModelProto& m) {
       N(m).set_op_type("Concat");
       AddInt(&N(m), "axis", 0);
       N(m).clear_input();
     },
     {"node \"n\" (Concat)", "expected 1 or more inputs, got 0"}},
    {"22 too few inputs",
     [](ModelProto& m) { N(m).set_op_type("Add"); },
     {"node \"n\" (Add)", "expected 2 inputs, got 1"}},
    {"22 too many inputs",
     [](ModelProto& m) { N(m).add_input("x"); },
     {"node \"n\" (Relu)", "expected 1 inputs, got 2"}},
    {"22 required input absent",
     [](ModelProto& m) { N(m).set_input(0, ""); },
     {"node \"n\" (Relu)", "expected 1 inputs, got 0"}},
    {"22 too many outputs",
     [](ModelProto& m) { N(m).add_output("z"); },
     {"node \"n\" (Relu)", "expected 1 outputs, got 2"}},
    {"25 If without else",
     [](ModelProto& m) { MakeIf(m)->mutable_attribute()->RemoveLast(); },
     {"node \"n\" (If)", "else_branch"}},
    {"25 Loop without body",
     [](ModelProto& m) {
       MakeLoop(m);
       N(m).clear_attribute();
     },
     {"node \"n\" (Loop)", "body"}},
    {"25 body output count",
     [](ModelProto& m) { MakeLoop(m)->mutable_output()->RemoveLast(); },
     {"node \"n\" (Loop)", "output"}},
    {"26 condition of another type",
     [](ModelProto& m) { MakeIf(m, TensorProto::FLOAT); },
     {"node \"n\" (If)", "bool", "float32"}},
    {"28 carried type changes",
     [](ModelProto& m) {
       NodeProto* node = MakeLoop(m)->mutable_node(1);
       node->set_op_type("Cast");
       AddInt(node, "to", TensorProto::INT64);
     },
     {"node \"n\" (Loop)", "float32", "int64"}},
    {"31", [](ModelProto& m) { AddGraphAttribute(&N(m), "g"); }, {"node \"n\" (Relu)", "\"g\""}},
};

const Case kOutputCases[] = {
    {"52 dim",
     [](ModelProto& m) { DeclareOutput(m, TensorProto::FLOAT, {3}); },
     {"graph output 0 \"y\": declared as float32[3], inferred float32[2]: dim 0 cannot be both 3 and 2"}},
    {"52 rank",
     [](ModelProto& m) {
       DeclareOutput(m, TensorProto::FLOAT, {2, 1});
     },
     {"declared as float32[2, 1], inferred float32[2]: the rank cannot be both 2 and 1"}},
    {"52 element type",
     [](ModelProto& m) { DeclareOutput(m, TensorProto::INT64, {2}); },
     {"declared as int64[2], inferred float32[2]: the element type cannot be both int64 and float32"}},
    {"52 kind",
     [](ModelProto& m) {
       auto* sequence = G(m).mutable_output(0)->mutable_type()->mutable_sequence_type();
       sequence->mutable_elem_type()->mutable_tensor_type()->set_elem_type(TensorProto::FLOAT);
     },
     {"declared as seq(float32[...]), inferred float32[2]"}},
    {"52 a second output",
     [](ModelProto& m) {
       AddNode(&G(m), "Shape", "s", {"x"}, {"d"});
       AddOutput(&G(m), "d", TensorProto::INT64, {2});
     },
     {"graph output 1 \"d\": declared as int64[2], inferred int64[1]"}},
    {"52 an input",
     [](ModelProto& m) { AddOutput(&G(m), "x", TensorProto::FLOAT, {5}); },
     {"graph output 1 \"x\": declared as float32[5], inferred float32[2]"}},
    {"52 a Constant",
     [](ModelProto& m) {
       AddInt(AddNode(&G(m), "Constant", "c", {}, {"k"}), "value_int", 1);
       AddOutput(&G(m), "k", TensorProto::FLOAT, {});
     },
     {"graph output 1 \"k\": declared as float32[], inferred int64[]"}},
};

INSTANTIATE_TEST_SUITE_P(Node, HostileLoadTest, testing::ValuesIn(kNodeCases));
INSTANTIATE_TEST_SUITE_P(Output, HostileLoadTest, testing::ValuesIn(kOutputCases));

// Exporters leave dims open or give them names of their own, and value_info of inner values is often wrong.
TEST(DeclaredOutputTest, SymbolsUnknownRanksAndInnerValuesDoNotCount) {
  ModelProto symbol = ReluModel();
  OutputType(symbol).mutable_shape()->mutable_dim(0)->set_dim_param("anything * 7");
  ModelProto negative = ReluModel();
  OutputType(negative).mutable_shape()->mutable_dim(0)->set_dim_value(-1);
  ModelProto open = ReluModel();
  OutputType(open).clear_shape();
  ModelProto untyped = ReluModel();
  G(untyped).mutable_output(0)->clear_type();
  ModelProto inner = ReluModel();
  N(inner).set_output(0, "t");
  AddNode(&G(inner), "Neg", "m", {"t"}, {"y"});
  SetTensorType(G(inner).add_value_info(), "t", TensorProto::FLOAT, {7, 7});
  ModelProto symbolic_input = ReluModel();
  G(symbolic_input)
      .mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_param("n");
  for (const ModelProto& model : {symbol, negative, open, untyped, inner, symbolic_input}) {
    EXPECT_EQ(Load(model).status(), absl::OkStatus());
  }
}

// ---- Found by a run ----

TEST(HostileRunTest, ConditionHasOneElement) {  // 26
  ModelProto model = ReluModel();
  MakeIf(model, TensorProto::BOOL, {3});
  ExpectError(LoadAndRun(model, {{"x", RuntimeValue(FloatTensor({2}, {1, 2}))},
                                 {"c", RuntimeValue(BoolTensor({3}, {true, true, true}))}}),
              {"node \"n\" (If)", "[3]"});
}

TEST(HostileRunTest, LoopLimits) {  // 26, 27
  ModelOptions options;
  options.max_loop_iterations = 1000;
  ModelProto counted = ReluModel();
  MakeLoop(counted);
  const auto run = [&](const ModelProto& model, int64_t turns) {
    return LoadAndRun(
        model, {{"x", RuntimeValue(FloatTensor({2}, {1, 2}))}, {"m", RuntimeValue(Int64Tensor({}, {turns}))}}, options);
  };
  EXPECT_EQ(run(counted, 1000), absl::OkStatus());
  ExpectError(run(counted, INT64_MAX), {"node \"n\" (Loop)", "1000"});
  EXPECT_EQ(run(counted, -5), absl::OkStatus());  // no turn, as with 0
  ModelProto endless = ReluModel();
  MakeLoop(endless);
  N(endless).set_input(0, "");
  ExpectError(run(endless, 0), {"node \"n\" (Loop)", "1000"});
}

TEST(HostileRunTest, ScanOutputsAreBounded) {  // 29
  ModelProto model = ReluModel();
  GraphProto* body = MakeLoop(model);
  AddNode(body, "Identity", "", {"state"}, {"scanned"});
  AddOutput(body, "scanned");
  N(model).add_output("all");
  ModelOptions options;
  options.max_tensor_bytes = 1 << 16;
  const NamedTensors inputs = {{"x", RuntimeValue(FloatTensor({2}, {1, 2}))},
                               {"m", RuntimeValue(Int64Tensor({}, {1000000}))}};
  ExpectError(LoadAndRun(model, inputs, options), {"node \"n\" (Loop)", "65536"});
}

TEST(HostileRunTest, OneSymbolHasOneValue) {  // 51
  ModelProto model = ReluModel();
  N(model).set_op_type("Add");
  N(model).add_input("z");
  AddInput(&G(model), "z");
  for (auto& input : *G(model).mutable_input()) {
    input.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_param("seq");
  }
  OutputType(model).mutable_shape()->mutable_dim(0)->set_dim_param("seq");
  ExpectError(LoadAndRun(model, {{"x", RuntimeValue(FloatTensor({4}, {1, 2, 3, 4}))},
                                 {"z", RuntimeValue(FloatTensor({5}, {1, 2, 3, 4, 5}))}}),
              {"symbol \"seq\" is bound to 4 by input \"x\"", "input \"z\" has 5"});
}

}  // namespace
}  // namespace rondo
