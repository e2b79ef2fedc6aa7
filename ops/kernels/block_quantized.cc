#include "ops/kernels/block_quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "graph/numeric.h"
#include "ops/kernels/isa.h"
#include "ops/parallel.h"

namespace rondo {

namespace baseline {
extern const BlockQuantizedKernels kBlockQuantizedKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const BlockQuantizedKernels kBlockQuantizedKernels;
}
namespace avx512 {
extern const BlockQuantizedKernels kBlockQuantizedKernels;
}
#endif

namespace {

// Nibbles n0..n7 of x to n0 n4 n1 n5 n2 n6 n3 n7.
uint32_t InterleaveNibbles(uint32_t x) {
  const auto spread = [](uint32_t v) {
    v = (v | v << 8) & 0x00ff00ffu;
    return (v | v << 4) & 0x0f0f0f0fu;
  };
  return spread(x & 0xffffu) | spread(x >> 16) << 4;
}
// Two-bit fields f(4i + j) to position 4j + i.
uint32_t TransposeFields(uint32_t x) {
  uint32_t y = 0;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) y |= (x >> (2 * (4 * i + j)) & 3u) << (2 * (4 * j + i));
  }
  return y;
}

void PackColumn(const BlockQuantizedShape& shape, const BlockQuantizedSource& source, int64_t column, uint8_t* panel) {
  const int64_t lane = column % kPanelColumns, blocks = shape.blocks();
  const int64_t block_words = shape.block * shape.bits / 32, words = blocks * block_words;
  const uint8_t* from = source.weights + column * words * 4;
  for (int64_t w = 0; w < words; ++w) {
    uint32_t x;
    std::memcpy(&x, from + 4 * w, 4);
    if (shape.bits == 4) x = InterleaveNibbles(x);
    if (shape.bits == 2) x = TransposeFields(x);
    std::memcpy(panel + w / block_words * shape.block_bytes() + (w % block_words * kPanelColumns + lane) * 4, &x, 4);
  }
  const float* scales = source.scales + column * blocks;
  float factor = 1.0f;
  if (shape.half_scales) {
    float largest = 0;
    for (int64_t b = 0; b < blocks; ++b) largest = std::max(largest, std::fabs(scales[b]));
    // A power of two that brings the largest scale near 1: float16 then keeps 11 bits of all but the tiniest.
    if (largest > 0 && std::isfinite(largest)) factor = std::exp2(std::floor(std::log2(largest)));
    if (factor == 0 || !std::isfinite(1.0f / factor)) factor = 1.0f;
    std::memcpy(panel + shape.factors_at() + lane * 4, &factor, 4);
  }
  for (int64_t b = 0; b < blocks; ++b) {
    uint8_t* scale = panel + b * shape.block_bytes() + shape.weight_bytes();
    uint8_t* zero = scale + kPanelColumns * shape.scale_width() + lane * shape.zero_width();
    scale += lane * shape.scale_width();
    if (shape.half_scales) {
      const uint16_t half = Float16::FromFloat(scales[b] / factor);
      std::memcpy(scale, &half, 2);
    } else {
      std::memcpy(scale, &scales[b], 4);
    }
    if (shape.zero == BlockQuantizedShape::kFloats) {
      std::memcpy(zero, static_cast<const float*>(source.zeros) + column * blocks + b, 4);
    } else if (shape.zero == BlockQuantizedShape::kBytes) {
      const uint8_t* row = static_cast<const uint8_t*>(source.zeros) + column * ((blocks * shape.bits + 7) / 8);
      const int64_t bit = b * shape.bits;
      *zero = static_cast<uint8_t>(row[bit / 8] >> (bit % 8) & ((1 << shape.bits) - 1));
    }
  }
}

}  // namespace

void PackBlockQuantized(const BlockQuantizedShape& shape, const BlockQuantizedSource& source, uint8_t* packed) {
  ParallelFor(shape.panels(), 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      uint8_t* panel = packed + p * shape.panel_bytes();
      // Columns beyond n: scale 0.
      std::memset(panel, 0, static_cast<size_t>(shape.panel_bytes()));
      for (int64_t c = p * kPanelColumns; c < std::min((p + 1) * kPanelColumns, shape.n); ++c) {
        PackColumn(shape, source, c, panel);
      }
    }
  });
}

void RoundToInt8(float* row, int64_t k, int64_t block) {
  for (int64_t begin = 0; begin < k; begin += block) {
    const int64_t end = std::min(k, begin + block);
    float largest = 0;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(row[i]));
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f, scale = largest / 127.0f;
    for (int64_t i = begin; i < end; ++i) row[i] = std::nearbyint(row[i] * inverse) * scale;
  }
}

const BlockQuantizedKernels& GetBlockQuantizedKernels() {
#if defined(__x86_64__)
  if (ActiveIsa() == Isa::kAvx512) {
    static const BlockQuantizedKernels kernels = [] {
      BlockQuantizedKernels k = avx512::kBlockQuantizedKernels;
      if (!__builtin_cpu_supports("avx512vnni")) {
        k.quantize_row = nullptr;
        k.int8_panel = nullptr;
      }
      return k;
    }();
    return kernels;
  }
  if (ActiveIsa() == Isa::kAvx2) return avx2::kBlockQuantizedKernels;
#endif
  return baseline::kBlockQuantizedKernels;
}

}  // namespace rondo
