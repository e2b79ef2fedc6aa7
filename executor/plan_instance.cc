#include "executor/plan_instance.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdlib>

namespace rondo {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Page faults are dear on virtual machines: large arenas ask for huge pages.
absl::StatusOr<std::shared_ptr<const void>> AllocateArena(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t rounded = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) return ResourceExhausted("out of memory: an arena of ", rounded, " bytes");
  if (bytes >= kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);
  return std::shared_ptr<const void>(memory, [](const void* p) { std::free(const_cast<void*>(p)); });
}

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

PlanInstance::~PlanInstance() = default;

absl::StatusOr<std::unique_ptr<PlanInstance>> PlanInstance::Create(std::shared_ptr<const Plan> plan) {
  std::unique_ptr<PlanInstance> instance(new PlanInstance(std::move(plan)));
  RONDO_RETURN_IF_ERROR(instance->Allocate());
  return instance;
}

int PlanInstance::RootOf(int slot) const {
  while (plan_->slots[slot].base >= 0) slot = plan_->slots[slot].base;
  return slot;
}

absl::Status PlanInstance::Allocate() {
  RONDO_ASSIGN_OR_RETURN(arena_, AllocateArena(plan_->statistics.arena_bytes));
  const char* arena = static_cast<const char*>(arena_.get());
  const std::vector<Slot>& slots = plan_->slots;
  slots_.resize(slots.size());
  for (int i = 0; i < static_cast<int>(slots.size()); ++i) {
    const Slot& slot = slots[i];
    switch (slot.storage) {
      case Slot::Storage::kConstant:
        slots_[i] = slot.constant;
        break;
      case Slot::Storage::kArena: {
        if (slot.type.dtype == DataType::kString) {
          // Strings own memory: they live in a buffer of their own, not in raw arena bytes.
          RONDO_ASSIGN_OR_RETURN(Tensor strings, Tensor::Create(DataType::kString, slot.type.shape->ToDims()));
          strings.set_transient(true);
          slots_[i] = std::move(strings);
          break;
        }
        Tensor tensor = Tensor::Borrow(slot.type.dtype, slot.type.shape->ToDims(), arena + slot.offset, arena_);
        tensor.set_transient(true);
        slots_[i] = std::move(tensor);
        break;
      }
      case Slot::Storage::kOutput:
        output_roots_.push_back(i);
        break;
      case Slot::Storage::kView: {
        const int root = RootOf(i);
        if (slots[root].storage == Slot::Storage::kOutput) {
          dependents_of_outputs_.push_back(i);
        } else if (slots[root].storage == Slot::Storage::kArena || slots[root].storage == Slot::Storage::kConstant) {
          const Tensor& base = slots_[root].tensor();
          Tensor tensor = Tensor::Borrow(slot.type.dtype, slot.type.shape->ToDims(), base.raw(), base.owner());
          tensor.set_transient(base.transient());
          slots_[i] = std::move(tensor);
        } else {
          per_run_.push_back(i);  // set in the run, when its base is
        }
        break;
      }
      case Slot::Storage::kInput:
      case Slot::Storage::kDynamic:
        per_run_.push_back(i);
        break;
    }
  }
  taken_.resize(plan_->donations.size());
  contexts_.resize(plan_->steps.size());
  states_.resize(plan_->steps.size());
  for (size_t s = 0; s < plan_->steps.size(); ++s) {
    const Step& step = plan_->steps[s];
    if (step.kind == Step::Kind::kLateBound) states_[s] = std::make_unique<RegionState>();
    if (step.kind == Step::Kind::kKernel) states_[s] = step.kernel->CreateState();
    std::vector<const RuntimeValue*> inputs;
    std::vector<RuntimeValue*> outputs;
    std::vector<DataType> types;
    for (int slot : step.inputs) inputs.push_back(slot < 0 ? nullptr : &slots_[slot]);
    for (int slot : step.outputs) {
      outputs.push_back(slot < 0 ? nullptr : &slots_[slot]);
      types.push_back(slot < 0 ? DataType::kUndefined : slots[slot].type.dtype);
    }
    RunContextBuilder::Set(&contexts_[s], step.node, inputs, outputs, types,
                           const_cast<char*>(arena) + step.scratch_offset, states_[s].get());
  }
  return absl::OkStatus();
}

