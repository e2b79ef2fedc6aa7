// The flash-attention unit of ops/kernels/attention.h, compiled once per instruction set.
//
// A unit holds all query rows of one key/value head over a range of positions: packed and scaled once, it walks the
// keys in tiles of 64. Per tile: K is transposed into [feature][key], so that both products are the same outer-product
// kernel (rows broadcast, columns in vectors) and V needs no packing; then per panel of 24 rows: scores, masks,
// online softmax, P times V added to the unit's sums. Scores and the transposed tile stay in the first-level cache.
// Rows are ordered by position first, heads second, so a panel's causal limits lie close together and whole panels
// are skipped.
//
// Keys and values of a KV cache lie in such tiles already, K transposed, in the type of the cache: they are multiplied
// where they are, each element converted on its way into a register, and nothing is packed.
#include "ops/kernels/attention.h"
#include "ops/kernels/simd.h"

namespace rondo {
namespace RONDO_ISA {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();
constexpr int64_t kTile = kAttentionKeyTile;
// Rows of the register block; vectors across: 24 accumulators of 32 registers, or 12 of 16.
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = kLanes == 16 ? 4 : 2;
// How far ahead of its use a cache's tile is asked for: some hundred cycles at the rate of the products. Tiles lie one
// after the other, so at the end of one that is the next.
constexpr int64_t kPrefetchBytes = 2048;
constexpr int64_t kStreamingRows = 12;

inline int64_t Padded(int64_t n) {
  return (n + kAttentionLanePadding - 1) / kAttentionLanePadding * kAttentionLanePadding;
}
inline int64_t MinOf(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t MaxOf(int64_t a, int64_t b) { return a > b ? a : b; }

// n floats of any of the three types, as floats; and back.
void LoadFloats(const void* data, DataType dtype, int64_t n, float* out) {
  if (dtype == DataType::kFloat) {
    memcpy(out, data, static_cast<size_t>(n) * 4);
    return;
  }
  const bool half = dtype == DataType::kFloat16;
  const uint16_t* p = static_cast<const uint16_t*>(data);
  for (int64_t i = 0; i < n; i += kLanes) {
    const U16 bits = n - i >= kLanes ? LoadAs<U16>(p + i) : LoadPartialAs<U16>(p + i, n - i);
    const F x = half ? FromFloat16(bits) : FromBFloat16(bits);
    if (n - i >= kLanes) {
      Store(out + i, x);
    } else {
      StorePartial(out + i, x, n - i);
    }
  }
}
void StoreFloats(const float* in, int64_t n, DataType dtype, void* out) {
  if (dtype == DataType::kFloat) {
    memcpy(out, in, static_cast<size_t>(n) * 4);
    return;
  }
  const bool half = dtype == DataType::kFloat16;
  uint16_t* p = static_cast<uint16_t*>(out);
  for (int64_t i = 0; i < n; i += kLanes) {
    const F x = n - i >= kLanes ? Load(in + i) : LoadPartial(in + i, n - i);
    const U16 bits = half ? ToFloat16(x) : ToBFloat16(x);
    if (n - i >= kLanes) {
      Store(p + i, bits);
    } else {
      StorePartial(p + i, bits, n - i);
    }
  }
}

// The elements of a stored type, as floats. int8 without its scale.
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};
RONDO_SIMD F LoadElements(const float* p) { return Load(p); }
RONDO_SIMD F LoadElements(const Half* p) { return FromFloat16(LoadAs<U16>(p)); }
RONDO_SIMD F LoadElements(const Brain* p) {
#if defined(__AVX512F__)
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (F)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
#else
  return FromBFloat16(LoadAs<U16>(p));
#endif
}
RONDO_SIMD F LoadElements(const int8_t* p) {
#if defined(__AVX512F__)
  return (F)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return (F)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  return __builtin_convertvector(__builtin_convertvector(LoadAs<I8>(p), I), F);
#endif
}

// c[M][V vectors] (+)= a[M][k] * b[k][V vectors]. One row alone keeps four partial sums, else it would wait for each.
// `kStreams`: b comes from memory, in the order in which it lies there, and is asked for ahead.
template <int M, int V, bool kStreams, typename T>
void Block(int64_t k, const float* a, int64_t lda, const T* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  constexpr int kChains = M == 1 ? 4 : 1;
  F sum[kChains][M][V];
  for (int u = 0; u < kChains; ++u) {
    for (int i = 0; i < M; ++i) {
      for (int v = 0; v < V; ++v) sum[u][i][v] = Set(0.0f);
    }
  }
  int64_t p = 0;
  for (; p + kChains <= k; p += kChains) {
#pragma GCC unroll 4
    for (int u = 0; u < kChains; ++u) {
      if (kStreams) {
        const char* ahead = reinterpret_cast<const char*>(b + (p + u) * ldb) + kPrefetchBytes;
        for (int64_t line = 0; line < static_cast<int64_t>(V * kLanes * sizeof(T)); line += 64) {
          __builtin_prefetch(ahead + line);
        }
      }
      F row[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) row[v] = LoadElements(b + (p + u) * ldb + v * kLanes);
#pragma GCC unroll 6
      for (int i = 0; i < M; ++i) {
        const F x = Set(a[i * lda + p + u]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[u][i][v] += x * row[v];
      }
    }
  }
  for (; p < k; ++p) {
    for (int i = 0; i < M; ++i) {
      const F x = Set(a[i * lda + p]);
      for (int v = 0; v < V; ++v) sum[0][i][v] += x * LoadElements(b + p * ldb + v * kLanes);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      F total = sum[0][i][v];
      for (int u = 1; u < kChains; ++u) total += sum[u][i][v];
      float* to = c + i * ldc + v * kLanes;
      if (add) total += Load(to);
      Store(to, total);
    }
  }
}

template <int V, bool kStreams, typename T>
void BlockOf(int64_t rows, int64_t k, const float* a, int64_t lda, const T* b, int64_t ldb, float* c, int64_t ldc,
             bool add) {
  switch (rows) {
    case 1:
      return Block<1, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
    case 2:
      return Block<2, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
    case 3:
      return Block<3, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
    case 4:
      return Block<4, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
    case 5:
      return Block<5, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
    default:
      return Block<6, V, kStreams>(k, a, lda, b, ldb, c, ldc, add);
  }
}

template <int V, bool kStreams, typename T>
void Strip(int64_t m, int64_t k, const float* a, int64_t lda, const T* b, int64_t ldb, float* c, int64_t ldc,
           bool add) {
  // Equal blocks: 7 rows are 4 + 3, not 6 and a lonely one.
  const int64_t blocks = (m + kBlockRows - 1) / kBlockRows;
  int64_t row = (m + blocks - 1) / blocks;
  BlockOf<V, kStreams>(row, k, a, lda, b, ldb, c, ldc, add);
  for (int64_t i = 1; i < blocks; ++i) {  // what the first has read is near
    const int64_t rows = (m - row + (blocks - i) - 1) / (blocks - i);
    BlockOf<V, false>(rows, k, a + row * lda, lda, b, ldb, c + row * ldc, ldc, add);
    row += rows;
  }
}

// c[m][n] (+)= a[m][k] * b[k][n], n a multiple of the lanes, m > 0.
template <bool kStreams, typename T>
void MultiplyBy(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const T* b, int64_t ldb, float* c,
                int64_t ldc, bool add) {
  int64_t j = 0;
  for (; j + kBlockVectors * kLanes <= n; j += kBlockVectors * kLanes) {
    Strip<kBlockVectors, kStreams>(m, k, a, lda, b + j, ldb, c + j, ldc, add);
  }
  switch ((n - j) / kLanes) {
    case 1:
      return Strip<1, false>(m, k, a, lda, b + j, ldb, c + j, ldc, add);
#if defined(__AVX512F__)
    case 2:
      return Strip<2, false>(m, k, a, lda, b + j, ldb, c + j, ldc, add);
    case 3:
      return Strip<3, false>(m, k, a, lda, b + j, ldb, c + j, ldc, add);
#endif
    default:
      return;
  }
}

void Multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
              int64_t ldc, bool add) {
  if (m > 0) MultiplyBy<false>(m, n, k, a, lda, b, ldb, c, ldc, add);
}

// The same for the elements of a tile, of any type. Few rows wait for the memory, many for the products.
template <typename T>
void MultiplyTile(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const T* b, int64_t ldb, float* c,
                  int64_t ldc, bool add) {
  if (m <= kStreamingRows) {
    MultiplyBy<true>(m, n, k, a, lda, b, ldb, c, ldc, add);
  } else {
    MultiplyBy<false>(m, n, k, a, lda, b, ldb, c, ldc, add);
  }
}
// `b` begins `offset` elements after `data`.
void MultiplyStored(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, DataType dtype, const void* data,
                    int64_t offset, int64_t ldb, float* c, int64_t ldc, bool add) {
  switch (dtype) {
    case DataType::kFloat16:
      return MultiplyTile(m, n, k, a, lda, static_cast<const Half*>(data) + offset, ldb, c, ldc, add);
    case DataType::kBFloat16:
      return MultiplyTile(m, n, k, a, lda, static_cast<const Brain*>(data) + offset, ldb, c, ldc, add);
    case DataType::kInt8:
      return MultiplyTile(m, n, k, a, lda, static_cast<const int8_t*>(data) + offset, ldb, c, ldc, add);
    default:
      return MultiplyTile(m, n, k, a, lda, static_cast<const float*>(data) + offset, ldb, c, ldc, add);
  }
}

#if defined(__AVX512F__)
template <int S>
inline void ExchangeStage(F* r) {
  I low, high;
  for (int l = 0; l < kLanes; ++l) {
    low[l] = (l & S) ? kLanes + l - S : l;
    high[l] = (l & S) ? kLanes + l : l + S;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & S) continue;
    const F a = r[i], b = r[i + S];
    r[i] = __builtin_shuffle(a, b, low);
    r[i + S] = __builtin_shuffle(a, b, high);
  }
}
inline void Transpose(F* r) {
  ExchangeStage<1>(r);
  ExchangeStage<2>(r);
  ExchangeStage<4>(r);
  ExchangeStage<8>(r);
}
#elif defined(__AVX2__)
inline void Transpose(F* r) {
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}
#else
inline void Transpose(F* r) {
  for (int i = 0; i < kLanes; ++i) {
    for (int j = i + 1; j < kLanes; ++j) {
      const float x = r[i][j];
      r[i][j] = r[j][i];
      r[j][i] = x;
    }
  }
}
#endif

int64_t ElementSize(DataType type) { return type == DataType::kFloat ? 4 : 2; }
const char* RowOf(const AttentionView& view, int64_t batch, int64_t head, int64_t row) {
  return static_cast<const char*>(view.data) +
         (batch * view.batch_stride + head * view.head_stride + row * view.row_stride) * ElementSize(view.dtype);
}

// to[feature * kTile + key] for `n` keys, zeros up to the next multiple of the lanes. `row`: room for a row.
void PackKeys(const AttentionView& view, int64_t batch, int64_t head, int64_t first, int64_t n, int64_t features,
              float* to, float* rows) {
  const bool in_place = view.dtype == DataType::kFloat;
  const int64_t padded = Padded(features);
  for (int64_t j = 0; j < n; j += kLanes) {
    const int64_t count = MinOf(kLanes, n - j);
    const float* from[kLanes];
    for (int64_t i = 0; i < count; ++i) {
      const char* source = RowOf(view, batch, head, first + j + i);
      if (in_place) {
        from[i] = reinterpret_cast<const float*>(source);
      } else {
        LoadFloats(source, view.dtype, features, rows + i * padded);
        from[i] = rows + i * padded;
      }
    }
    int64_t f = 0;
    for (; f + kLanes <= features; f += kLanes) {
      F r[kLanes];
      if (count == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) r[i] = Load(from[i] + f);
      } else {
        for (int i = 0; i < kLanes; ++i) r[i] = i < count ? Load(from[i] + f) : Set(0.0f);
      }
      Transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) Store(to + (f + i) * kTile + j, r[i]);
    }
    for (; f < features; ++f) {
      for (int64_t i = 0; i < kLanes; ++i) to[f * kTile + j + i] = i < count ? from[i][f] : 0.0f;
    }
  }
}

