#include "kvcache/activation_buffer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "graph/status.h"

namespace rondo {
namespace {

size_t RowBytes(const Tensor& value) { return ByteSize(value.dtype(), value.dim(1)); }
char* RowAt(Tensor& value, int64_t position) {
  return static_cast<char*>(value.mutable_raw()) + RowBytes(value) * static_cast<size_t>(position);
}

}  // namespace

absl::StatusOr<ActivationBuffer> ActivationBuffer::Create(absl::Span<const CapturedRow> values, int64_t positions) {
  ActivationBuffer buffer;
  buffer.positions_ = positions;
  for (const CapturedRow& value : values) {
    absl::StatusOr<Tensor> rows = Tensor::Create(value.dtype, {positions, value.width});
    if (!rows.ok()) return Annotate(rows.status(), absl::StrCat("capture of \"", value.name, "\": "));
    buffer.values_.push_back(*std::move(rows));
  }
  return buffer;
}

void ActivationBuffer::Write(int value, int64_t start, int64_t count, const void* from) {
  assert(start <= rows_ && start + count <= positions_);
  Tensor& rows = values_[value];
  if (count > 0) std::memcpy(RowAt(rows, start), from, RowBytes(rows) * static_cast<size_t>(count));
  // What stood behind a rewound position is of another continuation.
  rows_ = start + count;
}

void ActivationBuffer::CopyRows(const ActivationBuffer& other, int64_t rows) {
  assert(rows <= other.rows_ && rows <= positions_);
  for (size_t i = 0; i < values_.size(); ++i) {
    if (rows > 0) std::memcpy(values_[i].mutable_raw(), other.values_[i].raw(), RowBytes(values_[i]) * rows);
  }
  rows_ = rows;
}

Tensor ActivationBuffer::View(int value, int64_t rows) const {
  assert(rows <= rows_);
  return Tensor::Borrow(values_[value].dtype(), {rows, values_[value].dim(1)}, values_[value].raw(), nullptr);
}

size_t ActivationBuffer::bytes() const {
  size_t bytes = 0;
  for (const Tensor& value : values_) bytes += value.bytes();
  return bytes;
}

}  // namespace rondo
