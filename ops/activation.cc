// Activations: elementwise functions of one tensor with attributes, Clip with bounds as attributes or inputs, the gated
// SwiGlu, and Dropout. All are FloatMaps (ops/elementwise.h): a reference expression in x and the parameters p, and a
// vector kernel for float32, through which float16 and bfloat16 go as well.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/families.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

#define RONDO_FAST0(member) [](const float* x, float* y, int64_t n, const float*) { GetVectorMath().member(x, y, n); }
#define RONDO_FAST1(member) \
  [](const float* x, float* y, int64_t n, const float* p) { GetVectorMath().member(x, y, n, p[0]); }
#define RONDO_FAST2(member) \
  [](const float* x, float* y, int64_t n, const float* p) { GetVectorMath().member(x, y, n, p[0], p[1]); }

template <typename T>
T SigmoidOf(T x) {
  return T(1) / (T(1) + std::exp(-x));
}
template <typename T>
T SoftplusOf(T x) {
  return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
}
template <typename T>
T GeluErfOf(T x) {
  return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752440)));
}
template <typename T>
T GeluTanhOf(T x) {
  return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
}

// ---- Functions without attributes -----------------------------------------------------------------------------------
// Relu: max(0, x), any signed numeric type. Sigmoid: 1 / (1 + e^-x). HardSwish: x max(0, min(1, x/6 + 1/2)).
// Softplus: log(1 + e^x). Softsign: x / (1 + |x|). Mish: x tanh(softplus(x)). com.microsoft Gelu: with erf.
//   X: floating point, any shape; Y: same type and shape; may run in place.

RONDO_FLOAT_OP(Relu, x < T(0) ? T(0) : x);
RONDO_FLOAT_OP(Sigmoid, SigmoidOf(x));
RONDO_FLOAT_OP(HardSwish, x* std::min(std::max(x / T(6) + T(0.5), T(0)), T(1)));
RONDO_FLOAT_OP(Softplus, SoftplusOf(x));
RONDO_FLOAT_OP(Softsign, x / (T(1) + std::abs(x)));
RONDO_FLOAT_OP(Mish, x* std::tanh(SoftplusOf(x)));
RONDO_FLOAT_OP(GeluErf, GeluErfOf(x));
RONDO_FLOAT_OP(GeluTanh, GeluTanhOf(x));

constexpr FloatMap kRelu = MakeFloatMap<ReluOp>(RONDO_FAST0(relu));
constexpr FloatMap kSigmoid = MakeFloatMap<SigmoidOp>(RONDO_FAST0(sigmoid));
constexpr FloatMap kHardSwish = MakeFloatMap<HardSwishOp>(RONDO_FAST0(hard_swish));
constexpr FloatMap kSoftplus = MakeFloatMap<SoftplusOp>(RONDO_FAST0(softplus));
constexpr FloatMap kSoftsign = MakeFloatMap<SoftsignOp>(RONDO_FAST0(softsign));
constexpr FloatMap kMish = MakeFloatMap<MishOp>(RONDO_FAST0(mish));
constexpr FloatMap kGeluErf = MakeFloatMap<GeluErfOp>(RONDO_FAST0(gelu_erf));
constexpr FloatMap kGeluTanh = MakeFloatMap<GeluTanhOp>(RONDO_FAST0(gelu_tanh));

absl::Status InferRelu(InferContext& ctx) {
  PropagateContent(ctx, [](const Dim& d) { return Dim::Max(d, 0); });
  return InferSameAsInput(ctx);
}

KernelOr PrepareRelu(PrepareContext& ctx) {
  if (!IsInteger(ctx.input_dtype(0))) return PrepareFloatMap(ctx, kRelu);
  return DispatchResult<KernelOr>(IntTypes(), ctx.input_dtype(0), [](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([](RunContext& run) {
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      ParallelFor(run.input(0).size(), kVectorGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = std::max<T>(x[i], 0);
      });
      return absl::OkStatus();
    });
  });
}

