#include "text/token_model.h"

#include "absl/strings/str_format.h"
#include "text/status.h"

namespace rondo::text {

bool TokenModel::AppendByteTokens(absl::string_view bytes, std::vector<Token>* tokens) const {
  const size_t before = tokens->size();
  for (const char byte : bytes) {
    std::string token = absl::StrFormat("<0x%02X>", static_cast<unsigned char>(byte));
    const auto id = vocabulary_.IdOf(token);
    if (!id) {
      tokens->resize(before);
      return false;
    }
    tokens->push_back({*id, std::move(token)});
  }
  return true;
}

absl::StatusOr<int64_t> TokenModel::RequiredId(absl::string_view token, absl::string_view role) const {
  const auto id = vocabulary_.IdOf(token);
  if (!id) {
    return InvalidArgument("tokenizer: the text needs the ", role, " '", token, "', which is not in the vocabulary");
  }
  return *id;
}

absl::StatusOr<std::unique_ptr<TokenModel>> TokenModelFromJson(const JsonView& json) {
  if (json.json().object() == nullptr) return json.Expected("an object");
  std::string type;
  RONDO_RETURN_IF_ERROR(json.Read("type", &type));
  if (type.empty()) {  // old files leave it out; the fields tell
    const Json* vocab = json.json().Find("vocab");
    type = json.json().Find("merges") != nullptr                      ? "BPE"
           : vocab != nullptr && vocab->array() != nullptr            ? "Unigram"
           : json.json().Find("continuing_subword_prefix") != nullptr ? "WordPiece"
                                                                      : "WordLevel";
  }
  if (type == "BPE") return BpeFromJson(json);
  if (type == "Unigram") return UnigramFromJson(json);
  if (type == "WordPiece") return WordPieceFromJson(json);
  if (type == "WordLevel") return WordLevelFromJson(json);
  return Unimplemented(json.path(), ".type: unknown model '", type,
                       "' (expected BPE, Unigram, WordPiece or WordLevel)");
}

}  // namespace rondo::text
