// Transpose, Concat, Split, Slice, Expand, Tile: one output (or one input) is cut into blocks, and each block is a
// strided copy that Prepare has worked out. Nothing here looks at an element.
#include <limits>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

// ---- Transpose(data; perm = reversed) -> output with output dim i = data dim perm[i].

absl::StatusOr<std::vector<int>> Permutation(const AttributeReader& attributes, int rank) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> perm, attributes.Ints("perm", {}));
  std::vector<int> result(rank);
  if (!attributes.Has("perm") || (perm.empty() && rank > 0)) {
    for (int i = 0; i < rank; ++i) result[i] = rank - 1 - i;
    return result;
  }
  if (static_cast<int>(perm.size()) != rank) {
    return InvalidArgument("perm: expected ", rank, " axes, one per dim, got ", perm.size());
  }
  std::vector<bool> seen(rank, false);
  for (int i = 0; i < rank; ++i) {
    RONDO_ASSIGN_OR_RETURN(result[i], NormalizeAxis(perm[i], rank, "perm:"));
    if (seen[result[i]]) return InvalidArgument("perm: axis ", perm[i], " occurs twice");
    seen[result[i]] = true;
  }
  return result;
}

absl::Status InferTranspose(InferContext& ctx) {
  if (!ctx.has_shape(0)) {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> perm, ctx.attributes.Ints("perm", {}));
    if (perm.empty()) {
      ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    } else {
      ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(static_cast<int>(perm.size())));
    }
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(std::vector<int> perm, Permutation(ctx.attributes, from.rank()));
  Shape shape;
  for (int axis : perm) shape.push_back(from[axis]);
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  if (std::optional<SmallContent> content = ContentOf(ctx, 0)) {
    SetPickedContent(ctx, 0, *content, PermutedBlock(content->dims, perm));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTranspose(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(std::vector<int> perm, Permutation(ctx.attributes, static_cast<int>(from.size())));
  return MakeCopyKernel(ctx.input_dtype(0), PermutedBlock(from, perm));
}

// ---- Concat(inputs...; axis) -> inputs one after another along axis. Default axis 1 before version 4. An empty
// rank-1 input fits everything: torch concatenates caches to one.

absl::StatusOr<int64_t> ConcatAxis(int version, const AttributeReader& attributes) {
  return version < 4 ? attributes.Int("axis", 1) : attributes.Int("axis");
}

bool IsEmptyVector(const Shape& shape) { return shape.rank() == 1 && shape[0] == Dim(0); }

absl::Status InferConcat(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ConcatAxis(ctx.version(), ctx.attributes));
  int first = -1;
  bool all_known = true;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
    all_known &= ctx.has_shape(i);
    if (ctx.has_shape(i) && (first < 0 || IsEmptyVector(ctx.shape(first)))) first = i;
  }
  if (first < 0) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape shape = ctx.shape(first);
  if (!all_known && IsEmptyVector(shape)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, shape.rank()));
  Dim total = all_known ? Dim(0) : Dim::Unknown();
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_shape(i)) continue;
    const Shape& from = ctx.shape(i);
    if (from.rank() != shape.rank()) {
      if (IsEmptyVector(from)) continue;
      return InvalidArgument("input ", i, ": expected rank ", shape.rank(), " as input ", first, " has, got ",
                             from.ToString());
    }
    for (int d = 0; d < from.rank(); ++d) {
      if (d == axis) {
        total = total + from[d];
      } else if (from[d].known() && shape[d].known() && from[d] != shape[d]) {
        return InvalidArgument("input ", i, ": expected ", shape.ToString(), " but for axis ", axis, ", got ",
                               from.ToString());
      } else if (from[d].known() || shape[d].unknown()) {
        shape[d] = from[d];
      }
    }
  }
  shape[axis] = total;
  const bool vectors = shape.rank() == 1;
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  if (!vectors) return absl::OkStatus();
  std::vector<Dim> values;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    std::optional<SmallContent> content = ContentOf(ctx, i);
    if (!content.has_value()) {
      // One input of computed data does not spoil the elements that are known.
      const bool countable = (ctx.dtype(i) == DataType::kInt64 || ctx.dtype(i) == DataType::kInt32) &&
                             ctx.has_shape(i) && ctx.shape(i).known() && ctx.shape(i)[0].value() <= 64;
      if (!countable) return absl::OkStatus();
      values.resize(values.size() + ctx.shape(i)[0].value(), Dim::Unknown());
      continue;
    }
    values.insert(values.end(), content->values.begin(), content->values.end());
  }
  ctx.SetOutputContent(0, std::move(values));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConcat(PrepareContext& ctx) {
  const Dims to = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ConcatAxis(ctx.version(), ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, static_cast<int>(to.size())));
  const Dims strides = RowMajorStrides(to);
  std::vector<StridedCopy> copies;
  StridedBlock block;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    block.dims = ctx.input_dims(i);
    if (block.dims.size() != to.size()) block.dims.assign(to.size(), 0);
    block.src_strides = RowMajorStrides(block.dims);
    block.dst_strides = strides;
    copies.emplace_back(ctx.input_dtype(0), block);
    block.dst_offset += block.dims[axis] * strides[axis];
  }
  return MakeKernel([copies = std::move(copies)](RunContext& run) {
    void* to = run.output(0).mutable_raw();
    for (size_t i = 0; i < copies.size(); ++i) copies[i].Run(run.input(static_cast<int>(i)).raw(), to);
    return absl::OkStatus();
  });
}

