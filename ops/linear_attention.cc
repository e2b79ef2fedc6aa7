// Operators that carry a state instead of a cache: LinearAttention (a matrix per head, updated by each token) and
// CausalConvWithState (the last inputs of a short convolution), of ai.onnx and of com.microsoft. Both run token by
// token with the state in float32.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ops/attention_common.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- LinearAttention (27), com.microsoft LinearAttention ----
// Per head with state S [dk, dv]:  S *= exp(g_t) (gated);  v' = v_t, or beta_t (v_t - S^T k_t) (delta);  S += k_t v'^T;
//   o_t = scale S^T q_t.
// Inputs: query [B, T, Hq * dk]; key [B, T, Hkv * dk]; value [B, T, Hkv * dv]; past_state? [B, Hkv, dk, dv]; decay?
//   [B, T, Hkv * dk] or [B, T, Hkv]; beta? [B, T, Hkv] or [B, T, 1].
// Outputs: output [B, T, Hq * dv]; present_state? as past_state (type of past_state, or of query).
// Attributes: q_num_heads, kv_num_heads, update_rule gated_delta (linear, gated, delta), scale 0 (= 1/sqrt(dk)),
//   chunk_size (a hint). com.microsoft: state_window W > 0 keeps the states after the last W tokens, [W, B, Hkv, dk,
//   dv]; and Hkv may be a multiple of Hq, then the output has Hkv heads.
enum Input { kQuery, kKey, kValue, kPast, kDecay, kBeta };

struct Rule {
  bool gated, delta;
};
template <typename Context>
absl::StatusOr<Rule> ReadRule(const Context& ctx) {
  RONDO_ASSIGN_OR_RETURN(const std::string name, ctx.attributes.String("update_rule", "gated_delta"));
  Rule rule{};
  if (name == "gated_delta") {
    rule = {true, true};
  } else if (name == "gated") {
    rule = {true, false};
  } else if (name == "delta") {
    rule = {false, true};
  } else if (name != "linear") {
    return InvalidArgument("update_rule is \"", name, "\": expected linear, gated, delta or gated_delta");
  }
  if (rule.gated != ctx.has_input(kDecay) || rule.delta != ctx.has_input(kBeta)) {
    return InvalidArgument("update_rule ", name, ": expected input decay to be ", rule.gated ? "present" : "absent",
                           " and beta ", rule.delta ? "present" : "absent");
  }
  return rule;
}

struct LinearHeads {
  int64_t q, kv, out;
};
template <typename Context>
absl::StatusOr<LinearHeads> ReadLinearHeads(const Context& ctx) {
  LinearHeads heads{};
  RONDO_ASSIGN_OR_RETURN(heads.q, HeadsAttribute(ctx.attributes, "q_num_heads"));
  RONDO_ASSIGN_OR_RETURN(heads.kv, HeadsAttribute(ctx.attributes, "kv_num_heads"));
  heads.out = std::max(heads.q, heads.kv);
  const bool inverse = !ctx.node().op().domain.empty() && heads.kv > heads.q;
  if ((inverse ? heads.kv % heads.q : heads.q % heads.kv) != 0 || (!inverse && heads.kv > heads.q)) {
    return InvalidArgument("q_num_heads is ", heads.q, ": expected a multiple of kv_num_heads, ", heads.kv);
  }
  return heads;
}

// state_window, of com.microsoft's two operators alone.
template <typename Context>
absl::StatusOr<int64_t> ReadStateWindow(const Context& ctx) {
  if (ctx.node().op().domain.empty()) return 0;
  RONDO_ASSIGN_OR_RETURN(const int64_t window, ctx.attributes.Int("state_window", 0));
  if (window < 0 || window > 8) return InvalidArgument("state_window is ", window, ": expected 0 to 8");
  return window;
}

