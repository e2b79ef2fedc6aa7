// ParallelFor on a pool of our own. On a shared machine threads lose their core for milliseconds at any time, and two
// of them may sit on one core while another is idle. So nobody is ever waited for who has not taken work: chunks are
// claimed one by one, the caller claims like everybody else, and a worker that comes too late finds nothing left. (With
// an OpenMP region, which all threads of a team must enter and leave, one late thread costs a scheduler slice in each
// of the hundreds of loops of a step.)
#include "ops/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

namespace rondo {
namespace {

// More than one chunk per thread evens out what the cores have left to give; many more would cost in claims.
constexpr int64_t kChunksPerThread = 8;
constexpr int64_t kMaxThreads = 4096;
// How long to wait before giving the core away: the loops of a step follow each other within some 20 microseconds.
constexpr int kSpins = 2000;
constexpr int kYields = 50;

thread_local int worker_index = 0;
thread_local bool inside_loop = false;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  // Lives as long as the process: its threads do.
  static Pool& Get() {
    static auto* const pool = new Pool;
    return *pool;
  }

  // Runs chunks [0, count) on up to `threads` threads, the caller's among them. False, and nothing done, when another
  // thread's loop has the pool.
  bool TryRun(int64_t threads, int64_t count, absl::FunctionRef<void(int64_t chunk)> run) {
    const std::unique_lock owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    AddWorkers(std::min(threads, kMaxThreads) - 1);
    run_ = &run;
    finished_.store(0, std::memory_order_relaxed);
    ticket_.store(Ticket{0, count, threads}.Pack());
    if (sleepers_.load() > 0) {
      { const std::lock_guard lock(mutex_); }
      wake_.notify_all();
    }
    int64_t own = 0;
    while (ClaimAndRun(0)) ++own;
    for (int spins = 0; finished_.load(std::memory_order_acquire) < count - own;) {
      if (++spins < kSpins) {
        Pause();
      } else {
        sched_yield();
      }
    }
    return true;
  }

 private:
  // What remains of the current loop, in one word: who exchanges it for one with the next chunk has claimed this one,
  // and knows that it is this loop's. 24 bits of chunk, 24 of count, 16 of threads.
  struct Ticket {
    int64_t next, count, threads;
    uint64_t Pack() const {
      return static_cast<uint64_t>(next) | static_cast<uint64_t>(count) << 24 | static_cast<uint64_t>(threads) << 48;
    }
    static Ticket Unpack(uint64_t word) {
      return {static_cast<int64_t>(word & 0xffffff), static_cast<int64_t>(word >> 24 & 0xffffff),
              static_cast<int64_t>(word >> 48)};
    }
    bool Has(int worker) const { return next < count && worker < threads; }
  };

  bool HasWork(int worker) const { return Ticket::Unpack(ticket_.load()).Has(worker); }

  bool ClaimAndRun(int worker) {
    uint64_t word = ticket_.load(std::memory_order_acquire);
    for (;;) {
      Ticket ticket = Ticket::Unpack(word);
      if (!ticket.Has(worker)) return false;
      const int64_t chunk = ticket.next++;
      if (!ticket_.compare_exchange_weak(word, ticket.Pack(), std::memory_order_acq_rel, std::memory_order_acquire)) {
        continue;
      }
      // The loop cannot end before this chunk has, so run_ is its.
      inside_loop = true;
      (*run_)(chunk);
      inside_loop = false;
      if (worker != 0) finished_.fetch_add(1, std::memory_order_release);
      return true;
    }
  }

  void Work(int worker) {
    worker_index = worker;
    omp_set_num_threads(1);  // should a chunk call a library that opens regions
    for (int idle = 0;;) {
      if (ClaimAndRun(worker)) {
        idle = 0;
      } else if (++idle < kSpins) {
        Pause();
      } else if (idle < kSpins + kYields) {
        sched_yield();
      } else {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return HasWork(worker); });
        sleepers_.fetch_sub(1);
        idle = 0;
      }
    }
  }

  // REQUIRES: owner_. Fewer than asked for when the system gives no more.
  void AddWorkers(int64_t wanted) {
    for (; workers_ < wanted && !exhausted_; ++workers_) {
      try {
        std::thread([this, worker = static_cast<int>(workers_) + 1] { Work(worker); }).detach();
      } catch (const std::system_error&) {
        exhausted_ = true;
        return;
      }
    }
  }

  std::mutex owner_;  // of the thread whose loop runs
  int64_t workers_ = 0;
  bool exhausted_ = false;
  const absl::FunctionRef<void(int64_t)>* run_ = nullptr;
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> finished_{0};  // chunks, by workers
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

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
  const int64_t threads = inside_loop ? 1 : std::min<int64_t>(NumThreads(), kMaxThreads);
  if (n > grain && threads > 1 && !omp_in_parallel()) {
    const int64_t chunk = std::max(grain, (n - 1) / (threads * kChunksPerThread) + 1);
    const int64_t count = (n - 1) / chunk + 1;
    const auto run = [&](int64_t i) { fn(i * chunk, std::min(n, (i + 1) * chunk)); };
    if (count > 1 && Pool::Get().TryRun(std::min(threads, count), count, run)) return;
  }
  fn(0, n);
}

}  // namespace rondo