// ---- Split(data, split [n] int64; axis=0) -> n parts along axis. Without `split`: equal parts; since 18 `num_outputs`
// of them with a smaller last one. `split` is an attribute in 2 and 11, either in 1.

absl::Status InferSplit(InferContext& ctx) {
  const int parts = ctx.num_outputs();
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  std::optional<std::vector<Dim>> sizes;
  bool given = ctx.has_input(1);
  if (given) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
    if (ctx.version() >= 13) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    sizes = ctx.content(1);
  } else if (ctx.version() < 13 && ctx.attributes.Has("split")) {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> split, ctx.attributes.Ints("split"));
    sizes.emplace(split.begin(), split.end());
    given = true;
  }
  if (ctx.version() >= 18 && ctx.attributes.Has("num_outputs")) {
    if (given) return InvalidArgument("expected either \"num_outputs\" or the input split, got both");
    RONDO_ASSIGN_OR_RETURN(int64_t num_outputs, ctx.attributes.Int("num_outputs"));
    if (num_outputs != parts) {
      return InvalidArgument("num_outputs is ", num_outputs, ", but the node has ", parts, " outputs");
    }
  }
  if (!ctx.has_shape(0)) {
    for (int i = 0; i < parts; ++i) ctx.SetOutputOfUnknownRank(i, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, from.rank()));
  const Dim& whole = from[axis];
  if (!given) {
    sizes.emplace();
    if (ctx.version() >= 18) {
      const Dim part = Dim::CeilDiv(whole, parts);
      Dim rest = whole;
      for (int i = 0; i < parts; ++i) {
        sizes->push_back(i + 1 < parts ? Dim::Min(part, rest) : rest);
        rest = rest - sizes->back();
      }
    } else {
      if (whole.known() && whole.value() % parts != 0) {
        return InvalidArgument("cannot split ", whole.value(), " on axis ", axis, " into ", parts, " equal parts");
      }
      sizes->assign(parts, Dim::FloorDiv(whole, parts));
    }
  }
  if (sizes.has_value()) {
    if (static_cast<int>(sizes->size()) != parts) {
      return InvalidArgument("split: expected ", parts, " sizes, one per output, got ", sizes->size());
    }
    Dim sum = 0;
    for (const Dim& size : *sizes) {
      if (size.known() && size.value() < 0) return InvalidArgument("split: expected sizes >= 0, got ", size.value());
      sum = sum + size;
    }
    if (sum.known() && whole.known() && sum != whole) {
      return InvalidArgument("split: the sizes add up to ", sum.value(), ", axis ", axis, " has ", whole.value());
    }
  }
  std::optional<SmallContent> content = ContentOf(ctx, 0);
  int64_t offset = 0;
  for (int i = 0; i < parts; ++i) {
    Shape shape = from;
    shape[axis] = sizes.has_value() ? (*sizes)[i] : Dim::Unknown();
    if (content.has_value() && shape[axis].known()) {
      StridedBlock block;
      block.dims = shape.ToDims();
      block.src_strides = RowMajorStrides(content->dims);
      block.src_offset = offset * block.src_strides[axis];
      offset += shape[axis].value();
      SetPickedContent(ctx, i, *content, block);
    } else {
      content.reset();
    }
    ctx.SetOutput(i, ctx.dtype(0), std::move(shape));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSplit(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, static_cast<int>(from.size())));
  // Sizes of absent outputs, needed for the offsets of those after them, come from where Infer had them.
  std::vector<int64_t> sizes = ctx.constant_ints(1);
  if (sizes.empty() && ctx.version() < 13) {
    RONDO_ASSIGN_OR_RETURN(sizes, ctx.attributes.Ints("split", {}));
  }
  const int parts = ctx.num_outputs();
  if (sizes.empty()) {
    const int64_t part = (from[axis] + parts - 1) / parts;
    for (int64_t i = 0, rest = from[axis]; i < parts; rest -= sizes[i++]) sizes.push_back(std::min(part, rest));
  }
  std::vector<std::pair<int, StridedCopy>> copies;
  StridedBlock block;
  block.src_strides = RowMajorStrides(from);
  for (int i = 0; i < parts; ++i) {
    if (ctx.has_output(i)) {
      block.dims = from;
      block.dims[axis] = sizes[i];
      block.dst_strides = RowMajorStrides(block.dims);
      copies.emplace_back(i, StridedCopy(ctx.input_dtype(0), block));
    }
    block.src_offset += sizes[i] * block.src_strides[axis];
  }
  return MakeKernel([copies = std::move(copies)](RunContext& run) {
    const void* from = run.input(0).raw();
    for (const auto& [i, copy] : copies) copy.Run(from, run.output(i).mutable_raw());
    return absl::OkStatus();
  });
}

