// Products of 8-bit integers: MatMulInteger, QLinearMatMul, and com.microsoft's MatMulIntegerToFloat,
// DynamicQuantizeMatMul and QGemm. All are one exact int32 product (ops/quantized_product.h) with its own last step.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/families.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"
#include "ops/quantized_product.h"
#include "ops/window.h"

namespace rondo {
namespace {

using onednn::Arg;
using onednn::PipelineBuilder;
using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

constexpr DataType kBytes[] = {DataType::kUInt8, DataType::kInt8};

absl::Status SetProductShape(InferContext& ctx, int a, int b, DataType dtype) {
  if (!ctx.has_shape(a) || !ctx.has_shape(b)) {
    ctx.SetOutputOfUnknownRank(0, dtype);
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape y, MatMulShape(ctx.shape(a), ctx.shape(b)));
  ctx.SetOutput(0, dtype, std::move(y));
  return absl::OkStatus();
}

// numpy.matmul's reading of the node's inputs a and b.
absl::StatusOr<QuantizedMatMul> ReadProduct(PrepareContext& ctx, int a, int b) {
  QuantizedMatMul p;
  Dims a_dims = ctx.input_dims(a), b_dims = ctx.input_dims(b);
  if (a_dims.size() == 1) a_dims.insert(a_dims.begin(), 1);
  if (b_dims.size() == 1) b_dims.push_back(1);
  RONDO_ASSIGN_OR_RETURN(p.g, MakeMatMulGeometry(StridedView::Of(a_dims), StridedView::Of(b_dims)));
  p.a = Arg::InputOrConstant(ctx, a);
  p.b = Arg::InputOrConstant(ctx, b);
  p.a_type = ctx.input_dtype(a);
  p.b_type = ctx.input_dtype(b);
  return p;
}

// A float scale: one value, or `unit` of them.
absl::Status CheckScale(const PrepareContext& ctx, int i, int64_t unit, absl::string_view what) {
  int64_t count = 1;
  for (int64_t d : ctx.input_dims(i)) count *= d;
  if (count == 1 || count == unit) return absl::OkStatus();
  return InvalidArgument(what, ": expected 1 or ", unit, " values, got ", count);
}
int64_t Count(const PrepareContext& ctx, int i) {
  int64_t count = 1;
  for (int64_t d : ctx.input_dims(i)) count *= d;
  return count;
}

// MatMulInteger(A, B, a_zero_point?, b_zero_point?) -> Y int32 = (A - a_zero_point) @ (B - b_zero_point). Zero points
// are scalars or per row of A and per column of B.
absl::Status InferMatMulInteger(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kBytes));
  if (ctx.has_input(2)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  if (ctx.has_input(3)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, 3));
  return SetProductShape(ctx, 0, 1, DataType::kInt32);
}

KernelOr PrepareMatMulInteger(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizedMatMul p, ReadProduct(ctx, 0, 1));
  p.a_zero = QuantParameter::Of(ctx, 2);
  p.b_zero = QuantParameter::Of(ctx, 3);
  PipelineBuilder pipeline(ctx);
  const int64_t n = p.g.n;
  auto emit = [n](absl::Span<void* const> extra, int64_t row, int64_t begin, int64_t count, const int32_t* values) {
    std::copy_n(values, count, static_cast<int32_t*>(extra[0]) + row * n + begin);
  };
  RONDO_RETURN_IF_ERROR(AddQuantizedMatMul(ctx, pipeline, p, emit, {Arg::Output(0)}));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

// What turns an int32 sum into the output: y = sum * a_scale * b_scale (per column) + bias, in float32, or quantised.
struct Rescale {
  int64_t n;
  bool a_per_row, b_per_column;
  // Arguments: a_scale, b_scale, bias or null, y.
  float AScale(absl::Span<void* const> extra, int64_t row, int64_t m) const {
    return static_cast<const float*>(extra[0])[a_per_row ? row % m : 0];
  }
};

