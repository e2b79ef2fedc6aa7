#include "text/pre_tokenizer.h"

#include <unicode/uscript.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr int kMaxDepth = 16;
// GPT-2's: contractions, letters, digits, other characters, each with one space before it; spaces.
constexpr absl::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kWordsRegex = R"(\w+|[^\w\s]+)";

void AppendPieces(const Word& word, const std::vector<Span>& pieces, std::vector<Word>* out) {
  for (const Span& piece : pieces) {
    out->push_back({word.text.substr(piece.begin, piece.end - piece.begin), word.at_start && piece.begin == 0});
  }
}

// Cuts each word by a pattern.
class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  absl::Status Apply(std::vector<Word>* words) const override {
    Pattern::Finder finder(pattern_);
    std::vector<Word> out;
    for (const Word& word : *words) {
      RONDO_ASSIGN_OR_RETURN(const std::vector<Span> matches, finder.FindAll(word.text));
      AppendPieces(word, JoinParts(CoverText(matches, word.text.size(), invert_), behavior_), &out);
    }
    *words = std::move(out);
    return absl::OkStatus();
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Cuts each word where a function says.
class FunctionSplit : public PreTokenizer {
 public:
  using Cut = std::function<std::vector<Span>(absl::string_view)>;
  explicit FunctionSplit(Cut cut) : cut_(std::move(cut)) {}

  absl::Status Apply(std::vector<Word>* words) const override {
    std::vector<Word> out;
    for (const Word& word : *words) AppendPieces(word, cut_(word.text), &out);
    *words = std::move(out);
    return absl::OkStatus();
  }

 private:
  Cut cut_;
};

std::unique_ptr<PreTokenizer> SplitByClass(bool (*in_class)(char32_t), SplitBehavior behavior) {
  return std::make_unique<FunctionSplit>(
      [in_class, behavior](absl::string_view text) { return JoinParts(PartsOfClass(text, in_class), behavior); });
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::unique_ptr<Split> split)
      : add_prefix_space_(add_prefix_space), split_(std::move(split)) {}

  absl::Status Apply(std::vector<Word>* words) const override {
    if (add_prefix_space_) {
      for (Word& word : *words) {
        if (word.text[0] != ' ') word.text.insert(0, " ");
      }
    }
    if (split_ != nullptr) RONDO_RETURN_IF_ERROR(split_->Apply(words));
    for (Word& word : *words) word.text = BytesToChars(word.text);
    return absl::OkStatus();
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<Split> split_;  // null: the words stay whole
};

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(MetaspaceOptions options)
      : options_(std::move(options)), separator_(Pattern::Literal(options_.replacement)) {}

  absl::Status Apply(std::vector<Word>* words) const override {
    using Prepend = MetaspaceOptions::Prepend;
    const std::string& replacement = options_.replacement;
    Pattern::Finder finder(separator_);
    std::vector<Word> out;
    for (Word& word : *words) {
      word.text = absl::StrReplaceAll(word.text, {{" ", replacement}});
      const bool prepend =
          options_.prepend == Prepend::kAlways || (options_.prepend == Prepend::kFirst && word.at_start);
      if (prepend && !absl::StartsWith(word.text, replacement)) word.text.insert(0, replacement);
      if (!options_.split) {
        out.push_back(std::move(word));
        continue;
      }
      RONDO_ASSIGN_OR_RETURN(const std::vector<Span> matches, finder.FindAll(word.text));
      AppendPieces(word, JoinParts(CoverText(matches, word.text.size(), false), SplitBehavior::kMergedWithNext), &out);
    }
    *words = std::move(out);
    return absl::OkStatus();
  }

 private:
  MetaspaceOptions options_;
  Pattern separator_;
};

