// com.microsoft's operators on 8-bit tensors with a scale and a zero point: x stands for (x - zero) * scale. Binary
// ones compute in float; unary ones are a table of 256 entries, made in each run since scales are inputs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// Scale and zero point of one operand, read at run time.
struct Quantization {
  float scale = 1;
  int zero = 0;
};
int ReadByte(const Tensor& t, int64_t i) {
  return t.dtype() == DataType::kInt8 ? t.data<int8_t>()[i] : t.data<uint8_t>()[i];
}
Quantization ReadQuantization(const RunContext& ctx, int scale, int zero) {
  Quantization q;
  q.scale = ctx.in<float>(scale)[0];
  if (ctx.has_input(zero)) q.zero = ReadByte(ctx.input(zero), 0);
  return q;
}

// round-half-even(x / scale) + zero, saturated to the type; NaN gives the smallest value.
template <typename T>
class Quantizer {
 public:
  explicit Quantizer(const Quantization& q)
      : scale_(q.scale),
        low_(static_cast<float>(static_cast<int>(std::numeric_limits<T>::min()) - q.zero)),
        high_(static_cast<float>(static_cast<int>(std::numeric_limits<T>::max()) - q.zero)),
        zero_(q.zero) {}
  T operator()(float x) const {
    float v = x / scale_;
    v = v > low_ ? v : low_;
    v = v < high_ ? v : high_;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds half to even
    return static_cast<T>(static_cast<int>((v + magic) - magic) + zero_);
  }

 private:
  float scale_, low_, high_;
  int zero_;
};

template <typename Result, typename Fn>
Result DispatchByte(DataType type, const Fn& fn) {
  return type == DataType::kInt8 ? fn(int8_t{}) : fn(uint8_t{});
}

// A scale and its zero point: one element each, the zero point of the operand's type.
absl::Status CheckParameters(InferContext& ctx, DataType type, int scale, int zero) {
  if (!ctx.has_input(scale)) return InvalidArgument("input ", scale, " (a scale) is required, but absent");
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(scale, {DataType::kFloat}));
  if (ctx.has_input(zero)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(zero, {type}));
  for (int i : {scale, zero}) {
    if (!ctx.has_input(i) || !ctx.has_shape(i)) continue;
    const Dim count = ctx.shape(i).ElementCount();
    if (count.known() && count.value() != 1) {
      return InvalidArgument("input ", i, " has ", count.value(), " elements: expected 1");
    }
  }
  return absl::OkStatus();
}

// ---- com.microsoft QLinearAdd, QLinearMul ----
// C = quantize(A + B), quantize(A * B), with broadcasting.
// Inputs: A, A_scale, A_zero_point?, B, B_scale, B_zero_point?, C_scale, C_zero_point?; all 8-bit ones of one type.
enum BinaryInput { kA, kAScale, kAZero, kB, kBScale, kBZero, kCScale, kCZero };

absl::Status InferBinary(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kA, {DataType::kUInt8, DataType::kInt8}));
  if (!ctx.has_input(kB)) return InvalidArgument("input B is required, but absent");
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(kB, kA));
  const DataType type = ctx.dtype(kA);
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, type, kAScale, kAZero));
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, type, kBScale, kBZero));
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, type, kCScale, kCZero));
  if (!ctx.has_shape(kA) || !ctx.has_shape(kB)) {
    ctx.SetOutputOfUnknownRank(0, type);
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(ctx.shape(kA), ctx.shape(kB)));
  ctx.SetOutput(0, type, std::move(shape));
  return absl::OkStatus();
}

// The output as rows of its last dims that both operands walk with one stride (0 or 1), rows as an odometer.
struct BroadcastRows {
  int64_t rows = 1, row = 1;
  int64_t a_step = 0, b_step = 0;
  Dims dims, a_strides, b_strides;  // of the outer dims

