// If and Loop: nodes whose work is a subgraph. (Scan: ops/scan.cc. SequenceMap: ops/sequence.cc.)
//
// A subgraph is prepared once; its runner binds a plan for each set of shapes that it meets, so carried values may grow
// from turn to turn. Carried values move from the body's outputs to its next inputs, and the body may write over those
// that nobody else holds: a turn copies no tensor, and a cache that the body scatters rows into stays where it is.
#include <memory>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

// ---------------------------------------------------------------------------------------------------------------------
// If(cond): cond one bool; the outputs are those of subgraph then_branch or else_branch, which take captures only.
// Outputs whose dims both branches agree on have them; other dims are unknown until the branch has run.

absl::Status InferIf(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kBool}));
  for (absl::string_view branch : {"then_branch", "else_branch"}) {
    RONDO_RETURN_IF_ERROR(ExpectSubgraph(ctx.node(), branch, 0));
    const size_t outputs = ctx.node().subgraph(branch)->outputs().size();
    if (static_cast<int>(outputs) < ctx.num_outputs()) {
      return InvalidArgument("subgraph \"", branch, "\": expected ", ctx.num_outputs(), " outputs, got ", outputs);
    }
  }
  const std::vector<ValueType> captures = CaptureTypes(ctx);
  const Tensor condition = ctx.constant(0);
  if (condition.defined()) {
    RONDO_ASSIGN_OR_RETURN(bool taken, ScalarBool(condition, "condition"));
    RONDO_ASSIGN_OR_RETURN(std::vector<ValueType> types,
                           ctx.InferSubgraph(taken ? "then_branch" : "else_branch", captures));
    for (int i = 0; i < ctx.num_outputs(); ++i) ctx.SetOutputType(i, types[i]);
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<ValueType> then_types, ctx.InferSubgraph("then_branch", captures));
  RONDO_ASSIGN_OR_RETURN(std::vector<ValueType> else_types, ctx.InferSubgraph("else_branch", captures));
  for (int i = 0; i < ctx.num_outputs(); ++i) {
    absl::StatusOr<ValueType> merged = MergeTypes(then_types[i], else_types[i]);
    if (!merged.ok()) {
      return InvalidArgument("output ", i, ": then_branch gives ", then_types[i].ToString(), ", else_branch ",
                             else_types[i].ToString());
    }
    ctx.SetOutputType(i, *std::move(merged));
  }
  return absl::OkStatus();
}

struct IfState final : KernelState {
  std::unique_ptr<KernelState> branches[2];
  std::vector<RuntimeValue> inputs;
  std::vector<RuntimeValue> outputs;
};

class IfKernel final : public Kernel {
 public:
  // A branch that a constant condition rules out is null.
  IfKernel(std::unique_ptr<SubgraphRunner> else_branch, std::unique_ptr<SubgraphRunner> then_branch, OutputSlots slots)
      : branches_{std::move(else_branch), std::move(then_branch)}, slots_(std::move(slots)) {}

  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<IfState>();
    for (int i : {0, 1}) {
      if (branches_[i] != nullptr) state->branches[i] = branches_[i]->CreateState();
    }
    return state;
  }

  absl::Status Run(RunContext& ctx) const override {
    auto& state = static_cast<IfState&>(*ctx.state());
    RONDO_ASSIGN_OR_RETURN(bool taken, ScalarBool(ctx.input(0), "condition"));
    const SubgraphRunner* branch = branches_[taken].get();
    if (branch == nullptr) return Internal("the condition differs from the constant that was planned for");
    for (int i = 1; i < ctx.num_inputs(); ++i) state.inputs.push_back(ctx.input_value(i));
    absl::Status status = branch->Run(state.inputs, &state.outputs, state.branches[taken].get(), {});
    for (size_t i = 0; status.ok() && i < state.outputs.size(); ++i) {
      status = slots_.Store(ctx, static_cast<int>(i), state.outputs[i]);
    }
    state.inputs.clear();
    state.outputs.clear();
    return status;
  }

 private:
  std::unique_ptr<SubgraphRunner> branches_[2];  // else, then
  OutputSlots slots_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareIf(PrepareContext& ctx) {
  std::unique_ptr<SubgraphRunner> branches[2];
  const Tensor condition = ctx.constant(0);
  for (bool branch : {false, true}) {
    if (condition.defined() && (*condition.data<uint8_t>() != 0) != branch) continue;
    RONDO_ASSIGN_OR_RETURN(branches[branch], ctx.PrepareSubgraph(branch ? "then_branch" : "else_branch"));
  }
  return std::make_unique<IfKernel>(std::move(branches[0]), std::move(branches[1]), OutputSlots(ctx));
}

