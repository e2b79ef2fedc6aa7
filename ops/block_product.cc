#include "ops/block_product.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ops/attention_common.h"
#include "ops/parallel.h"

namespace rondo {

BlockProduct::BlockProduct(int64_t rows, DataType type, bool rounds)
    : rows_(rows), type_(type), rounds_(rounds), int8_(rounds && GetBlockQuantizedKernels().int8_panel != nullptr) {}

void BlockProduct::SetBias(const Tensor& bias) {
  bias_.resize(bias.size());
  ConvertToFloat(bias, bias_.data());
}

std::string BlockProduct::Implementation() const {
  return absl::StrCat("own:", int8_ ? "int8:vnni" : "float", ":", shape.bits, "bit");
}

void BlockProduct::Plan(PrepareContext& ctx) {
  ScratchLayout layout;
  const size_t elements = static_cast<size_t>(rows_ * shape.padded_k());
  const size_t all_blocks = static_cast<size_t>(rows_ * shape.blocks());
  copies_a_ = type_ != DataType::kFloat || shape.k != shape.padded_k() || (rounds_ && !int8_);
  converts_y_ = type_ != DataType::kFloat;
  if (copies_a_) a_ = layout.Add(elements * sizeof(float));
  sums_ = layout.Add(all_blocks * sizeof(float));
  if (int8_) q_ = layout.Add(elements);
  if (int8_) scales_ = layout.Add(all_blocks * sizeof(float));
  if (converts_y_) y_ = layout.Add(static_cast<size_t>(rows_ * shape.n) * sizeof(float));
  ctx.RequestScratch(layout.total());
}

absl::Status BlockProduct::Run(RunContext& ctx) const {
  const BlockQuantizedKernels& kernels = GetBlockQuantizedKernels();
  void* scratch = ctx.scratch();
  const int64_t padded = shape.padded_k(), blocks = shape.blocks();
  const float* a = copies_a_ ? ScratchAt<float>(scratch, a_) : ctx.in<float>(0);
  float* sums = ScratchAt<float>(scratch, sums_);
  int8_t* q = ScratchAt<int8_t>(scratch, q_);
  float* scales = ScratchAt<float>(scratch, scales_);
  // Some 4 elements a nanosecond.
  ParallelFor(rows_, std::max<int64_t>(1, 80000 / padded), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (copies_a_) {
        float* row = ScratchAt<float>(scratch, a_) + r * padded;
        const char* from = static_cast<const char*>(ctx.input(0).raw()) + ByteSize(type_, r * shape.k);
        ConvertToFloat(from, type_, shape.k, row);
        std::fill(row + shape.k, row + padded, 0.0f);
        if (rounds_ && !int8_) RoundToInt8(row, shape.k, shape.block);
      }
      if (int8_) {
        kernels.quantize_row(a + r * padded, shape.block, blocks, q + r * padded, scales + r * blocks,
                             reinterpret_cast<int32_t*>(sums) + r * blocks);
      } else {
        kernels.block_sums(a + r * padded, shape.block, blocks, sums + r * blocks);
      }
    }
  });
  float* y = converts_y_ ? ScratchAt<float>(scratch, y_) : ctx.out<float>(0);
  const float* bias = bias_.empty() ? nullptr : bias_.data();
  const float* added = residual < 0 ? nullptr : ctx.in<float>(residual);
  const uint8_t* weights = packed.data<uint8_t>();
  // A panel of one row streams at some 20 bytes a nanosecond; more rows compute.
  const int64_t panel_ns = 1 + shape.panel_bytes() / 20 + rows_ * padded / 4;
  ParallelFor(shape.panels(), std::max<int64_t>(1, 20000 / panel_ns), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      if (int8_) {
        kernels.int8_panel(shape, weights, p, {q, scales, reinterpret_cast<const int32_t*>(sums), rows_}, bias, y,
                           shape.n);
      } else {
        kernels.float_panel(shape, weights, p, {a, sums, rows_}, bias, y, shape.n);
      }
    }
    if (added == nullptr) return;
    const int64_t first = begin * kPanelColumns, last = std::min(end * kPanelColumns, shape.n);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = r * shape.n + first; c < r * shape.n + last; ++c) y[c] += added[c];
    }
  });
  if (converts_y_) ConvertFromFloat(y, rows_ * shape.n, type_, ctx.output(0).mutable_raw());
  return absl::OkStatus();
}

PackedForm PackedFormOf(const BlockQuantizedShape& shape, absl::string_view kind) {
  return {absl::StrCat(kind, shape.bits, ":", shape.n, "x", shape.k, "/", shape.block, ":z",
                       static_cast<int>(shape.zero), shape.half_scales ? ":half" : ""),
          DataType::kUInt8,
          {static_cast<int64_t>(shape.bytes())}};
}

}  // namespace rondo
