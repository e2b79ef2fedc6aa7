// OpRegistry: all operators that rondo has, by domain, type and version. Immutable after construction; thread-safe.
#ifndef RONDO_OPS_REGISTRY_H_
#define RONDO_OPS_REGISTRY_H_

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "ops/op.h"

namespace rondo {

class OpRegistry {
 public:
  static const OpRegistry& Get();

  // The newest row with since <= op.version; null when there is none, or when that row marks a removal.
  const OpDef* Find(const OpId& op) const;
  bool KnowsType(absl::string_view domain, absl::string_view type) const;
  // All rows, sorted by domain, type, version.
  const std::vector<const OpDef*>& rows() const { return rows_; }

 private:
  OpRegistry();
  absl::flat_hash_map<std::pair<std::string, std::string>, std::vector<const OpDef*>> by_type_;  // ascending since
  std::vector<const OpDef*> rows_;
};

}  // namespace rondo

#endif  // RONDO_OPS_REGISTRY_H_
