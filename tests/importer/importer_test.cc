#include "importer/importer.h"

#include <filesystem>

#include "graph/verify.h"
#include "tests/importer/model_builder.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

#define IMPORT_OR_FAIL(imported, ...)                           \
  absl::StatusOr<ImportedModel> imported = Import(__VA_ARGS__); \
  ASSERT_TRUE(imported.ok()) << imported.status()

TEST(ImporterTest, ReadsHeaderInputsOutputsAndNodes) {
  ModelProto model = ReluModel();
  model.set_producer_name("maker");
  auto* metadata = model.add_metadata_props();
  metadata->set_key("k");
  metadata->set_value("v");
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->ir_version, 8);
  EXPECT_EQ(imported->producer_name, "maker");
  EXPECT_EQ(imported->metadata.at("k"), "v");
  EXPECT_EQ(imported->opset_imports.at(""), 17);
  const Graph& graph = *imported->graph;
  ASSERT_EQ(graph.nodes().size(), 1u);
  EXPECT_EQ(graph.nodes()[0]->op().ToString(), "Relu");
  EXPECT_EQ(graph.nodes()[0]->op().version, 17);
  EXPECT_EQ(graph.inputs()[0]->type().ToString(), "float32[2]");
  EXPECT_EQ(graph.outputs()[0]->name(), "y");
  EXPECT_EQ(graph.outputs()[0]->type().ToString(), "float32[2]");
}

TEST(ImporterTest, LaterIrVersionsWarn) {
  ModelProto model = ReluModel();
  model.set_ir_version(14);
  IMPORT_OR_FAIL(imported, model);
  ASSERT_EQ(imported->warnings.size(), 1u);
  EXPECT_NE(imported->warnings[0].find("14"), std::string::npos);
}

TEST(ImporterTest, TensorScatterOfModeNoneIsLinearWithAWarning) {
  ModelProto model = EmptyModel();
  AddInput(model.mutable_graph(), "x");
  AddOutput(model.mutable_graph(), "y");
  NodeProto* node = AddNode(model.mutable_graph(), "TensorScatter", "n", {"x", "x"}, {"y"});
  AddAttribute(node, "mode", AttributeProto::STRING)->set_s("none");
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->graph->nodes()[0]->StringOr("mode", ""), "linear");
  ASSERT_EQ(imported->warnings.size(), 1u);
  EXPECT_NE(imported->warnings[0].find("taken as \"linear\""), std::string::npos) << imported->warnings[0];
}

TEST(ImporterTest, AiOnnxIsTheDefaultDomain) {
  ModelProto model = ReluModel();
  model.mutable_opset_import(0)->set_domain("ai.onnx");
  model.mutable_graph()->mutable_node(0)->set_domain("ai.onnx");
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->graph->nodes()[0]->op().domain, "");
}

TEST(ImporterTest, NodesAreSortedAndAnOrderedListStaysAsItIs) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "x");
  AddOutput(graph, "d");
  AddNode(graph, "Add", "last", {"b", "c"}, {"d"});
  AddNode(graph, "Relu", "second", {"a"}, {"b"});
  AddNode(graph, "Relu", "third", {"a"}, {"c"});
  AddNode(graph, "Relu", "first", {"x"}, {"a"});
  IMPORT_OR_FAIL(imported, model);
  std::vector<std::string> names;
  for (const auto& node : imported->graph->nodes()) names.push_back(node->name());
  EXPECT_EQ(names, (std::vector<std::string>{"first", "second", "third", "last"}));
}

TEST(ImporterTest, AbsentOptionalInputsAndOutputsAreNull) {
  ModelProto model = EmptyModel();
  AddInput(model.mutable_graph(), "x");
  AddOutput(model.mutable_graph(), "y");
  AddNode(model.mutable_graph(), "Foo", "n", {"x", "", "x", ""}, {"", "y", ""});
  IMPORT_OR_FAIL(imported, model);
  const Node& node = *imported->graph->nodes()[0];
  ASSERT_EQ(node.inputs().size(), 4u);
  EXPECT_EQ(node.input(1), nullptr);
  EXPECT_EQ(node.input(3), nullptr);
  ASSERT_EQ(node.outputs().size(), 3u);
  EXPECT_EQ(node.output(0), nullptr);
  EXPECT_EQ(node.output(1)->name(), "y");
}

