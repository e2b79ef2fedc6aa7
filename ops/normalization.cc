// Normalisation of rows: LayerNormalization, RMSNormalization, SimplifiedLayerNormalization, and com.microsoft's
// SkipLayerNormalization, SkipSimplifiedLayerNormalization and EmbedLayerNormalization.
//
//   LayerNorm  y = (x - mean) / sqrt(variance + epsilon) * scale + bias
//   RMSNorm    y = x / sqrt(mean(x^2) + epsilon) * scale
//
// over the elements of a row: all dims from `axis` (default -1) on. Statistics are float for the 16-bit types and
// double for double. One kernel serves all of them; a Skip form only adds rows before.
#include <cmath>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/half_rows.h"
#include "ops/kernels/row_norm.h"
#include "ops/kernels/vector_math.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

constexpr int64_t kRowCost = kVectorCost;

// ---- Parameters (scale, bias) ---------------------------------------------------------------------------------------

// How an input that broadcasts to x [rows, n] is laid out. `dims` are aligned to x's rank.
struct Parameter {
  int input = -1;        // absent when negative
  bool per_row = false;  // a value for every element of x; otherwise one row serves all rows
  bool expand = false;   // has to be made first, in scratch memory, from dims of size 1 or another type
  Dims dims;             // of the input
  Dims target;           // of the expanded form
  size_t scratch = 0;    // offset of the expanded floats (doubles for double x), in elements
};

absl::StatusOr<Parameter> ReadParameter(const PrepareContext& ctx, int input, absl::Span<const int64_t> x, int axis,
                                        bool same_type, absl::string_view name) {
  Parameter p;
  if (!ctx.has_input(input)) return p;
  p.input = input;
  Dims given = ctx.input_dims(input);
  int rank = static_cast<int>(x.size());
  p.dims = Dims(rank, 1);
  bool fits = given.size() <= x.size();
  if (fits) std::copy(given.begin(), given.end(), p.dims.end() - given.size());
  bool partial = false;
  for (int i = 0; i < rank; ++i) {
    fits &= p.dims[i] == x[i] || p.dims[i] == 1;
    if (i < axis && p.dims[i] != 1) p.per_row = true;
  }
  if (!fits) {
    return InvalidArgument(name, ": expected a shape that broadcasts to ", DimsToString(x), ", got ",
                           DimsToString(given));
  }
  p.target = Dims(x.begin(), x.end());
  if (!p.per_row) std::fill_n(p.target.begin(), axis, 1);
  for (int i = 0; i < rank; ++i) partial |= p.dims[i] != p.target[i];
  p.expand = partial || !same_type;
  return p;
}

// The parameter's values as an array of C; null when it is absent.
template <typename C>
const C* Values(const Parameter& p, const RunContext& ctx, C* scratch) {
  if (p.input < 0) return nullptr;
  const Tensor& t = ctx.input(p.input);
  if (!p.expand) return t.data<C>();
  C* out = scratch + p.scratch;
  int64_t count = Product(p.target);
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, from = 0, stride = 1;
    for (int d = static_cast<int>(p.target.size()) - 1; d >= 0; --d) {
      int64_t at = rest % p.target[d];
      rest /= p.target[d];
      if (p.dims[d] != 1) from += at * stride;
      stride *= p.dims[d];
    }
    out[i] = ElementAs<C>(t, from);
  }
  return out;
}

// ---- The kernel -----------------------------------------------------------------------------------------------------

struct NormSpec {
  int64_t rows = 0, n = 0;
  float epsilon = 0;
  bool centered = true;  // LayerNorm; otherwise RMSNorm
  Parameter scale, bias;
  // The Skip forms: x + skip + addend is what is normalised.
  int skip = -1, addend = -1;
  int64_t skip_rows = 1;                  // skip repeats after this many
  int mean = -1, inv_std = -1, sum = -1;  // outputs, where there are such
  DataType x_type = DataType::kFloat, y_type = DataType::kFloat;
  RowTasks tasks;
  int64_t shared = 0;  // elements of scratch before the tasks' own
};

constexpr int kBuffers = 4;  // rows of scratch that a task owns: x, skip, addend, y

