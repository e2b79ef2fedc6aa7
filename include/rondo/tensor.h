// Tensor: a typed, dense, row-major array with concrete dims, sharing its storage by reference count.
// RuntimeValue: what flows between nodes at run time: a tensor, a sequence, a map, an empty optional, or state.
//
// A Tensor is a handle: copying it copies a pointer and the dims. Constness is shallow in storage terms: whoever holds
// the only handle may write through mutable_data(); weights that are mapped from a file are read-only and
// mutable_data() on them is a programming error.
#ifndef RONDO_TENSOR_H_
#define RONDO_TENSOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rondo/data_type.h"

namespace rondo {

using Dims = absl::InlinedVector<int64_t, 8>;

// Number of elements of `dims` (1 for a scalar). OutOfRange when a dim is negative or the product overflows int64.
absl::StatusOr<int64_t> CheckedElementCount(absl::Span<const int64_t> dims);
// Bytes of such a tensor, with the same checks and a limit of 2^46 bytes.
absl::StatusOr<size_t> CheckedByteSize(DataType type, absl::Span<const int64_t> dims);
// "[1, 3, 224, 224]"; "[]" for a scalar.
std::string DimsToString(absl::Span<const int64_t> dims);

class Tensor {
 public:
  Tensor() = default;

  // Allocates 64-byte aligned storage, zero-filled (strings: empty). Errors: bad dims, out of memory.
  static absl::StatusOr<Tensor> Create(DataType type, absl::Span<const int64_t> dims);
  // As Create, for dims that the caller has already checked and sizes that fit; aborts when memory runs out.
  static Tensor Make(DataType type, absl::Span<const int64_t> dims);
  // A view of memory that `owner` keeps alive (null: the caller promises that it outlives every copy of the tensor).
  static Tensor Borrow(DataType type, absl::Span<const int64_t> dims, const void* data,
                       std::shared_ptr<const void> owner);

  template <typename T>
  static Tensor FromVector(DataType type, absl::Span<const int64_t> dims, const std::vector<T>& values) {
    Tensor t = Make(type, dims);
    std::copy(values.begin(), values.end(), t.mutable_data<T>());
    return t;
  }
  static Tensor FromInt64s(absl::Span<const int64_t> values);  // [n]

  bool defined() const { return dtype_ != DataType::kUndefined; }
  DataType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t dim(int i) const { return dims_[i]; }
  int64_t size() const { return size_; }  // elements
  size_t bytes() const { return ByteSize(dtype_, size_); }

  // T must be the element's storage type: float, int64_t, Float16, std::string ...; uint8_t for packed types.
  template <typename T>
  const T* data() const {
    return static_cast<const T*>(data_);
  }
  template <typename T>
  T* mutable_data() {
    return static_cast<T*>(const_cast<void*>(data_));
  }
  const void* raw() const { return data_; }
  void* mutable_raw() { return const_cast<void*>(data_); }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // True for memory that its owner will reuse for other values (an executor's arena): whoever keeps the tensor beyond
  // the current step clones it.
  bool transient() const { return transient_; }
  void set_transient(bool transient) { transient_ = transient; }

  // The same storage under other dims of the same element count.
  Tensor Reshaped(absl::Span<const int64_t> dims) const;
  // A deep copy in storage of its own.
  Tensor Clone() const;
  // Copies the elements of `from` (same type and count) into this tensor's storage; strings too.
  void CopyFrom(const Tensor& from);

 private:
  DataType dtype_ = DataType::kUndefined;
  Dims dims_;
  int64_t size_ = 0;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
  bool transient_ = false;
};

struct RuntimeValue;
using TensorSequence = std::vector<RuntimeValue>;
// ai.onnx.ml's map(int64|string, scalar): keys [n] and values [n], in insertion order.
struct TensorMap {
  Tensor keys;
  Tensor values;
};

// What a run reads and writes in place besides tensors, handed in as an input: a KV cache. Shared, never copied.
class RuntimeState {
 public:
  virtual ~RuntimeState() = default;
};

struct RuntimeValue {
  RuntimeValue() = default;
  RuntimeValue(Tensor t) : value(std::move(t)) {}  // NOLINT: implicit on purpose, a tensor is a value
  explicit RuntimeValue(TensorSequence s) : value(std::make_shared<TensorSequence>(std::move(s))) {}
  explicit RuntimeValue(TensorMap m) : value(std::make_shared<TensorMap>(std::move(m))) {}
  explicit RuntimeValue(std::shared_ptr<RuntimeState> s) : value(std::move(s)) {}

  bool empty() const { return std::holds_alternative<std::monostate>(value); }  // an optional that holds nothing
  bool is_tensor() const { return std::holds_alternative<Tensor>(value); }
  bool is_sequence() const { return std::holds_alternative<std::shared_ptr<TensorSequence>>(value); }
  bool is_map() const { return std::holds_alternative<std::shared_ptr<TensorMap>>(value); }
  bool is_state() const { return std::holds_alternative<std::shared_ptr<RuntimeState>>(value); }
  const Tensor& tensor() const { return std::get<Tensor>(value); }
  Tensor& tensor() { return std::get<Tensor>(value); }
  // Shared: a holder that wants to change it copies it first.
  const TensorSequence& sequence() const { return *std::get<std::shared_ptr<TensorSequence>>(value); }
  const TensorMap& map() const { return *std::get<std::shared_ptr<TensorMap>>(value); }
  RuntimeState& state() const { return *std::get<std::shared_ptr<RuntimeState>>(value); }

  // This value in storage that nobody reuses: transient tensors in it are cloned.
  RuntimeValue Kept() const;

  std::variant<std::monostate, Tensor, std::shared_ptr<TensorSequence>, std::shared_ptr<TensorMap>,
               std::shared_ptr<RuntimeState>>
      value;
};

}  // namespace rondo

#endif  // RONDO_TENSOR_H_
