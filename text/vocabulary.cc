#include "text/vocabulary.h"

#include <algorithm>

#include "text/status.h"

namespace rondo::text {

absl::StatusOr<Vocabulary> Vocabulary::Create(Entries entries, absl::string_view path) {
  Vocabulary vocabulary;
  vocabulary.entries_ = std::move(entries);
  vocabulary.ids_.reserve(vocabulary.entries_.size());
  vocabulary.index_of_id_.reserve(vocabulary.entries_.size());
  for (size_t i = 0; i < vocabulary.entries_.size(); ++i) {
    const auto& [token, id] = vocabulary.entries_[i];
    if (id < 0 || id > kMaxTokenId) {
      return OutOfRange(path, ": token '", token, "' has id ", id, " (expected 0 to ", kMaxTokenId, ")");
    }
    const auto [at, is_new] = vocabulary.index_of_id_.emplace(id, i);
    if (!is_new && vocabulary.entries_[at->second].first != token) {
      return InvalidArgument(path, ": id ", id, " belongs to both '", vocabulary.entries_[at->second].first, "' and '",
                             token, "'");
    }
    vocabulary.ids_[token] = id;
    vocabulary.longest_token_ = std::max(vocabulary.longest_token_, token.size());
  }
  return vocabulary;
}

absl::StatusOr<Vocabulary> Vocabulary::FromJson(const JsonView& json) {
  const Json::Object* members = json.json().object();
  if (members == nullptr) return json.Expected("an object of tokens and ids");
  Entries entries;
  entries.reserve(members->size());
  for (const auto& [token, id] : *members) {
    if (id.integer() == nullptr) return JsonView(id, absl::StrCat(json.path(), ".", token)).Expected("an integer");
    entries.emplace_back(token, *id.integer());
  }
  return Create(std::move(entries), json.path());
}

absl::optional<int64_t> Vocabulary::IdOf(absl::string_view token) const {
  const auto at = ids_.find(token);
  if (at == ids_.end()) return absl::nullopt;
  return at->second;
}

const std::string* Vocabulary::TokenOf(int64_t id) const {
  const auto at = index_of_id_.find(id);
  return at == index_of_id_.end() ? nullptr : &entries_[at->second].first;
}

}  // namespace rondo::text
