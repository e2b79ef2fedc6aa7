// The rotation of one head in vector registers, halves against each other (see rotary.h for the formula). Per
// instruction set; nothing here may instantiate code.
#ifndef RONDO_OPS_KERNELS_ROTARY_KERNELS_H_
#define RONDO_OPS_KERNELS_ROTARY_KERNELS_H_

#include <stdint.h>

namespace rondo {

enum class Isa;

// x, y: [2 * half], may be the same. cos, sin: [half].
struct RotaryKernels {
  void (*float32)(const float* x, const float* cos, const float* sin, int64_t half, float* y);
  // As bits; computes in float, rounds once.
  void (*float16)(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, int64_t half, uint16_t* y);
};

const RotaryKernels& GetRotaryKernels();
// Of a given instruction set. REQUIRES: the processor has it.
const RotaryKernels& RotaryKernelsFor(Isa isa);

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_ROTARY_KERNELS_H_