TEST(ImporterTest, OutputsMayBeInputsOrInitializers) {
  ModelProto model = EmptyModel();
  AddInput(model.mutable_graph(), "x");
  SetFloats(model.mutable_graph()->add_initializer(), "w", {2}, {3, 4});
  AddOutput(model.mutable_graph(), "x");
  AddOutput(model.mutable_graph(), "w");
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->graph->outputs()[0], imported->graph->inputs()[0]);
  EXPECT_TRUE(imported->graph->outputs()[1]->is_constant());
}

TEST(ImporterTest, InitializerThatIsAnInputIsAConstantAndListed) {
  TensorProto* w;
  ModelProto model = ModelWithInitializer(&w);
  SetFloats(w, "w", {2}, {1, 2});
  AddInput(model.mutable_graph(), "w");
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->overridable_inputs, std::vector<std::string>{"w"});
  ASSERT_EQ(imported->graph->inputs().size(), 1u);
  EXPECT_EQ(Elements<float>(ConstantNamed(*imported->graph, "w")), (std::vector<float>{1, 2}));
}

TEST(ImporterTest, DimNamesAreExpressionsAndNegativeDimsAreUnknown) {
  ModelProto model = ReluModel();
  auto* shape = model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->clear_dim();
  shape->add_dim()->set_dim_param("past + new");
  shape->add_dim()->set_dim_value(-1);
  shape->add_dim();
  shape->add_dim()->set_dim_value(0);
  IMPORT_OR_FAIL(imported, model);
  const Shape& read = *imported->graph->inputs()[0]->type().shape;
  EXPECT_TRUE(read[0] == Dim::Symbol("new") + Dim::Symbol("past"));
  EXPECT_TRUE(read[1].unknown());
  EXPECT_TRUE(read[2].unknown());
  EXPECT_TRUE(read[3] == Dim(0));
}

TEST(ImporterTest, SequenceOptionalAndMapTypes) {
  ModelProto model = ReluModel();
  auto* type = model.mutable_graph()->mutable_input(0)->mutable_type();
  auto* map = type->mutable_sequence_type()
                  ->mutable_elem_type()
                  ->mutable_optional_type()
                  ->mutable_elem_type()
                  ->mutable_map_type();
  map->set_key_type(TensorProto::INT64);
  map->mutable_value_type()->mutable_tensor_type()->set_elem_type(TensorProto::FLOAT);
  IMPORT_OR_FAIL(imported, model);
  const ValueType& read = imported->graph->inputs()[0]->type();
  ASSERT_EQ(read.kind, ValueType::Kind::kSequence);
  ASSERT_EQ(read.element->kind, ValueType::Kind::kOptional);
  const ValueType& inner = *read.element->element;
  ASSERT_EQ(inner.kind, ValueType::Kind::kMap);
  EXPECT_EQ(inner.dtype, DataType::kInt64);
  EXPECT_EQ(inner.element->dtype, DataType::kFloat);
}

