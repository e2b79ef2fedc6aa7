// RandomNormal(Like), RandomUniform(Like), Bernoulli, Multinomial.
//
// Numbers are a function of (stream, element index), not of a state that is carried from one element to the next, so
// they are the same for any number of threads. A node with the attribute `seed` gives the same sequence of runs in each
// session; one without draws its stream from the system's entropy when the session is created.
#include <atomic>
#include <bit>
#include <cmath>
#include <random>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit of x.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

class Stream {
 public:
  explicit Stream(uint64_t key) : key_(key) {}
  // Uniform in [0, 1) with 53 bits. Draw `i` of this stream.
  double Uniform(uint64_t i) const { return static_cast<double>(Mix(key_ ^ Mix(i)) >> 11) * 0x1p-53; }
  // Normal by Box and Muller's transform.
  double Normal(uint64_t i) const {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(2 * i)));
    return radius * std::cos(2 * kPi * Uniform(2 * i + 1));
  }

 private:
  uint64_t key_;
};

struct RandomState final : KernelState {
  explicit RandomState(uint64_t seed) : seed(seed) {}
  uint64_t seed;
  uint64_t runs = 0;
  Stream Next() { return Stream(Mix(seed) + Mix(~runs++)); }
};

// A kernel that gets a fresh stream in each run. F: absl::Status(RunContext&, const Stream&).
template <typename F>
class RandomKernel final : public Kernel {
 public:
  RandomKernel(F run, std::optional<float> seed) : run_(std::move(run)), seed_(seed) {}
  absl::Status Run(RunContext& ctx) const override { return run_(ctx, static_cast<RandomState*>(ctx.state())->Next()); }
  std::unique_ptr<KernelState> CreateState() const override {
    if (seed_.has_value()) return std::make_unique<RandomState>(std::bit_cast<uint32_t>(*seed_));
    std::random_device entropy;
    return std::make_unique<RandomState>((uint64_t{entropy()} << 32) | entropy());
  }

 private:
  F run_;
  std::optional<float> seed_;
};

template <typename F>
absl::StatusOr<std::unique_ptr<Kernel>> MakeRandomKernel(PrepareContext& ctx, F run) {
  std::optional<float> seed;
  if (ctx.attributes.Has("seed")) {
    RONDO_ASSIGN_OR_RETURN(seed, ctx.attributes.Float("seed"));
  }
  return std::unique_ptr<Kernel>(std::make_unique<RandomKernel<F>>(std::move(run), seed));
}

absl::StatusOr<DataType> OutputType(const AttributeReader& attributes, DataType fallback) {
  RONDO_ASSIGN_OR_RETURN(int64_t number, attributes.Int("dtype", static_cast<int64_t>(fallback)));
  if (number < 0 || number > kNumDataTypes || !IsKnownDataType(static_cast<int32_t>(number))) {
    return InvalidArgument("attribute \"dtype\": ", number, " is no element type");
  }
  return static_cast<DataType>(number);
}

// ---- RandomNormal(; shape, mean=0, scale=1, dtype=FLOAT, seed), RandomUniform(; shape, low=0, high=1, ...), and both
// ...Like(x), which take shape and, without `dtype`, type from x.

absl::Status InferRandom(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(DataType type, OutputType(ctx.attributes, DataType::kFloat));
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> dims, ctx.attributes.Ints("shape"));
  for (int64_t d : dims) {
    if (d < 0) return InvalidArgument("shape: expected dims >= 0, got ", d);
  }
  ctx.SetOutput(0, type, Shape::FromDims(dims));
  return absl::OkStatus();
}

absl::Status InferLikeInput(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(DataType type, OutputType(ctx.attributes, ctx.dtype(0)));
  ValueType like = ctx.input_type(0);
  like.dtype = type;
  ctx.SetOutputType(0, std::move(like));
  return absl::OkStatus();
}

template <typename Draw>
absl::StatusOr<std::unique_ptr<Kernel>> PrepareDraws(PrepareContext& ctx, Draw draw) {
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(FloatTypes{}, ctx.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeRandomKernel(ctx, [draw](RunContext& run, const Stream& stream) {
      T* out = run.out<T>(0);
      ParallelFor(run.output(0).size(), 2048, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) out[i] = T(static_cast<ComputeType<T>>(draw(stream, i)));
      });
      return absl::OkStatus();
    });
  });
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareNormal(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float mean, ctx.attributes.Float("mean", 0));
  RONDO_ASSIGN_OR_RETURN(float scale, ctx.attributes.Float("scale", 1));
  return PrepareDraws(ctx, [mean, scale](const Stream& stream, int64_t i) { return mean + scale * stream.Normal(i); });
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareUniform(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(float low, ctx.attributes.Float("low", 0));
  RONDO_ASSIGN_OR_RETURN(float high, ctx.attributes.Float("high", 1));
  return PrepareDraws(
      ctx, [low, high](const Stream& stream, int64_t i) { return low + (double{high} - low) * stream.Uniform(i); });
}

