#include "text/post_processor.h"

#include "absl/container/flat_hash_map.h"
#include "absl/types/optional.h"
#include "text/status.h"
#include "text/vocabulary.h"

namespace rondo::text {
namespace {

constexpr int kMaxDepth = 16;

// A template is a list of these: a sequence of the input, or special tokens.
struct Piece {
  absl::optional<size_t> sequence;
  std::vector<Token> special;
  int64_t type_id = 0;
};
using Template = std::vector<Piece>;

// Everything that surrounds is a template; the older processors are fixed ones.
class TemplateProcessor : public PostProcessor {
 public:
  TemplateProcessor(Template single, Template pair) : single_(std::move(single)), pair_(std::move(pair)) {}

  absl::Status Apply(bool add_special_tokens, std::vector<TokenSequence>* sequences) const override {
    if (sequences->empty() || sequences->size() > 2) {
      return absl::FailedPreconditionError("post_processor: two templates one after the other");
    }
    std::vector<TokenSequence> out;
    for (const Piece& piece : sequences->size() == 1 ? single_ : pair_) {
      if (piece.sequence) {
        if (*piece.sequence >= sequences->size()) {
          return InvalidArgument("post_processor: the template for one sequence names a second one");
        }
        TokenSequence sequence = (*sequences)[*piece.sequence];
        for (TypedToken& token : sequence) token.type_id = piece.type_id;
        out.push_back(std::move(sequence));
      } else if (add_special_tokens) {
        TokenSequence sequence;
        for (const Token& token : piece.special) sequence.push_back({token, piece.type_id});
        out.push_back(std::move(sequence));
      }
    }
    *sequences = std::move(out);
    return absl::OkStatus();
  }

 private:
  Template single_, pair_;
};

class Sequence : public PostProcessor {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PostProcessor>> parts) : parts_(std::move(parts)) {}
  absl::Status Apply(bool add_special_tokens, std::vector<TokenSequence>* sequences) const override {
    for (const auto& part : parts_) RONDO_RETURN_IF_ERROR(part->Apply(add_special_tokens, sequences));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> parts_;
};

absl::Status CheckId(int64_t id, absl::string_view path) {
  if (id < 0 || id > kMaxTokenId) return OutOfRange(path, ": id ", id, " (expected 0 to ", kMaxTokenId, ")");
  return absl::OkStatus();
}

// "special_tokens": {name: {"id": name, "ids": [...], "tokens": [...]}}.
absl::StatusOr<absl::flat_hash_map<std::string, std::vector<Token>>> SpecialTokensFromJson(const JsonView& json) {
  absl::flat_hash_map<std::string, std::vector<Token>> special;
  if (json.is_null()) return special;
  const Json::Object* members = json.json().object();
  if (members == nullptr) return json.Expected("an object");
  for (const auto& [name, value] : *members) {
    const JsonView entry = json[name];
    RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> ids, entry["ids"].Elements());
    RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> tokens, entry["tokens"].Elements());
    if (ids.size() != tokens.size()) {
      return InvalidArgument(entry.path(), ": ", ids.size(), " ids and ", tokens.size(), " tokens");
    }
    std::vector<Token>& list = special[name];
    list.clear();
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i].json().integer() == nullptr) return ids[i].Expected("an integer");
      if (tokens[i].json().string() == nullptr) return tokens[i].Expected("a string");
      RONDO_RETURN_IF_ERROR(CheckId(*ids[i].json().integer(), ids[i].path()));
      list.push_back({*ids[i].json().integer(), *tokens[i].json().string()});
    }
  }
  return special;
}

