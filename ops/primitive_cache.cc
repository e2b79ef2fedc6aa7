#include "ops/primitive_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <limits>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "graph/file_pages.h"

namespace rondo {
namespace {

// How many fields differ, for the choice of the key that explains a miss best.
int CountDifferences(const PrimitiveKey& a, const PrimitiveKey& b) {
  int count = 0;
  size_t common = std::min(a.fields().size(), b.fields().size());
  for (size_t i = 0; i < common; ++i) count += a.fields()[i] != b.fields()[i];
  return count + static_cast<int>(std::max(a.fields().size(), b.fields().size()) - common);
}

const std::string* FindField(const PrimitiveKey& key, absl::string_view name) {
  for (const auto& [field, value] : key.fields()) {
    if (field == name) return &value;
  }
  return nullptr;
}

bool LogsCreations() {
  const char* value = std::getenv("RONDO_LOG_COMPILES");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

}  // namespace

PrimitiveKey& PrimitiveKey::Add(absl::string_view field, absl::string_view value) {
  fields_.emplace_back(std::string(field), std::string(value));
  return *this;
}

PrimitiveKey& PrimitiveKey::Add(absl::string_view field, absl::Span<const int64_t> values) {
  return Add(field, absl::string_view(absl::StrJoin(values, "x")));
}

std::string PrimitiveKey::ToString() const {
  return absl::StrCat(op_, "{", absl::StrJoin(fields_, ", ", absl::PairFormatter("=")), "}");
}

std::string PrimitiveKey::DifferenceFrom(const PrimitiveKey& other) const {
  std::vector<std::string> parts;
  if (op_ != other.op_) parts.push_back(absl::StrCat("operation was ", other.op_, ", is ", op_));
  for (const auto& [field, value] : fields_) {
    const std::string* old = FindField(other, field);
    if (old == nullptr) {
      parts.push_back(absl::StrCat("key field ", field, " was absent, is ", value));
    } else if (*old != value) {
      parts.push_back(absl::StrCat("key field ", field, " was ", *old, ", is ", value));
    }
  }
  for (const auto& [field, value] : other.fields_) {
    if (FindField(*this, field) == nullptr) {
      parts.push_back(absl::StrCat("key field ", field, " was ", value, ", is absent"));
    }
  }
  return absl::StrJoin(parts, "; ");
}

// Made under the cache's lock by the thread that creates; `value` and `status` are written once, before `ready`.
struct PrimitiveCache::Entry {
  explicit Entry(const PrimitiveKey& k) : key(k) {}
  const PrimitiveKey key;
  std::latch ready{1};
  absl::Status status;
  std::shared_ptr<const CachedPrimitive> value;
  double creation_seconds = 0;
  int64_t hits = 0;                               // guarded by the cache's mutex
  std::list<std::string>::iterator lru_position;  // guarded by the cache's mutex
};

absl::StatusOr<std::shared_ptr<const CachedPrimitive>> PrimitiveCache::GetOrCreate(const PrimitiveKey& key,
                                                                                   absl::string_view node,
                                                                                   const Factory& create) {
  const std::string id = key.ToString();
  std::shared_ptr<Entry> entry;
  bool mine = false;
  std::string reason;
  const bool log = LogsCreations();
  {
    std::lock_guard lock(mutex_);
    NodeStats& node_stats = nodes_[node];
    if (node_stats.node.empty()) node_stats.node = std::string(node);
    auto found = entries_.find(id);
    if (found != entries_.end()) {
      entry = found->second;
      ++entry->hits;
      ++stats_.hits;
      ++node_stats.hits;
      lru_.splice(lru_.begin(), lru_, entry->lru_position);
    } else {
      mine = true;
      ++stats_.misses;
      ++node_stats.misses;
      if (log) {
        auto last = last_key_of_node_.find(node);
        const PrimitiveKey* nearest = last == last_key_of_node_.end() ? nullptr : &last->second;
        int fewest = std::numeric_limits<int>::max();
        if (nearest == nullptr || nearest->op() != key.op()) {
          nearest = nullptr;
          for (const auto& [other_id, other] : entries_) {
            if (other->key.op() != key.op()) continue;
            int differences = CountDifferences(key, other->key);
            if (differences < fewest) {
              fewest = differences;
              nearest = &other->key;
            }
          }
        }
        if (nearest == nullptr) {
          reason = "first of its operation";
        } else {
          reason = key.DifferenceFrom(*nearest);
          if (reason.empty()) reason = "was evicted";
        }
      }
      entry = std::make_shared<Entry>(key);
      lru_.push_front(id);
      entry->lru_position = lru_.begin();
      entries_.emplace(id, entry);
    }
    last_key_of_node_.insert_or_assign(std::string(node), key);
  }
  if (!mine) {
    entry->ready.wait();
    if (!entry->status.ok()) return entry->status;
    return entry->value;
  }

  auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<std::shared_ptr<const CachedPrimitive>> made = create();
  if (made.ok() && *made == nullptr) made = absl::InternalError(absl::StrCat("nothing was created for ", id));
  entry->creation_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (made.ok()) {
    entry->value = *made;
  } else {
    entry->status = made.status();
  }
  entry->ready.count_down();
  {
    std::lock_guard lock(mutex_);
    if (!made.ok()) {
      lru_.erase(entry->lru_position);
      entries_.erase(id);
    } else {
      ++stats_.creations;
      stats_.creation_seconds += entry->creation_seconds;
      stats_.bytes += static_cast<int64_t>(entry->value->bytes());
      nodes_[node].creation_seconds += entry->creation_seconds;
      // What is being created has waiters and no size yet: it stays.
      for (auto it = lru_.end(); static_cast<int64_t>(entries_.size()) > max_entries_ && it != lru_.begin();) {
        --it;
        auto victim = entries_.find(*it);
        if (victim->second == entry || !victim->second->ready.try_wait()) continue;
        if (victim->second->value != nullptr) stats_.bytes -= static_cast<int64_t>(victim->second->value->bytes());
        ++stats_.evictions;
        entries_.erase(victim);
        it = lru_.erase(it);
      }
    }
  }
  if (!made.ok()) return made.status();
  if (log) {
    absl::FPrintF(stderr, "rondo: created %s for node \"%s\" in %.2f ms (%s): %s\n", key.op(), node,
                  entry->creation_seconds * 1e3, entry->value->Implementation(), reason);
  }
  return entry->value;
}

CacheStats PrimitiveCache::stats() const {
  std::lock_guard lock(mutex_);
  CacheStats result = stats_;
  result.entries = static_cast<int64_t>(entries_.size());
  return result;
}

std::vector<KeyStats> PrimitiveCache::key_stats() const {
  std::vector<KeyStats> result;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (!entry->ready.try_wait() || entry->value == nullptr) continue;
      result.push_back({id, entry->value->Implementation(), entry->hits, entry->creation_seconds});
    }
  }
  std::sort(result.begin(), result.end(), [](const KeyStats& a, const KeyStats& b) {
    return a.creation_seconds != b.creation_seconds ? a.creation_seconds > b.creation_seconds : a.key < b.key;
  });
  return result;
}

