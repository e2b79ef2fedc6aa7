// Hugging Face applies the map grapheme by grapheme: a grapheme of fewer than six bytes is looked up whole first, then
// each of its characters; and it takes the shortest prefix found, where SentencePiece takes the longest. The models
// were checked against that, so it is what counts here.
#include "text/precompiled.h"

#include <unicode/brkiter.h>
#include <unicode/unistr.h>

#include <cstring>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxGraphemeBytes = 6;

// Fields of a Darts-clone unit.
bool HasLeaf(uint32_t unit) { return ((unit >> 8) & 1) == 1; }
uint32_t Value(uint32_t unit) { return unit & ((1u << 31) - 1); }
uint32_t Label(uint32_t unit) { return unit & ((1u << 31) | 0xff); }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

absl::StatusOr<std::unique_ptr<Precompiled>> Precompiled::Create(absl::string_view charsmap) {
  uint32_t trie_bytes = 0;
  if (charsmap.size() >= sizeof(trie_bytes)) std::memcpy(&trie_bytes, charsmap.data(), sizeof(trie_bytes));
  if (charsmap.size() < sizeof(trie_bytes) || trie_bytes % 4 != 0 ||
      trie_bytes > charsmap.size() - sizeof(trie_bytes)) {
    return InvalidArgument("precompiled_charsmap: a trie of ", trie_bytes, " bytes in a block of ", charsmap.size());
  }
  auto map = std::make_unique<Precompiled>();
  map->units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map->units_.data(), charsmap.data() + 4, trie_bytes);
  map->replacements_ = std::string(charsmap.substr(4 + trie_bytes));
  if (!IsValidUtf8(map->replacements_))
    return InvalidArgument("precompiled_charsmap: replacements are not valid UTF-8");
  return map;
}

absl::optional<absl::string_view> Precompiled::Find(absl::string_view key) const {
  if (units_.empty()) return absl::nullopt;
  uint32_t at = Offset(units_[0]);
  for (const char c : key) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte == 0) return absl::nullopt;
    at ^= byte;
    if (at >= units_.size() || Label(units_[at]) != byte) return absl::nullopt;
    const uint32_t unit = units_[at];
    at ^= Offset(unit);
    if (at >= units_.size()) return absl::nullopt;
    if (HasLeaf(unit)) {
      const uint32_t begin = Value(units_[at]);
      if (begin > replacements_.size() || (begin < replacements_.size() && !IsCharStart(replacements_[begin]))) {
        return absl::nullopt;
      }
      const absl::string_view rest = absl::string_view(replacements_).substr(begin);
      return rest.substr(0, rest.find('\0'));
    }
  }
  return absl::nullopt;
}

absl::Status Precompiled::Apply(std::string* text) const {
  UErrorCode code = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> graphemes(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), code));
  if (U_FAILURE(code)) return absl::InternalError(absl::StrCat("ICU: ", u_errorName(code)));
  const icu::UnicodeString wide =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text->data(), static_cast<int32_t>(text->size())));
  graphemes->setText(wide);

  std::string result;
  size_t at = 0;
  int32_t unit = 0;
  for (int32_t end = graphemes->next(); end != icu::BreakIterator::DONE; end = graphemes->next()) {
    const size_t begin = at;
    for (; unit < end; at += CharLength((*text)[at])) unit += CharLength((*text)[at]) == 4 ? 2 : 1;
    const absl::string_view grapheme = absl::string_view(*text).substr(begin, at - begin);
    if (grapheme.size() < kMaxGraphemeBytes) {
      if (const auto found = Find(grapheme)) {
        absl::StrAppend(&result, *found);
        continue;
      }
    }
    for (size_t i = 0; i < grapheme.size();) {
      const absl::string_view character = grapheme.substr(i, CharLength(grapheme[i]));
      const auto found = Find(character);
      absl::StrAppend(&result, found ? *found : character);
      i += character.size();
    }
  }
  *text = std::move(result);
  return absl::OkStatus();
}

}  // namespace rondo::text
