// What `rondo arc` tells of a run: lines for a person, JSON, a page with the grids.
#ifndef RONDO_TOOLS_ARC_REPORT_H_
#define RONDO_TOOLS_ARC_REPORT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "arc/dataset.h"
#include "arc/submission.h"
#include "tools/arc_solver.h"

namespace rondo {

// "solved 119 of 120 tests (99.2 %), 118 at the first attempt; 119 of 120 tasks"; "" where no test has a solution.
std::string ArcScoreText(const arc::Score& score);
nlohmann::ordered_json ArcScoreJson(const arc::Score& score);

// How many answers came in which time, and which held no grid.
std::string ArcAnswersText(const ArcResult& result);
// {"tasks": [{"id", "tests": [{"attempts", "solved", "answers": [...]}]}], "answers": {...}, "score": {...}}
nlohmann::ordered_json ArcJson(const std::vector<arc::Task>& tasks, const ArcResult& result, const arc::Score& score);

// One page that needs nothing else: each task's pairs and its tests beside the attempts, wrong cells marked.
std::string ArcHtml(const std::vector<arc::Task>& tasks, const ArcResult& result, const arc::Score& score);

}  // namespace rondo

#endif  // RONDO_TOOLS_ARC_REPORT_H_
