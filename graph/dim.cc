#include "graph/dim.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

// The representation: a number is kept inline; a polynomial is a shared immutable map. Everything that a polynomial
// cannot say is an *opaque symbol*, recognised by its name: "floor(...)", "max(...)", "min(...)" or "broadcast(...)"
// over text that Parse reads back. Floor division by a number is made canonical first: floor((d*q + r)/d) = q +
// floor(r/d) with all coefficients of r in [0, d), so that the many ways to write one convolution's extent compare
// equal.
//
// dim_params come from files, so growth is bounded: too many terms, or too long a text, gives Unknown.

namespace rondo {
namespace {

constexpr size_t kMaxTerms = 64;
constexpr size_t kMaxDegree = 16;
constexpr size_t kMaxOpaqueText = 400;
constexpr size_t kMaxParseText = 1000;
constexpr int kMaxParseDepth = 100;

bool IsOpaque(absl::string_view name) {
  return absl::StartsWith(name, "floor(") || absl::StartsWith(name, "max(") || absl::StartsWith(name, "min(") ||
         absl::StartsWith(name, "broadcast(");
}

// Extents are not negative; an opaque symbol is one of extents unless a minus occurs in it.
bool MayBeNegative(absl::string_view name) { return IsOpaque(name) && absl::StrContains(name, '-'); }

bool IsNameStart(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool IsNameChar(char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.'; }

// Length of the identifier at the start of `text`. A hyphen glued between a name and a letter ("batch-size") belongs to
// the name: printers of expressions put spaces around a minus.
size_t NameLength(absl::string_view text) {
  if (text.empty() || !IsNameStart(text[0])) return 0;
  size_t n = 1;
  while (n < text.size() &&
         (IsNameChar(text[n]) || (text[n] == '-' && n + 1 < text.size() && IsNameStart(text[n + 1])))) {
    ++n;
  }
  return n;
}

bool AddOverflow(int64_t a, int64_t b, int64_t* r) { return __builtin_add_overflow(a, b, r); }
bool SubOverflow(int64_t a, int64_t b, int64_t* r) { return __builtin_sub_overflow(a, b, r); }
bool MulOverflow(int64_t a, int64_t b, int64_t* r) { return __builtin_mul_overflow(a, b, r); }

// REQUIRES: b != 0 and not (a == INT64_MIN and b == -1).
int64_t FloorDivide(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

std::string QuoteName(const std::string& name) {
  if (IsOpaque(name) || NameLength(name) == name.size()) return name;
  return absl::StrCat("`", name, "`");
}

using Monomial = std::vector<std::string>;
using Terms = std::map<Monomial, int64_t>;

// Adds coefficient * monomial; false on overflow.
bool AddTerm(Terms* terms, const Monomial& monomial, int64_t coefficient) {
  int64_t& slot = (*terms)[monomial];
  if (AddOverflow(slot, coefficient, &slot)) return false;
  if (slot == 0) terms->erase(monomial);
  return true;
}

Monomial MultiplyMonomials(const Monomial& a, const Monomial& b) {
  Monomial r;
  r.reserve(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(r));
  return r;
}

bool DivideMonomials(const Monomial& a, const Monomial& b, Monomial* quotient) {
  if (!std::includes(a.begin(), a.end(), b.begin(), b.end())) return false;
  quotient->clear();
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(*quotient));
  return true;
}

// The greatest term by degree, then by name list: for lists of one length that order is compatible with
// multiplication, which is what the division algorithm needs.
Terms::const_iterator LeadingTerm(const Terms& terms) {
  auto lead = terms.begin();
  for (auto it = terms.begin(); it != terms.end(); ++it) {
    if (it->first.size() > lead->first.size() || (it->first.size() == lead->first.size() && lead->first < it->first)) {
      lead = it;
    }
  }
  return lead;
}

// quotient * divisor == dividend exactly, or false. REQUIRES: divisor is not empty.
bool DivideExactly(Terms dividend, const Terms& divisor, Terms* quotient) {
  quotient->clear();
  auto divisor_lead = LeadingTerm(divisor);
  for (int steps = 0; !dividend.empty(); ++steps) {
    if (steps > 256 || dividend.size() > 4 * kMaxTerms) return false;
    auto lead = LeadingTerm(dividend);
    Monomial monomial;
    if (!DivideMonomials(lead->first, divisor_lead->first, &monomial)) return false;
    if (divisor_lead->second == -1 && lead->second == std::numeric_limits<int64_t>::min()) return false;
    if (lead->second % divisor_lead->second != 0) return false;
    int64_t coefficient = lead->second / divisor_lead->second;
    if (!AddTerm(quotient, monomial, coefficient)) return false;
    for (const auto& [m, c] : divisor) {
      int64_t product;
      if (MulOverflow(c, coefficient, &product) || SubOverflow(0, product, &product)) return false;
      if (!AddTerm(&dividend, MultiplyMonomials(m, monomial), product)) return false;
    }
  }
  return true;
}

std::string TermsToString(const Terms& terms) {
  std::string text;
  auto append = [&text](const Monomial& monomial, int64_t coefficient) {
    bool negative = coefficient < 0;
    absl::StrAppend(&text, text.empty() ? (negative ? "-" : "") : (negative ? " - " : " + "));
    uint64_t magnitude = negative ? uint64_t{0} - static_cast<uint64_t>(coefficient) : coefficient;
    if (monomial.empty() || magnitude != 1) absl::StrAppend(&text, magnitude, monomial.empty() ? "" : "*");
    for (size_t i = 0; i < monomial.size(); ++i) absl::StrAppend(&text, i ? "*" : "", QuoteName(monomial[i]));
  };
  // Positive terms first reads better, and the constant last.
  for (const auto& [m, c] : terms) {
    if (!m.empty() && c > 0) append(m, c);
  }
  for (const auto& [m, c] : terms) {
    if (!m.empty() && c < 0) append(m, c);
  }
  auto constant = terms.find({});
  if (constant != terms.end()) append({}, constant->second);
  return text.empty() ? "0" : text;
}

Dim Negate(const Dim& d) { return Dim(0) - d; }

std::string Parenthesized(const Dim& d) {
  return d.known() || d.IsSymbol() ? d.ToString() : absl::StrCat("(", d.ToString(), ")");
}

Dim OpaqueSymbol(absl::string_view text) { return text.size() > kMaxOpaqueText ? Dim::Unknown() : Dim::Symbol(text); }

// Operand text of an opaque symbol. A bare symbol prints unquoted elsewhere, but here it must parse back.
std::string OperandText(const Dim& d, bool parenthesize) {
  if (d.IsSymbol()) return QuoteName(d.ToString());
  return parenthesize ? Parenthesized(d) : d.ToString();
}

// A name with a backquote in it cannot be quoted, and so makes no opaque symbol.
bool CanQuote(const Terms& terms) {
  for (const auto& [monomial, coefficient] : terms) {
    for (const std::string& name : monomial) {
      if (!IsOpaque(name) && absl::StrContains(name, '`')) return false;
    }
  }
  return true;
}

// Recursive descent over sums, products, calls. A value is numerator / denominator, since sympy writes
// floor(h/2 - 1/2). What a name stands for is the caller's business: a symbol when a text is read, a number when it is
// evaluated.
class ExpressionParser {
 public:
  ExpressionParser(absl::string_view text, absl::FunctionRef<Dim(absl::string_view)> resolve)
      : text_(text), resolve_(resolve) {}

  // False when the text is no expression.
  bool Parse(Dim* result) {
    Ratio value;
    if (!Sum(&value)) return false;
    SkipSpace();
    if (position_ != text_.size()) return false;
    *result = Floor(value);
    return true;
  }

 private:
  struct Ratio {
    Dim numerator;
    Dim denominator = 1;
  };

  static Dim Floor(const Ratio& r) { return Dim::FloorDiv(r.numerator, r.denominator); }

  static Ratio Add(const Ratio& a, const Ratio& b, bool subtract) {
    if (a.denominator == b.denominator) {
      return {subtract ? a.numerator - b.numerator : a.numerator + b.numerator, a.denominator};
    }
    Dim x = a.numerator * b.denominator, y = b.numerator * a.denominator;
    return {subtract ? x - y : x + y, a.denominator * b.denominator};
  }

  void SkipSpace() {
    while (position_ < text_.size() && absl::ascii_isspace(text_[position_])) ++position_;
  }
  bool Take(absl::string_view token) {
    SkipSpace();
    if (!absl::StartsWith(text_.substr(position_), token)) return false;
    position_ += token.size();
    return true;
  }

  bool Sum(Ratio* value) {
    if (!Product(value)) return false;
    for (;;) {
      bool subtract;
      if (Take("+")) {
        subtract = false;
      } else if (Take("-")) {
        subtract = true;
      } else {
        return true;
      }
      Ratio other;
      if (!Product(&other)) return false;
      *value = Add(*value, other, subtract);
    }
  }

  bool Product(Ratio* value) {
    if (!Power(value)) return false;
    for (;;) {
      Ratio other;
      if (Take("//")) {
        if (!Power(&other)) return false;
        *value = {Dim::FloorDiv(value->numerator * other.denominator, value->denominator * other.numerator), 1};
      } else if (Take("/")) {
        if (!Power(&other)) return false;
        *value = {value->numerator * other.denominator, value->denominator * other.numerator};
      } else if (Take("%")) {
        if (!Power(&other)) return false;
        *value = Modulo(*value, other);
      } else if (Take("*")) {
        if (!Power(&other)) return false;
        *value = {value->numerator * other.numerator, value->denominator * other.denominator};
      } else {
        return true;
      }
    }
  }

  static Ratio Modulo(const Ratio& a, const Ratio& b) {
    Dim x = Floor(a), y = Floor(b);
    return {x - y * Dim::FloorDiv(x, y), 1};
  }

  bool Power(Ratio* value) {
    if (!Unary(value)) return false;
    if (!Take("**")) return true;
    Ratio exponent;
    if (!Unary(&exponent) || !exponent.numerator.known() || exponent.denominator != Dim(1)) return false;
    int64_t n = exponent.numerator.value();
    if (n < 0 || n > 8) return false;
    Ratio base = *value;
    *value = {1, 1};
    for (int64_t i = 0; i < n; ++i) {
      *value = {value->numerator * base.numerator, value->denominator * base.denominator};
    }
    return true;
  }

  bool Unary(Ratio* value) {
    if (++depth_ > kMaxParseDepth) return false;
    bool ok;
    if (Take("-")) {
      ok = Unary(value);
      value->numerator = Negate(value->numerator);
    } else {
      ok = Primary(value);
    }
    --depth_;
    return ok;
  }

  bool Primary(Ratio* value) {
    SkipSpace();
    if (position_ >= text_.size()) return false;
    char c = text_[position_];
    if (c == '(') {
      ++position_;
      return Sum(value) && Take(")");
    }
    if (c == '`') {
      size_t end = text_.find('`', position_ + 1);
      if (end == absl::string_view::npos || end == position_ + 1) return false;
      *value = {resolve_(text_.substr(position_ + 1, end - position_ - 1)), 1};
      position_ = end + 1;
      return true;
    }
    if (absl::ascii_isdigit(c)) return Number(value);
    size_t length = NameLength(text_.substr(position_));
    if (length == 0) return false;
    absl::string_view name = text_.substr(position_, length);
    position_ += length;
    if (Take("(")) return Call(name, value);
    *value = {resolve_(name), 1};
    return true;
  }

  bool Number(Ratio* value) {
    int64_t n = 0;
    while (position_ < text_.size() && absl::ascii_isdigit(text_[position_])) {
      if (MulOverflow(n, 10, &n) || AddOverflow(n, text_[position_] - '0', &n)) return false;
      ++position_;
    }
    // "2d" is no number, nor is "1.5".
    if (position_ < text_.size() && IsNameChar(text_[position_])) return false;
    *value = {n, 1};
    return true;
  }

  bool Call(absl::string_view name, Ratio* value) {
    std::vector<Ratio> arguments;
    do {
      arguments.emplace_back();
      if (!Sum(&arguments.back())) return false;
    } while (Take(","));
    if (!Take(")")) return false;
    std::string function = absl::AsciiStrToLower(name);
    if (arguments.size() == 1) {
      if (function == "floor" || function == "floortoint" || function == "trunc" || function == "trunctoint") {
        *value = {Floor(arguments[0]), 1};
        return true;
      }
      if (function == "ceiling" || function == "ceil" || function == "ceiltoint") {
        *value = {Dim::CeilDiv(arguments[0].numerator, arguments[0].denominator), 1};
        return true;
      }
    }
    if (function == "max" || function == "min") {
      Dim result = Floor(arguments[0]);
      for (size_t i = 1; i < arguments.size(); ++i) {
        result = function == "max" ? Dim::Max(result, Floor(arguments[i])) : Dim::Min(result, Floor(arguments[i]));
      }
      *value = {result, 1};
      return true;
    }
    if (arguments.size() == 2) {
      const Ratio &a = arguments[0], &b = arguments[1];
      if (function == "broadcast") {
        *value = {Dim::Broadcast(Floor(a), Floor(b)), 1};
        return !value->numerator.unknown();
      }
      if (function == "floordiv" || function == "cleandiv") {
        *value = {Dim::FloorDiv(a.numerator * b.denominator, a.denominator * b.numerator), 1};
        return true;
      }
      if (function == "inttruediv") {
        *value = {a.numerator * b.denominator, a.denominator * b.numerator};
        return true;
      }
      if (function == "mod" || function == "pythonmod") {
        *value = Modulo(a, b);
        return true;
      }
    }
    return false;
  }

  absl::string_view text_;
  absl::FunctionRef<Dim(absl::string_view)> resolve_;
  size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace

Dim Dim::Symbol(absl::string_view name) {
  if (name.empty()) return Unknown();
  return FromPoly({{{std::string(name)}, 1}});
}

Dim Dim::Unknown() {
  Dim d;
  d.unknown_ = true;
  return d;
}

Dim Dim::Parse(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty() || text == "?" || text == "None") return Unknown();
  if (text.size() > kMaxParseText) return Symbol(text);
  Dim result;
  auto resolve = [](absl::string_view name) { return Symbol(name); };
  if (!ExpressionParser(text, resolve).Parse(&result)) return Symbol(text);
  // "-1" is some exporters' way to say nothing; no extent is negative.
  if (result.known() && result.value() < 0) return Unknown();
  return result;
}

Dim Dim::FromPoly(Poly poly) {
  if (poly.empty()) return Dim(0);
  if (poly.size() == 1 && poly.begin()->first.empty()) return Dim(poly.begin()->second);
  if (poly.size() > kMaxTerms) return Unknown();
  for (const auto& [monomial, coefficient] : poly) {
    if (monomial.size() > kMaxDegree) return Unknown();
  }
  Dim d;
  d.poly_ = std::make_shared<const Poly>(std::move(poly));
  return d;
}

Dim::Poly Dim::ToPoly() const {
  if (poly_) return *poly_;
  Poly poly;
  if (value_ != 0) poly[{}] = value_;
  return poly;
}

bool Dim::IsSymbol() const {
  return poly_ && poly_->size() == 1 && poly_->begin()->first.size() == 1 && poly_->begin()->second == 1;
}

std::string Dim::ToString() const {
  if (unknown_) return "?";
  if (!poly_) return absl::StrCat(value_);
  return IsSymbol() ? poly_->begin()->first[0] : TermsToString(*poly_);
}

bool Dim::Evaluate(const absl::flat_hash_map<std::string, int64_t>& symbols, int64_t* result) const {
  if (unknown_) return false;
  if (!poly_) {
    *result = value_;
    return true;
  }
  auto resolve = [&symbols](absl::string_view name) {
    auto it = symbols.find(name);
    return it == symbols.end() ? Unknown() : Dim(it->second);
  };
  Dim sum = 0;
  for (const auto& [monomial, coefficient] : *poly_) {
    Dim product = coefficient;
    for (const std::string& name : monomial) {
      Dim factor = resolve(name);
      if (factor.unknown() && IsOpaque(name) && !ExpressionParser(name, resolve).Parse(&factor)) return false;
      product = product * factor;
    }
    sum = sum + product;
  }
  if (!sum.known()) return false;
  *result = sum.value();
  return true;
}

std::vector<std::string> Dim::Symbols() const {
  std::vector<std::string> names;
  if (!poly_) return names;
  auto collect = [&names](absl::string_view name) {
    names.emplace_back(name);
    return Symbol(name);
  };
  for (const auto& [monomial, coefficient] : *poly_) {
    for (const std::string& name : monomial) {
      Dim ignored;
      size_t before = names.size();
      if (IsOpaque(name) && ExpressionParser(name, collect).Parse(&ignored)) continue;
      names.resize(before);
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return Dim::Unknown();
  if (!a.poly_ && !b.poly_) {
    int64_t r;
    return AddOverflow(a.value_, b.value_, &r) ? Dim::Unknown() : Dim(r);
  }
  Dim::Poly poly = a.ToPoly();
  for (const auto& [monomial, coefficient] : b.ToPoly()) {
    if (!AddTerm(&poly, monomial, coefficient)) return Dim::Unknown();
  }
  return Dim::FromPoly(std::move(poly));
}

Dim operator-(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return Dim::Unknown();
  if (!a.poly_ && !b.poly_) {
    int64_t r;
    return SubOverflow(a.value_, b.value_, &r) ? Dim::Unknown() : Dim(r);
  }
  Dim::Poly poly = a.ToPoly();
  for (const auto& [monomial, coefficient] : b.ToPoly()) {
    int64_t negated;
    if (SubOverflow(0, coefficient, &negated) || !AddTerm(&poly, monomial, negated)) return Dim::Unknown();
  }
  return Dim::FromPoly(std::move(poly));
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return Dim::Unknown();
  if (!a.poly_ && !b.poly_) {
    int64_t r;
    return MulOverflow(a.value_, b.value_, &r) ? Dim::Unknown() : Dim(r);
  }
  Dim::Poly poly;
  const Dim::Poly left = a.ToPoly(), right = b.ToPoly();
  if (left.size() * right.size() > 16 * kMaxTerms) return Dim::Unknown();
  for (const auto& [m1, c1] : left) {
    for (const auto& [m2, c2] : right) {
      int64_t c;
      if (MulOverflow(c1, c2, &c) || !AddTerm(&poly, MultiplyMonomials(m1, m2), c)) return Dim::Unknown();
    }
  }
  return Dim::FromPoly(std::move(poly));
}

Dim Dim::FloorDiv(const Dim& a, const Dim& b) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  if (a.unknown_ || b.unknown_) return Unknown();
  if (!b.poly_) {
    if (b.value_ == 0 || b.value_ == kMin) return Unknown();
    if (b.value_ == 1) return a;
    if (b.value_ < 0) return FloorDiv(Negate(a), Dim(-b.value_));
    if (!a.poly_) return Dim(FloorDivide(a.value_, b.value_));
    int64_t divisor = b.value_;
    Poly quotient, rest;
    for (const auto& [monomial, coefficient] : *a.poly_) {
      int64_t q = FloorDivide(coefficient, divisor);
      int64_t r = coefficient - q * divisor;
      if (q != 0) quotient[monomial] = q;
      if (r != 0) rest[monomial] = r;
    }
    int64_t common = divisor;
    for (const auto& [monomial, coefficient] : rest) {
      // The constant of the rest may be rounded down to a multiple of what all others share.
      if (!monomial.empty()) common = std::gcd(common, coefficient);
    }
    if (common > 1) {
      divisor /= common;
      for (auto it = rest.begin(); it != rest.end();) {
        it->second /= common;
        it = it->second == 0 ? rest.erase(it) : std::next(it);
      }
    }
    Dim whole = FromPoly(std::move(quotient));
    Dim remainder = FromPoly(std::move(rest));
    if (remainder.unknown_) return Unknown();
    if (remainder.known()) return whole + Dim(FloorDivide(remainder.value_, divisor));
    if (divisor == 1) return whole + remainder;
    if (!CanQuote(remainder.ToPoly())) return Unknown();
    return whole + OpaqueSymbol(absl::StrCat("floor(", OperandText(remainder, true), "/", divisor, ")"));
  }
  Poly quotient;
  if (DivideExactly(a.ToPoly(), *b.poly_, &quotient)) return FromPoly(std::move(quotient));
  if (!CanQuote(a.ToPoly()) || !CanQuote(b.ToPoly())) return Unknown();
  return OpaqueSymbol(absl::StrCat("floor(", OperandText(a, true), "/", OperandText(b, true), ")"));
}

Dim Dim::CeilDiv(const Dim& a, const Dim& b) {
  if (a.poly_ && b.known() && b.value_ > 0) return FloorDiv(a + Dim(b.value_ - 1), b);
  return Negate(FloorDiv(Negate(a), b));
}

namespace {

// 1: a >= b for all extents, -1: a <= b, 0: not provable.
int ProvableOrder(const std::map<Monomial, int64_t>& difference) {
  bool not_negative = true, not_positive = true;
  for (const auto& [monomial, coefficient] : difference) {
    if (std::any_of(monomial.begin(), monomial.end(), MayBeNegative)) return 0;
    if (coefficient < 0) not_negative = false;
    if (coefficient > 0) not_positive = false;
  }
  return not_negative ? 1 : not_positive ? -1 : 0;
}

}  // namespace

Dim Dim::Max(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return Unknown();
  if (!a.poly_ && !b.poly_) return Dim(std::max(a.value_, b.value_));
  Dim difference = a - b;
  if (!difference.unknown_) {
    int order = ProvableOrder(difference.ToPoly());
    if (order != 0) return order > 0 ? a : b;
  }
  if (!CanQuote(a.ToPoly()) || !CanQuote(b.ToPoly())) return Unknown();
  std::string x = OperandText(a, false), y = OperandText(b, false);
  if (y < x) std::swap(x, y);
  return OpaqueSymbol(absl::StrCat("max(", x, ", ", y, ")"));
}

Dim Dim::Min(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return Unknown();
  if (!a.poly_ && !b.poly_) return Dim(std::min(a.value_, b.value_));
  Dim difference = a - b;
  if (!difference.unknown_) {
    int order = ProvableOrder(difference.ToPoly());
    if (order != 0) return order > 0 ? b : a;
  }
  if (!CanQuote(a.ToPoly()) || !CanQuote(b.ToPoly())) return Unknown();
  std::string x = OperandText(a, false), y = OperandText(b, false);
  if (y < x) std::swap(x, y);
  return OpaqueSymbol(absl::StrCat("min(", x, ", ", y, ")"));
}

Dim Dim::Broadcast(const Dim& a, const Dim& b) {
  if (a == b) return a;
  if (a.known() && a.value() == 1) return b;
  if (b.known() && b.value() == 1) return a;
  if (a.unknown_ || b.unknown_ || (a.known() && b.known())) return Unknown();
  if (!CanQuote(a.ToPoly()) || !CanQuote(b.ToPoly())) return Unknown();
  std::string x = OperandText(a, false), y = OperandText(b, false);
  // Wherever n and min(n, m) broadcast at all they are equal, or the minimum is 1: the result is n.
  const auto is_call_with = [](const std::string& call, absl::string_view function, const std::string& argument) {
    return absl::StartsWith(call, absl::StrCat(function, "(", argument, ", ")) ||
           (absl::StartsWith(call, absl::StrCat(function, "(")) &&
            absl::EndsWith(call, absl::StrCat(", ", argument, ")")));
  };
  if (is_call_with(y, "min", x) || is_call_with(x, "broadcast", y)) return a;
  if (is_call_with(x, "min", y) || is_call_with(y, "broadcast", x)) return b;
  if (y < x) std::swap(x, y);
  return OpaqueSymbol(absl::StrCat("broadcast(", x, ", ", y, ")"));
}

bool operator==(const Dim& a, const Dim& b) {
  if (a.unknown_ || b.unknown_) return false;
  if (!a.poly_ || !b.poly_) return !a.poly_ && !b.poly_ && a.value_ == b.value_;
  return a.poly_ == b.poly_ || *a.poly_ == *b.poly_;
}

bool Shape::known() const {
  return std::all_of(begin(), end(), [](const Dim& d) { return d.known(); });
}

Dims Shape::ToDims() const {
  Dims dims;
  dims.reserve(size());
  for (const Dim& d : *this) dims.push_back(d.value());
  return dims;
}

Dim Shape::ElementCount() const {
  // No elements, whatever the unknown dims are.
  if (std::any_of(begin(), end(), [](const Dim& d) { return d.known() && d.value() == 0; })) return 0;
  Dim count = 1;
  for (const Dim& d : *this) count = count * d;
  return count;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (size_t i = 0; i < size(); ++i) absl::StrAppend(&text, i ? ", " : "", (*this)[i].ToString());
  text += "]";
  return text;
}

}  // namespace rondo
