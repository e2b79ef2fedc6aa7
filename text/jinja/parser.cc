// A recursive descent that follows Jinja's grammar: `not` binds looser than comparison, `~` tighter than +, filters and
// tests tightest of all.
#include "text/jinja/parser.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "text/jinja/lexer.h"
#include "text/status.h"

namespace rondo::text::jinja {
namespace {

using Kind = Expr::Kind;

class Parser {
 public:
  Parser(const Source& source, std::vector<Token> tokens) : source_(source), tokens_(std::move(tokens)) {}

  absl::StatusOr<Body> Run() {
    absl::StatusOr<Body> body = ParseBody({});
    if (!body.ok()) return source_.Locate(body.status(), token().offset);
    return body;
  }

 private:
  // Counts the nesting of what recurses.
  class Nesting {
   public:
    explicit Nesting(Parser* parser) : parser_(parser) { ++parser_->depth_; }
    ~Nesting() { --parser_->depth_; }

   private:
    Parser* parser_;
  };
  absl::Status CheckDepth() const {
    if (depth_ <= kMaxHeight) return absl::OkStatus();
    return ResourceExhausted("nested more than ", kMaxHeight, " deep");
  }

  const Token& token(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool TakeOperator(absl::string_view op) {
    if (!token().IsOperator(op)) return false;
    Take();
    return true;
  }
  bool TakeName(absl::string_view name) {
    if (!token().IsName(name)) return false;
    Take();
    return true;
  }
  std::string Seen() const {
    switch (token().kind) {
      case Token::Kind::kEnd:
        return "the end of the template";
      case Token::Kind::kVariableEnd:
        return "'}}'";
      case Token::Kind::kBlockEnd:
        return "'%}'";
      default:
        return absl::StrCat("'", token().text, "'");
    }
  }
  absl::Status ExpectOperator(absl::string_view op) {
    if (TakeOperator(op)) return absl::OkStatus();
    return InvalidArgument("expected '", op, "', got ", Seen());
  }
  absl::StatusOr<std::string> ExpectName() {
    if (token().kind == Token::Kind::kName) return Take().text;
    return InvalidArgument("expected a name, got ", Seen());
  }
  absl::Status ExpectBlockEnd() {
    if (token().kind == Token::Kind::kBlockEnd) {
      Take();
      return absl::OkStatus();
    }
    return InvalidArgument("expected '%}', got ", Seen());
  }

  // --- Statements ---

  // Up to a block tag with one of `ends`, whose name is left to be taken. Without ends: up to the template's end.
  absl::StatusOr<Body> ParseBody(const std::vector<absl::string_view>& ends) {
    const Nesting nesting(this);
    RONDO_RETURN_IF_ERROR(CheckDepth());
    Body body;
    while (true) {
      switch (token().kind) {
        case Token::Kind::kEnd:
          if (ends.empty()) return body;
          return InvalidArgument("the template ends before '", absl::StrJoin(ends, "' or '"), "'");
        case Token::Kind::kData: {
          auto data = NewStmt(Stmt::Kind::kData);
          data->text = Take().text;
          body.push_back(std::move(data));
          break;
        }
        case Token::Kind::kVariableBegin: {
          auto output = NewStmt(Stmt::Kind::kOutput);
          Take();
          RONDO_ASSIGN_OR_RETURN(output->expr, ParseTuple());
          if (token().kind != Token::Kind::kVariableEnd) return InvalidArgument("expected '}}', got ", Seen());
          Take();
          body.push_back(std::move(output));
          break;
        }
        default: {
          Take();  // {%
          for (const absl::string_view end : ends) {
            if (token().IsName(end)) return body;
          }
          RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Stmt> statement, ParseStatement());
          body.push_back(std::move(statement));
        }
      }
    }
  }

  std::unique_ptr<Stmt> NewStmt(Stmt::Kind kind) {
    auto statement = std::make_unique<Stmt>();
    statement->kind = kind;
    statement->offset = token().offset;
    return statement;
  }

