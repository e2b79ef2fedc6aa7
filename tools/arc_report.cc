#include "tools/arc_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/html.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

double Share(int part, int whole) { return whole > 0 ? 100.0 * part / whole : 0; }

Json ToJson(const arc::Grid& grid) {
  Json rows = Json::array();
  for (int r = 0; r < grid.rows; ++r) {
    Json row = Json::array();
    for (int c = 0; c < grid.columns; ++c) row.push_back(grid.at(r, c));
    rows.push_back(std::move(row));
  }
  return rows;
}

struct AnswerCounts {
  int64_t without_grid = 0, cut = 0, tokens = 0;
};

AnswerCounts CountAnswers(const ArcResult& result) {
  AnswerCounts counts;
  for (const ArcAnswer& answer : result.answers) {
    counts.without_grid += !answer.has_grid;
    counts.cut += answer.said.finish == "length";
    counts.tokens += answer.said.tokens;
  }
  return counts;
}

}  // namespace

std::string ArcScoreText(const arc::Score& score) {
  if (score.tests_with_solution == 0) return "";
  return absl::StrFormat("solved %d of %d tests (%.1f %%), %d at the first attempt; %d of %d tasks\n",
                         score.solved_either, score.tests_with_solution,
                         Share(score.solved_either, score.tests_with_solution), score.solved_first, score.tasks_solved,
                         score.tasks_with_solution);
}

Json ArcScoreJson(const arc::Score& score) {
  return {{"tasks", score.tasks},
          {"tasks_with_solution", score.tasks_with_solution},
          {"tasks_solved", score.tasks_solved},
          {"tests", score.tests},
          {"tests_with_solution", score.tests_with_solution},
          {"solved_first", score.solved_first},
          {"solved_either", score.solved_either}};
}

std::string ArcAnswersText(const ArcResult& result) {
  const AnswerCounts counts = CountAnswers(result);
  const GenerationTimings& t = result.generation.timings;
  const double seconds = t.prefill_seconds + t.decode_seconds;
  const int64_t now = static_cast<int64_t>(result.generation.sequences.size());
  const int64_t all = static_cast<int64_t>(result.answers.size());
  std::string text = absl::StrCat(CountText(all), " answers");
  if (now > 0) {
    absl::StrAppend(&text, now < all ? absl::StrCat(", ", CountText(now), " of them now") : "", " in ",
                    SecondsText(seconds));
    if (seconds > 0) absl::StrAppendFormat(&text, " (%.1f per second)", static_cast<double>(now) / seconds);
  }
  if (counts.without_grid > 0) absl::StrAppend(&text, "; ", counts.without_grid, " hold no grid");
  if (counts.cut > 0) absl::StrAppend(&text, "; ", counts.cut, " were cut at the most tokens (--max-new-tokens)");
  return text + "\n";
}

Json ArcJson(const std::vector<arc::Task>& tasks, const ArcResult& result, const arc::Score& score) {
  Json list = Json::array();
  for (size_t t = 0; t < tasks.size(); ++t) {
    Json tests = Json::array();
    for (size_t i = 0; i < tasks[t].test.size(); ++i) {
      const std::vector<arc::Grid>& ranked = result.attempts[t].ranked[i];
      Json attempts = Json::array();
      for (const arc::Grid& grid : arc::AttemptsOf(ranked)) attempts.push_back(ToJson(grid));
      Json test = {{"attempts", std::move(attempts)}, {"distinct_answers", ranked.size()}};
      if (tasks[t].test[i].output.has_value()) test["solved_by"] = arc::SolvedBy(tasks[t].test[i], ranked);
      tests.push_back(std::move(test));
    }
    list.push_back({{"id", tasks[t].id}, {"tests", std::move(tests)}});
  }
  const AnswerCounts counts = CountAnswers(result);
  return {{"tasks", std::move(list)},
          {"score", ArcScoreJson(score)},
          {"answers",
           {{"wanted", result.wanted},
            {"given", result.answers.size()},
            {"given_now", result.generation.sequences.size()},
            {"without_grid", counts.without_grid},
            {"cut", counts.cut},
            {"tokens", counts.tokens},
            {"too_long", result.too_long.size()}}},
          {"interrupted", result.cancelled}};
}

}  // namespace rondo
