#include "ops/movement.h"

#include <numeric>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace rondo {

int64_t CountOf(absl::Span<const int64_t> dims) {
  uint64_t count = 1;
  for (int64_t d : dims) count *= static_cast<uint64_t>(d);
  return static_cast<int64_t>(count);
}

Dims RowMajorStrides(absl::Span<const int64_t> dims) {
  Dims strides(dims.size());
  uint64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = static_cast<int64_t>(stride);
    stride *= static_cast<uint64_t>(dims[i]);
  }
  return strides;
}

StridedCopy::StridedCopy(DataType type, const StridedBlock& block)
    : src_offset_(block.src_offset), dst_offset_(block.dst_offset) {
  for (size_t i = 0; i < block.dims.size(); ++i) {
    const int64_t dim = block.dims[i], src = block.src_strides[i], dst = block.dst_strides[i];
    if (dim == 0) {
      empty_ = true;
      return;
    }
    if (dim == 1) continue;
    if (!dims_.empty() && src_strides_.back() == src * dim && dst_strides_.back() == dst * dim) {
      dims_.back() *= dim;
      src_strides_.back() = src;
      dst_strides_.back() = dst;
      continue;
    }
    dims_.push_back(dim);
    src_strides_.push_back(src);
    dst_strides_.push_back(dst);
  }
  (void)DispatchBySize<absl::Status>(type, [this](auto tag) {
    Choose<typename decltype(tag)::type>();
    return absl::OkStatus();
  });
}

template <typename T>
void StridedCopy::Choose() {
  run_ = &RunContiguous<T>;
  if (!dims_.empty()) {
    inner_ = dims_.back();
    inner_src_ = src_strides_.back();
    inner_dst_ = dst_strides_.back();
    dims_.pop_back();
    src_strides_.pop_back();
    dst_strides_.pop_back();
    if (inner_src_ != 1 || inner_dst_ != 1) run_ = &RunStrided<T>;
    if constexpr (std::is_trivially_copyable_v<T>) {
      if (inner_dst_ == 1 && inner_src_ != 1 && inner_src_ != 0) {
        for (size_t j = 0; j < dims_.size(); ++j) {
          if (src_strides_[j] != 1) continue;
          across_ = dims_[j];
          across_dst_ = dst_strides_[j];
          dims_.erase(dims_.begin() + j);
          src_strides_.erase(src_strides_.begin() + j);
          dst_strides_.erase(dst_strides_.begin() + j);
          run_ = &RunTransposed<T>;
          break;
        }
      }
    }
  }
  outer_count_ = CountOf(dims_);
}

template <typename Fn>
void StridedCopy::ForOuter(int64_t begin, int64_t end, Fn&& fn) const {
  const int rank = static_cast<int>(dims_.size());
  int64_t src = src_offset_, dst = dst_offset_;
  Dims at(rank);
  int64_t rest = begin;
  for (int i = rank - 1; i >= 0; --i) {
    at[i] = rest % dims_[i];
    rest /= dims_[i];
    src += at[i] * src_strides_[i];
    dst += at[i] * dst_strides_[i];
  }
  for (int64_t k = begin; k < end; ++k) {
    fn(src, dst);
    for (int i = rank - 1; i >= 0; --i) {
      src += src_strides_[i];
      dst += dst_strides_[i];
      if (++at[i] < dims_[i]) break;
      src -= dims_[i] * src_strides_[i];
      dst -= dims_[i] * dst_strides_[i];
      at[i] = 0;
    }
  }
}

template <typename T>
void StridedCopy::RunContiguous(const StridedCopy& copy, const void* src, void* dst) {
  const T* from = static_cast<const T*>(src);
  T* to = static_cast<T*>(dst);
  const int64_t run = copy.inner_;
  const int64_t chunk = GrainForBytes(sizeof(T));
  if (run <= chunk) {
    ParallelFor(copy.outer_count_, GrainForBytes(run * sizeof(T)), [&](int64_t begin, int64_t end) {
      copy.ForOuter(begin, end, [&](int64_t s, int64_t d) { CopyRun(to + d, from + s, run); });
    });
    return;
  }
  // Few long runs: they are cut, or one core would do all.
  const int64_t chunks = (run - 1) / chunk + 1;
  ParallelFor(copy.outer_count_ * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t first = k % chunks * chunk;
      copy.ForOuter(k / chunks, k / chunks + 1, [&](int64_t s, int64_t d) {
        CopyRun(to + d + first, from + s + first, std::min(chunk, run - first));
      });
    }
  });
}

