// A tensor seen from one of its axes: [outer, size, inner], and small pieces that families along an axis share.
#ifndef RONDO_OPS_AXIS_SPLIT_H_
#define RONDO_OPS_AXIS_SPLIT_H_

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"
#include "ops/parallel.h"

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

// Elementary steps of an element, about an eighth of a nanosecond each: what a vector kernel takes for an addition,
// what a plain loop takes for one, and for an exponential or a power.
inline constexpr int64_t kVectorCost = 1;
inline constexpr int64_t kScalarCost = 8;
inline constexpr int64_t kLibmCost = 64;

// Items of `cost` elementary steps each that make a range worth a thread of its own: some 16 microseconds.
inline int64_t GrainFor(int64_t cost) { return std::max<int64_t>(1, 131072 / std::max<int64_t>(1, cost)); }

// Rows dealt to a fixed number of tasks, for kernels that need scratch memory per thread: each task owns a slice of it,
// whoever runs the task.
struct RowTasks {
  int64_t tasks = 1;
  int64_t rows = 0;

  // `cost` elementary steps a row.
  static RowTasks For(int threads, int64_t rows, int64_t cost) {
    int64_t wanted = threads <= 1 ? 1 : std::min<int64_t>(4 * threads, rows / GrainFor(cost));
    return {std::max<int64_t>(1, wanted), rows};
  }
  // fn(task, first_row, last_row)
  template <typename Fn>
  void Run(const Fn& fn) const {
    ParallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) fn(t, First(t), First(t + 1));
    });
  }

 private:
  int64_t First(int64_t task) const { return rows / tasks * task + std::min(task, rows % tasks); }
};

}  // namespace rondo

#endif  // RONDO_OPS_AXIS_SPLIT_H_