absl::Status RunFloat(const NormSpec& s, RunContext& ctx) {
  const VectorMath& math = GetVectorMath();
  const RowNorm& norm = GetRowNorm();
  float* scratch = static_cast<float*>(ctx.scratch());
  const float* scale = Values(s.scale, ctx, scratch);
  const float* bias = Values(s.bias, ctx, scratch);
  const void* x_base = ctx.input(0).raw();
  const void* skip_base = s.skip < 0 ? nullptr : ctx.input(s.skip).raw();
  const void* addend_base = s.addend < 0 ? nullptr : ctx.input(s.addend).raw();
  void* y_base = ctx.has_output(0) ? ctx.output(0).mutable_raw() : nullptr;
  Tensor* sum = s.sum >= 0 && ctx.has_output(s.sum) ? &ctx.output(s.sum) : nullptr;
  Tensor* means = s.mean >= 0 && ctx.has_output(s.mean) ? &ctx.output(s.mean) : nullptr;
  Tensor* inv_stds = s.inv_std >= 0 && ctx.has_output(s.inv_std) ? &ctx.output(s.inv_std) : nullptr;
  s.tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
    float* own = scratch + s.shared + task * kBuffers * s.n;
    float *x_buffer = own, *skip_buffer = own + s.n, *addend_buffer = own + 2 * s.n, *y_buffer = own + 3 * s.n;
    const float* addend =
        addend_base == nullptr ? nullptr : ReadRow(math, s.x_type, addend_base, 0, s.n, addend_buffer);
    for (int64_t row = begin; row < end; ++row) {
      int64_t at = row * s.n;
      const float* x = ReadRow(math, s.x_type, x_base, at, s.n, x_buffer);
      float* y = y_base == nullptr ? y_buffer : RowTarget(s.y_type, y_base, at, y_buffer);
      if (skip_base != nullptr) {
        const float* skip = ReadRow(math, s.x_type, skip_base, row % s.skip_rows * s.n, s.n, skip_buffer);
        float* total = sum == nullptr ? y : RowTarget(s.x_type, sum->mutable_raw(), at, x_buffer);
        norm.add(x, skip, addend, total, s.n);
        if (sum != nullptr) WriteRow(math, s.x_type, total, sum->mutable_raw(), at, s.n);
        x = total;
      }
      float mean = 0, inv = 0;
      const float* row_scale = scale != nullptr && s.scale.per_row ? scale + at : scale;
      const float* row_bias = bias != nullptr && s.bias.per_row ? bias + at : bias;
      if (s.centered) {
        norm.layer_norm(x, row_scale, row_bias, y, s.n, s.epsilon, &mean, &inv);
      } else {
        norm.rms_norm(x, row_scale, y, s.n, s.epsilon, &inv);
        if (row_bias != nullptr) math.add(y, row_bias, y, s.n);
      }
      if (y_base != nullptr) WriteRow(math, s.y_type, y, y_base, at, s.n);
      if (means != nullptr) SetElement(*means, row, mean);
      if (inv_stds != nullptr) SetElement(*inv_stds, row, inv);
    }
  });
  return absl::OkStatus();
}

// Double precision throughout, an element at a time: for float64, and the reference of the plain plan.
absl::Status RunDouble(const NormSpec& s, RunContext& ctx) {
  double* scratch = static_cast<double*>(ctx.scratch());
  const double* scale = Values(s.scale, ctx, scratch);
  const double* bias = Values(s.bias, ctx, scratch);
  s.tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
    double* x = scratch + s.shared + task * kBuffers * s.n;
    for (int64_t row = begin; row < end; ++row) {
      int64_t at = row * s.n;
      for (int64_t i = 0; i < s.n; ++i) {
        x[i] = ElementAs<double>(ctx.input(0), at + i);
        if (s.skip >= 0) x[i] += ElementAs<double>(ctx.input(s.skip), row % s.skip_rows * s.n + i);
        if (s.addend >= 0) x[i] += ElementAs<double>(ctx.input(s.addend), i);
      }
      double mean = 0, squares = 0;
      if (s.centered) {
        for (int64_t i = 0; i < s.n; ++i) mean += x[i];
        mean /= static_cast<double>(s.n);
      }
      for (int64_t i = 0; i < s.n; ++i) squares += (x[i] - mean) * (x[i] - mean);
      double inv = 1 / std::sqrt(squares / static_cast<double>(s.n) + static_cast<double>(s.epsilon));
      for (int64_t i = 0; i < s.n; ++i) {
        if (s.sum >= 0 && ctx.has_output(s.sum)) SetElement(ctx.output(s.sum), at + i, x[i]);
        double y = (x[i] - mean) * inv;
        if (scale != nullptr) y *= scale[(s.scale.per_row ? at : 0) + i];
        if (bias != nullptr) y += bias[(s.bias.per_row ? at : 0) + i];
        if (ctx.has_output(0)) SetElement(ctx.output(0), at + i, y);
      }
      if (s.mean >= 0 && ctx.has_output(s.mean)) SetElement(ctx.output(s.mean), row, mean);
      if (s.inv_std >= 0 && ctx.has_output(s.inv_std)) SetElement(ctx.output(s.inv_std), row, inv);
    }
  });
  return absl::OkStatus();
}

