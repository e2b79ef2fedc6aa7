#include "arc/answer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "text/status.h"

namespace rondo::arc {
namespace {

using Rows = std::vector<std::vector<uint8_t>>;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Reads "[[1, 2], [3]]" at a place; nothing where something else stands there.
class ListReader {
 public:
  ListReader(absl::string_view text, size_t at) : text_(text), at_(at) {}

  std::optional<Rows> Read() {
    Rows rows;
    if (!Take('[')) return std::nullopt;
    do {
      std::optional<std::vector<uint8_t>> row = Row();
      if (!row.has_value()) return std::nullopt;
      rows.push_back(*std::move(row));
    } while (Take(',') && !Ends());
    if (!Take(']')) return std::nullopt;
    return rows;
  }
  size_t last_open() const { return last_open_; }

 private:
  std::optional<std::vector<uint8_t>> Row() {
    std::vector<uint8_t> row;
    if (!Take('[')) return std::nullopt;
    do {
      Skip();
      const bool digit = at_ < text_.size() && absl::ascii_isdigit(static_cast<unsigned char>(text_[at_]));
      if (!digit) return std::nullopt;
      row.push_back(static_cast<uint8_t>(text_[at_++] - '0'));
    } while (Take(',') && !Ends());
    if (!Take(']')) return std::nullopt;
    return row;
  }
  // A comma before the bracket is Python's way, not JSON's.
  bool Ends() {
    Skip();
    return at_ < text_.size() && text_[at_] == ']';
  }
  void Skip() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Take(char c) {
    Skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    if (c == '[') last_open_ = at_;
    ++at_;
    return true;
  }

  const absl::string_view text_;
  size_t at_, last_open_ = 0;
};

std::optional<Rows> FindList(absl::string_view text) {
  for (size_t at = text.find('['); at != absl::string_view::npos;) {
    ListReader reader(text, at);
    if (std::optional<Rows> rows = reader.Read(); rows.has_value()) return rows;
    // A list may start at the last bracket that was read, nowhere before.
    at = text.find('[', std::max(at + 1, reader.last_open()));
  }
  return std::nullopt;
}

// The cells of a line that holds nothing else: digits in one piece, or one by one between separators; a pair of
// brackets may stand around them. Empty for any other line.
std::vector<uint8_t> DigitsOf(absl::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  if (absl::ConsumeSuffix(&line, ",")) line = absl::StripTrailingAsciiWhitespace(line);
  if (absl::ConsumePrefix(&line, "[") && !absl::ConsumeSuffix(&line, "]")) return {};  // a list that was cut off
  std::vector<uint8_t> digits;
  int pieces = 0;
  bool in_piece = false;
  for (const char c : line) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      digits.push_back(static_cast<uint8_t>(c - '0'));
      pieces += !in_piece;
      in_piece = true;
    } else if (IsSpace(c) || c == ',' || c == '|') {
      in_piece = false;
    } else {
      return {};
    }
  }
  if (pieces > 1 && pieces != static_cast<int>(digits.size())) return {};  // "10 2": numbers, no colours
  return digits;
}

// What stands below the header of a table in Markdown.
bool IsRuler(absl::string_view line) {
  return absl::StrContains(line, "--") && line.find_first_not_of("|:- \t\r") == absl::string_view::npos;
}

Rows FindLines(absl::string_view text) {
  Rows rows;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (IsRuler(line)) continue;
    std::vector<uint8_t> digits = DigitsOf(line);
    if (!digits.empty()) {
      rows.push_back(std::move(digits));
    } else if (!rows.empty()) {
      break;
    }
  }
  return rows;
}

}  // namespace

absl::StatusOr<Grid> ParseAnswer(absl::string_view text) {
  constexpr size_t kShown = 60;
  std::optional<Rows> list = FindList(text);
  const Rows rows = list.has_value() ? *std::move(list) : FindLines(text);
  if (rows.empty()) {
    return text::InvalidArgument("the answer holds no grid: \"", absl::CHexEscape(text.substr(0, kShown)),
                                 text.size() > kShown ? "...\"" : "\"");
  }
  if (rows.size() > kMaxSide || rows[0].size() > kMaxSide) {
    return text::InvalidArgument("the answer's grid has ", rows.size(), " rows of ", rows[0].size(),
                                 " cells: expected at most ", kMaxSide, " of ", kMaxSide);
  }
  Grid grid{static_cast<int>(rows.size()), static_cast<int>(rows[0].size()), {}};
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].size() != rows[0].size()) {
      return text::InvalidArgument("row ", r, " of the answer's grid has ", rows[r].size(), " cells, row 0 has ",
                                   rows[0].size());
    }
    grid.cells.insert(grid.cells.end(), rows[r].begin(), rows[r].end());
  }
  return grid;
}

}  // namespace rondo::arc
