// Functions that every template finds, and how arguments meet parameters.
#include "text/jinja/builtins.h"

#include <algorithm>
#include <cstring>

#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

class BoundBuiltin : public Object {
 public:
  BoundBuiltin(std::string name, Builtin builtin, Value input)
      : name_(std::move(name)), builtin_(builtin), input_(std::move(input)) {}
  absl::string_view TypeName() const override { return "function"; }
  int depth() const override { return input_.depth() + 1; }
  bool callable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter& interpreter, const Arguments& arguments) override {
    absl::StatusOr<Value> value = builtin_(interpreter, input_, arguments);
    if (!value.ok()) return Annotate(value.status(), absl::StrCat(name_, ": "));
    return value;
  }

 private:
  std::string name_;
  Builtin builtin_;
  Value input_;
};

absl::StatusOr<Value> Range(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  const std::vector<Value>& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) {
    return InvalidArgument("expected one to three integers");
  }
  for (const Value& value : given) {
    if (!value.is_integral()) return InvalidArgument("expected an integer, got ", value.TypeName());
  }
  const int64_t start = given.size() == 1 ? 0 : given[0].AsInt();
  const int64_t stop = given.size() == 1 ? given[0].AsInt() : given[1].AsInt();
  const int64_t step = given.size() == 3 ? given[2].AsInt() : 1;
  if (step == 0) return InvalidArgument("the step is 0");
  std::vector<Value> items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return ResourceExhausted("more than ", kMaxRange, " numbers");
    }
    items.push_back(Value::Int(static_cast<int64_t>(i)));
  }
  return interpreter.NewList(std::move(items));
}

// Pairs of a dict or of a list of pairs, then the named arguments.
absl::StatusOr<Dict> DictOf(Interpreter& interpreter, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) return InvalidArgument("expected at most one positional argument");
  for (const Value& source : arguments.positional) {
    if (source.dict() != nullptr) {
      dict = *source.dict();
      continue;
    }
    RONDO_ASSIGN_OR_RETURN(const std::vector<Value> pairs, interpreter.Iterate(source));
    for (const Value& pair : pairs) {
      RONDO_ASSIGN_OR_RETURN(const std::vector<Value> parts, interpreter.Iterate(pair));
      if (parts.size() != 2) return InvalidArgument("expected pairs of key and value");
      RONDO_RETURN_IF_ERROR(dict.Set(parts[0], parts[1]));
    }
  }
  for (const auto& [name, value] : arguments.named) dict.Set(name, value);
  return dict;
}

absl::StatusOr<Value> MakeDict(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(Dict dict, DictOf(interpreter, arguments));
  return interpreter.NewDict(std::move(dict));
}

absl::StatusOr<Value> MakeNamespace(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const Dict dict, DictOf(interpreter, arguments));
  RONDO_RETURN_IF_ERROR(interpreter.Charge(256));
  const std::shared_ptr<Namespace> space = interpreter.NewNamespace();
  for (const auto& [key, value] : dict.entries()) space->Set(ToText(key), value);
  return Value::Of(std::shared_ptr<Object>(space));
}

absl::StatusOr<Value> RaiseException(Interpreter&, const Value&, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"message"}));
  return InvalidArgument(bound.at(0) != nullptr ? ToText(*bound.at(0)) : "(no message)");
}

absl::StatusOr<Value> StrftimeNow(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"format"}));
  RONDO_ASSIGN_OR_RETURN(const std::string format, bound.String(0, absl::nullopt));
  const std::time_t now = interpreter.now().value_or(std::time(nullptr));
  std::tm local{};
  if (interpreter.now()) {
    gmtime_r(&now, &local);
  } else {
    localtime_r(&now, &local);
  }
  if (format.size() > 200) return ResourceExhausted("a format of ", format.size(), " bytes");
  // A leading space tells an empty result from one that does not fit.
  char buffer[4096];
  const size_t length = std::strftime(buffer, sizeof(buffer), absl::StrCat(" ", format).c_str(), &local);
  if (length == 0) return ResourceExhausted("the formatted time is too long");
  return interpreter.NewString(ToValidUtf8(absl::string_view(buffer + 1, length - 1)));
}

