// The filters behind `|`.
#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "text/jinja/builtins.h"
#include "text/jinja/case.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// --- Text ---

template <std::string (*kChange)(absl::string_view)>
Result Change(Interpreter& interpreter, const Value& input, const Arguments&) {
  return interpreter.NewString(kChange(ToText(input)));
}

// As the method, but only letters after white space and opening brackets are raised.
Result TitleFilter(Interpreter& interpreter, const Value& input, const Arguments&) {
  const std::string text = ToText(input);
  std::string result, word;
  const auto flush = [&] {
    absl::StrAppend(&result, Capitalize(word));
    word.clear();
  };
  for (const absl::string_view c : Characters(text)) {
    size_t at = 0;
    const char32_t point = NextChar(c, &at);
    if (IsPythonSpace(point) || absl::string_view("-({[<").find(c) != absl::string_view::npos) {
      flush();
      absl::StrAppend(&result, c);
    } else {
      absl::StrAppend(&word, c);
    }
  }
  flush();
  return interpreter.NewString(std::move(result));
}

Result Trim(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"chars"}));
  const std::string text = ToText(input);
  if (bound.at(0) == nullptr || bound.at(0)->is_none())
    return interpreter.NewString(StripChars(text, nullptr, true, true));
  RONDO_ASSIGN_OR_RETURN(const std::string chars, bound.String(0, absl::nullopt));
  return interpreter.NewString(StripChars(text, &chars, true, true));
}

Result Replace(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"old", "new", "count"}));
  if (bound.at(0) == nullptr || bound.at(1) == nullptr) return InvalidArgument("expected two strings");
  const std::string from = ToText(*bound.at(0)), to = ToText(*bound.at(1)), text = ToText(input);
  int64_t count = -1;
  if (bound.at(2) != nullptr && !bound.at(2)->is_none()) {
    RONDO_ASSIGN_OR_RETURN(count, bound.Int(2, -1));
  }
  std::string result;
  size_t done = 0;
  while (count != 0) {
    // An empty pattern matches before every character and at the end.
    const size_t at = from.empty() ? done : text.find(from, done);
    if (at == std::string::npos || at > text.size()) break;
    const size_t keep = from.empty() && at < text.size() ? CharLength(text[at]) : 0;
    absl::StrAppend(&result, absl::string_view(text).substr(done, at - done), to,
                    absl::string_view(text).substr(at, keep));
    RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(to.size())));
    done = at + from.size() + keep;
    --count;
    if (from.empty() && at == text.size()) break;
  }
  absl::StrAppend(&result, absl::string_view(text).substr(std::min(done, text.size())));
  return interpreter.NewString(std::move(result));
}

Result Indent(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"width", "first", "blank"}));
  std::string prefix;
  if (bound.at(0) != nullptr && bound.at(0)->string() != nullptr) {
    prefix = *bound.at(0)->string();
  } else {
    RONDO_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 4));
    if (width > 1000) return ResourceExhausted("a width of ", width);
    prefix.assign(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
  }
  const std::string text = ToText(input);
  std::string result = bound.Bool(1, false) ? prefix : "";
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      const bool indents = !lines[i].empty() || bound.Bool(2, false);
      absl::StrAppend(&result, "\n", indents ? prefix : "");
      RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(prefix.size())));
    }
    absl::StrAppend(&result, lines[i]);
  }
  return interpreter.NewString(std::move(result));
}

Result Truncate(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(arguments, {"length", "killwords", "end", "leeway"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t length, bound.Int(0, 255));
  RONDO_ASSIGN_OR_RETURN(const std::string end, bound.String(2, "..."));
  RONDO_ASSIGN_OR_RETURN(const int64_t leeway, bound.Int(3, 5));
  const std::string text = ToText(input);
  if (length < CountChars(end) || leeway < 0) return InvalidArgument("length ", length, ", leeway ", leeway);
  if (CountChars(text) - leeway <= length) return interpreter.NewString(text);
  size_t cut = 0;
  for (int64_t i = 0; i < length - CountChars(end); ++i) cut += CharLength(text[cut]);
  std::string kept = text.substr(0, cut);
  if (!bound.Bool(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return interpreter.NewString(kept + end);
}

Result Center(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"width"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 80));
  Arguments to_method;
  to_method.positional.push_back(Value::Int(width));
  return FindStringMethod("center")(interpreter, Value::String(ToText(input)), to_method);
}

Result WordCount(Interpreter& interpreter, const Value& input, const Arguments&) {
  const std::string text = ToText(input);
  int64_t words = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const bool word = IsWordChar(NextChar(text, &i));
    words += word && !in_word;
    in_word = word;
  }
  return Value::Int(words);
}

