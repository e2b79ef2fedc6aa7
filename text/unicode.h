// Characters and UTF-8. Everywhere behind Tokenizer::Encode text is valid UTF-8: what is not becomes U+FFFD at the door
// (one per maximal ill-formed part, as the Unicode standard and Hugging Face have it).
#ifndef RONDO_TEXT_UNICODE_H_
#define RONDO_TEXT_UNICODE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace rondo::text {

inline constexpr absl::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD

// Bytes of the character that starts with `lead`, in valid UTF-8.
inline size_t CharLength(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
// Whether `byte` starts a character (in valid UTF-8).
inline bool IsCharStart(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }
// The character at `*position` of valid UTF-8; moves past it.
char32_t NextChar(absl::string_view text, size_t* position);
// The last character of valid, non-empty UTF-8.
char32_t LastChar(absl::string_view text);
void AppendUtf8(char32_t c, std::string* text);
int64_t CountChars(absl::string_view text);

bool IsValidUtf8(absl::string_view text);
std::string ToValidUtf8(absl::string_view text);
// Moves from `bytes` to `text` all that is decided: characters, and U+FFFD for ill-formed parts. At most three bytes
// stay, the beginning of a character; with `at_end` none, they are ill-formed then.
void DrainUtf8(std::string* bytes, bool at_end, std::string* text);

// As Rust's char methods and the regular expressions \s and \w.
bool IsWhitespace(char32_t c);
bool IsWordChar(char32_t c);
bool IsNumeric(char32_t c);      // general category N
bool IsPunctuation(char32_t c);  // general category P, and all of ASCII's punctuation
bool IsMark(char32_t c);         // general category M
bool IsNonspacingMark(char32_t c);
bool IsControl(char32_t c);  // Cc, Cf, Co
// Character by character, without context (no final sigma), as Rust's char::to_lowercase.
std::string ToLower(absl::string_view text);

}  // namespace rondo::text

#endif  // RONDO_TEXT_UNICODE_H_
