// Convolutions of 8-bit integers: ConvInteger and QLinearConv (also com.microsoft's, with channels last).
//
// oneDNN convolves u8 or s8 by s8 exactly in int32, without zero points: the input is copied channels-last into a
// buffer whose border holds the zero point, so that sum (x - zx) w = sum x w - zx * sum w holds at the edges as well.
// Weights with a zero point of their own take the plain kernel; uint8 weights around 128 are int8 weights around 0.
#include <algorithm>
#include <cstring>
#include <limits>

#include "ops/conv_common.h"
#include "ops/families.h"
#include "ops/onednn/onednn.h"
#include "ops/parallel.h"
#include "ops/quantized_product.h"

namespace rondo {
namespace {

using onednn::Arg;
using onednn::Layout;
using onednn::PipelineBuilder;
using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

constexpr DataType kBytes[] = {DataType::kUInt8, DataType::kInt8};

int64_t Count(const PrepareContext& ctx, int i) {
  int64_t count = 1;
  for (int64_t d : ctx.input_dims(i)) count *= d;
  return count;
}

int64_t Product(absl::Span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t d : dims) product *= d;
  return product;
}

struct IntegerConv {
  ConvGeometry g;
  Arg x, w;
  DataType x_type = DataType::kUInt8, w_type = DataType::kInt8;
  QuantParameter x_zero, w_zero;
};

// Where the int32 sums are, and how: channels-last [N, spatial..., O] still lacking the correction for x's zero point,
// or complete and in y's own layout.
struct Sums {
  Arg sums;
  bool channels_last = false;
  Arg weight_sums;  // [O]; none: nothing to correct
};

absl::StatusOr<Sums> AddPlain(PipelineBuilder& pipeline, const IntegerConv& conv) {
  if (conv.g.spatial_rank() > 8) return Unimplemented("convolution over ", conv.g.spatial_rank(), " axes");
  Sums result;
  result.sums = pipeline.Scratch(sizeof(int32_t) * static_cast<size_t>(Product(conv.g.y)));
  result.channels_last = conv.g.channels_last;
  const int64_t channels = conv.g.out_channels();
  const Arg zeros = pipeline.Scratch(sizeof(int32_t) * static_cast<size_t>(channels));
  auto add = [&](auto x_tag, auto w_tag) {
    using X = decltype(x_tag);
    using W = decltype(w_tag);
    pipeline.Host(
        [g = conv.g, channels, x_type = conv.x_zero.dtype, w_type = conv.w_zero.dtype,
         per_channel = conv.w_zero.count > 1](absl::Span<void* const> args) {
          auto* zero = static_cast<int32_t*>(args[5]);
          for (int64_t o = 0; o < channels; ++o) zero[o] = ReadZeroPoint(w_type, args[3], per_channel ? o : 0);
          PlainConvInt32(g, static_cast<const X*>(args[0]), static_cast<const W*>(args[1]),
                         ReadZeroPoint(x_type, args[2], 0), zero, 1, static_cast<int32_t*>(args[4]));
          return absl::OkStatus();
        },
        {conv.x, conv.w, conv.x_zero.arg, conv.w_zero.arg, result.sums, zeros});
  };
  const bool x_signed = conv.x_type == DataType::kInt8, w_signed = conv.w_type == DataType::kInt8;
  if (x_signed && w_signed) add(int8_t{}, int8_t{});
  if (x_signed && !w_signed) add(int8_t{}, uint8_t{});
  if (!x_signed && w_signed) add(uint8_t{}, int8_t{});
  if (!x_signed && !w_signed) add(uint8_t{}, uint8_t{});
  return result;
}

template <typename W>
void SumWeights(const W* w, int64_t channels, int64_t each, int32_t shift, int32_t* sums) {
  for (int64_t o = 0; o < channels; ++o) {
    int32_t sum = 0;
    for (int64_t i = 0; i < each; ++i) sum += w[o * each + i] - shift;
    sums[o] = sum;
  }
}

absl::StatusOr<Sums> AddFast(PrepareContext& ctx, PipelineBuilder& pipeline, const IntegerConv& conv) {
  const ConvGeometry& g = conv.g;
  if (ctx.plain() || g.empty() || g.spatial_rank() > 3 || !onednn::HasExactInt8() || !g.window.IsModest() ||
      conv.w.from != Arg::From::kConstant) {
    return Unimplemented("not asked for");
  }
  const int32_t shift = conv.w_type == DataType::kUInt8 ? 128 : 0;
  const std::optional<std::vector<int32_t>> w_zero = conv.w_zero.Constants();
  if (!w_zero || !std::all_of(w_zero->begin(), w_zero->end(), [&](int32_t z) { return z == shift; })) {
    return Unimplemented("weights with zero points");
  }
  const int rank = g.spatial_rank();
  Dims padded = g.x;
  bool pads = false;
  for (int i = 0; i < rank; ++i) {
    padded[i + 2] += g.window.pads_begin[i] + g.window.pads_end[i];
    pads = pads || padded[i + 2] != g.x[i + 2];
  }
  onednn::ConvSpec spec;
  spec.x = Layout::ChannelsLast(conv.x_type, padded);
  spec.w = Layout::Dense(DataType::kInt8, g.w);
  spec.y = Layout::ChannelsLast(DataType::kInt32, g.y);
  spec.group = g.group;
  spec.strides = g.window.strides;
  spec.dilations = g.window.dilations;
  spec.pads_begin.assign(rank, 0);
  spec.pads_end.assign(rank, 0);
  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr primitive, onednn::Conv(ctx, spec));

