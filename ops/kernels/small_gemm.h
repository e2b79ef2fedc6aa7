// C = A B^T (+ C) in float for matrices that are too small, or met too often, for oneDNN: the products of recurrent
// nets. B is packed once into panels of `panel` rows, each panel [K, panel], so that the inner loop reads it straight
// through; the layout belongs to the instruction set. Single-threaded: callers split columns (at panels) or rows.
#ifndef RONDO_OPS_KERNELS_SMALL_GEMM_H_
#define RONDO_OPS_KERNELS_SMALL_GEMM_H_

#include <stdint.h>

namespace rondo {

enum class Isa;

struct SmallGemm {
  int64_t panel;
  // b [n, k], rows `ldb` apart -> packed, PackedSize(n, k) floats.
  void (*pack)(const float* b, int64_t ldb, int64_t n, int64_t k, float* packed);
  // c [m, n] = (accumulate ? c : 0) + a [m, k] * packed^T
  void (*multiply)(const float* a, int64_t lda, int64_t m, const float* packed, int64_t n, int64_t k, float* c,
                   int64_t ldc, bool accumulate);

  int64_t PackedSize(int64_t n, int64_t k) const { return (n + panel - 1) / panel * panel * k; }
};

const SmallGemm& GetSmallGemm();
// Of a given instruction set. REQUIRES: the processor has it.
const SmallGemm& SmallGemmFor(Isa isa);

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_SMALL_GEMM_H_
