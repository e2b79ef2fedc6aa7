#include "ops/kernels/vector_math.h"

#include "ops/kernels/isa.h"

namespace rondo {

namespace baseline {
extern const VectorMath kVectorMath;
}
#if defined(__x86_64__)
namespace avx2 {
extern const VectorMath kVectorMath;
}
namespace avx512 {
extern const VectorMath kVectorMath;
}
#endif

const VectorMath& VectorMathFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kVectorMath;
  if (isa == Isa::kAvx512) return avx512::kVectorMath;
#endif
  return baseline::kVectorMath;
}

const VectorMath& GetVectorMath() {
  static const VectorMath& table = VectorMathFor(ActiveIsa());
  return table;
}

}  // namespace rondo
