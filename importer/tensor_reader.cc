#include "importer/tensor_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "graph/status.h"
#include "importer/names.h"
#include "importer/proto_compat.h"

namespace rondo {

static_assert(std::endian::native == std::endian::little, "raw_data is little-endian and is used in place");

struct TensorReader::Layout {
  DataType dtype;
  Dims dims;
  int64_t elements;
  uint64_t bytes;  // 0 for strings
};

namespace {

// Below this a copy into aligned storage is cheaper than keeping the message's string.
constexpr size_t kOwnFromBytes = 4096;
// Dense memory that all sparse tensors of a model may ask for: a few bytes of file can name any shape.
constexpr uint64_t kMaxSparseDenseBytes = uint64_t{1} << 30;
// External data is copied where it is misaligned. Tensors may overlap in the file; copying must not multiply it.
constexpr uint64_t kMaxCopiesOfExternalData = 4;

size_t ElementAlignment(DataType dtype) {
  switch (dtype) {
    case DataType::kComplex64:
      return alignof(float);
    case DataType::kComplex128:
      return alignof(double);
    default:
      return std::max(1, BitWidth(dtype) / 8);
  }
}

bool IsAligned(const void* data, DataType dtype) {
  return reinterpret_cast<uintptr_t>(data) % ElementAlignment(dtype) == 0;
}

// Makes every byte of a bool tensor 0 or 1.
void NormalizeBools(Tensor* tensor) {
  auto* bytes = static_cast<uint8_t*>(tensor->mutable_raw());
  for (int64_t i = 0; i < tensor->size(); ++i) bytes[i] = bytes[i] != 0;
}

absl::StatusOr<Tensor> CopyBytes(DataType dtype, absl::Span<const int64_t> dims, const void* data, uint64_t bytes) {
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(dtype, dims));
  if (bytes > 0) std::memcpy(tensor.mutable_raw(), data, bytes);
  if (dtype == DataType::kBool) NormalizeBools(&tensor);
  return tensor;
}

// The typed field in which elements of a type are stored when there is no raw_data.
absl::string_view TypedField(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat:
    case DataType::kComplex64:
      return "float_data";
    case DataType::kDouble:
    case DataType::kComplex128:
      return "double_data";
    case DataType::kInt64:
      return "int64_data";
    case DataType::kUInt32:
    case DataType::kUInt64:
      return "uint64_data";
    case DataType::kString:
      return "string_data";
    default:
      return "int32_data";
  }
}

std::vector<absl::string_view> FieldsSet(const onnx::TensorProto& proto) {
  std::vector<absl::string_view> fields;
  if (!proto.raw_data().empty()) fields.push_back("raw_data");
  if (proto.float_data_size() > 0) fields.push_back("float_data");
  if (proto.int32_data_size() > 0) fields.push_back("int32_data");
  if (proto.int64_data_size() > 0) fields.push_back("int64_data");
  if (proto.double_data_size() > 0) fields.push_back("double_data");
  if (proto.uint64_data_size() > 0) fields.push_back("uint64_data");
  if (proto.string_data_size() > 0) fields.push_back("string_data");
  return fields;
}

// Values that one entry of int32_data may have for a type. float16 and the 8-bit floats are bit patterns; packed types
// hold a byte of elements each, which some writers sign-extend.
std::pair<int32_t, int32_t> Int32Range(DataType dtype) {
  switch (dtype) {
    case DataType::kInt32:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    case DataType::kBool:
      return {0, 1};
    case DataType::kInt8:
      return {-128, 127};
    case DataType::kInt16:
      return {-32768, 32767};
    case DataType::kUInt16:
    case DataType::kFloat16:
    case DataType::kBFloat16:
      return {0, 65535};
    default:
      return BitWidth(dtype) < 8 ? std::pair(-128, 255) : std::pair(0, 255);
  }
}

