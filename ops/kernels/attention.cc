// The driver of ops/kernels/attention.h: cuts the work into units, runs them, joins split keys; and the reference.
#include "ops/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "graph/numeric.h"
#include "ops/kernels/isa.h"
#include "ops/parallel.h"

namespace rondo {

namespace baseline {
extern const AttentionKernels kAttentionKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const AttentionKernels kAttentionKernels;
}
namespace avx512 {
extern const AttentionKernels kAttentionKernels;
}
#endif

namespace {

// Rows that share one pass over the keys: enough to hide the packing of a tile, few enough for the second-level cache.
constexpr int64_t kRowsPerUnit = 192;
// Units that a short query over a long cache is cut into, per thread: a busy core then delays few of them.
constexpr int64_t kCachedUnitsPerThread = 4;
// Keys below which a split costs more than it gives.
constexpr int64_t kMinKeysPerSplit = 512;

int64_t Padded(int64_t n) { return (n + kAttentionLanePadding - 1) / kAttentionLanePadding * kAttentionLanePadding; }

const AttentionKernels& Kernels() {
#if defined(__x86_64__)
  if (ActiveIsa() == Isa::kAvx512) return avx512::kAttentionKernels;
  if (ActiveIsa() == Isa::kAvx2) return avx2::kAttentionKernels;
#endif
  return baseline::kAttentionKernels;
}

// Keys that some query of positions [first, first + count) of `batch` may see.
void KeyRange(const AttentionInputs& in, int64_t batch, int64_t first, int64_t count, int64_t* begin, int64_t* end) {
  *begin = in.key_begin != nullptr ? std::max<int64_t>(in.key_begin[batch], 0) : 0;
  *end = in.key_end != nullptr ? std::min(in.key_end[batch], in.keys) : in.keys;
  for (const AttentionBias& bias : in.bias) {
    if (bias.data != nullptr) *end = std::min(*end, bias.keys);
  }
  const int64_t p = in.first_position != nullptr ? in.first_position[batch] : 0;
  const int64_t last = p + first + count - 1;
  if (in.causal) *end = std::min(*end, last + 1);
  if (in.right_window >= 0 && in.right_window < *end - last) *end = std::min(*end, last + in.right_window + 1);
  if (in.left_window >= 0) *begin = std::max(*begin, p + first - in.left_window);
  *end = std::max(*end, *begin);
}

}  // namespace

AttentionPlan PlanAttention(const AttentionInputs& in, int threads) {
  AttentionPlan plan;
  const int64_t group = in.heads / std::max<int64_t>(in.kv_heads, 1);
  plan.threads = std::max(threads, 1);
  plan.positions_per_unit =
      std::clamp<int64_t>(kRowsPerUnit / std::max<int64_t>(group, 1), 1, std::max<int64_t>(in.queries, 1));
  // A lone long unit would leave threads idle: halve until each has some, but not below a panel.
  const auto units = [&] {
    return in.batch * in.kv_heads * ((in.queries + plan.positions_per_unit - 1) / plan.positions_per_unit);
  };
  while (units() < 2 * plan.threads && plan.positions_per_unit * group >= 2 * kAttentionPanel) {
    plan.positions_per_unit = (plan.positions_per_unit + 1) / 2;
  }
  plan.rows_per_unit = plan.positions_per_unit * group;
  if (in.cache != nullptr) {
    // The lengths are not known yet.
    plan.max_splits = std::max<int64_t>(1, kCachedUnitsPerThread * plan.threads / std::max<int64_t>(units(), 1));
  } else if (units() < plan.threads) {
    plan.max_splits = std::clamp<int64_t>(in.keys / kMinKeysPerSplit, 1, plan.threads);
  }
  const int64_t rows = plan.rows_per_unit, dp = Padded(in.head_size), dvp = Padded(in.v_head_size);
  plan.unit_floats = rows * dvp + rows * dp + dp * kAttentionKeyTile + kAttentionKeyTile * dvp +
                     kAttentionPanel * kAttentionKeyTile + kAttentionLanePadding * dp + rows * 2 +
                     plan.positions_per_unit * 4;
  plan.unit_floats = Padded(plan.unit_floats);
  plan.partial_floats = Padded(rows * dvp + rows * 2);
  int64_t floats = plan.threads * plan.unit_floats;
  if (plan.max_splits > 1) floats += units() * plan.max_splits * plan.partial_floats;
  plan.scratch_bytes = static_cast<size_t>(floats) * sizeof(float);
  return plan;
}

namespace {

int64_t QueryCount(const AttentionInputs& in, int64_t batch) {
  return in.query_count != nullptr ? std::min(in.query_count[batch], in.queries) : in.queries;
}

void ZeroPaddingQueries(const AttentionInputs& in) {
  const size_t bytes = ByteSize(in.y.dtype, in.v_head_size);
  for (int64_t b = 0; b < in.batch; ++b) {
    for (int64_t i = QueryCount(in, b); i < in.queries; ++i) {
      for (int64_t h = 0; h < in.heads; ++h) {
        const int64_t at = b * in.y.batch_stride + h * in.y.head_stride + i * in.y.row_stride;
        std::memset(static_cast<char*>(const_cast<void*>(in.y.data)) + ByteSize(in.y.dtype, at), 0, bytes);
      }
    }
  }
}

}  // namespace

void RunAttention(const AttentionInputs& in, const AttentionPlan& plan, void* scratch) {
  const AttentionKernels& kernels = Kernels();
  float* floats = static_cast<float*>(scratch);
  const int64_t group = in.heads / in.kv_heads;
  const int64_t blocks = (in.queries + plan.positions_per_unit - 1) / plan.positions_per_unit;
  const int64_t units = in.batch * in.kv_heads * blocks;
  if (units == 0) return;
  ZeroPaddingQueries(in);

  // Without positions where all its queries are padding.
  const auto unit_at = [&](int64_t index) {
    AttentionUnit unit{};
    const int64_t block = index % blocks;
    unit.kv_head = index / blocks % in.kv_heads;
    unit.batch = index / blocks / in.kv_heads;
    unit.first = block * plan.positions_per_unit;
    unit.positions = std::min(plan.positions_per_unit, QueryCount(in, unit.batch) - unit.first);
    if (unit.positions > 0) KeyRange(in, unit.batch, unit.first, unit.positions, &unit.key_begin, &unit.key_end);
    return unit;
  };
  const auto worker_scratch = [&] { return floats + std::min(WorkerIndex(), plan.threads - 1) * plan.unit_floats; };
  const auto keys_of = [&](int64_t batch) {
    int64_t begin, end;
    KeyRange(in, batch, 0, std::max<int64_t>(QueryCount(in, batch), 1), &begin, &end);
    return end - begin;
  };
  // By each sequence's own length, so that its result does not depend on what else is in the batch.
  const auto splits_of = [&](int64_t batch) {
    return plan.max_splits == 1 ? 1 : std::clamp<int64_t>(keys_of(batch) / kMinKeysPerSplit, 1, plan.max_splits);
  };

  int64_t longest = 0, most_splits = 1;
  for (int64_t b = 0; b < in.batch; ++b) {
    longest = std::max(longest, keys_of(b) / splits_of(b));
    most_splits = std::max(most_splits, splits_of(b));
  }
  // Multiply-adds per nanosecond: few rows over keys that are to be packed are slow.
  const double rate = in.cache != nullptr ? 48 : 16;
  const double unit_ns = static_cast<double>(plan.positions_per_unit * group) * static_cast<double>(longest + 1) *
                             static_cast<double>(in.head_size + in.v_head_size) / rate +
                         300;
  // Below some 20 microseconds in all another thread is not worth its call; above, units are too few for big chunks.
  const int64_t items = units * most_splits;
  const int64_t grain =
      static_cast<double>(items) * unit_ns < 20000 ? items : std::max<int64_t>(1, static_cast<int64_t>(5000 / unit_ns));
  float* partials = floats + plan.threads * plan.unit_floats;
  ParallelFor(items, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AttentionUnit unit = unit_at(i / most_splits);
      const int64_t splits = splits_of(unit.batch), split = i % most_splits;
      if (unit.positions <= 0 || split >= splits) continue;
      if (splits > 1) {
        // A cache's tiles lie at fixed positions.
        const int64_t base = in.cache != nullptr ? unit.key_begin / kKvTile * kKvTile : unit.key_begin;
        const int64_t tiles = (unit.key_end - base + kAttentionKeyTile - 1) / kAttentionKeyTile;
        const int64_t from = tiles * split / splits, to = tiles * (split + 1) / splits;
        unit.key_end = std::min(unit.key_end, base + to * kAttentionKeyTile);
        unit.key_begin = std::max(unit.key_begin, base + from * kAttentionKeyTile);
        unit.partial = partials + i * plan.partial_floats;
      }
      kernels.run_unit(in, unit, worker_scratch());
    }
  });
  for (int64_t i = 0; i < units; ++i) {
    const AttentionUnit unit = unit_at(i);
    const int64_t splits = splits_of(unit.batch);
    if (unit.positions <= 0 || splits == 1) continue;
    kernels.merge(in, unit, partials + i * most_splits * plan.partial_floats, static_cast<int>(splits),
                  plan.partial_floats);
  }
}

