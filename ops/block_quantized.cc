// com.microsoft's operators on block-quantised weights: MatMulNBits and GatherBlockQuantized. Weights stay packed; the
// products are in ops/kernels/block_quantized.h.
#include "ops/kernels/block_quantized.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "ops/attention_common.h"
#include "ops/block_product.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"

namespace rondo {
namespace {

// Field `i` of packed fields of 2, 4 or 8 bits, low bits first.
int Field(const uint8_t* p, int64_t i, int bits) {
  const int64_t bit = i * bits;
  return p[bit / 8] >> (bit % 8) & ((1 << bits) - 1);
}

bool IsPowerOfTwo(int64_t x) { return x > 0 && (x & (x - 1)) == 0; }

// ---- com.microsoft MatMulNBits ----
// Y = A * dequantize(B)^T + bias, dequantize(B)[n, k] = (B[n, k] - zero[n, k / block_size]) * scale[n, k / block_size]
// Inputs: A [..., K]; B uint8 [N, blocks, block_size * bits / 8]; scales [N, blocks] (or flat); zero_points? packed
// uint8
//   [N, ceil(blocks * bits / 8)] or of A's type [N, blocks], default 2^(bits-1); g_idx? int32: the block of each k
//   (deprecated); bias? [N].
// Output: Y [..., N].
// Attributes: K, N, block_size (a power of two >= 16), bits 4, accuracy_level 0 (4: A is rounded to 8 bits
//   per block, as other runtimes do; every kernel does it, so results do not depend on the processor),
//   weight_prepacked 0.
enum Input { kA, kB, kScales, kZeros, kGroups, kBias };

template <typename Context>
absl::StatusOr<BlockQuantizedShape> ReadShape(const Context& ctx) {
  BlockQuantizedShape shape;
  RONDO_ASSIGN_OR_RETURN(shape.k, ctx.attributes.Int("K"));
  RONDO_ASSIGN_OR_RETURN(shape.n, ctx.attributes.Int("N"));
  RONDO_ASSIGN_OR_RETURN(shape.block, ctx.attributes.Int("block_size"));
  RONDO_ASSIGN_OR_RETURN(const int64_t bits, ctx.attributes.Int("bits", 4));
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (shape.k <= 0 || shape.n <= 0 || shape.k > kLimit || shape.n > kLimit) {
    return InvalidArgument("K is ", shape.k, ", N is ", shape.n, ": expected positive sizes");
  }
  if (shape.block < 16 || shape.block > kLimit || !IsPowerOfTwo(shape.block)) {
    return InvalidArgument("block_size is ", shape.block, ": expected a power of two, 16 or more");
  }
  if (bits != 2 && bits != 4 && bits != 8) return InvalidArgument("bits is ", bits, ": expected 2, 4 or 8");
  shape.bits = static_cast<int>(bits);
  RONDO_ASSIGN_OR_RETURN(const int64_t prepacked, ctx.attributes.Int("weight_prepacked", 0));
  if (prepacked != 0) return Unimplemented("weight_prepacked is ", prepacked, ": a layout of another device");
  return shape;
}

absl::Status InferMatMulNBits(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const BlockQuantizedShape shape, ReadShape(ctx));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kA, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kB, {DataType::kUInt8}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kScales, kA));
  if (ctx.has_input(kBias)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kBias, kA));
  if (ctx.has_input(kZeros)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kZeros, {DataType::kUInt8, ctx.dtype(kA)}));
  if (ctx.has_input(kGroups)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kGroups, {DataType::kInt32}));
  if (!ctx.has_shape(kA)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(kA));
    return absl::OkStatus();
  }
  Shape y = ctx.shape(kA);
  if (y.empty()) return InvalidArgument("A is a scalar: expected rank 1 or more");
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("last dim of A", y.back(), "K", Dim(shape.k)));
  y.back() = Dim(shape.n);
  ctx.SetOutput(0, ctx.dtype(kA), std::move(y));
  return absl::OkStatus();
}

