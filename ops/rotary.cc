// Rotary position embedding as an operator of its own: ai.onnx's and com.microsoft's, which differ in the order of
// their operands and in where the number of heads comes from.
#include "ops/kernels/rotary.h"

#include <algorithm>

#include "ops/attention_common.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// Which input is which.
struct Slots {
  int x, positions, cos, sin;
};
constexpr Slots kOnnx{0, 3, 1, 2};
constexpr Slots kMicrosoft{0, 1, 2, 3};

// The sizes of one binding. The input is read as [batch, heads, length, size] with strides.
struct RotaryShape {
  int64_t batch, heads, length, size;
  int64_t batch_stride, head_stride, row_stride;
  int64_t half;           // rotated pairs a head
  int64_t max_positions;  // rows of the tables
  bool interleaved;
  // What picks the row of the tables: the token, its place in the sequence (one table for all batches), an index.
  enum { kPerToken, kPerPlace, kTable, kTableFromOffset } positions;
};

template <typename T>
absl::Status RunRotary(const RotaryShape& shape, const Slots& slots, RunContext& ctx) {
  const T* x = ctx.in<T>(slots.x);
  const T* cos = ctx.in<T>(slots.cos);
  const T* sin = ctx.in<T>(slots.sin);
  T* y = ctx.out<T>(0);
  const bool by_index = shape.positions == RotaryShape::kTable || shape.positions == RotaryShape::kTableFromOffset;
  const int64_t* ids = by_index ? ctx.in<int64_t>(slots.positions) : nullptr;
  const int64_t tokens = shape.batch * shape.length;
  const auto row_of = [&](int64_t token) {
    if (shape.positions == RotaryShape::kPerToken) return token;
    if (shape.positions == RotaryShape::kPerPlace) return token % shape.length;
    if (shape.positions == RotaryShape::kTable) return ids[token];
    // Wrapping addition of two values that a file chose; the range check that follows catches the rest.
    return static_cast<int64_t>(static_cast<uint64_t>(ids[0]) + static_cast<uint64_t>(token % shape.length));
  };
  for (int64_t t = 0; by_index && t < tokens; ++t) {
    const int64_t row = row_of(t);
    if (row < 0 || row >= shape.max_positions) {
      return OutOfRange("position ", row, " is out of range [0, ", shape.max_positions - 1, "] of the cos/sin tables");
    }
  }
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, shape.heads * shape.size));
  ParallelFor(tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t b = t / shape.length, s = t % shape.length, row = row_of(t);
      for (int64_t h = 0; h < shape.heads; ++h) {
        const int64_t at = b * shape.batch_stride + h * shape.head_stride + s * shape.row_stride;
        RotateHead(x + at, cos + row * shape.half, sin + row * shape.half, shape.half, shape.interleaved, y + at);
        if (x != y) std::copy(x + at + 2 * shape.half, x + at + shape.size, y + at + 2 * shape.half);
      }
    }
  });
  return absl::OkStatus();
}

