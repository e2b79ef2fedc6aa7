// ActivationRecorder: keeps what a StepRunner captures until a sequence has ended, and hands it over in another thread,
// so that the loop goes on while files are written.
//
// Each segment has a buffer; there are two more. When a sequence ends, its segment takes a spare one, and the full one
// goes to the thread. When none is spare the loop waits: memory is bounded by what was taken in Create.
#ifndef RONDO_EXECUTOR_ACTIVATION_RECORDER_H_
#define RONDO_EXECUTOR_ACTIVATION_RECORDER_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "executor/step_runner.h"
#include "kvcache/activation_buffer.h"

namespace rondo {

struct RecordedSequence {
  int request = 0, continuation = 0;
  std::vector<int64_t> tokens;  // of the rows: the prompt, then what was made; a last token was not run
  int64_t prompt_tokens = 0;
  std::vector<std::string> names;
  std::vector<Tensor> values;  // [tokens, width] each; views, good until the sink returns
};
// Called in the recorder's thread, one sequence at a time, in the order in which they ended.
using RecordSink = std::function<absl::Status(const RecordedSequence& sequence)>;

class ActivationRecorder {
 public:
  // Buffers for all segments of the runner, and a hook in it. Both outlive the recorder. Errors: a captured value that
  // is no row of known width per token; memory.
  static absl::StatusOr<std::unique_ptr<ActivationRecorder>> Create(const Decoder& decoder, StepRunner* runner,
                                                                    int64_t positions);
  ~ActivationRecorder();
  ActivationRecorder(const ActivationRecorder&) = delete;

  // A run begins: nothing is recorded yet, and sequences go to `sink` until Finish. Null: nothing is recorded, as
  // outside of runs.
  void Begin(RecordSink sink);
  // The sequence in `segment` has ended; the recorder takes what it has of it. Errors: those of the sink, once.
  absl::Status End(int segment, RecordedSequence sequence);
  // Waits until the sink has everything. Errors: those of the sink that End did not tell.
  absl::Status Finish();

  size_t bytes() const;

 private:
  struct Full {
    std::unique_ptr<ActivationBuffer> buffer;
    RecordedSequence sequence;
  };

  ActivationRecorder(StepRunner* runner, std::vector<CapturedRow> values)
      : runner_(runner), values_(std::move(values)) {}
  void Take(const Activation& activation);
  void Deliver();
  absl::Status TakeErrorLocked();

  StepRunner* const runner_;
  const std::vector<CapturedRow> values_;
  std::vector<std::unique_ptr<ActivationBuffer>> segments_;  // of the loop's thread
  bool recording_ = false;                                   // of the loop's thread

  std::mutex mutex_;
  std::condition_variable changed_;
  RecordSink sink_;                                       // guarded by mutex_
  std::vector<std::unique_ptr<ActivationBuffer>> spare_;  // guarded by mutex_
  std::deque<Full> full_;                                 // guarded by mutex_; the first is being delivered
  absl::Status error_;                                    // guarded by mutex_
  bool ending_ = false;                                   // guarded by mutex_
  std::thread thread_;
};

}  // namespace rondo

#endif  // RONDO_EXECUTOR_ACTIVATION_RECORDER_H_