// Element counts of the operands, so that nothing is read beyond them.
absl::Status CheckOperands(PrepareContext& ctx, const BlockQuantizedShape& shape) {
  const auto check = [&](int i, absl::string_view name, int64_t expected) -> absl::Status {
    if (!ctx.has_input(i)) return absl::OkStatus();
    RONDO_ASSIGN_OR_RETURN(const int64_t count, CheckedElementCount(ctx.input_dims(i)));
    if (count == expected) return absl::OkStatus();
    return InvalidArgument(name, " has ", count, " elements: expected ", expected);
  };
  const int64_t blocks = shape.blocks();
  RONDO_RETURN_IF_ERROR(check(kB, "B", shape.n * blocks * shape.block * shape.bits / 8));
  RONDO_RETURN_IF_ERROR(check(kScales, "scales", shape.n * blocks));
  const bool packed = ctx.has_input(kZeros) && ctx.input_dtype(kZeros) == DataType::kUInt8;
  RONDO_RETURN_IF_ERROR(check(kZeros, "zero_points", shape.n * (packed ? (blocks * shape.bits + 7) / 8 : blocks)));
  RONDO_RETURN_IF_ERROR(check(kBias, "bias", shape.n));
  if (!ctx.has_input(kGroups)) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(const int64_t groups, CheckedElementCount(ctx.input_dims(kGroups)));
  if (groups < shape.k) return InvalidArgument("g_idx has ", groups, " elements: expected ", shape.k);
  return absl::OkStatus();
}

// Straight from the formula: one weight row at a time. For --plain, weights that are not constant, and g_idx.
class PlainMatMulNBits final : public Kernel {
 public:
  // `rounds`: the activations, to 8 bits.
  PlainMatMulNBits(BlockQuantizedShape shape, int64_t rows, DataType type, bool rounds)
      : shape_(shape), rows_(rows), type_(type), rounds_(rounds) {}
  // Scratch: A, scales, zero points, bias and Y as floats, then one weight row per worker.
  size_t Plan(PrepareContext& ctx) {
    ScratchLayout layout;
    const auto floats = [&](int64_t n) { return layout.Add(static_cast<size_t>(n) * sizeof(float)); };
    threads_ = std::max(ctx.threads(), 1);
    a_ = floats(rows_ * shape_.k);
    scales_ = floats(shape_.n * shape_.blocks());
    zeros_ = floats(shape_.n * shape_.blocks());
    bias_ = floats(shape_.n);
    y_ = floats(rows_ * shape_.n);
    row_ = floats(threads_ * shape_.k);
    return layout.total();
  }
  std::string Implementation() const override { return "plain"; }