TEST(ImporterTest, AttributesOfEveryType) {
  ModelProto model = ReluModel();
  NodeProto* node = model.mutable_graph()->mutable_node(0);
  AddInt(node, "int", -5);
  AddAttribute(node, "absent_int", AttributeProto::INT);  // proto3 writers leave out a zero
  AddAttribute(node, "float", AttributeProto::FLOAT)->set_f(0.5f);
  AddAttribute(node, "string", AttributeProto::STRING)->set_s(std::string("a\0b", 3));
  AddAttribute(node, "ints", AttributeProto::INTS)->add_ints(7);
  AddAttribute(node, "empty", AttributeProto::INTS);
  AddAttribute(node, "floats", AttributeProto::FLOATS)->add_floats(1);
  AddAttribute(node, "strings", AttributeProto::STRINGS)->add_strings("s");
  SetFloats(AddAttribute(node, "tensor", AttributeProto::TENSOR)->mutable_t(), "", {2}, {1, 2});
  SetFloats(AddAttribute(node, "tensors", AttributeProto::TENSORS)->add_tensors(), "", {}, {4});
  AddAttribute(node, "type", AttributeProto::TYPE_PROTO)->mutable_tp()->mutable_tensor_type()->set_elem_type(7);
  AttributeProto* untyped = node->add_attribute();
  untyped->set_name("untyped");
  untyped->add_ints(3);
  AttributeProto* zeros = AddAttribute(node, "with_zeros", AttributeProto::INTS);
  zeros->add_ints(1);
  zeros->set_i(0);
  zeros->set_f(0);
  zeros->set_s("");
  IMPORT_OR_FAIL(imported, model);
  const Node& read = *imported->graph->nodes()[0];
  EXPECT_EQ(read.IntOr("int", 0), -5);
  EXPECT_EQ(read.IntOr("absent_int", 9), 0);
  EXPECT_EQ(read.FloatOr("float", 0), 0.5f);
  EXPECT_EQ(read.StringOr("string", "").size(), 3u);
  EXPECT_EQ(read.IntsOr("ints", {}), std::vector<int64_t>{7});
  EXPECT_EQ(read.IntsOr("empty", {1}), std::vector<int64_t>{});
  EXPECT_EQ(read.IntsOr("untyped", {}), std::vector<int64_t>{3});
  EXPECT_EQ(read.IntsOr("with_zeros", {}), std::vector<int64_t>{1});
  EXPECT_EQ(std::get<Tensor>(*read.attribute("tensor")).size(), 2);
  EXPECT_EQ(std::get<std::vector<Tensor>>(*read.attribute("tensors")).size(), 1u);
  EXPECT_EQ(std::get<ValueType>(*read.attribute("type")).dtype, DataType::kInt64);
}

TEST(ImporterTest, ConstantNodesBecomeConstants) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  auto constant = [&](const char* output, const char* attribute, AttributeProto::AttributeType type) {
    AddOutput(graph, output);
    return AddAttribute(AddNode(graph, "Constant", "", {}, {output}), attribute, type);
  };
  SetFloats(constant("a", "value", AttributeProto::TENSOR)->mutable_t(), "", {2}, {1, 2});
  constant("b", "value_int", AttributeProto::INT)->set_i(3);
  constant("c", "value_ints", AttributeProto::INTS)->add_ints(4);
  constant("d", "value_float", AttributeProto::FLOAT)->set_f(5);
  constant("e", "value_floats", AttributeProto::FLOATS);
  constant("f", "value_string", AttributeProto::STRING)->set_s("six");
  constant("g", "value_strings", AttributeProto::STRINGS)->add_strings("seven");
  auto* sparse = constant("h", "sparse_value", AttributeProto::SPARSE_TENSOR)->mutable_sparse_tensor();
  sparse->add_dims(4);
  SetFloats(sparse->mutable_values(), "", {1}, {8});
  SetInt64s(sparse->mutable_indices(), "", {1}, {2});
  IMPORT_OR_FAIL(imported, model);
  const Graph& g = *imported->graph;
  EXPECT_TRUE(g.nodes().empty());
  EXPECT_EQ(Elements<float>(ConstantNamed(g, "a")), (std::vector<float>{1, 2}));
  EXPECT_EQ(ConstantNamed(g, "b").rank(), 0);
  EXPECT_EQ(Elements<int64_t>(ConstantNamed(g, "b")), std::vector<int64_t>{3});
  EXPECT_EQ(ConstantNamed(g, "c").rank(), 1);
  EXPECT_EQ(Elements<float>(ConstantNamed(g, "d")), std::vector<float>{5});
  EXPECT_EQ(ConstantNamed(g, "e").size(), 0);
  EXPECT_EQ(ConstantNamed(g, "f").data<std::string>()[0], "six");
  EXPECT_EQ(ConstantNamed(g, "g").data<std::string>()[0], "seven");
  EXPECT_EQ(Elements<float>(ConstantNamed(g, "h")), (std::vector<float>{0, 0, 8, 0}));
}

TEST(ImporterTest, SparseInitializersBecomeDense) {
  ModelProto model = EmptyModel();
  auto* sparse = model.mutable_graph()->add_sparse_initializer();
  sparse->add_dims(2);
  sparse->add_dims(3);
  SetFloats(sparse->mutable_values(), "w", {2}, {5, 6});
  SetInt64s(sparse->mutable_indices(), "", {2, 2}, {0, 1, 1, 2});
  AddOutput(model.mutable_graph(), "w", TensorProto::FLOAT, {2, 3});
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(Elements<float>(ConstantNamed(*imported->graph, "w")), (std::vector<float>{0, 5, 0, 0, 0, 6}));
}

