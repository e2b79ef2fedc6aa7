#include "ops/quantized_product.h"

#include <algorithm>

#include "ops/parallel.h"

namespace rondo {
namespace {

using onednn::Arg;
using onednn::Layout;

constexpr int64_t kTile = 256;

int64_t Product(absl::Span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t d : dims) product *= d;
  return product;
}

// Offset of the batch `index` (row-major over y's batch dims) in an operand.
int64_t BatchOffset(const MatMulGeometry& g, const StridedView& view, int64_t index) {
  int64_t offset = 0;
  for (int i = view.rank() - 3; i >= 0; --i) {
    if (view.dims[i] != 1) offset += index % g.y[i] * view.strides[i];
    index /= g.y[i];
  }
  return offset;
}

template <typename T>
void ColumnSums(const MatMulGeometry& g, const T* b, int32_t* sums) {
  const int rank = g.b.rank();
  const int64_t row = g.b.strides[rank - 2], column = g.b.strides[rank - 1];
  ParallelFor(g.batch(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t batch = begin; batch < end; ++batch) {
      const T* from = b + BatchOffset(g, g.b, batch);
      int32_t* to = sums + batch * g.n;
      std::fill_n(to, g.n, 0);
      for (int64_t k = 0; k < g.k; ++k) {
        const T* line = from + k * row;
        if (column == 1) {
          for (int64_t j = 0; j < g.n; ++j) to[j] += line[j];
        } else {
          for (int64_t j = 0; j < g.n; ++j) to[j] += line[j * column];
        }
      }
    }
  });
}

template <typename T>
void RowSums(const MatMulGeometry& g, const T* a, int32_t* sums) {
  const int rank = g.a.rank();
  const int64_t row = g.a.strides[rank - 2], column = g.a.strides[rank - 1];
  ParallelFor(g.batch() * g.m, std::max<int64_t>(1, 40000 / std::max<int64_t>(1, g.k)),
              [&](int64_t begin, int64_t end) {
                for (int64_t r = begin; r < end; ++r) {
                  const T* from = a + BatchOffset(g, g.a, r / g.m) + r % g.m * row;
                  int32_t sum = 0;
                  if (column == 1) {
                    for (int64_t k = 0; k < g.k; ++k) sum += from[k];
                  } else {
                    for (int64_t k = 0; k < g.k; ++k) sum += from[k * column];
                  }
                  sums[r] = sum;
                }
              });
}

template <typename A, typename B>
void PlainProduct(const MatMulGeometry& g, const A* a, const B* b, int32_t* y) {
  const int rank = g.a.rank();
  const int64_t a_row = g.a.strides[rank - 2], a_step = g.a.strides[rank - 1];
  const int64_t b_row = g.b.strides[rank - 2], b_step = g.b.strides[rank - 1];
  const int64_t cost = std::max<int64_t>(1, g.k * g.n);
  ParallelFor(g.batch() * g.m, std::max<int64_t>(1, 40000 / cost), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const A* from = a + BatchOffset(g, g.a, r / g.m) + r % g.m * a_row;
      const B* other = b + BatchOffset(g, g.b, r / g.m);
      uint32_t* to = reinterpret_cast<uint32_t*>(y + r * g.n);
      std::fill_n(to, g.n, 0u);
      for (int64_t k = 0; k < g.k; ++k) {
        const int32_t v = from[k * a_step];
        const B* line = other + k * b_row;
        if (b_step == 1) {
          for (int64_t j = 0; j < g.n; ++j) to[j] += static_cast<uint32_t>(v * line[j]);
        } else {
          for (int64_t j = 0; j < g.n; ++j) to[j] += static_cast<uint32_t>(v * line[j * b_step]);
        }
      }
    }
  });
}

// uint8 -> int8, the same number minus 128.
void Shift(const void* from, void* to, int64_t count) {
  ParallelFor(count, 64 << 10, [&](int64_t begin, int64_t end) {
    const auto* source = static_cast<const uint8_t*>(from);
    auto* target = static_cast<uint8_t*>(to);
    for (int64_t i = begin; i < end; ++i) target[i] = source[i] ^ 0x80;
  });
}

bool AllEqual(const std::optional<std::vector<int32_t>>& values, int32_t value) {
  return values.has_value() && std::all_of(values->begin(), values->end(), [&](int32_t v) { return v == value; });
}

