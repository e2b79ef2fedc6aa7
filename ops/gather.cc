// Operators that pick elements or rows by index: Gather, GatherElements, GatherND, OneHot, NonZero, Compress.
//
// Index values come from data: each kernel checks all of them before it reads with any. What is gathered is a run of
// elements that lie together, so the work is memcpy; single elements have a typed loop of their own.
#include <limits>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

// ---- Gather(data, indices; axis=0) -> data.shape[:axis] + indices.shape + data.shape[axis+1:].

absl::Status InferGather(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kIndexTypes));
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& from = ctx.shape(0);
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1 << 20));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, from.rank()));
  Shape shape(from.begin(), from.begin() + axis);
  shape.insert(shape.end(), ctx.shape(1).begin(), ctx.shape(1).end());
  shape.insert(shape.end(), from.begin() + axis + 1, from.end());
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));

  std::optional<SmallContent> content = ContentOf(ctx, 0), picks = ContentOf(ctx, 1);
  if (!content.has_value() || !picks.has_value() || content->dims.size() != 1) return absl::OkStatus();
  std::vector<Dim> values;
  const int64_t extent = content->dims[0];
  for (const Dim& pick : picks->values) {
    if (!pick.known() || pick.value() < -extent || pick.value() >= extent) return absl::OkStatus();
    values.push_back(content->values[pick.value() < 0 ? pick.value() + extent : pick.value()]);
  }
  ctx.SetOutputContent(0, std::move(values));
  return absl::OkStatus();
}

// [outer, extent, inner] gathered by [count] to [outer, count, inner].
struct GatherSizes {
  int64_t outer, extent, inner, count;
  int axis;
};

