#include "graph/operation_text.h"

#include "absl/strings/str_cat.h"

namespace rondo {
namespace {

// False when the attribute has no cheap canonical text.
bool AppendAttribute(const Attribute& attribute, std::string* text) {
  if (const auto* i = std::get_if<int64_t>(&attribute)) return absl::StrAppend(text, "i", *i), true;
  if (const auto* f = std::get_if<float>(&attribute)) {
    text->append(reinterpret_cast<const char*>(f), sizeof(*f));
    return true;
  }
  if (const auto* s = std::get_if<std::string>(&attribute)) return absl::StrAppend(text, "s", s->size(), ":", *s), true;
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&attribute)) {
    absl::StrAppend(text, "I");
    for (int64_t i : *ints) absl::StrAppend(text, i, ",");
    return true;
  }
  if (const auto* floats = std::get_if<std::vector<float>>(&attribute)) {
    absl::StrAppend(text, "F", floats->size());
    text->append(reinterpret_cast<const char*>(floats->data()), floats->size() * sizeof(float));
    return true;
  }
  if (const auto* t = std::get_if<Tensor>(&attribute)) {
    if (t->dtype() == DataType::kString || t->bytes() > kMaxTextTensorBytes) return false;
    return AppendTensorText(*t, text), true;
  }
  return false;
}

}  // namespace

void AppendTensorText(const Tensor& tensor, std::string* text) {
  absl::StrAppend(text, static_cast<int>(tensor.dtype()), DimsToString(tensor.dims()));
  text->append(static_cast<const char*>(tensor.raw()), tensor.bytes());
}

std::optional<std::string> OperationText(const Node& node) {
  if (!node.subgraphs().empty()) return std::nullopt;
  std::string text = absl::StrCat(node.op().ToString(), "@", node.op().version);
  for (const auto& [name, attribute] : node.attributes()) {
    absl::StrAppend(&text, ";", name, "=");
    if (!AppendAttribute(attribute, &text)) return std::nullopt;
  }
  return text;
}

}  // namespace rondo
