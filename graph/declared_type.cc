#include "graph/declared_type.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "graph/status.h"

namespace rondo {
namespace {

template <typename A, typename B>
std::string Both(absl::string_view what, const A& a, const B& b) {
  return absl::StrCat(what, " cannot be both ", a, " and ", b);
}

std::string ShapeContradiction(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return Both("the rank", a.rank(), b.rank());
  for (int i = 0; i < a.rank(); ++i) {
    if (a[i].known() && b[i].known() && a[i].value() != b[i].value()) {
      return Both(absl::StrCat("dim ", i), a[i].value(), b[i].value());
    }
  }
  return "";
}

// The first contradiction; empty when there is none.
std::string Contradiction(const ValueType& a, const ValueType& b) {
  if (a.kind == ValueType::Kind::kUnknown || b.kind == ValueType::Kind::kUnknown) return "";
  if (a.kind != b.kind) return Both("it", a.ToString(), b.ToString());
  if (a.dtype != b.dtype && a.dtype != DataType::kUndefined && b.dtype != DataType::kUndefined) {
    return Both(a.is_tensor() ? "the element type" : "the key type", DataTypeName(a.dtype), DataTypeName(b.dtype));
  }
  if (a.element != nullptr && b.element != nullptr) return Contradiction(*a.element, *b.element);
  return a.shape.has_value() && b.shape.has_value() ? ShapeContradiction(*a.shape, *b.shape) : "";
}

}  // namespace

absl::Status CheckDeclaredType(const ValueType& declared, absl::string_view known, const ValueType& actual) {
  const std::string contradiction = Contradiction(declared, actual);
  if (contradiction.empty()) return absl::OkStatus();
  return InvalidArgument("declared as ", declared.ToString(), ", ", known, " ", actual.ToString(), ": ", contradiction);
}

}  // namespace rondo