template <typename T>
void GatherRows(const GatherSizes& sizes, const T* from, const Tensor& indices, T* to) {
  const IndexReader index(indices);
  const int64_t run_bytes = sizes.inner * static_cast<int64_t>(sizeof(T));
  ParallelFor(sizes.outer * sizes.count, GrainForBytes(run_bytes), [&](int64_t begin, int64_t end) {
    int64_t outer = begin / sizes.count, i = begin % sizes.count;
    for (int64_t k = begin; k < end; ++k) {
      int64_t at = index[i];
      if (at < 0) at += sizes.extent;
      const T* source = from + (outer * sizes.extent + at) * sizes.inner;
      if (sizes.inner == 1) {
        to[k] = *source;
      } else {
        CopyRun(to + k * sizes.inner, source, sizes.inner);
      }
      if (++i == sizes.count) {
        i = 0;
        ++outer;
      }
    }
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGather(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  GatherSizes sizes;
  RONDO_ASSIGN_OR_RETURN(sizes.axis, NormalizeAxis(axis_attribute, static_cast<int>(from.size())));
  const absl::Span<const int64_t> dims(from);
  sizes.outer = CountOf(dims.subspan(0, sizes.axis));
  sizes.extent = from[sizes.axis];
  sizes.inner = CountOf(dims.subspan(sizes.axis + 1));
  sizes.count = CountOf(ctx.input_dims(1));
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([sizes](RunContext& run) {
      RONDO_RETURN_IF_ERROR(CheckIndices(run.input(1), sizes.extent, sizes.axis));
      GatherRows<T>(sizes, run.in<T>(0), run.input(1), run.out<T>(0));
      return absl::OkStatus();
    });
  });
}

// ---- GatherElements(data, indices; axis=0) -> indices.shape; output[i][j].. = data[i][indices[i][j]].. for axis 1.

absl::Status InferGatherElements(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kIndexTypes));
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  if (!ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape& shape = ctx.shape(1);
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1 << 20));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, shape.rank(), shape.rank()));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, shape.rank()));
  if (ctx.has_shape(0)) {
    for (int i = 0; i < shape.rank(); ++i) {
      const Dim &have = ctx.shape(0)[i], &want = shape[i];
      if (i != axis && have.known() && want.known() && want.value() > have.value()) {
        return InvalidArgument("indices ", shape.ToString(), " do not fit the data ", ctx.shape(0).ToString(), ": dim ",
                               i);
      }
    }
  }
  ctx.SetOutput(0, ctx.dtype(0), shape);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGatherElements(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0), to = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  const int rank = static_cast<int>(to.size());
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, rank));
  const Dims strides = RowMajorStrides(from);
  const int64_t row = to[rank - 1], rows = CountOf(absl::MakeSpan(to).subspan(0, rank - 1));
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const int64_t extent = from[axis], step = strides[axis];
      RONDO_RETURN_IF_ERROR(CheckIndices(run.input(1), extent, axis));
      const IndexReader index(run.input(1));
      const T* data = run.in<T>(0);
      T* out = run.out<T>(0);
      ParallelFor(rows, GrainForBytes(row * (sizeof(T) + 8)), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          int64_t base = 0, rest = k;
          for (int i = rank - 2; i >= 0; --i) {
            if (i != axis) base += rest % to[i] * strides[i];
            rest /= to[i];
          }
          const int64_t along = axis == rank - 1 ? 0 : 1;
          for (int64_t j = 0; j < row; ++j) {
            int64_t at = index[k * row + j];
            if (at < 0) at += extent;
            out[k * row + j] = data[base + j * along + at * step];
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- GatherND(data, indices [..., k] int64; batch_dims=0 (since 12)) -> indices.shape[:-1] + data.shape[b+k:]: each
// tuple of k indices names a slice of data, within its own batch.

absl::StatusOr<int> BatchDims(int version, const AttributeReader& attributes, int data_rank, int indices_rank) {
  int64_t batch_dims = 0;
  if (version >= 12) {
    RONDO_ASSIGN_OR_RETURN(batch_dims, attributes.Int("batch_dims", 0));
  }
  if (batch_dims < 0 || batch_dims >= std::min(data_rank, indices_rank)) {
    return InvalidArgument("batch_dims: expected 0 to ", std::min(data_rank, indices_rank) - 1, ", got ", batch_dims);
  }
  return static_cast<int>(batch_dims);
}

absl::Status InferGatherNd(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1 << 20));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1 << 20));
  if (!ctx.has_shape(0) || !ctx.has_shape(1) || !ctx.shape(1).back().known()) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  const Shape &data = ctx.shape(0), &indices = ctx.shape(1);
  RONDO_ASSIGN_OR_RETURN(int batch_dims, BatchDims(ctx.version(), ctx.attributes, data.rank(), indices.rank()));
  const int64_t k = indices.back().value();
  if (k < 1 || k > data.rank() - batch_dims) {
    return InvalidArgument("indices: expected a last dim of 1 to ", data.rank() - batch_dims, " for data ",
                           data.ToString(), ", got ", k);
  }
  for (int i = 0; i < batch_dims; ++i) {
    if (data[i].known() && indices[i].known() && data[i] != indices[i]) {
      return InvalidArgument("batch dim ", i, ": data has ", data[i].value(), ", indices have ", indices[i].value());
    }
  }
  Shape shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), data.begin() + batch_dims + k, data.end());
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGatherNd(PrepareContext& ctx) {
  const Dims data = ctx.input_dims(0), indices = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(int batch_dims, BatchDims(ctx.version(), ctx.attributes, static_cast<int>(data.size()),
                                                   static_cast<int>(indices.size())));
  const int k = static_cast<int>(indices.back());
  const Dims strides = RowMajorStrides(data);
  const absl::Span<const int64_t> data_dims(data), tuple_dims(indices.data(), indices.size() - 1);
  const int64_t batches = CountOf(tuple_dims.subspan(0, batch_dims));
  const int64_t per_batch = CountOf(tuple_dims.subspan(batch_dims));
  const int64_t batch_stride = batch_dims == 0 ? 0 : strides[batch_dims - 1];
  const int64_t run_length = CountOf(data_dims.subspan(batch_dims + k));
  const IndexTuples tuples(Dims(data.begin() + batch_dims, data.begin() + batch_dims + k),
                           Dims(strides.begin() + batch_dims, strides.begin() + batch_dims + k), batch_dims);
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const int64_t* index = run.in<int64_t>(1);
      RONDO_RETURN_IF_ERROR(tuples.Check(index, batches * per_batch));
      const T* from = run.in<T>(0);
      T* to = run.out<T>(0);
      ParallelFor(batches * per_batch, GrainForBytes(run_length * sizeof(T) + 8), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const T* source = from + i / per_batch * batch_stride + tuples.Offset(index + i * tuples.size());
          CopyRun(to + i * run_length, source, run_length);
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- OneHot(indices, depth, values [off, on]; axis=-1) -> a new dim of `depth` at axis, `on` where it equals the
// index. Negative indices count from depth since 11; what is out of range has no `on` at all.

absl::StatusOr<int> OneHotAxis(const AttributeReader& attributes, int rank) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, attributes.Int("axis", -1));
  return NormalizeAxis(axis, rank + 1);
}