  absl::Status Run(RunContext& ctx) const override {
    void* scratch = ctx.scratch();
    float* a = ScratchAt<float>(scratch, a_);
    float* scales = ScratchAt<float>(scratch, scales_);
    float* zeros = ScratchAt<float>(scratch, zeros_);
    float* bias = ScratchAt<float>(scratch, bias_);
    float* y = ScratchAt<float>(scratch, y_);
    const int64_t blocks = shape_.blocks(), k = shape_.k, n = shape_.n;
    ConvertToFloat(ctx.input(kA), a);
    for (int64_t r = 0; rounds_ && r < rows_; ++r) RoundToInt8(a + r * k, k, shape_.block);
    ConvertToFloat(ctx.input(kScales), scales);
    if (ctx.has_input(kBias)) {
      ConvertToFloat(ctx.input(kBias), bias);
    } else {
      std::fill(bias, bias + n, 0.0f);
    }
    if (!ctx.has_input(kZeros)) {
      std::fill(zeros, zeros + n * blocks, static_cast<float>(1 << (shape_.bits - 1)));
    } else if (ctx.input(kZeros).dtype() == DataType::kUInt8) {
      const int64_t row_bytes = (blocks * shape_.bits + 7) / 8;
      const uint8_t* packed = ctx.in<uint8_t>(kZeros);
      for (int64_t i = 0; i < n * blocks; ++i) {
        zeros[i] = static_cast<float>(Field(packed + i / blocks * row_bytes, i % blocks, shape_.bits));
      }
    } else {
      ConvertToFloat(ctx.input(kZeros), zeros);
    }
    const int32_t* groups = ctx.has_input(kGroups) ? ctx.in<int32_t>(kGroups) : nullptr;
    for (int64_t i = 0; groups != nullptr && i < k; ++i) {
      if (groups[i] < 0 || groups[i] >= blocks) {
        return OutOfRange("g_idx[", i, "] ", groups[i], " is out of range [0, ", blocks - 1, "]");
      }
    }
    const uint8_t* weights = ctx.in<uint8_t>(kB);
    const int64_t weight_row = blocks * shape_.block * shape_.bits / 8;
    ParallelFor(n, std::max<int64_t>(1, 20000 / (k * (rows_ + 2))), [&](int64_t begin, int64_t end) {
      float* row = ScratchAt<float>(scratch, row_) + std::min(WorkerIndex(), threads_ - 1) * k;
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t i = 0; i < k; ++i) {
          const int64_t block = groups != nullptr ? groups[i] : i / shape_.block;
          const float w = static_cast<float>(Field(weights + c * weight_row, i, shape_.bits));
          row[i] = (w - zeros[c * blocks + block]) * scales[c * blocks + block];
        }
        for (int64_t r = 0; r < rows_; ++r) {
          float sum = 0;
          for (int64_t i = 0; i < k; ++i) sum += a[r * k + i] * row[i];
          y[r * n + c] = sum + bias[c];
        }
      }
    });
    ConvertFromFloat(y, rows_ * n, type_, ctx.output(0).mutable_raw());
    return absl::OkStatus();
  }

 private:
  BlockQuantizedShape shape_;
  int64_t rows_;
  DataType type_;
  bool rounds_;
  int threads_ = 1;
  size_t a_ = 0, scales_ = 0, zeros_ = 0, bias_ = 0, y_ = 0, row_ = 0;
};