absl::Status InferRotary(InferContext& ctx, const Slots& slots) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(slots.x, 3, 4));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(slots.x, slots.cos));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(slots.x, slots.sin));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(slots.x, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  if (ctx.has_input(slots.positions)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(slots.positions, {DataType::kInt64}));
  ctx.SetOutputType(0, ctx.input_type(slots.x));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareRotary(PrepareContext& ctx, const Slots& slots) {
  const Dims x = ctx.input_dims(slots.x), cos = ctx.input_dims(slots.cos), sin = ctx.input_dims(slots.sin);
  const bool microsoft = slots.positions == kMicrosoft.positions;
  RotaryShape shape{};
  RONDO_ASSIGN_OR_RETURN(shape.interleaved, ctx.attributes.Flag("interleaved", false));
  RONDO_ASSIGN_OR_RETURN(const int64_t rotary_dim, ctx.attributes.Int("rotary_embedding_dim", 0));
  RONDO_ASSIGN_OR_RETURN(const int64_t num_heads, ctx.attributes.Int("num_heads", 0));
  if (microsoft) {
    RONDO_ASSIGN_OR_RETURN(const float scale, ctx.attributes.Float("scale", 1.0f));
    if (scale != 1.0f) return Unimplemented("attribute \"scale\" is ", scale, ": only 1 is supported");
  }
  const int table_rank = static_cast<int>(cos.size());
  if (cos != sin || (table_rank != 2 && table_rank != 3)) {
    return InvalidArgument("cos_cache and sin_cache have shapes ", DimsToString(cos), " and ", DimsToString(sin),
                           ": expected two equal ones of rank 2 or 3");
  }
  shape.half = cos.back();
  shape.batch = x[0];
  if (x.size() == 4) {
    shape.heads = x[1];
    shape.length = x[2];
    shape.size = x[3];
    shape.row_stride = shape.size;
    shape.head_stride = shape.length * shape.size;
  } else {
    shape.length = x[1];
    int64_t heads = num_heads;
    if (heads == 0 && microsoft && rotary_dim == 0 && shape.half > 0) heads = x[2] / (2 * shape.half);
    if (heads <= 0 || x[2] % heads != 0) {
      return InvalidArgument("hidden size ", x[2], " with num_heads ", heads, ": expected a multiple");
    }
    shape.heads = heads;
    shape.size = x[2] / heads;
    shape.row_stride = x[2];
    shape.head_stride = shape.size;
  }
  shape.batch_stride = shape.length * shape.heads * shape.size;
  const int64_t rotated = rotary_dim == 0 ? shape.size : rotary_dim;
  if (rotated != 2 * shape.half || rotated > shape.size || rotated < 0) {
    return InvalidArgument("cos_cache holds ", shape.half, " angles: expected ", rotated, " / 2, head size ",
                           shape.size);
  }
  if (ctx.has_input(slots.positions)) {
    const Dims ids = ctx.input_dims(slots.positions);
    if (table_rank != 2) return InvalidArgument("cos_cache of rank 3 with position_ids: expected rank 2");
    shape.max_positions = cos[0];
    if (microsoft && ids.size() == 1 && ids[0] == 1) {
      shape.positions = RotaryShape::kTableFromOffset;
    } else if (ids.size() == 2 && ids[0] == shape.batch && ids[1] == shape.length) {
      shape.positions = RotaryShape::kTable;
    } else {
      return InvalidArgument("position_ids has shape ", DimsToString(ids), ": expected ",
                             DimsToString({shape.batch, shape.length}));
    }
  } else {
    if (table_rank != 3 || (cos[0] != shape.batch && cos[0] != 1) || cos[1] != shape.length) {
      return InvalidArgument("cos_cache has shape ", DimsToString(cos), " without position_ids: expected ",
                             DimsToString({shape.batch, shape.length, shape.half}));
    }
    shape.positions = cos[0] == shape.batch ? RotaryShape::kPerToken : RotaryShape::kPerPlace;
    shape.max_positions = cos[0] * shape.length;
  }
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      TypeList<float, Float16, BFloat16>{}, ctx.input_dtype(slots.x),
      [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        using T = typename decltype(tag)::type;
        return MakeKernel([shape, slots](RunContext& run) { return RunRotary<T>(shape, slots, run); });
      });
}

// ---- RotaryEmbedding (23) ----
// Y = X with the first rotary_embedding_dim elements of each head rotated by the position's angles.
// Inputs: X [B, H, T, D] or [B, T, H * D]; cos_cache, sin_cache [positions, R / 2], or [B, T, R / 2] without
//   position_ids, where rondo also takes a batch of 1 for all; position_ids? int64 [B, T].
// Attributes: interleaved 0, num_heads (rank 3), rotary_embedding_dim 0 (= D).
absl::Status InferOnnxRotary(InferContext& ctx) { return InferRotary(ctx, kOnnx); }
absl::StatusOr<std::unique_ptr<Kernel>> PrepareOnnxRotary(PrepareContext& ctx) { return PrepareRotary(ctx, kOnnx); }

// ---- com.microsoft RotaryEmbedding ----
// The same with inputs (input, position_ids, cos_cache, sin_cache); position_ids is [B, T], or [1]: the first position.
// num_heads may be 0: the head size is then that of the tables.
absl::Status InferMicrosoftRotary(InferContext& ctx) { return InferRotary(ctx, kMicrosoft); }
absl::StatusOr<std::unique_ptr<Kernel>> PrepareMicrosoftRotary(PrepareContext& ctx) {
  return PrepareRotary(ctx, kMicrosoft);
}

const OpDef kRows[] = {
    {.type = "RotaryEmbedding",
     .since = 23,
     .inputs = {3, 4},
     .infer = InferOnnxRotary,
     .prepare = PrepareOnnxRotary,
     .in_place = InputBit(0)},
    {.domain = "com.microsoft",
     .type = "RotaryEmbedding",
     .inputs = {4, 4},
     .infer = InferMicrosoftRotary,
     .prepare = PrepareMicrosoftRotary,
     .in_place = InputBit(0)},
};

}  // namespace

absl::Span<const OpDef> RotaryFamily() { return kRows; }

}  // namespace rondo