// ---------------------------------------------------------------------------------------------------------------------
// Loop(M?, cond?, v_initial...): M one int64, cond one bool. body(iteration, cond, v...) -> (cond, v..., scan...).
//   for (i = 0; i < M && cond; ++i) cond, v, s_i = body(i, cond, v)
// Outputs: the last v..., then each scan output stacked on a new axis 0. Absent M: no bound; absent cond: true.

// True when the condition that goes into the body (true) comes out of it unchanged.
bool BodyKeepsCondition(const Graph& body) {
  const Value* value = body.outputs()[0];
  while (value->producer() != nullptr && value->producer()->Is("Identity")) value = value->producer()->input(0);
  if (value->is_constant()) {
    const Tensor& constant = value->constant();
    return constant.dtype() == DataType::kBool && constant.size() == 1 && *constant.data<uint8_t>() != 0;
  }
  return value == body.inputs()[1];
}

// The number of turns where only M decides it.
Dim TripCount(const InferContext& ctx) {
  if (!ctx.has_input(0) || !BodyKeepsCondition(*ctx.node().subgraph("body"))) return Dim::Unknown();
  if (ctx.has_input(1)) {
    const Tensor condition = ctx.constant(1);
    if (!condition.defined() || condition.dtype() != DataType::kBool || condition.size() != 1) return Dim::Unknown();
    if (*condition.data<uint8_t>() == 0) return 0;
  }
  const std::optional<std::vector<Dim>> content = ctx.content(0);
  if (!content.has_value() || content->size() != 1) return Dim::Unknown();
  const Dim& count = (*content)[0];
  if (count.known()) return std::max<int64_t>(0, count.value());
  return count.IsSymbol() || count.unknown() ? count : Dim::Max(count, 0);
}

absl::Status InferLoop(InferContext& ctx) {
  const int carried = ctx.num_inputs() - 2;
  if (carried < 0) return InvalidArgument("expected 2 or more inputs, got ", ctx.num_inputs());
  RONDO_RETURN_IF_ERROR(ExpectSubgraph(ctx.node(), "body", carried + 2));
  const Graph& body = *ctx.node().subgraph("body");
  if (static_cast<int>(body.outputs().size()) < 1 + carried) {
    return InvalidArgument("subgraph \"body\": expected at least ", 1 + carried, " outputs, got ",
                           body.outputs().size());
  }
  if (ctx.num_outputs() > static_cast<int>(body.outputs().size()) - 1) {
    return InvalidArgument("expected at most ", body.outputs().size() - 1, " outputs, got ", ctx.num_outputs());
  }
  if (ctx.has_input(0)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kInt64, DataType::kInt32}));
  if (ctx.has_input(1)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kBool}));

  std::vector<ValueType> inputs = {ValueType::Tensor(DataType::kInt64, Shape()),
                                   ValueType::Tensor(DataType::kBool, Shape())};
  for (int i = 0; i < carried; ++i) {
    if (!ctx.has_input(2 + i)) return InvalidArgument("carried value ", i, " has no initial value");
    inputs.push_back(ctx.input_type(2 + i));
  }
  for (ValueType& type : CaptureTypes(ctx)) inputs.push_back(std::move(type));
  RONDO_ASSIGN_OR_RETURN(
      std::vector<ValueType> types,
      InferRepeatedBody(ctx, "body", {.count = carried, .first_input = 2, .first_output = 1}, &inputs));
  for (int i = 0; i < carried && i < ctx.num_outputs(); ++i) {
    // A body that turns an optional into what it holds: so is the output.
    const ValueType& merged = inputs[2 + i];
    const bool unwrapped = merged.kind == ValueType::Kind::kOptional && types[1 + i].kind != merged.kind;
    ctx.SetOutputType(i, unwrapped ? WithoutShape(types[1 + i]) : merged);
  }
  const Dim turns = TripCount(ctx);
  for (int i = carried; i < ctx.num_outputs(); ++i) {
    ValueType type = types[1 + i];
    if (!type.is_tensor())
      return InvalidArgument("scan output ", i - carried, ": expected a tensor, got ", type.ToString());
    if (type.shape.has_value()) type.shape->insert(type.shape->begin(), turns);
    ctx.SetOutputType(i, std::move(type));
  }
  return absl::OkStatus();
}