// ---- Functions with attributes --------------------------------------------------------------------------------------
//   LeakyRelu        x < 0 ? alpha x : x                          alpha = 0.01
//   Elu              x < 0 ? alpha (e^x - 1) : x                  alpha = 1
//   Celu             max(0, x) + min(0, alpha (e^(x/alpha) - 1))  alpha = 1
//   Selu             gamma (x <= 0 ? alpha (e^x - 1) : x)         alpha = 1.67326..., gamma = 1.0507...
//   HardSigmoid      max(0, min(1, alpha x + beta))               alpha = 0.2, beta = 0.5
//   ThresholdedRelu  x > alpha ? x : 0                            alpha = 1
//   Swish            x sigmoid(alpha x)                           alpha = 1
//   QuickGelu        x sigmoid(alpha x)                           alpha = 1.702 (com.microsoft)
//   Shrink           x < -lambd ? x + bias : x > lambd ? x - bias : 0    lambd = 0.5, bias = 0
//   X: floating point (Shrink: numeric), Y: same type and shape; may run in place.

RONDO_FLOAT_OP(LeakyRelu, x < T(0) ? T(p[0]) * x : x);
RONDO_FLOAT_OP(Elu, x < T(0) ? T(p[0]) * std::expm1(x) : x);
RONDO_FLOAT_OP(Celu, std::max(x, T(0)) + std::min(T(0), T(p[0]) * std::expm1(std::min(x, T(0)) / T(p[0]))));
RONDO_FLOAT_OP(Selu, T(p[1]) * (x < T(0) ? T(p[0]) * std::expm1(x) : x));
RONDO_FLOAT_OP(HardSigmoid, std::max(T(0), std::min(T(1), T(p[0]) * x + T(p[1]))));
RONDO_FLOAT_OP(ThresholdedRelu, x > T(p[0]) ? x : T(0));
RONDO_FLOAT_OP(Swish, x* SigmoidOf(T(p[0]) * x));
RONDO_FLOAT_OP(Shrink, x<-T(p[0]) ? x + T(p[1]) : x> T(p[0]) ? x - T(p[1]) : T(0));

constexpr FloatMap kLeakyRelu = MakeFloatMap<LeakyReluOp>(RONDO_FAST1(leaky_relu));
constexpr FloatMap kElu = MakeFloatMap<EluOp>(RONDO_FAST1(elu));
constexpr FloatMap kCelu = MakeFloatMap<CeluOp>(RONDO_FAST1(celu));
constexpr FloatMap kSelu = MakeFloatMap<SeluOp>(RONDO_FAST2(selu));
constexpr FloatMap kHardSigmoid = MakeFloatMap<HardSigmoidOp>(RONDO_FAST2(hard_sigmoid));
constexpr FloatMap kThresholdedRelu = MakeFloatMap<ThresholdedReluOp>();
constexpr FloatMap kSwish = MakeFloatMap<SwishOp>(RONDO_FAST1(swish));
constexpr FloatMap kShrink = MakeFloatMap<ShrinkOp>();

struct FloatAttribute {
  const char* name;
  float fallback;
};

// Prepares `map` with its parameters read from the attributes.
KernelOr PrepareWithAttributes(PrepareContext& ctx, const FloatMap& map, std::initializer_list<FloatAttribute> list) {
  FloatMapParameters p = {};
  int i = 0;
  for (const FloatAttribute& a : list) {
    RONDO_ASSIGN_OR_RETURN(p[i], ctx.attributes.Float(a.name, a.fallback));
    ++i;
  }
  return PrepareFloatMap(ctx, map, p);
}