absl::StatusOr<Template> TemplateFromJson(const JsonView& json,
                                          const absl::flat_hash_map<std::string, std::vector<Token>>& special) {
  Template result;
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> pieces, json.Elements());
  for (const JsonView& element : pieces) {
    Piece piece;
    const JsonView sequence = element["Sequence"], token = element["SpecialToken"];
    const JsonView& body = sequence.is_null() ? token : sequence;
    if (body.is_null()) return element.Expected("{\"Sequence\": ...} or {\"SpecialToken\": ...}");
    RONDO_ASSIGN_OR_RETURN(const std::string id, body.String("id"));
    RONDO_RETURN_IF_ERROR(body.Read("type_id", &piece.type_id));
    if (!sequence.is_null()) {
      if (id != "A" && id != "B") return InvalidArgument(body.path(), ".id: '", id, "' (expected A or B)");
      piece.sequence = id == "A" ? 0 : 1;
    } else {
      const auto at = special.find(id);
      if (at == special.end()) return InvalidArgument(body.path(), ".id: '", id, "' is not among special_tokens");
      piece.special = at->second;
    }
    result.push_back(std::move(piece));
  }
  return result;
}

// ["[SEP]", 102].
absl::StatusOr<Piece> TokenPairFromJson(const JsonView& json, int64_t type_id) {
  const Json::Array* pair = json.json().array();
  if (pair == nullptr || pair->size() != 2 || (*pair)[0].string() == nullptr || (*pair)[1].integer() == nullptr) {
    return json.Expected("[token, id]");
  }
  RONDO_RETURN_IF_ERROR(CheckId(*(*pair)[1].integer(), json.path()));
  return Piece{absl::nullopt, {{*(*pair)[1].integer(), *(*pair)[0].string()}}, type_id};
}

// [CLS] A [SEP] B [SEP], or <s> A </s></s> B </s> with all types 0.
absl::StatusOr<std::unique_ptr<PostProcessor>> BertFromJson(const JsonView& json, bool roberta) {
  const int64_t second_type = roberta ? 0 : 1;
  RONDO_ASSIGN_OR_RETURN(const Piece cls, TokenPairFromJson(json["cls"], 0));
  RONDO_ASSIGN_OR_RETURN(const Piece sep, TokenPairFromJson(json["sep"], 0));
  RONDO_ASSIGN_OR_RETURN(const Piece last_sep, TokenPairFromJson(json["sep"], second_type));
  const Piece a{0, {}, 0}, b{1, {}, second_type};
  const Template single = {cls, a, sep};
  const Template pair = roberta ? Template{cls, a, sep, sep, b, sep} : Template{cls, a, sep, b, last_sep};
  return std::make_unique<TemplateProcessor>(single, pair);
}

absl::StatusOr<std::unique_ptr<PostProcessor>> FromJson(const JsonView& json, int depth) {
  RONDO_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (type == "Sequence") {
    if (depth == kMaxDepth) return InvalidArgument(json.path(), ": sequences nested more than ", kMaxDepth, " deep");
    RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json["processors"].Elements());
    std::vector<std::unique_ptr<PostProcessor>> parts;
    for (const JsonView& element : elements) {
      RONDO_ASSIGN_OR_RETURN(std::unique_ptr<PostProcessor> part, FromJson(element, depth + 1));
      parts.push_back(std::move(part));
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  // ByteLevel trims offsets, which are not kept here.
  if (type == "ByteLevel") return std::make_unique<Sequence>(std::vector<std::unique_ptr<PostProcessor>>());
  if (type == "BertProcessing") return BertFromJson(json, /*roberta=*/false);
  if (type == "RobertaProcessing") return BertFromJson(json, /*roberta=*/true);
  if (type == "TemplateProcessing") {
    RONDO_ASSIGN_OR_RETURN(const auto special, SpecialTokensFromJson(json["special_tokens"]));
    RONDO_ASSIGN_OR_RETURN(Template single, TemplateFromJson(json["single"], special));
    RONDO_ASSIGN_OR_RETURN(Template pair, TemplateFromJson(json["pair"], special));
    return std::make_unique<TemplateProcessor>(std::move(single), std::move(pair));
  }
  return Unimplemented(json.path(), ": unknown post-processor '", type, "'");
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostProcessor>> PostProcessorFromJson(const JsonView& json) {
  if (json.is_null()) return nullptr;
  return FromJson(json, 0);
}

}  // namespace rondo::text
