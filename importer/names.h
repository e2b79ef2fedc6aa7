// Names from a model file in messages: a name may hold control characters, terminal escapes or megabytes.
#ifndef RONDO_IMPORTER_NAMES_H_
#define RONDO_IMPORTER_NAMES_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace rondo {

// Escaped and cut to 200 bytes, without quotes.
inline std::string Printable(absl::string_view text) {
  constexpr size_t kMaxBytes = 200;
  std::string escaped = absl::CHexEscape(text.substr(0, kMaxBytes));
  if (escaped.size() <= kMaxBytes && text.size() <= kMaxBytes) return escaped;
  escaped.resize(std::min(escaped.size(), kMaxBytes));
  return escaped + "...";
}

inline std::string Quote(absl::string_view text) { return absl::StrCat("\"", Printable(text), "\""); }

}  // namespace rondo

#endif  // RONDO_IMPORTER_NAMES_H_
