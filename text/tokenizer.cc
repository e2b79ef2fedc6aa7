// Encoding: added tokens are cut out, the rest is normalised, cut into words, and each word tokenized by the model;
// then the post-processor puts special tokens around.
#include "text/tokenizer.h"

#include <sys/stat.h>

#include "absl/container/flat_hash_map.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/json.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/status.h"
#include "text/token_model.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 28;
// Words repeat; the cache lives for one Encode, so that a tokenizer needs no lock.
constexpr size_t kMaxCachedWords = 20000;
constexpr size_t kMaxCachedWordBytes = 256;

using ChatTemplates = std::map<std::string, std::string>;  // by name

bool FileExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// A token in a config: its text, or {"content": text, ...}.
const std::string* TokenText(const Json& json) {
  const Json* content = json.Find("content");
  return content != nullptr ? content->string() : json.string();
}

// Members "*_token"; those already there stay.
void ReadSpecialTokens(const Json& config, std::map<std::string, std::string>* tokens) {
  const Json::Object* members = config.object();
  if (members == nullptr) return;
  for (const auto& [name, value] : *members) {
    constexpr absl::string_view kSuffix = "_token";
    const bool named = name.size() > kSuffix.size() && name.compare(name.size() - kSuffix.size(), std::string::npos,
                                                                    kSuffix.data(), kSuffix.size()) == 0;
    if (const std::string* text = TokenText(value); named && text != nullptr) tokens->emplace(name, *text);
  }
}

// A string, or a list of {"name": ..., "template": ...}.
absl::Status ReadChatTemplates(const JsonView& json, ChatTemplates* templates) {
  if (json.is_null()) return absl::OkStatus();
  if (const std::string* source = json.json().string()) {
    (*templates)["default"] = *source;
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json.Elements());
  for (const JsonView& element : elements) {
    RONDO_ASSIGN_OR_RETURN(const std::string name, element.String("name"));
    RONDO_ASSIGN_OR_RETURN((*templates)[name], element.String("template"));
  }
  return absl::OkStatus();
}

}  // namespace

struct Tokenizer::Parts {
  std::unique_ptr<Normalizer> normalizer;         // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;    // may be null
  std::unique_ptr<PostProcessor> post_processor;  // may be null
  std::unique_ptr<TokenModel> model;
  AddedTokens added;
  Decoder decoder;
  std::map<std::string, std::string> special_tokens;
  ChatTemplates chat_templates;

  absl::Status ReadTokenizer(const JsonView& json);
  absl::Status ReadConfig(const JsonView& json);

  absl::StatusOr<TokenSequence> Tokenize(absl::string_view text) const;
  absl::StatusOr<Encoding> Encode(const std::vector<absl::string_view>& texts, bool add_special_tokens) const;
  absl::StatusOr<const std::string*> TokenToDecode(int64_t id, const DecodeOptions& options) const;

 private:
  class WordTokenizer;
  absl::StatusOr<std::vector<Word>> Words(std::string text, bool at_start) const;
};

// Tokenizes words, remembering those it has seen.
class Tokenizer::Parts::WordTokenizer {
 public:
  WordTokenizer(const TokenModel& model, TokenSequence* out) : model_(model), out_(*out) {}

  absl::Status Add(const std::string& word) {
    if (const auto at = cache_.find(word); at != cache_.end()) {
      Emit(at->second);
      return absl::OkStatus();
    }
    std::vector<Token> tokens;
    RONDO_RETURN_IF_ERROR(model_.Tokenize(word, &tokens));
    Emit(tokens);
    if (word.size() <= kMaxCachedWordBytes && cache_.size() < kMaxCachedWords) cache_.emplace(word, std::move(tokens));
    return absl::OkStatus();
  }

 private:
  void Emit(const std::vector<Token>& tokens) {
    for (const Token& token : tokens) out_.push_back({token, 0});
  }
  const TokenModel& model_;
  TokenSequence& out_;
  absl::flat_hash_map<std::string, std::vector<Token>> cache_;
};

absl::Status Tokenizer::Parts::ReadTokenizer(const JsonView& json) {
  if (json.json().object() == nullptr) return json.Expected("an object");
  RONDO_ASSIGN_OR_RETURN(normalizer, NormalizerFromJson(json["normalizer"]));
  RONDO_ASSIGN_OR_RETURN(pre_tokenizer, PreTokenizerFromJson(json["pre_tokenizer"]));
  RONDO_ASSIGN_OR_RETURN(post_processor, PostProcessorFromJson(json["post_processor"]));
  RONDO_ASSIGN_OR_RETURN(decoder, Decoder::FromJson(json["decoder"]));
  RONDO_ASSIGN_OR_RETURN(model, TokenModelFromJson(json["model"]));
  RONDO_ASSIGN_OR_RETURN(added, AddedTokens::FromJson(json["added_tokens"], model->vocabulary(), normalizer.get()));
  return absl::OkStatus();
}