// Tensors of equal shape that are stacked on a new axis 0 as they come. Writes into the memory that the output has
// when its shape was known, and otherwise into storage that doubles.
class StackedOutput {
 public:
  void Start(Tensor memory, uint64_t max_bytes) {
    storage_ = std::move(memory);
    max_bytes_ = max_bytes;
    fixed_ = storage_.defined();
    count_ = 0;
    if (fixed_) element_ = WithoutAxis(storage_.dims(), 0);
  }

  absl::Status Append(const RuntimeValue& value, int64_t expected_count) {
    if (!value.is_tensor()) return InvalidArgument("expected a tensor");
    const Tensor& tensor = value.tensor();
    if (count_ == 0 && !fixed_) {
      element_ = tensor.dims();
      constexpr int64_t kFirst = 16;
      RONDO_ASSIGN_OR_RETURN(
          storage_,
          Tensor::Create(tensor.dtype(), WithAxis(element_, 0, std::clamp<int64_t>(expected_count, 1, kFirst))));
    }
    if (tensor.dims() != element_ || tensor.dtype() != storage_.dtype()) {
      return InvalidArgument("turn ", count_, " gives ", DataTypeName(tensor.dtype()), DimsToString(tensor.dims()),
                             ", expected ", DataTypeName(storage_.dtype()), DimsToString(element_));
    }
    if (count_ == storage_.dim(0)) {
      if (fixed_) return Internal("more turns than planned: ", storage_.dim(0));
      RONDO_ASSIGN_OR_RETURN(Tensor larger, Allocate(storage_.dtype(), 2 * count_));
      CopyFlat(storage_, &larger, 0, storage_.size());
      storage_ = std::move(larger);
    }
    CopyFlat(tensor, &storage_, count_ * tensor.size(), tensor.size());
    ++count_;
    return absl::OkStatus();
  }

  int64_t count() const { return count_; }

  // The stack; undefined when nothing came.
  Tensor Finish() {
    Tensor storage = std::exchange(storage_, Tensor());
    if (count_ == 0 || storage.dim(0) == count_) return storage;
    return Tensor::Borrow(storage.dtype(), WithAxis(element_, 0, count_), storage.raw(), storage.owner());
  }

 private:
  absl::StatusOr<Tensor> Allocate(DataType dtype, int64_t count) const {
    const Dims dims = WithAxis(element_, 0, count);
    RONDO_ASSIGN_OR_RETURN(size_t bytes, CheckedByteSize(dtype, dims));
    if (bytes > max_bytes_) {
      return ResourceExhausted("stacking ", count, " turns needs ", bytes, " bytes, the limit is ", max_bytes_);
    }
    return Tensor::Create(dtype, dims);
  }

  static void CopyFlat(const Tensor& from, Tensor* to, int64_t to_offset, int64_t count) {
    CopyBlocks(
        from, to,
        {.blocks = 1, .block = count, .from_offset = 0, .from_stride = 0, .to_offset = to_offset, .to_stride = 0});
  }

  Tensor storage_;
  Dims element_;
  bool fixed_ = false;
  int64_t count_ = 0;
  uint64_t max_bytes_ = 0;
};

struct LoopState final : KernelState {
  std::unique_ptr<KernelState> body;
  std::vector<RuntimeValue> inputs;
  std::vector<RuntimeValue> outputs;
  std::vector<StackedOutput> stacks;
};

