#include "executor/region.h"

#include <cstring>

#include "absl/strings/str_join.h"
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

// Messages show so many inputs, and so many elements of a tensor that is part of the key.
constexpr size_t kMaxShownInputs = 4;
constexpr int64_t kMaxShownElements = 8;

std::string FactText(const Fact& fact, bool with_content) {
  std::string text = fact.type.ToString();
  if (!with_content || !fact.constant.defined() || fact.constant.dtype() != DataType::kInt64) return text;
  const int64_t shown = std::min(fact.constant.size(), kMaxShownElements);
  const int64_t* elements = fact.constant.data<int64_t>();
  return absl::StrCat(text, " = (", absl::StrJoin(elements, elements + shown, ", "),
                      shown < fact.constant.size() ? ", ...)" : ")");
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

RegionExecutable::Shapes RegionExecutable::ShapesOf(absl::Span<const Fact> facts) const {
  Shapes shapes;
  for (size_t i = 0; i < facts.size(); ++i) {
    if (region_.inputs[i] == nullptr) continue;
    const bool with_content = i < by_content_.size() && by_content_[i];
    shapes.emplace_back(region_.inputs[i]->name(), FactText(facts[i], with_content));
  }
  return shapes;
}

std::map<std::string, Dims> RegionExecutable::DimsOf(absl::Span<const Fact> facts) const {
  std::map<std::string, Dims> dims;
  for (size_t i = 0; i < facts.size(); ++i) {
    if (region_.inputs[i] == nullptr || !facts[i].type.has_known_shape()) continue;
    dims[region_.inputs[i]->name()] = facts[i].type.shape->ToDims();
  }
  return dims;
}

std::string RegionExecutable::ShapesText(const Shapes& shapes) {
  std::string text = absl::StrJoin(absl::MakeSpan(shapes).subspan(0, std::min(shapes.size(), kMaxShownInputs)), ", ",
                                   absl::PairFormatter(" "));
  if (shapes.size() > kMaxShownInputs) absl::StrAppend(&text, " and ", shapes.size() - kMaxShownInputs, " more");
  return text;
}

CompileEvent RegionExecutable::MissOf(const Shapes& shapes) const {
  CompileEvent event;
  event.kind = CompileEvent::Kind::kPlan;
  event.node = region_.name;
  event.operation = "plan";
  event.thread = CurrentThreadNumber();
  const Bound* nearest = nullptr;
  size_t fewest = shapes.size() + 1;
  for (const Bound& bound : plans_) {
    size_t differing = 0;
    for (size_t i = 0; i < shapes.size(); ++i) differing += bound.shapes[i] != shapes[i];
    if (differing >= fewest) continue;
    fewest = differing;
    nearest = &bound;
  }
  if (nearest == nullptr) return event;
  event.nearest = nearest->compiled_in;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const std::string& was = nearest->shapes[i].second;
    if (was != shapes[i].second) event.changes.push_back({shapes[i].first, was, shapes[i].second});
  }
  return event;
}

absl::StatusOr<std::shared_ptr<const Plan>> RegionExecutable::BindKey(const std::vector<int64_t>& key,
                                                                      absl::Span<const Fact> facts) {
  std::lock_guard lock(mutex_);
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if (it->key != key) continue;
    plans_.splice(plans_.begin(), plans_, it);
    resources_.primitives->log().CountPlanHit();
    return plans_.front().plan;
  }
  Shapes shapes = ShapesOf(facts);
  CompileEvent event = MissOf(shapes);
  const std::string binding = ShapesText(shapes);
  CompileScope scope;
  scope.Binding(binding);
  event.compiled_in = std::string(CompileScope::Current().binding);
  event.begin_ns = SteadyNowNs();
  absl::StatusOr<std::shared_ptr<const Plan>> plan = Plan::Build(region_, facts, resources_);
  event.end_ns = SteadyNowNs();
  // A sealed plan is built all the same: which primitive is missing says more than the shape alone.
  event.refused = CompileScope::Current().sealed || !plan.ok();
  if (CompileScope::Current().sealed) {
    if (plan.ok()) {
      plan = SealedMiss(event);
    } else if (plan.status().code() == absl::StatusCode::kFailedPrecondition) {
      plan = Annotate(plan.status(), absl::StrCat(binding, ": "));
    }
  }
  if (plan.ok()) {
    event.bytes = static_cast<int64_t>((*plan)->statistics.arena_bytes);
    plans_.push_front({key, std::move(shapes), DimsOf(facts), event.compiled_in, *plan});
  }
  resources_.primitives->log().Add(std::move(event));
  if (!plan.ok()) return plan.status();
  const int64_t bound = by_content_.empty() ? resources_.max_plans : kMaxLateBoundPlans;
  while (static_cast<int64_t>(plans_.size()) > bound) plans_.pop_back();
  return plan;
}

absl::Status RegionExecutable::Run(absl::Span<const RuntimeValue* const> inputs,
                                   absl::Span<RuntimeValue* const> outputs, RegionState* state,
                                   absl::Span<const bool> donated) {
  RONDO_ASSIGN_OR_RETURN(PlanInstance * instance, InstanceFor(inputs, state));
  return instance->Run(inputs, outputs, donated, state->hook);
}

absl::Status RegionExecutable::Prepare(absl::Span<const RuntimeValue* const> inputs, RegionState* state) {
  return InstanceFor(inputs, state).status();
}

absl::StatusOr<PlanInstance*> RegionExecutable::InstanceFor(absl::Span<const RuntimeValue* const> inputs,
                                                            RegionState* state) {
  MakeKey(inputs, &state->key_);
  for (auto it = state->instances_.begin(); it != state->instances_.end(); ++it) {
    if ((*it)->key != state->key_) continue;
    if (it != state->instances_.begin()) state->instances_.splice(state->instances_.begin(), state->instances_, it);
    resources_.primitives->log().CountPlanHit();
    return state->instances_.front().get();
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
  return state->instances_.front().get();
}

std::vector<std::shared_ptr<const Plan>> RegionExecutable::plans() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Plan>> plans;
  for (const Bound& bound : plans_) plans.push_back(bound.plan);
  return plans;
}

std::vector<std::map<std::string, Dims>> RegionExecutable::bindings() const {
  std::lock_guard lock(mutex_);
  std::vector<std::map<std::string, Dims>> bindings;
  for (const Bound& bound : plans_) bindings.push_back(bound.dims);
  return bindings;
}

void RegionExecutable::DropPlans() {
  std::lock_guard lock(mutex_);
  plans_.clear();
}

namespace {

class RegionSubgraphRunner final : public SubgraphRunner {
 public:
  RegionSubgraphRunner(Region region, const ProgramResources& resources) : region_(std::move(region), {}, resources) {}

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

absl::StatusOr<std::unique_ptr<SubgraphRunner>> MakeSubgraphRunner(const Graph& graph, std::string name,
                                                                   const ProgramResources& resources) {
  Region region = RegionOf(graph);
  region.name = std::move(name);
  return std::make_unique<RegionSubgraphRunner>(std::move(region), resources);
}

}  // namespace rondo
