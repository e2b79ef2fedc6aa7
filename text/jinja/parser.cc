// Statements and the bodies between their tags; expressions have a parser of their own.
#include "text/jinja/parser.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "text/jinja/expression_parser.h"
#include "text/jinja/lexer.h"
#include "text/jinja/token_cursor.h"
#include "text/status.h"

namespace rondo::text::jinja {
namespace {

class Parser {
 public:
  Parser(const Source& source, std::vector<Token> tokens) : source_(source), tokens_(std::move(tokens)) {}

  absl::StatusOr<Body> Run() {
    absl::StatusOr<Body> body = ParseBody({});
    if (!body.ok()) return source_.Locate(body.status(), tokens_.Peek().offset);
    return body;
  }

 private:
  // Up to a block tag with one of `ends`, whose name is left to be taken. Without ends: up to the template's end.
  absl::StatusOr<Body> ParseBody(const std::vector<absl::string_view>& ends) {
    const TokenCursor::Nesting nesting(&tokens_);
    RONDO_RETURN_IF_ERROR(tokens_.CheckDepth());
    Body body;
    while (true) {
      switch (tokens_.Peek().kind) {
        case Token::Kind::kEnd:
          if (ends.empty()) return body;
          return InvalidArgument("the template ends before '", absl::StrJoin(ends, "' or '"), "'");
        case Token::Kind::kData: {
          auto data = NewStmt(Stmt::Kind::kData);
          data->text = tokens_.Take().text;
          body.push_back(std::move(data));
          break;
        }
        case Token::Kind::kVariableBegin: {
          auto output = NewStmt(Stmt::Kind::kOutput);
          tokens_.Take();
          RONDO_ASSIGN_OR_RETURN(output->expr, ParseTuple(tokens_));
          if (tokens_.Peek().kind != Token::Kind::kVariableEnd)
            return InvalidArgument("expected '}}', got ", tokens_.Seen());
          tokens_.Take();
          body.push_back(std::move(output));
          break;
        }
        default: {
          tokens_.Take();  // {%
          for (const absl::string_view end : ends) {
            if (tokens_.Peek().IsName(end)) return body;
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
    statement->offset = tokens_.Peek().offset;
    return statement;
  }

  // The body and the end tag, which holds nothing but its name.
  absl::StatusOr<Body> ParseBodyTo(absl::string_view end) {
    RONDO_ASSIGN_OR_RETURN(Body body, ParseBody({end}));
    tokens_.Take();
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    return body;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseStatement() {
    if (tokens_.Peek().kind != Token::Kind::kName) return InvalidArgument("expected a statement, got ", tokens_.Seen());
    const std::string& name = tokens_.Peek().text;
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
      tokens_.Take();
      RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
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
    tokens_.Take();
    RONDO_ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (!tokens_.TakeName("in")) return InvalidArgument("expected 'in', got ", tokens_.Seen());
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseTuple(tokens_, /*with_condition=*/false));
    if (tokens_.TakeName("if")) {
      RONDO_ASSIGN_OR_RETURN(statement->condition, ParseExpression(tokens_));
    }
    statement->recursive = tokens_.TakeName("recursive");
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    ++loops_;
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBody({"endfor", "else"}));
    --loops_;
    if (tokens_.TakeName("else")) {
      RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
      RONDO_ASSIGN_OR_RETURN(statement->else_body, ParseBody({"endfor"}));
    }
    tokens_.Take();
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseIf() {
    auto statement = NewStmt(Stmt::Kind::kIf);
    bool more = true;
    while (more) {
      Branch branch;
      const bool is_else = tokens_.Take().text == "else";
      if (!is_else) {
        RONDO_ASSIGN_OR_RETURN(branch.condition, ParseTuple(tokens_, /*with_condition=*/false));
      }
      RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
      if (is_else) {
        RONDO_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif"}));
      } else {
        RONDO_ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}));
      }
      statement->branches.push_back(std::move(branch));
      more = !tokens_.Peek().IsName("endif");
    }
    tokens_.Take();
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseSet() {
    auto statement = NewStmt(Stmt::Kind::kSet);
    tokens_.Take();
    RONDO_ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (tokens_.TakeOperator("=")) {
      RONDO_ASSIGN_OR_RETURN(statement->expr, ParseTuple(tokens_));
      RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
      return statement;
    }
    statement->kind = Stmt::Kind::kSetBlock;
    if (tokens_.Peek().IsOperator("|")) {
      RONDO_ASSIGN_OR_RETURN(statement->expr, ParseFilters(tokens_, nullptr));
    }
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endset"));
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseMacro() {
    auto statement = NewStmt(Stmt::Kind::kMacro);
    tokens_.Take();
    RONDO_ASSIGN_OR_RETURN(statement->text, tokens_.ExpectName());
    RONDO_RETURN_IF_ERROR(ParseParameters(&statement->parameters));
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
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
    RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    while (!tokens_.TakeOperator(")")) {
      if (!parameters->empty()) RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      Parameter parameter;
      RONDO_ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectName());
      if (tokens_.TakeOperator("=")) {
        RONDO_ASSIGN_OR_RETURN(parameter.default_value, ParseExpression(tokens_));
      } else if (!parameters->empty() && parameters->back().default_value != nullptr) {
        return InvalidArgument("parameter '", parameter.name, "' without default after one with default");
      }
      parameters->push_back(std::move(parameter));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseCall() {
    auto statement = NewStmt(Stmt::Kind::kCallBlock);
    tokens_.Take();
    if (tokens_.Peek().IsOperator("(")) RONDO_RETURN_IF_ERROR(ParseParameters(&statement->parameters));
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseExpression(tokens_));
    if (statement->expr->kind != Expr::Kind::kCall) return InvalidArgument("expected a call in a 'call' block");
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    return ParseMacroBody(std::move(statement), "endcall");
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseFilterBlock() {
    auto statement = NewStmt(Stmt::Kind::kFilterBlock);
    tokens_.Take();
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseOneFilter(tokens_, nullptr));
    RONDO_ASSIGN_OR_RETURN(statement->expr, ParseFilters(tokens_, std::move(statement->expr)));
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endfilter"));
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Stmt>> ParseWith() {
    auto statement = NewStmt(Stmt::Kind::kWith);
    tokens_.Take();
    while (tokens_.Peek().kind != Token::Kind::kBlockEnd) {
      if (!statement->assignments.empty()) RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      RONDO_ASSIGN_OR_RETURN(Target target, ParseTarget());
      RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator("="));
      RONDO_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression(tokens_));
      statement->assignments.emplace_back(std::move(target), std::move(value));
    }
    tokens_.Take();
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endwith"));
    return statement;
  }

  // Marks what the assistant said, for training; printed as it is.
  absl::StatusOr<std::unique_ptr<Stmt>> ParseGeneration() {
    auto statement = NewStmt(Stmt::Kind::kScope);
    tokens_.Take();
    RONDO_RETURN_IF_ERROR(tokens_.ExpectBlockEnd());
    RONDO_ASSIGN_OR_RETURN(statement->body, ParseBodyTo("endgeneration"));
    return statement;
  }

  // `a`, `ns.a`, `a, b`, `(a, b)`.
  absl::StatusOr<Target> ParseTarget() {
    Target tuple;
    tuple.offset = tokens_.Peek().offset;
    RONDO_ASSIGN_OR_RETURN(Target first, ParseOneTarget());
    if (!tokens_.Peek().IsOperator(",")) return first;
    tuple.elements.push_back(std::move(first));
    while (tokens_.TakeOperator(",")) {
      if (tokens_.Peek().kind != Token::Kind::kName && !tokens_.Peek().IsOperator("(")) break;
      if (tokens_.Peek().IsName("in")) break;
      RONDO_ASSIGN_OR_RETURN(Target element, ParseOneTarget());
      tuple.elements.push_back(std::move(element));
    }
    return tuple;
  }

  absl::StatusOr<Target> ParseOneTarget() {
    const TokenCursor::Nesting nesting(&tokens_);
    RONDO_RETURN_IF_ERROR(tokens_.CheckDepth());
    Target target;
    target.offset = tokens_.Peek().offset;
    if (tokens_.TakeOperator("(")) {
      RONDO_ASSIGN_OR_RETURN(target, ParseTarget());
      RONDO_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
      return target;
    }
    RONDO_ASSIGN_OR_RETURN(target.name, tokens_.ExpectName());
    static constexpr absl::string_view kReserved[] = {"true", "True", "false", "False", "none", "None"};
    if (std::find(std::begin(kReserved), std::end(kReserved), target.name) != std::end(kReserved)) {
      return InvalidArgument("cannot assign to '", target.name, "'");
    }
    if (tokens_.TakeOperator(".")) {
      RONDO_ASSIGN_OR_RETURN(target.attribute, tokens_.ExpectName());
    }
    return target;
  }

  const Source& source_;
  TokenCursor tokens_;
  int loops_ = 0;
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(const Source& source) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(source, std::move(tokens)).Run();
}

}  // namespace rondo::text::jinja
