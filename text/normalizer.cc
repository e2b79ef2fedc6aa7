#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "text/byte_level.h"
#include "text/pattern.h"
#include "text/precompiled.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr int kMaxDepth = 16;
// Normal forms make a text up to 18 times as long. A file may ask for more, step by step; it gets an error.
constexpr size_t kMaxGrowth = 32;
constexpr size_t kMaxExtraBytes = 1 << 20;

// Most normalizers are a function of the text.
class FunctionNormalizer : public Normalizer {
 public:
  explicit FunctionNormalizer(std::function<absl::Status(std::string*)> apply) : apply_(std::move(apply)) {}
  absl::Status Apply(std::string* text) const override { return apply_(text); }

 private:
  std::function<absl::Status(std::string*)> apply_;
};

std::unique_ptr<Normalizer> Make(std::function<absl::Status(std::string*)> apply) {
  return std::make_unique<FunctionNormalizer>(std::move(apply));
}

// `change` appends what becomes of each character.
template <typename Change>
void MapChars(std::string* text, const Change& change) {
  std::string result;
  result.reserve(text->size());
  for (size_t i = 0; i < text->size();) change(NextChar(*text, &i), &result);
  *text = std::move(result);
}

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

absl::Status Normalize(NormalForm form, std::string* text) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = form == NormalForm::kNfc    ? icu::Normalizer2::getNFCInstance(code)
                                       : form == NormalForm::kNfd  ? icu::Normalizer2::getNFDInstance(code)
                                       : form == NormalForm::kNfkc ? icu::Normalizer2::getNFKCInstance(code)
                                                                   : icu::Normalizer2::getNFKDInstance(code);
  if (U_FAILURE(code)) return absl::InternalError(absl::StrCat("ICU: ", u_errorName(code)));
  std::string result;
  icu::StringByteSink<std::string> sink(&result);
  normalizer->normalizeUTF8(0, icu::StringPiece(text->data(), static_cast<int32_t>(text->size())), sink, nullptr, code);
  if (U_FAILURE(code)) return absl::InternalError(absl::StrCat("ICU: ", u_errorName(code)));
  *text = std::move(result);
  return absl::OkStatus();
}

void StripWhitespace(bool left, bool right, std::string* text) {
  if (right) {
    while (!text->empty() && IsWhitespace(LastChar(*text))) {
      while (!IsCharStart(text->back())) text->pop_back();
      text->pop_back();
    }
  }
  size_t begin = 0;
  while (left && begin < text->size()) {
    size_t next = begin;
    if (!IsWhitespace(NextChar(*text, &next))) break;
    begin = next;
  }
  text->erase(0, begin);
}

