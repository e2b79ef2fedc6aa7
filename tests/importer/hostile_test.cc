// Malformed models and the error that each must get. The numbers are those of the project's list of 84 cases; cases
// that only operators' rules or a run can find (arity, body outputs, declared outputs) are in
// tests/api/hostile_model_test.cc, attribute values where the rules are, and cases 43 to 47 and 53 to 65, on data and
// external data, in tensor_reader_test.cc too.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/importer/model_builder.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

struct Case {
  const char* number;
  std::function<void(ModelProto&)> change;  // of x -> Relu "n" -> y
  std::vector<const char*> errors;
};

void PrintTo(const Case& c, std::ostream* out) { *out << "case " << c.number; }

class HostileModelTest : public testing::TestWithParam<Case> {};

TEST_P(HostileModelTest, GetsItsError) {
  ModelProto model = ReluModel();
  GetParam().change(model);
  const absl::Status status = Import(model).status();
  ASSERT_FALSE(status.ok());
  for (const char* error : GetParam().errors) ExpectError(status, {error});
}

GraphProto& G(ModelProto& model) { return *model.mutable_graph(); }
NodeProto& N(ModelProto& model) { return *model.mutable_graph()->mutable_node(0); }
TensorProto& NewInitializer(ModelProto& model) {
  TensorProto* tensor = G(model).add_initializer();
  tensor->set_name("w");
  tensor->set_data_type(TensorProto::FLOAT);
  return *tensor;
}
void MakeCall(ModelProto& model) {
  N(model).set_op_type("F");
  N(model).set_domain("d");
}

const Case kFileCases[] = {
    {"11 no graph", [](ModelProto& m) { m.clear_graph(); }, {"no graph"}},
    {"11 no opset", [](ModelProto& m) { m.clear_opset_import(); }, {"no opset_import"}},
    {"11 ir 0", [](ModelProto& m) { m.set_ir_version(0); }, {"ir_version 0 (supported 3 to 13)"}},
    {"11 ir absent", [](ModelProto& m) { m.clear_ir_version(); }, {"ir_version 0 (supported 3 to 13)"}},
    {"11 ir huge",
     [](ModelProto& m) { m.set_ir_version(int64_t{1} << 40); },
     {"ir_version 1099511627776 (supported 3 to 13)"}},
    {"12 opset 0", [](ModelProto& m) { m.mutable_opset_import(0)->set_version(0); }, {"ai.onnx opset 0"}},
    {"12 opset negative", [](ModelProto& m) { m.mutable_opset_import(0)->set_version(-3); }, {"ai.onnx opset -3"}},
    {"12 opset 999",
     [](ModelProto& m) { m.mutable_opset_import(0)->set_version(999); },
     {"unsupported", "ai.onnx opset 999", "max 28"}},
    {"12 opset twice",
     [](ModelProto& m) {
       auto* second = m.add_opset_import();
       second->set_domain("ai.onnx");
       second->set_version(18);
     },
     {"duplicate domain ai.onnx with versions 17 and 18"}},
    {"12 other domain negative",
     [](ModelProto& m) {
       auto* second = m.add_opset_import();
       second->set_domain("d");
       second->set_version(-1);
     },
     {"d opset -1, expected 1 or more"}},
    {"12 no default domain",
     [](ModelProto& m) { m.mutable_opset_import(0)->set_domain("d"); },
     {"node \"n\" (Relu)", "no opset_import for the default domain"}},
    {"14 names",
     [](ModelProto& m) { N(m).set_input(0, std::string("\x1b[2J\0\xff", 6)); },
     {"node \"n\" (Relu): input 0 \"\\x1b[2J\\x00\\xff\" is undefined"}},
    {"14 long name", [](ModelProto& m) { N(m).set_input(0, std::string(10 << 20, 'a')); }, {"aaa...\" is undefined"}},
    {"14 empty input name", [](ModelProto& m) { G(m).mutable_input(0)->clear_name(); }, {"graph input without a name"}},
    {"14 empty op", [](ModelProto& m) { N(m).clear_op_type(); }, {"node \"n\" (): empty op_type"}},
    {"internal domain",
     [](ModelProto& m) { N(m).set_domain("rondo"); },
     {"node \"n\" (rondo::Relu)", "internal and not allowed"}},
};

