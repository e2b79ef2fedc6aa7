// Kernels over contiguous arrays, in vector registers: elementary functions, activations, arithmetic, conversions and
// the small reductions that norms and softmax are made of. Single-threaded; callers split work with ParallelFor.
//
//   const VectorMath& math = GetVectorMath();      // once, at Prepare or outside the loop
//   math.exp(x, y, n);
//
// Common to all: n >= 0, no alignment needed, the output may be exactly an input (in place) but must not overlap one in
// any other way. Elementary functions are within 3 units in the last place of the exact value (tests/ops/kernels/),
// NaN goes in and comes out, infinities behave as in libm.
//
// Adding a kernel:
//   1. a member in the struct below, with its formula;
//   2. its code in vector_math_isa.cc, written with ops/kernels/simd.h or as a plain loop that the compiler vectorises,
//      and its line in that file's table (designated initializers in the order of the struct);
//   3. a case in tests/ops/kernels/vector_math_test.cc, which runs every instruction set that the machine has.
// Kernels of another kind (attention, block-quantised products) get a header, a struct, a plain source and an *_isa.cc
// of their own, by the pattern of vector_math.{h,cc} and vector_math_isa.cc; CMake finds them by name. See isa.h for
// what an *_isa.cc may include.
#ifndef RONDO_OPS_KERNELS_VECTOR_MATH_H_
#define RONDO_OPS_KERNELS_VECTOR_MATH_H_

#include <stdint.h>

namespace rondo {

enum class Isa;

struct VectorMath {
  using Unary = void (*)(const float* x, float* y, int64_t n);
  using UnaryAlpha = void (*)(const float* x, float* y, int64_t n, float alpha);
  using UnaryAlphaBeta = void (*)(const float* x, float* y, int64_t n, float alpha, float beta);
  using Binary = void (*)(const float* a, const float* b, float* y, int64_t n);
  using BinaryScalar = void (*)(const float* a, float b, float* y, int64_t n);

  Unary exp, log, tanh, erf, sqrt, reciprocal, abs, neg;
  Unary floor, ceil, round;  // round: halves to the even neighbour
  Unary sigmoid, relu, softplus, softsign, mish, hard_swish;
  Unary gelu_erf;               // x (1 + erf(x / sqrt 2)) / 2
  Unary gelu_tanh;              // x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
  UnaryAlpha swish;             // x sigmoid(alpha x); SiLU with alpha 1, QuickGelu with 1.702
  UnaryAlpha leaky_relu;        // x < 0 ? alpha x : x
  UnaryAlpha elu;               // x < 0 ? alpha (e^x - 1) : x
  UnaryAlpha celu;              // max(0, x) + min(0, alpha (e^(x / alpha) - 1))
  UnaryAlphaBeta selu;          // beta (x < 0 ? alpha (e^x - 1) : x)
  UnaryAlphaBeta clip;          // min(max(x, alpha), beta)
  UnaryAlphaBeta hard_sigmoid;  // max(0, min(1, alpha x + beta))
  UnaryAlphaBeta scale_shift;   // alpha x + beta

  Binary add, sub, mul, div;
  Binary max, min;                                              // NaN if either is NaN
  BinaryScalar add_scalar, sub_scalar, mul_scalar, div_scalar;  // a op b
  BinaryScalar rsub_scalar, rdiv_scalar;                        // b op a
  BinaryScalar max_scalar, min_scalar;
  // y = a + b * x
  void (*axpy)(const float* a, float b, const float* x, float* y, int64_t n);
  // y = gate sigmoid(alpha gate) up
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t n, float alpha);

  float (*sum)(const float* x, int64_t n);  // pairwise over lanes
  float (*sum_squares)(const float* x, int64_t n);
  float (*dot)(const float* a, const float* b, int64_t n);
  float (*max_value)(const float* x, int64_t n);  // -infinity for n = 0; NaN elements do not count
  void (*min_max)(const float* x, int64_t n, float* low, float* high);     // (inf, -inf) for n = 0
  float (*exp_sub_sum)(const float* x, float shift, float* y, int64_t n);  // y = e^(x - shift); returns the sum of y

  void (*float16_to_float)(const uint16_t* x, float* y, int64_t n);
  void (*float_to_float16)(const float* x, uint16_t* y, int64_t n);
  void (*bfloat16_to_float)(const uint16_t* x, float* y, int64_t n);
  void (*float_to_bfloat16)(const float* x, uint16_t* y, int64_t n);

  // saturate(round_half_even(x / scale) + zero_point), and (x - zero_point) * scale. NaN quantizes to the zero point.
  void (*quantize_uint8)(const float* x, uint8_t* y, int64_t n, float scale, int32_t zero_point);
  void (*quantize_int8)(const float* x, int8_t* y, int64_t n, float scale, int32_t zero_point);
  void (*dequantize_uint8)(const uint8_t* x, float* y, int64_t n, float scale, int32_t zero_point);
  void (*dequantize_int8)(const int8_t* x, float* y, int64_t n, float scale, int32_t zero_point);
};

// The table of ActiveIsa().
const VectorMath& GetVectorMath();
// Of a given instruction set. REQUIRES: the processor has it.
const VectorMath& VectorMathFor(Isa isa);

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_VECTOR_MATH_H_
