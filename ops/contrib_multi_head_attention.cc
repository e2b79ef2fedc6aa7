// com.microsoft's older attention operators, as onnxruntime's graph optimiser and the genai builder emit them:
// MultiHeadAttention (projections done outside), Attention (projections inside) and QAttention (the same on 8 bits).
// All three end in the same step: new keys and values join a past, integer masks become bias terms, and the kernel of
// ops/kernels/attention.h does the rest. Masks here add mask_filter_value instead of excluding keys.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ops/attention_common.h"
#include "ops/families.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"

namespace rondo {
namespace {

// ---- Masks of integers ----

// The forms of key_padding_mask and mask_index, as a bias [B, 1, T or 1, S].
struct IntegerMask {
  enum Form { kNone, kLengths, kStartsAndEnds, kKeys, kQueriesAndKeys, kSquare } form = kNone;
  int64_t batch = 0, queries = 0, keys = 0, past = 0;
  int64_t width = 0;  // last dim of the mask
  float filter = -10000.0f;

  int64_t rows() const { return form == kQueriesAndKeys || form == kSquare ? queries : 1; }
  int64_t count() const { return form == kNone ? 0 : batch * rows() * keys; }

  static absl::StatusOr<IntegerMask> Create(absl::string_view name, const Dims& dims, int64_t batch, int64_t queries,
                                            int64_t past, int64_t added, float filter) {
    IntegerMask mask;
    mask.batch = batch;
    mask.queries = queries;
    mask.past = past;
    mask.keys = past + added;
    mask.filter = filter;
    mask.width = dims.empty() ? 0 : dims.back();
    if (dims.size() == 1 && dims[0] == batch) {
      mask.form = kLengths;
    } else if (dims.size() == 1 && dims[0] == 2 * batch) {
      mask.form = kStartsAndEnds;
    } else if (dims.size() == 1 && dims[0] == 3 * batch + 2) {
      mask.form = kLengths;  // lengths, then offsets that say the same
    } else if (dims.size() == 2 && dims[0] == batch && (dims[1] == mask.keys || dims[1] == added)) {
      mask.form = kKeys;
    } else if (dims.size() == 3 && dims[0] == batch && dims[1] == queries && dims[2] == mask.keys) {
      mask.form = kQueriesAndKeys;
    } else if (dims.size() == 4 && dims[0] == batch && dims[1] == 1 && dims[2] == dims[3] && dims[2] >= mask.keys) {
      mask.form = kSquare;
    } else {
      return InvalidArgument(name, " has shape ", DimsToString(dims), ": expected ", DimsToString({batch}), ", ",
                             DimsToString({2 * batch}), ", ", DimsToString({batch, mask.keys}), " or ",
                             DimsToString({batch, queries, mask.keys}));
    }
    return mask;
  }

  // Whether query i of batch b should see key j.
  bool Sees(const int32_t* m, int64_t b, int64_t i, int64_t j) const {
    switch (form) {
      case kNone:
        return true;
      case kLengths:
        return j < m[b];
      case kStartsAndEnds:
        return j < m[b] && j >= m[batch + b];
      // A mask of the new keys alone says nothing about the past.
      case kKeys:
        return width == keys ? m[b * width + j] > 0 : j < past || m[b * width + j - past] > 0;
      case kQueriesAndKeys:
        return m[(b * queries + i) * width + j] > 0;
      case kSquare:
        return m[(b * width + past + i) * width + j] > 0;
    }
    return true;
  }
  AttentionBias Materialize(const int32_t* m, float* to) const {
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < rows(); ++i) {
        float* row = to + (b * rows() + i) * keys;
        for (int64_t j = 0; j < keys; ++j) row[j] = Sees(m, b, i, j) ? 0.0f : filter;
      }
    }
    const int64_t dims[] = {batch, 1, rows(), keys};
    return BroadcastBias(to, DataType::kFloat, dims, keys, /*broadcast_keys=*/true);
  }
};

// ---- What the three share ----

// New queries, keys and values as views, a past, masks: everything after the projections.
struct CachedAttention {
  AttentionInputs base;  // sizes, scale, causal; keys = past + added
  PreparedAttention attention;
  int64_t past = 0, added = 0;
  int64_t past_capacity = 0;     // dim of past's rows
  int64_t present_capacity = 0;  // rows of the present; past + added unless buffers are shared
  bool gathers = false;          // keys and values are copied together, into the present or scratch
  IntegerMask mask;
  Dims bias_dims;
  bool has_bias = false, bias_is_direct = true;
  size_t keys_offset = 0, values_offset = 0, positions_offset = 0, mask_offset = 0, bias_offset = 0;