  static BroadcastRows Create(const Dims& a, const Dims& b, const Dims& out) {
    BroadcastRows r;
    const int rank = static_cast<int>(out.size());
    Dims as(rank), bs(rank);
    const auto strides = [&](const Dims& d, Dims* s) {
      int64_t stride = 1;
      for (int i = rank - 1; i >= 0; --i) {
        const int j = i - (rank - static_cast<int>(d.size()));
        const int64_t n = j >= 0 ? d[j] : 1;
        (*s)[i] = n == 1 ? 0 : stride;
        stride *= n;
      }
    };
    strides(a, &as);
    strides(b, &bs);
    int i = rank;
    // Dims of 1 have stride 0 in both and may join any run.
    while (i > 0) {
      const int64_t n = out[i - 1];
      if (n == 1) {
        --i;
        continue;
      }
      if (r.row == 1) {
        r.a_step = as[i - 1] != 0;
        r.b_step = bs[i - 1] != 0;
      } else if (as[i - 1] != r.a_step * r.row || bs[i - 1] != r.b_step * r.row) {
        break;
      }
      r.row *= n;
      --i;
    }
    for (int j = 0; j < i; ++j) {
      r.dims.push_back(out[j]);
      r.a_strides.push_back(as[j]);
      r.b_strides.push_back(bs[j]);
      r.rows *= out[j];
    }
    return r;
  }
  void Locate(int64_t index, int64_t* a, int64_t* b) const {
    *a = *b = 0;
    for (int i = static_cast<int>(dims.size()) - 1; i >= 0; --i) {
      const int64_t at = index % dims[i];
      index /= dims[i];
      *a += at * a_strides[i];
      *b += at * b_strides[i];
    }
  }
};

template <typename T, bool kMultiply>
void BinaryRow(const T* a, int64_t a_step, const Quantization& qa, const T* b, int64_t b_step, const Quantization& qb,
               const Quantizer<T>& quantize, int64_t n, T* c) {
  const auto value = [&](int x, int y) {
    const float fx = static_cast<float>(x - qa.zero), fy = static_cast<float>(y - qb.zero);
    return kMultiply ? (fx * fy) * (qa.scale * qb.scale) : fx * qa.scale + fy * qb.scale;
  };
  if (a_step != 0 && b_step != 0) {
    for (int64_t i = 0; i < n; ++i) c[i] = quantize(value(a[i], b[i]));
  } else {
    for (int64_t i = 0; i < n; ++i) c[i] = quantize(value(a[i * a_step], b[i * b_step]));
  }
}

template <bool kMultiply>
absl::StatusOr<std::unique_ptr<Kernel>> PrepareBinary(PrepareContext& ctx) {
  const BroadcastRows rows = BroadcastRows::Create(ctx.input_dims(kA), ctx.input_dims(kB), ctx.output_dims(0));
  return MakeKernel([rows](RunContext& ctx) {
    const Quantization qa = ReadQuantization(ctx, kAScale, kAZero), qb = ReadQuantization(ctx, kBScale, kBZero);
    const Quantization qc = ReadQuantization(ctx, kCScale, kCZero);
    return DispatchByte<absl::Status>(ctx.input(kA).dtype(), [&](auto tag) {
      using T = decltype(tag);
      const T *a = ctx.in<T>(kA), *b = ctx.in<T>(kB);
      T* c = ctx.out<T>(0);
      const Quantizer<T> quantize(qc);
      // One loop over pieces of rows, so that a single long row is shared out too.
      constexpr int64_t kPiece = 16384;
      const int64_t pieces = (rows.row + kPiece - 1) / kPiece;
      const int64_t grain = std::max<int64_t>(1, 2 * kPiece / std::min(kPiece, std::max<int64_t>(rows.row, 1)));
      ParallelFor(rows.rows * pieces, grain, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          const int64_t row = p / pieces, first = p % pieces * kPiece;
          int64_t at_a, at_b;
          rows.Locate(row, &at_a, &at_b);
          BinaryRow<T, kMultiply>(a + at_a + first * rows.a_step, rows.a_step, qa, b + at_b + first * rows.b_step,
                                  rows.b_step, qb, quantize, std::min(kPiece, rows.row - first),
                                  c + row * rows.row + first);
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- Tables ----

// table[byte] for every value of T: quantize(f((x - zero) * scale)).
template <typename T, typename F>
void FillTable(const Quantization& from, const Quantization& to, const F& f, uint8_t* table) {
  const Quantizer<T> quantize(to);
  for (int i = 0; i < 256; ++i) {
    const T x = static_cast<T>(static_cast<uint8_t>(i));
    table[i] = static_cast<uint8_t>(quantize(f(static_cast<float>(static_cast<int>(x) - from.zero) * from.scale)));
  }
}
void MapBytes(const uint8_t* x, const uint8_t* table, int64_t n, uint8_t* y) {
  ParallelFor(n, 32768, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = table[x[i]];
  });
}

// ---- com.microsoft QLinearSigmoid, QLinearLeakyRelu ----
// Y = quantize(f(X)); inputs X, X_scale, X_zero_point?, Y_scale, Y_zero_point?. LeakyRelu: attribute alpha 0.01.
enum UnaryInput { kX, kXScale, kXZero, kYScale, kYZero };

absl::Status InferUnary(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(kX, {DataType::kUInt8, DataType::kInt8}));
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, ctx.dtype(kX), kXScale, kXZero));
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, ctx.dtype(kX), kYScale, kYZero));
  ctx.SetOutputType(0, ctx.input_type(kX));
  return absl::OkStatus();
}

