// GPT-2's alphabet of bytes: each byte is written as one printable character, so that any byte string is a text without
// spaces and control characters. Printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up.
#ifndef RONDO_TEXT_BYTE_LEVEL_H_
#define RONDO_TEXT_BYTE_LEVEL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace rondo::text {

// Each byte of `text` as its character.
std::string BytesToChars(absl::string_view text);
// Appends the bytes that the characters of `token` stand for; a token with a character beyond the alphabet is taken as
// it is (special tokens are written so).
void AppendCharsAsBytes(absl::string_view token, std::string* bytes);

}  // namespace rondo::text

#endif  // RONDO_TEXT_BYTE_LEVEL_H_