class LoopKernel final : public Kernel {
 public:
  struct Limits {
    int64_t turns;
    uint64_t bytes;  // of one scan output
  };
  LoopKernel(std::unique_ptr<SubgraphRunner> body, int carried, int scans, OutputSlots slots, Limits limits)
      : body_(std::move(body)), carried_(carried), scans_(scans), slots_(std::move(slots)), limits_(limits) {
    donated_.assign(2 + carried, true);
    donated_[0] = donated_[1] = false;
  }

  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<LoopState>();
    state->body = body_->CreateState();
    state->stacks.resize(scans_);
    return state;
  }

  absl::Status Run(RunContext& ctx) const override {
    auto& state = static_cast<LoopState&>(*ctx.state());
    absl::Status status = Iterate(ctx, state);
    // What the turns left behind is released now, not when the next run begins.
    state.inputs.clear();
    state.outputs.clear();
    for (StackedOutput& stack : state.stacks) stack.Start(Tensor(), 0);
    return status;
  }

 private:
  absl::Status Iterate(RunContext& ctx, LoopState& state) const {
    int64_t trips = limits_.turns;
    bool bounded = false;
    if (ctx.has_input(0)) {
      RONDO_ASSIGN_OR_RETURN(int64_t count, ScalarInt(ctx.input(0), "trip count"));
      bounded = count <= limits_.turns;
      trips = std::min(count, limits_.turns);
    }
    bool go_on = true;
    if (ctx.has_input(1)) {
      RONDO_ASSIGN_OR_RETURN(go_on, ScalarBool(ctx.input(1), "condition"));
    }
    state.inputs.clear();
    state.inputs.emplace_back();  // iteration
    state.inputs.emplace_back();  // condition
    for (int i = 2; i < ctx.num_inputs(); ++i) state.inputs.push_back(ctx.input_value(i));
    for (int i = 0; i < scans_; ++i) {
      const int output = carried_ + i;
      const bool write_through = ctx.has_output(output) && slots_.has_memory(output);
      state.stacks[i].Start(write_through ? ctx.output(output) : Tensor(), limits_.bytes);
    }

    int64_t turn = 0;
    for (; go_on && turn < trips; ++turn) {
      absl::Status status = Turn(state, turn, trips, &go_on);
      if (!status.ok()) return Annotate(status, absl::StrCat("turn ", turn, ": "));
    }
    if (go_on && turn == trips && !bounded) {
      return ResourceExhausted("Loop \"", ctx.node().name(), "\" ran ", turn, " iterations, the limit is ",
                               limits_.turns);
    }
    for (int i = 0; i < carried_; ++i) {
      RONDO_RETURN_IF_ERROR(slots_.Store(ctx, i, state.inputs[2 + i]));
    }
    for (int i = 0; i < scans_; ++i) {
      const int output = carried_ + i;
      if (!ctx.has_output(output)) continue;
      const int64_t count = state.stacks[i].count();
      Tensor stacked = state.stacks[i].Finish();
      if (count == 0 && !slots_.has_memory(output)) {
        Dims dims = slots_.EmptyDims(output);
        dims[0] = 0;
        RONDO_ASSIGN_OR_RETURN(stacked, Tensor::Create(slots_.dtype(output), dims));
      }
      RONDO_RETURN_IF_ERROR(slots_.Store(ctx, output, stacked));
    }
    return absl::OkStatus();
  }

  absl::Status Turn(LoopState& state, int64_t turn, int64_t trips, bool* go_on) const {
    // Fresh scalars: the body may hand its inputs on as values that live longer than the turn.
    Tensor iteration = Tensor::Make(DataType::kInt64, {});
    *iteration.mutable_data<int64_t>() = turn;
    Tensor condition = Tensor::Make(DataType::kBool, {});
    *condition.mutable_data<uint8_t>() = 1;
    state.inputs[0] = std::move(iteration);
    state.inputs[1] = std::move(condition);
    RONDO_RETURN_IF_ERROR(body_->Run(state.inputs, &state.outputs, state.body.get(), donated_));
    if (!state.outputs[0].is_tensor()) return InvalidArgument("condition: expected one bool");
    RONDO_ASSIGN_OR_RETURN(*go_on, ScalarBool(state.outputs[0].tensor(), "condition"));
    for (int i = 0; i < carried_; ++i) state.inputs[2 + i] = std::move(state.outputs[1 + i]);
    for (int i = 0; i < scans_; ++i) {
      RuntimeValue& output = state.outputs[1 + carried_ + i];
      absl::Status status = state.stacks[i].Append(output, trips);
      if (!status.ok()) return Annotate(status, absl::StrCat("scan output ", i, ": "));
      output = RuntimeValue();  // it may be a carried value too, which the next turn then may not write over
    }
    return absl::OkStatus();
  }

  std::unique_ptr<SubgraphRunner> body_;
  int carried_;
  int scans_;                              // only those that the node has outputs for
  absl::InlinedVector<bool, 32> donated_;  // the carried values
  OutputSlots slots_;
  Limits limits_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareLoop(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<SubgraphRunner> body, ctx.PrepareSubgraph("body"));
  const int carried = ctx.num_inputs() - 2;
  return std::make_unique<LoopKernel>(std::move(body), carried, std::max(0, ctx.num_outputs() - carried),
                                      OutputSlots(ctx),
                                      LoopKernel::Limits{ctx.max_loop_iterations(), ctx.max_tensor_bytes()});
}

// The versions differ in the element types and kinds of values that they admit, not in meaning.
const OpDef kRows[] = {
    {.type = "If", .outputs = {1, Arity::kMany}, .infer = InferIf, .prepare = PrepareIf},
    {.type = "Loop",
     .inputs = {0, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = InferLoop,
     .prepare = PrepareLoop},
};

}  // namespace

absl::Span<const OpDef> ControlFlowFamily() { return kRows; }

}  // namespace rondo
