// The grid in what a model said.
#ifndef RONDO_ARC_ANSWER_H_
#define RONDO_ARC_ANSWER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "arc/grid.h"

namespace rondo::arc {

// Looks for, in this order:
//
//   a JSON list of lists of integers, "[[1, 2], [3, 4]]", anywhere in the text;
//   consecutive lines that hold digits and nothing else: in one piece, "123", or one by one with spaces, commas or bars
//   between them, and perhaps brackets around; the ruler of a table in Markdown is no line.
//
// The first of a kind counts; prose, code fences and blank lines around it do not. Any bytes may come; the time is
// linear. Errors: no grid, rows of different lengths, more than kMaxSide rows or cells.
absl::StatusOr<Grid> ParseAnswer(absl::string_view text);

}  // namespace rondo::arc

#endif  // RONDO_ARC_ANSWER_H_
