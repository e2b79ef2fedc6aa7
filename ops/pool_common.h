// Poolings over windows: geometry, and loops that every plain kernel of the pooling families shares.
#ifndef RONDO_OPS_POOL_COMMON_H_
#define RONDO_OPS_POOL_COMMON_H_

#include <algorithm>

#include "ops/op.h"
#include "ops/parallel.h"
#include "ops/window.h"

namespace rondo {

struct PoolGeometry {
  bool channels_last = false;
  Dims x, y;  // channels-first order
  Window window;
  Dims x_strides, y_strides;

  int spatial_rank() const { return static_cast<int>(x.size()) - 2; }
  // Sets strides and, for SAME, pads. REQUIRES: x, y, window, channels_last.
  void Finish() {
    window.Resolve(absl::Span<const int64_t>(x).subspan(2));
    x_strides = ChannelsFirstStrides(x, channels_last);
    y_strides = ChannelsFirstStrides(y, channels_last);
  }
};

// [N, C, spatial...] -> [N, C, output...]; channels_last: x and the result have C last.
absl::StatusOr<Shape> PoolShape(const Window& window, const Shape& x, bool channels_last);

// Walks a window: calls visit(x_offset, spatial_index) for each element inside x, in row-major order. `spatial_index`
// is row-major over the spatial dims, or column-major when `column_major`. Returns the number of window positions that
// lie inside x and its pads (the divisor of count_include_pad). Taps outside x cost nothing: pads may be huge.
template <typename Visit>
int64_t VisitWindow(const PoolGeometry& g, const int64_t* output, bool column_major, const Visit& visit) {
  const int rank = g.spatial_rank();
  int64_t start[8], first[8], end[8], tap[8];
  int64_t padded = 1;
  bool any = true;
  for (int i = 0; i < rank; ++i) {
    const int64_t dilation = g.window.dilations[i], size = g.x[i + 2];
    start[i] = output[i] * g.window.strides[i] - g.window.pads_begin[i];
    auto taps_below = [&](int64_t limit) {  // taps t with start + t * dilation < limit
      return std::min(g.window.kernel[i], std::max<int64_t>(0, CeilDiv(limit - start[i], dilation)));
    };
    first[i] = taps_below(0);
    end[i] = taps_below(size);
    // A divisor: beyond 2^31 it only has to stay large.
    padded = std::min<int64_t>(padded * taps_below(size + g.window.pads_end[i]), int64_t{1} << 31);
    any = any && first[i] < end[i];
    tap[i] = first[i];
  }
  if (!any) return padded;
  while (true) {
    int64_t offset = 0, index = 0;
    for (int i = 0; i < rank; ++i) {
      const int64_t at = start[i] + tap[i] * g.window.dilations[i];
      offset += at * g.x_strides[i + 2];
      if (!column_major) index = index * g.x[i + 2] + at;
    }
    if (column_major) {
      for (int i = rank - 1; i >= 0; --i) index = index * g.x[i + 2] + start[i] + tap[i] * g.window.dilations[i];
    }
    visit(offset, index);
    int i = rank - 1;
    while (i >= 0 && ++tap[i] == end[i]) {
      tap[i] = first[i];
      --i;
    }
    if (i < 0) return padded;
  }
}

// Calls body(plane, x_base, y_offset, output) for every output of every plane (n * C + c), in parallel over planes'
// rows.
template <typename Body>
void ForEachOutput(const PoolGeometry& g, const Body& body) {
  const int rank = g.spatial_rank();
  const int64_t channels = g.y[1];
  int64_t per_plane = 1, taps = 1;  // at most the plane's elements are read per output
  for (int i = 0; i < rank; ++i) {
    per_plane *= g.y[i + 2];
    taps *= std::max<int64_t>(1, std::min(g.window.kernel[i], g.x[i + 2]));
  }
  const int64_t total = g.y[0] * channels * per_plane;
  ParallelFor(total, std::max<int64_t>(1, 8000 / taps), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t plane = at / per_plane;
      int64_t output[8];
      const int64_t n = plane / channels, c = plane % channels;
      int64_t y_offset = n * g.y_strides[0] + c * g.y_strides[1];
      int64_t rest = at % per_plane;
      for (int i = rank - 1; i >= 0; --i) {
        output[i] = rest % g.y[i + 2];
        rest /= g.y[i + 2];
        y_offset += output[i] * g.y_strides[i + 2];
      }
      body(plane, n * g.x_strides[0] + c * g.x_strides[1], y_offset, output);
    }
  });
}

}  // namespace rondo

#endif  // RONDO_OPS_POOL_COMMON_H_
