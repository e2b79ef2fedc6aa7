// Methods of strings, lists and dicts, and Python's % formatting. Methods that would change their object are refused,
// as in the sandbox that templates are written for.
#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "text/jinja/builtins.h"
#include "text/jinja/case.h"
#include "text/status.h"
#include "text/unicode.h"

namespace rondo::text::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// --- Strings ---

template <bool kLeft, bool kRight>
Result Strip(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"chars"}));
  const bool white_space = bound.at(0) == nullptr || bound.at(0)->is_none();
  std::string chars;
  if (!white_space) {
    RONDO_ASSIGN_OR_RETURN(chars, bound.String(0, absl::nullopt));
  }
  return interpreter.NewString(StripChars(*input.string(), white_space ? nullptr : &chars, kLeft, kRight));
}

Result StringList(Interpreter& interpreter, const std::vector<absl::string_view>& parts) {
  std::vector<Value> items;
  for (const absl::string_view part : parts) {
    RONDO_ASSIGN_OR_RETURN(Value item, interpreter.NewString(std::string(part)));
    items.push_back(std::move(item));
  }
  return interpreter.NewList(std::move(items));
}

// Words between white space, at most `limit` of them and the rest (negative: all); from the right where kRight, the
// last one first.
template <bool kRight>
std::vector<absl::string_view> SplitWords(absl::string_view text, int64_t limit) {
  std::vector<absl::string_view> chars = Characters(text);
  if (kRight) std::reverse(chars.begin(), chars.end());
  const auto is_space = [&](size_t index) {
    size_t at = 0;
    return IsPythonSpace(NextChar(chars[index], &at));
  };
  // The text of chars[begin, end), which lie side by side.
  const auto piece = [&](size_t begin, size_t end) {
    const absl::string_view first = chars[kRight ? end - 1 : begin], last = chars[kRight ? begin : end - 1];
    return absl::string_view(first.data(), static_cast<size_t>(last.data() - first.data()) + last.size());
  };
  std::vector<absl::string_view> words;
  for (size_t i = 0; i < chars.size();) {
    if (is_space(i)) {
      ++i;
      continue;
    }
    size_t end = i;
    if (static_cast<int64_t>(words.size()) == limit) {
      end = chars.size();
    } else {
      while (end < chars.size() && !is_space(end)) ++end;
    }
    words.push_back(piece(i, end));
    i = end;
  }
  return words;
}

template <bool kRight>
Result Split(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"sep", "maxsplit"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t limit, bound.Int(1, -1));
  absl::string_view text = *input.string();
  std::vector<absl::string_view> parts;
  if (bound.at(0) == nullptr || bound.at(0)->is_none()) {
    parts = SplitWords<kRight>(text, limit);
  } else {
    RONDO_ASSIGN_OR_RETURN(const std::string separator, bound.String(0, absl::nullopt));
    if (separator.empty()) return InvalidArgument("the separator is empty");
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t at = kRight ? text.rfind(separator) : text.find(separator);
      if (at == absl::string_view::npos) break;
      parts.push_back(kRight ? text.substr(at + separator.size()) : text.substr(0, at));
      text = kRight ? text.substr(0, at) : text.substr(at + separator.size());
    }
    parts.push_back(text);
  }
  if (kRight) std::reverse(parts.begin(), parts.end());
  return StringList(interpreter, parts);
}

Result SplitLines(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"keepends"}));
  const absl::string_view text = *input.string();
  std::vector<absl::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t end = i;
    const char32_t c = NextChar(text, &i);
    const bool breaks = (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (bound.Bool(0, false) ? i : end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return StringList(interpreter, lines);
}

// startswith(x), endswith(x); x may be a tuple.
template <bool kEnd>
Result Affix(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"affix"}));
  if (bound.at(0) == nullptr) return InvalidArgument("expected a string");
  std::vector<Value> affixes = {*bound.at(0)};
  if (bound.at(0)->list() != nullptr) affixes = bound.at(0)->list()->items();
  for (const Value& affix : affixes) {
    RONDO_ASSIGN_OR_RETURN(const absl::string_view text, RequireString(affix, kEnd ? "endswith" : "startswith"));
    if (kEnd ? absl::EndsWith(*input.string(), text) : absl::StartsWith(*input.string(), text))
      return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool kEnd>
Result RemoveAffix(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"affix"}));
  RONDO_ASSIGN_OR_RETURN(const std::string affix, bound.String(0, absl::nullopt));
  absl::string_view text = *input.string();
  if (kEnd && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  if (!kEnd && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  return interpreter.NewString(std::string(text));
}

template <std::string (*kChange)(absl::string_view)>
Result Change(Interpreter& interpreter, const Value& input, const Arguments&) {
  return interpreter.NewString(kChange(*input.string()));
}

Result Replace(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return FindFilter("replace")(interpreter, input, arguments);
}

Result Join(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"iterable"}));
  if (bound.at(0) == nullptr) return InvalidArgument("expected a list");
  RONDO_ASSIGN_OR_RETURN(const std::vector<Value> items, interpreter.Iterate(*bound.at(0)));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    RONDO_ASSIGN_OR_RETURN(const absl::string_view part, RequireString(items[i], "join"));
    absl::StrAppend(&text, i > 0 ? *input.string() : "", part);
  }
  return interpreter.NewString(std::move(text));
}

