// Comparisons, logic on bool, and Where: the operators that make and use masks. Shape arithmetic of exporters goes
// through them too (Equal against -1, Where, for Expand), so each rule says what it can prove about symbolic dims.
#include <string>

#include "ops/binary.h"
#include "ops/broadcast.h"
#include "ops/families.h"

namespace rondo {
namespace {

// ---- Equal, Less, LessOrEqual, Greater, GreaterOrEqual --------------------------------------------------------------
// C = A op B, bool. A, B: one type, broadcast; numeric or bool (Equal: also strings). Comparisons with NaN are false.

struct EqualOp {
  template <typename T>
  static bool Apply(const T& a, const T& b) {
    return a == b;
  }
};
struct LessOp {
  template <typename T>
  static bool Apply(T a, T b) {
    return a < b;
  }
};
struct LessOrEqualOp {
  template <typename T>
  static bool Apply(T a, T b) {
    return a <= b;
  }
};
struct GreaterOp {
  template <typename T>
  static bool Apply(T a, T b) {
    return a > b;
  }
};
struct GreaterOrEqualOp {
  template <typename T>
  static bool Apply(T a, T b) {
    return a >= b;
  }
};

using OrderedTypes = TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
using EqualTypes =
    TypeList<float, double, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, std::string>;

template <typename Op, typename... Ts>
KernelOr PrepareComparison(PrepareContext& ctx, TypeList<Ts...> types) {
  DataType type = LoopType(ctx.input_dtype(0));
  if (type == DataType::kBool) type = DataType::kUInt8;
  return DispatchResult<KernelOr>(types, type, [&](auto tag) -> KernelOr {
    BinaryLoops loops;
    loops.fn = BinaryLoop<Op, typename decltype(tag)::type, bool>;
    return MakeBinaryKernel(ctx, loops);
  });
}

KernelOr PrepareEqual(PrepareContext& ctx) { return PrepareComparison<EqualOp>(ctx, EqualTypes()); }
template <typename Op>
KernelOr PrepareOrdered(PrepareContext& ctx) {
  return PrepareComparison<Op>(ctx, OrderedTypes());
}

Dim Negated(const Dim& d) { return d.known() ? Dim(d.value() == 0 ? 1 : 0) : Dim::Unknown(); }

absl::Status InferEqual(InferContext& ctx) {
  PropagateContent(ctx, ProveEqual);
  return InferBinary(ctx, DataType::kBool);
}
absl::Status InferLess(InferContext& ctx) {
  PropagateContent(ctx, ProveLess);
  return InferBinary(ctx, DataType::kBool);
}
absl::Status InferGreater(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return ProveLess(b, a); });
  return InferBinary(ctx, DataType::kBool);
}
absl::Status InferLessOrEqual(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return Negated(ProveLess(b, a)); });
  return InferBinary(ctx, DataType::kBool);
}
absl::Status InferGreaterOrEqual(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) { return Negated(ProveLess(a, b)); });
  return InferBinary(ctx, DataType::kBool);
}

// ---- And, Or, Xor ---------------------------------------------------------------------------------------------------
// C = A op B, all bool, broadcast; may run in place of an input of C's shape. Bytes other than 0 and 1 count as true.

struct AndOp {
  static uint8_t Apply(uint8_t a, uint8_t b) { return (a != 0) & (b != 0); }
};
struct OrOp {
  static uint8_t Apply(uint8_t a, uint8_t b) { return (a | b) != 0; }
};
struct XorOp {
  static uint8_t Apply(uint8_t a, uint8_t b) { return (a != 0) ^ (b != 0); }
};

template <typename Op>
KernelOr PrepareLogic(PrepareContext& ctx) {
  BinaryLoops loops;
  loops.fn = BinaryLoop<Op, uint8_t>;
  return MakeBinaryKernel(ctx, loops);
}

absl::Status InferLogic(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kBool}));
  return InferBinary(ctx, DataType::kBool);
}
bool IsFalse(const Dim& d) { return d.known() && d.value() == 0; }
bool IsTrue(const Dim& d) { return d.known() && d.value() != 0; }
// One known operand can decide, so these do not go through PropagateContent, which gives up on unknown ones.
absl::Status InferAndOr(InferContext& ctx, bool is_and) {
  RONDO_RETURN_IF_ERROR(InferLogic(ctx));
  std::optional<std::vector<Dim>> a = ctx.content(0), b = ctx.content(1);
  if (!a || !b || !ctx.has_shape(0) || !ctx.has_shape(1)) return absl::OkStatus();
  const bool one_order = (ctx.shape(0).rank() <= 1 && ctx.shape(1).rank() <= 1) || ctx.shape(0) == ctx.shape(1);
  const size_t size = a->size() == 1 ? b->size() : a->size();
  if (!one_order || (a->size() != size && a->size() != 1) || (b->size() != size && b->size() != 1)) {
    return absl::OkStatus();
  }
  std::vector<Dim> result;
  for (size_t k = 0; k < size; ++k) {
    const Dim& x = (*a)[a->size() == 1 ? 0 : k];
    const Dim& y = (*b)[b->size() == 1 ? 0 : k];
    if (is_and) {
      result.push_back(IsFalse(x) || IsFalse(y) ? Dim(0) : IsTrue(x) && IsTrue(y) ? Dim(1) : Dim::Unknown());
    } else {
      result.push_back(IsTrue(x) || IsTrue(y) ? Dim(1) : IsFalse(x) && IsFalse(y) ? Dim(0) : Dim::Unknown());
    }
  }
  ctx.SetOutputContent(0, std::move(result));
  return absl::OkStatus();
}
absl::Status InferAnd(InferContext& ctx) { return InferAndOr(ctx, /*is_and=*/true); }
absl::Status InferOr(InferContext& ctx) { return InferAndOr(ctx, /*is_and=*/false); }
absl::Status InferXor(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& a, const Dim& b) {
    if (!a.known() || !b.known()) return Dim::Unknown();
    return Dim((a.value() != 0) != (b.value() != 0) ? 1 : 0);
  });
  return InferLogic(ctx);
}

