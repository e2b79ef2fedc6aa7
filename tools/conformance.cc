// rondo conformance: runs the ONNX backend tests of any ONNX release from their folders and says, operator by operator,
// where rondo stands.
//
//   DATA/<set>/<test>/model.onnx, test_data_set_K/...      a folder of sets, as Debian's libonnx-testdata has them
//   DATA/<test>/...                                        one set
//   DATA/model.onnx                                        one test
//
// Each test runs in a process of its own: one that crashes or hangs is a failed line. The program itself starts no
// thread before the children are forked.
#include <re2/re2.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "tools/command.h"
#include "tools/conformance_report.h"
#include "tools/data_sets.h"
#include "tools/files.h"
#include "tools/isolate.h"
#include "tools/operator_table.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

constexpr char kDefaultData[] = "/usr/share/libonnx-testdata/data";

// Upstream compares with rtol 1e-3 and atol 1e-7, except:
struct ToleranceException {
  const char* pattern;  // of the whole name
  double rtol, atol;
  const char* reason;
};
constexpr ToleranceException kToleranceExceptions[] = {
    {"test_dft.*", 1e-3, 1e-6,
     "Upstream's own tolerance: the expected values come from a float32 FFT, whose zeros are rounding errors of 1e-7."},
    {"test_celu_bfloat16_expanded", 1e-2, 1e-2,
     "Upstream's own tolerance: the function's body rounds every step to bfloat16, the expected values only the last."},
};

Tolerance ToleranceOf(const std::string& test) {
  Tolerance tolerance;
  for (const ToleranceException& exception : kToleranceExceptions) {
    if (!RE2::FullMatch(test, exception.pattern)) continue;
    tolerance.rtol = exception.rtol;
    tolerance.atol = exception.atol;
  }
  return tolerance;
}

// ONNX 1.12 recorded the input `like` of these as one element, and the models declare [3, 4]. Its values and shape mean
// nothing to CastLike.
constexpr char kSingleElementInputs[] = "test_castlike_(FLOAT_to_BFLOAT16|BFLOAT16_to_FLOAT)(_expanded)?";

struct ConformanceOptions {
  std::vector<std::string> data, expect;
  std::string filter, op, json, junit, html;
  ModelOptions model;
  int jobs = 0;
  double limit = 60;
};

struct Test {
  std::string name, set;
  fs::path folder;
};

struct Found {
  std::vector<Test> tests;
  std::vector<std::string> notes;  // folders without tests
};

void AddSet(const fs::path& folder, const std::vector<fs::path>& models, Found* found) {
  for (const fs::path& model : models) found->tests.push_back({FolderName(model), FolderName(folder), model});
}

// Whether a folder inside is a set. That decides before models do: Debian 13's folder of sets has a folder of loose
// .onnx files too, which would pass for a test.
bool HoldsSets(const std::vector<fs::path>& children) {
  return std::any_of(children.begin(), children.end(),
                     [](const fs::path& child) { return !ModelFolders(child).empty(); });
}

std::vector<fs::path> Subfolders(const fs::path& folder) {
  std::vector<fs::path> children;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) children.push_back(it->path());
  }
  std::sort(children.begin(), children.end());
  return children;
}

absl::StatusOr<Found> FindTests(const std::vector<std::string>& data) {
  Found found;
  for (const std::string& text : data) {
    fs::path folder = text;
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
      return absl::NotFoundError(
          absl::StrCat(text, ": no such folder",
                       text == kDefaultData ? " (install Debian's package libonnx-testdata, or give --data DIR)" : ""));
    }
    if (!folder.has_filename()) folder = folder.parent_path();
    const size_t before = found.tests.size();
    const std::vector<fs::path> children = Subfolders(folder);
    if (HoldsModel(folder)) {
      AddSet(fs::weakly_canonical(folder, error).parent_path(), {folder}, &found);
    } else if (!HoldsSets(children)) {
      AddSet(folder, ModelFolders(folder), &found);
    } else {
      for (const fs::path& set : children) {
        const std::vector<fs::path> in_set = ModelFolders(set);
        if (in_set.empty()) found.notes.push_back(absl::StrCat(FolderName(set), ": no tests here, left out"));
        AddSet(set, in_set, &found);
      }
    }
    if (found.tests.size() == before) {
      return InvalidArgument(text, ": no tests in this folder (expected SET/TEST/model.onnx or TEST/model.onnx)");
    }
  }
  return found;
}