  Arg x = conv.x;
  if (pads || !g.channels_last) {
    Layout inner{conv.x_type, g.x, spec.x.strides};
    Layout from = g.channels_last ? Layout::ChannelsLast(conv.x_type, g.x) : Layout::Dense(conv.x_type, g.x);
    RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr reorder, onednn::Reorder(ctx, from, inner));
    const Arg buffer = pipeline.Scratch(spec.x.bytes());
    if (pads) {
      pipeline.Host(
          [bytes = spec.x.bytes(), type = conv.x_zero.dtype](absl::Span<void* const> args) {
            std::memset(args[1], ReadZeroPoint(type, args[0], 0), bytes);
            return absl::OkStatus();
          },
          {conv.x_zero.arg, buffer});
    }
    Arg inside = buffer;
    for (int i = 0; i < rank; ++i) inside.offset += g.window.pads_begin[i] * spec.x.strides[i + 2];
    pipeline.Add(reorder, {conv.x, inside});
    x = buffer;
  }
  Tensor weights = conv.w.constant;
  if (shift != 0) {
    RONDO_ASSIGN_OR_RETURN(
        weights, ctx.weight_cache().GetOrPack({conv.w.constant}, {"minus 128", DataType::kInt8, g.w}, [&](Tensor& t) {
          const auto* source = conv.w.constant.data<uint8_t>();
          auto* to = t.mutable_data<uint8_t>();
          for (int64_t i = 0; i < t.size(); ++i) to[i] = source[i] ^ 0x80;
          return absl::OkStatus();
        }));
  }
  RONDO_ASSIGN_OR_RETURN(Arg w, pipeline.Operand(primitive, 1, Arg::Constant(weights), onednn::ConvWeights(spec)));
  Sums result;
  result.sums = pipeline.Scratch(spec.y.bytes());
  result.channels_last = true;
  pipeline.Add(primitive, {x, w, result.sums});
  const std::optional<std::vector<int32_t>> x_zero = conv.x_zero.Constants();
  if (!x_zero || (*x_zero)[0] != 0) {
    RONDO_ASSIGN_OR_RETURN(
        Tensor sums,
        ctx.weight_cache().GetOrPack({weights}, {"channel sums", DataType::kInt32, {g.w[0]}}, [&](Tensor& t) {
          SumWeights(weights.data<int8_t>(), g.w[0], Product(g.w) / g.w[0], 0, t.mutable_data<int32_t>());
          return absl::OkStatus();
        }));
    result.weight_sums = Arg::Constant(std::move(sums));
  }
  return result;
}

