// Pad, CenterCropPad, DepthToSpace, SpaceToDepth, ReverseSequence, Trilu: the same elements at other places, with fill
// where there are none.
#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

// ---- Pad(data, pads [2n] = begins then ends, constant_value = 0, axes = all; mode="constant") -> data with every
// listed axis grown at both ends; negative pads crop. Modes: constant, reflect (without the edge), edge, wrap (since
// 19). Attributes `paddings` (1) or `pads` (2) and `value` before 11.

enum class PadMode { kConstant, kReflect, kEdge, kWrap };

absl::StatusOr<PadMode> PadModeAttribute(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode", "constant"));
  if (mode == "constant") return PadMode::kConstant;
  if (mode == "reflect") return PadMode::kReflect;
  if (mode == "edge") return PadMode::kEdge;
  if (mode == "wrap") return PadMode::kWrap;
  return InvalidArgument("mode: expected constant, reflect, edge or wrap, got \"", mode, "\"");
}

absl::string_view PadsAttribute(int version) { return version < 2 ? "paddings" : "pads"; }

// Spreads what was given for `axes` over all of them: begins[rank], ends[rank].
template <typename T>
absl::Status SpreadPads(const std::vector<T>& pads, const std::vector<int64_t>& axes, bool axes_given, int rank,
                        std::vector<T>* begins, std::vector<T>* ends) {
  const size_t count = axes_given ? axes.size() : rank;
  if (pads.size() != 2 * count) {
    return InvalidArgument("pads: expected ", 2 * count, " numbers for ", count, " axes, got ", pads.size());
  }
  begins->assign(rank, T(0));
  ends->assign(rank, T(0));
  std::vector<bool> seen(rank, false);
  for (size_t i = 0; i < count; ++i) {
    RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axes_given ? axes[i] : static_cast<int64_t>(i), rank, "axes:"));
    if (seen[axis]) return InvalidArgument("axes: ", axes[i], " occurs twice");
    seen[axis] = true;
    (*begins)[axis] = pads[i];
    (*ends)[axis] = pads[count + i];
  }
  return absl::OkStatus();
}

absl::Status InferPad(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(PadModeAttribute(ctx.attributes).status());
  std::optional<std::vector<Dim>> pads;
  std::optional<std::vector<int64_t>> axes = std::vector<int64_t>();
  const bool axes_given = ctx.version() >= 11 && ctx.has_input(3);
  if (ctx.version() < 11) {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> numbers, ctx.attributes.Ints(PadsAttribute(ctx.version())));
    pads.emplace(numbers.begin(), numbers.end());
  } else {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
    pads = ctx.content(1);
    if (ctx.has_input(2)) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
      if (ctx.has_shape(2) && ctx.shape(2).known() && CountOf(ctx.shape(2).ToDims()) != 1) {
        return InvalidArgument("constant_value: expected one element, got ", ctx.shape(2).ToString());
      }
    }
    if (axes_given) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(3, kIndexTypes));
      axes = ctx.constant_ints(3);
    }
  }
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape shape = ctx.shape(0);
  if (!axes.has_value()) {
    ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(shape.rank()));
    return absl::OkStatus();
  }
  if (!pads.has_value()) pads.emplace(2 * (axes_given ? axes->size() : shape.size()), Dim::Unknown());
  std::vector<Dim> begins, ends;
  RONDO_RETURN_IF_ERROR(SpreadPads(*pads, *axes, axes_given, shape.rank(), &begins, &ends));
  for (int i = 0; i < shape.rank(); ++i) {
    const Dim padded = shape[i] + begins[i] + ends[i];
    // Cropping more than there is is an error, also where the other end grows enough to hide it.
    const Dim cropped = shape[i] + Dim::Min(begins[i], 0) + Dim::Min(ends[i], 0);
    if (cropped.known() && cropped.value() < 0) {
      return InvalidArgument("pads: ", begins[i].ToString(), " and ", ends[i].ToString(), " crop more than the ",
                             shape[i].ToString(), " of axis ", i);
    }
    if (shape[i].known() && begins[i].known() && ends[i].known() && !padded.known()) {
      return OutOfRange("pads: ", begins[i].value(), " and ", ends[i].value(), " added to the ", shape[i].value(),
                        " of axis ", i, " overflow 64 bits");
    }
    shape[i] = padded;
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  return absl::OkStatus();
}

