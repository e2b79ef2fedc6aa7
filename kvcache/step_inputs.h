// What a decoder is fed in one step besides tokens and state: masks, positions, lengths.
#ifndef RONDO_KVCACHE_STEP_INPUTS_H_
#define RONDO_KVCACHE_STEP_INPUTS_H_

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "kvcache/ports.h"

namespace rondo {

// `batch` sequences with `past` rows each get `rows` more; nothing is masked but what comes later.
struct StepShape {
  int64_t batch, rows, past;
};

// For any role but tokens, state and other. Dims that count keys are as long as a fixed cache, or past + rows. Errors:
// types that no exporter uses for the role.
absl::StatusOr<Tensor> MakeStepInput(const Value& input, PortRole role, const StepShape& shape);

}  // namespace rondo

#endif  // RONDO_KVCACHE_STEP_INPUTS_H_