absl::Status InferLinearAttention(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ReadRule(ctx).status());
  RONDO_ASSIGN_OR_RETURN(const LinearHeads heads, ReadLinearHeads(ctx));
  RONDO_ASSIGN_OR_RETURN(const int64_t window, ReadStateWindow(ctx));
  const std::initializer_list<DataType> floats = {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16};
  for (int i : {kQuery, kKey, kValue}) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, floats));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 3));
  }
  for (int i : {kPast, kDecay, kBeta}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, floats));
  }
  const DataType type = ctx.dtype(kQuery);
  const DataType state_type = ctx.has_input(kPast) ? ctx.dtype(kPast) : type;
  if (!ctx.has_shape(kQuery) || !ctx.has_shape(kValue)) {
    ctx.SetOutput(0, type, Shape::UnknownOfRank(3));
    ctx.SetOutput(1, state_type, Shape::UnknownOfRank(window > 0 ? 5 : 4));
    return absl::OkStatus();
  }
  const Shape& query = ctx.shape(kQuery);
  RONDO_ASSIGN_OR_RETURN(const Dim dk, DivideDim("last dim of query", query[2], heads.q));
  RONDO_ASSIGN_OR_RETURN(const Dim dv, DivideDim("last dim of value", ctx.shape(kValue)[2], heads.kv));
  if (ctx.has_shape(kKey)) {
    RONDO_RETURN_IF_ERROR(
        ExpectEqualDims("last dim of key", ctx.shape(kKey)[2], "kv_num_heads * head size", dk * Dim(heads.kv)));
  }
  for (int i : {kKey, kValue, kDecay, kBeta}) {
    if (!ctx.has_input(i)) continue;
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 3));
    if (!ctx.has_shape(i)) continue;
    RONDO_RETURN_IF_ERROR(
        ExpectEqualDims(absl::StrCat("batch of input ", i), ctx.shape(i)[0], "that of query", query[0]));
    RONDO_RETURN_IF_ERROR(
        ExpectEqualDims(absl::StrCat("length of input ", i), ctx.shape(i)[1], "that of query", query[1]));
  }
  Shape state{query[0], Dim(heads.kv), dk, dv};
  if (window > 0) state.insert(state.begin(), Dim(window));
  if (ctx.has_input(kPast) && ctx.has_shape(kPast)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kPast, state.rank(), state.rank()));
    for (int d = 0; d < state.rank(); ++d) {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims(absl::StrCat("dim ", d, " of past_state"), ctx.shape(kPast)[d],
                                            "that of the state", state[d]));
    }
  }
  ctx.SetOutput(0, type, Shape{query[0], query[1], dv * Dim(heads.out)});
  ctx.SetOutput(1, state_type, std::move(state));
  return absl::OkStatus();
}

class LinearAttentionKernel final : public Kernel {
 public:
  LinearHeads heads{};
  Rule rule{};
  int64_t batch = 0, tokens = 0, dk = 0, dv = 0, window = 0;
  int64_t decay_width = 0, beta_width = 0;  // last dims
  float scale = 1;
  int threads = 1;
  size_t per_worker = 0;  // floats

  std::string Implementation() const override { return "own"; }

  absl::Status Run(RunContext& ctx) const override {
    const int64_t cost = tokens * dk * dv * 3 / 4 + 1;
    ParallelFor(batch * heads.kv, std::max<int64_t>(1, 20000 / cost), [&](int64_t begin, int64_t end) {
      float* work = static_cast<float*>(ctx.scratch()) +
                    std::min<int64_t>(WorkerIndex(), threads - 1) * static_cast<int64_t>(per_worker);
      for (int64_t i = begin; i < end; ++i) RunHead(ctx, i / heads.kv, i % heads.kv, work);
    });
    return absl::OkStatus();
  }

 private:
  void Load(const RunContext& ctx, int input, int64_t at, int64_t n, float* to) const {
    const Tensor& t = ctx.input(input);
    ConvertToFloat(static_cast<const char*>(t.raw()) + ByteSize(t.dtype(), at), t.dtype(), n, to);
  }

