// What the operators that move elements without looking at them share: strided block copies, the propagation of small
// integer contents, and the treatment of packed types.
//
// A copy is described once, in Prepare, by dims and two lists of strides; StridedCopy then drops unit dims, merges what
// is contiguous on both sides and picks the loop: memcpy of runs, a blocked transposition, or a strided loop.
// Transpose, Slice, Concat, Split, Expand, Tile and the depth/space pair are all nothing but such a copy.
#ifndef RONDO_OPS_MOVEMENT_H_
#define RONDO_OPS_MOVEMENT_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "ops/dispatch.h"
#include "ops/op.h"
#include "ops/parallel.h"

namespace rondo {

// Product of the dims of a tensor that exists; where a zero dim lets the others be absurd, it wraps instead of
// trapping.
int64_t CountOf(absl::Span<const int64_t> dims);
Dims RowMajorStrides(absl::Span<const int64_t> dims);

// Items per chunk of a ParallelFor whose items move that many bytes each.
inline int64_t GrainForBytes(int64_t bytes_per_item) {
  return std::max<int64_t>(1, (int64_t{1} << 17) / std::max<int64_t>(1, bytes_per_item));
}

template <typename T>
inline void CopyRun(T* dst, const T* src, int64_t count) {
  if constexpr (std::is_trivially_copyable_v<T>) {
    if (count > 0) std::memcpy(dst, src, count * sizeof(T));
  } else {
    std::copy_n(src, count, dst);
  }
}

// Bytes that one element occupies in memory; for strings that of the std::string itself. REQUIRES: not a packed type.
inline int64_t ElementBytes(DataType type) { return static_cast<int64_t>(ByteSize(type, 1)); }

// dst[dst_offset + sum k_i * dst_strides[i]] = src[src_offset + sum k_i * src_strides[i]] for all 0 <= k_i < dims[i].
// In elements; strides may be zero (broadcast) or negative.
struct StridedBlock {
  Dims dims;
  Dims src_strides;
  Dims dst_strides;
  int64_t src_offset = 0;
  int64_t dst_offset = 0;
};

// A transposition: dim i of the destination, which is contiguous, is dim perm[i] of the contiguous source.
StridedBlock PermutedBlock(const Dims& from, absl::Span<const int> perm);

// A StridedBlock made ready. Immutable, Run is thread-safe and parallel inside. Source and destination must not
// overlap.
class StridedCopy {
 public:
  // REQUIRES: `type` is not packed.
  StridedCopy(DataType type, const StridedBlock& block);
  void Run(const void* src, void* dst) const {
    if (!empty_) run_(*this, src, dst);
  }

 private:
  template <typename T>
  static void RunContiguous(const StridedCopy& copy, const void* src, void* dst);
  template <typename T>
  static void RunTransposed(const StridedCopy& copy, const void* src, void* dst);
  template <typename T>
  static void RunStrided(const StridedCopy& copy, const void* src, void* dst);
  // Calls fn(source offset, destination offset) for positions [begin, end) of the outer loops.
  template <typename Fn>
  void ForOuter(int64_t begin, int64_t end, Fn&& fn) const;
  template <typename T>
  void Choose();

  using RunFn = void (*)(const StridedCopy&, const void*, void*);
  RunFn run_ = nullptr;
  bool empty_ = false;
  int64_t src_offset_, dst_offset_;
  Dims dims_, src_strides_, dst_strides_;  // the outer loops, after the inner ones were taken out
  int64_t outer_count_ = 1;
  int64_t inner_ = 1, inner_src_ = 1, inner_dst_ = 1;  // the innermost loop
  int64_t across_ = 1, across_dst_ = 1;                // transposed: the loop along which the source is contiguous
};

// A kernel that is one copy from input 0 to output 0.
std::unique_ptr<Kernel> MakeCopyKernel(DataType dtype, const StridedBlock& block);

// The known content of a small integer input whose dims are numbers.
struct SmallContent {
  Dims dims;
  std::vector<Dim> values;
};
std::optional<SmallContent> ContentOf(const InferContext& ctx, int i);
// Output i holds the elements of input `from` in the same order (Reshape, Identity ...), if they are known.
void ForwardContent(InferContext& ctx, int from, int i = 0);
// Output i holds block.dims elements picked from input 0 by block's source strides, if they are known.
void SetPickedContent(InferContext& ctx, int i, const SmallContent& from, const StridedBlock& block);

// The size that a one-element input says, as a Dim; Unknown when it is not known.
Dim ScalarContent(const InferContext& ctx, int i);

// Int attribute `axes` up to version `input_since - 1`, input `i` from then on. nullopt: present, but not known yet.
// An absent list is an empty one; `*given` tells.
absl::StatusOr<std::optional<std::vector<int64_t>>> AxesFromAttributeOrInput(const InferContext& ctx,
                                                                             absl::string_view attribute, int i,
                                                                             int input_since, bool* given);

// The kernel of a view, for when the executor cannot share the storage: output 0 = input 0.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareCopy(PrepareContext& ctx);

// Wraps a Prepare that knows types of whole bytes only: packed inputs and outputs are unpacked around it, one element
// per byte. Also refuses outputs whose dims came out unknown (an overflow in shape arithmetic), so that `prepare` may
// rely on them.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareWithUnpacking(PrepareContext& ctx, PrepareFn prepare);
template <PrepareFn kPrepare>
absl::StatusOr<std::unique_ptr<Kernel>> Unpacked(PrepareContext& ctx) {
  return PrepareWithUnpacking(ctx, kPrepare);
}

// Bytes that scatter operators copied in this process because their output was not their input's own storage. What a
// decode loop adds to it does not grow with its turns.
int64_t ScatterCopiedBytes();

// Checks every index before anything is written: `index 7 is out of range [-3, 2] on axis 1`.
absl::Status CheckIndices(const Tensor& indices, int64_t extent, int axis);
absl::Status IndexOutOfRange(int64_t index, int64_t extent, int axis);

// Element i of an int32 or int64 tensor's data.
class IndexReader {
 public:
  explicit IndexReader(const Tensor& t) : data_(t.raw()), wide_(t.dtype() == DataType::kInt64) {}
  int64_t operator[](int64_t i) const {
    return wide_ ? static_cast<const int64_t*>(data_)[i] : static_cast<const int32_t*>(data_)[i];
  }

 private:
  const void* data_;
  bool wide_;
};

// The index tuples of GatherND and ScatterND: each names a slice of `extents.size()` leading axes.
class IndexTuples {
 public:
  // `extents` and `strides` are those of the indexed axes, which start at `first_axis`.
  IndexTuples(Dims extents, Dims strides, int first_axis)
      : extents_(std::move(extents)), strides_(std::move(strides)), first_axis_(first_axis) {}
  int size() const { return static_cast<int>(extents_.size()); }
  absl::Status Check(const int64_t* indices, int64_t tuples) const;
  // Offset of the slice that a checked tuple names.
  int64_t Offset(const int64_t* tuple) const {
    int64_t offset = 0;
    for (int i = 0; i < size(); ++i) offset += (tuple[i] < 0 ? tuple[i] + extents_[i] : tuple[i]) * strides_[i];
    return offset;
  }

 private:
  Dims extents_, strides_;
  int first_axis_;
};

inline constexpr DataType kIndexTypes[] = {DataType::kInt32, DataType::kInt64};

}  // namespace rondo

#endif  // RONDO_OPS_MOVEMENT_H_
