// Scaled dot-product attention, once, for every operator that contains it.
//
//   Y[b, h, i, :] = sum_j P[j] V[b, h / G, j, :],   P = softmax_j(cap(scale * Q[b, h, i] . K[b, h / G, j]) + bias[b, h,
//   i, j])
//
// over the keys j that query i may see; G = heads / kv_heads query heads share one key/value head, which is never
// repeated. Operands are strided views (a cache's head stride is capacity * head size), so nothing is transposed or
// gathered before. Or they lie in a KV cache (kvcache/kv_view.h), in any of its types. Two implementations:
//   * RunAttention: tiles of keys with an online softmax (Dao et al., "FlashAttention"; Milakov and Gimelshein, "Online
//     normalizer calculation for softmax"), scores never materialised, cost proportional to the keys that can be seen;
//   * ReferenceAttention: one row of scores at a time, for checks, float64, and operators that expose their scores.
//
// This header is included by files that are compiled per instruction set: nothing in it may instantiate code.
#ifndef RONDO_OPS_KERNELS_ATTENTION_H_
#define RONDO_OPS_KERNELS_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "kvcache/kv_view.h"
#include "rondo/data_type.h"

namespace rondo {

// A tensor read as [batch, head, position, feature]; strides in elements, features are adjacent.
struct AttentionView {
  const void* data = nullptr;
  DataType dtype = DataType::kFloat;  // float32, float16, bfloat16; reference also float64
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};

// One term of the scores, read as [batch, head, query, key]. A stride of 0 broadcasts.
//   kFloat: added. kBool: keys that hold false are excluded.
struct AttentionBias {
  const void* data = nullptr;
  DataType dtype = DataType::kFloat;  // float32 or bool; reference also float64
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t query_stride = 0;
  int64_t key_stride = 0;  // 0 or 1
  int64_t keys = 0;        // the view ends here; later keys are excluded
};

struct AttentionInputs {
  int64_t batch = 0;
  int64_t heads = 0;     // of Q and Y
  int64_t kv_heads = 0;  // divides heads
  int64_t queries = 0;
  int64_t keys = 0;         // rows of K and V that may be read
  int64_t head_size = 0;    // of Q and K
  int64_t v_head_size = 0;  // of V and Y
  AttentionView q, k, v, y;
  // [batch], null: none. Keys and values are those of the cache instead of `k` and `v`, at their positions. The caller
  // sets key_begin, key_end and first_position from the views; `keys` bounds nothing.
  const KvView* cache = nullptr;

  float scale = 1.0f;
  float softcap = 0.0f;  // 0: none; else cap(x) = softcap * tanh(x / softcap)

  // Which keys query i of batch b may see: key_begin[b] <= j < key_end[b], and with p = first_position[b] + i
  // (the query's position among the keys): j <= p when causal; p - left_window <= j <= p + right_window where the
  // windows are not negative. Null arrays: 0, `keys`, 0.
  const int64_t* key_begin = nullptr;
  const int64_t* key_end = nullptr;
  const int64_t* first_position = nullptr;
  // [batch], null: all. Queries from here on are padding and give zeros.
  const int64_t* query_count = nullptr;
  bool causal = false;
  int64_t left_window = -1;
  int64_t right_window = -1;

  AttentionBias bias[2];         // unused where data is null
  const float* alibi = nullptr;  // [heads]; adds alibi[h] * (j - p)
  // [heads, relative_distances]; adds row h at p - j, the last column for all greater distances. For causal attention.
  const float* relative_bias = nullptr;
  int64_t relative_distances = 0;
  const float* sinks = nullptr;  // [heads]; exp(sinks[h]) joins the softmax's denominator, with no value

  // Reference only.
  // The scores' fourth output of Attention, [batch, heads, queries, keys] of q's type, null when not wanted.
  void* scores = nullptr;
  DataType scores_dtype = DataType::kFloat;
  enum class Scores { kRaw, kCapped, kBiased, kProbabilities } scores_stage = Scores::kRaw;
  // Scores are rounded to this type before the softmax, probabilities after it. kUndefined: no rounding.
  DataType softmax_precision = DataType::kUndefined;
};

// How the work is cut; from shapes alone, so that scratch can be planned before the lengths are known.
struct AttentionPlan {
  int64_t positions_per_unit = 1;  // query positions whose rows (times group) one unit handles
  int64_t rows_per_unit = 1;
  int64_t max_splits = 1;      // of the keys, when there are fewer units than threads
  int64_t unit_floats = 0;     // scratch of one worker
  int64_t partial_floats = 0;  // scratch of one unit's partial result when keys are split
  int threads = 1;
  size_t scratch_bytes = 0;
};
AttentionPlan PlanAttention(const AttentionInputs& shapes, int threads);

// `scratch`: plan.scratch_bytes, 64-byte aligned. REQUIRES: types float32, float16 or bfloat16; no scores wanted.
// A query that sees no key gives zeros.
void RunAttention(const AttentionInputs& in, const AttentionPlan& plan, void* scratch);

size_t ReferenceAttentionScratch(const AttentionInputs& shapes, int threads);
void ReferenceAttention(const AttentionInputs& in, int threads, void* scratch);
// The same for a cache: each score is computed twice and none kept, so that scratch does not depend on lengths.
size_t CachedReferenceScratch(const AttentionInputs& shapes, int threads);
void CachedReferenceAttention(const AttentionInputs& in, int threads, void* scratch);

// y[m][n] = x[m][k] * w[k][n] + bias[n] (null: none), dense. For operators that hold their own projections.
void MultiplyRowMajor(int64_t m, int64_t n, int64_t k, const float* x, const float* w, const float* bias, float* y);

// ---- between the driver and the code per instruction set ----

// A unit: the rows of `positions` query positions from `first` on, all heads of one group, over keys [begin, end).
struct AttentionUnit {
  int64_t batch, kv_head, first, positions;
  int64_t key_begin, key_end;
  // Null: normalise and write to Y. Otherwise write [rows][padded v head size] sums, then maxima, then denominators.
  float* partial;
};
struct AttentionKernels {
  void (*run_unit)(const AttentionInputs& in, const AttentionUnit& unit, float* scratch);
  // Joins the `splits` partial results of a unit, `stride` floats apart, and writes Y.
  void (*merge)(const AttentionInputs& in, const AttentionUnit& unit, const float* partials, int splits,
                int64_t stride);
  // c[m][n] (+)= a[m][k] * b[k][n]. REQUIRES: n a multiple of kAttentionLanePadding.
  void (*multiply)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool add);
};
// Keys that are scored at once, and the padding of a head size.
inline constexpr int64_t kAttentionKeyTile = kKvTile;
inline constexpr int64_t kAttentionLanePadding = kKvRowPadding;
// Query rows whose scores are alive at once.
inline constexpr int64_t kAttentionPanel = 24;

}  // namespace rondo

#endif  // RONDO_OPS_KERNELS_ATTENTION_H_
