// Submission files of the ARC Prize: {id: [{"attempt_1": grid, "attempt_2": grid}, one for each test]}.
#ifndef RONDO_ARC_SUBMISSION_H_
#define RONDO_ARC_SUBMISSION_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "arc/dataset.h"

namespace rondo::arc {

inline constexpr size_t kAttempts = 2;

// Of one task: for each test the answers, the best first. The first kAttempts count.
struct Attempts {
  std::vector<std::vector<Grid>> ranked;
};

// The attempts of a test: kAttempts, or fewer where no other answer came.
absl::Span<const Grid> AttemptsOf(const std::vector<Grid>& ranked);

// In the order of the tasks. The format wants both attempts: a single answer stands twice, none is [[0]].
std::string SubmissionJson(const std::vector<Task>& tasks, const std::vector<Attempts>& attempts);

// The attempts of each task in a submission file; of a task that it lacks, none. Errors name the place; a file with no
// task of these is one.
absl::StatusOr<std::vector<Attempts>> ReadSubmission(const std::string& path, const std::vector<Task>& tasks);

struct Score {
  int tasks = 0, tasks_with_solution = 0;  // of all of their tests
  int tasks_solved = 0;                    // all tests, at either attempt
  int tests = 0, tests_with_solution = 0;
  int solved_first = 0, solved_either = 0;  // tests
};
Score ScoreAttempts(const std::vector<Task>& tasks, const std::vector<Attempts>& attempts);

// Which attempt solves the test, from 1; 0: none. REQUIRES: the test has a solution.
int SolvedBy(const Test& test, const std::vector<Grid>& ranked);

}  // namespace rondo::arc

#endif  // RONDO_ARC_SUBMISSION_H_