// Keys [first, first + n) of one head: K as [head size][kTile], V as rows.
struct Tile {
  DataType dtype;
  const void* k;
  const void* v;
  int64_t v_stride;
  // int8: a score is to be multiplied by its key's, a probability by its value's. Null: 1.
  const float* k_scales;
  const float* v_scales;
};
// Room for a tile that does not lie as the products want it.
struct TileBuffer {
  float* keys;    // [padded head size][kTile]
  float* values;  // [kTile][padded v head size]
  float* rows;    // [kAttentionLanePadding][padded head size]
};

Tile PackTile(const AttentionInputs& in, const AttentionUnit& unit, int64_t first, int64_t n,
              const TileBuffer& buffer) {
  const int64_t dv = in.v_head_size, dvp = Padded(dv);
  PackKeys(in.k, unit.batch, unit.kv_head, first, n, in.head_size, buffer.keys, buffer.rows);
  Tile tile = {DataType::kFloat, buffer.keys, buffer.values, dvp, nullptr, nullptr};
  if (in.v.dtype == DataType::kFloat && dv == dvp) {
    tile.v = RowOf(in.v, unit.batch, unit.kv_head, first);
    tile.v_stride = in.v.row_stride;
    return tile;
  }
  for (int64_t j = 0; j < n; ++j) {
    float* to = buffer.values + j * dvp;
    LoadFloats(RowOf(in.v, unit.batch, unit.kv_head, first + j), in.v.dtype, dv, to);
    for (int64_t i = dv; i < dvp; ++i) to[i] = 0.0f;
  }
  return tile;
}

