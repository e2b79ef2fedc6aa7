// Compiled once per instruction set; see isa.h for what may be included here.
#include "ops/kernels/panel_gemv.h"
#include "ops/kernels/simd.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

constexpr int kVectors = static_cast<int>(kGemvColumns) / kLanes;
// Bytes asked for in advance. Measured: 4 KB 41 GB/s on one thread, 8 KB 43.5, 16 KB 45.
constexpr int64_t kAhead = 16384;

// One sum a column, in the order of K: as oneDNN adds in products of several rows. So a sequence gets the same bits
// whether it is decoded alone or with others.
void RunPanel(const float* x, int64_t k, const float* panel, const float* bias, const float* residual, int64_t columns,
              float* y) {
  F sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = F{};
  for (int64_t i = 0; i < k; ++i) {
    const float* row = panel + i * kGemvColumns;
    const F factor = Set(x[i]);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if (v * kLanes % 16 == 0) __builtin_prefetch(reinterpret_cast<const char*>(row + v * kLanes) + kAhead);
      sums[v] += factor * Load(row + v * kLanes);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = v * kLanes, left = columns - at;
    if (left <= 0) break;
    F sum = sums[v];
    if (left >= kLanes) {
      if (bias != nullptr) sum += Load(bias + at);
      if (residual != nullptr) sum += Load(residual + at);
      Store(y + at, sum);
    } else {
      if (bias != nullptr) sum += LoadPartial(bias + at, left);
      if (residual != nullptr) sum += LoadPartial(residual + at, left);
      StorePartial(y + at, sum, left);
    }
  }
}

}  // namespace

extern const PanelGemv kPanelGemv;
const PanelGemv kPanelGemv = {RunPanel};

}  // namespace RONDO_ISA
}  // namespace rondo