namespace {

// Memory that an output may take over: the caller's handle, which it gives up, is the only one.
bool IsDonated(absl::Span<const RuntimeValue* const> inputs, absl::Span<const bool> donated, int input) {
  if (input >= static_cast<int>(donated.size()) || !donated[input]) return false;
  if (inputs[input] == nullptr || !inputs[input]->is_tensor()) return false;
  const Tensor& tensor = inputs[input]->tensor();
  return !tensor.transient() && tensor.owner() != nullptr && tensor.owner().use_count() == 1;
}

}  // namespace

void PlanInstance::TakeDonations(absl::Span<const RuntimeValue* const> inputs, absl::Span<const bool> donated) {
  for (size_t d = 0; d < taken_.size(); ++d) {
    const Donation& donation = plan_->donations[d];
    taken_[d] = IsDonated(inputs, donated, donation.input);
    if (!taken_[d]) continue;
    const Slot& slot = plan_->slots[donation.output];
    const Tensor& tensor = inputs[donation.input]->tensor();
    slots_[donation.output] = Tensor::Borrow(slot.type.dtype, slot.type.shape->ToDims(), tensor.raw(), tensor.owner());
  }
}

// A caller that donates gets the outputs' only handles, so that it can donate them in turn.
void PlanInstance::ReleaseDonations() {
  for (const Donation& donation : plan_->donations) slots_[donation.output] = RuntimeValue();
  for (int i : dependents_of_outputs_) {
    if (!slots_[RootOf(i)].is_tensor()) slots_[i] = RuntimeValue();
  }
}

// Buffers that the caller still holds are left to it and replaced.
absl::Status PlanInstance::RenewOutputs() {
  bool renewed = false;
  for (size_t d = 0; d < taken_.size(); ++d) renewed |= taken_[d];
  for (int i : output_roots_) {
    const Slot& slot = plan_->slots[i];
    bool taken = false;
    for (size_t d = 0; d < taken_.size(); ++d) taken |= taken_[d] && plan_->donations[d].output == i;
    if (taken) continue;
    if (slots_[i].is_tensor()) {
      int64_t own = 1;
      for (int d : dependents_of_outputs_) {
        own += slots_[d].is_tensor() && slots_[d].tensor().owner() == slots_[i].tensor().owner();
      }
      if (slots_[i].tensor().owner().use_count() <= own) continue;
    }
    RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(slot.type.dtype, slot.type.shape->ToDims()));
    slots_[i] = std::move(tensor);
    renewed = true;
  }
  if (!renewed) return absl::OkStatus();
  for (int i : dependents_of_outputs_) {
    const Slot& slot = plan_->slots[i];
    const Tensor& base = slots_[slot.base].tensor();
    slots_[i] = Tensor::Borrow(slot.type.dtype, slot.type.shape->ToDims(), base.raw(), base.owner());
  }
  return absl::OkStatus();
}