// One padded axis. Computed per position instead of stored: a list of positions could outgrow the tensor itself.
struct PadAxis {
  PadMode mode = PadMode::kConstant;
  int64_t width = 1;   // of the output
  int64_t size = 1;    // what is left of the source after cropping
  int64_t crop = 0;    // source elements cut off at the start
  int64_t shift = 0;   // output elements before the source's first
  int64_t stride = 0;  // of the source

  // Source position of output position `at`; -1: fill.
  int64_t Source(int64_t at) const {
    at -= shift;
    if (at < 0 || at >= size) {
      switch (mode) {
        case PadMode::kConstant:
          return -1;
        case PadMode::kEdge:
          at = std::clamp<int64_t>(at, 0, size - 1);
          break;
        case PadMode::kWrap:
          at = (at % size + size) % size;
          break;
        case PadMode::kReflect: {
          const int64_t period = std::max<int64_t>(1, 2 * (size - 1));
          at = (at % period + period) % period;
          if (at >= size) at = period - at;
          break;
        }
      }
    }
    return at + crop;
  }
};

absl::StatusOr<PadAxis> MakePadAxis(PadMode mode, int64_t extent, int64_t begin, int64_t end, int64_t stride) {
  PadAxis axis;
  axis.mode = mode;
  axis.width = extent + begin + end;
  axis.crop = std::max<int64_t>(0, -begin);
  axis.size = extent - axis.crop - std::max<int64_t>(0, -end);
  axis.shift = std::max<int64_t>(0, begin);
  axis.stride = stride;
  if (axis.size == 0 && axis.width > 0 && mode != PadMode::kConstant) {
    return InvalidArgument("expected elements to pad from, got an axis without");
  }
  return axis;
}

// One element of `type` that holds `value`, as the old versions' float attribute says it.
absl::StatusOr<Tensor> FillTensor(DataType type, float value) {
  Tensor fill = Tensor::Make(type, {});
  if (value == 0.0f) return fill;
  switch (type) {
    case DataType::kFloat:
      *fill.mutable_data<float>() = value;
      break;
    case DataType::kDouble:
      *fill.mutable_data<double>() = value;
      break;
    case DataType::kFloat16:
      *fill.mutable_data<Float16>() = Float16(value);
      break;
    case DataType::kBFloat16:
      fill.mutable_data<BFloat16>()->bits = BFloat16::FromFloat(value);
      break;
    default:
      return Unimplemented("attribute \"value\" for element type ", DataTypeName(type), " is not supported");
  }
  return fill;
}

struct PadPlan {
  // Axes before the last that is padded, that one, and the elements below it, which are copied whole.
  absl::InlinedVector<PadAxis, 4> outer;
  PadAxis inner;
  int64_t rows = 1, block = 1;
};

