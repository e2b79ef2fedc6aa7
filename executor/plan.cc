#include "executor/plan.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "executor/memory_planner.h"
#include "executor/region.h"
#include "ops/registry.h"

namespace rondo {
namespace {

// Results of nodes whose inputs are all constant are kept up to this size; larger ones are computed in each run, so
// that a binding's memory stays in proportion to the model's.
constexpr size_t kMaxFoldedBytes = size_t{1} << 20;

class PlanBuilder {
 public:
  PlanBuilder(const Region& region, absl::Span<const Fact> inputs, const ProgramResources& resources)
      : region_(region), resources_(resources), plan_(std::make_shared<Plan>()) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      // A late-bound node may list one value twice, once with its elements known.
      Fact& fact = facts_[region.inputs[i]];
      if (!fact.constant.defined()) fact = inputs[i];
    }
  }

  absl::StatusOr<std::shared_ptr<const Plan>> Build() {
    RONDO_RETURN_IF_ERROR(InferAndFold());
    // From here on it is known which nodes are bound now and which are left to the continuation.
    MakeContinuation();
    DropUnusedSteps();
    MakeSlots();
    // From here on slots and steps are final; what is open is memory.
    RONDO_RETURN_IF_ERROR(PrepareSteps());
    PlaceInMemory();
    return std::shared_ptr<const Plan>(std::move(plan_));
  }

 private:
  struct Bound {  // a node that becomes a step
    const Node* node;
    const OpDef* def;
    bool late;
  };

  const Fact* FactOf(const Value* value) {
    auto it = facts_.find(value);
    if (it != facts_.end()) return &it->second;
    if (!value->is_constant()) return nullptr;
    return &facts_.emplace(value, Fact::Of(value->constant())).first->second;
  }

  std::vector<const Fact*> FactsOfInputs(const Node& node) {
    // Two rounds: the first may grow the table, which moves its entries.
    for (const Value* input : node.inputs()) {
      if (input != nullptr) FactOf(input);
    }
    std::vector<const Fact*> facts;
    for (const Value* input : node.inputs()) facts.push_back(input == nullptr ? nullptr : FactOf(input));
    return facts;
  }

