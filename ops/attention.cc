// Attention of ai.onnx. The arithmetic is in ops/kernels/attention.h; this file maps the operator's many forms on it:
// operands of rank 3 ([B, T, heads * size]) or 4 ([B, heads, T, size]), a cache inside (past -> present) or outside
// (nonpad_kv_seqlen), masks that broadcast, and scores as an optional output.
//
// Causal masks and windows are aligned bottom-right, as the corrected text of the specification (1.23) says for all
// versions; rows that see no key are zero.
#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/attention_common.h"
#include "ops/families.h"

namespace rondo {
namespace {

// ---- Attention (23, 24, 25) ----
// Y = softmax(cap(scale * Q K^T) + mask) V
// Inputs: Q [B, Hq, T, D] or [B, T, Hq * D]; K, V likewise with Hkv heads and L rows; attn_mask? bool (true = attend)
// or
//   number, broadcast to [B, Hq, T, S], S = P + L, its last dim may be shorter (the rest is excluded); past_key?
//   [B, Hkv, P, D], past_value? [B, Hkv, P, Dv]; (24) nonpad_kv_seqlen? int64[B], not together with the past.
// Outputs: Y as Q; present_key? [B, Hkv, S, D], present_value?; qk_matmul_output? [B, Hq, T, S].
// Attributes: is_causal 0, q_num_heads and kv_num_heads (rank 3 only), scale 1/sqrt(D), softcap 0, softmax_precision,
//   qk_matmul_output_mode 0 (0 raw, 1 capped, 2 with mask, 3 probabilities); (25) left/right_window_size -1.
enum Input { kQ, kK, kV, kMask, kPastKey, kPastValue, kNonpad };
enum Output { kY, kPresentKey, kPresentValue, kScores };

absl::Status InferAttention(InferContext& ctx) {
  for (int i : {kQ, kK, kV}) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 4));
  if (ctx.has_input(kPastKey) != ctx.has_input(kPastValue)) {
    return InvalidArgument("past_key and past_value: expected both or none");
  }
  if (ctx.has_input(kNonpad) && ctx.has_input(kPastKey)) {
    return InvalidArgument("nonpad_kv_seqlen cannot be combined with past_key");
  }
  const DataType type = ctx.dtype(kQ), v_type = ctx.dtype(kV);
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kQ, kK));
  if (!ctx.has_shape(kQ) || !ctx.has_shape(kK) || !ctx.has_shape(kV)) {
    ctx.SetOutputOfUnknownRank(kY, type);
    ctx.SetOutput(kPresentKey, type, Shape::UnknownOfRank(4));
    ctx.SetOutput(kPresentValue, v_type, Shape::UnknownOfRank(4));
    ctx.SetOutput(kScores, type, Shape::UnknownOfRank(4));
    return absl::OkStatus();
  }
  const int rank = ctx.shape(kQ).rank();
  if (ctx.shape(kK).rank() != rank || ctx.shape(kV).rank() != rank) {
    return InvalidArgument("Q, K and V: expected one rank, got ", rank, ", ", ctx.shape(kK).rank(), ", ",
                           ctx.shape(kV).rank());
  }
  RONDO_ASSIGN_OR_RETURN(const AttentionHeads heads, ReadAttentionHeads(ctx.attributes, rank));
  RONDO_ASSIGN_OR_RETURN(const auto q, ReadAttentionOperand("Q", ctx.shape(kQ), heads.q));
  RONDO_ASSIGN_OR_RETURN(const auto k, ReadAttentionOperand("K", ctx.shape(kK), heads.kv));
  RONDO_ASSIGN_OR_RETURN(const auto v, ReadAttentionOperand("V", ctx.shape(kV), heads.kv));
  RONDO_RETURN_IF_ERROR(CheckAttentionOperands(q, k, v));
  Dim total = k.length;
  if (ctx.has_input(kPastKey)) {
    for (int i : {kPastKey, kPastValue}) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 4, 4));
    if (ctx.has_shape(kPastKey)) {
      const Shape& past = ctx.shape(kPastKey);
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of past_key", past[0], "batch of Q", q.batch));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of past_key", past[1], "heads of K", k.heads));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of past_key", past[3], "head size of K", k.size));
      total = past[2] + k.length;
    } else {
      total = Dim::Unknown();
    }
    if (ctx.has_shape(kPastValue)) {
      const Shape& past = ctx.shape(kPastValue);
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of past_value", past[0], "batch of Q", q.batch));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of past_value", past[1], "heads of V", v.heads));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("total length of values", past[2] + v.length, "of keys", total));
      RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of past_value", past[3], "head size of V", v.size));
    }
  }
  if (ctx.has_input(kNonpad)) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kNonpad, 1, 1));
  ctx.SetOutput(kY, type, AttentionOutputShape(rank, q, v.size));
  ctx.SetOutput(kPresentKey, type, Shape{k.batch, k.heads, total, k.size});
  ctx.SetOutput(kPresentValue, v_type, Shape{v.batch, v.heads, total, v.size});
  ctx.SetOutput(kScores, type, Shape{q.batch, q.heads, q.length, total});
  return absl::OkStatus();
}