  // Call when all but attention and offsets are set. `present`: whether Run gets present buffers.
  absl::Status Plan(PrepareContext& ctx, bool present, ScratchLayout* layout) {
    base.keys = past + added;
    gathers = present || past > 0;
    if (gathers && !present) {
      present_capacity = base.keys;
      keys_offset = layout->Add(ByteSize(base.k.dtype, base.batch * base.kv_heads * base.keys * base.head_size));
      values_offset = layout->Add(ByteSize(base.v.dtype, base.batch * base.kv_heads * base.keys * base.v_head_size));
    }
    positions_offset = layout->Add(static_cast<size_t>(base.batch) * sizeof(int64_t));
    mask_offset = layout->Add(static_cast<size_t>(mask.count()) * sizeof(float));
    if (has_bias) {
      RONDO_RETURN_IF_ERROR(
          CheckBiasDims("attention_bias", bias_dims, base.batch, base.heads, base.queries, base.keys));
      if (!bias_is_direct) {
        RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(bias_dims));
        bias_offset = layout->Add(static_cast<size_t>(count) * sizeof(float));
      }
    }
    attention = PrepareAttention(ctx, base, layout);
    return absl::OkStatus();
  }

  struct Buffers {
    AttentionView q, k, v;  // new rows
    const void *past_key = nullptr, *past_value = nullptr;
    void *present_key = nullptr, *present_value = nullptr;
    const int32_t* mask = nullptr;
    const Tensor* bias = nullptr;
    void* y = nullptr;  // [B, T, H * Dv]
    void* scores = nullptr;
  };
  void Run(const Buffers& io, void* scratch) const {
    AttentionInputs in = base;
    in.q = io.q;
    in.k = Gather(io.k, io.past_key, io.present_key, in.head_size, scratch, keys_offset);
    in.v = Gather(io.v, io.past_value, io.present_value, in.v_head_size, scratch, values_offset);
    in.y = RowsFirst(io.y, base.y.dtype, in.queries, in.v_head_size, in.heads * in.v_head_size);
    int64_t* positions = ScratchAt<int64_t>(scratch, positions_offset);
    std::fill(positions, positions + in.batch, past);
    in.first_position = positions;
    if (io.mask != nullptr) in.bias[0] = mask.Materialize(io.mask, ScratchAt<float>(scratch, mask_offset));
    if (io.bias != nullptr) {
      const void* data = io.bias->raw();
      if (!bias_is_direct) {
        ConvertToFloat(*io.bias, ScratchAt<float>(scratch, bias_offset));
        data = ScratchAt<float>(scratch, bias_offset);
      }
      in.bias[1] = BroadcastBias(data, DataType::kFloat, bias_dims, in.keys, /*broadcast_keys=*/true);
    }
    in.scores = io.scores;
    attention.Run(in, scratch);
  }

 private:
  AttentionView Gather(const AttentionView& fresh, const void* old, void* present, int64_t size, void* scratch,
                       size_t offset) const {
    if (!gathers) return fresh;
    void* memory = present != nullptr ? present : ScratchAt<void>(scratch, offset);
    const AttentionView all = HeadsFirst(memory, fresh.dtype, base.kv_heads, present_capacity, size);
    if (old != nullptr) {
      // A shared buffer keeps all its rows; else those are the past.
      CopyRows(HeadsFirst(old, fresh.dtype, base.kv_heads, past_capacity, size), 0, all, 0, base.batch, base.kv_heads,
               std::min(past_capacity, present_capacity), size);
    }
    CopyRows(fresh, 0, all, past, base.batch, base.kv_heads, added, size);
    return all;
  }
};

// scale 0 or absent: 1/sqrt(size).
template <typename Context>
absl::Status ReadScale(const Context& ctx, int64_t size, float* scale) {
  RONDO_ASSIGN_OR_RETURN(*scale, ctx.attributes.Float("scale", 0.0f));
  if (*scale == 0.0f) *scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(size, 1)));
  return absl::OkStatus();
}

// ---- com.microsoft MultiHeadAttention ----
// Inputs: query [B, T, H * D], or packed [B, T, H, 3, D] alone; key? [B, L, H * D], packed with values [B, L, H, 2, D],
// or
//   [B, H, L, D]; value? [B, L, H * Dv] or [B, H, L, Dv]; bias? [(H * D) * 2 + H * Dv] of the projections;
//   key_padding_mask? int32 [B], [3B + 2], [B, L], [B, S] or [B, T, S]; attention_bias? [B|1, H|1, T, S]; past_key?,
//   past_value? [B, H, P, D]; past_sequence_length? int32: valid rows of a shared past; cache_indirection? (not
//   supported).
// Outputs: output [B, T, H * Dv]; present_key?, present_value? [B, H, S, D]; qk? scores before the softmax [B, H, T,
// S]. Attributes: num_heads, scale 0 (= 1/sqrt(D)), mask_filter_value -10000, unidirectional 0.
enum Input { kQuery, kKey, kValue, kProjectionBias, kMask, kBias, kPastKey, kPastValue, kPastLength, kIndirection };
enum Output { kOutput, kPresentKey, kPresentValue, kScores };

