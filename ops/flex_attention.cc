// FlexAttention of ai.onnx.preview: attention whose scores and probabilities pass through subgraphs of the node. With
// neither it is plain attention and the tiled kernel runs; with one, scores are materialised.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ops/attention_common.h"
#include "ops/families.h"
#include "ops/parallel.h"
#include "ops/runtime_values.h"

namespace rondo {
namespace {

// ---- ai.onnx.preview FlexAttention (1) ----
// S = scale * Q K^T;  S = score_mod(S);  P = softmax(S);  P = prob_mod(P);  Y = P V
// Inputs: Q [B, Hq, T, D]; K [B, Hkv, S, D]; V [B, Hkv, S, Dv], all of one type. Output: Y [B, Hq, T, Dv].
// Attributes: score_mod?, prob_mod?: subgraphs [B, Hq, T, S] -> the same, in the type of softmax_precision (float32, or
//   float64 for float64 operands); scale 1/sqrt(D).
constexpr absl::string_view kModifiers[] = {"score_mod", "prob_mod"};
enum Modifier { kScoreMod, kProbMod };

template <typename Context>
absl::StatusOr<DataType> ReadPrecision(const Context& ctx, DataType type) {
  RONDO_ASSIGN_OR_RETURN(const int64_t precision, ctx.attributes.Int("softmax_precision", 0));
  switch (precision) {
    case 0:
      return type == DataType::kDouble ? DataType::kDouble : DataType::kFloat;
    case 1:
    case 10:
    case 11:
    case 16:
      return static_cast<DataType>(precision);
    default:
      return InvalidArgument("softmax_precision ", precision, ": expected 1, 10, 11 or 16");
  }
}

absl::Status InferFlexAttention(InferContext& ctx) {
  for (int i : {0, 1, 2}) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 4, 4));
    RONDO_RETURN_IF_ERROR(
        ctx.ExpectDtype(i, {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBFloat16}));
  }
  for (int i : {1, 2}) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(i, 0));
  const DataType type = ctx.dtype(0);
  RONDO_ASSIGN_OR_RETURN(const DataType precision, ReadPrecision(ctx, type));
  Shape y = Shape::UnknownOfRank(4), scores = Shape::UnknownOfRank(4);
  if (ctx.has_shape(0) && ctx.has_shape(1) && ctx.has_shape(2)) {
    const Shape &q = ctx.shape(0), &k = ctx.shape(1), &v = ctx.shape(2);
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of K", k[0], "batch of Q", q[0]));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of V", v[0], "batch of Q", q[0]));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of V", v[1], "heads of K", k[1]));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of V", v[2], "length of K", k[2]));
    RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of K", k[3], "head size of Q", q[3]));
    if (q[1].known() && k[1].known() && (k[1].value() == 0 || q[1].value() % k[1].value() != 0)) {
      return InvalidArgument("query heads ", q[1].value(), ": expected a multiple of the ", k[1].value(), " key heads");
    }
    y = Shape{q[0], q[1], q[2], v[3]};
    scores = Shape{q[0], q[1], q[2], k[2]};
  }
  for (absl::string_view name : kModifiers) {
    if (ctx.node().subgraph(name) == nullptr) continue;
    RONDO_RETURN_IF_ERROR(ExpectSubgraph(ctx.node(), name, 1));
    std::vector<ValueType> inputs = {ValueType::Tensor(precision, scores)};
    for (ValueType& capture : CaptureTypes(ctx)) inputs.push_back(std::move(capture));
    RONDO_ASSIGN_OR_RETURN(const std::vector<ValueType> outputs, ctx.InferSubgraph(name, inputs));
    if (outputs.size() != 1 || !outputs[0].is_tensor() || outputs[0].dtype != precision) {
      return InvalidArgument("subgraph \"", name, "\": expected one output of type ", DataTypeName(precision));
    }
  }
  ctx.SetOutput(0, type, std::move(y));
  return absl::OkStatus();
}

struct FlexState final : KernelState {
  std::unique_ptr<KernelState> modifiers[2];
  std::vector<RuntimeValue> inputs, outputs;  // of the modifier that runs
};

// Elements as C, float or double.
template <typename C>
constexpr DataType kTypeOf = sizeof(C) == 8 ? DataType::kDouble : DataType::kFloat;

template <typename C>
void Load(const Tensor& from, C* to) {
  if constexpr (sizeof(C) == 4) {
    if (from.dtype() != DataType::kDouble) return ConvertToFloat(from, to);
  }
  for (int64_t i = 0; i < from.size(); ++i) {
    if (from.dtype() == DataType::kDouble) {
      to[i] = static_cast<C>(from.data<double>()[i]);
    } else {
      float f;
      ConvertToFloat(static_cast<const char*>(from.raw()) + ByteSize(from.dtype(), i), from.dtype(), 1, &f);
      to[i] = f;
    }
  }
}

