// SentencePiece's compiled normalisation map ("precompiled_charsmap" of a tokenizer file): a double-array trie from
// character sequences to offsets into a block of NUL-terminated replacements.
#ifndef RONDO_TEXT_PRECOMPILED_H_
#define RONDO_TEXT_PRECOMPILED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/normalizer.h"

namespace rondo::text {

class Precompiled : public Normalizer {
 public:
  // `charsmap` is the decoded (not base64) block: uint32 bytes of the trie, the trie, the replacements.
  static absl::StatusOr<std::unique_ptr<Precompiled>> Create(absl::string_view charsmap);
  absl::Status Apply(std::string* text) const override;

 private:
  // What the shortest prefix of `key` that is in the map becomes.
  absl::optional<absl::string_view> Find(absl::string_view key) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_PRECOMPILED_H_
