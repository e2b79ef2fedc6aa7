// Operators that make tensors from sizes and attributes: Constant, ConstantOfShape, Range, EyeLike, the window
// functions and MelWeightMatrix. Their size operands are content inputs, so Prepare knows everything but Range's values
// of floating-point type.
#include <cmath>
#include <limits>

#include "ops/families.h"
#include "ops/movement.h"

namespace rondo {
namespace {

constexpr double kPi = 3.14159265358979323846;

absl::StatusOr<DataType> TypeAttribute(const AttributeReader& attributes, absl::string_view name, DataType fallback) {
  RONDO_ASSIGN_OR_RETURN(int64_t number, attributes.Int(name, static_cast<int64_t>(fallback)));
  if (number < 0 || number > kNumDataTypes || !IsKnownDataType(static_cast<int32_t>(number))) {
    return InvalidArgument("attribute \"", name, "\": ", number, " is no element type");
  }
  return static_cast<DataType>(number);
}

// A kernel that copies what Prepare has made. For results that depend on nothing but sizes.
std::unique_ptr<Kernel> MakeTensorKernel(Tensor value) {
  return MakeKernel([value = std::move(value)](RunContext& run) {
    run.output(0).CopyFrom(value);
    return absl::OkStatus();
  });
}

// ---- Constant() -> the value of its one attribute: value, sparse_value (dense by now), value_int(s), value_float(s),
// value_string(s).

absl::StatusOr<Tensor> ConstantValue(const AttributeReader& attributes) {
  constexpr absl::string_view kNames[] = {"value",       "sparse_value", "value_int",    "value_ints",
                                          "value_float", "value_floats", "value_string", "value_strings"};
  absl::string_view name;
  for (absl::string_view candidate : kNames) {
    if (!attributes.Has(candidate)) continue;
    if (!name.empty()) return InvalidArgument("expected one value attribute, got ", name, " and ", candidate);
    name = candidate;
  }
  if (name.empty()) return InvalidArgument("expected a value attribute, got none");
  auto vector_of = [](DataType type, const auto& values) {
    return Tensor::FromVector(type, {static_cast<int64_t>(values.size())}, values);
  };
  if (name == "value_int") {
    RONDO_ASSIGN_OR_RETURN(int64_t value, attributes.Int(name));
    return Tensor::FromVector<int64_t>(DataType::kInt64, {}, {value});
  }
  if (name == "value_ints") {
    RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> values, attributes.Ints(name));
    return vector_of(DataType::kInt64, values);
  }
  if (name == "value_float") {
    RONDO_ASSIGN_OR_RETURN(float value, attributes.Float(name));
    return Tensor::FromVector<float>(DataType::kFloat, {}, {value});
  }
  if (name == "value_floats") {
    RONDO_ASSIGN_OR_RETURN(std::vector<float> values, attributes.Floats(name));
    return vector_of(DataType::kFloat, values);
  }
  if (name == "value_string") {
    RONDO_ASSIGN_OR_RETURN(std::string value, attributes.String(name));
    return Tensor::FromVector<std::string>(DataType::kString, {}, {value});
  }
  if (name == "value_strings") {
    RONDO_ASSIGN_OR_RETURN(std::vector<std::string> values, attributes.Strings(name));
    return vector_of(DataType::kString, values);
  }
  return attributes.TensorValue(name);
}

// Tells the content of a small int64 or int32 tensor.
void SetContentOf(InferContext& ctx, const Tensor& value) {
  if (value.size() > 64) return;
  std::vector<Dim> content;
  for (int64_t i = 0; i < value.size(); ++i) {
    if (value.dtype() == DataType::kInt64) {
      content.emplace_back(value.data<int64_t>()[i]);
    } else if (value.dtype() == DataType::kInt32) {
      content.emplace_back(value.data<int32_t>()[i]);
    } else {
      return;
    }
  }
  ctx.SetOutputContent(0, std::move(content));
}

absl::Status InferConstant(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Tensor value, ConstantValue(ctx.attributes));
  ctx.SetOutput(0, value.dtype(), Shape::FromDims(value.dims()));
  SetContentOf(ctx, value);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConstant(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Tensor value, ConstantValue(ctx.attributes));
  return MakeTensorKernel(std::move(value));
}