template <typename To, typename Field>
absl::Status Narrow(const Field& values, int64_t low, int64_t high, DataType dtype, Tensor* tensor) {
  auto* out = static_cast<To*>(tensor->mutable_raw());
  for (int i = 0; i < values.size(); ++i) {
    const auto value = values.Get(i);
    if (static_cast<int64_t>(value) < low || static_cast<int64_t>(value) > high) {
      return InvalidArgument("value ", value, " at index ", i, " does not fit ", DataTypeName(dtype));
    }
    out[i] = static_cast<To>(value);
  }
  return absl::OkStatus();
}

template <typename Field>
void CopyField(const Field& values, Tensor* tensor) {
  if (values.size() > 0) std::memcpy(tensor->mutable_raw(), values.data(), values.size() * sizeof(*values.data()));
}

// external_data's numbers are text: digits only, no sign, no space, no exponent.
bool ParseDecimal(absl::string_view text, uint64_t* value) {
  if (text.empty()) return false;
  uint64_t result = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    const uint64_t digit = static_cast<uint64_t>(c - '0');
    if (result > (std::numeric_limits<uint64_t>::max() - digit) / 10) return false;
    result = result * 10 + digit;
  }
  *value = result;
  return true;
}

}  // namespace

absl::StatusOr<Dims> CheckDims(const google::protobuf::RepeatedField<int64_t>& dims, const ImportLimits& limits) {
  if (dims.size() > limits.max_rank) return InvalidArgument("rank ", dims.size(), " > ", limits.max_rank);
  for (int i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0) return InvalidArgument("dim ", i, " is ", dims[i]);
  }
  Dims result(dims.begin(), dims.end());
  if (!CheckedElementCount(result).ok()) return InvalidArgument(absl::StrJoin(result, "x"), " elements overflow");
  return result;
}

absl::StatusOr<TensorReader::Layout> TensorReader::CheckHeader(const onnx::TensorProto& proto) const {
  Layout layout;
  if (!IsKnownDataType(proto.data_type())) return InvalidArgument("unknown data type ", proto.data_type());
  layout.dtype = static_cast<DataType>(proto.data_type());
  RONDO_ASSIGN_OR_RETURN(layout.dims, CheckDims(proto.dims(), limits_));
  layout.elements = *CheckedElementCount(layout.dims);
  absl::StatusOr<size_t> bytes = CheckedByteSize(layout.dtype, layout.dims);
  if (!bytes.ok()) {
    return InvalidArgument(absl::StrJoin(layout.dims, "x"), " elements of ", DataTypeName(layout.dtype),
                           " overflow: ", bytes.status().message());
  }
  if (*bytes > limits_.max_tensor_bytes) {
    return ResourceExhausted("shape ", DimsToString(layout.dims), " of ", DataTypeName(layout.dtype), " needs ", *bytes,
                             " bytes, limit ", limits_.max_tensor_bytes);
  }
  layout.bytes = layout.dtype == DataType::kString ? 0 : *bytes;
  return layout;
}

absl::StatusOr<Tensor> TensorReader::Read(onnx::TensorProto* proto) {
  auto it = done_.find(proto);
  if (it != done_.end()) return it->second;
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, ReadUncached(proto));
  done_[proto] = tensor;
  return tensor;
}

