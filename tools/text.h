// Text for people: names that came from a file made safe to print, numbers with units, aligned tables, errors.
#ifndef RONDO_TOOLS_TEXT_H_
#define RONDO_TOOLS_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rondo {

// `text` with control characters, terminal escapes and invalid UTF-8 written as \n, \x1b ...; cut to `max_bytes`.
std::string Printable(absl::string_view text, size_t max_bytes = 200);

// "1.5 KiB", "3.2 MiB".
std::string BytesText(double bytes);
// "12.3 us", "4.56 ms", "1.20 s".
std::string SecondsText(double seconds);
// "603648" -> "603,648".
std::string CountText(int64_t count);

double Median(std::vector<double> values);  // 0 of none

// Rows of equal length, the first of them the header; columns padded to their widest cell. `right_aligned` has one
// letter per column, 'r' or 'l'; columns beyond it are left-aligned.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header, absl::string_view alignment = "")
      : rows_{std::move(header)}, alignment_(alignment) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  std::string ToString(absl::string_view indent = "") const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::string alignment_;
};

// Writes to standard output; whether that worked is asked once, at the program's end.
void Print(absl::string_view text);

// Prints `rondo: <message>` as one line on standard error and returns kBadInput.
int Fail(const absl::Status& status);

}  // namespace rondo

#endif  // RONDO_TOOLS_TEXT_H_
