// One step of a decoder for chosen sequences, whichever way its cache is kept. A sequence lives in a *segment*;
// segments [0, sequences) are decoded, the `prompts` after them only hold prompts that several sequences continue.
#ifndef RONDO_EXECUTOR_STEP_RUNNER_H_
#define RONDO_EXECUTOR_STEP_RUNNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "executor/decoder.h"
#include "executor/region.h"

namespace rondo {

struct StepRunnerOptions {
  int sequences = 1;
  int64_t max_length = 0;  // positions of a sequence, prompt and new tokens
  int prompts = 0;
  int64_t max_prompt = 0;  // positions of a shared prompt
  DataType kv_dtype = DataType::kFloat;
  // Rows of prefill plans, ascending. A prompt is run in pieces of the largest; the rest in the smallest that holds it.
  std::vector<int64_t> prefill_rows = {8, 16, 32, 64, 96, 128, 192, 256};
  // Counts the process's allocations, for StepCounters; null: they are not counted.
  int64_t (*allocation_counter)() = nullptr;
};

struct StepCounters {
  int64_t plans = 0;                // shapes bound so far
  int64_t misses_after_warmup = 0;  // primitive cache misses in steps whose shapes had been run before
  int64_t creations_after_warmup = 0;
  int64_t allocations_after_warmup = 0;
};

class StepRunner {
 public:
  explicit StepRunner(StepRunnerOptions options) : options_(std::move(options)) {}
  virtual ~StepRunner() = default;
  int sequences() const { return options_.sequences; }
  int prompts() const { return options_.prompts; }

  // Appends the tokens to the segment; `logits` gets those of the last one. Errors leave the segment usable at its old
  // length.
  virtual absl::Status Prefill(int segment, absl::Span<const int64_t> tokens, std::vector<float>* logits) = 0;
  // One token more for each of distinct segments; logits[i] are those after tokens[i].
  virtual absl::Status Decode(absl::Span<const int> segments, absl::Span<const int64_t> tokens,
                              absl::Span<std::vector<float>> logits) = 0;
  virtual absl::Status Reset(int segment) = 0;
  // `segment` continues what `prompt` holds.
  virtual absl::Status Attach(int segment, int prompt) = 0;
  // `to` becomes what `from` is.
  virtual absl::Status Copy(int from, int to) = 0;
  virtual int64_t length(int segment) const = 0;
  // The decoder's other inputs for a segment, in the order of Decoder::other_inputs(). Needed before Prefill where
  // there are any.
  virtual absl::Status SetOthers(int segment, std::vector<RuntimeValue> values) = 0;
  // Sequences that one Decode may take at once.
  virtual int max_batch() const = 0;
  virtual size_t cache_bytes() const = 0;
  virtual KvCache* cache() { return nullptr; }  // null: growing
  const StepCounters& counters() const { return counters_; }
  // Told of every kernel that ran; null turns it off.
  virtual void SetHook(const StepHook* hook) = 0;

 protected:
  const StepRunnerOptions options_;
  StepCounters counters_;
};

absl::StatusOr<std::unique_ptr<StepRunner>> MakeInPlaceRunner(const Decoder& decoder, const StepRunnerOptions& options);
absl::StatusOr<std::unique_ptr<StepRunner>> MakeGrowingRunner(const Decoder& decoder, const StepRunnerOptions& options);
// Whichever the decoder is made for.
absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Decoder& decoder, const StepRunnerOptions& options);

// logits [batch, rows, vocabulary] -> floats of one row. The vector keeps its memory.
absl::Status CopyLogits(const Tensor& logits, int64_t batch, int64_t row, std::vector<float>* out);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_STEP_RUNNER_H_