const Case kGraphCases[] = {
    {"16 cycle",
     [](ModelProto& m) {
       AddNode(&G(m), "Neg", "a", {"q"}, {"p"});
       AddNode(&G(m), "Neg", "b", {"p"}, {"q"});
     },
     {"cycle through nodes ", "node \"a\" (Neg)", "node \"b\" (Neg)"}},
    {"16 self loop", [](ModelProto& m) { N(m).set_input(0, "y"); }, {"cycle through nodes node \"n\" (Relu)"}},
    {"16 through a subgraph",
     [](ModelProto& m) { AddNode(AddGraphAttribute(&N(m), "g"), "Neg", "inner", {"y"}, {"z"}); },
     {"cycle through nodes node \"n\" (Relu)"}},
    {"18", [](ModelProto& m) { N(m).add_input("w"); }, {"node \"n\" (Relu): input 1 \"w\" is undefined"}},
    {"18 in a subgraph",
     [](ModelProto& m) { AddNode(AddGraphAttribute(&N(m), "g"), "Neg", "inner", {"nowhere"}, {"z"}); },
     {"node \"inner\" (Neg): input 0 \"nowhere\" is undefined"}},
    {"18 only in a sibling branch",
     [](ModelProto& m) {
       AddNode(AddGraphAttribute(&N(m), "g"), "Neg", "a", {"x"}, {"z"});
       AddNode(AddGraphAttribute(&N(m), "h"), "Neg", "b", {"z"}, {"v"});
     },
     {"node \"b\" (Neg): input 0 \"z\" is undefined"}},
    {"19", [](ModelProto& m) { AddOutput(&G(m), "z"); }, {"graph output 1 \"z\" is undefined"}},
    {"19 unnamed", [](ModelProto& m) { AddOutput(&G(m), ""); }, {"graph output 1 \"\" is undefined"}},
    {"19 of a subgraph",
     [](ModelProto& m) { AddOutput(AddGraphAttribute(&N(m), "g"), "z"); },
     {"node \"n\" (Relu): output 0 \"z\" of g is undefined"}},
    {"no outputs", [](ModelProto& m) { G(m).clear_output(); }, {"the graph has no outputs"}},
    {"20 two producers",
     [](ModelProto& m) { AddNode(&G(m), "Neg", "b", {"x"}, {"y"}); },
     {"node \"b\" (Neg): duplicate definition of \"y\", which is also an output of node \"n\" (Relu)"}},
    {"20 one node twice", [](ModelProto& m) { N(m).add_output("y"); }, {"duplicate definition of \"y\""}},
    {"20 input", [](ModelProto& m) { N(m).set_output(0, "x"); }, {"duplicate definition of \"x\", which is an input"}},
    {"20 initializer",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "y", {1}, {1}); },
     {"node \"n\" (Relu): duplicate definition of \"y\""}},
    {"21 initializers",
     [](ModelProto& m) {
       SetFloats(&NewInitializer(m), "w", {1}, {1});
       SetFloats(&NewInitializer(m), "w", {1}, {1});
     },
     {"initializer \"w\": duplicate definition of \"w\""}},
    {"21 inputs", [](ModelProto& m) { AddInput(&G(m), "x"); }, {"graph input \"x\": duplicate definition of \"x\""}},
    {"23",
     [](ModelProto& m) { AddInt(AddNode(&G(m), "Constant", "c", {}, {}), "value_int", 1); },
     {"node \"c\" (Constant): 0 outputs, expected 1"}},
    {"23 unnamed output",
     [](ModelProto& m) { AddInt(AddNode(&G(m), "Constant", "c", {}, {""}), "value_int", 1); },
     {"node \"c\" (Constant): 1 outputs, expected 1 with a name"}},
    {"30",
     [](ModelProto& m) {
       GraphProto* body = AddGraphAttribute(&N(m), "body");
       AddInput(body, "state");
       SetFloats(body->add_initializer(), "state", {1}, {1});
     },
     {"initializer \"state\": duplicate definition of \"state\""}},
    {"30 duplicate body input",
     [](ModelProto& m) {
       GraphProto* body = AddGraphAttribute(&N(m), "body");
       AddInput(body, "state");
       AddInput(body, "state");
     },
     {"node \"n\" (Relu): duplicate input \"state\" of body"}},
    {"32 itself",
     [](ModelProto& m) {
       MakeCall(m);
       AddNode(AddFunction(&m, "d", "F", {"a"}, {"b"}), "F", "", {"a"}, {"b"}, "d");
     },
     {"recursive function d::F -> d::F"}},
    {"32 A -> B -> A through If",
     [](ModelProto& m) {
       NodeProto* node = AddNode(AddFunction(&m, "d", "A", {"a"}, {"b"}), "If", "", {"a"}, {"b"});
       AddNode(AddGraphAttribute(node, "then_branch"), "B", "", {"a"}, {"r"}, "d");
       AddNode(AddFunction(&m, "d", "B", {"a"}, {"b"}), "A", "", {"a"}, {"b"}, "d");
     },
     {"recursive function d::A -> d::B -> d::A"}},
    {"33 depth 200",
     [](ModelProto& m) {
       for (int i = 0; i < 200; ++i) {
         AddNode(AddFunction(&m, "d", absl::StrCat("F", i), {"a"}, {"b"}), absl::StrCat("F", i + 1), "", {"a"}, {"b"},
                 "d");
       }
     },
     {"inlined nodes", "deeper than 100"}},
    {"33 depth 200, innermost first",
     [](ModelProto& m) {
       for (int i = 200; i > 0; --i) {
         AddNode(AddFunction(&m, "d", absl::StrCat("F", i), {"a"}, {"b"}), absl::StrCat("F", i + 1), "", {"a"}, {"b"},
                 "d");
       }
     },
     {"inlined nodes", "101 deep, limit 100"}},
    {"33 doubling",
     [](ModelProto& m) {
       N(m).set_op_type("F0");
       N(m).set_domain("d");
       for (int i = 0; i < 30; ++i) {
         FunctionProto* function = AddFunction(&m, "d", absl::StrCat("F", i), {"a"}, {"b"});
         AddNode(function, absl::StrCat("F", i + 1), "", {"a"}, {"t"}, "d");
         AddNode(function, absl::StrCat("F", i + 1), "", {"t"}, {"b"}, "d");
       }
       AddFunction(&m, "d", "F30", {"a"}, {"a"});
     },
     {"inlined nodes ", " > max_nodes 1000000"}},
    {"34 too many inputs",
     [](ModelProto& m) {
       MakeCall(m);
       AddFunction(&m, "d", "F", {}, {"b"});
     },
     {"node \"n\" (d::F): function takes 0 inputs, got 1"}},
    {"34 too many outputs",
     [](ModelProto& m) {
       MakeCall(m);
       AddFunction(&m, "d", "F", {"a"}, {});
     },
     {"node \"n\" (d::F): function has 0 outputs, 1 are asked for"}},
    {"34 undefined output",
     [](ModelProto& m) {
       MakeCall(m);
       AddFunction(&m, "d", "F", {"a"}, {"b"});
     },
     {"function d::F: output 0 \"b\" is undefined"}},
    {"34 reads the caller's name",
     [](ModelProto& m) {
       MakeCall(m);
       AddNode(AddFunction(&m, "d", "F", {"a"}, {"b"}), "Neg", "inner", {"x"}, {"b"});
     },
     {"function d::F: node \"inner\" (Neg): input 0 \"x\" is undefined"}},
    {"34 duplicate function",
     [](ModelProto& m) {
       AddFunction(&m, "d", "F", {"a"}, {"a"});
       AddFunction(&m, "d", "F", {"a"}, {"a"});
     },
     {"function d::F: duplicate definition"}},
    {"34 function opset",
     [](ModelProto& m) { AddFunction(&m, "d", "F", {"a"}, {"a"})->mutable_opset_import(0)->set_version(99); },
     {"function d::F: ", "ai.onnx opset 99"}},
    {"35 capture of the node's own result",
     [](ModelProto& m) { AddNode(AddGraphAttribute(&N(m), "g"), "Neg", "inner", {"y"}, {"z"}); },
     {"cycle"}},
};

