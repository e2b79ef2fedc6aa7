// Follows a tensor backwards through operators that only move or repeat its elements: Transpose, Reshape and its kin,
// Expand, Tile, Concat of one value with itself, Gather of each index several times.
//
// Exporters write one thing in many ways: repeat_kv is Unsqueeze, Expand, Reshape; or Tile; a transposed key goes
// through [batch * heads, rows, size] and back. So nothing is matched operator by operator. Each axis of the traced
// value is a product of *factors*; a step back permutes axes, splits and joins factors, or finds that a factor is a
// repetition and no part of the source. Extents are compared as polynomials, so symbolic dims do.
#ifndef RONDO_GRAPH_REWRITES_AXIS_TRACE_H_
#define RONDO_GRAPH_REWRITES_AXIS_TRACE_H_

#include <initializer_list>
#include <vector>

#include "graph/graph.h"

namespace rondo {

class AxisTrace {
 public:
  struct Factor {
    int role;  // the caller's name for what it counts
    Dim extent;
    bool repeated = false;  // every index along it gives the same elements; the source has no such axis
  };

  // `axes[i]` are the factors of the value's axis i, major first; each product is the axis' extent. Extents of 1 need
  // no factor.
  AxisTrace(Value* value, std::vector<std::vector<Factor>> axes);

  // Goes on to the value from which the current one is made by moving elements alone; false, and no change, when it is
  // made otherwise.
  bool StepBack();
  // Goes on to `source`, which has the elements' places of the current value (it was cast or scaled).
  void MoveTo(Value* source) { value_ = source; }

  Value* value() const { return value_; }
  // Factors of the current value's axis i, none of them repeated.
  std::vector<Factor> axis(int i) const { return FactorsOf(axes_[i]); }
  int rank() const { return static_cast<int>(axes_.size()); }
  // All factors of a role, in the order of the value with which the trace began.
  std::vector<Factor> role(int role) const;
  // Axis i of the current value holds exactly the unrepeated factors [from, from + its count) of the role, in order;
  // returns that count, or -1.
  int CountOfRole(int i, int role, int from) const;
  // Axis i holds exactly these runs of unrepeated factors, one after the other.
  struct Run {
    int role, from, count;
  };
  bool Holds(int i, std::initializer_list<Run> runs) const;

 private:
  std::vector<Factor> FactorsOf(const std::vector<int>& ids) const;
  std::vector<int> Unrepeated(int role) const;  // ids, in order
  bool ThroughView(const Shape& source);
  bool ThroughExpand(const Shape& source, const Shape& result);
  bool ThroughRepeats(const std::vector<Dim>& repeats, const Shape& source);
  bool ThroughGather(const Node& gather, const Shape& source);
  // Replaces factor `id` by factors of these extents; returns their ids.
  std::vector<int> Split(int id, const std::vector<Dim>& extents);

  Value* value_;
  std::vector<Factor> factors_;         // by id
  std::vector<int> order_;              // ids, as the trace began; split factors in place
  std::vector<std::vector<int>> axes_;  // ids
};

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_AXIS_TRACE_H_
