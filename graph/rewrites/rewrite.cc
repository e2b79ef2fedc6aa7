#include "graph/rewrites/rewrite.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "graph/rewrites/list.h"
#include "graph/status.h"
#include "graph/verify.h"

namespace rondo {
namespace {

// Each round may enable the next (a folded shape lets a fusion match). Real models settle in three or four.
constexpr int kMaxRounds = 10;

#define RONDO_LIST_REWRITE(Function, name, description) {name, description, &Function},
const Rewrite kRewrites[] = {RONDO_REWRITES(RONDO_LIST_REWRITE)};
#undef RONDO_LIST_REWRITE

absl::Status CheckNames(absl::Span<const std::string> disabled) {
  for (const std::string& name : disabled) {
    if (std::any_of(std::begin(kRewrites), std::end(kRewrites), [&](const Rewrite& r) { return r.name == name; })) {
      continue;
    }
    return InvalidArgument("unknown rewrite \"", name,
                           "\"; there are: ", absl::StrJoin(kRewrites, ", ", [](std::string* out, const Rewrite& r) {
                             absl::StrAppend(out, r.name);
                           }));
  }
  return absl::OkStatus();
}

absl::Status CleanUp(Graph& graph, absl::string_view rewrite) {
  RONDO_RETURN_IF_ERROR(graph.Sort());
  graph.RemoveDead();
#ifndef NDEBUG
  RONDO_RETURN_IF_ERROR(Annotate(Verify(graph), absl::StrCat("after rewrite ", rewrite, ": ")));
#endif
  return absl::OkStatus();
}

}  // namespace

absl::Span<const Rewrite> AllRewrites() { return kRewrites; }

absl::StatusOr<std::vector<RewriteReport>> ApplyRewrites(Graph& graph, const RewriteContext& context,
                                                         absl::Span<const std::string> disabled) {
  RONDO_RETURN_IF_ERROR(CheckNames(disabled));
  std::vector<RewriteReport> reports;
  for (const Rewrite& rewrite : kRewrites) {
    const bool off = std::find(disabled.begin(), disabled.end(), rewrite.name) != disabled.end();
    reports.push_back({std::string(rewrite.name), 0, off});
  }
  graph.RemoveDead();
  for (int round = 0; round < kMaxRounds; ++round) {
    int fired_in_round = 0;
    for (size_t r = 0; r < reports.size(); ++r) {
      if (reports[r].disabled) continue;
      // Collected first: a rewrite of an outer graph may remove a subgraph.
      std::vector<Graph*> graphs;
      graph.ForEachGraph([&](Graph& g) { graphs.push_back(&g); });
      std::reverse(graphs.begin(), graphs.end());  // bodies before the nodes that hold them
      for (Graph* g : graphs) {
        // To its own fixed point before the next: a fusion that grows step by step must be whole before a rewrite that
        // changes its surroundings.
        for (int repeat = 0; repeat < kMaxRounds; ++repeat) {
          RONDO_ASSIGN_OR_RETURN(int fired, kRewrites[r].apply(*g, context));
          if (fired == 0) break;
          RONDO_RETURN_IF_ERROR(CleanUp(*g, kRewrites[r].name));
          reports[r].fired += fired;
          fired_in_round += fired;
        }
      }
    }
    if (fired_in_round == 0) break;
  }
  return reports;
}

}  // namespace rondo
