#include "ops/kernels/small_gemm.h"

#include "ops/kernels/isa.h"

namespace rondo {

namespace baseline {
extern const SmallGemm kSmallGemm;
}
#if defined(__x86_64__)
namespace avx2 {
extern const SmallGemm kSmallGemm;
}
namespace avx512 {
extern const SmallGemm kSmallGemm;
}
#endif

const SmallGemm& SmallGemmFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kSmallGemm;
  if (isa == Isa::kAvx512) return avx512::kSmallGemm;
#endif
  return baseline::kSmallGemm;
}

const SmallGemm& GetSmallGemm() {
  static const SmallGemm& table = SmallGemmFor(ActiveIsa());
  return table;
}

}  // namespace rondo