absl::StatusOr<Sums> AddSums(PrepareContext& ctx, PipelineBuilder& pipeline, const IntegerConv& conv) {
  auto fast = AddFast(ctx, pipeline, conv);
  if (fast.ok() || !absl::IsUnimplemented(fast.status())) return fast;
  return AddPlain(pipeline, conv);
}

// Where the results go: straight into y, or into scratch that EndFinish turns into y's layout.
struct Finish {
  Arg y;            // in y's layout
  Layout from, to;  // of the results
};

absl::StatusOr<Arg> BeginFinish(PipelineBuilder& pipeline, const IntegerConv& conv, const Sums& sums, DataType dtype,
                                Finish* finish) {
  const ConvGeometry& g = conv.g;
  auto layout = [&](bool last) { return last ? Layout::ChannelsLast(dtype, g.y) : Layout::Dense(dtype, g.y); };
  finish->from = layout(sums.channels_last);
  finish->to = layout(g.channels_last);
  finish->y = Arg::Output(0);
  return finish->from.strides == finish->to.strides ? finish->y : pipeline.Scratch(finish->from.bytes());
}

absl::Status EndFinish(PrepareContext& ctx, PipelineBuilder& pipeline, const Finish& finish, const Arg& results) {
  if (results.from == Arg::From::kOutput) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr reorder, onednn::Reorder(ctx, finish.from, finish.to));
  pipeline.Add(reorder, {results, finish.y});
  return absl::OkStatus();
}

// How the flat position of a sum tells its channel: runs of `run` consecutive sums of one channel, channel after
// channel.
struct ChannelRuns {
  int64_t total, channels, run;
};
ChannelRuns RunsOf(const ConvGeometry& g, bool channels_last) {
  const int64_t total = Product(g.y);
  return {total, g.out_channels(), channels_last ? 1 : total / std::max<int64_t>(1, g.batch() * g.out_channels())};
}

// Calls row(begin, count, first_channel, per_channel): per_channel means that channels advance with the position.
template <typename Row>
void ForEachRow(const ChannelRuns& runs, const Row& row) {
  if (runs.total == 0) return;
  const int64_t width = runs.run == 1 ? runs.channels : runs.run;
  const int64_t rows = runs.total / width;
  ParallelFor(rows, std::max<int64_t>(1, 16384 / width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      row(r * width, width, runs.run == 1 ? 0 : r % runs.channels, runs.run == 1);
    }
  });
}

absl::Status CheckIntegerShapes(InferContext& ctx, int x, int w, DataType dtype, bool last) {
  if (!ctx.has_shape(x) || !ctx.has_shape(w)) {
    if (ctx.has_shape(x)) {
      ctx.SetOutput(0, dtype, Shape::UnknownOfRank(ctx.shape(x).rank()));
    } else {
      ctx.SetOutputOfUnknownRank(0, dtype);
    }
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape y, ConvShape(ctx.attributes, ToChannelsFirst(ctx.shape(x), last), ctx.shape(w)));
  ctx.SetOutput(0, dtype, FromChannelsFirst(y, last));
  return absl::OkStatus();
}

absl::StatusOr<IntegerConv> ReadIntegerConv(PrepareContext& ctx, int x, int x_zero, int w, int w_zero, bool last) {
  IntegerConv conv;
  ConvGeometry& g = conv.g;
  g.channels_last = last;
  g.x = ToChannelsFirst(ctx.input_dims(x), last);
  g.w = ctx.input_dims(w);
  g.y = ToChannelsFirst(ctx.output_dims(0), last);
  RONDO_ASSIGN_OR_RETURN(ConvAttributes attributes, ReadConv(ctx.attributes, g.w));
  g.group = attributes.group;
  g.window = attributes.window;
  g.window.Resolve(absl::Span<const int64_t>(g.x).subspan(2));
  conv.x = Arg::InputOrConstant(ctx, x);
  conv.w = Arg::InputOrConstant(ctx, w);
  conv.x_type = ctx.input_dtype(x);
  conv.w_type = ctx.input_dtype(w);
  conv.x_zero = QuantParameter::Of(ctx, x_zero);
  conv.w_zero = QuantParameter::Of(ctx, w_zero);
  if (conv.x_zero.present() && conv.x_zero.count != 1) {
    return InvalidArgument("x_zero_point: expected 1 value, got ", conv.x_zero.count);
  }
  if (conv.w_zero.present() && conv.w_zero.count != 1 && conv.w_zero.count != g.out_channels()) {
    return InvalidArgument("w_zero_point: expected 1 or ", g.out_channels(), " values, got ", conv.w_zero.count);
  }
  return conv;
}