// ---- Slice(data, starts, ends, axes = 0.., steps = 1) -> data[starts:ends:steps] on those axes, with Python's rules
// for negative and too large positions. Version 1 takes starts, ends and axes as attributes.

struct SliceOperands {
  int count = 0;
  std::vector<Dim> starts, ends;  // Unknown where not known
  std::vector<int64_t> axes, steps;
  bool axes_known = true, steps_known = true;
};

// Position along an extent, for a step > 0: negative ones count from the end.
Dim FromEnd(const Dim& position, const Dim& extent) {
  if (position.known()) return position.value() < 0 ? extent + position : position;
  if (Dim::Max(position, 0) == position) return position;
  // "-length" of an extent that is not empty; an empty one is settled when it is a number.
  if (Dim::Min(position, 0) == position) return extent + position;
  return Dim::Unknown();
}

// Exporters write "to the end" as the largest int32 or int64.
bool IsBeyondAnyEnd(const Dim& d) { return d.known() && d.value() >= std::numeric_limits<int32_t>::max(); }
bool IsBeforeAnyStart(const Dim& d) { return d.known() && d.value() <= -int64_t{std::numeric_limits<int32_t>::max()}; }

struct SliceRange {
  Dim start, length;
};

SliceRange ResolveSlice(const Dim& extent, const Dim& start, const Dim& end, int64_t step) {
  const bool sentinels = !extent.known();
  if (step > 0) {
    auto place = [&](const Dim& position) -> Dim {
      if (sentinels && IsBeyondAnyEnd(position)) return extent;
      if (sentinels && IsBeforeAnyStart(position)) return 0;
      return Dim::Min(Dim::Max(FromEnd(position, extent), 0), extent);
    };
    const Dim first = place(start), last = place(end);
    return {first, Dim::CeilDiv(Dim::Max(last - first, 0), step)};
  }
  const Dim top = extent - Dim(1);
  auto place = [&](const Dim& position) -> Dim {
    if (sentinels && IsBeyondAnyEnd(position)) return top;
    if (sentinels && IsBeforeAnyStart(position)) return -1;
    if (sentinels && position == Dim(-1)) return top;
    return Dim::Min(Dim::Max(FromEnd(position, extent), -1), top);
  };
  const Dim first = place(start), last = place(end);
  // A step beyond any extent takes one element; its negation must not overflow.
  const int64_t stride = -std::max<int64_t>(step, -std::numeric_limits<int64_t>::max());
  return {first, Dim::CeilDiv(Dim::Max(first - last, 0), stride)};
}

