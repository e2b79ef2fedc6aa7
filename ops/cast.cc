// Conversions between element types: Cast, CastLike, BitCast. Numbers go through ops/convert.h, block by block; strings
// are parsed and printed here, one at a time.
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "ops/binary.h"
#include "ops/convert.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// ---- Strings --------------------------------------------------------------------------------------------------------

// The shortest digits that read back as the same number, without an exponent from 1e-4 up to 1e16, with ".0" for whole
// numbers; "NaN", "INF", "-INF".
template <typename T>
std::string PrintReal(T v) {
  if (v != v) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-INF" : "INF";
  char text[64];
  T magnitude = std::abs(v);
  bool plain = magnitude == 0 || (magnitude >= static_cast<T>(1e-4) && magnitude < static_cast<T>(1e16));
  auto result =
      std::to_chars(text, text + sizeof(text), v, plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string s(text, result.ptr);
  if (plain && s.find('.') == std::string::npos) s += ".0";
  return s;
}

std::string PrintElement(DataType type, const void* data, int64_t i) {
  switch (CanonicalOf(type)) {
    case Canonical::kDouble:
      return PrintReal(static_cast<const double*>(data)[i]);
    case Canonical::kUInt64:
      return absl::StrCat(static_cast<const uint64_t*>(data)[i]);
    case Canonical::kFloat: {
      if (type == DataType::kFloat) return PrintReal(static_cast<const float*>(data)[i]);
      float f;
      LoadFloats(type, data, i, 1, &f);
      return PrintReal(f);
    }
    case Canonical::kInt64:
      break;
  }
  if (type == DataType::kInt64) return absl::StrCat(static_cast<const int64_t*>(data)[i]);
  int64_t v;
  LoadIntegers(type, data, i, 1, &v);
  if (type == DataType::kBool) return v != 0 ? "True" : "False";
  return absl::StrCat(v);
}

absl::Status ParseElement(const std::string& text, DataType type, const ConvertOptions& options, int64_t i, void* to) {
  absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  if (CanonicalOf(type) == Canonical::kInt64 || CanonicalOf(type) == Canonical::kUInt64) {
    int64_t v;
    uint64_t u;
    if (absl::SimpleAtoi(trimmed, &v)) return StoreConverted(type, options, &v, i, 1, to), absl::OkStatus();
    if (absl::SimpleAtoi(trimmed, &u)) return StoreConverted(type, options, &u, i, 1, to), absl::OkStatus();
    bool b;
    if (type == DataType::kBool && absl::SimpleAtob(trimmed, &b)) {
      return static_cast<uint8_t*>(to)[i] = b, absl::OkStatus();
    }
  }
  float f;
  double d;
  if (type == DataType::kFloat && absl::SimpleAtof(trimmed, &f)) {
    return static_cast<float*>(to)[i] = f, absl::OkStatus();
  }
  if (absl::SimpleAtod(trimmed, &d)) return StoreConverted(type, options, &d, i, 1, to), absl::OkStatus();
  return InvalidArgument("string \"", absl::string_view(text).substr(0, 50), "\" at position ", i,
                         " is no number, cannot cast it to ", DataTypeName(type));
}

// ---- Kernels --------------------------------------------------------------------------------------------------------

absl::Status RunCast(const Tensor& from, const ConvertOptions& options, Tensor& to) {
  const DataType source = from.dtype(), target = to.dtype();
  const int64_t n = from.size();
  if (source == target) {
    to.CopyFrom(from);
    return absl::OkStatus();
  }
  if (target == DataType::kString) {
    for (int64_t i = 0; i < n; ++i) to.mutable_data<std::string>()[i] = PrintElement(source, from.raw(), i);
    return absl::OkStatus();
  }
  if (source == DataType::kString) {
    for (int64_t i = 0; i < n; ++i) {
      RONDO_RETURN_IF_ERROR(ParseElement(from.data<std::string>()[i], target, options, i, to.mutable_raw()));
    }
    return absl::OkStatus();
  }
  const void* p = from.raw();
  void* q = to.mutable_raw();
  ParallelFor((n + kConvertBlock - 1) / kConvertBlock, kVectorGrain / kConvertBlock, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      ConvertBlock(source, target, options, p, b * kConvertBlock, std::min(kConvertBlock, n - b * kConvertBlock), q);
    }
  });
  return absl::OkStatus();
}

bool CanCast(DataType type) {
  return type != DataType::kUndefined && type != DataType::kComplex64 && type != DataType::kComplex128;
}

