// Sequences and optionals: SequenceConstruct, SequenceEmpty, SequenceInsert, SequenceErase, SequenceAt, SequenceLength,
// SplitToSequence, ConcatFromSequence, SequenceMap; Optional, OptionalGetElement, OptionalHasElement.
//
// A sequence is a shared, immutable vector of values that own their storage; inserting or erasing copies the vector of
// handles, never the elements. An optional is its content, or an empty value. Static types keep no shapes for elements:
// they may differ, and what a caller feeds is not held to the declared ones. So SequenceAt and OptionalGetElement give
// tensors of unknown shape, and what follows is planned when they are there.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "ops/families.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

absl::StatusOr<std::unique_ptr<Kernel>> MakeSlotKernel(PrepareContext& ctx,
                                                       absl::Status (*run)(RunContext&, const OutputSlots&)) {
  return MakeKernel([slots = OutputSlots(ctx), run](RunContext& run_context) { return run(run_context, slots); });
}

absl::StatusOr<ValueType> SequenceElement(const InferContext& ctx, int i) {
  const ValueType& type = ctx.input_type(i);
  if (type.kind == ValueType::Kind::kUnknown) return ValueType();
  if (type.kind != ValueType::Kind::kSequence || type.element == nullptr) {
    return InvalidArgument("input ", i, ": expected a sequence, got ", type.ToString());
  }
  return WithoutShape(*type.element);
}

absl::Status ExpectTensor(const InferContext& ctx, int i) {
  const ValueType& type = ctx.input_type(i);
  if (type.is_tensor() || type.kind == ValueType::Kind::kUnknown) return absl::OkStatus();
  return InvalidArgument("input ", i, ": expected a tensor, got ", type.ToString());
}

// The sequence that flows into input i; InvalidArgument for an empty optional.
absl::StatusOr<const TensorSequence*> SequenceAtInput(const RunContext& ctx, int i) {
  if (!ctx.input_value(i).is_sequence()) return InvalidArgument("input ", i, ": expected a sequence");
  return &ctx.input_value(i).sequence();
}

// A position input: [-count, limit) -> [0, limit).
absl::StatusOr<int64_t> ReadPosition(const RunContext& ctx, int i, int64_t count, int64_t limit) {
  RONDO_ASSIGN_OR_RETURN(int64_t position, ScalarInt(ctx.input(i), "position"));
  if (position < -count || position >= limit) {
    return OutOfRange("position ", position, " is out of range [", -count, ", ", limit - 1, "] of a sequence of ",
                      count);
  }
  return position < 0 ? position + count : position;
}

// ---------------------------------------------------------------------------------------------------------------------
// SequenceConstruct(tensor...): a sequence of them, all of one element type.

absl::Status InferSequenceConstruct(InferContext& ctx) {
  ValueType element;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is missing");
    RONDO_RETURN_IF_ERROR(ExpectTensor(ctx, i));
    RONDO_ASSIGN_OR_RETURN(element, MergeTypes(element, WithoutShape(ctx.input_type(i))));
  }
  ctx.SetOutputType(0, ValueType::Sequence(std::move(element)));
  return absl::OkStatus();
}

absl::Status RunSequenceConstruct(RunContext& ctx, const OutputSlots& slots) {
  TensorSequence sequence;
  sequence.reserve(ctx.num_inputs());
  for (int i = 0; i < ctx.num_inputs(); ++i) sequence.push_back(ctx.input_value(i).Kept());
  return slots.Store(ctx, 0, RuntimeValue(std::move(sequence)));
}

// SequenceEmpty(): an empty sequence; attribute dtype of its future elements, default float32.

absl::Status InferSequenceEmpty(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t number, ctx.attributes.Int("dtype", static_cast<int64_t>(DataType::kFloat)));
  if (number < 0 || number > kNumDataTypes || !IsKnownDataType(static_cast<int32_t>(number))) {
    return InvalidArgument("attribute \"dtype\": expected an element type, got ", number);
  }
  ctx.SetOutputType(0, ValueType::Sequence(ValueType::Tensor(static_cast<DataType>(number), std::nullopt)));
  return absl::OkStatus();
}

absl::Status RunSequenceEmpty(RunContext& ctx, const OutputSlots& slots) {
  return slots.Store(ctx, 0, RuntimeValue(TensorSequence()));
}

// SequenceInsert(sequence of n, tensor, position?): before `position` in [-n, n]; default at the end.