absl::Status PlanInstance::RunStep(int index, const StepHook* hook) {
  const Step& step = plan_->steps[index];
  RunContext& context = contexts_[index];
  switch (step.kind) {
    case Step::Kind::kKernel:
      return step.kernel->Run(context);
    case Step::Kind::kView: {
      const RuntimeValue& base = slots_[step.inputs[0]];
      RuntimeValue& out = slots_[step.outputs[0]];
      if (!base.is_tensor()) {
        out = base;
      } else if (!out.is_tensor() || out.tensor().raw() != base.tensor().raw()) {
        out = base.tensor().Reshaped(plan_->slots[step.outputs[0]].type.shape->ToDims());
      }
      return absl::OkStatus();
    }
    case Step::Kind::kLateBound: {
      absl::InlinedVector<const RuntimeValue*, 8> inputs;
      absl::InlinedVector<RuntimeValue*, 4> outputs;
      for (int slot : step.inputs) inputs.push_back(slot < 0 ? nullptr : &slots_[slot]);
      for (int slot : step.outputs) {
        if (slot >= 0) outputs.push_back(&slots_[slot]);
      }
      auto* state = static_cast<RegionState*>(states_[index].get());
      state->hook = hook;
      return step.late->Run(inputs, absl::MakeSpan(outputs), state);
    }
  }
  return absl::OkStatus();
}

absl::Status PlanInstance::Run(absl::Span<const RuntimeValue* const> inputs, absl::Span<RuntimeValue* const> outputs,
                               absl::Span<const bool> donated, const StepHook* hook) {
  TakeDonations(inputs, donated);
  RONDO_RETURN_IF_ERROR(RenewOutputs());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int slot = plan_->input_slots[i];
    if (slot >= 0 && plan_->slots[slot].storage == Slot::Storage::kInput) slots_[slot] = *inputs[i];
  }
  // Overwritten in this run: who keeps such an input beyond its step makes a copy.
  for (size_t d = 0; d < taken_.size(); ++d) {
    if (taken_[d]) slots_[plan_->input_slots[plan_->donations[d].input]].tensor().set_transient(true);
  }
  for (int s = 0; s < static_cast<int>(plan_->steps.size()); ++s) {
    const int64_t begin = hook != nullptr ? NowNs() : 0;
    absl::Status status = RunStep(s, hook);
    if (!status.ok()) {
      const Step& step = plan_->steps[s];
      return step.kind == Step::Kind::kLateBound ? status : Annotate(status, absl::StrCat(step.node->Describe(), ": "));
    }
    if (hook != nullptr) (*hook)(*plan_, plan_->steps[s], begin, NowNs());
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (plan_->output_slots[i] >= 0) *outputs[i] = slots_[plan_->output_slots[i]].Kept();
  }
  if (plan_->rest.region != nullptr) RONDO_RETURN_IF_ERROR(RunRest(inputs, outputs, donated, hook));
  // Handles of the caller's values and of one run's dynamic values must not outlive the run.
  for (int i : per_run_) slots_[i] = RuntimeValue();
  if (!donated.empty()) ReleaseDonations();
  return absl::OkStatus();
}

absl::Status PlanInstance::RunRest(absl::Span<const RuntimeValue* const> inputs,
                                   absl::Span<RuntimeValue* const> outputs, absl::Span<const bool> donated,
                                   const StepHook* hook) {
  const Continuation& rest = plan_->rest;
  absl::InlinedVector<const RuntimeValue*, 16> rest_inputs;
  absl::InlinedVector<RuntimeValue*, 8> rest_outputs;
  absl::InlinedVector<bool, 16> rest_donated;
  for (size_t k = 0; k < rest.inputs.size(); ++k) {
    const int donor = rest.donors[k];
    const bool passed_on = donor >= 0 && donor < static_cast<int>(donated.size()) && donated[donor];
    rest_inputs.push_back(passed_on ? inputs[donor] : &slots_[rest.inputs[k]]);
    rest_donated.push_back(passed_on);
    if (!passed_on) continue;
    // The caller's handle is to be the only one again.
    for (int i : per_run_) {
      if (RootOf(i) == rest.inputs[k]) slots_[i] = RuntimeValue();
    }
  }
  for (int i : rest.outputs) rest_outputs.push_back(outputs[i]);
  rest_state_.hook = hook;
  return rest.region->Run(rest_inputs, absl::MakeSpan(rest_outputs), &rest_state_,
                          donated.empty() ? absl::Span<const bool>() : rest_donated);
}

}  // namespace rondo