// ---- ConstantOfShape(shape [n] int64; value = one element, 0.0f) -> a tensor of that shape filled with value.

absl::StatusOr<Tensor> FillValue(const AttributeReader& attributes) {
  if (!attributes.Has("value")) return Tensor::FromVector<float>(DataType::kFloat, {}, {0.0f});
  RONDO_ASSIGN_OR_RETURN(Tensor value, attributes.TensorValue("value"));
  if (value.size() != 1) return InvalidArgument("attribute \"value\": expected one element, got ", value.size());
  return value;
}

absl::Status InferConstantOfShape(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, {DataType::kInt64}));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 1, 1));
  RONDO_ASSIGN_OR_RETURN(Tensor value, FillValue(ctx.attributes));
  std::optional<std::vector<Dim>> dims = ctx.content(0);
  if (!dims.has_value() && ctx.has_shape(0) && ctx.shape(0)[0].known() && ctx.shape(0)[0].value() <= 64) {
    dims.emplace(ctx.shape(0)[0].value(), Dim::Unknown());
  }
  if (!dims.has_value()) {
    ctx.SetOutputOfUnknownRank(0, value.dtype());
    return absl::OkStatus();
  }
  for (const Dim& d : *dims) {
    if (d.known() && d.value() < 0) return InvalidArgument("expected dims >= 0, got ", d.value());
  }
  Shape shape(dims->begin(), dims->end());
  const Dim count = shape.ElementCount();
  const bool small = shape.known() && count.known() && count.value() <= 64;
  ctx.SetOutput(0, value.dtype(), std::move(shape));
  if (!small) return absl::OkStatus();
  if (value.dtype() == DataType::kInt64) {
    ctx.SetOutputContent(0, std::vector<Dim>(count.value(), Dim(*value.data<int64_t>())));
  } else if (value.dtype() == DataType::kInt32) {
    ctx.SetOutputContent(0, std::vector<Dim>(count.value(), Dim(*value.data<int32_t>())));
  }
  return absl::OkStatus();
}

template <typename T>
void FillAll(RunContext& run, const T& value) {
  T* out = run.out<T>(0);
  ParallelFor(run.output(0).size(), GrainForBytes(sizeof(T)),
              [&](int64_t begin, int64_t end) { std::fill(out + begin, out + end, value); });
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConstantOfShape(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Tensor value, FillValue(ctx.attributes));
  if (!ctx.output_type(0).has_known_shape()) return InvalidArgument("the size of the output is not computable");
  const int bits = BitWidth(value.dtype());
  if (bits == 2 || bits == 4) {
    const uint8_t element = *value.data<uint8_t>() & ((1 << bits) - 1);
    const uint8_t byte = bits == 4 ? element * 0x11 : element * 0x55;
    return MakeKernel([byte](RunContext& run) {
      std::memset(run.output(0).mutable_raw(), byte, run.output(0).bytes());
      return absl::OkStatus();
    });
  }
  return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(value.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([value](RunContext& run) {
      FillAll<T>(run, *value.data<T>());
      return absl::OkStatus();
    });
  });
}

// ---- Range(start, limit, delta) -> [n], start + i * delta for 0 <= i < n = max(0, ceil((limit - start) / delta)).

constexpr DataType kRangeTypes[] = {DataType::kFloat, DataType::kDouble,  DataType::kInt16,   DataType::kInt32,
                                    DataType::kInt64, DataType::kFloat16, DataType::kBFloat16};
using RangeTypes = TypeList<float, double, int16_t, int32_t, int64_t, Float16, BFloat16>;