absl::Status Tokenizer::Parts::ReadConfig(const JsonView& json) {
  if (json.json().object() == nullptr) return json.Expected("an object");
  ReadSpecialTokens(json.json(), &special_tokens);
  return ReadChatTemplates(json["chat_template"], &chat_templates);
}

absl::StatusOr<std::vector<Word>> Tokenizer::Parts::Words(std::string text, bool at_start) const {
  std::vector<Word> words;
  if (text.empty()) return words;
  words.push_back({std::move(text), at_start});
  if (pre_tokenizer != nullptr) RONDO_RETURN_IF_ERROR(pre_tokenizer->Apply(&words));
  return words;
}

absl::StatusOr<TokenSequence> Tokenizer::Parts::Tokenize(absl::string_view input) const {
  if (input.size() > kMaxTextBytes) {
    return ResourceExhausted("tokenizer: a text of ", input.size(), " bytes (expected at most ", kMaxTextBytes, ")");
  }
  const std::string text = ToValidUtf8(input);
  TokenSequence tokens;
  WordTokenizer word_tokenizer(*model, &tokens);
  const auto add_token = [&](int64_t id, absl::string_view matched) {
    tokens.push_back({{id, std::string(matched)}, 0});
  };
  for (const AddedTokens::Section& outer : added.Find(text, /*normalized=*/false)) {
    std::string section = text.substr(outer.span.begin, outer.span.end - outer.span.begin);
    if (outer.id) {
      add_token(*outer.id, section);
      continue;
    }
    if (normalizer != nullptr) RONDO_RETURN_IF_ERROR(normalizer->Apply(&section));
    for (const AddedTokens::Section& inner : added.Find(section, /*normalized=*/true)) {
      std::string part = section.substr(inner.span.begin, inner.span.end - inner.span.begin);
      if (inner.id) {
        add_token(*inner.id, part);
        continue;
      }
      const bool at_start = outer.span.begin == 0 && inner.span.begin == 0;
      RONDO_ASSIGN_OR_RETURN(const std::vector<Word> words, Words(std::move(part), at_start));
      for (const Word& word : words) RONDO_RETURN_IF_ERROR(word_tokenizer.Add(word.text));
    }
  }
  return tokens;
}

absl::StatusOr<Encoding> Tokenizer::Parts::Encode(const std::vector<absl::string_view>& texts,
                                                  bool add_special_tokens) const {
  std::vector<TokenSequence> sequences;
  for (size_t i = 0; i < texts.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(TokenSequence sequence, Tokenize(texts[i]));
    for (TypedToken& token : sequence) token.type_id = static_cast<int64_t>(i);
    sequences.push_back(std::move(sequence));
  }
  if (post_processor != nullptr) RONDO_RETURN_IF_ERROR(post_processor->Apply(add_special_tokens, &sequences));
  Encoding encoding;
  for (TokenSequence& sequence : sequences) {
    for (TypedToken& token : sequence) {
      encoding.ids.push_back(token.token.id);
      encoding.type_ids.push_back(token.type_id);
      encoding.tokens.push_back(std::move(token.token.text));
    }
  }
  return encoding;
}