template <typename T>
void StridedCopy::RunStrided(const StridedCopy& copy, const void* src, void* dst) {
  const T* from = static_cast<const T*>(src);
  T* to = static_cast<T*>(dst);
  const int64_t count = copy.inner_, src_stride = copy.inner_src_, dst_stride = copy.inner_dst_;
  ParallelFor(copy.outer_count_, GrainForBytes(2 * count * sizeof(T)), [&](int64_t begin, int64_t end) {
    copy.ForOuter(begin, end, [&](int64_t s, int64_t d) {
      const T* p = from + s;
      T* q = to + d;
      if (dst_stride == 1 && src_stride == 0) {
        std::fill_n(q, count, *p);
      } else if (dst_stride == 1) {
        for (int64_t k = 0; k < count; ++k) q[k] = p[k * src_stride];
      } else {
        for (int64_t k = 0; k < count; ++k) q[k * dst_stride] = p[k * src_stride];
      }
    });
  });
}

namespace {

#ifdef __SSE2__
// Transposes one square block of kBlock<T> rows and columns.
template <typename T>
constexpr int64_t kBlock = sizeof(T) == 4   ? 4
                           : sizeof(T) <= 2 ? 8
                                            : 0;

inline void TransposeBlock(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride) {
  const float* s = reinterpret_cast<const float*>(src);
  float* d = reinterpret_cast<float*>(dst);
  __m128 r0 = _mm_loadu_ps(s), r1 = _mm_loadu_ps(s + src_stride);
  __m128 r2 = _mm_loadu_ps(s + 2 * src_stride), r3 = _mm_loadu_ps(s + 3 * src_stride);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(d, r0);
  _mm_storeu_ps(d + dst_stride, r1);
  _mm_storeu_ps(d + 2 * dst_stride, r2);
  _mm_storeu_ps(d + 3 * dst_stride, r3);
}

inline void TransposeBlock(const uint16_t* src, int64_t src_stride, uint16_t* dst, int64_t dst_stride) {
  __m128i r[8], pairs[8], quads[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i * src_stride));
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm_unpacklo_epi16(r[2 * i], r[2 * i + 1]);      // columns 0..3 of rows 2i, 2i+1
    pairs[4 + i] = _mm_unpackhi_epi16(r[2 * i], r[2 * i + 1]);  // columns 4..7
  }
  for (int half = 0; half < 2; ++half) {
    const __m128i* p = pairs + 4 * half;
    __m128i* q = quads + 4 * half;
    q[0] = _mm_unpacklo_epi32(p[0], p[1]);  // columns 0, 1 of rows 0..3
    q[1] = _mm_unpackhi_epi32(p[0], p[1]);  // columns 2, 3
    q[2] = _mm_unpacklo_epi32(p[2], p[3]);  // columns 0, 1 of rows 4..7
    q[3] = _mm_unpackhi_epi32(p[2], p[3]);
    for (int pair = 0; pair < 2; ++pair) {
      uint16_t* out = dst + (4 * half + 2 * pair) * dst_stride;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(q[pair], q[2 + pair]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + dst_stride), _mm_unpackhi_epi64(q[pair], q[2 + pair]));
    }
  }
}

inline void TransposeBlock(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride) {
  __m128i pairs[4];
  for (int i = 0; i < 4; ++i) {
    const __m128i a = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src + 2 * i * src_stride));
    const __m128i b = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src + (2 * i + 1) * src_stride));
    pairs[i] = _mm_unpacklo_epi8(a, b);  // all columns of rows 2i, 2i+1
  }
  for (int half = 0; half < 2; ++half) {
    const __m128i top = half ? _mm_unpackhi_epi16(pairs[0], pairs[1]) : _mm_unpacklo_epi16(pairs[0], pairs[1]);
    const __m128i low = half ? _mm_unpackhi_epi16(pairs[2], pairs[3]) : _mm_unpacklo_epi16(pairs[2], pairs[3]);
    const __m128i columns[2] = {_mm_unpacklo_epi32(top, low), _mm_unpackhi_epi32(top, low)};
    for (int pair = 0; pair < 2; ++pair) {
      uint8_t* out = dst + (4 * half + 2 * pair) * dst_stride;
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out), columns[pair]);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + dst_stride), _mm_srli_si128(columns[pair], 8));
    }
  }
}
#else
template <typename T>
constexpr int64_t kBlock = 0;
template <typename T>
void TransposeBlock(const T*, int64_t, T*, int64_t) {}
#endif