// ConvInteger(x, w, x_zero_point?, w_zero_point?) -> y int32: the convolution of x - x_zero_point and w - w_zero_point
// (scalar or per output channel); pads count as zero after the subtraction.
absl::Status InferConvInteger(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, kBytes));
  if (ctx.has_input(2)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  if (ctx.has_input(3)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(1, 3));
  return CheckIntegerShapes(ctx, 0, 1, DataType::kInt32, false);
}

KernelOr PrepareConvInteger(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(IntegerConv conv, ReadIntegerConv(ctx, 0, 2, 1, 3, false));
  PipelineBuilder pipeline(ctx);
  RONDO_ASSIGN_OR_RETURN(Sums sums, AddSums(ctx, pipeline, conv));
  Finish finish;
  RONDO_ASSIGN_OR_RETURN(Arg results, BeginFinish(pipeline, conv, sums, DataType::kInt32, &finish));
  pipeline.Host(
      [runs = RunsOf(conv.g, sums.channels_last), type = conv.x_zero.dtype](absl::Span<void* const> args) {
        const uint32_t zero = static_cast<uint32_t>(ReadZeroPoint(type, args[1], 0));
        const auto* weight_sums = static_cast<const uint32_t*>(args[2]);
        ForEachRow(runs, [&](int64_t begin, int64_t count, int64_t channel, bool per_channel) {
          const auto* from = static_cast<const uint32_t*>(args[0]) + begin;
          auto* to = static_cast<uint32_t*>(args[3]) + begin;
          for (int64_t j = 0; j < count; ++j) {
            to[j] = from[j] - (weight_sums == nullptr ? 0 : zero * weight_sums[per_channel ? j : channel]);
          }
        });
        return absl::OkStatus();
      },
      {sums.sums, conv.x_zero.arg, sums.weight_sums, results});
  RONDO_RETURN_IF_ERROR(EndFinish(ctx, pipeline, finish, results));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

// QLinearConv(x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B? int32) -> y: the
// convolution in real numbers, quantised again; B has scale x_scale * w_scale and zero point 0. w's scale and zero
// point may be per output channel. com.microsoft's has channels_last = 0.
absl::StatusOr<bool> ReadLast(const AttributeReader& attributes) { return attributes.Flag("channels_last", false); }

absl::Status InferQLinearConv(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(0, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(3, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(7, kBytes));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(3, 5));
  for (int i : {1, 4, 6}) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kFloat}));
  if (ctx.has_input(8)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(8, {DataType::kInt32}));
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  return CheckIntegerShapes(ctx, 0, 3, ctx.dtype(7), last);
}

template <typename T>
void Requantize(const ChannelRuns& runs, absl::Span<void* const> args, uint32_t x_zero, int32_t y_zero) {
  // sums, weight_sums or null, bias or null, multipliers [O], y
  const auto* weight_sums = static_cast<const uint32_t*>(args[0]);
  const auto* bias = static_cast<const uint32_t*>(args[1]);
  const auto* multipliers = static_cast<const float*>(args[2]);
  const auto* sums = static_cast<const uint32_t*>(args[3]);
  T* y = static_cast<T*>(args[4]);
  const float low = static_cast<float>(std::numeric_limits<T>::min() - y_zero);
  const float high = static_cast<float>(std::numeric_limits<T>::max() - y_zero);
  auto add = [&](int64_t o) {
    return (bias == nullptr ? 0u : bias[o]) - (weight_sums == nullptr ? 0u : x_zero * weight_sums[o]);
  };
  ForEachRow(runs, [&](int64_t begin, int64_t count, int64_t channel, bool per_channel) {
    const uint32_t* from = sums + begin;
    T* to = y + begin;
    if (per_channel) {
      for (int64_t j = 0; j < count; ++j) {
        const float v = static_cast<float>(static_cast<int32_t>(from[j] + add(j))) * multipliers[j];
        to[j] = static_cast<T>(RoundClamped(v, low, high) + y_zero);
      }
    } else {
      const uint32_t constant = add(channel);
      const float multiplier = multipliers[channel];
      for (int64_t j = 0; j < count; ++j) {
        const float v = static_cast<float>(static_cast<int32_t>(from[j] + constant)) * multiplier;
        to[j] = static_cast<T>(RoundClamped(v, low, high) + y_zero);
      }
    }
  });
}

