#include "text/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/status.h"

namespace rondo::text::jinja {
namespace {

constexpr int64_t kMaxSteps = 5'000'000;
constexpr int kMaxNesting = 700;
constexpr int64_t kScopeBytes = 256;

}  // namespace

// What `loop` is inside of a for.
class LoopObject : public Object {
 public:
  LoopObject(std::shared_ptr<const List> items, const Stmt& statement, int depth)
      : items_(std::move(items)), statement_(statement), recursion_(depth) {}
  absl::string_view TypeName() const override { return "loop"; }
  int depth() const override { return items_->depth() + 1; }
  bool callable() const override { return statement_.recursive; }
  void Advance(size_t index) { index_ = index; }
  void KeepScope(std::shared_ptr<Scope> scope) { scope_ = std::move(scope); }

  Value Attribute(absl::string_view name) const override {
    const auto& items = items_->items();
    const auto index = static_cast<int64_t>(index_), length = static_cast<int64_t>(items.size());
    if (name == "index") return Value::Int(index + 1);
    if (name == "index0") return Value::Int(index);
    if (name == "revindex") return Value::Int(length - index);
    if (name == "revindex0") return Value::Int(length - index - 1);
    if (name == "first") return Value::Bool(index == 0);
    if (name == "last") return Value::Bool(index + 1 == length);
    if (name == "length") return Value::Int(length);
    if (name == "depth") return Value::Int(recursion_ + 1);
    if (name == "depth0") return Value::Int(recursion_);
    if (name == "previtem" && index > 0) return items[index - 1];
    if (name == "nextitem" && index + 1 < length) return items[index + 1];
    if (name == "cycle") return Value::Of(BindBuiltin("loop.cycle", Cycle, Value::Int(index)));
    if (name == "changed") return Value::Of(std::make_shared<Changed>(changed_));
    return Value::UndefinedNamed(name);
  }

  // loop(items) in a recursive loop: the same loop over other items; what it prints.
  absl::StatusOr<Value> Call(Interpreter& interpreter, const Arguments& arguments) override {
    RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"iterable"}));
    if (!statement_.recursive) return InvalidArgument("loop() in a loop that is not 'recursive'");
    if (bound.at(0) == nullptr) return InvalidArgument("loop(): expected what to loop over");
    RONDO_RETURN_IF_ERROR(interpreter.Enter());
    std::string text;
    std::string* const outer = std::exchange(interpreter.output_, &text);
    const auto flow = interpreter.Loop(statement_, *bound.at(0), scope_, recursion_ + 1);
    interpreter.output_ = outer;
    interpreter.Leave();
    if (!flow.ok()) return flow.status();
    return interpreter.NewString(std::move(text));
  }

 private:
  // loop.changed(x): whether x differs from the last call's. Texts are kept, so that no value can hold itself.
  class Changed : public Object {
   public:
    explicit Changed(std::shared_ptr<std::string> last) : last_(std::move(last)) {}
    absl::string_view TypeName() const override { return "method"; }
    bool callable() const override { return true; }
    absl::StatusOr<Value> Call(Interpreter& interpreter, const Arguments& arguments) override {
      std::string now = ToRepr(MakeTuple(arguments.positional));
      RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(now.size())));
      const bool changed = now != *last_;
      *last_ = std::move(now);
      return Value::Bool(changed);
    }

   private:
    std::shared_ptr<std::string> last_;
  };

  static absl::StatusOr<Value> Cycle(Interpreter&, const Value& index, const Arguments& arguments) {
    if (arguments.positional.empty()) return InvalidArgument("loop.cycle: expected values");
    return arguments.positional[*index.integer() % arguments.positional.size()];
  }

  std::shared_ptr<const List> items_;
  const Stmt& statement_;
  int recursion_;
  size_t index_ = 0;
  std::shared_ptr<Scope> scope_;  // recursive loops: where the loop stands
  std::shared_ptr<std::string> changed_ = std::make_shared<std::string>();
};

class Macro : public Object {
 public:
  Macro(const Stmt& statement, std::shared_ptr<Scope> scope) : statement_(statement), scope_(std::move(scope)) {}
  absl::string_view TypeName() const override { return "macro"; }
  bool callable() const override { return true; }
  Value Attribute(absl::string_view name) const override {
    return name == "name" ? Value::String(statement_.text) : Value::UndefinedNamed(name);
  }

