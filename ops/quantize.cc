// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
//
// A scale applies to the whole tensor, to a slice along `axis`, or to a block of `block_size` elements along it. All
// three are cut into runs: n neighbouring elements of x whose scales either are one element or advance with them. The
// run is the unit of the kernels; float32 to and from 8 bits with one scale, what nearly all models use, goes to the
// vector kernels, everything else through float in blocks.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/binary.h"
#include "ops/convert.h"
#include "ops/families.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- Runs -----------------------------------------------------------------------------------------------------------

struct QuantizationRun {
  int64_t begin;  // first element of x
  int64_t n;
  int64_t scale;  // first element of scale and zero point
  bool step;      // whether these advance with x
};

class QuantizationLayout {
 public:
  // `axis` counts from the front; `block_size` 0 means none.
  static absl::StatusOr<QuantizationLayout> Create(const Dims& x, const Dims& scale, int64_t axis, int64_t block_size) {
    QuantizationLayout layout;
    for (int64_t d : x) layout.size_ *= d;
    int64_t scales = 1;
    for (int64_t d : scale) scales *= d;
    if (block_size < 0) return InvalidArgument("attribute block_size: expected 0 or more, got ", block_size);
    if (block_size == 0 && scales == 1 && scale.size() <= 1) return layout;  // per tensor
    RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(x.size())));
    layout.extent_ = x[a];
    for (int i = 0; i < a; ++i) layout.outer_ *= x[i];
    for (size_t i = a + 1; i < x.size(); ++i) layout.inner_ *= x[i];
    Dims expected;
    if (block_size == 0) {
      layout.kind_ = Kind::kAxis;
      expected = {x[a]};
    } else {
      layout.kind_ = Kind::kBlocks;
      layout.block_ = block_size;
      layout.blocks_ = x[a] / block_size + (x[a] % block_size != 0 ? 1 : 0);
      expected = x;
      expected[a] = layout.blocks_;
    }
    if (scale != expected) {
      return InvalidArgument("scale: expected shape ", DimsToString(expected), " for data of shape ", DimsToString(x),
                             ", axis ", a, " and block_size ", block_size, ", got ", DimsToString(scale));
    }
    return layout;
  }

  int64_t runs() const {
    switch (kind_) {
      case Kind::kTensor:
        return (size_ + kTensorRun - 1) / kTensorRun;
      case Kind::kAxis:
        return inner_ == 1 ? outer_ : outer_ * extent_;
      case Kind::kBlocks:
        return inner_ == 1 ? outer_ * blocks_ : outer_ * extent_;
    }
    return 0;
  }
  // Elements of a typical run.
  int64_t run_size() const { return std::max<int64_t>(1, runs() == 0 ? 1 : size_ / runs()); }

  QuantizationRun run(int64_t r) const {
    switch (kind_) {
      case Kind::kTensor:
        return {r * kTensorRun, std::min(kTensorRun, size_ - r * kTensorRun), 0, false};
      case Kind::kAxis:
        if (inner_ == 1) return {r * extent_, extent_, 0, true};
        return {r * inner_, inner_, r % extent_, false};
      case Kind::kBlocks:
        break;
    }
    if (inner_ == 1) {
      int64_t begin = (r % blocks_) * block_;
      return {r / blocks_ * extent_ + begin, std::min(block_, extent_ - begin), r, false};
    }
    return {r * inner_, inner_, (r / extent_ * blocks_ + r % extent_ / block_) * inner_, true};
  }

 private:
  enum class Kind { kTensor, kAxis, kBlocks };
  static constexpr int64_t kTensorRun = 16384;  // a multiple of four: packed elements of two runs share no byte

  Kind kind_ = Kind::kTensor;
  int64_t size_ = 1;
  int64_t outer_ = 1, extent_ = 1, inner_ = 1;
  int64_t block_ = 1, blocks_ = 1;
};

