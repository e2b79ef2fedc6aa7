// Normalisation of one contiguous row of floats, in vector registers: LayerNorm, RMSNorm, and the mean and variance
// that the channel norms start from. Two passes over the row for the statistics (it stays in the first-level cache), so
// that a large mean does not cancel the variance. Single-threaded; y may be x.
#ifndef RONDO_OPS_KERNELS_ROW_NORM_H_
#define RONDO_OPS_KERNELS_ROW_NORM_H_

#include <stdint.h>

namespace rondo {

enum class Isa;

struct RowNorm {
  // y = (x - mean) * inv_std * scale + bias, inv_std = 1 / sqrt(variance + epsilon). scale, bias [n] or null.
  void (*layer_norm)(const float* x, const float* scale, const float* bias, float* y, int64_t n, float epsilon,
                     float* mean, float* inv_std);
  // y = x * inv_rms * scale, inv_rms = 1 / sqrt(mean(x^2) + epsilon). scale [n] or null.
  void (*rms_norm)(const float* x, const float* scale, float* y, int64_t n, float epsilon, float* inv_rms);
  // y = a + b + c; c [n] or null.
  void (*add)(const float* a, const float* b, const float* c, float* y, int64_t n);
  // Of the population: variance = mean((x - mean)^2). n > 0.
  void (*mean_variance)(const float* x, int64_t n, float* mean, float* variance);
};

const RowNorm& GetRowNorm();
// Of a given instruction set. REQUIRES: the processor has it.
const RowNorm& RowNormFor(Isa isa);

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_ROW_NORM_H_
