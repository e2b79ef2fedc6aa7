#include "text/regex.h"

#include <unicode/regex.h>
#include <unicode/unistr.h>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr size_t kMaxTextBytes = size_t{1} << 29;  // ICU counts UTF-16 units in 32 bits
constexpr int32_t kStackBytes = 1 << 26;
// ICU calls back about every 10,000 saved states. A sane pattern saves a few per character.
constexpr int64_t kBaseCalls = 1000;
constexpr int64_t kBytesPerCall = 100;

struct Budget {
  int64_t calls = 0;
};

UBool U_CALLCONV CountSteps(const void* context, int32_t) {
  auto* budget = static_cast<Budget*>(const_cast<void*>(context));
  return --budget->calls > 0;
}

// Oniguruma reads X{1,3}+ as a repetition of a repetition, ICU as a possessive one: the same text would split
// differently, so it is refused.
absl::Status CheckIntervals(absl::string_view pattern) {
  int sets = 0;  // nested [...]
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (c == '[' || c == ']') {
      sets += c == '[' ? 1 : sets > 0 ? -1 : 0;
    } else if (c == '{' && sets == 0) {
      const size_t end = pattern.find_first_not_of("0123456789,", i + 1);
      if (end != absl::string_view::npos && end > i + 1 && pattern.substr(end, 2) == "}+") {
        return Unimplemented("regular expression: '", pattern.substr(i, end + 2 - i), "' at byte ", i,
                             " means a repeated repetition; write (?:...{n,m})+");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

struct Regex::Compiled {
  std::unique_ptr<icu::RegexPattern> pattern;
};
struct Regex::Finder::State {
  std::unique_ptr<icu::RegexMatcher> matcher;
  icu::UnicodeString text;  // the matcher refers to it
  Budget budget;
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return ResourceExhausted("regular expression of ", pattern.size(), " bytes (expected at most ", kMaxPatternBytes,
                             ")");
  }
  RONDO_RETURN_IF_ERROR(CheckIntervals(pattern));
  UErrorCode code = U_ZERO_ERROR;
  UParseError where{};
  auto compiled = std::make_unique<Compiled>();
  compiled->pattern.reset(icu::RegexPattern::compile(
      icu::UnicodeString::fromUTF8(icu::StringPiece(pattern.data(), static_cast<int32_t>(pattern.size()))),
      UREGEX_MULTILINE | UREGEX_UNIX_LINES, where, code));
  if (U_FAILURE(code)) {
    return InvalidArgument("regular expression '", pattern.substr(0, 200), "': ", u_errorName(code), " at character ",
                           where.offset);
  }
  return Regex(std::move(compiled));
}

Regex::Finder::Finder(const Regex& regex) : state_(std::make_unique<State>()) {
  UErrorCode code = U_ZERO_ERROR;
  state_->matcher.reset(regex.compiled_->pattern->matcher(code));
  if (U_FAILURE(code)) {
    state_->matcher.reset();
    return;
  }
  state_->matcher->setStackLimit(kStackBytes, code);
  state_->matcher->setMatchCallback(CountSteps, &state_->budget, code);
}
Regex::Finder::~Finder() = default;

absl::StatusOr<std::vector<Span>> Regex::Finder::FindAll(absl::string_view text) {
  if (state_->matcher == nullptr) return ResourceExhausted("regular expression: out of memory");
  if (text.size() > kMaxTextBytes) {
    return ResourceExhausted("text of ", text.size(), " bytes (expected at most ", kMaxTextBytes, ")");
  }
  state_->text = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  state_->budget.calls = kBaseCalls + static_cast<int64_t>(text.size()) / kBytesPerCall;
  icu::RegexMatcher& matcher = *state_->matcher;
  matcher.reset(state_->text);

  // Matches come in order, so one walk over the text turns UTF-16 offsets into bytes.
  size_t bytes = 0;
  int32_t units = 0;
  const auto byte_of = [&](int32_t unit) {
    while (units < unit) {
      const size_t length = CharLength(text[bytes]);
      units += length == 4 ? 2 : 1;
      bytes += length;
    }
    return bytes;
  };
  std::vector<Span> matches;
  UErrorCode code = U_ZERO_ERROR;
  while (matcher.find(code)) {
    const int32_t begin = matcher.start(code), end = matcher.end(code);
    if (U_FAILURE(code)) break;
    const size_t begin_byte = byte_of(begin);
    matches.push_back({begin_byte, byte_of(end)});
  }
  if (code == U_REGEX_STOPPED_BY_CALLER || code == U_REGEX_STACK_OVERFLOW || code == U_REGEX_TIME_OUT) {
    return ResourceExhausted("regular expression: too many steps on a text of ", text.size(), " bytes (",
                             u_errorName(code), "); the pattern backtracks without bound");
  }
  if (U_FAILURE(code)) return InvalidArgument("regular expression: ", u_errorName(code));
  return matches;
}

}  // namespace rondo::text