absl::StatusOr<QuantizationLayout> ReadLayout(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 1));
  RONDO_ASSIGN_OR_RETURN(int64_t block_size, ctx.attributes.Int("block_size", 0));
  const Dims scale = ctx.input_dims(1);
  if (ctx.has_input(2)) {
    int64_t scales = 1, zeros = 1;
    const Dims zero = ctx.input_dims(2);
    for (int64_t d : scale) scales *= d;
    for (int64_t d : zero) zeros *= d;
    if (zero != scale && !(scales == 1 && zeros == 1)) {
      return InvalidArgument("zero point: expected the scale's shape ", DimsToString(scale), ", got ",
                             DimsToString(zero));
    }
  }
  return QuantizationLayout::Create(ctx.input_dims(0), scale, axis, block_size);
}

// Two threads must not write into one byte of a packed output.
int64_t Grain(const QuantizationLayout& layout, DataType output) {
  if (BitWidth(output) < 8) return std::max<int64_t>(1, layout.runs());
  return std::max<int64_t>(1, kVectorGrain / layout.run_size());
}

// Least and greatest value of an integer type of up to 16 bits; false for other types.
bool IntegerRange(DataType type, float* low, float* high) {
  switch (type) {
    case DataType::kUInt8:
      return *low = 0, *high = 255, true;
    case DataType::kInt8:
      return *low = -128, *high = 127, true;
    case DataType::kUInt16:
      return *low = 0, *high = 65535, true;
    case DataType::kInt16:
      return *low = -32768, *high = 32767, true;
    case DataType::kUInt4:
      return *low = 0, *high = 15, true;
    case DataType::kInt4:
      return *low = -8, *high = 7, true;
    case DataType::kUInt2:
      return *low = 0, *high = 3, true;
    case DataType::kInt2:
      return *low = -2, *high = 1, true;
    default:
      return false;
  }
}

bool IsNarrowFloat(DataType type) {
  switch (type) {
    case DataType::kFloat8E4M3FN:
    case DataType::kFloat8E4M3FNUZ:
    case DataType::kFloat8E5M2:
    case DataType::kFloat8E5M2FNUZ:
    case DataType::kFloat4E2M1:
      return true;
    default:
      return false;
  }
}

// ---- QuantizeLinear -------------------------------------------------------------------------------------------------
// y = saturate(round_half_even(x / y_scale) + y_zero_point); float8 and float4: x / y_scale rounded to the type.
//   x: float32, float16, bfloat16 or int32, any shape. y_scale: scalar, [D_axis], or x's shape with axis divided by
//   block_size. y_zero_point (default 0): y_scale's shape, decides y's type.
//   Attributes: axis = 1, block_size = 0 (21), output_dtype = uint8 without zero point (21), saturate = 1 (float8),
//   precision = y_scale's type (23): the type in which the division is rounded.

absl::StatusOr<DataType> ReadType(const AttributeReader& attributes, absl::string_view name, DataType fallback) {
  RONDO_ASSIGN_OR_RETURN(int64_t type, attributes.Int(name, 0));
  if (type == 0) return fallback;
  if (type < 0 || type > std::numeric_limits<int32_t>::max() || !IsKnownDataType(static_cast<int32_t>(type))) {
    return InvalidArgument("attribute \"", name, "\": ", type, " is no element type");
  }
  return static_cast<DataType>(type);
}

absl::Status InferQuantize(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(DataType type, ReadType(ctx.attributes, "output_dtype", DataType::kUndefined));
  if (ctx.has_input(2)) {
    if (type != DataType::kUndefined && type != ctx.dtype(2)) {
      return InvalidArgument("attribute output_dtype is ", DataTypeName(type), ", but the zero point is ",
                             DataTypeName(ctx.dtype(2)));
    }
    type = ctx.dtype(2);
  }
  if (type == DataType::kUndefined) type = DataType::kUInt8;
  float low, high;
  if (!IntegerRange(type, &low, &high) && !IsNarrowFloat(type)) {
    return InvalidArgument("cannot quantize to ", DataTypeName(type));
  }
  return InferSameShape(ctx, type);
}

class QuantizeKernel final : public Kernel {
 public:
  QuantizeKernel(QuantizationLayout layout, DataType output, DataType precision, bool saturate, bool plain)
      : layout_(layout), output_(output), precision_(precision), plain_(plain) {
    options_.saturate = saturate;
    integer_ = IntegerRange(output, &low_, &high_);
  }