template <typename T>
absl::StatusOr<int64_t> RangeCount(const Tensor& start, const Tensor& limit, const Tensor& delta) {
  if constexpr (std::is_integral_v<T>) {
    const __int128 first = *start.data<T>(), last = *limit.data<T>(), step = *delta.data<T>();
    if (step == 0) return InvalidArgument("delta: expected another number than 0");
    const __int128 span = last - first;
    if (span == 0 || (span > 0) != (step > 0)) return 0;
    const __int128 distance = span > 0 ? span : -span, stride = step > 0 ? step : -step;
    const __int128 count = (distance + stride - 1) / stride;
    if (count > (int64_t{1} << 46)) return OutOfRange("the range is too long");
    return static_cast<int64_t>(count);
  } else {
    const double first = static_cast<double>(static_cast<ComputeType<T>>(*start.data<T>()));
    const double last = static_cast<double>(static_cast<ComputeType<T>>(*limit.data<T>()));
    const double step = static_cast<double>(static_cast<ComputeType<T>>(*delta.data<T>()));
    if (step == 0) return InvalidArgument("delta: expected another number than 0");
    const double count = std::ceil((last - first) / step);
    if (std::isnan(count)) return InvalidArgument("expected finite numbers, got ", first, ", ", last, ", ", step);
    if (count > static_cast<double>(int64_t{1} << 46)) return OutOfRange("the range is too long");
    return count < 0 ? 0 : static_cast<int64_t>(count);
  }
}

absl::Status InferRange(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kRangeTypes));
  const DataType type = ctx.dtype(0);
  Tensor operands[3];
  bool all_constant = true;
  for (int i = 0; i < 3; ++i) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
    operands[i] = ctx.constant(i);
    if (ctx.has_shape(i) && ctx.shape(i).known() && CountOf(ctx.shape(i).ToDims()) != 1) {
      return InvalidArgument("input ", i, ": expected one element, got ", ctx.shape(i).ToString());
    }
    all_constant &= operands[i].defined();
  }
  const Dim start = ScalarContent(ctx, 0), delta = ScalarContent(ctx, 2);
  Dim count = Dim::Unknown();
  if (all_constant) {
    RONDO_ASSIGN_OR_RETURN(int64_t n, DispatchResult<absl::StatusOr<int64_t>>(RangeTypes{}, type, [&](auto tag) {
                             return RangeCount<typename decltype(tag)::type>(operands[0], operands[1], operands[2]);
                           }));
    count = Dim(n);
  } else if (type == DataType::kInt64 || type == DataType::kInt32) {
    const Dim limit = ScalarContent(ctx, 1);
    if (delta.known() && delta.value() == 0) return InvalidArgument("delta: expected another number than 0");
    if (delta.known()) {
      const bool up = delta.value() > 0;
      count = Dim::Max(Dim::CeilDiv(up ? limit - start : start - limit, up ? delta : Dim(0) - delta), 0);
    }
  }
  ctx.SetOutput(0, type, Shape{count});
  if (count.known() && count.value() <= 64 && !start.unknown() && !delta.unknown()) {
    std::vector<Dim> content;
    for (int64_t i = 0; i < count.value(); ++i) content.push_back(start + Dim(i) * delta);
    ctx.SetOutputContent(0, std::move(content));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareRange(PrepareContext& ctx) {
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(RangeTypes{}, ctx.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([](RunContext& run) {
      T* out = run.out<T>(0);
      const int64_t count = run.output(0).size();
      if constexpr (std::is_integral_v<T>) {
        // Unsigned: the last step may leave the type's range, though no element does.
        const uint64_t start = static_cast<uint64_t>(*run.in<T>(0)), delta = static_cast<uint64_t>(*run.in<T>(2));
        for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(start + static_cast<uint64_t>(i) * delta);
      } else {
        const auto start = static_cast<ComputeType<T>>(*run.in<T>(0)),
                   delta = static_cast<ComputeType<T>>(*run.in<T>(2));
        for (int64_t i = 0; i < count; ++i) out[i] = T(start + static_cast<ComputeType<T>>(i) * delta);
      }
      return absl::OkStatus();
    });
  });
}

// ---- EyeLike(x [M, N]; k=0, dtype = x's) -> [M, N], one on diagonal k, zero elsewhere.

using EyeTypes = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                          int64_t, uint64_t, bool>;

absl::Status InferEyeLike(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 2));
  RONDO_ASSIGN_OR_RETURN(DataType type, TypeAttribute(ctx.attributes, "dtype", ctx.dtype(0)));
  ctx.SetOutput(0, type, ctx.has_shape(0) ? ctx.shape(0) : Shape::UnknownOfRank(2));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareEyeLike(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t k, ctx.attributes.Int("k", 0));
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(EyeTypes{}, ctx.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([k](RunContext& run) {
      Tensor& out = run.output(0);
      const int64_t rows = out.dim(0), columns = out.dim(1);
      std::memset(out.mutable_raw(), 0, out.bytes());
      const int64_t diagonal = std::clamp(k, -rows, columns);
      for (int64_t i = std::max<int64_t>(0, -diagonal); i < rows && i + diagonal < columns; ++i) {
        out.mutable_data<T>()[i * columns + i + diagonal] = T(1.0f);
      }
      return absl::OkStatus();
    });
  });
}