absl::Status InferSequenceInsert(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ValueType element, SequenceElement(ctx, 0));
  RONDO_RETURN_IF_ERROR(ExpectTensor(ctx, 1));
  RONDO_ASSIGN_OR_RETURN(element, MergeTypes(element, WithoutShape(ctx.input_type(1))));
  ctx.SetOutputType(0, ValueType::Sequence(std::move(element)));
  return absl::OkStatus();
}

absl::Status RunSequenceInsert(RunContext& ctx, const OutputSlots& slots) {
  RONDO_ASSIGN_OR_RETURN(const TensorSequence* input, SequenceAtInput(ctx, 0));
  const int64_t count = static_cast<int64_t>(input->size());
  int64_t position = count;
  if (ctx.has_input(2)) {
    RONDO_ASSIGN_OR_RETURN(position, ReadPosition(ctx, 2, count, count + 1));
  }
  TensorSequence sequence;
  sequence.reserve(count + 1);
  sequence.insert(sequence.end(), input->begin(), input->begin() + position);
  sequence.push_back(ctx.input_value(1).Kept());
  sequence.insert(sequence.end(), input->begin() + position, input->end());
  return slots.Store(ctx, 0, RuntimeValue(std::move(sequence)));
}

// SequenceErase(sequence of n, position?): without the element at `position` in [-n, n); default the last.

absl::Status InferSequenceErase(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ValueType element, SequenceElement(ctx, 0));
  ctx.SetOutputType(0, ValueType::Sequence(std::move(element)));
  return absl::OkStatus();
}

absl::Status RunSequenceErase(RunContext& ctx, const OutputSlots& slots) {
  RONDO_ASSIGN_OR_RETURN(const TensorSequence* input, SequenceAtInput(ctx, 0));
  const int64_t count = static_cast<int64_t>(input->size());
  int64_t position = count - 1;
  if (ctx.has_input(1)) {
    RONDO_ASSIGN_OR_RETURN(position, ReadPosition(ctx, 1, count, count));
  } else if (count == 0) {
    return OutOfRange("nothing to erase: the sequence is empty");
  }
  TensorSequence sequence = *input;
  sequence.erase(sequence.begin() + position);
  return slots.Store(ctx, 0, RuntimeValue(std::move(sequence)));
}

// SequenceAt(sequence of n, position in [-n, n)): that element.

absl::Status InferSequenceAt(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ValueType element, SequenceElement(ctx, 0));
  ctx.SetOutputType(0, std::move(element));
  return absl::OkStatus();
}

absl::Status RunSequenceAt(RunContext& ctx, const OutputSlots& slots) {
  RONDO_ASSIGN_OR_RETURN(const TensorSequence* input, SequenceAtInput(ctx, 0));
  const int64_t count = static_cast<int64_t>(input->size());
  RONDO_ASSIGN_OR_RETURN(int64_t position, ReadPosition(ctx, 1, count, count));
  return slots.Store(ctx, 0, (*input)[position]);
}

// SequenceLength(sequence): int64 scalar.

absl::Status InferSequenceLength(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(SequenceElement(ctx, 0).status());
  ctx.SetOutput(0, DataType::kInt64, {});
  return absl::OkStatus();
}

absl::Status RunSequenceLength(RunContext& ctx, const OutputSlots& slots) {
  RONDO_ASSIGN_OR_RETURN(const TensorSequence* input, SequenceAtInput(ctx, 0));
  *ctx.out<int64_t>(0) = static_cast<int64_t>(input->size());
  return absl::OkStatus();
}

// ---------------------------------------------------------------------------------------------------------------------
// SplitToSequence(input, split?): pieces of `input` along `axis` (default 0). split scalar: pieces of that length, the
// last one may be shorter; split 1-D: their lengths, which sum to the extent; none: pieces of length 1, whose axis is
// dropped unless `keepdims` (default 1).