// The tile of a cache where it lies. One in which a prefix ends is joined from both segments' tiles.
Tile CachedTile(const KvView& view, int64_t head, int64_t first, const TileBuffer& buffer) {
  const int64_t index = first / kTile;
  const KvTile own = KvTileAt(view, first + kTile <= view.own_first ? view.prefix : view.own, head, index);
  Tile tile = {view.dtype, own.k, own.v, view.v_row, own.k_scales, own.v_scales};
  const int64_t shared = view.own_first - first;  // columns of the prefix
  if (shared <= 0 || shared >= kTile) return tile;
  const KvTile prefix = KvTileAt(view, view.prefix, head, index);
  char* keys = reinterpret_cast<char*>(buffer.keys);
  const int64_t bytes = view.element_bytes;
  for (int64_t d = 0; d < view.head_size; ++d) {
    const int64_t at = d * kTile * bytes;
    memcpy(keys + at, prefix.k + at, static_cast<size_t>(shared * bytes));
    memcpy(keys + at + shared * bytes, own.k + at + shared * bytes, static_cast<size_t>((kTile - shared) * bytes));
  }
  char* values = reinterpret_cast<char*>(buffer.values);
  const int64_t cut = shared * view.v_row * bytes;
  memcpy(values, prefix.v, static_cast<size_t>(cut));
  memcpy(values + cut, own.v + cut, static_cast<size_t>(kTile * view.v_row * bytes - cut));
  tile.k = keys;
  tile.v = values;
  if (own.k_scales != nullptr) {
    float* scales = buffer.rows;  // [2][kTile]
    for (int64_t j = 0; j < kTile; ++j) {
      scales[j] = (j < shared ? prefix : own).k_scales[j];
      scales[kTile + j] = (j < shared ? prefix : own).v_scales[j];
    }
    tile.k_scales = scales;
    tile.v_scales = scales + kTile;
  }
  return tile;
}

