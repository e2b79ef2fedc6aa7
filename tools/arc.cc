// rondo arc: puzzles of the ARC Prize, from a dataset to a submission file. Each subcommand is a row of the table at
// the end.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "arc/answers.h"
#include "arc/dataset.h"
#include "arc/prompt.h"
#include "arc/submission.h"
#include "graph/status.h"
#include "tools/arc_report.h"
#include "tools/arc_solver.h"
#include "tools/cache_dir.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/generator_command.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

// ---- which tasks ----

struct TaskChoice {
  std::string challenges, solutions;
  std::vector<std::string> ids;
  int64_t first = 0;
};

void AddTaskOptions(CLI::App& app, TaskChoice* choice) {
  app.add_option("CHALLENGES", choice->challenges,
                 "Tasks: a file in the layout of the ARC Prize, or a folder with a file for each task")
      ->required()
      ->type_name("");
  app.add_option("--solutions", choice->solutions, "Their solutions, to tell what was solved")->type_name("FILE");
  app.add_option("--task", choice->ids, "Only this task (may be repeated)")->allow_extra_args(false)->type_name("ID");
  app.add_option("--first", choice->first, "Only the first N tasks; 0: all (0)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 32))
      ->type_name("N");
}

absl::StatusOr<std::vector<arc::Task>> ReadChosen(const TaskChoice& choice) {
  RONDO_ASSIGN_OR_RETURN(std::vector<arc::Task> tasks, arc::ReadTasks(choice.challenges));
  if (!choice.ids.empty()) {
    std::vector<arc::Task> chosen;
    for (const std::string& id : choice.ids) {
      const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const arc::Task& task) { return task.id == id; });
      if (found == tasks.end()) {
        return InvalidArgument("--task: ", choice.challenges, " has no task \"", Printable(id), "\"");
      }
      chosen.push_back(*found);
    }
    tasks = std::move(chosen);
  }
  if (choice.first > 0 && choice.first < static_cast<int64_t>(tasks.size())) tasks.resize(choice.first);
  if (!choice.solutions.empty()) RONDO_RETURN_IF_ERROR(arc::AddSolutions(choice.solutions, &tasks));
  return tasks;
}

// The template's source, and the name for errors.
struct TemplateSource {
  std::string text, name;
};

absl::StatusOr<TemplateSource> ReadTemplate(const std::string& file, bool chat) {
  if (file.empty()) return TemplateSource{chat ? arc::kChatTemplate : arc::kRowsTemplate, "the default template"};
  RONDO_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  return TemplateSource{std::move(text), file};
}

// ---- solve ----

struct SolveCommand {
  TaskChoice tasks;
  std::string model, output = "submission.json", answers, prompt_template, html;
  ArcOptions arc;
  GeneratorCommand generator;
  bool resume = false, json = false, timings = false;
};

