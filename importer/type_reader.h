// TypeProto -> ValueType.
#ifndef RONDO_IMPORTER_TYPE_READER_H_
#define RONDO_IMPORTER_TYPE_READER_H_

#include "absl/status/statusor.h"
#include "graph/value_type.h"
#include "importer/importer.h"
#include "onnx/onnx_pb.h"

namespace rondo {

// A type of which nothing is said is Kind::kUnknown. A negative dim_value, which some exporters write for "any", is an
// unknown dim. Errors: an element type that does not exist, rank beyond the limit, sparse and opaque types.
absl::StatusOr<ValueType> ReadType(const onnx::TypeProto& proto, const ImportLimits& limits);

}  // namespace rondo

#endif  // RONDO_IMPORTER_TYPE_READER_H_
