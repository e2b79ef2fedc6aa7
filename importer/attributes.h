// AttributeProto -> Attribute. The message can hold a value of every type at once, whatever its `type` says; here type
// and value must agree.
#ifndef RONDO_IMPORTER_ATTRIBUTES_H_
#define RONDO_IMPORTER_ATTRIBUTES_H_

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "importer/importer.h"
#include "importer/tensor_reader.h"
#include "onnx/onnx_pb.h"

namespace rondo {

// The attribute's type, from the fields that are set where the file does not say it. Errors: `expected INTS, got
// FLOAT`, several values, a tensor, graph or type that is missing. A scalar that is absent is 0 (proto3 writers omit
// it).
absl::StatusOr<onnx::AttributeProto::AttributeType> CheckAttribute(const onnx::AttributeProto& proto);

// REQUIRES: no reference (ref_attr_name) and no graph. Errors lack the attribute's name.
absl::StatusOr<Attribute> ReadAttribute(onnx::AttributeProto* proto, TensorReader* tensors, const ImportLimits& limits);

// The tensor that a Constant node stands for whose attribute `name` ("value_ints") has this value.
absl::StatusOr<Tensor> ReadConstantAttribute(absl::string_view name, onnx::AttributeProto* proto,
                                             TensorReader* tensors);

// Bytes that ReadAttribute copies, shared tensors not counted.
int64_t AttributePayloadBytes(const onnx::AttributeProto& proto);

}  // namespace rondo

#endif  // RONDO_IMPORTER_ATTRIBUTES_H_
