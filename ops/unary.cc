// Elementwise operators of one input whose value depends on nothing but the element: Y[i] = f(X[i]).
//
// The real functions are rows of one table: a reference expression that serves every floating-point type, and a vector
// kernel for float32 where there is one (float16 and bfloat16 go through float32). The integer forms of Abs, Neg and
// Sign, the predicates and the bit operators have loops of their own. Integer results wrap: Abs and Neg of the smallest
// value give that value.
//
// Old versions (opset 1) carried an attribute `consumed_inputs`, a hint about memory, which is ignored.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <type_traits>

#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/families.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- Real functions -------------------------------------------------------------------------------------------------
// Exp Log Sqrt Reciprocal Floor Ceil Round Erf Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh
//   X: floating point, any shape; Y: same type and shape; may run in place.

// A vector kernel of the active instruction set as a FloatMap's `fast`.
#define RONDO_FAST(member) [](const float* x, float* y, int64_t n, const float*) { GetVectorMath().member(x, y, n); }

#define RONDO_REAL(Name, expr) \
  RONDO_FLOAT_OP(Name, expr);  \
  constexpr FloatMap k##Name = MakeFloatMap<Name##Op>()
#define RONDO_REAL_FAST(Name, expr, member) \
  RONDO_FLOAT_OP(Name, expr);               \
  constexpr FloatMap k##Name = MakeFloatMap<Name##Op>(RONDO_FAST(member))

RONDO_REAL_FAST(Exp, std::exp(x), exp);
RONDO_REAL_FAST(Log, std::log(x), log);
RONDO_REAL_FAST(Sqrt, std::sqrt(x), sqrt);
RONDO_REAL_FAST(Reciprocal, T(1) / x, reciprocal);
RONDO_REAL_FAST(Floor, std::floor(x), floor);
RONDO_REAL_FAST(Ceil, std::ceil(x), ceil);
RONDO_REAL_FAST(Round, std::nearbyint(x), round);  // halves to the even neighbour
RONDO_REAL_FAST(Erf, std::erf(x), erf);
RONDO_REAL_FAST(Tanh, std::tanh(x), tanh);
RONDO_REAL_FAST(Abs, std::abs(x), abs);
RONDO_REAL_FAST(Neg, -x, neg);
RONDO_REAL(Sin, std::sin(x));
RONDO_REAL(Cos, std::cos(x));
RONDO_REAL(Tan, std::tan(x));
RONDO_REAL(Asin, std::asin(x));
RONDO_REAL(Acos, std::acos(x));
RONDO_REAL(Atan, std::atan(x));
RONDO_REAL(Sinh, std::sinh(x));
RONDO_REAL(Cosh, std::cosh(x));
RONDO_REAL(Asinh, std::asinh(x));
RONDO_REAL(Acosh, std::acosh(x));
RONDO_REAL(Atanh, std::atanh(x));
// NaN stays NaN.
RONDO_REAL(Sign, x > T(0) ? T(1) : x < T(0) ? T(-1) : x == T(0) ? T(0) : x);

// ---- Loops over other element types ---------------------------------------------------------------------------------

// Kernel y[i] = fn(x[i]) from elements of T to elements of R.
template <typename T, typename R, typename Fn>
std::unique_ptr<Kernel> MakeLoopKernel(Fn fn) {
  return MakeKernel([fn](RunContext& ctx) {
    const T* x = ctx.in<T>(0);
    R* y = ctx.out<R>(0);
    ParallelFor(ctx.input(0).size(), kVectorGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = fn(x[i]);
    });
    return absl::OkStatus();
  });
}

// ---- Abs, Neg, Sign -------------------------------------------------------------------------------------------------
// X: any numeric type (Neg: signed), Y: same type and shape; may run in place.

struct IntAbs {
  template <typename T>
  static T Apply(T x) {
    using U = std::make_unsigned_t<T>;
    return x < 0 ? static_cast<T>(U(0) - static_cast<U>(x)) : x;
  }
};
struct IntNeg {
  template <typename T>
  static T Apply(T x) {
    return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(x));
  }
};
struct IntSign {
  template <typename T>
  static T Apply(T x) {
    return static_cast<T>((x > 0) - (x < 0));
  }
};