Result Escape(Interpreter& interpreter, const Value& input, const Arguments&) {
  return interpreter.NewString(absl::StrReplaceAll(
      ToText(input), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}));
}

Result UrlEncode(Interpreter& interpreter, const Value& input, const Arguments&) {
  std::string result;
  for (const char c : ToText(input)) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || absl::string_view("-_.~/").find(c) != absl::string_view::npos) {
      result += c;
    } else {
      absl::StrAppend(&result, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return interpreter.NewString(std::move(result));
}

Result Format(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(std::string text, FormatPercent(interpreter, ToText(input), MakeTuple(arguments.positional)));
  return interpreter.NewString(std::move(text));
}

Result String(Interpreter& interpreter, const Value& input, const Arguments&) {
  return interpreter.NewString(ToText(input));
}

Result Safe(Interpreter&, const Value& input, const Arguments&) { return input; }

Result ToJsonFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound.Bool(0, false);
  style.sort_keys = bound.Bool(3, false);
  if (bound.at(1) != nullptr && !bound.at(1)->is_none()) {
    RONDO_ASSIGN_OR_RETURN(const int64_t indent, bound.Int(1, 0));
    if (indent > 100) return ResourceExhausted("an indent of ", indent);
    style.indent = static_cast<int>(std::max<int64_t>(0, indent));
    style.item_separator = ",";
  }
  if (bound.at(2) != nullptr && !bound.at(2)->is_none()) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<Value> separators, interpreter.Iterate(*bound.at(2)));
    if (separators.size() != 2) return InvalidArgument("separators: expected two strings");
    style.item_separator = ToText(separators[0]);
    style.key_separator = ToText(separators[1]);
  }
  RONDO_ASSIGN_OR_RETURN(std::string text, ToJson(input, style));
  return interpreter.NewString(std::move(text));
}

// --- Numbers ---

Result Abs(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (!input.is_number()) return InvalidArgument("expected a number, got ", input.TypeName());
  if (input.AsDouble() < 0) return interpreter.BinaryOperation("-", Value::Int(0), input);
  return input.boolean() != nullptr ? Value::Int(input.AsInt()) : input;
}

Result Int(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"default", "base"}));
  const Value absent = bound.at(0) != nullptr ? *bound.at(0) : Value::Int(0);
  RONDO_ASSIGN_OR_RETURN(const int64_t base, bound.Int(1, 10));
  if (base != 10) return Unimplemented("base ", base);
  double number = 0;
  if (input.is_integral()) return Value::Int(input.AsInt());
  if (input.real() != nullptr) {
    number = *input.real();
  } else {
    const std::string text = input.string() != nullptr ? StripChars(*input.string(), nullptr, true, true) : "";
    int64_t integer;
    if (absl::SimpleAtoi(text, &integer)) return Value::Int(integer);
    if (!absl::SimpleAtod(text, &number)) return absent;
  }
  if (!(std::abs(number) < 9.2e18)) return absent;
  return Value::Int(static_cast<int64_t>(number));
}

Result Float(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"default"}));
  if (input.is_number()) return Value::Float(input.AsDouble());
  double number = 0;
  if (input.string() != nullptr && absl::SimpleAtod(StripChars(*input.string(), nullptr, true, true), &number)) {
    return Value::Float(number);
  }
  return bound.at(0) != nullptr ? *bound.at(0) : Value::Float(0.0);
}

Result Round(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"precision", "method"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t precision, bound.Int(0, 0));
  RONDO_ASSIGN_OR_RETURN(const std::string method, bound.String(1, "common"));
  if (!input.is_number()) return InvalidArgument("expected a number, got ", input.TypeName());
  if (precision < -300 || precision > 300) return InvalidArgument("precision ", precision);
  const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = input.AsDouble() * scale;
  if (method == "common") return Value::Float(std::nearbyint(scaled) / scale);  // halves to even, as Python
  if (method == "ceil") return Value::Float(std::ceil(scaled) / scale);
  if (method == "floor") return Value::Float(std::floor(scaled) / scale);
  return InvalidArgument("method '", method, "' (expected common, ceil or floor)");
}

// --- Values of any kind ---

