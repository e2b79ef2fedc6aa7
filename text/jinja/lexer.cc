#include "text/jinja/lexer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

constexpr size_t kNowhere = std::string::npos;
// Longest first.
constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                            "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool IsNameStart(char c) {
  return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsNameChar(char c) { return IsNameStart(c) || absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text()) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < text_.size()) {
      const absl::Status status = Section();
      if (!status.ok()) return source_.Locate(status, error_at_);
    }
    Emit(Token::Kind::kEnd, "", text_.size());
    return std::move(tokens_);
  }

 private:
  void Emit(Token::Kind kind, absl::string_view text, size_t offset) {
    tokens_.push_back({kind, std::string(text), offset});
  }
  template <typename... Args>
  absl::Status ErrorAt(size_t offset, const Args&... args) {
    error_at_ = offset;
    return InvalidArgument(args...);
  }
  bool LookingAt(absl::string_view what) const { return absl::StartsWith(text_.substr(at_), what); }
  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }

  // Data up to the next tag, and the tag.
  absl::Status Section() {
    size_t tag = text_.find('{', at_);
    while (tag != kNowhere && (tag + 1 == text_.size() || absl::string_view("{%#").find(text_[tag + 1]) == kNowhere)) {
      tag = text_.find('{', tag + 1);
    }
    if (tag == kNowhere) {
      Emit(Token::Kind::kData, text_.substr(at_), at_);
      at_ = text_.size();
      return absl::OkStatus();
    }
    const char kind = text_[tag + 1];
    const size_t data = at_;
    at_ = tag + 2;
    char sign = 0;
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) sign = text_[at_++];
    EmitData(data, tag, sign, /*strip_blanks=*/kind != '{');
    if (kind == '#') return Comment(tag);
    if (kind == '{') return Expression(tag, Token::Kind::kVariableBegin, Token::Kind::kVariableEnd, "}}");
    if (IsRaw()) return Raw(tag);
    return Expression(tag, Token::Kind::kBlockBegin, Token::Kind::kBlockEnd, "%}");
  }

  void EmitData(size_t begin, size_t end, char sign, bool strip_blanks) {
    absl::string_view data = text_.substr(begin, end - begin);
    if (sign == '-') {
      while (!data.empty() && IsSpace(data.back())) data.remove_suffix(1);
    } else if (sign != '+' && strip_blanks) {
      const size_t newline = data.rfind('\n');
      const size_t line = newline == kNowhere ? 0 : newline + 1;
      const absl::string_view blanks = data.substr(line);
      if ((line > 0 || at_line_start_) && std::all_of(blanks.begin(), blanks.end(), IsSpace))
        data = data.substr(0, line);
    }
    if (!data.empty()) Emit(Token::Kind::kData, data, begin);
  }

  // Past the end of a tag, which `at_` is at (a sign or the delimiter), and the white space that it takes.
  void CloseTag(bool trim_newline) {
    const char sign = text_[at_] == '-' || text_[at_] == '+' ? text_[at_++] : '\0';
    at_ += 2;
    if (sign == '-') {
      SkipSpace();
    } else if (sign != '+' && trim_newline && LookingAt("\n")) {
      ++at_;
    }
    at_line_start_ = text_[at_ - 1] == '\n';
  }

  absl::Status Comment(size_t begin) {
    const size_t end = text_.find("#}", at_);
    if (end == kNowhere) return ErrorAt(begin, "comment without end (expected '#}')");
    at_ = end > at_ && (text_[end - 1] == '-' || text_[end - 1] == '+') ? end - 1 : end;
    CloseTag(/*trim_newline=*/true);
    return absl::OkStatus();
  }

  // Whether "raw" and the end of the tag follow.
  bool IsRaw() const { return TagWord("raw", at_) != kNowhere; }
  // Where the end of a tag is that holds just `word` from `at`; kNowhere if it holds more.
  size_t TagWord(absl::string_view word, size_t at) const {
    while (at < text_.size() && IsSpace(text_[at])) ++at;
    if (!absl::StartsWith(text_.substr(at), word)) return kNowhere;
    at += word.size();
    while (at < text_.size() && IsSpace(text_[at])) ++at;
    const size_t sign = at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? 1 : 0;
    return absl::StartsWith(text_.substr(at + sign), "%}") ? at : kNowhere;
  }

  absl::Status Raw(size_t begin) {
    at_ = TagWord("raw", at_);
    CloseTag(/*trim_newline=*/false);
    for (size_t tag = text_.find("{%", at_); tag != kNowhere; tag = text_.find("{%", tag + 2)) {
      size_t inside = tag + 2;
      char sign = 0;
      if (inside < text_.size() && (text_[inside] == '-' || text_[inside] == '+')) sign = text_[inside++];
      const size_t end = TagWord("endraw", inside);
      if (end == kNowhere) continue;
      EmitData(at_, tag, sign, /*strip_blanks=*/true);
      at_ = end;
      CloseTag(/*trim_newline=*/true);
      return absl::OkStatus();
    }
    return ErrorAt(begin, "'raw' without 'endraw'");
  }

  absl::Status Expression(size_t begin, Token::Kind open, Token::Kind close, absl::string_view end) {
    Emit(open, "", begin);
    std::string brackets;  // the closing ones that are awaited; in them }} is two of them
    while (true) {
      SkipSpace();
      if (at_ == text_.size()) return ErrorAt(begin, "tag without end (expected '", end, "')");
      const size_t sign = text_[at_] == '-' || (text_[at_] == '+' && close == Token::Kind::kBlockEnd) ? 1 : 0;
      if (brackets.empty() && absl::StartsWith(text_.substr(at_ + sign), end)) {
        Emit(close, "", at_);
        CloseTag(/*trim_newline=*/close == Token::Kind::kBlockEnd);
        return absl::OkStatus();
      }
      RONDO_RETURN_IF_ERROR(OneToken(&brackets));
    }
  }

  absl::Status OneToken(std::string* brackets) {
    const char c = text_[at_];
    const size_t begin = at_;
    if (IsNameStart(c)) {
      while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
      Emit(Token::Kind::kName, text_.substr(begin, at_ - begin), begin);
      return absl::OkStatus();
    }
    if (IsDigit(c)) {
      Number();
      return absl::OkStatus();
    }
    if (c == '\'' || c == '"') return String();
    for (const absl::string_view op : kOperators) {
      if (!LookingAt(op)) continue;
      at_ += op.size();
      Emit(Token::Kind::kOperator, op, begin);
      if (c == '(') brackets->push_back(')');
      if (c == '[') brackets->push_back(']');
      if (c == '{') brackets->push_back('}');
      if (c == ')' || c == ']' || c == '}') {
        if (brackets->empty() || brackets->back() != c) return ErrorAt(begin, "'", op, "' closes nothing");
        brackets->pop_back();
      }
      return absl::OkStatus();
    }
    return ErrorAt(begin, "unexpected character '", text_.substr(begin, CharLength(c)), "'");
  }

  void Number() {
    const size_t begin = at_;
    const bool after_dot = !tokens_.empty() && tokens_.back().IsOperator(".");
    const auto digits = [&] {
      while (at_ < text_.size() && (IsDigit(text_[at_]) || text_[at_] == '_')) ++at_;
    };
    digits();
    bool is_float = false;
    const auto digit_at = [&](size_t at) { return at < text_.size() && IsDigit(text_[at]); };
    if (!after_dot && LookingAt(".") && digit_at(at_ + 1)) {
      is_float = true;
      ++at_;
      digits();
    }
    if (!after_dot && (LookingAt("e") || LookingAt("E"))) {
      const size_t sign = at_ + 1 < text_.size() && (text_[at_ + 1] == '-' || text_[at_ + 1] == '+') ? 1 : 0;
      if (digit_at(at_ + 1 + sign)) {
        is_float = true;
        at_ += 1 + sign;
        digits();
      }
    }
    std::string number(text_.substr(begin, at_ - begin));
    number.erase(std::remove(number.begin(), number.end(), '_'), number.end());
    Emit(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, number, begin);
  }

  absl::Status String() {
    const size_t begin = at_;
    const char quote = text_[at_++];
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] != '\\') {
        value.push_back(text_[at_++]);
      } else if (!Escape(&value)) {
        return ErrorAt(at_, "bad escape in a string");
      }
    }
    if (at_ == text_.size()) return ErrorAt(begin, "string without end");
    ++at_;
    Emit(Token::Kind::kString, value, begin);
    return absl::OkStatus();
  }

  // Python's escapes; an unknown one stays as it is.
  bool Escape(std::string* value) {
    if (at_ + 1 >= text_.size()) return false;
    const char c = text_[at_ + 1];
    static constexpr absl::string_view kLetters = "abfnrtv\\'\"";
    static constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t index = kLetters.find(c); index != kNowhere) {
      value->push_back(kMeanings[index]);
      at_ += 2;
    } else if (c == '\n') {
      at_ += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      return Number(at_ + 2, count, 16, value);
    } else if (c >= '0' && c <= '7') {
      size_t count = 1;
      while (count < 3 && at_ + 1 + count < text_.size() && text_[at_ + 1 + count] >= '0' &&
             text_[at_ + 1 + count] <= '7')
        ++count;
      return Number(at_ + 1, count, 8, value);
    } else {
      value->push_back('\\');
      ++at_;
    }
    return true;
  }

  // The character with the number in `count` digits at `begin`.
  bool Number(size_t begin, size_t count, int base, std::string* value) {
    if (begin + count > text_.size()) return false;
    uint32_t number = 0;
    for (const char digit : text_.substr(begin, count)) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return false;
      number = number * base + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    if (number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return false;
    AppendUtf8(static_cast<char32_t>(number), value);
    at_ = begin + count;
    return true;
  }

  const Source& source_;
  const absl::string_view text_;
  size_t at_ = 0;
  size_t error_at_ = 0;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(const Source& source) { return Lexer(source).Run(); }

}  // namespace rondo::text::jinja