std::vector<NodeStats> PrimitiveCache::node_stats() const {
  std::vector<NodeStats> result;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [name, stats] : nodes_) result.push_back(stats);
  }
  std::sort(result.begin(), result.end(), [](const NodeStats& a, const NodeStats& b) {
    return a.misses != b.misses ? a.misses > b.misses : a.node < b.node;
  });
  return result;
}

absl::StatusOr<Tensor> WeightCache::GetOrPack(const Tensor& weight, absl::string_view layout,
                                              const std::function<absl::StatusOr<Tensor>()>& pack) {
  // Views of one storage under other dims or types share its address.
  std::string form = absl::StrCat(DataTypeName(weight.dtype()), DimsToString(weight.dims()), " ", layout);
  std::lock_guard lock(mutex_);
  auto key = std::make_pair(weight.raw(), std::move(form));
  auto found = packed_.find(key);
  if (found != packed_.end()) return found->second.packed;
  absl::StatusOr<Tensor> packed = pack();
  if (!packed.ok()) return packed.status();
  ForgetFilePages(weight.raw(), weight.bytes());
  packed_.emplace(std::move(key), Packed{weight, *packed});
  return packed;
}

size_t WeightCache::bytes() const {
  std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [key, entry] : packed_) total += entry.packed.bytes();
  return total;
}

}  // namespace rondo