struct Function {
  absl::string_view name;
  Builtin builtin;
};
constexpr Function kFunctions[] = {
    {"range", Range},
    {"dict", MakeDict},
    {"namespace", MakeNamespace},
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
};

}  // namespace

std::shared_ptr<Object> BindBuiltin(std::string name, Builtin builtin, Value input) {
  return std::make_shared<BoundBuiltin>(std::move(name), builtin, std::move(input));
}

Value FindFunction(absl::string_view name) {
  for (const Function& function : kFunctions) {
    if (function.name == name) return Value::Of(BindBuiltin(std::string(name), function.builtin, Value()));
  }
  return Value();
}

absl::StatusOr<BoundArguments> BoundArguments::Bind(const Arguments& arguments,
                                                    std::initializer_list<absl::string_view> parameters) {
  BoundArguments bound;
  bound.names_ = parameters;
  bound.values_.resize(parameters.size(), nullptr);
  if (arguments.positional.size() > parameters.size()) {
    return InvalidArgument("expected at most ", parameters.size(), " arguments, got ", arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(bound.names_.begin(), bound.names_.end(), name);
    if (at == bound.names_.end()) return InvalidArgument("unknown argument '", name, "'");
    const Value*& slot = bound.values_[at - bound.names_.begin()];
    if (slot != nullptr) return InvalidArgument("argument '", name, "' is given twice");
    slot = &value;
  }
  return bound;
}

absl::StatusOr<std::string> BoundArguments::String(size_t index, absl::optional<std::string> absent) const {
  const Value* value = values_[index];
  if (value == nullptr && absent) return *std::move(absent);
  if (value == nullptr) return InvalidArgument("argument '", names_[index], "' is missing");
  if (value->string() == nullptr) {
    return InvalidArgument("argument '", names_[index], "': expected a string, got ", value->TypeName());
  }
  return *value->string();
}

absl::StatusOr<int64_t> BoundArguments::Int(size_t index, absl::optional<int64_t> absent) const {
  const Value* value = values_[index];
  if (value == nullptr && absent) return *absent;
  if (value == nullptr) return InvalidArgument("argument '", names_[index], "' is missing");
  if (!value->is_integral()) {
    return InvalidArgument("argument '", names_[index], "': expected an integer, got ", value->TypeName());
  }
  return value->AsInt();
}

bool BoundArguments::Bool(size_t index, bool absent) const {
  return values_[index] != nullptr ? values_[index]->Truthy() : absent;
}

absl::StatusOr<absl::string_view> RequireString(const Value& value, absl::string_view who) {
  if (value.string() != nullptr) return absl::string_view(*value.string());
  if (value.is_undefined()) return UndefinedError(value);
  return InvalidArgument(who, " expects a string, got ", value.TypeName());
}

bool IsPythonSpace(char32_t c) { return IsWhitespace(c) || (c >= 0x1c && c <= 0x1f); }

std::string StripChars(absl::string_view text, const std::string* chars, bool left, bool right) {
  const auto strips = [&](absl::string_view c) {
    if (chars != nullptr) return absl::string_view(*chars).find(c) != absl::string_view::npos;
    size_t at = 0;
    return IsPythonSpace(NextChar(c, &at));
  };
  while (left && !text.empty() && strips(text.substr(0, CharLength(text[0])))) text.remove_prefix(CharLength(text[0]));
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (!IsCharStart(text[last])) --last;
    if (!strips(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::vector<absl::string_view> Characters(absl::string_view text) {
  std::vector<absl::string_view> characters;
  for (size_t i = 0; i < text.size(); i += CharLength(text[i]))
    characters.push_back(text.substr(i, CharLength(text[i])));
  return characters;
}

}  // namespace rondo::text::jinja
