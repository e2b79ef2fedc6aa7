// PrimitiveCache: everything that is costly to make and depends only on a key, made once per key. oneDNN primitives
// with their descriptors, and rondo's own prepared kernels alike. Packed weights live in WeightCache.
//
// A key is an operation and a list of named fields, so that a miss can say which field was new. It never holds a
// position or anything else that grows while a model decodes. Thread-safe: when many threads ask for one key, one
// creates and the others wait. Bounded by entries, least recently used first out; holders keep evicted entries alive.
#ifndef RONDO_OPS_PRIMITIVE_CACHE_H_
#define RONDO_OPS_PRIMITIVE_CACHE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "rondo/tensor.h"

namespace rondo {

class PrimitiveKey {
 public:
  explicit PrimitiveKey(absl::string_view op) : op_(op) {}
  PrimitiveKey& Add(absl::string_view field, absl::string_view value);
  PrimitiveKey& Add(absl::string_view field, int64_t value) { return Add(field, absl::StrCat(value)); }
  PrimitiveKey& Add(absl::string_view field, absl::Span<const int64_t> values);

  const std::string& op() const { return op_; }
  const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }
  std::string ToString() const;  // "MatMul{M=64, K=896, ...}": the identity of the key
  // `key field M was 64, is 65` for each differing field, joined by "; ".
  std::string DifferenceFrom(const PrimitiveKey& other) const;

 private:
  std::string op_;
  std::vector<std::pair<std::string, std::string>> fields_;
};

// What the cache holds. Derived classes are immutable once made.
class CachedPrimitive {
 public:
  virtual ~CachedPrimitive() = default;
  virtual std::string Implementation() const = 0;  // oneDNN's impl_info_str, or "own:..."
  virtual size_t bytes() const { return 0; }       // estimate of the memory it holds
};

struct CacheStats {
  int64_t entries = 0;
  int64_t hits = 0;
  int64_t misses = 0;
  int64_t creations = 0;  // misses that succeeded
  int64_t evictions = 0;
  double creation_seconds = 0;
  int64_t bytes = 0;
};
struct KeyStats {
  std::string key;
  std::string implementation;
  int64_t hits = 0;
  double creation_seconds = 0;
};
struct NodeStats {
  std::string node;
  int64_t hits = 0;
  int64_t misses = 0;
  double creation_seconds = 0;
};

class PrimitiveCache {
 public:
  explicit PrimitiveCache(int64_t max_entries = 4096) : max_entries_(max_entries) {}

  using Factory = std::function<absl::StatusOr<std::shared_ptr<const CachedPrimitive>>()>;
  // Returns the entry of `key`, creating it at need. `node` is who asks: it is counted, and named by
  // RONDO_LOG_COMPILES=1. A failed creation is returned to all who wait and is not cached.
  absl::StatusOr<std::shared_ptr<const CachedPrimitive>> GetOrCreate(const PrimitiveKey& key, absl::string_view node,
                                                                     const Factory& create);
  template <typename T, typename F>
  absl::StatusOr<std::shared_ptr<const T>> Get(const PrimitiveKey& key, absl::string_view node, const F& create) {
    auto made = GetOrCreate(key, node, [&]() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> {
      auto p = create();
      if (!p.ok()) return p.status();
      return std::shared_ptr<const CachedPrimitive>(*std::move(p));
    });
    if (!made.ok()) return made.status();
    return std::static_pointer_cast<const T>(*std::move(made));
  }

  CacheStats stats() const;
  std::vector<KeyStats> key_stats() const;    // most expensive creation first
  std::vector<NodeStats> node_stats() const;  // most misses first

 private:
  struct Entry;
  const int64_t max_entries_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_;  // guarded by mutex_
  std::list<std::string> lru_;                                        // guarded by mutex_; most recent first
  absl::flat_hash_map<std::string, NodeStats> nodes_;                 // guarded by mutex_
  // The last key that each node asked for, to explain its next miss.
  absl::flat_hash_map<std::string, PrimitiveKey> last_key_of_node_;  // guarded by mutex_
  CacheStats stats_;                                                 // guarded by mutex_
};

// Packed forms of constant tensors, one per (tensor, layout), shared by all plans of a model: prefill and decode must
// not double the memory. Thread-safe; entries live as long as the cache.
class WeightCache {
 public:
  // `layout` names the packed form ("dnnl:BA16a64b", "transposed"); `pack` makes it. Holds `weight` alive.
  absl::StatusOr<Tensor> GetOrPack(const Tensor& weight, absl::string_view layout,
                                   const std::function<absl::StatusOr<Tensor>()>& pack);
  size_t bytes() const;

 private:
  mutable std::mutex mutex_;
  struct Packed {
    Tensor source;
    Tensor packed;
  };
  absl::flat_hash_map<std::pair<const void*, std::string>, Packed> packed_;  // guarded by mutex_
};

}  // namespace rondo

#endif  // RONDO_OPS_PRIMITIVE_CACHE_H_
