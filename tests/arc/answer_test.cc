#include "arc/answer.h"

#include <gtest/gtest.h>

#include <random>

namespace rondo::arc {
namespace {

std::string Parsed(absl::string_view text) {
  const absl::StatusOr<Grid> grid = ParseAnswer(text);
  return grid.ok() ? ToText(*grid) : std::string(grid.status().message());
}

TEST(AnswerTest, GridsInTheFormsThatModelsWrite) {
  const struct {
    const char *text, *grid;
  } kCases[] = {
      {"123\n456\n", "123\n456\n"},
      {"123\r\n456\r\n", "123\n456\n"},
      {"7", "7\n"},
      {"O\n12\n34\n", "12\n34\n"},
      {"The output is:\n\n1 2\n3 4\n\nI hope this helps.", "12\n34\n"},
      {"```\n1, 2, 3\n4, 5, 6\n```", "123\n456\n"},
      {"|1|2|\n|3|4|\n", "12\n34\n"},
      {"[1 2]\n[3 4]", "12\n34\n"},
      {"[[1, 2], [3, 4]]", "12\n34\n"},
      {"[[1,2],\n [3,4]]\n", "12\n34\n"},
      {"rows [0, 1] first, then: [ [ 5 ] , [ 6 ] ].", "5\n6\n"},
      {"12\n34\n\n56\n78\n", "12\n34\n"},  // the first one
      {"1\n2\nso [[9, 9]]", "99\n"},       // a list before lines
      {"[[1], [[2, 3]]]", "23\n"},         // a list within what was none
      {"[[1, x]] but [[4]]", "4\n"},
      {"[[1, 2,], [3, 4],]", "12\n34\n"},
      {"[1, 2],\n[3, 4],", "12\n34\n"},
      {"| 1 | 2 |\n|---|:-:|\n| 3 | 4 |", "12\n34\n"},
      {"[[1, 2]", "the answer holds no grid: \"[[1, 2]\""},  // cut off
      {"[[1, 2],\n [3, 4", "the answer holds no grid: \"[[1, 2],\\n [3, 4\""},
      {"[1, 2", "the answer holds no grid: \"[1, 2\""},
      {"3 ]", "the answer holds no grid: \"3 ]\""},
  };
  for (const auto& c : kCases) EXPECT_EQ(Parsed(c.text), c.grid) << c.text;
}

TEST(AnswerTest, WhatIsNoGridIsAnErrorThatSaysWhy) {
  const std::string wide(31, '1');
  std::string high;
  for (int i = 0; i < 31; ++i) high += "1\n";
  const struct {
    std::string text, message;
  } kCases[] = {
      {"", "the answer holds no grid: \"\""},
      {"I cannot tell.", "the answer holds no grid: \"I cannot tell.\""},
      {"a12\n3b4", "the answer holds no grid: \"a12\\n3b4\""},
      {std::string("\0\xff\x1b[2J", 6), "the answer holds no grid: \"\\x00\\xff\\x1b[2J\""},
      {"12\n345\n", "row 1 of the answer's grid has 3 cells, row 0 has 2"},
      {"[[1, 2], [3]]", "row 1 of the answer's grid has 1 cells, row 0 has 2"},
      {wide, "the answer's grid has 1 rows of 31 cells: expected at most 30 of 30"},
      {high, "the answer's grid has 31 rows of 1 cells: expected at most 30 of 30"},
      {"10 2\n30 4", "the answer holds no grid: \"10 2\\n30 4\""},
      {"[[10, 2]]", "the answer holds no grid: \"[[10, 2]]\""},
  };
  for (const auto& c : kCases) EXPECT_EQ(Parsed(c.text), c.message);
  EXPECT_EQ(Parsed(std::string(100, 'x')), "the answer holds no grid: \"" + std::string(60, 'x') + "...\"");
}

TEST(AnswerTest, AnyBytesInLinearTime) {
  std::mt19937 random(5);
  const std::string alphabet = "[[[]],, 0123456789\n\nx\xff";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (uint32_t n = random() % 60; n > 0; --n) text += alphabet[random() % alphabet.size()];
    const auto grid = ParseAnswer(text);
    if (!grid.ok()) continue;
    EXPECT_GE(grid->rows, 1);
    EXPECT_LE(grid->rows, kMaxSide);
    EXPECT_EQ(grid->cells.size(), static_cast<size_t>(grid->rows * grid->columns)) << text;
  }
  for (const char* piece : {"[", "[[", "[[1,", "[[1],", "1\n", "1 "}) {
    std::string text;
    while (text.size() < (1 << 20)) text += piece;
    (void)ParseAnswer(text);  // quadratic time would take minutes
  }
}

}  // namespace
}  // namespace rondo::arc