// Every element is the same number in float16. Found out once: real models have some ten million scales.
absl::StatusOr<bool> AreHalves(PrepareContext& ctx, const Tensor& scales) {
  if (scales.dtype() == DataType::kFloat16) return true;
  if (scales.dtype() != DataType::kFloat) return false;
  RONDO_ASSIGN_OR_RETURN(
      const Tensor halves,
      ctx.weight_cache().GetOrPack({scales}, {"are halves", DataType::kBool, {}}, [&](Tensor& answer) {
        *answer.mutable_data<bool>() =
            std::all_of(scales.data<float>(), scales.data<float>() + scales.size(),
                        [](float scale) { return static_cast<float>(Float16(scale)) == scale; });
        return absl::OkStatus();
      }));
  return *halves.data<bool>();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMatMulNBits(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(BlockQuantizedShape shape, ReadShape(ctx));
  RONDO_RETURN_IF_ERROR(CheckOperands(ctx, shape));
  const DataType type = ctx.input_dtype(kA);
  RONDO_ASSIGN_OR_RETURN(const int64_t elements, CheckedElementCount(ctx.input_dims(kA)));
  const int64_t rows = elements / shape.k;
  RONDO_ASSIGN_OR_RETURN(const int64_t accuracy, ctx.attributes.Int("accuracy_level", 0));

  const Tensor weights = ctx.constant(kB), scales = ctx.constant(kScales);
  const Tensor zeros = ctx.has_input(kZeros) ? ctx.constant(kZeros) : Tensor();
  const Tensor bias = ctx.has_input(kBias) ? ctx.constant(kBias) : Tensor();
  const bool constant = weights.defined() && scales.defined() && ctx.has_input(kZeros) == zeros.defined() &&
                        ctx.has_input(kBias) == bias.defined();
  if (ctx.plain() || !constant || ctx.has_input(kGroups)) {
    auto kernel = std::make_unique<PlainMatMulNBits>(shape, rows, type, accuracy == 4 && !ctx.has_input(kGroups));
    ctx.RequestScratch(kernel->Plan(ctx));
    return kernel;
  }

  auto kernel = std::make_unique<BlockProduct>(rows, type, /*rounds=*/accuracy == 4);
  if (zeros.defined()) {
    shape.zero = zeros.dtype() == DataType::kUInt8 ? BlockQuantizedShape::kBytes : BlockQuantizedShape::kFloats;
  }
  // Without loss only: rounded scales change which of two close tokens a model chooses.
  if (kernel->int8()) {
    RONDO_ASSIGN_OR_RETURN(shape.half_scales, AreHalves(ctx, scales));
  }
  kernel->shape = shape;
  const auto pack = [&](Tensor& packed) {
    std::vector<float> scale_values(scales.size()), zero_values;
    ConvertToFloat(scales, scale_values.data());
    BlockQuantizedSource source{weights.data<uint8_t>(), scale_values.data(), nullptr};
    if (shape.zero == BlockQuantizedShape::kBytes) source.zeros = zeros.raw();
    if (shape.zero == BlockQuantizedShape::kFloats) {
      zero_values.resize(zeros.size());
      ConvertToFloat(zeros, zero_values.data());
      source.zeros = zero_values.data();
    }
    PackBlockQuantized(shape, source, packed.mutable_data<uint8_t>());
    return absl::OkStatus();
  };
  const PackedForm form = PackedFormOf(shape, "nbits");
  RONDO_ASSIGN_OR_RETURN(kernel->packed, ctx.weight_cache().GetOrPack({weights, scales, zeros}, form, pack));
  if (bias.defined()) kernel->SetBias(bias);
  kernel->Plan(ctx);
  return kernel;
}

// ---- com.microsoft GatherBlockQuantized ----
// Y = dequantize(Gather(data, indices, gather_axis)): a row of data is (data - zero) * scale, blocks of block_size
// along quantize_axis sharing scale and zero. An index out of range gives zeros. Inputs: data int4, uint4, or uint8
// that holds 8 / bits fields a byte along the last dim; indices int32 or int64; scales
//   [data's dims, ceil on quantize_axis]; zero_points? as data (uint8: packed along the last dim too), default 0 for
//   int4 and uint4, 2^(bits-1) for uint8.
// Attributes: gather_axis 0, quantize_axis 1, block_size 128, bits 4 (uint8 data).
enum GatherInput { kData, kIndices, kGatherScales, kGatherZeros };

struct GatherAttributes {
  int gather_axis, quantize_axis;
  int64_t block;
  int bits;
  int fields;  // elements per stored element along the last dim
};
template <typename Context>
absl::StatusOr<GatherAttributes> ReadGather(const Context& ctx, DataType type, int rank) {
  GatherAttributes g{};
  RONDO_ASSIGN_OR_RETURN(const int64_t gather_axis, ctx.attributes.Int("gather_axis", 0));
  RONDO_ASSIGN_OR_RETURN(const int64_t quantize_axis, ctx.attributes.Int("quantize_axis", 1));
  RONDO_ASSIGN_OR_RETURN(g.gather_axis, NormalizeAxis(gather_axis, rank, "gather_axis"));
  RONDO_ASSIGN_OR_RETURN(g.quantize_axis, NormalizeAxis(quantize_axis, rank, "quantize_axis"));
  RONDO_ASSIGN_OR_RETURN(g.block, ctx.attributes.Int("block_size", 128));
  if (g.block < 16 || g.block > (int64_t{1} << 30) || !IsPowerOfTwo(g.block)) {
    return InvalidArgument("block_size is ", g.block, ": expected a power of two, 16 or more");
  }
  g.bits = 4;
  if (type == DataType::kUInt8) {
    RONDO_ASSIGN_OR_RETURN(const int64_t bits, ctx.attributes.Int("bits", 4));
    if (bits != 2 && bits != 4 && bits != 8) return InvalidArgument("bits is ", bits, ": expected 2, 4 or 8");
    g.bits = static_cast<int>(bits);
    if (g.gather_axis != 0) return InvalidArgument("gather_axis is ", g.gather_axis, ": expected 0 for uint8 data");
  }
  g.fields = type == DataType::kUInt8 ? 8 / g.bits : 1;
  return g;
}

absl::Status InferGatherBlockQuantized(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kData, {DataType::kInt4, DataType::kUInt4, DataType::kUInt8}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kIndices, {DataType::kInt32, DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kGatherScales, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  if (ctx.has_input(kGatherZeros)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kGatherZeros, kData));
  if (!ctx.has_shape(kData) || !ctx.has_shape(kIndices)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(kGatherScales));
    return absl::OkStatus();
  }
  const Shape& data = ctx.shape(kData);
  if (data.empty()) return InvalidArgument("data is a scalar: expected rank 1 or more");
  RONDO_ASSIGN_OR_RETURN(const GatherAttributes g, ReadGather(ctx, ctx.dtype(kData), data.rank()));
  Shape y;
  for (int i = 0; i < data.rank(); ++i) {
    if (i == g.gather_axis) {
      for (const Dim& d : ctx.shape(kIndices)) y.push_back(d);
      continue;
    }
    y.push_back(i + 1 == data.rank() ? data[i] * Dim(g.fields) : data[i]);
  }
  // A single axis that is both gathered and packed would cut fields apart.
  if (g.fields > 1 && g.gather_axis == data.rank() - 1)
    return InvalidArgument("gather_axis is the packed axis of data");
  ctx.SetOutput(0, ctx.dtype(kGatherScales), std::move(y));
  return absl::OkStatus();
}