// The position in characters; -1 where absent, or an error (`index`).
template <bool kRight, bool kMustBe>
Result Find(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"sub"}));
  RONDO_ASSIGN_OR_RETURN(const std::string part, bound.String(0, absl::nullopt));
  const size_t at = kRight ? input.string()->rfind(part) : input.string()->find(part);
  if (at != std::string::npos) return Value::Int(CountChars(absl::string_view(*input.string()).substr(0, at)));
  if (kMustBe) return InvalidArgument("substring not found");
  return Value::Int(-1);
}

Result CountIn(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"sub"}));
  RONDO_ASSIGN_OR_RETURN(const std::string part, bound.String(0, absl::nullopt));
  if (part.empty()) return Value::Int(CountChars(*input.string()) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = input.string()->find(part, at)) != std::string::npos; at += part.size()) ++count;
  return Value::Int(count);
}

template <bool (*kInClass)(char32_t)>
Result AllInClass(Interpreter&, const Value& input, const Arguments&) {
  const std::string& text = *input.string();
  for (size_t i = 0; i < text.size();) {
    if (!kInClass(NextChar(text, &i))) return Value::Bool(false);
  }
  return Value::Bool(!text.empty());
}
bool IsLetter(char32_t c) { return IsWordChar(c) && !IsNumeric(c) && !IsMark(c) && c != '_' && !IsPunctuation(c); }
bool IsLetterOrDigit(char32_t c) { return IsLetter(c) || IsNumeric(c); }

template <bool kUpper>
Result IsCase(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  return FindTest(kUpper ? "upper" : "lower")(interpreter, input, arguments);
}

// Pads on the left, the right or both sides to a width in characters.
template <bool kLeft, bool kRight>
Result Justify(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"width", "fillchar"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, absl::nullopt));
  RONDO_ASSIGN_OR_RETURN(const std::string fill, bound.String(1, " "));
  if (CountChars(fill) != 1) return InvalidArgument("the fill character is not one character");
  const int64_t missing = std::max<int64_t>(0, width - CountChars(*input.string()));
  RONDO_RETURN_IF_ERROR(interpreter.Charge(missing * static_cast<int64_t>(fill.size())));
  // The odd one goes where Python puts it.
  const int64_t before = kLeft && kRight ? missing / 2 + (missing & width & 1) : kLeft ? missing : 0;
  std::string text;
  for (int64_t i = 0; i < before; ++i) text += fill;
  text += *input.string();
  for (int64_t i = before; i < missing; ++i) text += fill;
  return interpreter.NewString(std::move(text));
}

Result ZeroFill(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"width"}));
  RONDO_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, absl::nullopt));
  std::string text = *input.string();
  const int64_t missing = std::max<int64_t>(0, width - CountChars(text));
  RONDO_RETURN_IF_ERROR(interpreter.Charge(missing));
  text.insert(!text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0, static_cast<size_t>(missing), '0');
  return interpreter.NewString(std::move(text));
}

template <bool kRight>
Result Partition(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"sep"}));
  RONDO_ASSIGN_OR_RETURN(const std::string separator, bound.String(0, absl::nullopt));
  if (separator.empty()) return InvalidArgument("the separator is empty");
  const std::string& text = *input.string();
  const size_t at = kRight ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts;
  if (at != std::string::npos) {
    parts = {Value::String(text.substr(0, at)), Value::String(separator),
             Value::String(text.substr(at + separator.size()))};
  } else if (kRight) {
    parts = {Value::String(""), Value::String(""), input};
  } else {
    parts = {input, Value::String(""), Value::String("")};
  }
  RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(text.size())));
  return interpreter.NewList(std::move(parts), /*is_tuple=*/true);
}

