// int8 products with zero points, exact in int32. Sum over k of (a - za)(b - zb) is cut into a product of the raw
// bytes, which oneDNN does fast, and corrections that need only row sums of a and column sums of b:
//
//   sum a*b  -  za * sum_k b[k, j]  -  zb * sum_k a[i, k]  +  K * za * zb
//
// oneDNN multiplies u8 or s8 by s8. A uint8 b is shifted by 128, and so is its zero point.
#ifndef RONDO_OPS_QUANTIZED_PRODUCT_H_
#define RONDO_OPS_QUANTIZED_PRODUCT_H_

#include <vector>

#include "ops/matmul_common.h"
#include "ops/onednn/onednn.h"

namespace rondo {

// A zero point or a scale: one value, or one per row or column. From::kNone is zero (or, for scales, is not allowed).
struct QuantParameter {
  onednn::Arg arg;
  DataType dtype = DataType::kUndefined;
  int64_t count = 0;

  // Input i of the node, or none when it is absent.
  static QuantParameter Of(const PrepareContext& ctx, int i);
  bool present() const { return arg.from != onednn::Arg::From::kNone; }
  // The values when they are constant.
  std::optional<std::vector<int32_t>> Constants() const;
};

// An int8 or uint8 value read as int32.
inline int32_t ReadZeroPoint(DataType dtype, const void* p, int64_t i) {
  if (p == nullptr) return 0;
  return dtype == DataType::kInt8 ? static_cast<const int8_t*>(p)[i] : static_cast<const uint8_t*>(p)[i];
}

// Clamps to [low, high] (NaN gives low) and rounds to nearest even. REQUIRES: |low|, |high| <= 2^22.
inline int32_t RoundClamped(float v, float low, float high) {
  v = v > low ? v : low;
  v = v < high ? v : high;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no fraction bits
  return static_cast<int32_t>((v + kMagic) - kMagic);
}

struct QuantizedMatMul {
  MatMulGeometry g;
  onednn::Arg a, b;
  DataType a_type = DataType::kUInt8, b_type = DataType::kInt8;
  QuantParameter a_zero, b_zero;
};

// Called in parallel with exact int32 results: columns [begin, begin + count) of flat row `row`. `extra` are the
// addresses of the arguments given to AddQuantizedMatMul.
using QuantizedEmit = std::function<void(absl::Span<void* const> extra, int64_t row, int64_t begin, int64_t count,
                                         const int32_t* values)>;

// Adds the product and its corrections to the pipeline.
absl::Status AddQuantizedMatMul(PrepareContext& ctx, onednn::PipelineBuilder& pipeline, const QuantizedMatMul& product,
                                QuantizedEmit emit, std::vector<onednn::Arg> extra);

}  // namespace rondo

#endif  // RONDO_OPS_QUANTIZED_PRODUCT_H_