template <typename D>
struct MultiHeadShape {
  D batch, queries, size, added, v_size;
  bool packed_qkv = false, packed_kv = false, heads_first = false;
};
// Reads the forms. `at(i)` gives the dims of input i; `divide` splits a hidden size.
template <typename D, typename Context, typename At, typename Divide>
absl::StatusOr<MultiHeadShape<D>> ReadMultiHead(const Context& ctx, int64_t heads, const At& at, const Divide& divide) {
  MultiHeadShape<D> shape;
  const auto& query = at(kQuery);
  shape.batch = query[0];
  shape.queries = query[1];
  shape.packed_qkv = query.size() == 5;
  if (shape.packed_qkv) {
    if (ctx.has_input(kKey) || ctx.has_input(kValue)) return InvalidArgument("key and value beside a packed query");
    shape.size = shape.v_size = query[4];
    shape.added = query[1];
    return shape;
  }
  if (query.size() != 3) return InvalidArgument("query has rank ", query.size(), ": expected 3 or 5");
  RONDO_ASSIGN_OR_RETURN(shape.size, divide(query[2], heads));
  if (!ctx.has_input(kKey)) return InvalidArgument("input key is required with a query of rank 3");
  const auto& key = at(kKey);
  shape.packed_kv = key.size() == 5;
  shape.heads_first = key.size() == 4;
  shape.added = shape.heads_first ? key[2] : key[1];
  if (shape.packed_kv) {
    shape.v_size = key[4];
    return shape;
  }
  if (key.size() != 3 && key.size() != 4) return InvalidArgument("key has rank ", key.size(), ": expected 3, 4 or 5");
  if (!ctx.has_input(kValue)) return InvalidArgument("input value is required with a key of rank ", key.size());
  const auto& value = at(kValue);
  if (value.size() != key.size()) return InvalidArgument("value has rank ", value.size(), ", key ", key.size());
  if (shape.heads_first) {
    shape.v_size = value[3];
  } else {
    RONDO_ASSIGN_OR_RETURN(shape.v_size, divide(value[2], heads));
  }
  return shape;
}

absl::Status InferMultiHeadAttention(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, HeadsAttribute(ctx.attributes, "num_heads"));
  const DataType type = ctx.dtype(kQuery);
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kQuery, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  for (int i : {kKey, kValue, kProjectionBias, kBias, kPastKey, kPastValue}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, kQuery));
  }
  for (int i : {kMask, kPastLength}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt32}));
  }
  if (ctx.has_input(kIndirection)) return Unimplemented("input cache_indirection (beam search) is not supported");
  if (ctx.has_input(kPastKey) != ctx.has_input(kPastValue)) {
    return InvalidArgument("past_key and past_value: expected both or none");
  }
  const bool known = ctx.has_shape(kQuery) && (!ctx.has_input(kKey) || ctx.has_shape(kKey)) &&
                     (!ctx.has_input(kValue) || ctx.has_shape(kValue));
  if (!known) {
    ctx.SetOutput(kOutput, type, Shape::UnknownOfRank(3));
    for (int i : {kPresentKey, kPresentValue, kScores}) ctx.SetOutput(i, type, Shape::UnknownOfRank(4));
    return absl::OkStatus();
  }
  const auto at = [&](int i) -> const Shape& { return ctx.shape(i); };
  const auto divide = [](const Dim& d, int64_t n) { return DivideDim("hidden size", d, n); };
  RONDO_ASSIGN_OR_RETURN(const auto shape, ReadMultiHead<Dim>(ctx, heads, at, divide));
  const Dim h(heads);
  if (ctx.has_input(kKey)) {
    const Shape& key = ctx.shape(kKey);
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of key", key[0], "batch of query", shape.batch));
    if (shape.packed_kv) {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of key", key[2], "num_heads", h));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("dim 3 of key", key[3], "keys and values", Dim(2)));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of key", key[4], "that of query", shape.size));
    } else if (shape.heads_first) {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of key", key[1], "num_heads", h));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of key", key[3], "that of query", shape.size));
    } else {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("last dim of key", key[2], "that of query", shape.size * h));
    }
    if (ctx.has_input(kValue) && !shape.packed_kv) {
      const Shape& value = ctx.shape(kValue);
      const int rows = shape.heads_first ? 2 : 1;
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of value", value[0], "batch of query", shape.batch));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of value", value[rows], "length of key", shape.added));
      if (shape.heads_first) RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of value", value[1], "num_heads", h));
    }
  } else {
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of query", ctx.shape(kQuery)[2], "num_heads", h));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("dim 3 of query", ctx.shape(kQuery)[3], "its three parts", Dim(3)));
  }
  Dim total = shape.added, present = total;
  for (int i : {kPastKey, kPastValue}) {
    if (!ctx.has_input(i)) continue;
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 4, 4));
    if (!ctx.has_shape(i)) {
      total = present = Dim::Unknown();
      continue;
    }
    const Shape& past = ctx.shape(i);
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of the past", past[0], "batch of query", shape.batch));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of the past", past[1], "num_heads", h));
    RONDO_RETURN_IF_ERROR(
        ExpectEqualDims("head size of the past", past[3], "head size", i == kPastKey ? shape.size : shape.v_size));
    if (i == kPastValue && ctx.has_shape(kPastKey)) {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of past_value", past[2], "of past_key", ctx.shape(kPastKey)[2]));
    }
    total = present = past[2] + shape.added;
    if (ctx.has_input(kPastLength)) {
      present = past[2];
      total = Dim::Unknown();
      if (const auto content = ctx.content(kPastLength); content.has_value() && content->size() == 1) {
        total = (*content)[0] + shape.added;
      }
    }
  }
  ctx.SetOutput(kOutput, type, Shape{shape.batch, shape.queries, shape.v_size * h});
  ctx.SetOutput(kPresentKey, type, Shape{shape.batch, h, present, shape.size});
  ctx.SetOutput(kPresentValue, type, Shape{shape.batch, h, present, shape.v_size});
  ctx.SetOutput(kScores, type, Shape{shape.batch, h, shape.queries, total});
  return absl::OkStatus();
}

