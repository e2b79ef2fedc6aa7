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
#include "absl/functional/function_ref.h"
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

// A key, and what was made of it: what the cache directory keeps of a primitive.
struct KnownKey {
  PrimitiveKey key;
  std::string node, binding;  // that it was made for: "prefill of 64 rows"
  std::string implementation;
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

  // Keys that earlier processes made. They have to be made again, but a miss of one is nothing new: it says so.
  void Recall(std::vector<KnownKey> keys);
  std::vector<KnownKey> Made() const;  // here, and still kept

  CompileLog& log() { return log_; }
  CacheStats stats() const;
  // The parts that the cache knows: totals, operators, nodes, keys, misses.
  CacheReport report() const;

 private:
  struct Entry;
  using KeyRecordPtr = std::shared_ptr<const KnownKey>;
  struct Asker {
    NodeCacheStats stats;
    std::vector<KeyRecordPtr> keys;  // its last few, most recent first
  };
  KeyRecordPtr NearestTo(const PrimitiveKey& key, const Asker& asker, bool* earlier) const;
  void Explain(const PrimitiveKey& key, const std::string& id, const Asker& asker, CompileEvent* event) const;
  void EvictBeyondLimits();
  void Erase(const std::shared_ptr<Entry>& entry);

  const CacheLimits limits_;
  CompileLog log_;
  mutable std::mutex mutex_;
  // All below are guarded by mutex_.
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> entries_;
  std::list<std::shared_ptr<Entry>> lru_;  // most recent first
  absl::flat_hash_map<std::string, Asker> askers_;
  std::vector<KeyRecordPtr> recalled_;
  absl::flat_hash_map<std::string, KeyRecordPtr> recalled_by_id_;
  absl::flat_hash_map<std::string, OperatorCacheStats> operators_;
  CacheStats stats_;
};

// A packed form that a kernel asks for.
struct PackedForm {
  std::string layout;  // names it: "dnnl:BA16a64b", "transposed"
  DataType dtype = DataType::kUInt8;
  Dims dims;
};

// Keeps packed weights beyond the life of a process (cachedir/). Thread-safe.
class PackedWeightStore {
 public:
  virtual ~PackedWeightStore() = default;
  // What Add was given for equal sources, by whichever process; undefined: nothing, or nothing that can be trusted.
  virtual Tensor Find(absl::Span<const Tensor> sources, const PackedForm& form) = 0;
  // The tensors are read later: they stay as they are.
  virtual void Add(absl::Span<const Tensor> sources, const PackedForm& form, const Tensor& packed) = 0;
};

// Packed forms of constant tensors, one per (tensors, layout), shared by all plans of a model: prefill and decode must
// not double the memory. What follows from constants alone and is dear to find out is a packed form too. Thread-safe;
// entries live as long as the cache.
class WeightCache {
 public:
  // Both may be null.
  explicit WeightCache(CompileLog* log = nullptr, std::shared_ptr<PackedWeightStore> store = nullptr)
      : log_(log), store_(std::move(store)) {}
  // The packed form of `sources`: a weight, then whatever else the form depends on (scales, zero points; undefined:
  // absent). `fill` writes it into a tensor of zeros. Holds the sources alive.
  absl::StatusOr<Tensor> GetOrPack(absl::Span<const Tensor> sources, const PackedForm& form,
                                   absl::FunctionRef<absl::Status(Tensor& packed)> fill);
  size_t bytes() const;
  std::vector<PackedWeightStats> stats() const;  // largest first

 private:
  CompileLog* const log_;
  const std::shared_ptr<PackedWeightStore> store_;
  mutable std::mutex mutex_;
  struct Packed {
    std::vector<Tensor> sources;
    Tensor packed;
    PackedWeightStats stats;
  };
  absl::flat_hash_map<std::string, Packed> packed_;  // guarded by mutex_; by the sources' addresses and the form
};

}  // namespace rondo

#endif  // RONDO_OPS_PRIMITIVE_CACHE_H_