// str.format with plain fields: {}, {0}, {name}.
Result Format(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  const std::string& format = *input.string();
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if ((format[i] == '{' || format[i] == '}') && i + 1 < format.size() && format[i + 1] == format[i]) {
      text += format[i++];
      continue;
    }
    if (format[i] != '{') {
      text += format[i];
      continue;
    }
    const size_t end = format.find('}', i);
    if (end == std::string::npos) return InvalidArgument("'{' without '}'");
    const std::string field = format.substr(i + 1, end - i - 1);
    i = end;
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == field; });
    if (named != arguments.named.end()) {
      absl::StrAppend(&text, ToText(named->second));
      continue;
    }
    size_t index = next;
    if (field.empty()) {
      ++next;
    } else if (field.size() < 4 && std::all_of(field.begin(), field.end(), absl::ascii_isdigit)) {
      index = std::stoul(field);
    } else {
      return Unimplemented("field '{", field, "}' (only {}, {0} and {name} are supported)");
    }
    if (index >= arguments.positional.size()) return InvalidArgument("no argument for field '{", field, "}'");
    absl::StrAppend(&text, ToText(arguments.positional[index]));
    RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(text.size())));
  }
  return interpreter.NewString(std::move(text));
}

// --- Lists and dicts ---

Result Refuse(Interpreter&, const Value&, const Arguments&) {
  return InvalidArgument("lists and dicts cannot be changed in a chat template");
}

Result ListIndex(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"value"}));
  const auto& items = input.list()->items();
  for (size_t i = 0; bound.at(0) != nullptr && i < items.size(); ++i) {
    if (Equal(items[i], *bound.at(0))) return Value::Int(static_cast<int64_t>(i));
  }
  return InvalidArgument("the value is not in the list");
}

Result ListCount(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"value"}));
  if (bound.at(0) == nullptr) return InvalidArgument("expected a value");
  const auto& items = input.list()->items();
  return Value::Int(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return Equal(item, *bound.at(0)); }));
}

Result DictItems(Interpreter& interpreter, const Value& input, const Arguments&) {
  std::vector<Value> items;
  for (const auto& [key, value] : input.dict()->entries()) {
    RONDO_ASSIGN_OR_RETURN(Value pair, interpreter.NewList({key, value}, /*is_tuple=*/true));
    items.push_back(std::move(pair));
  }
  return interpreter.NewList(std::move(items));
}

Result DictKeys(Interpreter& interpreter, const Value& input, const Arguments&) {
  RONDO_ASSIGN_OR_RETURN(std::vector<Value> keys, interpreter.Iterate(input));
  return interpreter.NewList(std::move(keys));
}

Result DictValues(Interpreter& interpreter, const Value& input, const Arguments&) {
  std::vector<Value> values;
  for (const auto& [key, value] : input.dict()->entries()) values.push_back(value);
  return interpreter.NewList(std::move(values));
}

Result DictGet(Interpreter&, const Value& input, const Arguments& arguments) {
  RONDO_ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(arguments, {"key", "default"}));
  if (bound.at(0) == nullptr) return InvalidArgument("expected a key");
  const Value* value = input.dict()->Find(*bound.at(0));
  if (value != nullptr) return *value;
  return bound.at(1) != nullptr ? *bound.at(1) : Value::None();
}

Result Copy(Interpreter&, const Value& input, const Arguments&) { return input; }

struct Method {
  absl::string_view name;
  Builtin builtin;
};

constexpr Method kStringMethods[] = {
    {"strip", Strip<true, true>},
    {"lstrip", Strip<true, false>},
    {"rstrip", Strip<false, true>},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", SplitLines},
    {"startswith", Affix<false>},
    {"endswith", Affix<true>},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"upper", Change<Upper>},
    {"lower", Change<Lower>},
    {"casefold", Change<Lower>},
    {"title", Change<Title>},
    {"capitalize", Change<Capitalize>},
    {"replace", Replace},
    {"join", Join},
    {"find", Find<false, false>},
    {"rfind", Find<true, false>},
    {"index", Find<false, true>},
    {"rindex", Find<true, true>},
    {"count", CountIn},
    {"isdigit", AllInClass<IsNumeric>},
    {"isdecimal", AllInClass<IsNumeric>},
    {"isnumeric", AllInClass<IsNumeric>},
    {"isalpha", AllInClass<IsLetter>},
    {"isalnum", AllInClass<IsLetterOrDigit>},
    {"isspace", AllInClass<IsPythonSpace>},
    {"isupper", IsCase<true>},
    {"islower", IsCase<false>},
    {"ljust", Justify<false, true>},
    {"rjust", Justify<true, false>},
    {"center", Justify<true, true>},
    {"zfill", ZeroFill},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"format", Format},
};

constexpr Method kListMethods[] = {
    {"index", ListIndex}, {"count", ListCount}, {"copy", Copy},      {"append", Refuse},
    {"extend", Refuse},   {"insert", Refuse},   {"pop", Refuse},     {"remove", Refuse},
    {"clear", Refuse},    {"sort", Refuse},     {"reverse", Refuse},
};

constexpr Method kDictMethods[] = {
    {"items", DictItems}, {"keys", DictKeys}, {"values", DictValues}, {"get", DictGet},    {"copy", Copy},
    {"pop", Refuse},      {"update", Refuse}, {"clear", Refuse},      {"popitem", Refuse}, {"setdefault", Refuse},
};

