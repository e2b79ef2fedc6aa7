#include "ops/registry.h"

#include <algorithm>
#include <tuple>

#include "ops/families.h"

namespace rondo {

const OpRegistry& OpRegistry::Get() {
  static const OpRegistry* registry = new OpRegistry;
  return *registry;
}

OpRegistry::OpRegistry() {
  auto add = [this](absl::Span<const OpDef> family) {
    for (const OpDef& row : family) {
      rows_.push_back(&row);
      by_type_[{std::string(row.domain), std::string(row.type)}].push_back(&row);
    }
  };
#define RONDO_ADD_FAMILY(Name) add(Name##Family());
  RONDO_OPERATOR_FAMILIES(RONDO_ADD_FAMILY)
#undef RONDO_ADD_FAMILY
  for (auto& [type, rows] : by_type_) {
    std::sort(rows.begin(), rows.end(), [](const OpDef* a, const OpDef* b) { return a->since < b->since; });
  }
  std::sort(rows_.begin(), rows_.end(), [](const OpDef* a, const OpDef* b) {
    return std::tie(a->domain, a->type, a->since) < std::tie(b->domain, b->type, b->since);
  });
}

const OpDef* OpRegistry::Find(const OpId& op) const {
  auto it = by_type_.find(std::make_pair(op.domain, op.type));
  if (it == by_type_.end()) return nullptr;
  const OpDef* found = nullptr;
  for (const OpDef* row : it->second) {
    if (row->since <= op.version) found = row;
  }
  return found != nullptr && found->infer == &RemovedOperator ? nullptr : found;
}

bool OpRegistry::KnowsType(absl::string_view domain, absl::string_view type) const {
  return by_type_.contains(std::make_pair(std::string(domain), std::string(type)));
}

}  // namespace rondo