KernelOr FinishNorm(PrepareContext& ctx, NormSpec spec) {
  spec.x_type = ctx.input_dtype(0);
  if (ctx.has_output(0)) spec.y_type = ctx.output_dtype(0);
  bool wide = spec.x_type == DataType::kDouble || ctx.plain();
  if (!IsFloatOrHalf(spec.x_type) && spec.x_type != DataType::kDouble) {
    return Unimplemented("element type ", DataTypeName(spec.x_type), " is not supported here");
  }
  DataType computed = wide ? DataType::kDouble : DataType::kFloat;
  for (Parameter* p : {&spec.scale, &spec.bias}) {
    if (p->input < 0) continue;
    p->expand |= ctx.input_dtype(p->input) != computed;
    if (!p->expand) continue;
    p->scratch = spec.shared;
    spec.shared += Product(p->target);
  }
  spec.tasks = RowTasks::For(ctx.threads(), spec.rows, spec.n * kRowCost);
  bool direct = spec.x_type == DataType::kFloat && spec.y_type == DataType::kFloat && ctx.has_output(0) && !wide;
  int64_t elements = spec.shared + (direct ? 0 : spec.tasks.tasks * kBuffers * spec.n);
  ctx.RequestScratch(static_cast<size_t>(elements) * (wide ? sizeof(double) : sizeof(float)));
  if (wide) {
    return MakeKernel([spec = std::move(spec)](RunContext& run) { return RunDouble(spec, run); }, "plain");
  }
  return MakeKernel([spec = std::move(spec)](RunContext& run) { return RunFloat(spec, run); });
}

// ---- LayerNormalization, RMSNormalization, SimplifiedLayerNormalization ---------------------------------------------
//
// Inputs:     x [rank >= 1], scale and (LayerNormalization) bias, broadcast to x
// Outputs:    y as x, for the RMS forms of scale's type;
//             LayerNormalization: mean, inv_std; SimplifiedLayerNormalization: inv_std (1 over the normalised dims)
// Attributes: axis = -1, epsilon = 1e-5, stash_type = 1 (type of the statistics: 1 float32, 16 bfloat16 ...)

enum class NormOp { kLayer, kRms, kSimplified };

template <NormOp kOp>
absl::Status InferNorm(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("epsilon", 1e-5f).status());
  RONDO_ASSIGN_OR_RETURN(int64_t stash, ctx.attributes.Int("stash_type", 1));
  DataType stats = static_cast<DataType>(stash);
  if (stash != 1 && stash != 10 && stash != 11 && stash != 16) {
    return InvalidArgument("attribute \"stash_type\": expected a float type, got ", stash);
  }
  DataType y_type = ctx.dtype(kOp == NormOp::kLayer ? 0 : 1);
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, y_type);
    for (int i = 1; i < ctx.num_outputs(); ++i) ctx.SetOutputOfUnknownRank(i, stats);
    return absl::OkStatus();
  }
  Shape x = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, x.rank()));
  ctx.SetOutput(0, y_type, x);
  std::fill(x.begin() + a, x.end(), Dim(1));
  for (int i = 1; i < ctx.num_outputs(); ++i) ctx.SetOutput(i, stats, x);
  return absl::OkStatus();
}

template <NormOp kOp>
KernelOr PrepareNorm(PrepareContext& ctx) {
  NormSpec spec;
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(dims.size())));
  RONDO_ASSIGN_OR_RETURN(spec.epsilon, ctx.attributes.Float("epsilon", 1e-5f));
  spec.rows = Product(absl::MakeConstSpan(dims).subspan(0, a));
  spec.n = Product(absl::MakeConstSpan(dims).subspan(a));
  spec.centered = kOp == NormOp::kLayer;
  RONDO_ASSIGN_OR_RETURN(spec.scale, ReadParameter(ctx, 1, dims, a, true, "scale"));
  if (kOp == NormOp::kLayer) {
    RONDO_ASSIGN_OR_RETURN(spec.bias, ReadParameter(ctx, 2, dims, a, true, "bias"));
    spec.mean = 1;
    spec.inv_std = 2;
  } else if (kOp == NormOp::kSimplified) {
    spec.inv_std = 1;
  }
  return FinishNorm(ctx, std::move(spec));
}