absl::Status PlainStep(onednn::PipelineBuilder& pipeline, const QuantizedMatMul& p, const Arg& y) {
  auto add = [&](auto a_tag, auto b_tag) {
    using A = decltype(a_tag);
    using B = decltype(b_tag);
    pipeline.Host(
        [g = p.g](absl::Span<void* const> args) {
          PlainProduct(g, static_cast<const A*>(args[0]), static_cast<const B*>(args[1]),
                       static_cast<int32_t*>(args[2]));
          return absl::OkStatus();
        },
        {p.a, p.b, y});
  };
  const bool a_signed = p.a_type == DataType::kInt8, b_signed = p.b_type == DataType::kInt8;
  if (a_signed && b_signed) add(int8_t{}, int8_t{});
  if (a_signed && !b_signed) add(int8_t{}, uint8_t{});
  if (!a_signed && b_signed) add(uint8_t{}, int8_t{});
  if (!a_signed && !b_signed) add(uint8_t{}, uint8_t{});
  return absl::OkStatus();
}

// The raw product by oneDNN; on success `b` and `b_type` of `p` are what was multiplied.
absl::Status FastStep(PrepareContext& ctx, onednn::PipelineBuilder& pipeline, QuantizedMatMul* p, const Arg& y) {
  const MatMulGeometry& g = p->g;
  const bool empty = g.batch() == 0 || g.m == 0 || g.k == 0 || g.n == 0;
  if (ctx.plain() || empty || !onednn::HasExactInt8()) return Unimplemented("not asked for");
  const bool constant = p->b.from == Arg::From::kConstant;
  onednn::MatMulSpec spec;
  spec.a = {p->a_type, g.a.dims, g.a.strides};
  spec.b = constant ? Layout::Packed(DataType::kInt8, g.b.dims) : Layout{DataType::kInt8, g.b.dims, g.b.strides};
  spec.y = Layout::Dense(DataType::kInt32, g.y);
  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr matmul, onednn::MatMul(ctx, spec));
  if (p->b_type == DataType::kUInt8) {
    if (constant) {
      const Tensor& raw = p->b.constant;
      RONDO_ASSIGN_OR_RETURN(Tensor shifted, ctx.weight_cache().GetOrPack(
                                                 {raw}, {"minus 128", DataType::kInt8, raw.dims()}, [&](Tensor& t) {
                                                   Shift(raw.raw(), t.mutable_raw(), raw.size());
                                                   return absl::OkStatus();
                                                 }));
      p->b = Arg::Constant(std::move(shifted));
    } else {
      int64_t count = 1;  // the last element that the view reaches
      for (int i = 0; i < g.b.rank(); ++i) count += (g.b.dims[i] - 1) * g.b.strides[i];
      const Arg shifted = pipeline.Scratch(static_cast<size_t>(count));
      pipeline.Host(
          [count](absl::Span<void* const> args) {
            Shift(args[0], args[1], count);
            return absl::OkStatus();
          },
          {p->b, shifted});
      p->b = shifted;
    }
    p->b_type = DataType::kInt8;
  }
  RONDO_ASSIGN_OR_RETURN(Arg b, pipeline.Operand(matmul, 1, p->b, {DataType::kInt8, g.b.dims, g.b.strides}));
  pipeline.Add(matmul, {p->a, b, y});
  return absl::OkStatus();
}

}  // namespace

QuantParameter QuantParameter::Of(const PrepareContext& ctx, int i) {
  QuantParameter p;
  if (!ctx.has_input(i)) return p;
  p.arg = Arg::InputOrConstant(ctx, i);
  p.dtype = ctx.input_dtype(i);
  p.count = Product(ctx.input_dims(i));
  return p;
}

std::optional<std::vector<int32_t>> QuantParameter::Constants() const {
  if (!present()) return std::vector<int32_t>{0};
  if (arg.from != Arg::From::kConstant) return std::nullopt;
  std::vector<int32_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(ReadZeroPoint(dtype, arg.constant.raw(), i));
  return values;
}