KernelOr PrepareQLinearConv(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool last, ReadLast(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(IntegerConv conv, ReadIntegerConv(ctx, 0, 2, 3, 5, last));
  const int64_t channels = conv.g.out_channels();
  for (int i : {1, 6, 7}) {
    if (Count(ctx, i) != 1) return InvalidArgument("input ", i, ": expected 1 value, got ", Count(ctx, i));
  }
  const int64_t w_scales = Count(ctx, 4);
  if (w_scales != 1 && w_scales != channels) {
    return InvalidArgument("w_scale: expected 1 or ", channels, " values, got ", w_scales);
  }
  if (ctx.has_input(8) && Count(ctx, 8) != channels) {
    return InvalidArgument("B: expected ", channels, " values, got ", Count(ctx, 8));
  }
  PipelineBuilder pipeline(ctx);
  RONDO_ASSIGN_OR_RETURN(Sums sums, AddSums(ctx, pipeline, conv));
  Finish finish;
  const DataType dtype = ctx.output_dtype(0);
  RONDO_ASSIGN_OR_RETURN(Arg results, BeginFinish(pipeline, conv, sums, dtype, &finish));
  const Arg multipliers = pipeline.Scratch(sizeof(float) * static_cast<size_t>(channels));
  pipeline.Host(
      [channels, w_scales](absl::Span<void* const> args) {
        const float x = *static_cast<const float*>(args[0]), y = *static_cast<const float*>(args[2]);
        const auto* w = static_cast<const float*>(args[1]);
        for (int64_t o = 0; o < channels; ++o) {
          static_cast<float*>(args[3])[o] = x * w[w_scales == 1 ? 0 : o] / y;
        }
        return absl::OkStatus();
      },
      {Arg::Input(1), Arg::Input(4), Arg::Input(6), multipliers});
  pipeline.Host(
      [runs = RunsOf(conv.g, sums.channels_last), x_type = conv.x_zero.dtype, dtype](absl::Span<void* const> args) {
        const uint32_t x_zero = static_cast<uint32_t>(ReadZeroPoint(x_type, args[5], 0));
        const int32_t y_zero = ReadZeroPoint(dtype, args[6], 0);
        if (dtype == DataType::kInt8) {
          Requantize<int8_t>(runs, args, x_zero, y_zero);
        } else {
          Requantize<uint8_t>(runs, args, x_zero, y_zero);
        }
        return absl::OkStatus();
      },
      {sums.weight_sums, ctx.has_input(8) ? Arg::Input(8) : Arg{}, multipliers, sums.sums, results, conv.x_zero.arg,
       Arg::Input(7)});
  RONDO_RETURN_IF_ERROR(EndFinish(ctx, pipeline, finish, results));
  return pipeline.Build(ctx.plain() ? "plain" : "");
}

const OpDef kRows[] = {
    {.type = "ConvInteger", .since = 10, .inputs = {2, 4}, .infer = InferConvInteger, .prepare = PrepareConvInteger},
    {.type = "QLinearConv", .since = 10, .inputs = {8, 9}, .infer = InferQLinearConv, .prepare = PrepareQLinearConv},
    {.domain = "com.microsoft",
     .type = "QLinearConv",
     .inputs = {8, 9},
     .infer = InferQLinearConv,
     .prepare = PrepareQLinearConv},
};

}  // namespace

absl::Span<const OpDef> ConvIntegerFamily() { return kRows; }

}  // namespace rondo