bool IsCjk(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
         (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

struct BertOptions {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = false, lowercase = true;
};

absl::Status ApplyBert(const BertOptions& options, std::string* text) {
  if (options.clean_text) {
    MapChars(text, [](char32_t c, std::string* out) {
      const bool space = c == '\t' || c == '\n' || c == '\r' || IsWhitespace(c);
      const bool control = c != '\t' && c != '\n' && c != '\r' && IsControl(c);
      if (c == 0 || c == 0xfffd || control) return;
      AppendUtf8(space ? U' ' : c, out);
    });
  }
  if (options.handle_chinese_chars) {
    MapChars(text, [](char32_t c, std::string* out) {
      if (IsCjk(c)) out->push_back(' ');
      AppendUtf8(c, out);
      if (IsCjk(c)) out->push_back(' ');
    });
  }
  if (options.strip_accents) {
    RONDO_RETURN_IF_ERROR(Normalize(NormalForm::kNfd, text));
    MapChars(text, [](char32_t c, std::string* out) {
      if (!IsNonspacingMark(c)) AppendUtf8(c, out);
    });
  }
  if (options.lowercase) *text = ToLower(*text);
  return absl::OkStatus();
}

// SentencePiece's "nmt" rules: control characters go, odd spaces become spaces.
void ApplyNmt(std::string* text) {
  MapChars(text, [](char32_t c, std::string* out) {
    if ((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
      return;
    const bool space = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff ||
                       c == 0xfffd;
    AppendUtf8(space ? U' ' : c, out);
  });
}

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::Status Apply(std::string* text) const override {
    Pattern::Finder finder(pattern_);
    RONDO_ASSIGN_OR_RETURN(*text, ReplaceAll(finder, *text, content_));
    return absl::OkStatus();
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  absl::Status Apply(std::string* text) const override {
    const size_t limit = text->size() * kMaxGrowth + kMaxExtraBytes;
    for (const auto& part : parts_) {
      RONDO_RETURN_IF_ERROR(part->Apply(text));
      if (text->size() > limit) return ResourceExhausted("normalizer: the text grew beyond ", limit, " bytes");
    }
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

absl::StatusOr<std::unique_ptr<Normalizer>> FromJson(const JsonView& json, int depth);

absl::StatusOr<std::unique_ptr<Normalizer>> SequenceFromJson(const JsonView& json, int depth) {
  if (depth == kMaxDepth) return InvalidArgument(json.path(), ": sequences nested more than ", kMaxDepth, " deep");
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> elements, json["normalizers"].Elements());
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (const JsonView& element : elements) {
    RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Normalizer> part, FromJson(element, depth + 1));
    parts.push_back(std::move(part));
  }
  return std::make_unique<Sequence>(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Normalizer>> BertFromJson(const JsonView& json) {
  BertOptions options;
  RONDO_RETURN_IF_ERROR(json.Read("clean_text", &options.clean_text));
  RONDO_RETURN_IF_ERROR(json.Read("handle_chinese_chars", &options.handle_chinese_chars));
  RONDO_RETURN_IF_ERROR(json.Read("lowercase", &options.lowercase));
  options.strip_accents = options.lowercase;  // as the original BERT: uncased models have no accents either
  RONDO_RETURN_IF_ERROR(json.Read("strip_accents", &options.strip_accents));
  return Make([options](std::string* text) { return ApplyBert(options, text); });
}

absl::StatusOr<std::unique_ptr<Normalizer>> PrecompiledFromJson(const JsonView& json) {
  RONDO_ASSIGN_OR_RETURN(const std::string encoded, json.String("precompiled_charsmap"));
  std::string decoded;
  if (!absl::Base64Unescape(encoded, &decoded)) {
    return InvalidArgument(json.path(), ".precompiled_charsmap: no valid base64");
  }
  absl::StatusOr<std::unique_ptr<Precompiled>> map = Precompiled::Create(decoded);
  if (!map.ok()) return Annotate(map.status(), absl::StrCat(json.path(), ": "));
  return std::move(*map);
}

absl::StatusOr<std::unique_ptr<Normalizer>> FromJson(const JsonView& json, int depth) {
  RONDO_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  constexpr std::pair<absl::string_view, NormalForm> kForms[] = {
      {"NFC", NormalForm::kNfc}, {"NFD", NormalForm::kNfd}, {"NFKC", NormalForm::kNfkc}, {"NFKD", NormalForm::kNfkd}};
  for (const auto& [name, form] : kForms) {
    if (type == name) return Make([form = form](std::string* text) { return Normalize(form, text); });
  }
  if (type == "Sequence") return SequenceFromJson(json, depth);
  if (type == "BertNormalizer") return BertFromJson(json);
  if (type == "Precompiled") return PrecompiledFromJson(json);
  if (type == "Lowercase") {
    return Make([](std::string* text) {
      *text = ToLower(*text);
      return absl::OkStatus();
    });
  }
  if (type == "StripAccents") {
    return Make([](std::string* text) {
      MapChars(text, [](char32_t c, std::string* out) {
        if (!IsMark(c)) AppendUtf8(c, out);
      });
      return absl::OkStatus();
    });
  }
  if (type == "Strip") {
    bool left = true, right = true;
    RONDO_RETURN_IF_ERROR(json.Read("strip_left", &left));
    RONDO_RETURN_IF_ERROR(json.Read("strip_right", &right));
    return Make([left, right](std::string* text) {
      StripWhitespace(left, right, text);
      return absl::OkStatus();
    });
  }
  if (type == "Nmt") {
    return Make([](std::string* text) {
      ApplyNmt(text);
      return absl::OkStatus();
    });
  }
  if (type == "Prepend") {
    RONDO_ASSIGN_OR_RETURN(const std::string prefix, json.String("prepend"));
    return Make([prefix](std::string* text) {
      if (!text->empty()) text->insert(0, prefix);
      return absl::OkStatus();
    });
  }
  if (type == "ByteLevel") {
    return Make([](std::string* text) {
      *text = BytesToChars(*text);
      return absl::OkStatus();
    });
  }
  if (type == "Replace") {
    RONDO_ASSIGN_OR_RETURN(Pattern pattern, Pattern::FromJson(json["pattern"]));
    RONDO_ASSIGN_OR_RETURN(std::string content, json.String("content"));
    return std::make_unique<Replace>(std::move(pattern), std::move(content));
  }
  return Unimplemented(json.path(), ": unknown normalizer '", type, "'");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> NormalizerFromJson(const JsonView& json) {
  if (json.is_null()) return nullptr;
  return FromJson(json, 0);
}

}  // namespace rondo::text
