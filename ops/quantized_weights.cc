// Products whose weights were exported in floating point and are quantised here, when they are packed ("rondo",
// made by the rewrite quantize_weights): decoding reads every weight once per token, so bytes per weight decide.
//
// The matrix as it was exported is the operator's input, and nothing but packing reads it: a second process that finds
// the packed form in a cache directory never touches it.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/attention_common.h"
#include "ops/block_product.h"
#include "ops/families.h"
#include "ops/matmul_common.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// QuantizedMatMul(A [..., K], W [K, N], bias? [N], residual?) -> Y = A @ quantise(W) + bias + residual. W is constant,
// of A's type; residual has Y's shape. trans_b = 0 (1: W is [N, K]); bits 4 or 8; block_size a power of two >= 16: so
// many weights of a column share a scale. A is rounded to 8 bits per block, as MatMulNBits does it at accuracy_level 4.
enum Input { kA, kW, kBias, kResidual };

struct Attributes {
  bool trans_b;
  int64_t bits, block;
};
template <typename Context>
absl::StatusOr<Attributes> ReadAttributes(const Context& ctx) {
  Attributes a{};
  RONDO_ASSIGN_OR_RETURN(a.trans_b, ctx.attributes.Flag("trans_b", false));
  RONDO_ASSIGN_OR_RETURN(a.bits, ctx.attributes.Int("bits"));
  RONDO_ASSIGN_OR_RETURN(a.block, ctx.attributes.Int("block_size"));
  return a;
}

absl::Status InferQuantizedMatMul(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const Attributes attributes, ReadAttributes(ctx));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kA, {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kA, kW));
  if (!ctx.has_shape(kA) || !ctx.has_shape(kW)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(kA));
    return absl::OkStatus();
  }
  const Shape w = attributes.trans_b ? TransposeLast(ctx.shape(kW)) : ctx.shape(kW);
  RONDO_ASSIGN_OR_RETURN(Shape y, MatMulShape(ctx.shape(kA), w));
  ctx.SetOutput(0, ctx.dtype(kA), std::move(y));
  return absl::OkStatus();
}

// Nearest integers, ties to even, of what is small: the sum's last bits are the integer. Without a call per weight.
int Nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return absl::bit_cast<int32_t>(x + kMagic) - absl::bit_cast<int32_t>(kMagic);
}

// A block of a column to fields q of `bits` bits, v = (q - 2^(bits-1)) * scale. The weight of largest magnitude, with
// its sign, becomes the lowest field, as there is one more below the middle than above; then the scale is the one of
// least squares for the fields. A block that is not finite has a scale that is not either.
//
// Each loop is one that compilers turn into vector code without licence to reorder sums: a model has as many weights as
// it has.
float QuantizeBlock(const float* v, int64_t count, int bits, uint8_t* q) {
  const int middle = 1 << (bits - 1), highest = (1 << bits) - 1;
  constexpr int32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;
  const auto magnitude = [&](int64_t i) { return absl::bit_cast<int32_t>(v[i]) & kMagnitude; };  // ordered as numbers
  int32_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, magnitude(i));
  int64_t at = 0;
  while (magnitude(at) != most) ++at;
  const float scale = v[at] / static_cast<float>(-middle);
  const float inverse = scale == 0 ? 0 : 1 / scale;
  if (most >= kInfinity || !std::isfinite(inverse)) {
    std::fill(q, q + count, static_cast<uint8_t>(most >= kInfinity ? 0 : middle));
    return most >= kInfinity ? v[at] : 0;  // 0: too small for any field
  }
  for (int64_t i = 0; i < count; ++i) {
    q[i] = static_cast<uint8_t>(std::clamp(Nearest(v[i] * inverse) + middle, 0, highest));
  }
  constexpr int kSums = 8;  // divides every block
  float products[kSums] = {}, squares[kSums] = {};
  for (int64_t i = 0; i < count; i += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const float field = static_cast<float>(q[i + j] - middle);
      products[j] += v[i + j] * field;
      squares[j] += field * field;
    }
  }
  const float square = std::accumulate(squares, squares + kSums, 0.0f);
  return square > 0 ? std::accumulate(products, products + kSums, 0.0f) / square : 0;
}

// So many panels are read from the matrix at once: of a row that lies along memory some 256 bytes, which prefetchers
// see.
constexpr int64_t kPanelsAtOnce = 4;
constexpr int64_t kColumnsAtOnce = kPanelsAtOnce * kPanelColumns;

// The columns of some panels, quantised in the form of MatMulNBits.
class PanelQuantizer {
 public:
  PanelQuantizer(const BlockQuantizedShape& shape, const Tensor& w, bool trans_b)
      : shape_(shape),
        w_(w),
        row_stride_(trans_b ? 1 : shape.n),
        column_stride_(trans_b ? shape.k : 1),
        values_(static_cast<size_t>(shape.padded_k() * kColumnsAtOnce)),
        fields_(static_cast<size_t>(shape.padded_k())),
        weights_(static_cast<size_t>(shape.padded_k() * shape.bits / 8 * kColumnsAtOnce)),
        scales_(static_cast<size_t>(shape.blocks() * kColumnsAtOnce)) {}