QuantizedEmit EmitFloat(Rescale r, int64_t m) {
  return [r, m](absl::Span<void* const> extra, int64_t row, int64_t begin, int64_t count, const int32_t* values) {
    const float a = r.AScale(extra, row, m);
    const auto* b = static_cast<const float*>(extra[1]);
    const auto* bias = static_cast<const float*>(extra[2]);
    float* y = static_cast<float*>(extra[3]) + row * r.n + begin;
    if (r.b_per_column) {
      for (int64_t j = 0; j < count; ++j) y[j] = static_cast<float>(values[j]) * (a * b[begin + j]);
    } else {
      const float scale = a * b[0];
      for (int64_t j = 0; j < count; ++j) y[j] = static_cast<float>(values[j]) * scale;
    }
    if (bias != nullptr) {
      for (int64_t j = 0; j < count; ++j) y[j] += bias[begin + j];
    }
  };
}

absl::Status CheckBias(const PrepareContext& ctx, int i, int64_t n) {
  if (!ctx.has_input(i) || Count(ctx, i) == n) return absl::OkStatus();
  return InvalidArgument("bias: expected ", n, " values, got ", Count(ctx, i));
}

// com.microsoft MatMulIntegerToFloat(A, B, a_scale, b_scale, a_zero_point?, b_zero_point?, bias?) -> Y float32.
absl::Status InferToFloat(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kBytes));
  for (int i : {2, 3, 6}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  }
  if (ctx.has_input(4)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 4));
  if (ctx.has_input(5)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, 5));
  return SetProductShape(ctx, 0, 1, DataType::kFloat);
}

KernelOr PrepareToFloat(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizedMatMul p, ReadProduct(ctx, 0, 1));
  p.a_zero = QuantParameter::Of(ctx, 4);
  p.b_zero = QuantParameter::Of(ctx, 5);
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 2, p.g.m, "a_scale"));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 3, p.g.n, "b_scale"));
  RONDO_RETURN_IF_ERROR(CheckBias(ctx, 6, p.g.n));
  PipelineBuilder pipeline(ctx);
  Rescale rescale{p.g.n, Count(ctx, 2) > 1, Count(ctx, 3) > 1};
  RONDO_RETURN_IF_ERROR(
      AddQuantizedMatMul(ctx, pipeline, p, EmitFloat(rescale, p.g.m),
                         {Arg::Input(2), Arg::Input(3), ctx.has_input(6) ? Arg::Input(6) : Arg{}, Arg::Output(0)}));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

// com.microsoft DynamicQuantizeMatMul(A float32, B, b_scale, b_zero_point?, bias?) -> Y float32: A is quantised to
// uint8 by its own range (as DynamicQuantizeLinear does), then as MatMulIntegerToFloat.
absl::Status InferDynamic(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kFloat}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kBytes));
  for (int i : {2, 4}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  }
  if (ctx.has_input(3)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, 3));
  return SetProductShape(ctx, 0, 1, DataType::kFloat);
}

constexpr int64_t kRangeChunks = 64;

// The range of x as partial minima and maxima, then scale and zero point, then the bytes.
void QuantizeDynamically(const float* x, int64_t count, float* ranges, float* scale, uint8_t* zero, uint8_t* y) {
  const VectorMath& math = GetVectorMath();
  const int64_t chunk = std::max<int64_t>(4096, CeilDiv(count, kRangeChunks));
  const int64_t chunks = CeilDiv(count, chunk);
  ParallelFor(chunks, std::max<int64_t>(1, 32768 / chunk), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      float low, high;
      math.min_max(x + c * chunk, std::min(chunk, count - c * chunk), &low, &high);
      ranges[2 * c] = low;
      ranges[2 * c + 1] = high;
    }
  });
  float low = 0, high = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    low = std::min(low, ranges[2 * c]);
    high = std::max(high, ranges[2 * c + 1]);
  }
  const float step = (high - low) / 255.0f;
  const float origin = step == 0 ? 0.0f : static_cast<float>(RoundClamped(-low / step, 0, 255));
  *scale = step == 0 ? 1.0f : step;
  *zero = static_cast<uint8_t>(origin);
  ParallelFor(count, 64 << 10, [&](int64_t begin, int64_t end) {
    math.quantize_uint8(x + begin, y + begin, end - begin, *scale, *zero);
  });
}