template <typename IntOp, const FloatMap& kMap>
absl::StatusOr<std::unique_ptr<Kernel>> PrepareNumeric(PrepareContext& ctx) {
  if (!IsInteger(ctx.input_dtype(0))) return PrepareFloatMap(ctx, kMap);
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      IntTypes(), ctx.input_dtype(0), [](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        using T = typename decltype(tag)::type;
        return MakeLoopKernel<T, T>([](T x) { return IntOp::Apply(x); });
      });
}

absl::Status InferNeg(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& d) { return Dim(0) - d; });
  return InferSameAsInput(ctx);
}
absl::Status InferAbs(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& d) { return ProveLess(d, 0) == Dim(0) ? d : Dim::Max(d, Dim(0) - d); });
  return InferSameAsInput(ctx);
}
absl::Status InferSign(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& d) {
    if (ProveLess(0, d) == Dim(1)) return Dim(1);
    return d.known() ? Dim(d.value() < 0 ? -1 : 0) : Dim::Unknown();
  });
  return InferSameAsInput(ctx);
}

// ---- Not ------------------------------------------------------------------------------------------------------------
// X, Y: bool; Y = !X; may run in place.

absl::Status InferNot(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kBool}));
  PropagateContent(ctx, [](const Dim& d) { return d.known() ? Dim(d.value() == 0 ? 1 : 0) : Dim::Unknown(); });
  return InferSameAsInput(ctx);
}
absl::StatusOr<std::unique_ptr<Kernel>> PrepareNot(PrepareContext& ctx) {
  // Over bytes: any other than 0 is true, whatever a file says.
  return MakeLoopKernel<uint8_t, uint8_t>([](uint8_t x) { return static_cast<uint8_t>(x == 0); });
}

// ---- BitwiseNot -----------------------------------------------------------------------------------------------------
// X: any integer type, Y = ~X; may run in place.

absl::StatusOr<std::unique_ptr<Kernel>> PrepareBitwiseNot(PrepareContext& ctx) {
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      IntTypes(), ctx.input_dtype(0), [](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        using T = typename decltype(tag)::type;
        return MakeLoopKernel<T, T>([](T x) { return static_cast<T>(~x); });
      });
}

// ---- IsNaN, IsInf ---------------------------------------------------------------------------------------------------
// X: floating point (float8 from opset 20 on), Y: bool of the same shape.
// IsInf attributes: detect_negative = 1, detect_positive = 1.

absl::Status InferPredicate(InferContext& ctx) {
  if (!IsFloatingPoint(ctx.dtype(0))) {
    return InvalidArgument("input 0: expected a floating-point type, got ", DataTypeName(ctx.dtype(0)));
  }
  return InferSameShape(ctx, DataType::kBool);
}

