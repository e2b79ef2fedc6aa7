#include "tests/support/kv_rows.h"

#include "absl/strings/str_cat.h"

namespace rondo {

DenseKv MakeKv(const KvLayer& layer, int64_t layer_index, int64_t tag, int64_t first, int64_t rows) {
  DenseKv dense;
  for (int64_t head = 0; head < layer.kv_heads; ++head) {
    for (int64_t r = first; r < first + rows; ++r) {
      for (int64_t d = 0; d < layer.head_size; ++d) dense.k.push_back(KvElement(tag, layer_index, head, r, d));
      for (int64_t d = 0; d < layer.v_head_size; ++d) dense.v.push_back(-KvElement(tag, layer_index, head, r, d));
    }
  }
  return dense;
}

absl::Status WriteStep(KvCache& cache, int segment, int64_t rows, int64_t tag) {
  const int64_t first = cache.length(segment);
  absl::Status begun = cache.BeginStep({segment}, rows, {rows});
  if (!begun.ok()) return begun;
  for (size_t i = 0; i < cache.config().layers.size(); ++i) {
    const KvLayer& layer = cache.config().layers[i];
    const DenseKv dense = MakeKv(layer, static_cast<int64_t>(i), tag, first, rows);
    absl::Status written = cache.Write(static_cast<int>(i), 0, dense.KRows(layer, rows), dense.VRows(layer, rows));
    if (!written.ok()) return written;
  }
  return cache.EndStep();
}

std::string FirstWrongRow(const KvCache& cache, int segment, int64_t begin, int64_t end, int64_t tag) {
  const int64_t rows = end - begin;
  for (size_t i = 0; i < cache.config().layers.size(); ++i) {
    const KvLayer& layer = cache.config().layers[i];
    std::vector<float> k(static_cast<size_t>(layer.kv_heads * rows * layer.head_size));
    std::vector<float> v(static_cast<size_t>(layer.kv_heads * rows * layer.v_head_size));
    absl::Status read = cache.Read(segment, static_cast<int>(i), begin, rows, k.data(), v.data());
    if (!read.ok()) return std::string(read.message());
    const DenseKv expected = MakeKv(layer, static_cast<int64_t>(i), tag, begin, rows);
    for (size_t e = 0; e < k.size(); ++e) {
      if (k[e] != expected.k[e]) {
        return absl::StrCat("layer ", i, ", element ", e, " of K [", layer.kv_heads, ", ", rows, ", ", layer.head_size,
                            "]: ", k[e], " against ", expected.k[e]);
      }
    }
    for (size_t e = 0; e < v.size(); ++e) {
      if (v[e] != expected.v[e])
        return absl::StrCat("layer ", i, ", element ", e, " of V: ", v[e], " against ", expected.v[e]);
    }
  }
  return "";
}

}  // namespace rondo