absl::Status InferSplitToSequence(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectTensor(ctx, 0));
  if (ctx.has_input(1)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt32, DataType::kInt64}));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 0, 1));
  }
  RONDO_RETURN_IF_ERROR(ctx.attributes.Int("axis", 0).status());
  ctx.SetOutputType(0, ValueType::Sequence(ValueType::Tensor(ctx.dtype(0), std::nullopt)));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> PieceLengths(const Tensor& split, int64_t extent) {
  const auto element = [&](int64_t i) {
    return split.dtype() == DataType::kInt32 ? int64_t{split.data<int32_t>()[i]} : split.data<int64_t>()[i];
  };
  std::vector<int64_t> lengths;
  if (split.rank() == 0) {
    const int64_t length = element(0);
    if (length <= 0) return InvalidArgument("split: expected a positive length, got ", length);
    for (int64_t done = 0; done < extent; done += lengths.back()) lengths.push_back(std::min(length, extent - done));
    return lengths;
  }
  int64_t left = extent;
  for (int64_t i = 0; i < split.size(); ++i) {
    const int64_t length = element(i);
    if (length < 0 || length > left) {
      return InvalidArgument("split[", i, "] = ", length, ": expected lengths that sum to ", extent);
    }
    left -= length;
    lengths.push_back(length);
  }
  if (left != 0) return InvalidArgument("split: lengths sum to ", extent - left, ", expected ", extent);
  return lengths;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSplitToSequence(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, static_cast<int>(ctx.input_dims(0).size())));
  RONDO_ASSIGN_OR_RETURN(bool keepdims, ctx.attributes.Flag("keepdims", true));
  return MakeKernel([slots = OutputSlots(ctx), axis, keepdims](RunContext& ctx) -> absl::Status {
    const Tensor& input = ctx.input(0);
    const int64_t extent = input.dim(axis);
    std::vector<int64_t> lengths(ctx.has_input(1) ? 0 : extent, 1);
    if (ctx.has_input(1)) {
      RONDO_ASSIGN_OR_RETURN(lengths, PieceLengths(ctx.input(1), extent));
    }
    const int64_t outer = CountBetween(input.dims(), 0, axis);
    const int64_t inner = CountBetween(input.dims(), axis + 1, input.rank());
    TensorSequence sequence;
    sequence.reserve(lengths.size());
    int64_t start = 0;
    for (int64_t length : lengths) {
      Dims dims = input.dims();
      dims[axis] = length;
      if (!ctx.has_input(1) && !keepdims) dims = WithoutAxis(dims, axis);
      RONDO_ASSIGN_OR_RETURN(Tensor piece, Tensor::Create(input.dtype(), dims));
      CopyBlocks(input, &piece,
                 {.blocks = outer,
                  .block = length * inner,
                  .from_offset = start * inner,
                  .from_stride = extent * inner,
                  .to_offset = 0,
                  .to_stride = length * inner});
      start += length;
      sequence.emplace_back(std::move(piece));
    }
    return slots.Store(ctx, 0, RuntimeValue(std::move(sequence)));
  });
}

// ConcatFromSequence(sequence): its tensors side by side along `axis`, or stacked on a new axis there with new_axis
// = 1.

absl::Status InferConcatFromSequence(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ValueType element, SequenceElement(ctx, 0));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Int("axis").status());
  ctx.SetOutputType(0, std::move(element));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConcatFromSequence(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis"));
  RONDO_ASSIGN_OR_RETURN(bool new_axis, ctx.attributes.Flag("new_axis", false));
  return MakeKernel([slots = OutputSlots(ctx), axis_attribute, new_axis](RunContext& ctx) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(const TensorSequence* sequence, SequenceAtInput(ctx, 0));
    if (sequence->empty()) return InvalidArgument("expected a sequence with at least one tensor, got an empty one");
    Dims dims;
    int axis = 0;
    int64_t extent = 0;
    for (size_t i = 0; i < sequence->size(); ++i) {
      if (!(*sequence)[i].is_tensor()) return InvalidArgument("element ", i, " of the sequence is no tensor");
      const Tensor& tensor = (*sequence)[i].tensor();
      if (i == 0) {
        RONDO_ASSIGN_OR_RETURN(axis, NormalizeAxis(axis_attribute, tensor.rank() + (new_axis ? 1 : 0)));
      }
      const Tensor& first = (*sequence)[0].tensor();
      bool fits = tensor.rank() == first.rank() && tensor.dtype() == first.dtype();
      for (int d = 0; fits && d < tensor.rank(); ++d) {
        fits = tensor.dim(d) == first.dim(d) || (!new_axis && d == axis);
      }
      if (!fits) {
        return InvalidArgument("element ", i, " of the sequence is ", DataTypeName(tensor.dtype()),
                               DimsToString(tensor.dims()), ", which does not fit element 0, ",
                               DataTypeName(first.dtype()), DimsToString(first.dims()), ", on axis ", axis);
      }
      extent += new_axis ? 1 : tensor.dim(axis);
    }
    const Tensor& first = (*sequence)[0].tensor();
    dims = new_axis ? WithAxis(first.dims(), axis, extent) : first.dims();
    dims[axis] = extent;
    RONDO_ASSIGN_OR_RETURN(Tensor result, Tensor::Create(first.dtype(), dims));
    const int64_t outer = CountBetween(dims, 0, axis);
    const int64_t inner = CountBetween(dims, axis + 1, static_cast<int>(dims.size()));
    int64_t start = 0;
    for (const RuntimeValue& value : *sequence) {
      const int64_t length = new_axis ? 1 : value.tensor().dim(axis);
      CopyBlocks(value.tensor(), &result,
                 {.blocks = outer,
                  .block = length * inner,
                  .from_offset = 0,
                  .from_stride = length * inner,
                  .to_offset = start * inner,
                  .to_stride = extent * inner});
      start += length;
    }
    return slots.Store(ctx, 0, std::move(result));
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// SequenceMap(sequence of n, more...): runs `body` for i < n on element i of every input that is a sequence, and on
// the tensors among the inputs as they are; each body output becomes a sequence of n.

absl::Status InferSequenceMap(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ExpectSubgraph(ctx.node(), "body", ctx.num_inputs()));
  std::vector<ValueType> inputs;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is missing");
    const ValueType& type = ctx.input_type(i);
    if (i > 0 && type.kind != ValueType::Kind::kSequence) {
      inputs.push_back(type);
      continue;
    }
    RONDO_ASSIGN_OR_RETURN(ValueType element, SequenceElement(ctx, i));
    inputs.push_back(std::move(element));
  }
  for (ValueType& type : CaptureTypes(ctx)) inputs.push_back(std::move(type));
  RONDO_ASSIGN_OR_RETURN(std::vector<ValueType> types, ctx.InferSubgraph("body", inputs));
  if (static_cast<int>(types.size()) < ctx.num_outputs()) {
    return InvalidArgument("subgraph \"body\": expected ", ctx.num_outputs(), " outputs, got ", types.size());
  }
  for (int i = 0; i < ctx.num_outputs(); ++i) ctx.SetOutputType(i, ValueType::Sequence(WithoutShape(types[i])));
  return absl::OkStatus();
}