  void RunHead(const RunContext& ctx, int64_t b, int64_t h, float* work) const {
    float* state = work;  // [dk][dv]
    float* q = state + dk * dv;
    float* k = q + dk;
    float* decay = k + dk;
    float* v = decay + dk;
    float* o = v + dv;
    const int64_t state_at = ((std::max<int64_t>(window - 1, 0) * batch + b) * heads.kv + h) * dk * dv;
    if (ctx.has_input(kPast)) {
      Load(ctx, kPast, state_at, dk * dv, state);
    } else {
      std::fill(state, state + dk * dv, 0.0f);
    }
    for (int64_t w = 0; w < window - tokens; ++w) StoreState(ctx, nullptr, w, b, h);
    const bool inverse = heads.kv > heads.q;
    const int64_t group = inverse ? 1 : heads.q / heads.kv;
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t token = b * tokens + t;
      Load(ctx, kKey, (token * heads.kv + h) * dk, dk, k);
      Load(ctx, kValue, (token * heads.kv + h) * dv, dv, v);
      if (rule.gated) {
        const bool per_head = decay_width == heads.kv;
        Load(ctx, kDecay, token * decay_width + (per_head ? h : h * dk), per_head ? 1 : dk, decay);
        for (int64_t d = 0; d < dk; ++d) {
          const float factor = std::exp(decay[per_head ? 0 : d]);
          for (int64_t m = 0; m < dv; ++m) state[d * dv + m] *= factor;
        }
      }
      if (rule.delta) {
        float beta;
        Load(ctx, kBeta, token * beta_width + (beta_width == 1 ? 0 : h), 1, &beta);
        for (int64_t d = 0; d < dk; ++d) {
          for (int64_t m = 0; m < dv; ++m) v[m] -= state[d * dv + m] * k[d];
        }
        for (int64_t m = 0; m < dv; ++m) v[m] *= beta;
      }
      for (int64_t d = 0; d < dk; ++d) {
        for (int64_t m = 0; m < dv; ++m) state[d * dv + m] += k[d] * v[m];
      }
      for (int64_t g = 0; g < group; ++g) {
        const int64_t query_head = inverse ? h / (heads.kv / heads.q) : h * group + g;
        const int64_t out_head = inverse ? h : query_head;
        Load(ctx, kQuery, (token * heads.q + query_head) * dk, dk, q);
        std::fill(o, o + dv, 0.0f);
        for (int64_t d = 0; d < dk; ++d) {
          for (int64_t m = 0; m < dv; ++m) o[m] += q[d] * state[d * dv + m];
        }
        for (int64_t m = 0; m < dv; ++m) o[m] *= scale;
        Tensor& y = ctx.output(0);
        ConvertFromFloat(
            o, dv, y.dtype(),
            static_cast<char*>(y.mutable_raw()) + ByteSize(y.dtype(), (token * heads.out + out_head) * dv));
      }
      if (window > 0 && t >= tokens - window) StoreState(ctx, state, window - (tokens - t), b, h);
    }
    if (window == 0) StoreState(ctx, state, 0, b, h);
  }

  // Null: zeros.
  void StoreState(const RunContext& ctx, const float* state, int64_t slot, int64_t b, int64_t h) const {
    if (!ctx.has_output(1)) return;
    Tensor& present = ctx.output(1);
    char* to = static_cast<char*>(present.mutable_raw()) +
               ByteSize(present.dtype(), ((slot * batch + b) * heads.kv + h) * dk * dv);
    if (state == nullptr) {
      std::memset(to, 0, ByteSize(present.dtype(), dk * dv));
    } else {
      ConvertFromFloat(state, dk * dv, present.dtype(), to);
    }
  }
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareLinearAttention(PrepareContext& ctx) {
  auto kernel = std::make_unique<LinearAttentionKernel>();
  RONDO_ASSIGN_OR_RETURN(kernel->rule, ReadRule(ctx));
  RONDO_ASSIGN_OR_RETURN(kernel->heads, ReadLinearHeads(ctx));
  RONDO_ASSIGN_OR_RETURN(kernel->window, ReadStateWindow(ctx));
  const Dims query = ctx.input_dims(kQuery);
  kernel->batch = query[0];
  kernel->tokens = query[1];
  kernel->dk = query[2] / kernel->heads.q;
  kernel->dv = ctx.input_dims(kValue)[2] / kernel->heads.kv;
  if (kernel->rule.gated) {
    kernel->decay_width = ctx.input_dims(kDecay)[2];
    if (kernel->decay_width != kernel->heads.kv && kernel->decay_width != kernel->heads.kv * kernel->dk) {
      return InvalidArgument("last dim of decay is ", kernel->decay_width, ": expected ", kernel->heads.kv, " or ",
                             kernel->heads.kv * kernel->dk);
    }
  }
  if (kernel->rule.delta) {
    kernel->beta_width = ctx.input_dims(kBeta)[2];
    if (kernel->beta_width != 1 && kernel->beta_width != kernel->heads.kv) {
      return InvalidArgument("last dim of beta is ", kernel->beta_width, ": expected ", kernel->heads.kv, " or 1");
    }
  }
  RONDO_ASSIGN_OR_RETURN(kernel->scale, ctx.attributes.Float("scale", 0.0f));
  if (kernel->scale == 0.0f) kernel->scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(kernel->dk, 1)));
  kernel->threads = std::max(ctx.threads(), 1);
  RONDO_RETURN_IF_ERROR(CheckedByteSize(DataType::kFloat, {kernel->dk, kernel->dv}).status());
  kernel->per_worker = static_cast<size_t>(kernel->dk * kernel->dv + 3 * kernel->dk + 2 * kernel->dv + 15) / 16 * 16;
  ctx.RequestScratch(static_cast<size_t>(kernel->threads) * kernel->per_worker * sizeof(float));
  return kernel;
}