KernelOr PrepareDynamic(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizedMatMul p, ReadProduct(ctx, 0, 1));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 2, p.g.n, "b_scale"));
  RONDO_RETURN_IF_ERROR(CheckBias(ctx, 4, p.g.n));
  PipelineBuilder pipeline(ctx);
  const int64_t count = Count(ctx, 0);
  const Arg bytes = pipeline.Scratch(static_cast<size_t>(count)), scale = pipeline.Scratch(sizeof(float));
  const Arg zero = pipeline.Scratch(1), ranges = pipeline.Scratch(2 * kRangeChunks * sizeof(float));
  pipeline.Host(
      [count](absl::Span<void* const> args) {
        QuantizeDynamically(static_cast<const float*>(args[0]), count, static_cast<float*>(args[1]),
                            static_cast<float*>(args[2]), static_cast<uint8_t*>(args[3]),
                            static_cast<uint8_t*>(args[4]));
        return absl::OkStatus();
      },
      {Arg::Input(0), ranges, scale, zero, bytes});
  p.a = bytes;
  p.a_type = DataType::kUInt8;
  p.a_zero = {zero, DataType::kUInt8, 1};
  p.b_zero = QuantParameter::Of(ctx, 3);
  Rescale rescale{p.g.n, false, Count(ctx, 2) > 1};
  RONDO_RETURN_IF_ERROR(
      AddQuantizedMatMul(ctx, pipeline, p, EmitFloat(rescale, p.g.m),
                         {scale, Arg::Input(2), ctx.has_input(4) ? Arg::Input(4) : Arg{}, Arg::Output(0)}));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

// Writes sum * scale[j] rounded to nearest even, plus y_zero, saturated. Arguments: column scales (of all or one),
// y_zero or null, y.
template <typename T>
QuantizedEmit EmitBytes(int64_t n, int64_t m, bool a_per_row, bool b_per_column, DataType zero_type) {
  // extra: a_scale, b_scale, y_scale, y_zero, bias or null, y
  return [=](absl::Span<void* const> extra, int64_t row, int64_t begin, int64_t count, const int32_t* values) {
    const auto* a = static_cast<const float*>(extra[0]);
    const auto* b = static_cast<const float*>(extra[1]);
    const float y_scale = *static_cast<const float*>(extra[2]);
    const float zero = static_cast<float>(ReadZeroPoint(zero_type, extra[3], 0));
    const auto* bias = static_cast<const int32_t*>(extra[4]);
    T* y = static_cast<T*>(extra[5]) + row * n + begin;
    const float a_scale = a[a_per_row ? row % m : 0];
    const float low = static_cast<float>(std::numeric_limits<T>::min()) - zero;
    const float high = static_cast<float>(std::numeric_limits<T>::max()) - zero;
    for (int64_t j = 0; j < count; ++j) {
      const float scale = a_scale * b[b_per_column ? begin + j : 0] / y_scale;
      const uint32_t sum =
          static_cast<uint32_t>(values[j]) + (bias == nullptr ? 0u : static_cast<uint32_t>(bias[begin + j]));
      y[j] = static_cast<T>(RoundClamped(static_cast<float>(static_cast<int32_t>(sum)) * scale, low, high) +
                            static_cast<int32_t>(zero));
    }
  };
}

// QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point) -> y, of y_zero_point's
// type.
absl::Status InferQLinear(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(3, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(7, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(3, 5));
  for (int i : {1, 4, 6}) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  }
  return SetProductShape(ctx, 0, 3, ctx.dtype(7));
}

