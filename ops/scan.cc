// Scan: a loop over slices of its scan inputs.
//
//   for t in [0, T): v, o_t = body(v, x_t...)       x_t: the scan inputs' slices at t, without the axis
//
// Opset 9+: (v_initial..., x...) -> (v..., o...); attributes body, num_scan_inputs, scan_input_axes,
// scan_input_directions, scan_output_axes, scan_output_directions (axes default 0, directions default 0 = forward).
// Opset 8: (sequence_lens?, v_initial..., x...), where every value has a batch dim in front and T follows it; each
// batch row is a loop of its own over sequence_lens[b] slices, and what its scan outputs lack is zero; attribute
// directions.
//
// A slice on the outermost axis is a view of the scan input; other axes are gathered. Scan outputs are written to their
// place in the stacked output as they come.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

// The node's attributes and arity, in one form for both generations.
struct ScanSpec {
  bool batched = false;  // opset 8
  int first_state = 0;   // input index
  int states = 0;
  int scans = 0;
  int outputs = 0;  // scan outputs that the node has
  std::vector<int64_t> input_axes;
  std::vector<int64_t> output_axes;
  std::vector<bool> input_reversed;
  std::vector<bool> output_reversed;

  int first_scan() const { return first_state + states; }
};

absl::StatusOr<std::vector<bool>> ReadDirections(const AttributeReader& attributes, absl::string_view name, int count) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> values, attributes.Ints(name, std::vector<int64_t>(count, 0)));
  if (static_cast<int>(values.size()) != count) {
    return InvalidArgument("attribute \"", name, "\": expected ", count, " values, got ", values.size());
  }
  std::vector<bool> reversed;
  for (int64_t value : values) {
    if (value != 0 && value != 1) return InvalidArgument("attribute \"", name, "\": expected 0 or 1, got ", value);
    reversed.push_back(value == 1);
  }
  return reversed;
}

absl::StatusOr<std::vector<int64_t>> ReadAxes(const AttributeReader& attributes, absl::string_view name, int count) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> values, attributes.Ints(name, std::vector<int64_t>(count, 0)));
  if (static_cast<int>(values.size()) != count) {
    return InvalidArgument("attribute \"", name, "\": expected ", count, " values, got ", values.size());
  }
  return values;
}

absl::StatusOr<ScanSpec> ReadSpec(const Node& node, const AttributeReader& attributes) {
  ScanSpec spec;
  spec.batched = node.op().version < 9;
  spec.first_state = spec.batched ? 1 : 0;
  const int values = node.num_formal_inputs() - spec.first_state;
  RONDO_ASSIGN_OR_RETURN(int64_t scans, attributes.Int("num_scan_inputs"));
  if (scans < 1 || scans > values) {
    return InvalidArgument("attribute \"num_scan_inputs\": expected 1 to ", values, ", got ", scans);
  }
  spec.scans = static_cast<int>(scans);
  spec.states = values - spec.scans;
  RONDO_RETURN_IF_ERROR(ExpectSubgraph(node, "body", values));
  const int body_outputs = static_cast<int>(node.subgraph("body")->outputs().size());
  if (body_outputs < spec.states) {
    return InvalidArgument("subgraph \"body\": expected at least ", spec.states, " outputs, got ", body_outputs);
  }
  const int node_outputs = static_cast<int>(node.outputs().size());
  if (node_outputs > body_outputs) {
    return InvalidArgument("expected at most ", body_outputs, " outputs, got ", node_outputs);
  }
  const int body_scans = body_outputs - spec.states;
  spec.outputs = std::max(0, node_outputs - spec.states);
  spec.output_axes.assign(body_scans, 0);
  spec.output_reversed.assign(body_scans, false);
  if (spec.batched) {
    RONDO_ASSIGN_OR_RETURN(spec.input_reversed, ReadDirections(attributes, "directions", spec.scans));
    spec.input_axes.assign(spec.scans, 0);
    return spec;
  }
  RONDO_ASSIGN_OR_RETURN(spec.input_reversed, ReadDirections(attributes, "scan_input_directions", spec.scans));
  RONDO_ASSIGN_OR_RETURN(spec.output_reversed, ReadDirections(attributes, "scan_output_directions", body_scans));
  RONDO_ASSIGN_OR_RETURN(spec.input_axes, ReadAxes(attributes, "scan_input_axes", spec.scans));
  RONDO_ASSIGN_OR_RETURN(spec.output_axes, ReadAxes(attributes, "scan_output_axes", body_scans));
  return spec;
}