// ---- Subgraphs ----

// If(cond) with branches that a test fills; graph output "y".
struct IfModel {
  ModelProto model = EmptyModel();
  NodeProto* node;
  GraphProto* then_branch;
  GraphProto* else_branch;
  IfModel() {
    AddInput(model.mutable_graph(), "cond", TensorProto::BOOL, {});
    AddInput(model.mutable_graph(), "x");
    AddOutput(model.mutable_graph(), "y");
    node = AddNode(model.mutable_graph(), "If", "if", {"cond"}, {"y"});
    then_branch = AddGraphAttribute(node, "then_branch");
    else_branch = AddGraphAttribute(node, "else_branch");
    AddOutput(then_branch, "t");
    AddOutput(else_branch, "e");
  }
};

TEST(ImporterSubgraphTest, OuterValuesBecomeCapturesOfEveryBranch) {
  IfModel m;
  AddInput(m.model.mutable_graph(), "z");
  AddNode(m.then_branch, "Relu", "r", {"x"}, {"t"});
  AddNode(m.else_branch, "Add", "a", {"z", "x"}, {"e"});
  IMPORT_OR_FAIL(imported, m.model);
  const Node& node = *imported->graph->nodes()[0];
  EXPECT_EQ(node.num_formal_inputs(), 1);
  ASSERT_EQ(node.inputs().size(), 3u);
  EXPECT_EQ(node.input(1)->name(), "x");
  EXPECT_EQ(node.input(2)->name(), "z");
  for (const char* branch : {"then_branch", "else_branch"}) EXPECT_EQ(node.subgraph(branch)->inputs().size(), 2u);
  const Node& add = *node.subgraph("else_branch")->nodes()[0];
  EXPECT_EQ(add.input(0), node.subgraph("else_branch")->inputs()[1]);
  EXPECT_EQ(add.input(1), node.subgraph("else_branch")->inputs()[0]);
}

TEST(ImporterSubgraphTest, OuterConstantsAreSharedNotCaptured) {
  IfModel m;
  SetFloats(m.model.mutable_graph()->add_initializer(), "w", {2}, {1, 2});
  AddNode(m.then_branch, "Relu", "r", {"w"}, {"t"});
  AddNode(m.else_branch, "Identity", "i", {"w"}, {"e"});
  IMPORT_OR_FAIL(imported, m.model);
  const Node& node = *imported->graph->nodes()[0];
  EXPECT_EQ(node.inputs().size(), 1u);
  const Tensor outer = ConstantNamed(*imported->graph, "w");
  EXPECT_EQ(ConstantNamed(*node.subgraph("then_branch"), "w").raw(), outer.raw());
  EXPECT_EQ(ConstantNamed(*node.subgraph("else_branch"), "w").raw(), outer.raw());
}

TEST(ImporterSubgraphTest, CaptureTwoLevelsDeepPassesThroughTheMiddle) {
  IfModel m;
  NodeProto* inner = AddNode(m.then_branch, "If", "inner", {"cond"}, {"t"});
  for (const char* branch : {"then_branch", "else_branch"}) {
    GraphProto* body = AddGraphAttribute(inner, branch);
    AddOutput(body, "deep");
    AddNode(body, "Relu", "r", {"x"}, {"deep"});
  }
  AddNode(m.else_branch, "Relu", "r", {"x"}, {"e"});
  IMPORT_OR_FAIL(imported, m.model);
  const Node& outer = *imported->graph->nodes()[0];
  ASSERT_EQ(outer.inputs().size(), 3u);  // cond, then captures cond and x
  const Node& middle = *outer.subgraph("then_branch")->nodes()[0];
  EXPECT_EQ(middle.num_formal_inputs(), 1);
  ASSERT_EQ(middle.inputs().size(), 2u);
  EXPECT_EQ(middle.input(1)->name(), "x");
  EXPECT_EQ(middle.subgraph("else_branch")->nodes()[0]->input(0), middle.subgraph("else_branch")->inputs()[0]);
}

