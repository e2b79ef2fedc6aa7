// Tokens and their ids, both ways. Ids may have gaps; memory follows the number of tokens, never the largest id.
#ifndef RONDO_TEXT_VOCABULARY_H_
#define RONDO_TEXT_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/json.h"

namespace rondo::text {

inline constexpr int64_t kMaxTokenId = INT32_MAX;

class Vocabulary {
 public:
  using Entries = std::vector<std::pair<std::string, int64_t>>;
  // `path` is for messages. An id that two tokens share is an error; of two equal tokens the later one gives the id.
  static absl::StatusOr<Vocabulary> Create(Entries entries, absl::string_view path);
  // An object of token: id.
  static absl::StatusOr<Vocabulary> FromJson(const JsonView& json);

  absl::optional<int64_t> IdOf(absl::string_view token) const;
  // nullptr: no such id.
  const std::string* TokenOf(int64_t id) const;
  size_t size() const { return entries_.size(); }
  size_t longest_token() const { return longest_token_; }  // bytes

 private:
  Entries entries_;  // not changed after Create: ids_ refers to the strings
  absl::flat_hash_map<absl::string_view, int64_t> ids_;
  absl::flat_hash_map<int64_t, size_t> index_of_id_;
  size_t longest_token_ = 0;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_VOCABULARY_H_
