// From ARC tasks to attempts: every test input is put to the model in several forms (arc/augment.h), all in one batch
// queue, and the answers vote.
#ifndef RONDO_TOOLS_ARC_SOLVER_H_
#define RONDO_TOOLS_ARC_SOLVER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "arc/answers.h"
#include "arc/dataset.h"
#include "arc/prompt.h"
#include "arc/submission.h"
#include "rondo/generator.h"

namespace rondo {

struct ArcOptions {
  int augmentations = 2;  // forms of each test input; the first is the plain one
  uint64_t seed = 0;
  bool chat = false;   // the prompt is what a user says, in the model's chat template
  std::string system;  // with chat: what the system says before; "": nothing
  GenerateOptions generate;
  std::string capture_folder;  // with GeneratorOptions::capture: where its files go
};

// What was asked, and what came.
struct ArcAnswer {
  arc::Answer said;
  bool has_grid = false;  // that could vote
};

struct ArcResult {
  std::vector<ArcAnswer> answers;       // those of the log too, in the order in which they ended
  std::vector<std::string> too_long;    // tests that the model has no room for: "task b51284af, test 0: ..."
  int64_t wanted = 0;                   // answers, had all been given
  std::vector<arc::Attempts> attempts;  // per task
  GenerationResult generation;          // of this run
  bool cancelled = false;
  absl::Status failure;  // of the run, after which there were no more answers
};

// `log` (may be null) has answers of earlier runs, which are not asked for again, and gets each new one as it comes.
// `progress` is told how many of the wanted answers are there. Errors: templates, prompts. Those of the model and of
// the log are in the result, with the answers until then.
absl::StatusOr<ArcResult> SolveArc(const std::vector<arc::Task>& tasks, const arc::PromptTemplate& prompt,
                                   const ArcOptions& options, Generator* generator, arc::AnswerLog* log,
                                   const std::function<void(int64_t done, int64_t total)>& progress,
                                   const std::atomic<bool>* cancel);

}  // namespace rondo

#endif  // RONDO_TOOLS_ARC_SOLVER_H_
