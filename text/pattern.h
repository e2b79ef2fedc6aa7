// What a text is split or replaced by: a literal, a regular expression, or a class of characters; and the ways in which
// the parts are put together.
#ifndef RONDO_TEXT_PATTERN_H_
#define RONDO_TEXT_PATTERN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/json.h"
#include "text/regex.h"

namespace rondo::text {

class Pattern {
 public:
  // {"String": ...} or {"Regex": ...}, as tokenizer files have it.
  static absl::StatusOr<Pattern> FromJson(const JsonView& json);
  static absl::StatusOr<Pattern> FromRegex(absl::string_view regex);
  static Pattern Literal(std::string literal);

  // The literal, or null where it is a regular expression.
  const std::string* literal() const { return regex_ ? nullptr : &literal_; }

  // See Regex::Finder.
  class Finder {
   public:
    explicit Finder(const Pattern& pattern);
    absl::StatusOr<std::vector<Span>> FindAll(absl::string_view text);

   private:
    const Pattern& pattern_;
    absl::optional<Regex::Finder> regex_;
  };

 private:
  Pattern() = default;
  std::string literal_;
  absl::optional<Regex> regex_;
};

// `text` with every match replaced by `replacement`.
absl::StatusOr<std::string> ReplaceAll(Pattern::Finder& finder, absl::string_view text, absl::string_view replacement);

// What becomes of the matches when a text is split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
absl::StatusOr<SplitBehavior> SplitBehaviorFromJson(const JsonView& json, absl::string_view key, SplitBehavior absent);

// A part of a text: a match or what lies between two.
struct Part {
  Span span;
  bool match = false;
};
// Fills the gaps between matches, so that the parts cover the text; with `invert` matches and gaps change roles.
std::vector<Part> CoverText(const std::vector<Span>& matches, size_t text_size, bool invert);
// Every character of the class is a match of its own.
std::vector<Part> PartsOfClass(absl::string_view text, bool (*in_class)(char32_t));
// The non-empty pieces.
std::vector<Span> JoinParts(const std::vector<Part>& parts, SplitBehavior behavior);

}  // namespace rondo::text

#endif  // RONDO_TEXT_PATTERN_H_
