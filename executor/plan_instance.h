// PlanInstance: the mutable half of a plan in one session: the arena, one runtime value per slot, kernel states, and
// one ready-made RunContext per step, so that a run resolves nothing and allocates nothing.
#ifndef RONDO_EXECUTOR_PLAN_INSTANCE_H_
#define RONDO_EXECUTOR_PLAN_INSTANCE_H_

#include <memory>
#include <vector>

#include "executor/plan.h"
#include "executor/region.h"

namespace rondo {

class PlanInstance {
 public:
  static absl::StatusOr<std::unique_ptr<PlanInstance>> Create(std::shared_ptr<const Plan> plan);
  ~PlanInstance();

  const Plan* plan() const { return plan_.get(); }
  std::vector<int64_t> key;  // RegionExecutable's key for the inputs that it serves
  absl::Status Run(absl::Span<const RuntimeValue* const> inputs, absl::Span<RuntimeValue* const> outputs,
                   absl::Span<const bool> donated, const StepHook* hook);

 private:
  explicit PlanInstance(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}
  absl::Status Allocate();
  // The slot whose memory `slot` uses.
  int RootOf(int slot) const;
  void TakeDonations(absl::Span<const RuntimeValue* const> inputs, absl::Span<const bool> donated);
  void ReleaseDonations();
  absl::Status RenewOutputs();
  absl::Status RunRest(absl::Span<const RuntimeValue* const> inputs, absl::Span<RuntimeValue* const> outputs,
                       absl::Span<const bool> donated, const StepHook* hook);
  absl::Status RunStep(int index, const StepHook* hook);

  const std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const void> arena_;
  std::vector<RuntimeValue> slots_;
  std::vector<RunContext> contexts_;                  // per step
  std::vector<std::unique_ptr<KernelState>> states_;  // per step
  std::vector<int> output_roots_;                     // slots with kOutput storage
  std::vector<int> dependents_of_outputs_;            // slots that view them, in step order
  std::vector<int> per_run_;                          // slots that hold handles for one run only
  std::vector<bool> taken_;                           // per donation of the plan: it was made in this run
  RegionState rest_state_;
};

}  // namespace rondo

#endif  // RONDO_EXECUTOR_PLAN_INSTANCE_H_
