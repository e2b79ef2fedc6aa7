#include "text/jinja/case.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

icu::UnicodeString Wide(absl::string_view text) {
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

std::string Narrow(const icu::UnicodeString& text) {
  std::string result;
  text.toUTF8String(result);
  return result;
}

}  // namespace

std::string Upper(absl::string_view text) { return Narrow(Wide(text).toUpper(icu::Locale::getRoot())); }
std::string Lower(absl::string_view text) { return Narrow(Wide(text).toLower(icu::Locale::getRoot())); }

std::string Capitalize(absl::string_view text) {
  if (text.empty()) return "";
  size_t rest = 0;
  std::string result;
  AppendUtf8(static_cast<char32_t>(u_totitle(static_cast<UChar32>(NextChar(text, &rest)))), &result);
  return result + Lower(text.substr(rest));
}

std::string Title(absl::string_view text) {
  std::string result;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<UChar32>(NextChar(text, &i));
    AppendUtf8(static_cast<char32_t>(in_word ? u_tolower(c) : u_totitle(c)), &result);
    in_word = u_hasBinaryProperty(c, UCHAR_CASED);
  }
  return result;
}

}  // namespace rondo::text::jinja
