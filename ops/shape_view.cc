// Operators that only give the same elements other dims, and those that read the dims.
//
// All but Shape and Size are views: output 0 is input 0's storage. Their rules carry small integer contents along, so
// that the shape arithmetic of exporters (Shape -> Gather -> Unsqueeze -> Concat -> Reshape) stays symbolic.
#include <limits>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

constexpr Arity kOneOrTwo = {1, 2};

// Reshape(data, shape [n] int64) -> reshaped. A dim of 0 copies the input's (unless allowzero=1, since 14), one dim of
// -1 is inferred. Version 1 takes `shape` as an attribute.
absl::StatusOr<Shape> ReshapedShape(const std::vector<Dim>& wanted, const Shape* from, bool allow_zero) {
  Shape result(wanted.size(), Dim::Unknown());
  int inferred = -1;
  bool explicit_zero = false;
  Dim explicit_count = 1;
  std::vector<bool> copied(from != nullptr ? from->rank() : 0, false);
  for (int i = 0; i < static_cast<int>(wanted.size()); ++i) {
    const Dim& d = wanted[i];
    if (!d.known() || d.value() > 0) {
      result[i] = d;
      continue;
    }
    if (d.value() == -1) {
      if (inferred >= 0) return InvalidArgument("shape: at most one dim may be -1, got ", inferred, " and ", i);
      inferred = i;
    } else if (d.value() != 0) {
      return InvalidArgument("shape: expected -1, 0 or more, got ", d.value(), " for dim ", i);
    } else if (allow_zero) {
      explicit_zero = true;
      result[i] = 0;
    } else if (from != nullptr) {
      if (i >= from->rank()) {
        return InvalidArgument("shape: dim ", i, " is 0, which copies a dim that the input ", from->ToString(),
                               " does not have");
      }
      result[i] = (*from)[i];
      copied[i] = true;
    }
  }
  if (explicit_zero && inferred >= 0) return InvalidArgument("shape: 0 and -1 together cannot be inferred");
  if (from == nullptr) return result;
  // Copied dims cancel: that keeps unknown dims and zero extents out of the quotient. So do equal symbols.
  for (const Dim& d : wanted) {
    if (d.known() && d.value() <= 0) continue;
    int same = d.known() ? from->rank() : 0;
    while (same < from->rank() && (copied[same] || (*from)[same] != d)) ++same;
    if (same < from->rank()) {
      copied[same] = true;
    } else {
      explicit_count = explicit_count * d;
    }
  }
  Dim rest = explicit_zero ? Dim(from->ElementCount()) : Dim(1);
  for (int i = 0; i < from->rank() && !explicit_zero; ++i) {
    if (!copied[i]) rest = rest * (*from)[i];
  }
  if (explicit_zero) explicit_count = 0;
  auto mismatch = [&] {
    return InvalidArgument("cannot reshape ", from->ToString(), " to ", Shape(wanted.begin(), wanted.end()).ToString(),
                           ": ", from->ElementCount().ToString(), " elements");
  };
  if (inferred >= 0) {
    if (rest.known() && explicit_count.known() && rest.value() % explicit_count.value() != 0) return mismatch();
    result[inferred] = Dim::FloorDiv(rest, explicit_count);
  } else if (rest.known() && explicit_count.known() && rest.value() != explicit_count.value()) {
    // Zero elements fit zero elements, wherever the zero came from.
    if (!(from->ElementCount() == Dim(0) && result.ElementCount() == Dim(0))) return mismatch();
  }
  return result;
}

absl::Status InferReshape(InferContext& ctx) {
  bool allow_zero = false;
  std::optional<std::vector<Dim>> wanted;
  if (ctx.version() < 5) {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> shape, ctx.attributes.Ints("shape"));
    wanted.emplace(shape.begin(), shape.end());
  } else {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
    if (ctx.version() >= 14) {
      RONDO_ASSIGN_OR_RETURN(allow_zero, ctx.attributes.Flag("allowzero", false));
    }
    wanted = ctx.content(1);
    if (!wanted.has_value()) {
      if (std::optional<std::vector<int64_t>> ints = ctx.constant_ints(1)) wanted.emplace(ints->begin(), ints->end());
    }
    if (!wanted.has_value() && ctx.has_shape(1) && ctx.shape(1)[0].known() && ctx.shape(1)[0].value() <= 64) {
      wanted.emplace(ctx.shape(1)[0].value(), Dim::Unknown());
    }
  }
  if (!wanted.has_value()) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape shape, ReshapedShape(*wanted, ctx.has_shape(0) ? &ctx.shape(0) : nullptr, allow_zero));
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  ForwardContent(ctx, 0);
  return absl::OkStatus();
}