class AttentionKernel final : public Kernel {
 public:
  AttentionInputs base;  // everything but pointers
  PreparedAttention attention;
  int64_t past = 0, added = 0;  // rows
  bool has_past = false;
  AttentionView k_new, v_new;  // the operands' strides
  bool has_mask = false, mask_is_direct = true, broadcast_keys = false;
  Dims mask_dims;
  size_t mask_offset = 0, keys_offset = 0, values_offset = 0, ends_offset = 0;

  std::string Implementation() const override { return attention.Implementation(); }

  absl::Status Run(RunContext& ctx) const override {
    AttentionInputs in = base;
    in.q.data = ctx.input(kQ).raw();
    in.y.data = ctx.output(kY).mutable_raw();
    AttentionView k = k_new, v = v_new;
    k.data = ctx.input(kK).raw();
    v.data = ctx.input(kV).raw();
    in.k = Gather(ctx, kPastKey, kPresentKey, k, in.head_size, keys_offset);
    in.v = Gather(ctx, kPastValue, kPresentValue, v, in.v_head_size, values_offset);

    if (has_mask) {
      const Tensor& mask = ctx.input(kMask);
      const void* data = mask.raw();
      DataType type = mask.dtype();
      if (!mask_is_direct) {
        float* converted = ScratchAt<float>(ctx.scratch(), mask_offset);
        ConvertToFloat(mask, converted);
        data = converted;
        type = DataType::kFloat;
      }
      in.bias[0] = BroadcastBias(data, type, mask_dims, in.keys, broadcast_keys);
    }
    int64_t* ends = ScratchAt<int64_t>(ctx.scratch(), ends_offset);
    int64_t* positions = ends + in.batch;
    if (ctx.has_input(kNonpad)) {
      const int64_t* valid = ctx.in<int64_t>(kNonpad);
      for (int64_t b = 0; b < in.batch; ++b) {
        if (valid[b] < 0 || valid[b] > in.keys) {
          return OutOfRange("nonpad_kv_seqlen[", b, "] ", valid[b], " is out of range [0, ", in.keys, "]");
        }
        ends[b] = valid[b];
        positions[b] = valid[b] - in.queries;
      }
      in.key_end = ends;
      in.first_position = positions;
    } else if (has_past) {
      std::fill(positions, positions + in.batch, past);
      in.first_position = positions;
    }
    if (ctx.has_output(kScores)) in.scores = ctx.output(kScores).mutable_raw();
    attention.Run(in, ctx.scratch());
    return absl::OkStatus();
  }

