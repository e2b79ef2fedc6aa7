#include "text/byte_level.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<std::string, 256> text_of;
  std::array<int, kAlphabetEnd> byte_of;  // -1: no character of the alphabet

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      const char32_t c = printable ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(c, &text_of[byte]);
      byte_of[c] = byte;
    }
  }
};

const Alphabet& GetAlphabet() {
  static const Alphabet* const alphabet = new Alphabet();
  return *alphabet;
}

}  // namespace

std::string BytesToChars(absl::string_view text) {
  const Alphabet& alphabet = GetAlphabet();
  std::string chars;
  chars.reserve(text.size() + text.size() / 4);
  for (const char byte : text) chars += alphabet.text_of[static_cast<unsigned char>(byte)];
  return chars;
}

void AppendCharsAsBytes(absl::string_view token, std::string* bytes) {
  const Alphabet& alphabet = GetAlphabet();
  const size_t start = bytes->size();
  for (size_t i = 0; i < token.size();) {
    const char32_t c = NextChar(token, &i);
    if (c >= kAlphabetEnd || alphabet.byte_of[c] < 0) {
      bytes->resize(start);
      absl::StrAppend(bytes, token);
      return;
    }
    bytes->push_back(static_cast<char>(alphabet.byte_of[c]));
  }
}

}  // namespace rondo::text
