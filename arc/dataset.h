// Tasks as they are published: files of untrusted JSON. An error names the file, the task, the place in it, what was
// expected and what came.
#ifndef RONDO_ARC_DATASET_H_
#define RONDO_ARC_DATASET_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "arc/grid.h"
#include "text/json.h"

namespace rondo::arc {

struct Pair {
  Grid input, output;
};

struct Test {
  Grid input;
  std::optional<Grid> output;  // the solution, where it is known
};

struct Task {
  std::string id;
  std::vector<Pair> train;  // at least one
  std::vector<Test> test;   // at least one
};

// A tree of small numbers takes some twenty times the bytes of its text; the largest dataset published has some ten
// million.
inline constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

// `path` is one of
//   a file of the ARC Prize, {id: {"train": [{"input", "output"}], "test": [{"input"}]}}, in the order of the file;
//   a folder of files ID.json in the layout of ARC, {"train": [...], "test": [{"input", "output"}]}, in their order;
//   one such file.
absl::StatusOr<std::vector<Task>> ReadTasks(const std::string& path);

// Fills Test::output from a file {id: [grid of test 0, grid of test 1, ...]}. Tasks without a solution stay without,
// solutions without a task are left aside; that no solution has a task is an error.
absl::Status AddSolutions(const std::string& path, std::vector<Task>* tasks);

// A grid as a list of rows.
absl::StatusOr<Grid> ParseGrid(const text::JsonView& json);

}  // namespace rondo::arc

#endif  // RONDO_ARC_DATASET_H_