template <typename T>
void RunPad(const PadPlan& plan, const T* from, T fill, T* to) {
  const PadAxis& inner = plan.inner;
  const int64_t width = inner.width, block = plan.block;
  ParallelFor(plan.rows, GrainForBytes(width * block * sizeof(T)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* out = to + row * width * block;
      int64_t source = 0, rest = row;
      bool inside = true;
      for (int i = static_cast<int>(plan.outer.size()) - 1; i >= 0; --i) {
        const int64_t at = plan.outer[i].Source(rest % plan.outer[i].width);
        rest /= plan.outer[i].width;
        inside &= at >= 0;
        source += at * plan.outer[i].stride;
      }
      if (!inside) {
        std::fill_n(out, width * block, fill);
        continue;
      }
      const T* line = from + source;
      auto border = [&](int64_t first, int64_t last) {
        if (inner.mode == PadMode::kConstant) {
          std::fill(out + first * block, out + last * block, fill);
          return;
        }
        for (int64_t o = first; o < last; ++o) CopyRun(out + o * block, line + inner.Source(o) * block, block);
      };
      border(0, inner.shift);
      CopyRun(out + inner.shift * block, line + inner.crop * block, inner.size * block);
      border(inner.shift + inner.size, width);
    }
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> PreparePad(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  const int rank = static_cast<int>(from.size());
  RONDO_ASSIGN_OR_RETURN(PadMode mode, PadModeAttribute(ctx.attributes));
  std::vector<int64_t> pads, axes, begins, ends;
  bool axes_given = false;
  Tensor fill = Tensor::Make(ctx.input_dtype(0), {});
  if (ctx.version() < 11) {
    RONDO_ASSIGN_OR_RETURN(pads, ctx.attributes.Ints(PadsAttribute(ctx.version())));
    RONDO_ASSIGN_OR_RETURN(float value, ctx.attributes.Float("value", 0));
    RONDO_ASSIGN_OR_RETURN(fill, FillTensor(ctx.input_dtype(0), value));
  } else {
    pads = ctx.constant_ints(1);
    axes = ctx.constant_ints(3);
    axes_given = ctx.has_input(3);
  }
  RONDO_RETURN_IF_ERROR(SpreadPads(pads, axes, axes_given, rank, &begins, &ends));
  PadPlan plan;
  int padded = rank;  // number of axes up to the last that changes
  while (padded > 0 && begins[padded - 1] == 0 && ends[padded - 1] == 0) plan.block *= from[--padded];
  const Dims strides = RowMajorStrides(from);
  for (int i = 0; i < padded; ++i) {
    RONDO_ASSIGN_OR_RETURN(plan.inner, MakePadAxis(mode, from[i], begins[i], ends[i], strides[i]));
    if (i + 1 == padded) break;
    plan.outer.push_back(plan.inner);
    plan.rows *= plan.inner.width;
  }
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([plan, fill](RunContext& run) {
      RunPad<T>(plan, run.in<T>(0), run.has_input(2) ? *run.in<T>(2) : *fill.data<T>(), run.out<T>(0));
      return absl::OkStatus();
    });
  });
}

// ---- CenterCropPad(data, shape [n]; axes = all) -> data cut or zero-padded about its centre to `shape` on those axes;
// odd differences leave the larger part at the end.

absl::StatusOr<std::vector<int>> CropAxes(const AttributeReader& attributes, int rank) {
  std::vector<int> axes;
  if (!attributes.Has("axes")) {
    for (int i = 0; i < rank; ++i) axes.push_back(i);
    return axes;
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> given, attributes.Ints("axes"));
  for (int64_t axis : given) {
    RONDO_ASSIGN_OR_RETURN(int i, NormalizeAxis(axis, rank, "axes:"));
    if (std::find(axes.begin(), axes.end(), i) != axes.end()) return InvalidArgument("axes: ", axis, " occurs twice");
    axes.push_back(i);
  }
  return axes;
}

