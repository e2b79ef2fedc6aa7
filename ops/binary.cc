// Operators of two broadcast inputs: arithmetic, Pow, Mod, bits and PRelu. (Comparisons and logic: logical.cc.)
//
// Float32 runs on the vector kernels; float16 and bfloat16 are widened around them. Integers wrap on overflow. What has
// no integer result is an error at run time: division and remainder by zero, 0 to a negative power, shifts by the width
// or more.
#include "ops/binary.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "ops/broadcast.h"
#include "ops/convert.h"
#include "ops/families.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/vector_math.h"

namespace rondo {

// ---- Shared by the families of two inputs ---------------------------------------------------------------------------

absl::Status InferBinary(InferContext& ctx, DataType dtype) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (ctx.version() >= 7 || !ctx.node().op().domain.empty()) return InferBroadcast(ctx, 2, dtype);
  return InferSameShape(ctx, dtype);
}

absl::StatusOr<Dims> AlignedSecondDims(PrepareContext& ctx) {
  Dims a = ctx.input_dims(0), b = ctx.input_dims(1);
  if (ctx.version() >= 7 || !ctx.node().op().domain.empty()) return b;
  RONDO_ASSIGN_OR_RETURN(bool broadcast, ctx.attributes.Flag("broadcast", false));
  if (!broadcast) {
    if (a != b) {
      return InvalidArgument("expected inputs of one shape (attribute broadcast is 0), got ", DimsToString(a), " and ",
                             DimsToString(b));
    }
    return b;
  }
  const int rank_a = static_cast<int>(a.size()), rank_b = static_cast<int>(b.size());
  int axis = rank_a - rank_b;
  if (ctx.attributes.Has("axis")) {
    RONDO_ASSIGN_OR_RETURN(int64_t attribute, ctx.attributes.Int("axis"));
    if (rank_b > 0) {
      RONDO_ASSIGN_OR_RETURN(axis, NormalizeAxis(attribute, rank_a));
    }
  }
  bool fits = axis >= 0 && axis + rank_b <= rank_a;
  for (int i = 0; fits && i < rank_b; ++i) fits = b[i] == 1 || b[i] == a[axis + i];
  if (!fits) {
    return InvalidArgument("shape ", DimsToString(b), " does not broadcast to ", DimsToString(a), " at axis ", axis);
  }
  b.resize(rank_a - axis, 1);
  return b;
}

namespace {

constexpr int64_t kHalfBlock = 1024;

// A run over 16-bit floats through blocks of float. `y` has the input's format, or fn's own results when `narrow` is
// null (comparisons).
int64_t RunHalves(BinaryFn fn, bool bfloat, bool narrow, const uint16_t* a, bool a_step, const uint16_t* b, bool b_step,
                  void* y, int64_t n) {
  const VectorMath& math = GetVectorMath();
  auto widen = bfloat ? math.bfloat16_to_float : math.float16_to_float;
  float fa[kHalfBlock], fb[kHalfBlock];
  if (!a_step) widen(a, fa, 1);
  if (!b_step) widen(b, fb, 1);
  for (int64_t i = 0; i < n; i += kHalfBlock) {
    int64_t m = std::min(kHalfBlock, n - i);
    if (a_step) widen(a + i, fa, m);
    if (b_step) widen(b + i, fb, m);
    float fy[kHalfBlock];
    const int64_t done = fn(fa, a_step, fb, b_step, narrow ? static_cast<void*>(fy) : static_cast<uint8_t*>(y) + i, m);
    if (done < m) return i + done;
    if (narrow) (bfloat ? math.float_to_bfloat16 : math.float_to_float16)(fy, static_cast<uint16_t*>(y) + i, m);
  }
  return n;
}

std::string IntegerText(const Tensor& tensor, int64_t i) {
  if (tensor.dtype() == DataType::kUInt64) return absl::StrCat(tensor.data<uint64_t>()[i]);
  int64_t value;
  LoadIntegers(tensor.dtype(), tensor.raw(), i, 1, &value);
  return absl::StrCat(value);
}

// [i, j, k] of a flat index.
std::string PositionText(int64_t flat, absl::Span<const int64_t> dims) {
  Dims position(dims.size());
  for (size_t d = dims.size(); d-- > 0; flat /= dims[d]) position[d] = flat % dims[d];
  return DimsToString(position);
}

class BinaryKernel final : public Kernel {
 public:
  BinaryKernel(BroadcastLoop<2> loop, const BinaryLoops& loops, DataType input, DataType output)
      : loop_(std::move(loop)), loops_(loops), input_(input), output_(output) {}