// A bias of the projections, added into a dense copy [B, rows, H * size].
struct BiasedCopy {
  bool needed = false;
  AttentionView from;
  int64_t at = 0;  // of its part in the bias
  int64_t batch = 0, rows = 0, heads = 0, size = 0;
  size_t offset = 0, row_offset = 0;
  int64_t threads = 1;

  AttentionView Run(const void* data, const Tensor& bias, void* scratch) const {
    AttentionView source = from;
    source.data = data;
    if (!needed) return source;
    const int64_t hidden = heads * size;
    float* biases = ScratchAt<float>(scratch, row_offset);
    const char* part = static_cast<const char*>(bias.raw()) + ByteSize(bias.dtype(), at);
    ConvertToFloat(part, bias.dtype(), hidden, biases);
    float* work = biases + hidden;
    char* to = ScratchAt<char>(scratch, offset);
    const int64_t width = static_cast<int64_t>(ByteSize(from.dtype, 1));
    for (int64_t r = 0; r < batch * rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        const char* x = static_cast<const char*>(data) +
                        (r / rows * from.batch_stride + h * from.head_stride + r % rows * from.row_stride) * width;
        ConvertToFloat(x, from.dtype, size, work);
        for (int64_t i = 0; i < size; ++i) work[i] += biases[h * size + i];
        ConvertFromFloat(work, size, from.dtype, to + (r * hidden + h * size) * width);
      }
    }
    return RowsFirst(to, from.dtype, rows, size, hidden);
  }
  void Plan(ScratchLayout* layout) {
    if (!needed) return;
    offset = layout->Add(ByteSize(from.dtype, batch * rows * heads * size));
    row_offset = layout->Add(static_cast<size_t>(heads * size + size) * sizeof(float));
  }
};

class MultiHeadKernel final : public Kernel {
 public:
  CachedAttention cached;
  BiasedCopy q, k, v;
  int k_input = kKey, v_input = kValue;  // where packed operands lie
  int64_t k_start = 0, v_start = 0;      // elements from the operand's start