Result Default(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"default_value", "boolean"}));
  const bool replaces = input.is_undefined() || (bound.Bool(1, false) && !input.Truthy());
  if (!replaces) return input;
  return bound.at(0) != nullptr ? *bound.at(0) : Value::String("");
}

Result Length(Interpreter&, const Value& input, const Arguments&) {
  if (input.string() != nullptr) return Value::Int(CountChars(*input.string()));
  if (input.list() != nullptr) return Value::Int(static_cast<int64_t>(input.list()->items().size()));
  if (input.dict() != nullptr) return Value::Int(static_cast<int64_t>(input.dict()->entries().size()));
  if (input.is_undefined()) return Value::Int(0);
  return InvalidArgument("a ", input.TypeName(), " has no length");
}

Result Attr(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"name"}));
  RONDO_ASSIGN_OR_RETURN(const std::string name, bound.String(0, absl::nullopt));
  if (input.dict() != nullptr && FindDictMethod(name) == nullptr) return Value::UndefinedNamed(name);
  return interpreter.GetAttribute(input, name);
}

// --- Sequences ---

// The value of "a.b.0" in an item; no name: the item.
Result Attribute(Interpreter& interpreter, const Value& item, const Value* name) {
  if (name == nullptr || name->is_none()) return item;
  if (name->is_integral()) return interpreter.GetItem(item, *name);
  RONDO_ASSIGN_OR_RETURN(const absl::string_view path, RequireString(*name, "attribute"));
  Value value = item;
  for (const absl::string_view part : absl::StrSplit(path, '.')) {
    int64_t index;
    const bool is_index = absl::SimpleAtoi(part, &index) && absl::ascii_isdigit(static_cast<unsigned char>(part[0]));
    RONDO_ASSIGN_OR_RETURN(value, interpreter.GetItem(value, is_index ? Value::Int(index) : Value::String(part)));
  }
  return value;
}

// What values are compared by: strings without regard to case unless asked for.
Value SortKey(const Value& value, bool case_sensitive) {
  return !case_sensitive && value.string() != nullptr ? Value::String(Lower(*value.string())) : value;
}

struct Keyed {
  Value key, item;
};
absl::StatusOr<std::vector<Keyed>> KeyItems(Interpreter& interpreter, const Value& input, const Value* attribute,
                                            bool case_sensitive) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Value> items, interpreter.Iterate(input));
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    RONDO_ASSIGN_OR_RETURN(const Value value, Attribute(interpreter, item, attribute));
    keyed.push_back({SortKey(value, case_sensitive), std::move(item)});
  }
  return keyed;
}

// Stable; reverse keeps the order of equals, as Python's.
absl::Status SortKeyed(Interpreter& interpreter, bool reverse, std::vector<Keyed>* items) {
  // An order must exist between all before std::sort may rely on it: of numbers without NaN, or of one other type.
  for (const Keyed& item : *items) {
    RONDO_RETURN_IF_ERROR(Less(items->front().key, item.key).status());
    if (item.key.real() != nullptr && std::isnan(*item.key.real())) return InvalidArgument("nan has no order");
  }
  RONDO_RETURN_IF_ERROR(interpreter.Step(static_cast<int64_t>(items->size()) * 4));
  absl::Status status;
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& a, const Keyed& b) {
    const absl::StatusOr<bool> less = reverse ? Less(b.key, a.key) : Less(a.key, b.key);
    if (!less.ok()) status = less.status();
    return less.ok() && *less;
  });
  return status;
}

Result Items(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  if (input.is_undefined()) return interpreter.NewList({});
  if (input.dict() == nullptr) return InvalidArgument("expected a dict, got ", input.TypeName());
  return FindDictMethod("items")(interpreter, input, arguments);
}

Result ListFilter(Interpreter& interpreter, const Value& input, const Arguments&) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Value> items, interpreter.Iterate(input));
  return interpreter.NewList(std::move(items));
}

Result First(Interpreter& interpreter, const Value& input, const Arguments&) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  return items.empty() ? Value::UndefinedNamed("the first item of an empty sequence") : items.front();
}

Result Last(Interpreter& interpreter, const Value& input, const Arguments&) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  return items.empty() ? Value::UndefinedNamed("the last item of an empty sequence") : items.back();
}

Result Reverse(Interpreter& interpreter, const Value& input, const Arguments&) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Value> items, interpreter.Iterate(input));
  std::reverse(items.begin(), items.end());
  if (input.string() == nullptr) return interpreter.NewList(std::move(items));
  std::string text;
  for (const Value& c : items) text += *c.string();
  return interpreter.NewString(std::move(text));
}

