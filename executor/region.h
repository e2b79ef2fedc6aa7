// RegionExecutable: a region with the plans that it has been bound to, least recently used out first. Thread-safe.
// RegionState: what one session holds of it: plan instances with their arenas.
#ifndef RONDO_EXECUTOR_REGION_H_
#define RONDO_EXECUTOR_REGION_H_

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "executor/plan.h"

namespace rondo {

class PlanInstance;

// Told of every executed step; null: nobody listens.
using StepHook = std::function<void(const Plan& plan, const Step& step, int64_t begin_ns, int64_t end_ns)>;

class RegionState final : public KernelState {
 public:
  RegionState();
  ~RegionState() override;
  const StepHook* hook = nullptr;  // of the session; passed on to continuations and subgraphs

 private:
  friend class RegionExecutable;
  std::vector<int64_t> key_;                            // of the current call; kept to reuse its memory
  std::list<std::unique_ptr<PlanInstance>> instances_;  // most recent first
};

class RegionExecutable {
 public:
  // `constants`: per region input, its elements where they are the same in every run (undefined: not). `by_content`:
  // inputs whose elements, read in the run, become constants of the plan and part of its key.
  RegionExecutable(Region region, std::vector<Tensor> constants, const ProgramResources& resources,
                   std::vector<bool> by_content = {});
  ~RegionExecutable();

  // The plan for inputs of these types, made at need.
  absl::StatusOr<std::shared_ptr<const Plan>> Bind(absl::Span<const Fact> inputs);

  // What Run needs for inputs like these, plan and arena, ahead of it.
  absl::Status Prepare(absl::Span<const RuntimeValue* const> inputs, RegionState* state);

  // Runs on `inputs` (null: absent). Outputs get storage that nothing here writes to while the caller holds it, unless
  // the caller donates it: see SubgraphRunner::Run.
  absl::Status Run(absl::Span<const RuntimeValue* const> inputs, absl::Span<RuntimeValue* const> outputs,
                   RegionState* state, absl::Span<const bool> donated = {});

  const Region& region() const { return region_; }
  // Every plan bound so far that is still kept.
  std::vector<std::shared_ptr<const Plan>> plans() const;
  // The dims of the tensors that each of them is bound to, by the name of the input; most recently used first.
  std::vector<std::map<std::string, Dims>> bindings() const;
  // Forgets them; sessions keep those that they have run.
  void DropPlans();

 private:
  using Shapes = std::vector<std::pair<std::string, std::string>>;  // input, "float32[1, 64]"
  struct Bound {
    std::vector<int64_t> key;
    Shapes shapes;
    std::map<std::string, Dims> dims;
    std::string compiled_in;  // the outermost binding that needed it
    std::shared_ptr<const Plan> plan;
  };
  absl::StatusOr<PlanInstance*> InstanceFor(absl::Span<const RuntimeValue* const> inputs, RegionState* state);
  Shapes ShapesOf(absl::Span<const Fact> facts) const;
  std::map<std::string, Dims> DimsOf(absl::Span<const Fact> facts) const;
  static std::string ShapesText(const Shapes& shapes);
  CompileEvent MissOf(const Shapes& shapes) const;
  void MakeKey(absl::Span<const RuntimeValue* const> inputs, std::vector<int64_t>* key) const;
  absl::StatusOr<std::shared_ptr<const Plan>> BindKey(const std::vector<int64_t>& key, absl::Span<const Fact> facts);

  const Region region_;
  const std::vector<Tensor> constants_;
  const std::vector<bool> by_content_;
  const ProgramResources& resources_;
  mutable std::mutex mutex_;
  std::list<Bound> plans_;  // guarded by mutex_; most recent first
};

// `name`: for messages.
absl::StatusOr<std::unique_ptr<SubgraphRunner>> MakeSubgraphRunner(const Graph& graph, std::string name,
                                                                   const ProgramResources& resources);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_REGION_H_