const Case kTensorCases[] = {
    {"36 -1", [](ModelProto& m) { NewInitializer(m).add_dims(-1); }, {"initializer \"w\": dim 0 is -1"}},
    {"36 -7",
     [](ModelProto& m) {
       NewInitializer(m).add_dims(3);
       G(m).mutable_initializer(0)->add_dims(-7);
     },
     {"initializer \"w\": dim 1 is -7"}},
    {"37 elements",
     [](ModelProto& m) {
       TensorProto& w = NewInitializer(m);
       w.add_dims(int64_t{1} << 40);
       w.add_dims(int64_t{1} << 40);
     },
     {"initializer \"w\": 1099511627776x1099511627776 elements overflow"}},
    {"37 bytes", [](ModelProto& m) { NewInitializer(m).add_dims(int64_t{1} << 62); }, {"overflow"}},
    {"37 limit",
     [](ModelProto& m) { NewInitializer(m).add_dims(int64_t{1} << 39); },
     {"needs 2199023255552 bytes, limit 1099511627776"}},
    {"38",
     [](ModelProto& m) {
       TensorProto& w = NewInitializer(m);
       for (int i = 0; i < 10000; ++i) w.add_dims(1);
     },
     {"initializer \"w\": rank 10000 > 64"}},
    {"38 declared",
     [](ModelProto& m) {
       auto* shape = G(m).mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
       for (int i = 0; i < 100; ++i) shape->add_dim();
     },
     {"graph input \"x\": rank 101 > 64"}},
    {"39",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {0}, {1}); },
     {"initializer \"w\": 1 values in float_data, shape [0] needs 0"}},
    {"40",
     [](ModelProto& m) {
       NewInitializer(m).add_dims(1000000);
       G(m).mutable_initializer(0)->set_raw_data("1234");
     },
     {"initializer \"w\": 4 bytes of data, shape needs 4000000"}},
    {"41",
     [](ModelProto& m) {
       NewInitializer(m).add_dims(2);
       G(m).mutable_initializer(0)->set_raw_data("1234567");
     },
     {"7 bytes of data, shape needs 8"}},
    {"42 both",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->set_raw_data("1234"); },
     {"initializer \"w\": raw_data and float_data are both set"}},
    {"42 neither",
     [](ModelProto& m) { NewInitializer(m).add_dims(2); },
     {"initializer \"w\": no data, shape needs 8 bytes"}},
    {"42 wrong field",
     [](ModelProto& m) { SetInt64s(&NewInitializer(m), "w", {1}, {1})->set_data_type(TensorProto::FLOAT); },
     {"data of type float32 in int64_data, expected float_data or raw_data"}},
    {"42 external and raw",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->set_data_location(TensorProto::EXTERNAL); },
     {"external data and float_data are both set"}},
    {"43 count",
     [](ModelProto& m) {
       SetFloats(&NewInitializer(m), "w", {3}, {1, 2});
     },
     {"2 values in float_data, shape [3] needs 3"}},
    {"44 0",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->set_data_type(0); },
     {"initializer \"w\": unknown data type 0"}},
    {"44 999",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->set_data_type(999); },
     {"initializer \"w\": unknown data type 999"}},
    {"44 -1",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->set_data_type(-1); },
     {"initializer \"w\": unknown data type -1"}},
    {"44 of an input",
     [](ModelProto& m) { G(m).mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(999); },
     {"graph input \"x\": unknown data type 999"}},
    {"44 input without a type",
     [](ModelProto& m) { G(m).mutable_input(0)->clear_type(); },
     {"graph input \"x\": has no type"}},
    {"45 raw strings",
     [](ModelProto& m) {
       NewInitializer(m).set_data_type(TensorProto::STRING);
       G(m).mutable_initializer(0)->set_raw_data("abc");
     },
     {"data of type string in raw_data, expected string_data"}},
    {"45 external strings",
     [](ModelProto& m) {
       NewInitializer(m).set_data_type(TensorProto::STRING);
       AddExternal(G(m).mutable_initializer(0), "location", "x");
     },
     {"strings cannot be external data"}},
    {"45 count",
     [](ModelProto& m) {
       NewInitializer(m).set_data_type(TensorProto::STRING);
       G(m).mutable_initializer(0)->add_dims(2);
       G(m).mutable_initializer(0)->add_string_data("one");
     },
     {"1 values in string_data, shape [2] needs 2"}},
    {"48",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "w", {1}, {1})->mutable_segment()->set_end(1); },
     {"initializer \"w\": segment is set"}},
    {"50 input",
     [](ModelProto& m) {
       SetFloats(&NewInitializer(m), "w", {3}, {1, 2, 3});
       AddInput(&G(m), "w");
     },
     {"initializer \"w\": declared as float32[2], the tensor is float32[3]"}},
    {"50 value_info",
     [](ModelProto& m) {
       SetFloats(&NewInitializer(m), "w", {2}, {1, 2});
       SetTensorType(G(m).add_value_info(), "w", TensorProto::INT64, {2});
     },
     {"value_info \"w\": declared as int64[2], the tensor is float32[2]"}},
    {"unnamed initializer",
     [](ModelProto& m) { SetFloats(&NewInitializer(m), "", {1}, {1}); },
     {"initializer without a name"}},
};