absl::StatusOr<Tensor> TensorReader::ReadUncached(onnx::TensorProto* proto) {
  RONDO_ASSIGN_OR_RETURN(const Layout layout, CheckHeader(*proto));
  if (proto->has_segment()) return Unimplemented("segment is set; tensors in segments are not supported");
  if (auto location = UnknownDataLocation(*proto); location.has_value()) {
    return InvalidArgument("unknown data_location ", *location);
  }
  const std::vector<absl::string_view> fields = FieldsSet(*proto);
  if (proto->data_location() == onnx::TensorProto::EXTERNAL) {
    if (!fields.empty()) return InvalidArgument("external data and ", fields[0], " are both set");
    return ReadExternal(*proto, layout);
  }
  if (fields.size() > 1) return InvalidArgument(fields[0], " and ", fields[1], " are both set");
  if (fields.empty()) {
    if (layout.elements == 0) return Tensor::Create(layout.dtype, layout.dims);
    if (layout.dtype == DataType::kString) return InvalidArgument("no data, shape needs ", layout.elements, " strings");
    return InvalidArgument("no data, shape needs ", layout.bytes, " bytes");
  }
  const absl::string_view expected = TypedField(layout.dtype);
  if (fields[0] == "raw_data" && layout.dtype != DataType::kString) return ReadRaw(proto, layout);
  if (fields[0] != expected) {
    return InvalidArgument("data of type ", DataTypeName(layout.dtype), " in ", fields[0], ", expected ", expected,
                           layout.dtype == DataType::kString ? "" : " or raw_data");
  }
  if (layout.dtype == DataType::kString) return ReadStrings(*proto, layout);
  return ReadTyped(*proto, layout, expected);
}

absl::StatusOr<Tensor> TensorReader::ReadRaw(onnx::TensorProto* proto, const Layout& layout) {
  const std::string& raw = proto->raw_data();
  if (raw.size() != layout.bytes) {
    return InvalidArgument(raw.size(), " bytes of data, shape needs ", layout.bytes, " (", DimsToString(layout.dims),
                           " of ", DataTypeName(layout.dtype), ")");
  }
  if (raw.size() < kOwnFromBytes || !IsAligned(raw.data(), layout.dtype) || layout.dtype == DataType::kBool) {
    return CopyBytes(layout.dtype, layout.dims, raw.data(), raw.size());
  }
  auto owner = std::make_shared<const std::string>(std::move(*proto->mutable_raw_data()));
  return Tensor::Borrow(layout.dtype, layout.dims, owner->data(), owner);
}

absl::StatusOr<Tensor> TensorReader::ReadTyped(const onnx::TensorProto& proto, const Layout& layout,
                                               absl::string_view field) {
  int64_t got = 0;
  int64_t needed = layout.elements;
  const int bits = BitWidth(layout.dtype);
  if (field == "float_data") {
    got = proto.float_data_size();
    if (layout.dtype == DataType::kComplex64) needed *= 2;  // cannot overflow: the byte count did not
  } else if (field == "double_data") {
    got = proto.double_data_size();
    if (layout.dtype == DataType::kComplex128) needed *= 2;
  } else if (field == "int64_data") {
    got = proto.int64_data_size();
  } else if (field == "uint64_data") {
    got = proto.uint64_data_size();
  } else {
    got = proto.int32_data_size();
    if (bits < 8) needed = static_cast<int64_t>(layout.bytes);
  }
  if (got != needed) {
    return InvalidArgument(got, " values in ", field, ", shape ", DimsToString(layout.dims), " needs ", needed);
  }
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(layout.dtype, layout.dims));
  if (field == "float_data") {
    CopyField(proto.float_data(), &tensor);
  } else if (field == "double_data") {
    CopyField(proto.double_data(), &tensor);
  } else if (field == "int64_data") {
    CopyField(proto.int64_data(), &tensor);
  } else if (layout.dtype == DataType::kUInt64) {
    CopyField(proto.uint64_data(), &tensor);
  } else if (layout.dtype == DataType::kUInt32) {
    for (int i = 0; i < proto.uint64_data_size(); ++i) {
      if (proto.uint64_data(i) > std::numeric_limits<uint32_t>::max()) {
        return InvalidArgument("value ", proto.uint64_data(i), " at index ", i, " does not fit uint32");
      }
      tensor.mutable_data<uint32_t>()[i] = static_cast<uint32_t>(proto.uint64_data(i));
    }
  } else if (layout.dtype == DataType::kInt32) {
    CopyField(proto.int32_data(), &tensor);
  } else {
    const auto [low, high] = Int32Range(layout.dtype);
    RONDO_RETURN_IF_ERROR(bits == 16 ? Narrow<uint16_t>(proto.int32_data(), low, high, layout.dtype, &tensor)
                                     : Narrow<uint8_t>(proto.int32_data(), low, high, layout.dtype, &tensor));
  }
  return tensor;
}