// dst[j * dst_stride + i] = src[i * src_stride + j] for i < rows, j < columns.
template <typename T>
void TransposeTile(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows, int64_t columns) {
  int64_t block_rows = 0;
  if constexpr (kBlock < T >> 0) {
    constexpr int64_t kSide = kBlock<T>;
    const int64_t block_columns = columns - columns % kSide;
    block_rows = rows - rows % kSide;
    for (int64_t i = 0; i < block_rows; i += kSide) {
      for (int64_t j = 0; j < block_columns; j += kSide) {
        TransposeBlock(src + i * src_stride + j, src_stride, dst + j * dst_stride + i, dst_stride);
      }
    }
    for (int64_t j = block_columns; j < columns; ++j) {
      for (int64_t i = 0; i < block_rows; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
    }
  }
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = block_rows; i < rows; ++i) dst[j * dst_stride + i] = src[i * src_stride + j];
  }
}

// Lines of a tile whose distance is a large power of two share a cache set, where they would push each other out half
// written: such a tile is put together apart, and written line by line.
bool LinesCollide(int64_t lines, int64_t distance_bytes) {
  constexpr int64_t kWayBytes = 4096, kWays = 8;
  return lines > kWays * (kWayBytes / std::gcd(kWayBytes, distance_bytes));
}

template <typename T, int64_t kTile>
void TransposeFullTile(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  alignas(64) T tile[kTile * kTile];
  TransposeTile(src, src_stride, tile, kTile, kTile, kTile);
  for (int64_t j = 0; j < kTile; ++j) std::memcpy(dst + j * dst_stride, tile + j * kTile, kTile * sizeof(T));
}

}  // namespace

template <typename T>
void StridedCopy::RunTransposed(const StridedCopy& copy, const void* src, void* dst) {
  // A tile is one cache line wide on both sides.
  constexpr int64_t kTile = std::max<int64_t>(8, 64 / sizeof(T));
  constexpr int64_t kRowsPerUnit = 512;
  const T* from = static_cast<const T*>(src);
  T* to = static_cast<T*>(dst);
  const int64_t rows = copy.inner_, columns = copy.across_;
  const int64_t row_units = (rows - 1) / kRowsPerUnit + 1, column_units = (columns - 1) / kTile + 1;
  const int64_t units = row_units * column_units;
  const bool apart = LinesCollide(kTile, copy.across_dst_ * static_cast<int64_t>(sizeof(T)));
  const int64_t unit_bytes = 2 * std::min(rows, kRowsPerUnit) * std::min(columns, kTile) * sizeof(T);
  ParallelFor(copy.outer_count_ * units, GrainForBytes(unit_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end;) {
      // All units of one outer position in this range at once.
      const int64_t outer = k / units, stop = std::min(end, (outer + 1) * units);
      copy.ForOuter(outer, outer + 1, [&](int64_t s, int64_t d) {
        for (; k < stop; ++k) {
          const int64_t unit = k % units;
          const int64_t j0 = unit / row_units * kTile, jn = std::min(kTile, columns - j0);
          const int64_t first = unit % row_units * kRowsPerUnit, last = std::min(rows, first + kRowsPerUnit);
          for (int64_t i0 = first; i0 < last; i0 += kTile) {
            const T* p = from + s + i0 * copy.inner_src_ + j0;
            T* q = to + d + j0 * copy.across_dst_ + i0;
            if (apart && jn == kTile && last - i0 >= kTile) {
              TransposeFullTile<T, kTile>(p, copy.inner_src_, q, copy.across_dst_);
            } else {
              TransposeTile(p, copy.inner_src_, q, copy.across_dst_, std::min(kTile, last - i0), jn);
            }
          }
        }
      });
    }
  });
}

StridedBlock PermutedBlock(const Dims& from, absl::Span<const int> perm) {
  StridedBlock block;
  const Dims strides = RowMajorStrides(from);
  for (int axis : perm) {
    block.dims.push_back(from[axis]);
    block.src_strides.push_back(strides[axis]);
  }
  block.dst_strides = RowMajorStrides(block.dims);
  return block;
}

