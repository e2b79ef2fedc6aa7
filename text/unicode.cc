#include "text/unicode.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace rondo::text {
namespace {

const uint8_t* Bytes(absl::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// Appends to `text` all characters of `bytes` before `end`, U+FFFD for what is none.
void AppendLossy(absl::string_view bytes, std::string* text) {
  const int64_t length = static_cast<int64_t>(bytes.size());
  for (int64_t i = 0; i < length;) {
    const int64_t start = i;
    UChar32 c;
    U8_NEXT(Bytes(bytes), i, length, c);
    if (c < 0) {
      text->append(kReplacementCharacter.data(), kReplacementCharacter.size());
    } else {
      text->append(bytes.data() + start, i - start);
    }
  }
}

}  // namespace

char32_t NextChar(absl::string_view text, size_t* position) {
  UChar32 c;
  int64_t i = static_cast<int64_t>(*position);
  U8_NEXT_OR_FFFD(Bytes(text), i, static_cast<int64_t>(text.size()), c);
  *position = static_cast<size_t>(i);
  return static_cast<char32_t>(c);
}

char32_t LastChar(absl::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && !IsCharStart(text[start])) --start;
  return NextChar(text, &start);
}

void AppendUtf8(char32_t c, std::string* text) {
  char buffer[U8_MAX_LENGTH];
  int length = 0;
  U8_APPEND_UNSAFE(reinterpret_cast<uint8_t*>(buffer), length, static_cast<uint32_t>(c));
  text->append(buffer, length);
}

int64_t CountChars(absl::string_view text) {
  int64_t count = 0;
  for (char byte : text) count += IsCharStart(byte);
  return count;
}

bool IsValidUtf8(absl::string_view text) {
  const int64_t length = static_cast<int64_t>(text.size());
  for (int64_t i = 0; i < length;) {
    UChar32 c;
    U8_NEXT(Bytes(text), i, length, c);
    if (c < 0) return false;
  }
  return true;
}

std::string ToValidUtf8(absl::string_view text) {
  if (IsValidUtf8(text)) return std::string(text);
  std::string valid;
  AppendLossy(text, &valid);
  return valid;
}

void DrainUtf8(std::string* bytes, bool at_end, std::string* text) {
  size_t keep = 0;
  if (!at_end) {
    // A lead byte among the last three that promises more than follows, where what follows fits so far.
    for (size_t back = 1; back <= 3 && back <= bytes->size(); ++back) {
      const char byte = (*bytes)[bytes->size() - back];
      if (!IsCharStart(byte)) continue;
      const auto lead = static_cast<unsigned char>(byte);
      if (lead < 0xc2 || lead > 0xf4 || CharLength(byte) <= back) break;
      // The second byte is restricted after some leads; a pair that no third byte can save is decided already.
      if (back >= 2) {
        const auto second = static_cast<uint8_t>((*bytes)[bytes->size() - back + 1]);
        const bool valid =
            lead < 0xf0 ? U8_IS_VALID_LEAD3_AND_T1(lead, second) != 0 : U8_IS_VALID_LEAD4_AND_T1(lead, second) != 0;
        if (!valid) break;
      }
      keep = back;
      break;
    }
  }
  AppendLossy(absl::string_view(*bytes).substr(0, bytes->size() - keep), text);
  bytes->erase(0, bytes->size() - keep);
}

bool IsWhitespace(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }

bool IsWordChar(char32_t c) {
  const auto point = static_cast<UChar32>(c);
  return u_hasBinaryProperty(point, UCHAR_ALPHABETIC) ||
         (U_GET_GC_MASK(point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL);
}

bool IsNumeric(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }

bool IsPunctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0;
}

bool IsMark(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0; }
bool IsNonspacingMark(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_NON_SPACING_MARK; }
bool IsControl(char32_t c) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0;
}

std::string ToLower(absl::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = NextChar(text, &i);
    if (c == 0x130) {  // the one character whose lower case is always two
      lower += "i\xcc\x87";
    } else {
      AppendUtf8(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))), &lower);
    }
  }
  return lower;
}

}  // namespace rondo::text