template <size_t kCount>
Builtin FindIn(const Method (&methods)[kCount], absl::string_view name) {
  for (const Method& method : methods) {
    if (method.name == name) return method.builtin;
  }
  return nullptr;
}

// One conversion of % formatting: %[-0][width][.precision]kind.
struct Conversion {
  bool left = false, zero = false;
  int width = 0, precision = -1;
  char kind = 0;
};

absl::StatusOr<Conversion> ParseConversion(absl::string_view format, size_t* at) {
  Conversion conversion;
  const auto number = [&] {
    int value = 0;
    while (*at < format.size() && absl::ascii_isdigit(static_cast<unsigned char>(format[*at])) && value < 100000) {
      value = value * 10 + (format[(*at)++] - '0');
    }
    return value;
  };
  for (; *at < format.size() && (format[*at] == '-' || format[*at] == '0'); ++*at) {
    (format[*at] == '-' ? conversion.left : conversion.zero) = true;
  }
  conversion.width = number();
  if (*at < format.size() && format[*at] == '.') {
    ++*at;
    conversion.precision = number();
  }
  if (conversion.width > 1000 || conversion.precision > 100) return ResourceExhausted("a width in a format");
  if (*at == format.size()) return InvalidArgument("an incomplete format");
  conversion.kind = format[(*at)++];
  return conversion;
}

absl::StatusOr<std::string> Convert(const Conversion& conversion, const Value& value) {
  switch (conversion.kind) {
    case 's':
    case 'r': {
      const std::string text = conversion.kind == 's' ? ToText(value) : ToRepr(value);
      if (conversion.precision < 0) return text;
      std::string cut;
      const auto chars = Characters(text);
      for (size_t i = 0; i < std::min<size_t>(chars.size(), conversion.precision); ++i) absl::StrAppend(&cut, chars[i]);
      return cut;
    }
    case 'd':
    case 'i':
    case 'x': {
      if (!value.is_number())
        return InvalidArgument("%", std::string(1, conversion.kind), " expects a number, got ", value.TypeName());
      const double number = value.AsDouble();
      if (!value.is_integral() && !(std::abs(number) < 9e18)) return InvalidArgument("%d of a number beyond 64 bits");
      const int64_t integer = value.is_integral() ? value.AsInt() : static_cast<int64_t>(number);
      return conversion.kind == 'x' ? absl::StrFormat("%x", integer) : absl::StrCat(integer);
    }
    case 'f':
    case 'F':
    case 'e':
    case 'g': {
      if (!value.is_number())
        return InvalidArgument("%", std::string(1, conversion.kind), " expects a number, got ", value.TypeName());
      const int precision = conversion.precision < 0 ? 6 : conversion.precision;
      const double number = value.AsDouble();
      return conversion.kind == 'e'   ? absl::StrFormat("%.*e", precision, number)
             : conversion.kind == 'g' ? absl::StrFormat("%.*g", precision, number)
                                      : absl::StrFormat("%.*f", precision, number);
    }
    default:
      return Unimplemented("format '%", std::string(1, conversion.kind), "'");
  }
}

}  // namespace

Builtin FindStringMethod(absl::string_view name) { return FindIn(kStringMethods, name); }
Builtin FindListMethod(absl::string_view name) { return FindIn(kListMethods, name); }
Builtin FindDictMethod(absl::string_view name) { return FindIn(kDictMethods, name); }

absl::StatusOr<std::string> FormatPercent(Interpreter& interpreter, absl::string_view format, const Value& values) {
  const bool several = values.list() != nullptr && values.list()->is_tuple();
  const std::vector<Value> items = several ? values.list()->items() : std::vector<Value>{values};
  std::string text;
  size_t used = 0;
  for (size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      text += format[i++];
      continue;
    }
    ++i;
    if (i < format.size() && format[i] == '%') {
      text += format[i++];
      continue;
    }
    RONDO_ASSIGN_OR_RETURN(const Conversion conversion, ParseConversion(format, &i));
    if (used == items.size()) return InvalidArgument("not enough values for the format");
    RONDO_ASSIGN_OR_RETURN(std::string part, Convert(conversion, items[used++]));
    const int64_t missing = std::max<int64_t>(0, conversion.width - CountChars(part));
    if (conversion.left) {
      part.append(static_cast<size_t>(missing), ' ');
    } else {
      const bool zero = conversion.zero && conversion.kind != 's' && conversion.kind != 'r';
      part.insert(zero && !part.empty() && part[0] == '-' ? 1 : 0, static_cast<size_t>(missing), zero ? '0' : ' ');
    }
    text += part;
    RONDO_RETURN_IF_ERROR(interpreter.Charge(static_cast<int64_t>(part.size())));
  }
  if (several && used < items.size()) return InvalidArgument("not all values are used by the format");
  return text;
}

}  // namespace rondo::text::jinja
