#include "tools/conformance_report.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "graph/status.h"
#include "tools/html.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr size_t kPassed = static_cast<size_t>(TestStatus::kPassed);
constexpr size_t kFailed = static_cast<size_t>(TestStatus::kFailed);
constexpr size_t kUnsupported = static_cast<size_t>(TestStatus::kUnsupported);

size_t Index(TestStatus status) { return static_cast<size_t>(status); }

std::map<TestedOperator, StatusCounts> ByOperator(const std::vector<ConformanceResult>& results) {
  std::map<TestedOperator, StatusCounts> table;
  for (const ConformanceResult& result : results) {
    for (const TestedOperator& op : result.operators) ++table[op][Index(result.status)];
  }
  return table;
}

std::map<std::string, StatusCounts> BySet(const std::vector<ConformanceResult>& results) {
  std::map<std::string, StatusCounts> table;
  for (const ConformanceResult& result : results) ++table[result.set][Index(result.status)];
  return table;
}

std::string OperatorsText(const ConformanceResult& result) {
  return absl::StrJoin(result.operators, ", ", [](std::string* out, const TestedOperator& op) {
    absl::StrAppend(out, op.name, "-", op.version);
  });
}

std::string Cells(const StatusCounts& counts) {
  std::string cells;
  for (size_t s : {kPassed, kFailed, kUnsupported}) {
    absl::StrAppend(&cells, "<td class=\"n", counts[s] > 0 ? absl::StrCat(" s", s) : "", "\">", counts[s], "</td>");
  }
  return cells;
}

constexpr char kStyle[] = R"(
.s0{color:var(--good)}.s1{color:var(--bad);font-weight:600}.s2{color:var(--none);font-weight:600}
.bar{display:flex;height:.7rem;border-radius:.35rem;overflow:hidden;margin:.6rem 0 1rem}
.bar i{display:block}.tools{display:flex;flex-wrap:wrap;gap:1rem;align-items:center;margin:.5rem 0}
input[type=search]{font:inherit;padding:.3rem .5rem;min-width:18rem}
#tests td:nth-child(1){min-width:16rem}#tests td:nth-child(5){font:13px/1.4 ui-monospace,monospace;min-width:18rem}
)";

constexpr char kFilterScript[] = R"(<script>
const search = document.getElementById('search'), shown = document.getElementById('shown');
const boxes = [...document.querySelectorAll('input[type=checkbox]')];
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(w => w);
  const on = new Set(boxes.filter(b => b.checked).map(b => b.value));
  let count = 0;
  for (const row of document.getElementById('tests').tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !on.has(row.cells[2].textContent) || !words.every(w => text.includes(w));
    count += !row.hidden;
  }
  for (const row of document.getElementById('operators').tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(w => text.includes(w));
  }
  shown.textContent = count + ' tests';
}
search.addEventListener('input', filter);
boxes.forEach(b => b.addEventListener('change', filter));
filter();
</script>
)";

}  // namespace

absl::string_view StatusName(TestStatus status) {
  switch (status) {
    case TestStatus::kPassed:
      return "passed";
    case TestStatus::kFailed:
      return "failed";
    case TestStatus::kUnsupported:
      return "unsupported";
  }
  return "";
}

StatusCounts CountStatuses(const std::vector<ConformanceResult>& results) {
  StatusCounts counts{};
  for (const ConformanceResult& result : results) ++counts[Index(result.status)];
  return counts;
}

