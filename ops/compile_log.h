// CompileLog: the record of everything that is compiled for a model: primitives created, weights packed, plans bound.
// It keeps the recent misses, prints them with RONDO_LOG_COMPILES=1, and tells a listener (a trace) of hits as well.
//
// CompileScope: what this thread is compiling, and whether it may. A loop that was precompiled *seals* its steps: from
// then on a miss on this thread is an error that explains itself, and other threads are not concerned.
#ifndef RONDO_OPS_COMPILE_LOG_H_
#define RONDO_OPS_COMPILE_LOG_H_

#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rondo/cache.h"

namespace rondo {

class CompileScope {
 public:
  struct State {
    bool sealed = false;
    absl::string_view binding;  // "prefill of 64 rows"; the outermost that is set counts
    absl::string_view node;     // being prepared
  };
  // Restores on destruction what was before.
  CompileScope() : saved_(Current()) {}
  ~CompileScope() { Current() = saved_; }
  CompileScope(const CompileScope&) = delete;
  CompileScope& operator=(const CompileScope&) = delete;

  // Texts outlive the scope.
  CompileScope& Seal(bool sealed = true);
  CompileScope& Binding(absl::string_view text);
  CompileScope& Node(absl::string_view name);

  static State& Current();  // of this thread

 private:
  const State saved_;
};

int64_t SteadyNowNs();

class CompileLog {
 public:
  // A miss, once it is over. Thread-safe, as all of this.
  void Add(CompileEvent event);
  // A hit: only the listener wants it. `make` fills the event.
  template <typename F>
  void Hit(const F& make) {
    if (!listening_.load(std::memory_order_relaxed)) return;
    CompileEvent event;
    event.hit = true;
    event.begin_ns = event.end_ns = SteadyNowNs();
    make(&event);
    Tell(event);
  }
  void CountPlanHit() { plan_hits_.fetch_add(1, std::memory_order_relaxed); }

  // Null: nobody listens. At most one.
  void SetListener(CompileListener listener);
  std::vector<CompileEvent> misses() const;  // of primitives and plans, oldest first, the last kMaxMisses
  void AddTo(CacheStats* stats) const;       // what is counted here

  static constexpr size_t kMaxMisses = 512;

 private:
  void Tell(const CompileEvent& event);

  std::atomic<bool> listening_{false};
  std::atomic<int64_t> plan_hits_{0};
  mutable std::mutex mutex_;
  std::deque<CompileEvent> misses_;  // guarded by mutex_
  int64_t plans_made_ = 0;           // guarded by mutex_
  double plan_seconds_ = 0;          // guarded by mutex_
  CacheStats weights_;               // guarded by mutex_; what of it concerns weights
  std::mutex listener_mutex_;
  CompileListener listener_;  // guarded by listener_mutex_
};

// The error of a miss in a sealed scope.
absl::Status SealedMiss(const CompileEvent& event);

}  // namespace rondo

#endif  // RONDO_OPS_COMPILE_LOG_H_