absl::StatusOr<Tensor> TensorReader::ReadStrings(const onnx::TensorProto& proto, const Layout& layout) {
  if (proto.string_data_size() != layout.elements) {
    return InvalidArgument(proto.string_data_size(), " values in string_data, shape ", DimsToString(layout.dims),
                           " needs ", layout.elements);
  }
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(layout.dtype, layout.dims));
  std::copy(proto.string_data().begin(), proto.string_data().end(), tensor.mutable_data<std::string>());
  return tensor;
}

absl::StatusOr<Tensor> TensorReader::ReadExternal(const onnx::TensorProto& proto, const Layout& layout) {
  if (layout.dtype == DataType::kString) return InvalidArgument("strings cannot be external data");
  absl::string_view location;
  uint64_t offset = 0;
  uint64_t length = layout.bytes;
  std::set<absl::string_view> seen;
  for (const onnx::StringStringEntryProto& entry : proto.external_data()) {
    if (!seen.insert(entry.key()).second) return InvalidArgument("external data: duplicate key ", Quote(entry.key()));
    if (entry.key() == "location") {
      location = entry.value();
    } else if (entry.key() == "offset" || entry.key() == "length") {
      uint64_t* target = entry.key() == "offset" ? &offset : &length;
      if (!ParseDecimal(entry.value(), target)) {
        return InvalidArgument("external data: ", entry.key(), " ", Quote(entry.value()),
                               " is not a non-negative decimal");
      }
    } else if (entry.key() == "checksum") {
      notes_.insert("checksums of external data are not verified");
    } else {
      notes_.insert(absl::StrCat("external data: unknown key ", Quote(entry.key()), " ignored"));
      if (notes_.size() > 100) return InvalidArgument("external data: more than 100 unknown keys");
    }
  }
  if (seen.count("location") == 0) return InvalidArgument("external data: no location");
  RONDO_ASSIGN_OR_RETURN(std::shared_ptr<const FileBytes> file, files_->Open(location));
  const uint64_t size = file->size();
  if (offset > size || length > size - offset) {
    return OutOfRange("external data ", Quote(location), ": offset ", offset, " + length ", length,
                      " is beyond the file's ", size, " bytes");
  }
  if (length != layout.bytes) {
    return InvalidArgument("external data ", Quote(location), ": ", length, " bytes of data, shape needs ",
                           layout.bytes, " (", DimsToString(layout.dims), " of ", DataTypeName(layout.dtype), ")");
  }
  external_bytes_ += length;
  if (length == 0) return Tensor::Create(layout.dtype, layout.dims);
  const uint8_t* data = file->data() + offset;
  if (!IsAligned(data, layout.dtype) || layout.dtype == DataType::kBool) {
    copied_external_bytes_ += length;
    if (copied_external_bytes_ / kMaxCopiesOfExternalData > files_->total_bytes()) {
      return ResourceExhausted("external data ", Quote(location), ": overlapping tensors would be copied more than ",
                               kMaxCopiesOfExternalData, " times");
    }
    return CopyBytes(layout.dtype, layout.dims, data, length);
  }
  return Tensor::Borrow(layout.dtype, layout.dims, data, file);
}

absl::StatusOr<Tensor> TensorReader::ReadSparse(onnx::SparseTensorProto* proto) {
  auto it = done_.find(proto);
  if (it != done_.end()) return it->second;
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, ReadSparseUncached(proto));
  done_[proto] = tensor;
  return tensor;
}

