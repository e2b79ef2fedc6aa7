// One step of a decoder for chosen sequences, whichever way its cache is kept. A sequence lives in a *segment*;
// segments [0, sequences) are decoded, the `prompts` after them only hold prompts that several sequences continue.
#ifndef RONDO_EXECUTOR_STEP_RUNNER_H_
#define RONDO_EXECUTOR_STEP_RUNNER_H_

#include <functional>
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
  // Batches of decode plans, ascending; a step takes the smallest that holds its sequences. Empty: powers of two. The
  // largest is `sequences` whatever stands here.
  std::vector<int64_t> decode_batches;
  // Once Precompile is through, a step that needs another plan or primitive is an error that says what is missing.
  bool fail_on_miss = false;
  // Counts the process's allocations, for StepCounters; null: they are not counted.
  int64_t (*allocation_counter)() = nullptr;
};

struct StepCounters {
  int64_t plans = 0;                // shapes bound so far
  int64_t misses_after_warmup = 0;  // primitive cache misses in steps whose shapes had been run before
  int64_t creations_after_warmup = 0;
  int64_t allocations_after_warmup = 0;
};

// One shape that was compiled ahead.
struct PrecompiledShape {
  std::string name;  // "prefill of 64 rows", "decode of batch 4"
  int64_t batch = 0, rows = 0;
  double seconds = 0;
};
// `done` of `total` shapes are compiled, `next` is about to be.
using PrecompileProgress = std::function<void(int64_t done, int64_t total, absl::string_view next)>;

// What a step was of. Of batch row b, the first valid[b] of `rows` rows are segments[b]'s tokens at positions
// starts[b] and on; the others are padding, as is a batch row of segment -1.
struct StepRows {
  int64_t rows;
  absl::Span<const int> segments;
  absl::Span<const int64_t> starts, valid;
};
// A captured value after a step: the one at `index` of Decoder::captures(). `tensor` is [batch, rows, ...], or
// [batch * rows, ...] where a graph flattens, and good until the hook returns.
struct Activation : StepRows {
  int index;
  const Tensor& tensor;
};
using ActivationHook = std::function<void(const Activation& activation)>;

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
  // Compiles every shape that the steps can have ahead of them: |prefill rows| + |decode batches| plans. Where the
  // decoder has other inputs, those of segment 0 must be set. Unimplemented for caches that grow: each length is a
  // plan.
  virtual absl::StatusOr<std::vector<PrecompiledShape>> Precompile(const PrecompileProgress& progress) = 0;
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
  // Shown each value of Decoder::captures() after every step, in their order.
  void SetActivationHook(ActivationHook hook) { activation_hook_ = std::move(hook); }

 protected:
  // `outputs`: of the program, in its order.
  void ShowActivations(const Decoder& decoder, absl::Span<const RuntimeValue> outputs, const StepRows& step) const;

  const StepRunnerOptions options_;
  StepCounters counters_;
  ActivationHook activation_hook_;
};

absl::StatusOr<std::unique_ptr<StepRunner>> MakeInPlaceRunner(const Decoder& decoder, const StepRunnerOptions& options);
absl::StatusOr<std::unique_ptr<StepRunner>> MakeGrowingRunner(const Decoder& decoder, const StepRunnerOptions& options);
// Does a decoder whose cache grows give the same logits for a past that is padded in front and masked? Tried on a few
// steps; false also where it cannot be tried.
bool PaddedPastsHold(const Decoder& decoder);
// Whichever the decoder is made for.
absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Decoder& decoder, const StepRunnerOptions& options);

// logits [batch, rows, vocabulary] -> floats of one row. The vector keeps its memory.
absl::Status CopyLogits(const Tensor& logits, int64_t batch, int64_t row, std::vector<float>* out);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_STEP_RUNNER_H_
