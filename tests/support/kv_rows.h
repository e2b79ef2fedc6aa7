// Rows for KV caches in tests: each element says where it belongs, or random.
#ifndef RONDO_TESTS_SUPPORT_KV_ROWS_H_
#define RONDO_TESTS_SUPPORT_KV_ROWS_H_

#include <cstdint>
#include <vector>

#include "kvcache/kv_cache.h"
#include "rondo/tensor.h"

namespace rondo {

// The element d of row `position` of a head: distinct for all, with `tag` telling sequences apart. Exact in float32.
inline float KvElement(int64_t tag, int64_t layer, int64_t head, int64_t position, int64_t d) {
  return static_cast<float>(tag * 100000 + layer * 20000 + head * 10000 + position * 10 + d);
}

// Dense [heads, rows, size].
struct DenseKv {
  std::vector<float> k, v;
  KvRows KRows(const KvLayer& layer, int64_t rows) const {
    return {k.data(), DataType::kFloat, rows * layer.head_size, layer.head_size};
  }
  KvRows VRows(const KvLayer& layer, int64_t rows) const {
    return {v.data(), DataType::kFloat, rows * layer.v_head_size, layer.v_head_size};
  }
};
// Rows [first, first + rows) of a layer; V's elements are the negated ones of K.
DenseKv MakeKv(const KvLayer& layer, int64_t layer_index, int64_t tag, int64_t first, int64_t rows);

// Writes `rows` such rows to a segment in one step of its own.
absl::Status WriteStep(KvCache& cache, int segment, int64_t rows, int64_t tag = 0);
// The first row from [begin, end) of any layer and head that does not hold MakeKv's elements; "" when all do.
std::string FirstWrongRow(const KvCache& cache, int segment, int64_t begin, int64_t end, int64_t tag = 0);

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_KV_ROWS_H_