absl::Status InferCenterCropPad(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kIndexTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape shape = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(std::vector<int> axes, CropAxes(ctx.attributes, shape.rank()));
  const std::vector<Dim> wanted = ctx.content(1).value_or(std::vector<Dim>(axes.size(), Dim::Unknown()));
  if (wanted.size() != axes.size()) {
    return InvalidArgument("shape: expected ", axes.size(), " dims, one per axis, got ", wanted.size());
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    if (wanted[i].known() && wanted[i].value() < 0) {
      return InvalidArgument("shape: expected dims >= 0, got ", wanted[i].value());
    }
    shape[axes[i]] = wanted[i];
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareCenterCropPad(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0), to = ctx.output_dims(0);
  StridedBlock block;
  block.src_strides = RowMajorStrides(from);
  block.dst_strides = RowMajorStrides(to);
  bool fills = false;
  for (size_t i = 0; i < from.size(); ++i) {
    block.dims.push_back(std::min(from[i], to[i]));
    block.src_offset += std::max<int64_t>(0, from[i] - to[i]) / 2 * block.src_strides[i];
    block.dst_offset += std::max<int64_t>(0, to[i] - from[i]) / 2 * block.dst_strides[i];
    fills |= to[i] > from[i];
  }
  return MakeKernel([fills, copy = StridedCopy(ctx.input_dtype(0), block)](RunContext& run) {
    Tensor& to = run.output(0);
    if (fills && to.dtype() == DataType::kString) {
      std::fill_n(to.mutable_data<std::string>(), to.size(), std::string());
    } else if (fills) {
      std::memset(to.mutable_raw(), 0, to.bytes());
    }
    copy.Run(run.input(0).raw(), to.mutable_raw());
    return absl::OkStatus();
  });
}

// ---- DepthToSpace(data [N, C*b*b, H, W]; blocksize=b, mode="DCR") -> [N, C, H*b, W*b]: depth is read as [b, b, C]
// (DCR) or [C, b, b] (CRD, since 11). SpaceToDepth(data [N, C, H*b, W*b]) -> [N, b*b*C, H, W] is DCR's inverse.

absl::StatusOr<int64_t> BlockSize(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(int64_t size, attributes.Int("blocksize"));
  if (size < 1 || size > (int64_t{1} << 30)) return InvalidArgument("blocksize: expected 1 or more, got ", size);
  return size;
}

absl::StatusOr<bool> IsDepthFirst(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode", "DCR"));
  if (mode != "DCR" && mode != "CRD") return InvalidArgument("mode: expected DCR or CRD, got \"", mode, "\"");
  return mode == "DCR";
}

absl::StatusOr<Dim> Divided(const Dim& dim, int64_t divisor, absl::string_view what) {
  if (dim.known() && dim.value() % divisor != 0) {
    return InvalidArgument(what, ": expected a multiple of ", divisor, ", got ", dim.value());
  }
  return Dim::FloorDiv(dim, divisor);
}

absl::Status InferDepthToSpace(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t block, BlockSize(ctx.attributes));
  RONDO_RETURN_IF_ERROR(IsDepthFirst(ctx.attributes).status());
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 4, 4));
  Shape from = ctx.has_shape(0) ? ctx.shape(0) : Shape::UnknownOfRank(4);
  RONDO_ASSIGN_OR_RETURN(Dim channels, Divided(from[1], block * block, "channels"));
  ctx.SetOutput(0, ctx.dtype(0), Shape{from[0], channels, from[2] * block, from[3] * block});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareDepthToSpace(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t b, BlockSize(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(bool depth_first, IsDepthFirst(ctx.attributes));
  const Dims from = ctx.input_dims(0);
  const int64_t channels = from[1] / (b * b);
  if (depth_first) {
    return MakeCopyKernel(ctx.input_dtype(0),
                          PermutedBlock({from[0], b, b, channels, from[2], from[3]}, {0, 3, 4, 1, 5, 2}));
  }
  return MakeCopyKernel(ctx.input_dtype(0),
                        PermutedBlock({from[0], channels, b, b, from[2], from[3]}, {0, 1, 4, 2, 5, 3}));
}

absl::Status InferSpaceToDepth(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t block, BlockSize(ctx.attributes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 4, 4));
  Shape from = ctx.has_shape(0) ? ctx.shape(0) : Shape::UnknownOfRank(4);
  RONDO_ASSIGN_OR_RETURN(Dim height, Divided(from[2], block, "height"));
  RONDO_ASSIGN_OR_RETURN(Dim width, Divided(from[3], block, "width"));
  ctx.SetOutput(0, ctx.dtype(0), Shape{from[0], from[1] * Dim(block * block), height, width});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareSpaceToDepth(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t b, BlockSize(ctx.attributes));
  const Dims from = ctx.input_dims(0);
  return MakeCopyKernel(ctx.input_dtype(0),
                        PermutedBlock({from[0], from[1], from[2] / b, b, from[3] / b, b}, {0, 3, 5, 1, 2, 4}));
}

// ---- ReverseSequence(data, sequence_lens [B] int64; time_axis=0, batch_axis=1) -> the first sequence_lens[b] time
// steps of each batch item in reverse order, the others as they are. One axis is 0, the other 1.

absl::StatusOr<bool> IsTimeMajor(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(int64_t time, attributes.Int("time_axis", 0));
  RONDO_ASSIGN_OR_RETURN(int64_t batch, attributes.Int("batch_axis", 1));
  if ((time != 0 || batch != 1) && (time != 1 || batch != 0)) {
    return InvalidArgument("time_axis and batch_axis: expected 0 and 1 or 1 and 0, got ", time, " and ", batch);
  }
  return time == 0;
}