// Case 49, each variant a change of a valid sparse tensor [4] with values {5, 6} at {1, 3}.
Case SparseCase(const char* name, std::function<void(onnx::SparseTensorProto&)> change, const char* error) {
  return {name,
          [change](ModelProto& m) {
            auto* sparse = G(m).add_sparse_initializer();
            sparse->add_dims(4);
            SetFloats(sparse->mutable_values(), "s", {2}, {5, 6});
            SetInt64s(sparse->mutable_indices(), "", {2}, {1, 3});
            change(*sparse);
          },
          {"initializer \"s\": ", error}};
}

const Case kSparseCases[] = {
    SparseCase(
        "49 out of range", [](auto& s) { s.mutable_indices()->set_int64_data(1, 4); },
        "sparse index 4 at 1 is out of range [0, 3]"),
    SparseCase(
        "49 negative", [](auto& s) { s.mutable_indices()->set_int64_data(0, -1); },
        "sparse index -1 at 0 is out of range"),
    SparseCase(
        "49 unsorted", [](auto& s) { s.mutable_indices()->set_int64_data(1, 0); }, "not in ascending order"),
    SparseCase(
        "49 duplicate", [](auto& s) { s.mutable_indices()->set_int64_data(1, 1); }, "is a duplicate"),
    SparseCase(
        "49 rank 3",
        [](auto& s) {
          s.mutable_indices()->add_dims(1);
          s.mutable_indices()->add_dims(1);
        },
        "sparse indices have shape [2, 1, 1], expected [2] or [2, 1]"),
    SparseCase(
        "49 count", [](auto& s) { SetInt64s(s.mutable_indices(), "", {}, {2}); }, "sparse indices"),
    SparseCase(
        "49 nnz", [](auto& s) { s.set_dims(0, 1); }, "sparse tensor with 2 values, shape [1] has 1"),
    SparseCase(
        "49 no indices", [](auto& s) { s.clear_indices(); }, "sparse indices have shape [0]"),
    SparseCase(
        "49 index type", [](auto& s) { SetFloats(s.mutable_indices(), "", {}, {})->clear_int64_data(); },
        "sparse indices"),
    SparseCase(
        "49 values rank", [](auto& s) { s.mutable_values()->add_dims(1); }, "sparse values have rank 2, expected 1"),
    SparseCase(
        "49 dense size", [](auto& s) { s.set_dims(0, int64_t{1} << 36); }, "bytes when dense, limit"),
    SparseCase(
        "49 overflow",
        [](auto& s) {
          s.set_dims(0, int64_t{1} << 40);
          s.add_dims(int64_t{1} << 40);
        },
        "elements overflow"),
    SparseCase(
        "49 dims", [](auto& s) { s.set_dims(0, -4); }, "dim 0 is -4"),
};

