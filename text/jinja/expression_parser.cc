// A recursive descent that follows Jinja's grammar: `not` binds looser than comparison, `~` tighter than +, filters and
// tests tightest of all.
#include "text/jinja/expression_parser.h"

#include <algorithm>

#include "absl/strings/numbers.h"

namespace rondo::text::jinja {
namespace {

using Kind = Expr::Kind;

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenCursor& tokens) : tokens_(tokens) {}

  ExprPtr NewExpr(Kind kind, size_t offset) {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->offset = offset;
    return expr;
  }

  // To be called when all children are there.
  absl::StatusOr<ExprPtr> Finish(ExprPtr expr) {
    const auto raise = [&](const ExprPtr& child) {
      if (child != nullptr) expr->height = std::max(expr->height, child->height + 1);
    };
    for (const ExprPtr& child : expr->children) raise(child);
    for (const ExprPtr& child : expr->arguments.positional) raise(child);
    for (const auto& [name, child] : expr->arguments.named) raise(child);
    raise(expr->arguments.list);
    raise(expr->arguments.dict);
    if (expr->height > kMaxHeight) return ResourceExhausted("an expression nested more than ", kMaxHeight, " deep");
    return expr;
  }
  absl::StatusOr<ExprPtr> Unary(Kind kind, size_t offset, ExprPtr operand) {
    ExprPtr expr = NewExpr(kind, offset);
    expr->children.push_back(std::move(operand));
    return Finish(std::move(expr));
  }
  absl::StatusOr<ExprPtr> Binary(Kind kind, size_t offset, std::string name, ExprPtr left, ExprPtr right) {
    ExprPtr expr = NewExpr(kind, offset);
    expr->name = std::move(name);
    expr->children.push_back(std::move(left));
    expr->children.push_back(std::move(right));
    return Finish(std::move(expr));
  }
  ExprPtr Literal(Value value, size_t offset) {
    ExprPtr expr = NewExpr(Kind::kLiteral, offset);
    expr->literal = std::move(value);
    return expr;
  }

  bool AtTupleEnd() const {
    return tokens_.Peek().kind == Token::Kind::kVariableEnd || tokens_.Peek().kind == Token::Kind::kBlockEnd ||
           tokens_.Peek().IsOperator(")") || tokens_.Peek().IsOperator("]");
  }

  // One expression, or several with commas.
  absl::StatusOr<ExprPtr> ParseTuple(bool with_condition = true) {
    const size_t offset = tokens_.Peek().offset;
    ExprPtr first;
    if (with_condition) {
      RONDO_ASSIGN_OR_RETURN(first, ParseExpression());
    } else {
      RONDO_ASSIGN_OR_RETURN(first, ParseOr());
    }
    if (!tokens_.Peek().IsOperator(",")) return first;
    ExprPtr tuple = NewExpr(Kind::kTuple, offset);
    tuple->children.push_back(std::move(first));
    while (tokens_.TakeOperator(",")) {
      if (AtTupleEnd()) break;
      ExprPtr element;
      if (with_condition) {
        RONDO_ASSIGN_OR_RETURN(element, ParseExpression());
      } else {
        RONDO_ASSIGN_OR_RETURN(element, ParseOr());
      }
      tuple->children.push_back(std::move(element));
    }
    return Finish(std::move(tuple));
  }

  absl::StatusOr<ExprPtr> ParseExpression() {
    const TokenCursor::Nesting nesting(&tokens_);
    RONDO_RETURN_IF_ERROR(tokens_.CheckDepth());
    RONDO_ASSIGN_OR_RETURN(ExprPtr expr, ParseOr());
    while (tokens_.Peek().IsName("if")) {
      ExprPtr conditional = NewExpr(Kind::kConditional, tokens_.Take().offset);
      RONDO_ASSIGN_OR_RETURN(ExprPtr condition, ParseOr());
      ExprPtr otherwise;
      if (tokens_.TakeName("else")) {
        RONDO_ASSIGN_OR_RETURN(otherwise, ParseExpression());
      }
      conditional->children.push_back(std::move(expr));
      conditional->children.push_back(std::move(condition));
      conditional->children.push_back(std::move(otherwise));
      RONDO_ASSIGN_OR_RETURN(expr, Finish(std::move(conditional)));
    }
    return expr;
  }