// ---- HannWindow, HammingWindow, BlackmanWindow(size; periodic=1, output_datatype=FLOAT) -> [size]:
// a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n), n = size if periodic, else size - 1.

struct WindowCoefficients {
  double a0, a1, a2;
};
constexpr WindowCoefficients kHann = {0.5, 0.5, 0};
constexpr WindowCoefficients kHamming = {25.0 / 46, 1 - 25.0 / 46, 0};
constexpr WindowCoefficients kBlackman = {0.42, 0.5, 0.08};

// A window's or filter's value, in [-1, 1], as an element: integers truncate, and an unsigned one has no negatives.
template <typename T>
T FromDouble(double value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(std::max(value, std::is_unsigned_v<T> ? 0.0 : -1.0));
  } else {
    return T(static_cast<ComputeType<T>>(value));
  }
}

absl::Status InferWindow(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kIndexTypes));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("periodic", true).status());
  RONDO_ASSIGN_OR_RETURN(DataType type, TypeAttribute(ctx.attributes, "output_datatype", DataType::kFloat));
  const Dim size = ScalarContent(ctx, 0);
  if (size.known() && size.value() < 0) return InvalidArgument("size: expected 0 or more, got ", size.value());
  ctx.SetOutput(0, type, Shape{size});
  return absl::OkStatus();
}

template <const WindowCoefficients& kCoefficients>
absl::StatusOr<std::unique_ptr<Kernel>> PrepareWindow(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool periodic, ctx.attributes.Flag("periodic", true));
  if (!ctx.output_type(0).has_known_shape()) return InvalidArgument("size: expected one element");
  const int64_t size = ctx.output_dims(0)[0];
  const double period = static_cast<double>(std::max<int64_t>(1, periodic ? size : size - 1));
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(NumericTypes{}, ctx.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([=](RunContext& run) {
      T* out = run.out<T>(0);
      for (int64_t i = 0; i < size; ++i) {
        const double angle = 2 * kPi * static_cast<double>(i) / period;
        out[i] = FromDouble<T>(kCoefficients.a0 - kCoefficients.a1 * std::cos(angle) +
                               kCoefficients.a2 * std::cos(2 * angle));
      }
      return absl::OkStatus();
    });
  });
}

// ---- MelWeightMatrix(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz;
// output_datatype=FLOAT)
// -> [dft_length / 2 + 1, num_mel_bins]: column i is a triangle over the spectrogram bins between mel points i and i+2.

absl::Status InferMelWeightMatrix(InferContext& ctx) {
  for (int i = 0; i < 3; ++i) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, kIndexTypes));
  RONDO_ASSIGN_OR_RETURN(DataType type, TypeAttribute(ctx.attributes, "output_datatype", DataType::kFloat));
  const Dim bins = ScalarContent(ctx, 0), length = ScalarContent(ctx, 1);
  for (const Dim& d : {bins, length}) {
    if (d.known() && d.value() < 0) return InvalidArgument("expected sizes >= 0, got ", d.value());
  }
  ctx.SetOutput(0, type, Shape{Dim::FloorDiv(length, 2) + Dim(1), bins});
  return absl::OkStatus();
}

