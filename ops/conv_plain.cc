// The plain convolution: for each row of outputs (the last spatial axis), sum over input channels and kernel taps, a
// tile of outputs at a time. A transposed convolution reads x where an output's tap falls on a multiple of the stride.
// Serves
// --plain, the element types that oneDNN lacks, and quantised convolutions.
#include <algorithm>

#include "ops/conv_common.h"
#include "ops/dispatch.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

constexpr int kTile = 64;

// Index of x that output `o` reads through kernel element `k` of axis `i`, or -1.
inline int64_t InputIndex(const ConvGeometry& g, int i, int64_t o, int64_t k) {
  const Window& w = g.window;
  int64_t index;
  if (g.transposed) {
    index = o + w.pads_begin[i] - k * w.dilations[i];
    if (index < 0 || index % w.strides[i] != 0) return -1;
    index /= w.strides[i];
  } else {
    index = o * w.strides[i] - w.pads_begin[i] + k * w.dilations[i];
  }
  return index >= 0 && index < g.x[i + 2] ? index : -1;
}

// Everything but the innermost loops, shared by the element types.
struct Loops {
  explicit Loops(const ConvGeometry& geometry)
      : g(geometry),
        x_strides(ChannelsFirstStrides(g.x, g.channels_last)),
        y_strides(ChannelsFirstStrides(g.y, g.channels_last)),
        in_per_group(g.in_channels() / g.group),
        out_per_group(g.out_channels() / g.group) {
    for (int i = 0; i + 1 < g.spatial_rank(); ++i) {
      outer_outputs *= g.y[i + 2];
      outer_taps *= g.window.kernel[i];
    }
    last = g.spatial_rank() - 1;
    taps = outer_taps * g.window.kernel[last];
  }
  const ConvGeometry& g;
  Dims x_strides, y_strides;
  int64_t in_per_group, out_per_group;
  int64_t outer_outputs = 1, outer_taps = 1, taps = 1;
  int last = 0;

  // Element offset of w for output channel o, the group's input channel c, tap t.
  int64_t Weight(int64_t o, int64_t c, int64_t t) const {
    if (!g.transposed) return (o * in_per_group + c) * taps + t;
    const int64_t group = o / out_per_group;
    return ((group * in_per_group + c) * out_per_group + o % out_per_group) * taps + t;
  }
};

// `accumulate(acc, x, x_step, count, w)`: acc[j] += x[j * x_step] * w. `finish(acc, count, o, y_offset, y_step)`.
template <typename X, typename W, typename Acc, typename Init, typename Multiply, typename Finish>
void ForEachTile(const ConvGeometry& g, const X* x, const W* w, const Init& init, const Multiply& multiply,
                 const Finish& finish) {
  const Loops loops(g);
  const int last = loops.last;
  const int64_t width = g.y[last + 2];
  const int64_t rows = g.batch() * g.out_channels() * loops.outer_outputs;
  const int64_t row_cost = std::max<int64_t>(1, width * loops.in_per_group * loops.taps);
  const Window& win = g.window;
  ParallelFor(rows, std::max<int64_t>(1, 20000 / row_cost), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / (g.out_channels() * loops.outer_outputs);
      const int64_t o = row / loops.outer_outputs % g.out_channels();
      int64_t outer[8] = {0};
      int64_t y_base = n * loops.y_strides[0] + o * loops.y_strides[1];
      for (int64_t i = last - 1, rest = row % loops.outer_outputs; i >= 0; --i) {
        outer[i] = rest % g.y[i + 2];
        rest /= g.y[i + 2];
        y_base += outer[i] * loops.y_strides[i + 2];
      }
      const int64_t first_channel = o / loops.out_per_group * loops.in_per_group;
      for (int64_t j0 = 0; j0 < width; j0 += kTile) {
        const int64_t count = std::min<int64_t>(kTile, width - j0);
        Acc acc[kTile];
        for (int64_t j = 0; j < count; ++j) acc[j] = init(o);
        for (int64_t t = 0; t < loops.outer_taps; ++t) {
          int64_t x_base = n * loops.x_strides[0] + first_channel * loops.x_strides[1];
          bool inside = true;
          for (int64_t i = last - 1, rest = t; i >= 0 && inside; --i) {
            const int64_t index = InputIndex(g, static_cast<int>(i), outer[i], rest % win.kernel[i]);
            rest /= win.kernel[i];
            inside = index >= 0;
            x_base += index * loops.x_strides[i + 2];
          }
          if (!inside) continue;
          for (int64_t k = 0; k < win.kernel[last]; ++k) {
            // Outputs of this tile that read inside x: j = from, from + step, ... < to.
            int64_t from, to, step, x_index, x_step;
            if (!g.transposed) {
              const int64_t shift = k * win.dilations[last] - win.pads_begin[last];
              from = std::max<int64_t>(0, CeilDiv(-shift, win.strides[last]) - j0);
              to = std::min(count, FloorDiv(g.x[last + 2] - 1 - shift, win.strides[last]) + 1 - j0);
              step = 1;
              x_index = (j0 + from) * win.strides[last] + shift;
              x_step = win.strides[last];
            } else {
              const int64_t shift = win.pads_begin[last] - k * win.dilations[last];
              step = win.strides[last];
              x_index = std::max<int64_t>(0, CeilDiv(j0 + shift, step));
              from = x_index * step - shift - j0;
              to = std::min(count, (g.x[last + 2] - 1) * step - shift - j0 + 1);
              x_step = 1;
            }
            if (from >= to) continue;
            const X* source = x + x_base + x_index * loops.x_strides[last + 2];
            const int64_t source_step = x_step * loops.x_strides[last + 2];
            for (int64_t c = 0; c < loops.in_per_group; ++c) {
              const W weight = w[loops.Weight(o, c, t * win.kernel[last] + k)];
              multiply(acc + from, (to - from + step - 1) / step, step, source + c * loops.x_strides[1], source_step,
                       weight, o);
            }
          }
        }
        finish(acc, count, o, y_base + j0 * loops.y_strides[last + 2], loops.y_strides[last + 2]);
      }
    }
  });
}

