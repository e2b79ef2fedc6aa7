// Upper, lower and title case of whole strings, as Python's str methods.
#ifndef RONDO_TEXT_JINJA_CASE_H_
#define RONDO_TEXT_JINJA_CASE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace rondo::text::jinja {

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
// The first character in title case, the others lower.
std::string Capitalize(absl::string_view text);
// Each run of letters capitalised.
std::string Title(absl::string_view text);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_CASE_H_