namespace {

template <typename C>
void LoadRow(const AttentionView& view, int64_t batch, int64_t head, int64_t row, int64_t n, C* out) {
  const int64_t at = batch * view.batch_stride + head * view.head_stride + row * view.row_stride;
  switch (view.dtype) {
    case DataType::kDouble:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<C>(static_cast<const double*>(view.data)[at + i]);
      break;
    case DataType::kFloat16:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<const Float16*>(view.data)[at + i]);
      break;
    case DataType::kBFloat16:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(static_cast<const BFloat16*>(view.data)[at + i]);
      break;
    default:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<const float*>(view.data)[at + i];
  }
}

template <typename C>
void StoreElements(const C* in, int64_t n, DataType dtype, void* out, int64_t at) {
  switch (dtype) {
    case DataType::kDouble:
      for (int64_t i = 0; i < n; ++i) static_cast<double*>(out)[at + i] = in[i];
      break;
    case DataType::kFloat16:
      for (int64_t i = 0; i < n; ++i) static_cast<Float16*>(out)[at + i] = Float16(static_cast<float>(in[i]));
      break;
    case DataType::kBFloat16:
      for (int64_t i = 0; i < n; ++i) static_cast<BFloat16*>(out)[at + i] = BFloat16(static_cast<float>(in[i]));
      break;
    default:
      for (int64_t i = 0; i < n; ++i) static_cast<float*>(out)[at + i] = static_cast<float>(in[i]);
  }
}

