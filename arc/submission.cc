#include "arc/submission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "text/status.h"

namespace rondo::arc {
namespace {

using text::Json;
using text::JsonView;

std::string AttemptName(size_t attempt) { return absl::StrCat("attempt_", attempt + 1); }

void AppendGrid(std::string* text, const Grid& grid) {
  for (int r = 0; r < grid.rows; ++r) {
    absl::StrAppend(text, r == 0 ? "[[" : ", [");
    for (int c = 0; c < grid.columns; ++c) absl::StrAppend(text, c == 0 ? "" : ", ", grid.at(r, c));
    text->push_back(']');
  }
  text->push_back(']');
}

absl::StatusOr<std::vector<Grid>> ReadTest(const JsonView& json) {
  if (json.json().object() == nullptr) return json.Expected("an object of attempts");
  std::vector<Grid> ranked;
  for (size_t i = 0; i < kAttempts; ++i) {
    const JsonView attempt = json[AttemptName(i)];
    if (attempt.is_null()) return attempt.Expected("a grid");
    RONDO_ASSIGN_OR_RETURN(Grid grid, ParseGrid(attempt));
    ranked.push_back(std::move(grid));
  }
  return ranked;
}

}  // namespace

absl::Span<const Grid> AttemptsOf(const std::vector<Grid>& ranked) {
  return absl::MakeConstSpan(ranked).subspan(0, kAttempts);
}

std::string SubmissionJson(const std::vector<Task>& tasks, const std::vector<Attempts>& attempts) {
  const Grid nothing{1, 1, {0}};
  std::string text = "{";
  for (size_t t = 0; t < tasks.size(); ++t) {
    absl::StrAppend(&text, t == 0 ? "\"" : ",\n \"", tasks[t].id, "\": [");  // ids need no escapes
    for (size_t test = 0; test < tasks[t].test.size(); ++test) {
      const std::vector<Grid>& ranked = attempts[t].ranked[test];
      absl::StrAppend(&text, test == 0 ? "{" : ", {");
      for (size_t i = 0; i < kAttempts; ++i) {
        absl::StrAppend(&text, i == 0 ? "\"" : ", \"", AttemptName(i), "\": ");
        AppendGrid(&text, ranked.empty() ? nothing : ranked[std::min(i, ranked.size() - 1)]);
      }
      text.push_back('}');
    }
    text.push_back(']');
  }
  return text + "}\n";
}

absl::StatusOr<std::vector<Attempts>> ReadSubmission(const std::string& path, const std::vector<Task>& tasks) {
  RONDO_ASSIGN_OR_RETURN(const Json json, text::ReadJsonFile(path, kMaxFileBytes));
  if (json.object() == nullptr) return JsonView(json, path).Expected("an object of tasks");
  std::vector<Attempts> attempts;
  bool any = false;
  for (const Task& task : tasks) {
    attempts.emplace_back();
    attempts.back().ranked.resize(task.test.size());
    const Json* const member = json.Find(task.id);
    if (member == nullptr) continue;
    any = true;
    const JsonView view(*member, absl::StrCat(path, ": task ", task.id));
    RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> tests, view.Elements());
    if (tests.size() != task.test.size()) {
      return text::InvalidArgument(view.path(), ": expected attempts for each of ", task.test.size(), " tests, got ",
                                   tests.size());
    }
    for (size_t i = 0; i < tests.size(); ++i) {
      RONDO_ASSIGN_OR_RETURN(attempts.back().ranked[i], ReadTest(tests[i]));
    }
  }
  if (any) return attempts;
  return text::InvalidArgument(path, ": expected attempts at these tasks (the first is ", tasks.front().id,
                               "), there is none");
}

int SolvedBy(const Test& test, const std::vector<Grid>& ranked) {
  const absl::Span<const Grid> attempts = AttemptsOf(ranked);
  const auto right = std::find(attempts.begin(), attempts.end(), *test.output);
  return right == attempts.end() ? 0 : static_cast<int>(right - attempts.begin()) + 1;
}

Score ScoreAttempts(const std::vector<Task>& tasks, const std::vector<Attempts>& attempts) {
  Score score;
  for (size_t t = 0; t < tasks.size(); ++t) {
    bool known = true, solved = true;
    for (size_t i = 0; i < tasks[t].test.size(); ++i) {
      ++score.tests;
      if (!tasks[t].test[i].output.has_value()) {
        known = false;
        continue;
      }
      ++score.tests_with_solution;
      const int by = SolvedBy(tasks[t].test[i], attempts[t].ranked[i]);
      score.solved_first += by == 1;
      score.solved_either += by > 0;
      solved &= by > 0;
    }
    ++score.tasks;
    score.tasks_with_solution += known;
    score.tasks_solved += known && solved;
  }
  return score;
}

}  // namespace rondo::arc
