// The panel products of block_quantized.h. Per block: the sum of raw fields times activations, then once
// scale * (sum - zero * sum of activations): zero points cost nothing per weight.
#include "ops/kernels/block_quantized.h"
#include "ops/kernels/simd.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

using Shape = BlockQuantizedShape;
// Vectors of this instruction set in one 16-column vector of the layout.
constexpr int kParts = static_cast<int>(kPanelColumns) / kLanes;
// Rows that share the unpacking of a weight; as many accumulators as registers allow.
constexpr int kFloatRows = kLanes == 16 ? 8 : 4;

// `scales`: what follows a block's weights.
RONDO_SIMD F Scales(const Shape& shape, const uint8_t* scales, int part) {
  if (shape.half_scales) return FromFloat16(LoadAs<U16>(scales + part * kLanes * 2));
  return LoadAs<F>(scales + part * kLanes * 4);
}
// REQUIRES: zero points that are not the middle.
RONDO_SIMD F Zeros(const Shape& shape, const uint8_t* scales, int part) {
  const uint8_t* zeros = scales + kPanelColumns * shape.scale_width();
  if (shape.zero == Shape::kFloats) return LoadAs<F>(zeros + part * kLanes * 4);
  return __builtin_convertvector(__builtin_convertvector(LoadAs<U8>(zeros + part * kLanes), I), F);
}

// Column factors, bias, and the right edge.
RONDO_SIMD void Finish(const Shape& shape, const uint8_t* panel, int64_t first_column, int part, const float* bias,
                       F sum, float* y) {
  if (shape.half_scales) sum *= LoadAs<F>(panel + shape.factors_at() + part * kLanes * 4);
  const int64_t column = first_column + part * kLanes;
  const int64_t left = shape.n - column;
  if (left >= kLanes) {
    if (bias != nullptr) sum += Load(bias + column);
    Store(y + column, sum);
  } else if (left > 0) {
    if (bias != nullptr) sum += LoadPartial(bias + column, left);
    StorePartial(y + column, sum, left);
  }
}

template <int kBits, int kRows>
void FloatRows(const Shape& shape, const uint8_t* panel, int64_t first_column, const float* a, const float* sums,
               const float* bias, float* y, int64_t ldy) {
  constexpr int kFields = 32 / kBits;  // k per vector
  constexpr int kGroups = 8 / kBits;   // fields per byte
  constexpr uint32_t kMask = (1u << kBits) - 1;
  // A single row keeps four partial sums, or every product would wait for the one before.
  constexpr int kChains = kRows == 1 ? 4 : 1;
  const int64_t lda = shape.padded_k(), blocks = shape.blocks();
  const int64_t vectors = shape.block / kFields;
  for (int part = 0; part < kParts; ++part) {
    F total[kRows];
    for (int r = 0; r < kRows; ++r) total[r] = F{};
    int64_t k = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const uint8_t* block = panel + b * shape.block_bytes();
      const uint8_t* weights = block + part * kLanes * 4;
      F dot[kChains][kRows];
      for (int c = 0; c < kChains; ++c) {
        for (int r = 0; r < kRows; ++r) dot[c][r] = F{};
      }
      for (int64_t v = 0; v < vectors; ++v) {
        const U x = LoadAs<U>(weights);
        weights += kPanelColumns * 4;
#pragma GCC unroll 4
        for (int group = 0; group < kGroups; ++group) {
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) {
            const U field = (x >> (8 * j + kBits * group)) & kMask;
            const F w = __builtin_convertvector(Bits<I>(field), F);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) dot[j % kChains][r] += w * Set(a[r * lda + k + 4 * group + j]);
          }
        }
        k += kFields;
      }
      const uint8_t* scales = block + shape.weight_bytes();
      const F scale = Scales(shape, scales, part);
      const F zero =
          shape.zero == Shape::kMiddle ? Set(static_cast<float>(1 << (kBits - 1))) : Zeros(shape, scales, part);
      for (int r = 0; r < kRows; ++r) {
        F sum = dot[0][r];
        for (int c = 1; c < kChains; ++c) sum += dot[c][r];
        total[r] += scale * (sum - zero * Set(sums[r * blocks + b]));
      }
    }
    for (int r = 0; r < kRows; ++r) Finish(shape, panel, first_column, part, bias, total[r], y + r * ldy);
  }
}

