// Plan: one region of a graph compiled for one binding of shapes. Everything is decided here: which nodes run, by which
// kernels, where every value lives. Const after Build; any number of PlanInstances, on any threads, run one plan.
//
// A region is a list of nodes with inputs and outputs. The root region is the whole graph. Nodes that need a shape
// nobody knows before the run (what follows NonZero, say) are not in the plan: they form its continuation, a region of
// its own that is bound in the run, when the shapes are there. Nodes that need *elements* nobody knows (a Reshape to a
// computed shape) are late-bound: a region of one node, bound in the run with those elements as constants.
#ifndef RONDO_EXECUTOR_PLAN_H_
#define RONDO_EXECUTOR_PLAN_H_

#include <memory>
#include <string>
#include <vector>

#include "executor/fact.h"
#include "executor/prepare.h"
#include "graph/graph.h"
#include "ops/op.h"

namespace rondo {

class RegionExecutable;

struct Region {
  std::string name = "graph";      // for messages
  std::vector<const Node*> nodes;  // topological order
  std::vector<const Value*> inputs;
  std::vector<const Value*> outputs;
};
Region RegionOf(const Graph& graph);

struct Slot {
  enum class Storage {
    kInput,     // the caller's value
    kConstant,  // known at Build
    kArena,     // at `offset` in the instance's arena
    kOutput,    // a buffer of its own, handed to the caller
    kView,      // the bytes of slot `base` under other dims
    kDynamic,   // allocated by the step that writes it
  };
  const Value* value = nullptr;
  Storage storage = Storage::kDynamic;
  ValueType type;
  Tensor constant;
  size_t offset = 0;
  int base = -1;  // kView, and in-place results: the slot whose memory this one uses
};

struct Step {
  enum class Kind { kKernel, kView, kLateBound };
  Kind kind = Kind::kKernel;
  const Node* node = nullptr;
  std::unique_ptr<Kernel> kernel;          // kKernel
  std::unique_ptr<RegionExecutable> late;  // kLateBound
  std::vector<int> inputs;                 // slots, -1 = absent
  std::vector<int> outputs;
  std::string implementation;
  size_t scratch_bytes = 0;
  size_t scratch_offset = 0;
  int64_t output_bytes = 0;
};

struct Continuation {
  std::unique_ptr<RegionExecutable> region;
  std::vector<int> inputs;   // slots of this plan, one per region input
  std::vector<int> donors;   // per such input: the outer region's input that it is and nothing else keeps, or -1
  std::vector<int> outputs;  // positions among the outer region's outputs that it computes
};

// The buffer of an output may be that of an input, where a step that may work in place is the input's last use: if the
// caller donates the input, it is; otherwise the output has a buffer of its own.
struct Donation {
  int output;  // slot, kOutput
  int input;   // position among the region's inputs
};

struct PlanStatistics {
  int64_t steps = 0;
  int64_t folded_nodes = 0;
  size_t arena_bytes = 0;
  size_t value_bytes = 0;  // of all values that are placed in the arena
};

struct Plan {
  ~Plan();
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<int> input_slots;   // per region input; -1 when nothing reads it
  std::vector<int> output_slots;  // per region output; -1 when the continuation computes it
  std::vector<Donation> donations;
  Continuation rest;  // rest.region is null when the plan covers the region
  PlanStatistics statistics;

  // False when running it may bind further plans: of what follows data, of late-bound nodes, of subgraphs.
  bool complete() const;

  // `inputs` has a concrete type for every tensor of the region's inputs, and constants where elements are known.
  static absl::StatusOr<std::shared_ptr<const Plan>> Build(const Region& region, absl::Span<const Fact> inputs,
                                                           const ProgramResources& resources);
};

}  // namespace rondo

#endif  // RONDO_EXECUTOR_PLAN_H_