TEST(ImporterSubgraphTest, InnerDefinitionHidesOuterOneAndTheOtherBranchStillCaptures) {
  IfModel m;
  AddNode(m.then_branch, "Foo", "f", {}, {"x"});
  AddNode(m.then_branch, "Relu", "r", {"x"}, {"t"});
  AddNode(m.else_branch, "Relu", "r", {"x"}, {"e"});
  IMPORT_OR_FAIL(imported, m.model);
  const Node& node = *imported->graph->nodes()[0];
  const Graph& then_branch = *node.subgraph("then_branch");
  EXPECT_EQ(NodeOfType(then_branch, "Relu")->input(0), NodeOfType(then_branch, "Foo")->output(0));
  const Graph& else_branch = *node.subgraph("else_branch");
  EXPECT_EQ(NodeOfType(else_branch, "Relu")->input(0), else_branch.inputs()[0]);
}

TEST(ImporterSubgraphTest, BranchMayReturnAnOuterValueWithoutNodes) {
  IfModel m;
  m.then_branch->mutable_output(0)->set_name("x");
  SetFloats(m.model.mutable_graph()->add_initializer(), "w", {2}, {1, 2});
  m.else_branch->mutable_output(0)->set_name("w");
  IMPORT_OR_FAIL(imported, m.model);
  const Node& node = *imported->graph->nodes()[0];
  EXPECT_EQ(node.subgraph("then_branch")->outputs()[0], node.subgraph("then_branch")->inputs()[0]);
  EXPECT_TRUE(node.subgraph("else_branch")->outputs()[0]->is_constant());
}

TEST(ImporterSubgraphTest, CaptureOrdersTheNodeAfterItsProducer) {
  IfModel m;
  AddNode(m.then_branch, "Relu", "r", {"late"}, {"t"});
  AddNode(m.else_branch, "Relu", "r", {"x"}, {"e"});
  AddNode(m.model.mutable_graph(), "Relu", "producer", {"x"}, {"late"});
  IMPORT_OR_FAIL(imported, m.model);
  EXPECT_EQ(imported->graph->nodes()[0]->name(), "producer");
}

TEST(ImporterSubgraphTest, LoopBodyHasFormalInputsBeforeCaptures) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "m", TensorProto::INT64, {});
  AddInput(graph, "x");
  AddOutput(graph, "y");
  NodeProto* loop = AddNode(graph, "Loop", "loop", {"m", "", "x"}, {"y"});
  GraphProto* body = AddGraphAttribute(loop, "body");
  AddInput(body, "i", TensorProto::INT64, {});
  AddInput(body, "c", TensorProto::BOOL, {});
  body->add_input()->set_name("state");  // no type: the operator's rule gives it
  AddOutput(body, "c", TensorProto::BOOL, {});
  AddOutput(body, "next");
  AddNode(body, "Add", "a", {"state", "x"}, {"next"});
  IMPORT_OR_FAIL(imported, model);
  const Node& node = *imported->graph->nodes()[0];
  EXPECT_EQ(node.num_formal_inputs(), 3);
  ASSERT_EQ(node.inputs().size(), 4u);
  const Graph& read = *node.subgraph("body");
  ASSERT_EQ(read.inputs().size(), 4u);
  EXPECT_EQ(read.inputs()[2]->type().kind, ValueType::Kind::kUnknown);
  EXPECT_EQ(read.nodes()[0]->input(1), read.inputs()[3]);
}

// ---- Functions ----

TEST(ImporterFunctionTest, CallBecomesItsNodes) {
  ModelProto model = ReluModel();
  NodeProto* call = model.mutable_graph()->mutable_node(0);
  call->set_op_type("F");
  call->set_domain("d");
  FunctionProto* function = AddFunction(&model, "d", "F", {"a"}, {"b"});
  function->mutable_opset_import(0)->set_version(15);
  AddNode(function, "Neg", "inner", {"a"}, {"mid"});
  AddNode(function, "Abs", "", {"mid"}, {"b"});
  IMPORT_OR_FAIL(imported, model);
  const Graph& graph = *imported->graph;
  ASSERT_EQ(graph.nodes().size(), 2u);
  EXPECT_EQ(graph.nodes()[0]->name(), "n/inner");
  EXPECT_EQ(graph.nodes()[0]->op().version, 15);
  EXPECT_EQ(graph.nodes()[0]->output(0)->name(), "n/mid");
  EXPECT_EQ(graph.nodes()[1]->output(0), graph.outputs()[0]);
  EXPECT_EQ(graph.outputs()[0]->name(), "y");
}