std::unique_ptr<Kernel> MakeCopyKernel(DataType dtype, const StridedBlock& block) {
  return MakeKernel([copy = StridedCopy(dtype, block)](RunContext& run) {
    copy.Run(run.input(0).raw(), run.output(0).mutable_raw());
    return absl::OkStatus();
  });
}

std::optional<SmallContent> ContentOf(const InferContext& ctx, int i) {
  if (!ctx.has_input(i) || !ctx.has_shape(i) || !ctx.shape(i).known()) return std::nullopt;
  if (ctx.dtype(i) != DataType::kInt64 && ctx.dtype(i) != DataType::kInt32) return std::nullopt;
  std::optional<std::vector<Dim>> values = ctx.content(i);
  if (!values.has_value()) return std::nullopt;
  SmallContent content{ctx.shape(i).ToDims(), *std::move(values)};
  if (CountOf(content.dims) != static_cast<int64_t>(content.values.size())) return std::nullopt;
  return content;
}

void ForwardContent(InferContext& ctx, int from, int i) {
  if (std::optional<SmallContent> content = ContentOf(ctx, from)) ctx.SetOutputContent(i, std::move(content->values));
}

void SetPickedContent(InferContext& ctx, int i, const SmallContent& from, const StridedBlock& block) {
  constexpr int64_t kMaxElements = 64;
  int64_t count = 1;
  for (int64_t d : block.dims) {
    if (d > kMaxElements) return;
    count *= d;
    if (count > kMaxElements) return;
  }
  std::vector<Dim> values;
  values.reserve(count);
  for (int64_t k = 0; k < count; ++k) {
    int64_t rest = k, at = block.src_offset;
    for (size_t d = block.dims.size(); d-- > 0;) {
      at += rest % block.dims[d] * block.src_strides[d];
      rest /= block.dims[d];
    }
    if (at < 0 || at >= static_cast<int64_t>(from.values.size())) return;
    values.push_back(from.values[at]);
  }
  ctx.SetOutputContent(i, std::move(values));
}

Dim ScalarContent(const InferContext& ctx, int i) {
  if (!ctx.has_input(i)) return Dim::Unknown();
  std::optional<std::vector<Dim>> values = ctx.content(i);
  return values.has_value() && values->size() == 1 ? (*values)[0] : Dim::Unknown();
}

absl::StatusOr<std::optional<std::vector<int64_t>>> AxesFromAttributeOrInput(const InferContext& ctx,
                                                                             absl::string_view attribute, int i,
                                                                             int input_since, bool* given) {
  using Result = std::optional<std::vector<int64_t>>;
  if (ctx.version() < input_since) {
    *given = ctx.attributes.Has(attribute);
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> axes, ctx.attributes.Ints(attribute, {}));
    return Result(std::move(axes));
  }
  *given = ctx.has_input(i);
  if (!*given) return Result(std::vector<int64_t>());
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, kIndexTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 0, 1));
  return ctx.constant_ints(i);
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareCopy(PrepareContext& ctx) {
  return MakeKernel(
      [](RunContext& run) {
        if (!run.input_value(0).is_tensor()) {
          run.SetOutputValue(0, run.input_value(0));
          return absl::OkStatus();
        }
        const Tensor& from = run.input(0);
        Tensor& to = run.output(0);
        if (from.raw() == to.raw() || from.size() == 0) return absl::OkStatus();
        if (from.dtype() == DataType::kString) {
          to.CopyFrom(from);
          return absl::OkStatus();
        }
        const char* src = static_cast<const char*>(from.raw());
        char* dst = static_cast<char*>(to.mutable_raw());
        ParallelFor(from.bytes(), GrainForBytes(1),
                    [&](int64_t begin, int64_t end) { std::memcpy(dst + begin, src + begin, end - begin); });
        return absl::OkStatus();
      },
      "copy");
}

absl::Status IndexOutOfRange(int64_t index, int64_t extent, int axis) {
  return OutOfRange("index ", index, " is out of range [", -extent, ", ", extent - 1, "] on axis ", axis);
}

namespace {

template <typename T>
absl::Status CheckTypedIndices(const T* indices, int64_t count, int64_t extent, int axis) {
  // Blocks keep the loop free of exits, so that it vectorises.
  constexpr int64_t kBlock = 1024;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    bool bad = false;
    for (int64_t i = begin; i < end; ++i) bad |= indices[i] < -extent || indices[i] >= extent;
    if (!bad) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (indices[i] < -extent || indices[i] >= extent) return IndexOutOfRange(indices[i], extent, axis);
    }
  }
  return absl::OkStatus();
}