// ---- com.microsoft::SkipLayerNormalization, SkipSimplifiedLayerNormalization
// -----------------------------------------
//
//   s = input + skip + bias;  output = norm(s)
//
// Inputs:     input [B, S, H] or [T, H]; skip like input or [1, S, H] or [S, H]; gamma [H];
//             beta [H] (SkipLayerNormalization only), optional; bias [H], optional
// Outputs:    output as input; mean, inv_std_var float [B, S, 1]; input_skip_bias_sum as input: all optional but the
// first Attributes: epsilon = 1e-12

absl::Status InferSkipNorm(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("epsilon", 1e-12f).status());
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  ctx.SetOutputType(0, ctx.input_type(0));
  ctx.SetOutputType(3, ctx.input_type(0));
  for (int i : {1, 2}) {
    if (!ctx.has_output(i)) continue;
    if (!ctx.has_shape(0) || ctx.shape(0).empty()) {
      ctx.SetOutputOfUnknownRank(i, DataType::kFloat);
      continue;
    }
    Shape stats = ctx.shape(0);
    stats.back() = 1;
    ctx.SetOutput(i, DataType::kFloat, std::move(stats));
  }
  return absl::OkStatus();
}

template <bool kSimplified>
KernelOr PrepareSkipNorm(PrepareContext& ctx) {
  NormSpec spec;
  Dims dims = ctx.input_dims(0), skip = ctx.input_dims(1);
  if (dims.empty()) return InvalidArgument("input: expected a rank of at least 1, got a scalar");
  int last = static_cast<int>(dims.size()) - 1;
  RONDO_ASSIGN_OR_RETURN(spec.epsilon, ctx.attributes.Float("epsilon", 1e-12f));
  spec.n = dims[last];
  spec.rows = Product(absl::MakeConstSpan(dims).subspan(0, last));
  spec.centered = !kSimplified;
  spec.skip = 1;
  spec.mean = 1;
  spec.inv_std = 2;
  spec.sum = 3;
  // Leading ones fall away; what is left must be the end of input's dims.
  auto tail = absl::MakeConstSpan(skip);
  while (tail.size() > 1 && (tail.size() > dims.size() || tail[0] == 1)) {
    if (tail[0] != 1) break;
    tail.remove_prefix(1);
  }
  if (tail.empty() || tail.size() > dims.size() ||
      !std::equal(tail.begin(), tail.end(), dims.end() - static_cast<int64_t>(tail.size()))) {
    return InvalidArgument("skip: expected a shape that ends as ", DimsToString(dims), " does, got ",
                           DimsToString(skip));
  }
  spec.skip_rows = std::max<int64_t>(1, Product(tail.subspan(0, tail.size() - 1)));
  RONDO_ASSIGN_OR_RETURN(spec.scale, ReadParameter(ctx, 2, dims, last, true, "gamma"));
  if (!kSimplified) {
    RONDO_ASSIGN_OR_RETURN(spec.bias, ReadParameter(ctx, 3, dims, last, true, "beta"));
  }
  int addend = kSimplified ? 3 : 4;
  if (ctx.has_input(addend)) {
    if (Product(ctx.input_dims(addend)) != spec.n || ctx.input_dtype(addend) != ctx.input_dtype(0)) {
      return InvalidArgument("bias: expected ", DataTypeName(ctx.input_dtype(0)), "[", spec.n, "], got ",
                             DataTypeName(ctx.input_dtype(addend)), DimsToString(ctx.input_dims(addend)));
    }
    spec.addend = addend;
  }
  return FinishNorm(ctx, std::move(spec));
}

// ---- com.microsoft::EmbedLayerNormalization -------------------------------------------------------------------------
//
//   embedding = word_embedding[input_ids] + position_embedding[position] + segment_embedding[segment_ids]
//   output = LayerNorm(embedding);  mask_index[b] = how many of mask[b] are 1
//
// Inputs:     input_ids int32 [B, S]; segment_ids int32 [B, S], optional; word_embedding [V, H];
//             position_embedding [P, H]; segment_embedding [G, H], optional; gamma, beta [H];
//             mask int32 [B, S], optional; position_ids int32 [B, S] or [1, S], optional (else 0, 1, 2 ...)
// Outputs:    output [B, S, H]; mask_index int32 [B], optional; embedding_sum [B, S, H], optional
// Attributes: epsilon = 1e-12, mask_index_type (names the form of mask_index, of which there is one)

