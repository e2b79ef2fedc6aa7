#include "text/pattern.h"

#include <algorithm>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxReplacedBytes = size_t{1} << 28;

}  // namespace

absl::StatusOr<Pattern> Pattern::FromJson(const JsonView& json) {
  const JsonView literal = json["String"], regex = json["Regex"];
  if (literal.json().string() != nullptr) return Literal(*literal.json().string());
  if (regex.json().string() == nullptr) return json.Expected("{\"String\": ...} or {\"Regex\": ...}");
  absl::StatusOr<Pattern> pattern = FromRegex(*regex.json().string());
  if (!pattern.ok()) return Annotate(pattern.status(), absl::StrCat(json.path(), ": "));
  return pattern;
}

absl::StatusOr<Pattern> Pattern::FromRegex(absl::string_view regex) {
  Pattern pattern;
  RONDO_ASSIGN_OR_RETURN(pattern.regex_, Regex::Compile(regex));
  return pattern;
}

Pattern Pattern::Literal(std::string literal) {
  Pattern pattern;
  pattern.literal_ = std::move(literal);
  return pattern;
}

Pattern::Finder::Finder(const Pattern& pattern) : pattern_(pattern) {
  if (pattern.regex_) regex_.emplace(*pattern.regex_);
}

absl::StatusOr<std::vector<Span>> Pattern::Finder::FindAll(absl::string_view text) {
  if (regex_) return regex_->FindAll(text);
  std::vector<Span> matches;
  const std::string& literal = pattern_.literal_;
  if (literal.empty()) return matches;
  for (size_t at = text.find(literal); at != absl::string_view::npos; at = text.find(literal, at + literal.size())) {
    matches.push_back({at, at + literal.size()});
  }
  return matches;
}

absl::StatusOr<std::string> ReplaceAll(Pattern::Finder& finder, absl::string_view text, absl::string_view replacement) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<Span> matches, finder.FindAll(text));
  std::string result;
  size_t done = 0;
  for (const Span& match : matches) {
    absl::StrAppend(&result, text.substr(done, match.begin - done), replacement);
    if (result.size() > kMaxReplacedBytes) {
      return ResourceExhausted("replacing makes a text of more than ", kMaxReplacedBytes, " bytes");
    }
    done = match.end;
  }
  absl::StrAppend(&result, text.substr(done));
  return result;
}

absl::StatusOr<SplitBehavior> SplitBehaviorFromJson(const JsonView& json, absl::string_view key, SplitBehavior absent) {
  if (json[key].is_null()) return absent;
  RONDO_ASSIGN_OR_RETURN(const std::string name, json.String(key));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(json[key].path(), ": unknown behavior '", name,
                         "' (expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous)");
}

std::vector<Part> CoverText(const std::vector<Span>& matches, size_t text_size, bool invert) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Span& match : matches) {
    if (match.begin > done) parts.push_back({{done, match.begin}, invert});
    parts.push_back({match, !invert});
    done = match.end;
  }
  if (done < text_size) parts.push_back({{done, text_size}, invert});
  return parts;
}

std::vector<Part> PartsOfClass(absl::string_view text, bool (*in_class)(char32_t)) {
  std::vector<Span> matches;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (in_class(NextChar(text, &i))) matches.push_back({begin, i});
  }
  return CoverText(matches, text.size(), /*invert=*/false);
}

std::vector<Span> JoinParts(const std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<Span> pieces;
  if (behavior == SplitBehavior::kMergedWithNext) {
    // The mirror image of kMergedWithPrevious.
    bool after_match = false;
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->match && !after_match && !pieces.empty()) {
        pieces.back().begin = part->span.begin;
      } else {
        pieces.push_back(part->span);
      }
      after_match = part->match;
    }
    std::reverse(pieces.begin(), pieces.end());
  } else {
    bool after_match = false;
    for (const Part& part : parts) {
      const bool merge = behavior == SplitBehavior::kMergedWithPrevious ? part.match && !after_match
                         : behavior == SplitBehavior::kContiguous       ? part.match == after_match
                                                                        : false;
      if (behavior == SplitBehavior::kRemoved && part.match) continue;
      if (merge && !pieces.empty()) {
        pieces.back().end = part.span.end;
      } else {
        pieces.push_back(part.span);
      }
      after_match = part.match;
    }
  }
  pieces.erase(std::remove_if(pieces.begin(), pieces.end(), [](const Span& s) { return s.begin == s.end; }),
               pieces.end());
  return pieces;
}

}  // namespace rondo::text
