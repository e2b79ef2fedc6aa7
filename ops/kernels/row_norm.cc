#include "ops/kernels/row_norm.h"

#include "ops/kernels/isa.h"

namespace rondo {

namespace baseline {
extern const RowNorm kRowNorm;
}
#if defined(__x86_64__)
namespace avx2 {
extern const RowNorm kRowNorm;
}
namespace avx512 {
extern const RowNorm kRowNorm;
}
#endif

const RowNorm& RowNormFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kRowNorm;
  if (isa == Isa::kAvx512) return avx512::kRowNorm;
#endif
  return baseline::kRowNorm;
}

const RowNorm& GetRowNorm() {
  static const RowNorm& table = RowNormFor(ActiveIsa());
  return table;
}

}  // namespace rondo
