// Dim: one extent of a shape, known or symbolic.
//
// Exporters name dims with expressions: Optimum writes "past_sequence_length + sequence_length", torch "s36 + 1" or
// "((h - 1)//2) + 1". A Dim is a polynomial with integer coefficients over symbols, kept in canonical form so that two
// equal sums compare equal. What a polynomial cannot say (floor division, max) becomes a symbol whose name is the
// expression's text, so it still compares equal to itself. Unknown() is equal to nothing, not even itself.
#ifndef RONDO_GRAPH_DIM_H_
#define RONDO_GRAPH_DIM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rondo/tensor.h"

namespace rondo {

class Dim {
 public:
  Dim(int64_t value = 0) : value_(value) {}  // NOLINT: a number is a dim
  static Dim Symbol(absl::string_view name);
  static Dim Unknown();
  // Parses a dim_param: + - * // / ( ) integers, names, floor() ceiling() Max() Min() calls. Text that is no
  // expression ("batch-size?", "x y") is taken as one symbol of that name; empty text is Unknown.
  static Dim Parse(absl::string_view text);

  bool known() const { return poly_ == nullptr && !unknown_; }  // a number
  bool unknown() const { return unknown_; }
  int64_t value() const { return value_; }  // REQUIRES: known()
  bool IsSymbol() const;                    // exactly one bare symbol
  std::string ToString() const;             // "3", "batch", "past + 1", "?"

  // Values for symbols -> number, if all symbols are bound; opaque symbols (floor ...) are re-evaluated from their
  // text. nullopt-like: returns false when a symbol is missing or the arithmetic overflows.
  bool Evaluate(const absl::flat_hash_map<std::string, int64_t>& symbols, int64_t* result) const;
  // Names of all symbols in it, sorted.
  std::vector<std::string> Symbols() const;

  // Unknown operands make unknown results; overflow too.
  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  // Exact when a is a multiple of b, an opaque symbol otherwise. Division by zero gives Unknown.
  static Dim FloorDiv(const Dim& a, const Dim& b);
  static Dim CeilDiv(const Dim& a, const Dim& b);
  static Dim Max(const Dim& a, const Dim& b);
  static Dim Min(const Dim& a, const Dim& b);
  // The extent that a and b have together in an elementwise operator: the other one where one is 1. Unknown for two
  // numbers that do not broadcast.
  static Dim Broadcast(const Dim& a, const Dim& b);
  // Provably equal. False for Unknown.
  friend bool operator==(const Dim& a, const Dim& b);
  friend bool operator!=(const Dim& a, const Dim& b) { return !(a == b); }

 private:
  // Product of symbols (sorted names) -> coefficient; the empty product is the constant term. No zero coefficients.
  using Poly = std::map<std::vector<std::string>, int64_t>;
  static Dim FromPoly(Poly poly);
  Poly ToPoly() const;

  int64_t value_ = 0;
  bool unknown_ = false;
  std::shared_ptr<const Poly> poly_;  // null for a number
};

// A shape whose rank is known. The dims of a scalar are empty.
class Shape : public absl::InlinedVector<Dim, 6> {
 public:
  using absl::InlinedVector<Dim, 6>::InlinedVector;
  static Shape FromDims(absl::Span<const int64_t> dims) { return Shape(dims.begin(), dims.end()); }
  // `rank` unknown dims.
  static Shape UnknownOfRank(int rank) { return Shape(rank, Dim::Unknown()); }

  int rank() const { return static_cast<int>(size()); }
  bool known() const;   // every dim is a number
  Dims ToDims() const;  // REQUIRES: known()
  Dim ElementCount() const;
  std::string ToString() const;  // "[batch, 3, past + 1]"
};

}  // namespace rondo

#endif  // RONDO_GRAPH_DIM_H_