KernelOr PrepareLeakyRelu(PrepareContext& ctx) { return PrepareWithAttributes(ctx, kLeakyRelu, {{"alpha", 0.01f}}); }
KernelOr PrepareElu(PrepareContext& ctx) { return PrepareWithAttributes(ctx, kElu, {{"alpha", 1.0f}}); }
KernelOr PrepareCelu(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float alpha, ctx.attributes.Float("alpha", 1.0f));
  if (alpha == 0) return InvalidArgument("attribute \"alpha\": expected a value other than 0");
  return PrepareWithAttributes(ctx, kCelu, {{"alpha", 1.0f}});
}
// Opset 1 gave both constants to four digits.
KernelOr PrepareSelu1(PrepareContext& ctx) {
  return PrepareWithAttributes(ctx, kSelu, {{"alpha", 1.6732f}, {"gamma", 1.0507f}});
}
KernelOr PrepareSelu6(PrepareContext& ctx) {
  return PrepareWithAttributes(ctx, kSelu,
                               {{"alpha", 1.67326319217681884765625f}, {"gamma", 1.05070102214813232421875f}});
}
KernelOr PrepareHardSigmoid(PrepareContext& ctx) {
  return PrepareWithAttributes(ctx, kHardSigmoid, {{"alpha", 0.2f}, {"beta", 0.5f}});
}
KernelOr PrepareThresholdedRelu(PrepareContext& ctx) {
  return PrepareWithAttributes(ctx, kThresholdedRelu, {{"alpha", 1.0f}});
}
KernelOr PrepareSwish(PrepareContext& ctx) { return PrepareWithAttributes(ctx, kSwish, {{"alpha", 1.0f}}); }
KernelOr PrepareQuickGelu(PrepareContext& ctx) { return PrepareWithAttributes(ctx, kSwish, {{"alpha", 1.702f}}); }

// Gelu. Attribute approximate = "none" (erf) or "tanh".
KernelOr PrepareGelu(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(std::string approximate, ctx.attributes.String("approximate", "none"));
  if (approximate == "none") return PrepareFloatMap(ctx, kGeluErf);
  if (approximate == "tanh") return PrepareFloatMap(ctx, kGeluTanh);
  return InvalidArgument("attribute \"approximate\": expected \"none\" or \"tanh\", got \"", approximate, "\"");
}

KernelOr PrepareShrink(PrepareContext& ctx) {
  if (!IsInteger(ctx.input_dtype(0))) return PrepareWithAttributes(ctx, kShrink, {{"lambd", 0.5f}, {"bias", 0.0f}});
  RONDO_ASSIGN_OR_RETURN(float lambd, ctx.attributes.Float("lambd", 0.5f));
  RONDO_ASSIGN_OR_RETURN(float bias, ctx.attributes.Float("bias", 0.0f));
  return DispatchResult<KernelOr>(IntTypes(), ctx.input_dtype(0), [lambd, bias](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([lambd, bias](RunContext& run) {
      const T* x = run.in<T>(0);
      T* y = run.out<T>(0);
      const double low = static_cast<double>(std::numeric_limits<T>::lowest());
      const double high = static_cast<double>(std::numeric_limits<T>::max());
      for (int64_t i = 0; i < run.input(0).size(); ++i) {
        double v = static_cast<double>(x[i]);
        double r = v < -lambd ? v + bias : v > lambd ? v - bias : 0.0;
        y[i] = r >= high ? std::numeric_limits<T>::max()
               : r > low ? static_cast<T>(r)
                         : std::numeric_limits<T>::lowest();
      }
      return absl::OkStatus();
    });
  });
}

// ---- Gelu with a bias (com.microsoft) -------------------------------------------------------------------------------
// FastGelu(X, bias?) = gelu_tanh(X + bias); BiasGelu(X, bias) = gelu_erf(X + bias).
//   X: [..., C], bias: [C], floating point; Y: as X; may run in place.

absl::Status InferBiasGelu(InferContext& ctx) {
  if (ctx.has_input(1)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 1, 1));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1 << 20));
    if (ctx.has_shape(0) && ctx.has_shape(1)) {
      const Dim& channels = ctx.shape(0).back();
      const Dim& bias = ctx.shape(1)[0];
      if (channels.known() && bias.known() && channels != bias) {
        return InvalidArgument("bias: expected ", channels.value(), " elements, got ", bias.value());
      }
    }
  }
  return InferSameAsInput(ctx);
}