void Rescale(const float* factors, int64_t n, float* x) {
  for (int64_t j = 0; j < n; j += kLanes) Store(x + j, Load(x + j) * Load(factors + j));
}

// What the rows of one position may see, before the tile cuts it.
struct Reach {
  int64_t begin, end;
};
Reach ReachOf(const AttentionInputs& in, const AttentionUnit& unit, int64_t query) {
  Reach reach{unit.key_begin, unit.key_end};
  const int64_t p = (in.first_position != nullptr ? in.first_position[unit.batch] : 0) + query;
  if (in.causal) reach.end = MinOf(reach.end, p + 1);
  if (in.right_window >= 0 && in.right_window < reach.end - p) reach.end = MinOf(reach.end, p + in.right_window + 1);
  if (in.left_window >= 0) reach.begin = MaxOf(reach.begin, p - in.left_window);
  return reach;
}

// Adds one bias term to scores of keys [first, first + n).
void AddBias(const AttentionBias& bias, int64_t batch, int64_t head, int64_t query, int64_t first, int64_t n,
             float* scores) {
  const int64_t at =
      batch * bias.batch_stride + head * bias.head_stride + query * bias.query_stride + first * bias.key_stride;
  if (bias.dtype == DataType::kFloat) {
    const float* b = static_cast<const float*>(bias.data) + at;
    if (bias.key_stride == 0) {
      for (int64_t j = 0; j < n; ++j) scores[j] += *b;
      return;
    }
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) Store(scores + j, Load(scores + j) + Load(b + j));
    for (; j < n; ++j) scores[j] += b[j];
    return;
  }
  const uint8_t* b = static_cast<const uint8_t*>(bias.data) + at;
  if (bias.key_stride == 0) {
    if (*b == 0) {
      for (int64_t j = 0; j < n; ++j) scores[j] = kMinusInfinity;
    }
    return;
  }
  int64_t j = 0;