std::string ConformanceText(const std::vector<ConformanceResult>& results) {
  TextTable operators({"operator", "version", "passed", "failed", "unsupported"}, "lrrrr");
  for (const auto& [op, counts] : ByOperator(results)) {
    operators.Add({Printable(op.name, 80), absl::StrCat(op.version), absl::StrCat(counts[kPassed]),
                   absl::StrCat(counts[kFailed]), absl::StrCat(counts[kUnsupported])});
  }
  TextTable sets({"set", "tests", "passed", "failed", "unsupported"}, "lrrrr");
  auto add = [&sets](const std::string& name, const StatusCounts& c) {
    sets.Add({name, absl::StrCat(c[kPassed] + c[kFailed] + c[kUnsupported]), absl::StrCat(c[kPassed]),
              absl::StrCat(c[kFailed]), absl::StrCat(c[kUnsupported])});
  };
  const auto by_set = BySet(results);
  for (const auto& [name, counts] : by_set) add(Printable(name, 80), counts);
  if (by_set.size() > 1) add("all", CountStatuses(results));
  return absl::StrCat(operators.empty() ? "" : operators.ToString() + "\n", sets.ToString());
}

std::string ConformanceJson(const std::vector<ConformanceResult>& results) {
  const StatusCounts totals = CountStatuses(results);
  nlohmann::ordered_json tests = nlohmann::ordered_json::array();
  for (const ConformanceResult& result : results) {
    nlohmann::ordered_json operators = nlohmann::ordered_json::array();
    std::set<std::string> names;
    for (const TestedOperator& op : result.operators) names.insert(Printable(op.name));
    for (const std::string& name : names) operators.push_back(name);
    tests.push_back({{"name", Printable(result.name)},
                     {"set", Printable(result.set)},
                     {"operators", std::move(operators)},
                     {"status", std::string(StatusName(result.status))},
                     {"reason", Printable(result.reason, 4000)}});
  }
  const nlohmann::ordered_json json = {
      {"totals", {{"passed", totals[kPassed]}, {"failed", totals[kFailed]}, {"unsupported", totals[kUnsupported]}}},
      {"tests", std::move(tests)}};
  return json.dump(1) + "\n";
}

std::string ConformanceJUnit(const std::vector<ConformanceResult>& results) {
  const StatusCounts totals = CountStatuses(results);
  std::string xml =
      absl::StrCat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"rondo conformance\" tests=\"",
                   results.size(), "\" failures=\"", totals[kFailed], "\" skipped=\"", totals[kUnsupported], "\">\n");
  for (const auto& [set, counts] : BySet(results)) {
    absl::StrAppend(&xml, "<testsuite name=\"", Markup(set), "\" tests=\"",
                    counts[kPassed] + counts[kFailed] + counts[kUnsupported], "\" failures=\"", counts[kFailed],
                    "\" errors=\"0\" skipped=\"", counts[kUnsupported], "\">\n");
    for (const ConformanceResult& result : results) {
      if (result.set != set) continue;
      absl::StrAppendFormat(&xml, "<testcase classname=\"%s\" name=\"%s\" time=\"%.3f\"", Markup(set),
                            Markup(result.name), result.seconds);
      if (result.status == TestStatus::kPassed) {
        xml += "/>\n";
      } else {
        absl::StrAppend(&xml, "><", result.status == TestStatus::kFailed ? "failure" : "skipped", " message=\"",
                        Markup(result.reason), "\"/></testcase>\n");
      }
    }
    xml += "</testsuite>\n";
  }
  return xml + "</testsuites>\n";
}