KernelOr MakeCast(PrepareContext& ctx) {
  ConvertOptions options;
  RONDO_ASSIGN_OR_RETURN(options.saturate, ctx.attributes.Flag("saturate", true));
  RONDO_ASSIGN_OR_RETURN(std::string rounding, ctx.attributes.String("round_mode", "up"));
  if (rounding == "down") {
    options.rounding = E8M0Rounding::kDown;
  } else if (rounding == "nearest") {
    options.rounding = E8M0Rounding::kNearest;
  } else if (rounding != "up") {
    return InvalidArgument("attribute \"round_mode\": expected \"up\", \"down\" or \"nearest\", got \"", rounding,
                           "\"");
  }
  return MakeKernel([options](RunContext& run) { return RunCast(run.input(0), options, run.output(0)); });
}

// ---- Cast -----------------------------------------------------------------------------------------------------------
// Y = X as type `to`; attributes: to (number of a type; before opset 6 its name), saturate = 1 (float8 and E8M0),
// round_mode = "up" (E8M0).
// CastLike: the type is that of input 1, whose values do not matter.

// The symbolic content of a cast integer tensor, where the target holds the numbers.
void PropagateCast(InferContext& ctx, DataType target) {
  std::optional<std::vector<Dim>> content = ctx.content(0);
  if (!content.has_value()) return;
  for (Dim& d : *content) {
    if (target == DataType::kBool) {
      Dim zero = ProveEqual(d, 0);
      d = zero.known() ? Dim(1 - zero.value()) : Dim::Unknown();
    } else if (target != DataType::kInt64 && target != DataType::kInt32 && target != DataType::kFloat &&
               target != DataType::kDouble) {
      // Small types: numbers that all of them hold exactly.
      if (!d.known() || d.value() < 0 || d.value() > 1) d = Dim::Unknown();
    }
  }
  ctx.SetOutputContent(0, *std::move(content));
}

absl::Status InferCastTo(InferContext& ctx, DataType target) {
  if (!CanCast(target) || !CanCast(ctx.dtype(0))) {
    return InvalidArgument("cannot cast ", DataTypeName(ctx.dtype(0)), " to ", DataTypeName(target));
  }
  PropagateCast(ctx, target);
  return InferSameShape(ctx, target);
}

absl::StatusOr<DataType> TargetType(InferContext& ctx) {
  if (ctx.version() < 6) {
    if (auto name = ctx.attributes.String("to"); name.ok()) {
      DataType type = DataTypeFromName(absl::AsciiStrToLower(*name));
      if (type == DataType::kUndefined)
        return InvalidArgument("attribute \"to\": unknown element type \"", *name, "\"");
      return type;
    }
  }
  RONDO_ASSIGN_OR_RETURN(int64_t to, ctx.attributes.Int("to"));
  if (to < 0 || to > std::numeric_limits<int32_t>::max() || !IsKnownDataType(static_cast<int32_t>(to))) {
    return InvalidArgument("attribute \"to\": ", to, " is no element type");
  }
  return static_cast<DataType>(to);
}

absl::Status InferCast(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(DataType target, TargetType(ctx));
  return InferCastTo(ctx, target);
}
absl::Status InferCastLike(InferContext& ctx) { return InferCastTo(ctx, ctx.dtype(1)); }

// ---- BitCast --------------------------------------------------------------------------------------------------------
// Y = X's bits read as type `to`, of the same width; not for strings. saturate and the like do not apply.

absl::Status InferBitCast(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(DataType target, TargetType(ctx));
  const int from_bits = BitWidth(ctx.dtype(0)), to_bits = BitWidth(target);
  if (from_bits == 0 || from_bits != to_bits) {
    return InvalidArgument("cannot reinterpret ", DataTypeName(ctx.dtype(0)), " as ", DataTypeName(target),
                           ": expected types of one width, got ", from_bits, " and ", to_bits, " bits");
  }
  return InferSameShape(ctx, target);
}

KernelOr PrepareBitCast(PrepareContext& ctx) {
  return MakeKernel([](RunContext& run) {
    const void* from = run.input(0).raw();
    void* to = run.output(0).mutable_raw();
    if (from != to) std::memcpy(to, from, run.input(0).bytes());
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.type = "BitCast", .since = 26, .infer = InferBitCast, .prepare = PrepareBitCast, .in_place = InputBit(0)},
    {.type = "Cast", .infer = InferCast, .prepare = MakeCast},
    {.type = "CastLike", .since = 15, .inputs = {2, 2}, .infer = InferCastLike, .prepare = MakeCast},
};

}  // namespace

absl::Span<const OpDef> CastFamily() { return kRows; }

}  // namespace rondo
