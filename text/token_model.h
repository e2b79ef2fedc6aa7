// The third step of a tokenizer: words to tokens. BPE, Unigram, WordPiece and WordLevel.
#ifndef RONDO_TEXT_TOKEN_MODEL_H_
#define RONDO_TEXT_TOKEN_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "text/json.h"
#include "text/vocabulary.h"

namespace rondo::text {

struct Token {
  int64_t id = 0;
  std::string text;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of a word, which is valid UTF-8 and not empty.
  virtual absl::Status Tokenize(absl::string_view word, std::vector<Token>* tokens) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  // Appends <0xNN> for each byte, if the vocabulary has all of them.
  bool AppendByteTokens(absl::string_view bytes, std::vector<Token>* tokens) const;
  // The id of "unk_token" and the like, with an error that names it.
  absl::StatusOr<int64_t> RequiredId(absl::string_view token, absl::string_view role) const;

 private:
  Vocabulary vocabulary_;
};

// From the "model" of a tokenizer file.
absl::StatusOr<std::unique_ptr<TokenModel>> TokenModelFromJson(const JsonView& json);

absl::StatusOr<std::unique_ptr<TokenModel>> BpeFromJson(const JsonView& json);
absl::StatusOr<std::unique_ptr<TokenModel>> UnigramFromJson(const JsonView& json);
absl::StatusOr<std::unique_ptr<TokenModel>> WordPieceFromJson(const JsonView& json);
absl::StatusOr<std::unique_ptr<TokenModel>> WordLevelFromJson(const JsonView& json);

}  // namespace rondo::text

#endif  // RONDO_TEXT_TOKEN_MODEL_H_