// Rows of `channels` floats, plus the bias, through the map.
struct BiasedMap {
  FloatMap::F32 map;
  bool plain;
  int64_t channels;

  void Run(const float* x, const float* bias, float* y, int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
      if (plain) {
        for (int64_t c = 0; c < channels; ++c) y[c] = x[c] + bias[c];
      } else {
        GetVectorMath().add(x, bias, y, channels);
      }
      map(y, y, channels, nullptr);
    }
  }
};

KernelOr PrepareBiasMap(PrepareContext& ctx, const FloatMap& map) {
  if (!ctx.has_input(1)) return PrepareFloatMap(ctx, map);
  const bool plain = ctx.plain();
  const int64_t channels = ctx.input_dims(0).back();
  BiasedMap biased = {plain ? map.plain : map.fast, plain, channels};
  const DataType dtype = ctx.input_dtype(0);
  const int64_t grain = std::max<int64_t>(1, (plain ? kScalarGrain : kVectorGrain) / std::max<int64_t>(1, channels));
  std::string implementation = plain ? "plain" : std::string("own:") + IsaName(ActiveIsa());
  if (dtype == DataType::kFloat) {
    return MakeKernel(
        [biased, grain](RunContext& run) {
          const float* x = run.in<float>(0);
          const float* bias = run.in<float>(1);
          float* y = run.out<float>(0);
          int64_t c = biased.channels;
          ParallelFor(run.input(0).size() / c, grain,
                      [&](int64_t begin, int64_t end) { biased.Run(x + begin * c, bias, y + begin * c, end - begin); });
          return absl::OkStatus();
        },
        implementation);
  }
  if (dtype != DataType::kFloat16 && dtype != DataType::kBFloat16) {
    return Unimplemented("element type ", DataTypeName(dtype), " is not supported here");
  }
  // In scratch: the bias widened, and one row.
  ctx.RequestScratch(sizeof(float) * 2 * static_cast<size_t>(channels));
  return MakeKernel(
      [biased, bfloat = dtype == DataType::kBFloat16](RunContext& run) {
        const VectorMath& math = GetVectorMath();
        auto widen = bfloat ? math.bfloat16_to_float : math.float16_to_float;
        auto narrow = bfloat ? math.float_to_bfloat16 : math.float_to_float16;
        const int64_t c = biased.channels;
        float* bias = static_cast<float*>(run.scratch());
        float* row = bias + c;
        widen(run.in<uint16_t>(1), bias, c);
        const uint16_t* x = run.in<uint16_t>(0);
        uint16_t* y = run.out<uint16_t>(0);
        for (int64_t i = 0; i < run.input(0).size(); i += c) {
          widen(x + i, row, c);
          biased.Run(row, bias, row, 1);
          narrow(row, y + i, c);
        }
        return absl::OkStatus();
      },
      implementation);
}
KernelOr PrepareFastGelu(PrepareContext& ctx) { return PrepareBiasMap(ctx, kGeluTanh); }
KernelOr PrepareBiasGelu(PrepareContext& ctx) { return PrepareBiasMap(ctx, kGeluErf); }

// ---- SwiGLU-28, SwiGlu (rondo) --------------------------------------------------------------------------------------
// Y = gate sigmoid(alpha gate) up. gate, up: one shape, floating point. alpha = 1. May run in place of either.

absl::Status InferSwiGlu(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(
      ctx.ExpectDtype(0, {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBFloat16}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (ctx.has_shape(0) && ctx.has_shape(1)) {
    const Shape &gate = ctx.shape(0), &up = ctx.shape(1);
    bool differ = gate.rank() != up.rank();
    for (int i = 0; !differ && i < gate.rank(); ++i) {
      differ = gate[i].known() && up[i].known() && gate[i].value() != up[i].value();
    }
    if (differ) {
      return InvalidArgument("expected inputs of one shape, got ", gate.ToString(), " and ", up.ToString());
    }
  }
  return InferBroadcast(ctx, 2, ctx.dtype(0));
}

void PlainSwiGlu(const float* gate, const float* up, float* y, int64_t n, float alpha) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] * SigmoidOf(alpha * gate[i]) * up[i];
}

