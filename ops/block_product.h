// The kernel of products with block-quantised weights (ops/kernels/block_quantized.h), whoever quantised them.
#ifndef RONDO_OPS_BLOCK_PRODUCT_H_
#define RONDO_OPS_BLOCK_PRODUCT_H_

#include <string>
#include <vector>

#include "ops/kernels/block_quantized.h"
#include "ops/op.h"
#include "ops/primitive_cache.h"

namespace rondo {

// Y [rows, N] = A [rows, K] * W^T + bias + residual; A is input 0, Y output 0, both float32, float16 or bfloat16. Set
// the members, then Plan.
class BlockProduct final : public Kernel {
 public:
  // `rounds`: activations are rounded to 8 bits per block, and multiplied so where the processor can.
  BlockProduct(int64_t rows, DataType type, bool rounds);

  BlockQuantizedShape shape;
  Tensor packed;      // PackedFormOf(shape)
  int residual = -1;  // input of Y's dims, float32; -1: none

  void SetBias(const Tensor& bias);  // [N]
  bool int8() const { return int8_; }
  // Asks for scratch.
  void Plan(PrepareContext& ctx);

  std::string Implementation() const override;
  absl::Status Run(RunContext& ctx) const override;

 private:
  const int64_t rows_;
  const DataType type_;
  const bool rounds_, int8_;
  std::vector<float> bias_;  // empty: none
  bool copies_a_ = false, converts_y_ = false;
  size_t a_ = 0, sums_ = 0, q_ = 0, scales_ = 0, y_ = 0;  // offsets of scratch
};

// How weights of a shape are known to the weight cache; `kind` tells what they were made from.
PackedForm PackedFormOf(const BlockQuantizedShape& shape, absl::string_view kind);

}  // namespace rondo

#endif  // RONDO_OPS_BLOCK_PRODUCT_H_
