// The reference for attention over a KV cache (ops/kernels/attention.h): as the formula says, one row at a time. A
// first pass over the keys finds the largest score, a second computes each score again and sums.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/numeric.h"
#include "kvcache/kv_rows.h"
#include "ops/kernels/attention.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

float ElementAt(DataType type, const void* data, int64_t at) {
  switch (type) {
    case DataType::kFloat16:
      return static_cast<float>(static_cast<const Float16*>(data)[at]);
    case DataType::kBFloat16:
      return static_cast<float>(static_cast<const BFloat16*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

void SetElement(DataType type, float value, void* data, int64_t at) {
  switch (type) {
    case DataType::kFloat16:
      static_cast<Float16*>(data)[at] = Float16(value);
      break;
    case DataType::kBFloat16:
      static_cast<BFloat16*>(data)[at] = BFloat16(value);
      break;
    default:
      static_cast<float*>(data)[at] = value;
  }
}

struct Row {
  int64_t batch, head, query, position;
  const float* q;
};

// The score of key j with all that is added; `k`: its row.
double Score(const AttentionInputs& in, const Row& row, int64_t j, const float* k) {
  double dot = 0;
  for (int64_t d = 0; d < in.head_size; ++d) dot += double{row.q[d]} * k[d];
  double score = dot * in.scale;
  if (in.softcap > 0) score = in.softcap * std::tanh(score / in.softcap);
  const int64_t distance = row.position - j;
  if (in.alibi != nullptr) score -= double{in.alibi[row.head]} * static_cast<double>(distance);
  if (in.relative_bias != nullptr) {
    score += in.relative_bias[row.head * in.relative_distances + std::min(distance, in.relative_distances - 1)];
  }
  return score;
}

int64_t RowFloats(const AttentionInputs& in) { return 2 * in.head_size + in.v_head_size; }

// `scratch`: v_head_size doubles, then RowFloats floats.
void ReferenceRow(const AttentionInputs& in, Row row, double* scratch) {
  const KvView& view = in.cache[row.batch];
  const int64_t kv_head = row.head / (in.heads / in.kv_heads);
  double* y = scratch;
  float* q = reinterpret_cast<float*>(y + in.v_head_size);
  float* k = q + in.head_size;
  float* v = k + in.head_size;
  const auto offset = [&](const AttentionView& of) {
    return row.batch * of.batch_stride + row.head * of.head_stride + row.query * of.row_stride;
  };
  for (int64_t d = 0; d < in.head_size; ++d) q[d] = ElementAt(in.q.dtype, in.q.data, offset(in.q) + d);
  row.q = q;
  row.position = view.start + row.query;
  const bool padding = in.query_count != nullptr && row.query >= in.query_count[row.batch];
  int64_t begin = view.begin;
  if (in.left_window >= 0) begin = std::max(begin, row.position - in.left_window);
  const int64_t end = padding ? begin : std::min(view.end, row.position + 1);

  double top = -std::numeric_limits<double>::infinity();
  for (int64_t j = begin; j < end; ++j) {
    LoadKvRow(view, kv_head, j, k, nullptr);
    top = std::max(top, Score(in, row, j, k));
  }
  const bool seen = top != -std::numeric_limits<double>::infinity();
  double sum = seen && in.sinks != nullptr ? std::exp(in.sinks[row.head] - top) : 0.0;
  std::fill(y, y + in.v_head_size, 0.0);
  for (int64_t j = begin; seen && j < end; ++j) {
    LoadKvRow(view, kv_head, j, k, v);
    const double p = std::exp(Score(in, row, j, k) - top);
    sum += p;
    for (int64_t d = 0; d < in.v_head_size; ++d) y[d] += p * v[d];
  }
  for (int64_t d = 0; d < in.v_head_size; ++d) {
    SetElement(in.y.dtype, sum == 0 ? 0.0f : static_cast<float>(y[d] / sum), const_cast<void*>(in.y.data),
               offset(in.y) + d);
  }
}

int64_t WorkerDoubles(const AttentionInputs& in) { return in.v_head_size + (RowFloats(in) + 1) / 2; }

}  // namespace

size_t CachedReferenceScratch(const AttentionInputs& in, int threads) {
  return static_cast<size_t>(std::max(threads, 1)) * static_cast<size_t>(WorkerDoubles(in)) * sizeof(double);
}

void CachedReferenceAttention(const AttentionInputs& in, int threads, void* scratch) {
  const int64_t workers = std::max(threads, 1);
  ParallelFor(in.batch * in.heads * in.queries, 8, [&](int64_t begin, int64_t end) {
    double* own = static_cast<double*>(scratch) + std::min<int64_t>(WorkerIndex(), workers - 1) * WorkerDoubles(in);
    for (int64_t r = begin; r < end; ++r) {
      ReferenceRow(in, {r / in.queries / in.heads, r / in.queries % in.heads, r % in.queries, 0, nullptr}, own);
    }
  });
}

}  // namespace rondo
