// rondo ops: the operators and versions that rondo has.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ops/registry.h"
#include "tools/command.h"
#include "tools/operator_table.h"
#include "tools/text.h"

namespace rondo {
namespace {

struct OpsOptions {
  bool json = false, coverage = false, markdown = false;
  std::string filter;
};

struct OperatorRow {
  std::vector<int> since;
  int removed_in = 0;  // 0: still there
};

std::map<std::pair<std::string, std::string>, OperatorRow> CollectOperators(const std::string& filter) {
  std::map<std::pair<std::string, std::string>, OperatorRow> rows;
  for (const OpDef* def : OpRegistry::Get().rows()) {
    if (def->domain == kRondoDomain) continue;  // made by rewrites, never in a file
    if (!filter.empty() && !absl::StrContains(absl::AsciiStrToLower(def->type), absl::AsciiStrToLower(filter)))
      continue;
    OperatorRow& row = rows[{std::string(def->domain), std::string(def->type)}];
    if (def->infer == RemovedOperator) {
      row.removed_in = def->since;
    } else {
      row.since.push_back(def->since);
    }
  }
  return rows;
}

int OpsMain(const OpsOptions& options) {
  if (options.coverage) {
    Print(options.markdown ? CoverageMarkdown() : CoverageText(options.filter));
    return kOk;
  }
  const auto rows = CollectOperators(options.filter);
  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [key, row] : rows) {
      nlohmann::json entry = {
          {"domain", key.first.empty() ? "ai.onnx" : key.first}, {"type", key.second}, {"since", row.since}};
      if (row.removed_in > 0) entry["removed_in"] = row.removed_in;
      list.push_back(std::move(entry));
    }
    Print(list.dump(1) + "\n");
    return kOk;
  }
  TextTable table({"domain", "operator", "versions"});
  for (const auto& [key, row] : rows) {
    const std::string removed = row.removed_in > 0 ? absl::StrCat(" (removed in ", row.removed_in, ")") : "";
    table.Add(
        {key.first.empty() ? "ai.onnx" : key.first, key.second, absl::StrCat(absl::StrJoin(row.since, ", "), removed)});
  }
  Print(table.ToString());
  Print(
      absl::StrCat(rows.size(), " operators. A version holds for later opsets until the next one of its operator.\n"));
  return kOk;
}

}  // namespace

std::function<int()> DeclareOps(CLI::App& app) {
  auto options = std::make_shared<OpsOptions>();
  app.add_option("FILTER", options->filter, "Only operators whose name contains this text")->type_name("");
  app.add_flag("--json", options->json, "Print JSON");
  CLI::Option* coverage = app.add_flag("--coverage", options->coverage,
                                       "Compare with all operators and versions that the specification defines");
  app.add_flag("--markdown", options->markdown, "With --coverage: the text of docs/operators.md")->needs(coverage);
  return [options] { return OpsMain(*options); };
}

}  // namespace rondo
