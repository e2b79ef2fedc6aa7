// Attention over a KV cache that is written in place: what the rewriter of exported decoders makes of an attention
// layer and its past and present tensors. The cache is a state input, so neither its capacity nor the past length is
// part of any shape; a plan serves every position.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kvcache/kv_cache.h"
#include "kvcache/kv_rows.h"
#include "ops/attention_common.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- rondo::KvAttention (1) ----
// The new rows K, V of batch row b become rows length, length + 1 ... of the sequence that the cache's step gives to b;
// then Y[b, h, i] = softmax_j(cap(scale * Q[b, h, i] . K_j) + bias) V_j over its rows j <= p, p - j < window, where
// query i is at position p = length + i. Queries from the step's valid count of b on are padding and give zeros.
// Inputs: Q [B, Hq, S, D] or [B, S, Hq * D]; K, V likewise with Hkv heads (V of any head size), float32, float16 or
//   bfloat16; cache state (KvCache, within a step); relative_bias? float[Hq, N], added at distance p - j, the last
//   column for all from N - 1 on; alibi_slopes? float[Hq], adds slope * (j - p); sinks? float[Hq], exp(sink) joins the
//   denominator.
// Output: Y as Q, with V's head size.
// Attributes: layer (of the cache, required), scale 1/sqrt(D), softcap 0, window -1, q_num_heads and kv_num_heads
//   (rank 3 only).
enum Input { kQ, kK, kV, kCache, kRelativeBias, kAlibi, kSinks };

constexpr int64_t kMaxLayer = 1 << 16;

absl::Status CheckHeadsVector(const InferContext& ctx, int i, absl::string_view name, int rank, const Dim& heads) {
  if (!ctx.has_input(i)) return absl::OkStatus();
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, rank, rank));
  if (!ctx.has_shape(i)) return absl::OkStatus();
  return ExpectEqualDims(absl::StrCat("dim 0 of ", name), ctx.shape(i)[0], "the number of query heads", heads);
}

absl::Status InferKvAttention(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kQ, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  for (int i : {kK, kV}) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kQ, i));
  for (int i : {kQ, kK, kV}) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 4));
  if (ctx.input_type(kCache).kind != ValueType::Kind::kState) {
    return InvalidArgument("input 3: expected the state of a KV cache, got ", ctx.input_type(kCache).ToString());
  }
  if (!ctx.has_shape(kQ) || !ctx.has_shape(kK) || !ctx.has_shape(kV)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(kQ));
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
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of K", k.length, "length of Q", q.length));
  RONDO_RETURN_IF_ERROR(CheckAttentionOperands(q, k, v));
  RONDO_RETURN_IF_ERROR(CheckHeadsVector(ctx, kRelativeBias, "relative_bias", 2, q.heads));
  RONDO_RETURN_IF_ERROR(CheckHeadsVector(ctx, kAlibi, "alibi_slopes", 1, q.heads));
  RONDO_RETURN_IF_ERROR(CheckHeadsVector(ctx, kSinks, "sinks", 1, q.heads));
  ctx.SetOutput(0, ctx.dtype(kQ), AttentionOutputShape(rank, q, v.size));
  return absl::OkStatus();
}

class KvAttentionKernel final : public Kernel {
 public:
  AttentionInputs base;  // everything but pointers, lengths and the cache
  PreparedAttention attention;
  int layer = 0;
  AttentionView k_new, v_new;  // the operands' strides
  size_t views_offset = 0, lengths_offset = 0;

  std::string Implementation() const override { return attention.Implementation(); }

  absl::Status Run(RunContext& ctx) const override {
    KvCache* cache = nullptr;
    if (ctx.input_value(kCache).is_state()) cache = dynamic_cast<KvCache*>(&ctx.input_value(kCache).state());
    if (cache == nullptr) return InvalidArgument("input 3: expected the state of a KV cache");
    RONDO_RETURN_IF_ERROR(CheckCache(*cache));

    AttentionInputs in = base;
    KvView* views = ScratchAt<KvView>(ctx.scratch(), views_offset);
    int64_t* begin = ScratchAt<int64_t>(ctx.scratch(), lengths_offset);
    int64_t *end = begin + in.batch, *start = end + in.batch, *count = start + in.batch;
    for (int64_t b = 0; b < in.batch; ++b) {
      views[b] = cache->View(layer, b);
      begin[b] = views[b].begin;
      end[b] = views[b].end;
      start[b] = views[b].start;
      count[b] = cache->step_valid(b);
    }
    in.cache = views;
    in.key_begin = begin;
    in.key_end = end;
    in.first_position = start;
    in.query_count = count;

    WriteRows(ctx, *cache);
    in.q.data = ctx.input(kQ).raw();
    in.y.data = ctx.output(0).mutable_raw();
    if (ctx.has_input(kRelativeBias)) in.relative_bias = ctx.in<float>(kRelativeBias);
    if (ctx.has_input(kAlibi)) in.alibi = ctx.in<float>(kAlibi);
    if (ctx.has_input(kSinks)) in.sinks = ctx.in<float>(kSinks);
    attention.Run(in, ctx.scratch());
    return absl::OkStatus();
  }

