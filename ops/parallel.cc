// ParallelFor on OpenMP. Chunks are claimed from a shared counter instead of being split beforehand: on a shared
// machine one busy core would otherwise hold up every loop for a whole scheduler slice.
#include "ops/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>

namespace rondo {
namespace {

// More than one chunk per thread evens out what the cores have left to give; many more would cost in claims.
constexpr int64_t kChunksPerThread = 8;

thread_local int worker_index = 0;
thread_local bool inside_loop = false;

}  // namespace

int NumThreads() { return omp_get_max_threads(); }

ScopedThreads::ScopedThreads(int threads) : previous_(omp_get_max_threads()) {
  omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

ScopedThreads::~ScopedThreads() { omp_set_num_threads(previous_); }

int WorkerIndex() { return worker_index; }

void ParallelFor(int64_t n, int64_t grain, absl::FunctionRef<void(int64_t begin, int64_t end)> fn) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int64_t threads = inside_loop ? 1 : NumThreads();
  if (n <= grain || threads <= 1 || omp_in_parallel()) {
    fn(0, n);
    return;
  }
  int64_t chunk = std::max(grain, (n - 1) / (threads * kChunksPerThread) + 1);
  int64_t num_chunks = (n - 1) / chunk + 1;
  if (num_chunks == 1) {
    fn(0, n);
    return;
  }
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(static_cast <int>(std::min(threads, num_chunks)))
  {
    worker_index = omp_get_thread_num();
    inside_loop = true;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < num_chunks;) {
      int64_t begin = i * chunk;
      fn(begin, std::min(n, begin + chunk));
    }
    inside_loop = false;
    worker_index = 0;
  }
}

}  // namespace rondo