KernelOr PrepareQLinear(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizedMatMul p, ReadProduct(ctx, 0, 3));
  p.a_zero = QuantParameter::Of(ctx, 2);
  p.b_zero = QuantParameter::Of(ctx, 5);
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 1, p.g.m, "a_scale"));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 4, p.g.n, "b_scale"));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 6, 1, "y_scale"));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 7, 1, "y_zero_point"));
  PipelineBuilder pipeline(ctx);
  std::vector<Arg> extra;
  for (int i : {1, 4, 6}) {
    RONDO_ASSIGN_OR_RETURN(Arg scale,
                           pipeline.AsFloat(Arg::InputOrConstant(ctx, i), ctx.input_dtype(i), Count(ctx, i)));
    extra.push_back(std::move(scale));
  }
  extra.insert(extra.end(), {Arg::Input(7), Arg{}, Arg::Output(0)});
  const bool rows = Count(ctx, 1) > 1, columns = Count(ctx, 4) > 1;
  QuantizedEmit emit = ctx.output_dtype(0) == DataType::kInt8
                           ? EmitBytes<int8_t>(p.g.n, p.g.m, rows, columns, DataType::kInt8)
                           : EmitBytes<uint8_t>(p.g.n, p.g.m, rows, columns, DataType::kUInt8);
  RONDO_RETURN_IF_ERROR(AddQuantizedMatMul(ctx, pipeline, p, std::move(emit), std::move(extra)));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

// com.microsoft QGemm(A [M, K], a_scale, a_zero_point, B [K, N], b_scale, b_zero_point, C? int32 [N], y_scale?,
// y_zero_point?) -> Y: alpha * (A' B' + C), quantised when y_scale is given, else float32. transA, transB; C is
// quantised with a_scale * b_scale.
absl::Status InferQGemm(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(3, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(3, 5));
  for (int i : {1, 4}) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  if (ctx.has_input(6)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(6, {DataType::kInt32}));
  for (int i : {0, 3}) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 2, 2));
  RONDO_ASSIGN_OR_RETURN(bool trans_a, ctx.attributes.Flag("transA", false));
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("transB", false));
  DataType dtype = DataType::kFloat;
  if (ctx.has_input(7)) {
    if (!ctx.has_input(8)) return InvalidArgument("y_scale without y_zero_point");
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(8, kBytes));
    dtype = ctx.dtype(8);
  }
  Shape y = Shape::UnknownOfRank(2);
  if (ctx.has_shape(0) && ctx.has_shape(3)) {
    RONDO_ASSIGN_OR_RETURN(y, MatMulShape(trans_a ? TransposeLast(ctx.shape(0)) : ctx.shape(0),
                                          trans_b ? TransposeLast(ctx.shape(3)) : ctx.shape(3)));
  }
  ctx.SetOutput(0, dtype, std::move(y));
  return absl::OkStatus();
}