// Cuts where the script changes, as SentencePiece's trainer does: spaces belong to any script, Japanese is one.
std::vector<Span> CutAtScripts(absl::string_view text) {
  constexpr UScriptCode kAny = USCRIPT_INVALID_CODE;
  UScriptCode last = kAny;
  bool any_yet = false;
  std::vector<Span> pieces;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const char32_t c = NextChar(text, &i);
    UErrorCode code = U_ZERO_ERROR;
    UScriptCode script = c == ' ' ? kAny : uscript_getScript(static_cast<UChar32>(c), &code);
    if (script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA || c == 0x30fc) script = USCRIPT_HAN;
    if (script != kAny && (!any_yet || script != last)) {
      if (!pieces.empty()) pieces.back().end = begin;
      pieces.push_back({begin, text.size()});
      last = script;
      any_yet = true;
    }
  }
  return pieces;
}

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}
  absl::Status Apply(std::vector<Word>* words) const override {
    std::vector<Word> out;
    for (const Word& word : *words) {
      std::vector<Span> pieces;
      int64_t chars = 0;
      for (size_t i = 0; i < word.text.size(); i += CharLength(word.text[i])) {
        if (chars++ % length_ == 0) pieces.push_back({i, i});
        pieces.back().end = i + CharLength(word.text[i]);
      }
      AppendPieces(word, pieces, &out);
    }
    *words = std::move(out);
    return absl::OkStatus();
  }

 private:
  int64_t length_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  absl::Status Apply(std::vector<Word>* words) const override {
    for (const auto& part : parts_) RONDO_RETURN_IF_ERROR(part->Apply(words));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

absl::StatusOr<std::unique_ptr<PreTokenizer>> FromJson(const JsonView& json, int depth);

absl::StatusOr<std::unique_ptr<PreTokenizer>> SequenceFromJson(const JsonView& json, int depth) {
  if (depth == kMaxDepth) return InvalidArgument(json.path(), ": sequences nested more than ", kMaxDepth, " deep");
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json["pretokenizers"].Elements());
  std::vector<std::unique_ptr<PreTokenizer>> parts;
  for (const JsonView& element : elements) {
    RONDO_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> part, FromJson(element, depth + 1));
    parts.push_back(std::move(part));
  }
  return std::make_unique<Sequence>(std::move(parts));
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ByteLevelFromJson(const JsonView& json) {
  bool add_prefix_space = true, use_regex = true;
  RONDO_RETURN_IF_ERROR(json.Read("add_prefix_space", &add_prefix_space));
  RONDO_RETURN_IF_ERROR(json.Read("use_regex", &use_regex));
  std::unique_ptr<Split> split;
  if (use_regex) {
    RONDO_ASSIGN_OR_RETURN(Pattern pattern, Pattern::FromRegex(kGpt2Regex));
    split = std::make_unique<Split>(std::move(pattern), SplitBehavior::kIsolated, /*invert=*/false);
  }
  return std::make_unique<ByteLevel>(add_prefix_space, std::move(split));
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> FromJson(const JsonView& json, int depth) {
  RONDO_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (type == "Sequence") return SequenceFromJson(json, depth);
  if (type == "ByteLevel") return ByteLevelFromJson(json);
  if (type == "Metaspace") {
    RONDO_ASSIGN_OR_RETURN(MetaspaceOptions options, MetaspaceFromJson(json));
    return std::make_unique<Metaspace>(std::move(options));
  }
  if (type == "Split") {
    RONDO_ASSIGN_OR_RETURN(Pattern pattern, Pattern::FromJson(json["pattern"]));
    RONDO_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                           SplitBehaviorFromJson(json, "behavior", SplitBehavior::kIsolated));
    bool invert = false;
    RONDO_RETURN_IF_ERROR(json.Read("invert", &invert));
    return std::make_unique<Split>(std::move(pattern), behavior, invert);
  }
  if (type == "Whitespace") {
    RONDO_ASSIGN_OR_RETURN(Pattern pattern, Pattern::FromRegex(kWordsRegex));
    return std::make_unique<Split>(std::move(pattern), SplitBehavior::kRemoved, /*invert=*/true);
  }
  if (type == "WhitespaceSplit") return SplitByClass(IsWhitespace, SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    parts.push_back(SplitByClass(IsWhitespace, SplitBehavior::kRemoved));
    parts.push_back(SplitByClass(IsPunctuation, SplitBehavior::kIsolated));
    return std::make_unique<Sequence>(std::move(parts));
  }
  if (type == "Punctuation") {
    RONDO_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                           SplitBehaviorFromJson(json, "behavior", SplitBehavior::kIsolated));
    return SplitByClass(IsPunctuation, behavior);
  }
  if (type == "Digits") {
    bool individual = false;
    RONDO_RETURN_IF_ERROR(json.Read("individual_digits", &individual));
    return SplitByClass(IsNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "CharDelimiterSplit") {
    RONDO_ASSIGN_OR_RETURN(std::string delimiter, json.String("delimiter"));
    return std::make_unique<Split>(Pattern::Literal(std::move(delimiter)), SplitBehavior::kRemoved, /*invert=*/false);
  }
  if (type == "UnicodeScripts") return std::make_unique<FunctionSplit>(CutAtScripts);
  if (type == "FixedLength") {
    int64_t length = 5;
    RONDO_RETURN_IF_ERROR(json.Read("length", &length));
    if (length < 1) return InvalidArgument(json.path(), ".length: ", length, " (expected at least 1)");
    return std::make_unique<FixedLength>(length);
  }
  return Unimplemented(json.path(), ": unknown pre-tokenizer '", type, "'");
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizerFromJson(const JsonView& json) {
  if (json.is_null()) return nullptr;
  return FromJson(json, 0);
}

absl::StatusOr<MetaspaceOptions> MetaspaceFromJson(const JsonView& json) {
  using Prepend = MetaspaceOptions::Prepend;
  MetaspaceOptions options;
  RONDO_ASSIGN_OR_RETURN(options.replacement, json.String("replacement"));
  if (CountChars(options.replacement) != 1) return json["replacement"].Expected("one character");
  RONDO_RETURN_IF_ERROR(json.Read("split", &options.split));
  // Files before 2024 have add_prefix_space instead of the scheme.
  bool add_prefix_space = true;
  RONDO_RETURN_IF_ERROR(json.Read("add_prefix_space", &add_prefix_space));
  std::string scheme = add_prefix_space ? "always" : "never";
  RONDO_RETURN_IF_ERROR(json.Read("prepend_scheme", &scheme));
  if (scheme == "always") {
    options.prepend = Prepend::kAlways;
  } else if (scheme == "first") {
    options.prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    options.prepend = Prepend::kNever;
  } else {
    return InvalidArgument(json.path(), ".prepend_scheme: '", scheme, "' (expected always, first or never)");
  }
  return options;
}

}  // namespace rondo::text