std::vector<TestedOperator> OperatorsOf(const std::string& folder, const ModelOptions& options) {
  std::vector<TestedOperator> operators;
  const absl::StatusOr<ModelSummary> summary = Model::Inspect(folder, options);
  if (!summary.ok()) return operators;
  for (const OperatorCount& count : summary->operators) {
    const size_t colons = count.op.rfind("::");
    const bool has_domain = colons != std::string::npos;
    operators.push_back({count.op, DefinitionVersion(has_domain ? count.op.substr(0, colons) : "",
                                                     has_domain ? count.op.substr(colons + 2) : count.op,
                                                     static_cast<int>(count.version))});
  }
  std::sort(operators.begin(), operators.end());
  return operators;
}

// "Conv" and "com.microsoft::FastGelu", in full or without the domain.
bool IsOperator(const std::string& name, const std::string& asked) {
  const size_t colons = name.rfind("::");
  return name == asked || (colons != std::string::npos && name.substr(colons + 2) == asked);
}

// In the child. The report: {"operators": [[name, version]...], "status": N, "reason": "..."}, or "" when the test does
// not hold the operator that is asked for.
std::string RunTest(const Test& test, const ConformanceOptions& options) {
  const std::vector<TestedOperator> operators = OperatorsOf(test.folder.string(), options.model);
  auto asked = [&](const TestedOperator& op) { return IsOperator(op.name, options.op); };
  if (!options.op.empty() && std::none_of(operators.begin(), operators.end(), asked)) return "";
  DataSetOptions data_sets;
  data_sets.model = options.model;
  data_sets.tolerance = ToleranceOf(test.name);
  data_sets.repeat_single_elements = RE2::FullMatch(test.name, kSingleElementInputs);
  const DataSetOutcome outcome = RunDataSets(test.folder, data_sets);
  const bool passed = outcome.kind == DataSetOutcome::Kind::kPassed;
  const TestStatus status = passed                                               ? TestStatus::kPassed
                            : outcome.kind == DataSetOutcome::Kind::kUnsupported ? TestStatus::kUnsupported
                                                                                 : TestStatus::kFailed;
  nlohmann::json json = {{"operators", nlohmann::json::array()},
                         {"status", static_cast<int>(status)},
                         {"reason", passed ? "" : Printable(outcome.message, 2000)}};
  for (const TestedOperator& op : operators) json["operators"].push_back({Printable(op.name), op.version});
  return json.dump();
}

// In the parent; empty when the test was left out.
std::optional<ConformanceResult> ReadReport(const Test& test, const IsolatedResult& isolated, double limit) {
  ConformanceResult result{.name = test.name, .set = test.set};
  if (isolated.kind != IsolatedResult::Kind::kFinished) {
    result.reason = IsolationText(isolated, limit);
    return result;
  }
  if (isolated.report.empty()) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(isolated.report, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    result.reason = "the process left no report";
    return result;
  }
  for (const auto& op : json["operators"]) result.operators.push_back({op[0], op[1]});
  result.status = static_cast<TestStatus>(json["status"].get<int>());
  result.reason = json["reason"];
  return result;
}

absl::StatusOr<std::vector<std::string>> ReadLists(const std::vector<std::string>& files) {
  std::vector<std::string> names;
  for (const std::string& file : files) {
    RONDO_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
    absl::StatusOr<std::vector<std::string>> list = ParseExpectList(text);
    if (!list.ok()) return Annotate(list.status(), absl::StrCat(file, ": "));
    names.insert(names.end(), list->begin(), list->end());
  }
  return names;
}

absl::Status WriteReports(const ConformanceOptions& options, const std::vector<ConformanceResult>& results) {
  if (!options.json.empty()) RONDO_RETURN_IF_ERROR(WriteFile(options.json, ConformanceJson(results)));
  if (!options.junit.empty()) RONDO_RETURN_IF_ERROR(WriteFile(options.junit, ConformanceJUnit(results)));
  if (!options.html.empty()) RONDO_RETURN_IF_ERROR(WriteFile(options.html, ConformanceHtml(results)));
  return absl::OkStatus();
}

