#include "importer/proto_compat.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include "graph/status.h"

namespace rondo {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::UnknownField;
using ::google::protobuf::UnknownFieldSet;

const UnknownFieldSet& UnknownFieldsOf(const Message& message) {
  return message.GetReflection()->GetUnknownFields(message);
}

std::string StringByNumber(const Message& message, int number) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(number);
  if (field != nullptr) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING || field->is_repeated()) return "";
    return message.GetReflection()->GetString(message, field);
  }
  std::string result;  // the last one counts, as in the parser
  const UnknownFieldSet& unknown = UnknownFieldsOf(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const UnknownField& f = unknown.field(i);
    if (f.number() == number && f.type() == UnknownField::TYPE_LENGTH_DELIMITED) result = f.length_delimited();
  }
  return result;
}

std::optional<uint64_t> UnknownVarint(const Message& message, int number) {
  std::optional<uint64_t> result;
  const UnknownFieldSet& unknown = UnknownFieldsOf(message);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const UnknownField& f = unknown.field(i);
    if (f.number() == number && f.type() == UnknownField::TYPE_VARINT) result = f.varint();
  }
  return result;
}

}  // namespace

std::string NodeOverload(const onnx::NodeProto& node) { return StringByNumber(node, 8); }
std::string FunctionOverload(const onnx::FunctionProto& function) { return StringByNumber(function, 13); }

absl::StatusOr<std::vector<onnx::AttributeProto>> FunctionAttributeDefaults(const onnx::FunctionProto& function) {
  constexpr int kAttributeProto = 11;
  std::vector<onnx::AttributeProto> result;
  const FieldDescriptor* field = function.GetDescriptor()->FindFieldByNumber(kAttributeProto);
  if (field != nullptr && field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const auto* reflection = function.GetReflection();
    for (int i = 0; i < reflection->FieldSize(function, field); ++i) {
      const Message& message = reflection->GetRepeatedMessage(function, field, i);
      if (message.GetDescriptor() != onnx::AttributeProto::descriptor()) continue;
      result.emplace_back();
      result.back().CopyFrom(message);
    }
    return result;
  }
  const UnknownFieldSet& unknown = UnknownFieldsOf(function);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const UnknownField& f = unknown.field(i);
    if (f.number() != kAttributeProto || f.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    result.emplace_back();
    if (!result.back().ParseFromString(f.length_delimited())) {
      return InvalidArgument("default ", result.size() - 1, " of its attributes does not parse");
    }
  }
  return result;
}

std::optional<uint64_t> UnknownAttributeType(const onnx::AttributeProto& attribute) {
  return UnknownVarint(attribute, 20);
}
std::optional<uint64_t> UnknownDataLocation(const onnx::TensorProto& tensor) { return UnknownVarint(tensor, 14); }

}  // namespace rondo
