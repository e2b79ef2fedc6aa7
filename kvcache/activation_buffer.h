// ActivationBuffer: the rows of captured values of one sequence, in memory that is taken once. Row p of a value belongs
// to position p, whether it came with a piece of the prompt or with a decode step.
#ifndef RONDO_KVCACHE_ACTIVATION_BUFFER_H_
#define RONDO_KVCACHE_ACTIVATION_BUFFER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rondo/tensor.h"

namespace rondo {

// A value whose rows are kept.
struct CapturedRow {
  std::string name;
  DataType dtype = DataType::kFloat;
  int64_t width = 0;  // elements
};

class ActivationBuffer {
 public:
  // Room for `positions` rows of each value. Errors: sizes, memory.
  static absl::StatusOr<ActivationBuffer> Create(absl::Span<const CapturedRow> values, int64_t positions);

  int64_t positions() const { return positions_; }
  // Positions [0, rows()) have been written since Clear.
  int64_t rows() const { return rows_; }
  void Clear() { rows_ = 0; }

  // `from`: [count, width] of the value's type, for positions [start, start + count). REQUIRES: start <= rows(), room.
  void Write(int value, int64_t start, int64_t count, const void* from);
  // The first `rows` positions become those of `other`, which has the same values. REQUIRES: rows <= other.rows().
  void CopyRows(const ActivationBuffer& other, int64_t rows);
  // [rows, width]; a view, good until the buffer is written again. REQUIRES: rows <= rows().
  Tensor View(int value, int64_t rows) const;

  size_t bytes() const;

 private:
  ActivationBuffer() = default;

  int64_t positions_ = 0, rows_ = 0;
  std::vector<Tensor> values_;  // [positions, width] each
};

}  // namespace rondo

#endif  // RONDO_KVCACHE_ACTIVATION_BUFFER_H_
