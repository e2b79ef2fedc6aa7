// The names that templates find: filters, tests, functions, and methods of strings and dicts. A table each.
#ifndef RONDO_TEXT_JINJA_BUILTINS_H_
#define RONDO_TEXT_JINJA_BUILTINS_H_

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/value.h"

namespace rondo::text::jinja {

// Takes its input (a filter's or test's left side, a method's object) and the arguments.
using Builtin = absl::StatusOr<Value> (*)(Interpreter& interpreter, const Value& input, const Arguments& arguments);

// nullptr: there is none of this name.
Builtin FindFilter(absl::string_view name);
Builtin FindTest(absl::string_view name);
Builtin FindStringMethod(absl::string_view name);
Builtin FindListMethod(absl::string_view name);
Builtin FindDictMethod(absl::string_view name);
// range, namespace, raise_exception ...; undefined if there is none.
Value FindFunction(absl::string_view name);

// A builtin that can be called; methods are bound to their object.
std::shared_ptr<Object> BindBuiltin(std::string name, Builtin builtin, Value input);

// Arguments by the names of their parameters. A null: not given.
class BoundArguments {
 public:
  static absl::StatusOr<BoundArguments> Bind(const Arguments& arguments,
                                             std::initializer_list<absl::string_view> parameters);
  const Value* at(size_t index) const { return values_[index]; }
  // The argument or its default; an error where it has another type.
  absl::StatusOr<std::string> String(size_t index, absl::optional<std::string> absent) const;
  absl::StatusOr<int64_t> Int(size_t index, absl::optional<int64_t> absent) const;
  bool Bool(size_t index, bool absent) const;

 private:
  std::vector<absl::string_view> names_;
  std::vector<const Value*> values_;
};

// The input's string, an error naming `who` where it is none.
absl::StatusOr<absl::string_view> RequireString(const Value& value, absl::string_view who);

// Python's str.strip and friends: `chars` null means white space.
std::string StripChars(absl::string_view text, const std::string* chars, bool left, bool right);
bool IsPythonSpace(char32_t c);
// Characters of valid UTF-8, one string each.
std::vector<absl::string_view> Characters(absl::string_view text);
// `format % values`.
absl::StatusOr<std::string> FormatPercent(Interpreter& interpreter, absl::string_view format, const Value& values);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_BUILTINS_H_
