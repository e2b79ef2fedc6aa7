// Beam search over a StepRunner: at each step the most likely continuations of all beams, by the sum of their tokens'
// log-probabilities. Finished sequences are compared by that sum over length^length_penalty, as Hugging Face's
// generate() does; the search ends when no running beam can do better than the worst of those kept.
#ifndef RONDO_EXECUTOR_BEAM_SEARCH_H_
#define RONDO_EXECUTOR_BEAM_SEARCH_H_

#include <atomic>
#include <vector>

#include "absl/status/statusor.h"
#include "executor/loop_executor.h"

namespace rondo {

struct BeamOptions {
  int beams = 4;
  int num_return = 1;
  double length_penalty = 1;
};

struct BeamSequence {
  std::vector<int64_t> tokens;
  double score = 0;
  LoopFinish finish = LoopFinish::kLength;
};

// Best first. The runner needs a prompt segment and twice as many sequences as beams: a beam that two others continue
// is copied from the one half to the other. Uses the request's penalties and bias; it draws nothing.
absl::StatusOr<std::vector<BeamSequence>> SearchBeams(StepRunner& runner, const LoopRequest& request,
                                                      const BeamOptions& options, const std::atomic<bool>* cancel);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_BEAM_SEARCH_H_
