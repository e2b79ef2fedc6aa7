#include "ops/attention_common.h"

#include <algorithm>
#include <cstring>

#include "graph/numeric.h"
#include "ops/dispatch.h"
#include "ops/kernels/isa.h"
#include "ops/parallel.h"

namespace rondo {

absl::Status ExpectEqualDims(absl::string_view a_name, const Dim& a, absl::string_view b_name, const Dim& b) {
  if (a.known() && b.known() && a.value() != b.value()) {
    return InvalidArgument(a_name, " is ", a.value(), ", ", b_name, " is ", b.value());
  }
  return absl::OkStatus();
}

absl::StatusOr<Dim> DivideDim(absl::string_view name, const Dim& a, int64_t divisor) {
  if (a.known() && a.value() % divisor != 0) {
    return InvalidArgument(name, " is ", a.value(), ": expected a multiple of ", divisor);
  }
  return Dim::FloorDiv(a, Dim(divisor));
}

absl::StatusOr<int64_t> HeadsAttribute(const AttributeReader& attributes, absl::string_view name) {
  RONDO_ASSIGN_OR_RETURN(const int64_t heads, attributes.Int(name));
  if (heads <= 0 || heads > (int64_t{1} << 20)) {
    return InvalidArgument("attribute \"", name, "\" is ", heads, ": expected a positive number of heads");
  }
  return heads;
}

absl::StatusOr<AttentionHeads> ReadAttentionHeads(const AttributeReader& attributes, int rank) {
  AttentionHeads heads;
  if (rank != 3) return heads;
  RONDO_ASSIGN_OR_RETURN(heads.q, HeadsAttribute(attributes, "q_num_heads"));
  RONDO_ASSIGN_OR_RETURN(heads.kv, HeadsAttribute(attributes, "kv_num_heads"));
  return heads;
}

absl::StatusOr<AttentionOperand<Dim>> ReadAttentionOperand(absl::string_view name, const Shape& shape, int64_t heads) {
  if (shape.rank() == 4) return AttentionOperand<Dim>{shape[0], shape[1], shape[2], shape[3]};
  RONDO_ASSIGN_OR_RETURN(Dim size, DivideDim(absl::StrCat("hidden size of ", name), shape[2], heads));
  return AttentionOperand<Dim>{shape[0], Dim(heads), shape[1], std::move(size)};
}

AttentionOperand<int64_t> ReadAttentionOperand(absl::Span<const int64_t> dims, int64_t heads) {
  if (dims.size() == 4) return {dims[0], dims[1], dims[2], dims[3]};
  return {dims[0], heads, dims[1], dims[2] / heads};
}

absl::Status CheckAttentionOperands(const AttentionOperand<Dim>& q, const AttentionOperand<Dim>& k,
                                    const AttentionOperand<Dim>& v) {
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of K", k.batch, "batch of Q", q.batch));
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("batch of V", v.batch, "batch of Q", q.batch));
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("head size of K", k.size, "head size of Q", q.size));
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("heads of V", v.heads, "heads of K", k.heads));
  RONDO_RETURN_IF_ERROR(ExpectEqualDims("length of V", v.length, "length of K", k.length));
  if (q.heads.known() && k.heads.known() && (k.heads.value() == 0 || q.heads.value() % k.heads.value() != 0)) {
    return InvalidArgument("query heads ", q.heads.value(), ": expected a multiple of the ", k.heads.value(),
                           " key heads");
  }
  return absl::OkStatus();
}

Shape AttentionOutputShape(int rank, const AttentionOperand<Dim>& q, const Dim& v_size) {
  return rank == 4 ? Shape{q.batch, q.heads, q.length, v_size} : Shape{q.batch, q.length, q.heads * v_size};
}

AttentionView ViewOfOperand(int rank, const AttentionOperand<int64_t>& o, DataType dtype) {
  return rank == 4 ? HeadsFirst(nullptr, dtype, o.heads, o.length, o.size)
                   : RowsFirst(nullptr, dtype, o.length, o.size, o.heads * o.size);
}

PreparedAttention PrepareAttention(PrepareContext& ctx, const AttentionInputs& shapes, ScratchLayout* layout) {
  PreparedAttention prepared;
  prepared.threads = std::max(ctx.threads(), 1);
  const bool doubles =
      shapes.q.dtype == DataType::kDouble || shapes.k.dtype == DataType::kDouble || shapes.v.dtype == DataType::kDouble;
  // Asked-for rounding that is coarser than what the tiled kernel does.
  const bool rounds = shapes.q.dtype == DataType::kFloat && shapes.softmax_precision != DataType::kUndefined &&
                      shapes.softmax_precision != DataType::kFloat;
  prepared.reference = ctx.plain() || doubles || rounds || shapes.scores != nullptr;
  if (prepared.reference && shapes.cache != nullptr) {
    prepared.offset = layout->Add(CachedReferenceScratch(shapes, prepared.threads));
  } else if (prepared.reference) {
    prepared.offset = layout->Add(ReferenceAttentionScratch(shapes, prepared.threads));
  } else {
    prepared.plan = PlanAttention(shapes, prepared.threads);
    prepared.offset = layout->Add(prepared.plan.scratch_bytes);
  }
  return prepared;
}

void PreparedAttention::Run(const AttentionInputs& in, void* scratch) const {
  if (reference && in.cache != nullptr) {
    CachedReferenceAttention(in, threads, ScratchAt<char>(scratch, offset));
  } else if (reference) {
    ReferenceAttention(in, threads, ScratchAt<char>(scratch, offset));
  } else {
    RunAttention(in, plan, ScratchAt<char>(scratch, offset));
  }
}

