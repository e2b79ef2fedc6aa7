// Added tokens: texts that are tokens wherever they stand, before any other step ("<|im_start|>", "<mask>"). Special
// ones can be skipped when decoding. Those marked "normalized" are looked for in the normalised text, the others in the
// text as it came.
#ifndef RONDO_TEXT_ADDED_TOKENS_H_
#define RONDO_TEXT_ADDED_TOKENS_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/json.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace rondo::text {

class AddedTokens {
 public:
  // From the "added_tokens" of a tokenizer file. A token that the model has too keeps the model's id.
  static absl::StatusOr<AddedTokens> FromJson(const JsonView& json, const Vocabulary& vocabulary,
                                              const Normalizer* normalizer);

  // A part of a text: a token with its id, or the text between two.
  struct Section {
    Span span;
    absl::optional<int64_t> id;
  };
  // The sections cover the text. `normalized` chooses which tokens are looked for.
  std::vector<Section> Find(absl::string_view text, bool normalized) const;

  absl::optional<int64_t> IdOf(absl::string_view token) const;
  const std::string* TokenOf(int64_t id) const;
  bool IsSpecial(absl::string_view token) const { return special_.contains(token); }
  bool empty() const { return tokens_.empty(); }
  // Tokens that the model does not have.
  size_t beyond_vocabulary() const { return beyond_vocabulary_; }
  // -1 when there is none.
  int64_t max_id() const { return max_id_; }

 private:
  struct AddedToken {
    std::string content;
    int64_t id = 0;
    bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
  };
  static absl::StatusOr<AddedToken> TokenFromJson(const JsonView& json);

  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<std::string, int64_t> ids_;
  absl::flat_hash_map<int64_t, size_t> index_of_id_;
  absl::flat_hash_set<std::string> special_;
  Trie plain_, normalized_;  // values are indices into tokens_
  size_t beyond_vocabulary_ = 0;
  int64_t max_id_ = -1;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_ADDED_TOKENS_H_
