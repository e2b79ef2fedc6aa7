// Values of the template language: Python's as far as templates can see them. Values are immutable (the templates run
// in an immutable sandbox where they come from) but for namespaces; copies share.
#ifndef RONDO_TEXT_JINJA_VALUE_H_
#define RONDO_TEXT_JINJA_VALUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "text/json.h"

namespace rondo::text::jinja {

class Dict;
class List;
class Object;
class Value;

// A name or attribute that nothing has: prints as nothing, is false and empty; any other use is an error with this
// name.
struct Undefined {
  std::shared_ptr<const std::string> name;
};

class Value {
 public:
  Value() : value_(Undefined{}) {}
  static Value None() { return Value(Variant(std::monostate())); }
  static Value UndefinedNamed(absl::string_view name);
  static Value Bool(bool value) { return Value(Variant(value)); }
  static Value Int(int64_t value) { return Value(Variant(value)); }
  static Value Float(double value) { return Value(Variant(value)); }
  static Value String(std::string value) {
    return Value(Variant(std::make_shared<const std::string>(std::move(value))));
  }
  static Value String(absl::string_view value) { return String(std::string(value)); }
  static Value String(const char* value) { return String(std::string(value)); }
  static Value Of(std::shared_ptr<const List> list) { return Value(Variant(std::move(list))); }
  static Value Of(std::shared_ptr<const Dict> dict) { return Value(Variant(std::move(dict))); }
  static Value Of(std::shared_ptr<Object> object) { return Value(Variant(std::move(object))); }
  static Value FromJson(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(value_); }
  bool is_none() const { return std::holds_alternative<std::monostate>(value_); }
  // nullptr where the value is of another type.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* real() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return Pointee<std::shared_ptr<const std::string>>(); }
  const List* list() const { return Pointee<std::shared_ptr<const List>>(); }
  const Dict* dict() const { return Pointee<std::shared_ptr<const Dict>>(); }
  Object* object() const {
    const auto* pointer = std::get_if<std::shared_ptr<Object>>(&value_);
    return pointer != nullptr ? pointer->get() : nullptr;
  }
  // bool, int and float are numbers, as in Python.
  bool is_number() const { return boolean() != nullptr || integer() != nullptr || real() != nullptr; }
  bool is_integral() const { return boolean() != nullptr || integer() != nullptr; }
  double AsDouble() const;  // of a number
  int64_t AsInt() const;    // of a bool or an int

  // Python's name of the type.
  absl::string_view TypeName() const;
  bool Truthy() const;
  // How many containers are nested here, this one included.
  int depth() const;
  absl::string_view undefined_name() const;

 private:
  using Variant = std::variant<Undefined, std::monostate, bool, int64_t, double, std::shared_ptr<const std::string>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  explicit Value(Variant value) : value_(std::move(value)) {}
  template <typename Pointer>
  auto Pointee() const -> decltype(std::get_if<Pointer>(static_cast<const Variant*>(nullptr))->get()) {
    const auto* pointer = std::get_if<Pointer>(&value_);
    return pointer != nullptr ? pointer->get() : nullptr;
  }
  Variant value_;
};

// A list or a tuple.
class List {
 public:
  explicit List(std::vector<Value> items, bool is_tuple = false);
  const std::vector<Value>& items() const { return items_; }
  bool is_tuple() const { return is_tuple_; }
  int depth() const { return depth_; }

 private:
  std::vector<Value> items_;
  bool is_tuple_;
  int depth_;
};
Value MakeList(std::vector<Value> items);
Value MakeTuple(std::vector<Value> items);

// In the order of insertion. Keys are strings, numbers, bools and None.
class Dict {
 public:
  // An error where the key is of another type.
  absl::Status Set(const Value& key, Value value);
  void Set(absl::string_view key, Value value);
  const Value* Find(const Value& key) const;
  const Value* Find(absl::string_view key) const;
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  // Different keys have different texts here, 1, 1.0 and True the same.
  static bool Canonical(const Value& key, std::string* text);
  void SetCanonical(std::string text, const Value& key, Value value);

  std::vector<std::pair<Value, Value>> entries_;
  absl::flat_hash_map<std::string, size_t> index_;
  int depth_ = 1;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;

// What has attributes or can be called: namespaces, loops, macros, functions, methods.
class Object {
 public:
  virtual ~Object() = default;
  virtual absl::string_view TypeName() const = 0;
  // Undefined where there is none.
  virtual Value Attribute(absl::string_view name) const { return Value::UndefinedNamed(name); }
  // As Value::depth.
  virtual int depth() const { return 1; }
  virtual bool callable() const { return false; }
  virtual absl::StatusOr<Value> Call(Interpreter& interpreter, const Arguments& arguments);
};

// The error of any other use of an undefined value.
absl::Status UndefinedError(const Value& value);

// Python's == and <; the latter is an error between types that have no order.
bool Equal(const Value& a, const Value& b);
absl::StatusOr<bool> Less(const Value& a, const Value& b);

// str(), repr(); what {{ }} prints is str().
std::string ToText(const Value& value);
std::string ToRepr(const Value& value);
std::string FloatText(double value);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  int indent = -1;  // -1: one line
  std::string item_separator = ", ", key_separator = ": ";
};
absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style);

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_VALUE_H_