template <int kBits>
void FloatPanelOf(const Shape& shape, const uint8_t* panel, int64_t first_column, const FloatActivations& a,
                  const float* bias, float* y, int64_t ldy) {
  const int64_t lda = shape.padded_k(), blocks = shape.blocks();
  int64_t row = 0;
  for (; row + kFloatRows <= a.rows; row += kFloatRows) {
    FloatRows<kBits, kFloatRows>(shape, panel, first_column, a.a + row * lda, a.sums + row * blocks, bias,
                                 y + row * ldy, ldy);
  }
  for (; row + 2 <= a.rows; row += 2) {
    FloatRows<kBits, 2>(shape, panel, first_column, a.a + row * lda, a.sums + row * blocks, bias, y + row * ldy, ldy);
  }
  if (row < a.rows) {
    FloatRows<kBits, 1>(shape, panel, first_column, a.a + row * lda, a.sums + row * blocks, bias, y + row * ldy, ldy);
  }
}

void FloatPanel(const Shape& shape, const uint8_t* packed, int64_t panel, const FloatActivations& a, const float* bias,
                float* y, int64_t ldy) {
  const uint8_t* start = packed + panel * shape.panel_bytes();
  const int64_t column = panel * kPanelColumns;
  if (shape.bits == 4) {
    FloatPanelOf<4>(shape, start, column, a, bias, y, ldy);
  } else if (shape.bits == 8) {
    FloatPanelOf<8>(shape, start, column, a, bias, y, ldy);
  } else {
    FloatPanelOf<2>(shape, start, column, a, bias, y, ldy);
  }
}

void BlockSums(const float* a, int64_t block, int64_t blocks, float* sums) {
  for (int64_t b = 0; b < blocks; ++b) {
    F sum = F{};
    for (int64_t i = 0; i < block; i += kLanes) sum += Load(a + b * block + i);
    sums[b] = HorizontalSum(sum);
  }
}

#if defined(__AVX512F__)

#define RONDO_VNNI __attribute__((target("avx512vnni")))

// Bytes that a product asks for in advance. Measured: 2 KB 45 GB/s on one thread, 4 KB 50, 8 KB 55, no more after that.
constexpr int kAhead = 8192;

RONDO_VNNI void QuantizeRow(const float* a, int64_t block, int64_t blocks, int8_t* q, float* scales, int32_t* sums) {
  for (int64_t b = 0; b < blocks; ++b) {
    const float* from = a + b * block;
    int8_t* to = q + b * block;
    F top = F{};
    for (int64_t i = 0; i < block; i += kLanes) top = AtLeast(Abs(Load(from + i)), top);
    const float largest = HorizontalMax(top);
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    scales[b] = largest / 127.0f;
    I sum = I{};
    for (int64_t i = 0; i < block; i += kLanes) {
      const __m512i rounded = _mm512_cvtps_epi32((__m512)(Load(from + i) * inverse));
      const __m128i bytes = _mm512_cvtsepi32_epi8(rounded);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), bytes);
      sum += (I)_mm512_cvtepi8_epi32(bytes);
    }
    sums[b] = _mm512_reduce_add_epi32((__m512i)sum);
  }
}

