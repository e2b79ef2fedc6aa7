#include "importer/attributes.h"

#include <utility>
#include <vector>

#include "graph/status.h"
#include "importer/names.h"
#include "importer/proto_compat.h"
#include "importer/type_reader.h"

namespace rondo {
namespace {

using onnx::AttributeProto;
using Type = AttributeProto::AttributeType;

struct Held {
  Type type;
  bool is_default;  // a scalar 0 or "": some writers set all of them
};

std::vector<Held> HeldValues(const AttributeProto& proto) {
  std::vector<Held> held;
  auto add = [&](bool present, Type type, bool is_default = false) {
    if (present) held.push_back({type, is_default});
  };
  add(proto.has_f(), AttributeProto::FLOAT, proto.f() == 0);
  add(proto.has_i(), AttributeProto::INT, proto.i() == 0);
  add(proto.has_s(), AttributeProto::STRING, proto.s().empty());
  add(proto.has_t(), AttributeProto::TENSOR);
  add(proto.has_g(), AttributeProto::GRAPH);
  add(proto.has_sparse_tensor(), AttributeProto::SPARSE_TENSOR);
  add(proto.has_tp(), AttributeProto::TYPE_PROTO);
  add(proto.floats_size() > 0, AttributeProto::FLOATS);
  add(proto.ints_size() > 0, AttributeProto::INTS);
  add(proto.strings_size() > 0, AttributeProto::STRINGS);
  add(proto.tensors_size() > 0, AttributeProto::TENSORS);
  add(proto.graphs_size() > 0, AttributeProto::GRAPHS);
  add(proto.sparse_tensors_size() > 0, AttributeProto::SPARSE_TENSORS);
  add(proto.type_protos_size() > 0, AttributeProto::TYPE_PROTOS);
  return held;
}

const std::string& TypeName(Type type) { return AttributeProto::AttributeType_Name(type); }

bool NeedsValue(Type type) {
  return type == AttributeProto::TENSOR || type == AttributeProto::GRAPH || type == AttributeProto::SPARSE_TENSOR ||
         type == AttributeProto::TYPE_PROTO;
}

}  // namespace

absl::StatusOr<Type> CheckAttribute(const AttributeProto& proto) {
  if (auto unknown = UnknownAttributeType(proto); unknown.has_value()) {
    return InvalidArgument("unknown attribute type ", *unknown);
  }
  const std::vector<Held> held = HeldValues(proto);
  if (proto.type() == AttributeProto::UNDEFINED) {
    const Held* only = nullptr;
    for (const Held& h : held) {
      if (h.is_default && held.size() > 1) continue;
      if (only != nullptr) return InvalidArgument("holds ", TypeName(only->type), " and ", TypeName(h.type));
      only = &h;
    }
    if (only == nullptr) return InvalidArgument("has neither a type nor a value");
    return only->type;
  }
  bool present = false;
  for (const Held& h : held) {
    if (h.type == proto.type()) {
      present = true;
    } else if (!h.is_default) {
      return InvalidArgument("expected ", TypeName(proto.type()), ", got ", TypeName(h.type));
    }
  }
  if (!present && NeedsValue(proto.type())) {
    return InvalidArgument("expected ", TypeName(proto.type()), ", got no value");
  }
  return proto.type();
}

absl::StatusOr<Attribute> ReadAttribute(AttributeProto* proto, TensorReader* tensors, const ImportLimits& limits) {
  RONDO_ASSIGN_OR_RETURN(const Type type, CheckAttribute(*proto));
  switch (type) {
    case AttributeProto::FLOAT:
      return Attribute(proto->f());
    case AttributeProto::INT:
      return Attribute(static_cast<int64_t>(proto->i()));
    case AttributeProto::STRING:
      return Attribute(proto->s());
    case AttributeProto::FLOATS:
      return Attribute(std::vector<float>(proto->floats().begin(), proto->floats().end()));
    case AttributeProto::INTS:
      return Attribute(std::vector<int64_t>(proto->ints().begin(), proto->ints().end()));
    case AttributeProto::STRINGS:
      return Attribute(std::vector<std::string>(proto->strings().begin(), proto->strings().end()));
    case AttributeProto::TENSOR: {
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->Read(proto->mutable_t()));
      return Attribute(std::move(tensor));
    }
    case AttributeProto::SPARSE_TENSOR: {
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->ReadSparse(proto->mutable_sparse_tensor()));
      return Attribute(std::move(tensor));
    }
    case AttributeProto::TENSORS: {
      std::vector<Tensor> list;
      for (onnx::TensorProto& t : *proto->mutable_tensors()) {
        RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->Read(&t));
        list.push_back(std::move(tensor));
      }
      return Attribute(std::move(list));
    }
    case AttributeProto::SPARSE_TENSORS: {
      std::vector<Tensor> list;
      for (onnx::SparseTensorProto& t : *proto->mutable_sparse_tensors()) {
        RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->ReadSparse(&t));
        list.push_back(std::move(tensor));
      }
      return Attribute(std::move(list));
    }
    case AttributeProto::TYPE_PROTO: {
      RONDO_ASSIGN_OR_RETURN(ValueType value_type, ReadType(proto->tp(), limits));
      return Attribute(std::move(value_type));
    }
    default:
      return Unimplemented("unsupported attribute type ", TypeName(type));
  }
}

