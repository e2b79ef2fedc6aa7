// What the interpreter does with values: making them, looping over them, attributes and items, arithmetic.
#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/status.h"

namespace rondo::text::jinja {
namespace {

constexpr int kMaxValueDepth = 200;
constexpr int64_t kObjectBytes = 256;

absl::Status TooDeep() { return ResourceExhausted("values nested more than ", kMaxValueDepth, " deep"); }

}  // namespace

absl::StatusOr<Value> Interpreter::NewString(std::string text) {
  RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(text.size())));
  return Value::String(std::move(text));
}

absl::StatusOr<Value> Interpreter::NewList(std::vector<Value> items, bool is_tuple) {
  RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(items.size() * sizeof(Value))));
  Value list = is_tuple ? MakeTuple(std::move(items)) : MakeList(std::move(items));
  if (list.depth() > kMaxValueDepth) return TooDeep();
  return list;
}

absl::StatusOr<Value> Interpreter::NewDict(Dict dict) {
  RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(dict.entries().size() * 4 * sizeof(Value))));
  if (dict.depth() > kMaxValueDepth) return TooDeep();
  return Value::Of(std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict))));
}

absl::StatusOr<Value> Interpreter::NewObject(std::shared_ptr<Object> object) {
  RONDO_RETURN_IF_ERROR(Charge(kObjectBytes));
  if (object->depth() > kMaxValueDepth) return TooDeep();
  return Value::Of(std::move(object));
}

absl::StatusOr<std::vector<Value>> Interpreter::Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.list() != nullptr) {
    items = value.list()->items();
  } else if (value.dict() != nullptr) {
    for (const auto& [key, item] : value.dict()->entries()) items.push_back(key);
  } else if (value.string() != nullptr) {
    RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(value.string()->size() * 3 * sizeof(Value))));
    for (const absl::string_view c : Characters(*value.string())) items.push_back(Value::String(c));
  } else if (!value.is_undefined()) {
    return InvalidArgument("a value of type ", value.TypeName(), " cannot be iterated over");
  }
  RONDO_RETURN_IF_ERROR(Charge(static_cast<int64_t>(items.size() * sizeof(Value))));
  return items;
}

absl::StatusOr<bool> Interpreter::Contains(const Value& container, const Value& item) {
  if (container.string() != nullptr) {
    RONDO_ASSIGN_OR_RETURN(const absl::string_view part, RequireString(item, "'in' a string"));
    return container.string()->find(part.data(), 0, part.size()) != std::string::npos;
  }
  if (container.dict() != nullptr) return container.dict()->Find(item) != nullptr;
  if (container.list() != nullptr) {
    const auto& items = container.list()->items();
    RONDO_RETURN_IF_ERROR(Step(static_cast<int64_t>(items.size())));
    return std::any_of(items.begin(), items.end(), [&](const Value& value) { return Equal(value, item); });
  }
  if (container.is_undefined()) return false;
  return InvalidArgument("'in' expects a string, list or dict, got ", container.TypeName());
}

absl::StatusOr<Value> Interpreter::GetAttribute(const Value& object, absl::string_view name) {
  if (object.is_undefined()) return UndefinedError(object);
  const Builtin method = object.string() != nullptr ? FindStringMethod(name)
                         : object.list() != nullptr ? FindListMethod(name)
                         : object.dict() != nullptr ? FindDictMethod(name)
                                                    : nullptr;
  if (method != nullptr) return NewObject(BindBuiltin(std::string(name), method, object));
  if (object.object() != nullptr) return object.object()->Attribute(name);
  if (object.dict() != nullptr) {
    const Value* value = object.dict()->Find(name);
    if (value != nullptr) return *value;
  }
  return Value::UndefinedNamed(name);
}

absl::StatusOr<Value> Interpreter::GetItem(const Value& object, const Value& key) {
  if (object.is_undefined()) return UndefinedError(object);
  if (object.dict() != nullptr) {
    const Value* value = object.dict()->Find(key);
    if (value != nullptr) return *value;
  } else if (key.is_integral() && (object.list() != nullptr || object.string() != nullptr)) {
    const auto characters =
        object.string() != nullptr ? Characters(*object.string()) : std::vector<absl::string_view>();
    RONDO_RETURN_IF_ERROR(Step(static_cast<int64_t>(characters.size() / 16)));
    const auto size =
        static_cast<int64_t>(object.list() != nullptr ? object.list()->items().size() : characters.size());
    const int64_t index = key.AsInt() < 0 ? key.AsInt() + size : key.AsInt();
    if (index < 0 || index >= size) return Value::UndefinedNamed(absl::StrCat("[", key.AsInt(), "]"));
    return object.list() != nullptr ? object.list()->items()[index] : Value::String(characters[index]);
  }
  if (key.string() != nullptr) return GetAttribute(object, *key.string());
  return Value::UndefinedNamed(absl::StrCat("[", ToRepr(key), "]"));
}