// Works for InferContext and, with everything constant, for PrepareContext.
absl::Status CheckSliceAxes(SliceOperands* operands, int rank) {
  std::vector<bool> seen(rank, false);
  for (int64_t& axis : operands->axes) {
    RONDO_ASSIGN_OR_RETURN(int i, NormalizeAxis(axis, rank, "axes:"));
    if (seen[i]) return InvalidArgument("axes: ", axis, " occurs twice");
    seen[i] = true;
    axis = i;
  }
  for (int64_t step : operands->steps) {
    if (step == 0) return InvalidArgument("steps: expected a step other than 0");
  }
  return absl::OkStatus();
}

absl::Status FinishSliceOperands(SliceOperands* operands, bool axes_given, bool steps_given) {
  const size_t count = operands->starts.size();
  operands->count = static_cast<int>(count);
  if (operands->ends.size() != count) {
    return InvalidArgument("expected as many ends as starts (", count, "), got ", operands->ends.size());
  }
  if (!axes_given) {
    for (size_t i = 0; i < count; ++i) operands->axes.push_back(static_cast<int64_t>(i));
  } else if (operands->axes_known && operands->axes.size() != count) {
    return InvalidArgument("expected as many axes as starts (", count, "), got ", operands->axes.size());
  }
  if (!steps_given) {
    operands->steps.assign(count, 1);
  } else if (operands->steps_known && operands->steps.size() != count) {
    return InvalidArgument("expected as many steps as starts (", count, "), got ", operands->steps.size());
  }
  return absl::OkStatus();
}

absl::Status SliceAttributes(const AttributeReader& attributes, SliceOperands* operands) {
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> starts, attributes.Ints("starts"));
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> ends, attributes.Ints("ends"));
  operands->starts.assign(starts.begin(), starts.end());
  operands->ends.assign(ends.begin(), ends.end());
  RONDO_ASSIGN_OR_RETURN(operands->axes, attributes.Ints("axes", {}));
  return FinishSliceOperands(operands, attributes.Has("axes"), false);
}