std::string ConformanceHtml(const std::vector<ConformanceResult>& results) {
  const StatusCounts totals = CountStatuses(results);
  std::string html =
      absl::StrCat(HtmlHead("rondo conformance", kStyle), "<h1>rondo conformance</h1>\n<p>", results.size(),
                   " tests: <b class=\"s0\">", totals[kPassed], " passed</b>, <b class=\"s1\">", totals[kFailed],
                   " failed</b>, <b class=\"s2\">", totals[kUnsupported], " unsupported</b></p>\n<div class=\"bar\">");
  for (const auto& [index, color] :
       {std::pair(kPassed, "good"), std::pair(kFailed, "bad"), std::pair(kUnsupported, "none")}) {
    absl::StrAppend(&html, "<i style=\"flex:", totals[index], ";background:var(--", color, ")\"></i>");
  }
  html +=
      "</div>\n<table id=\"sets\"><thead><tr><th>set</th><th class=n>passed</th><th class=n>failed</th><th "
      "class=n>unsupported</th></tr>"
      "</thead><tbody>\n";
  for (const auto& [set, counts] : BySet(results)) {
    absl::StrAppend(&html, "<tr><td>", Markup(set), "</td>", Cells(counts), "</tr>\n");
  }
  html +=
      "</tbody></table>\n<div class=\"tools\"><input type=\"search\" id=\"search\" aria-label=\"filter\" "
      "placeholder=\"filter: names, operators, reasons\">";
  for (TestStatus status : {TestStatus::kPassed, TestStatus::kFailed, TestStatus::kUnsupported}) {
    absl::StrAppend(&html, "<label class=\"s", Index(status), "\"><input type=\"checkbox\" checked value=\"",
                    StatusName(status), "\"> ", StatusName(status), "</label>");
  }
  html +=
      "<span id=\"shown\"></span></div>\n<h2>Tests</h2>\n<table id=\"tests\"><thead><tr><th>test</th><th>set</th>"
      "<th>status</th><th>operators</th><th>reason</th></tr></thead><tbody>\n";
  // What did not pass comes first.
  for (TestStatus status : {TestStatus::kFailed, TestStatus::kUnsupported, TestStatus::kPassed}) {
    for (const ConformanceResult& result : results) {
      if (result.status != status) continue;
      absl::StrAppend(&html, "<tr><td>", Markup(result.name), "</td><td>", Markup(result.set), "</td><td class=\"s",
                      Index(status), "\">", StatusName(status), "</td><td>", Markup(OperatorsText(result)), "</td><td>",
                      Markup(result.reason), "</td></tr>\n");
    }
  }
  html +=
      "</tbody></table>\n<h2>Operators</h2>\n<p>Tests whose model holds the operator, by the version of its "
      "definition.</p>\n<table id=\"operators\"><thead><tr><th>operator</th><th class=n>version</th><th "
      "class=n>passed</th>"
      "<th class=n>failed</th><th class=n>unsupported</th></tr></thead><tbody>\n";
  for (const auto& [op, counts] : ByOperator(results)) {
    absl::StrAppend(&html, "<tr><td>", Markup(op.name), "</td><td class=\"n\">", op.version, "</td>", Cells(counts),
                    "</tr>\n");
  }
  return absl::StrCat(html, "</tbody></table>\n", HtmlTableScript(), kFilterScript, "</body></html>\n");
}

absl::StatusOr<std::vector<std::string>> ParseExpectList(absl::string_view text) {
  std::vector<std::string> names;
  int64_t line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    if (line.find_first_of(" \t") != absl::string_view::npos) {
      return InvalidArgument("line ", line_number, ": expected one name, got \"", Printable(line), "\"");
    }
    names.emplace_back(line);
  }
  return names;
}

std::vector<std::string> CompareWithList(const std::vector<ConformanceResult>& results,
                                         const std::vector<std::string>& expected, bool whole) {
  const std::set<std::string> listed(expected.begin(), expected.end());
  std::set<std::string> seen;
  std::vector<std::string> lines;
  for (const ConformanceResult& result : results) {
    seen.insert(result.name);
    if (listed.count("?" + result.name) > 0) continue;
    const bool must = listed.count(result.name) > 0, did = result.status == TestStatus::kPassed;
    if (must && !did) {
      lines.push_back(absl::StrCat(result.name, " is listed and ",
                                   result.status == TestStatus::kFailed ? "failed" : "is unsupported"));
    }
    if (did && !must) lines.push_back(absl::StrCat(result.name, " passed and is not listed"));
  }
  for (const std::string& name : listed) {
    if (!whole || name[0] == '?' || seen.count(name) > 0) continue;
    lines.push_back(absl::StrCat(name, " is listed and not in the data"));
  }
  return lines;
}

}  // namespace rondo