// Squeeze(data, axes) -> data without those dims, which must be 1; without axes, all that are 1. `axes` is an attribute
// before 13, and may be negative since 11.
absl::Status InferSqueeze(InferContext& ctx) {
  bool given;
  RONDO_ASSIGN_OR_RETURN(std::optional<std::vector<int64_t>> axes,
                         AxesFromAttributeOrInput(ctx, "axes", 1, 13, &given));
  if (!ctx.has_shape(0) || !axes.has_value()) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  std::vector<bool> dropped(from.rank(), false);
  if (given) {
    for (int64_t axis : *axes) {
      RONDO_ASSIGN_OR_RETURN(int i, NormalizeAxis(axis, from.rank(), "axes:"));
      if (from[i].known() && from[i].value() != 1) {
        return InvalidArgument("axis ", axis, ": expected a dim of 1 to squeeze, got ", from[i].value(), " in ",
                               from.ToString());
      }
      dropped[i] = true;
    }
  } else {
    for (int i = 0; i < from.rank(); ++i) {
      if (!from[i].known()) {
        ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
        return absl::OkStatus();
      }
      dropped[i] = from[i].value() == 1;
    }
  }
  Shape shape;
  for (int i = 0; i < from.rank(); ++i) {
    if (!dropped[i]) shape.push_back(from[i]);
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  ForwardContent(ctx, 0);
  return absl::OkStatus();
}

// Unsqueeze(data, axes) -> data with dims of 1 at `axes`, which count in the output. An attribute before 13.
absl::Status InferUnsqueeze(InferContext& ctx) {
  bool given;
  RONDO_ASSIGN_OR_RETURN(std::optional<std::vector<int64_t>> axes,
                         AxesFromAttributeOrInput(ctx, "axes", 1, 13, &given));
  if (!given) return InvalidArgument("axes are required");
  if (!ctx.has_shape(0) || !axes.has_value()) {
    const bool countable = ctx.has_shape(0) && ctx.version() >= 13 && ctx.has_shape(1) && ctx.shape(1).known() &&
                           CountOf(ctx.shape(1).ToDims()) <= 64;
    if (countable) {
      const int rank = ctx.shape(0).rank() + static_cast<int>(CountOf(ctx.shape(1).ToDims()));
      ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(rank));
    } else {
      ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    }
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  const int rank = from.rank() + static_cast<int>(axes->size());
  std::vector<bool> added(rank, false);
  for (int64_t axis : *axes) {
    RONDO_ASSIGN_OR_RETURN(int i, NormalizeAxis(axis, rank, "axes:"));
    if (added[i]) return InvalidArgument("axes: ", axis, " occurs twice");
    added[i] = true;
  }
  Shape shape;
  for (int i = 0, j = 0; i < rank; ++i) shape.push_back(added[i] ? Dim(1) : from[j++]);
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  ForwardContent(ctx, 0);
  return absl::OkStatus();
}

// Flatten(data; axis=1) -> [product of the dims before axis, product of the others]; axis in [-rank, rank].
absl::Status InferFlatten(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 1));
  if (!ctx.has_shape(0)) {
    ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(2));
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  if (axis < -from.rank() || axis > from.rank()) {
    return InvalidArgument("axis ", axis, " is out of range [", -from.rank(), ", ", from.rank(), "]");
  }
  if (axis < 0) axis += from.rank();
  Shape head(from.begin(), from.begin() + axis), tail(from.begin() + axis, from.end());
  ctx.SetOutput(0, ctx.dtype(0), Shape{head.ElementCount(), tail.ElementCount()});
  ForwardContent(ctx, 0);
  return absl::OkStatus();
}