absl::Status InferEmbedNorm(InferContext& ctx) {
  // Optional inputs stand among the required ones, so the table cannot say which are.
  for (int i : {2, 3, 5, 6}) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
  }
  RONDO_RETURN_IF_ERROR(ctx.attributes.Float("epsilon", 1e-12f).status());
  for (int i : {0, 1, 7, 8}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt32}));
  }
  for (int i : {3, 4, 5, 6}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(2, i));
  }
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 2));
  for (int i : {2, 3, 4}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 2, 2));
  }
  Shape ids = ctx.has_shape(0) ? ctx.shape(0) : Shape::UnknownOfRank(2);
  Shape y = ids;
  y.push_back(ctx.has_shape(2) ? ctx.shape(2)[1] : Dim::Unknown());
  ctx.SetOutput(0, ctx.dtype(2), y);
  ctx.SetOutput(1, DataType::kInt32, Shape{ids[0]});
  ctx.SetOutput(2, ctx.dtype(2), y);
  return absl::OkStatus();
}

struct EmbedSpec {
  int64_t batch, length, n;
  int64_t words, positions, segments;
  int64_t position_rows = 0;  // of position_ids
  float epsilon;
  bool has_segments, has_mask, has_positions;
  DataType type;
};

absl::Status CheckIndex(int64_t index, int64_t size, absl::string_view table) {
  if (index >= 0 && index < size) return absl::OkStatus();
  return OutOfRange("index ", index, " is out of range [0, ", size - 1, "] on axis 0 of ", table);
}

absl::Status RunEmbedNorm(const EmbedSpec& s, RunContext& ctx) {
  const VectorMath& math = GetVectorMath();
  const RowNorm& norm = GetRowNorm();
  const int32_t* ids = ctx.in<int32_t>(0);
  const int32_t* segment_ids = s.has_segments ? ctx.in<int32_t>(1) : nullptr;
  const int32_t* position_ids = s.has_positions ? ctx.in<int32_t>(8) : nullptr;
  float* buffers[6];
  for (int i = 0; i < 6; ++i) buffers[i] = static_cast<float*>(ctx.scratch()) + i * s.n;
  const float* gamma = ReadRow(math, s.type, ctx.input(5).raw(), 0, s.n, buffers[3]);
  const float* beta = ReadRow(math, s.type, ctx.input(6).raw(), 0, s.n, buffers[4]);
  for (int64_t row = 0; row < s.batch * s.length; ++row) {
    int64_t word = ids[row];
    int64_t position = position_ids == nullptr ? row % s.length : position_ids[row % (s.position_rows * s.length)];
    RONDO_RETURN_IF_ERROR(CheckIndex(word, s.words, "word_embedding"));
    RONDO_RETURN_IF_ERROR(CheckIndex(position, s.positions, "position_embedding"));
    const float* a = ReadRow(math, s.type, ctx.input(2).raw(), word * s.n, s.n, buffers[0]);
    const float* b = ReadRow(math, s.type, ctx.input(3).raw(), position * s.n, s.n, buffers[1]);
    const float* c = nullptr;
    if (segment_ids != nullptr) {
      RONDO_RETURN_IF_ERROR(CheckIndex(segment_ids[row], s.segments, "segment_embedding"));
      c = ReadRow(math, s.type, ctx.input(4).raw(), segment_ids[row] * s.n, s.n, buffers[2]);
    }
    float* sum = buffers[5];
    norm.add(a, b, c, sum, s.n);
    if (ctx.has_output(2)) WriteRow(math, s.type, sum, ctx.output(2).mutable_raw(), row * s.n, s.n);
    float mean, inv;
    norm.layer_norm(sum, gamma, beta, sum, s.n, s.epsilon, &mean, &inv);
    if (ctx.has_output(0)) WriteRow(math, s.type, sum, ctx.output(0).mutable_raw(), row * s.n, s.n);
  }
  if (ctx.has_output(1)) {
    for (int64_t b = 0; b < s.batch; ++b) {
      const int32_t* mask = s.has_mask ? ctx.in<int32_t>(7) + b * s.length : nullptr;
      ctx.out<int32_t>(1)[b] = mask == nullptr ? 0 : static_cast<int32_t>(std::count(mask, mask + s.length, 1));
    }
  }
  return absl::OkStatus();
}