  absl::Status Run(RunContext& ctx) const override {
    const std::optional<BinaryFailure> failure = RunBroadcast(loop_, loops_, input_, output_, ctx.input(0).raw(),
                                                              ctx.input(1).raw(), ctx.output(0).mutable_raw());
    if (!failure.has_value()) return absl::OkStatus();
    // Only integers fail.
    return InvalidArgument(loops_.error, " at ", PositionText(failure->y, ctx.output(0).dims()),
                           " of the result: ", IntegerText(ctx.input(0), failure->a), " and ",
                           IntegerText(ctx.input(1), failure->b));
  }
  std::string Implementation() const override { return loops_.implementation; }

 private:
  const BroadcastLoop<2> loop_;
  const BinaryLoops loops_;
  const DataType input_, output_;
};

}  // namespace

std::optional<BinaryFailure> RunBroadcast(const BroadcastLoop<2>& loop, const BinaryLoops& loops, DataType input,
                                          DataType output, const void* a, const void* b, void* y) {
  const bool half = input == DataType::kFloat16 || input == DataType::kBFloat16;
  const bool bfloat = input == DataType::kBFloat16, narrow = input == output;
  const int64_t input_size = static_cast<int64_t>(ByteSize(input, 1));
  const int64_t output_size = static_cast<int64_t>(ByteSize(output, 1));
  const bool a_step = loop.step(0), b_step = loop.step(1);
  std::mutex mutex;
  std::optional<BinaryFailure> first;
  loop.ForAll(loops.grain, [&](const BroadcastLoop<2>::Run& run) {
    const uint8_t* pa = static_cast<const uint8_t*>(a) + run.in[0] * input_size;
    const uint8_t* pb = static_cast<const uint8_t*>(b) + run.in[1] * input_size;
    uint8_t* py = static_cast<uint8_t*>(y) + run.out * output_size;
    const int64_t done = half ? RunHalves(loops.fn, bfloat, narrow, reinterpret_cast<const uint16_t*>(pa), a_step,
                                          reinterpret_cast<const uint16_t*>(pb), b_step, py, run.n)
                              : loops.fn(pa, a_step, pb, b_step, py, run.n);
    if (done == run.n) return;
    std::lock_guard<std::mutex> lock(mutex);
    if (first.has_value() && first->y < run.out + done) return;
    first = {run.out + done, run.in[0] + (a_step ? done : 0), run.in[1] + (b_step ? done : 0)};
  });
  return first;
}

bool UsesVectorMath(PrepareContext& ctx) { return LoopType(ctx.input_dtype(0)) == DataType::kFloat && !ctx.plain(); }
DataType LoopType(DataType dtype) {
  return dtype == DataType::kFloat16 || dtype == DataType::kBFloat16 ? DataType::kFloat : dtype;
}

KernelOr MakeBinaryKernel(PrepareContext& ctx, const BinaryLoops& loops) {
  RONDO_ASSIGN_OR_RETURN(Dims second, AlignedSecondDims(ctx));
  BroadcastLoop<2> loop(ctx.output_dims(0), {ctx.input_dims(0), second});
  return std::make_unique<BinaryKernel>(std::move(loop), loops, ctx.input_dtype(0), ctx.output_dtype(0));
}