template <typename C>
void Store(const C* from, Tensor* to) {
  for (int64_t i = 0; i < to->size(); ++i) {
    if (to->dtype() == DataType::kDouble) {
      to->mutable_data<double>()[i] = from[i];
    } else {
      const float f = static_cast<float>(from[i]);
      ConvertFromFloat(&f, 1, to->dtype(), static_cast<char*>(to->mutable_raw()) + ByteSize(to->dtype(), i));
    }
  }
}

class FlexKernel final : public Kernel {
 public:
  AttentionInputs base;
  PreparedAttention attention;  // used where there is no modifier
  DataType precision = DataType::kFloat;
  bool wide = false;  // computed in float64
  std::unique_ptr<SubgraphRunner> modifiers[2];

  bool modified() const { return modifiers[0] != nullptr || modifiers[1] != nullptr; }
  std::string Implementation() const override { return modified() ? "own" : attention.Implementation(); }
  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<FlexState>();
    for (int i : {kScoreMod, kProbMod}) {
      if (modifiers[i] != nullptr) state->modifiers[i] = modifiers[i]->CreateState();
    }
    return state;
  }

  // Scratch for what RunModified needs: operands of another type than the computation's, scores, and scores in the
  // modifiers' type.
  absl::Status Plan(const PrepareContext& ctx, ScratchLayout* layout) {
    const DataType compute = wide ? DataType::kDouble : DataType::kFloat;
    auto add = [&](DataType type, absl::Span<const int64_t> dims, size_t* offset) -> absl::Status {
      RONDO_ASSIGN_OR_RETURN(const size_t bytes, CheckedByteSize(type, dims));
      if (bytes > ctx.max_tensor_bytes()) return ResourceExhausted("scores ", DimsToString(dims), ": too large");
      *offset = layout->Add(bytes);
      return absl::OkStatus();
    };
    for (int i = 0; i < 3; ++i) {
      if (ctx.input_dtype(i) != compute) RONDO_RETURN_IF_ERROR(add(compute, ctx.input_dims(i), &operands_[i]));
    }
    if (ctx.output_dtype(0) != compute) RONDO_RETURN_IF_ERROR(add(compute, ctx.output_dims(0), &y_));
    score_dims_ = {base.batch, base.heads, base.queries, base.keys};
    RONDO_RETURN_IF_ERROR(add(compute, score_dims_, &scores_));
    return precision == compute ? absl::OkStatus() : add(precision, score_dims_, &handed_);
  }

  absl::Status Run(RunContext& ctx) const override {
    if (!modified()) {
      AttentionInputs in = base;
      in.q.data = ctx.input(0).raw();
      in.k.data = ctx.input(1).raw();
      in.v.data = ctx.input(2).raw();
      in.y.data = ctx.output(0).mutable_raw();
      attention.Run(in, ctx.scratch());
      return absl::OkStatus();
    }
    auto& state = static_cast<FlexState&>(*ctx.state());
    const absl::Status status = wide ? RunModified<double>(ctx, state) : RunModified<float>(ctx, state);
    state.inputs.clear();
    state.outputs.clear();
    return status;
  }

 private:
  template <typename C>
  const C* Operand(const RunContext& ctx, int i) const {
    const Tensor& tensor = ctx.input(i);
    if (tensor.dtype() == kTypeOf<C>) return tensor.data<C>();
    C* copy = ScratchAt<C>(ctx.scratch(), operands_[i]);
    Load(tensor, copy);
    return copy;
  }

  // Hands the scores (or probabilities) to a subgraph in its type and takes what comes back.
  template <typename C>
  absl::Status Modify(RunContext& ctx, FlexState& state, Modifier which, C* values) const {
    if (modifiers[which] == nullptr) return absl::OkStatus();
    const bool convert = precision != kTypeOf<C>;
    void* memory = convert ? ScratchAt<void>(ctx.scratch(), handed_) : values;
    Tensor handed = Tensor::Borrow(precision, score_dims_, memory, nullptr);
    handed.set_transient(true);
    if (convert) Store(values, &handed);
    state.inputs.assign(1, RuntimeValue(std::move(handed)));
    for (int i = 3; i < ctx.num_inputs(); ++i) state.inputs.push_back(ctx.input_value(i));
    RONDO_RETURN_IF_ERROR(modifiers[which]->Run(state.inputs, &state.outputs, state.modifiers[which].get(), {}));
    const RuntimeValue& result = state.outputs[0];
    if (!result.is_tensor() || result.tensor().dims() != score_dims_ || result.tensor().dtype() != precision) {
      return InvalidArgument("subgraph \"", kModifiers[which], "\": expected an output ", DataTypeName(precision),
                             DimsToString(score_dims_), ", got ",
                             result.is_tensor() ? DimsToString(result.tensor().dims()) : "no tensor");
    }
    if (result.tensor().raw() != values) Load(result.tensor(), values);
    return absl::OkStatus();
  }

  template <typename C>
  absl::Status RunModified(RunContext& ctx, FlexState& state) const {
    const C *q = Operand<C>(ctx, 0), *k = Operand<C>(ctx, 1), *v = Operand<C>(ctx, 2);
    C* scores = ScratchAt<C>(ctx.scratch(), scores_);
    const int64_t keys = base.keys, size = base.head_size, v_size = base.v_head_size;
    const int64_t rows = base.batch * base.heads * base.queries, group = base.heads / base.kv_heads;
    // The first key row of a query row.
    const auto first_key = [&](int64_t row) {
      const int64_t h = row / base.queries % base.heads, b = row / base.queries / base.heads;
      return (b * base.kv_heads + h / group) * keys;
    };
    const int64_t grain = std::max<int64_t>(1, 20000 / (keys * (size + v_size) + 1));
    ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t key = first_key(r);
        for (int64_t j = 0; j < keys; ++j) {
          C dot = 0;
          for (int64_t d = 0; d < size; ++d) dot += q[r * size + d] * k[(key + j) * size + d];
          scores[r * keys + j] = dot * static_cast<C>(base.scale);
        }
      }
    });
    RONDO_RETURN_IF_ERROR(Modify(ctx, state, kScoreMod, scores));
    ParallelFor(rows, std::max<int64_t>(1, 2000 / (keys + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) Softmax(scores + r * keys, keys);
    });
    RONDO_RETURN_IF_ERROR(Modify(ctx, state, kProbMod, scores));
    Tensor& output = ctx.output(0);
    const bool convert = output.dtype() != kTypeOf<C>;
    C* y = convert ? ScratchAt<C>(ctx.scratch(), y_) : output.mutable_data<C>();
    std::fill(y, y + output.size(), C{0});
    ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t key = first_key(r);
        for (int64_t j = 0; j < keys; ++j) {
          const C p = scores[r * keys + j];
          for (int64_t d = 0; d < v_size; ++d) y[r * v_size + d] += p * v[(key + j) * v_size + d];
        }
      }
    });
    if (convert) Store(y, &output);
    return absl::OkStatus();
  }

  // A row without any key to attend to becomes zero, as in Attention.
  template <typename C>
  static void Softmax(C* row, int64_t n) {
    const C minus_infinity = -std::numeric_limits<C>::infinity();
    C top = minus_infinity, sum = 0;
    for (int64_t j = 0; j < n; ++j) top = std::max(top, row[j]);
    for (int64_t j = 0; j < n; ++j) sum += row[j] = top == minus_infinity ? C{0} : std::exp(row[j] - top);
    for (int64_t j = 0; j < n; ++j) row[j] = sum == 0 ? C{0} : row[j] / sum;
  }

  Dims score_dims_;
  size_t operands_[3] = {}, y_ = 0, scores_ = 0, handed_ = 0;  // offsets in the scratch
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFlexAttention(PrepareContext& ctx) {
  auto kernel = std::make_unique<FlexKernel>();
  AttentionInputs& in = kernel->base;
  const Dims q = ctx.input_dims(0), k = ctx.input_dims(1), v = ctx.input_dims(2);
  in.batch = q[0];
  in.heads = q[1];
  in.queries = q[2];
  in.head_size = q[3];
  in.kv_heads = k[1];
  in.keys = k[2];
  in.v_head_size = v[3];
  const DataType type = ctx.input_dtype(0);
  in.q = HeadsFirst(nullptr, type, in.heads, in.queries, in.head_size);
  in.k = HeadsFirst(nullptr, type, in.kv_heads, in.keys, in.head_size);
  in.v = HeadsFirst(nullptr, type, in.kv_heads, in.keys, in.v_head_size);
  in.y = HeadsFirst(nullptr, type, in.heads, in.queries, in.v_head_size);
  const float default_scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(in.head_size, 1)));
  RONDO_ASSIGN_OR_RETURN(in.scale, ctx.attributes.Float("scale", default_scale));
  RONDO_ASSIGN_OR_RETURN(kernel->precision, ReadPrecision(ctx, type));
  for (int i : {kScoreMod, kProbMod}) {
    if (ctx.node().subgraph(kModifiers[i]) == nullptr) continue;
    RONDO_ASSIGN_OR_RETURN(kernel->modifiers[i], ctx.PrepareSubgraph(kModifiers[i]));
  }
  ScratchLayout layout;
  if (kernel->modified()) {
    kernel->wide = kernel->precision == DataType::kDouble || type == DataType::kDouble;
    RONDO_RETURN_IF_ERROR(kernel->Plan(ctx, &layout));
  } else {
    in.softmax_precision = kernel->precision;
    kernel->attention = PrepareAttention(ctx, in, &layout);
  }
  ctx.RequestScratch(layout.total());
  return kernel;
}

const OpDef kRows[] = {
    {.domain = "ai.onnx.preview",
     .type = "FlexAttention",
     .inputs = {3, 3},
     .infer = InferFlexAttention,
     .prepare = PrepareFlexAttention},
};

}  // namespace

absl::Span<const OpDef> FlexAttentionFamily() { return kRows; }

}  // namespace rondo