void AppendUnknown(google::protobuf::MessageLite* message, int field, const std::string& bytes) {
  // Parsing puts it where the installed messages want it: a known field or an unknown one.
  std::string wire;
  uint32_t tag = static_cast<uint32_t>(field) << 3 | 2;
  for (; tag >= 0x80; tag >>= 7) wire.push_back(static_cast<char>(tag | 0x80));
  wire.push_back(static_cast<char>(tag));
  ASSERT_LT(bytes.size(), 128u);
  wire.push_back(static_cast<char>(bytes.size()));
  ASSERT_TRUE(message->MergeFromString(wire + bytes));
}

TEST(ImporterFunctionTest, AttributeReferencesTakeTheCallsValueElseTheDefaultElseNothing) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "x");
  for (const char* output : {"p", "q"}) AddOutput(graph, output);
  AddNode(graph, "F", "default", {"x"}, {"p"}, "d");
  NodeProto* given = AddNode(graph, "F", "given", {"x"}, {"q"}, "d");
  AddInt(given, "axis", 2);
  AddAttribute(given, "alpha", AttributeProto::FLOAT)->set_f(0.25f);
  FunctionProto* function = AddFunction(&model, "d", "F", {"a"}, {"b"});
  function->add_attribute("alpha");
  AttributeProto axis;
  axis.set_name("axis");
  axis.set_type(AttributeProto::INT);
  axis.set_i(1);
  AppendUnknown(function, 11, axis.SerializeAsString());
  NodeProto* node = AddNode(function, "Foo", "foo", {"a"}, {"b"});
  AddReference(node, "axis", AttributeProto::INT, "axis");
  AddReference(node, "slope", AttributeProto::FLOAT, "alpha");
  IMPORT_OR_FAIL(imported, model);
  const Node& first = *imported->graph->nodes()[0];
  const Node& second = *imported->graph->nodes()[1];
  EXPECT_EQ(first.IntOr("axis", -1), 1);
  EXPECT_EQ(first.attribute("slope"), nullptr);
  EXPECT_EQ(second.IntOr("axis", -1), 2);
  EXPECT_EQ(second.FloatOr("slope", 0), 0.25f);
}

TEST(ImporterFunctionTest, ReferencesPassThroughNestedCallsAndSubgraphsIntoConstants) {
  ModelProto model = ReluModel();
  AddInput(model.mutable_graph(), "cond", TensorProto::BOOL, {});
  NodeProto* call = model.mutable_graph()->mutable_node(0);
  call->set_op_type("Outer");
  call->set_domain("d");
  call->add_input("cond");
  AddInt(call, "value", 42);
  FunctionProto* outer = AddFunction(&model, "d", "Outer", {"a", "c"}, {"b"});
  outer->add_attribute("value");
  AddReference(AddNode(outer, "Inner", "call", {"a", "c"}, {"b"}, "d"), "v", AttributeProto::INT, "value");
  FunctionProto* inner = AddFunction(&model, "d", "Inner", {"a", "c"}, {"b"});
  inner->add_attribute("v");
  NodeProto* branch = AddNode(inner, "If", "if", {"c"}, {"b"});
  for (const char* name : {"then_branch", "else_branch"}) {
    GraphProto* body = AddGraphAttribute(branch, name);
    AddReference(AddNode(body, "Constant", "", {}, {"k"}), "value_int", AttributeProto::INT, "v");
    AddNode(body, "Foo", "foo", {"a", "k"}, {"r"});
    AddOutput(body, "r");
  }
  IMPORT_OR_FAIL(imported, model);
  const Node& node = *imported->graph->nodes()[0];
  EXPECT_EQ(node.op().type, "If");
  EXPECT_EQ(node.output(0)->name(), "y");
  ASSERT_EQ(node.inputs().size(), 2u);
  EXPECT_EQ(node.input(1), imported->graph->inputs()[0]);
  const Node& foo = *node.subgraph("else_branch")->nodes()[0];
  EXPECT_EQ(Elements<int64_t>(foo.input(1)->constant()), std::vector<int64_t>{42});
}

