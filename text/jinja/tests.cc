// The tests behind `is`.
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/case.h"
#include "text/status.h"

namespace rondo::text::jinja {
namespace {

// A test that only looks at the value.
template <bool (*kHolds)(const Value&)>
absl::StatusOr<Value> Check(Interpreter&, const Value& input, const Arguments&) {
  return Value::Bool(kHolds(input));
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsBoolean(const Value& v) { return v.boolean() != nullptr; }
bool IsTrue(const Value& v) { return v.boolean() != nullptr && *v.boolean(); }
bool IsFalse(const Value& v) { return v.boolean() != nullptr && !*v.boolean(); }
bool IsInteger(const Value& v) { return v.integer() != nullptr; }
bool IsFloat(const Value& v) { return v.real() != nullptr; }
bool IsNumber(const Value& v) { return v.is_number(); }
bool IsString(const Value& v) { return v.string() != nullptr; }
bool IsMapping(const Value& v) { return v.dict() != nullptr; }
bool IsSequence(const Value& v) { return v.string() != nullptr || v.list() != nullptr || v.dict() != nullptr; }
bool IsIterable(const Value& v) { return IsSequence(v) || v.is_undefined(); }
bool IsCallable(const Value& v) { return v.object() != nullptr && v.object()->callable(); }
bool IsEscaped(const Value&) { return false; }
bool IsLower(const Value& v) {
  const std::string text = ToText(v);
  return Lower(text) == text && Upper(text) != text;
}
bool IsUpper(const Value& v) {
  const std::string text = ToText(v);
  return Upper(text) == text && Lower(text) != text;
}

absl::StatusOr<const Value*> TheArgument(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty()) return InvalidArgument("expected one argument");
  return &arguments.positional[0];
}

absl::StatusOr<Value> Parity(const Value& input, bool odd) {
  if (!input.is_number()) return InvalidArgument("expected a number, got ", input.TypeName());
  return Value::Bool(std::fmod(std::abs(input.AsDouble()), 2.0) == (odd ? 1.0 : 0.0));
}
absl::StatusOr<Value> Odd(Interpreter&, const Value& input, const Arguments&) { return Parity(input, true); }
absl::StatusOr<Value> Even(Interpreter&, const Value& input, const Arguments&) { return Parity(input, false); }

absl::StatusOr<Value> DivisibleBy(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* divisor, TheArgument(arguments));
  RONDO_ASSIGN_OR_RETURN(const Value remainder, interpreter.BinaryOperation("%", input, *divisor));
  return Value::Bool(!remainder.Truthy());
}

absl::StatusOr<Value> EqualTo(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* other, TheArgument(arguments));
  return Value::Bool(Equal(input, *other));
}
absl::StatusOr<Value> NotEqualTo(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* other, TheArgument(arguments));
  return Value::Bool(!Equal(input, *other));
}

// kSwapped: other < input; kNegated: not.
template <bool kSwapped, bool kNegated>
absl::StatusOr<Value> Order(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* other, TheArgument(arguments));
  RONDO_ASSIGN_OR_RETURN(const bool less, kSwapped ? Less(*other, input) : Less(input, *other));
  return Value::Bool(less != kNegated);
}

absl::StatusOr<Value> In(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* container, TheArgument(arguments));
  RONDO_ASSIGN_OR_RETURN(const bool contains, interpreter.Contains(*container, input));
  return Value::Bool(contains);
}

absl::StatusOr<Value> SameAs(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Value* other, TheArgument(arguments));
  return Value::Bool(input.TypeName() == other->TypeName() && Equal(input, *other));
}

absl::StatusOr<Value> IsFilter(Interpreter&, const Value& input, const Arguments&) {
  return Value::Bool(input.string() != nullptr && FindFilter(*input.string()) != nullptr);
}
absl::StatusOr<Value> IsTest(Interpreter&, const Value& input, const Arguments&) {
  return Value::Bool(input.string() != nullptr && FindTest(*input.string()) != nullptr);
}

struct Test {
  absl::string_view name;
  Builtin builtin;
};
constexpr Test kTests[] = {
    {"boolean", Check<IsBoolean>},
    {"callable", Check<IsCallable>},
    {"defined", Check<IsDefined>},
    {"divisibleby", DivisibleBy},
    {"eq", EqualTo},
    {"equalto", EqualTo},
    {"escaped", Check<IsEscaped>},
    {"even", Even},
    {"false", Check<IsFalse>},
    {"filter", IsFilter},
    {"float", Check<IsFloat>},
    {"ge", Order<false, true>},
    {"greaterthan", Order<true, false>},
    {"gt", Order<true, false>},
    {"in", In},
    {"integer", Check<IsInteger>},
    {"iterable", Check<IsIterable>},
    {"le", Order<true, true>},
    {"lessthan", Order<false, false>},
    {"lower", Check<IsLower>},
    {"lt", Order<false, false>},
    {"mapping", Check<IsMapping>},
    {"ne", NotEqualTo},
    {"none", Check<IsNone>},
    {"number", Check<IsNumber>},
    {"odd", Odd},
    {"sameas", SameAs},
    {"sequence", Check<IsSequence>},
    {"string", Check<IsString>},
    {"test", IsTest},
    {"true", Check<IsTrue>},
    {"undefined", Check<IsUndefined>},
    {"upper", Check<IsUpper>},
};

}  // namespace

Builtin FindTest(absl::string_view name) {
  for (const Test& test : kTests) {
    if (test.name == name) return test.builtin;
  }
  return nullptr;
}

}  // namespace rondo::text::jinja