  // The body and the end tag, which holds nothing but its name.
  absl::StatusOr<Body> ParseBodyTo(absl::string_view end) {
    RONDO_ASSIGN_OR_RETURN(Body body, ParseBody({end}));
    Take();
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    return body;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseStatement() {
    if (token().kind != Token::Kind::kName) return InvalidArgument("expected a statement, got ", Seen());
    const std::string& name = token().text;
    if (name == "for") return ParseFor();
    if (name == "if") return ParseIf();
    if (name == "set") return ParseSet();
    if (name == "macro") return ParseMacro();
    if (name == "call") return ParseCall();
    if (name == "filter") return ParseFilterBlock();
    if (name == "with") return ParseWith();
    if (name == "generation") return ParseGeneration();
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return InvalidArgument("'", name, "' outside of a loop");
      auto statement = NewStmt(name == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue);
      Take();
      RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
      return statement;
    }
    static constexpr absl::string_view kAbsent[] = {"include", "extends", "import", "from",      "block",
                                                    "do",      "trans",   "debug",  "autoescape"};
    if (std::find(std::begin(kAbsent), std::end(kAbsent), name) != std::end(kAbsent)) {
      return Unimplemented("statement '", name, "' is not supported in chat templates");
    }
    return InvalidArgument("unknown statement '", name, "'");
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseFor() {
    auto statement = NewStmt(Stmt::Kind::kFor);
    Take();
    RONDO_ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (!TakeName("in")) return InvalidArgument("expected 'in', got ", Seen());
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseTuple(/*with_condition=*/false));
    if (TakeName("if")) {
      RONDO_ASSIGN_OR_RETURN(statement->condition, ParseExpression());
    }
    statement->recursive = TakeName("recursive");
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    ++loops_;
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBody({"endfor", "else"}));
    --loops_;
    if (TakeName("else")) {
      RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
      RONDO_ASSIGN_OR_RETURN(statement->else_body, ParseBody({"endfor"}));
    }
    Take();
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseIf() {
    auto statement = NewStmt(Stmt::Kind::kIf);
    bool more = true;
    while (more) {
      Branch branch;
      const bool is_else = Take().text == "else";
      if (!is_else) {
        RONDO_ASSIGN_OR_RETURN(branch.condition, ParseTuple(/*with_condition=*/false));
      }
      RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
      if (is_else) {
        RONDO_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif"}));
      } else {
        RONDO_ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}));
      }
      statement->branches.push_back(std::move(branch));
      more = !token().IsName("endif");
    }
    Take();
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseSet() {
    auto statement = NewStmt(Stmt::Kind::kSet);
    Take();
    RONDO_ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (TakeOperator("=")) {
      RONDO_ASSIGN_OR_RETURN(statement->expr, ParseTuple());
      RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
      return statement;
    }
    statement->kind = Stmt::Kind::kSetBlock;
    if (token().IsOperator("|")) {
      RONDO_ASSIGN_OR_RETURN(statement->expr, ParseFilters(nullptr));
    }
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endset"));
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseMacro() {
    auto statement = NewStmt(Stmt::Kind::kMacro);
    Take();
    RONDO_ASSIGN_OR_RETURN(statement->text, ExpectName());
    RONDO_RETURN_IF_ERROR(ParseParameters(&statement->parameters));
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    return ParseMacroBody(std::move(statement), "endmacro");
  }

  // A macro is no part of the loop that it is written in.
  absl::StatusOr<std::unique_ptr<Stmt>> ParseMacroBody(std::unique_ptr<Stmt> statement, absl::string_view end) {
    const int loops = loops_;
    loops_ = 0;
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo(end));
    loops_ = loops;
    return statement;
  }

