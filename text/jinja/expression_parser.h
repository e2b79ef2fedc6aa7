// Expressions of a template: tokens to a tree.
#ifndef RONDO_TEXT_JINJA_EXPRESSION_PARSER_H_
#define RONDO_TEXT_JINJA_EXPRESSION_PARSER_H_

#include "absl/status/statusor.h"
#include "text/jinja/ast.h"
#include "text/jinja/token_cursor.h"

namespace rondo::text::jinja {

absl::StatusOr<ExprPtr> ParseExpression(TokenCursor& tokens);
// One expression, or several with commas; without the inline `if` where one may follow that means something else.
absl::StatusOr<ExprPtr> ParseTuple(TokenCursor& tokens, bool with_condition = true);
// `| filter`, as many as follow; `input` may be null (what is filtered is a block).
absl::StatusOr<ExprPtr> ParseFilters(TokenCursor& tokens, ExprPtr input);
// A filter's name and arguments.
absl::StatusOr<ExprPtr> ParseOneFilter(TokenCursor& tokens, ExprPtr input);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_EXPRESSION_PARSER_H_