// ---- CausalConvWithState (27), com.microsoft CausalConvWithState ----
// y[c, t] = act(bias[c] + sum_j weight[c, j] x[c, t - (K - 1 - j) * dilation]), x before 0 taken from past_state.
// Inputs: input [B, C, L]; weight [C, 1, K]; bias? [C]; past_state? [B, C, P], P = (K - 1) * dilation, default zeros.
// Outputs: output as input; present_state? [B, C, P]: the last P inputs, past ones included.
// Attributes: activation none (silu, swish). com.microsoft: ndim 1 (2 and 3 are not supported), dilation 1,
//   channels_last 0 (input [B, L, ...], state [B, P, ...]), state_window W: [W, B, C, P] as in LinearAttention.
enum ConvInput { kX, kWeight, kConvBias, kConvPast };

struct ConvAttributes {
  bool silu = false, channels_last = false;
  int64_t dilation = 1, window = 0;
};
template <typename Context>
absl::StatusOr<ConvAttributes> ReadConv(const Context& ctx) {
  ConvAttributes a;
  RONDO_ASSIGN_OR_RETURN(const std::string activation, ctx.attributes.String("activation", "none"));
  a.silu = activation == "silu" || activation == "swish";
  if (!a.silu && activation != "none") {
    return InvalidArgument("activation is \"", activation, "\": expected none, silu or swish");
  }
  if (ctx.node().op().domain.empty()) return a;
  RONDO_ASSIGN_OR_RETURN(const int64_t ndim, ctx.attributes.Int("ndim", 1));
  if (ndim != 1) return Unimplemented("ndim is ", ndim, ": only 1 is supported");
  RONDO_ASSIGN_OR_RETURN(a.dilation, ctx.attributes.Int("dilation", 1));
  if (a.dilation < 1 || a.dilation > (1 << 20))
    return InvalidArgument("dilation is ", a.dilation, ": expected 1 or more");
  RONDO_ASSIGN_OR_RETURN(a.channels_last, ctx.attributes.Flag("channels_last", false));
  RONDO_ASSIGN_OR_RETURN(a.window, ReadStateWindow(ctx));
  return a;
}

absl::Status InferCausalConv(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const ConvAttributes a, ReadConv(ctx));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kX, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  for (int i : {kWeight, kConvBias, kConvPast}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, kX));
  }
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kX, 3, a.channels_last ? 8 : 3));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kWeight, 3, 3));
  const DataType type = ctx.dtype(kX);
  ctx.SetOutputType(0, ctx.input_type(kX));
  if (!ctx.has_shape(kX) || !ctx.has_shape(kWeight)) {
    ctx.SetOutputOfUnknownRank(1, type);
    return absl::OkStatus();
  }
  const Shape &x = ctx.shape(kX), &weight = ctx.shape(kWeight);
  const Dim past = (weight[2] - Dim(1)) * Dim(a.dilation);
  if (weight[2].known() && weight[2].value() < 1) return InvalidArgument("weight has no taps: dim 2 is 0");
  Shape state = x;
  if (a.channels_last) {
    state[1] = past;
  } else {
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("channels of weight", weight[0], "of input", x[1]));
    state[2] = past;
  }
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("dim 1 of weight", weight[1], "one input channel", Dim(1)));
  if (a.window > 0) state.insert(state.begin(), Dim(a.window));
  if (ctx.has_input(kConvPast) && ctx.has_shape(kConvPast)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(kConvPast, state.rank(), state.rank()));
    for (int d = 0; d < state.rank(); ++d) {
      RONDO_RETURN_IF_ERROR(ExpectEqualDims(absl::StrCat("dim ", d, " of past_state"), ctx.shape(kConvPast)[d],
                                            "that of the state", state[d]));
    }
  }
  ctx.SetOutput(1, type, std::move(state));
  return absl::OkStatus();
}

struct ConvShape {
  ConvAttributes a;
  int64_t batch, channels, length, taps, past;
  // Elements between channels and positions; the state's likewise.
  int64_t x_batch, x_channel, x_step, state_batch, state_channel, state_step, state_slot;
};