absl::Status AddQuantizedMatMul(PrepareContext& ctx, onednn::PipelineBuilder& pipeline, const QuantizedMatMul& product,
                                QuantizedEmit emit, std::vector<Arg> extra) {
  QuantizedMatMul p = product;
  const MatMulGeometry& g = p.g;
  const int64_t rows = g.batch() * g.m;
  auto fits = [](const QuantParameter& q, int64_t unit, int64_t total) {
    return !q.present() || q.count == 1 || q.count == unit || q.count == total;
  };
  if (!fits(p.a_zero, g.m, rows) && (p.a_zero.count == 0 || rows % p.a_zero.count != 0)) {
    return InvalidArgument("zero point of A: expected 1 or ", g.m, " values, got ", p.a_zero.count);
  }
  if (!fits(p.b_zero, g.n, g.batch() * g.n)) {
    return InvalidArgument("zero point of B: expected 1 or ", g.n, " values, got ", p.b_zero.count);
  }
  const Arg acc = pipeline.Scratch(sizeof(int32_t) * static_cast<size_t>(rows * g.n));
  const bool was_unsigned = p.b_type == DataType::kUInt8;
  absl::Status fast = FastStep(ctx, pipeline, &p, acc);
  if (!fast.ok()) {
    if (!absl::IsUnimplemented(fast)) return fast;
    RONDO_RETURN_IF_ERROR(PlainStep(pipeline, p, acc));
  }
  const int32_t shift = was_unsigned && p.b_type == DataType::kInt8 ? 128 : 0;

  // Sums that are certainly multiplied by zero are not made.
  Arg column_sums, row_sums;
  if (!AllEqual(p.a_zero.Constants(), 0)) {
    const size_t bytes = sizeof(int32_t) * static_cast<size_t>(g.batch() * g.n);
    auto sum = [g, b_signed = p.b_type == DataType::kInt8](const void* b, int32_t* sums) {
      if (b_signed) {
        ColumnSums(g, static_cast<const int8_t*>(b), sums);
      } else {
        ColumnSums(g, static_cast<const uint8_t*>(b), sums);
      }
    };
    if (p.b.from == Arg::From::kConstant) {
      RONDO_ASSIGN_OR_RETURN(
          Tensor sums,
          ctx.weight_cache().GetOrPack({p.b.constant},
                                       {absl::StrCat("column sums ", DimsToString(g.b.dims), DimsToString(g.b.strides)),
                                        DataType::kInt32,
                                        {g.batch() * g.n}},
                                       [&](Tensor& t) {
                                         sum(p.b.constant.raw(), t.mutable_data<int32_t>());
                                         return absl::OkStatus();
                                       }));
      column_sums = Arg::Constant(std::move(sums));
    } else {
      column_sums = pipeline.Scratch(bytes);
      pipeline.Host(
          [sum](absl::Span<void* const> args) {
            sum(args[0], static_cast<int32_t*>(args[1]));
            return absl::OkStatus();
          },
          {p.b, column_sums});
    }
  }
  if (!AllEqual(p.b_zero.Constants(), shift)) {
    row_sums = pipeline.Scratch(sizeof(int32_t) * static_cast<size_t>(rows));
    pipeline.Host(
        [g, a_signed = p.a_type == DataType::kInt8](absl::Span<void* const> args) {
          auto* sums = static_cast<int32_t*>(args[1]);
          if (a_signed) {
            RowSums(g, static_cast<const int8_t*>(args[0]), sums);
          } else {
            RowSums(g, static_cast<const uint8_t*>(args[0]), sums);
          }
          return absl::OkStatus();
        },
        {p.a, row_sums});
  }

  std::vector<Arg> args = {acc, p.a_zero.arg, p.b_zero.arg, column_sums, row_sums};
  args.insert(args.end(), extra.begin(), extra.end());
  const int64_t a_count = std::max<int64_t>(1, p.a_zero.count), b_count = std::max<int64_t>(1, p.b_zero.count);
  const bool b_per_batch = b_count > 1 && b_count != g.n;
  pipeline.Host(
      [g, rows, shift, emit = std::move(emit), a_type = p.a_zero.dtype, b_type = p.b_zero.dtype, a_count, b_count,
       b_per_batch](absl::Span<void* const> args) {
        const auto* sums = static_cast<const uint32_t*>(args[0]);
        const auto* columns = static_cast<const int32_t*>(args[3]);
        const auto* row_total = static_cast<const int32_t*>(args[4]);
        const absl::Span<void* const> extra = args.subspan(5);
        ParallelFor(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, g.n)), [&](int64_t begin, int64_t end) {
          uint32_t values[kTile];
          for (int64_t row = begin; row < end; ++row) {
            const int64_t batch = row / g.m;
            const uint32_t za = static_cast<uint32_t>(ReadZeroPoint(a_type, args[1], a_count == 1 ? 0 : row % a_count));
            const uint32_t row_sum = row_total == nullptr ? 0 : static_cast<uint32_t>(row_total[row]);
            const uint32_t row_factor = row_sum - static_cast<uint32_t>(g.k) * za;
            for (int64_t j0 = 0; j0 < g.n; j0 += kTile) {
              const int64_t count = std::min(kTile, g.n - j0);
              const uint32_t* source = sums + row * g.n + j0;
              if (columns != nullptr && za != 0) {
                const int32_t* column = columns + batch * g.n + j0;
                for (int64_t j = 0; j < count; ++j) values[j] = source[j] - za * static_cast<uint32_t>(column[j]);
              } else {
                std::copy_n(source, count, values);
              }
              if (row_total != nullptr) {
                for (int64_t j = 0; j < count; ++j) {
                  const int64_t at = b_count == 1 ? 0 : (b_per_batch ? batch * g.n : 0) + j0 + j;
                  const int32_t zb = ReadZeroPoint(b_type, args[2], at) - shift;
                  values[j] -= static_cast<uint32_t>(zb) * row_factor;
                }
              }
              emit(extra, row, j0, count, reinterpret_cast<const int32_t*>(values));
            }
          }
        });
        return absl::OkStatus();
      },
      std::move(args));
  return absl::OkStatus();
}

}  // namespace rondo