template <typename T>
void Multiply(ComputeType<T>* acc, int64_t count, int64_t step, const T* x, int64_t x_step, T weight) {
  using Acc = ComputeType<T>;
  const Acc w = static_cast<Acc>(weight);
  if (step == 1 && x_step == 1) {
    for (int64_t j = 0; j < count; ++j) acc[j] += static_cast<Acc>(x[j]) * w;
  } else {
    for (int64_t j = 0; j < count; ++j) acc[j * step] += static_cast<Acc>(x[j * x_step]) * w;
  }
}

template <typename T>
std::unique_ptr<Kernel> MakePlain(const ConvRequest& request, std::string implementation) {
  return MakeKernel(
      [r = request](RunContext& ctx) {
        using Acc = ComputeType<T>;
        const T* bias = r.bias >= 0 ? ctx.in<T>(r.bias) : nullptr;
        const T* residual = r.residual >= 0 ? ctx.in<T>(r.residual) : nullptr;
        T* y = ctx.out<T>(0);
        ForEachTile<T, T, Acc>(
            r.g, ctx.in<T>(r.x_input), ctx.in<T>(r.w_input),
            [&](int64_t o) { return bias == nullptr ? Acc(0) : static_cast<Acc>(bias[o]); },
            [](Acc* acc, int64_t count, int64_t step, const T* x, int64_t x_step, T w, int64_t) {
              Multiply<T>(acc, count, step, x, x_step, w);
            },
            [&](const Acc* acc, int64_t count, int64_t, int64_t offset, int64_t step) {
              for (int64_t j = 0; j < count; ++j) {
                Acc v = acc[j];
                if (residual != nullptr) v += static_cast<Acc>(residual[offset + j * step]);
                if (!r.activation.none()) v = static_cast<Acc>(r.activation.Apply(static_cast<float>(v)));
                y[offset + j * step] = static_cast<T>(v);
              }
            });
        return absl::OkStatus();
      },
      std::move(implementation));
}

}  // namespace

bool ConvGeometry::empty() const {
  for (const Dims* dims : {&x, &w, &y}) {
    for (int64_t d : *dims) {
      if (d == 0) return true;
    }
  }
  return false;
}

absl::StatusOr<std::unique_ptr<Kernel>> PreparePlainConv(PrepareContext& ctx, const ConvRequest& request) {
  if (request.g.spatial_rank() > 8) return Unimplemented("convolution over ", request.g.spatial_rank(), " axes");
  const std::string implementation = ctx.plain() ? "plain" : "own";
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      FloatTypes{}, ctx.output_dtype(0), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        return MakePlain<typename decltype(tag)::type>(request, implementation);
      });
}

template <typename X, typename W>
void PlainConvInt32(const ConvGeometry& g, const X* x, const W* w, int32_t x_zero, const int32_t* w_zero,
                    int64_t w_zero_step, int32_t* y) {
  // Sums wrap instead of overflowing.
  ForEachTile<X, W, uint32_t>(
      g, x, w, [](int64_t) { return 0u; },
      [&](uint32_t* acc, int64_t count, int64_t step, const X* source, int64_t x_step, W weight, int64_t o) {
        const int32_t factor = static_cast<int32_t>(weight) - w_zero[o * w_zero_step];
        for (int64_t j = 0; j < count; ++j) {
          acc[j * step] += static_cast<uint32_t>((static_cast<int32_t>(source[j * x_step]) - x_zero) * factor);
        }
      },
      [&](const uint32_t* acc, int64_t count, int64_t, int64_t offset, int64_t step) {
        for (int64_t j = 0; j < count; ++j) y[offset + j * step] = static_cast<int32_t>(acc[j]);
      });
}
template void PlainConvInt32(const ConvGeometry&, const uint8_t*, const uint8_t*, int32_t, const int32_t*, int64_t,
                             int32_t*);
template void PlainConvInt32(const ConvGeometry&, const uint8_t*, const int8_t*, int32_t, const int32_t*, int64_t,
                             int32_t*);
template void PlainConvInt32(const ConvGeometry&, const int8_t*, const uint8_t*, int32_t, const int32_t*, int64_t,
                             int32_t*);
template void PlainConvInt32(const ConvGeometry&, const int8_t*, const int8_t*, int32_t, const int32_t*, int64_t,
                             int32_t*);

}  // namespace rondo
