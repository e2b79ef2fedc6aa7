// PrimitiveCache: everything that is costly to make and depends only on a key, made once per key. oneDNN primitives
// with their descriptors, and rondo's own prepared kernels alike. Packed weights live in WeightCache.
//
// A key is an operation and a list of named fields, so that a miss can say which field was new. It never holds a
// position or anything else that grows while a model decodes. Thread-safe: when many threads ask for one key, one
// creates and the others wait. Bounded by entries and bytes, least recently used first out; holders keep evicted
// entries alive. What the library refuses to make (Unimplemented) is an entry too: it is asked once.
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
#include "ops/compile_log.h"
#include "rondo/cache.h"
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
  // What sets this key apart from `other`, field by field.
  std::vector<KeyFieldChange> ChangesFrom(const PrimitiveKey& other) const;

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

class PrimitiveCache {
 public:
  // With bounds of 0 nothing is kept: every lookup creates.
  explicit PrimitiveCache(CacheLimits limits = {}) : limits_(limits) {}

  using Factory = std::function<absl::StatusOr<std::shared_ptr<const CachedPrimitive>>()>;
  // Returns the entry of `key`, creating it at need. `node` is who asks: it is counted, and named by
  // what the log keeps of a miss. A failed creation is returned to all who wait; it is cached when the failure depends
  // on the key alone (Unimplemented). In a sealed CompileScope a miss is FailedPrecondition.
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

  CompileLog& log() { return log_; }
  CacheStats stats() const;
  // The parts that the cache knows: totals, operators, nodes, keys, misses.
  CacheReport report() const;

 private:
  struct Entry;
  struct KeyRecord;  // a key with what it was created for
  using KeyRecordPtr = std::shared_ptr<const KeyRecord>;
  struct Asker {
    NodeCacheStats stats;
    std::vector<KeyRecordPtr> keys;  // its last few, most recent first
  };
  KeyRecordPtr NearestTo(const PrimitiveKey& key, const Asker& asker) const;
  void Explain(const PrimitiveKey& key, const Asker& asker, CompileEvent* event) const;
  void EvictBeyondLimits();
  void Erase(const std::shared_ptr<Entry>& entry);

  const CacheLimits limits_;
  CompileLog log_;
  mutable std::mutex mutex_;
  // All below are guarded by mutex_.
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_;
  std::list<std::shared_ptr<Entry>> lru_;  // most recent first
  absl::flat_hash_map<std::string, Asker> askers_;
  absl::flat_hash_map<std::string, OperatorCacheStats> operators_;
  CacheStats stats_;
};

// Packed forms of constant tensors, one per (tensor, layout), shared by all plans of a model: prefill and decode must
// not double the memory. Thread-safe; entries live as long as the cache.
class WeightCache {
 public:
  // `log` may be null.
  explicit WeightCache(CompileLog* log = nullptr) : log_(log) {}
  // `layout` names the packed form ("dnnl:BA16a64b", "transposed"); `pack` makes it. Holds `weight` alive.
  absl::StatusOr<Tensor> GetOrPack(const Tensor& weight, absl::string_view layout,
                                   const std::function<absl::StatusOr<Tensor>()>& pack);
  size_t bytes() const;
  std::vector<PackedWeightStats> stats() const;  // largest first

 private:
  CompileLog* const log_;
  mutable std::mutex mutex_;
  struct Packed {
    Tensor source;
    Tensor packed;
    PackedWeightStats stats;
  };
  absl::flat_hash_map<std::pair<const void*, std::string>, Packed> packed_;  // guarded by mutex_
};

}  // namespace rondo

#endif  // RONDO_OPS_PRIMITIVE_CACHE_H_