// The type that the body sees of a value with `drop` leading dims taken off.
absl::StatusOr<ValueType> DropLeading(const ValueType& type, int drop, absl::string_view what) {
  ValueType result = type;
  if (!result.shape.has_value()) return result;
  if (result.shape->rank() < drop) {
    return InvalidArgument(what, ": expected rank >= ", drop, ", got ", type.ToString());
  }
  result.shape->erase(result.shape->begin(), result.shape->begin() + drop);
  return result;
}

// Two extents that must be the same number; the more telling one.
absl::StatusOr<Dim> AgreedExtent(const Dim& a, const Dim& b, absl::string_view what) {
  if (a.known() && b.known() && a.value() != b.value()) {
    return InvalidArgument("scan inputs differ in their ", what, ": ", a.ToString(), " and ", b.ToString());
  }
  if (a.known() || b.unknown()) return a;
  return b;
}

absl::Status InferScan(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ScanSpec spec, ReadSpec(ctx.node(), ctx.attributes));
  std::vector<ValueType> inputs;
  Dim batch = Dim::Unknown();
  Dim turns = Dim::Unknown();
  for (int i = 0; i < spec.states + spec.scans; ++i) {
    const int index = spec.first_state + i;
    if (!ctx.has_input(index)) return InvalidArgument("input ", index, " is missing");
    const ValueType& type = ctx.input_type(index);
    if (!type.is_tensor() && (spec.batched || i >= spec.states)) {
      return InvalidArgument("input ", index, ": expected a tensor, got ", type.ToString());
    }
    const bool is_scan = i >= spec.states;
    if (!type.shape.has_value()) {
      inputs.push_back(type);
      continue;
    }
    if (spec.batched) {
      RONDO_ASSIGN_OR_RETURN(ValueType element, DropLeading(type, is_scan ? 2 : 1, absl::StrCat("input ", index)));
      RONDO_ASSIGN_OR_RETURN(batch, AgreedExtent(batch, (*type.shape)[0], "batch"));
      if (is_scan) {
        RONDO_ASSIGN_OR_RETURN(turns, AgreedExtent(turns, (*type.shape)[1], "length"));
      }
      inputs.push_back(std::move(element));
    } else if (is_scan) {
      RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(spec.input_axes[i - spec.states], type.shape->rank(),
                                                     "attribute \"scan_input_axes\""));
      RONDO_ASSIGN_OR_RETURN(turns, AgreedExtent(turns, (*type.shape)[axis], "length"));
      ValueType element = type;
      element.shape->erase(element.shape->begin() + axis);
      inputs.push_back(std::move(element));
    } else {
      inputs.push_back(type);
    }
  }
  for (ValueType& type : CaptureTypes(ctx)) inputs.push_back(std::move(type));
  RONDO_ASSIGN_OR_RETURN(
      std::vector<ValueType> types,
      InferRepeatedBody(ctx, "body", {.count = spec.states, .first_input = 0, .first_output = 0}, &inputs));
  for (int i = 0; i < spec.states && i < ctx.num_outputs(); ++i) {
    ValueType type = inputs[i];
    if (spec.batched && type.shape.has_value()) type.shape->insert(type.shape->begin(), batch);
    ctx.SetOutputType(i, std::move(type));
  }
  for (int i = 0; i < spec.outputs; ++i) {
    ValueType type = types[spec.states + i];
    if (!type.is_tensor()) return InvalidArgument("scan output ", i, ": expected a tensor, got ", type.ToString());
    if (type.shape.has_value()) {
      RONDO_ASSIGN_OR_RETURN(
          int axis, NormalizeAxis(spec.output_axes[i], type.shape->rank() + 1, "attribute \"scan_output_axes\""));
      type.shape->insert(type.shape->begin() + axis, turns);
      if (spec.batched) type.shape->insert(type.shape->begin(), batch);
    }
    ctx.SetOutputType(spec.states + i, std::move(type));
  }
  return absl::OkStatus();
}