// Identity(x) -> x, for tensors and, since 14 and 16, sequences and optionals.
absl::Status InferIdentity(InferContext& ctx) {
  ctx.SetOutputType(0, ctx.input_type(0));
  if (ctx.input_type(0).is_tensor()) ForwardContent(ctx, 0);
  return absl::OkStatus();
}

// Shape(data; start=0, end=rank, since 15) -> [n] int64, the dims in [start, end), clamped. Known without data.
absl::Status InferShape(InferContext& ctx) {
  if (!ctx.has_shape(0)) {
    ctx.SetOutput(0, DataType::kInt64, Shape{Dim::Unknown()});
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  int64_t start = 0, end = from.rank();
  if (ctx.version() >= 15) {
    auto clamp = [&](int64_t axis) {
      return std::clamp<int64_t>(axis < 0 ? axis + from.rank() : axis, 0, from.rank());
    };
    RONDO_ASSIGN_OR_RETURN(start, ctx.attributes.Int("start", 0));
    RONDO_ASSIGN_OR_RETURN(end, ctx.attributes.Int("end", from.rank()));
    start = clamp(start);
    end = std::max(start, clamp(end));
  }
  ctx.SetOutput(0, DataType::kInt64, Shape{end - start});
  ctx.SetOutputContent(0, std::vector<Dim>(from.begin() + start, from.begin() + end));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareShape(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  int64_t start = 0;
  if (ctx.version() >= 15) {
    const int64_t rank = static_cast<int64_t>(from.size());
    RONDO_ASSIGN_OR_RETURN(start, ctx.attributes.Int("start", 0));
    start = std::clamp<int64_t>(start < 0 ? start + rank : start, 0, rank);
  }
  Dims dims(from.begin() + start, from.begin() + start + ctx.output_dims(0)[0]);
  return MakeKernel([dims](RunContext& run) {
    std::copy(dims.begin(), dims.end(), run.out<int64_t>(0));
    return absl::OkStatus();
  });
}

// Size(data) -> scalar int64, the number of elements.
absl::Status InferSize(InferContext& ctx) {
  ctx.SetOutput(0, DataType::kInt64, Shape{});
  if (ctx.has_shape(0)) ctx.SetOutputContent(0, {ctx.shape(0).ElementCount()});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSize(PrepareContext& ctx) {
  const int64_t count = CountOf(ctx.input_dims(0));
  return MakeKernel([count](RunContext& run) {
    *run.out<int64_t>(0) = count;
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.type = "Reshape", .since = 1, .infer = InferReshape, .prepare = PrepareCopy, .view = true},
    {.type = "Reshape",
     .since = 5,
     .inputs = {2, 2},
     .infer = InferReshape,
     .prepare = PrepareCopy,
     .content_inputs = InputBit(1),
     .view = true},
    {.type = "Squeeze", .since = 1, .infer = InferSqueeze, .prepare = PrepareCopy, .view = true},
    {.type = "Squeeze",
     .since = 13,
     .inputs = kOneOrTwo,
     .infer = InferSqueeze,
     .prepare = PrepareCopy,
     .content_inputs = InputBit(1),
     .view = true},
    {.type = "Unsqueeze", .since = 1, .infer = InferUnsqueeze, .prepare = PrepareCopy, .view = true},
    {.type = "Unsqueeze",
     .since = 13,
     .inputs = {2, 2},
     .infer = InferUnsqueeze,
     .prepare = PrepareCopy,
     .content_inputs = InputBit(1),
     .view = true},
    {.type = "Flatten", .since = 1, .infer = InferFlatten, .prepare = PrepareCopy, .view = true},
    {.type = "Identity", .since = 1, .infer = InferIdentity, .prepare = PrepareCopy, .view = true},
    {.type = "Shape", .since = 1, .infer = InferShape, .prepare = PrepareShape},
    {.type = "Size", .since = 1, .infer = InferSize, .prepare = PrepareSize},
};

}  // namespace

absl::Span<const OpDef> ShapeViewFamily() { return kRows; }

}  // namespace rondo