KernelOr PrepareSwiGlu(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float alpha, ctx.attributes.Float("alpha", 1.0f));
  if (ctx.input_dims(0) != ctx.input_dims(1)) {
    return InvalidArgument("expected inputs of one shape, got ", DimsToString(ctx.input_dims(0)), " and ",
                           DimsToString(ctx.input_dims(1)));
  }
  auto f32 = ctx.plain() ? PlainSwiGlu : GetVectorMath().swiglu;
  const int64_t grain = ctx.plain() ? kScalarGrain : kVectorGrain / 2;
  std::string implementation = ctx.plain() ? "plain" : std::string("own:") + IsaName(ActiveIsa());
  switch (ctx.input_dtype(0)) {
    case DataType::kFloat:
      return MakeKernel(
          [f32, alpha, grain](RunContext& run) {
            const float* gate = run.in<float>(0);
            const float* up = run.in<float>(1);
            float* y = run.out<float>(0);
            ParallelFor(run.input(0).size(), grain, [&](int64_t begin, int64_t end) {
              f32(gate + begin, up + begin, y + begin, end - begin, alpha);
            });
            return absl::OkStatus();
          },
          implementation);
    case DataType::kFloat16:
    case DataType::kBFloat16: {
      const bool bfloat = ctx.input_dtype(0) == DataType::kBFloat16;
      return MakeKernel(
          [f32, alpha, grain, bfloat](RunContext& run) {
            const VectorMath& math = GetVectorMath();
            auto widen = bfloat ? math.bfloat16_to_float : math.float16_to_float;
            auto narrow = bfloat ? math.float_to_bfloat16 : math.float_to_float16;
            const uint16_t* gate = run.in<uint16_t>(0);
            const uint16_t* up = run.in<uint16_t>(1);
            uint16_t* y = run.out<uint16_t>(0);
            ParallelFor(run.input(0).size(), grain, [&](int64_t begin, int64_t end) {
              constexpr int64_t kBlock = 1024;
              float g[kBlock], u[kBlock];
              for (int64_t i = begin; i < end; i += kBlock) {
                int64_t n = std::min(kBlock, end - i);
                widen(gate + i, g, n);
                widen(up + i, u, n);
                f32(g, u, g, n, alpha);
                narrow(g, y + i, n);
              }
            });
            return absl::OkStatus();
          },
          implementation);
    }
    case DataType::kDouble:
      return MakeKernel(
          [alpha](RunContext& run) {
            const double* gate = run.in<double>(0);
            const double* up = run.in<double>(1);
            double* y = run.out<double>(0);
            for (int64_t i = 0; i < run.input(0).size(); ++i) y[i] = gate[i] * SigmoidOf(alpha * gate[i]) * up[i];
            return absl::OkStatus();
          },
          "plain");
    default:
      return Unimplemented("element type ", DataTypeName(ctx.input_dtype(0)), " is not supported here");
  }
}

// ---- Clip -----------------------------------------------------------------------------------------------------------
// Y = min(max(X, min), max). X: numeric; may run in place.
//   opset 1-10: attributes min = lowest float, max = highest float. From 11 on: optional inputs min and max, scalars of
//   X's type. NaN stays NaN; where min > max every element becomes max.

