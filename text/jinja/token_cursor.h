// The tokens of a template, taken one after the other, with the checks that both parsers need.
#ifndef RONDO_TEXT_JINJA_TOKEN_CURSOR_H_
#define RONDO_TEXT_JINJA_TOKEN_CURSOR_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"
#include "text/status.h"

namespace rondo::text::jinja {

class TokenCursor {
 public:
  // `tokens` end with a kEnd token, which is never taken.
  explicit TokenCursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Counts the nesting of what recurses.
  class Nesting {
   public:
    explicit Nesting(TokenCursor* cursor) : cursor_(cursor) { ++cursor_->depth_; }
    ~Nesting() { --cursor_->depth_; }

   private:
    TokenCursor* cursor_;
  };
  absl::Status CheckDepth() const {
    if (depth_ <= kMaxHeight) return absl::OkStatus();
    return ResourceExhausted("nested more than ", kMaxHeight, " deep");
  }

  const Token& Peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool TakeOperator(absl::string_view op) {
    if (!Peek().IsOperator(op)) return false;
    Take();
    return true;
  }
  bool TakeName(absl::string_view name) {
    if (!Peek().IsName(name)) return false;
    Take();
    return true;
  }
  std::string Seen() const {
    switch (Peek().kind) {
      case Token::Kind::kEnd:
        return "the end of the template";
      case Token::Kind::kVariableEnd:
        return "'}}'";
      case Token::Kind::kBlockEnd:
        return "'%}'";
      default:
        return absl::StrCat("'", Peek().text, "'");
    }
  }
  absl::Status ExpectOperator(absl::string_view op) {
    if (TakeOperator(op)) return absl::OkStatus();
    return InvalidArgument("expected '", op, "', got ", Seen());
  }
  absl::StatusOr<std::string> ExpectName() {
    if (Peek().kind == Token::Kind::kName) return Take().text;
    return InvalidArgument("expected a name, got ", Seen());
  }
  absl::Status ExpectBlockEnd() {
    if (Peek().kind == Token::Kind::kBlockEnd) {
      Take();
      return absl::OkStatus();
    }
    return InvalidArgument("expected '%}', got ", Seen());
  }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_TOKEN_CURSOR_H_