template <typename C>
C RoundTo(DataType precision, C x) {
  switch (precision) {
    case DataType::kFloat:
      return static_cast<float>(x);
    case DataType::kFloat16:
      return static_cast<float>(Float16(static_cast<float>(x)));
    case DataType::kBFloat16:
      return static_cast<float>(BFloat16(static_cast<float>(x)));
    default:
      return x;
  }
}

// The value that a bias term adds; -inf for an excluded key.
template <typename C>
C BiasAt(const AttentionBias& bias, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (j >= bias.keys) return -std::numeric_limits<C>::infinity();
  const int64_t at = b * bias.batch_stride + h * bias.head_stride + i * bias.query_stride + j * bias.key_stride;
  switch (bias.dtype) {
    case DataType::kBool:
      return static_cast<const uint8_t*>(bias.data)[at] != 0 ? C{0} : -std::numeric_limits<C>::infinity();
    case DataType::kDouble:
      return static_cast<C>(static_cast<const double*>(bias.data)[at]);
    default:
      return static_cast<const float*>(bias.data)[at];
  }
}

// One row (b, h, i): scores, softmax, values, each as the formula says.
template <typename C>
void ReferenceRow(const AttentionInputs& in, int64_t b, int64_t h, int64_t i, C* scratch) {
  const int64_t kv = h / (in.heads / in.kv_heads);
  C* q = scratch;
  C* row = q + in.head_size;  // of K or V
  C* y = row + std::max(in.head_size, in.v_head_size);
  C* scores = y + in.v_head_size;
  C* bias = scores + in.keys;
  C* wanted = bias + in.keys;
  const C minus_infinity = -std::numeric_limits<C>::infinity();
  const C zero = 0;

  LoadRow(in.q, b, h, i, in.head_size, q);
  const int64_t begin = in.key_begin != nullptr ? in.key_begin[b] : 0;
  const int64_t end = in.key_end != nullptr ? in.key_end[b] : in.keys;
  const int64_t p = (in.first_position != nullptr ? in.first_position[b] : 0) + i;
  C top = minus_infinity, top_bias = minus_infinity;
  for (int64_t j = 0; j < in.keys; ++j) {
    LoadRow(in.k, b, kv, j, in.head_size, row);
    C dot = 0;
    for (int64_t d = 0; d < in.head_size; ++d) dot += q[d] * row[d];
    C score = dot * static_cast<C>(in.scale);
    const C raw = score;
    if (in.softcap > 0) score = static_cast<C>(in.softcap) * std::tanh(score / static_cast<C>(in.softcap));
    const C capped = score;
    bias[j] = 0;
    if (j < begin || j >= end || (in.causal && j > p) || (in.left_window >= 0 && j < p - in.left_window) ||
        (in.right_window >= 0 && j - p > in.right_window)) {
      bias[j] = minus_infinity;
    }
    for (const AttentionBias& term : in.bias) {
      if (term.data != nullptr) bias[j] += BiasAt<C>(term, b, h, i, j);
    }
    if (in.alibi != nullptr) bias[j] += static_cast<C>(in.alibi[h]) * static_cast<C>(j - p);
    // Selected, not added: an excluded key stays excluded whatever its score is.
    score = bias[j] == minus_infinity ? minus_infinity : score + bias[j];
    scores[j] = RoundTo(in.softmax_precision, score);
    top = std::max(top, scores[j]);
    top_bias = std::max(top_bias, bias[j]);
    if (in.scores == nullptr) continue;
    if (in.scores_stage == AttentionInputs::Scores::kRaw) wanted[j] = raw;
    if (in.scores_stage == AttentionInputs::Scores::kCapped) wanted[j] = capped;
    if (in.scores_stage == AttentionInputs::Scores::kBiased) wanted[j] = score;
  }
  C sum = 0;
  for (int64_t j = 0; j < in.keys; ++j) {
    scores[j] = top == minus_infinity ? zero : std::exp(scores[j] - top);
    sum += scores[j];
  }
  if (in.sinks != nullptr && top != minus_infinity) sum += std::exp(static_cast<C>(in.sinks[h]) - top);
  std::fill(y, y + in.v_head_size, zero);
  for (int64_t j = 0; j < in.keys; ++j) {
    scores[j] = sum == 0 ? zero : RoundTo(in.softmax_precision, scores[j] / sum);
    if (bias[j] == minus_infinity) continue;  // what lies there may be anything
    LoadRow(in.v, b, kv, j, in.v_head_size, row);
    for (int64_t d = 0; d < in.v_head_size; ++d) y[d] += scores[j] * row[d];
  }
  StoreElements(y, in.v_head_size, in.y.dtype, const_cast<void*>(in.y.data),
                b * in.y.batch_stride + h * in.y.head_stride + i * in.y.row_stride);
  if (in.scores != nullptr) {
    const C* out = in.scores_stage == AttentionInputs::Scores::kProbabilities ? scores : wanted;
    StoreElements(out, in.keys, in.scores_dtype, in.scores, ((b * in.heads + h) * in.queries + i) * in.keys);
  }
}

