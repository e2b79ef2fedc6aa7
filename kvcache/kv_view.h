// How the keys and values of one sequence and layer lie in memory: what an attention kernel needs to read them.
//
// Rows are stored in tiles of 64 positions; the tile of position p is p / 64, whoever wrote it and wherever it lies, so
// the arithmetic over a sequence does not depend on where a prefix ends, a ring wraps or a session was restored. Within
// a tile, per head:
//   K  [head size][64]           transposed: the scores of 64 keys are head-size products of one number and 64 numbers
//                                side by side, without a transposition or a sum across lanes
//   V  [64][padded v head size]  rows, padded with zeros to a multiple of 16 elements
//   scales [64] of K and of V    int8 only: what a row is multiplied by
// A part's tiles are a ring: tile t is at (t - first_tile) % tiles. Elements outside [begin, end) may hold anything
// that was written before: they may be computed with (K) but must not reach a result.
//
// Included by files that are compiled per instruction set: nothing in here may instantiate code.
#ifndef RONDO_KVCACHE_KV_VIEW_H_
#define RONDO_KVCACHE_KV_VIEW_H_

#include <cstddef>
#include <cstdint>

#include "rondo/data_type.h"

namespace rondo {

inline constexpr int64_t kKvTile = 64;
inline constexpr int64_t kKvRowPadding = 16;

// The tiles of one segment (kv_cache.h), of head 0; the next head follows after `tiles` tiles.
struct KvPart {
  char* k = nullptr;
  char* v = nullptr;
  float* k_scales = nullptr;
  float* v_scales = nullptr;
  int64_t first_tile = 0;
  int64_t tiles = 0;
};

struct KvView {
  DataType dtype = DataType::kFloat;  // float32, float16, bfloat16, int8
  int64_t element_bytes = 4;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  int64_t v_head_size = 0;
  int64_t v_row = 0;  // elements from one row of V to the next
  // Positions that hold valid rows and that a query of this step may see: [begin, end). The step's first new row is at
  // `start`; between steps start = end.
  int64_t begin = 0;
  int64_t start = 0;
  int64_t end = 0;
  // Positions before own_first lie in `prefix`, a segment that others share.
  int64_t own_first = 0;
  KvPart own, prefix;
};

// One head's tile.
struct KvTile {
  char* k;
  char* v;
  float* k_scales;
  float* v_scales;
};
static inline KvTile KvTileAt(const KvView& view, const KvPart& part, int64_t head, int64_t tile) {
  const int64_t index = head * part.tiles + (tile - part.first_tile) % part.tiles;
  KvTile at = {part.k + index * kKvTile * view.head_size * view.element_bytes,
               part.v + index * kKvTile * view.v_row * view.element_bytes, nullptr, nullptr};
  if (part.k_scales != nullptr) {
    at.k_scales = part.k_scales + index * kKvTile;
    at.v_scales = part.v_scales + index * kKvTile;
  }
  return at;
}

}  // namespace rondo

#endif  // RONDO_KVCACHE_KV_VIEW_H_
