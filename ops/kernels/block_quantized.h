// Products with weights that stay packed in blocks of 2, 4 or 8 bits:
//   y[m][n] = sum_k a[m][k] * scale[n][k / block] * (w[n][k] - zero[n][k / block]) + bias[n]
//
// Packed form: panels of 16 columns, in a panel block after block along k, so that one column panel is one stream from
// memory. A 64-byte vector holds, per column (32-bit lane), the fields of consecutive k: byte j of lane c of vector g
//   8 bits: k = 4g + j;   4 bits: k = 8g + j low, 8g + 4 + j high;   2 bits: k = 16g + 4f + j in field f.
// So one shift and mask gives four consecutive k per lane: what the dot-product instructions of AVX-512 VNNI want, and
// equally what a conversion to float wants. After a block's weights come its 16 scales and zero points: kept apart they
// would be a second stream, which no prefetcher has found before a panel is over.
//
// Two ways of computing: with float activations (any processor), and, where the caller allows it (accuracy_level 4),
// with activations rounded to 8 bits per block (needs AVX-512 VNNI).
#ifndef RONDO_OPS_KERNELS_BLOCK_QUANTIZED_H_
#define RONDO_OPS_KERNELS_BLOCK_QUANTIZED_H_

#include <stddef.h>
#include <stdint.h>

namespace rondo {

inline constexpr int64_t kPanelColumns = 16;

struct BlockQuantizedShape {
  int64_t n = 0, k = 0;
  int64_t block = 0;  // power of two, >= 16
  int bits = 0;       // 2, 4, 8
  // Zero points: the constant 2^(bits-1), or 16 bytes or floats a block.
  enum Zero { kMiddle, kBytes, kFloats } zero = kMiddle;
  // Scales as float16 with a factor per column: half the bytes, relative error 2^-12. Else float32.
  bool half_scales = false;

  int64_t blocks() const { return (k + block - 1) / block; }
  int64_t padded_k() const { return blocks() * block; }
  int64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  int64_t weight_bytes() const { return block * bits * kPanelColumns / 8; }
  int64_t scale_width() const { return half_scales ? 2 : 4; }
  int64_t zero_width() const { return zero == kMiddle ? 0 : zero == kBytes ? 1 : 4; }
  int64_t block_bytes() const { return weight_bytes() + kPanelColumns * (scale_width() + zero_width()); }
  int64_t factors_at() const { return blocks() * block_bytes(); }
  int64_t panel_bytes() const { return (factors_at() + (half_scales ? kPanelColumns * 4 : 0) + 63) / 64 * 64; }
  size_t bytes() const { return static_cast<size_t>(panels()) * static_cast<size_t>(panel_bytes()); }
};

// As in the operator: weights [n][blocks][block * bits / 8]; scales [n][blocks] as floats; zeros, by shape.zero: null,
// packed bytes [n][ceil(blocks * bits / 8)], or floats [n][blocks].
struct BlockQuantizedSource {
  const uint8_t* weights;
  const float* scales;
  const void* zeros;
};
// `packed`: shape.bytes(), 64-byte aligned.
void PackBlockQuantized(const BlockQuantizedShape& shape, const BlockQuantizedSource& source, uint8_t* packed);

// Each block of a row of k elements to the nearest multiples (ties to even) of its largest magnitude / 127: what 8-bit
// activations stand for, for those who multiply floats.
void RoundToInt8(float* row, int64_t k, int64_t block);

// Activations of a run, prepared once for all panels. Rows have padded_k() elements.
struct FloatActivations {
  const float* a;     // zeros from k on
  const float* sums;  // [rows][blocks]
  int64_t rows;
};
struct Int8Activations {
  const int8_t* q;
  const float* scales;  // [rows][blocks]
  const int32_t* sums;  // [rows][blocks] of q
  int64_t rows;
};

// y: [rows][ldy], the panel's columns from column 16 * panel on, n cut off at the right edge. bias may be null.
struct BlockQuantizedKernels {
  void (*block_sums)(const float* a, int64_t block, int64_t blocks, float* sums);
  void (*float_panel)(const BlockQuantizedShape& shape, const uint8_t* packed, int64_t panel, const FloatActivations& a,
                      const float* bias, float* y, int64_t ldy);
  // One row of padded_k floats. Null without VNNI, as is int8_panel.
  void (*quantize_row)(const float* a, int64_t block, int64_t blocks, int8_t* q, float* scales, int32_t* sums);
  void (*int8_panel)(const BlockQuantizedShape& shape, const uint8_t* packed, int64_t panel, const Int8Activations& a,
                     const float* bias, float* y, int64_t ldy);
};
const BlockQuantizedKernels& GetBlockQuantizedKernels();

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_BLOCK_QUANTIZED_H_
