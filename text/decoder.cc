#include "text/decoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/types/optional.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/pre_tokenizer.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxStages = 64;

// For stages that need a whole token.
class TokenStage : public DecoderStage {
 public:
  absl::Status Append(absl::string_view fragment) override {
    absl::StrAppend(&token_, fragment);
    return absl::OkStatus();
  }
  absl::Status EndToken() override {
    const std::string token = std::move(token_);
    token_.clear();
    return OnToken(token);
  }
  absl::Status Finish() override {
    RONDO_RETURN_IF_ERROR(OnFinish());
    return next().Finish();
  }

 protected:
  virtual absl::Status OnToken(const std::string& token) = 0;
  virtual absl::Status OnFinish() { return absl::OkStatus(); }

 private:
  std::string token_;
};

class Collect : public DecoderStage {
 public:
  explicit Collect(std::string* text) : text_(text) {}
  absl::Status Append(absl::string_view fragment) override {
    absl::StrAppend(text_, fragment);
    return absl::OkStatus();
  }
  absl::Status EndToken() override { return absl::OkStatus(); }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  std::string* text_;
};

// For tokenizers without a decoder.
class JoinWithSpaces : public TokenStage {
  absl::Status OnToken(const std::string& token) override {
    if (!first_) RONDO_RETURN_IF_ERROR(next().Append(" "));
    first_ = false;
    return Pass(token);
  }
  bool first_ = true;
};

class Fuse : public DecoderStage {
 public:
  absl::Status Append(absl::string_view fragment) override { return next().Append(fragment); }
  absl::Status EndToken() override { return absl::OkStatus(); }
  absl::Status Finish() override {
    RONDO_RETURN_IF_ERROR(next().EndToken());
    return next().Finish();
  }
};

// Characters of the byte alphabet become bytes; the bytes of all tokens are one text.
class ByteLevel : public TokenStage {
  absl::Status OnToken(const std::string& token) override {
    AppendCharsAsBytes(token, &bytes_);
    return Drain(/*at_end=*/false);
  }
  absl::Status OnFinish() override {
    RONDO_RETURN_IF_ERROR(Drain(/*at_end=*/true));
    return next().EndToken();
  }
  absl::Status Drain(bool at_end) {
    std::string text;
    DrainUtf8(&bytes_, at_end, &text);
    return text.empty() ? absl::OkStatus() : next().Append(text);
  }
  std::string bytes_;
};

absl::optional<char> ByteOfToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>') return absl::nullopt;
  int value = 0;
  for (const char digit : token.substr(3, 2)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return absl::nullopt;
    value = value * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

// A run of byte tokens is a text if it is valid UTF-8 as a whole, else a U+FFFD each: what it is shows at its end.
class ByteFallback : public TokenStage {
  absl::Status OnToken(const std::string& token) override {
    if (const auto byte = ByteOfToken(token)) {
      run_.push_back(*byte);
      return absl::OkStatus();
    }
    RONDO_RETURN_IF_ERROR(EndRun());
    return Pass(token);
  }
  absl::Status OnFinish() override { return EndRun(); }
  absl::Status EndRun() {
    const std::string run = std::move(run_);
    run_.clear();
    if (run.empty()) return absl::OkStatus();
    if (IsValidUtf8(run)) return Pass(run);
    for (size_t i = 0; i < run.size(); ++i) RONDO_RETURN_IF_ERROR(Pass(kReplacementCharacter));
    return absl::OkStatus();
  }
  std::string run_;
};

class Metaspace : public TokenStage {
 public:
  explicit Metaspace(MetaspaceOptions options) : options_(std::move(options)) {}

 private:
  absl::Status OnToken(const std::string& token) override {
    // The space that encoding put before the text goes again.
    const bool drop = first_ && options_.prepend != MetaspaceOptions::Prepend::kNever;
    first_ = false;
    return Pass(absl::StrReplaceAll(token, {{options_.replacement, drop ? "" : " "}}));
  }
  MetaspaceOptions options_;
  bool first_ = true;
};

// English contractions and punctuation that were cut off come back. One rule after the other, over the whole token.
std::string CleanUp(std::string token) {
  constexpr std::pair<absl::string_view, absl::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& rule : kRules) token = absl::StrReplaceAll(token, {rule});
  return token;
}