// Element i of any numeric tensor as int64, truncated; nullopt where int64 cannot hold it.
std::optional<int64_t> IntegerAt(const Tensor& t, int64_t i) {
  double number = 0;
  switch (t.dtype()) {
    case DataType::kInt64:
      return t.data<int64_t>()[i];
    case DataType::kInt32:
      return t.data<int32_t>()[i];
    case DataType::kInt16:
      return t.data<int16_t>()[i];
    case DataType::kInt8:
      return t.data<int8_t>()[i];
    case DataType::kUInt8:
      return t.data<uint8_t>()[i];
    case DataType::kUInt16:
      return t.data<uint16_t>()[i];
    case DataType::kUInt32:
      return t.data<uint32_t>()[i];
    case DataType::kUInt64:
      if (t.data<uint64_t>()[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(t.data<uint64_t>()[i]);
    case DataType::kFloat:
      number = t.data<float>()[i];
      break;
    case DataType::kDouble:
      number = t.data<double>()[i];
      break;
    case DataType::kFloat16:
      number = static_cast<float>(t.data<Float16>()[i]);
      break;
    case DataType::kBFloat16:
      number = static_cast<float>(t.data<BFloat16>()[i]);
      break;
    default:
      return std::nullopt;
  }
  if (!(number > -9e18 && number < 9e18)) return std::nullopt;
  return static_cast<int64_t>(number);
}

constexpr DataType kNumericTypes[] = {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBFloat16,
                                      DataType::kInt8,  DataType::kInt16,  DataType::kInt32,   DataType::kInt64,
                                      DataType::kUInt8, DataType::kUInt16, DataType::kUInt32,  DataType::kUInt64};

absl::Status InferOneHot(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kNumericTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kNumericTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
  if (ctx.has_shape(2) && ctx.shape(2)[0].known() && ctx.shape(2)[0].value() != 2) {
    return InvalidArgument("values: expected [off, on], got ", ctx.shape(2)[0].value(), " elements");
  }
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(2));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(int axis, OneHotAxis(ctx.attributes, ctx.shape(0).rank()));
  Dim depth = ScalarContent(ctx, 1);
  if (Tensor constant = ctx.constant(1); constant.defined()) {
    if (constant.size() != 1) return InvalidArgument("depth: expected one element, got ", constant.size());
    std::optional<int64_t> value = IntegerAt(constant, 0);
    if (!value.has_value() || *value < 0) return InvalidArgument("depth: expected a number >= 0");
    depth = Dim(*value);
  }
  Shape shape = ctx.shape(0);
  shape.insert(shape.begin() + axis, depth);
  ctx.SetOutput(0, ctx.dtype(2), std::move(shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareOneHot(PrepareContext& ctx) {
  const Dims indices = ctx.input_dims(0), to = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(int axis, OneHotAxis(ctx.attributes, static_cast<int>(indices.size())));
  const absl::Span<const int64_t> dims(indices);
  const int64_t outer = CountOf(dims.subspan(0, axis)), inner = CountOf(dims.subspan(axis)), depth = to[axis];
  const bool from_end = ctx.version() >= 11;
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(2), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const Tensor& index = run.input(0);
      const T off = run.in<T>(2)[0], on = run.in<T>(2)[1];
      T* out = run.out<T>(0);
      ParallelFor(outer, GrainForBytes(depth * inner * sizeof(T)), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          T* block = out + o * depth * inner;
          std::fill_n(block, depth * inner, off);
          for (int64_t i = 0; i < inner; ++i) {
            const std::optional<int64_t> at = IntegerAt(index, o * inner + i);
            if (!at.has_value() || *at >= depth || *at < (from_end ? -depth : 0)) continue;
            block[(*at < 0 ? *at + depth : *at) * inner + i] = on;
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- NonZero(x) -> [rank, n] int64: the coordinates of the n elements that are not zero, in row-major order.

template <typename T>
bool IsNonZero(const T& v) {
  if constexpr (std::is_same_v<T, std::string>) {
    return !v.empty();
  } else if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return (v.bits & 0x7fff) != 0;
  } else {
    return v != T(0);
  }
}

absl::Status InferNonZero(InferContext& ctx) {
  const Dim rank = ctx.has_shape(0) ? Dim(ctx.shape(0).rank()) : Dim::Unknown();
  ctx.SetOutput(0, DataType::kInt64, Shape{rank, Dim::Unknown()});
  return absl::OkStatus();
}

using NonZeroTypes = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                              int64_t, uint64_t, std::string, std::complex<float>, std::complex<double>>;

absl::StatusOr<std::unique_ptr<Kernel>> PrepareNonZero(PrepareContext& ctx) {
  const Dims from = ctx.input_dims(0);
  // A bool is a byte; what is read from a file may be any byte.
  const DataType type = ctx.input_dtype(0) == DataType::kBool ? DataType::kUInt8 : ctx.input_dtype(0);
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(NonZeroTypes{}, type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([from](RunContext& run) {
      const T* data = run.in<T>(0);
      const int64_t size = run.input(0).size();
      const int rank = static_cast<int>(from.size());
      int64_t count = 0;
      for (int64_t i = 0; i < size; ++i) count += IsNonZero(data[i]);
      RONDO_RETURN_IF_ERROR(run.AllocateOutput(0, {rank, count}));
      int64_t* out = run.out<int64_t>(0);
      if (rank == 0 || count == 0) return absl::OkStatus();
      const int64_t row = from[rank - 1];
      Dims at(rank, 0);
      int64_t found = 0;
      for (int64_t begin = 0; begin < size; begin += row) {
        for (int64_t j = 0; j < row; ++j) {
          if (!IsNonZero(data[begin + j])) continue;
          for (int d = 0; d < rank - 1; ++d) out[d * count + found] = at[d];
          out[(rank - 1) * count + found++] = j;
        }
        for (int d = rank - 2; d >= 0; --d) {
          if (++at[d] < from[d]) break;
          at[d] = 0;
        }
      }
      return absl::OkStatus();
    });
  });
}

// ---- Compress(data, condition [n] bool; axis) -> the slices along axis whose condition holds; without axis, of the
// flattened data. The condition may be shorter than the axis.

absl::Status InferCompress(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kBool}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
  if (!ctx.attributes.Has("axis")) {
    ctx.SetOutput(0, ctx.dtype(0), Shape{Dim::Unknown()});
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis"));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape shape = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, shape.rank()));
  shape[axis] = Dim::Unknown();
  ctx.SetOutput(0, ctx.dtype(0), std::move(shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareCompress(PrepareContext& ctx) {
  const bool flat = !ctx.attributes.Has("axis");
  const Dims from = flat ? Dims{CountOf(ctx.input_dims(0))} : ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, static_cast<int>(from.size())));
  const absl::Span<const int64_t> dims(from);
  const int64_t outer = CountOf(dims.subspan(0, axis)), extent = from[axis], inner = CountOf(dims.subspan(axis + 1));
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const uint8_t* condition = run.in<uint8_t>(1);
      const int64_t length = run.input(1).size();
      int64_t count = 0;
      for (int64_t i = 0; i < length; ++i) {
        if (condition[i] == 0) continue;
        if (i >= extent) return IndexOutOfRange(i, extent, axis);
        ++count;
      }
      Dims to = from;
      to[axis] = count;
      RONDO_RETURN_IF_ERROR(run.AllocateOutput(0, to));
      const T* data = run.in<T>(0);
      T* out = run.out<T>(0);
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t i = 0; i < std::min(length, extent); ++i) {
          if (condition[i] == 0) continue;
          CopyRun(out, data + (o * extent + i) * inner, inner);
          out += inner;
        }
      }
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "Gather", .since = 1, .inputs = {2, 2}, .infer = InferGather, .prepare = Unpacked<PrepareGather>},
    {.type = "GatherElements",
     .since = 11,
     .inputs = {2, 2},
     .infer = InferGatherElements,
     .prepare = Unpacked<PrepareGatherElements>},
    {.type = "GatherND", .since = 11, .inputs = {2, 2}, .infer = InferGatherNd, .prepare = Unpacked<PrepareGatherNd>},
    {.type = "OneHot",
     .since = 9,
     .inputs = {3, 3},
     .infer = InferOneHot,
     .prepare = Unpacked<PrepareOneHot>,
     .content_inputs = InputBit(1)},
    {.type = "NonZero", .since = 9, .infer = InferNonZero, .prepare = PrepareNonZero},
    {.type = "Compress", .since = 9, .inputs = {2, 2}, .infer = InferCompress, .prepare = PrepareCompress},
};

}  // namespace

absl::Span<const OpDef> GatherFamily() { return kRows; }

}  // namespace rondo
