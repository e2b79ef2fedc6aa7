// ReducePlan: which elements of a row-major tensor meet in each output of a reduction over some of its axes.
//
// Dims of size 1 are dropped and neighbours of the same kind (kept or reduced) merged; what is left alternates. The
// last group gives contiguous runs, the groups before it two tables of offsets:
//   inner_reduced:  output o            = all x[kept[o] + reduced[r] + j],          j < inner
//   otherwise:      output o * inner + j = all x[kept[o] + reduced[r] + j] over r,  j < inner
#ifndef RONDO_OPS_REDUCE_PLAN_H_
#define RONDO_OPS_REDUCE_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace rondo {

// Offsets 0, stride, 2 * stride ... where they are so regular, a table otherwise.
class OffsetTable {
 public:
  int64_t size() const { return size_; }
  int64_t operator[](int64_t i) const { return table_.empty() ? i * stride_ : table_[i]; }

  // All combinations of indices into dims with these strides, last dim fastest.
  static OffsetTable Make(absl::Span<const int64_t> dims, absl::Span<const int64_t> strides);

 private:
  int64_t size_ = 1;
  int64_t stride_ = 0;
  std::vector<int64_t> table_;
};

struct ReducePlan {
  OffsetTable kept;
  OffsetTable reduced;
  int64_t inner = 1;
  bool inner_reduced = true;
  int64_t outputs = 1;  // elements of the result
  int64_t count = 1;    // elements that meet in each of them; 0 when a reduced dim is 0

  // REQUIRES: reduce.size() == dims.size().
  static ReducePlan Make(absl::Span<const int64_t> dims, const std::vector<bool>& reduce);
};

}  // namespace rondo

#endif  // RONDO_OPS_REDUCE_PLAN_H_
