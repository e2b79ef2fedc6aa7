#include "executor/region.h"

#include <cstring>

#include "executor/plan_instance.h"
#include "ops/registry.h"

namespace rondo {
namespace {

// Late-bound nodes see new elements in every run at worst: keep few of their plans.
constexpr int64_t kMaxLateBoundPlans = 8;

void AppendBytes(const Tensor& tensor, std::vector<int64_t>* key) {
  const size_t bytes = tensor.bytes();
  const size_t start = key->size();
  key->resize(start + (bytes + sizeof(int64_t) - 1) / sizeof(int64_t), 0);
  if (tensor.dtype() != DataType::kString) std::memcpy(key->data() + start, tensor.raw(), bytes);
}

}  // namespace

RegionState::RegionState() = default;
RegionState::~RegionState() = default;

RegionExecutable::RegionExecutable(Region region, std::vector<Tensor> constants, const ProgramResources& resources,
                                   std::vector<bool> by_content)
    : region_(std::move(region)),
      constants_(std::move(constants)),
      by_content_(std::move(by_content)),
      resources_(resources) {}
RegionExecutable::~RegionExecutable() = default;

void RegionExecutable::MakeKey(absl::Span<const RuntimeValue* const> inputs, std::vector<int64_t>* key) const {
  key->clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr || !inputs[i]->is_tensor()) {
      key->push_back(inputs[i] == nullptr ? -1 : -2 - static_cast<int64_t>(inputs[i]->value.index()));
      continue;
    }
    const Tensor& tensor = inputs[i]->tensor();
    key->push_back(static_cast<int64_t>(tensor.dtype()));
    key->push_back(tensor.rank());
    key->insert(key->end(), tensor.dims().begin(), tensor.dims().end());
    if (i < by_content_.size() && by_content_[i]) AppendBytes(tensor, key);
  }
}

absl::StatusOr<std::shared_ptr<const Plan>> RegionExecutable::Bind(absl::Span<const Fact> inputs) {
  // The key of values of these types.
  std::vector<RuntimeValue> values(inputs.size());
  std::vector<const RuntimeValue*> pointers;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].type.has_known_shape()) {
      values[i] = Tensor::Borrow(inputs[i].type.dtype, inputs[i].type.shape->ToDims(), nullptr, nullptr);
    }
    pointers.push_back(&values[i]);
  }
  std::vector<int64_t> key;
  MakeKey(pointers, &key);
  return BindKey(key, inputs);
}

absl::StatusOr<std::shared_ptr<const Plan>> RegionExecutable::BindKey(const std::vector<int64_t>& key,
                                                                      absl::Span<const Fact> facts) {
  std::lock_guard lock(mutex_);
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if (it->key != key) continue;
    plans_.splice(plans_.begin(), plans_, it);
    return plans_.front().plan;
  }
  RONDO_ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, Plan::Build(region_, facts, resources_));
  plans_.push_front({key, plan});
  const int64_t bound = by_content_.empty() ? resources_.max_plans : kMaxLateBoundPlans;
  while (static_cast<int64_t>(plans_.size()) > bound) plans_.pop_back();
  return plan;
}

absl::Status RegionExecutable::Run(absl::Span<const RuntimeValue* const> inputs,
                                   absl::Span<RuntimeValue* const> outputs, RegionState* state,
                                   absl::Span<const bool> donated) {
  MakeKey(inputs, &state->key_);
  for (auto it = state->instances_.begin(); it != state->instances_.end(); ++it) {
    if ((*it)->key != state->key_) continue;
    if (it != state->instances_.begin()) state->instances_.splice(state->instances_.begin(), state->instances_, it);
    return state->instances_.front()->Run(inputs, outputs, donated, state->hook);
  }
  std::vector<Fact> facts(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    facts[i] = Fact::TypeOf(*inputs[i], region_.inputs[i]->type());
    if (i < constants_.size() && constants_[i].defined()) {
      facts[i].constant = constants_[i];
    } else if (i < by_content_.size() && by_content_[i] && inputs[i]->is_tensor()) {
      facts[i].constant = inputs[i]->tensor().Clone();
    }
  }
  RONDO_ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, BindKey(state->key_, facts));
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<PlanInstance> instance, PlanInstance::Create(std::move(plan)));
  instance->key = state->key_;
  state->instances_.push_front(std::move(instance));
  const int64_t bound = by_content_.empty() ? resources_.max_plans : kMaxLateBoundPlans;
  while (static_cast<int64_t>(state->instances_.size()) > bound) state->instances_.pop_back();
  return state->instances_.front()->Run(inputs, outputs, donated, state->hook);
}

std::vector<std::shared_ptr<const Plan>> RegionExecutable::plans() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Plan>> plans;
  for (const Bound& bound : plans_) plans.push_back(bound.plan);
  return plans;
}

namespace {

class RegionSubgraphRunner final : public SubgraphRunner {
 public:
  RegionSubgraphRunner(const Graph& graph, const ProgramResources& resources)
      : region_(RegionOf(graph), {}, resources) {}

  std::unique_ptr<KernelState> CreateState() const override { return std::make_unique<State>(); }

  absl::Status Run(absl::Span<const RuntimeValue> inputs, std::vector<RuntimeValue>* outputs, KernelState* state,
                   absl::Span<const bool> donated) const override {
    State& s = static_cast<State&>(*state);
    s.inputs.clear();
    for (const RuntimeValue& input : inputs) s.inputs.push_back(&input);
    outputs->resize(region_.region().outputs.size());
    s.outputs.clear();
    for (RuntimeValue& output : *outputs) s.outputs.push_back(&output);
    return region_.Run(s.inputs, s.outputs, &s.region, donated);
  }

 private:
  struct State final : KernelState {
    RegionState region;
    std::vector<const RuntimeValue*> inputs;
    std::vector<RuntimeValue*> outputs;
  };
  mutable RegionExecutable region_;  // thread-safe
};

}  // namespace

absl::StatusOr<std::unique_ptr<SubgraphRunner>> MakeSubgraphRunner(const Graph& graph,
                                                                   const ProgramResources& resources) {
  return std::make_unique<RegionSubgraphRunner>(graph, resources);
}

}  // namespace rondo
