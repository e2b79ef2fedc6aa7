// Single rows into tiles and out of them, in every pair of types. int8 rows are symmetric: element = scale * q with q
// in
// [-127, 127], one scale per row and head.
#ifndef RONDO_KVCACHE_KV_ROWS_H_
#define RONDO_KVCACHE_KV_ROWS_H_

#include <cstdint>

#include "kvcache/kv_view.h"
#include "rondo/data_type.h"

namespace rondo {

inline bool IsKvCacheType(DataType type) {
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kBFloat16 ||
         type == DataType::kInt8;
}
inline bool IsKvRowType(DataType type) { return IsKvCacheType(type) && type != DataType::kInt8; }

// The part of `view` that holds a position.
inline const KvPart& KvPartOf(const KvView& view, int64_t position) {
  return position < view.own_first ? view.prefix : view.own;
}

// A row of K and one of V of `head`, at `position`; `k` and `v` are of `type` (IsKvRowType).
void StoreKvRow(const KvView& view, int64_t head, int64_t position, DataType type, const void* k, const void* v);
// As floats; null: not wanted.
void LoadKvRow(const KvView& view, int64_t head, int64_t position, float* k, float* v);

// The stored bytes of one position and head as they are, for files: K, V, and the two scales of int8.
int64_t RawKvRowBytes(const KvView& view);
void LoadRawKvRow(const KvView& view, int64_t head, int64_t position, char* raw);
void StoreRawKvRow(const KvView& view, int64_t head, int64_t position, const char* raw);

// Copies positions [first, end) of `head`, which lie in own parts of views of the same layer and type.
void CopyOwnKvRows(const KvView& from, const KvView& to, int64_t head, int64_t first, int64_t end);

}  // namespace rondo

#endif  // RONDO_KVCACHE_KV_ROWS_H_