  absl::Status InferAndFold() {
    for (const Node* node : region_.nodes) {
      std::vector<const Fact*> inputs = FactsOfInputs(*node);
      bool waits = false;
      for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
        waits |= node->inputs()[i] != nullptr && (inputs[i] == nullptr || inputs[i]->waits());
      }
      if (waits) {
        pending_.push_back(node);
        continue;
      }
      const OpDef* def = OpRegistry::Get().Find(node->op());
      if (def == nullptr) return Unimplemented(node->Describe(), ": not supported");
      RONDO_ASSIGN_OR_RETURN(std::vector<Fact> outputs, InferFacts(*node, inputs, resources_));
      RONDO_RETURN_IF_ERROR(Bind(*node, *def, inputs, &outputs));
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (node->outputs()[i] != nullptr) facts_[node->outputs()[i]] = std::move(outputs[i]);
      }
    }
    return absl::OkStatus();
  }

  // Decides what becomes of one node: its outputs are constants, or it is a step.
  absl::Status Bind(const Node& node, const OpDef& def, absl::Span<const Fact* const> inputs,
                    std::vector<Fact>* outputs) {
    bool all_constant = true, all_known = true;
    size_t output_bytes = 0;
    for (size_t i = 0; i < outputs->size(); ++i) {
      if (node.outputs()[i] == nullptr) continue;
      const Fact& fact = (*outputs)[i];
      all_constant &= fact.constant.defined();
      all_known &= fact.type.has_known_shape();
      if (fact.type.has_known_shape()) {
        output_bytes += ByteSize(fact.type.dtype, fact.type.shape->ElementCount().value());
      }
    }
    if (all_constant) {
      ++plan_->statistics.folded_nodes;
      return absl::OkStatus();
    }
    if (def.view && all_known && inputs[0]->constant.defined()) {
      (*outputs)[0] = Fact::Of(inputs[0]->constant.Reshaped((*outputs)[0].type.shape->ToDims()));
      ++plan_->statistics.folded_nodes;
      return absl::OkStatus();
    }
    bool inputs_constant = node.subgraphs().empty();
    bool late = false;
    for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
      if (inputs[i] == nullptr) continue;
      const bool constant = inputs[i]->constant.defined();
      inputs_constant &= constant;
      late |= !constant && inputs[i]->type.is_tensor() && i < 32 && (def.content_inputs & InputBit(i)) != 0;
    }
    if (inputs_constant && def.deterministic && all_known && output_bytes <= kMaxFoldedBytes) {
      absl::StatusOr<std::vector<Tensor>> folded = EvaluateNode(node, inputs, *outputs, resources_);
      if (folded.ok()) {
        for (size_t i = 0; i < outputs->size(); ++i) {
          if (node.outputs()[i] != nullptr) (*outputs)[i] = Fact::Of((*folded)[i]);
        }
        ++plan_->statistics.folded_nodes;
        return absl::OkStatus();
      }
      if (folded.status().code() != absl::StatusCode::kUnimplemented) return folded.status();
    }
    for (Fact& fact : *outputs) {
      fact.constant = Tensor();  // some outputs are computed: the step writes them all
    }
    bound_.push_back({&node, &def, late});
    return absl::OkStatus();
  }

  void MakeContinuation() {
    if (pending_.empty()) return;
    absl::flat_hash_set<const Value*> made;
    Region rest;
    rest.name = absl::StrCat("what follows from ", pending_.front()->name());
    rest.nodes = pending_;
    for (const Node* node : pending_) {
      for (const Value* output : node->outputs()) {
        if (output != nullptr) made.insert(output);
      }
    }
    absl::flat_hash_set<const Value*> seen;
    for (const Node* node : pending_) {
      for (const Value* input : node->inputs()) {
        if (input == nullptr || input->is_constant() || made.contains(input) || !seen.insert(input).second) continue;
        rest.inputs.push_back(input);
      }
    }
    for (int i = 0; i < static_cast<int>(region_.outputs.size()); ++i) {
      if (!made.contains(region_.outputs[i])) continue;
      rest.outputs.push_back(region_.outputs[i]);
      plan_->rest.outputs.push_back(i);
    }
    rest_inputs_ = rest.inputs;
    // Folded values stay constants in the continuation.
    std::vector<Tensor> constants;
    for (const Value* input : rest.inputs) constants.push_back(facts_.at(input).constant);
    plan_->rest.region = std::make_unique<RegionExecutable>(std::move(rest), std::move(constants), resources_);
  }

  void DropUnusedSteps() {
    absl::flat_hash_set<const Value*> needed(region_.outputs.begin(), region_.outputs.end());
    needed.insert(rest_inputs_.begin(), rest_inputs_.end());
    std::vector<Bound> kept;
    for (auto it = bound_.rbegin(); it != bound_.rend(); ++it) {
      bool used = false;
      for (const Value* output : it->node->outputs()) used |= output != nullptr && needed.contains(output);
      if (!used) continue;
      for (const Value* input : it->node->inputs()) {
        if (input != nullptr) needed.insert(input);
      }
      kept.push_back(*it);
    }
    std::reverse(kept.begin(), kept.end());
    bound_ = std::move(kept);
  }

  int SlotFor(const Value* value, Slot::Storage storage) {
    auto [it, inserted] = slot_of_.emplace(value, static_cast<int>(plan_->slots.size()));
    if (!inserted) return it->second;
    const Fact& fact = *FactOf(value);
    Slot slot;
    slot.value = value;
    slot.type = fact.type;
    slot.storage = storage;
    if (fact.constant.defined()) {
      slot.storage = Slot::Storage::kConstant;
      slot.constant = fact.constant;
    }
    plan_->slots.push_back(std::move(slot));
    return it->second;
  }

  void MakeSlots() {
    absl::flat_hash_set<const Value*> read(region_.outputs.begin(), region_.outputs.end());
    read.insert(rest_inputs_.begin(), rest_inputs_.end());
    for (const Bound& bound : bound_) {
      for (const Value* input : bound.node->inputs()) {
        if (input != nullptr) read.insert(input);
      }
    }
    for (const Value* input : region_.inputs) {
      plan_->input_slots.push_back(read.contains(input) ? SlotFor(input, Slot::Storage::kInput) : -1);
    }
    for (const Bound& bound : bound_) {
      Step step;
      step.node = bound.node;
      step.kind = bound.late ? Step::Kind::kLateBound : bound.def->view ? Step::Kind::kView : Step::Kind::kKernel;
      for (const Value* input : bound.node->inputs()) {
        step.inputs.push_back(input == nullptr ? -1 : SlotFor(input, Slot::Storage::kConstant));
      }
      bool any_elements = false;
      for (const Value* output : bound.node->outputs()) {
        if (output == nullptr) {
          step.outputs.push_back(-1);
          continue;
        }
        const ValueType& type = FactOf(output)->type;
        const bool placed = !bound.late && type.has_known_shape();
        any_elements |= !placed || type.shape->ElementCount().value() > 0;
        const int slot = SlotFor(output, placed ? Slot::Storage::kArena : Slot::Storage::kDynamic);
        if (placed) step.output_bytes += ByteSize(type.dtype, type.shape->ElementCount().value());
        if (step.kind == Step::Kind::kView) {
          // A sequence or optional passes through Identity as a handle.
          plan_->slots[slot].storage = Slot::Storage::kView;
          plan_->slots[slot].base = step.inputs[0];
        }
        step.outputs.push_back(slot);
      }
      // A view costs nothing, and one of the caller's input is set by its step alone.
      if (any_elements || step.kind == Step::Kind::kView) {
        plan_->steps.push_back(std::move(step));
        def_of_step_.push_back(bound.def);
      }
    }
    for (const Value* output : region_.outputs) {
      const Fact* fact = FactOf(output);
      plan_->output_slots.push_back(fact == nullptr ? -1 : SlotFor(output, Slot::Storage::kConstant));
    }
    for (const Value* input : rest_inputs_) plan_->rest.inputs.push_back(SlotFor(input, Slot::Storage::kConstant));
    plan_->statistics.steps = static_cast<int64_t>(plan_->steps.size());
  }

  absl::Status PrepareSteps() {
    for (Step& step : plan_->steps) {
      if (step.kind == Step::Kind::kView) {
        step.implementation = "view";
        continue;
      }
      std::vector<const Fact*> inputs = FactsOfInputs(*step.node);
      if (step.kind == Step::Kind::kLateBound) {
        Region region;
        region.name = step.node->name();
        region.nodes = {step.node};
        std::vector<Tensor> constants;
        const OpDef* def = OpRegistry::Get().Find(step.node->op());
        std::vector<bool> by_content;
        for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
          const Value* input = step.node->inputs()[i];
          // A node may read one value twice; the region's inputs follow the node's positions all the same.
          region.inputs.push_back(input);
          constants.push_back(inputs[i] == nullptr ? Tensor() : inputs[i]->constant);
          by_content.push_back(input != nullptr && i < 32 && (def->content_inputs & InputBit(i)) != 0);
        }
        for (const Value* output : step.node->outputs()) {
          if (output != nullptr) region.outputs.push_back(output);
        }
        step.late = std::make_unique<RegionExecutable>(std::move(region), std::move(constants), resources_,
                                                       std::move(by_content));
        step.implementation = "late-bound";
        continue;
      }
      std::vector<Fact> outputs;
      for (const Value* output : step.node->outputs()) outputs.push_back(output == nullptr ? Fact() : *FactOf(output));
      RONDO_ASSIGN_OR_RETURN(PreparedKernel prepared, PrepareNode(*step.node, inputs, outputs, resources_));
      step.kernel = std::move(prepared.kernel);
      step.scratch_bytes = prepared.scratch_bytes;
      step.implementation = step.kernel->Implementation();
    }
    return absl::OkStatus();
  }

  // The slot whose memory `slot` uses in the end.
  int Root(int slot) const {
    while (plan_->slots[slot].base >= 0) slot = plan_->slots[slot].base;
    return slot;
  }

  bool IsPlaced(int slot) const { return plan_->slots[slot].storage == Slot::Storage::kArena; }

  void PlaceInMemory() {
    std::vector<Slot>& slots = plan_->slots;
    const int num_steps = static_cast<int>(plan_->steps.size());
    std::vector<int> last_use(slots.size(), -1);  // per root
    auto note_uses = [&] {
      std::fill(last_use.begin(), last_use.end(), -1);
      for (int s = 0; s < num_steps; ++s) {
        for (int slot : plan_->steps[s].inputs) {
          if (slot >= 0) last_use[Root(slot)] = s;
        }
        for (int slot : plan_->steps[s].outputs) {
          if (slot >= 0) last_use[Root(slot)] = std::max(last_use[Root(slot)], s);
        }
      }
      for (int slot : plan_->output_slots) {
        if (slot >= 0) last_use[Root(slot)] = num_steps;
      }
      for (int slot : plan_->rest.inputs) last_use[Root(slot)] = num_steps;
    };
    note_uses();
    // In place: the output takes over an input's memory where nobody reads that memory afterwards.
    for (int s = 0; s < num_steps; ++s) {
      Step& step = plan_->steps[s];
      const uint32_t candidates = def_of_step_[s]->in_place;
      if (step.kind != Step::Kind::kKernel || candidates == 0 || step.outputs[0] < 0 || !IsPlaced(step.outputs[0])) {
        continue;
      }
      Slot& out = slots[step.outputs[0]];
      int donor = -1;  // a root that is the caller's
      for (int i = 0; i < std::min<int>(32, static_cast<int>(step.inputs.size())); ++i) {
        if ((candidates & InputBit(i)) == 0 || step.inputs[i] < 0) continue;
        const int root = Root(step.inputs[i]);
        const Slot& in = slots[step.inputs[i]];
        bool read_otherwise = false;  // the same memory as another operand, under whatever dims
        for (int j = 0; j < static_cast<int>(step.inputs.size()); ++j) {
          read_otherwise |= j != i && step.inputs[j] >= 0 && Root(step.inputs[j]) == root &&
                            ((candidates & InputBit(j)) == 0 || slots[step.inputs[j]].type.shape != in.type.shape);
        }
        const bool of_caller = slots[root].storage == Slot::Storage::kInput && in.type.has_known_shape() &&
                               in.type.dtype != DataType::kString;
        if ((!IsPlaced(root) && !of_caller) || last_use[root] != s || read_otherwise || Bytes(in) != Bytes(out) ||
            BitWidth(in.type.dtype) != BitWidth(out.type.dtype)) {
          continue;
        }
        if (of_caller) {
          donor = donor < 0 ? root : donor;
          continue;
        }
        out.base = root;
        out.storage = Slot::Storage::kView;
        last_use[root] = std::max(last_use[root], last_use[step.outputs[0]]);
        break;
      }
      if (donor >= 0 && IsPlaced(step.outputs[0])) plan_->donations.push_back({step.outputs[0], InputOf(donor)});
    }
    note_uses();
    // What the caller gets lives in buffers of its own; so does what the continuation may hand on to the caller.
    for (int slot : plan_->output_slots) {
      if (slot >= 0 && IsPlaced(Root(slot))) slots[Root(slot)].storage = Slot::Storage::kOutput;
    }
    for (int slot : plan_->rest.inputs) {
      if (IsPlaced(Root(slot))) slots[Root(slot)].storage = Slot::Storage::kOutput;
    }
    FindDonors();
    std::vector<BufferRequest> requests;
    std::vector<int> request_slot;
    std::vector<int> first_write(slots.size(), -1);
    for (int s = num_steps - 1; s >= 0; --s) {
      for (int slot : plan_->steps[s].outputs) {
        if (slot >= 0) first_write[Root(slot)] = s;
      }
    }
    for (int i = 0; i < static_cast<int>(slots.size()); ++i) {
      if (!IsPlaced(i) || first_write[i] < 0) continue;
      requests.push_back({Bytes(slots[i]), first_write[i], last_use[i]});
      request_slot.push_back(i);
      plan_->statistics.value_bytes += Bytes(slots[i]);
    }
    const size_t values = requests.size();
    for (int s = 0; s < num_steps; ++s) requests.push_back({plan_->steps[s].scratch_bytes, s, s});
    const ArenaLayout layout = PlanArena(requests);
    for (size_t r = 0; r < values; ++r) slots[request_slot[r]].offset = layout.offsets[r];
    for (int s = 0; s < num_steps; ++s) plan_->steps[s].scratch_offset = layout.offsets[values + s];
    plan_->statistics.arena_bytes = layout.bytes;
  }

  // The region's input behind a slot of storage kInput.
  int InputOf(int slot) const {
    return static_cast<int>(std::find(plan_->input_slots.begin(), plan_->input_slots.end(), slot) -
                            plan_->input_slots.begin());
  }

  // Only what goes to the caller may live in the caller's memory; what only the continuation reads is its to donate.
  void FindDonors() {
    std::vector<Donation>& donations = plan_->donations;
    donations.erase(
        std::remove_if(donations.begin(), donations.end(),
                       [&](const Donation& d) { return plan_->slots[d.output].storage != Slot::Storage::kOutput; }),
        donations.end());
    std::vector<int> readers(plan_->slots.size(), 0);
    for (int slot : plan_->output_slots) {
      if (slot >= 0) ++readers[Root(slot)];
    }
    for (int slot : plan_->rest.inputs) ++readers[Root(slot)];
    for (int slot : plan_->rest.inputs) {
      const bool only = plan_->slots[slot].storage == Slot::Storage::kInput && readers[slot] == 1;
      plan_->rest.donors.push_back(only ? InputOf(slot) : -1);
    }
  }

  static size_t Bytes(const Slot& slot) { return ByteSize(slot.type.dtype, slot.type.shape->ElementCount().value()); }

  const Region& region_;
  const ProgramResources& resources_;
  std::shared_ptr<Plan> plan_;
  absl::flat_hash_map<const Value*, Fact> facts_;
  std::vector<Bound> bound_;
  std::vector<const Node*> pending_;
  std::vector<const Value*> rest_inputs_;
  absl::flat_hash_map<const Value*, int> slot_of_;
  std::vector<const OpDef*> def_of_step_;
};

}  // namespace

Plan::~Plan() = default;

bool Plan::complete() const {
  return rest.region == nullptr && std::all_of(steps.begin(), steps.end(), [](const Step& step) {
           return step.kind != Step::Kind::kLateBound && step.node->subgraphs().empty();
         });
}

Region RegionOf(const Graph& graph) {
  Region region;
  for (const auto& node : graph.nodes()) region.nodes.push_back(node.get());
  region.inputs.assign(graph.inputs().begin(), graph.inputs().end());
  region.outputs.assign(graph.outputs().begin(), graph.outputs().end());
  return region;
}

absl::StatusOr<std::shared_ptr<const Plan>> Plan::Build(const Region& region, absl::Span<const Fact> inputs,
                                                        const ProgramResources& resources) {
  return PlanBuilder(region, inputs, resources).Build();
}

}  // namespace rondo
