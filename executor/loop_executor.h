// LoopExecutor: prefill, then the decode plan again and again, with the cursor advanced, a token chosen, the stop rules
// checked and a callback told. From the second decode step of a batch size on, nothing here allocates and nothing is
// created in the primitive cache.
//
// Requests are decoded together, `sequences` at a time: when one ends, its place is taken by the next that waits, and
// the batch shrinks when none does. Continuations of one prompt share its prefill and its rows of the cache.
#ifndef RONDO_EXECUTOR_LOOP_EXECUTOR_H_
#define RONDO_EXECUTOR_LOOP_EXECUTOR_H_

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "executor/sampler.h"
#include "executor/step_runner.h"

namespace rondo {

struct LoopRequest {
  std::vector<int64_t> prompt;  // token ids, at least one
  int64_t max_new_tokens = 128;
  int continuations = 1;  // of the prompt, each with a random stream of its own
  SamplingOptions sampling;
  std::vector<int64_t> stop_tokens;  // the one that ends a sequence is its last token
  std::vector<RuntimeValue> others;  // in the order of Decoder::other_inputs()
};

enum class LoopFinish { kLength, kStop, kCancelled };

struct LoopSequence {
  std::vector<int64_t> tokens;
  LoopFinish finish = LoopFinish::kCancelled;
};

struct LoopToken {
  int request;
  int continuation;
  int64_t token;
  int64_t index;                   // among the new tokens
  absl::Span<const float> logits;  // that it was chosen from, adjusted
};
// Called for each token as it is chosen, but for stop tokens; false ends that sequence (kStop).
using LoopCallback = std::function<bool(const LoopToken& token)>;

// A sequence has ended, or was cancelled after it had begun.
struct LoopEnd {
  int request;
  int continuation;
  int segment;  // of the runner; it still holds the sequence
  const LoopSequence& sequence;
};
// Called for each, as it ends. An error ends the run.
using LoopEndCallback = std::function<absl::Status(const LoopEnd& end)>;

struct LoopStatistics {
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t decode_tokens = 0;
  int64_t decode_steps = 0;
  double decode_seconds = 0;
  double first_token_seconds = 0;  // of the first request: until its first token was chosen
};

class LoopExecutor {
 public:
  // The decoder outlives the executor. Errors: sizes, memory.
  static absl::StatusOr<std::unique_ptr<LoopExecutor>> Create(const Decoder& decoder, const StepRunnerOptions& options);

  // Results per request, per continuation. `cancel` (may be null) is looked at between steps; what was made until then
  // is returned. Errors: an empty prompt, tokens outside the vocabulary, lengths that the cache cannot hold.
  absl::StatusOr<std::vector<std::vector<LoopSequence>>> Run(absl::Span<const LoopRequest> requests,
                                                             const LoopCallback& callback = nullptr,
                                                             const std::atomic<bool>* cancel = nullptr,
                                                             const LoopEndCallback& ended = nullptr);

  StepRunner& runner() { return *runner_; }
  const LoopStatistics& statistics() const { return statistics_; }

 private:
  struct Active;
  class Batch;
  LoopExecutor(const Decoder& decoder, StepRunnerOptions options) : decoder_(decoder), options_(std::move(options)) {}
  absl::Status Check(absl::Span<const LoopRequest> requests) const;

  const Decoder& decoder_;
  const StepRunnerOptions options_;
  std::unique_ptr<StepRunner> runner_;
  LoopStatistics statistics_;
};

}  // namespace rondo

#endif  // RONDO_EXECUTOR_LOOP_EXECUTOR_H_
