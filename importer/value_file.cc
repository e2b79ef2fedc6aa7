// Test data: one TensorProto, SequenceProto, OptionalProto or MapProto per file. None of them says which it is, so the
// declared type of the model's input or output decides.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <limits>
#include <new>
#include <utility>

#include "graph/status.h"
#include "importer/file_io.h"
#include "importer/importer.h"
#include "importer/names.h"
#include "importer/tensor_reader.h"
// onnx_pb.h defines what the generated header needs.
// clang-format off
#include "onnx/onnx_pb.h"
#include "onnx/onnx-data.pb.h"
// clang-format on

namespace rondo {
namespace {

constexpr uint64_t kMaxFileBytes = std::numeric_limits<int32_t>::max();

absl::StatusOr<RuntimeValue> FromTensor(onnx::TensorProto* proto, TensorReader* tensors) {
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->Read(proto));
  return RuntimeValue(std::move(tensor));
}

absl::StatusOr<RuntimeValue> FromSparse(onnx::SparseTensorProto* proto, TensorReader* tensors) {
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, tensors->ReadSparse(proto));
  return RuntimeValue(std::move(tensor));
}

absl::StatusOr<RuntimeValue> FromSequence(onnx::SequenceProto* proto, TensorReader* tensors);
absl::StatusOr<RuntimeValue> FromMap(onnx::MapProto* proto, TensorReader* tensors);

absl::StatusOr<RuntimeValue> FromOptional(onnx::OptionalProto* proto, TensorReader* tensors) {
  if (proto->has_tensor_value()) return FromTensor(proto->mutable_tensor_value(), tensors);
  if (proto->has_sparse_tensor_value()) return FromSparse(proto->mutable_sparse_tensor_value(), tensors);
  if (proto->has_sequence_value()) return FromSequence(proto->mutable_sequence_value(), tensors);
  if (proto->has_map_value()) return FromMap(proto->mutable_map_value(), tensors);
  if (proto->has_optional_value()) return FromOptional(proto->mutable_optional_value(), tensors);
  return RuntimeValue();
}

absl::StatusOr<RuntimeValue> FromSequence(onnx::SequenceProto* proto, TensorReader* tensors) {
  TensorSequence sequence;
  auto add = [&](absl::StatusOr<RuntimeValue> value) {
    if (!value.ok()) return Annotate(value.status(), absl::StrCat("element ", sequence.size(), ": "));
    sequence.push_back(*std::move(value));
    return absl::OkStatus();
  };
  for (auto& t : *proto->mutable_tensor_values()) RONDO_RETURN_IF_ERROR(add(FromTensor(&t, tensors)));
  for (auto& t : *proto->mutable_sparse_tensor_values()) RONDO_RETURN_IF_ERROR(add(FromSparse(&t, tensors)));
  for (auto& s : *proto->mutable_sequence_values()) RONDO_RETURN_IF_ERROR(add(FromSequence(&s, tensors)));
  for (auto& m : *proto->mutable_map_values()) RONDO_RETURN_IF_ERROR(add(FromMap(&m, tensors)));
  for (auto& o : *proto->mutable_optional_values()) RONDO_RETURN_IF_ERROR(add(FromOptional(&o, tensors)));
  return RuntimeValue(std::move(sequence));
}

// Keys and values become one tensor each; the values are tensors of one element.
absl::StatusOr<RuntimeValue> FromMap(onnx::MapProto* proto, TensorReader* tensors) {
  TensorMap map;
  if (proto->string_keys_size() > 0) {
    std::vector<std::string> keys(proto->string_keys().begin(), proto->string_keys().end());
    map.keys = Tensor::FromVector<std::string>(DataType::kString, {proto->string_keys_size()}, keys);
  } else {
    std::vector<int64_t> keys(proto->keys().begin(), proto->keys().end());
    map.keys = Tensor::FromInt64s(keys);
  }
  RONDO_ASSIGN_OR_RETURN(RuntimeValue values, FromSequence(proto->mutable_values(), tensors));
  const TensorSequence& list = values.sequence();
  const int64_t count = map.keys.size();
  if (static_cast<int64_t>(list.size()) != count) {
    return InvalidArgument("map with ", count, " keys and ", list.size(), " values");
  }
  const DataType dtype = list.empty() || !list[0].is_tensor() ? DataType::kFloat : list[0].tensor().dtype();
  if (dtype != DataType::kString && BitWidth(dtype) < 8) return Unimplemented("map to ", DataTypeName(dtype));
  RONDO_ASSIGN_OR_RETURN(map.values, Tensor::Create(dtype, {count}));
  for (int64_t i = 0; i < count; ++i) {
    const RuntimeValue& value = list[i];
    if (!value.is_tensor() || value.tensor().dtype() != dtype || value.tensor().size() != 1) {
      return Unimplemented("map whose values are not single elements of one type");
    }
    if (dtype == DataType::kString) {
      map.values.mutable_data<std::string>()[i] = value.tensor().data<std::string>()[0];
    } else {
      const size_t width = ByteSize(dtype, 1);
      memcpy(static_cast<char*>(map.values.mutable_raw()) + i * width, value.tensor().raw(), width);
    }
  }
  return RuntimeValue(std::move(map));
}