  absl::StatusOr<ExprPtr> ParseOr() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseAnd());
    while (tokens_.Peek().IsName("or")) {
      const size_t offset = tokens_.Take().offset;
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kOr, offset, "or", std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseAnd() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseNot());
    while (tokens_.Peek().IsName("and")) {
      const size_t offset = tokens_.Take().offset;
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kAnd, offset, "and", std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseNot() {
    if (!tokens_.Peek().IsName("not")) return ParseCompare();
    const TokenCursor::Nesting nesting(&tokens_);
    RONDO_RETURN_IF_ERROR(tokens_.CheckDepth());
    const size_t offset = tokens_.Take().offset;
    RONDO_ASSIGN_OR_RETURN(ExprPtr operand, ParseNot());
    return Unary(Kind::kNot, offset, std::move(operand));
  }

  // The comparison that comes next, taken; "" if none does.
  std::string TakeComparison() {
    for (const absl::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (tokens_.TakeOperator(op)) return std::string(op);
    }
    if (tokens_.TakeName("in")) return "in";
    if (tokens_.Peek().IsName("not") && tokens_.Peek(1).IsName("in")) {
      tokens_.Take();
      tokens_.Take();
      return "not in";
    }
    return "";
  }

  absl::StatusOr<ExprPtr> ParseCompare() {
    const size_t offset = tokens_.Peek().offset;
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseSum());
    std::string op = TakeComparison();
    if (op.empty()) return left;
    ExprPtr compare = NewExpr(Kind::kCompare, offset);
    compare->children.push_back(std::move(left));
    for (; !op.empty(); op = TakeComparison()) {
      compare->operators.push_back(op);
      RONDO_ASSIGN_OR_RETURN(ExprPtr operand, ParseSum());
      compare->children.push_back(std::move(operand));
    }
    return Finish(std::move(compare));
  }

  absl::StatusOr<ExprPtr> ParseSum() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseConcat());
    while (tokens_.Peek().IsOperator("+") || tokens_.Peek().IsOperator("-")) {
      const Token op = tokens_.Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseConcat() {
    const size_t offset = tokens_.Peek().offset;
    RONDO_ASSIGN_OR_RETURN(ExprPtr first, ParseProduct());
    if (!tokens_.Peek().IsOperator("~")) return first;
    ExprPtr concat = NewExpr(Kind::kConcat, offset);
    concat->children.push_back(std::move(first));
    while (tokens_.TakeOperator("~")) {
      RONDO_ASSIGN_OR_RETURN(ExprPtr next, ParseProduct());
      concat->children.push_back(std::move(next));
    }
    return Finish(std::move(concat));
  }

  absl::StatusOr<ExprPtr> ParseProduct() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParsePower());
    while (tokens_.Peek().IsOperator("*") || tokens_.Peek().IsOperator("/") || tokens_.Peek().IsOperator("//") ||
           tokens_.Peek().IsOperator("%")) {
      const Token op = tokens_.Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParsePower() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseUnary());
    while (tokens_.Peek().IsOperator("**")) {
      const Token op = tokens_.Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseUnary());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseUnary(bool with_filters = true) {
    const TokenCursor::Nesting nesting(&tokens_);
    RONDO_RETURN_IF_ERROR(tokens_.CheckDepth());
    ExprPtr expr;
    if (tokens_.Peek().IsOperator("-") || tokens_.Peek().IsOperator("+")) {
      const Token op = tokens_.Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr operand, ParseUnary(/*with_filters=*/false));
      RONDO_ASSIGN_OR_RETURN(expr, Unary(op.text == "-" ? Kind::kNegate : Kind::kPlus, op.offset, std::move(operand)));
    } else {
      RONDO_ASSIGN_OR_RETURN(expr, ParsePrimary());
      RONDO_ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
    }
    return with_filters ? ParseFilters(std::move(expr)) : absl::StatusOr<ExprPtr>(std::move(expr));
  }

  absl::StatusOr<ExprPtr> ParsePrimary() {
    const size_t offset = tokens_.Peek().offset;
    switch (tokens_.Peek().kind) {
      case Token::Kind::kName: {
        const std::string name = tokens_.Take().text;
        if (name == "true" || name == "True") return Literal(Value::Bool(true), offset);
        if (name == "false" || name == "False") return Literal(Value::Bool(false), offset);
        if (name == "none" || name == "None") return Literal(Value::None(), offset);
        ExprPtr expr = NewExpr(Kind::kName, offset);
        expr->name = name;
        return expr;
      }
      case Token::Kind::kString: {
        std::string text;
        while (tokens_.Peek().kind == Token::Kind::kString) text += tokens_.Take().text;
        return Literal(Value::String(std::move(text)), offset);
      }
      case Token::Kind::kInteger: {
        int64_t number;
        if (!absl::SimpleAtoi(tokens_.Peek().text, &number))
          return InvalidArgument("the integer ", tokens_.Seen(), " is too large");
        tokens_.Take();
        return Literal(Value::Int(number), offset);
      }
      case Token::Kind::kFloat: {
        double number;
        if (!absl::SimpleAtod(tokens_.Peek().text, &number))
          return InvalidArgument("the number ", tokens_.Seen(), " cannot be read");
        tokens_.Take();
        return Literal(Value::Float(number), offset);
      }
      default:
        break;
    }
    if (tokens_.TakeOperator("(")) {
      if (tokens_.TakeOperator(")")) return NewExpr(Kind::kTuple, offset);
      RONDO_ASSIGN_OR_RETURN(ExprPtr expr, ParseTuple());
      RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
      return expr;
    }
    if (tokens_.TakeOperator("[")) {
      ExprPtr list = NewExpr(Kind::kList, offset);
      while (!tokens_.TakeOperator("]")) {
        if (!list->children.empty()) {
          RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
          if (tokens_.TakeOperator("]")) break;
        }
        RONDO_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
        list->children.push_back(std::move(item));
      }
      return Finish(std::move(list));
    }
    if (tokens_.TakeOperator("{")) {
      ExprPtr dict = NewExpr(Kind::kDict, offset);
      while (!tokens_.TakeOperator("}")) {
        if (!dict->children.empty()) {
          RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
          if (tokens_.TakeOperator("}")) break;
        }
        RONDO_ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
        RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
        RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
        dict->children.push_back(std::move(key));
        dict->children.push_back(std::move(value));
      }
      return Finish(std::move(dict));
    }
    return InvalidArgument("expected an expression, got ", tokens_.Seen());
  }

  absl::StatusOr<ExprPtr> ParsePostfix(ExprPtr expr) {
    while (true) {
      const size_t offset = tokens_.Peek().offset;
      if (tokens_.TakeOperator(".")) {
        if (tokens_.Peek().kind == Token::Kind::kInteger) {
          RONDO_ASSIGN_OR_RETURN(ExprPtr index, ParsePrimary());
          RONDO_ASSIGN_OR_RETURN(expr, Binary(Kind::kItem, offset, "", std::move(expr), std::move(index)));
          continue;
        }
        RONDO_ASSIGN_OR_RETURN(std::string name, tokens_.ExpectName());
        RONDO_ASSIGN_OR_RETURN(expr, Unary(Kind::kAttribute, offset, std::move(expr)));
        expr->name = std::move(name);
      } else if (tokens_.TakeOperator("[")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParseSubscript(std::move(expr), offset));
      } else if (tokens_.Peek().IsOperator("(")) {
        ExprPtr call = NewExpr(Kind::kCall, offset);
        call->children.push_back(std::move(expr));
        RONDO_RETURN_IF_ERROR(ParseArguments(&call->arguments));
        RONDO_ASSIGN_OR_RETURN(expr, Finish(std::move(call)));
      } else {
        return expr;
      }
    }
  }

  absl::StatusOr<ExprPtr> ParseSubscript(ExprPtr object, size_t offset) {
    ExprPtr parts[3];
    int colons = 0;
    while (!tokens_.Peek().IsOperator("]")) {
      if (tokens_.TakeOperator(":")) {
        if (++colons > 2) return InvalidArgument("a slice has at most two ':'");
        continue;
      }
      if (parts[colons] != nullptr) return InvalidArgument("expected ']', got ", tokens_.Seen());
      RONDO_ASSIGN_OR_RETURN(parts[colons], ParseExpression());
    }
    tokens_.Take();
    if (colons == 0) {
      if (parts[0] == nullptr) return InvalidArgument("expected an index between '[' and ']'");
      return Binary(Kind::kItem, offset, "", std::move(object), std::move(parts[0]));
    }
    ExprPtr slice = NewExpr(Kind::kSlice, offset);
    slice->children.push_back(std::move(object));
    for (ExprPtr& part : parts) slice->children.push_back(std::move(part));
    return Finish(std::move(slice));
  }

  absl::Status ParseArguments(CallArguments* arguments) {
    RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    bool first = true;
    while (!tokens_.TakeOperator(")")) {
      if (!first) {
        RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
        if (tokens_.TakeOperator(")")) break;
      }
      first = false;
      if (tokens_.TakeOperator("**")) {
        RONDO_ASSIGN_OR_RETURN(arguments->dict, ParseExpression());
      } else if (tokens_.TakeOperator("*")) {
        RONDO_ASSIGN_OR_RETURN(arguments->list, ParseExpression());
      } else if (tokens_.Peek().kind == Token::Kind::kName && tokens_.Peek(1).IsOperator("=")) {
        std::string name = tokens_.Take().text;
        tokens_.Take();
        RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
        arguments->named.emplace_back(std::move(name), std::move(value));
      } else {
        if (!arguments->named.empty()) return InvalidArgument("a positional argument after a named one");
        RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
        arguments->positional.push_back(std::move(value));
      }
    }
    return absl::OkStatus();
  }

  // `| filter`, `is test` and calls of what they give, as many as follow.
  absl::StatusOr<ExprPtr> ParseFilters(ExprPtr expr) {
    while (true) {
      if (tokens_.Peek().IsOperator("|")) {
        tokens_.Take();
        RONDO_ASSIGN_OR_RETURN(expr, ParseOneFilter(std::move(expr)));
      } else if (expr != nullptr && tokens_.Peek().IsName("is")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParseTest(std::move(expr)));
      } else if (expr != nullptr && tokens_.Peek().IsOperator("(")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
      } else {
        return expr;
      }
    }
  }

  // A filter's name and arguments; `input` may be null (filter blocks).
  absl::StatusOr<ExprPtr> ParseOneFilter(ExprPtr input) {
    ExprPtr filter = NewExpr(Kind::kFilter, tokens_.Peek().offset);
    RONDO_ASSIGN_OR_RETURN(filter->name, tokens_.ExpectName());
    while (tokens_.TakeOperator(".")) {
      RONDO_ASSIGN_OR_RETURN(const std::string part, tokens_.ExpectName());
      absl::StrAppend(&filter->name, ".", part);
    }
    filter->children.push_back(std::move(input));
    if (tokens_.Peek().IsOperator("(")) RONDO_RETURN_IF_ERROR(ParseArguments(&filter->arguments));
    return Finish(std::move(filter));
  }

  absl::StatusOr<ExprPtr> ParseTest(ExprPtr input) {
    const size_t offset = tokens_.Take().offset;  // is
    const bool negated = tokens_.TakeName("not");
    ExprPtr test = NewExpr(Kind::kTest, offset);
    RONDO_ASSIGN_OR_RETURN(test->name, tokens_.ExpectName());
    test->children.push_back(std::move(input));
    if (tokens_.Peek().IsOperator("(")) {
      RONDO_RETURN_IF_ERROR(ParseArguments(&test->arguments));
    } else if (StartsTestArgument()) {
      if (tokens_.Peek().IsName("is")) return InvalidArgument("tests with 'is' cannot be chained");
      RONDO_ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
      RONDO_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
      test->arguments.positional.push_back(std::move(argument));
    }
    RONDO_ASSIGN_OR_RETURN(test, Finish(std::move(test)));
    return negated ? Unary(Kind::kNot, offset, std::move(test)) : absl::StatusOr<ExprPtr>(std::move(test));
  }

  // `is divisibleby 3`: one argument may follow without parentheses.
  bool StartsTestArgument() const {
    switch (tokens_.Peek().kind) {
      case Token::Kind::kName:
        for (const absl::string_view word : {"else", "or", "and", "if", "in", "not", "recursive"}) {
          if (tokens_.Peek().IsName(word)) return false;
        }
        return true;
      case Token::Kind::kString:
      case Token::Kind::kInteger:
      case Token::Kind::kFloat:
        return true;
      default:
        return tokens_.Peek().IsOperator("[") || tokens_.Peek().IsOperator("{");
    }
  }

 private:
  TokenCursor& tokens_;
};

}  // namespace

absl::StatusOr<ExprPtr> ParseExpression(TokenCursor& tokens) { return ExpressionParser(tokens).ParseExpression(); }
absl::StatusOr<ExprPtr> ParseTuple(TokenCursor& tokens, bool with_condition) {
  return ExpressionParser(tokens).ParseTuple(with_condition);
}
absl::StatusOr<ExprPtr> ParseFilters(TokenCursor& tokens, ExprPtr input) {
  return ExpressionParser(tokens).ParseFilters(std::move(input));
}
absl::StatusOr<ExprPtr> ParseOneFilter(TokenCursor& tokens, ExprPtr input) {
  return ExpressionParser(tokens).ParseOneFilter(std::move(input));
}

}  // namespace rondo::text::jinja