  absl::Status Run(RunContext& ctx) const override {
    const bool vector = !plain_ && ctx.input(0).dtype() == DataType::kFloat &&
                        ctx.input(1).dtype() == DataType::kFloat && precision_ == DataType::kFloat &&
                        (output_ == DataType::kUInt8 || output_ == DataType::kInt8);
    ParallelFor(layout_.runs(), Grain(layout_, output_), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        QuantizationRun run = layout_.run(r);
        if (vector && !run.step) {
          RunVector(ctx, run);
        } else {
          RunBlocks(ctx, run);
        }
      }
    });
    return absl::OkStatus();
  }
  std::string Implementation() const override { return plain_ ? "plain" : std::string("own:") + IsaName(ActiveIsa()); }

 private:
  void RunVector(RunContext& ctx, const QuantizationRun& run) const {
    const float* x = ctx.in<float>(0) + run.begin;
    const float scale = ctx.in<float>(1)[run.scale];
    if (output_ == DataType::kUInt8) {
      int32_t zero = ctx.has_input(2) ? ctx.in<uint8_t>(2)[run.scale] : 0;
      GetVectorMath().quantize_uint8(x, ctx.out<uint8_t>(0) + run.begin, run.n, scale, zero);
    } else {
      int32_t zero = ctx.has_input(2) ? ctx.in<int8_t>(2)[run.scale] : 0;
      GetVectorMath().quantize_int8(x, ctx.out<int8_t>(0) + run.begin, run.n, scale, zero);
    }
  }

  void RunBlocks(RunContext& ctx, const QuantizationRun& run) const {
    constexpr int64_t kBlock = 512;
    float x[kBlock], scale[kBlock], zero[kBlock] = {0};
    for (int64_t i = 0; i < run.n; i += kBlock) {
      const int64_t n = std::min(kBlock, run.n - i);
      LoadAsFloats(ctx.input(0).dtype(), ctx.input(0).raw(), run.begin + i, n, x);
      const int64_t at = run.scale + (run.step ? i : 0), scales = run.step ? n : 1;
      LoadAsFloats(ctx.input(1).dtype(), ctx.input(1).raw(), at, scales, scale);
      if (ctx.has_input(2)) LoadAsFloats(output_, ctx.input(2).raw(), at, scales, zero);
      for (int64_t k = 0; k < n; ++k) x[k] /= scale[run.step ? k : 0];
      if (precision_ == DataType::kFloat16) {
        for (int64_t k = 0; k < n; ++k) x[k] = static_cast<float>(Float16(x[k]));
      } else if (precision_ == DataType::kBFloat16) {
        for (int64_t k = 0; k < n; ++k) x[k] = static_cast<float>(BFloat16(x[k]));
      }
      if (integer_) {
        const bool steps = run.step && ctx.has_input(2);
        for (int64_t k = 0; k < n; ++k) {
          float q = std::nearbyint(x[k]) + zero[steps ? k : 0];
          x[k] = std::min(std::max(q == q ? q : zero[steps ? k : 0], low_), high_);
        }
      }
      StoreConverted(output_, options_, x, run.begin + i, n, ctx.output(0).mutable_raw());
    }
  }

  const QuantizationLayout layout_;
  const DataType output_, precision_;
  const bool plain_;
  ConvertOptions options_;
  bool integer_ = false;
  float low_ = 0, high_ = 0;
};

KernelOr PrepareQuantize(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizationLayout layout, ReadLayout(ctx));
  RONDO_ASSIGN_OR_RETURN(bool saturate, ctx.attributes.Flag("saturate", true));
  RONDO_ASSIGN_OR_RETURN(DataType precision, ReadType(ctx.attributes, "precision", ctx.input_dtype(1)));
  if (precision != DataType::kFloat16 && precision != DataType::kBFloat16) precision = DataType::kFloat;
  return std::make_unique<QuantizeKernel>(layout, ctx.output_dtype(0), precision, saturate, ctx.plain());
}

// ---- DequantizeLinear -----------------------------------------------------------------------------------------------
// y = (x - x_zero_point) * x_scale, of x_scale's type or attribute output_dtype (23).
//   x: integer of up to 32 bits, float8 or float4; x_scale, x_zero_point (default 0) and the other attributes as above.