int ConformanceMain(const ConformanceOptions& options) {
  absl::StatusOr<Found> found = FindTests(options.data);
  if (!found.ok()) return Fail(Annotate(found.status(), "conformance: "));
  const absl::StatusOr<std::vector<std::string>> expected = ReadLists(options.expect);
  if (!expected.ok()) return Fail(Annotate(expected.status(), "conformance: --expect: "));
  std::vector<Test>& tests = found->tests;
  if (!options.filter.empty()) {
    const RE2 filter(options.filter, RE2::Quiet);
    if (!filter.ok()) return Fail(InvalidArgument("conformance: --filter: ", filter.error()));
    tests.erase(std::remove_if(tests.begin(), tests.end(),
                               [&](const Test& test) { return !RE2::PartialMatch(test.name, filter); }),
                tests.end());
    if (tests.empty()) return Fail(InvalidArgument("conformance: --filter: no test's name matches"));
  }

  const int jobs = options.jobs > 0 ? options.jobs : static_cast<int>(std::thread::hardware_concurrency());
  std::vector<std::optional<ConformanceResult>> slots(tests.size());
  ProgressBar progress(static_cast<int64_t>(tests.size()));
  int64_t ended = 0;
  RunIsolated(
      tests.size(), jobs, options.limit, [&](size_t i) { return RunTest(tests[i], options); },
      [&](size_t i, const IsolatedResult& isolated) {
        slots[i] = ReadReport(tests[i], isolated, options.limit);
        if (slots[i].has_value()) slots[i]->seconds = isolated.seconds;
        ++ended;
        if (slots[i].has_value() && slots[i]->status != TestStatus::kPassed) {
          progress.Hide();
          Print(absl::StrFormat("%-11s  %s  %s\n", StatusName(slots[i]->status), Printable(tests[i].name, 80),
                                Printable(slots[i]->reason, 1000)));
          std::fflush(stdout);
        }
        progress.Show(ended, tests[i].name);
      });
  progress.Hide();

  std::vector<ConformanceResult> results;
  for (auto& slot : slots) {
    if (slot.has_value()) results.push_back(std::move(*slot));
  }
  if (results.empty()) return Fail(InvalidArgument("conformance: --operator: no test's model holds ", options.op));
  const StatusCounts totals = CountStatuses(results);
  const bool all_passed = totals[0] == static_cast<int64_t>(results.size());
  Print(absl::StrCat(all_passed ? "" : "\n", ConformanceText(results)));
  for (const std::string& note : found->notes) Print(note + "\n");
  if (const absl::Status status = WriteReports(options, results); !status.ok()) {
    return Fail(Annotate(status, "conformance: "));
  }
  if (options.expect.empty()) return all_passed ? kOk : kCheckFailed;
  const std::vector<std::string> contradictions =
      CompareWithList(results, *expected, /*whole=*/options.filter.empty() && options.op.empty());
  for (const std::string& line : contradictions) Print(absl::StrCat("unexpected: ", Printable(line), "\n"));
  if (contradictions.empty()) Print("all as expected\n");
  return contradictions.empty() ? kOk : kCheckFailed;
}

}  // namespace

std::function<int()> DeclareConformance(CLI::App& app) {
  auto options = std::make_shared<ConformanceOptions>();
  options->data = {kDefaultData};
  // Tests are small: several at once pay, several threads in one do not.
  options->model.threads = 1;
  app.add_option("--data", options->data,
                 absl::StrCat("A folder of sets of tests, a set or a test; may be repeated (", kDefaultData, ")"))
      ->type_name("DIR");
  app.add_option("--filter", options->filter, "Only tests whose name matches somewhere")->type_name("REGEX");
  app.add_option("--operator", options->op, "Only tests whose model holds this operator")->type_name("NAME");
  app.add_option("--jobs", options->jobs, "Tests that run at the same time; 0: as many as there are cores")
      ->check(CLI::Range(0, 1024))
      ->type_name("N");
  app.add_option("--time-limit", options->limit, "Seconds that one test may take (60)")
      ->check(CLI::Range(0.001, 86400.0))
      ->type_name("S");
  app.add_option("--json", options->json, "Write the result as JSON")->type_name("FILE");
  app.add_option("--junit", options->junit, "Write the result as JUnit XML")->type_name("FILE");
  app.add_option("--html", options->html, "Write the result as a page for people")->type_name("FILE");
  app.add_option("--expect", options->expect,
                 "Names that must pass, one per line, # comments; fails also when one passes that is not listed")
      ->type_name("LIST");
  AddModelOptions(app, &options->model);
  app.footer(
      "Exit code: 0 all passed, or all as the list says; 1 otherwise; 2 data or lists are missing or bad.\n"
      "Example:\n"
      "  rondo conformance --operator Conv --html conv.html");
  return [options] { return ConformanceMain(*options); };
}

}  // namespace rondo