// A null: the id is to be left out.
absl::StatusOr<const std::string*> Tokenizer::Parts::TokenToDecode(int64_t id, const DecodeOptions& options) const {
  const std::string* token = added.TokenOf(id);
  if (token == nullptr) token = model->vocabulary().TokenOf(id);
  if (token == nullptr) {
    if (options.skip_unknown_ids) return nullptr;
    return OutOfRange("decode: no token has id ", id, " (the vocabulary has ",
                      model->vocabulary().size() + added.beyond_vocabulary(), " tokens)");
  }
  return options.skip_special_tokens && added.IsSpecial(*token) ? nullptr : token;
}

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Parse(absl::string_view tokenizer_json,
                                                                  absl::string_view config_json) {
  auto parts = std::make_unique<Parts>();
  RONDO_ASSIGN_OR_RETURN(const Json tokenizer, ParseJson(tokenizer_json, "tokenizer"));
  RONDO_RETURN_IF_ERROR(parts->ReadTokenizer(JsonView(tokenizer, "tokenizer")));
  if (!config_json.empty()) {
    RONDO_ASSIGN_OR_RETURN(const Json config, ParseJson(config_json, "tokenizer_config"));
    RONDO_RETURN_IF_ERROR(parts->ReadConfig(JsonView(config, "tokenizer_config")));
  }
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::string& path) {
  struct stat info;
  const bool is_folder = stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  const std::string file = is_folder ? path + "/tokenizer.json" : path;
  const size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : file.substr(0, slash + 1);

  auto parts = std::make_unique<Parts>();
  RONDO_ASSIGN_OR_RETURN(const Json tokenizer, ReadJsonFile(file));
  RONDO_RETURN_IF_ERROR(parts->ReadTokenizer(JsonView(tokenizer, file)));
  // What is read first wins for special tokens, what is read last for the template.
  if (const std::string source = folder + "chat_template.json"; FileExists(source)) {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(source));
    RONDO_RETURN_IF_ERROR(ReadChatTemplates(JsonView(json, source)["chat_template"], &parts->chat_templates));
  }
  if (const std::string config = folder + "tokenizer_config.json"; FileExists(config)) {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(config));
    RONDO_RETURN_IF_ERROR(parts->ReadConfig(JsonView(json, config)));
  }
  if (const std::string map = folder + "special_tokens_map.json"; FileExists(map)) {
    RONDO_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(map));
    ReadSpecialTokens(json, &parts->special_tokens);
  }
  if (const std::string source = folder + "chat_template.jinja"; FileExists(source)) {
    RONDO_ASSIGN_OR_RETURN(parts->chat_templates["default"], ReadTextFile(source));
  }
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

absl::StatusOr<Encoding> Tokenizer::Encode(absl::string_view text, bool add_special_tokens) const {
  return parts_->Encode({text}, add_special_tokens);
}

absl::StatusOr<Encoding> Tokenizer::EncodePair(absl::string_view first, absl::string_view second,
                                               bool add_special_tokens) const {
  return parts_->Encode({first, second}, add_special_tokens);
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const int64_t> ids, DecodeOptions options) const {
  Decoder::Pipeline pipeline = parts_->decoder.Start();
  for (const int64_t id : ids) {
    RONDO_ASSIGN_OR_RETURN(const std::string* token, parts_->TokenToDecode(id, options));
    if (token != nullptr) RONDO_RETURN_IF_ERROR(pipeline.Push(*token));
  }
  RONDO_RETURN_IF_ERROR(pipeline.Finish());
  return pipeline.Take();
}

absl::optional<int64_t> Tokenizer::IdOf(absl::string_view token) const {
  const auto added = parts_->added.IdOf(token);
  return added ? added : parts_->model->vocabulary().IdOf(token);
}

const std::string* Tokenizer::TokenOf(int64_t id) const {
  const std::string* added = parts_->added.TokenOf(id);
  return added != nullptr ? added : parts_->model->vocabulary().TokenOf(id);
}

bool Tokenizer::IsSpecial(int64_t id) const {
  const std::string* token = TokenOf(id);
  return token != nullptr && parts_->added.IsSpecial(*token);
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(parts_->model->vocabulary().size() + parts_->added.beyond_vocabulary());
}

const std::map<std::string, std::string>& Tokenizer::special_tokens() const { return parts_->special_tokens; }

const std::string* Tokenizer::ChatTemplateSource(bool tools) const {
  const ChatTemplates& templates = parts_->chat_templates;
  auto at = tools ? templates.find("tool_use") : templates.end();
  if (at == templates.end()) at = templates.find("default");
  return at == templates.end() ? nullptr : &at->second;
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer> tokenizer;
  DecodeOptions options;
  Decoder::Pipeline pipeline;
};

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, DecodeOptions options)
    : state_(new State{tokenizer, options, tokenizer->parts_->decoder.Start()}) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

absl::StatusOr<std::string> StreamDecoder::Push(int64_t id) {
  RONDO_ASSIGN_OR_RETURN(const std::string* token, state_->tokenizer->parts_->TokenToDecode(id, state_->options));
  if (token == nullptr) return std::string();
  RONDO_RETURN_IF_ERROR(state_->pipeline.Push(*token));
  return state_->pipeline.Take();
}

absl::StatusOr<std::string> StreamDecoder::Finish() {
  RONDO_RETURN_IF_ERROR(state_->pipeline.Finish());
  return state_->pipeline.Take();
}

}  // namespace rondo::text