// ---- Where ----------------------------------------------------------------------------------------------------------
// Y = condition ? X : Y, all broadcast. condition: bool; X, Y: one type, any; output: that type. May run in place of X
// or Y where it has the output's shape.

absl::Status InferWhere(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kBool}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, 2));
  RONDO_RETURN_IF_ERROR(InferBroadcast(ctx, 3, ctx.dtype(1)));
  size_t size = 1;
  for (int i = 0; i < 3; ++i) {
    std::optional<std::vector<Dim>> content = ctx.content(i);
    if (!content.has_value() || !ctx.has_shape(i) || ctx.shape(i).rank() > 1) return absl::OkStatus();
    if (size == 1) size = content->size();
  }
  std::optional<std::vector<Dim>> operands[3];
  for (int i = 0; i < 3; ++i) {
    operands[i] = BroadcastContent(ctx, i, size);
    if (!operands[i].has_value()) return absl::OkStatus();
  }
  std::vector<Dim> result;
  for (size_t k = 0; k < size; ++k) {
    const Dim &condition = (*operands[0])[k], &x = (*operands[1])[k], &y = (*operands[2])[k];
    if (condition.known()) {
      result.push_back(condition.value() != 0 ? x : y);
    } else {
      result.push_back(x == y ? x : Dim::Unknown());
    }
  }
  ctx.SetOutputContent(0, std::move(result));
  return absl::OkStatus();
}

template <typename T>
void Select(const uint8_t* c, bool c_step, const T* x, bool x_step, const T* y, bool y_step, T* out, int64_t n) {
  if (!c_step) {
    const bool first = *c != 0;
    const T* from = first ? x : y;
    if (first ? x_step : y_step) {
      if (from != out) std::copy(from, from + n, out);
    } else {
      const T value = *from;
      std::fill(out, out + n, value);
    }
  } else if (x_step && y_step) {
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? x[i] : y[i];
  } else if (x_step) {
    const T s = *y;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? x[i] : s;
  } else if (y_step) {
    const T s = *x;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? s : y[i];
  } else {
    const T s = *x, t = *y;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? s : t;
  }
}

KernelOr PrepareWhere(PrepareContext& ctx) {
  BroadcastLoop<3> loop(ctx.output_dims(0), {ctx.input_dims(0), ctx.input_dims(1), ctx.input_dims(2)});
  return DispatchBySize<KernelOr>(ctx.input_dtype(1), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([loop](RunContext& run) {
      const uint8_t* c = run.in<uint8_t>(0);
      const T* x = run.in<T>(1);
      const T* y = run.in<T>(2);
      T* out = run.out<T>(0);
      loop.ForAll(kVectorGrain, [&](const BroadcastLoop<3>::Run& r) {
        Select<T>(c + r.in[0], loop.step(0), x + r.in[1], loop.step(1), y + r.in[2], loop.step(2), out + r.out, r.n);
      });
      return absl::OkStatus();
    });
  });
}

constexpr uint32_t kEither = InputBit(0) | InputBit(1);

const OpDef kRows[] = {
    {.type = "And", .inputs = {2, 2}, .infer = InferAnd, .prepare = PrepareLogic<AndOp>, .in_place = kEither},
    {.type = "Equal", .inputs = {2, 2}, .infer = InferEqual, .prepare = PrepareEqual},
    {.type = "Greater", .inputs = {2, 2}, .infer = InferGreater, .prepare = PrepareOrdered<GreaterOp>},
    {.type = "GreaterOrEqual",
     .since = 12,
     .inputs = {2, 2},
     .infer = InferGreaterOrEqual,
     .prepare = PrepareOrdered<GreaterOrEqualOp>},
    {.type = "Less", .inputs = {2, 2}, .infer = InferLess, .prepare = PrepareOrdered<LessOp>},
    {.type = "LessOrEqual",
     .since = 12,
     .inputs = {2, 2},
     .infer = InferLessOrEqual,
     .prepare = PrepareOrdered<LessOrEqualOp>},
    {.type = "Or", .inputs = {2, 2}, .infer = InferOr, .prepare = PrepareLogic<OrOp>, .in_place = kEither},
    {.type = "Where",
     .since = 9,
     .inputs = {3, 3},
     .infer = InferWhere,
     .prepare = PrepareWhere,
     .in_place = InputBit(1) | InputBit(2)},
    {.type = "Xor", .inputs = {2, 2}, .infer = InferXor, .prepare = PrepareLogic<XorOp>, .in_place = kEither},
};

}  // namespace

absl::Span<const OpDef> LogicalFamily() { return kRows; }

}  // namespace rondo
