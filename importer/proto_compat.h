// Fields that newer files hold and the installed libonnx's messages may lack. onnx 1.12 knows neither operator
// overloads nor defaults of function attributes; its parser keeps them as unknown fields, by number. This is the only
// file that knows which version has what: a field is read through its accessor where the message has one, otherwise
// from the unknown fields, which differ again between protobuf's full and its lite runtime.
#ifndef RONDO_IMPORTER_PROTO_COMPAT_H_
#define RONDO_IMPORTER_PROTO_COMPAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "onnx/onnx_pb.h"

namespace rondo {

std::string NodeOverload(const onnx::NodeProto& node);              // NodeProto.overload = 8
std::string FunctionOverload(const onnx::FunctionProto& function);  // FunctionProto.overload = 13

// FunctionProto.attribute_proto = 11: attributes with a default value. InvalidArgument when one does not parse.
absl::StatusOr<std::vector<onnx::AttributeProto>> FunctionAttributeDefaults(const onnx::FunctionProto& function);

// An enum value that the installed messages do not list is kept among the unknown fields. nullopt when there is none.
std::optional<uint64_t> UnknownAttributeType(const onnx::AttributeProto& attribute);  // AttributeProto.type = 20
std::optional<uint64_t> UnknownDataLocation(const onnx::TensorProto& tensor);         // TensorProto.data_location = 14

}  // namespace rondo

#endif  // RONDO_IMPORTER_PROTO_COMPAT_H_
