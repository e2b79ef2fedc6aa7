// Loops over the multidirectional broadcast of K inputs to one output, without index arithmetic per element.
//
// Prepare collapses the dims: those of extent 1 go, and neighbours along which every input either advances or stands
// still merge. What is left is usually one or two dims: same shapes and scalars make one, a row or column against a
// matrix two. Run then calls a function per innermost run, in which each input has step 1 or 0.
#ifndef RONDO_OPS_BROADCAST_H_
#define RONDO_OPS_BROADCAST_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "ops/parallel.h"
#include "rondo/tensor.h"

namespace rondo {

template <int K>
class BroadcastLoop {
 public:
  // One innermost run: elements [out, out + n) of the output; input k starts at offset in[k] and advances by step(k).
  struct Run {
    int64_t out;
    std::array<int64_t, K> in;
    int64_t n;
  };

  BroadcastLoop() = default;
  // REQUIRES: inputs broadcast to `output` (ranks at most the output's).
  BroadcastLoop(absl::Span<const int64_t> output, const std::array<Dims, K>& inputs) {
    const int rank = static_cast<int>(output.size());
    // Innermost first.
    for (int d = rank - 1; d >= 0; --d) {
      size_ *= output[d];
      if (output[d] == 1) continue;
      std::array<bool, K> advances;
      for (int k = 0; k < K; ++k) {
        int position = d - rank + static_cast<int>(inputs[k].size());
        advances[k] = position >= 0 && inputs[k][position] != 1;
      }
      if (!extents_.empty() && advances == advances_.back()) {
        extents_.back() *= output[d];
      } else {
        extents_.push_back(output[d]);
        advances_.push_back(advances);
      }
    }
    if (extents_.empty()) {
      extents_.push_back(1);
      advances_.push_back({});
    }
    std::array<int64_t, K> stride;
    stride.fill(1);
    for (size_t level = 0; level < extents_.size(); ++level) {
      std::array<int64_t, K> step;
      for (int k = 0; k < K; ++k) {
        step[k] = advances_[level][k] ? stride[k] : 0;
        if (advances_[level][k]) stride[k] *= extents_[level];
      }
      strides_.push_back(step);
    }
  }

  int64_t size() const { return size_; }
  int64_t inner() const { return extents_[0]; }
  bool step(int k) const { return advances_[0][k]; }  // whether input k advances in an innermost run
  int levels() const { return static_cast<int>(extents_.size()); }

  // Calls fn(Run) for runs that cover output elements [begin, end).
  template <typename Fn>
  void ForRange(int64_t begin, int64_t end, Fn fn) const {
    if (begin >= end) return;
    // Position of `begin`, innermost first.
    absl::InlinedVector<int64_t, 8> index(extents_.size());
    Run run = {};
    int64_t rest = begin;
    for (size_t level = 0; level < extents_.size(); ++level) {
      index[level] = rest % extents_[level];
      rest /= extents_[level];
      for (int k = 0; k < K; ++k) run.in[k] += index[level] * strides_[level][k];
    }
    for (int64_t at = begin; at < end;) {
      run.out = at;
      run.n = std::min(end - at, extents_[0] - index[0]);
      fn(run);
      at += run.n;
      for (int k = 0; k < K; ++k) run.in[k] -= index[0] * strides_[0][k];
      index[0] = 0;
      for (size_t level = 1; level < extents_.size(); ++level) {
        for (int k = 0; k < K; ++k) run.in[k] += strides_[level][k];
        if (++index[level] < extents_[level]) break;
        for (int k = 0; k < K; ++k) run.in[k] -= index[level] * strides_[level][k];
        index[level] = 0;
      }
    }
  }

  // The same over the whole output, in parallel ranges of at least `grain` elements.
  template <typename Fn>
  void ForAll(int64_t grain, Fn fn) const {
    ParallelFor(size_, grain, [&](int64_t begin, int64_t end) { ForRange(begin, end, fn); });
  }

 private:
  int64_t size_ = 1;
  absl::InlinedVector<int64_t, 4> extents_;                 // innermost first
  absl::InlinedVector<std::array<bool, K>, 4> advances_;    // whether input k moves along the level
  absl::InlinedVector<std::array<int64_t, K>, 4> strides_;  // elements by which it moves
};

}  // namespace rondo

#endif  // RONDO_OPS_BROADCAST_H_
