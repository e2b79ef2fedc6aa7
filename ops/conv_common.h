// Convolutions as several operators need them: shapes, a plain kernel for every numeric type, and the choice between it
// and oneDNN.
#ifndef RONDO_OPS_CONV_COMMON_H_
#define RONDO_OPS_CONV_COMMON_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ops/fused_activation.h"
#include "ops/op.h"
#include "ops/window.h"

namespace rondo {

// Where a plain convolution reads and writes; dims in channels-first order, strides say how they lie.
struct ConvGeometry {
  bool transposed = false;
  bool channels_last = false;  // x, y and the residual
  Dims x, w, y;                // w as ONNX has it: [O, C/group, k...], transposed [C, O/group, k...]
  int64_t group = 1;
  Window window;

  int spatial_rank() const { return static_cast<int>(x.size()) - 2; }
  int64_t batch() const { return x[0]; }
  int64_t in_channels() const { return x[1]; }
  int64_t out_channels() const { return y[1]; }
  bool empty() const;
};

// Convolution attributes: group and the window, whose kernel is that of the weights' shape (`w`, [O, C/g, k...]).
// Errors: kernel_shape that differs, channels that do not fit.
struct ConvAttributes {
  Window window;
  int64_t group = 1;
};
absl::StatusOr<ConvAttributes> ReadConv(const AttributeReader& attributes, const Dims& weights);
// Output shape [N, O, spatial...] of x [N, C, spatial...] and w; Unknown where either is.
absl::StatusOr<Shape> ConvShape(const AttributeReader& attributes, const Shape& x, const Shape& w);

// y = activation(conv(x) + bias + residual)
struct ConvRequest {
  ConvGeometry g;
  int x_input = 0, w_input = 1;
  int bias = -1;      // [O]
  int residual = -1;  // y's dims and layout
  FusedActivation activation;
};
absl::StatusOr<std::unique_ptr<Kernel>> PrepareConv(PrepareContext& ctx, const ConvRequest& request);
absl::StatusOr<std::unique_ptr<Kernel>> PreparePlainConv(PrepareContext& ctx, const ConvRequest& request);

// For quantised convolutions: one accumulator per output, without bias. `x_zero` is subtracted from every x (padding
// counts as zero after that), `w_zero[o * w_zero_step]` from the weights of output channel o. y is dense [N, O, ...].
template <typename X, typename W>
void PlainConvInt32(const ConvGeometry& g, const X* x, const W* w, int32_t x_zero, const int32_t* w_zero,
                    int64_t w_zero_step, int32_t* y);

}  // namespace rondo

#endif  // RONDO_OPS_CONV_COMMON_H_