const Case kAttributeCases[] = {
    {"66 type and field differ",
     [](ModelProto& m) { AddAttribute(&N(m), "strides", AttributeProto::INTS)->set_f(1); },
     {"node \"n\" (Relu): attribute \"strides\": expected INTS, got FLOAT"}},
    {"66 int and floats",
     [](ModelProto& m) { AddAttribute(&N(m), "a", AttributeProto::INT)->add_floats(1); },
     {"attribute \"a\": expected INT, got FLOATS"}},
    {"66 nothing", [](ModelProto& m) { N(m).add_attribute()->set_name("a"); }, {"has neither a type nor a value"}},
    {"66 two values, no type",
     [](ModelProto& m) {
       AttributeProto* a = N(m).add_attribute();
       a->set_name("a");
       a->add_ints(1);
       a->set_s("s");
     },
     {"attribute \"a\": holds STRING and INTS"}},
    {"66 two of one name",
     [](ModelProto& m) {
       AddInt(&N(m), "a", 1);
       AddInt(&N(m), "a", 1);
     },
     {"attribute \"a\": duplicate attribute"}},
    {"66 no name", [](ModelProto& m) { AddInt(&N(m), "", 1); }, {"attribute \"\": empty name"}},
    {"66 type 99",
     [](ModelProto& m) {
       AttributeProto* a = N(m).add_attribute();
       ASSERT_TRUE(
           a->ParseFromString(std::string("\x0a\x01"
                                          "a"
                                          "\x18\x01\xa0\x01\x63",
                                          8)));
     },
     {"attribute \"a\": unknown attribute type 99"}},
    {"67 tensor",
     [](ModelProto& m) { AddAttribute(&N(m), "t", AttributeProto::TENSOR); },
     {"attribute \"t\": expected TENSOR, got no value"}},
    {"67 graph",
     [](ModelProto& m) { AddAttribute(&N(m), "body", AttributeProto::GRAPH); },
     {"attribute \"body\": expected GRAPH, got no value"}},
    {"67 reference outside a function",
     [](ModelProto& m) { AddReference(&N(m), "a", AttributeProto::INT, "b"); },
     {"attribute \"a\": refers to \"b\" (ref_attr_name), but is in no function"}},
    {"67 undeclared reference",
     [](ModelProto& m) {
       MakeCall(m);
       AddReference(AddNode(AddFunction(&m, "d", "F", {"a"}, {"b"}), "Neg", "i", {"a"}, {"b"}), "p",
                    AttributeProto::INT, "q");
     },
     {"function d::F: node \"i\" (Neg): attribute \"p\": refers to \"q\", which is no attribute of function d::F"}},
    {"67 reference of another type",
     [](ModelProto& m) {
       MakeCall(m);
       AddAttribute(&N(m), "q", AttributeProto::STRING)->set_s("s");
       FunctionProto* function = AddFunction(&m, "d", "F", {"a"}, {"b"});
       function->add_attribute("q");
       AddReference(AddNode(function, "Neg", "i", {"a"}, {"b"}), "p", AttributeProto::INT, "q");
     },
     {"attribute \"p\": refers to \"q\": expected INT, got STRING"}},
    {"graph for a function",
     [](ModelProto& m) {
       MakeCall(m);
       AddGraphAttribute(&N(m), "g");
       AddFunction(&m, "d", "F", {"a"}, {"a"});
     },
     {"attribute \"g\": a graph as an argument of a function"}},
    {"graphs",
     [](ModelProto& m) { AddAttribute(&N(m), "g", AttributeProto::GRAPHS)->add_graphs(); },
     {"attribute \"g\": unsupported attribute type GRAPHS"}},
    {"73 two values",
     [](ModelProto& m) {
       NodeProto* c = AddNode(&G(m), "Constant", "c", {}, {"k"});
       AddInt(c, "value_int", 1);
       AddAttribute(c, "value_float", AttributeProto::FLOAT)->set_f(1);
     },
     {"node \"c\" (Constant): 2 value attributes, expected exactly 1"}},
    {"73 no value",
     [](ModelProto& m) { AddNode(&G(m), "Constant", "c", {}, {"k"}); },
     {"node \"c\" (Constant): 0 value attributes, expected exactly 1"}},
    {"73 wrong type",
     [](ModelProto& m) { AddInt(AddNode(&G(m), "Constant", "c", {}, {"k"}), "value", 1); },
     {"node \"c\" (Constant): attribute \"value\": expected TENSOR, got INT"}},
    {"73 unknown name",
     [](ModelProto& m) { AddInt(AddNode(&G(m), "Constant", "c", {}, {"k"}), "valeu", 1); },
     {"attribute \"valeu\": unknown attribute of Constant"}},
    {"73 inputs",
     [](ModelProto& m) { AddInt(AddNode(&G(m), "Constant", "c", {"x"}, {"k"}), "value_int", 1); },
     {"node \"c\" (Constant): 1 inputs, expected 0"}},
};

