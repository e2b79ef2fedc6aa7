#include "importer/proto_compat.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/unknown_field_set.h>

#include "graph/status.h"

namespace rondo {
namespace {

// Visits (number, varint, bytes) of each unknown field; `bytes` is null for a number. Full messages keep a set of
// fields, messages of the lite runtime the bytes as they came: libonnx is built with either.
template <typename Visit>
void ForEachUnknown(const google::protobuf::UnknownFieldSet& fields, const Visit& visit) {
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    if (field.type() == google::protobuf::UnknownField::TYPE_VARINT) visit(field.number(), field.varint(), nullptr);
    if (field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      visit(field.number(), 0, &field.length_delimited());
    }
  }
}

template <typename Visit>
void ForEachUnknown(const std::string& wire, const Visit& visit) {
  google::protobuf::io::ArrayInputStream stream(wire.data(), static_cast<int>(wire.size()));
  google::protobuf::io::CodedInputStream input(&stream);
  int groups = 0;
  while (const uint32_t tag = input.ReadTag()) {
    uint64_t number = 0;
    uint32_t number32 = 0;
    std::string bytes;
    switch (tag & 7) {
      case 0:
        if (!input.ReadVarint64(&number)) return;
        if (groups == 0) visit(static_cast<int>(tag >> 3), number, nullptr);
        break;
      case 1:
        if (!input.ReadLittleEndian64(&number)) return;
        break;
      case 2:
        if (!input.ReadVarint32(&number32) || !input.ReadString(&bytes, static_cast<int>(number32))) return;
        if (groups == 0) visit(static_cast<int>(tag >> 3), 0, &bytes);
        break;
      case 3:
        ++groups;
        break;
      case 4:
        --groups;
        break;
      case 5:
        if (!input.ReadLittleEndian32(&number32)) return;
        break;
      default:
        return;
    }
  }
}

template <typename Proto>
std::string UnknownString(const Proto& proto, int number) {
  std::string result;  // the last one counts, as in the parser
  ForEachUnknown(proto.unknown_fields(), [&](int field, uint64_t, const std::string* bytes) {
    if (field == number && bytes != nullptr) result = *bytes;
  });
  return result;
}

template <typename Proto>
std::optional<uint64_t> UnknownVarint(const Proto& proto, int number) {
  std::optional<uint64_t> result;
  ForEachUnknown(proto.unknown_fields(), [&](int field, uint64_t value, const std::string* bytes) {
    if (field == number && bytes == nullptr) result = value;
  });
  return result;
}

// Templates, so that the branch for messages of the other kind is not compiled.
template <typename Proto>
std::string OverloadOf(const Proto& proto, int number) {
  if constexpr (requires { proto.overload(); }) {
    return proto.overload();
  } else {
    return UnknownString(proto, number);
  }
}

template <typename Proto>
absl::StatusOr<std::vector<onnx::AttributeProto>> DefaultsOf(const Proto& function) {
  std::vector<onnx::AttributeProto> result;
  if constexpr (requires { function.attribute_proto(); }) {
    result.assign(function.attribute_proto().begin(), function.attribute_proto().end());
  } else {
    bool parsed = true;
    ForEachUnknown(function.unknown_fields(), [&](int field, uint64_t, const std::string* bytes) {
      if (field != 11 || bytes == nullptr || !parsed) return;
      result.emplace_back();
      parsed = result.back().ParseFromString(*bytes);
    });
    if (!parsed) return InvalidArgument("default ", result.size() - 1, " of its attributes does not parse");
  }
  return result;
}

}  // namespace

std::string NodeOverload(const onnx::NodeProto& node) { return OverloadOf(node, 8); }
std::string FunctionOverload(const onnx::FunctionProto& function) { return OverloadOf(function, 13); }

absl::StatusOr<std::vector<onnx::AttributeProto>> FunctionAttributeDefaults(const onnx::FunctionProto& function) {
  return DefaultsOf(function);
}

std::optional<uint64_t> UnknownAttributeType(const onnx::AttributeProto& attribute) {
  return UnknownVarint(attribute, 20);
}
std::optional<uint64_t> UnknownDataLocation(const onnx::TensorProto& tensor) { return UnknownVarint(tensor, 14); }

}  // namespace rondo
