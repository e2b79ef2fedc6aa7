#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cctype>

namespace rondo {
namespace {

// ValueInfoProto: name, type { tensor_type { elem_type, shape { dim { dim_value | dim_param } } } }.
ProtoWriter ValueInfo(const std::string& name, int dtype, const std::vector<std::string>& dims) {
  ProtoWriter shape;
  for (const std::string& dim : dims) {
    const bool number = !dim.empty() && std::all_of(dim.begin(), dim.end(), [](unsigned char c) { return isdigit(c); });
    ProtoWriter d;
    if (number) {
      d.Int(1, std::stoll(dim));
    } else if (!dim.empty()) {
      d.Bytes(2, dim);
    }
    shape.Message(1, d);
  }
  const ProtoWriter tensor = ProtoWriter().Int(1, dtype).Message(2, shape);
  return ProtoWriter().Bytes(1, name).Message(2, ProtoWriter().Message(1, tensor));
}

}  // namespace

void ProtoWriter::Varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
  bytes_.push_back(static_cast<char>(value));
}

ProtoWriter& ProtoWriter::Int(int field, int64_t value) {
  Varint(static_cast<uint64_t>(field) << 3);
  Varint(static_cast<uint64_t>(value));
  return *this;
}

ProtoWriter& ProtoWriter::Bytes(int field, const std::string& value) {
  Varint(static_cast<uint64_t>(field) << 3 | 2);
  Varint(value.size());
  bytes_ += value;
  return *this;
}

std::string TensorProtoBytes(const std::string& name, int dtype, const std::vector<int64_t>& dims,
                             const std::string& raw) {
  ProtoWriter tensor;
  for (int64_t dim : dims) tensor.Int(1, dim);
  return tensor.Int(2, dtype).Bytes(8, name).Bytes(9, raw).bytes();
}

TinyModel& TinyModel::Input(const std::string& name, int dtype, const std::vector<std::string>& dims) {
  graph_.Message(11, ValueInfo(name, dtype, dims));
  return *this;
}

TinyModel& TinyModel::Output(const std::string& name, int dtype, const std::vector<std::string>& dims) {
  graph_.Message(12, ValueInfo(name, dtype, dims));
  return *this;
}

TinyModel& TinyModel::Node(const std::string& op, const std::vector<std::string>& inputs,
                           const std::vector<std::string>& outputs,
                           const std::vector<std::pair<std::string, int64_t>>& int_attributes,
                           const std::string& domain) {
  ProtoWriter node;
  for (const std::string& input : inputs) node.Bytes(1, input);
  for (const std::string& output : outputs) node.Bytes(2, output);
  node.Bytes(3, "node_" + outputs[0]).Bytes(4, op);
  for (const auto& [name, value] : int_attributes) {
    node.Message(5, ProtoWriter().Bytes(1, name).Int(3, value).Int(20, 2));
  }
  if (!domain.empty()) node.Bytes(7, domain);
  foreign_ |= !domain.empty();
  graph_.Message(1, node);
  return *this;
}

TinyModel& TinyModel::Initializer(const std::string& name, int dtype, const std::vector<int64_t>& dims,
                                  const std::string& raw) {
  graph_.Bytes(5, TensorProtoBytes(name, dtype, dims, raw));
  return *this;
}

TinyModel& TinyModel::External(const std::string& name, int dtype, const std::vector<int64_t>& dims,
                               const std::string& location, int64_t offset, int64_t bytes) {
  ProtoWriter tensor;
  for (int64_t dim : dims) tensor.Int(1, dim);
  tensor.Int(2, dtype).Bytes(8, name).Int(14, 1);
  const std::pair<const char*, std::string> entries[] = {
      {"location", location}, {"offset", std::to_string(offset)}, {"length", std::to_string(bytes)}};
  for (const auto& [key, value] : entries) tensor.Message(13, ProtoWriter().Bytes(1, key).Bytes(2, value));
  graph_.Message(5, tensor);
  return *this;
}

std::string TinyModel::Bytes() const {
  ProtoWriter graph = graph_;
  graph.Bytes(2, "tiny");
  ProtoWriter model;
  model.Int(1, 8).Bytes(2, "tiny_model").Message(7, graph);
  model.Message(8, ProtoWriter().Int(2, opset_));
  if (foreign_) model.Message(8, ProtoWriter().Bytes(1, "com.x").Int(2, 1));
  return model.bytes();
}

}  // namespace rondo