  std::string Implementation() const override { return cached.attention.Implementation(); }
  absl::Status Run(RunContext& ctx) const override {
    const auto data = [&](int input, int64_t start) {
      return static_cast<const char*>(ctx.input(input).raw()) + ByteSize(cached.base.q.dtype, start);
    };
    const Tensor none;
    const Tensor& bias = ctx.has_input(kProjectionBias) ? ctx.input(kProjectionBias) : none;
    CachedAttention::Buffers io;
    io.q = q.Run(data(kQuery, 0), bias, ctx.scratch());
    io.k = k.Run(data(k_input, k_start), bias, ctx.scratch());
    io.v = v.Run(data(v_input, v_start), bias, ctx.scratch());
    if (ctx.has_input(kPastKey)) {
      io.past_key = ctx.input(kPastKey).raw();
      io.past_value = ctx.input(kPastValue).raw();
    }
    if (ctx.has_output(kPresentKey)) io.present_key = ctx.output(kPresentKey).mutable_raw();
    if (ctx.has_output(kPresentValue)) io.present_value = ctx.output(kPresentValue).mutable_raw();
    if (ctx.has_input(kMask)) io.mask = ctx.in<int32_t>(kMask);
    if (ctx.has_input(kBias)) io.bias = &ctx.input(kBias);
    io.y = ctx.output(kOutput).mutable_raw();
    if (ctx.has_output(kScores)) io.scores = ctx.output(kScores).mutable_raw();
    cached.Run(io, ctx.scratch());
    return absl::OkStatus();
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMultiHeadAttention(PrepareContext& ctx) {
  auto kernel = std::make_unique<MultiHeadKernel>();
  CachedAttention& cached = kernel->cached;
  AttentionInputs& in = cached.base;
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, HeadsAttribute(ctx.attributes, "num_heads"));
  const auto at = [&](int i) { return ctx.input_dims(i); };
  const auto divide = [](int64_t d, int64_t n) -> absl::StatusOr<int64_t> { return d / n; };
  RONDO_ASSIGN_OR_RETURN(const auto shape, ReadMultiHead<int64_t>(ctx, heads, at, divide));
  const DataType type = ctx.input_dtype(kQuery);
  in.batch = shape.batch;
  in.heads = in.kv_heads = heads;
  in.queries = shape.queries;
  in.head_size = shape.size;
  in.v_head_size = shape.v_size;
  in.q.dtype = in.k.dtype = in.v.dtype = in.y.dtype = type;
  RONDO_RETURN_IF_ERROR(ReadScale(ctx, shape.size, &in.scale));
  RONDO_ASSIGN_OR_RETURN(in.causal, ctx.attributes.Flag("unidirectional", false));
  cached.added = shape.added;
  if (ctx.has_input(kPastKey)) cached.past = cached.past_capacity = ctx.input_dims(kPastKey)[2];
  cached.present_capacity = cached.past + cached.added;
  if (ctx.has_input(kPastLength)) {
    if (!ctx.has_input(kPastKey)) return InvalidArgument("past_sequence_length without past_key");
    const std::vector<int64_t> length = ctx.constant_ints(kPastLength);
    if (length.size() != 1 || length[0] < 0 || length[0] > cached.past_capacity - cached.added) {
      return OutOfRange("past_sequence_length ", length.empty() ? -1 : length[0], " is out of range [0, ",
                        cached.past_capacity - cached.added, "]");
    }
    cached.past = length[0];
    cached.present_capacity = cached.past_capacity;
  }
  if (ctx.has_input(kMask)) {
    RONDO_ASSIGN_OR_RETURN(const float filter, ctx.attributes.Float("mask_filter_value", -10000.0f));
    RONDO_ASSIGN_OR_RETURN(cached.mask, IntegerMask::Create("key_padding_mask", ctx.input_dims(kMask), in.batch,
                                                            in.queries, cached.past, cached.added, filter));
  }
  if (ctx.has_input(kBias)) {
    cached.has_bias = true;
    cached.bias_dims = ctx.input_dims(kBias);
    cached.bias_is_direct = type == DataType::kFloat;
  }
  const bool present = ctx.has_output(kPresentKey);
  if (present != ctx.has_output(kPresentValue)) return Unimplemented("present_key without present_value");
  if (ctx.has_output(kScores)) {
    in.scores = &in;  // wanted; Run knows where
    in.scores_stage = AttentionInputs::Scores::kBiased;
    in.scores_dtype = ctx.output_dtype(kScores);
  }

  // Views of the new rows.
  const int64_t hidden = heads * shape.size, v_hidden = heads * shape.v_size;
  const auto interleaved = [&](int64_t rows, int parts) {
    AttentionView view = RowsFirst(nullptr, type, rows, shape.size, heads * parts * shape.size);
    view.head_stride = parts * shape.size;
    return view;
  };
  BiasedCopy &q = kernel->q, &k = kernel->k, &v = kernel->v;
  if (shape.packed_qkv) {
    q.from = k.from = v.from = interleaved(shape.queries, 3);
    kernel->k_input = kernel->v_input = kQuery;
    kernel->k_start = shape.size;
    kernel->v_start = 2 * shape.size;
  } else {
    q.from = RowsFirst(nullptr, type, shape.queries, shape.size, hidden);
    if (shape.packed_kv) {
      k.from = v.from = interleaved(shape.added, 2);
      kernel->v_input = kKey;
      kernel->v_start = shape.size;
    } else if (shape.heads_first) {
      k.from = HeadsFirst(nullptr, type, heads, shape.added, shape.size);
      v.from = HeadsFirst(nullptr, type, heads, shape.added, shape.v_size);
    } else {
      k.from = RowsFirst(nullptr, type, shape.added, shape.size, hidden);
      v.from = RowsFirst(nullptr, type, shape.added, shape.v_size, v_hidden);
    }
  }
  ScratchLayout layout;
  if (ctx.has_input(kProjectionBias)) {
    RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(ctx.input_dims(kProjectionBias)));
    if (count != 2 * hidden + v_hidden) {
      return InvalidArgument("bias has ", count, " elements: expected ", 2 * hidden + v_hidden);
    }
    // Keys and values that come as a cache had their bias when they were made.
    q.needed = true;
    k.needed = v.needed = !shape.heads_first;
  }
  for (auto [copy, rows, size, start] : {std::tuple{&q, shape.queries, shape.size, int64_t{0}},
                                         {&k, shape.added, shape.size, hidden},
                                         {&v, shape.added, shape.v_size, 2 * hidden}}) {
    copy->batch = shape.batch;
    copy->rows = rows;
    copy->heads = heads;
    copy->size = size;
    copy->at = start;
    copy->Plan(&layout);
  }
  RONDO_RETURN_IF_ERROR(cached.Plan(ctx, present, &layout));
  in.scores = nullptr;
  ctx.RequestScratch(layout.total());
  return kernel;
}

// ---- com.microsoft Attention ----
// Q, K, V = input * weights + bias, then attention over past and new rows.
// Inputs: input [B, T, I]; weights [I, Hq + Hk + Hv]; bias? [Hq + Hk + Hv]; mask_index? int32 [B] (lengths), [2B]
// (ends,
//   starts), [3B + 2], [B, S], [B, T, S] or [B, 1, M, M]; past? [2, B, H, P, D]; attention_bias? [B|1, H|1, T, S];
//   past_sequence_length? int32, with past_present_share_buffer.
// Outputs: output [B, T, Hv]; present? [2, B, H, S, D].
// Attributes: num_heads, unidirectional 0, scale 0, qkv_hidden_sizes (thirds of the weights), mask_filter_value -10000,
//   past_present_share_buffer 0, do_rotary 0 (1 is not supported).
enum FusedInput { kInput, kWeights, kFusedBias, kFusedMask, kPast, kFusedAttentionBias, kFusedPastLength };

// ---- com.microsoft QAttention ----
// The same with input and weights of 8 bits: (input - input_zero_point) * input_scale and per tensor or column
// (weights - weight_zero_point) * weight_scale.
// Inputs: input, weight, bias float, input_scale, weight_scale, mask_index?, input_zero_point?, weight_zero_point?,
// past?
enum QuantizedInput {
  kQInput,
  kQWeights,
  kQBias,
  kQInputScale,
  kQWeightScale,
  kQMask,
  kQInputZero,
  kQWeightZero,
  kQPast
};