bool IsPacked(DataType type) {
  const int bits = BitWidth(type);
  return bits == 2 || bits == 4;
}

// The type of whole bytes that stands for a packed one while its elements are moved.
ValueType UnpackedType(const ValueType& type) {
  ValueType result = type;
  if (type.is_tensor() && IsPacked(type.dtype)) result.dtype = DataType::kUInt8;
  return result;
}

void Unpack(const Tensor& packed, uint8_t* bytes) {
  const uint8_t* p = packed.data<uint8_t>();
  if (BitWidth(packed.dtype()) == 4) {
    for (int64_t i = 0; i < packed.size(); ++i) bytes[i] = static_cast<uint8_t>(GetUInt4(p, i));
  } else {
    for (int64_t i = 0; i < packed.size(); ++i) bytes[i] = static_cast<uint8_t>(GetUInt2(p, i));
  }
}

void Pack(const uint8_t* bytes, Tensor* packed) {
  uint8_t* p = packed->mutable_data<uint8_t>();
  std::memset(p, 0, packed->bytes());  // the unused bits of the last byte are zero
  if (BitWidth(packed->dtype()) == 4) {
    for (int64_t i = 0; i < packed->size(); ++i) SetInt4(p, i, bytes[i]);
  } else {
    for (int64_t i = 0; i < packed->size(); ++i) SetInt2(p, i, bytes[i]);
  }
}

constexpr size_t RoundUp(size_t bytes) { return (bytes + 63) / 64 * 64; }

class UnpackedContext final : public PrepareContext {
 public:
  explicit UnpackedContext(PrepareContext& ctx) : PrepareContext(ctx.node()), ctx_(ctx) {
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      inputs_.push_back(ctx.has_input(i) ? UnpackedType(ctx.input_type(i)) : ValueType());
    }
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      outputs_.push_back(ctx.has_output(i) ? UnpackedType(ctx.output_type(i)) : ValueType());
    }
  }
  const ValueType& input_type(int i) const override { return inputs_[i]; }
  const ValueType& output_type(int i) const override { return outputs_[i]; }
  Tensor constant(int i) const override {
    Tensor value = ctx_.constant(i);
    if (!value.defined() || !IsPacked(value.dtype())) return value;
    Tensor bytes = Tensor::Make(DataType::kUInt8, value.dims());
    Unpack(value, bytes.mutable_data<uint8_t>());
    return bytes;
  }
  int threads() const override { return ctx_.threads(); }
  bool plain() const override { return ctx_.plain(); }
  int64_t max_loop_iterations() const override { return ctx_.max_loop_iterations(); }
  uint64_t max_tensor_bytes() const override { return ctx_.max_tensor_bytes(); }
  PrimitiveCache& primitive_cache() const override { return ctx_.primitive_cache(); }
  WeightCache& weight_cache() const override { return ctx_.weight_cache(); }
  void RequestScratch(size_t bytes) override { scratch_ = std::max(scratch_, bytes); }
  absl::StatusOr<std::unique_ptr<SubgraphRunner>> PrepareSubgraph(absl::string_view attribute) override {
    return ctx_.PrepareSubgraph(attribute);
  }
  size_t scratch() const { return scratch_; }

 private:
  PrepareContext& ctx_;
  std::vector<ValueType> inputs_, outputs_;
  size_t scratch_ = 0;
};

// Where in the scratch memory the unpacked form of an input or output lies; -1: it is not packed.
using UnpackedOffsets = std::vector<int64_t>;