#if defined(__AVX512F__)
  for (; j + 16 <= n; j += 16) {
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + j)));
    const __mmask16 excluded = _mm512_testn_epi32_mask(wide, wide);
    Store(scores + j, _mm512_mask_mov_ps(_mm512_loadu_ps(scores + j), excluded, Set(kMinusInfinity)));
  }
#endif
  for (; j < n; ++j) scores[j] = b[j] != 0 ? scores[j] : kMinusInfinity;
}

// Adds the bias by distance to scores of keys [first, first + n), which are at most `position`.
void AddRelativeBias(const AttentionInputs& in, int64_t head, int64_t position, int64_t first, int64_t n,
                     float* scores) {
  const float* row = in.relative_bias + head * in.relative_distances;
  const int64_t last = in.relative_distances - 1;
  const int64_t far = MinOf(MaxOf(position - last - first, 0), n);  // keys at the last distance or beyond
  for (int64_t j = 0; j < far; ++j) scores[j] += row[last];
  for (int64_t j = far; j < n; ++j) scores[j] += row[position - first - j];
}

struct RowState {
  float max, sum;
};

// Turns the scores of keys [first, first + n) into exp(score - max), `padded` entries with zeros where nothing is to be
// seen, and updates max and sum. Returns the factor by which what was summed before must shrink.
float OnlineSoftmax(const AttentionInputs& in, const AttentionUnit& unit, int64_t query, int64_t head, Reach reach,
                    int64_t first, int64_t n, int64_t padded, float* scores, RowState& state) {
  const int64_t begin = MaxOf(reach.begin - first, 0);
  const int64_t end = MinOf(reach.end - first, n);
  if (begin >= end) {
    for (int64_t j = 0; j < padded; j += kLanes) Store(scores + j, Set(0.0f));
    return 1.0f;
  }
  if (in.softcap > 0) {
    const F cap = Set(in.softcap), inverse = Set(1.0f / in.softcap);
    for (int64_t j = 0; j < padded; j += kLanes) Store(scores + j, cap * Tanh(Load(scores + j) * inverse));
  }
  for (const AttentionBias& bias : in.bias) {
    if (bias.data != nullptr) AddBias(bias, unit.batch, head, query, first + begin, end - begin, scores + begin);
  }
  if (in.alibi != nullptr) {
    const int64_t p = (in.first_position != nullptr ? in.first_position[unit.batch] : 0) + query;
    const float slope = in.alibi[head];
    for (int64_t j = begin; j < end; ++j) scores[j] += slope * static_cast<float>(first + j - p);
  }
  if (in.relative_bias != nullptr) {
    const int64_t p = (in.first_position != nullptr ? in.first_position[unit.batch] : 0) + query;
    AddRelativeBias(in, head, p, first + begin, end - begin, scores + begin);
  }
  for (int64_t j = 0; j < begin; ++j) scores[j] = kMinusInfinity;
  for (int64_t j = end; j < padded; ++j) scores[j] = kMinusInfinity;
  F top = Set(kMinusInfinity);
  for (int64_t j = 0; j < padded; j += kLanes) top = AtLeast(top, Load(scores + j));
  const float tile_max = HorizontalMax(top);
  const float max = tile_max > state.max ? tile_max : state.max;
  if (max == kMinusInfinity) {
    for (int64_t j = 0; j < padded; j += kLanes) Store(scores + j, Set(0.0f));
    return 1.0f;
  }
  const F shift = Set(max);
  F sum = Set(0.0f);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const F e = Exp(Load(scores + j) - shift);
    Store(scores + j, e);
    sum += e;
  }
  float shrink = 1.0f;
  if (state.max != max) {
    shrink = Exp(Set(state.max - max))[0];
    state.max = max;
  }
  state.sum = state.sum * shrink + HorizontalSum(sum);
  return shrink;
}