absl::Status InferClip11(InferContext& ctx) {
  for (int i = 1; i <= 2; ++i) {
    if (!ctx.has_input(i)) continue;
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
    if (ctx.has_shape(i) && ctx.shape(i).known() && ctx.shape(i).ElementCount() != Dim(1)) {
      return InvalidArgument(i == 1 ? "min" : "max", ": expected a scalar, got shape ", ctx.shape(i).ToString());
    }
  }
  if (std::optional<std::vector<Dim>> content = ctx.content(0)) {
    std::optional<std::vector<Dim>> low, high;
    if (ctx.has_input(1)) low = ctx.content(1);
    if (ctx.has_input(2)) high = ctx.content(2);
    bool known = (!ctx.has_input(1) || (low && low->size() == 1)) && (!ctx.has_input(2) || (high && high->size() == 1));
    for (Dim& d : *content) {
      if (!known) d = Dim::Unknown();
      if (known && low) d = Dim::Max(d, low->front());
      if (known && high) d = Dim::Min(d, high->front());
    }
    ctx.SetOutputContent(0, *std::move(content));
  }
  return InferSameAsInput(ctx);
}

template <typename T>
void ClipLoop(const T* x, T* y, int64_t n, T low, T high) {
  for (int64_t i = 0; i < n; ++i) {
    T v = x[i] < low ? low : x[i];
    y[i] = high < v ? high : v;
  }
}

template <typename T>
void ClipArray(const T* x, T* y, int64_t n, T low, T high, bool plain) {
  if constexpr (std::is_same_v<T, float>) {
    if (!plain) return GetVectorMath().clip(x, y, n, low, high);
  }
  ClipLoop(x, y, n, low, high);
}

// `bounds` gives low and high at run time.
template <typename T, typename Bounds>
std::unique_ptr<Kernel> MakeClip(Bounds bounds, bool plain) {
  return MakeKernel(
      [bounds, plain](RunContext& run) {
        using C = ComputeType<T>;
        C low = std::numeric_limits<C>::has_infinity ? -std::numeric_limits<C>::infinity()
                                                     : std::numeric_limits<C>::lowest();
        C high =
            std::numeric_limits<C>::has_infinity ? std::numeric_limits<C>::infinity() : std::numeric_limits<C>::max();
        bounds(run, &low, &high);
        const T* x = run.in<T>(0);
        T* y = run.out<T>(0);
        ParallelFor(run.input(0).size(), kVectorGrain, [&](int64_t begin, int64_t end) {
          if constexpr (std::is_same_v<T, C>) {
            ClipArray<T>(x + begin, y + begin, end - begin, low, high, plain);
          } else {
            for (int64_t i = begin; i < end; ++i) {
              C v = static_cast<C>(x[i]);
              ClipLoop<C>(&v, &v, 1, low, high);
              y[i] = T(v);
            }
          }
        });
        return absl::OkStatus();
      },
      plain || !std::is_same_v<T, float> ? std::string("plain") : std::string("own:") + IsaName(ActiveIsa()));
}

KernelOr PrepareClip1(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float low, ctx.attributes.Float("min", std::numeric_limits<float>::lowest()));
  RONDO_ASSIGN_OR_RETURN(float high, ctx.attributes.Float("max", std::numeric_limits<float>::max()));
  return DispatchResult<KernelOr>(FloatTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    return MakeClip<T>(
        [low, high](RunContext&, C* l, C* h) {
          *l = static_cast<C>(low);
          *h = static_cast<C>(high);
        },
        ctx.plain());
  });
}

KernelOr PrepareClip11(PrepareContext& ctx) {
  return DispatchResult<KernelOr>(NumericTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    return MakeClip<T>(
        [](RunContext& run, C* low, C* high) {
          if (run.has_input(1)) *low = static_cast<C>(run.in<T>(1)[0]);
          if (run.has_input(2)) *high = static_cast<C>(run.in<T>(2)[0]);
        },
        ctx.plain());
  });
}

// ---- Dropout --------------------------------------------------------------------------------------------------------
// Inference: output = data, mask (bool from opset 10 on, before of data's type) all true.
// Training (opset 12: input training_mode true; opset 1-6: attribute is_test = 0): output = data * mask / (1 - ratio),
// where mask keeps an element with probability 1 - ratio; drawn from attribute seed.
//   data: floating point. Opset 1-11: attribute ratio = 0.5. From 12 on: inputs ratio? = 0.5, training_mode? = false.

