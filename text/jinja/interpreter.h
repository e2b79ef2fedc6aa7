// Renders a template's tree. Work is bounded: steps, nesting of calls, bytes of strings and lists that are made; a
// template that goes beyond is an error, whoever wrote it.
#ifndef RONDO_TEXT_JINJA_INTERPRETER_H_
#define RONDO_TEXT_JINJA_INTERPRETER_H_

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "text/jinja/ast.h"
#include "text/jinja/source.h"
#include "text/jinja/value.h"

namespace rondo::text::jinja {

// Variables of one block; inner blocks see the outer ones'. Macros keep the scope that they are written in.
struct Scope {
  std::shared_ptr<Scope> outer;
  absl::flat_hash_map<std::string, Value> variables;
};

class Namespace;

class Interpreter {
 public:
  // Bytes that a template may make in all, not alive at once.
  static constexpr int64_t kMaxBytes = int64_t{1} << 30;

  // `source` and `body` must outlive it.
  Interpreter(const Source& source, const Body& body) : source_(source), body_(body) {}
  ~Interpreter();

  absl::StatusOr<std::string> Render(absl::flat_hash_map<std::string, Value> globals);

  // --- For filters, tests, functions and methods ---

  // Counts work, and bytes that are made.
  absl::Status Step(int64_t steps = 1);
  absl::Status Charge(int64_t bytes);
  absl::StatusOr<Value> NewString(std::string text);
  absl::StatusOr<Value> NewList(std::vector<Value> items, bool is_tuple = false);
  absl::StatusOr<Value> NewDict(Dict dict);
  // What a loop over the value sees: items of lists, keys of dicts, characters of strings.
  absl::StatusOr<std::vector<Value>> Iterate(const Value& value);
  // object.name and object[key].
  absl::StatusOr<Value> GetAttribute(const Value& object, absl::string_view name);
  absl::StatusOr<Value> GetItem(const Value& object, const Value& key);
  absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& input, const Arguments& arguments);
  absl::StatusOr<bool> ApplyTest(absl::string_view name, const Value& input, const Arguments& arguments);
  absl::StatusOr<Value> BinaryOperation(absl::string_view op, const Value& left, const Value& right);
  // Whether `item` is in `container`, as Python's `in`.
  absl::StatusOr<bool> Contains(const Value& container, const Value& item);
  // The time for strftime_now; nothing: the clock's.
  void set_now(absl::optional<std::time_t> now) { now_ = now; }
  absl::optional<std::time_t> now() const { return now_; }
  // A new namespace. Namespaces may refer to themselves: the interpreter empties them at its end.
  std::shared_ptr<Namespace> NewNamespace();
  // An object that holds other values; bounded like a list.
  absl::StatusOr<Value> NewObject(std::shared_ptr<Object> object);

 private:
  friend class Macro;
  friend class LoopObject;
  enum class Flow { kNormal, kBreak, kContinue };
  using ScopePtr = std::shared_ptr<Scope>;

  // Enters a level of nesting; Leave() must follow when it is ok.
  absl::Status Enter();
  void Leave() { --depth_; }

  absl::StatusOr<Flow> Execute(const Body& body, const ScopePtr& scope);
  absl::StatusOr<Flow> ExecuteOne(const Stmt& statement, const ScopePtr& scope);
  absl::StatusOr<Flow> For(const Stmt& statement, const ScopePtr& scope);
  // The loop itself, over the values of its expression; `depth` counts from 0 in recursive loops.
  absl::StatusOr<Flow> Loop(const Stmt& statement, const Value& iterable, const ScopePtr& scope, int depth);
  absl::Status SetBlock(const Stmt& statement, const ScopePtr& scope);
  absl::Status CallBlock(const Stmt& statement, const ScopePtr& scope);
  Value MakeMacro(const Stmt& statement, const ScopePtr& scope);
  absl::Status Assign(const Target& target, const Value& value, Scope* scope);
  // The output of a body as a string.
  absl::StatusOr<Value> Capture(const Body& body, const ScopePtr& scope);
  absl::Status Print(absl::string_view text);

  absl::StatusOr<Value> Evaluate(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvaluateNode(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<std::vector<Value>> EvaluateAll(const std::vector<ExprPtr>& exprs, const ScopePtr& scope);
  absl::StatusOr<Value> Compare(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> Slice(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> Call(const Value& callee, absl::string_view name, const Arguments& arguments);
  absl::StatusOr<Value> Filter(const Expr& expr, const Value* block, const ScopePtr& scope);
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& arguments, const ScopePtr& scope);
  Value Lookup(const std::string& name, const Scope* scope);

  const Source& source_;
  const Body& body_;
  std::string* output_ = nullptr;
  int depth_ = 0;
  int64_t steps_ = 0, bytes_ = 0;
  absl::optional<std::time_t> now_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<ScopePtr> captured_;  // scopes that macros and recursive loops keep
};

// A variable with attributes that can be set: namespace(a=1), {% set ns.a = 2 %}.
class Namespace : public Object {
 public:
  absl::string_view TypeName() const override { return "namespace"; }
  Value Attribute(absl::string_view name) const override;
  void Set(const std::string& name, Value value) { values_[name] = std::move(value); }
  void Clear() { values_.clear(); }

 private:
  absl::flat_hash_map<std::string, Value> values_;
};

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_INTERPRETER_H_
