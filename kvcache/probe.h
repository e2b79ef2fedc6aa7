// Evaluation of what a decoder computes from lengths, positions and masks alone.
//
// Exporters spell "causal", "positions", "window", "ALiBi" in hundreds of nodes, each in its own way. Instead of
// matching those, the prober runs them: it evaluates a value for chosen batch, past length and number of new rows, with
// an attention mask that excludes nothing, and whoever asks compares the elements with what they should be.
#ifndef RONDO_KVCACHE_PROBE_H_
#define RONDO_KVCACHE_PROBE_H_

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "graph/rewrites/rewrite.h"
#include "kvcache/ports.h"
#include "kvcache/step_inputs.h"

namespace rondo {

using ProbePoint = StepShape;

class Prober {
 public:
  // Looks at the graph as it is now; edits need a new prober.
  Prober(const Graph& graph, const DecoderPorts& ports, const RewriteContext& context);

  // Depends on nothing but lengths, positions and masks.
  bool IsEnvironment(const Value* value) const { return environment_.contains(value); }
  // ... and does depend on the past length, positions or masks, not only on batch and rows.
  bool Varies(const Value* value) const { return varying_.contains(value); }

  // The elements of an environment value. Errors: what cannot be evaluated.
  absl::StatusOr<Tensor> Evaluate(const Value* value, const ProbePoint& point);

  // Points at which to look: short and long pasts, one and several rows, one and two sequences; within `capacity` rows
  // (0: no limit) and what the graph's fixed dims allow.
  std::vector<ProbePoint> Points(int64_t capacity) const;
  // One row after a past of that length, or of what `capacity` leaves.
  ProbePoint LongPoint(int64_t capacity, int64_t past) const;

 private:
  struct Run {
    absl::flat_hash_map<std::string, int64_t> symbols;
    absl::flat_hash_map<const Value*, Tensor> values;
  };
  absl::StatusOr<Run*> RunAt(const ProbePoint& point);
  // From what shape inference knows of a small integer value; undefined when it does not.
  static Tensor ContentAt(const Value* value, const Run& run);
  absl::StatusOr<Tensor> EvaluateOne(const Value* value, const Run& run);

  const Graph& graph_;
  const DecoderPorts& ports_;
  const RewriteContext& context_;
  absl::flat_hash_set<const Value*> environment_, varying_;
  absl::flat_hash_map<const Value*, int> inputs_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, Run> runs_;  // by batch, rows, past
  size_t bytes_ = 0;
};

}  // namespace rondo

#endif  // RONDO_KVCACHE_PROBE_H_
