#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_format.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text::jinja {

Value Value::UndefinedNamed(absl::string_view name) {
  return Value(Variant(Undefined{std::make_shared<const std::string>(name)}));
}

Value Value::FromJson(const Json& json) {
  if (json.boolean() != nullptr) return Bool(*json.boolean());
  if (json.integer() != nullptr) return Int(*json.integer());
  if (json.real() != nullptr) return Float(*json.real());
  if (json.string() != nullptr) return String(*json.string());
  if (json.array() != nullptr) {
    std::vector<Value> items;
    for (const Json& item : *json.array()) items.push_back(FromJson(item));
    return MakeList(std::move(items));
  }
  if (json.object() != nullptr) {
    auto dict = std::make_shared<Dict>();
    for (const auto& [key, value] : *json.object()) dict->Set(key, FromJson(value));
    return Of(std::shared_ptr<const Dict>(std::move(dict)));
  }
  return None();
}

double Value::AsDouble() const { return real() != nullptr ? *real() : static_cast<double>(AsInt()); }
int64_t Value::AsInt() const { return boolean() != nullptr ? *boolean() : *integer(); }

absl::string_view Value::TypeName() const {
  if (object() != nullptr) return object()->TypeName();
  if (list() != nullptr) return list()->is_tuple() ? "tuple" : "list";
  static constexpr absl::string_view kNames[] = {"undefined", "None", "bool", "int", "float", "str", "list", "dict"};
  return kNames[value_.index()];
}

bool Value::Truthy() const {
  if (boolean() != nullptr) return *boolean();
  if (integer() != nullptr) return *integer() != 0;
  if (real() != nullptr) return *real() != 0;
  if (string() != nullptr) return !string()->empty();
  if (list() != nullptr) return !list()->items().empty();
  if (dict() != nullptr) return !dict()->entries().empty();
  return object() != nullptr;
}

int Value::depth() const {
  if (list() != nullptr) return list()->depth();
  if (dict() != nullptr) return dict()->depth();
  return object() != nullptr ? object()->depth() : 0;
}

absl::string_view Value::undefined_name() const {
  const auto* undefined = std::get_if<Undefined>(&value_);
  return undefined != nullptr && undefined->name != nullptr ? absl::string_view(*undefined->name) : "a value";
}

List::List(std::vector<Value> items, bool is_tuple) : items_(std::move(items)), is_tuple_(is_tuple), depth_(1) {
  for (const Value& item : items_) depth_ = std::max(depth_, item.depth() + 1);
}

Value MakeList(std::vector<Value> items) { return Value::Of(std::make_shared<const List>(std::move(items))); }
Value MakeTuple(std::vector<Value> items) { return Value::Of(std::make_shared<const List>(std::move(items), true)); }

bool Dict::Canonical(const Value& key, std::string* text) {
  if (key.string() != nullptr) {
    *text = absl::StrCat("s", *key.string());
  } else if (key.is_integral()) {
    *text = absl::StrCat("n", key.AsInt());
  } else if (key.real() != nullptr) {
    *text = std::trunc(*key.real()) == *key.real() && std::abs(*key.real()) < 1e15
                ? absl::StrCat("n", static_cast<int64_t>(*key.real()))
                : absl::StrCat("f", FloatText(*key.real()));
  } else if (key.is_none()) {
    *text = "none";
  } else {
    return false;
  }
  return true;
}

void Dict::SetCanonical(std::string text, const Value& key, Value value) {
  depth_ = std::max(depth_, value.depth() + 1);
  const auto [at, is_new] = index_.emplace(std::move(text), entries_.size());
  if (is_new) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[at->second].second = std::move(value);
  }
}

absl::Status Dict::Set(const Value& key, Value value) {
  std::string text;
  if (!Canonical(key, &text)) return InvalidArgument("a ", key.TypeName(), " cannot be the key of a dict");
  SetCanonical(std::move(text), key, std::move(value));
  return absl::OkStatus();
}

void Dict::Set(absl::string_view key, Value value) {
  SetCanonical(absl::StrCat("s", key), Value::String(key), std::move(value));
}