template <typename Proto, typename Convert>
absl::StatusOr<NamedValue> ReadAs(absl::string_view bytes, TensorReader* tensors, Convert convert) {
  Proto proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument("protobuf does not parse as ", Proto().GetTypeName());
  }
  NamedValue result;
  result.name = proto.name();
  RONDO_ASSIGN_OR_RETURN(result.value, convert(&proto, tensors));
  return result;
}

absl::StatusOr<NamedValue> ReadValue(absl::string_view bytes, const ValueType& type, TensorReader* tensors) try {
  switch (type.kind) {
    case ValueType::Kind::kSequence:
      return ReadAs<onnx::SequenceProto>(bytes, tensors, FromSequence);
    case ValueType::Kind::kOptional:
      return ReadAs<onnx::OptionalProto>(bytes, tensors, FromOptional);
    case ValueType::Kind::kMap:
      return ReadAs<onnx::MapProto>(bytes, tensors, FromMap);
    default:
      return ReadAs<onnx::TensorProto>(bytes, tensors, FromTensor);
  }
} catch (const std::bad_alloc&) {
  return ResourceExhausted("out of memory while reading");
}

absl::Status WriteAll(const std::string& path, absl::string_view bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return absl::PermissionDeniedError(absl::StrCat("cannot create: ", strerror(errno)));
  absl::Status status;
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      status = ResourceExhausted("cannot write: ", strerror(errno));
      break;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  if (close(fd) != 0 && status.ok()) status = ResourceExhausted("cannot write: ", strerror(errno));
  return status;
}

}  // namespace

absl::StatusOr<NamedValue> ReadValueFile(const std::string& path, const ValueType& type) {
  const std::string where = absl::StrCat(Printable(path), ": ");
  absl::StatusOr<std::shared_ptr<const FileBytes>> file = ReadRegularFile(path, kMaxFileBytes);
  if (!file.ok()) return Annotate(file.status(), where);
  ExternalFiles files(DirectoryOf(path), /*follow_links=*/false);
  TensorReader tensors(&files, ImportLimits());
  absl::StatusOr<NamedValue> value = ReadValue((*file)->view(), type, &tensors);
  if (!value.ok()) return Annotate(value.status(), where);
  return value;
}

absl::Status WriteTensorFile(const std::string& path, absl::string_view name, const Tensor& tensor) {
  const std::string where = absl::StrCat(Printable(path), ": ");
  if (!tensor.defined()) return InvalidArgument(where, "no tensor to write");
  constexpr uint64_t kHeaderBytes = 1 << 20;
  if (tensor.dtype() != DataType::kString && tensor.bytes() + kHeaderBytes > kMaxFileBytes) {
    return ResourceExhausted(where, "tensor of ", tensor.bytes(), " bytes does not fit one protobuf");
  }
  onnx::TensorProto proto;
  proto.set_name(std::string(name));
  proto.set_data_type(static_cast<int32_t>(tensor.dtype()));
  for (int64_t dim : tensor.dims()) proto.add_dims(dim);
  if (tensor.dtype() == DataType::kString) {
    for (int64_t i = 0; i < tensor.size(); ++i) proto.add_string_data(tensor.data<std::string>()[i]);
    if (proto.ByteSizeLong() > kMaxFileBytes) return ResourceExhausted(where, "strings do not fit one protobuf");
  } else {
    proto.set_raw_data(tensor.raw(), tensor.bytes());
  }
  absl::Status written = WriteAll(path, proto.SerializeAsString());
  return written.ok() ? written : Annotate(written, where);
}

}  // namespace rondo