struct SequenceMapState final : KernelState {
  std::unique_ptr<KernelState> body;
  std::vector<RuntimeValue> inputs;
  std::vector<RuntimeValue> outputs;
};

class SequenceMapKernel final : public Kernel {
 public:
  SequenceMapKernel(std::unique_ptr<SubgraphRunner> body, int formal_inputs, int outputs, OutputSlots slots)
      : body_(std::move(body)), formal_inputs_(formal_inputs), outputs_(outputs), slots_(std::move(slots)) {}

  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<SequenceMapState>();
    state->body = body_->CreateState();
    return state;
  }

  absl::Status Run(RunContext& ctx) const override {
    auto& state = static_cast<SequenceMapState&>(*ctx.state());
    absl::Status status = Map(ctx, state);
    state.inputs.clear();
    state.outputs.clear();
    return status;
  }

 private:
  absl::Status Map(RunContext& ctx, SequenceMapState& state) const {
    RONDO_ASSIGN_OR_RETURN(const TensorSequence* first, SequenceAtInput(ctx, 0));
    std::vector<TensorSequence> results(outputs_);
    state.inputs.clear();
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      state.inputs.push_back(ctx.input_value(i));
      if (i == 0 || i >= formal_inputs_ || !ctx.input_value(i).is_sequence()) continue;
      if (ctx.input_value(i).sequence().size() != first->size()) {
        return InvalidArgument("input ", i, " is a sequence of ", ctx.input_value(i).sequence().size(),
                               ", expected one of ", first->size(), " like input 0");
      }
    }
    for (size_t n = 0; n < first->size(); ++n) {
      for (int i = 0; i < formal_inputs_; ++i) {
        if (ctx.input_value(i).is_sequence()) state.inputs[i] = ctx.input_value(i).sequence()[n];
      }
      absl::Status status = body_->Run(state.inputs, &state.outputs, state.body.get(), {});
      if (!status.ok()) return Annotate(status, absl::StrCat("element ", n, ": "));
      // A body may hand an input on, and tensors among the inputs lie in memory that is written anew.
      for (int i = 0; i < outputs_; ++i) results[i].push_back(state.outputs[i].Kept());
    }
    for (int i = 0; i < outputs_; ++i) {
      RONDO_RETURN_IF_ERROR(slots_.Store(ctx, i, RuntimeValue(std::move(results[i]))));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<SubgraphRunner> body_;
  int formal_inputs_;
  int outputs_;
  OutputSlots slots_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSequenceMap(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<SubgraphRunner> body, ctx.PrepareSubgraph("body"));
  return std::make_unique<SequenceMapKernel>(std::move(body), ctx.num_inputs(), ctx.num_outputs(), OutputSlots(ctx));
}

// ---------------------------------------------------------------------------------------------------------------------
// Optional(value?): an optional that holds the tensor or sequence, or nothing, of the type in attribute `type`.

