// Parallel loops. oneDNN has OpenMP's team for its own; idle threads of either spin for microseconds only, so that they
// do not fight for the cores. The number of threads is a property of the calling thread: a session sets it for the time
// of a run, for both.
#ifndef RONDO_OPS_PARALLEL_H_
#define RONDO_OPS_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace rondo {

int NumThreads();

class ScopedThreads {
 public:
  explicit ScopedThreads(int threads);  // 0 = all cores
  ~ScopedThreads();
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int previous_;
};

// Calls fn(begin, end) on disjoint ranges that cover [0, n). Ranges hold at least `grain` items (but the last): choose
// it so that a range costs some 20 microseconds. Runs inline when one range suffices, on one thread, when called from
// inside another ParallelFor, or while another thread's loop has the pool. Chunks are claimed, so a busy core delays
// only what it has claimed.
void ParallelFor(int64_t n, int64_t grain, absl::FunctionRef<void(int64_t begin, int64_t end)> fn);

// 0 when called by the thread that opened the loop, else the worker's number; < that thread's NumThreads().
int WorkerIndex();

}  // namespace rondo

#endif  // RONDO_OPS_PARALLEL_H_