struct ScanState final : KernelState {
  std::unique_ptr<KernelState> body;
  std::vector<RuntimeValue> inputs;
  std::vector<RuntimeValue> outputs;
  // One per node output that the kernel fills piece by piece; the output's own memory where it has some.
  std::vector<Tensor> stacks;
};

class ScanKernel final : public Kernel {
 public:
  ScanKernel(ScanSpec spec, std::vector<int> input_axes, std::unique_ptr<SubgraphRunner> body, OutputSlots slots)
      : spec_(std::move(spec)), input_axes_(std::move(input_axes)), body_(std::move(body)), slots_(std::move(slots)) {
    donated_.assign(spec_.states, true);
  }

  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<ScanState>();
    state->body = body_->CreateState();
    return state;
  }

  absl::Status Run(RunContext& ctx) const override {
    auto& state = static_cast<ScanState&>(*ctx.state());
    absl::Status status = Iterate(ctx, state);
    state.inputs.clear();
    state.outputs.clear();
    state.stacks.clear();
    return status;
  }

 private:
  const Tensor& scan_input(const RunContext& ctx, int i) const { return ctx.input(spec_.first_scan() + i); }

  absl::Status Iterate(RunContext& ctx, ScanState& state) const {
    const int axis_offset = spec_.batched ? 1 : 0;
    const int64_t batch = spec_.batched ? scan_input(ctx, 0).dim(0) : 1;
    const int64_t turns = scan_input(ctx, 0).dim(input_axes_[0] + axis_offset);
    for (int i = 1; i < spec_.scans; ++i) {
      const int64_t other = scan_input(ctx, i).dim(input_axes_[i] + axis_offset);
      if (other != turns) {
        return InvalidArgument("scan input ", i, " has ", other, " slices, scan input 0 has ", turns);
      }
    }
    state.stacks.assign(spec_.states + spec_.outputs, Tensor());
    for (int i = 0; i < spec_.states + spec_.outputs; ++i) {
      if (!ctx.has_output(i) || !slots_.has_memory(i) || (i < spec_.states && !spec_.batched)) continue;
      state.stacks[i] = ctx.output(i);
      if (spec_.batched && state.stacks[i].dtype() != DataType::kString) {
        // Rows may end early: the rest reads zero.
        std::fill_n(static_cast<char*>(state.stacks[i].mutable_raw()), state.stacks[i].bytes(), '\0');
      }
    }
    for (int64_t row = 0; row < batch; ++row) {
      int64_t length = turns;
      if (spec_.batched && ctx.has_input(0)) {
        RONDO_ASSIGN_OR_RETURN(length, RowLength(ctx, row, batch, turns));
      }
      RONDO_RETURN_IF_ERROR(RunRow(ctx, state, row, batch, length, turns));
    }
    return StoreStacks(ctx, state, batch, turns);
  }

  static absl::StatusOr<int64_t> RowLength(const RunContext& ctx, int64_t row, int64_t batch, int64_t turns) {
    const Tensor& lengths = ctx.input(0);
    if (lengths.dtype() != DataType::kInt64 || lengths.size() != batch) {
      return InvalidArgument("sequence_lens: expected int64[", batch, "], got ", DataTypeName(lengths.dtype()),
                             DimsToString(lengths.dims()));
    }
    const int64_t length = lengths.data<int64_t>()[row];
    if (length < 0 || length > turns) {
      return OutOfRange("sequence_lens[", row, "] = ", length, " is out of range [0, ", turns, "]");
    }
    return length;
  }

  absl::Status RunRow(const RunContext& ctx, ScanState& state, int64_t row, int64_t batch, int64_t length,
                      int64_t turns) const {
    state.inputs.assign(spec_.states + spec_.scans, RuntimeValue());
    for (int i = 0; i < spec_.states; ++i) {
      const RuntimeValue& initial = ctx.input_value(spec_.first_state + i);
      state.inputs[i] = spec_.batched ? RuntimeValue(Slice(initial.tensor(), 0, row)) : initial;
    }
    for (int i = spec_.first_scan() + spec_.scans; i < ctx.num_inputs(); ++i) {
      state.inputs.push_back(ctx.input_value(i));
    }
    for (int64_t turn = 0; turn < length; ++turn) {
      absl::Status status = Turn(ctx, state, row, batch, turn, length, turns);
      if (!status.ok()) return Annotate(status, absl::StrCat("turn ", turn, ": "));
    }
    for (int i = 0; i < spec_.states; ++i) {
      if (!spec_.batched) {
        RONDO_RETURN_IF_ERROR(slots_.Store(ctx, i, state.inputs[i]));
        continue;
      }
      if (!ctx.has_output(i)) continue;
      if (!state.inputs[i].is_tensor()) return InvalidArgument("carried value ", i, ": expected a tensor");
      absl::Status status = PlaceState(&state.stacks[i], state.inputs[i].tensor(), row, batch);
      if (!status.ok()) return Annotate(status, absl::StrCat("carried value ", i, ": "));
    }
    return absl::OkStatus();
  }

  absl::Status Turn(const RunContext& ctx, ScanState& state, int64_t row, int64_t batch, int64_t turn, int64_t length,
                    int64_t turns) const {
    for (int i = 0; i < spec_.scans; ++i) {
      const int64_t index = spec_.input_reversed[i] ? length - 1 - turn : turn;
      const Tensor& whole = scan_input(ctx, i);
      state.inputs[spec_.states + i] = Slice(spec_.batched ? Slice(whole, 0, row) : whole, input_axes_[i], index);
    }
    RONDO_RETURN_IF_ERROR(body_->Run(state.inputs, &state.outputs, state.body.get(), donated_));
    for (int i = 0; i < spec_.states; ++i) state.inputs[i] = std::move(state.outputs[i]);
    for (int i = 0; i < spec_.outputs; ++i) {
      const int output = spec_.states + i;
      if (!ctx.has_output(output)) continue;
      if (!state.outputs[output].is_tensor()) return InvalidArgument("scan output ", i, ": expected a tensor");
      const Tensor& element = state.outputs[output].tensor();
      RONDO_ASSIGN_OR_RETURN(int axis,
                             NormalizeAxis(spec_.output_axes[i], element.rank() + 1, "attribute \"scan_output_axes\""));
      const int64_t index = spec_.output_reversed[i] ? length - 1 - turn : turn;
      const Position at = {.axis = axis, .index = index, .turns = turns, .row = row, .batch = batch};
      absl::Status status = PlaceScan(&state.stacks[output], element, at);
      if (!status.ok()) return Annotate(status, absl::StrCat("scan output ", i, ": "));
    }
    // A scan output may be a carried value too, which the next turn could not write over while this handle lives.
    for (size_t i = spec_.states; i < state.outputs.size(); ++i) state.outputs[i] = RuntimeValue();
    return absl::OkStatus();
  }

  // whole[..., index, ...] without the axis: a view where the slice is one run of whole bytes.
  static Tensor Slice(const Tensor& whole, int axis, int64_t index) {
    const Dims dims = WithoutAxis(whole.dims(), axis);
    const int64_t outer = CountBetween(whole.dims(), 0, axis);
    const int64_t inner = CountBetween(whole.dims(), axis + 1, whole.rank());
    const int bits = BitWidth(whole.dtype());
    if (outer == 1 && bits >= 8) {
      const char* begin = static_cast<const char*>(whole.raw()) + index * inner * (bits / 8);
      Tensor view = Tensor::Borrow(whole.dtype(), dims, begin, whole.owner());
      view.set_transient(whole.transient());
      return view;
    }
    Tensor slice = Tensor::Make(whole.dtype(), dims);
    CopyBlocks(whole, &slice,
               {.blocks = outer,
                .block = inner,
                .from_offset = index * inner,
                .from_stride = whole.dim(axis) * inner,
                .to_offset = 0,
                .to_stride = inner});
    return slice;
  }

  // Allocates a stack that has no memory yet; otherwise checks that the element fits it.
  static absl::Status Ensure(Tensor* stack, const Tensor& element, absl::Span<const int64_t> dims) {
    if (!stack->defined()) {
      RONDO_ASSIGN_OR_RETURN(*stack, Tensor::Create(element.dtype(), dims));
    }
    if (stack->dtype() != element.dtype() || absl::MakeConstSpan(stack->dims()) != dims) {
      return InvalidArgument("the body gives ", DataTypeName(element.dtype()), DimsToString(element.dims()),
                             ", which makes ", DimsToString(dims), " in all, expected ", DataTypeName(stack->dtype()),
                             DimsToString(stack->dims()));
    }
    return absl::OkStatus();
  }

  // Row `row` of a final state in its [batch, ...] output.
  static absl::Status PlaceState(Tensor* stack, const Tensor& state, int64_t row, int64_t batch) {
    RONDO_RETURN_IF_ERROR(Ensure(stack, state, WithAxis(state.dims(), 0, batch)));
    CopyBlocks(state, stack,
               {.blocks = 1,
                .block = state.size(),
                .from_offset = 0,
                .from_stride = 0,
                .to_offset = row * state.size(),
                .to_stride = 0});
    return absl::OkStatus();
  }

  struct Position {
    int axis;
    int64_t index;
    int64_t turns;
    int64_t row;
    int64_t batch;
  };
  absl::Status PlaceScan(Tensor* stack, const Tensor& element, const Position& at) const {
    Dims dims = WithAxis(element.dims(), at.axis, at.turns);
    if (spec_.batched) dims.insert(dims.begin(), at.batch);
    RONDO_RETURN_IF_ERROR(Ensure(stack, element, dims));
    const int64_t inner = CountBetween(element.dims(), at.axis, element.rank());
    CopyBlocks(element, stack,
               {.blocks = CountBetween(element.dims(), 0, at.axis),
                .block = inner,
                .from_offset = 0,
                .from_stride = inner,
                .to_offset = at.row * at.turns * element.size() + at.index * inner,
                .to_stride = at.turns * inner});
    return absl::OkStatus();
  }

  absl::Status StoreStacks(const RunContext& ctx, ScanState& state, int64_t batch, int64_t turns) const {
    for (int i = spec_.batched ? 0 : spec_.states; i < spec_.states + spec_.outputs; ++i) {
      if (!ctx.has_output(i)) continue;
      Tensor& stack = state.stacks[i];
      if (!stack.defined()) {
        // No turn ran: the extents that only the body knows are taken as zero.
        Dims dims = slots_.EmptyDims(i);
        if (spec_.batched) dims[0] = batch;
        RONDO_ASSIGN_OR_RETURN(stack, Tensor::Create(slots_.dtype(i), dims));
      }
      RONDO_RETURN_IF_ERROR(slots_.Store(ctx, i, stack));
    }
    return absl::OkStatus();
  }

  ScanSpec spec_;
  absl::InlinedVector<bool, 32> donated_;  // the carried values
  std::vector<int> input_axes_;
  std::unique_ptr<SubgraphRunner> body_;
  OutputSlots slots_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareScan(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ScanSpec spec, ReadSpec(ctx.node(), ctx.attributes));
  std::vector<int> axes;
  for (int i = 0; i < spec.scans; ++i) {
    const int rank = static_cast<int>(ctx.input_dims(spec.first_scan() + i).size()) - (spec.batched ? 1 : 0);
    RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(spec.input_axes[i], rank, "attribute \"scan_input_axes\""));
    axes.push_back(axis);
  }
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<SubgraphRunner> body, ctx.PrepareSubgraph("body"));
  return std::make_unique<ScanKernel>(std::move(spec), std::move(axes), std::move(body), OutputSlots(ctx));
}

const OpDef kRows[] = {
    {.type = "Scan",
     .since = 8,
     .inputs = {0, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = InferScan,
     .prepare = PrepareScan},
    {.type = "Scan",
     .since = 9,
     .inputs = {1, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = InferScan,
     .prepare = PrepareScan},
};

}  // namespace

absl::Span<const OpDef> ScanFamily() { return kRows; }

}  // namespace rondo
