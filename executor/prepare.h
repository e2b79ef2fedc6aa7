// Prepares and evaluates single nodes: the meeting point of facts and operators.
#ifndef RONDO_EXECUTOR_PREPARE_H_
#define RONDO_EXECUTOR_PREPARE_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "executor/fact.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "ops/primitive_cache.h"

namespace rondo {

// What all regions of one program share. Outlives them.
struct ProgramResources {
  int threads = 1;
  bool plain = false;
  int64_t max_plans = 32;
  uint64_t max_tensor_bytes = uint64_t{1} << 36;
  int64_t max_loop_iterations = 10'000'000;
  PrimitiveCache* primitives = nullptr;
  WeightCache* weights = nullptr;
  PackedWeightStore* store = nullptr;  // null: nothing outlives the process
};

struct PreparedKernel {
  std::unique_ptr<Kernel> kernel;
  size_t scratch_bytes = 0;
};

// Infers a node from facts. A fact's `constant` also stands for its content. Outputs whose content Infer could tell in
// full get it as their constant.
absl::StatusOr<std::vector<Fact>> InferFacts(const Node& node, absl::Span<const Fact* const> inputs,
                                             const ProgramResources& resources);

absl::StatusOr<PreparedKernel> PrepareNode(const Node& node, absl::Span<const Fact* const> inputs,
                                           absl::Span<const Fact> outputs, const ProgramResources& resources);

// Runs a node without subgraphs on constant inputs (null: absent). Unimplemented for operators that must not be folded.
absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, absl::Span<const Fact* const> inputs,
                                                 absl::Span<const Fact> outputs, const ProgramResources& resources);
// As above for bare tensors (undefined: absent): infers first. For rewrites and tests.
absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, absl::Span<const Tensor> inputs,
                                                 const ProgramResources& resources);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_PREPARE_H_