TEST(ImporterFunctionTest, OverloadsAreTold) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "x");
  AddOutput(graph, "p");
  AddOutput(graph, "q");
  AppendUnknown(AddNode(graph, "F", "one", {"x"}, {"p"}, "d"), 8, "neg");
  AppendUnknown(AddNode(graph, "F", "two", {"x"}, {"q"}, "d"), 8, "abs");
  for (const char* overload : {"neg", "abs"}) {
    FunctionProto* function = AddFunction(&model, "d", "F", {"a"}, {"b"});
    AppendUnknown(function, 13, overload);
    AddNode(function, overload == std::string("neg") ? "Neg" : "Abs", "", {"a"}, {"b"});
  }
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->graph->nodes()[0]->op().type, "Neg");
  EXPECT_EQ(imported->graph->nodes()[1]->op().type, "Abs");
}

TEST(ImporterFunctionTest, MissingTrailingArgumentsAreAbsent) {
  ModelProto model = ReluModel();
  NodeProto* call = model.mutable_graph()->mutable_node(0);
  call->set_op_type("F");
  call->set_domain("d");
  FunctionProto* function = AddFunction(&model, "d", "F", {"a", "bias"}, {"b", "unused"});
  AddNode(function, "Foo", "", {"a", "bias"}, {"b"});
  AddNode(function, "Neg", "", {"a"}, {"unused"});
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(NodeOfType(*imported->graph, "Foo")->input(1), nullptr);
}

TEST(ImporterFunctionTest, ResultThatIsAnArgumentKeepsBothNames) {
  ModelProto model = ReluModel();
  NodeProto* call = model.mutable_graph()->mutable_node(0);
  call->set_op_type("F");
  call->set_domain("d");
  AddFunction(&model, "d", "F", {"a"}, {"a"});
  IMPORT_OR_FAIL(imported, model);
  EXPECT_EQ(imported->graph->inputs()[0]->name(), "x");
  EXPECT_EQ(imported->graph->outputs()[0]->name(), "y");
}

TEST(ImporterFunctionTest, TensorsOfABodyAreSharedByItsCalls) {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "x");
  AddOutput(graph, "p");
  AddOutput(graph, "q");
  AddNode(graph, "F", "one", {"x"}, {"p"}, "d");
  AddNode(graph, "F", "two", {"x"}, {"q"}, "d");
  FunctionProto* function = AddFunction(&model, "d", "F", {"a"}, {"b"});
  TensorProto* tensor =
      AddAttribute(AddNode(function, "Constant", "", {}, {"w"}), "value", AttributeProto::TENSOR)->mutable_t();
  tensor->set_data_type(TensorProto::FLOAT);
  tensor->add_dims(4096);
  tensor->set_raw_data(std::string(4 * 4096, '\0'));
  AddNode(function, "Add", "add", {"a", "w"}, {"b"});
  IMPORT_OR_FAIL(imported, model);
  const auto& nodes = imported->graph->nodes();
  EXPECT_EQ(nodes[0]->input(1)->constant().raw(), nodes[1]->input(1)->constant().raw());
}

// ---- Real files ----

TEST(ImporterTest, EverySharedModelImportsAndItsDataReads) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  int models = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SharedDir() + "/models")) {
    if (entry.path().extension() != ".onnx") continue;
    absl::StatusOr<ImportedModel> imported = ImportModel(entry.path().string(), {});
    ASSERT_TRUE(imported.ok()) << imported.status();
    ++models;
    for (const auto& data : std::filesystem::directory_iterator(entry.path().parent_path())) {
      if (data.path().filename().string().rfind("test_data_set_", 0) != 0) continue;
      for (size_t i = 0;; ++i) {
        const std::string path = data.path().string() + "/input_" + std::to_string(i) + ".pb";
        if (!std::filesystem::exists(path)) break;
        absl::StatusOr<NamedValue> value = ReadValueFile(path, ValueType());
        ASSERT_TRUE(value.ok()) << value.status();
        EXPECT_TRUE(value->value.is_tensor());
      }
    }
  }
  EXPECT_GE(models, 90);
}

}  // namespace
}  // namespace rondo