// 1 / (denominator with the head's sink), 0 for a row that saw nothing.
float Normalizer(const AttentionInputs& in, int64_t head, const RowState& state) {
  float sum = state.sum;
  if (in.sinks != nullptr && state.max != kMinusInfinity) sum += Exp(Set(in.sinks[head] - state.max))[0];
  return sum == 0.0f ? 0.0f : 1.0f / sum;
}

void WriteRow(const AttentionInputs& in, int64_t batch, int64_t head, int64_t query, float factor, float* sums) {
  const int64_t padded = Padded(in.v_head_size);
  for (int64_t d = 0; d < padded; d += kLanes) Store(sums + d, Load(sums + d) * Set(factor));
  char* to = const_cast<char*>(RowOf(in.y, batch, head, query));
  StoreFloats(sums, in.v_head_size, in.y.dtype, to);
}

void RunUnit(const AttentionInputs& in, const AttentionUnit& unit, float* scratch) {
  const int64_t group = in.heads / in.kv_heads;
  const int64_t rows = unit.positions * group;
  const int64_t d = in.head_size, dv = in.v_head_size;
  const int64_t dp = Padded(d), dvp = Padded(dv);

  float* sums = unit.partial != nullptr ? unit.partial : scratch;  // [rows][dvp]
  if (unit.partial == nullptr) scratch += rows * dvp;
  float* q = scratch;  // [rows][dp]
  scratch += rows * dp;
  TileBuffer buffer;
  buffer.keys = scratch;
  scratch += dp * kTile;
  buffer.values = scratch;
  scratch += kTile * dvp;
  buffer.rows = scratch;
  scratch += kAttentionLanePadding * dp;
  float* scores = scratch;  // [kAttentionPanel][kTile]
  scratch += kAttentionPanel * kTile;
  RowState* states = reinterpret_cast<RowState*>(scratch);  // [rows]
  scratch += rows * 2;
  Reach* reaches = reinterpret_cast<Reach*>(scratch);  // [positions]

  for (int64_t i = 0; i < rows * dvp; i += kLanes) Store(sums + i, Set(0.0f));
  for (int64_t r = 0; r < rows; ++r) states[r] = {kMinusInfinity, 0.0f};
  for (int64_t s = 0; s < unit.positions; ++s) {
    reaches[s] = ReachOf(in, unit, unit.first + s);
    for (int64_t g = 0; g < group; ++g) {
      float* row = q + (s * group + g) * dp;
      LoadFloats(RowOf(in.q, unit.batch, unit.kv_head * group + g, unit.first + s), in.q.dtype, d, row);
      for (int64_t i = d; i < dp; ++i) row[i] = 0.0f;
      for (int64_t i = 0; i < dp; i += kLanes) Store(row + i, Load(row + i) * Set(in.scale));
    }
  }
  // Reaches move right with the position, so the ends bound the unit.
  const int64_t key_begin = reaches[0].begin;
  const int64_t key_end = reaches[unit.positions - 1].end;

  const int64_t first_tile = in.cache != nullptr ? key_begin / kTile * kTile : key_begin;
  for (int64_t first = first_tile; first < key_end; first += kTile) {
    const int64_t n = MinOf(kTile, key_end - first);
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    // Keys before any that can be seen: what lies there is not read.
    const int64_t hidden = MaxOf(key_begin - first, 0);
    const Tile tile = in.cache != nullptr ? CachedTile(in.cache[unit.batch], unit.kv_head, first, buffer)
                                          : PackTile(in, unit, first, n, buffer);
    for (int64_t r0 = 0; r0 < rows; r0 += kAttentionPanel) {
      const int64_t count = MinOf(kAttentionPanel, rows - r0);
      if (reaches[(r0 + count - 1) / group].end <= first || reaches[r0 / group].begin >= first + n) continue;
      MultiplyStored(count, padded, d, q + r0 * dp, dp, tile.dtype, tile.k, 0, kTile, scores, kTile, /*add=*/false);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t s = (r0 + i) / group;
        const int64_t head = unit.kv_head * group + (r0 + i) % group;
        RowState& state = states[r0 + i];
        if (tile.k_scales != nullptr) Rescale(tile.k_scales, padded, scores + i * kTile);
        const float shrink =
            OnlineSoftmax(in, unit, unit.first + s, head, reaches[s], first, n, padded, scores + i * kTile, state);
        if (tile.v_scales != nullptr) Rescale(tile.v_scales, padded, scores + i * kTile);
        if (shrink != 1.0f) {
          float* row = sums + (r0 + i) * dvp;
          for (int64_t j = 0; j < dvp; j += kLanes) Store(row + j, Load(row + j) * Set(shrink));
        }
      }
      MultiplyStored(count, dvp, n - hidden, scores + hidden, kTile, tile.dtype, tile.v, hidden * tile.v_stride,
                     tile.v_stride, sums + r0 * dvp, dvp, /*add=*/true);
    }
  }

  if (unit.partial != nullptr) {
    float* out = unit.partial + rows * dvp;
    for (int64_t r = 0; r < rows; ++r) {
      out[r] = states[r].max;
      out[rows + r] = states[r].sum;
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t head = unit.kv_head * group + r % group;
    WriteRow(in, unit.batch, head, unit.first + r / group, Normalizer(in, head, states[r]), sums + r * dvp);
  }
}

