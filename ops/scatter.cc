// Operators that write updates into a copy of their first input: Scatter(Elements), ScatterND, TensorScatter, and the
// rows of rewritten ScatterNDs.
//
// The output may be the input's own storage (in_place): where the old contents die here, as a KV cache's do in a decode
// loop, nothing but the updated elements is touched. Every index is checked before the first write, so that a failed
// run leaves such a buffer whole.
#include <atomic>
#include <type_traits>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

absl::StatusOr<Reduction> ReductionAttribute(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string name, attributes.String("reduction", "none"));
  if (name == "none") return Reduction::kNone;
  if (name == "add") return Reduction::kAdd;
  if (name == "mul") return Reduction::kMul;
  if (name == "max") return Reduction::kMax;
  if (name == "min") return Reduction::kMin;
  return InvalidArgument("reduction: expected none, add, mul, max or min, got \"", name, "\"");
}

struct Assign {
  template <typename T>
  void operator()(T& slot, const T& update) const {
    slot = update;
  }
};
struct Add {
  template <typename T>
  void operator()(T& slot, const T& update) const {
    if constexpr (std::is_integral_v<T>) {
      slot = static_cast<T>(static_cast<std::make_unsigned_t<T>>(slot) + static_cast<std::make_unsigned_t<T>>(update));
    } else {
      slot = T(static_cast<ComputeType<T>>(slot) + static_cast<ComputeType<T>>(update));
    }
  }
};
struct Mul {
  template <typename T>
  void operator()(T& slot, const T& update) const {
    if constexpr (std::is_integral_v<T>) {
      // In uint64, or promotion of 16-bit factors to int could overflow.
      slot = static_cast<T>(static_cast<uint64_t>(slot) * static_cast<uint64_t>(update));
    } else {
      slot = T(static_cast<ComputeType<T>>(slot) * static_cast<ComputeType<T>>(update));
    }
  }
};
// NaN wins, as in numpy's maximum and minimum.
struct Max {
  template <typename T>
  void operator()(T& slot, const T& update) const {
    const auto a = static_cast<ComputeType<T>>(slot), b = static_cast<ComputeType<T>>(update);
    if (b > a || b != b) slot = update;
  }
};
struct Min {
  template <typename T>
  void operator()(T& slot, const T& update) const {
    const auto a = static_cast<ComputeType<T>>(slot), b = static_cast<ComputeType<T>>(update);
    if (b < a || b != b) slot = update;
  }
};

// Calls make(TypeTag<T>, op) for the element type and reduction; plain assignment needs the type's size alone.
template <typename Fn>
absl::StatusOr<std::unique_ptr<Kernel>> DispatchReduction(DataType type, Reduction reduction, Fn&& make) {
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  if (reduction == Reduction::kNone) {
    return DispatchBySize<Result>(type, [&](auto tag) { return make(tag, Assign()); });
  }
  // For truth values, or is the sum and the maximum, and the product and the minimum.
  if (type == DataType::kBool) {
    if (reduction == Reduction::kAdd || reduction == Reduction::kMax) return make(TypeTag<uint8_t>(), Max());
    return make(TypeTag<uint8_t>(), Min());
  }
  return DispatchResult<Result>(NumericTypes{}, type, [&](auto tag) -> Result {
    switch (reduction) {
      case Reduction::kAdd:
        return make(tag, Add());
      case Reduction::kMul:
        return make(tag, Mul());
      case Reduction::kMax:
        return make(tag, Max());
      default:
        return make(tag, Min());
    }
  });
}

std::atomic<int64_t> copied_bytes{0};

// Copies input 0 to output 0 unless they are the same storage.
template <typename T>
T* StartFromInput(RunContext& run) {
  const T* from = run.in<T>(0);
  T* to = run.out<T>(0);
  if (from == to) return to;
  copied_bytes.fetch_add(static_cast<int64_t>(run.input(0).bytes()), std::memory_order_relaxed);
  ParallelFor(run.input(0).size(), GrainForBytes(sizeof(T)),
              [&](int64_t begin, int64_t end) { CopyRun(to + begin, from + begin, end - begin); });
  return to;
}

void SetOutputLikeInput(InferContext& ctx) { ctx.SetOutputType(0, ctx.input_type(0)); }

// ---- ScatterElements(data, indices, updates; axis=0, reduction="none") -> data with
// output[i][indices[i][j]].. = updates[i][j].. for axis 1. Scatter is its old name.

