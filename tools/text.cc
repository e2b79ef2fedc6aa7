#include "tools/text.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/command.h"

namespace rondo {
namespace {

// Bytes of the well-formed UTF-8 character at the start of `s`, 0 when there is none.
size_t Utf8Length(absl::string_view s) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) return 0;
  return length;
}

// Characters that move the cursor or reorder text: C0, DEL, C1, line and paragraph separators, direction marks.
bool IsControl(absl::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (character.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;
  if (character.size() != 3 || byte(0) != 0xe2) return false;
  const bool general =
      byte(1) == 0x80 && ((byte(2) >= 0x8b && byte(2) <= 0x8f) || (byte(2) >= 0xa8 && byte(2) <= 0xae));
  return general || (byte(1) == 0x81 && byte(2) >= 0xa0 && byte(2) <= 0xaf);
}

// Columns that `s` fills on a terminal, taking every character for one wide.
size_t DisplayWidth(absl::string_view s) {
  return std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace

std::string Printable(absl::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    size_t length = Utf8Length(text);
    std::string piece;
    if (length == 0 || IsControl(text.substr(0, length))) {
      length = std::max<size_t>(length, 1);
      for (char c : text.substr(0, length)) {
        if (c == '\n') {
          piece += "\\n";
        } else if (c == '\t') {
          piece += "\\t";
        } else {
          absl::StrAppendFormat(&piece, "\\x%02x", static_cast<unsigned char>(c));
        }
      }
    } else {
      piece = std::string(text.substr(0, length));
    }
    if (out.size() + piece.size() > max_bytes) return absl::StrCat(out, "...");
    out += piece;
    text.remove_prefix(length);
  }
  return out;
}

std::string BytesText(double bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) bytes /= 1024, ++unit;
  return unit == 0 ? absl::StrFormat("%.0f B", bytes) : absl::StrFormat("%.1f %s", bytes, kUnits[unit]);
}

std::string SecondsText(double seconds) {
  if (seconds < 1e-3) return absl::StrFormat("%.1f us", seconds * 1e6);
  if (seconds < 1) return absl::StrFormat("%.2f ms", seconds * 1e3);
  return absl::StrFormat("%.2f s", seconds);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

std::string CountText(int64_t count) {
  std::string digits = absl::StrCat(count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string TextTable::ToString(absl::string_view indent) const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], DisplayWidth(row[c]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line(indent);
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - DisplayWidth(row[c]), ' ');
      const bool right = c < alignment_.size() && alignment_[c] == 'r';
      absl::StrAppend(&line, c == 0 ? "" : "  ", right ? padding : "", row[c], right ? "" : padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, line, "\n");
  }
  return out;
}

void Print(absl::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int Fail(const absl::Status& status) {
  std::fflush(stdout);
  const std::string line = absl::StrCat("rondo: ", Printable(status.message(), 4000), "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  return kBadInput;
}

}  // namespace rondo
