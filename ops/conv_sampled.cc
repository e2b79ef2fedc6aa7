// Convolution's relatives that read or write where a plain window does not: DeformConv samples its input at learned
// offsets, Col2Im adds blocks back into an image.
#include <algorithm>
#include <cmath>

#include "ops/conv_common.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// DeformConv(X [N, C, H, W], W [O, C/group, kH, kW], offset [N, offset_group * kH * kW * 2, oH, oW], B? [O],
// mask? [N, offset_group * kH * kW, oH, oW]) -> Y [N, O, oH, oW]: each tap reads X bilinearly at its place plus (dy,
// dx), zero outside, times the mask. Attributes: Conv's without auto_pad, and offset_group = 1.
absl::Status InferDeformConv(InferContext& ctx) {
  for (int i = 1; i < ctx.num_inputs(); ++i) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
  }
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 4, 4));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 4, 4));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 4, 4));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(4));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape y, ConvShape(ctx.attributes, ctx.shape(0), ctx.shape(1)));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

struct Deform {
  Dims x, w, y;
  Window window;
  int64_t group, offset_group;
  bool bias, mask;

  int64_t taps() const { return w[2] * w[3]; }
  int64_t places() const { return y[2] * y[3]; }
};

template <typename T>
T Bilinear(const T* plane, int64_t height, int64_t width, T y, T x) {
  // Written so that NaN is outside.
  if (!(y > -1 && y < static_cast<T>(height) && x > -1 && x < static_cast<T>(width))) return 0;
  const int64_t y0 = static_cast<int64_t>(std::floor(y)), x0 = static_cast<int64_t>(std::floor(x));
  const T fy = y - static_cast<T>(y0), fx = x - static_cast<T>(x0);
  auto at = [&](int64_t r, int64_t c) {
    return r < 0 || c < 0 || r >= height || c >= width ? T(0) : plane[r * width + c];
  };
  return (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x0 + 1)) +
         fy * ((1 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1));
}

// Samples of one image, [C, taps, places].
template <typename T>
void Sample(const Deform& d, const T* x, const T* offset, const T* mask, T* columns) {
  const int64_t taps = d.taps(), places = d.places(), per_group = d.x[1] / d.offset_group;
  ParallelFor(d.x[1] * taps, std::max<int64_t>(1, 2000 / std::max<int64_t>(1, places)),
              [&](int64_t begin, int64_t end) {
                for (int64_t row = begin; row < end; ++row) {
                  const int64_t c = row / taps, tap = row % taps, og = c / per_group;
                  const T* dy = offset + (og * taps + tap) * 2 * places;
                  const T* dx = dy + places;
                  const T* m = mask == nullptr ? nullptr : mask + (og * taps + tap) * places;
                  const int64_t top = tap / d.w[3] * d.window.dilations[0] - d.window.pads_begin[0];
                  const int64_t left = tap % d.w[3] * d.window.dilations[1] - d.window.pads_begin[1];
                  for (int64_t p = 0; p < places; ++p) {
                    const T sy = static_cast<T>(p / d.y[3] * d.window.strides[0] + top) + dy[p];
                    const T sx = static_cast<T>(p % d.y[3] * d.window.strides[1] + left) + dx[p];
                    const T v = Bilinear(x + c * d.x[2] * d.x[3], d.x[2], d.x[3], sy, sx);
                    columns[row * places + p] = m == nullptr ? v : v * m[p];
                  }
                }
              });
}