class UnpackedKernel final : public Kernel {
 public:
  UnpackedKernel(std::unique_ptr<Kernel> inner, UnpackedOffsets inputs, UnpackedOffsets outputs)
      : inner_(std::move(inner)), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  absl::Status Run(RunContext& ctx) const override {
    char* scratch = static_cast<char*>(ctx.scratch());
    absl::InlinedVector<RuntimeValue, 8> values(ctx.num_inputs());
    absl::InlinedVector<const RuntimeValue*, 8> inputs(ctx.num_inputs(), nullptr);
    for (int i = 0; i < ctx.num_inputs(); ++i) {
      if (!ctx.has_input(i)) continue;
      inputs[i] = &ctx.input_value(i);
      if (i >= static_cast<int>(inputs_.size()) || inputs_[i] < 0) continue;
      uint8_t* bytes = reinterpret_cast<uint8_t*>(scratch + inputs_[i]);
      Unpack(ctx.input(i), bytes);
      values[i] = Tensor::Borrow(DataType::kUInt8, ctx.input(i).dims(), bytes, nullptr);
      inputs[i] = &values[i];
    }
    absl::InlinedVector<RuntimeValue, 4> results(ctx.num_outputs());
    absl::InlinedVector<RuntimeValue*, 4> outputs(ctx.num_outputs(), nullptr);
    absl::InlinedVector<DataType, 4> dtypes(ctx.num_outputs(), DataType::kUndefined);
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      if (!ctx.has_output(i)) continue;
      const Tensor& output = ctx.output(i);
      dtypes[i] = outputs_[i] < 0 ? output.dtype() : DataType::kUInt8;
      void* memory = outputs_[i] < 0 ? ctx.output(i).mutable_raw() : scratch + outputs_[i];
      results[i] = Tensor::Borrow(dtypes[i], output.dims(), memory, nullptr);
      outputs[i] = &results[i];
    }
    RunContext inner;
    RunContextBuilder::Set(&inner, &ctx.node(), inputs, outputs, dtypes, scratch, ctx.state());
    RONDO_RETURN_IF_ERROR(inner_->Run(inner));
    for (int i = 0; i < ctx.num_outputs(); ++i) {
      if (ctx.has_output(i) && outputs_[i] >= 0) {
        Pack(reinterpret_cast<const uint8_t*>(scratch + outputs_[i]), &ctx.output(i));
      }
    }
    return absl::OkStatus();
  }
  std::unique_ptr<KernelState> CreateState() const override { return inner_->CreateState(); }
  std::string Implementation() const override { return "own:unpacked"; }

 private:
  std::unique_ptr<Kernel> inner_;
  UnpackedOffsets inputs_, outputs_;
};

}  // namespace

absl::Status CheckIndices(const Tensor& indices, int64_t extent, int axis) {
  if (indices.dtype() == DataType::kInt32) {
    return CheckTypedIndices(indices.data<int32_t>(), indices.size(), extent, axis);
  }
  return CheckTypedIndices(indices.data<int64_t>(), indices.size(), extent, axis);
}

absl::Status IndexTuples::Check(const int64_t* indices, int64_t tuples) const {
  for (int64_t k = 0; k < tuples; ++k) {
    for (int i = 0; i < size(); ++i) {
      const int64_t index = indices[k * size() + i];
      if (index < -extents_[i] || index >= extents_[i]) return IndexOutOfRange(index, extents_[i], first_axis_ + i);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareWithUnpacking(PrepareContext& ctx, PrepareFn prepare) {
  bool packed = false;
  for (int i = 0; i < ctx.num_inputs(); ++i) {
    packed |= ctx.has_input(i) && ctx.input_type(i).is_tensor() && IsPacked(ctx.input_dtype(i));
  }
  for (int i = 0; i < ctx.num_outputs(); ++i) {
    if (!ctx.has_output(i)) continue;
    if (ctx.output_type(i).is_tensor() && !ctx.output_type(i).has_known_shape()) {
      return InvalidArgument("output ", i, ": its size is not computable, got ", ctx.output_type(i).ToString());
    }
    packed |= IsPacked(ctx.output_dtype(i));
  }
  if (!packed) return prepare(ctx);
  UnpackedContext unpacked(ctx);
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> kernel, prepare(unpacked));
  size_t scratch = RoundUp(unpacked.scratch());
  auto place = [&scratch](const ValueType& type) -> int64_t {
    if (!type.is_tensor() || !IsPacked(type.dtype)) return -1;
    const size_t at = scratch;
    scratch += RoundUp(CountOf(type.shape->ToDims()));
    return static_cast<int64_t>(at);
  };
  UnpackedOffsets inputs, outputs;
  for (int i = 0; i < ctx.num_inputs(); ++i) inputs.push_back(ctx.has_input(i) ? place(ctx.input_type(i)) : -1);
  for (int i = 0; i < ctx.num_outputs(); ++i) outputs.push_back(ctx.has_output(i) ? place(ctx.output_type(i)) : -1);
  ctx.RequestScratch(scratch);
  return std::unique_ptr<Kernel>(
      std::make_unique<UnpackedKernel>(std::move(kernel), std::move(inputs), std::move(outputs)));
}

}  // namespace rondo