class WordPiece : public TokenStage {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

 private:
  absl::Status OnToken(const std::string& token) override {
    std::string text = token;
    if (!first_) {
      if (absl::StartsWith(text, prefix_)) {
        text.erase(0, prefix_.size());
      } else {
        text.insert(0, " ");
      }
    }
    first_ = false;
    return Pass(cleanup_ ? CleanUp(std::move(text)) : text);
  }
  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

// The suffix marks the ends of words: a space there, but none after the last token, so one token waits.
class BpeSuffix : public TokenStage {
 public:
  explicit BpeSuffix(std::string suffix) : suffix_(std::move(suffix)) {}

 private:
  absl::Status OnToken(const std::string& token) override {
    RONDO_RETURN_IF_ERROR(PassWaiting(" "));
    waiting_ = token;
    return absl::OkStatus();
  }
  absl::Status OnFinish() override { return PassWaiting(""); }
  absl::Status PassWaiting(absl::string_view end_of_word) {
    if (!waiting_) return absl::OkStatus();
    const std::string token = std::move(*waiting_);
    waiting_.reset();
    return Pass(suffix_.empty() ? token : absl::StrReplaceAll(token, {{suffix_, end_of_word}}));
  }
  std::string suffix_;
  absl::optional<std::string> waiting_;
};

// Connectionist temporal classification: repeated tokens count once, the padding token separates.
class Ctc : public TokenStage {
 public:
  Ctc(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}

 private:
  absl::Status OnToken(const std::string& token) override {
    if (last_ && *last_ == token) return absl::OkStatus();
    last_ = token;
    std::string text = pad_.empty() ? token : absl::StrReplaceAll(token, {{pad_, ""}});
    if (cleanup_) {
      text = CleanUp(std::move(text));
      if (!delimiter_.empty()) text = absl::StrReplaceAll(text, {{delimiter_, " "}});
    }
    return text.empty() ? absl::OkStatus() : Pass(text);
  }
  std::string pad_, delimiter_;
  bool cleanup_;
  absl::optional<std::string> last_;
};

// A literal can be replaced while its token still comes, behind Fuse say: only what may be the beginning of a match
// waits.
class ReplaceLiteral : public DecoderStage {
 public:
  ReplaceLiteral(std::string literal, std::string content)
      : literal_(std::move(literal)), content_(std::move(content)) {}

  absl::Status Append(absl::string_view fragment) override {
    absl::StrAppend(&waiting_, fragment);
    std::string text;
    size_t done = 0;
    for (size_t at; (at = waiting_.find(literal_, done)) != std::string::npos; done = at + literal_.size()) {
      absl::StrAppend(&text, absl::string_view(waiting_).substr(done, at - done), content_);
    }
    size_t keep = std::min(literal_.size() - 1, waiting_.size() - done);
    while (keep > 0 && !absl::EndsWith(waiting_, absl::string_view(literal_).substr(0, keep))) --keep;
    absl::StrAppend(&text, absl::string_view(waiting_).substr(done, waiting_.size() - keep - done));
    waiting_.erase(0, waiting_.size() - keep);
    return text.empty() ? absl::OkStatus() : next().Append(text);
  }
  absl::Status EndToken() override {
    const std::string rest = std::move(waiting_);
    waiting_.clear();
    return Pass(rest);
  }
  absl::Status Finish() override { return next().Finish(); }

 private:
  std::string literal_, content_;
  std::string waiting_;
};

class ReplaceRegex : public TokenStage {
 public:
  ReplaceRegex(const Pattern& pattern, std::string content) : finder_(pattern), content_(std::move(content)) {}