absl::Status InferScatterElements(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kIndexTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1 << 20));
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  RONDO_RETURN_IF_ERROR(ReductionAttribute(ctx.attributes).status());
  SetOutputLikeInput(ctx);
  if (!ctx.has_shape(0) || !ctx.has_shape(1) || !ctx.has_shape(2)) return absl::OkStatus();
  const Shape &data = ctx.shape(0), &indices = ctx.shape(1), &updates = ctx.shape(2);
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, data.rank()));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, data.rank(), data.rank()));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, data.rank(), data.rank()));
  for (int i = 0; i < data.rank(); ++i) {
    if (indices[i].known() && updates[i].known() && indices[i] != updates[i]) {
      return InvalidArgument("indices ", indices.ToString(), " and updates ", updates.ToString(), " differ in dim ", i);
    }
    if (i != axis && indices[i].known() && data[i].known() && indices[i].value() > data[i].value()) {
      return InvalidArgument("indices ", indices.ToString(), " do not fit the data ", data.ToString(), ": dim ", i);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareScatterElements(PrepareContext& ctx) {
  const Dims data = ctx.input_dims(0), indices = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis", 0));
  const int rank = static_cast<int>(data.size());
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, rank));
  RONDO_ASSIGN_OR_RETURN(Reduction reduction, ReductionAttribute(ctx.attributes));
  const Dims strides = RowMajorStrides(data);
  // Positions that differ before the axis never meet: they may go in parallel. The others keep their order.
  const absl::Span<const int64_t> dims(indices);
  const int64_t outer = CountOf(dims.subspan(0, axis)), per_outer = CountOf(dims.subspan(axis));
  const int64_t row = indices[rank - 1];
  return DispatchReduction(ctx.input_dtype(0), reduction, [&](auto tag, auto reduce) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const int64_t extent = data[axis], step = strides[axis];
      RONDO_RETURN_IF_ERROR(CheckIndices(run.input(1), extent, axis));
      const IndexReader index(run.input(1));
      const T* updates = run.in<T>(2);
      T* out = StartFromInput<T>(run);
      if (outer == 0 || per_outer == 0) return absl::OkStatus();
      ParallelFor(outer, GrainForBytes(per_outer * (2 * sizeof(T) + 8)), [&](int64_t begin, int64_t end) {
        const int64_t rows_per_outer = per_outer / row;
        for (int64_t k = begin * rows_per_outer; k < end * rows_per_outer; ++k) {
          int64_t base = 0, rest = k;
          for (int i = rank - 2; i >= 0; --i) {
            if (i != axis) base += rest % indices[i] * strides[i];
            rest /= indices[i];
          }
          const int64_t along = axis == rank - 1 ? 0 : 1;
          for (int64_t j = 0; j < row; ++j) {
            int64_t at = index[k * row + j];
            if (at < 0) at += extent;
            reduce(out[base + j * along + at * step], updates[k * row + j]);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- ScatterND(data, indices [..., k] int64, updates; reduction="none") -> data with the slices that the tuples name
// replaced by (reduced with) updates, whose shape is indices.shape[:-1] + data.shape[k:].

absl::Status InferScatterNd(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1 << 20));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1 << 20));
  RONDO_RETURN_IF_ERROR(ReductionAttribute(ctx.attributes).status());
  SetOutputLikeInput(ctx);
  if (!ctx.has_shape(0) || !ctx.has_shape(1) || !ctx.shape(1).back().known()) return absl::OkStatus();
  const Shape &data = ctx.shape(0), &indices = ctx.shape(1);
  const int64_t k = indices.back().value();
  if (k < 1 || k > data.rank()) {
    return InvalidArgument("indices: expected a last dim of 1 to ", data.rank(), " for data ", data.ToString(),
                           ", got ", k);
  }
  if (!ctx.has_shape(2)) return absl::OkStatus();
  Shape expected(indices.begin(), indices.end() - 1);
  expected.insert(expected.end(), data.begin() + k, data.end());
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, expected.rank(), expected.rank()));
  for (int i = 0; i < expected.rank(); ++i) {
    if (expected[i].known() && ctx.shape(2)[i].known() && expected[i] != ctx.shape(2)[i]) {
      return InvalidArgument("updates: expected ", expected.ToString(), ", got ", ctx.shape(2).ToString());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareScatterNd(PrepareContext& ctx) {
  const Dims data = ctx.input_dims(0), indices = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(Reduction reduction, ReductionAttribute(ctx.attributes));
  const int k = static_cast<int>(indices.back());
  const Dims strides = RowMajorStrides(data);
  const absl::Span<const int64_t> data_dims(data);
  const int64_t run_length = CountOf(data_dims.subspan(k));
  const int64_t count = CountOf(absl::Span<const int64_t>(indices).subspan(0, indices.size() - 1));
  const IndexTuples tuples(Dims(data.begin(), data.begin() + k), Dims(strides.begin(), strides.begin() + k), 0);
  return DispatchReduction(ctx.input_dtype(0), reduction, [&](auto tag, auto reduce) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const int64_t* index = run.in<int64_t>(1);
      RONDO_RETURN_IF_ERROR(tuples.Check(index, count));
      const T* updates = run.in<T>(2);
      T* out = StartFromInput<T>(run);
      // Slices in rising order are all different, so they may go in parallel; that is how exporters write ranges.
      bool rising = true;
      for (int64_t i = 1, last = count > 0 ? tuples.Offset(index) : 0; i < count && rising; ++i) {
        const int64_t offset = tuples.Offset(index + i * k);
        rising = offset > last;
        last = offset;
      }
      const int64_t grain = rising ? GrainForBytes(run_length * sizeof(T) + 8 * k) : std::max<int64_t>(count, 1);
      ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          T* slice = out + tuples.Offset(index + i * k);
          const T* update = updates + i * run_length;
          if constexpr (std::is_same_v<std::remove_cv_t<decltype(reduce)>, Assign>) {
            CopyRun(slice, update, run_length);
          } else {
            for (int64_t j = 0; j < run_length; ++j) reduce(slice[j], update[j]);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- rondo::ScatterRows(data, indices [n, 1] int64, rows; axis) -> data with data[.., indices[i], ..] = rows[.., i,
// ..] along axis. rows has data's dims, n along the axis. What the scatter_rows rewrite makes.

absl::Status InferScatterRows(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 2, 2));
  SetOutputLikeInput(ctx);
  if (!ctx.has_shape(0) || !ctx.has_shape(1) || !ctx.has_shape(2)) return absl::OkStatus();
  const Shape &data = ctx.shape(0), &rows = ctx.shape(2);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis"));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, data.rank()));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, data.rank(), data.rank()));
  for (int i = 0; i < data.rank(); ++i) {
    const Dim& expected = i == axis ? ctx.shape(1)[0] : data[i];
    if (expected.known() && rows[i].known() && expected != rows[i]) {
      return InvalidArgument("rows: expected ", expected.value(), " in dim ", i, ", got ", rows.ToString());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareScatterRows(PrepareContext& ctx) {
  const Dims data = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, ctx.attributes.Int("axis"));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, static_cast<int>(data.size())));
  const absl::Span<const int64_t> dims(data);
  const int64_t outer = CountOf(dims.subspan(0, axis)), row = CountOf(dims.subspan(axis + 1));
  const int64_t extent = data[axis], count = ctx.input_dims(1)[0];
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      RONDO_RETURN_IF_ERROR(CheckIndices(run.input(1), extent, axis));
      const int64_t* index = run.in<int64_t>(1);
      const T* rows = run.in<T>(2);
      T* out = StartFromInput<T>(run);
      ParallelFor(outer, GrainForBytes(count * row * sizeof(T)), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          for (int64_t i = 0; i < count; ++i) {
            const int64_t at = index[i] < 0 ? index[i] + extent : index[i];
            CopyRun(out + (k * extent + at) * row, rows + (k * count + i) * row, row);
          }
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- TensorScatter(past_cache, update, write_indices [B] int64 = 0; axis=-2, mode="linear") -> past_cache with, per
// batch item b, update's rows at write_indices[b].. along axis; "circular" takes positions modulo its length.

absl::StatusOr<bool> IsCircular(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string mode, attributes.String("mode", "linear"));
  if (mode != "linear" && mode != "circular") {
    return InvalidArgument("mode: expected linear or circular, got \"", mode, "\"");
  }
  return mode == "circular";
}

absl::StatusOr<int> TensorScatterAxis(const AttributeReader& attributes, int rank) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis_attribute, attributes.Int("axis", -2));
  RONDO_ASSIGN_OR_RETURN(int axis, NormalizeAxis(axis_attribute, rank));
  if (axis == 0) return InvalidArgument("axis: expected another axis than 0, which is the batch");
  return axis;
}

absl::Status InferTensorScatter(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (ctx.has_input(2)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(2, kIndexTypes));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
  }
  RONDO_RETURN_IF_ERROR(IsCircular(ctx.attributes).status());
  SetOutputLikeInput(ctx);
  if (!ctx.has_shape(0)) return absl::OkStatus();
  const Shape& cache = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int axis, TensorScatterAxis(ctx.attributes, cache.rank()));
  if (ctx.has_input(2) && ctx.has_shape(2) && ctx.shape(2)[0].known() && cache[0].known() &&
      ctx.shape(2)[0] != cache[0]) {
    return InvalidArgument("write_indices: expected one per batch item (", cache[0].value(), "), got ",
                           ctx.shape(2)[0].value());
  }
  if (!ctx.has_shape(1)) return absl::OkStatus();
  const Shape& update = ctx.shape(1);
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, cache.rank(), cache.rank()));
  for (int i = 0; i < cache.rank(); ++i) {
    if (!cache[i].known() || !update[i].known()) continue;
    if (i == axis ? update[i].value() > cache[i].value() : update[i] != cache[i]) {
      return InvalidArgument("update ", update.ToString(), " does not fit the cache ", cache.ToString(), ": dim ", i);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTensorScatter(PrepareContext& ctx) {
  const Dims cache = ctx.input_dims(0), update = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(int axis, TensorScatterAxis(ctx.attributes, static_cast<int>(cache.size())));
  RONDO_ASSIGN_OR_RETURN(bool circular, IsCircular(ctx.attributes));
  const absl::Span<const int64_t> dims(cache);
  const int64_t batches = cache[0], capacity = cache[axis], rows = update[axis];
  const int64_t middle = CountOf(dims.subspan(1, axis - 1)), row = CountOf(dims.subspan(axis + 1));
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      const bool given = run.has_input(2);
      const IndexReader start(run.input(given ? 2 : 0));
      for (int64_t b = 0; b < batches && given; ++b) {
        if (start[b] < 0 || (!circular && start[b] > capacity - rows)) {
          return OutOfRange("write_indices[", b, "] is ", start[b], ": ", rows, " rows do not fit the cache of ",
                            capacity, " on axis ", axis);
        }
      }
      const T* from = run.in<T>(1);
      T* out = StartFromInput<T>(run);
      ParallelFor(batches * middle, GrainForBytes(rows * row * sizeof(T)), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          const int64_t at = given ? start[k / middle] % capacity : 0;
          const int64_t before_end = std::min(rows, capacity - at);
          T* block = out + k * capacity * row;
          const T* source = from + k * rows * row;
          CopyRun(block + at * row, source, before_end * row);
          CopyRun(block, source + before_end * row, (rows - before_end) * row);
        }
      });
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "Scatter",
     .since = 9,
     .inputs = {3, 3},
     .infer = InferScatterElements,
     .prepare = Unpacked<PrepareScatterElements>,
     .in_place = InputBit(0)},
    {.type = "ScatterElements",
     .since = 11,
     .inputs = {3, 3},
     .infer = InferScatterElements,
     .prepare = Unpacked<PrepareScatterElements>,
     .in_place = InputBit(0)},
    {.type = "ScatterND",
     .since = 11,
     .inputs = {3, 3},
     .infer = InferScatterNd,
     .prepare = Unpacked<PrepareScatterNd>,
     .in_place = InputBit(0)},
    {.domain = kRondoDomain,
     .type = "ScatterRows",
     .inputs = {3, 3},
     .infer = InferScatterRows,
     .prepare = Unpacked<PrepareScatterRows>,
     .in_place = InputBit(0)},
    {.type = "TensorScatter",
     .since = 24,
     .inputs = {2, 3},
     .infer = InferTensorScatter,
     .prepare = Unpacked<PrepareTensorScatter>,
     .in_place = InputBit(0)},
};

}  // namespace

int64_t ScatterCopiedBytes() { return copied_bytes.load(std::memory_order_relaxed); }

absl::Span<const OpDef> ScatterFamily() { return kRows; }

}  // namespace rondo
