// TensorProto -> Tensor. A file says three times how large a tensor is - by its dims, by the field that holds the data
// and by external_data's length - and all three must agree exactly before a byte is read.
//
// Bytes are not copied where they need not be: large raw_data is moved out of the message and owned by the tensor,
// external data is borrowed from the mapped file. Copied are small tensors, data not aligned to its element, and bools
// from a mapped file (a byte other than 0 and 1 in a bool is undefined behaviour).
#ifndef RONDO_IMPORTER_TENSOR_READER_H_
#define RONDO_IMPORTER_TENSOR_READER_H_

#include <cstdint>
#include <set>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "importer/file_io.h"
#include "importer/importer.h"
#include "onnx/onnx_pb.h"
#include "rondo/tensor.h"

namespace rondo {

class TensorReader {
 public:
  // `files` outlives the reader; `limits` is copied.
  TensorReader(ExternalFiles* files, const ImportLimits& limits) : files_(files), limits_(limits) {}

  // Takes large raw_data out of `proto`; asking again for the same message returns the same tensor. Messages lack the
  // place: callers annotate with `initializer "w": `.
  absl::StatusOr<Tensor> Read(onnx::TensorProto* proto);
  // Dense form of a sparse tensor. Indices: [NNZ] linear or [NNZ, rank], ascending, unique.
  absl::StatusOr<Tensor> ReadSparse(onnx::SparseTensorProto* proto);

  uint64_t external_bytes() const { return external_bytes_; }
  // One line per kind of thing that was ignored.
  const std::set<std::string>& notes() const { return notes_; }

 private:
  struct Layout;
  absl::StatusOr<Layout> CheckHeader(const onnx::TensorProto& proto) const;
  absl::StatusOr<Tensor> ReadUncached(onnx::TensorProto* proto);
  absl::StatusOr<Tensor> ReadExternal(const onnx::TensorProto& proto, const Layout& layout);
  absl::StatusOr<Tensor> ReadRaw(onnx::TensorProto* proto, const Layout& layout);
  absl::StatusOr<Tensor> ReadTyped(const onnx::TensorProto& proto, const Layout& layout, absl::string_view field);
  absl::StatusOr<Tensor> ReadStrings(const onnx::TensorProto& proto, const Layout& layout);
  absl::StatusOr<Tensor> ReadSparseUncached(onnx::SparseTensorProto* proto);

  ExternalFiles* const files_;
  const ImportLimits limits_;
  uint64_t external_bytes_ = 0;
  uint64_t copied_external_bytes_ = 0;
  uint64_t sparse_dense_bytes_ = 0;
  std::set<std::string> notes_;
  absl::flat_hash_map<const void*, Tensor> done_;
};

// Dims as a file states them, checked: rank, sign, product. "dim 0 is -7".
absl::StatusOr<Dims> CheckDims(const google::protobuf::RepeatedField<int64_t>& dims, const ImportLimits& limits);

}  // namespace rondo

#endif  // RONDO_IMPORTER_TENSOR_READER_H_