std::string PreparedAttention::Implementation() const {
  return reference ? "plain" : absl::StrCat("own:flash:", IsaName(ActiveIsa()));
}

AttentionView HeadsFirst(const void* data, DataType dtype, int64_t heads, int64_t capacity, int64_t size) {
  return {data, dtype, heads * capacity * size, capacity * size, size};
}

AttentionView RowsFirst(const void* data, DataType dtype, int64_t length, int64_t size, int64_t row_stride) {
  return {data, dtype, length * row_stride, size, row_stride};
}

AttentionBias BroadcastBias(const void* data, DataType dtype, absl::Span<const int64_t> dims, int64_t keys,
                            bool broadcast_keys) {
  AttentionBias bias;
  bias.data = data;
  bias.dtype = dtype;
  const int rank = static_cast<int>(dims.size());
  // From the right: keys, queries, heads, batch.
  const auto dim = [&](int from_right) { return from_right < rank ? dims[rank - 1 - from_right] : int64_t{1}; };
  const bool one_key = dim(0) == 1 && (broadcast_keys || keys == 1);
  bias.key_stride = one_key ? 0 : 1;
  bias.keys = one_key ? keys : dim(0);
  int64_t stride = dim(0);
  bias.query_stride = dim(1) == 1 ? 0 : stride;
  stride *= dim(1);
  bias.head_stride = dim(2) == 1 ? 0 : stride;
  stride *= dim(2);
  bias.batch_stride = dim(3) == 1 ? 0 : stride;
  return bias;
}

absl::Status CheckBiasDims(absl::string_view name, absl::Span<const int64_t> dims, int64_t batch, int64_t heads,
                           int64_t queries, int64_t keys) {
  const int64_t target[] = {keys, queries, heads, batch};
  bool ok = dims.size() <= 4 && !dims.empty();
  for (size_t i = 0; ok && i < dims.size(); ++i) {
    const int64_t d = dims[dims.size() - 1 - i];
    ok = d == 1 || d == target[i] || (i == 0 && d >= 0 && d < keys);
  }
  if (ok) return absl::OkStatus();
  return InvalidArgument(name, " has shape ", DimsToString(dims), ": expected one that broadcasts to ",
                         DimsToString({batch, heads, queries, keys}));
}

void ConvertToFloat(const Tensor& tensor, float* out) {
  const int64_t n = tensor.size();
  const auto copy = [&](auto* from) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(from[i]);
  };
  switch (tensor.dtype()) {
    case DataType::kFloat:
      std::memcpy(out, tensor.raw(), static_cast<size_t>(n) * sizeof(float));
      break;
    case DataType::kDouble:
      copy(tensor.data<double>());
      break;
    case DataType::kFloat16:
      copy(tensor.data<Float16>());
      break;
    case DataType::kBFloat16:
      copy(tensor.data<BFloat16>());
      break;
    case DataType::kInt8:
      copy(tensor.data<int8_t>());
      break;
    case DataType::kBool:
    case DataType::kUInt8:
      copy(tensor.data<uint8_t>());
      break;
    case DataType::kInt16:
      copy(tensor.data<int16_t>());
      break;
    case DataType::kUInt16:
      copy(tensor.data<uint16_t>());
      break;
    case DataType::kInt32:
      copy(tensor.data<int32_t>());
      break;
    case DataType::kUInt32:
      copy(tensor.data<uint32_t>());
      break;
    case DataType::kInt64:
      copy(tensor.data<int64_t>());
      break;
    case DataType::kUInt64:
      copy(tensor.data<uint64_t>());
      break;
    default:
      std::fill(out, out + n, 0.0f);
  }
}

void ConvertFromFloat(const float* in, int64_t count, DataType dtype, void* out) {
  switch (dtype) {
    case DataType::kFloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<Float16*>(out)[i] = Float16(in[i]);
      break;
    case DataType::kBFloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<BFloat16*>(out)[i] = BFloat16(in[i]);
      break;
    case DataType::kDouble:
      for (int64_t i = 0; i < count; ++i) static_cast<double*>(out)[i] = in[i];
      break;
    default:
      std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
  }
}

void CopyRows(const AttentionView& from, int64_t from_row, const AttentionView& to, int64_t to_row, int64_t batch,
              int64_t heads, int64_t rows, int64_t size) {
  if (from.data == to.data && from_row == to_row) return;
  const int64_t width = static_cast<int64_t>(ByteSize(from.dtype, 1));
  const size_t row_bytes = static_cast<size_t>(size * width);
  const bool dense = from.row_stride == size && to.row_stride == size;
  const int64_t grain = std::max<int64_t>(1, 200000 / std::max<int64_t>(1, rows * size * width));
  ParallelFor(batch * heads, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / heads, h = i % heads;
      const char* source = static_cast<const char*>(from.data) +
                           (b * from.batch_stride + h * from.head_stride + from_row * from.row_stride) * width;
      char* target = static_cast<char*>(const_cast<void*>(to.data)) +
                     (b * to.batch_stride + h * to.head_stride + to_row * to.row_stride) * width;
      if (dense) {
        if (rows > 0) std::memcpy(target, source, row_bytes * static_cast<size_t>(rows));
        continue;
      }
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(target + r * to.row_stride * width, source + r * from.row_stride * width, row_bytes);
      }
    }
  });
}

}  // namespace rondo