struct FusedSlots {
  int bias, mask, past, attention_bias, past_length;
  DataType OutputType(DataType input, bool quantized) const { return quantized ? DataType::kFloat : input; }
};
constexpr int kNowhere = 1 << 20;
FusedSlots SlotsOf(bool quantized) {
  if (quantized) return {kQBias, kQMask, kQPast, kNowhere, kNowhere};
  return {kFusedBias, kFusedMask, kPast, kFusedAttentionBias, kFusedPastLength};
}

struct HiddenSizes {
  int64_t q, k, v;
};
template <typename Context>
absl::StatusOr<HiddenSizes> ReadHidden(const Context& ctx, int64_t heads, int64_t width) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ctx.attributes.Ints("qkv_hidden_sizes", {}));
  HiddenSizes hidden{width / 3, width / 3, width / 3};
  if (!sizes.empty()) {
    if (sizes.size() != 3) return InvalidArgument("qkv_hidden_sizes has ", sizes.size(), " elements: expected 3");
    hidden = {sizes[0], sizes[1], sizes[2]};
  }
  constexpr int64_t kLimit = int64_t{1} << 40;
  for (int64_t s : {hidden.q, hidden.k, hidden.v}) {
    if (s <= 0 || s > kLimit || s % heads != 0) {
      return InvalidArgument("hidden size ", s, ": expected a positive multiple of num_heads, ", heads);
    }
  }
  if (hidden.q != hidden.k || hidden.q + hidden.k + hidden.v != width) {
    return InvalidArgument("hidden sizes ", hidden.q, ", ", hidden.k, ", ", hidden.v,
                           ": expected the first two equal and a sum of ", width, ", the weights' columns");
  }
  return hidden;
}

absl::Status InferFused(InferContext& ctx, bool quantized) {
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, HeadsAttribute(ctx.attributes, "num_heads"));
  const FusedSlots slots = SlotsOf(quantized);
  RONDO_ASSIGN_OR_RETURN(const bool rotary, ctx.attributes.Flag("do_rotary", false));
  if (rotary) return Unimplemented("do_rotary is 1: rotation inside this operator is not supported");
  DataType type = DataType::kFloat;
  if (quantized) {
    for (int i : {kQInput, kQWeights}) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt8, DataType::kUInt8}));
    }
    for (int i : {kQBias, kQInputScale, kQWeightScale}) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
    if (ctx.has_input(kQInputZero)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kQInputZero, kQInput));
    if (ctx.has_input(kQWeightZero)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kQWeightZero, kQWeights));
  } else {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kInput, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
    type = ctx.dtype(kInput);
    for (int i : {kWeights, kFusedBias, kFusedAttentionBias}) {
      if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, kInput));
    }
  }
  if (ctx.has_input(slots.past)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(slots.past, {type}));
  if (ctx.has_input(slots.mask)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(slots.mask, {DataType::kInt32}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 3, 3));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 2, 2));
  if (!ctx.has_shape(0) || !ctx.has_shape(1) || !ctx.shape(1)[1].known()) {
    ctx.SetOutput(0, type, Shape::UnknownOfRank(3));
    ctx.SetOutput(1, type, Shape::UnknownOfRank(5));
    return absl::OkStatus();
  }
  const Shape &input = ctx.shape(0), &weights = ctx.shape(1);
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("rows of the weights", weights[0], "last dim of the input", input[2]));
  RONDO_ASSIGN_OR_RETURN(const HiddenSizes hidden, ReadHidden(ctx, heads, weights[1].value()));
  Dim present = input[1];
  if (ctx.has_input(slots.past)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(slots.past, 5, 5));
    if (hidden.v != hidden.q) return InvalidArgument("past with values of another size than keys");
    RONDO_ASSIGN_OR_RETURN(const bool share, ctx.attributes.Flag("past_present_share_buffer", false));
    present = Dim::Unknown();
    if (ctx.has_shape(slots.past)) {
      const Shape& past = ctx.shape(slots.past);
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("dim 0 of past", past[0], "keys and values", Dim(2)));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of past", past[1], "batch of input", input[0]));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of past", past[2], "num_heads", Dim(heads)));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of past", past[4], "head size", Dim(hidden.k / heads)));
      present = share ? past[3] : past[3] + input[1];
    }
  }
  ctx.SetOutput(0, type, Shape{input[0], input[1], Dim(hidden.v)});
  ctx.SetOutput(1, type, Shape{Dim(2), input[0], Dim(heads), present, Dim(hidden.k / heads)});
  return absl::OkStatus();
}

class FusedKernel final : public Kernel {
 public:
  bool quantized = false;
  FusedSlots slots{};
  CachedAttention cached;
  DataType type = DataType::kFloat;  // of the output and the past
  int64_t rows = 0, inner = 0, width = 0;
  HiddenSizes hidden{};
  Tensor weights;  // floats [inner][width]; undefined when they are not constant
  size_t x_offset = 0, w_offset = 0, qkv_offset = 0, half_offset = 0, bias_offset = 0;

  std::string Implementation() const override { return cached.attention.Implementation(); }