struct GatherPlan {
  int64_t outer, axis, inner;  // data as [outer, axis, inner] around gather_axis, in logical elements
  int64_t count;               // indices
  int64_t quantized, below;    // size of quantize_axis, elements below it
  int64_t blocks;              // along quantize_axis
  int64_t last, scales_last;   // last logical dims: rows of packed bytes
  int64_t block;
  int bits;
  bool is_signed;   // int4
  bool row_packed;  // uint8: each row of the last dim starts at a byte
  int default_zero;

  int Get(const uint8_t* p, int64_t i, int64_t row) const {
    if (row_packed) return Field(p + i / row * ((row * bits + 7) / 8), i % row, bits);
    const int x = Field(p, i, 4);
    return is_signed && x >= 8 ? x - 16 : x;
  }
};

template <typename T>
absl::Status RunGather(const GatherPlan& g, RunContext& ctx) {
  const uint8_t* data = ctx.in<uint8_t>(kData);
  const uint8_t* zeros = ctx.has_input(kGatherZeros) ? ctx.in<uint8_t>(kGatherZeros) : nullptr;
  const T* scales = ctx.in<T>(kGatherScales);
  T* y = ctx.out<T>(0);
  const bool wide = ctx.input(kIndices).dtype() == DataType::kInt64;
  ParallelFor(g.outer * g.count, std::max<int64_t>(1, 10000 / (g.inner + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i % g.count;
      int64_t index = wide ? ctx.in<int64_t>(kIndices)[at] : ctx.in<int32_t>(kIndices)[at];
      if (index < 0 && index >= -g.axis) index += g.axis;
      T* to = y + i * g.inner;
      if (index < 0 || index >= g.axis) {
        std::fill(to, to + g.inner, T(0.0f));
        continue;
      }
      const int64_t from = (i / g.count * g.axis + index) * g.inner;
      for (int64_t j = 0; j < g.inner;) {
        // Elements that share a block: a run along quantize_axis where it is the last, else single ones.
        const int64_t e = from + j;
        const int64_t q = e / g.below % g.quantized;
        const int64_t scale_at = (e / (g.below * g.quantized) * g.blocks + q / g.block) * g.below + e % g.below;
        const float scale = static_cast<float>(scales[scale_at]);
        const int zero = zeros != nullptr ? g.Get(zeros, scale_at, g.scales_last) : g.default_zero;
        const int64_t run = g.below == 1 ? std::min({g.block - q % g.block, g.quantized - q, g.inner - j}) : 1;
        for (int64_t r = 0; r < run; ++r) to[j + r] = T(static_cast<float>(g.Get(data, e + r, g.last) - zero) * scale);
        j += run;
      }
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGatherBlockQuantized(PrepareContext& ctx) {
  Dims data = ctx.input_dims(kData);
  const Dims scales = ctx.input_dims(kGatherScales);
  const DataType type = ctx.input_dtype(kData);
  const int rank = static_cast<int>(data.size());
  RONDO_ASSIGN_OR_RETURN(const GatherAttributes attributes, ReadGather(ctx, type, rank));
  data.back() *= attributes.fields;
  GatherPlan g{};
  g.block = attributes.block;
  g.bits = attributes.bits;
  g.is_signed = type == DataType::kInt4;
  g.row_packed = type == DataType::kUInt8;
  g.default_zero = g.row_packed ? 1 << (g.bits - 1) : 0;
  g.outer = g.inner = g.below = 1;
  for (int i = 0; i < rank; ++i) {
    if (i < attributes.gather_axis) g.outer *= data[i];
    if (i > attributes.gather_axis) g.inner *= data[i];
    if (i > attributes.quantize_axis) g.below *= data[i];
  }
  g.axis = data[attributes.gather_axis];
  g.quantized = data[attributes.quantize_axis];
  g.blocks = (g.quantized + g.block - 1) / g.block;
  g.last = data.back();
  Dims expected = data;
  expected[attributes.quantize_axis] = g.blocks;
  g.scales_last = expected.back();
  if (scales != expected) {
    return InvalidArgument("scales have shape ", DimsToString(scales), ": expected ", DimsToString(expected));
  }
  if (ctx.has_input(kGatherZeros)) {
    RONDO_ASSIGN_OR_RETURN(const int64_t zeros, CheckedElementCount(ctx.input_dims(kGatherZeros)));
    RONDO_ASSIGN_OR_RETURN(int64_t wanted, CheckedElementCount(expected));
    if (g.row_packed && g.scales_last > 0) wanted = wanted / g.scales_last * ((g.scales_last * g.bits + 7) / 8);
    if (zeros != wanted) return InvalidArgument("zero_points have ", zeros, " elements: expected ", wanted);
  }
  RONDO_ASSIGN_OR_RETURN(g.count, CheckedElementCount(ctx.input_dims(kIndices)));
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      TypeList<float, Float16, BFloat16>{}, ctx.input_dtype(kGatherScales),
      [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        using T = typename decltype(tag)::type;
        return MakeKernel([g](RunContext& run) { return RunGather<T>(g, run); });
      });
}

const OpDef kRows[] = {
    {.domain = "com.microsoft",
     .type = "MatMulNBits",
     .inputs = {3, 6},
     .infer = InferMatMulNBits,
     .prepare = PrepareMatMulNBits},
    {.domain = "com.microsoft",
     .type = "GatherBlockQuantized",
     .inputs = {3, 4},
     .infer = InferGatherBlockQuantized,
     .prepare = PrepareGatherBlockQuantized},
};

}  // namespace

absl::Span<const OpDef> BlockQuantizedFamily() { return kRows; }

}  // namespace rondo
