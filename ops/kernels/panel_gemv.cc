#include "ops/kernels/panel_gemv.h"

#include "ops/kernels/isa.h"

namespace rondo {

namespace baseline {
extern const PanelGemv kPanelGemv;
}
#if defined(__x86_64__)
namespace avx2 {
extern const PanelGemv kPanelGemv;
}
namespace avx512 {
extern const PanelGemv kPanelGemv;
}
#endif

const PanelGemv& GetPanelGemv() {
#if defined(__x86_64__)
  if (ActiveIsa() == Isa::kAvx2) return avx2::kPanelGemv;
  if (ActiveIsa() == Isa::kAvx512) return avx512::kPanelGemv;
#endif
  return baseline::kPanelGemv;
}

}  // namespace rondo