 private:
  // The keys (or values) to attend to: the new rows themselves, or past and new rows together in the present output, or
  // in scratch where nobody asked for that output.
  AttentionView Gather(RunContext& ctx, int past_input, int present_output, const AttentionView& fresh, int64_t size,
                       size_t offset) const {
    const bool present = ctx.has_output(present_output);
    if (!has_past && !present) return fresh;
    void* memory = present ? ctx.output(present_output).mutable_raw() : ScratchAt<void>(ctx.scratch(), offset);
    const AttentionView all = HeadsFirst(memory, fresh.dtype, base.kv_heads, base.keys, size);
    if (has_past) {
      CopyRows(HeadsFirst(ctx.input(past_input).raw(), fresh.dtype, base.kv_heads, past, size), 0, all, 0, base.batch,
               base.kv_heads, past, size);
    }
    CopyRows(fresh, 0, all, past, base.batch, base.kv_heads, added, size);
    return all;
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareOnnxAttention(PrepareContext& ctx) {
  auto kernel = std::make_unique<AttentionKernel>();
  AttentionInputs& in = kernel->base;
  const Dims q_dims = ctx.input_dims(kQ), k_dims = ctx.input_dims(kK), v_dims = ctx.input_dims(kV);
  const int rank = static_cast<int>(q_dims.size());
  RONDO_ASSIGN_OR_RETURN(const AttentionHeads heads, ReadAttentionHeads(ctx.attributes, rank));
  const AttentionOperand<int64_t> q = ReadAttentionOperand(q_dims, heads.q);
  const AttentionOperand<int64_t> k = ReadAttentionOperand(k_dims, heads.kv);
  const AttentionOperand<int64_t> v = ReadAttentionOperand(v_dims, heads.kv);
  in.batch = q.batch;
  in.heads = q.heads;
  in.kv_heads = k.heads;
  in.queries = q.length;
  in.head_size = q.size;
  in.v_head_size = v.size;
  kernel->has_past = ctx.has_input(kPastKey);
  kernel->past = kernel->has_past ? ctx.input_dims(kPastKey)[2] : 0;
  kernel->added = k.length;
  in.keys = kernel->past + k.length;

  const DataType type = ctx.input_dtype(kQ), v_type = ctx.input_dtype(kV);
  in.q = ViewOfOperand(rank, q, type);
  in.y = ViewOfOperand(rank, {q.batch, q.heads, q.length, v.size}, type);
  kernel->k_new = ViewOfOperand(rank, k, type);
  kernel->v_new = ViewOfOperand(rank, v, v_type);
  in.k.dtype = type;
  in.v.dtype = v_type;

  RONDO_ASSIGN_OR_RETURN(in.causal, ctx.attributes.Flag("is_causal", false));
  const float default_scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(q.size, 1)));
  RONDO_ASSIGN_OR_RETURN(in.scale, ctx.attributes.Float("scale", default_scale));
  RONDO_ASSIGN_OR_RETURN(in.softcap, ctx.attributes.Float("softcap", 0.0f));
  if (ctx.version() >= 25) {
    RONDO_ASSIGN_OR_RETURN(in.left_window, ctx.attributes.Int("left_window_size", -1));
    RONDO_ASSIGN_OR_RETURN(in.right_window, ctx.attributes.Int("right_window_size", -1));
    if (in.left_window < -1 || in.right_window < -1) {
      return InvalidArgument("window sizes ", in.left_window, " and ", in.right_window, ": expected -1 or more");
    }
    // Longer than any sequence, yet safe to add to a position.
    constexpr int64_t kLongest = int64_t{1} << 40;
    in.left_window = std::min(in.left_window, kLongest);
    in.right_window = std::min(in.right_window, kLongest);
  }
  RONDO_ASSIGN_OR_RETURN(const int64_t precision, ctx.attributes.Int("softmax_precision", 0));
  switch (precision) {
    case 0:
      break;
    case 1:
    case 10:
    case 11:
    case 16:
      in.softmax_precision = static_cast<DataType>(precision);
      break;
    default:
      return InvalidArgument("softmax_precision ", precision, ": expected 1, 10, 11 or 16");
  }
  RONDO_ASSIGN_OR_RETURN(const int64_t mode, ctx.attributes.Int("qk_matmul_output_mode", 0));
  if (mode < 0 || mode > 3) return InvalidArgument("qk_matmul_output_mode ", mode, ": expected 0 to 3");
  in.scores_stage = static_cast<AttentionInputs::Scores>(mode);
  in.scores_dtype = type;
  if (ctx.has_output(kScores)) in.scores = &in;  // wanted; Run knows where

  ScratchLayout layout;
  if (ctx.has_input(kMask)) {
    kernel->has_mask = true;
    kernel->mask_dims = ctx.input_dims(kMask);
    // Version 24 defined what a short last dim means; before, a dim of 1 could only be broadcast.
    kernel->broadcast_keys = ctx.version() < 24;
    RONDO_RETURN_IF_ERROR(CheckBiasDims("attn_mask", kernel->mask_dims, in.batch, in.heads, in.queries, in.keys));
    const DataType mask_type = ctx.input_dtype(kMask);
    const bool doubles = type == DataType::kDouble || v_type == DataType::kDouble;
    kernel->mask_is_direct =
        mask_type == DataType::kBool || mask_type == DataType::kFloat || (mask_type == DataType::kDouble && doubles);
    if (!kernel->mask_is_direct) {
      RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(kernel->mask_dims));
      kernel->mask_offset = layout.Add(static_cast<size_t>(count) * sizeof(float));
    }
  }
  if (ctx.has_input(kNonpad) && ctx.input_dims(kNonpad)[0] != in.batch) {
    return InvalidArgument("nonpad_kv_seqlen has ", ctx.input_dims(kNonpad)[0], " elements, the batch is ", in.batch);
  }
  const auto rows_bytes = [&](DataType dtype, int64_t size) {
    return ByteSize(dtype, in.batch * in.kv_heads * in.keys * size);
  };
  if (kernel->has_past && !ctx.has_output(kPresentKey)) kernel->keys_offset = layout.Add(rows_bytes(type, q.size));
  if (kernel->has_past && !ctx.has_output(kPresentValue))
    kernel->values_offset = layout.Add(rows_bytes(v_type, v.size));
  kernel->ends_offset = layout.Add(static_cast<size_t>(in.batch) * 2 * sizeof(int64_t));
  kernel->attention = PrepareAttention(ctx, in, &layout);
  in.scores = nullptr;
  ctx.RequestScratch(layout.total());
  return kernel;
}

const OpDef kRows[] = {
    {.type = "Attention",
     .since = 23,
     .inputs = {3, 6},
     .outputs = {1, 4},
     .infer = InferAttention,
     .prepare = PrepareOnnxAttention},
    {.type = "Attention",
     .since = 24,
     .inputs = {3, 7},
     .outputs = {1, 4},
     .infer = InferAttention,
     .prepare = PrepareOnnxAttention},
};

}  // namespace

absl::Span<const OpDef> AttentionFamily() { return kRows; }

}  // namespace rondo
