#include "graph/rewrites/axis_trace.h"

#include <algorithm>

#include "graph/rewrites/match.h"

namespace rondo {
namespace {

bool IsOne(const Dim& dim) { return dim == Dim(1); }

bool AllKnownToShapes(const Shape& shape) {
  return std::none_of(shape.begin(), shape.end(), [](const Dim& d) { return d.unknown(); });
}

// Product of extents[from, to).
Dim Product(const std::vector<Dim>& extents, size_t from, size_t to) {
  Dim product(1);
  for (size_t i = from; i < to; ++i) product = product * extents[i];
  return product;
}

}  // namespace

AxisTrace::AxisTrace(Value* value, std::vector<std::vector<Factor>> axes) : value_(value) {
  for (const std::vector<Factor>& axis : axes) {
    axes_.emplace_back();
    for (const Factor& factor : axis) {
      if (IsOne(factor.extent)) continue;
      const int id = static_cast<int>(factors_.size());
      factors_.push_back(factor);
      order_.push_back(id);
      if (!factor.repeated) axes_.back().push_back(id);
    }
  }
}

std::vector<AxisTrace::Factor> AxisTrace::FactorsOf(const std::vector<int>& ids) const {
  std::vector<Factor> factors;
  for (int id : ids) factors.push_back(factors_[id]);
  return factors;
}

std::vector<AxisTrace::Factor> AxisTrace::role(int role) const {
  std::vector<Factor> factors;
  for (int id : order_) {
    if (factors_[id].role == role) factors.push_back(factors_[id]);
  }
  return factors;
}

std::vector<int> AxisTrace::Unrepeated(int role) const {
  std::vector<int> ids;
  for (int id : order_) {
    if (factors_[id].role == role && !factors_[id].repeated) ids.push_back(id);
  }
  return ids;
}

bool AxisTrace::Holds(int i, std::initializer_list<Run> runs) const {
  std::vector<int> expected;
  for (const Run& run : runs) {
    const std::vector<int> ids = Unrepeated(run.role);
    if (run.from < 0 || run.count < 0 || run.from + run.count > static_cast<int>(ids.size())) return false;
    expected.insert(expected.end(), ids.begin() + run.from, ids.begin() + run.from + run.count);
  }
  return axes_[i] == expected;
}

int AxisTrace::CountOfRole(int i, int role, int from) const {
  const int count = static_cast<int>(axes_[i].size());
  return Holds(i, {{role, from, count}}) ? count : -1;
}

std::vector<int> AxisTrace::Split(int id, const std::vector<Dim>& extents) {
  std::vector<int> parts = {id};
  for (size_t i = 1; i < extents.size(); ++i) {
    parts.push_back(static_cast<int>(factors_.size()));
    factors_.push_back({factors_[id].role, extents[i], factors_[id].repeated});
  }
  factors_[id].extent = extents[0];
  const auto replace = [&](std::vector<int>& ids) {
    auto at = std::find(ids.begin(), ids.end(), id);
    if (at != ids.end()) ids.insert(at + 1, parts.begin() + 1, parts.end());
  };
  replace(order_);
  for (std::vector<int>& axis : axes_) replace(axis);
  return parts;
}

// A view keeps the order of all elements: the factors of all axes in a row, and the source's dims in a row, are two
// ways to factor the same number. They are aligned from the left, each time at the nearest common product.
bool AxisTrace::ThroughView(const Shape& source) {
  std::vector<int> ids;
  std::vector<Dim> extents, dims;
  std::vector<size_t> axis_of_dim;
  for (const std::vector<int>& axis : axes_) ids.insert(ids.end(), axis.begin(), axis.end());
  for (int id : ids) extents.push_back(factors_[id].extent);
  for (size_t i = 0; i < source.size(); ++i) {
    if (IsOne(source[i])) continue;
    dims.push_back(source[i]);
    axis_of_dim.push_back(i);
  }
  struct Piece {
    size_t factors, dims;  // how many of each; one of them is 1
  };
  std::vector<Piece> pieces;
  size_t f = 0, d = 0;
  while (f < extents.size() && d < dims.size()) {
    Piece piece{0, 0};
    for (size_t n = 1; piece.factors == 0 && (f + n <= extents.size() || d + n <= dims.size()); ++n) {
      if (f + n <= extents.size() && Product(extents, f, f + n) == dims[d]) piece = {n, 1};
      if (piece.factors == 0 && d + n <= dims.size() && extents[f] == Product(dims, d, d + n)) piece = {1, n};
    }
    if (piece.factors == 0) return false;
    pieces.push_back(piece);
    f += piece.factors;
    d += piece.dims;
  }
  if (f != extents.size() || d != dims.size()) return false;
  std::vector<std::vector<int>> axes(source.size());
  f = d = 0;
  for (const Piece& piece : pieces) {
    std::vector<int> parts(ids.begin() + f, ids.begin() + f + piece.factors);
    if (piece.dims > 1) parts = Split(ids[f], {dims.begin() + d, dims.begin() + d + piece.dims});
    for (size_t i = 0; i < parts.size(); ++i) axes[axis_of_dim[d + (piece.dims > 1 ? i : 0)]].push_back(parts[i]);
    f += piece.factors;
    d += piece.dims;
  }
  axes_ = std::move(axes);
  return true;
}

bool AxisTrace::ThroughExpand(const Shape& source, const Shape& result) {
  const size_t added = result.size() - source.size();
  for (size_t i = added; i < result.size(); ++i) {
    if (source[i - added] != result[i] && !IsOne(source[i - added])) return false;
  }
  std::vector<std::vector<int>> axes;
  for (size_t i = 0; i < result.size(); ++i) {
    const bool repeats = i < added || source[i - added] != result[i];
    if (repeats) {
      for (int id : axes_[i]) factors_[id].repeated = true;
    }
    if (i >= added) axes.push_back(repeats ? std::vector<int>{} : axes_[i]);
  }
  axes_ = std::move(axes);
  return true;
}

// Result axis i is `repeats[i]` copies of source axis i, one after the other.
bool AxisTrace::ThroughRepeats(const std::vector<Dim>& repeats, const Shape& source) {
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (!IsOne(repeats[i]) && axes_[i].size() != 1) return false;
  }
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (IsOne(repeats[i])) continue;
    if (IsOne(source[i])) {
      factors_[axes_[i][0]].repeated = true;
      axes_[i].clear();
      continue;
    }
    const std::vector<int> parts = Split(axes_[i][0], {repeats[i], source[i]});
    factors_[parts[0]].repeated = true;
    axes_[i] = {parts[1]};
  }
  return true;
}

