// com.microsoft GroupQueryAttention: the attention of models from onnxruntime-genai's builder. One node takes the
// projections (packed or apart), normalises and rotates queries and keys, appends the new rows to the cache and
// attends.
//
// Two lengths must not be confused: the cache's capacity, which is dimension 2 of past and present where they share a
// buffer, and what is valid in it, which only seqlens_k says. Valid past rows of batch b are seqlens_k[b] + 1 - T; in
// the first prompt (T equals total_sequence_length) there are none, and seqlens_k[b] + 1 may be shorter than T where
// the batch is padded on the right.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ops/attention_common.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/kernels/rotary.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- com.microsoft GroupQueryAttention ----
// Inputs: query [B, T, H * D], or packed [B, T, (H + 2 Hkv) * D] without key and value; key?, value? [B, T, Hkv * D];
//   past_key?, past_value? [B, Hkv, P, D]; seqlens_k int32[B] (total length - 1); total_sequence_length int32 (largest
//   of the batch); cos_cache?, sin_cache? [positions, R / 2]; position_ids? int64[B, T]; attention_bias? [B|1, H|1, T,
//   S]; head_sink? [H]; k_scale?, v_scale? (quantised caches: not supported); q_norm_weight?, k_norm_weight? [D].
// Outputs: output [B, T, H * D]; present_key?, present_value? [B, Hkv, max(P, total), D]; output_qk? [B, H, T, total].
// Attributes: num_heads, kv_num_heads, scale 0 (= 1/sqrt(D)), softcap 0, local_window_size -1 (counts the current
// token),
//   do_rotary 0, rotary_interleaved 0, smooth_softmax 0, qk_output 0 (1 before, 2 after softmax), causal 1,
//   qk_norm_epsilon 1e-6, k_quant_type and v_quant_type NONE, sliding_window_cache 0.
enum Input {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kSeqlens,
  kTotal,
  kCos,
  kSin,
  kPositionIds,
  kBias,
  kSink,
  kKScale,
  kVScale,
  kQNorm,
  kKNorm
};
enum Output { kOutput, kPresentKey, kPresentValue, kScores };

// The cache of sliding_window_cache: after `total` tokens, rows [0, result) hold the latest positions in order. Rows
// are dropped in batches of capacity - window + 1, so that not every step moves the window.
int64_t ResidentRows(int64_t total, int64_t capacity, int64_t window) {
  if (total <= capacity) return total;
  const int64_t drop = capacity - window + 1;
  return total - (total - capacity + drop - 1) / drop * drop;
}

// Longer than any sequence, yet safe to add to a position.
constexpr int64_t kNoWindow = int64_t{1} << 40;

struct WindowCache {
  bool active = false;
  int64_t window = -1;
};
// A cache below the window's size cannot be a window cache: it is one that grows with the sequence, as in a graph whose
// past has its real length.
template <typename Context>
absl::Status ReadWindow(const Context& ctx, int64_t past, WindowCache* cache) {
  RONDO_ASSIGN_OR_RETURN(cache->window, ctx.attributes.Int("local_window_size", -1));
  if (cache->window == 0 || cache->window < -1) {
    return InvalidArgument("local_window_size is ", cache->window, ": expected -1 or a positive number");
  }
  RONDO_ASSIGN_OR_RETURN(const bool flag, ctx.attributes.Flag("sliding_window_cache", false));
  if (flag && cache->window < 0) return InvalidArgument("sliding_window_cache without local_window_size");
  cache->window = std::min(cache->window, kNoWindow);
  cache->active = flag && past >= cache->window;
  return absl::OkStatus();
}