  absl::StatusOr<Value> Call(Interpreter& interpreter, const Arguments& arguments) override {
    RONDO_RETURN_IF_ERROR(interpreter.Enter());
    absl::StatusOr<Value> result = CallInside(interpreter, arguments);
    interpreter.Leave();
    return result;
  }

 private:
  absl::StatusOr<Value> CallInside(Interpreter& interpreter, const Arguments& arguments) {
    auto scope = std::make_shared<Scope>();
    scope->outer = scope_;
    auto& variables = scope->variables;
    const std::vector<Parameter>& parameters = statement_.parameters;
    auto kwargs = std::make_shared<Dict>();
    for (const auto& [name, value] : arguments.named) {
      const bool known =
          std::any_of(parameters.begin(), parameters.end(), [&](const Parameter& p) { return p.name == name; });
      if (known || name == "caller") {
        variables[name] = value;
      } else {
        kwargs->Set(name, value);
      }
    }
    std::vector<Value> varargs;
    for (size_t i = 0; i < arguments.positional.size(); ++i) {
      if (i >= parameters.size()) {
        varargs.push_back(arguments.positional[i]);
      } else if (!variables.emplace(parameters[i].name, arguments.positional[i]).second) {
        return InvalidArgument("macro '", statement_.text, "' gets '", parameters[i].name, "' twice");
      }
    }
    for (const Parameter& parameter : parameters) {
      if (variables.contains(parameter.name)) continue;
      Value value = Value::UndefinedNamed(parameter.name);
      if (parameter.default_value != nullptr) {
        RONDO_ASSIGN_OR_RETURN(value, interpreter.Evaluate(*parameter.default_value, scope));
      }
      variables[parameter.name] = std::move(value);
    }
    variables.emplace("caller", Value::UndefinedNamed("caller"));
    RONDO_ASSIGN_OR_RETURN(variables["varargs"], interpreter.NewList(std::move(varargs), /*is_tuple=*/true));
    RONDO_ASSIGN_OR_RETURN(variables["kwargs"], interpreter.NewDict(std::move(*kwargs)));
    return interpreter.Capture(statement_.body, scope);
  }

  const Stmt& statement_;
  std::shared_ptr<Scope> scope_;
};

Value Namespace::Attribute(absl::string_view name) const {
  const auto at = values_.find(name);
  return at == values_.end() ? Value::UndefinedNamed(name) : at->second;
}

Interpreter::~Interpreter() {
  // Breaks cycles, and chains that would be taken down by recursion.
  for (const auto& space : namespaces_) space->Clear();
  for (const ScopePtr& scope : captured_) scope->variables.clear();
  for (const ScopePtr& scope : captured_) scope->outer.reset();
}

absl::StatusOr<std::string> Interpreter::Render(absl::flat_hash_map<std::string, Value> globals) {
  auto scope = std::make_shared<Scope>();
  scope->variables = std::move(globals);
  captured_.push_back(scope);
  std::string text;
  output_ = &text;
  const absl::StatusOr<Flow> flow = Execute(body_, scope);
  output_ = nullptr;
  if (!flow.ok()) return flow.status();
  return text;
}

absl::Status Interpreter::Step(int64_t steps) {
  steps_ += steps;
  if (steps_ <= kMaxSteps) return absl::OkStatus();
  return ResourceExhausted("the template takes more than ", kMaxSteps, " steps");
}

absl::Status Interpreter::Charge(int64_t bytes) {
  bytes_ += bytes;
  if (bytes_ <= kMaxBytes) return absl::OkStatus();
  return ResourceExhausted("the template makes more than ", kMaxBytes, " bytes of values");
}

absl::Status Interpreter::Enter() {
  if (depth_ == kMaxNesting) return ResourceExhausted("calls and expressions nested more than ", kMaxNesting, " deep");
  ++depth_;
  return absl::OkStatus();
}

std::shared_ptr<Namespace> Interpreter::NewNamespace() {
  namespaces_.push_back(std::make_shared<Namespace>());
  return namespaces_.back();
}

// --- Statements ---

