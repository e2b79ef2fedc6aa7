// A tensor seen from one of its axes: [outer, size, inner], and small pieces that families along an axis share.
#ifndef RONDO_OPS_AXIS_SPLIT_H_
#define RONDO_OPS_AXIS_SPLIT_H_

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"

namespace rondo {

struct AxisSplit {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner = 1;
};

inline int64_t Product(absl::Span<const int64_t> dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

// REQUIRES: 0 <= axis < dims.size(), and dims of a tensor that exists (no overflow).
inline AxisSplit SplitAtAxis(absl::Span<const int64_t> dims, int axis) {
  return {Product(dims.subspan(0, axis)), dims[axis], Product(dims.subspan(axis + 1))};
}

// Items of `cost` elementary steps each that make a range worth a thread of its own.
inline int64_t GrainFor(int64_t cost) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, cost)); }

}  // namespace rondo

#endif  // RONDO_OPS_AXIS_SPLIT_H_