absl::Status InferGroupQueryAttention(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, HeadsAttribute(ctx.attributes, "num_heads"));
  RONDO_ASSIGN_OR_RETURN(const int64_t kv_heads, HeadsAttribute(ctx.attributes, "kv_num_heads"));
  if (heads % kv_heads != 0) {
    return InvalidArgument("num_heads is ", heads, ": expected a multiple of kv_num_heads, ", kv_heads);
  }
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kQuery, 3, 3));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kQuery, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  for (int i : {kKey, kValue, kPastKey, kPastValue, kCos, kSin, kBias, kSink, kQNorm, kKNorm}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, kQuery));
  }
  for (int i : {kSeqlens, kTotal}) {
    if (!ctx.has_input(i)) return InvalidArgument("inputs seqlens_k and total_sequence_length are required");
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt32}));
  }
  if (ctx.has_input(kPositionIds)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kPositionIds, {DataType::kInt64}));
  for (const auto& [a, b, names] : {std::tuple{kKey, kValue, "key and value"},
                                    {kPastKey, kPastValue, "past_key and past_value"},
                                    {kCos, kSin, "cos_cache and sin_cache"},
                                    {kQNorm, kKNorm, "q_norm_weight and k_norm_weight"}}) {
    if (ctx.has_input(a) != ctx.has_input(b)) return InvalidArgument(names, ": expected both or none");
  }
  for (absl::string_view name : {"k_quant_type", "v_quant_type"}) {
    RONDO_ASSIGN_OR_RETURN(const std::string type, ctx.attributes.String(name, "NONE"));
    if (type != "NONE")
      return Unimplemented("attribute \"", name, "\" is ", type, ": quantised caches are not supported");
  }

  const DataType type = ctx.dtype(kQuery);
  Dim batch = Dim::Unknown(), length = Dim::Unknown(), size = Dim::Unknown();
  if (ctx.has_shape(kQuery)) {
    const Shape& query = ctx.shape(kQuery);
    batch = query[0];
    length = query[1];
    const bool packed = !ctx.has_input(kKey);
    RONDO_ASSIGN_OR_RETURN(size, DivideDim("last dim of query", query[2], packed ? heads + 2 * kv_heads : heads));
    if (!packed) {
      RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kKey, 3, 3));
      RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kValue, 3, 3));
      for (int i : {kKey, kValue}) {
        if (!ctx.has_shape(i)) continue;
        const absl::string_view name = i == kKey ? "key" : "value";
        const Shape expected{batch, length, size * Dim(kv_heads)};
        for (int d = 0; d < 3; ++d) {
          RONDO_RETURN_IF_ERROR(ExpectEqualDims(absl::StrCat("dim ", d, " of ", name), ctx.shape(i)[d],
                                                "that of the query's shape", expected[d]));
        }
      }
    }
  }
  Dim past = ctx.has_input(kPastKey) ? Dim::Unknown() : Dim(0);
  for (int i : {kPastKey, kPastValue}) {
    if (!ctx.has_input(i)) continue;
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 4, 4));
    if (!ctx.has_shape(i)) continue;
    const Shape& shape = ctx.shape(i);
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of the past", shape[0], "batch of the query", batch));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of the past", shape[1], "kv_num_heads", Dim(kv_heads)));
    if (i == kPastValue) RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of past_value", shape[2], "of past_key", past));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of the past", shape[3], "head size", size));
    past = shape[2];
  }
  Dim total = Dim::Unknown();
  if (const auto content = ctx.content(kTotal); content.has_value() && content->size() == 1) total = (*content)[0];
  Dim present = Dim::Max(past, total);
  WindowCache window;
  RONDO_RETURN_IF_ERROR(ReadWindow(ctx, past.known() ? past.value() : 0, &window));
  if (window.active) present = past;
  ctx.SetOutput(kOutput, type, Shape{batch, length, size * Dim(heads)});
  ctx.SetOutput(kPresentKey, type, Shape{batch, Dim(kv_heads), present, size});
  ctx.SetOutput(kPresentValue, type, Shape{batch, Dim(kv_heads), present, size});
  ctx.SetOutput(kScores, type, Shape{batch, Dim(heads), length, total});
  return absl::OkStatus();
}

struct GroupQueryConfig {
  AttentionInputs base;  // everything but pointers and lengths
  PreparedAttention attention;
  DataType type;
  int64_t past = 0;     // dim 2 of the past
  int64_t present = 0;  // dim 2 of the present
  int64_t rows = 0;     // of the buffer that is attended to: the present, or past and new rows where that is a window
  int64_t total = 0;    // total_sequence_length
  bool packed = false, has_past = false;
  WindowCache window;
  int64_t half = 0;        // rotated pairs a head; 0: no rotation
  int64_t table_rows = 0;  // of cos_cache
  bool interleaved = false;
  bool norm = false;
  float epsilon = 0;
  int64_t new_row = 0, key_row = 0;  // elements from one token to the next in query, and in key and value
  Dims bias_dims;
  bool bias_is_direct = true;
  bool has_sinks = false;
  size_t query_offset = 0, keys_offset = 0, values_offset = 0, lengths_offset = 0, bias_offset = 0, sinks_offset = 0;
};

template <typename T>
class GroupQueryKernel final : public Kernel {
 public:
  explicit GroupQueryKernel(GroupQueryConfig config) : c_(std::move(config)) {}
  std::string Implementation() const override { return c_.attention.Implementation(); }