namespace {

// ---- Add, Sub, Mul, Div ---------------------------------------------------------------------------------------------
// C = A op B. A, B: one numeric type, broadcast; C: the same type. May run in place of an input of C's shape.
// Integers: overflow wraps, Div truncates toward zero, division by zero is an error, INT_MIN / -1 wraps to INT_MIN.

// Unsigned and at least as wide as int, so that no step overflows or promotes to a signed type.
template <typename T>
using Wrapping = std::conditional_t<(sizeof(T) < 4), uint32_t, std::make_unsigned_t<T>>;

struct AddOp {
  template <typename T>
  static T Apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      return a + b;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
  }
};
struct SubOp {
  template <typename T>
  static T Apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      return a - b;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
  }
};
struct MulOp {
  template <typename T>
  static T Apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      return a * b;
    else
      return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
  }
};
struct DivOp {
  template <typename T>
  static T Apply(T a, T b) {
    return a / b;
  }
};
struct IntDivOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if (b == 0) return *y = 0, false;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return *y = static_cast<T>(Wrapping<T>(0) - static_cast<Wrapping<T>>(a)), true;
    }
    *y = static_cast<T>(a / b);
    return true;
  }
};

RONDO_VECTOR_LOOP(VectorAdd, add, add_scalar, add_scalar)
RONDO_VECTOR_LOOP(VectorSub, sub, sub_scalar, rsub_scalar)
RONDO_VECTOR_LOOP(VectorMul, mul, mul_scalar, mul_scalar)
RONDO_VECTOR_LOOP(VectorDiv, div, div_scalar, rdiv_scalar)

using FloatingTypes = TypeList<float, double>;

// Kernel with Op's loop, or `vector` where that serves.
template <typename Op, typename... Ts>
KernelOr PrepareLoop(PrepareContext& ctx, TypeList<Ts...> types, BinaryFn vector = nullptr) {
  BinaryLoops loops;
  const DataType type = LoopType(ctx.input_dtype(0));
  if (vector != nullptr && UsesVectorMath(ctx)) {
    loops.fn = vector;
    loops.implementation = std::string("own:") + IsaName(ActiveIsa());
    return MakeBinaryKernel(ctx, loops);
  }
  loops.implementation = "plain";
  return DispatchResult<KernelOr>(types, type, [&](auto tag) -> KernelOr {
    loops.fn = BinaryLoop<Op, typename decltype(tag)::type>;
    return MakeBinaryKernel(ctx, loops);
  });
}
template <typename Op, typename... Ts>
KernelOr PrepareCheckedLoop(PrepareContext& ctx, TypeList<Ts...> types, const char* error) {
  BinaryLoops loops;
  loops.error = error;
  loops.implementation = "plain";
  return DispatchResult<KernelOr>(types, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    loops.fn = CheckedBinaryLoop<Op, typename decltype(tag)::type>;
    return MakeBinaryKernel(ctx, loops);
  });
}

using ArithmeticTypes =
    TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;

KernelOr PrepareAdd(PrepareContext& ctx) { return PrepareLoop<AddOp>(ctx, ArithmeticTypes(), VectorAdd); }
KernelOr PrepareSub(PrepareContext& ctx) { return PrepareLoop<SubOp>(ctx, ArithmeticTypes(), VectorSub); }
KernelOr PrepareMul(PrepareContext& ctx) { return PrepareLoop<MulOp>(ctx, ArithmeticTypes(), VectorMul); }
KernelOr PrepareDiv(PrepareContext& ctx) {
  if (IsInteger(ctx.input_dtype(0))) {
    return PrepareCheckedLoop<IntDivOp>(ctx, IntTypes(), "integer division by zero");
  }
  return PrepareLoop<DivOp>(ctx, FloatingTypes(), VectorDiv);
}

absl::Status InferAdd(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return a + b; });
  return InferBinary(ctx, ctx.dtype(0));
}
absl::Status InferSub(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return a - b; });
  return InferBinary(ctx, ctx.dtype(0));
}
absl::Status InferMul(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return a * b; });
  return InferBinary(ctx, ctx.dtype(0));
}