INSTANTIATE_TEST_SUITE_P(File, HostileModelTest, testing::ValuesIn(kFileCases));
INSTANTIATE_TEST_SUITE_P(Graph, HostileModelTest, testing::ValuesIn(kGraphCases));
INSTANTIATE_TEST_SUITE_P(Tensor, HostileModelTest, testing::ValuesIn(kTensorCases));
INSTANTIATE_TEST_SUITE_P(Sparse, HostileModelTest, testing::ValuesIn(kSparseCases));
INSTANTIATE_TEST_SUITE_P(Attribute, HostileModelTest, testing::ValuesIn(kAttributeCases));

// ---- Files (cases 1 to 10 and 15) ----

// A length-delimited field with this tag byte.
std::string Field(char tag, absl::string_view bytes) {
  std::string result(1, tag);
  size_t n = bytes.size();
  for (; n >= 0x80; n >>= 7) result.push_back(static_cast<char>(n | 0x80));
  result.push_back(static_cast<char>(n));
  result.append(bytes.data(), bytes.size());
  return result;
}

absl::Status ImportText(absl::string_view bytes) { return ImportModelFromBytes(bytes, "", {}).status(); }

TEST(HostileFileTest, OnlyRegularFilesAreRead) {  // 1
  const std::string directory = NewTempDir();
  ExpectError(ImportModel(directory + "/missing.onnx", {}).status(), {"missing.onnx: cannot open: No such file"});
  ExpectError(ImportModel(directory, {}).status(), {"not a regular file"});
  ExpectError(ImportModel("/dev/zero", {}).status(), {"/dev/zero: not a regular file"});
  const std::string fifo = directory + "/fifo.onnx";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  ExpectError(ImportModel(fifo, {}).status(), {"fifo.onnx: not a regular file"});
  ExpectError(ImportModel(std::string("a\0b", 3), {}).status(), {"NUL"});
}

TEST(HostileFileTest, EmptyFileHasNoGraph) {  // 2
  const std::string path = NewTempDir() + "/empty.onnx";
  WriteFile(path, "");
  ExpectError(ImportModel(path, {}).status(), {"empty.onnx: no graph"});
}