KernelOr PrepareEmbedNorm(PrepareContext& ctx) {
  EmbedSpec s;
  Dims ids = ctx.input_dims(0), words = ctx.input_dims(2), positions = ctx.input_dims(3);
  s.batch = ids[0];
  s.length = ids[1];
  s.n = words[1];
  s.words = words[0];
  s.positions = positions[0];
  s.has_segments = ctx.has_input(1) && ctx.has_input(4);
  s.segments = s.has_segments ? ctx.input_dims(4)[0] : 0;
  s.has_mask = ctx.has_input(7);
  s.has_positions = ctx.has_input(8);
  s.type = ctx.input_dtype(2);
  RONDO_ASSIGN_OR_RETURN(s.epsilon, ctx.attributes.Float("epsilon", 1e-12f));
  if (!IsFloatOrHalf(s.type)) return Unimplemented("element type ", DataTypeName(s.type), " is not supported here");
  bool fits = positions[1] == s.n && Product(ctx.input_dims(5)) == s.n && Product(ctx.input_dims(6)) == s.n;
  if (s.has_segments) fits &= ctx.input_dims(4)[1] == s.n && ctx.input_dims(1) == ids;
  if (s.has_mask) fits &= ctx.input_dims(7) == ids;
  if (s.has_positions) {
    Dims given = ctx.input_dims(8);
    fits &= given.size() == 2 && given[1] == s.length && (given[0] == 1 || given[0] == s.batch);
    s.position_rows = given.empty() ? 1 : given[0];
  }
  if (!fits) {
    return InvalidArgument("expected ids and masks of ", DimsToString(ids), " and embeddings of ", s.n,
                           " columns like word_embedding, got other shapes");
  }
  ctx.RequestScratch(sizeof(float) * 6 * s.n);
  return MakeKernel([s](RunContext& run) { return RunEmbedNorm(s, run); });
}

constexpr absl::string_view kMicrosoft = "com.microsoft";

const OpDef kRows[] = {
    {.type = "LayerNormalization",
     .inputs = {2, 3},
     .outputs = {1, 3},
     .infer = InferNorm<NormOp::kLayer>,
     .prepare = PrepareNorm<NormOp::kLayer>,
     .in_place = InputBit(0)},
    {.type = "RMSNormalization",
     .since = 23,
     .inputs = {2, 2},
     .infer = InferNorm<NormOp::kRms>,
     .prepare = PrepareNorm<NormOp::kRms>,
     .in_place = InputBit(0)},
    {.type = "SimplifiedLayerNormalization",
     .inputs = {2, 2},
     .outputs = {1, 2},
     .infer = InferNorm<NormOp::kSimplified>,
     .prepare = PrepareNorm<NormOp::kSimplified>,
     .in_place = InputBit(0)},
    {.domain = kMicrosoft,
     .type = "SimplifiedLayerNormalization",
     .inputs = {2, 2},
     .outputs = {1, 2},
     .infer = InferNorm<NormOp::kSimplified>,
     .prepare = PrepareNorm<NormOp::kSimplified>,
     .in_place = InputBit(0)},
    {.domain = kMicrosoft,
     .type = "LayerNormalization",
     .inputs = {2, 3},
     .outputs = {1, 3},
     .infer = InferNorm<NormOp::kLayer>,
     .prepare = PrepareNorm<NormOp::kLayer>,
     .in_place = InputBit(0)},
    {.domain = kMicrosoft,
     .type = "SkipLayerNormalization",
     .inputs = {3, 5},
     .outputs = {1, 4},
     .infer = InferSkipNorm,
     .prepare = PrepareSkipNorm<false>},
    {.domain = kMicrosoft,
     .type = "SkipSimplifiedLayerNormalization",
     .inputs = {3, 4},
     .outputs = {1, 4},
     .infer = InferSkipNorm,
     .prepare = PrepareSkipNorm<true>},
    {.domain = kMicrosoft,
     .type = "EmbedLayerNormalization",
     .inputs = {1, 9},
     .outputs = {1, 3},
     .infer = InferEmbedNorm,
     .prepare = PrepareEmbedNorm},
};

}  // namespace

absl::Span<const OpDef> NormalizationFamily() { return kRows; }

}  // namespace rondo