template <typename F>
std::unique_ptr<Kernel> TableKernel(const F& f) {
  return MakeKernel([f](RunContext& ctx) {
    const Quantization qx = ReadQuantization(ctx, kXScale, kXZero), qy = ReadQuantization(ctx, kYScale, kYZero);
    uint8_t table[256];
    DispatchByte<int>(ctx.input(kX).dtype(), [&](auto tag) {
      FillTable<decltype(tag)>(qx, qy, f, table);
      return 0;
    });
    MapBytes(ctx.in<uint8_t>(kX), table, ctx.input(kX).size(), ctx.out<uint8_t>(0));
    return absl::OkStatus();
  });
}
absl::StatusOr<std::unique_ptr<Kernel>> PrepareSigmoid(PrepareContext& ctx) {
  return TableKernel([](float x) { return 1.0f / (1.0f + std::exp(-x)); });
}
absl::StatusOr<std::unique_ptr<Kernel>> PrepareLeakyRelu(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const float alpha, ctx.attributes.Float("alpha", 0.01f));
  return TableKernel([alpha](float x) { return x < 0 ? alpha * x : x; });
}

// ---- com.microsoft QLinearConcat ----
// Y = quantize(Concat(inputs)); inputs Y_scale, Y_zero_point, then (X, scale, zero_point) each. Attribute axis.
constexpr int kFirst = 2;