TEST(HostileFileTest, RandomBytesDoNotParse) {  // 5
  std::mt19937 random(1);
  std::string bytes(1 << 20, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  bytes[0] = '\x07';  // a wire type that does not exist
  ExpectError(ImportText(bytes), {"protobuf does not parse (at byte 0)"});
  bytes[0] = '\0';
  ExpectError(ImportText(bytes), {"protobuf does not parse (at byte 0)"});
}

TEST(HostileFileTest, LengthBeyondTheFile) {  // 6
  ExpectError(ImportText("\x3a\xff\xff\xff\xff\x07"), {"protobuf does not parse (at byte 0)"});
  ExpectError(ImportText("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), {"protobuf does not parse (at byte 0)"});
  ExpectError(ImportText("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), {"protobuf does not parse (at byte 0)"});
}

TEST(HostileFileTest, TwoGigabytesAreTooMany) {  // 7
  const std::string path = NewTempDir() + "/huge.onnx";
  WriteFile(path, "");
  ASSERT_EQ(truncate(path.c_str(), int64_t{1} << 31), 0);  // sparse: takes no space
  ExpectError(ImportModel(path, {}).status(), {"model file 2147483648 bytes, limit 2147483647; use external data"});
}

TEST(HostileFileTest, NestingIsBounded) {  // 8
  ExpectError(ImportText(std::string(1000, '\x0b')), {"nesting"});
  for (int depth : {32, 33, 200}) {
    // Built from the inside: protobuf would not serialize what it could not parse.
    std::string graph = ReluModel().graph().SerializeAsString();
    for (int i = 0; i < depth; ++i) {
      const std::string attribute = absl::StrCat(Field('\x0a', "g"), Field('\x32', graph));
      graph = Field('\x0a', absl::StrCat(Field('\x22', "If"), Field('\x12', "y"), Field('\x2a', attribute)));
    }
    ModelProto header = EmptyModel();
    header.clear_graph();
    ModelProto outer;
    AddOutput(outer.mutable_graph(), "y");
    const std::string body = absl::StrCat(graph, outer.graph().SerializeAsString());
    const std::string bytes = absl::StrCat(header.SerializeAsString(), Field('\x3a', body));
    const absl::Status status = ImportText(bytes);
    if (depth == 32) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      ExpectError(status, {"nesting: subgraphs deeper than 32"});
    }
  }
}

TEST(HostileFileTest, SubgraphsThatOnlyInliningNestsAreBounded) {  // 8
  ModelProto model = ReluModel();
  MakeCall(model);
  N(model).set_op_type("F0");
  for (int i = 0; i < 40; ++i) {
    FunctionProto* function = AddFunction(&model, "d", absl::StrCat("F", i), {"a"}, {"b"});
    GraphProto* body = AddGraphAttribute(AddNode(function, "If", "", {"a"}, {"b"}), "then_branch");
    AddNode(body, i == 39 ? "Neg" : absl::StrCat("F", i + 1), "", {"a"}, {"r"}, i == 39 ? "" : "d");
    AddOutput(body, "r");
  }
  ExpectError(Import(model).status(), {"nesting: subgraphs deeper than 32"});
}

TEST(HostileFileTest, EmptyNodesAreCountedBeforeParsing) {  // 9
  std::string graph;
  for (int i = 0; i < 2000000; ++i) graph += std::string("\x0a\x00", 2);
  ExpectError(ImportText(absl::StrCat("\x08\x08", Field('\x3a', graph))), {"nodes 2000000 > max_nodes 1000000"});
}

TEST(HostileFileTest, ConcatenatedModelsAndTrailingGarbage) {  // 10
  const std::string model = ReluModel().SerializeAsString();
  ExpectError(ImportText(absl::StrCat(model, model)), {"duplicate graph"});
  ExpectError(ImportText(absl::StrCat(model, "garbage")), {"protobuf does not parse"});
}

TEST(HostileFileTest, OtherFormatsAreRecognised) {  // 15
  ExpectError(ImportText("GGUF\x03 and so on"), {"not an ONNX protobuf (looks like GGUF)"});
  ExpectError(ImportText("PK\x03\x04..........."), {"looks like a zip archive"});
  ExpectError(ImportText(std::string("\x20\0\0\0\0\0\0\0{\"a\":1}", 15)), {"looks like safetensors"});
  ExpectError(ImportText("{\"irVersion\": 8}"), {"looks like JSON text"});
  ExpectError(ImportText("ir_version: 8\ngraph {}\n"), {"looks like protobuf text"});
  ExpectError(ImportText("<ir_version: 8> agraph (x) => (y) {}"), {"looks like ONNX or XML text"});
  ExpectError(ImportText("version https://git-lfs.github.com/spec/v1\n"), {"looks like a Git LFS pointer"});
}

TEST(HostileFileTest, PayloadThatInliningWouldMultiplyIsRefused) {
  ModelProto model = EmptyModel();
  AddInput(&G(model), "x");
  AddOutput(&G(model), "x");
  FunctionProto* function = AddFunction(&model, "d", "F", {"a"}, {"b"});
  NodeProto* inner = AddNode(function, "Foo", std::string(1 << 20, 'n'), {"a"}, {"b"});
  AddAttribute(inner, "text", AttributeProto::STRING)->set_s(std::string(1 << 20, 's'));
  for (int i = 0; i < 10000; ++i) AddNode(&G(model), "F", "", {"x"}, {absl::StrCat("y", i).c_str()}, "d");
  ExpectError(Import(model).status(), {"inlined nodes would take about"});
  // The same through a reference: the function is small, what it is given is not.
  inner->clear_attribute();
  function->add_attribute("text");
  AddReference(inner, "text", AttributeProto::STRING, "text");
  G(model).clear_node();
  FunctionProto* outer = AddFunction(&model, "d", "G", {"a"}, {"b0"});
  outer->add_attribute("text");
  for (int i = 0; i < 10000; ++i) {
    AddReference(AddNode(outer, "F", "", {"a"}, {absl::StrCat("b", i).c_str()}, "d"), "text", AttributeProto::STRING,
                 "text");
  }
  NodeProto* call = AddNode(&G(model), "G", "", {"x"}, {"y"}, "d");
  AddAttribute(call, "text", AttributeProto::STRING)->set_s(std::string(1 << 20, 's'));
  ImportOptions options;
  options.limits.max_expanded_bytes = 64 << 20;
  ExpectError(Import(model, options).status(), {"attributes of inlined functions take more than"});
}

// ---- Every truncation, every bit (cases 3 and 4) ----

// Everything that the importer handles, in little.
ModelProto RichModel() {
  ModelProto model = EmptyModel();
  GraphProto* graph = model.mutable_graph();
  AddInput(graph, "x");
  AddInput(graph, "c", TensorProto::BOOL, {});
  AddOutput(graph, "y");
  SetFloats(graph->add_initializer(), "w", {2}, {1, 2});
  auto* sparse = graph->add_sparse_initializer();
  sparse->add_dims(2);
  SetFloats(sparse->mutable_values(), "s", {1}, {5});
  SetInt64s(sparse->mutable_indices(), "", {1}, {1});
  AddInt(AddNode(graph, "F", "f", {"x", "w"}, {"z"}, "d"), "axis", 1);
  NodeProto* branch = AddNode(graph, "If", "if", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    GraphProto* body = AddGraphAttribute(branch, name);
    AddNode(body, "Add", "a", {"z", "s"}, {"r"});
    AddOutput(body, "r");
  }
  FunctionProto* function = AddFunction(&model, "d", "F", {"a", "b"}, {"q"});
  function->add_attribute("axis");
  AddReference(AddNode(function, "Constant", "", {}, {"k"}), "value_int", AttributeProto::INT, "axis");
  AddNode(function, "Foo", "foo", {"a", "b", "k"}, {"q"});
  return model;
}

void ImportWithoutCrash(const std::string& bytes) {
  absl::StatusOr<ImportedModel> imported = ImportModelFromBytes(bytes, "", {});
  if (imported.ok()) return;
  EXPECT_NE(imported.status().code(), absl::StatusCode::kInternal) << imported.status();
  EXPECT_FALSE(imported.status().message().empty());
}

TEST(HostileFileTest, EveryTruncationIsAnErrorOrAModel) {
  const std::string bytes = RichModel().SerializeAsString();
  ASSERT_TRUE(ImportModelFromBytes(bytes, "", {}).ok()) << ImportModelFromBytes(bytes, "", {}).status();
  for (size_t size = 0; size < bytes.size(); ++size) ImportWithoutCrash(bytes.substr(0, size));
}

TEST(HostileFileTest, EverySingleBitFlipIsAnErrorOrAModel) {
  const std::string bytes = RichModel().SerializeAsString();
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    ImportWithoutCrash(flipped);
  }
}

TEST(HostileFileTest, RandomByteChangesAreAnErrorOrAModel) {
  const std::string bytes = RichModel().SerializeAsString();
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string changed = bytes;
    for (int i = 0, n = 1 + static_cast<int>(random() % 4); i < n; ++i) {
      changed[random() % changed.size()] = static_cast<char>(random());
    }
    ImportWithoutCrash(changed);
  }
}

}  // namespace
}  // namespace rondo