void Merge(const AttentionInputs& in, const AttentionUnit& unit, const float* partials, int splits, int64_t stride) {
  const int64_t group = in.heads / in.kv_heads;
  const int64_t rows = unit.positions * group;
  const int64_t dvp = Padded(in.v_head_size);
  float* first = const_cast<float*>(partials);
  for (int64_t r = 0; r < rows; ++r) {
    const float* maxima = partials + rows * dvp + r;
    RowState state{kMinusInfinity, 0.0f};
    for (int i = 0; i < splits; ++i) {
      if (maxima[i * stride] > state.max) state.max = maxima[i * stride];
    }
    float* sums = first + r * dvp;
    for (int i = 0; i < splits; ++i) {
      const float max = maxima[i * stride], sum = maxima[i * stride + rows];
      const float factor = max == state.max ? 1.0f : Exp(Set(max - state.max))[0];
      state.sum += factor * sum;
      const float* from = sums + i * stride;
      for (int64_t d = 0; d < dvp; d += kLanes) {
        const F part = Load(from + d) * Set(factor);
        Store(sums + d, i == 0 ? part : Load(sums + d) + part);
      }
    }
    const int64_t head = unit.kv_head * group + r % group;
    WriteRow(in, unit.batch, head, unit.first + r / group, Normalizer(in, head, state), sums);
  }
}

}  // namespace

extern const AttentionKernels kAttentionKernels;
const AttentionKernels kAttentionKernels = {RunUnit, Merge, Multiply};

}  // namespace RONDO_ISA
}  // namespace rondo