absl::Status InferConcat(InferContext& ctx) {
  if (ctx.num_inputs() < 5 || (ctx.num_inputs() - kFirst) % 3 != 0) {
    return InvalidArgument("expected 2 + 3n inputs, got ", ctx.num_inputs());
  }
  RONDO_ASSIGN_OR_RETURN(const int64_t axis_attribute, ctx.attributes.Int("axis"));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kUInt8, DataType::kInt8}));
  const DataType type = ctx.dtype(1);
  RONDO_RETURN_IF_ERROR(CheckParameters(ctx, type, 0, 1));
  Shape shape;
  for (int i = kFirst; i < ctx.num_inputs(); i += 3) {
    if (!ctx.has_input(i)) return InvalidArgument("input ", i, " is required, but absent");
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {type}));
    RONDO_RETURN_IF_ERROR(CheckParameters(ctx, type, i + 1, i + 2));
    if (!ctx.has_shape(i)) {
      ctx.SetOutputOfUnknownRank(0, type);
      return absl::OkStatus();
    }
    const Shape& x = ctx.shape(i);
    RONDO_ASSIGN_OR_RETURN(const int axis, NormalizeAxis(axis_attribute, x.rank()));
    if (i == kFirst) {
      shape = x;
      continue;
    }
    if (x.rank() != shape.rank())
      return InvalidArgument("input ", i, " has rank ", x.rank(), ": expected ", shape.rank());
    for (int d = 0; d < x.rank(); ++d) {
      if (d == axis) {
        shape[d] = shape[d] + x[d];
      } else if (shape[d].known() && x[d].known() && shape[d] != x[d]) {
        return InvalidArgument("dim ", d, " of input ", i, " is ", x[d].ToString(), ": expected ", shape[d].ToString());
      } else if (x[d].known()) {
        shape[d] = x[d];
      }
    }
  }
  ctx.SetOutput(0, type, std::move(shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConcat(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(const int64_t axis_attribute, ctx.attributes.Int("axis"));
  const Dims out = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(const int axis, NormalizeAxis(axis_attribute, static_cast<int>(out.size())));
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < static_cast<int>(out.size()); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : out[i];
  return MakeKernel([outer, inner, axis, width = out[axis] * inner](RunContext& ctx) {
    const Quantization qy = ReadQuantization(ctx, 0, 1);
    uint8_t* y = ctx.out<uint8_t>(0);
    for (int i = kFirst; i < ctx.num_inputs(); i += 3) {
      const Tensor& x = ctx.input(i);
      const Quantization qx = ReadQuantization(ctx, i + 1, i + 2);
      uint8_t table[256];
      const bool same = qx.scale == qy.scale && qx.zero == qy.zero;
      DispatchByte<int>(x.dtype(), [&](auto tag) {
        FillTable<decltype(tag)>(
            qx, qy, [](float v) { return v; }, table);
        return 0;
      });
      const int64_t row = x.dim(axis) * inner;
      for (int64_t o = 0; o < outer && row > 0; ++o) {
        const uint8_t* from = x.data<uint8_t>() + o * row;
        if (same) {
          std::memcpy(y + o * width, from, static_cast<size_t>(row));
        } else {
          for (int64_t j = 0; j < row; ++j) y[o * width + j] = table[from[j]];
        }
      }
      y += row;
    }
    return absl::OkStatus();
  });
}

// ---- com.microsoft QLinearSoftmax ----
// Y = quantize(Softmax(X)); inputs as QLinearSigmoid. Attributes: axis -1; opset: below 13 the dims from axis on are
// one.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareSoftmax(PrepareContext& ctx) {
  const Dims dims = ctx.input_dims(kX);
  RONDO_ASSIGN_OR_RETURN(const int64_t axis_attribute, ctx.attributes.Int("axis", -1));
  RONDO_ASSIGN_OR_RETURN(const int64_t opset, ctx.attributes.Int("opset"));
  RONDO_ASSIGN_OR_RETURN(const int axis, NormalizeAxis(axis_attribute, std::max(static_cast<int>(dims.size()), 1)));
  int64_t outer = 1, n = 1, inner = 1;
  for (int i = 0; i < static_cast<int>(dims.size()); ++i) {
    if (i < axis) {
      outer *= dims[i];
    } else if (i == axis || opset < 13) {
      n *= dims[i];
    } else {
      inner *= dims[i];
    }
  }
  return MakeKernel([outer, n, inner](RunContext& ctx) {
    const Quantization qx = ReadQuantization(ctx, kXScale, kXZero), qy = ReadQuantization(ctx, kYScale, kYZero);
    // e^(-d * scale) for every distance d below the row's largest value.
    float powers[256];
    for (int d = 0; d < 256; ++d) powers[d] = std::exp(-static_cast<float>(d) * qx.scale);
    DispatchByte<int>(ctx.input(kX).dtype(), [&](auto tag) {
      using T = decltype(tag);
      const Quantizer<T> quantize(qy);
      ParallelFor(outer * inner, std::max<int64_t>(1, 10000 / (n + 1)), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t at = r / inner * n * inner + r % inner;
          const T* x = ctx.in<T>(kX) + at;
          T* y = ctx.out<T>(0) + at;
          int top = x[0];
          for (int64_t i = 1; i < n; ++i) top = std::max<int>(top, x[i * inner]);
          float sum = 0;
          for (int64_t i = 0; i < n; ++i) sum += powers[top - x[i * inner]];
          for (int64_t i = 0; i < n; ++i) y[i * inner] = quantize(powers[top - x[i * inner]] / sum);
        }
      });
      return 0;
    });
    return absl::OkStatus();
  });
}

// Zero points between required inputs are optional, so the arities start low and the rules check the rest.
const OpDef kRows[] = {
    {.domain = "com.microsoft",
     .type = "QLinearAdd",
     .inputs = {2, 8},
     .infer = InferBinary,
     .prepare = PrepareBinary<false>},
    {.domain = "com.microsoft",
     .type = "QLinearMul",
     .inputs = {2, 8},
     .infer = InferBinary,
     .prepare = PrepareBinary<true>},
    {.domain = "com.microsoft",
     .type = "QLinearSigmoid",
     .inputs = {2, 5},
     .infer = InferUnary,
     .prepare = PrepareSigmoid,
     .in_place = InputBit(kX)},
    {.domain = "com.microsoft",
     .type = "QLinearLeakyRelu",
     .inputs = {2, 5},
     .infer = InferUnary,
     .prepare = PrepareLeakyRelu,
     .in_place = InputBit(kX)},
    {.domain = "com.microsoft",
     .type = "QLinearConcat",
     .inputs = {2, Arity::kMany},
     .infer = InferConcat,
     .prepare = PrepareConcat},
    {.domain = "com.microsoft",
     .type = "QLinearSoftmax",
     .inputs = {2, 5},
     .infer = InferUnary,
     .prepare = PrepareSoftmax},
};

}  // namespace

absl::Span<const OpDef> QLinearFamily() { return kRows; }

}  // namespace rondo