absl::Status Interpreter::Print(absl::string_view text) {
  RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(text.size())));
  absl::StrAppend(output_, text);
  return absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const Body& body, const ScopePtr& scope) {
  for (const auto& statement : body) {
    if (const absl::Status full = Enter(); !full.ok()) return source_.Locate(full, statement->offset);
    const absl::StatusOr<Flow> flow = ExecuteOne(*statement, scope);
    Leave();
    if (!flow.ok()) return source_.Locate(flow.status(), statement->offset);
    if (*flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteOne(const Stmt& statement, const ScopePtr& scope) {
  RONDO_RETURN_IF_ERROR(Step());
  switch (statement.kind) {
    case Stmt::Kind::kData:
      RONDO_RETURN_IF_ERROR(Print(statement.text));
      break;
    case Stmt::Kind::kOutput: {
      RONDO_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expr, scope));
      RONDO_RETURN_IF_ERROR(Print(value.string() != nullptr ? *value.string() : ToText(value)));
      break;
    }
    case Stmt::Kind::kIf:
      for (const Branch& branch : statement.branches) {
        bool taken = true;
        if (branch.condition != nullptr) {
          RONDO_ASSIGN_OR_RETURN(const Value condition, Evaluate(*branch.condition, scope));
          taken = condition.Truthy();
        }
        if (taken) return Execute(branch.body, scope);
      }
      break;
    case Stmt::Kind::kFor:
      return For(statement, scope);
    case Stmt::Kind::kSet: {
      RONDO_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expr, scope));
      RONDO_RETURN_IF_ERROR(Assign(statement.target, value, scope.get()));
      break;
    }
    case Stmt::Kind::kSetBlock:
      RONDO_RETURN_IF_ERROR(SetBlock(statement, scope));
      break;
    case Stmt::Kind::kMacro:
      RONDO_RETURN_IF_ERROR(Charge(kScopeBytes));
      scope->variables[statement.text] = MakeMacro(statement, scope);
      break;
    case Stmt::Kind::kCallBlock:
      RONDO_RETURN_IF_ERROR(CallBlock(statement, scope));
      break;
    case Stmt::Kind::kFilterBlock: {
      RONDO_ASSIGN_OR_RETURN(const Value block, Capture(statement.body, scope));
      RONDO_ASSIGN_OR_RETURN(const Value value, Filter(*statement.expr, &block, scope));
      RONDO_RETURN_IF_ERROR(Print(ToText(value)));
      break;
    }
    case Stmt::Kind::kWith: {
      auto inner = std::make_shared<Scope>();
      inner->outer = scope;
      for (const auto& [target, expr] : statement.assignments) {
        RONDO_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr, scope));
        RONDO_RETURN_IF_ERROR(Assign(target, value, inner.get()));
      }
      return Execute(statement.body, inner);
    }
    case Stmt::Kind::kScope: {
      auto inner = std::make_shared<Scope>();
      inner->outer = scope;
      return Execute(statement.body, inner);
    }
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::For(const Stmt& statement, const ScopePtr& scope) {
  RONDO_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.expr, scope));
  return Loop(statement, iterable, scope, 0);
}

absl::StatusOr<Interpreter::Flow> Interpreter::Loop(const Stmt& statement, const Value& iterable, const ScopePtr& scope,
                                                    int depth) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(iterable));
  if (statement.condition != nullptr) {
    std::vector<Value> kept;
    for (Value& item : items) {
      auto inner = std::make_shared<Scope>();
      inner->outer = scope;
      RONDO_RETURN_IF_ERROR(Assign(statement.target, item, inner.get()));
      RONDO_ASSIGN_OR_RETURN(const Value keep, Evaluate(*statement.condition, inner));
      if (keep.Truthy()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) return Execute(statement.else_body, scope);
  const auto list = std::make_shared<const List>(std::move(items));
  const auto loop = std::make_shared<LoopObject>(list, statement, depth);
  RONDO_ASSIGN_OR_RETURN(const Value loop_value, NewObject(loop));
  if (statement.recursive) {
    loop->KeepScope(scope);
    captured_.push_back(scope);
  }
  for (size_t i = 0; i < list->items().size(); ++i) {
    loop->Advance(i);
    auto inner = std::make_shared<Scope>();
    inner->outer = scope;
    inner->variables["loop"] = loop_value;
    RONDO_RETURN_IF_ERROR(Assign(statement.target, list->items()[i], inner.get()));
    RONDO_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body, inner));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNormal;
}