template <typename T>
KernelOr MakeDeformConv(PrepareContext& ctx, Deform deform) {
  ctx.RequestScratch(sizeof(T) * static_cast<size_t>(deform.x[1] * deform.taps() * deform.places()));
  return MakeKernel(
      [d = std::move(deform)](RunContext& run) {
        T* columns = static_cast<T*>(run.scratch());
        const T* w = run.in<T>(1);
        const T* bias = d.bias ? run.in<T>(3) : nullptr;
        const int64_t taps = d.taps(), places = d.places(), depth = d.w[1] * taps, per_group = d.y[1] / d.group;
        for (int64_t n = 0; n < d.x[0]; ++n) {
          Sample(d, run.in<T>(0) + n * d.x[1] * d.x[2] * d.x[3], run.in<T>(2) + n * d.offset_group * taps * 2 * places,
                 d.mask ? run.in<T>(4) + n * d.offset_group * taps * places : nullptr, columns);
          T* y = run.out<T>(0) + n * d.y[1] * places;
          ParallelFor(d.y[1], std::max<int64_t>(1, 20000 / std::max<int64_t>(1, depth * places)),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t o = begin; o < end; ++o) {
                          T* to = y + o * places;
                          std::fill_n(to, places, bias == nullptr ? T(0) : bias[o]);
                          const T* from = columns + o / per_group * depth * places;
                          for (int64_t k = 0; k < depth; ++k) {
                            const T weight = w[o * depth + k];
                            for (int64_t p = 0; p < places; ++p) to[p] += weight * from[k * places + p];
                          }
                        }
                      });
        }
        return absl::OkStatus();
      },
      ctx.plain() ? "plain" : "own");
}

KernelOr PrepareDeformConv(PrepareContext& ctx) {
  Deform d;
  d.x = ctx.input_dims(0);
  d.w = ctx.input_dims(1);
  d.y = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(ConvAttributes attributes, ReadConv(ctx.attributes, d.w));
  d.window = attributes.window;
  d.window.Resolve(absl::Span<const int64_t>(d.x).subspan(2));
  d.group = attributes.group;
  RONDO_ASSIGN_OR_RETURN(d.offset_group, ctx.attributes.Int("offset_group", 1));
  if (d.offset_group < 1 || d.x[1] % d.offset_group != 0) {
    return InvalidArgument("attribute \"offset_group\": ", d.offset_group, " does not divide the ", d.x[1],
                           " channels");
  }
  d.bias = ctx.has_input(3);
  d.mask = ctx.has_input(4);
  const Dims offset = {d.x[0], d.offset_group * d.taps() * 2, d.y[2], d.y[3]};
  const Dims mask = {d.x[0], d.offset_group * d.taps(), d.y[2], d.y[3]};
  auto expect = [&](int i, absl::string_view what, const Dims& dims) {
    if (!ctx.has_input(i) || ctx.input_dims(i) == dims) return absl::OkStatus();
    return InvalidArgument(what, ": expected shape ", DimsToString(dims), ", got ", DimsToString(ctx.input_dims(i)));
  };
  RONDO_RETURN_IF_ERROR(expect(2, "offset", offset));
  RONDO_RETURN_IF_ERROR(expect(3, "B", {d.y[1]}));
  RONDO_RETURN_IF_ERROR(expect(4, "mask", mask));
  return DispatchResult<KernelOr>(TypeList<float, double>{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return MakeDeformConv<typename decltype(tag)::type>(ctx, std::move(d));
  });
}

// Col2Im(input [N, C * product(block_shape), L], image_shape [axes], block_shape [axes]) -> [N, C, image_shape...]: the
// sum of all blocks at their places; L counts the places. dilations, strides = 1; pads = 0.
absl::StatusOr<Window> ReadBlocks(const AttributeReader& attributes, absl::Span<const int64_t> image,
                                  absl::Span<const int64_t> block) {
  RONDO_RETURN_IF_ERROR(CheckPositive("image_shape", image, image.size()));
  RONDO_RETURN_IF_ERROR(CheckPositive("block_shape", block, image.size()));
  return ReadWindow(attributes, block);
}

