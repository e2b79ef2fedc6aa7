// The operators that the ONNX specification defines, with every version at which a definition changed; and the
// com.microsoft ones that rondo takes. `rondo ops --coverage` compares the registry with it, `rondo conformance` finds
// the definition that a model's opset means.
#ifndef RONDO_TOOLS_OPERATOR_TABLE_H_
#define RONDO_TOOLS_OPERATOR_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rondo {

inline constexpr int kNewestOpset = 28;  // of ai.onnx in this table

struct KnownOperator {
  absl::string_view domain;  // "" is ai.onnx
  absl::string_view type;
  std::vector<int> since;  // ascending
  int removed_in = 0;      // the version at which it was taken back or deprecated for another; 0: never
};

// Sorted by domain and type.
const std::vector<KnownOperator>& KnownOperators();
const KnownOperator* FindKnownOperator(absl::string_view domain, absl::string_view type);
// The version of the definition that holds in this opset; `opset` itself for an operator that is not in the table.
int DefinitionVersion(absl::string_view domain, absl::string_view type, int opset);

// What rondo has of the table.
struct OperatorCoverage {
  const KnownOperator* known;
  std::vector<int> supported, missing;  // of known->since
};
std::vector<OperatorCoverage> ComputeCoverage();
// For a terminal, and as docs/operators.md.
std::string CoverageText(absl::string_view filter);
std::string CoverageMarkdown();

}  // namespace rondo

#endif  // RONDO_TOOLS_OPERATOR_TABLE_H_