 private:
  absl::Status OnToken(const std::string& token) override {
    RONDO_ASSIGN_OR_RETURN(const std::string replaced, ReplaceAll(finder_, token, content_));
    return Pass(replaced);
  }
  Pattern::Finder finder_;
  std::string content_;
};

// Takes up to `start` of a character from a token's beginning and up to `stop` from its end.
class Strip : public DecoderStage {
 public:
  Strip(std::string content, size_t start, size_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}

  absl::Status Append(absl::string_view fragment) override {
    while (leading_ < start_ && absl::StartsWith(fragment, content_)) {
      fragment.remove_prefix(content_.size());
      ++leading_;
    }
    if (fragment.empty()) return absl::OkStatus();
    leading_ = start_;
    // At most `stop` of the character may be the end's and wait.
    std::string text;
    if (!IsAllContent(fragment)) {
      for (; trailing_ > 0; --trailing_) absl::StrAppend(&text, content_);
    }
    size_t end = fragment.size();
    size_t run = 0;
    while (run < stop_ && end >= content_.size() &&
           fragment.substr(end - content_.size(), content_.size()) == content_) {
      end -= content_.size();
      ++run;
    }
    absl::StrAppend(&text, fragment.substr(0, end));
    trailing_ += run;
    for (; trailing_ > stop_; --trailing_) absl::StrAppend(&text, content_);
    return text.empty() ? absl::OkStatus() : next().Append(text);
  }
  absl::Status EndToken() override {
    leading_ = trailing_ = 0;
    return next().EndToken();
  }
  absl::Status Finish() override { return next().Finish(); }

