// Common subexpressions: two nodes of the same operator, attributes and inputs compute the same values; the second
// reads the first's. Equal small constants are one value, which lets the nodes that read them be equal too.
#include <map>

#include "absl/strings/str_cat.h"
#include "graph/operation_text.h"
#include "graph/rewrites/list.h"

namespace rondo {
namespace {

bool IsRandom(const Node& node) {
  return node.Is("RandomNormal") || node.Is("RandomUniform") || node.Is("RandomNormalLike") ||
         node.Is("RandomUniformLike") || node.Is("Bernoulli") || node.Is("Multinomial") || node.Is("Dropout");
}

// Identity of what the node computes; empty when it must not be shared.
std::string KeyOf(const Node& node) {
  const std::optional<std::string> operation = OperationText(node);
  if (!operation.has_value() || IsRandom(node)) return "";
  std::string key = absl::StrCat(*operation, "(");
  for (const Value* input : node.inputs()) absl::StrAppend(&key, reinterpret_cast<uintptr_t>(input), ",");
  absl::StrAppend(&key, ")", node.outputs().size());
  for (const Value* output : node.outputs()) key += output == nullptr ? '0' : '1';
  return key;
}

}  // namespace

absl::StatusOr<int> ShareCommon(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::map<std::string, Value*> constants;
  for (const auto& value : graph.values()) {
    if (!value->is_constant() || value->uses().empty() || value->is_graph_output()) continue;
    const Tensor& t = value->constant();
    if (t.dtype() == DataType::kString || t.bytes() > kMaxTextTensorBytes) continue;
    std::string key;
    AppendTensorText(t, &key);
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