Result Join(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"d", "attribute"}));
  const std::string separator = bound.at(0) != nullptr ? ToText(*bound.at(0)) : "";
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(const Value part, Attribute(interpreter, items[i], bound.at(1)));
    const std::string part_text = ToText(part);
    RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(part_text.size() + separator.size())));
    absl::StrAppend(&text, i > 0 ? separator : "", part_text);
  }
  return interpreter.NewString(std::move(text));
}

Result Sort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(arguments, {"reverse", "case_sensitive", "attribute"}));
  RONDO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, KeyItems(interpreter, input, bound.at(2), bound.Bool(1, false)));
  RONDO_RETURN_IF_ERROR(SortKeyed(interpreter, bound.Bool(0, false), &keyed));
  std::vector<Value> items;
  for (Keyed& item : keyed) items.push_back(std::move(item.item));
  return interpreter.NewList(std::move(items));
}

Result DictSort(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(arguments, {"case_sensitive", "by", "reverse"}));
  RONDO_ASSIGN_OR_RETURN(const std::string by, bound.String(1, "key"));
  if (by != "key" && by != "value") return InvalidArgument("by='", by, "' (expected key or value)");
  RONDO_ASSIGN_OR_RETURN(Value items, Items(interpreter, input, {}));
  Arguments to_sort;
  to_sort.named = {{"reverse", Value::Bool(bound.Bool(2, false))},
                   {"case_sensitive", Value::Bool(bound.Bool(0, false))},
                   {"attribute", Value::Int(by == "key" ? 0 : 1)}};
  return Sort(interpreter, items, to_sort);
}

template <bool kMax>
Result Extreme(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"case_sensitive", "attribute"}));
  RONDO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, KeyItems(interpreter, input, bound.at(1), bound.Bool(0, false)));
  if (keyed.empty()) return Value::UndefinedNamed("the extreme of an empty sequence");
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(const bool better,
                           kMax ? Less(keyed[best].key, keyed[i].key) : Less(keyed[i].key, keyed[best].key));
    if (better) best = i;
  }
  return keyed[best].item;
}

Result Unique(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"case_sensitive", "attribute"}));
  RONDO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, KeyItems(interpreter, input, bound.at(1), bound.Bool(0, false)));
  Dict seen;
  std::vector<Value> items;
  for (Keyed& item : keyed) {
    if (seen.Find(item.key) != nullptr) continue;
    RONDO_RETURN_IF_ERROR(seen.Set(item.key, Value::None()));
    items.push_back(std::move(item.item));
  }
  return interpreter.NewList(std::move(items));
}

Result Sum(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"attribute", "start"}));
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  Value sum = bound.at(1) != nullptr ? *bound.at(1) : Value::Int(0);
  for (const Value& item : items) {
    RONDO_ASSIGN_OR_RETURN(const Value value, Attribute(interpreter, item, bound.at(0)));
    RONDO_ASSIGN_OR_RETURN(sum, interpreter.BinaryOperation("+", sum, value));
  }
  return sum;
}

Result GroupBy(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound,
                         BoundArguments::Bind(arguments, {"attribute", "default", "case_sensitive"}));
  if (bound.at(0) == nullptr) return InvalidArgument("expected an attribute");
  RONDO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, KeyItems(interpreter, input, bound.at(0), bound.Bool(2, false)));
  for (Keyed& item : keyed) {
    if (item.key.is_undefined() && bound.at(1) != nullptr) item.key = SortKey(*bound.at(1), bound.Bool(2, false));
  }
  RONDO_RETURN_IF_ERROR(SortKeyed(interpreter, false, &keyed));
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> group;
    RONDO_ASSIGN_OR_RETURN(Value name, Attribute(interpreter, keyed[i].item, bound.at(0)));
    if (name.is_undefined() && bound.at(1) != nullptr) name = *bound.at(1);
    const size_t begin = i;
    for (; i < keyed.size() && Equal(keyed[i].key, keyed[begin].key); ++i) group.push_back(keyed[i].item);
    RONDO_ASSIGN_OR_RETURN(Value list, interpreter.NewList(std::move(group)));
    RONDO_ASSIGN_OR_RETURN(Value pair, interpreter.NewList({std::move(name), std::move(list)}, /*is_tuple=*/true));
    groups.push_back(std::move(pair));
  }
  return interpreter.NewList(std::move(groups));
}