int64_t ReferenceRowElements(const AttentionInputs& in) {
  return in.head_size + std::max(in.head_size, in.v_head_size) + in.v_head_size + 3 * in.keys;
}

bool ComputesInDouble(const AttentionInputs& in) {
  return in.q.dtype == DataType::kDouble || in.v.dtype == DataType::kDouble ||
         in.softmax_precision == DataType::kDouble;
}

template <typename C>
void Reference(const AttentionInputs& in, int threads, void* scratch) {
  const int64_t per_worker = ReferenceRowElements(in);
  ParallelFor(in.batch * in.heads * in.queries, 1 + 20000 / std::max<int64_t>(1, in.keys * in.head_size),
              [&](int64_t begin, int64_t end) {
                C* own = static_cast<C*>(scratch) + std::min(WorkerIndex(), threads - 1) * per_worker;
                for (int64_t r = begin; r < end; ++r) {
                  ReferenceRow<C>(in, r / in.queries / in.heads, r / in.queries % in.heads, r % in.queries, own);
                }
              });
}

}  // namespace

void MultiplyRowMajor(int64_t m, int64_t n, int64_t k, const float* x, const float* w, const float* bias, float* y) {
  const AttentionKernels& kernels = Kernels();
  constexpr int64_t kColumns = 64;
  const int64_t panels = (n + kColumns - 1) / kColumns;
  const int64_t grain = std::max<int64_t>(1, 20000 * 16 / std::max<int64_t>(1, m * k * kColumns));
  ParallelFor(panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kColumns, columns = std::min(kColumns, n - first);
      const int64_t whole = columns / kAttentionLanePadding * kAttentionLanePadding;
      if (whole > 0) kernels.multiply(m, whole, k, x, k, w + first, n, y + first, n, /*add=*/false);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t c = first + whole; c < first + columns; ++c) {
          float sum = 0;
          for (int64_t d = 0; d < k; ++d) sum += x[i * k + d] * w[d * n + c];
          y[i * n + c] = sum;
        }
        for (int64_t c = first; bias != nullptr && c < first + columns; ++c) y[i * n + c] += bias[c];
      }
    }
  });
}

size_t ReferenceAttentionScratch(const AttentionInputs& in, int threads) {
  return static_cast<size_t>(std::max(threads, 1)) * static_cast<size_t>(ReferenceRowElements(in)) * sizeof(double);
}

void ReferenceAttention(const AttentionInputs& in, int threads, void* scratch) {
  threads = std::max(threads, 1);
  if (ComputesInDouble(in)) {
    Reference<double>(in, threads, scratch);
  } else {
    Reference<float>(in, threads, scratch);
  }
}

}  // namespace rondo