absl::Status InferDropout(InferContext& ctx) {
  const DataType mask = ctx.version() >= 10 ? DataType::kBool : ctx.dtype(0);
  if (ctx.has_shape(0)) {
    ctx.SetOutput(1, mask, ctx.shape(0));
  } else {
    ctx.SetOutputOfUnknownRank(1, mask);
  }
  return InferSameAsInput(ctx);
}

// Uniform in [0, 1) with 53 bits from two draws, the way of numpy.random.seed(seed); uniform(): the generator by which
// ONNX's reference implementation defines the mask.
class UniformDraws {
 public:
  explicit UniformDraws(uint64_t seed) : engine_(static_cast<uint32_t>(seed)) {}
  double Next() {
    uint32_t high = static_cast<uint32_t>(engine_()) >> 5, low = static_cast<uint32_t>(engine_()) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

 private:
  std::mt19937 engine_;
};

float ScalarAsFloat(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DataType::kDouble:
      return static_cast<float>(tensor.data<double>()[0]);
    case DataType::kFloat16:
      return static_cast<float>(tensor.data<Float16>()[0]);
    case DataType::kBFloat16:
      return static_cast<float>(tensor.data<BFloat16>()[0]);
    default:
      return tensor.data<float>()[0];
  }
}

template <typename T>
absl::Status RunDropout(RunContext& run, bool training, float ratio, uint64_t seed) {
  const T* x = run.in<T>(0);
  T* y = run.out<T>(0);
  const int64_t n = run.input(0).size();
  const bool has_mask = run.has_output(1);
  const bool bool_mask = has_mask && run.output(1).dtype() == DataType::kBool;
  if (!training || ratio == 0) {
    if (x != y) std::copy(x, x + n, y);
    if (has_mask && bool_mask) std::fill_n(run.out<uint8_t>(1), n, uint8_t{1});
    if (has_mask && !bool_mask) std::fill_n(run.out<T>(1), n, T(1.0f));
    return absl::OkStatus();
  }
  if (!(ratio > 0 && ratio < 1)) return InvalidArgument("ratio: expected a value in [0, 1), got ", ratio);
  const float scale = 1.0f / (1.0f - ratio);
  UniformDraws draws(seed);
  for (int64_t i = 0; i < n; ++i) {
    const bool keep = draws.Next() >= static_cast<double>(ratio);
    y[i] = keep ? T(static_cast<ComputeType<T>>(x[i]) * static_cast<ComputeType<T>>(scale)) : T(0.0f);
    if (has_mask && bool_mask) run.out<uint8_t>(1)[i] = keep ? 1 : 0;
    if (has_mask && !bool_mask) run.out<T>(1)[i] = T(keep ? 1.0f : 0.0f);
  }
  return absl::OkStatus();
}

KernelOr PrepareDropout(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t seed, ctx.attributes.Int("seed", 0));
  RONDO_ASSIGN_OR_RETURN(float ratio, ctx.attributes.Float("ratio", 0.5f));
  RONDO_ASSIGN_OR_RETURN(bool is_test, ctx.attributes.Flag("is_test", ctx.version() >= 7));
  const bool inputs = ctx.version() >= 12;
  return DispatchResult<KernelOr>(FloatTypes(), ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      bool training = !is_test;
      float r = ratio;
      if (inputs) {
        training = run.has_input(2) && run.in<uint8_t>(2)[0] != 0;
        r = run.has_input(1) ? ScalarAsFloat(run.input(1)) : 0.5f;
      }
      return RunDropout<T>(run, training, r, static_cast<uint64_t>(seed));
    });
  });
}

