// One row times a matrix that lies in panels of 64 columns, each [K][64]: the layout in which oneDNN packs float32
// weights for AVX-512, so that the weights of a prompt's products serve the single rows of decoding as well. Such a row
// is bound by the memory alone: the point is to share the panels among threads by claims (ops/parallel.h).
#ifndef RONDO_OPS_KERNELS_PANEL_GEMV_H_
#define RONDO_OPS_KERNELS_PANEL_GEMV_H_

#include <stdint.h>

namespace rondo {

inline constexpr int64_t kGemvColumns = 64;

struct PanelGemv {
  // y[c] = sum_i x[i] * panel[i][c] (+ bias[c]) (+ residual[c]) for c < columns <= 64. bias, residual may be null;
  // y may be residual.
  void (*run)(const float* x, int64_t k, const float* panel, const float* bias, const float* residual, int64_t columns,
              float* y);
};

const PanelGemv& GetPanelGemv();

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_PANEL_GEMV_H_