  // Scale and zero point folded: w' = (w - zero) * scale per column.
  static absl::Status Dequantize(const Tensor& w, const Tensor& scale, const Tensor* zero, int64_t columns, float* to) {
    ConvertToFloat(w, to);
    if ((scale.size() != 1 && scale.size() != columns) ||
        (zero != nullptr && zero->size() != 1 && zero->size() != columns)) {
      return InvalidArgument("weight_scale has ", scale.size(), " elements: expected 1 or ", columns);
    }
    std::vector<float> zeros(zero != nullptr ? zero->size() : 1, 0.0f);
    if (zero != nullptr) ConvertToFloat(*zero, zeros.data());
    const float* scales = scale.data<float>();
    for (int64_t i = 0; i < w.size(); ++i) {
      const int64_t c = i % columns;
      to[i] = (to[i] - zeros[zeros.size() == 1 ? 0 : c]) * scales[scale.size() == 1 ? 0 : c];
    }
    return absl::OkStatus();
  }

  absl::Status Run(RunContext& ctx) const override {
    void* scratch = ctx.scratch();
    const float* x = ScratchAt<float>(scratch, x_offset);
    if (quantized) {
      const Tensor* zero = ctx.has_input(kQInputZero) ? &ctx.input(kQInputZero) : nullptr;
      RONDO_RETURN_IF_ERROR(
          Dequantize(ctx.input(0), ctx.input(kQInputScale), zero, 1, ScratchAt<float>(scratch, x_offset)));
    } else if (type == DataType::kFloat) {
      x = ctx.in<float>(0);
    } else {
      ConvertToFloat(ctx.input(0), ScratchAt<float>(scratch, x_offset));
    }
    const float* w = weights.defined() ? weights.data<float>() : ScratchAt<float>(scratch, w_offset);
    if (!weights.defined()) {
      if (quantized) {
        const Tensor* zero = ctx.has_input(kQWeightZero) ? &ctx.input(kQWeightZero) : nullptr;
        RONDO_RETURN_IF_ERROR(
            Dequantize(ctx.input(1), ctx.input(kQWeightScale), zero, width, ScratchAt<float>(scratch, w_offset)));
      } else {
        ConvertToFloat(ctx.input(1), ScratchAt<float>(scratch, w_offset));
      }
    }
    float* qkv = ScratchAt<float>(scratch, qkv_offset);
    const float* bias = nullptr;
    if (ctx.has_input(slots.bias)) {
      ConvertToFloat(ctx.input(slots.bias), ScratchAt<float>(scratch, bias_offset));
      bias = ScratchAt<float>(scratch, bias_offset);
    }
    MultiplyRowMajor(rows, width, inner, x, w, bias, qkv);
    const void* projected = qkv;
    if (type != DataType::kFloat) {
      ConvertFromFloat(qkv, rows * width, type, ScratchAt<char>(scratch, half_offset));
      projected = ScratchAt<char>(scratch, half_offset);
    }
    const AttentionInputs& in = cached.base;
    const auto part = [&](int64_t start, int64_t size) {
      return RowsFirst(static_cast<const char*>(projected) + ByteSize(type, start), type, in.queries, size, width);
    };
    CachedAttention::Buffers io;
    io.q = part(0, in.head_size);
    io.k = part(hidden.q, in.head_size);
    io.v = part(hidden.q + hidden.k, in.v_head_size);
    if (ctx.has_input(slots.past)) {
      const Tensor& past = ctx.input(slots.past);
      io.past_key = past.raw();
      io.past_value = static_cast<const char*>(past.raw()) + past.bytes() / 2;
    }
    if (ctx.has_output(1)) {
      Tensor& present = ctx.output(1);
      io.present_key = present.mutable_raw();
      io.present_value = static_cast<char*>(present.mutable_raw()) + present.bytes() / 2;
    }
    if (ctx.has_input(slots.mask)) io.mask = ctx.in<int32_t>(slots.mask);
    if (ctx.has_input(slots.attention_bias)) io.bias = &ctx.input(slots.attention_bias);
    io.y = ctx.output(0).mutable_raw();
    cached.Run(io, scratch);
    return absl::OkStatus();
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFused(PrepareContext& ctx, bool quantized) {
  auto kernel = std::make_unique<FusedKernel>();
  kernel->quantized = quantized;
  const FusedSlots slots = kernel->slots = SlotsOf(quantized);
  const Dims input = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, HeadsAttribute(ctx.attributes, "num_heads"));
  kernel->rows = input[0] * input[1];
  kernel->inner = input[2];
  kernel->width = ctx.input_dims(1)[1];
  RONDO_ASSIGN_OR_RETURN(kernel->hidden, ReadHidden(ctx, heads, kernel->width));
  kernel->type = quantized ? DataType::kFloat : ctx.input_dtype(0);
  CachedAttention& cached = kernel->cached;
  AttentionInputs& in = cached.base;
  in.batch = input[0];
  in.heads = in.kv_heads = heads;
  in.queries = input[1];
  in.head_size = kernel->hidden.q / heads;
  in.v_head_size = kernel->hidden.v / heads;
  in.q.dtype = in.k.dtype = in.v.dtype = in.y.dtype = kernel->type;
  RONDO_RETURN_IF_ERROR(ReadScale(ctx, in.head_size, &in.scale));
  RONDO_ASSIGN_OR_RETURN(in.causal, ctx.attributes.Flag("unidirectional", false));
  cached.added = in.queries;
  if (ctx.has_input(slots.past)) cached.past = cached.past_capacity = ctx.input_dims(slots.past)[3];
  cached.present_capacity = cached.past + cached.added;
  RONDO_ASSIGN_OR_RETURN(const bool share, ctx.attributes.Flag("past_present_share_buffer", false));
  if (share && ctx.has_input(slots.past)) {
    if (!ctx.has_input(slots.past_length))
      return InvalidArgument("past_present_share_buffer without past_sequence_length");
    const std::vector<int64_t> length = ctx.constant_ints(slots.past_length);
    if (length.size() != 1 || length[0] < 0 || length[0] > cached.past_capacity - cached.added) {
      return OutOfRange("past_sequence_length ", length.empty() ? -1 : length[0], " is out of range [0, ",
                        cached.past_capacity - cached.added, "]");
    }
    cached.past = length[0];
    cached.present_capacity = cached.past_capacity;
  }
  if (ctx.has_input(slots.mask)) {
    RONDO_ASSIGN_OR_RETURN(const float filter, ctx.attributes.Float("mask_filter_value", -10000.0f));
    RONDO_ASSIGN_OR_RETURN(cached.mask, IntegerMask::Create("mask_index", ctx.input_dims(slots.mask), in.batch,
                                                            in.queries, cached.past, cached.added, filter));
  }
  if (ctx.has_input(slots.attention_bias)) {
    cached.has_bias = true;
    cached.bias_dims = ctx.input_dims(slots.attention_bias);
    cached.bias_is_direct = kernel->type == DataType::kFloat;
  }
  if (ctx.has_input(slots.bias)) {
    RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(ctx.input_dims(slots.bias)));
    if (count != kernel->width) return InvalidArgument("bias has ", count, " elements: expected ", kernel->width);
  }
  if (quantized) {
    RONDO_ASSIGN_OR_RETURN(const int64_t scales, CheckedElementCount(ctx.input_dims(kQInputScale)));
    if (scales != 1) return InvalidArgument("input_scale has ", scales, " elements: expected 1");
  }