KernelOr PrepareQGemm(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool trans_a, ctx.attributes.Flag("transA", false));
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("transB", false));
  RONDO_ASSIGN_OR_RETURN(float alpha, ctx.attributes.Float("alpha", 1.0f));
  QuantizedMatMul p;
  StridedView a = StridedView::Of(ctx.input_dims(0)), b = StridedView::Of(ctx.input_dims(3));
  if (trans_a) a.SwapLast();
  if (trans_b) b.SwapLast();
  RONDO_ASSIGN_OR_RETURN(p.g, MakeMatMulGeometry(std::move(a), std::move(b)));
  p.a = Arg::InputOrConstant(ctx, 0);
  p.b = Arg::InputOrConstant(ctx, 3);
  p.a_type = ctx.input_dtype(0);
  p.b_type = ctx.input_dtype(3);
  p.a_zero = QuantParameter::Of(ctx, 2);
  p.b_zero = QuantParameter::Of(ctx, 5);
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 1, 1, "a_scale"));
  RONDO_RETURN_IF_ERROR(CheckScale(ctx, 4, p.g.n, "b_scale"));
  const int64_t n = p.g.n, m = p.g.m;
  int64_t c_row = 0, c_column = 0;  // strides of C in [M, N]
  if (ctx.has_input(6)) {
    Dims c = ctx.input_dims(6);
    while (c.size() < 2) c.insert(c.begin(), 1);
    if (c.size() > 2 || (c[0] != 1 && c[0] != m) || (c[1] != 1 && c[1] != n)) {
      return InvalidArgument("C of shape ", DimsToString(ctx.input_dims(6)), " does not broadcast to [", m, ", ", n,
                             "]");
    }
    c_row = c[0] == 1 ? 0 : c[1];
    c_column = c[1] == 1 ? 0 : 1;
  }
  PipelineBuilder pipeline(ctx);
  const bool columns = Count(ctx, 4) > 1, quantised = ctx.has_input(7);
  const DataType dtype = ctx.output_dtype(0);
  auto emit = [=](absl::Span<void* const> extra, int64_t row, int64_t begin, int64_t count, const int32_t* values) {
    const float a_scale = alpha * *static_cast<const float*>(extra[0]);
    const auto* b_scale = static_cast<const float*>(extra[1]);
    const auto* c = static_cast<const int32_t*>(extra[2]);
    const float y_scale = quantised ? *static_cast<const float*>(extra[3]) : 1.0f;
    const float zero = quantised ? static_cast<float>(ReadZeroPoint(dtype, extra[4], 0)) : 0.0f;
    const bool is_signed = dtype == DataType::kInt8;
    const float low = (is_signed ? -128.0f : 0.0f) - zero, high = (is_signed ? 127.0f : 255.0f) - zero;
    for (int64_t j = 0; j < count; ++j) {
      uint32_t sum = static_cast<uint32_t>(values[j]);
      if (c != nullptr) sum += static_cast<uint32_t>(c[row * c_row + (begin + j) * c_column]);
      const float v = static_cast<float>(static_cast<int32_t>(sum)) * (a_scale * b_scale[columns ? begin + j : 0]);
      const int64_t at = row * n + begin + j;
      if (quantised) {
        static_cast<uint8_t*>(extra[5])[at] =
            static_cast<uint8_t>(RoundClamped(v / y_scale, low, high) + static_cast<int32_t>(zero));
      } else {
        static_cast<float*>(extra[5])[at] = v;
      }
    }
  };
  auto optional = [&](int i) { return ctx.has_input(i) ? Arg::Input(i) : Arg{}; };
  RONDO_RETURN_IF_ERROR(AddQuantizedMatMul(
      ctx, pipeline, p, emit, {Arg::Input(1), Arg::Input(4), optional(6), optional(7), optional(8), Arg::Output(0)}));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

const OpDef kRows[] = {
    {.type = "MatMulInteger",
     .since = 10,
     .inputs = {2, 4},
     .infer = InferMatMulInteger,
     .prepare = PrepareMatMulInteger},
    {.type = "QLinearMatMul", .since = 10, .inputs = {8, 8}, .infer = InferQLinear, .prepare = PrepareQLinear},
    {.domain = "com.microsoft",
     .type = "MatMulIntegerToFloat",
     .inputs = {4, 7},
     .infer = InferToFloat,
     .prepare = PrepareToFloat},
    {.domain = "com.microsoft",
     .type = "DynamicQuantizeMatMul",
     .inputs = {3, 5},
     .infer = InferDynamic,
     .prepare = PrepareDynamic},
    {.domain = "com.microsoft", .type = "QGemm", .inputs = {6, 9}, .infer = InferQGemm, .prepare = PrepareQGemm},
};

}  // namespace

absl::Span<const OpDef> MatMulIntegerFamily() { return kRows; }

}  // namespace rondo