absl::StatusOr<double> FloatScalar(const Tensor& t, absl::string_view what) {
  if (t.defined() && t.size() == 1) {
    switch (t.dtype()) {
      case DataType::kFloat:
        return *t.data<float>();
      case DataType::kDouble:
        return *t.data<double>();
      case DataType::kFloat16:
        return static_cast<float>(*t.data<Float16>());
      case DataType::kBFloat16:
        return static_cast<float>(*t.data<BFloat16>());
      default:
        break;
    }
  }
  return InvalidArgument(what, ": expected one floating-point number");
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMelWeightMatrix(PrepareContext& ctx) {
  if (!ctx.output_type(0).has_known_shape()) return InvalidArgument("expected scalars num_mel_bins and dft_length");
  const Dims dims = ctx.output_dims(0);
  const int64_t spectrogram_bins = dims[0], mel_bins = dims[1];
  constexpr int64_t kMaxMelBins = 1 << 20;
  if (mel_bins > kMaxMelBins) return OutOfRange("num_mel_bins: expected up to ", kMaxMelBins, ", got ", mel_bins);
  const std::vector<int64_t> length = ctx.constant_ints(1), rate = ctx.constant_ints(2);
  if (rate.size() != 1 || rate[0] <= 0) return InvalidArgument("sample_rate: expected one number above 0");
  RONDO_ASSIGN_OR_RETURN(double lower, FloatScalar(ctx.constant(3), "lower_edge_hertz"));
  RONDO_ASSIGN_OR_RETURN(double upper, FloatScalar(ctx.constant(4), "upper_edge_hertz"));
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double low = mel(lower), step = (mel(upper) - low) / static_cast<double>(mel_bins + 2);
  std::vector<int64_t> points(mel_bins + 2);
  for (int64_t i = 0; i < mel_bins + 2; ++i) {
    const double hertz = 700 * (std::pow(10, (static_cast<double>(i) * step + low) / 2595) - 1);
    const double bin = std::floor(static_cast<double>(length[0] + 1) * hertz / static_cast<double>(rate[0]));
    if (!(bin >= 0 && bin < static_cast<double>(spectrogram_bins))) {
      return OutOfRange("mel point ", i, " at ", hertz, " Hz lies outside the ", spectrogram_bins,
                        " bins of the spectrogram");
    }
    points[i] = static_cast<int64_t>(bin);
  }
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(NumericTypes{}, ctx.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return MakeKernel([points, mel_bins](RunContext& run) {
      T* out = run.out<T>(0);
      std::memset(run.output(0).mutable_raw(), 0, run.output(0).bytes());
      for (int64_t i = 0; i < mel_bins; ++i) {
        const int64_t left = points[i], center = points[i + 1], right = points[i + 2];
        if (left >= center) out[center * mel_bins + i] = FromDouble<T>(1);
        for (int64_t j = left; j <= center && left < center; ++j) {
          out[j * mel_bins + i] = FromDouble<T>(static_cast<double>(j - left) / static_cast<double>(center - left));
        }
        for (int64_t j = center; j < right; ++j) {
          out[j * mel_bins + i] = FromDouble<T>(static_cast<double>(right - j) / static_cast<double>(right - center));
        }
      }
      return absl::OkStatus();
    });
  });
}

constexpr uint32_t kFirst3 = InputBit(0) | InputBit(1) | InputBit(2);

const OpDef kRows[] = {
    {.type = "Constant", .since = 1, .inputs = {0, 0}, .infer = InferConstant, .prepare = PrepareConstant},
    {.type = "ConstantOfShape",
     .since = 9,
     .infer = InferConstantOfShape,
     .prepare = PrepareConstantOfShape,
     .content_inputs = InputBit(0)},
    {.type = "Range",
     .since = 11,
     .inputs = {3, 3},
     .infer = InferRange,
     .prepare = PrepareRange,
     .content_inputs = kFirst3},
    {.type = "EyeLike", .since = 9, .infer = InferEyeLike, .prepare = Unpacked<PrepareEyeLike>},
    {.type = "HannWindow",
     .since = 17,
     .infer = InferWindow,
     .prepare = PrepareWindow<kHann>,
     .content_inputs = InputBit(0)},
    {.type = "HammingWindow",
     .since = 17,
     .infer = InferWindow,
     .prepare = PrepareWindow<kHamming>,
     .content_inputs = InputBit(0)},
    {.type = "BlackmanWindow",
     .since = 17,
     .infer = InferWindow,
     .prepare = PrepareWindow<kBlackman>,
     .content_inputs = InputBit(0)},
    {.type = "MelWeightMatrix",
     .since = 17,
     .inputs = {5, 5},
     .infer = InferMelWeightMatrix,
     .prepare = PrepareMelWeightMatrix,
     .content_inputs = kFirst3 | InputBit(3) | InputBit(4)},
};

}  // namespace

absl::Span<const OpDef> GeneratorFamily() { return kRows; }

}  // namespace rondo