const OpDef kRows[] = {
    {.type = "Celu", .since = 12, .infer = InferSameAsInput, .prepare = PrepareCelu, .in_place = InputBit(0)},
    {.type = "Clip", .infer = InferSameAsInput, .prepare = PrepareClip1, .in_place = InputBit(0)},
    {.type = "Clip",
     .since = 11,
     .inputs = {1, 3},
     .infer = InferClip11,
     .prepare = PrepareClip11,
     .in_place = InputBit(0)},
    {.type = "Dropout", .outputs = {1, 2}, .infer = InferDropout, .prepare = PrepareDropout, .in_place = InputBit(0)},
    {.type = "Dropout",
     .since = 12,
     .inputs = {1, 3},
     .outputs = {1, 2},
     .infer = InferDropout,
     .prepare = PrepareDropout,
     .in_place = InputBit(0)},
    {.type = "Elu", .infer = InferSameAsInput, .prepare = PrepareElu, .in_place = InputBit(0)},
    {.type = "Gelu", .since = 20, .infer = InferSameAsInput, .prepare = PrepareGelu, .in_place = InputBit(0)},
    {.type = "HardSigmoid", .infer = InferSameAsInput, .prepare = PrepareHardSigmoid, .in_place = InputBit(0)},
    {.type = "HardSwish",
     .since = 14,
     .infer = InferSameAsInput,
     .prepare = PrepareMap<kHardSwish>,
     .in_place = InputBit(0)},
    {.type = "LeakyRelu", .infer = InferSameAsInput, .prepare = PrepareLeakyRelu, .in_place = InputBit(0)},
    {.type = "Mish", .since = 18, .infer = InferSameAsInput, .prepare = PrepareMap<kMish>, .in_place = InputBit(0)},
    {.type = "Relu", .infer = InferRelu, .prepare = PrepareRelu, .in_place = InputBit(0)},
    {.type = "Selu", .infer = InferSameAsInput, .prepare = PrepareSelu1, .in_place = InputBit(0)},
    {.type = "Selu", .since = 6, .infer = InferSameAsInput, .prepare = PrepareSelu6, .in_place = InputBit(0)},
    {.type = "Shrink", .since = 9, .infer = InferSameAsInput, .prepare = PrepareShrink, .in_place = InputBit(0)},
    {.type = "Sigmoid", .infer = InferSameAsInput, .prepare = PrepareMap<kSigmoid>, .in_place = InputBit(0)},
    {.type = "Softplus", .infer = InferSameAsInput, .prepare = PrepareMap<kSoftplus>, .in_place = InputBit(0)},
    {.type = "Softsign", .infer = InferSameAsInput, .prepare = PrepareMap<kSoftsign>, .in_place = InputBit(0)},
    {.type = "Swish", .since = 24, .infer = InferSameAsInput, .prepare = PrepareSwish, .in_place = InputBit(0)},
    {.type = "ThresholdedRelu", .infer = InferSameAsInput, .prepare = PrepareThresholdedRelu, .in_place = InputBit(0)},

    {.domain = "com.microsoft",
     .type = "BiasGelu",
     .inputs = {2, 2},
     .infer = InferBiasGelu,
     .prepare = PrepareBiasGelu,
     .in_place = InputBit(0)},
    {.domain = "com.microsoft",
     .type = "FastGelu",
     .inputs = {1, 2},
     .infer = InferBiasGelu,
     .prepare = PrepareFastGelu,
     .in_place = InputBit(0)},
    {.domain = "com.microsoft",
     .type = "Gelu",
     .infer = InferSameAsInput,
     .prepare = PrepareMap<kGeluErf>,
     .in_place = InputBit(0)},
    {.domain = "com.microsoft",
     .type = "QuickGelu",
     .infer = InferSameAsInput,
     .prepare = PrepareQuickGelu,
     .in_place = InputBit(0)},

    {.type = "SwiGLU",
     .since = 28,
     .inputs = {2, 2},
     .infer = InferSwiGlu,
     .prepare = PrepareSwiGlu,
     .in_place = InputBit(0) | InputBit(1)},
    {.domain = kRondoDomain,
     .type = "SwiGlu",
     .inputs = {2, 2},
     .infer = InferSwiGlu,
     .prepare = PrepareSwiGlu,
     .in_place = InputBit(0) | InputBit(1)},
};

}  // namespace

absl::Span<const OpDef> ActivationFamily() { return kRows; }

}  // namespace rondo
