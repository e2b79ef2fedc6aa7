// Compiled once per instruction set; see isa.h for what may be included here.
//
// A tile is MR rows of A against NV panels, each one vector wide: MR * NV accumulators stay in registers. Few rows take
// many panels, so that there are always enough independent sums to hide the latency of the multiply-add.
#include "ops/kernels/simd.h"
#include "ops/kernels/small_gemm.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

void GPack(const float* b, int64_t ldb, int64_t n, int64_t k, float* packed) {
  for (int64_t first = 0; first < n; first += kLanes) {
    int64_t rows = n - first < kLanes ? n - first : kLanes;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < kLanes; ++j) *packed++ = j < rows ? b[(first + j) * ldb + i] : 0.0f;
    }
  }
}

template <int kRows, int kPanels>
RONDO_SIMD void Tile(const float* a, int64_t lda, const float* b, int64_t k, float* c, int64_t ldc, int64_t columns,
                     bool accumulate) {
  F acc[kRows][kPanels];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      int64_t left = columns - p * kLanes;
      const float* from = c + r * ldc + p * kLanes;
      acc[r][p] = !accumulate ? F{} : left >= kLanes ? Load(from) : LoadPartial(from, left);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    F row[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) row[p] = Load(b + p * k * kLanes + i * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      F x = Set(a[r * lda + i]);
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) acc[r][p] += x * row[p];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      int64_t left = columns - p * kLanes;
      float* to = c + r * ldc + p * kLanes;
      if (left >= kLanes) {
        Store(to, acc[r][p]);
      } else {
        StorePartial(to, acc[r][p], left);
      }
    }
  }
}

// All rows against kPanels panels.
template <int kRows, int kPanels>
RONDO_SIMD void Strip(const float* a, int64_t lda, int64_t m, const float* b, int64_t k, float* c, int64_t ldc,
                      int64_t columns, bool accumulate) {
  int64_t r = 0;
  for (; r + kRows <= m; r += kRows) {
    Tile<kRows, kPanels>(a + r * lda, lda, b, k, c + r * ldc, ldc, columns, accumulate);
  }
  for (; r < m; ++r) Tile<1, kPanels>(a + r * lda, lda, b, k, c + r * ldc, ldc, columns, accumulate);
}

template <int kRows, int kPanels>
void Strips(const float* a, int64_t lda, int64_t m, const float* packed, int64_t n, int64_t k, float* c, int64_t ldc,
            bool accumulate) {
  int64_t j = 0;
  for (; j + (kPanels - 1) * kLanes < n; j += kPanels * kLanes) {
    Strip<kRows, kPanels>(a, lda, m, packed + j * k, k, c + j, ldc, n - j, accumulate);
  }
  for (; j < n; j += kLanes) Strip<kRows, 1>(a, lda, m, packed + j * k, k, c + j, ldc, n - j, accumulate);
}

void GMultiply(const float* a, int64_t lda, int64_t m, const float* packed, int64_t n, int64_t k, float* c, int64_t ldc,
               bool accumulate) {
  if (m >= 6) {
    Strips<kLanes == 16 ? 8 : kLanes == 8 ? 6 : 4, 2>(a, lda, m, packed, n, k, c, ldc, accumulate);
  } else if (m >= 2) {
    Strips<2, 4>(a, lda, m, packed, n, k, c, ldc, accumulate);
  } else {
    Strips<1, 8>(a, lda, m, packed, n, k, c, ldc, accumulate);
  }
}

}  // namespace

extern const SmallGemm kSmallGemm;
const SmallGemm kSmallGemm = {
    .panel = kLanes,
    .pack = GPack,
    .multiply = GMultiply,
};

}  // namespace RONDO_ISA
}  // namespace rondo
