// Template text to tokens. Whitespace control happens here: `{%-` and `-%}` take all white space beside a tag; of block
// tags and comments, the newline after them and blanks before them on their line are taken too (trim_blocks and
// lstrip_blocks, which are on for chat templates), unless a + stands there.
#ifndef RONDO_TEXT_JINJA_LEXER_H_
#define RONDO_TEXT_JINJA_LEXER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "text/jinja/source.h"

namespace rondo::text::jinja {

struct Token {
  enum class Kind {
    kData,           // text as it is printed
    kVariableBegin,  // {{
    kVariableEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,  // without quotes, escapes resolved
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  size_t offset = 0;

  bool IsName(absl::string_view name) const { return kind == Kind::kName && text == name; }
  bool IsOperator(absl::string_view op) const { return kind == Kind::kOperator && text == op; }
};

// Ends with a kEnd token.
absl::StatusOr<std::vector<Token>> Tokenize(const Source& source);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_LEXER_H_