absl::Status InferOptional(InferContext& ctx) {
  if (ctx.has_input(0)) {
    ctx.SetOutputType(0, ValueType::Optional(WithoutShape(ctx.input_type(0))));
    return absl::OkStatus();
  }
  const Attribute* type = ctx.node().attribute("type");
  if (type == nullptr || !std::holds_alternative<ValueType>(*type)) {
    return InvalidArgument("expected an input or attribute \"type\", got neither");
  }
  ctx.SetOutputType(0, ValueType::Optional(WithoutShape(std::get<ValueType>(*type))));
  return absl::OkStatus();
}

absl::Status RunOptional(RunContext& ctx, const OutputSlots& slots) {
  return slots.Store(ctx, 0, ctx.has_input(0) ? ctx.input_value(0) : RuntimeValue());
}

// OptionalGetElement(value): what the optional holds; an error when it is empty. From opset 18 on the input may be a
// tensor or sequence itself, which then goes through.

absl::Status InferOptionalGetElement(InferContext& ctx) {
  const ValueType& type = ctx.input_type(0);
  if (type.kind != ValueType::Kind::kOptional) {
    ctx.SetOutputType(0, type);
  } else {
    ctx.SetOutputType(0, type.element != nullptr ? WithoutShape(*type.element) : ValueType());
  }
  return absl::OkStatus();
}

absl::Status RunOptionalGetElement(RunContext& ctx, const OutputSlots& slots) {
  if (ctx.input_value(0).empty()) return InvalidArgument("expected an optional with content, got an empty one");
  return slots.Store(ctx, 0, ctx.input_value(0));
}

// OptionalHasElement(value?): bool scalar; false for an absent input and an empty optional.

absl::Status InferOptionalHasElement(InferContext& ctx) {
  ctx.SetOutput(0, DataType::kBool, {});
  return absl::OkStatus();
}

absl::Status RunOptionalHasElement(RunContext& ctx, const OutputSlots& slots) {
  *ctx.out<uint8_t>(0) = ctx.has_input(0) && !ctx.input_value(0).empty() ? 1 : 0;
  return absl::OkStatus();
}

template <absl::Status (*run)(RunContext&, const OutputSlots&)>
absl::StatusOr<std::unique_ptr<Kernel>> Prepare(PrepareContext& ctx) {
  return MakeSlotKernel(ctx, run);
}

const OpDef kRows[] = {
    {.type = "SequenceConstruct",
     .since = 11,
     .inputs = {1, Arity::kMany},
     .infer = InferSequenceConstruct,
     .prepare = Prepare<RunSequenceConstruct>},
    {.type = "SequenceEmpty",
     .since = 11,
     .inputs = {0, 0},
     .infer = InferSequenceEmpty,
     .prepare = Prepare<RunSequenceEmpty>},
    {.type = "SequenceInsert",
     .since = 11,
     .inputs = {2, 3},
     .infer = InferSequenceInsert,
     .prepare = Prepare<RunSequenceInsert>},
    {.type = "SequenceErase",
     .since = 11,
     .inputs = {1, 2},
     .infer = InferSequenceErase,
     .prepare = Prepare<RunSequenceErase>},
    {.type = "SequenceAt", .since = 11, .inputs = {2, 2}, .infer = InferSequenceAt, .prepare = Prepare<RunSequenceAt>},
    {.type = "SequenceLength", .since = 11, .infer = InferSequenceLength, .prepare = Prepare<RunSequenceLength>},
    {.type = "SplitToSequence",
     .since = 11,
     .inputs = {1, 2},
     .infer = InferSplitToSequence,
     .prepare = PrepareSplitToSequence},
    {.type = "ConcatFromSequence", .since = 11, .infer = InferConcatFromSequence, .prepare = PrepareConcatFromSequence},
    {.type = "SequenceMap",
     .since = 17,
     .inputs = {1, Arity::kMany},
     .outputs = {1, Arity::kMany},
     .infer = InferSequenceMap,
     .prepare = PrepareSequenceMap},
    {.type = "Optional", .since = 15, .inputs = {0, 1}, .infer = InferOptional, .prepare = Prepare<RunOptional>},
    {.type = "OptionalGetElement",
     .since = 15,
     .infer = InferOptionalGetElement,
     .prepare = Prepare<RunOptionalGetElement>},
    {.type = "OptionalHasElement",
     .since = 15,
     .inputs = {0, 1},
     .infer = InferOptionalHasElement,
     .prepare = Prepare<RunOptionalHasElement>},
};

}  // namespace

absl::Span<const OpDef> SequenceFamily() { return kRows; }

}  // namespace rondo