absl::Status Interpreter::SetBlock(const Stmt& statement, const ScopePtr& scope) {
  auto inner = std::make_shared<Scope>();
  inner->outer = scope;
  RONDO_ASSIGN_OR_RETURN(Value value, Capture(statement.body, inner));
  if (statement.expr != nullptr) {
    RONDO_ASSIGN_OR_RETURN(value, Filter(*statement.expr, &value, scope));
  }
  return Assign(statement.target, value, scope.get());
}

Value Interpreter::MakeMacro(const Stmt& statement, const ScopePtr& scope) {
  captured_.push_back(scope);
  return Value::Of(std::make_shared<Macro>(statement, scope));
}

absl::Status Interpreter::CallBlock(const Stmt& statement, const ScopePtr& scope) {
  RONDO_RETURN_IF_ERROR(Charge(kScopeBytes));
  RONDO_ASSIGN_OR_RETURN(const Value callee, Evaluate(*statement.expr->children[0], scope));
  RONDO_ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(statement.expr->arguments, scope));
  arguments.named.emplace_back("caller", MakeMacro(statement, scope));
  RONDO_ASSIGN_OR_RETURN(const Value value, Call(callee, statement.expr->children[0]->name, arguments));
  return Print(ToText(value));
}

absl::Status Interpreter::Assign(const Target& target, const Value& value, Scope* scope) {
  if (!target.elements.empty()) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(value));
    if (items.size() != target.elements.size()) {
      return source_.Locate(
          InvalidArgument("cannot unpack ", items.size(), " values into ", target.elements.size(), " variables"),
          target.offset);
    }
    for (size_t i = 0; i < items.size(); ++i) RONDO_RETURN_IF_ERROR(Assign(target.elements[i], items[i], scope));
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    scope->variables[target.name] = value;
    return absl::OkStatus();
  }
  auto* space = dynamic_cast<Namespace*>(Lookup(target.name, scope).object());
  if (space == nullptr) {
    return source_.Locate(InvalidArgument("'", target.name, "' is no namespace: its attribute cannot be set"),
                          target.offset);
  }
  space->Set(target.attribute, value);
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::Capture(const Body& body, const ScopePtr& scope) {
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  const absl::StatusOr<Flow> flow = Execute(body, scope);
  output_ = outer;
  if (!flow.ok()) return flow.status();
  return NewString(std::move(text));
}

// --- Expressions ---

absl::StatusOr<Value> Interpreter::Evaluate(const Expr& expr, const ScopePtr& scope) {
  if (const absl::Status full = Enter(); !full.ok()) return source_.Locate(full, expr.offset);
  absl::StatusOr<Value> value = EvaluateNode(expr, scope);
  Leave();
  if (!value.ok()) return source_.Locate(value.status(), expr.offset);
  return value;
}

