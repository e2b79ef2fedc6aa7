// What the attention operators share around ops/kernels/attention.h: views on tensors, masks as bias terms, copies into
// caches, the choice between the tiled kernel and the reference, and one scratch area cut into pieces.
#ifndef RONDO_OPS_ATTENTION_COMMON_H_
#define RONDO_OPS_ATTENTION_COMMON_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "ops/kernels/attention.h"
#include "ops/op.h"

namespace rondo {

// Cuts one RequestScratch into aligned pieces: Add at Prepare returns the offset that Run uses.
class ScratchLayout {
 public:
  size_t Add(size_t bytes) {
    const size_t offset = total_;
    total_ += (bytes + 63) / 64 * 64;
    return offset;
  }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};
template <typename T>
T* ScratchAt(void* scratch, size_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(scratch) + offset);
}

// InvalidArgument `<a_name> is 3, <b_name> is 4` when both are numbers and differ.
absl::Status ExpectEqualDims(absl::string_view a_name, const Dim& a, absl::string_view b_name, const Dim& b);
// a / divisor; InvalidArgument when a number is no multiple. `divisor` > 0.
absl::StatusOr<Dim> DivideDim(absl::string_view name, const Dim& a, int64_t divisor);
// The attribute as a positive number of heads.
absl::StatusOr<int64_t> HeadsAttribute(const AttributeReader& attributes, absl::string_view name);

// A query, key or value operand: rank 4 [batch, heads, length, size] or 3 [batch, length, heads * size].
template <typename D>
struct AttentionOperand {
  D batch, heads, length, size;
};
// The attributes q_num_heads and kv_num_heads, which operands of rank 3 need; zeros for rank 4.
struct AttentionHeads {
  int64_t q = 0, kv = 0;
};
absl::StatusOr<AttentionHeads> ReadAttentionHeads(const AttributeReader& attributes, int rank);
absl::StatusOr<AttentionOperand<Dim>> ReadAttentionOperand(absl::string_view name, const Shape& shape, int64_t heads);
AttentionOperand<int64_t> ReadAttentionOperand(absl::Span<const int64_t> dims, int64_t heads);
// What holds for any attention: one batch, one head size of Q and K, as many rows of K as of V, heads that divide.
absl::Status CheckAttentionOperands(const AttentionOperand<Dim>& q, const AttentionOperand<Dim>& k,
                                    const AttentionOperand<Dim>& v);
// Y's shape: Q's, with V's head size.
Shape AttentionOutputShape(int rank, const AttentionOperand<Dim>& q, const Dim& v_size);
AttentionView ViewOfOperand(int rank, const AttentionOperand<int64_t>& operand, DataType dtype);

// Implementation chosen for one shape binding.
struct PreparedAttention {
  AttentionPlan plan;
  bool reference = false;
  int threads = 1;
  size_t offset = 0;  // of its scratch

  void Run(const AttentionInputs& in, void* scratch) const;
  std::string Implementation() const;
};
// `shapes`: sizes, types and whether scores are wanted (any non-null pointer); other pointers are not looked at.
PreparedAttention PrepareAttention(PrepareContext& ctx, const AttentionInputs& shapes, ScratchLayout* layout);

// [batch, heads, capacity, size], dense.
AttentionView HeadsFirst(const void* data, DataType dtype, int64_t heads, int64_t capacity, int64_t size);
// [batch, length, heads, size], dense or a part of rows `row_stride` apart.
AttentionView RowsFirst(const void* data, DataType dtype, int64_t length, int64_t size, int64_t row_stride);

// A tensor of rank <= 4 broadcast from the right to [batch, heads, queries, keys]. A last dim shorter than `keys`
// excludes the rest; of 1, it is broadcast when `broadcast_keys`.
AttentionBias BroadcastBias(const void* data, DataType dtype, absl::Span<const int64_t> dims, int64_t keys,
                            bool broadcast_keys);
// The same checks at Prepare: each dim is 1 or the target's, the last at most `keys`.
absl::Status CheckBiasDims(absl::string_view name, absl::Span<const int64_t> dims, int64_t batch, int64_t heads,
                           int64_t queries, int64_t keys);

// Elements as floats; any numeric type and bool (0 or 1).
void ConvertToFloat(const Tensor& tensor, float* out);
void ConvertFromFloat(const float* in, int64_t count, DataType dtype, void* out);
inline void ConvertToFloat(const void* data, DataType dtype, int64_t count, float* out) {
  ConvertToFloat(Tensor::Borrow(dtype, {count}, data, nullptr), out);
}

// Copies rows [from_row, from_row + rows) of every batch and head of `from` to rows starting at to_row of `to`.
// Same type; `size` elements a row. Nothing is done where both are the same memory.
void CopyRows(const AttentionView& from, int64_t from_row, const AttentionView& to, int64_t to_row, int64_t batch,
              int64_t heads, int64_t rows, int64_t size);

}  // namespace rondo

#endif  // RONDO_OPS_ATTENTION_COMMON_H_
