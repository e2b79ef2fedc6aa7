// The cosines and sines of rotary position embedding as decomposed graphs have them, as what RotaryEmbedding reads:
// [batch or 1, tokens, angles], each angle once.
//
// Exporters multiply by tables of twice as many columns, each angle there twice: cat(freqs, freqs) before the cosine, a
// constant of two equal halves that positions look up, or each angle beside itself (interleaved).
#ifndef RONDO_GRAPH_REWRITES_ROTARY_TABLES_H_
#define RONDO_GRAPH_REWRITES_ROTARY_TABLES_H_

#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "graph/rewrites/axis_trace.h"
#include "graph/rewrites/rewrite.h"

namespace rondo {

// How the rotated tensor is read.
struct RotaryAxes {
  int rank = 0;
  int batch = -1;  // axis; -1: none
  int tokens = 0;
  int heads = -1;
};
// The reading under which `table` (cosines or sines) broadcasts over the heads of `x`: [B, H, T, D], [B, T, H, D],
// [T, H, D], [H, T, D] or [B, T, D].
std::optional<RotaryAxes> ReadRotaryAxes(const Value* x, const Value* table);

// Constants that were cut to their first halves, so that layers share them.
using CutConstants = absl::flat_hash_map<const void*, Value*>;

class RotaryTable {
 public:
  // Traces `table`, which multiplies a tensor of these axes. `once`: it has each angle once already; otherwise twice,
  // side by side when `interleaved`, in two halves when not. No value when that cannot be shown.
  static std::optional<RotaryTable> Trace(Value* table, const RotaryAxes& axes, bool once, bool interleaved);

  // [batch or 1, tokens, angles]. Equal tables of other layers become one by share_common.
  absl::StatusOr<Value*> Build(Graph& graph, const RewriteContext& context, const Node& like, CutConstants* cut) const;

 private:
  explicit RotaryTable(AxisTrace trace) : trace_(std::move(trace)) {}
  absl::StatusOr<Value*> Source(Graph& graph, const RewriteContext& context, const Node& like, CutConstants* cut) const;

  AxisTrace trace_;           // at the value that has each angle once, or at a constant or look-up to be cut
  std::vector<Use> applied_;  // elementwise operators after it and where they read it, the last first
  bool cut_ = false;          // the value has two halves
  // What the value's axes count; kNothing where the extent is 1.
  enum Counts { kBatches, kTokens, kAngles, kNothing };
  std::vector<Counts> counts_;
};

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_ROTARY_TABLES_H_