// False when not even the number of slices is known.
absl::StatusOr<bool> SliceInputs(const InferContext& ctx, SliceOperands* operands) {
  for (int i = 1; i < ctx.num_inputs(); ++i) {
    if (!ctx.has_input(i)) continue;
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, kIndexTypes));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 1, 1));
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, i));
  }
  auto positions = [&ctx](int i) -> std::optional<std::vector<Dim>> {
    if (std::optional<std::vector<Dim>> content = ctx.content(i)) return content;
    if (!ctx.has_shape(i) || !ctx.shape(i)[0].known() || ctx.shape(i)[0].value() > 64) return std::nullopt;
    return std::vector<Dim>(ctx.shape(i)[0].value(), Dim::Unknown());
  };
  std::optional<std::vector<Dim>> starts = positions(1), ends = positions(2);
  if (!starts.has_value() && !ends.has_value()) return false;
  operands->starts = starts.has_value() ? *starts : std::vector<Dim>(ends->size(), Dim::Unknown());
  operands->ends = ends.has_value() ? *ends : std::vector<Dim>(starts->size(), Dim::Unknown());
  if (ctx.has_input(3)) {
    std::optional<std::vector<int64_t>> axes = ctx.constant_ints(3);
    operands->axes_known = axes.has_value();
    operands->axes = axes.value_or(std::vector<int64_t>());
  }
  if (ctx.has_input(4)) {
    std::optional<std::vector<int64_t>> steps = ctx.constant_ints(4);
    operands->steps_known = steps.has_value();
    operands->steps = steps.value_or(std::vector<int64_t>());
  }
  RONDO_RETURN_IF_ERROR(FinishSliceOperands(operands, ctx.has_input(3), ctx.has_input(4)));
  return true;
}

StridedBlock SliceBlock(const Dims& from, const SliceOperands& operands) {
  StridedBlock block;
  block.dims = from;
  const Dims strides = RowMajorStrides(from);
  block.src_strides = strides;
  for (int i = 0; i < operands.count; ++i) {
    const int64_t axis = operands.axes[i];
    const SliceRange range = ResolveSlice(from[axis], operands.starts[i], operands.ends[i], operands.steps[i]);
    block.dims[axis] = range.length.value();
    if (range.length.value() == 0) continue;
    block.src_offset += range.start.value() * strides[axis];
    // A step that is longer than the axis is never taken.
    const int64_t step = std::clamp<int64_t>(operands.steps[i], -from[axis], from[axis]);
    block.src_strides[axis] = step * strides[axis];
  }
  block.dst_strides = RowMajorStrides(block.dims);
  return block;
}

absl::Status InferSlice(InferContext& ctx) {
  SliceOperands operands;
  bool countable = true;
  if (ctx.version() < 10) {
    RONDO_RETURN_IF_ERROR(SliceAttributes(ctx.attributes, &operands));
  } else {
    RONDO_ASSIGN_OR_RETURN(countable, SliceInputs(ctx, &operands));
  }
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  if (!countable || !operands.axes_known) {
    ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(from.rank()));
    return absl::OkStatus();
  }
  RONDO_RETURN_IF_ERROR(CheckSliceAxes(&operands, from.rank()));
  Shape shape = from;
  bool starts_known = operands.steps_known;
  for (int i = 0; i < operands.count; ++i) {
    Dim& dim = shape[operands.axes[i]];
    if (!operands.steps_known) {
      dim = Dim::Unknown();
      continue;
    }
    const SliceRange range = ResolveSlice(dim, operands.starts[i], operands.ends[i], operands.steps[i]);
    dim = range.length;
    starts_known &= range.start.known();
  }
  const bool picked = starts_known && shape.known();
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  if (!picked) return absl::OkStatus();
  if (std::optional<SmallContent> content = ContentOf(ctx, 0)) {
    SetPickedContent(ctx, 0, *content, SliceBlock(content->dims, operands));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSlice(PrepareContext& ctx) {
  SliceOperands operands;
  if (ctx.version() < 10) {
    RONDO_RETURN_IF_ERROR(SliceAttributes(ctx.attributes, &operands));
  } else {
    const std::vector<int64_t> starts = ctx.constant_ints(1), ends = ctx.constant_ints(2);
    operands.starts.assign(starts.begin(), starts.end());
    operands.ends.assign(ends.begin(), ends.end());
    operands.axes = ctx.constant_ints(3);
    operands.steps = ctx.constant_ints(4);
    RONDO_RETURN_IF_ERROR(FinishSliceOperands(&operands, ctx.has_input(3), ctx.has_input(4)));
  }
  const Dims from = ctx.input_dims(0);
  RONDO_RETURN_IF_ERROR(CheckSliceAxes(&operands, static_cast<int>(from.size())));
  return MakeCopyKernel(ctx.input_dtype(0), SliceBlock(from, operands));
}

// ---- Expand(data, shape [n] int64) -> data broadcast with shape, both ways.

StridedBlock ExpandBlock(const Dims& from, const Dims& to) {
  StridedBlock block;
  block.dims = to;
  block.dst_strides = RowMajorStrides(to);
  block.src_strides.assign(to.size(), 0);
  const Dims strides = RowMajorStrides(from);
  const size_t offset = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] != 1) block.src_strides[offset + i] = strides[i];
  }
  return block;
}

