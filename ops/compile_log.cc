#include "ops/compile_log.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace rondo {
namespace {

bool LogsCompiles() {
  const char* value = std::getenv("RONDO_LOG_COMPILES");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

void Print(const CompileEvent& event) {
  if (event.kind == CompileEvent::Kind::kWeights) return;
  std::string made = event.refused ? "refused" : absl::StrFormat("made in %.2f ms", event.seconds() * 1e3);
  if (!event.implementation.empty()) absl::StrAppend(&made, " (", event.implementation, ")");
  // Names come from files.
  absl::FPrintF(stderr, "rondo: %s; %s\n", absl::Utf8SafeCHexEscape(event.Explanation()), made);
}

}  // namespace

int CurrentThreadNumber() {
  static std::atomic<int> last{0};
  thread_local const int number = ++last;
  return number;
}

int64_t SteadyNowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string CompileEvent::Explanation() const {
  std::string text = absl::StrCat(hit ? "HIT" : "MISS", " node ", node, " ", operation);
  if (hit) return text;
  if (nearest.empty()) return text + ": first of its operation";
  const auto field = [&](std::string* out, const KeyFieldChange& change) {
    absl::StrAppend(out, kind == Kind::kPlan ? "" : "key field ", change.field, " was ",
                    change.was.empty() ? "absent" : change.was, ", is ", change.is.empty() ? "absent" : change.is);
  };
  const char* const same = earlier ? "is to be made in each process" : "was evicted";
  absl::StrAppend(&text, ": ", changes.empty() ? same : absl::StrJoin(changes, "; ", field));
  return absl::StrCat(text, " (entry created for ", nearest, earlier ? " by an earlier process)" : ")");
}

CompileScope::State& CompileScope::Current() {
  thread_local State state;
  return state;
}

CompileScope& CompileScope::Seal(bool sealed) {
  Current().sealed = sealed;
  return *this;
}

CompileScope& CompileScope::Binding(absl::string_view text) {
  if (Current().binding.empty()) Current().binding = text;
  return *this;
}

CompileScope& CompileScope::Node(absl::string_view name) {
  Current().node = name;
  return *this;
}

void CompileLog::Tell(const CompileEvent& event) {
  std::lock_guard lock(listener_mutex_);
  if (listener_) listener_(event);
}

void CompileLog::Add(CompileEvent event) {
  if (LogsCompiles()) Print(event);
  if (listening_.load(std::memory_order_relaxed)) Tell(event);
  std::lock_guard lock(mutex_);
  if (event.kind == CompileEvent::Kind::kWeights) {
    ++(event.found ? weights_.weights_found : weights_.weights_packed);
    (event.found ? weights_.finding_seconds : weights_.packing_seconds) += event.seconds();
    return;
  }
  if (event.kind == CompileEvent::Kind::kPlan && !event.refused) {
    ++plans_made_;
    plan_seconds_ += event.seconds();
  }
  misses_.push_back(std::move(event));
  if (misses_.size() > kMaxMisses) misses_.pop_front();
}

void CompileLog::SetListener(CompileListener listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
  listening_.store(listener_ != nullptr, std::memory_order_relaxed);
}

std::vector<CompileEvent> CompileLog::misses() const {
  std::lock_guard lock(mutex_);
  return {misses_.begin(), misses_.end()};
}

void CompileLog::AddTo(CacheStats* stats) const {
  std::lock_guard lock(mutex_);
  stats->plan_hits += plan_hits_.load(std::memory_order_relaxed);
  stats->plans_made += plans_made_;
  stats->plan_seconds += plan_seconds_;
  stats->weights_packed += weights_.weights_packed;
  stats->weights_found += weights_.weights_found;
  stats->packing_seconds += weights_.packing_seconds;
  stats->finding_seconds += weights_.finding_seconds;
}

absl::Status SealedMiss(const CompileEvent& event) {
  return absl::FailedPreconditionError(
      absl::StrCat("not compiled ahead: ", event.Explanation(), "; compile this shape ahead, or allow misses"));
}

}  // namespace rondo