absl::StatusOr<Tensor> ReadConstantAttribute(absl::string_view name, AttributeProto* proto, TensorReader* tensors) {
  struct Expected {
    absl::string_view name;
    Type type;
  };
  static constexpr Expected kExpected[] = {
      {"value", AttributeProto::TENSOR},        {"sparse_value", AttributeProto::SPARSE_TENSOR},
      {"value_int", AttributeProto::INT},       {"value_ints", AttributeProto::INTS},
      {"value_float", AttributeProto::FLOAT},   {"value_floats", AttributeProto::FLOATS},
      {"value_string", AttributeProto::STRING}, {"value_strings", AttributeProto::STRINGS},
  };
  RONDO_ASSIGN_OR_RETURN(const Type type, CheckAttribute(*proto));
  const Expected* expected = nullptr;
  for (const Expected& e : kExpected) {
    if (name == e.name) expected = &e;
  }
  if (expected == nullptr) return InvalidArgument("unknown attribute of Constant");
  if (type != expected->type) {
    return InvalidArgument("expected ", TypeName(expected->type), ", got ", TypeName(type));
  }
  switch (type) {
    case AttributeProto::TENSOR:
      return tensors->Read(proto->mutable_t());
    case AttributeProto::SPARSE_TENSOR:
      return tensors->ReadSparse(proto->mutable_sparse_tensor());
    case AttributeProto::INT:
      return Tensor::FromVector<int64_t>(DataType::kInt64, {}, {proto->i()});
    case AttributeProto::FLOAT:
      return Tensor::FromVector<float>(DataType::kFloat, {}, {proto->f()});
    case AttributeProto::STRING:
      return Tensor::FromVector<std::string>(DataType::kString, {}, {proto->s()});
    case AttributeProto::INTS:
      return Tensor::FromVector<int64_t>(DataType::kInt64, {proto->ints_size()},
                                         {proto->ints().begin(), proto->ints().end()});
    case AttributeProto::FLOATS:
      return Tensor::FromVector<float>(DataType::kFloat, {proto->floats_size()},
                                       {proto->floats().begin(), proto->floats().end()});
    default:
      return Tensor::FromVector<std::string>(DataType::kString, {proto->strings_size()},
                                             {proto->strings().begin(), proto->strings().end()});
  }
}

int64_t AttributePayloadBytes(const AttributeProto& proto) {
  size_t bytes = 128 + proto.name().size() + proto.s().size();
  bytes += 4 * static_cast<size_t>(proto.floats_size()) + 8 * static_cast<size_t>(proto.ints_size());
  bytes += 64 * static_cast<size_t>(proto.tensors_size() + proto.sparse_tensors_size());
  for (const std::string& s : proto.strings()) bytes += 32 + s.size();
  return static_cast<int64_t>(bytes);
}

}  // namespace rondo