absl::Status InferExpand(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
  std::optional<std::vector<Dim>> wanted = ctx.content(1);
  if (!wanted.has_value() && ctx.has_shape(1) && ctx.shape(1)[0].known() && ctx.shape(1)[0].value() <= 64) {
    wanted.emplace(ctx.shape(1)[0].value(), Dim::Unknown());
  }
  if (!wanted.has_value() || !ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  for (const Dim& d : *wanted) {
    if (d.known() && d.value() < 0) return InvalidArgument("shape: expected dims >= 0, got ", d.value());
  }
  RONDO_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(ctx.shape(0), Shape(wanted->begin(), wanted->end())));
  const bool known = shape.known();
  const Dims to = known ? shape.ToDims() : Dims();
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  if (!known) return absl::OkStatus();
  if (std::optional<SmallContent> content = ContentOf(ctx, 0)) {
    SetPickedContent(ctx, 0, *content, ExpandBlock(content->dims, to));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareExpand(PrepareContext& ctx) {
  return MakeCopyKernel(ctx.input_dtype(0), ExpandBlock(ctx.input_dims(0), ctx.output_dims(0)));
}

// ---- Tile(data, repeats [rank] int64) -> data repeated that often along each axis. Version 1: Tile(data, tiles,
// axis), both scalars of the data's type.

StridedBlock TileBlock(const Dims& from, const Dims& to) {
  StridedBlock block;
  const Dims src = RowMajorStrides(from), dst = RowMajorStrides(to);
  for (size_t i = 0; i < from.size(); ++i) {
    block.dims.push_back(from[i] == 0 ? 0 : to[i] / from[i]);
    block.src_strides.push_back(0);
    block.dst_strides.push_back(from[i] * dst[i]);
    block.dims.push_back(from[i]);
    block.src_strides.push_back(src[i]);
    block.dst_strides.push_back(dst[i]);
  }
  return block;
}

// A scalar of Tile-1; nullopt when it is not known yet.
absl::StatusOr<std::optional<int64_t>> OldTileScalar(const InferContext& ctx, int i) {
  Tensor value = ctx.constant(i);
  if (!value.defined()) return std::optional<int64_t>();
  if (value.size() != 1) return InvalidArgument("input ", i, ": expected one element, got ", value.size());
  double number;
  switch (value.dtype()) {
    case DataType::kFloat:
      number = *value.data<float>();
      break;
    case DataType::kDouble:
      number = *value.data<double>();
      break;
    case DataType::kFloat16:
      number = static_cast<float>(*value.data<Float16>());
      break;
    case DataType::kInt64:
      number = static_cast<double>(*value.data<int64_t>());
      break;
    case DataType::kInt32:
      number = *value.data<int32_t>();
      break;
    default:
      return InvalidArgument("input ", i, ": element type ", DataTypeName(value.dtype()), " is not supported");
  }
  if (!(number >= -1e9 && number <= 1e9)) return InvalidArgument("input ", i, ": ", number, " is out of range");
  return std::optional<int64_t>(static_cast<int64_t>(number));
}

absl::Status InferTile(InferContext& ctx) {
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape shape = ctx.shape(0);
  std::vector<Dim> repeats(shape.rank(), Dim::Unknown());
  if (ctx.version() < 6) {
    RONDO_ASSIGN_OR_RETURN(std::optional<int64_t> tiles, OldTileScalar(ctx, 1));
    RONDO_ASSIGN_OR_RETURN(std::optional<int64_t> axis_value, OldTileScalar(ctx, 2));
    if (axis_value.has_value()) {
      RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(*axis_value, shape.rank()));
      repeats.assign(shape.rank(), 1);
      repeats[axis] = tiles.has_value() ? Dim(*tiles) : Dim::Unknown();
    }
  } else {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
    if (std::optional<std::vector<Dim>> content = ctx.content(1)) repeats = *std::move(content);
    if (static_cast<int>(repeats.size()) != shape.rank()) {
      return InvalidArgument("repeats: expected ", shape.rank(), " numbers, one per dim, got ", repeats.size());
    }
  }
  for (int i = 0; i < shape.rank(); ++i) {
    if (repeats[i].known() && repeats[i].value() < 0) {
      return InvalidArgument("repeats: expected numbers >= 0, got ", repeats[i].value());
    }
    const Dim repeated = shape[i] * repeats[i];
    if (shape[i].known() && repeats[i].known() && !repeated.known()) {
      return OutOfRange("repeats: ", repeats[i].value(), " times the ", shape[i].value(), " of axis ", i,
                        " overflows 64 bits");
    }
    shape[i] = repeated;
  }
  const bool known = shape.known();
  const Dims to = known ? shape.ToDims() : Dims();
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  if (!known) return absl::OkStatus();
  if (std::optional<SmallContent> content = ContentOf(ctx, 0)) {
    SetPickedContent(ctx, 0, *content, TileBlock(content->dims, to));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTile(PrepareContext& ctx) {
  return MakeCopyKernel(ctx.input_dtype(0), TileBlock(ctx.input_dims(0), ctx.output_dims(0)));
}

constexpr uint32_t kSliceContents = InputBit(1) | InputBit(2) | InputBit(3) | InputBit(4);

const OpDef kRows[] = {
    {.type = "Transpose", .since = 1, .infer = InferTranspose, .prepare = Unpacked<PrepareTranspose>},
    {.type = "Concat",
     .since = 1,
     .inputs = {1, Arity::kMany},
     .infer = InferConcat,
     .prepare = Unpacked<PrepareConcat>},
    {.type = "Split",
     .since = 1,
     .inputs = {1, 2},
     .outputs = {1, Arity::kMany},
     .infer = InferSplit,
     .prepare = Unpacked<PrepareSplit>,
     .content_inputs = InputBit(1)},
    {.type = "Split", .since = 2, .outputs = {1, Arity::kMany}, .infer = InferSplit, .prepare = Unpacked<PrepareSplit>},
    {.type = "Split",
     .since = 13,
     .inputs = {1, 2},
     .outputs = {1, Arity::kMany},
     .infer = InferSplit,
     .prepare = Unpacked<PrepareSplit>,
     .content_inputs = InputBit(1)},
    {.type = "Slice", .since = 1, .infer = InferSlice, .prepare = Unpacked<PrepareSlice>},
    {.type = "Slice",
     .since = 10,
     .inputs = {3, 5},
     .infer = InferSlice,
     .prepare = Unpacked<PrepareSlice>,
     .content_inputs = kSliceContents},
    {.type = "Expand",
     .since = 8,
     .inputs = {2, 2},
     .infer = InferExpand,
     .prepare = Unpacked<PrepareExpand>,
     .content_inputs = InputBit(1)},
    {.type = "Tile",
     .since = 1,
     .inputs = {3, 3},
     .infer = InferTile,
     .prepare = Unpacked<PrepareTile>,
     .content_inputs = InputBit(1) | InputBit(2)},
    {.type = "Tile",
     .since = 6,
     .inputs = {2, 2},
     .infer = InferTile,
     .prepare = Unpacked<PrepareTile>,
     .content_inputs = InputBit(1)},
};

}  // namespace

absl::Span<const OpDef> DataMovementFamily() { return kRows; }

}  // namespace rondo
