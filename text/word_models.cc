// The two models without statistics: WordPiece takes the longest token that fits, again and again (BERT); WordLevel
// takes the whole word.
#include <algorithm>

#include "text/status.h"
#include "text/token_model.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

class WordPiece : public TokenModel {
 public:
  WordPiece(Vocabulary vocabulary, std::string unk_token, std::string prefix, int64_t max_chars)
      : TokenModel(std::move(vocabulary)),
        unk_token_(std::move(unk_token)),
        prefix_(std::move(prefix)),
        max_chars_(max_chars) {}

  absl::Status Tokenize(absl::string_view word, std::vector<Token>* tokens) const override {
    const size_t before = tokens->size();
    size_t begin = CountChars(word) <= max_chars_ ? 0 : word.size() + 1;
    while (begin < word.size()) {
      const size_t end = AppendLongest(word, begin, tokens);
      if (end == begin) break;
      begin = end;
    }
    if (begin == word.size()) return absl::OkStatus();
    // One part that fits nothing makes the whole word unknown.
    tokens->resize(before);
    RONDO_ASSIGN_OR_RETURN(const int64_t unk, RequiredId(unk_token_, "unknown token"));
    tokens->push_back({unk, unk_token_});
    return absl::OkStatus();
  }

 private:
  // Appends the longest token at `begin` and returns its end; `begin` if none fits.
  size_t AppendLongest(absl::string_view word, size_t begin, std::vector<Token>* tokens) const {
    std::string piece = begin > 0 ? prefix_ : "";
    const size_t prefix_size = piece.size();
    absl::StrAppend(&piece, word.substr(begin, vocabulary().longest_token()));
    while (piece.size() > prefix_size) {
      const auto id = vocabulary().IdOf(piece);
      if (id) {
        const size_t end = begin + piece.size() - prefix_size;
        tokens->push_back({*id, std::move(piece)});
        return end;
      }
      while (!IsCharStart(piece.back())) piece.pop_back();
      piece.pop_back();
    }
    return begin;
  }

  std::string unk_token_, prefix_;
  int64_t max_chars_;
};

class WordLevel : public TokenModel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token)
      : TokenModel(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  absl::Status Tokenize(absl::string_view word, std::vector<Token>* tokens) const override {
    if (const auto id = vocabulary().IdOf(word)) {
      tokens->push_back({*id, std::string(word)});
      return absl::OkStatus();
    }
    RONDO_ASSIGN_OR_RETURN(const int64_t unk, RequiredId(unk_token_, "unknown token"));
    tokens->push_back({unk, unk_token_});
    return absl::OkStatus();
  }

 private:
  std::string unk_token_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> WordPieceFromJson(const JsonView& json) {
  std::string unk_token = "[UNK]", prefix = "##";
  int64_t max_chars = 100;
  RONDO_RETURN_IF_ERROR(json.Read("unk_token", &unk_token));
  RONDO_RETURN_IF_ERROR(json.Read("continuing_subword_prefix", &prefix));
  RONDO_RETURN_IF_ERROR(json.Read("max_input_chars_per_word", &max_chars));
  RONDO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(json["vocab"]));
  return std::make_unique<WordPiece>(std::move(vocabulary), std::move(unk_token), std::move(prefix), max_chars);
}

absl::StatusOr<std::unique_ptr<TokenModel>> WordLevelFromJson(const JsonView& json) {
  std::string unk_token = "<unk>";
  RONDO_RETURN_IF_ERROR(json.Read("unk_token", &unk_token));
  RONDO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(json["vocab"]));
  return std::make_unique<WordLevel>(std::move(vocabulary), std::move(unk_token));
}

}  // namespace rondo::text