  absl::Status Run(RunContext& ctx) const override {
    AttentionInputs in = c_.base;
    Lengths lengths;
    RONDO_RETURN_IF_ERROR(ReadLengths(ctx, &lengths));
    in.key_end = lengths.end;
    in.first_position = lengths.start;

    // The buffers that hold past and new rows.
    const bool staged = c_.window.active || !ctx.has_output(kPresentKey);
    void* keys = staged ? ScratchAt<void>(ctx.scratch(), c_.keys_offset) : ctx.output(kPresentKey).mutable_raw();
    const bool values_staged = c_.window.active || !ctx.has_output(kPresentValue);
    void* values =
        values_staged ? ScratchAt<void>(ctx.scratch(), c_.values_offset) : ctx.output(kPresentValue).mutable_raw();
    in.k = HeadsFirst(keys, c_.type, in.kv_heads, c_.rows, in.head_size);
    in.v = HeadsFirst(values, c_.type, in.kv_heads, c_.rows, in.head_size);
    if (c_.has_past) {
      CopyPast(ctx, kPastKey, in.k);
      CopyPast(ctx, kPastValue, in.v);
    }
    if (!staged) ClearRest(in.k, lengths);
    if (!values_staged) ClearRest(in.v, lengths);

    const T* query = ctx.in<T>(kQuery);
    const T* key = c_.packed ? query + in.heads * in.head_size : ctx.in<T>(kKey);
    const T* value = c_.packed ? query + (in.heads + in.kv_heads) * in.head_size : ctx.in<T>(kValue);
    T* turned = ScratchAt<T>(ctx.scratch(), c_.query_offset);
    const bool turns = c_.half > 0 || c_.norm;
    if (turns) {
      in.q = RowsFirst(turned, c_.type, in.queries, in.head_size, in.heads * in.head_size);
    } else {
      in.q = RowsFirst(query, c_.type, in.queries, in.head_size, c_.new_row);
    }
    const int64_t size = in.head_size;
    const int64_t tokens = in.batch * in.queries;
    const int64_t grain = std::max<int64_t>(1, 10000 / ((in.heads + 2 * in.kv_heads) * size + 1));
    ParallelFor(tokens, grain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t b = t / in.queries, s = t % in.queries;
        const int64_t position = Position(ctx, lengths, b, s);
        if (turns) {
          for (int64_t h = 0; h < in.heads; ++h) {
            Turn(ctx, query + t * c_.new_row + h * size, kQNorm, position, turned + (t * in.heads + h) * size);
          }
        }
        const int64_t row = lengths.start[b] + s;
        for (int64_t g = 0; g < in.kv_heads; ++g) {
          const int64_t to = ((b * in.kv_heads + g) * c_.rows + row) * size;
          Turn(ctx, key + t * c_.key_row + g * size, kKNorm, position, static_cast<T*>(keys) + to);
          std::memcpy(static_cast<T*>(values) + to, value + t * c_.key_row + g * size,
                      sizeof(T) * static_cast<size_t>(size));
        }
      }
    });

    if (ctx.has_input(kBias)) {
      const void* data = ctx.input(kBias).raw();
      if (!c_.bias_is_direct) {
        ConvertToFloat(ctx.input(kBias), ScratchAt<float>(ctx.scratch(), c_.bias_offset));
        data = ScratchAt<float>(ctx.scratch(), c_.bias_offset);
      }
      in.bias[0] = BroadcastBias(data, DataType::kFloat, c_.bias_dims, in.keys, /*broadcast_keys=*/true);
    }
    if (c_.has_sinks) {
      float* sinks = ScratchAt<float>(ctx.scratch(), c_.sinks_offset);
      if (ctx.has_input(kSink)) {
        ConvertToFloat(ctx.input(kSink), sinks);
      } else {
        std::fill(sinks, sinks + in.heads, 0.0f);  // smooth softmax: one more key of score 0 and value 0
      }
      in.sinks = sinks;
    }
    in.y = RowsFirst(ctx.output(kOutput).mutable_raw(), c_.type, in.queries, size, in.heads * size);
    if (ctx.has_output(kScores)) in.scores = ctx.output(kScores).mutable_raw();
    c_.attention.Run(in, ctx.scratch());
    if (c_.window.active) {
      KeepWindow(ctx, kPresentKey, in.k, lengths);
      KeepWindow(ctx, kPresentValue, in.v, lengths);
    }
    return absl::OkStatus();
  }

 private:
  struct Lengths {
    int64_t* start;  // [B] rows of the buffer before the new ones
    int64_t* end;    // [B] valid rows with the new ones
    int64_t* base;   // [B] absolute position of row 0
  };

  absl::Status ReadLengths(RunContext& ctx, Lengths* lengths) const {
    const int64_t batch = c_.base.batch, added = c_.base.queries;
    lengths->start = ScratchAt<int64_t>(ctx.scratch(), c_.lengths_offset);
    lengths->end = lengths->start + batch;
    lengths->base = lengths->end + batch;
    const int32_t* seqlens = ctx.in<int32_t>(kSeqlens);
    const bool prompt = added == c_.total;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t valid = int64_t{seqlens[b]} + 1;
      const int64_t past = prompt ? 0 : valid - added;
      if (valid < 0 || valid > c_.total || past < 0) {
        return OutOfRange("seqlens_k[", b, "] ", seqlens[b], " is out of range [", prompt ? -1 : added - 1, ", ",
                          c_.total - 1, "] (", added, " new tokens, total_sequence_length ", c_.total, ")");
      }
      lengths->base[b] = 0;
      lengths->start[b] = past;
      if (c_.window.active) {
        lengths->start[b] = ResidentRows(past, c_.past, c_.window.window);
        lengths->base[b] = past - lengths->start[b];
        if (lengths->base[b] != 0 && ctx.has_input(kBias)) {
          return Unimplemented("attention_bias with a window cache that has dropped rows");
        }
      } else if (past > c_.past) {
        return OutOfRange("past length ", past, " of batch ", b, " exceeds the ", c_.past, " rows of past_key");
      }
      lengths->end[b] = lengths->start[b] + valid - past;
    }
    if (c_.half == 0) return absl::OkStatus();
    for (int64_t t = 0; t < batch * added; ++t) {
      const int64_t position = Position(ctx, *lengths, t / added, t % added);
      if (position < 0 || position >= c_.table_rows) {
        return OutOfRange("position ", position, " is out of range [0, ", c_.table_rows - 1, "] of cos_cache");
      }
    }
    return absl::OkStatus();
  }

  int64_t Position(const RunContext& ctx, const Lengths& lengths, int64_t b, int64_t s) const {
    if (ctx.has_input(kPositionIds)) return ctx.in<int64_t>(kPositionIds)[b * c_.base.queries + s];
    return lengths.base[b] + lengths.start[b] + s;
  }

  // One head of one token: normalised, rotated, or just copied.
  void Turn(const RunContext& ctx, const T* x, int norm_input, int64_t position, T* y) const {
    const int64_t size = c_.base.head_size;
    if (c_.norm) {
      const T* weight = ctx.in<T>(norm_input);
      float sum = 0;
      for (int64_t i = 0; i < size; ++i) sum += static_cast<float>(x[i]) * static_cast<float>(x[i]);
      const float factor = 1.0f / std::sqrt(sum / static_cast<float>(size) + c_.epsilon);
      for (int64_t i = 0; i < size; ++i) y[i] = T(static_cast<float>(x[i]) * factor * static_cast<float>(weight[i]));
      x = y;
    }
    if (c_.half > 0) {
      RotateHead(x, ctx.in<T>(kCos) + position * c_.half, ctx.in<T>(kSin) + position * c_.half, c_.half, c_.interleaved,
                 y);
    }
    if (x != y) std::copy(x + 2 * c_.half, x + size, y + 2 * c_.half);
  }

  void CopyPast(const RunContext& ctx, int input, const AttentionView& to) const {
    const int64_t rows = std::min(c_.past, c_.rows);
    CopyRows(HeadsFirst(ctx.input(input).raw(), c_.type, c_.base.kv_heads, c_.past, c_.base.head_size), 0, to, 0,
             c_.base.batch, c_.base.kv_heads, rows, c_.base.head_size);
  }

  // Rows of the present that neither the past nor the new rows define: zeros, not what the arena held.
  void ClearRest(const AttentionView& view, const Lengths& lengths) const {
    const int64_t size = c_.base.head_size;
    for (int64_t b = 0; b < c_.base.batch; ++b) {
      const int64_t from = std::max(std::min(c_.past, c_.rows), lengths.start[b] + c_.base.queries);
      for (int64_t g = 0; from < c_.rows && g < c_.base.kv_heads; ++g) {
        T* rows = static_cast<T*>(const_cast<void*>(view.data)) + ((b * c_.base.kv_heads + g) * c_.rows + from) * size;
        std::memset(static_cast<void*>(rows), 0, sizeof(T) * static_cast<size_t>((c_.rows - from) * size));
      }
    }
  }

  // The last rows of past and new ones, moved to row 0 of the present.
  void KeepWindow(RunContext& ctx, int output, const AttentionView& from, const Lengths& lengths) const {
    if (!ctx.has_output(output)) return;
    const int64_t size = c_.base.head_size, heads = c_.base.kv_heads;
    T* present = ctx.out<T>(output);
    std::memset(static_cast<void*>(present), 0, ctx.output(output).bytes());
    for (int64_t b = 0; b < c_.base.batch; ++b) {
      const int64_t keep = ResidentRows(lengths.base[b] + lengths.end[b], c_.present, c_.window.window);
      const AttentionView source =
          HeadsFirst(static_cast<const T*>(from.data) + b * from.batch_stride, c_.type, heads, c_.rows, size);
      const AttentionView target =
          HeadsFirst(present + b * heads * c_.present * size, c_.type, heads, c_.present, size);
      CopyRows(source, lengths.end[b] - keep, target, 0, 1, heads, keep, size);
    }
  }

  GroupQueryConfig c_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGroupQueryAttention(PrepareContext& ctx) {
  GroupQueryConfig c;
  AttentionInputs& in = c.base;
  const Dims query = ctx.input_dims(kQuery);
  RONDO_ASSIGN_OR_RETURN(in.heads, ctx.attributes.Int("num_heads"));
  RONDO_ASSIGN_OR_RETURN(in.kv_heads, ctx.attributes.Int("kv_num_heads"));
  c.packed = !ctx.has_input(kKey);
  c.type = ctx.input_dtype(kQuery);
  in.batch = query[0];
  in.queries = query[1];
  in.head_size = in.v_head_size = query[2] / (c.packed ? in.heads + 2 * in.kv_heads : in.heads);
  c.new_row = query[2];
  c.key_row = c.packed ? query[2] : in.kv_heads * in.head_size;

  const std::vector<int64_t> total = ctx.constant_ints(kTotal);
  if (total.size() != 1) return InvalidArgument("total_sequence_length has ", total.size(), " elements: expected 1");
  c.total = total[0];
  if (c.total < in.queries) {
    return InvalidArgument("total_sequence_length is ", c.total, ", less than the ", in.queries, " new tokens");
  }
  const Dims seqlens = ctx.input_dims(kSeqlens);
  RONDO_ASSIGN_OR_RETURN(const int64_t lengths, CheckedElementCount(seqlens));
  if (lengths != in.batch) {
    return InvalidArgument("seqlens_k has ", lengths, " elements: expected the batch size, ", in.batch);
  }
  c.has_past = ctx.has_input(kPastKey);
  c.past = c.has_past ? ctx.input_dims(kPastKey)[2] : 0;
  RONDO_RETURN_IF_ERROR(ReadWindow(ctx, c.past, &c.window));
  c.present = c.window.active ? c.past : std::max(c.past, c.total);
  c.rows = c.window.active ? c.past + in.queries : c.present;
  in.keys = c.window.active ? c.rows : c.total;

  RONDO_ASSIGN_OR_RETURN(in.causal, ctx.attributes.Flag("causal", true));
  RONDO_ASSIGN_OR_RETURN(in.scale, ctx.attributes.Float("scale", 0.0f));
  if (in.scale == 0.0f) in.scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(in.head_size, 1)));
  RONDO_ASSIGN_OR_RETURN(in.softcap, ctx.attributes.Float("softcap", 0.0f));
  if (c.window.window > 0) {
    if (!in.causal) return InvalidArgument("local_window_size with causal 0: expected -1");
    in.left_window = c.window.window - 1;
  }
  RONDO_ASSIGN_OR_RETURN(const bool rotary, ctx.attributes.Flag("do_rotary", false));
  RONDO_ASSIGN_OR_RETURN(c.interleaved, ctx.attributes.Flag("rotary_interleaved", false));
  if (rotary) {
    if (!ctx.has_input(kCos)) return InvalidArgument("do_rotary is 1: expected inputs cos_cache and sin_cache");
    const Dims cos = ctx.input_dims(kCos), sin = ctx.input_dims(kSin);
    if (cos.size() != 2 || cos != sin || cos[1] * 2 > in.head_size) {
      return InvalidArgument("cos_cache and sin_cache have shapes ", DimsToString(cos), " and ", DimsToString(sin),
                             ": expected [positions, at most ", in.head_size / 2, "], both the same");
    }
    c.table_rows = cos[0];
    c.half = cos[1];
  }
  if (ctx.has_input(kPositionIds) && ctx.input_dims(kPositionIds) != Dims{in.batch, in.queries}) {
    return InvalidArgument("position_ids has shape ", DimsToString(ctx.input_dims(kPositionIds)), ": expected ",
                           DimsToString({in.batch, in.queries}));
  }
  if (ctx.has_input(kQNorm)) {
    c.norm = true;
    RONDO_ASSIGN_OR_RETURN(c.epsilon, ctx.attributes.Float("qk_norm_epsilon", 1e-6f));
    for (int i : {kQNorm, kKNorm}) {
      if (ctx.input_dims(i) != Dims{in.head_size}) {
        return InvalidArgument("norm weight has shape ", DimsToString(ctx.input_dims(i)), ": expected [", in.head_size,
                               "]");
      }
    }
  }
  RONDO_ASSIGN_OR_RETURN(const bool smooth, ctx.attributes.Flag("smooth_softmax", false));
  c.has_sinks = smooth || ctx.has_input(kSink);
  if (ctx.has_input(kSink) && ctx.input_dims(kSink) != Dims{in.heads}) {
    return InvalidArgument("head_sink has shape ", DimsToString(ctx.input_dims(kSink)), ": expected [", in.heads, "]");
  }
  RONDO_ASSIGN_OR_RETURN(const int64_t qk_output, ctx.attributes.Int("qk_output", 0));
  if (ctx.has_output(kScores)) {
    if (qk_output != 1 && qk_output != 2)
      return InvalidArgument("output_qk with qk_output ", qk_output, ": expected 1 or 2");
    if (c.window.active) return Unimplemented("output_qk with a window cache");
    in.scores = &in;  // wanted; Run knows where
    in.scores_stage = qk_output == 1 ? AttentionInputs::Scores::kBiased : AttentionInputs::Scores::kProbabilities;
    in.scores_dtype = c.type;
  }

  ScratchLayout layout;
  const auto elements_bytes = [&](int64_t count) { return ByteSize(c.type, count); };
  // total_sequence_length may be any number: its product is checked.
  RONDO_ASSIGN_OR_RETURN(const int64_t buffer, CheckedElementCount({in.batch, in.kv_heads, c.rows, in.head_size}));
  RONDO_RETURN_IF_ERROR(CheckedByteSize(c.type, {buffer}).status());
  if (c.half > 0 || c.norm)
    c.query_offset = layout.Add(elements_bytes(in.batch * in.queries * in.heads * in.head_size));
  if (c.window.active || !ctx.has_output(kPresentKey)) c.keys_offset = layout.Add(elements_bytes(buffer));
  if (c.window.active || !ctx.has_output(kPresentValue)) c.values_offset = layout.Add(elements_bytes(buffer));
  c.lengths_offset = layout.Add(static_cast<size_t>(in.batch) * 3 * sizeof(int64_t));
  if (ctx.has_input(kBias)) {
    c.bias_dims = ctx.input_dims(kBias);
    RONDO_RETURN_IF_ERROR(CheckBiasDims("attention_bias", c.bias_dims, in.batch, in.heads, in.queries, in.keys));
    c.bias_is_direct = c.type == DataType::kFloat;
    if (!c.bias_is_direct) {
      RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(c.bias_dims));
      c.bias_offset = layout.Add(static_cast<size_t>(count) * sizeof(float));
    }
  }
  if (c.has_sinks) c.sinks_offset = layout.Add(static_cast<size_t>(in.heads) * sizeof(float));
  in.q.dtype = in.k.dtype = in.v.dtype = in.y.dtype = c.type;
  c.attention = PrepareAttention(ctx, in, &layout);
  in.scores = nullptr;
  ctx.RequestScratch(layout.total());
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      TypeList<float, Float16, BFloat16>{}, c.type, [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        return std::unique_ptr<Kernel>(std::make_unique<GroupQueryKernel<typename decltype(tag)::type>>(std::move(c)));
      });
}

const OpDef kRows[] = {
    {.domain = "com.microsoft",
     .type = "GroupQueryAttention",
     .inputs = {1, 16},
     .outputs = {1, 4},
     .infer = InferGroupQueryAttention,
     .prepare = PrepareGroupQueryAttention,
     .content_inputs = InputBit(kTotal)},
};

}  // namespace

absl::Span<const OpDef> ContribAttentionFamily() { return kRows; }

}  // namespace rondo
