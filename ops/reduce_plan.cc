#include "ops/reduce_plan.h"

#include "absl/container/inlined_vector.h"

namespace rondo {

OffsetTable OffsetTable::Make(absl::Span<const int64_t> dims, absl::Span<const int64_t> strides) {
  OffsetTable t;
  for (int64_t d : dims) t.size_ *= d;
  if (dims.size() <= 1) {
    t.stride_ = dims.empty() ? 0 : strides[0];
    return t;
  }
  t.table_.reserve(t.size_);
  t.table_.push_back(0);
  // Each dim multiplies the list; the last one varies fastest.
  for (size_t d = 0; d < dims.size(); ++d) {
    std::vector<int64_t> next;
    next.reserve(t.table_.size() * dims[d]);
    for (int64_t base : t.table_) {
      for (int64_t i = 0; i < dims[d]; ++i) next.push_back(base + i * strides[d]);
    }
    t.table_ = std::move(next);
  }
  return t;
}

ReducePlan ReducePlan::Make(absl::Span<const int64_t> dims, const std::vector<bool>& reduce) {
  ReducePlan plan;
  bool empty = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    (reduce[i] ? plan.count : plan.outputs) *= dims[i];
    empty |= dims[i] == 0;
  }
  if (empty) return plan;  // nothing will be read

  struct Group {
    int64_t size;
    bool reduced;
  };
  absl::InlinedVector<Group, 8> groups;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 1) continue;
    if (!groups.empty() && groups.back().reduced == reduce[i]) {
      groups.back().size *= dims[i];
    } else {
      groups.push_back({dims[i], reduce[i]});
    }
  }
  if (groups.empty()) return plan;
  plan.inner = groups.back().size;
  plan.inner_reduced = groups.back().reduced;
  groups.pop_back();

  absl::InlinedVector<int64_t, 8> sizes[2], strides[2];
  int64_t stride = plan.inner;
  for (auto g = groups.rbegin(); g != groups.rend(); ++g) {
    sizes[g->reduced].insert(sizes[g->reduced].begin(), g->size);
    strides[g->reduced].insert(strides[g->reduced].begin(), stride);
    stride *= g->size;
  }
  plan.kept = OffsetTable::Make(sizes[0], strides[0]);
  plan.reduced = OffsetTable::Make(sizes[1], strides[1]);
  return plan;
}

}  // namespace rondo