absl::StatusOr<std::vector<Value>> Interpreter::EvaluateAll(const std::vector<ExprPtr>& exprs, const ScopePtr& scope) {
  std::vector<Value> values;
  for (const ExprPtr& expr : exprs) {
    RONDO_ASSIGN_OR_RETURN(Value value, Evaluate(*expr, scope));
    values.push_back(std::move(value));
  }
  return values;
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Expr& expr, const ScopePtr& scope) {
  RONDO_RETURN_IF_ERROR(Step());
  using Kind = Expr::Kind;
  switch (expr.kind) {
    case Kind::kLiteral:
      return expr.literal;
    case Kind::kName:
      return Lookup(expr.name, scope.get());
    case Kind::kList:
    case Kind::kTuple: {
      RONDO_ASSIGN_OR_RETURN(std::vector<Value> items, EvaluateAll(expr.children, scope));
      return NewList(std::move(items), expr.kind == Kind::kTuple);
    }
    case Kind::kDict: {
      RONDO_ASSIGN_OR_RETURN(std::vector<Value> parts, EvaluateAll(expr.children, scope));
      Dict dict;
      for (size_t i = 0; i + 1 < parts.size(); i += 2) RONDO_RETURN_IF_ERROR(dict.Set(parts[i], parts[i + 1]));
      return NewDict(std::move(dict));
    }
    case Kind::kAnd:
    case Kind::kOr: {
      RONDO_ASSIGN_OR_RETURN(Value left, Evaluate(*expr.children[0], scope));
      if (left.Truthy() == (expr.kind == Kind::kOr)) return left;
      return Evaluate(*expr.children[1], scope);
    }
    case Kind::kConditional: {
      RONDO_ASSIGN_OR_RETURN(const Value condition, Evaluate(*expr.children[1], scope));
      if (condition.Truthy()) return Evaluate(*expr.children[0], scope);
      if (expr.children[2] != nullptr) return Evaluate(*expr.children[2], scope);
      return Value::UndefinedNamed("an inline if without else");
    }
    case Kind::kConcat: {
      RONDO_ASSIGN_OR_RETURN(const std::vector<Value> parts, EvaluateAll(expr.children, scope));
      std::string text;
      for (const Value& part : parts) absl::StrAppend(&text, ToText(part));
      return NewString(std::move(text));
    }
    case Kind::kCompare:
      return Compare(expr, scope);
    case Kind::kSlice:
      return Slice(expr, scope);
    case Kind::kCall: {
      RONDO_ASSIGN_OR_RETURN(const Value callee, Evaluate(*expr.children[0], scope));
      RONDO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments, scope));
      return Call(callee, expr.children[0]->name, arguments);
    }
    case Kind::kFilter:
      return Filter(expr, nullptr, scope);
    default:
      break;
  }
  // The rest has evaluated operands.
  RONDO_ASSIGN_OR_RETURN(const Value operand, Evaluate(*expr.children[0], scope));
  switch (expr.kind) {
    case Kind::kAttribute:
      return GetAttribute(operand, expr.name);
    case Kind::kItem: {
      RONDO_ASSIGN_OR_RETURN(const Value key, Evaluate(*expr.children[1], scope));
      return GetItem(operand, key);
    }
    case Kind::kTest: {
      RONDO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments, scope));
      RONDO_ASSIGN_OR_RETURN(const bool holds, ApplyTest(expr.name, operand, arguments));
      return Value::Bool(holds);
    }
    case Kind::kNot:
      return Value::Bool(!operand.Truthy());
    case Kind::kNegate:
      return BinaryOperation("-", Value::Int(0), operand);
    case Kind::kPlus:
      return BinaryOperation("+", Value::Int(0), operand);
    default: {
      RONDO_ASSIGN_OR_RETURN(const Value right, Evaluate(*expr.children[1], scope));
      return BinaryOperation(expr.name, operand, right);
    }
  }
}

Value Interpreter::Lookup(const std::string& name, const Scope* scope) {
  for (; scope != nullptr; scope = scope->outer.get()) {
    const auto at = scope->variables.find(name);
    if (at != scope->variables.end()) return at->second;
    ++steps_;
  }
  Value function = FindFunction(name);
  return function.is_undefined() ? Value::UndefinedNamed(name) : function;
}

absl::StatusOr<Arguments> Interpreter::EvaluateArguments(const CallArguments& written, const ScopePtr& scope) {
  Arguments arguments;
  RONDO_ASSIGN_OR_RETURN(arguments.positional, EvaluateAll(written.positional, scope));
  if (written.list != nullptr) {
    RONDO_ASSIGN_OR_RETURN(const Value list, Evaluate(*written.list, scope));
    RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(list));
    arguments.positional.insert(arguments.positional.end(), items.begin(), items.end());
  }
  for (const auto& [name, expr] : written.named) {
    RONDO_ASSIGN_OR_RETURN(Value value, Evaluate(*expr, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (written.dict != nullptr) {
    RONDO_ASSIGN_OR_RETURN(const Value dict, Evaluate(*written.dict, scope));
    if (dict.dict() == nullptr) return InvalidArgument("** expects a dict, got ", dict.TypeName());
    for (const auto& [key, value] : dict.dict()->entries()) arguments.named.emplace_back(ToText(key), value);
  }
  return arguments;
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, absl::string_view name, const Arguments& arguments) {
  if (callee.is_undefined()) return UndefinedError(callee);
  if (callee.object() == nullptr)
    return InvalidArgument("'", name, "' is a ", callee.TypeName(), " and cannot be called");
  // Held here: the call may drop the last variable that has it.
  const Value held = callee;
  return held.object()->Call(*this, arguments);
}

absl::StatusOr<Value> Interpreter::Filter(const Expr& expr, const Value* block, const ScopePtr& scope) {
  if (expr.kind != Expr::Kind::kFilter) return Evaluate(expr, scope);
  Value input;
  if (expr.children[0] == nullptr) {
    input = *block;
  } else if (block != nullptr) {  // a chain of filters on a block
    RONDO_ASSIGN_OR_RETURN(input, Filter(*expr.children[0], block, scope));
  } else {
    RONDO_ASSIGN_OR_RETURN(input, Evaluate(*expr.children[0], scope));
  }
  RONDO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments, scope));
  absl::StatusOr<Value> value = ApplyFilter(expr.name, input, arguments);
  if (!value.ok()) return source_.Locate(value.status(), expr.offset);
  return value;
}