absl::Status InferReverseSequence(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 1 << 20));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
  RONDO_ASSIGN_OR_RETURN(bool time_major, IsTimeMajor(ctx.attributes));
  ctx.SetOutputType(0, ctx.input_type(0));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) return absl::OkStatus();
  const Dim &batch = ctx.shape(0)[time_major ? 1 : 0], &lens = ctx.shape(1)[0];
  if (batch.known() && lens.known() && batch != lens) {
    return InvalidArgument("sequence_lens: expected one per batch item (", batch.value(), "), got ", lens.value());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareReverseSequence(PrepareContext& ctx) {
  const Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(bool time_major, IsTimeMajor(ctx.attributes));
  const int64_t steps = dims[time_major ? 0 : 1], batch = dims[time_major ? 1 : 0];
  const int64_t row = CountOf(absl::Span<const int64_t>(dims).subspan(2));
  const int64_t step_stride = time_major ? batch : 1, batch_stride = time_major ? 1 : steps;
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const int64_t* lens = run.in<int64_t>(1);
      for (int64_t b = 0; b < batch; ++b) {
        if (lens[b] < 0 || lens[b] > steps) {
          return OutOfRange("sequence_lens[", b, "] is ", lens[b], ", expected 0 to ", steps);
        }
      }
      const T* from = run.in<T>(0);
      T* to = run.out<T>(0);
      ParallelFor(batch * steps, GrainForBytes(row * sizeof(T)), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          const int64_t b = k / steps, t = k % steps;
          const int64_t source = t < lens[b] ? lens[b] - 1 - t : t;
          CopyRun(to + (b * batch_stride + t * step_stride) * row,
                  from + (b * batch_stride + source * step_stride) * row, row);
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- Trilu(x [..., M, N], k = 0 int64; upper=1) -> x with the elements below (above) diagonal k set to zero.

absl::Status InferTrilu(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 1 << 20));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("upper", true).status());
  if (ctx.has_input(1)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    if (ctx.has_shape(1) && ctx.shape(1).known() && CountOf(ctx.shape(1).ToDims()) != 1) {
      return InvalidArgument("k: expected one element, got ", ctx.shape(1).ToString());
    }
  }
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTrilu(PrepareContext& ctx) {
  const Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(bool upper, ctx.attributes.Flag("upper", true));
  const int64_t height = dims[dims.size() - 2], width = dims.back();
  const int64_t rows = CountOf(absl::Span<const int64_t>(dims).subspan(0, dims.size() - 1));
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      // Beyond the matrix every diagonal is alike, and a clamped one cannot overflow below.
      const int64_t k = run.has_input(1) ? std::clamp(*run.in<int64_t>(1), -height - 1, width + 1) : 0;
      const T* from = run.in<T>(0);
      T* to = run.out<T>(0);
      ParallelFor(rows, GrainForBytes(width * sizeof(T)), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t diagonal = row % height + k;
          const int64_t split = std::clamp<int64_t>(upper ? diagonal : diagonal + 1, 0, width);
          const int64_t first = upper ? split : 0, last = upper ? width : split;
          const T* source = from + row * width;
          T* out = to + row * width;
          if (source != out) CopyRun(out + first, source + first, last - first);
          std::fill(out, out + first, T());
          std::fill(out + last, out + width, T());
        }
      });
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "Pad", .since = 1, .infer = InferPad, .prepare = Unpacked<PreparePad>},
    {.type = "Pad",
     .since = 11,
     .inputs = {2, 4},
     .infer = InferPad,
     .prepare = Unpacked<PreparePad>,
     .content_inputs = InputBit(1) | InputBit(3)},
    {.type = "CenterCropPad",
     .since = 18,
     .inputs = {2, 2},
     .infer = InferCenterCropPad,
     .prepare = Unpacked<PrepareCenterCropPad>,
     .content_inputs = InputBit(1)},
    {.type = "DepthToSpace", .since = 1, .infer = InferDepthToSpace, .prepare = Unpacked<PrepareDepthToSpace>},
    {.type = "SpaceToDepth", .since = 1, .infer = InferSpaceToDepth, .prepare = Unpacked<PrepareSpaceToDepth>},
    {.type = "ReverseSequence",
     .since = 10,
     .inputs = {2, 2},
     .infer = InferReverseSequence,
     .prepare = Unpacked<PrepareReverseSequence>},
    {.type = "Trilu",
     .since = 14,
     .inputs = {1, 2},
     .infer = InferTrilu,
     .prepare = Unpacked<PrepareTrilu>,
     .in_place = InputBit(0)},
};

}  // namespace

absl::Span<const OpDef> RearrangeFamily() { return kRows; }

}  // namespace rondo