// batch(3): rows of three; slice(3): three columns. Both fill up with an optional value.
Result Batch(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"linecount", "fill_with"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t count, bound.Int(0, absl::nullopt));
  if (count < 1) return InvalidArgument("linecount ", count);
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  RONDO_RETURN_IF_ERROR(interpreter.Charge(count < (int64_t{1} << 40) ? count : int64_t{1} << 40));
  std::vector<Value> rows, row;
  const auto flush = [&]() -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(Value list, interpreter.NewList(std::move(row)));
    rows.push_back(std::move(list));
    row.clear();
    return absl::OkStatus();
  };
  for (const Value& item : items) {
    if (static_cast<int64_t>(row.size()) == count) RONDO_RETURN_IF_ERROR(flush());
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound.at(1) != nullptr && !bound.at(1)->is_none()) row.resize(static_cast<size_t>(count), *bound.at(1));
    RONDO_RETURN_IF_ERROR(flush());
  }
  return interpreter.NewList(std::move(rows));
}

// --- Filters that take filters and tests ---

Result Map(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  std::vector<Value> mapped;
  if (arguments.positional.empty()) {
    RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"attribute", "default"}));
    if (bound.at(0) == nullptr) return InvalidArgument("expected a filter or attribute=");
    for (const Value& item : items) {
      RONDO_ASSIGN_OR_RETURN(Value value, Attribute(interpreter, item, bound.at(0)));
      mapped.push_back(value.is_undefined() && bound.at(1) != nullptr ? *bound.at(1) : std::move(value));
    }
  } else {
    RONDO_ASSIGN_OR_RETURN(const absl::string_view filter, RequireString(arguments.positional[0], "map"));
    Arguments rest = arguments;
    rest.positional.erase(rest.positional.begin());
    for (const Value& item : items) {
      RONDO_ASSIGN_OR_RETURN(Value value, interpreter.ApplyFilter(filter, item, rest));
      mapped.push_back(std::move(value));
    }
  }
  return interpreter.NewList(std::move(mapped));
}

// Keeps the items for which a test of the item, or of an attribute, holds (kKeep) or not; no test: whether it is true.
template <bool kAttribute, bool kKeep>
Result Select(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(input));
  Arguments rest = arguments;
  Value attribute;
  if (kAttribute) {
    if (rest.positional.empty()) return InvalidArgument("expected an attribute");
    attribute = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
  }
  std::string test;
  if (!rest.positional.empty()) {
    RONDO_ASSIGN_OR_RETURN(const absl::string_view name, RequireString(rest.positional[0], "the test"));
    test = std::string(name);
    rest.positional.erase(rest.positional.begin());
  }
  std::vector<Value> kept;
  for (const Value& item : items) {
    RONDO_ASSIGN_OR_RETURN(const Value value, Attribute(interpreter, item, kAttribute ? &attribute : nullptr));
    bool holds = value.Truthy();
    if (!test.empty()) {
      RONDO_ASSIGN_OR_RETURN(holds, interpreter.ApplyTest(test, value, rest));
    }
    if (holds == kKeep) kept.push_back(item);
  }
  return interpreter.NewList(std::move(kept));
}

struct Filter {
  absl::string_view name;
  Builtin builtin;
};
constexpr Filter kFilters[] = {
    {"abs", Abs},
    {"attr", Attr},
    {"batch", Batch},
    {"capitalize", Change<Capitalize>},
    {"center", Center},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"dictsort", DictSort},
    {"e", Escape},
    {"escape", Escape},
    {"first", First},
    {"float", Float},
    {"forceescape", Escape},
    {"format", Format},
    {"groupby", GroupBy},
    {"indent", Indent},
    {"int", Int},
    {"items", Items},
    {"join", Join},
    {"last", Last},
    {"length", Length},
    {"list", ListFilter},
    {"lower", Change<Lower>},
    {"map", Map},
    {"max", Extreme<true>},
    {"min", Extreme<false>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<true, false>},
    {"replace", Replace},
    {"reverse", Reverse},
    {"round", Round},
    {"safe", Safe},
    {"select", Select<false, true>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"string", String},
    {"sum", Sum},
    {"title", TitleFilter},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"truncate", Truncate},
    {"unique", Unique},
    {"upper", Change<Upper>},
    {"urlencode", UrlEncode},
    {"wordcount", WordCount},
};

}  // namespace

Builtin FindFilter(absl::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.name == name) return filter.builtin;
  }
  return nullptr;
}

}  // namespace rondo::text::jinja