  // Panels from `group` * kPanelsAtOnce on. REQUIRES: the first begins within N.
  void Pack(int64_t group, uint8_t* packed) {
    const int64_t first = group * kColumnsAtOnce, columns = std::min(kColumnsAtOnce, shape_.n - first);
    Gather(first, columns);
    for (int64_t c = 0; c < columns; ++c) Quantize(c);
    BlockQuantizedShape some = shape_;
    some.n = columns;
    PackBlockQuantized(some, {weights_.data(), scales_.data(), nullptr},
                       packed + group * kPanelsAtOnce * shape_.panel_bytes());
  }

 private:
  // Columns to rows of padded_k floats; along the matrix as it lies.
  void Gather(int64_t first, int64_t columns) {
    const auto* from = static_cast<const char*>(w_.raw()) + ByteSize(w_.dtype(), first * column_stride_);
    if (column_stride_ != 1) {
      for (int64_t c = 0; c < columns; ++c) {
        ConvertToFloat(from + ByteSize(w_.dtype(), c * column_stride_), w_.dtype(), shape_.k, Column(c));
      }
      return;
    }
    float converted[kColumnsAtOnce];
    for (int64_t k = 0; k < shape_.k; ++k) {
      const char* row = from + ByteSize(w_.dtype(), k * row_stride_);
      if (w_.dtype() != DataType::kFloat) ConvertToFloat(row, w_.dtype(), columns, converted);
      const float* values = w_.dtype() == DataType::kFloat ? reinterpret_cast<const float*>(row) : converted;
      for (int64_t c = 0; c < columns; ++c) Column(c)[k] = values[c];
    }
  }
  float* Column(int64_t c) { return values_.data() + c * shape_.padded_k(); }

  void Quantize(int64_t column) {
    const float* values = Column(column);
    for (int64_t b = 0; b < shape_.blocks(); ++b) {
      // Padding stays 0, so it has no part in the scale.
      scales_[column * shape_.blocks() + b] =
          QuantizeBlock(values + b * shape_.block, shape_.block, shape_.bits, fields_.data() + b * shape_.block);
    }
    uint8_t* to = weights_.data() + column * shape_.padded_k() * shape_.bits / 8;
    for (int64_t i = 0; i < shape_.padded_k(); ++i) {
      if (shape_.bits == 8) {
        to[i] = fields_[i];
      } else if (i % 2 == 0) {
        to[i / 2] = static_cast<uint8_t>(fields_[i] | fields_[i + 1] << 4);
      }
    }
  }

  const BlockQuantizedShape shape_;
  const Tensor& w_;
  const int64_t row_stride_, column_stride_;
  std::vector<float> values_;    // [columns, padded_k]
  std::vector<uint8_t> fields_;  // [padded_k]
  std::vector<uint8_t> weights_;
  std::vector<float> scales_;  // [columns, blocks]
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareQuantizedMatMul(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const Attributes attributes, ReadAttributes(ctx));
  const Tensor w = ctx.constant(kW);
  const Tensor bias = ctx.has_input(kBias) ? ctx.constant(kBias) : Tensor();
  if (!w.defined() || w.rank() != 2 || bias.defined() != ctx.has_input(kBias)) {
    return Internal("expected a constant matrix and a constant bias");
  }
  BlockQuantizedShape shape;
  shape.k = w.dim(attributes.trans_b ? 1 : 0);
  shape.n = w.dim(attributes.trans_b ? 0 : 1);
  shape.bits = static_cast<int>(attributes.bits);
  shape.block = attributes.block;
  shape.half_scales = GetBlockQuantizedKernels().int8_panel != nullptr;
  RONDO_ASSIGN_OR_RETURN(const int64_t elements, CheckedElementCount(ctx.input_dims(kA)));
  auto kernel = std::make_unique<BlockProduct>(elements / shape.k, ctx.input_dtype(kA), /*rounds=*/true);
  kernel->shape = shape;
  const auto quantize = [&](Tensor& packed) {
    ParallelFor((shape.n + kColumnsAtOnce - 1) / kColumnsAtOnce, 1, [&](int64_t begin, int64_t end) {
      PanelQuantizer quantizer(shape, w, attributes.trans_b);
      for (int64_t group = begin; group < end; ++group) quantizer.Pack(group, packed.mutable_data<uint8_t>());
    });
    return absl::OkStatus();
  };
  const PackedForm form = PackedFormOf(shape, attributes.trans_b ? "quantised transposed " : "quantised ");
  RONDO_ASSIGN_OR_RETURN(kernel->packed, ctx.weight_cache().GetOrPack({w}, form, quantize));
  if (bias.defined()) kernel->SetBias(bias);
  if (ctx.has_input(kResidual)) {
    if (ctx.input_dtype(kResidual) != DataType::kFloat || ctx.input_dims(kResidual) != ctx.output_dims(0)) {
      return Internal("expected a float32 residual of Y's shape");
    }
    kernel->residual = kResidual;
  }
  kernel->Plan(ctx);
  return kernel;
}

const OpDef kRows[] = {
    {.domain = kRondoDomain,
     .type = "QuantizedMatMul",
     .inputs = {2, 4},
     .infer = InferQuantizedMatMul,
     .prepare = PrepareQuantizedMatMul},
};

}  // namespace

absl::Span<const OpDef> QuantizedWeightsFamily() { return kRows; }

}  // namespace rondo