// Quotient toward zero where the operands' signs are known; exact ones only for floating-point types.
Dim DivideContent(const Dim& a, const Dim& b, bool integer) {
  if (a.known() && b.known()) {
    if (b.value() == 0 || (b.value() == -1 && a.value() == std::numeric_limits<int64_t>::min())) return Dim::Unknown();
    if (!integer && a.value() % b.value() != 0) return Dim::Unknown();
    return a.value() / b.value();
  }
  if (ProveLess(a, 0) != Dim(0) || ProveLess(0, b) != Dim(1)) return Dim::Unknown();
  Dim quotient = Dim::FloorDiv(a, b);
  return integer || quotient * b == a ? quotient : Dim::Unknown();
}
absl::Status InferDiv(InferContext& ctx) {
  const bool integer = IsInteger(ctx.dtype(0));
  PropagateContent(ctx, [integer](const Dim& a, const Dim& b) { return DivideContent(a, b, integer); });
  return InferBinary(ctx, ctx.dtype(0));
}

// ---- Mod ------------------------------------------------------------------------------------------------------------
// C = A mod B. fmod = 0: integers only, the sign of B as in Python. fmod = 1: the sign of A as in C, any numeric type.

struct FloorModOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if (b == 0) return *y = 0, false;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return *y = 0, true;
      T r = static_cast<T>(a % b);
      *y = r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
    } else {
      *y = static_cast<T>(a % b);
    }
    return true;
  }
};
struct TruncatingModOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if (b == 0) return *y = 0, false;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return *y = 0, true;
    }
    *y = static_cast<T>(a % b);
    return true;
  }
};
struct FloatModOp {
  template <typename T>
  static T Apply(T a, T b) {
    return std::fmod(a, b);
  }
};

KernelOr PrepareMod(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool fmod, ctx.attributes.Flag("fmod", false));
  if (!IsInteger(ctx.input_dtype(0))) {
    if (!fmod) {
      return InvalidArgument("attribute fmod: expected 1 for element type ", DataTypeName(ctx.input_dtype(0)),
                             ", got 0");
    }
    return PrepareLoop<FloatModOp>(ctx, FloatingTypes());
  }
  static constexpr char kError[] = "integer remainder by zero";
  if (fmod) return PrepareCheckedLoop<TruncatingModOp>(ctx, IntTypes(), kError);
  return PrepareCheckedLoop<FloorModOp>(ctx, IntTypes(), kError);
}
absl::Status InferMod(InferContext& ctx) {
  if (IsInteger(ctx.dtype(0))) {
    // Both conventions agree for operands that are not negative.
    PropagateContent(ctx, [](const Dim& a, const Dim& b) {
      if (ProveLess(a, 0) != Dim(0) || ProveLess(0, b) != Dim(1)) return Dim::Unknown();
      return a - b * Dim::FloorDiv(a, b);
    });
  }
  return InferBinary(ctx, ctx.dtype(0));
}

// ---- Pow ------------------------------------------------------------------------------------------------------------
// Z = X ^ Y, of X's type. Opset 1-11: Y has X's type; from 12 on any numeric type. Integer X: a negative exponent gives
// the quotient toward zero (0 to a negative power is an error), overflow wraps; with a real exponent the result is
// computed in double and truncated. May run in place of X.

template <typename T>
bool IntegerPower(T base, int64_t exponent, T* y) {
  using U = Wrapping<T>;
  if (exponent < 0) {
    if (base == 0) return *y = 0, false;
    bool minus_one = std::is_signed_v<T> && base == static_cast<T>(-1);
    *y = base == 1 ? T(1) : minus_one ? ((exponent & 1) != 0 ? base : T(1)) : T(0);
    return true;
  }
  U result = 1, square = static_cast<U>(base);
  for (uint64_t e = static_cast<uint64_t>(exponent); e != 0; e >>= 1) {
    if ((e & 1) != 0) result *= square;
    square *= square;
  }
  *y = static_cast<T>(result);
  return true;
}
struct IntPowOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (b > uint64_t{std::numeric_limits<int64_t>::max()}) {  // far beyond wrapping to 0 or 1; keep the parity
        return IntegerPower<T>(a, static_cast<int64_t>((uint64_t{1} << 62) | (b & 1)), y);
      }
    }
    return IntegerPower<T>(a, static_cast<int64_t>(b), y);
  }
};
struct PowOp {
  template <typename T>
  static T Apply(T a, T b) {
    return std::pow(a, b);
  }
};

