// Matrix products as several operators need them: where the operands lie (batch dims broadcast and merged, transposes
// as strides), a plain kernel for every numeric type, and the choice between it and oneDNN.
#ifndef RONDO_OPS_MATMUL_COMMON_H_
#define RONDO_OPS_MATMUL_COMMON_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ops/fused_activation.h"
#include "ops/op.h"

namespace rondo {

// A dense tensor seen through other dims: strides in elements, 0 where it is broadcast.
struct StridedView {
  Dims dims;
  Dims strides;

  static StridedView Of(absl::Span<const int64_t> dims);
  void SwapLast();  // transposes the last two dims
  int rank() const { return static_cast<int>(dims.size()); }
};

// y[batch..., m, n] = a[batch..., m, k] @ b[batch..., k, n]; y is dense. Views have equal rank; a batch dim of an
// operand is y's or 1. Batch dims are merged as far as strides allow, and into M when b has none.
struct MatMulGeometry {
  StridedView a, b;
  Dims y;
  int64_t m = 0, k = 0, n = 0;
  int64_t batch() const;
};
// Operands of rank >= 2. Errors: inner or batch dims that do not fit.
absl::StatusOr<MatMulGeometry> MakeMatMulGeometry(StridedView a, StridedView b);

// The plain product alone, for any numeric type: y = a @ b with dense y.
using PlainProduct = std::function<void(const void* a, const void* b, void* y)>;
absl::StatusOr<PlainProduct> MakePlainProduct(DataType dtype, const MatMulGeometry& g);

// Shape of numpy.matmul(a, b), rank 1 included.
absl::StatusOr<Shape> MatMulShape(const Shape& a, const Shape& b);
// [.., x, y] -> [.., y, x]; rank < 2 stays.
Shape TransposeLast(const Shape& shape);

// What is computed: y = activation(alpha * a @ b + beta * bias) + residual.
struct MatMulRequest {
  StridedView a, b;  // rank >= 2, of inputs a_input and b_input
  int a_input = 0;
  int b_input = 1;
  float alpha = 1;
  int bias = -1;  // input, broadcastable to y; -1 is none
  float beta = 1;
  int residual = -1;  // input of y's dims
  FusedActivation activation;
};
// Output 0 of the node, of input 0's type. Chooses oneDNN or the plain kernel.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareMatMul(PrepareContext& ctx, const MatMulRequest& request);

}  // namespace rondo

#endif  // RONDO_OPS_MATMUL_COMMON_H_
