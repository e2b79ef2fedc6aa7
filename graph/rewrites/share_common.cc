// Common subexpressions: two nodes of the same operator, attributes and inputs compute the same values; the second
// reads the first's. Equal small constants are one value, which lets the nodes that read them be equal too.
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "graph/rewrites/list.h"

namespace rondo {
namespace {

constexpr size_t kMaxComparedBytes = 4096;

bool IsRandom(const Node& node) {
  return node.Is("RandomNormal") || node.Is("RandomUniform") || node.Is("RandomNormalLike") ||
         node.Is("RandomUniformLike") || node.Is("Bernoulli") || node.Is("Multinomial") || node.Is("Dropout");
}

void AppendTensor(const Tensor& t, std::string* key) {
  absl::StrAppend(key, static_cast<int>(t.dtype()), DimsToString(t.dims()));
  key->append(static_cast<const char*>(t.raw()), t.bytes());
}

// False when the attribute has no cheap canonical text.
bool AppendAttribute(const Attribute& attribute, std::string* key) {
  if (const auto* i = std::get_if<int64_t>(&attribute)) return absl::StrAppend(key, "i", *i), true;
  if (const auto* f = std::get_if<float>(&attribute)) {
    key->append(reinterpret_cast<const char*>(f), sizeof(*f));
    return true;
  }
  if (const auto* s = std::get_if<std::string>(&attribute)) return absl::StrAppend(key, "s", s->size(), ":", *s), true;
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&attribute)) {
    absl::StrAppend(key, "I");
    for (int64_t i : *ints) absl::StrAppend(key, i, ",");
    return true;
  }
  if (const auto* floats = std::get_if<std::vector<float>>(&attribute)) {
    absl::StrAppend(key, "F", floats->size());
    key->append(reinterpret_cast<const char*>(floats->data()), floats->size() * sizeof(float));
    return true;
  }
  if (const auto* t = std::get_if<Tensor>(&attribute)) {
    if (t->dtype() == DataType::kString || t->bytes() > kMaxComparedBytes) return false;
    return AppendTensor(*t, key), true;
  }
  return false;
}

// Identity of what the node computes; empty when it must not be shared.
std::string KeyOf(const Node& node) {
  if (!node.subgraphs().empty() || IsRandom(node)) return "";
  std::string key = absl::StrCat(node.op().ToString(), "@", node.op().version, "(");
  for (const Value* input : node.inputs()) absl::StrAppend(&key, reinterpret_cast<uintptr_t>(input), ",");
  absl::StrAppend(&key, ")", node.outputs().size());
  for (const Value* output : node.outputs()) key += output == nullptr ? '0' : '1';
  for (const auto& [name, attribute] : node.attributes()) {
    absl::StrAppend(&key, ";", name, "=");
    if (!AppendAttribute(attribute, &key)) return "";
  }
  return key;
}

}  // namespace

absl::StatusOr<int> ShareCommon(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::map<std::string, Value*> constants;
  for (const auto& value : graph.values()) {
    if (!value->is_constant() || value->uses().empty() || value->is_graph_output()) continue;
    const Tensor& t = value->constant();
    if (t.dtype() == DataType::kString || t.bytes() > kMaxComparedBytes) continue;
    std::string key;
    AppendTensor(t, &key);
    auto [it, inserted] = constants.emplace(std::move(key), value.get());
    if (!inserted) graph.ReplaceAllUses(value.get(), it->second);  // not counted: nothing is saved yet
  }
  std::map<std::string, Node*> seen;
  for (const auto& node : graph.nodes()) {
    bool is_output = false, used = false;
    for (const Value* output : node->outputs()) {
      is_output |= output != nullptr && output->is_graph_output();
      used |= output != nullptr && !output->uses().empty();
    }
    std::string key = KeyOf(*node);
    if (key.empty()) continue;
    auto [it, inserted] = seen.emplace(std::move(key), node.get());
    if (inserted || is_output || !used) continue;
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (node->outputs()[i] != nullptr) graph.ReplaceAllUses(node->outputs()[i], it->second->outputs()[i]);
    }
    ++fired;
  }
  return fired;
}

}  // namespace rondo