 private:
  absl::Status CheckCache(const KvCache& cache) const {
    const KvCacheConfig& config = cache.config();
    if (layer >= static_cast<int>(config.layers.size())) {
      return InvalidArgument("layer ", layer, ": the cache has ", config.layers.size(), " layers");
    }
    const KvLayer& shape = config.layers[layer];
    if (shape.kv_heads != base.kv_heads || shape.head_size != base.head_size || shape.v_head_size != base.v_head_size) {
      return InvalidArgument("layer ", layer, " of the cache has ", shape.kv_heads, " heads of size ", shape.head_size,
                             " and ", shape.v_head_size, ", K and V have ", base.kv_heads, " of ", base.head_size,
                             " and ", base.v_head_size);
    }
    if (shape.window >= 0 && (base.left_window < 0 || base.left_window >= shape.window)) {
      return InvalidArgument("layer ", layer, " of the cache keeps a window of ", shape.window, " rows, the node's is ",
                             base.left_window < 0 ? -1 : base.left_window + 1, ": expected at most as many");
    }
    if (!cache.in_step()) return InvalidArgument("the cache is in no step (BeginStep)");
    if (cache.step_batch() != base.batch || cache.step_rows() != base.queries) {
      return InvalidArgument("the cache's step has ", cache.step_batch(), " sequences of ", cache.step_rows(),
                             " rows, Q has ", base.batch, " of ", base.queries);
    }
    return absl::OkStatus();
  }

  void WriteRows(RunContext& ctx, KvCache& cache) const {
    const int64_t units = base.batch * base.kv_heads;
    const int64_t elements = base.queries * (base.head_size + base.v_head_size);
    // About one element per nanosecond.
    ParallelFor(units, 1 + 20000 / std::max<int64_t>(elements, 1), [&](int64_t first, int64_t last) {
      for (int64_t u = first; u < last; ++u) {
        const int64_t b = u / base.kv_heads;
        cache.WriteHead(layer, b, u % base.kv_heads, RowsOf(ctx, kK, k_new, b), RowsOf(ctx, kV, v_new, b));
      }
    });
  }
  static KvRows RowsOf(RunContext& ctx, int input, const AttentionView& view, int64_t batch) {
    const char* data = static_cast<const char*>(ctx.input(input).raw());
    return {data + ByteSize(view.dtype, batch * view.batch_stride), view.dtype, view.head_stride, view.row_stride};
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareKvAttention(PrepareContext& ctx) {
  auto kernel = std::make_unique<KvAttentionKernel>();
  AttentionInputs& in = kernel->base;
  const Dims q_dims = ctx.input_dims(kQ);
  const int rank = static_cast<int>(q_dims.size());
  RONDO_ASSIGN_OR_RETURN(const AttentionHeads heads, ReadAttentionHeads(ctx.attributes, rank));
  const AttentionOperand<int64_t> q = ReadAttentionOperand(q_dims, heads.q);
  const AttentionOperand<int64_t> k = ReadAttentionOperand(ctx.input_dims(kK), heads.kv);
  const AttentionOperand<int64_t> v = ReadAttentionOperand(ctx.input_dims(kV), heads.kv);
  in.batch = q.batch;
  in.heads = q.heads;
  in.kv_heads = k.heads;
  in.queries = q.length;
  in.keys = std::numeric_limits<int64_t>::max();
  in.head_size = q.size;
  in.v_head_size = v.size;

  RONDO_ASSIGN_OR_RETURN(const int64_t layer, ctx.attributes.Int("layer"));
  if (layer < 0 || layer >= kMaxLayer) return InvalidArgument("attribute \"layer\" is ", layer);
  kernel->layer = static_cast<int>(layer);
  const float default_scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(q.size, 1)));
  RONDO_ASSIGN_OR_RETURN(in.scale, ctx.attributes.Float("scale", default_scale));
  RONDO_ASSIGN_OR_RETURN(in.softcap, ctx.attributes.Float("softcap", 0.0f));
  if (!(in.softcap >= 0)) return InvalidArgument("attribute \"softcap\" is ", in.softcap, ": expected 0 or more");
  RONDO_ASSIGN_OR_RETURN(const int64_t window, ctx.attributes.Int("window", -1));
  if (window != -1 && window < 1) {
    return InvalidArgument("attribute \"window\" is ", window, ": expected -1 or a number of keys");
  }
  in.left_window = window < 0 ? -1 : window - 1;
  in.causal = true;
  if (ctx.has_input(kRelativeBias)) {
    in.relative_distances = ctx.input_dims(kRelativeBias)[1];
    if (in.relative_distances == 0) return InvalidArgument("relative_bias has no columns");
  }

  const DataType type = ctx.input_dtype(kQ);
  in.q = ViewOfOperand(rank, q, type);
  in.y = ViewOfOperand(rank, {q.batch, q.heads, q.length, v.size}, type);
  kernel->k_new = ViewOfOperand(rank, k, type);
  kernel->v_new = ViewOfOperand(rank, v, type);
  ScratchLayout layout;
  kernel->views_offset = layout.Add(static_cast<size_t>(in.batch) * sizeof(KvView));
  kernel->lengths_offset = layout.Add(static_cast<size_t>(in.batch) * 4 * sizeof(int64_t));
  const KvView planned;  // any: its presence tells that lengths are known in the run only
  in.cache = &planned;
  kernel->attention = PrepareAttention(ctx, in, &layout);
  in.cache = nullptr;
  ctx.RequestScratch(layout.total());
  return kernel;
}

const OpDef kRows[] = {
    // Not deterministic: it changes the cache, so nodes that look alike are not one.
    {.domain = "rondo",
     .type = "KvAttention",
     .inputs = {4, 7},
     .outputs = {1, 1},
     .infer = InferKvAttention,
     .prepare = PrepareKvAttention,
     .deterministic = false},
};

}  // namespace

absl::Span<const OpDef> KvAttentionFamily() { return kRows; }

}  // namespace rondo