// What answers depend on. More tasks and more forms add to a log; anything else would mix answers.
std::string SettingsOf(const SolveCommand& command, const std::string& source) {
  const GenerateOptions& g = command.arc.generate;
  return Json{{"model", command.model},
              {"model_file", command.generator.options.model_file},
              {"template", source},
              {"chat", command.arc.chat},
              {"system", command.arc.system},
              {"seed", command.arc.seed},
              {"kv_dtype", command.generator.kv_dtype},
              {"weight_bits", command.generator.options.model.weight_bits},
              {"max_new_tokens", g.max_new_tokens},
              {"stop", g.stop}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::unique_ptr<arc::AnswerLog>> OpenLog(const SolveCommand& command, const std::string& source) {
  if (command.answers.empty()) {
    if (command.resume) return InvalidArgument("--resume: expected --answers with the file to go on from");
    return nullptr;
  }
  return arc::AnswerLog::Open(command.answers, SettingsOf(command, source), command.resume);
}

absl::StatusOr<int> Solve(const SolveCommand& command) {
  if (!command.arc.system.empty() && !command.arc.chat) return InvalidArgument("--system: goes with --chat");
  RONDO_ASSIGN_OR_RETURN(const std::vector<arc::Task> tasks, ReadChosen(command.tasks));
  RONDO_ASSIGN_OR_RETURN(const TemplateSource source, ReadTemplate(command.prompt_template, command.arc.chat));
  RONDO_ASSIGN_OR_RETURN(const arc::PromptTemplate prompt, arc::PromptTemplate::Parse(source.text, source.name));
  // Before the model is loaded: hours later is no time to find that something cannot be written.
  RONDO_RETURN_IF_ERROR(CheckWritable(command.output));
  if (!command.html.empty()) RONDO_RETURN_IF_ERROR(CheckWritable(command.html));
  RONDO_ASSIGN_OR_RETURN(const std::unique_ptr<arc::AnswerLog> log, OpenLog(command, source.text));
  std::unique_ptr<ProgressBar> bar;
  RONDO_ASSIGN_OR_RETURN(Generator generator, LoadGenerator(command.model, command.generator, &bar));
  const std::atomic<bool>& cancelled = CatchInterrupts();
  ArcOptions options = command.arc;
  options.capture_folder = command.generator.capture.folder;
  std::unique_ptr<ProgressBar> progress;
  const auto show = [&](int64_t done, int64_t total) {
    if (progress == nullptr) progress = std::make_unique<ProgressBar>(total);
    progress->Show(done, "answers");
  };
  absl::StatusOr<ArcResult> solved = SolveArc(tasks, prompt, options, &generator, log.get(), show, &cancelled);
  progress.reset();
  if (!solved.ok()) return solved.status();
  const ArcResult& result = *solved;
  if (result.answers.empty()) RONDO_RETURN_IF_ERROR(result.failure);  // an earlier submission is worth more than none
  RONDO_RETURN_IF_ERROR(WriteFile(command.output, arc::SubmissionJson(tasks, result.attempts)));
  const arc::Score score = arc::ScoreAttempts(tasks, result.attempts);
  if (!command.html.empty()) RONDO_RETURN_IF_ERROR(WriteFile(command.html, ArcHtml(tasks, result, score)));
  (void)generator.SaveCache();  // its error is among the problems
  const CacheReport report = generator.cache_report();
  WarnOfCacheProblems(report.directory);
  for (const std::string& prompt_too_long : result.too_long) {
    absl::FPrintF(stderr, "rondo: warning: %s\n", prompt_too_long);
  }
  if (command.json) {
    Json json = ArcJson(tasks, result, score);
    AddTimings(result.generation, report, &json);
    Print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  } else {
    Print(absl::StrCat(ArcScoreText(score), ArcAnswersText(result), command.output, ": written\n"));
  }
  if (command.timings) absl::FPrintF(stderr, "%s", TimingsText(result.generation, report));
  RONDO_RETURN_IF_ERROR(result.failure);
  if (!result.cancelled) return kOk;
  absl::FPrintF(stderr, "rondo: interrupted after %d of %d answers%s\n", result.answers.size(), result.wanted,
                log == nullptr ? "" : "; --resume goes on from there");
  return kCheckFailed;
}

std::function<int()> DeclareSolve(CLI::App& app) {
  auto command = std::make_shared<SolveCommand>();
  SolveCommand& c = *command;
  app.add_option("MODEL_DIR", c.model, "A language model as `rondo generate` takes it")->required()->type_name("");
  AddTaskOptions(app, &c.tasks);
  app.add_option("--output", c.output, "The submission (submission.json)")->type_name("FILE");
  app.add_option("--augment", c.arc.augmentations,
                 "Forms in which each test is put to the model: as it stands, turned and mirrored, then with other "
                 "colours and another order of the examples too; answers are turned back and vote (2)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--seed", c.arc.seed, "Of colours and orders (0)")->type_name("SEED");
  app.add_option("--template", c.prompt_template, "The prompt, a Jinja template of train and input (docs/arc.md)")
      ->type_name("FILE");
  app.add_flag("--chat", c.arc.chat, "The prompt is what a user says, in the model's chat template");
  app.add_option("--system", c.arc.system, "With --chat: what the system says before")->type_name("TEXT");
  c.arc.generate.max_new_tokens = 1024;
  app.add_option("--max-new-tokens", c.arc.generate.max_new_tokens, "Tokens of an answer at most (1024)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->type_name("N");
  app.add_option("--stop", c.arc.generate.stop, "A string that ends an answer (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("STRING");
  app.add_option("--answers", c.answers, "Write each answer here as it comes, a JSON object a line")
      ->type_name("FILE.jsonl");
  app.add_flag("--resume", c.resume, "Go on from the answers in that file");
  app.add_option("--html", c.html, "Write one page with all grids")->type_name("FILE");
  AddGeneratorOptions(app, &c.generator);
  app.add_flag("--json", c.json, "Print one JSON object with answers, score, timings and counters");
  app.add_flag("--timings", c.timings, "Print timings and counters on standard error");
  app.footer(
      "Exit code 1: it was interrupted; the submission holds what there was.\n"
      "Examples:\n"
      "  rondo arc solve arc-mini/ challenges.json --solutions solutions.json --html result.html\n"
      "  rondo arc solve qwen2.5-0.5b/ data/evaluation/ --chat --template rule.jinja --augment 8 \\\n"
      "      --answers answers.jsonl --precompile --fail-on-miss");
  return [command] {
    const absl::StatusOr<int> code = Solve(*command);
    return code.ok() ? *code : Fail(code.status());
  };
}

// ---- score ----

struct ScoreCommand {
  TaskChoice tasks;
  std::string submission;
  bool json = false;
};

absl::Status ScoreSubmission(const ScoreCommand& command) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<arc::Task> tasks, ReadChosen(command.tasks));
  RONDO_ASSIGN_OR_RETURN(const std::vector<arc::Attempts> attempts, arc::ReadSubmission(command.submission, tasks));
  const arc::Score score = arc::ScoreAttempts(tasks, attempts);
  if (score.tests_with_solution == 0) {
    return InvalidArgument(command.tasks.challenges, ": no test has a solution (expected --solutions)");
  }
  Print(command.json ? ArcScoreJson(score).dump(2) + "\n" : ArcScoreText(score));
  return absl::OkStatus();
}

std::function<int()> DeclareScore(CLI::App& app) {
  auto command = std::make_shared<ScoreCommand>();
  app.add_option("SUBMISSION", command->submission, "A submission file")->required()->type_name("");
  AddTaskOptions(app, &command->tasks);
  app.add_flag("--json", command->json, "Print one JSON object");
  return [command] {
    const absl::Status status = ScoreSubmission(*command);
    return status.ok() ? kOk : Fail(status);
  };
}

// ---- prompt ----

struct PromptCommand {
  TaskChoice tasks;
  std::string prompt_template;
  bool chat = false;
};

absl::Status PrintPrompts(const PromptCommand& command) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<arc::Task> tasks, ReadChosen(command.tasks));
  RONDO_ASSIGN_OR_RETURN(const TemplateSource source, ReadTemplate(command.prompt_template, command.chat));
  RONDO_ASSIGN_OR_RETURN(const arc::PromptTemplate prompt, arc::PromptTemplate::Parse(source.text, source.name));
  for (const arc::Task& task : tasks) {
    for (int test = 0; test < static_cast<int>(task.test.size()); ++test) {
      RONDO_ASSIGN_OR_RETURN(const std::string text, prompt.Render(task, test));
      const bool alone = tasks.size() == 1 && task.test.size() == 1;
      Print(absl::StrCat(alone ? "" : absl::StrCat("== task ", task.id, ", test ", test, "\n"), text));
    }
  }
  return absl::OkStatus();
}

std::function<int()> DeclarePrompt(CLI::App& app) {
  auto command = std::make_shared<PromptCommand>();
  AddTaskOptions(app, &command->tasks);
  app.add_option("--template", command->prompt_template, "A Jinja template of train and input (docs/arc.md)")
      ->type_name("FILE");
  app.add_flag("--chat", command->chat, "The default template is the one of --chat");
  app.footer("Example:\n  rondo arc prompt challenges.json --task b51284af --template rule.jinja");
  return [command] {
    const absl::Status status = PrintPrompts(*command);
    return status.ok() ? kOk : Fail(status);
  };
}

constexpr Command kSubcommands[] = {
    {"solve", "Let a language model solve puzzles, and write the submission file", DeclareSolve},
    {"score", "Compare a submission file with solutions", DeclareScore},
    {"prompt", "Print the prompts that a template makes of puzzles", DeclarePrompt},
};

}  // namespace

std::function<int()> DeclareArc(CLI::App& app) { return DeclareSubcommands(app, kSubcommands); }

}  // namespace rondo
