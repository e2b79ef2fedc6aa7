// Storage of tensors. Three kinds share one handle: small blocks from the heap, large ones straight from the kernel
// (whose pages are zero already and may be huge ones: page faults are dear on virtual machines), and arrays of
// std::string, whose elements are constructed and destroyed with the block.
#include "rondo/tensor.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_join.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMaxBytes = size_t{1} << 46;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMapFrom = size_t{4} << 20;  // blocks of this size and above come from the kernel

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Each returns null when memory runs out.
std::shared_ptr<const void> MapZeroed(size_t bytes) {
  // One huge page more than needed, so that an aligned block is inside.
  size_t mapped = RoundUp(bytes, kHugePage) + kHugePage;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  void* aligned = reinterpret_cast<void*>(RoundUp(reinterpret_cast<uintptr_t>(base), kHugePage));
  madvise(aligned, mapped - kHugePage, MADV_HUGEPAGE);  // a hint: failure costs speed only
  return std::shared_ptr<const void>(aligned, [base, mapped](const void*) { munmap(base, mapped); });
}

std::shared_ptr<const void> AllocateZeroed(size_t bytes) {
  if (bytes >= kMapFrom) return MapZeroed(bytes);
  size_t rounded = RoundUp(bytes == 0 ? 1 : bytes, kAlignment);
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) return nullptr;
  std::memset(data, 0, rounded);
  return std::shared_ptr<const void>(data, [](const void* p) { std::free(const_cast<void*>(p)); });
}

std::shared_ptr<const void> AllocateStrings(int64_t count) {
  size_t rounded = RoundUp(static_cast<size_t>(count == 0 ? 1 : count) * sizeof(std::string), kAlignment);
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) return nullptr;
  std::uninitialized_default_construct_n(static_cast<std::string*>(data), count);
  return std::shared_ptr<const void>(data, [count](const void* p) {
    std::string* strings = static_cast<std::string*>(const_cast<void*>(p));
    std::destroy_n(strings, count);
    std::free(strings);
  });
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "rondo: %s\n", status.ToString().c_str());
  std::abort();
}

int64_t Count(absl::Span<const int64_t> dims) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return count;
}

}  // namespace

absl::StatusOr<int64_t> CheckedElementCount(absl::Span<const int64_t> dims) {
  int64_t count = 1;
  bool overflow = false, empty = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0) return OutOfRange("dim ", i, " of ", DimsToString(dims), " is negative");
    empty |= dims[i] == 0;
    overflow |= __builtin_mul_overflow(count, dims[i], &count);
  }
  // A zero dim makes any product zero, also of dims that overflow without it.
  if (empty) return int64_t{0};
  if (overflow) return OutOfRange("the number of elements of ", DimsToString(dims), " overflows 64 bits");
  return count;
}

absl::StatusOr<size_t> CheckedByteSize(DataType type, absl::Span<const int64_t> dims) {
  RONDO_ASSIGN_OR_RETURN(int64_t count, CheckedElementCount(dims));
  size_t bits = type == DataType::kString ? sizeof(std::string) * 8 : static_cast<size_t>(BitWidth(type));
  // ByteSize cannot overflow once the count itself is below the limit in bits.
  if (static_cast<uint64_t>(count) > kMaxBytes * 8 ||
      static_cast<size_t>(count) > kMaxBytes * 8 / (bits == 0 ? 1 : bits)) {
    return ResourceExhausted("a tensor ", DataTypeName(type), DimsToString(dims), " exceeds the limit of ", kMaxBytes,
                             " bytes");
  }
  return ByteSize(type, count);
}

std::string DimsToString(absl::Span<const int64_t> dims) { return absl::StrCat("[", absl::StrJoin(dims, ", "), "]"); }

absl::StatusOr<Tensor> Tensor::Create(DataType type, absl::Span<const int64_t> dims) {
  if (type == DataType::kUndefined || !IsKnownDataType(static_cast<int32_t>(type))) {
    return InvalidArgument("a tensor needs an element type, got number ", static_cast<int32_t>(type));
  }
  RONDO_ASSIGN_OR_RETURN(size_t bytes, CheckedByteSize(type, dims));
  Tensor t;
  t.dtype_ = type;
  t.dims_.assign(dims.begin(), dims.end());
  t.size_ = Count(dims);
  t.owner_ = type == DataType::kString ? AllocateStrings(t.size_) : AllocateZeroed(bytes);
  if (t.owner_ == nullptr) {
    return ResourceExhausted("out of memory: ", bytes, " bytes for ", DataTypeName(type), DimsToString(dims));
  }
  t.data_ = t.owner_.get();
  return t;
}

Tensor Tensor::Make(DataType type, absl::Span<const int64_t> dims) {
  absl::StatusOr<Tensor> t = Create(type, dims);
  if (!t.ok()) Die(t.status());
  return *std::move(t);
}

Tensor Tensor::Borrow(DataType type, absl::Span<const int64_t> dims, const void* data,
                      std::shared_ptr<const void> owner) {
  Tensor t;
  t.dtype_ = type;
  t.dims_.assign(dims.begin(), dims.end());
  t.size_ = Count(dims);
  t.data_ = data;
  t.owner_ = std::move(owner);
  return t;
}

Tensor Tensor::FromInt64s(absl::Span<const int64_t> values) {
  Tensor t = Make(DataType::kInt64, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), t.mutable_data<int64_t>());
  return t;
}

Tensor Tensor::Reshaped(absl::Span<const int64_t> dims) const {
  absl::StatusOr<int64_t> count = CheckedElementCount(dims);
  if (!count.ok()) Die(count.status());
  if (*count != size_) Die(Internal("cannot reshape ", DimsToString(dims_), " to ", DimsToString(dims)));
  Tensor t = *this;
  t.dims_.assign(dims.begin(), dims.end());
  return t;
}

Tensor Tensor::Clone() const {
  if (!defined()) return {};
  Tensor t = Make(dtype_, dims_);
  t.CopyFrom(*this);
  return t;
}

void Tensor::CopyFrom(const Tensor& from) {
  if (from.data_ == data_ || size_ == 0) return;
  if (dtype_ == DataType::kString) {
    std::copy_n(from.data<std::string>(), size_, mutable_data<std::string>());
  } else {
    std::memcpy(mutable_raw(), from.raw(), bytes());
  }
}

}  // namespace rondo
