// Small models, right and wrong ones, built as protobuf messages.
#ifndef RONDO_TESTS_IMPORTER_MODEL_BUILDER_H_
#define RONDO_TESTS_IMPORTER_MODEL_BUILDER_H_

#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "importer/importer.h"
#include "onnx/onnx_pb.h"

namespace rondo {

using onnx::AttributeProto;
using onnx::FunctionProto;
using onnx::GraphProto;
using onnx::ModelProto;
using onnx::NodeProto;
using onnx::TensorProto;

// IR 8, opset 17, an empty graph "g".
inline ModelProto EmptyModel() {
  ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  model.mutable_graph()->set_name("g");
  return model;
}

inline void SetTensorType(onnx::ValueInfoProto* info, const std::string& name, int32_t elem_type,
                          const std::vector<int64_t>& dims) {
  info->set_name(name);
  auto* tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(elem_type);
  tensor->mutable_shape();
  for (int64_t dim : dims) tensor->mutable_shape()->add_dim()->set_dim_value(dim);
}
inline void AddInput(GraphProto* graph, const std::string& name, int32_t elem_type = TensorProto::FLOAT,
                     const std::vector<int64_t>& dims = {2}) {
  SetTensorType(graph->add_input(), name, elem_type, dims);
}
inline void AddOutput(GraphProto* graph, const std::string& name, int32_t elem_type = TensorProto::FLOAT,
                      const std::vector<int64_t>& dims = {2}) {
  SetTensorType(graph->add_output(), name, elem_type, dims);
}

template <typename Container>  // GraphProto or FunctionProto
NodeProto* AddNode(Container* container, const std::string& op, const std::string& name,
                   std::initializer_list<const char*> inputs, std::initializer_list<const char*> outputs,
                   const std::string& domain = "") {
  NodeProto* node = container->add_node();
  node->set_op_type(op);
  node->set_name(name);
  node->set_domain(domain);
  for (const char* input : inputs) node->add_input(input);
  for (const char* output : outputs) node->add_output(output);
  return node;
}

inline AttributeProto* AddAttribute(NodeProto* node, const std::string& name, AttributeProto::AttributeType type) {
  AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(type);
  return attribute;
}
inline void AddInt(NodeProto* node, const std::string& name, int64_t value) {
  AddAttribute(node, name, AttributeProto::INT)->set_i(value);
}
inline GraphProto* AddGraphAttribute(NodeProto* node, const std::string& name) {
  GraphProto* graph = AddAttribute(node, name, AttributeProto::GRAPH)->mutable_g();
  graph->set_name(name);
  return graph;
}
inline void AddReference(NodeProto* node, const std::string& name, AttributeProto::AttributeType type,
                         const std::string& reference) {
  AddAttribute(node, name, type)->set_ref_attr_name(reference);
}

inline TensorProto* SetFloats(TensorProto* tensor, const std::string& name, const std::vector<int64_t>& dims,
                              const std::vector<float>& values) {
  tensor->set_name(name);
  tensor->set_data_type(TensorProto::FLOAT);
  for (int64_t dim : dims) tensor->add_dims(dim);
  for (float value : values) tensor->add_float_data(value);
  return tensor;
}
inline TensorProto* SetInt64s(TensorProto* tensor, const std::string& name, const std::vector<int64_t>& dims,
                              const std::vector<int64_t>& values) {
  tensor->set_name(name);
  tensor->set_data_type(TensorProto::INT64);
  for (int64_t dim : dims) tensor->add_dims(dim);
  for (int64_t value : values) tensor->add_int64_data(value);
  return tensor;
}
inline void AddExternal(TensorProto* tensor, const std::string& key, const std::string& value) {
  tensor->set_data_location(TensorProto::EXTERNAL);
  auto* entry = tensor->add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}

inline FunctionProto* AddFunction(ModelProto* model, const std::string& domain, const std::string& name,
                                  std::initializer_list<const char*> inputs,
                                  std::initializer_list<const char*> outputs) {
  FunctionProto* function = model->add_functions();
  function->set_domain(domain);
  function->set_name(name);
  for (const char* input : inputs) function->add_input(input);
  for (const char* output : outputs) function->add_output(output);
  function->add_opset_import()->set_version(17);
  return function;
}

// x -> Relu "n" -> y.
inline ModelProto ReluModel() {
  ModelProto model = EmptyModel();
  AddInput(model.mutable_graph(), "x");
  AddOutput(model.mutable_graph(), "y");
  AddNode(model.mutable_graph(), "Relu", "n", {"x"}, {"y"});
  return model;
}
// x + w -> y with an initializer "w" that the caller fills.
inline ModelProto ModelWithInitializer(TensorProto** w) {
  ModelProto model = EmptyModel();
  AddInput(model.mutable_graph(), "x");
  AddOutput(model.mutable_graph(), "y");
  AddNode(model.mutable_graph(), "Add", "n", {"x", "w"}, {"y"});
  *w = model.mutable_graph()->add_initializer();
  (*w)->set_name("w");
  return model;
}

inline absl::StatusOr<ImportedModel> Import(const ModelProto& model, const ImportOptions& options = {},
                                            const std::string& base_directory = "") {
  return ImportModelFromBytes(model.SerializeAsString(), base_directory, options);
}

// The constant of a name in the graph (not its subgraphs); undefined when there is none.
inline Tensor ConstantNamed(const Graph& graph, absl::string_view name) {
  for (const auto& value : graph.values()) {
    if (value->is_constant() && value->name() == name) return value->constant();
  }
  return Tensor();
}
inline const Node* NodeOfType(const Graph& graph, absl::string_view type) {
  for (const auto& node : graph.nodes()) {
    if (node->op().type == type) return node.get();
  }
  return nullptr;
}
template <typename T>
std::vector<T> Elements(const Tensor& tensor) {
  return std::vector<T>(tensor.data<T>(), tensor.data<T>() + tensor.size());
}

inline void WriteFile(const std::string& path, absl::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

// The error contains each part, is one line and is not long.
inline void ExpectError(const absl::Status& status, std::initializer_list<absl::string_view> parts) {
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  for (absl::string_view part : parts) {
    EXPECT_NE(message.find(std::string(part)), std::string::npos) << "expected: " << part << "\n     got: " << message;
  }
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 2500u);
  EXPECT_NE(status.code(), absl::StatusCode::kInternal) << message;
}

}  // namespace rondo

#endif  // RONDO_TESTS_IMPORTER_MODEL_BUILDER_H_