// Exponents that norms use, without pow().
int64_t VectorPow(const void* va, bool a_step, const void* vb, bool b_step, void* vy, int64_t n) {
  const float* a = static_cast<const float*>(va);
  const float exponent = *static_cast<const float*>(vb);
  float* y = static_cast<float*>(vy);
  const VectorMath& math = GetVectorMath();
  if (a_step && !b_step) {
    if (exponent == 2.0f) return math.mul(a, a, y, n), n;
    if (exponent == 1.0f) return math.mul_scalar(a, 1.0f, y, n), n;
    if (exponent == 0.5f) return math.sqrt(a, y, n), n;
    if (exponent == -1.0f) return math.reciprocal(a, y, n), n;
    if (exponent == 3.0f) {
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] * a[i] * a[i];
      return n;
    }
  }
  return BinaryLoop<PowOp, float>(va, a_step, vb, b_step, vy, n);
}

// Element i of a tensor of any numeric type.
double NumberAt(DataType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DataType::kFloat:
      return static_cast<const float*>(data)[i];
    case DataType::kDouble:
      return static_cast<const double*>(data)[i];
    case DataType::kFloat16:
      return static_cast<float>(static_cast<const Float16*>(data)[i]);
    case DataType::kBFloat16:
      return static_cast<float>(static_cast<const BFloat16*>(data)[i]);
    case DataType::kInt8:
      return static_cast<const int8_t*>(data)[i];
    case DataType::kUInt8:
      return static_cast<const uint8_t*>(data)[i];
    case DataType::kInt16:
      return static_cast<const int16_t*>(data)[i];
    case DataType::kUInt16:
      return static_cast<const uint16_t*>(data)[i];
    case DataType::kInt32:
      return static_cast<const int32_t*>(data)[i];
    case DataType::kUInt32:
      return static_cast<const uint32_t*>(data)[i];
    case DataType::kInt64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    default:
      return static_cast<double>(static_cast<const uint64_t*>(data)[i]);
  }
}
int64_t IntegerAt(DataType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DataType::kInt64:
      return static_cast<const int64_t*>(data)[i];
    case DataType::kUInt64:  // exponents: beyond int64 only the parity matters
      return static_cast<int64_t>(std::min(static_cast<const uint64_t*>(data)[i], uint64_t{1} << 62));
    default:
      return static_cast<int64_t>(NumberAt(dtype, data, i));
  }
}

// Exponents of another type than the base, one element at a time.
template <typename T>
KernelOr MakeMixedPow(PrepareContext& ctx) {
  BroadcastLoop<2> loop(ctx.output_dims(0), {ctx.input_dims(0), ctx.input_dims(1)});
  const DataType exponent_type = ctx.input_dtype(1);
  return MakeKernel(
      [loop, exponent_type](RunContext& run) {
        const T* x = run.in<T>(0);
        const void* exponents = run.input(1).raw();
        T* z = run.out<T>(0);
        std::atomic<bool> ok{true};
        loop.ForAll(kScalarGrain, [&](const BroadcastLoop<2>::Run& r) {
          for (int64_t i = 0; i < r.n; ++i) {
            const T base = x[r.in[0] + (loop.step(0) ? i : 0)];
            const int64_t at = r.in[1] + (loop.step(1) ? i : 0);
            T* out = &z[r.out + i];
            if constexpr (std::is_integral_v<T>) {
              if (IsInteger(exponent_type)) {
                if (!IntegerPower<T>(base, IntegerAt(exponent_type, exponents, at), out)) ok = false;
                continue;
              }
              double value = std::pow(static_cast<double>(base), NumberAt(exponent_type, exponents, at));
              if (!(value == value)) value = 0;
              const double low = static_cast<double>(std::numeric_limits<T>::lowest());
              const double high = static_cast<double>(std::numeric_limits<T>::max());
              *out = value >= high  ? std::numeric_limits<T>::max()
                     : value <= low ? std::numeric_limits<T>::lowest()
                                    : static_cast<T>(value);
            } else {
              using C = ComputeType<T>;
              *out = T(static_cast<C>(
                  std::pow(static_cast<double>(static_cast<C>(base)), NumberAt(exponent_type, exponents, at))));
            }
          }
        });
        if (!ok.load()) return InvalidArgument("0 raised to a negative power");
        return absl::OkStatus();
      },
      "plain");
}

