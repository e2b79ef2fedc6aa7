#include "text/added_tokens.h"

#include <algorithm>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

// A text is searched from every position: tokens longer than any real one would make that quadratic.
constexpr size_t kMaxContentBytes = 4096;

// Where the white space that ends at `end` begins, but not before `limit`.
size_t SpaceBefore(absl::string_view text, size_t end, size_t limit) {
  while (end > limit && IsWhitespace(LastChar(text.substr(0, end)))) {
    do {
      --end;
    } while (!IsCharStart(text[end]));
  }
  return end;
}

size_t SpaceAfter(absl::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t next = begin;
    if (!IsWhitespace(NextChar(text, &next))) break;
    begin = next;
  }
  return begin;
}

bool TouchesWord(absl::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsWordChar(LastChar(text.substr(0, begin)))) return true;
  return end < text.size() && IsWordChar(NextChar(text, &end));
}

}  // namespace

absl::StatusOr<AddedTokens::AddedToken> AddedTokens::TokenFromJson(const JsonView& json) {
  AddedToken token;
  RONDO_ASSIGN_OR_RETURN(token.content, json.String("content"));
  if (token.content.size() > kMaxContentBytes) {
    return ResourceExhausted(json.path(), ".content: ", token.content.size(), " bytes (expected at most ",
                             kMaxContentBytes, ")");
  }
  if (json["id"].json().integer() == nullptr) return json["id"].Expected("an integer");
  token.id = *json["id"].json().integer();
  if (token.id < 0 || token.id > kMaxTokenId) {
    return OutOfRange(json.path(), ".id: ", token.id, " (expected 0 to ", kMaxTokenId, ")");
  }
  RONDO_RETURN_IF_ERROR(json.Read("special", &token.special));
  token.normalized = !token.special;
  RONDO_RETURN_IF_ERROR(json.Read("single_word", &token.single_word));
  RONDO_RETURN_IF_ERROR(json.Read("lstrip", &token.lstrip));
  RONDO_RETURN_IF_ERROR(json.Read("rstrip", &token.rstrip));
  RONDO_RETURN_IF_ERROR(json.Read("normalized", &token.normalized));
  return token;
}

absl::StatusOr<AddedTokens> AddedTokens::FromJson(const JsonView& json, const Vocabulary& vocabulary,
                                                  const Normalizer* normalizer) {
  AddedTokens added;
  std::vector<std::pair<std::string, int64_t>> plain, normalized;
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json.Elements());
  for (const JsonView& element : elements) {
    RONDO_ASSIGN_OR_RETURN(AddedToken token, TokenFromJson(element));
    if (token.content.empty()) continue;
    if (const auto id = vocabulary.IdOf(token.content)) {
      token.id = *id;
    } else {
      if (const std::string* other = vocabulary.TokenOf(token.id)) {
        return InvalidArgument(element.path(), ": id ", token.id, " of '", token.content, "' belongs to '", *other,
                               "' of the vocabulary");
      }
      ++added.beyond_vocabulary_;
    }
    const size_t index = added.tokens_.size();
    if (added.ids_.contains(token.content)) {
      return InvalidArgument(element.path(), ": '", token.content, "' is added twice");
    }
    const auto [at, is_new] = added.index_of_id_.emplace(token.id, index);
    if (!is_new) {
      return InvalidArgument(element.path(), ": id ", token.id, " belongs to both '", added.tokens_[at->second].content,
                             "' and '", token.content, "'");
    }
    added.ids_[token.content] = token.id;
    added.max_id_ = std::max(added.max_id_, token.id);
    if (token.special) added.special_.insert(token.content);
    std::string key = token.content;
    if (token.normalized && normalizer != nullptr) RONDO_RETURN_IF_ERROR(normalizer->Apply(&key));
    (token.normalized ? normalized : plain).emplace_back(std::move(key), static_cast<int64_t>(index));
    added.tokens_.push_back(std::move(token));
  }
  added.plain_ = Trie(std::move(plain));
  added.normalized_ = Trie(std::move(normalized));
  return added;
}

std::vector<AddedTokens::Section> AddedTokens::Find(absl::string_view text, bool normalized) const {
  const Trie& trie = normalized ? normalized_ : plain_;
  std::vector<Section> sections;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    int64_t index = -1;
    trie.Prefixes(text.substr(at), [&](size_t prefix, int64_t value) {
      length = prefix;  // the longest counts
      index = value;
    });
    if (index < 0) {
      at += CharLength(text[at]);
      continue;
    }
    const AddedToken& token = tokens_[index];
    const size_t match = at;
    at += length;
    if (token.single_word && TouchesWord(text, match, at)) continue;
    const size_t begin = std::max(done, token.lstrip ? SpaceBefore(text, match, done) : match);
    if (token.rstrip) at = SpaceAfter(text, at);
    if (begin > done) sections.push_back({{done, begin}, absl::nullopt});
    sections.push_back({{begin, at}, token.id});
    done = at;
  }
  if (done < text.size()) sections.push_back({{done, text.size()}, absl::nullopt});
  return sections;
}

absl::optional<int64_t> AddedTokens::IdOf(absl::string_view token) const {
  const auto at = ids_.find(token);
  if (at == ids_.end()) return absl::nullopt;
  return at->second;
}

const std::string* AddedTokens::TokenOf(int64_t id) const {
  const auto at = index_of_id_.find(id);
  return at == index_of_id_.end() ? nullptr : &tokens_[at->second].content;
}

}  // namespace rondo::text