// --- Arithmetic ---

namespace {

absl::Status Overflow() { return ResourceExhausted("an integer beyond 64 bits"); }

absl::StatusOr<Value> IntegerOperation(absl::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+") return __builtin_add_overflow(a, b, &result) ? absl::StatusOr<Value>(Overflow()) : Value::Int(result);
  if (op == "-") return __builtin_sub_overflow(a, b, &result) ? absl::StatusOr<Value>(Overflow()) : Value::Int(result);
  if (op == "*") return __builtin_mul_overflow(a, b, &result) ? absl::StatusOr<Value>(Overflow()) : Value::Int(result);
  if (op == "//" || op == "%") {
    if (b == 0) return InvalidArgument("division by zero");
    if (b == -1) return op == "%" ? absl::StatusOr<Value>(Value::Int(0)) : IntegerOperation("-", 0, a);
    // Python rounds down; the remainder has the divisor's sign.
    const bool adjust = a % b != 0 && ((a % b < 0) != (b < 0));
    return op == "//" ? Value::Int(a / b - adjust) : Value::Int(a % b + (adjust ? b : 0));
  }
  if (op == "**" && b >= 0) {
    int64_t power = 1;
    if (a == 0 || a == 1 || a == -1) return Value::Int(b == 0 ? 1 : a == -1 && b % 2 == 0 ? 1 : a);
    for (int64_t i = 0; i < b; ++i) {
      if (__builtin_mul_overflow(power, a, &power)) return Overflow();
    }
    return Value::Int(power);
  }
  return absl::UnimplementedError("float");
}

absl::StatusOr<Value> FloatOperation(absl::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") return Value::Float(std::pow(a, b));
  if (b == 0) return InvalidArgument("division by zero");
  if (op == "/") return Value::Float(a / b);
  if (op == "//") return Value::Float(std::floor(a / b));
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return Value::Float(remainder);
}

}  // namespace

absl::StatusOr<Value> Interpreter::BinaryOperation(absl::string_view op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    const bool integers = left.is_integral() && right.is_integral();
    const bool stays_integer = op != "/" && !(op == "**" && right.AsDouble() < 0);
    if (integers && stays_integer) return IntegerOperation(op, left.AsInt(), right.AsInt());
    return FloatOperation(op, left.AsDouble(), right.AsDouble());
  }
  if (left.is_undefined() || right.is_undefined()) return UndefinedError(left.is_undefined() ? left : right);
  if (op == "+" && left.string() != nullptr && right.string() != nullptr) {
    return NewString(absl::StrCat(*left.string(), *right.string()));
  }
  if (op == "+" && left.list() != nullptr && right.list() != nullptr &&
      left.list()->is_tuple() == right.list()->is_tuple()) {
    std::vector<Value> items = left.list()->items();
    items.insert(items.end(), right.list()->items().begin(), right.list()->items().end());
    return NewList(std::move(items), left.list()->is_tuple());
  }
  if (op == "%" && left.string() != nullptr) {
    RONDO_ASSIGN_OR_RETURN(std::string text, FormatPercent(*this, *left.string(), right));
    return NewString(std::move(text));
  }
  const bool repeats = op == "*" && (left.is_integral() || right.is_integral());
  const Value& sequence = left.is_integral() ? right : left;
  if (repeats && (sequence.string() != nullptr || sequence.list() != nullptr)) {
    const int64_t count = std::max<int64_t>(0, (left.is_integral() ? left : right).AsInt());
    const int64_t size = sequence.string() != nullptr
                             ? static_cast<int64_t>(sequence.string()->size())
                             : static_cast<int64_t>(sequence.list()->items().size() * sizeof(Value));
    if (size > 0 && count > kMaxBytes / size) return ResourceExhausted("a sequence repeated ", count, " times");
    RONDO_RETURN_IF_ERROR(Charge(size * count));
    if (sequence.string() != nullptr) {
      std::string text;
      for (int64_t i = 0; size > 0 && i < count; ++i) text += *sequence.string();
      return Value::String(std::move(text));
    }
    std::vector<Value> items;
    for (int64_t i = 0; size > 0 && i < count; ++i) {
      items.insert(items.end(), sequence.list()->items().begin(), sequence.list()->items().end());
    }
    return NewList(std::move(items), sequence.list()->is_tuple());
  }
  return InvalidArgument("'", op, "' between ", left.TypeName(), " and ", right.TypeName());
}

}  // namespace rondo::text::jinja
