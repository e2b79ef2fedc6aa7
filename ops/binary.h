// What the operators of two broadcast inputs share: shape rules of all opsets, and the kernel that walks the broadcast
// and calls a typed loop per innermost run.
//
// Opset 7 and later: multidirectional broadcast. Before: B is broadcast to A only with attribute broadcast = 1, aligned
// at A's dim `axis` (default: at the end). `consumed_inputs` of opset 1 is a hint about memory and ignored.
#ifndef RONDO_OPS_BINARY_H_
#define RONDO_OPS_BINARY_H_

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>

#include "ops/broadcast.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/op.h"

namespace rondo {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// y[i] = op(a[i], b[i]) for i < n; an input whose step is false stays at its first element. Returns n, or the first i
// that has no result (integer division by zero); from there on nothing is written.
using BinaryFn = int64_t (*)(const void* a, bool a_step, const void* b, bool b_step, void* y, int64_t n);

// The loop of an operator without failures: `static R Op::Apply(T a, T b)`.
template <typename Op, typename T, typename R = T>
int64_t BinaryLoop(const void* va, bool a_step, const void* vb, bool b_step, void* vy, int64_t n) {
  const T* a = static_cast<const T*>(va);
  const T* b = static_cast<const T*>(vb);
  R* y = static_cast<R*>(vy);
  if (a_step && b_step) {
    for (int64_t i = 0; i < n; ++i) y[i] = Op::Apply(a[i], b[i]);
  } else if (a_step) {
    const T s = *b;
    for (int64_t i = 0; i < n; ++i) y[i] = Op::Apply(a[i], s);
  } else {
    const T s = *a;
    for (int64_t i = 0; i < n; ++i) y[i] = Op::Apply(s, b_step ? b[i] : *b);
  }
  return n;
}
// The loop of one that can fail: `static bool Op::Apply(T a, T b, T* y)`.
template <typename Op, typename T>
int64_t CheckedBinaryLoop(const void* va, bool a_step, const void* vb, bool b_step, void* vy, int64_t n) {
  const T* a = static_cast<const T*>(va);
  const T* b = static_cast<const T*>(vb);
  T* y = static_cast<T*>(vy);
  for (int64_t i = 0; i < n; ++i) {
    T result;  // y may be an operand, which the error then shows
    if (!Op::Apply(a[a_step ? i : 0], b[b_step ? i : 0], &result)) return i;
    y[i] = result;
  }
  return n;
}

struct BinaryLoops {
  BinaryFn fn = nullptr;   // for elements of the input type; float for float16 and bfloat16
  const char* error = "";  // what it means that fn stops
  int64_t grain = kVectorGrain;
  std::string implementation = "own";
};

// Whether the loops of VectorMath serve: float32 and what is widened to it, unless plain kernels are asked for.
bool UsesVectorMath(PrepareContext& ctx);
// Element type that a loop sees: float for the 16-bit formats.
DataType LoopType(DataType dtype);

// An element without a result, the first in the output's order: positions in output and inputs.
struct BinaryFailure {
  int64_t y = 0, a = 0, b = 0;
};
// Calls loops.fn over the whole broadcast of `a` and `b` (elements of type `input`) to `y` (of type `output`).
std::optional<BinaryFailure> RunBroadcast(const BroadcastLoop<2>& loop, const BinaryLoops& loops, DataType input,
                                          DataType output, const void* a, const void* b, void* y);

// Defines a BinaryFn from the kernels of VectorMath: two vectors, a vector and a scalar, a scalar and a vector.
#define RONDO_VECTOR_LOOP(Name, vector_vector, vector_scalar, scalar_vector)                    \
  int64_t Name(const void* va, bool a_step, const void* vb, bool b_step, void* vy, int64_t n) { \
    const VectorMath& math = GetVectorMath();                                                   \
    const float* a = static_cast<const float*>(va);                                             \
    const float* b = static_cast<const float*>(vb);                                             \
    float* y = static_cast<float*>(vy);                                                         \
    if (a_step && b_step) {                                                                     \
      math.vector_vector(a, b, y, n);                                                           \
    } else if (a_step) {                                                                        \
      math.vector_scalar(a, *b, y, n);                                                          \
    } else if (b_step) {                                                                        \
      math.scalar_vector(b, *a, y, n);                                                          \
    } else {                                                                                    \
      math.vector_vector(a, b, y, 1);                                                           \
      std::fill(y + 1, y + n, *y);                                                              \
    }                                                                                           \
    return n;                                                                                   \
  }

// Kernel over inputs 0 and 1, which have one element type, to output 0. float16 and bfloat16 inputs are widened to
// float around `loops.fn`, and its result narrowed when the output has the input's type.
KernelOr MakeBinaryKernel(PrepareContext& ctx, const BinaryLoops& loops);

// Output 0: broadcast of inputs 0 and 1 by the rules of the node's opset, with element type `dtype`; inputs of one
// type.
absl::Status InferBinary(InferContext& ctx, DataType dtype);
// Dims of input 1 such that the rule of opset 7 gives what the node's opset asks for.
absl::StatusOr<Dims> AlignedSecondDims(PrepareContext& ctx);

}  // namespace rondo

#endif  // RONDO_OPS_BINARY_H_
