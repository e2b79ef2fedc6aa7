#include "tools/bandwidth.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "ops/parallel.h"
#include "rondo/tensor.h"
#include "tools/trace.h"

namespace rondo {

double MeasureReadBandwidth(int threads) {
  constexpr int64_t kWords = int64_t{1} << 25;  // 256 MiB
  constexpr int kReads = 5;
  // What the processor fetches ahead by itself is less than memory can give.
  constexpr int64_t kAhead = 2048;  // words
  absl::StatusOr<Tensor> buffer = Tensor::Create(DataType::kInt64, {kWords});
  if (!buffer.ok()) return 0;
  std::fill_n(buffer->mutable_data<int64_t>(), kWords, 1);  // pages of its own, not the one page of zeros
  const int64_t* words = buffer->data<int64_t>();
  const ScopedThreads scoped(threads);
  double best = 0;
  std::atomic<int64_t> total{0};
  for (int read = 0; read < kReads; ++read) {
    const int64_t begin = NowNs();
    ParallelFor(kWords, int64_t{1} << 18, [&](int64_t first, int64_t last) {
      int64_t sums[8] = {};  // independent, so that additions do not wait for each other
      for (int64_t i = first; i + 8 <= last; i += 8) {
        __builtin_prefetch(words + i + kAhead, 0, 2);  // asking for nothing beyond the end does no harm
        for (int k = 0; k < 8; ++k) sums[k] += words[i + k];
      }
      for (int64_t sum : sums) total.fetch_add(sum, std::memory_order_relaxed);
    });
    const double seconds = static_cast<double>(NowNs() - begin) * 1e-9;
    best = std::max(best, static_cast<double>(kWords) * sizeof(int64_t) / seconds);
  }
  // Looked at, so that the reads happen.
  return total.load() > 0 ? best : 0;
}

}  // namespace rondo
