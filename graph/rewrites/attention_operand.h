// The query, key or value of an attention, found behind whatever an exporter put between it and the product:
// transposes, reshapes, scales, casts, and the repetition of key/value heads for groups of query heads.
#ifndef RONDO_GRAPH_REWRITES_ATTENTION_OPERAND_H_
#define RONDO_GRAPH_REWRITES_ATTENTION_OPERAND_H_

#include <vector>

#include "absl/status/statusor.h"
#include "graph/rewrites/axis_trace.h"
#include "graph/rewrites/rewrite.h"

namespace rondo {

// Roles of an operand's factors. The factors of kBatch count batches, then heads.
enum AttentionRole { kBatchRole, kRowsRole, kSizeRole };

// One way to read an operand as [batch, heads, rows, size].
struct AttentionOperand {
  Value* value = nullptr;
  // What must be done to `value` first: split [batch, rows, heads * size]; put a batch axis of 1 before all others, or
  // a rows axis of 1 before the last; then transpose by `perm`.
  enum { kNothing, kSplitHeads, kAddBatch, kAddRows } prepare = kNothing;
  std::vector<int64_t> perm = {0, 1, 2, 3};

  Dim batch, heads, rows, size;
  Dim group = Dim(1);  // consecutive query heads that share a head of this operand
  double scale = 1;    // the operand is `value` times this
  int stripped = 0;    // scales and casts between `value` and the operand

  bool AsIs() const { return prepare == kNothing && perm == std::vector<int64_t>{0, 1, 2, 3}; }
};

// All readings, the best first: with the most scales and casts stripped, then those that need the least work, then the
// ones nearest to the source. `scalable`: scales and casts to float32 may be stripped. `trace` starts at the operand.
std::vector<AttentionOperand> AttentionOperands(AxisTrace trace, bool scalable, bool castable);

// The factors of an operand of the batched product whose result has `batch_dims` before its last two: the operand's
// last two axes have the given roles.
AxisTrace TraceOfFactor(Value* operand, const Shape& batch_dims, AttentionRole second_last, AttentionRole last);

// The reading's value as [batch, heads, rows, size]; adds nodes where needed, or takes those that are there.
absl::StatusOr<Value*> Materialise(Graph& graph, const RewriteContext& context, const Node& like,
                                   const AttentionOperand& operand);

// The two have the same heads and rows: they can be the key and the value of one attention.
bool Agree(const AttentionOperand& k, const AttentionOperand& v);

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_ATTENTION_OPERAND_H_