  // Constant weights as floats, once for all plans.
  const Tensor w = ctx.constant(1);
  if (w.defined() && !quantized) {
    if (w.dtype() == DataType::kFloat) {
      kernel->weights = w;
    } else {
      RONDO_ASSIGN_OR_RETURN(kernel->weights, ctx.weight_cache().GetOrPack(
                                                  {w}, {"float", DataType::kFloat, w.dims()}, [&](Tensor& packed) {
                                                    ConvertToFloat(w, packed.mutable_data<float>());
                                                    return absl::OkStatus();
                                                  }));
    }
  }
  if (w.defined() && quantized) {
    const Tensor scale = ctx.constant(kQWeightScale);
    const Tensor zero = ctx.has_input(kQWeightZero) ? ctx.constant(kQWeightZero) : Tensor();
    if (scale.defined() && ctx.has_input(kQWeightZero) == zero.defined()) {
      RONDO_ASSIGN_OR_RETURN(kernel->weights,
                             ctx.weight_cache().GetOrPack(
                                 {w, scale, zero}, {"dequantized", DataType::kFloat, w.dims()}, [&](Tensor& packed) {
                                   return FusedKernel::Dequantize(w, scale, zero.defined() ? &zero : nullptr,
                                                                  kernel->width, packed.mutable_data<float>());
                                 }));
    }
  }
  ScratchLayout layout;
  const auto floats = [&](int64_t n) { return layout.Add(static_cast<size_t>(n) * sizeof(float)); };
  if (quantized || kernel->type != DataType::kFloat) kernel->x_offset = floats(kernel->rows * kernel->inner);
  if (!kernel->weights.defined()) kernel->w_offset = floats(kernel->inner * kernel->width);
  kernel->qkv_offset = floats(kernel->rows * kernel->width);
  if (kernel->type != DataType::kFloat)
    kernel->half_offset = layout.Add(ByteSize(kernel->type, kernel->rows * kernel->width));
  kernel->bias_offset = floats(kernel->width);
  RONDO_RETURN_IF_ERROR(cached.Plan(ctx, ctx.has_output(1), &layout));
  ctx.RequestScratch(layout.total());
  return kernel;
}

absl::Status InferFloatFused(InferContext& ctx) { return InferFused(ctx, false); }
absl::Status InferQuantizedFused(InferContext& ctx) { return InferFused(ctx, true); }
absl::StatusOr<std::unique_ptr<Kernel>> PrepareFloatFused(PrepareContext& ctx) { return PrepareFused(ctx, false); }
absl::StatusOr<std::unique_ptr<Kernel>> PrepareQuantizedFused(PrepareContext& ctx) { return PrepareFused(ctx, true); }

const OpDef kRows[] = {
    {.domain = "com.microsoft",
     .type = "MultiHeadAttention",
     .inputs = {1, 10},
     .outputs = {1, 4},
     .infer = InferMultiHeadAttention,
     .prepare = PrepareMultiHeadAttention,
     .content_inputs = InputBit(kPastLength)},
    {.domain = "com.microsoft",
     .type = "Attention",
     .inputs = {2, 7},
     .outputs = {1, 2},
     .infer = InferFloatFused,
     .prepare = PrepareFloatFused,
     .content_inputs = InputBit(kFusedPastLength)},
    {.domain = "com.microsoft",
     .type = "QAttention",
     .inputs = {5, 9},
     .outputs = {1, 2},
     .infer = InferQuantizedFused,
     .prepare = PrepareQuantizedFused},
};

}  // namespace

absl::Span<const OpDef> ContribMultiHeadAttentionFamily() { return kRows; }

}  // namespace rondo