// Indices 0 0 1 1: each element of the source's axis several times.
bool AxisTrace::ThroughGather(const Node& gather, const Shape& source) {
  int64_t axis = gather.IntOr("axis", 0);
  if (axis < 0) axis += source.rank();
  const std::optional<std::vector<int64_t>> indices = IntsConstant(gather.input(1));
  if (!indices.has_value() || RankOf(gather.input(1)) != 1 || axis < 0 || axis >= rank() || !source[axis].known()) {
    return false;
  }
  const int64_t elements = source[axis].value(), count = static_cast<int64_t>(indices->size());
  if (elements == 0 || count == 0 || count % elements != 0 || axes_[axis].size() != 1) return false;
  const int64_t times = count / elements;
  for (int64_t i = 0; i < count; ++i) {
    if ((*indices)[i] != i / times) return false;
  }
  if (times == 1) return true;
  if (elements == 1) {
    factors_[axes_[axis][0]].repeated = true;
    axes_[axis].clear();
    return true;
  }
  const std::vector<int> parts = Split(axes_[axis][0], {Dim(elements), Dim(times)});
  factors_[parts[1]].repeated = true;
  axes_[axis] = {parts[0]};
  return true;
}

bool AxisTrace::StepBack() {
  Node* node = value_->producer();
  if (node == nullptr || value_->producer_index() != 0 || node->input(0) == nullptr) return false;
  Value* source = node->input(0);
  if (RankOf(source) < 0 || RankOf(value_) != rank()) return false;
  const Shape& from = *source->type().shape;
  const Shape& to = *value_->type().shape;
  if (!AllKnownToShapes(from) || !AllKnownToShapes(to)) return false;
  bool passed = false;
  if (node->Is("Transpose")) {
    const std::vector<int64_t> perm = node->IntsOr("perm", {});
    if (perm.size() != axes_.size()) return false;
    std::vector<std::vector<int>> axes(axes_.size());
    for (size_t i = 0; i < perm.size(); ++i) axes[perm[i]] = axes_[i];
    axes_ = std::move(axes);
    passed = true;
  } else if (node->Is("Reshape") || node->Is("Squeeze") || node->Is("Unsqueeze") || node->Is("Flatten")) {
    passed = ThroughView(from);
  } else if (node->Is("Expand")) {
    // Where both broadcast, the source does not decide the extent alone.
    passed = from.size() <= to.size() && ThroughExpand(from, to);
  } else if (node->Is("Tile")) {
    std::optional<std::vector<int64_t>> repeats = IntsConstant(node->input(1));
    if (!repeats.has_value() || repeats->size() != axes_.size()) return false;
    passed = ThroughRepeats({repeats->begin(), repeats->end()}, from);
  } else if (node->Is("Gather")) {
    passed = ThroughGather(*node, from);
  } else if (node->Is("Concat")) {
    const std::vector<Value*>& inputs = node->inputs();
    if (std::any_of(inputs.begin(), inputs.end(), [&](const Value* v) { return v != source; })) return false;
    int64_t axis = node->IntOr("axis", 1);
    if (axis < 0) axis += rank();
    if (axis < 0 || axis >= rank()) return false;
    std::vector<Dim> repeats(axes_.size(), Dim(1));
    repeats[axis] = Dim(static_cast<int64_t>(inputs.size()));
    passed = ThroughRepeats(repeats, from);
  }
  if (passed) value_ = source;
  return passed;
}

}  // namespace rondo