 private:
  bool IsAllContent(absl::string_view fragment) const {
    while (absl::StartsWith(fragment, content_)) fragment.remove_prefix(content_.size());
    return fragment.empty();
  }
  std::string content_;
  size_t start_, stop_;
  size_t leading_ = 0;   // taken from this token's beginning
  size_t trailing_ = 0;  // waiting to be the end
};

using Maker = std::function<std::unique_ptr<DecoderStage>()>;

template <typename Stage, typename... Args>
Maker MakerOf(Args... args) {
  return [args...] { return std::make_unique<Stage>(args...); };
}

absl::StatusOr<Maker> ReplaceFromJson(const JsonView& json) {
  RONDO_ASSIGN_OR_RETURN(Pattern parsed, Pattern::FromJson(json["pattern"]));
  RONDO_ASSIGN_OR_RETURN(const std::string content, json.String("content"));
  if (parsed.literal() == nullptr) {
    const auto pattern = std::make_shared<const Pattern>(std::move(parsed));
    return Maker([pattern, content] { return std::make_unique<ReplaceRegex>(*pattern, content); });
  }
  if (parsed.literal()->empty()) return json["pattern"].Expected("a pattern that is not empty");
  return MakerOf<ReplaceLiteral>(*parsed.literal(), content);
}

absl::StatusOr<Maker> StripFromJson(const JsonView& json) {
  RONDO_ASSIGN_OR_RETURN(const std::string content, json.String("content"));
  if (CountChars(content) != 1) return InvalidArgument(json.path(), ".content: expected one character");
  int64_t start = 0, stop = 0;
  RONDO_RETURN_IF_ERROR(json.Read("start", &start));
  RONDO_RETURN_IF_ERROR(json.Read("stop", &stop));
  if (start < 0 || stop < 0) {
    return OutOfRange(json.path(), ": start ", start, ", stop ", stop);
  }
  return MakerOf<Strip>(content, static_cast<size_t>(start), static_cast<size_t>(stop));
}

absl::Status AppendStages(const JsonView& json, int depth, std::vector<Maker>* makers);

absl::StatusOr<Maker> StageFromJson(const JsonView& json, const std::string& type) {
  if (type == "ByteLevel") return MakerOf<ByteLevel>();
  if (type == "ByteFallback") return MakerOf<ByteFallback>();
  if (type == "Fuse") return MakerOf<Fuse>();
  if (type == "Replace") return ReplaceFromJson(json);
  if (type == "Strip") return StripFromJson(json);
  if (type == "Metaspace") {
    RONDO_ASSIGN_OR_RETURN(const MetaspaceOptions options, MetaspaceFromJson(json));
    return MakerOf<Metaspace>(options);
  }
  if (type == "WordPiece") {
    std::string prefix = "##";
    bool cleanup = true;
    RONDO_RETURN_IF_ERROR(json.Read("prefix", &prefix));
    RONDO_RETURN_IF_ERROR(json.Read("cleanup", &cleanup));
    return MakerOf<WordPiece>(prefix, cleanup);
  }
  if (type == "BPEDecoder") {
    std::string suffix = "</w>";
    RONDO_RETURN_IF_ERROR(json.Read("suffix", &suffix));
    return MakerOf<BpeSuffix>(suffix);
  }
  if (type == "CTC") {
    std::string pad = "<pad>", delimiter = "|";
    bool cleanup = true;
    RONDO_RETURN_IF_ERROR(json.Read("pad_token", &pad));
    RONDO_RETURN_IF_ERROR(json.Read("word_delimiter_token", &delimiter));
    RONDO_RETURN_IF_ERROR(json.Read("cleanup", &cleanup));
    return MakerOf<Ctc>(pad, delimiter, cleanup);
  }
  return Unimplemented(json.path(), ": unknown decoder '", type, "'");
}

absl::Status AppendStages(const JsonView& json, int depth, std::vector<Maker>* makers) {
  RONDO_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (type != "Sequence") {
    if (makers->size() == kMaxStages) return ResourceExhausted(json.path(), ": more than ", kMaxStages, " decoders");
    RONDO_ASSIGN_OR_RETURN(Maker maker, StageFromJson(json, type));
    makers->push_back(std::move(maker));
    return absl::OkStatus();
  }
  if (depth == kMaxDepth) return InvalidArgument(json.path(), ": sequences nested more than ", kMaxDepth, " deep");
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json["decoders"].Elements());
  for (const JsonView& element : elements) RONDO_RETURN_IF_ERROR(AppendStages(element, depth + 1, makers));
  return absl::OkStatus();
}

}  // namespace

absl::Status DecoderStage::Pass(absl::string_view token) {
  RONDO_RETURN_IF_ERROR(next().Append(token));
  return next().EndToken();
}

absl::StatusOr<Decoder> Decoder::FromJson(const JsonView& json) {
  Decoder decoder;
  if (json.is_null()) {
    decoder.makers_.push_back(MakerOf<JoinWithSpaces>());
  } else {
    RONDO_RETURN_IF_ERROR(AppendStages(json, 0, &decoder.makers_));
  }
  return decoder;
}

Decoder::Pipeline Decoder::Start() const {
  Pipeline pipeline;
  pipeline.text_ = std::make_unique<std::string>();
  for (const Maker& maker : makers_) pipeline.stages_.push_back(maker());
  pipeline.stages_.push_back(std::make_unique<Collect>(pipeline.text_.get()));
  for (size_t i = 0; i + 1 < pipeline.stages_.size(); ++i) pipeline.stages_[i]->set_next(pipeline.stages_[i + 1].get());
  return pipeline;
}

absl::Status Decoder::Pipeline::Push(absl::string_view token) {
  RONDO_RETURN_IF_ERROR(stages_.front()->Append(token));
  return stages_.front()->EndToken();
}

absl::Status Decoder::Pipeline::Finish() { return stages_.front()->Finish(); }

std::string Decoder::Pipeline::Take() {
  std::string text = std::move(*text_);
  text_->clear();
  return text;
}

}  // namespace rondo::text