// ---- Bernoulli(probabilities; dtype = the input's, seed) -> 1 with the given probability, else 0.

using BernoulliTypes = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                                int64_t, uint64_t, bool>;

// The i-th element of a floating-point tensor.
double FloatAt(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DataType::kFloat:
      return t.data<float>()[i];
    case DataType::kDouble:
      return t.data<double>()[i];
    case DataType::kFloat16:
      return static_cast<float>(t.data<Float16>()[i]);
    case DataType::kBFloat16:
      return static_cast<float>(t.data<BFloat16>()[i]);
    default:
      return 0;
  }
}

constexpr DataType kFloatTypes[] = {DataType::kFloat, DataType::kDouble, DataType::kFloat16, DataType::kBFloat16};

absl::Status InferBernoulli(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kFloatTypes));
  return InferLikeInput(ctx);
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareBernoulli(PrepareContext& ctx) {
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(BernoulliTypes{}, ctx.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeRandomKernel(ctx, [](RunContext& run, const Stream& stream) {
      T* out = run.out<T>(0);
      const Tensor& probabilities = run.input(0);
      ParallelFor(probabilities.size(), 4096, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          out[i] = T(stream.Uniform(i) < FloatAt(probabilities, i) ? 1.0f : 0.0f);
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- Multinomial(log_probabilities [B, classes]; sample_size=1, dtype=INT32, seed) -> [B, sample_size] class numbers.
// The probabilities need not be normalised.

absl::Status InferMultinomial(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kFloatTypes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 2));
  RONDO_ASSIGN_OR_RETURN(DataType type, OutputType(ctx.attributes, DataType::kInt32));
  RONDO_ASSIGN_OR_RETURN(int64_t samples, ctx.attributes.Int("sample_size", 1));
  if (type != DataType::kInt32 && type != DataType::kInt64) {
    return InvalidArgument("dtype: expected int32 or int64, got ", DataTypeName(type));
  }
  if (samples < 1) return InvalidArgument("sample_size: expected 1 or more, got ", samples);
  const Dim batch = ctx.has_shape(0) ? ctx.shape(0)[0] : Dim::Unknown();
  ctx.SetOutput(0, type, Shape{batch, samples});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMultinomial(PrepareContext& ctx) {
  const Dims dims = ctx.input_dims(0);
  const int64_t batch = dims[0], classes = dims[1], samples = ctx.output_dims(0)[1];
  if (classes == 0) return InvalidArgument("expected at least one class, got ", DimsToString(dims));
  ctx.RequestScratch(classes * sizeof(double));
  return MakeRandomKernel(ctx, [=](RunContext& run, const Stream& stream) {
    const Tensor& logits = run.input(0);
    double* cumulative = static_cast<double*>(run.scratch());
    const bool wide = run.output(0).dtype() == DataType::kInt64;
    for (int64_t b = 0; b < batch; ++b) {
      double max = -std::numeric_limits<double>::infinity();
      for (int64_t c = 0; c < classes; ++c) max = std::max(max, FloatAt(logits, b * classes + c));
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) cumulative[c] = sum += std::exp(FloatAt(logits, b * classes + c) - max);
      if (!(sum > 0 && std::isfinite(sum))) return InvalidArgument("row ", b, ": expected finite log-probabilities");
      for (int64_t s = 0; s < samples; ++s) {
        const double draw = stream.Uniform(b * samples + s) * sum;
        int64_t chosen = std::upper_bound(cumulative, cumulative + classes, draw) - cumulative;
        chosen = std::min(chosen, classes - 1);
        if (wide) {
          run.out<int64_t>(0)[b * samples + s] = chosen;
        } else {
          run.out<int32_t>(0)[b * samples + s] = static_cast<int32_t>(chosen);
        }
      }
    }
    return absl::OkStatus();
  });
}

const OpDef kRows[] = {
    {.type = "RandomNormal",
     .since = 1,
     .inputs = {0, 0},
     .infer = InferRandom,
     .prepare = PrepareNormal,
     .deterministic = false},
    {.type = "RandomNormalLike", .since = 1, .infer = InferLikeInput, .prepare = PrepareNormal, .deterministic = false},
    {.type = "RandomUniform",
     .since = 1,
     .inputs = {0, 0},
     .infer = InferRandom,
     .prepare = PrepareUniform,
     .deterministic = false},
    {.type = "RandomUniformLike",
     .since = 1,
     .infer = InferLikeInput,
     .prepare = PrepareUniform,
     .deterministic = false},
    {.type = "Bernoulli",
     .since = 15,
     .infer = InferBernoulli,
     .prepare = Unpacked<PrepareBernoulli>,
     .deterministic = false},
    {.type = "Multinomial",
     .since = 7,
     .infer = InferMultinomial,
     .prepare = Unpacked<PrepareMultinomial>,
     .deterministic = false},
};

}  // namespace

absl::Span<const OpDef> RandomFamily() { return kRows; }

}  // namespace rondo
