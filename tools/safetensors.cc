#include "tools/safetensors.h"

#include <nlohmann/json.hpp>

#include "graph/atomic_file.h"
#include "graph/status.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMetadata[] = "__metadata__";
constexpr size_t kAlignment = 8;

// The format's name of an element type; null: it has none.
const char* NameOf(DataType type) {
  switch (type) {
    case DataType::kBool:
      return "BOOL";
    case DataType::kUInt8:
      return "U8";
    case DataType::kInt8:
      return "I8";
    case DataType::kUInt16:
      return "U16";
    case DataType::kInt16:
      return "I16";
    case DataType::kUInt32:
      return "U32";
    case DataType::kInt32:
      return "I32";
    case DataType::kUInt64:
      return "U64";
    case DataType::kInt64:
      return "I64";
    case DataType::kFloat16:
      return "F16";
    case DataType::kBFloat16:
      return "BF16";
    case DataType::kFloat:
      return "F32";
    case DataType::kDouble:
      return "F64";
    default:
      return nullptr;
  }
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const char* const type = NameOf(tensor.dtype());
    if (type == nullptr) {
      return InvalidArgument(path, ": \"", name, "\": safetensors has no ", DataTypeName(tensor.dtype()));
    }
    if (header.contains(name) || name == kMetadata) return InvalidArgument(path, ": \"", name, "\" stands twice");
    const std::vector<int64_t> shape(tensor.dims().begin(), tensor.dims().end());
    header[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = text.size();
  AtomicFile file(path, 0644);
  RONDO_RETURN_IF_ERROR(file.Write(&length, sizeof(length)));
  RONDO_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
  for (const auto& [name, tensor] : tensors) RONDO_RETURN_IF_ERROR(file.Write(tensor.raw(), tensor.bytes()));
  return file.Commit();
}

}  // namespace rondo
