#include "ops/kernels/rotary_kernels.h"

#include "ops/kernels/isa.h"

namespace rondo {

namespace baseline {
extern const RotaryKernels kRotaryKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const RotaryKernels kRotaryKernels;
}
namespace avx512 {
extern const RotaryKernels kRotaryKernels;
}
#endif

const RotaryKernels& RotaryKernelsFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kRotaryKernels;
  if (isa == Isa::kAvx512) return avx512::kRotaryKernels;
#endif
  return baseline::kRotaryKernels;
}

const RotaryKernels& GetRotaryKernels() {
  static const RotaryKernels& table = RotaryKernelsFor(ActiveIsa());
  return table;
}

}  // namespace rondo