const Value* Dict::Find(const Value& key) const {
  std::string text;
  if (!Canonical(key, &text)) return nullptr;
  const auto at = index_.find(text);
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

const Value* Dict::Find(absl::string_view key) const {
  const auto at = index_.find(absl::StrCat("s", key));
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

absl::StatusOr<Value> Object::Call(Interpreter&, const Arguments&) {
  return InvalidArgument("a ", TypeName(), " cannot be called");
}

absl::Status UndefinedError(const Value& value) {
  return InvalidArgument("'", value.undefined_name(), "' is undefined");
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.AsInt() == b.AsInt();
  if (a.is_number() && b.is_number()) return a.AsDouble() == b.AsDouble();
  if (a.string() != nullptr && b.string() != nullptr) return *a.string() == *b.string();
  if (a.list() != nullptr && b.list() != nullptr) {
    const auto &x = a.list()->items(), &y = b.list()->items();
    return a.list()->is_tuple() == b.list()->is_tuple() && std::equal(x.begin(), x.end(), y.begin(), y.end(), Equal);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) {
    if (a.dict()->entries().size() != b.dict()->entries().size()) return false;
    for (const auto& [key, value] : a.dict()->entries()) {
      const Value* other = b.dict()->Find(key);
      if (other == nullptr || !Equal(value, *other)) return false;
    }
    return true;
  }
  if (a.object() != nullptr || b.object() != nullptr) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

absl::StatusOr<bool> Less(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.AsInt() < b.AsInt();
  if (a.is_number() && b.is_number()) return a.AsDouble() < b.AsDouble();
  // The order of UTF-8 bytes is the order of code points.
  if (a.string() != nullptr && b.string() != nullptr) return *a.string() < *b.string();
  if (a.list() != nullptr && b.list() != nullptr && a.list()->is_tuple() == b.list()->is_tuple()) {
    const auto &x = a.list()->items(), &y = b.list()->items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined() || b.is_undefined()) return UndefinedError(a.is_undefined() ? a : b);
  return InvalidArgument("no order between ", a.TypeName(), " and ", b.TypeName());
}

// As Python's repr: the shortest digits that give the number back, with an exponent below 1e-4 and from 1e16.
std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double magnitude = std::abs(value);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  char buffer[400];
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value, format);
  std::string text(buffer, result.ptr);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

namespace {

// 'text', or "text" where only that needs no escape.
std::string QuoteText(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string quoted(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r') {
      quoted += "\\r";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&quoted, absl::StrFormat("\\x%02x", byte));
    } else {
      quoted += c;
    }
  }
  quoted += quote;
  return quoted;
}

void AppendRepr(const Value& value, std::string* out) {
  if (value.string() != nullptr) {
    absl::StrAppend(out, QuoteText(*value.string()));
  } else if (value.list() != nullptr) {
    const auto& items = value.list()->items();
    const bool tuple = value.list()->is_tuple();
    absl::StrAppend(out, tuple ? "(" : "[");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) absl::StrAppend(out, ", ");
      AppendRepr(items[i], out);
    }
    absl::StrAppend(out, tuple && items.size() == 1 ? "," : "", tuple ? ")" : "]");
  } else if (value.dict() != nullptr) {
    absl::StrAppend(out, "{");
    bool first = true;
    for (const auto& [key, item] : value.dict()->entries()) {
      if (!first) absl::StrAppend(out, ", ");
      first = false;
      AppendRepr(key, out);
      absl::StrAppend(out, ": ");
      AppendRepr(item, out);
    }
    absl::StrAppend(out, "}");
  } else if (value.is_undefined()) {
    absl::StrAppend(out, "Undefined");
  } else {
    absl::StrAppend(out, ToText(value));
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, std::string* out) : style_(style), out_(out) {}

  absl::Status Write(const Value& value, int level) {
    if (value.is_none()) {
      absl::StrAppend(out_, "null");
    } else if (value.boolean() != nullptr) {
      absl::StrAppend(out_, *value.boolean() ? "true" : "false");
    } else if (value.real() != nullptr) {
      const double number = *value.real();
      absl::StrAppend(out_, std::isnan(number)   ? "NaN"
                            : std::isinf(number) ? (number > 0 ? "Infinity" : "-Infinity")
                                                 : FloatText(number));
    } else if (value.integer() != nullptr) {
      absl::StrAppend(out_, *value.integer());
    } else if (value.string() != nullptr) {
      WriteString(*value.string());
    } else if (value.list() != nullptr) {
      return WriteList(*value.list(), level);
    } else if (value.dict() != nullptr) {
      return WriteDict(*value.dict(), level);
    } else if (value.is_undefined()) {
      return UndefinedError(value);
    } else {
      return InvalidArgument("tojson: a ", value.TypeName(), " has no JSON");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WriteList(const List& list, int level) {
    absl::StrAppend(out_, "[");
    for (size_t i = 0; i < list.items().size(); ++i) {
      StartItem(i, level + 1);
      RONDO_RETURN_IF_ERROR(Write(list.items()[i], level + 1));
    }
    if (!list.items().empty()) NewLine(level);
    absl::StrAppend(out_, "]");
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, int level) {
    std::vector<std::pair<std::string, const Value*>> members;
    for (const auto& [key, value] : dict.entries()) {
      std::string name;
      if (key.string() != nullptr) {
        name = *key.string();
      } else {
        RONDO_RETURN_IF_ERROR(JsonWriter(style_, &name).Write(key, 0));
      }
      members.emplace_back(std::move(name), &value);
    }
    if (style_.sort_keys)
      std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    absl::StrAppend(out_, "{");
    for (size_t i = 0; i < members.size(); ++i) {
      StartItem(i, level + 1);
      WriteString(members[i].first);
      absl::StrAppend(out_, style_.key_separator);
      RONDO_RETURN_IF_ERROR(Write(*members[i].second, level + 1));
    }
    if (!members.empty()) NewLine(level);
    absl::StrAppend(out_, "}");
    return absl::OkStatus();
  }

  void StartItem(size_t index, int level) {
    if (index > 0) absl::StrAppend(out_, style_.item_separator);
    NewLine(level);
  }
  void NewLine(int level) {
    if (style_.indent < 0) return;
    out_->push_back('\n');
    out_->append(static_cast<size_t>(level) * style_.indent, ' ');
  }

  void WriteString(const std::string& text) {
    out_->push_back('"');
    for (size_t i = 0; i < text.size();) {
      const size_t begin = i;
      const char32_t c = NextChar(text, &i);
      static constexpr absl::string_view kEscaped = "\"\\\n\r\t\b\f";
      static constexpr absl::string_view kLetters = "\"\\nrtbf";
      const size_t escape = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : absl::string_view::npos;
      if (escape != absl::string_view::npos) {
        out_->push_back('\\');
        out_->push_back(kLetters[escape]);
      } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7f && c < 0x10000)) {
        absl::StrAppend(out_, absl::StrFormat("\\u%04x", static_cast<uint32_t>(c)));
      } else if (style_.ensure_ascii && c >= 0x10000) {
        const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
        absl::StrAppend(out_, absl::StrFormat("\\u%04x\\u%04x", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff)));
      } else {
        absl::StrAppend(out_, absl::string_view(text).substr(begin, i - begin));
      }
    }
    out_->push_back('"');
  }

  const JsonStyle& style_;
  std::string* out_;
};

}  // namespace

std::string ToText(const Value& value) {
  if (value.string() != nullptr) return *value.string();
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.boolean() != nullptr) return *value.boolean() ? "True" : "False";
  if (value.integer() != nullptr) return absl::StrCat(*value.integer());
  if (value.real() != nullptr) return FloatText(*value.real());
  if (value.object() != nullptr) return absl::StrCat("<", value.TypeName(), ">");
  return ToRepr(value);
}

std::string ToRepr(const Value& value) {
  std::string text;
  AppendRepr(value, &text);
  return text;
}

absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style) {
  std::string text;
  RONDO_RETURN_IF_ERROR(JsonWriter(style, &text).Write(value, 0));
  return text;
}

}  // namespace rondo::text::jinja
