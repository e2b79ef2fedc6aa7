// The page of `rondo arc solve --html`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "tools/arc_report.h"
#include "tools/html.h"

namespace rondo {
namespace {

// The ten colours of arcprize.org.
constexpr char kStyle[] = R"(
.task{border-top:1px solid var(--line);padding:.6rem 0}.task h2{margin:.2rem 0 .5rem;font-size:1rem}
.row{display:flex;flex-wrap:wrap;gap:1.2rem;align-items:flex-start;margin:.3rem 0}
.pair{display:flex;gap:.4rem;align-items:center}figure{margin:0}figcaption{font-size:.75rem;opacity:.7}
svg.g{display:block;background:#555}
.c0{fill:#000}.c1{fill:#0074d9}.c2{fill:#ff4136}.c3{fill:#2ecc40}.c4{fill:#ffdc00}.c5{fill:#aaa}.c6{fill:#f012be}
.c7{fill:#ff851b}.c8{fill:#7fdbff}.c9{fill:#870c25}
.x{fill:none;stroke:#fff;stroke-width:.12}
)";

// A picture of at most so many pixels on its longer side; cells that differ from `expected` are crossed.
std::string Picture(const arc::Grid& grid, const arc::Grid* expected = nullptr) {
  constexpr int kPixels = 120, kMostPerCell = 20;
  const int longer = std::max({grid.rows, grid.columns, 1});
  const int cell = std::max(3, std::min(kMostPerCell, kPixels / longer));
  std::string text = absl::StrFormat(
      "<svg class=\"g\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">",
      grid.columns * cell, grid.rows * cell, grid.columns, grid.rows);
  const bool same_size = expected != nullptr && expected->rows == grid.rows && expected->columns == grid.columns;
  for (int r = 0; r < grid.rows; ++r) {
    for (int c = 0; c < grid.columns; ++c) {
      absl::StrAppendFormat(&text, "<rect class=\"c%d\" x=\"%d\" y=\"%d\" width=\".94\" height=\".94\"/>",
                            grid.at(r, c), c, r);
      if (same_size && expected->at(r, c) != grid.at(r, c)) {
        absl::StrAppendFormat(&text, "<path class=\"x\" d=\"M%d.2 %d.2l.6 .6m0-.6l-.6 .6\"/>", c, r);
      }
    }
  }
  return text + "</svg>";
}

std::string Figure(absl::string_view caption, const std::string& picture, absl::string_view style = "") {
  return absl::StrCat("<figure><figcaption class=\"", style, "\">", caption, "</figcaption>", picture, "</figure>");
}

std::string TestRow(const arc::Test& test, const std::vector<arc::Grid>& ranked) {
  std::string row = absl::StrCat("<div class=\"row\">", Figure("test", Picture(test.input)));
  const arc::Grid* const expected = test.output.has_value() ? &*test.output : nullptr;
  if (expected != nullptr) absl::StrAppend(&row, Figure("solution", Picture(*expected)));
  int number = 0;
  for (const arc::Grid& attempt : arc::AttemptsOf(ranked)) {
    const std::string caption = absl::StrCat("attempt ", ++number);
    if (expected == nullptr) {
      absl::StrAppend(&row, Figure(caption, Picture(attempt)));
    } else {
      const bool right = attempt == *expected;
      absl::StrAppend(&row, Figure(absl::StrCat(caption, right ? ", right" : ", wrong"), Picture(attempt, expected),
                                   right ? "good" : "bad"));
    }
  }
  if (ranked.empty()) absl::StrAppend(&row, "<p class=\"none\">no answer</p>");
  return row + "</div>";
}

bool AllSolved(const arc::Task& task, const arc::Attempts& attempts) {
  for (size_t i = 0; i < task.test.size(); ++i) {
    if (task.test[i].output.has_value() && arc::SolvedBy(task.test[i], attempts.ranked[i]) == 0) return false;
  }
  return true;
}

}  // namespace

std::string ArcHtml(const std::vector<arc::Task>& tasks, const ArcResult& result, const arc::Score& score) {
  std::string page = absl::StrCat(HtmlHead("ARC: attempts", kStyle), "<h1>ARC: attempts</h1>");
  for (const std::string& line : {ArcScoreText(score), ArcAnswersText(result)}) {
    if (!line.empty()) absl::StrAppend(&page, "<p>", Markup(absl::StripSuffix(line, "\n")), "</p>\n");
  }
  // What was not solved comes first: that is what one looks for.
  for (const bool solved : {false, true}) {
    for (size_t t = 0; t < tasks.size(); ++t) {
      if (AllSolved(tasks[t], result.attempts[t]) != solved) continue;
      absl::StrAppend(&page, "<section class=\"task\"><h2>", Markup(tasks[t].id), "</h2><div class=\"row\">");
      for (const arc::Pair& pair : tasks[t].train) {
        absl::StrAppend(&page, "<div class=\"pair\">", Picture(pair.input), "&rarr;", Picture(pair.output), "</div>");
      }
      absl::StrAppend(&page, "</div>");
      for (size_t i = 0; i < tasks[t].test.size(); ++i) {
        absl::StrAppend(&page, TestRow(tasks[t].test[i], result.attempts[t].ranked[i]));
      }
      absl::StrAppend(&page, "</section>\n");
    }
  }
  return absl::StrCat(page, "</body></html>\n");
}

}  // namespace rondo
