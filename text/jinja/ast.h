// The tree of a template. Trees are no higher than kMaxHeight, so that whoever walks one may recurse.
#ifndef RONDO_TEXT_JINJA_AST_H_
#define RONDO_TEXT_JINJA_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace rondo::text::jinja {

inline constexpr int kMaxHeight = 250;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// Arguments of a call as they are written.
struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr list, dict;  // *list, **dict; may be null
};

struct Expr {
  enum class Kind {
    kLiteral,      // literal
    kName,         // name
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value ...
    kAttribute,    // children[0].name
    kItem,         // children[0][children[1]]
    kSlice,        // children[0][children[1]:children[2]:children[3]], the last three may be null
    kCall,         // children[0](arguments)
    kFilter,       // children[0] | name(arguments); children[0] is null in filter blocks
    kTest,         // children[0] is name(arguments)
    kNot,          // children[0]
    kNegate,       // children[0]
    kPlus,         // children[0]
    kAnd,          // children[0], children[1]
    kOr,           // children[0], children[1]
    kBinary,       // children[0] name children[1]
    kConcat,       // children, joined by ~
    kCompare,      // children[0] operators[0] children[1] operators[1] children[2] ...
    kConditional,  // children[0] if children[1] else children[2]; the last may be null
  };
  Kind kind;
  size_t offset = 0;
  int height = 1;
  Value literal;
  std::string name;
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  CallArguments arguments;
};

// What an assignment or a loop binds: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  size_t offset = 0;
  std::string name, attribute;
  std::vector<Target> elements;  // not empty: a tuple
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr default_value;  // may be null
};

struct Branch {
  ExprPtr condition;  // null: else
  Body body;
};

struct Stmt {
  enum class Kind {
    kData,         // text
    kOutput,       // expr
    kFor,          // target in expr if condition, body, else_body
    kIf,           // branches
    kSet,          // target = expr
    kSetBlock,     // target = body through expr (a filter, may be null)
    kMacro,        // text (parameters), body
    kCallBlock,    // (parameters) expr, body
    kFilterBlock,  // body through expr
    kWith,         // assignments, body
    kScope,        // body (generation blocks)
    kBreak,
    kContinue,
  };
  Kind kind;
  size_t offset = 0;
  std::string text;
  Target target;
  ExprPtr expr, condition;
  bool recursive = false;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<Target, ExprPtr>> assignments;
  Body body, else_body;
};

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_AST_H_