absl::Status InferPow(InferContext& ctx) {
  for (int i = 0; i < 2; ++i) {
    if (!IsInteger(ctx.dtype(i)) && !IsFloatingPoint(ctx.dtype(i))) {
      return InvalidArgument("input ", i, ": expected a numeric type, got ", DataTypeName(ctx.dtype(i)));
    }
  }
  if (ctx.version() < 7) return InferSameShape(ctx, ctx.dtype(0));
  return InferBroadcast(ctx, 2, ctx.dtype(0));
}
KernelOr PreparePow(PrepareContext& ctx) {
  const DataType base = ctx.input_dtype(0);
  if (base == ctx.input_dtype(1)) {
    if (IsInteger(base)) return PrepareCheckedLoop<IntPowOp>(ctx, IntTypes(), "0 raised to a negative power");
    return PrepareLoop<PowOp>(ctx, FloatingTypes(), VectorPow);
  }
  return DispatchResult<KernelOr>(
      NumericTypes(), base, [&](auto tag) -> KernelOr { return MakeMixedPow<typename decltype(tag)::type>(ctx); });
}

// ---- BitwiseAnd, BitwiseOr, BitwiseXor, BitShift --------------------------------------------------------------------
// Integers of one type, broadcast. BitShift (unsigned): attribute direction = "LEFT" or "RIGHT", required; a shift by
// the type's width or more is an error.