absl::StatusOr<Tensor> TensorReader::ReadSparseUncached(onnx::SparseTensorProto* proto) {
  RONDO_ASSIGN_OR_RETURN(const Dims dims, CheckDims(proto->dims(), limits_));
  const int64_t elements = *CheckedElementCount(dims);
  if (!proto->has_values()) return InvalidArgument("sparse tensor without values");
  absl::StatusOr<Tensor> values = Read(proto->mutable_values());
  if (!values.ok()) return Annotate(values.status(), "sparse values: ");
  const DataType dtype = values->dtype();
  if (BitWidth(dtype) < 8) return Unimplemented("sparse tensor of ", DataTypeName(dtype));
  if (values->rank() != 1) return InvalidArgument("sparse values have rank ", values->rank(), ", expected 1");
  const int64_t nnz = values->size();
  if (nnz > elements) {
    return InvalidArgument("sparse tensor with ", nnz, " values, shape ", DimsToString(dims), " has ", elements);
  }
  absl::StatusOr<size_t> bytes = CheckedByteSize(dtype, dims);
  if (!bytes.ok()) return InvalidArgument(absl::StrJoin(dims, "x"), " elements overflow");
  const uint64_t limit = std::min(limits_.max_tensor_bytes, kMaxSparseDenseBytes);
  if (*bytes > limit || sparse_dense_bytes_ > limit - *bytes) {
    return ResourceExhausted("sparse tensor needs ", *bytes, " bytes when dense, limit of all together ", limit);
  }
  sparse_dense_bytes_ += *bytes;

  Tensor indices = Tensor::Make(DataType::kInt64, {0});
  if (proto->has_indices()) {
    absl::StatusOr<Tensor> read = Read(proto->mutable_indices());
    if (!read.ok()) return Annotate(read.status(), "sparse indices: ");
    indices = *std::move(read);
  }
  const int rank = static_cast<int>(dims.size());
  if (indices.dtype() != DataType::kInt64) {
    return InvalidArgument("sparse indices are ", DataTypeName(indices.dtype()), ", expected int64");
  }
  const bool linear = indices.rank() == 1 && indices.dim(0) == nnz;
  const bool tuples = indices.rank() == 2 && indices.dim(0) == nnz && indices.dim(1) == rank;
  if (!linear && !tuples) {
    return InvalidArgument("sparse indices have shape ", DimsToString(indices.dims()), ", expected [", nnz, "] or [",
                           nnz, ", ", rank, "]");
  }

  RONDO_ASSIGN_OR_RETURN(Tensor dense, Tensor::Create(dtype, dims));
  const size_t width = static_cast<size_t>(BitWidth(dtype)) / 8;
  const auto* source = static_cast<const uint8_t*>(values->raw());
  auto* target = static_cast<uint8_t*>(dense.mutable_raw());
  int64_t previous = -1;
  for (int64_t i = 0; i < nnz; ++i) {
    int64_t at = 0;
    if (linear) {
      at = indices.data<int64_t>()[i];
      if (at < 0 || at >= elements) {
        return InvalidArgument("sparse index ", at, " at ", i, " is out of range [0, ", elements - 1, "]");
      }
    } else {
      for (int d = 0; d < rank; ++d) {
        const int64_t index = indices.data<int64_t>()[i * rank + d];
        if (index < 0 || index >= dims[d]) {
          return InvalidArgument("sparse index ", index, " at ", i, " is out of range [0, ", dims[d] - 1, "] on axis ",
                                 d);
        }
        at = at * dims[d] + index;
      }
    }
    if (at == previous) return InvalidArgument("sparse index ", at, " at ", i, " is a duplicate");
    if (at < previous) return InvalidArgument("sparse index ", at, " at ", i, " is not in ascending order");
    previous = at;
    std::memcpy(target + static_cast<size_t>(at) * width, source + static_cast<size_t>(i) * width, width);
  }
  return dense;
}

}  // namespace rondo