absl::Status InferDequantize(InferContext& ctx) {
  DataType fallback = ctx.dtype(1) == DataType::kFloat8E8M0 ? DataType::kFloat : ctx.dtype(1);
  RONDO_ASSIGN_OR_RETURN(DataType type, ReadType(ctx.attributes, "output_dtype", fallback));
  float low, high;
  if (!IntegerRange(ctx.dtype(0), &low, &high) && !IsNarrowFloat(ctx.dtype(0)) && ctx.dtype(0) != DataType::kInt32) {
    return InvalidArgument("input 0: cannot dequantize ", DataTypeName(ctx.dtype(0)));
  }
  if (ctx.has_input(2)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  return InferSameShape(ctx, type);
}

class DequantizeKernel final : public Kernel {
 public:
  DequantizeKernel(QuantizationLayout layout, DataType output, bool plain)
      : layout_(layout), output_(output), plain_(plain) {}

  absl::Status Run(RunContext& ctx) const override {
    const DataType input = ctx.input(0).dtype();
    const bool vector = !plain_ && (input == DataType::kUInt8 || input == DataType::kInt8) &&
                        ctx.input(1).dtype() == DataType::kFloat && output_ == DataType::kFloat;
    ParallelFor(layout_.runs(), Grain(layout_, output_), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        QuantizationRun run = layout_.run(r);
        if (vector && !run.step) {
          RunVector(ctx, run);
        } else {
          RunBlocks(ctx, run);
        }
      }
    });
    return absl::OkStatus();
  }
  std::string Implementation() const override { return plain_ ? "plain" : std::string("own:") + IsaName(ActiveIsa()); }

 private:
  void RunVector(RunContext& ctx, const QuantizationRun& run) const {
    float* y = ctx.out<float>(0) + run.begin;
    const float scale = ctx.in<float>(1)[run.scale];
    if (ctx.input(0).dtype() == DataType::kUInt8) {
      int32_t zero = ctx.has_input(2) ? ctx.in<uint8_t>(2)[run.scale] : 0;
      GetVectorMath().dequantize_uint8(ctx.in<uint8_t>(0) + run.begin, y, run.n, scale, zero);
    } else {
      int32_t zero = ctx.has_input(2) ? ctx.in<int8_t>(2)[run.scale] : 0;
      GetVectorMath().dequantize_int8(ctx.in<int8_t>(0) + run.begin, y, run.n, scale, zero);
    }
  }

  void RunBlocks(RunContext& ctx, const QuantizationRun& run) const {
    constexpr int64_t kBlock = 512;
    float x[kBlock], scale[kBlock], zero[kBlock];
    const DataType input = ctx.input(0).dtype();
    const bool zeros = ctx.has_input(2);
    for (int64_t i = 0; i < run.n; i += kBlock) {
      const int64_t n = std::min(kBlock, run.n - i);
      const int64_t at = run.scale + (run.step ? i : 0), scales = run.step ? n : 1;
      LoadAsFloats(ctx.input(1).dtype(), ctx.input(1).raw(), at, scales, scale);
      if (input == DataType::kInt32) {
        // Accumulators: the difference of two int32 need not fit a float's 24 bits, so it is taken before rounding.
        const int32_t* p = ctx.in<int32_t>(0) + run.begin + i;
        const int32_t* z = zeros ? ctx.in<int32_t>(2) + at : nullptr;
        for (int64_t k = 0; k < n; ++k) {
          x[k] = static_cast<float>(int64_t{p[k]} - (zeros ? z[run.step ? k : 0] : 0));
        }
      } else {
        LoadAsFloats(input, ctx.input(0).raw(), run.begin + i, n, x);
        if (zeros) {
          LoadAsFloats(input, ctx.input(2).raw(), at, scales, zero);
          for (int64_t k = 0; k < n; ++k) x[k] -= zero[run.step ? k : 0];
        }
      }
      for (int64_t k = 0; k < n; ++k) x[k] *= scale[run.step ? k : 0];
      StoreConverted(output_, ConvertOptions(), x, run.begin + i, n, ctx.output(0).mutable_raw());
    }
  }

  const QuantizationLayout layout_;
  const DataType output_;
  const bool plain_;
};