struct BitAndOp {
  template <typename T>
  static T Apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct BitOrOp {
  template <typename T>
  static T Apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct BitXorOp {
  template <typename T>
  static T Apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct ShiftLeftOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if (b >= sizeof(T) * 8) return *y = 0, false;
    *y = static_cast<T>(static_cast<Wrapping<T>>(a) << b);
    return true;
  }
};
struct ShiftRightOp {
  template <typename T>
  static bool Apply(T a, T b, T* y) {
    if (b >= sizeof(T) * 8) return *y = 0, false;
    *y = static_cast<T>(a >> b);
    return true;
  }
};

KernelOr PrepareBitwiseAnd(PrepareContext& ctx) { return PrepareLoop<BitAndOp>(ctx, IntTypes()); }
KernelOr PrepareBitwiseOr(PrepareContext& ctx) { return PrepareLoop<BitOrOp>(ctx, IntTypes()); }
KernelOr PrepareBitwiseXor(PrepareContext& ctx) { return PrepareLoop<BitXorOp>(ctx, IntTypes()); }
absl::Status InferSameType(InferContext& ctx) { return InferBinary(ctx, ctx.dtype(0)); }

KernelOr PrepareBitShift(PrepareContext& ctx) {
  using UnsignedTypes = TypeList<uint8_t, uint16_t, uint32_t, uint64_t>;
  RONDO_ASSIGN_OR_RETURN(std::string direction, ctx.attributes.String("direction"));
  static constexpr char kError[] = "shift amount not below the width of the element type";
  if (direction == "LEFT") return PrepareCheckedLoop<ShiftLeftOp>(ctx, UnsignedTypes(), kError);
  if (direction == "RIGHT") return PrepareCheckedLoop<ShiftRightOp>(ctx, UnsignedTypes(), kError);
  return InvalidArgument("attribute \"direction\": expected \"LEFT\" or \"RIGHT\", got \"", direction, "\"");
}

// ---- PRelu ----------------------------------------------------------------------------------------------------------
// Y = X < 0 ? slope * X : X. slope broadcasts to X (one way). Before opset 7: slope of shape [1], or [C] along axis 1.
// May run in place of X.

struct PReluOp {
  template <typename T>
  static T Apply(T x, T slope) {
    return x < T(0) ? MulOp::Apply(x, slope) : x;
  }
};

absl::Status InferPRelu(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  return InferSameAsInput(ctx);
}

KernelOr PreparePRelu(PrepareContext& ctx) {
  const Dims x = ctx.input_dims(0);
  Dims slope = ctx.input_dims(1);
  if (ctx.version() < 7 && slope.size() == 1 && slope[0] != 1 && x.size() >= 2) {
    slope.resize(x.size() - 1, 1);  // [C] -> [C, 1, ...]
  }
  absl::StatusOr<Dims> broadcast = BroadcastDims(x, slope);
  if (!broadcast.ok() || *broadcast != x) {
    return InvalidArgument("slope: expected a shape that broadcasts to ", DimsToString(x), ", got ",
                           DimsToString(ctx.input_dims(1)));
  }
  BroadcastLoop<2> loop(x, {x, slope});
  BinaryLoops loops;
  loops.implementation = "plain";
  const DataType dtype = ctx.input_dtype(0);
  using Types = TypeList<float, double, int32_t, uint32_t, int64_t, uint64_t, int8_t, uint8_t, int16_t, uint16_t>;
  return DispatchResult<KernelOr>(Types(), LoopType(dtype), [&](auto tag) -> KernelOr {
    loops.fn = BinaryLoop<PReluOp, typename decltype(tag)::type>;
    return std::make_unique<BinaryKernel>(loop, loops, dtype, dtype);
  });
}

constexpr uint32_t kEither = InputBit(0) | InputBit(1);

const OpDef kRows[] = {
    {.type = "Add", .inputs = {2, 2}, .infer = InferAdd, .prepare = PrepareAdd, .in_place = kEither},
    {.type = "BitShift",
     .since = 11,
     .inputs = {2, 2},
     .infer = InferSameType,
     .prepare = PrepareBitShift,
     .in_place = kEither},
    {.type = "BitwiseAnd",
     .since = 18,
     .inputs = {2, 2},
     .infer = InferSameType,
     .prepare = PrepareBitwiseAnd,
     .in_place = kEither},
    {.type = "BitwiseOr",
     .since = 18,
     .inputs = {2, 2},
     .infer = InferSameType,
     .prepare = PrepareBitwiseOr,
     .in_place = kEither},
    {.type = "BitwiseXor",
     .since = 18,
     .inputs = {2, 2},
     .infer = InferSameType,
     .prepare = PrepareBitwiseXor,
     .in_place = kEither},
    {.type = "Div", .inputs = {2, 2}, .infer = InferDiv, .prepare = PrepareDiv, .in_place = kEither},
    {.type = "Mod", .since = 10, .inputs = {2, 2}, .infer = InferMod, .prepare = PrepareMod, .in_place = kEither},
    {.type = "Mul", .inputs = {2, 2}, .infer = InferMul, .prepare = PrepareMul, .in_place = kEither},
    {.type = "PRelu", .inputs = {2, 2}, .infer = InferPRelu, .prepare = PreparePRelu, .in_place = InputBit(0)},
    {.type = "Pow", .inputs = {2, 2}, .infer = InferPow, .prepare = PreparePow, .in_place = InputBit(0)},
    {.type = "Sub", .inputs = {2, 2}, .infer = InferSub, .prepare = PrepareSub, .in_place = kEither},
};

}  // namespace

absl::Span<const OpDef> BinaryFamily() { return kRows; }

}  // namespace rondo
