#include "tools/arc_solver.h"

#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "arc/answer.h"
#include "arc/augment.h"
#include "arc/vote.h"
#include "graph/status.h"
#include "tools/capture.h"

namespace rondo {
namespace {

// One form of one test input.
struct Question {
  int task = 0, test = 0, form = 0;
  template <typename H>
  friend H AbslHashValue(H h, const Question& q) {
    return H::combine(std::move(h), q.task, q.test, q.form);
  }
  bool operator==(const Question&) const = default;
};

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string NameOf(const arc::Task& task, const Question& question) {
  return absl::StrCat(task.id, "-", question.test, "-", question.form);
}

class Solver {
 public:
  Solver(const std::vector<arc::Task>& tasks, const arc::PromptTemplate& prompt, const ArcOptions& options,
         Generator* generator, arc::AnswerLog* log)
      : tasks_(tasks), prompt_(prompt), options_(options), generator_(*generator), log_(log) {
    for (size_t t = 0; t < tasks.size(); ++t) {
      index_[tasks[t].id] = static_cast<int>(t);
      forms_.push_back(
          arc::MakeAugmentations(options.augmentations, static_cast<int>(tasks[t].train.size()), options.seed));
      result_.wanted += static_cast<int64_t>(forms_.back().size() * tasks[t].test.size());
    }
  }

  absl::StatusOr<ArcResult> Run(const std::function<void(int64_t done, int64_t total)>& progress,
                                const std::atomic<bool>* cancel) {
    TakeEarlier();
    RONDO_RETURN_IF_ERROR(Ask());
    GenerateOptions generate = options_.generate;
    const auto show = [&] { progress(static_cast<int64_t>(result_.answers.size()), result_.wanted); };
    generate.ended = [&](const GeneratedSequence& sequence) -> absl::Status {
      if (sequence.finish == FinishReason::kCancelled) return absl::OkStatus();
      const Question& question = questions_[sequence.prompt];
      arc::Answer said{tasks_[question.task].id,
                       question.test,
                       question.form,
                       sequence.text,
                       static_cast<int64_t>(sequence.ids.size()),
                       std::string(FinishReasonName(sequence.finish))};
      if (log_ != nullptr) RONDO_RETURN_IF_ERROR(log_->Append(said));
      Take(question, std::move(said));
      show();
      return absl::OkStatus();
    };
    if (!options_.capture_folder.empty()) {
      generate.captured = [&](const CapturedSequence& sequence) {
        const Question& question = questions_[sequence.prompt];
        return WriteCapture(options_.capture_folder, NameOf(tasks_[question.task], question), sequence);
      };
    }
    show();
    if (!prompts_.empty()) {
      absl::StatusOr<GenerationResult> generation = generator_.Generate(prompts_, generate, nullptr, cancel);
      result_.failure = generation.status();
      if (generation.ok()) result_.generation = *std::move(generation);
    }
    result_.cancelled = cancel != nullptr && cancel->load();
    Vote();
    return std::move(result_);
  }

 private:
  // Answers of the log to what is asked here; it may hold others, to more tasks or forms.
  void TakeEarlier() {
    if (log_ == nullptr) return;
    for (const arc::Answer& said : log_->earlier()) {
      const auto task = index_.find(said.task);
      if (task == index_.end()) continue;
      const Question question = {task->second, said.test, said.form};
      const bool asked = said.test >= 0 && said.test < static_cast<int>(tasks_[question.task].test.size()) &&
                         said.form >= 0 && said.form < static_cast<int>(forms_[question.task].size());
      if (asked && !Answered(question)) Take(question, said);
    }
  }

  // The plain form of all tests first: whoever interrupts has as many first attempts as there was time for.
  absl::Status Ask() {
    for (int form = 0; form < options_.augmentations; ++form) {
      for (int t = 0; t < static_cast<int>(tasks_.size()); ++t) {
        if (form >= static_cast<int>(forms_[t].size())) continue;
        const arc::Task task = arc::Apply(forms_[t][form], tasks_[t]);
        for (int test = 0; test < static_cast<int>(task.test.size()); ++test) {
          const Question question = {t, test, form};
          if (Answered(question)) continue;
          RONDO_RETURN_IF_ERROR(Annotate(Ask(task, question), absl::StrCat("task ", task.id, ", test ", test, ": ")));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Ask(const arc::Task& task, const Question& question) {
    Prompt prompt;
    RONDO_ASSIGN_OR_RETURN(prompt.text, prompt_.Render(task, question.test));
    if (options_.chat) {
      Json messages = Json::array();
      if (!options_.system.empty()) messages.push_back({{"role", "system"}, {"content", options_.system}});
      messages.push_back({{"role", "user"}, {"content", prompt.text}});
      RONDO_ASSIGN_OR_RETURN(prompt.text, generator_.ApplyChatTemplate(Dump(messages)));
      prompt.add_special_tokens = false;
    }
    RONDO_ASSIGN_OR_RETURN(prompt.ids, generator_.Encode(prompt));
    const int64_t length = static_cast<int64_t>(prompt.ids.size()), limit = generator_.position_limit();
    if (limit > 0 && length >= limit) {
      // Other forms are as long: one line for all of them.
      if (too_long_.insert({question.task, question.test}).second) {
        result_.too_long.push_back(absl::StrCat("task ", task.id, ", test ", question.test, ": the prompt has ", length,
                                                " tokens, a sequence ", limit, " positions"));
      }
      return absl::OkStatus();
    }
    prompts_.push_back(std::move(prompt));
    questions_.push_back(question);
    return absl::OkStatus();
  }

  bool Answered(const Question& question) const { return answered_.contains(question); }

  void Take(const Question& question, arc::Answer said) {
    const absl::StatusOr<arc::Grid> grid = arc::ParseAnswer(said.text);
    if (grid.ok()) {
      candidates_[{question.task, question.test}].push_back(
          {arc::Undo(forms_[question.task][question.form], *grid), question.form});
    }
    answered_.insert(question);
    result_.answers.push_back({std::move(said), grid.ok()});
  }

  void Vote() {
    for (size_t t = 0; t < tasks_.size(); ++t) {
      arc::Attempts attempts;
      for (size_t test = 0; test < tasks_[t].test.size(); ++test) {
        attempts.ranked.push_back(arc::Rank(candidates_[{static_cast<int>(t), static_cast<int>(test)}]));
      }
      result_.attempts.push_back(std::move(attempts));
    }
  }

  const std::vector<arc::Task>& tasks_;
  const arc::PromptTemplate& prompt_;
  const ArcOptions& options_;
  Generator& generator_;
  arc::AnswerLog* const log_;
  absl::flat_hash_map<std::string, int> index_;        // by id
  std::vector<std::vector<arc::Augmentation>> forms_;  // per task
  absl::flat_hash_set<Question> answered_;
  absl::flat_hash_map<std::pair<int, int>, std::vector<arc::Candidate>> candidates_;  // of a task's test
  absl::flat_hash_set<std::pair<int, int>> too_long_;
  std::vector<Prompt> prompts_;
  std::vector<Question> questions_;  // of the prompts
  ArcResult result_;
};

}  // namespace

absl::StatusOr<ArcResult> SolveArc(const std::vector<arc::Task>& tasks, const arc::PromptTemplate& prompt,
                                   const ArcOptions& options, Generator* generator, arc::AnswerLog* log,
                                   const std::function<void(int64_t done, int64_t total)>& progress,
                                   const std::atomic<bool>* cancel) {
  return Solver(tasks, prompt, options, generator, log).Run(progress, cancel);
}

}  // namespace rondo
