#include "text/jinja/source.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

constexpr absl::string_view kLocated = "rondo/jinja_place";

}  // namespace

Source::Source(absl::string_view text) : text_(absl::StrReplaceAll(ToValidUtf8(text), {{"\r\n", "\n"}, {"\r", "\n"}})) {
  if (!text_.empty() && text_.back() == '\n') text_.pop_back();
}

absl::Status Source::Locate(const absl::Status& status, size_t offset) const {
  if (status.ok() || status.GetPayload(kLocated)) return status;
  const absl::string_view before = absl::string_view(text_).substr(0, std::min(offset, text_.size()));
  const size_t line_start = before.rfind('\n') == absl::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const int64_t column = 1 + CountChars(before.substr(line_start));
  absl::Status located(status.code(), absl::StrCat("line ", line, ", column ", column, ": ", status.message()));
  located.SetPayload(kLocated, absl::Cord("1"));
  return located;
}

}  // namespace rondo::text::jinja
