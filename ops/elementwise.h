// What the elementwise families share: shape rules, symbolic content of shape arithmetic, and functions of one float
// tensor that serve all floating-point element types.
#ifndef RONDO_OPS_ELEMENTWISE_H_
#define RONDO_OPS_ELEMENTWISE_H_

#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "ops/op.h"

namespace rondo {

// Output 0 has input 0's type and shape.
absl::Status InferSameAsInput(InferContext& ctx);
// Output 0 has input 0's shape and `dtype`.
absl::Status InferSameShape(InferContext& ctx, DataType dtype);
// The broadcast of inputs [0, count) to output 0 with element type `dtype`. Inputs of unknown rank make it unknown.
absl::Status InferBroadcast(InferContext& ctx, int count, DataType dtype);

// Symbolic content of input i broadcast to `size` elements, for tensors of rank 0 or 1 (or any rank when it has `size`
// elements already); nullopt when nothing is known or it does not fit.
std::optional<std::vector<Dim>> BroadcastContent(const InferContext& ctx, int i, size_t size);
// Sets output 0's content to fn(a[k], b[k]) over the broadcast contents of inputs 0 and 1, where both are known.
void PropagateContent(InferContext& ctx, absl::FunctionRef<Dim(const Dim&, const Dim&)> fn);
void PropagateContent(InferContext& ctx, absl::FunctionRef<Dim(const Dim&)> fn);

// a < b, a == b as numbers 0 or 1 where provable, Unknown otherwise.
Dim ProveLess(const Dim& a, const Dim& b);
Dim ProveEqual(const Dim& a, const Dim& b);

// A function of one real number with up to four parameters, as loops over arrays; float16 and bfloat16 are computed in
// float32, a block at a time.
struct FloatMap {
  using F32 = void (*)(const float* x, float* y, int64_t n, const float* p);
  using F64 = void (*)(const double* x, double* y, int64_t n, const float* p);
  F32 plain;  // libm, one element at a time
  F64 f64;
  F32 fast = nullptr;  // vector kernel; null: plain is the only one
};
using FloatMapParameters = std::array<float, 4>;

// A FloatMap from a struct with `template <typename T> static T Apply(T x, const float* p)`.
template <typename Op, typename T>
void MapLoop(const T* x, T* y, int64_t n, const float* p) {
  for (int64_t i = 0; i < n; ++i) y[i] = Op::Apply(x[i], p);
}
template <typename Op>
constexpr FloatMap MakeFloatMap(FloatMap::F32 fast = nullptr) {
  return {MapLoop<Op, float>, MapLoop<Op, double>, fast};
}

// Defines the reference operator Name##Op from an expression in x and p.
#define RONDO_FLOAT_OP(Name, expr)        \
  struct Name##Op {                       \
    template <typename T>                 \
    static T Apply(T x, const float* p) { \
      return expr;                        \
    }                                     \
  }

// Kernel that applies `map` to input 0 of a floating-point type; other types are Unimplemented.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareFloatMap(PrepareContext& ctx, const FloatMap& map,
                                                        const FloatMapParameters& parameters = {});
template <const FloatMap& kMap>
absl::StatusOr<std::unique_ptr<Kernel>> PrepareMap(PrepareContext& ctx) {
  return PrepareFloatMap(ctx, kMap);
}

// Items of an elementwise loop that take some 20 microseconds: vector kernels, and libm calls.
inline constexpr int64_t kVectorGrain = 32768;
inline constexpr int64_t kScalarGrain = 2048;

}  // namespace rondo

#endif  // RONDO_OPS_ELEMENTWISE_H_