template <typename T>
absl::Status RunCausalConv(const ConvShape& s, RunContext& ctx) {
  const T* x = ctx.in<T>(kX);
  const T* weight = ctx.in<T>(kWeight);
  const T* bias = ctx.has_input(kConvBias) ? ctx.in<T>(kConvBias) : nullptr;
  const T* past =
      ctx.has_input(kConvPast) ? ctx.in<T>(kConvPast) + std::max<int64_t>(s.a.window - 1, 0) * s.state_slot : nullptr;
  T* y = ctx.out<T>(0);
  T* present = ctx.has_output(1) ? ctx.out<T>(1) : nullptr;
  const int64_t cost = s.length * s.taps + s.past + 1;
  ParallelFor(s.batch * s.channels, std::max<int64_t>(1, 20000 / cost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.channels, c = i % s.channels;
      const T* xc = x + b * s.x_batch + c * s.x_channel;
      T* yc = y + b * s.x_batch + c * s.x_channel;
      const int64_t state_at = b * s.state_batch + c * s.state_channel;
      // The input at a position, which may lie in the past.
      const auto at = [&](int64_t p) {
        if (p >= 0) return xc[p * s.x_step];
        return past != nullptr ? past[state_at + (p + s.past) * s.state_step] : T(0.0f);
      };
      for (int64_t t = 0; t < s.length; ++t) {
        float sum = bias != nullptr ? static_cast<float>(bias[c]) : 0.0f;
        for (int64_t j = 0; j < s.taps; ++j) {
          sum +=
              static_cast<float>(weight[c * s.taps + j]) * static_cast<float>(at(t - (s.taps - 1 - j) * s.a.dilation));
        }
        T value = T(sum);
        if (s.a.silu) {
          const float v = static_cast<float>(value);
          value = T(v / (1.0f + std::exp(-v)));
        }
        yc[t * s.x_step] = value;
      }
      for (int64_t slot = 0; present != nullptr && slot < std::max<int64_t>(s.a.window, 1); ++slot) {
        const int64_t last = s.length - std::max<int64_t>(s.a.window, 1) + slot;  // the newest input of this state
        T* to = present + slot * s.state_slot + state_at;
        for (int64_t p = 0; p < s.past; ++p) {
          to[p * s.state_step] = s.a.window > 0 && last < 0 ? T(0.0f) : at(last - s.past + 1 + p);
        }
      }
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareCausalConv(PrepareContext& ctx) {
  ConvShape s{};
  RONDO_ASSIGN_OR_RETURN(s.a, ReadConv(ctx));
  const Dims x = ctx.input_dims(kX), weight = ctx.input_dims(kWeight);
  s.batch = x[0];
  s.taps = weight[2];
  s.past = (s.taps - 1) * s.a.dilation;
  if (s.a.channels_last) {
    s.length = x[1];
    s.channels = 1;
    for (size_t i = 2; i < x.size(); ++i) s.channels *= x[i];
    s.x_channel = s.state_channel = 1;
    s.x_step = s.state_step = s.channels;
  } else {
    s.channels = x[1];
    s.length = x[2];
    s.x_channel = s.length;
    s.state_channel = s.past;
    s.x_step = s.state_step = 1;
  }
  s.x_batch = s.channels * s.length;
  s.state_batch = s.channels * s.past;
  s.state_slot = s.batch * s.state_batch;
  if (weight[0] != s.channels) return InvalidArgument("weight has ", weight[0], " channels, the input ", s.channels);
  if (ctx.has_input(kConvBias) && ctx.input_dims(kConvBias) != Dims{s.channels}) {
    return InvalidArgument("bias has shape ", DimsToString(ctx.input_dims(kConvBias)), ": expected [", s.channels, "]");
  }
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      TypeList<float, Float16, BFloat16>{}, ctx.input_dtype(kX),
      [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        using T = typename decltype(tag)::type;
        return MakeKernel([s](RunContext& run) { return RunCausalConv<T>(s, run); });
      });
}

const OpDef kRows[] = {
    {.type = "LinearAttention",
     .since = 27,
     .inputs = {3, 6},
     .outputs = {1, 2},
     .infer = InferLinearAttention,
     .prepare = PrepareLinearAttention},
    {.domain = "com.microsoft",
     .type = "LinearAttention",
     .inputs = {3, 6},
     .outputs = {1, 2},
     .infer = InferLinearAttention,
     .prepare = PrepareLinearAttention},
    {.type = "CausalConvWithState",
     .since = 27,
     .inputs = {2, 4},
     .outputs = {1, 2},
     .infer = InferCausalConv,
     .prepare = PrepareCausalConv},
    {.domain = "com.microsoft",
     .type = "CausalConvWithState",
     .inputs = {2, 4},
     .outputs = {1, 2},
     .infer = InferCausalConv,
     .prepare = PrepareCausalConv},
};

}  // namespace

absl::Span<const OpDef> LinearAttentionFamily() { return kRows; }

}  // namespace rondo