// Kernel that applies `fn` (float or double -> bool) to any floating-point type of whole bytes.
template <typename Fn>
absl::StatusOr<std::unique_ptr<Kernel>> MakePredicate(DataType dtype, Fn fn) {
  auto small = [fn](SmallFloat format) {
    return MakeLoopKernel<uint8_t, bool>([fn, format](uint8_t x) { return fn(SmallFloatToFloat(format, x)); });
  };
  switch (dtype) {
    case DataType::kFloat:
      return MakeLoopKernel<float, bool>(fn);
    case DataType::kDouble:
      return MakeLoopKernel<double, bool>(fn);
    case DataType::kFloat16:
      return MakeLoopKernel<Float16, bool>([fn](Float16 x) { return fn(static_cast<float>(x)); });
    case DataType::kBFloat16:
      return MakeLoopKernel<BFloat16, bool>([fn](BFloat16 x) { return fn(static_cast<float>(x)); });
    case DataType::kFloat8E4M3FN:
      return small(SmallFloat::kE4M3FN);
    case DataType::kFloat8E4M3FNUZ:
      return small(SmallFloat::kE4M3FNUZ);
    case DataType::kFloat8E5M2:
      return small(SmallFloat::kE5M2);
    case DataType::kFloat8E5M2FNUZ:
      return small(SmallFloat::kE5M2FNUZ);
    case DataType::kFloat8E8M0:
      return MakeLoopKernel<uint8_t, bool>([fn](uint8_t x) { return fn(E8M0ToFloat(x)); });
    default:
      return Unimplemented("element type ", DataTypeName(dtype), " is not supported here");
  }
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareIsNaN(PrepareContext& ctx) {
  return MakePredicate(ctx.input_dtype(0), [](auto x) { return x != x; });
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareIsInf(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool negative, ctx.attributes.Flag("detect_negative", true));
  RONDO_ASSIGN_OR_RETURN(bool positive, ctx.attributes.Flag("detect_positive", true));
  return MakePredicate(ctx.input_dtype(0),
                       [negative, positive](auto x) { return std::isinf(x) && (x < 0 ? negative : positive); });
}

const OpDef kRows[] = {
    {.type = "Abs", .infer = InferAbs, .prepare = PrepareNumeric<IntAbs, kAbs>, .in_place = InputBit(0)},
    {.type = "Acos", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kAcos>, .in_place = InputBit(0)},
    {.type = "Acosh", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kAcosh>, .in_place = InputBit(0)},
    {.type = "Asin", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kAsin>, .in_place = InputBit(0)},
    {.type = "Asinh", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kAsinh>, .in_place = InputBit(0)},
    {.type = "Atan", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kAtan>, .in_place = InputBit(0)},
    {.type = "Atanh", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kAtanh>, .in_place = InputBit(0)},
    {.type = "BitwiseNot",
     .since = 18,
     .infer = InferSameAsInput,
     .prepare = PrepareBitwiseNot,
     .in_place = InputBit(0)},
    {.type = "Ceil", .infer = InferSameAsInput, .prepare = PrepareMap<kCeil>, .in_place = InputBit(0)},
    {.type = "Cos", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kCos>, .in_place = InputBit(0)},
    {.type = "Cosh", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kCosh>, .in_place = InputBit(0)},
    {.type = "Erf", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kErf>, .in_place = InputBit(0)},
    {.type = "Exp", .infer = InferSameAsInput, .prepare = PrepareMap<kExp>, .in_place = InputBit(0)},
    {.type = "Floor", .infer = InferSameAsInput, .prepare = PrepareMap<kFloor>, .in_place = InputBit(0)},
    {.type = "IsInf", .since = 10, .infer = InferPredicate, .prepare = PrepareIsInf},
    {.type = "IsNaN", .since = 9, .infer = InferPredicate, .prepare = PrepareIsNaN},
    {.type = "Log", .infer = InferSameAsInput, .prepare = PrepareMap<kLog>, .in_place = InputBit(0)},
    {.type = "Neg", .infer = InferNeg, .prepare = PrepareNumeric<IntNeg, kNeg>, .in_place = InputBit(0)},
    {.type = "Not", .infer = InferNot, .prepare = PrepareNot, .in_place = InputBit(0)},
    {.type = "Reciprocal", .infer = InferSameAsInput, .prepare = PrepareMap<kReciprocal>, .in_place = InputBit(0)},
    {.type = "Round", .since = 11, .infer = InferSameAsInput, .prepare = PrepareMap<kRound>, .in_place = InputBit(0)},
    {.type = "Sign",
     .since = 9,
     .infer = InferSign,
     .prepare = PrepareNumeric<IntSign, kSign>,
     .in_place = InputBit(0)},
    {.type = "Sin", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kSin>, .in_place = InputBit(0)},
    {.type = "Sinh", .since = 9, .infer = InferSameAsInput, .prepare = PrepareMap<kSinh>, .in_place = InputBit(0)},
    {.type = "Sqrt", .infer = InferSameAsInput, .prepare = PrepareMap<kSqrt>, .in_place = InputBit(0)},
    {.type = "Tan", .since = 7, .infer = InferSameAsInput, .prepare = PrepareMap<kTan>, .in_place = InputBit(0)},
    {.type = "Tanh", .infer = InferSameAsInput, .prepare = PrepareMap<kTanh>, .in_place = InputBit(0)},
};

}  // namespace

absl::Span<const OpDef> UnaryFamily() { return kRows; }

}  // namespace rondo