KernelOr PrepareDequantize(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(QuantizationLayout layout, ReadLayout(ctx));
  return std::make_unique<DequantizeKernel>(layout, ctx.output_dtype(0), ctx.plain());
}

// ---- DynamicQuantizeLinear ------------------------------------------------------------------------------------------
// low = min(0, min(x)), high = max(0, max(x)); y_scale = (high - low) / 255;
// y_zero_point = round_half_even(saturate(-low / y_scale)); y = saturate(round_half_even(x / y_scale) + y_zero_point).
//   x: float32, any shape; y: uint8 of that shape; y_scale: float32 scalar; y_zero_point: uint8 scalar.
//   An all-zero (or empty) x has scale 1.

absl::Status InferDynamicQuantize(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kFloat}));
  ctx.SetOutput(1, DataType::kFloat, Shape());
  ctx.SetOutput(2, DataType::kUInt8, Shape());
  return InferSameShape(ctx, DataType::kUInt8);
}

KernelOr PrepareDynamicQuantize(PrepareContext& ctx) {
  static constexpr int64_t kPart = 32768;
  const int64_t size = ctx.output_type(0).shape->ElementCount().value();
  const int64_t parts = (size + kPart - 1) / kPart;
  ctx.RequestScratch(sizeof(float) * 2 * static_cast<size_t>(std::max<int64_t>(parts, 1)));
  const Isa isa = ctx.plain() ? Isa::kBaseline : ActiveIsa();
  return MakeKernel(
      [isa, parts, size](RunContext& run) {
        const VectorMath& math = VectorMathFor(isa);
        const float* x = run.in<float>(0);
        float* extremes = static_cast<float*>(run.scratch());
        ParallelFor(parts, 1, [&](int64_t begin, int64_t end) {
          for (int64_t p = begin; p < end; ++p) {
            math.min_max(x + p * kPart, std::min(kPart, size - p * kPart), &extremes[2 * p], &extremes[2 * p + 1]);
          }
        });
        float low = 0, high = 0;
        for (int64_t p = 0; p < parts; ++p) {
          low = std::min(low, extremes[2 * p]);
          high = std::max(high, extremes[2 * p + 1]);
        }
        const float scale = high > low ? (high - low) / 255.0f : 1.0f;
        const uint8_t zero = static_cast<uint8_t>(std::nearbyint(std::min(std::max(0.0f - low / scale, 0.0f), 255.0f)));
        if (run.has_output(1)) run.out<float>(1)[0] = scale;
        if (run.has_output(2)) run.out<uint8_t>(2)[0] = zero;
        if (!run.has_output(0)) return absl::OkStatus();
        uint8_t* y = run.out<uint8_t>(0);
        ParallelFor(size, kVectorGrain, [&](int64_t begin, int64_t end) {
          math.quantize_uint8(x + begin, y + begin, end - begin, scale, zero);
        });
        return absl::OkStatus();
      },
      ctx.plain() ? std::string("plain") : std::string("own:") + IsaName(isa));
}

const OpDef kRows[] = {
    {.type = "DequantizeLinear", .since = 10, .inputs = {2, 3}, .infer = InferDequantize, .prepare = PrepareDequantize},
    {.type = "DynamicQuantizeLinear",
     .since = 11,
     .outputs = {3, 3},
     .infer = InferDynamicQuantize,
     .prepare = PrepareDynamicQuantize},
    {.type = "QuantizeLinear", .since = 10, .inputs = {2, 3}, .infer = InferQuantize, .prepare = PrepareQuantize},
    // The forms that onnxruntime's tools write.
    {.domain = "com.microsoft",
     .type = "DequantizeLinear",
     .inputs = {2, 3},
     .infer = InferDequantize,
     .prepare = PrepareDequantize},
    {.domain = "com.microsoft",
     .type = "QuantizeLinear",
     .inputs = {2, 3},
     .infer = InferQuantize,
     .prepare = PrepareQuantize},
};

}  // namespace

absl::Span<const OpDef> QuantizeFamily() { return kRows; }

}  // namespace rondo