absl::StatusOr<Value> Interpreter::ApplyFilter(absl::string_view name, const Value& input, const Arguments& arguments) {
  const Builtin filter = FindFilter(name);
  if (filter == nullptr) return Unimplemented("unknown filter '", name, "'");
  RONDO_RETURN_IF_ERROR(Step());
  return filter(*this, input, arguments);
}

absl::StatusOr<bool> Interpreter::ApplyTest(absl::string_view name, const Value& input, const Arguments& arguments) {
  const Builtin test = FindTest(name);
  if (test == nullptr) return Unimplemented("unknown test '", name, "'");
  RONDO_RETURN_IF_ERROR(Step());
  RONDO_ASSIGN_OR_RETURN(const Value value, test(*this, input, arguments));
  return value.Truthy();
}

absl::StatusOr<Value> Interpreter::Compare(const Expr& expr, const ScopePtr& scope) {
  RONDO_ASSIGN_OR_RETURN(Value left, Evaluate(*expr.children[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(Value right, Evaluate(*expr.children[i + 1], scope));
    const std::string& op = expr.operators[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = Equal(left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      RONDO_ASSIGN_OR_RETURN(const bool contains, Contains(right, left));
      holds = contains == (op == "in");
    } else {
      const bool swapped = op == ">" || op == "<=";  // a <= b is not (b < a)
      RONDO_ASSIGN_OR_RETURN(const bool less, swapped ? Less(right, left) : Less(left, right));
      holds = less == (op == "<" || op == ">");
    }
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

absl::StatusOr<Value> Interpreter::Slice(const Expr& expr, const ScopePtr& scope) {
  RONDO_ASSIGN_OR_RETURN(const Value object, Evaluate(*expr.children[0], scope));
  absl::optional<int64_t> bounds[3];
  for (int i = 0; i < 3; ++i) {
    if (expr.children[i + 1] == nullptr) continue;
    RONDO_ASSIGN_OR_RETURN(const Value bound, Evaluate(*expr.children[i + 1], scope));
    if (bound.is_none()) continue;
    if (!bound.is_integral()) return InvalidArgument("a slice expects integers, got ", bound.TypeName());
    bounds[i] = bound.AsInt();
  }
  if (object.is_undefined()) return UndefinedError(object);
  if (object.string() == nullptr && object.list() == nullptr) {
    return InvalidArgument("a slice expects a string or a list, got ", object.TypeName());
  }
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(object));
  const auto size = static_cast<int64_t>(items.size());
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) return InvalidArgument("the step of a slice is 0");
  const bool forward = step > 0;
  const auto place = [&](absl::optional<int64_t> bound, int64_t absent) {
    if (!bound) return absent;
    const int64_t index = *bound < 0 ? *bound + size : *bound;
    return forward ? std::clamp<int64_t>(index, 0, size) : std::clamp<int64_t>(index, -1, size - 1);
  };
  const int64_t start = place(bounds[0], forward ? 0 : size - 1), stop = place(bounds[1], forward ? size : -1);
  std::vector<Value> kept;
  for (int64_t i = start; forward ? i < stop : i > stop;) {
    kept.push_back(items[i]);
    if (forward ? step > stop - i : step < stop - i) break;  // also keeps i from overflowing
    i += step;
  }
  if (object.list() != nullptr) return NewList(std::move(kept), object.list()->is_tuple());
  std::string text;
  for (const Value& c : kept) text += *c.string();
  return NewString(std::move(text));
}

}  // namespace rondo::text::jinja
