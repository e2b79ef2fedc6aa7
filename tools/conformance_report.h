// What a run of conformance tests found, and the forms it is told in.
#ifndef RONDO_TOOLS_CONFORMANCE_REPORT_H_
#define RONDO_TOOLS_CONFORMANCE_REPORT_H_

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rondo {

enum class TestStatus { kPassed, kFailed, kUnsupported };
absl::string_view StatusName(TestStatus status);

struct TestedOperator {
  std::string name;  // "Conv", "ai.onnx.ml::Scaler"
  int version = 0;   // of the definition that holds in the model's opset
  bool operator<(const TestedOperator& other) const {
    return std::tie(name, version) < std::tie(other.name, other.version);
  }
};

struct ConformanceResult {
  std::string name, set;
  std::vector<TestedOperator> operators;  // all of the model, functions inlined, sorted
  TestStatus status = TestStatus::kFailed;
  std::string reason;  // of a test that did not pass: the first difference, the error, the signal
  double seconds = 0;
};

using StatusCounts = std::array<int64_t, 3>;  // by TestStatus
StatusCounts CountStatuses(const std::vector<ConformanceResult>& results);

// The table by operator and version, then the totals per set.
std::string ConformanceText(const std::vector<ConformanceResult>& results);
// {"totals": {"passed", "failed", "unsupported"}, "tests": [{"name", "set", "operators", "status", "reason"}]}
std::string ConformanceJson(const std::vector<ConformanceResult>& results);
std::string ConformanceJUnit(const std::vector<ConformanceResult>& results);
// One page that needs nothing else: tables that sort by a click on a header, a filter for names, boxes for statuses.
std::string ConformanceHtml(const std::vector<ConformanceResult>& results);

// Names that must pass: one per line, # begins a comment. "?name" may pass or fail: its result is left to chance.
absl::StatusOr<std::vector<std::string>> ParseExpectList(absl::string_view text);
// What contradicts the list, a line each: a listed test that did not pass, one that passed and is not listed, and, when
// `whole` (nothing was filtered out), a listed one that was not there.
std::vector<std::string> CompareWithList(const std::vector<ConformanceResult>& results,
                                         const std::vector<std::string>& expected, bool whole);

}  // namespace rondo

#endif  // RONDO_TOOLS_CONFORMANCE_REPORT_H_