template <int kBits, int kRows>
RONDO_VNNI void Int8Rows(const Shape& shape, const uint8_t* panel, int64_t first_column, const Int8Activations& a,
                         int64_t row, const float* bias, float* y, int64_t ldy) {
  constexpr int kFields = 32 / kBits;
  constexpr int kGroups = 8 / kBits;
  // As in FloatRows; the groups of a vector are the chains.
  constexpr int kChains = kRows == 1 ? (kGroups == 1 ? 2 : kGroups) : 1;
  const int64_t lda = shape.padded_k(), blocks = shape.blocks();
  const int64_t vectors = shape.block / kFields;
  const int8_t* q = a.q + row * lda;
  const float* a_scales = a.scales + row * blocks;
  const int32_t* a_sums = a.sums + row * blocks;
  const __m512i mask = _mm512_set1_epi8(kBits == 8 ? -1 : (1 << kBits) - 1);
  F total[kRows];
  for (int r = 0; r < kRows; ++r) total[r] = F{};
  const uint8_t* weights = panel;
  const int64_t beside = shape.block_bytes() - shape.weight_bytes();
  int64_t k = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    __m512i dot[kChains][kRows];
    for (int c = 0; c < kChains; ++c) {
      for (int r = 0; r < kRows; ++r) {
        const int32_t start = shape.zero == Shape::kMiddle && c == 0 ? -(1 << (kBits - 1)) * a_sums[r * blocks + b] : 0;
        dot[c][r] = _mm512_set1_epi32(start);
      }
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const __m512i x = _mm512_loadu_si512(weights);
      _mm_prefetch(reinterpret_cast<const char*>(weights) + kAhead, _MM_HINT_T0);
      weights += kPanelColumns * 4;
#pragma GCC unroll 4
      for (int group = 0; group < kGroups; ++group) {
        const __m512i w = _mm512_and_si512(_mm512_srli_epi32(x, kBits * group), mask);
        const int chain = kChains == 1 ? 0 : kGroups == 1 ? static_cast<int>(v & 1) : group;
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          int32_t four;
          memcpy(&four, q + r * lda + k + 4 * group, 4);
          dot[chain][r] = _mm512_dpbusd_epi32(dot[chain][r], w, _mm512_set1_epi32(four));
        }
      }
      k += kFields;
    }
    const F scale = Scales(shape, weights, 0);
    _mm_prefetch(reinterpret_cast<const char*>(weights) + kAhead, _MM_HINT_T0);
    if (shape.zero == Shape::kMiddle) {
      for (int r = 0; r < kRows; ++r) {
        I sum = (I)dot[0][r];
        for (int c = 1; c < kChains; ++c) sum += (I)dot[c][r];
        total[r] += __builtin_convertvector(sum, F) * (scale * Set(a_scales[r * blocks + b]));
      }
    } else {
      const F zero = Zeros(shape, weights, 0);
      for (int r = 0; r < kRows; ++r) {
        I sum = (I)dot[0][r];
        for (int c = 1; c < kChains; ++c) sum += (I)dot[c][r];
        const F moved = __builtin_convertvector(sum, F) - zero * Set(static_cast<float>(a_sums[r * blocks + b]));
        total[r] += moved * (scale * Set(a_scales[r * blocks + b]));
      }
    }
    weights += beside;
  }
  for (int r = 0; r < kRows; ++r) Finish(shape, panel, first_column, 0, bias, total[r], y + (row + r) * ldy);
}

template <int kBits>
RONDO_VNNI void Int8PanelOf(const Shape& shape, const uint8_t* panel, int64_t column, const Int8Activations& a,
                            const float* bias, float* y, int64_t ldy) {
  int64_t row = 0;
  for (; row + 8 <= a.rows; row += 8) Int8Rows<kBits, 8>(shape, panel, column, a, row, bias, y, ldy);
  if (row + 4 <= a.rows) {
    Int8Rows<kBits, 4>(shape, panel, column, a, row, bias, y, ldy);
    row += 4;
  }
  if (row + 2 <= a.rows) {
    Int8Rows<kBits, 2>(shape, panel, column, a, row, bias, y, ldy);
    row += 2;
  }
  if (row < a.rows) Int8Rows<kBits, 1>(shape, panel, column, a, row, bias, y, ldy);
}

void Int8Panel(const Shape& shape, const uint8_t* packed, int64_t panel, const Int8Activations& a, const float* bias,
               float* y, int64_t ldy) {
  const uint8_t* start = packed + panel * shape.panel_bytes();
  const int64_t column = panel * kPanelColumns;
  if (shape.bits == 4) {
    Int8PanelOf<4>(shape, start, column, a, bias, y, ldy);
  } else if (shape.bits == 8) {
    Int8PanelOf<8>(shape, start, column, a, bias, y, ldy);
  } else {
    Int8PanelOf<2>(shape, start, column, a, bias, y, ldy);
  }
}

#endif

}  // namespace

extern const BlockQuantizedKernels kBlockQuantizedKernels;
#if defined(__AVX512F__)
const BlockQuantizedKernels kBlockQuantizedKernels = {BlockSums, FloatPanel, QuantizeRow, Int8Panel};
#else
const BlockQuantizedKernels kBlockQuantizedKernels = {BlockSums, FloatPanel, nullptr, nullptr};
#endif

}  // namespace RONDO_ISA
}  // namespace rondo