absl::Status InferCol2Im(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 3, 3));
  const auto image = ctx.constant_ints(1), block = ctx.constant_ints(2);
  if (!image || !block) {
    if (ctx.has_shape(1) && ctx.shape(1).rank() == 1 && ctx.shape(1)[0].known() && ctx.shape(1)[0].value() < 32) {
      ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(static_cast<int>(ctx.shape(1)[0].value()) + 2));
    } else {
      ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    }
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Window window, ReadBlocks(ctx.attributes, *image, *block));
  Shape y = Shape::UnknownOfRank(2);
  if (ctx.has_shape(0)) {
    int64_t taps = 1, places = 1;
    for (int i = 0; i < window.rank(); ++i) {
      taps *= window.kernel[i];
      RONDO_ASSIGN_OR_RETURN(Dim count, window.Output(i, Dim((*image)[i])));
      places *= count.value();
    }
    const Shape& x = ctx.shape(0);
    y[0] = x[0];
    y[1] = Dim::FloorDiv(x[1], Dim(taps));
    if ((x[1].known() && x[1].value() % taps != 0) || (x[2].known() && x[2].value() != places)) {
      return InvalidArgument("expected input [N, C * ", taps, ", ", places, "], got ", x.ToString());
    }
  }
  for (int64_t d : *image) y.push_back(Dim(d));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

template <typename T>
KernelOr MakeCol2Im(Window window, Dims y, int64_t length) {
  return MakeKernel([window = std::move(window), y = std::move(y), length](RunContext& ctx) {
    const int rank = window.rank();
    int64_t taps = 1, size = 1;
    Dims counts(rank);
    for (int i = 0; i < rank; ++i) {
      taps *= window.kernel[i];
      size *= y[i + 2];
      counts[i] = (y[i + 2] + window.pads_begin[i] + window.pads_end[i] - window.Extent(i)) / window.strides[i] + 1;
    }
    const T* x = ctx.in<T>(0);
    T* out = ctx.out<T>(0);
    ParallelFor(y[0] * y[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        T* to = out + plane * size;
        std::fill_n(to, size, T(0));
        for (int64_t tap = 0; tap < taps; ++tap) {
          const T* from = x + (plane * taps + tap) * length;
          for (int64_t place = 0; place < length; ++place) {
            int64_t offset = 0, stride = 1;
            bool inside = true;
            for (int64_t i = rank - 1, p = place, t = tap; i >= 0; --i) {
              const int64_t at =
                  p % counts[i] * window.strides[i] - window.pads_begin[i] + t % window.kernel[i] * window.dilations[i];
              p /= counts[i];
              t /= window.kernel[i];
              inside = inside && at >= 0 && at < y[i + 2];
              offset += at * stride;
              stride *= y[i + 2];
            }
            if (!inside) continue;
            if constexpr (std::is_integral_v<T>) {
              to[offset] = static_cast<T>(static_cast<uint64_t>(to[offset]) + static_cast<uint64_t>(from[place]));
            } else {
              using C = ComputeType<T>;
              to[offset] = static_cast<T>(static_cast<C>(to[offset]) + static_cast<C>(from[place]));
            }
          }
        }
      }
    });
    return absl::OkStatus();
  });
}

KernelOr PrepareCol2Im(PrepareContext& ctx) {
  const std::vector<int64_t> image = ctx.constant_ints(1), block = ctx.constant_ints(2);
  RONDO_ASSIGN_OR_RETURN(Window window, ReadBlocks(ctx.attributes, image, block));
  const Dims y = ctx.output_dims(0);
  const int64_t length = ctx.input_dims(0)[2];
  return DispatchResult<KernelOr>(NumericTypes{}, ctx.output_dtype(0), [&](auto tag) -> KernelOr {
    return MakeCol2Im<typename decltype(tag)::type>(window, y, length);
  });
}

const OpDef kRows[] = {
    {.type = "DeformConv", .since = 19, .inputs = {3, 5}, .infer = InferDeformConv, .prepare = PrepareDeformConv},
    {.type = "Col2Im",
     .since = 18,
     .inputs = {3, 3},
     .infer = InferCol2Im,
     .prepare = PrepareCol2Im,
     .content_inputs = InputBit(1) | InputBit(2)},
};

}  // namespace

absl::Span<const OpDef> ConvSampledFamily() { return kRows; }

}  // namespace rondo