  absl::Status ParseParameters(std::vector<Parameter>* parameters) {
    RONDO_RETURN_IF_ERROR(ExpectOperator("("));
    while (!TakeOperator(")")) {
      if (!parameters->empty()) RONDO_RETURN_IF_ERROR(ExpectOperator(","));
      Parameter parameter;
      RONDO_ASSIGN_OR_RETURN(parameter.name, ExpectName());
      if (TakeOperator("=")) {
        RONDO_ASSIGN_OR_RETURN(parameter.default_value, ParseExpression());
      } else if (!parameters->empty() && parameters->back().default_value != nullptr) {
        return InvalidArgument("parameter '", parameter.name, "' without default after one with default");
      }
      parameters->push_back(std::move(parameter));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseCall() {
    auto statement = NewStmt(Stmt::Kind::kCallBlock);
    Take();
    if (token().IsOperator("(")) RONDO_RETURN_IF_ERROR(ParseParameters(&statement->parameters));
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseExpression());
    if (statement->expr->kind != Kind::kCall) return InvalidArgument("expected a call in a 'call' block");
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    return ParseMacroBody(std::move(statement), "endcall");
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseFilterBlock() {
    auto statement = NewStmt(Stmt::Kind::kFilterBlock);
    Take();
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseOneFilter(nullptr));
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseFilters(std::move(statement->expr)));
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endfilter"));
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseWith() {
    auto statement = NewStmt(Stmt::Kind::kWith);
    Take();
    while (token().kind != Token::Kind::kBlockEnd) {
      if (!statement->assignments.empty()) RONDO_RETURN_IF_ERROR(ExpectOperator(","));
      RONDO_ASSIGN_OR_RETURN(Target target, ParseTarget());
      RONDO_RETURN_IF_ERROR(ExpectOperator("="));
      RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
      statement->assignments.emplace_back(std::move(target), std::move(value));
    }
    Take();
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endwith"));
    return statement;
  }

  // Marks what the assistant said, for training; printed as it is.
  absl::StatusOr<std::unique_ptr<Stmt>> ParseGeneration() {
    auto statement = NewStmt(Stmt::Kind::kScope);
    Take();
    RONDO_RETURN_IF_ERROR(ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endgeneration"));
    return statement;
  }

  // `a`, `ns.a`, `a, b`, `(a, b)`.
  absl::StatusOr<Target> ParseTarget() {
    Target tuple;
    tuple.offset = token().offset;
    RONDO_ASSIGN_OR_RETURN(Target first, ParseOneTarget());
    if (!token().IsOperator(",")) return first;
    tuple.elements.push_back(std::move(first));
    while (TakeOperator(",")) {
      if (token().kind != Token::Kind::kName && !token().IsOperator("(")) break;
      if (token().IsName("in")) break;
      RONDO_ASSIGN_OR_RETURN(Target element, ParseOneTarget());
      tuple.elements.push_back(std::move(element));
    }
    return tuple;
  }

  absl::StatusOr<Target> ParseOneTarget() {
    const Nesting nesting(this);
    RONDO_RETURN_IF_ERROR(CheckDepth());
    Target target;
    target.offset = token().offset;
    if (TakeOperator("(")) {
      RONDO_ASSIGN_OR_RETURN(target, ParseTarget());
      RONDO_RETURN_IF_ERROR(ExpectOperator(")"));
      return target;
    }
    RONDO_ASSIGN_OR_RETURN(target.name, ExpectName());
    static constexpr absl::string_view kReserved[] = {"true", "True", "false", "False", "none", "None"};
    if (std::find(std::begin(kReserved), std::end(kReserved), target.name) != std::end(kReserved)) {
      return InvalidArgument("cannot assign to '", target.name, "'");
    }
    if (TakeOperator(".")) {
      RONDO_ASSIGN_OR_RETURN(target.attribute, ExpectName());
    }
    return target;
  }

  // --- Expressions ---

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
    return token().kind == Token::Kind::kVariableEnd || token().kind == Token::Kind::kBlockEnd ||
           token().IsOperator(")") || token().IsOperator("]");
  }

  // One expression, or several with commas.
  absl::StatusOr<ExprPtr> ParseTuple(bool with_condition = true) {
    const size_t offset = token().offset;
    ExprPtr first;
    if (with_condition) {
      RONDO_ASSIGN_OR_RETURN(first, ParseExpression());
    } else {
      RONDO_ASSIGN_OR_RETURN(first, ParseOr());
    }
    if (!token().IsOperator(",")) return first;
    ExprPtr tuple = NewExpr(Kind::kTuple, offset);
    tuple->children.push_back(std::move(first));
    while (TakeOperator(",")) {
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
    const Nesting nesting(this);
    RONDO_RETURN_IF_ERROR(CheckDepth());
    RONDO_ASSIGN_OR_RETURN(ExprPtr expr, ParseOr());
    while (token().IsName("if")) {
      ExprPtr conditional = NewExpr(Kind::kConditional, Take().offset);
      RONDO_ASSIGN_OR_RETURN(ExprPtr condition, ParseOr());
      ExprPtr otherwise;
      if (TakeName("else")) {
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
    while (token().IsName("or")) {
      const size_t offset = Take().offset;
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kOr, offset, "or", std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseAnd() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseNot());
    while (token().IsName("and")) {
      const size_t offset = Take().offset;
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kAnd, offset, "and", std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseNot() {
    if (!token().IsName("not")) return ParseCompare();
    const Nesting nesting(this);
    RONDO_RETURN_IF_ERROR(CheckDepth());
    const size_t offset = Take().offset;
    RONDO_ASSIGN_OR_RETURN(ExprPtr operand, ParseNot());
    return Unary(Kind::kNot, offset, std::move(operand));
  }

  // The comparison that comes next, taken; "" if none does.
  std::string TakeComparison() {
    for (const absl::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (TakeOperator(op)) return std::string(op);
    }
    if (TakeName("in")) return "in";
    if (token().IsName("not") && token(1).IsName("in")) {
      Take();
      Take();
      return "not in";
    }
    return "";
  }

  absl::StatusOr<ExprPtr> ParseCompare() {
    const size_t offset = token().offset;
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
    while (token().IsOperator("+") || token().IsOperator("-")) {
      const Token op = Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseConcat() {
    const size_t offset = token().offset;
    RONDO_ASSIGN_OR_RETURN(ExprPtr first, ParseProduct());
    if (!token().IsOperator("~")) return first;
    ExprPtr concat = NewExpr(Kind::kConcat, offset);
    concat->children.push_back(std::move(first));
    while (TakeOperator("~")) {
      RONDO_ASSIGN_OR_RETURN(ExprPtr next, ParseProduct());
      concat->children.push_back(std::move(next));
    }
    return Finish(std::move(concat));
  }

  absl::StatusOr<ExprPtr> ParseProduct() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParsePower());
    while (token().IsOperator("*") || token().IsOperator("/") || token().IsOperator("//") || token().IsOperator("%")) {
      const Token op = Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParsePower() {
    RONDO_ASSIGN_OR_RETURN(ExprPtr left, ParseUnary());
    while (token().IsOperator("**")) {
      const Token op = Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr right, ParseUnary());
      RONDO_ASSIGN_OR_RETURN(left, Binary(Kind::kBinary, op.offset, op.text, std::move(left), std::move(right)));
    }
    return left;
  }

  absl::StatusOr<ExprPtr> ParseUnary(bool with_filters = true) {
    const Nesting nesting(this);
    RONDO_RETURN_IF_ERROR(CheckDepth());
    ExprPtr expr;
    if (token().IsOperator("-") || token().IsOperator("+")) {
      const Token op = Take();
      RONDO_ASSIGN_OR_RETURN(ExprPtr operand, ParseUnary(/*with_filters=*/false));
      RONDO_ASSIGN_OR_RETURN(expr, Unary(op.text == "-" ? Kind::kNegate : Kind::kPlus, op.offset, std::move(operand)));
    } else {
      RONDO_ASSIGN_OR_RETURN(expr, ParsePrimary());
      RONDO_ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
    }
    return with_filters ? ParseFilters(std::move(expr)) : absl::StatusOr<ExprPtr>(std::move(expr));
  }

  absl::StatusOr<ExprPtr> ParsePrimary() {
    const size_t offset = token().offset;
    switch (token().kind) {
      case Token::Kind::kName: {
        const std::string name = Take().text;
        if (name == "true" || name == "True") return Literal(Value::Bool(true), offset);
        if (name == "false" || name == "False") return Literal(Value::Bool(false), offset);
        if (name == "none" || name == "None") return Literal(Value::None(), offset);
        ExprPtr expr = NewExpr(Kind::kName, offset);
        expr->name = name;
        return expr;
      }
      case Token::Kind::kString: {
        std::string text;
        while (token().kind == Token::Kind::kString) text += Take().text;
        return Literal(Value::String(std::move(text)), offset);
      }
      case Token::Kind::kInteger: {
        int64_t number;
        if (!absl::SimpleAtoi(token().text, &number)) return InvalidArgument("the integer ", Seen(), " is too large");
        Take();
        return Literal(Value::Int(number), offset);
      }
      case Token::Kind::kFloat: {
        double number;
        if (!absl::SimpleAtod(token().text, &number)) return InvalidArgument("the number ", Seen(), " cannot be read");
        Take();
        return Literal(Value::Float(number), offset);
      }
      default:
        break;
    }
    if (TakeOperator("(")) {
      if (TakeOperator(")")) return NewExpr(Kind::kTuple, offset);
      RONDO_ASSIGN_OR_RETURN(ExprPtr expr, ParseTuple());
      RONDO_RETURN_IF_ERROR(ExpectOperator(")"));
      return expr;
    }
    if (TakeOperator("[")) {
      ExprPtr list = NewExpr(Kind::kList, offset);
      while (!TakeOperator("]")) {
        if (!list->children.empty()) {
          RONDO_RETURN_IF_ERROR(ExpectOperator(","));
          if (TakeOperator("]")) break;
        }
        RONDO_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
        list->children.push_back(std::move(item));
      }
      return Finish(std::move(list));
    }
    if (TakeOperator("{")) {
      ExprPtr dict = NewExpr(Kind::kDict, offset);
      while (!TakeOperator("}")) {
        if (!dict->children.empty()) {
          RONDO_RETURN_IF_ERROR(ExpectOperator(","));
          if (TakeOperator("}")) break;
        }
        RONDO_ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
        RONDO_RETURN_IF_ERROR(ExpectOperator(":"));
        RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
        dict->children.push_back(std::move(key));
        dict->children.push_back(std::move(value));
      }
      return Finish(std::move(dict));
    }
    return InvalidArgument("expected an expression, got ", Seen());
  }

  absl::StatusOr<ExprPtr> ParsePostfix(ExprPtr expr) {
    while (true) {
      const size_t offset = token().offset;
      if (TakeOperator(".")) {
        if (token().kind == Token::Kind::kInteger) {
          RONDO_ASSIGN_OR_RETURN(ExprPtr index, ParsePrimary());
          RONDO_ASSIGN_OR_RETURN(expr, Binary(Kind::kItem, offset, "", std::move(expr), std::move(index)));
          continue;
        }
        RONDO_ASSIGN_OR_RETURN(std::string name, ExpectName());
        RONDO_ASSIGN_OR_RETURN(expr, Unary(Kind::kAttribute, offset, std::move(expr)));
        expr->name = std::move(name);
      } else if (TakeOperator("[")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParseSubscript(std::move(expr), offset));
      } else if (token().IsOperator("(")) {
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
    while (!token().IsOperator("]")) {
      if (TakeOperator(":")) {
        if (++colons > 2) return InvalidArgument("a slice has at most two ':'");
        continue;
      }
      if (parts[colons] != nullptr) return InvalidArgument("expected ']', got ", Seen());
      RONDO_ASSIGN_OR_RETURN(parts[colons], ParseExpression());
    }
    Take();
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
    RONDO_RETURN_IF_ERROR(ExpectOperator("("));
    bool first = true;
    while (!TakeOperator(")")) {
      if (!first) {
        RONDO_RETURN_IF_ERROR(ExpectOperator(","));
        if (TakeOperator(")")) break;
      }
      first = false;
      if (TakeOperator("**")) {
        RONDO_ASSIGN_OR_RETURN(arguments->dict, ParseExpression());
      } else if (TakeOperator("*")) {
        RONDO_ASSIGN_OR_RETURN(arguments->list, ParseExpression());
      } else if (token().kind == Token::Kind::kName && token(1).IsOperator("=")) {
        std::string name = Take().text;
        Take();
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
      if (token().IsOperator("|")) {
        Take();
        RONDO_ASSIGN_OR_RETURN(expr, ParseOneFilter(std::move(expr)));
      } else if (expr != nullptr && token().IsName("is")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParseTest(std::move(expr)));
      } else if (expr != nullptr && token().IsOperator("(")) {
        RONDO_ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
      } else {
        return expr;
      }
    }
  }

  // A filter's name and arguments; `input` may be null (filter blocks).
  absl::StatusOr<ExprPtr> ParseOneFilter(ExprPtr input) {
    ExprPtr filter = NewExpr(Kind::kFilter, token().offset);
    RONDO_ASSIGN_OR_RETURN(filter->name, ExpectName());
    while (TakeOperator(".")) {
      RONDO_ASSIGN_OR_RETURN(const std::string part, ExpectName());
      absl::StrAppend(&filter->name, ".", part);
    }
    filter->children.push_back(std::move(input));
    if (token().IsOperator("(")) RONDO_RETURN_IF_ERROR(ParseArguments(&filter->arguments));
    return Finish(std::move(filter));
  }

  absl::StatusOr<ExprPtr> ParseTest(ExprPtr input) {
    const size_t offset = Take().offset;  // is
    const bool negated = TakeName("not");
    ExprPtr test = NewExpr(Kind::kTest, offset);
    RONDO_ASSIGN_OR_RETURN(test->name, ExpectName());
    test->children.push_back(std::move(input));
    if (token().IsOperator("(")) {
      RONDO_RETURN_IF_ERROR(ParseArguments(&test->arguments));
    } else if (StartsTestArgument()) {
      if (token().IsName("is")) return InvalidArgument("tests with 'is' cannot be chained");
      RONDO_ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
      RONDO_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
      test->arguments.positional.push_back(std::move(argument));
    }
    RONDO_ASSIGN_OR_RETURN(test, Finish(std::move(test)));
    return negated ? Unary(Kind::kNot, offset, std::move(test)) : absl::StatusOr<ExprPtr>(std::move(test));
  }

  // `is divisibleby 3`: one argument may follow without parentheses.
  bool StartsTestArgument() const {
    switch (token().kind) {
      case Token::Kind::kName:
        for (const absl::string_view word : {"else", "or", "and", "if", "in", "not", "recursive"}) {
          if (token().IsName(word)) return false;
        }
        return true;
      case Token::Kind::kString:
      case Token::Kind::kInteger:
      case Token::Kind::kFloat:
        return true;
      default:
        return token().IsOperator("[") || token().IsOperator("{");
    }
  }

  const Source& source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(const Source& source) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(source, std::move(tokens)).Run();
}

}  // namespace rondo::text::jinja
