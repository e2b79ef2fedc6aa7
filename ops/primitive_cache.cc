#include "ops/primitive_cache.h"

#include <algorithm>
#include <latch>
#include <limits>

#include "absl/strings/str_join.h"
#include "graph/file_pages.h"
#include "graph/status.h"

namespace rondo {
namespace {

// Of each node this many keys are remembered, for explanations.
constexpr size_t kKeysOfANode = 8;
// Other nodes' entries that are compared with a key at most, most recently used first.
constexpr int kMaxCompared = 256;

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

// A field's value in a message: none is "none", not a gap.
std::string Shown(const std::string& value) { return value.empty() ? "none" : value; }

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

std::vector<KeyFieldChange> PrimitiveKey::ChangesFrom(const PrimitiveKey& other) const {
  std::vector<KeyFieldChange> changes;
  if (op_ != other.op_) changes.push_back({"operation", other.op_, op_});
  for (const auto& [field, value] : fields_) {
    const std::string* old = FindField(other, field);
    if (old == nullptr) {
      changes.push_back({field, "", Shown(value)});
    } else if (*old != value) {
      changes.push_back({field, Shown(*old), Shown(value)});
    }
  }
  for (const auto& [field, value] : other.fields_) {
    if (FindField(*this, field) == nullptr) changes.push_back({field, Shown(value), ""});
  }
  return changes;
}

// Made under the cache's lock by the thread that creates; `value`, `status` and `bytes` are written once, before
// `ready`.
struct PrimitiveCache::Entry {
  Entry(std::string key_text, KeyRecordPtr key_record) : id(std::move(key_text)), record(std::move(key_record)) {}
  const std::string id;
  const KeyRecordPtr record;
  std::latch ready{1};
  absl::Status status;
  std::shared_ptr<const CachedPrimitive> value;
  int64_t bytes = 0;
  double creation_seconds = 0;
  int64_t hits = 0;                                          // guarded by the cache's mutex
  bool kept = true;                                          // guarded by the cache's mutex
  std::list<std::shared_ptr<Entry>>::iterator lru_position;  // guarded by the cache's mutex
};

PrimitiveCache::KeyRecordPtr PrimitiveCache::NearestTo(const PrimitiveKey& key, const Asker& asker,
                                                       bool* earlier) const {
  KeyRecordPtr nearest;
  int fewest = std::numeric_limits<int>::max();
  const auto consider = [&](const KeyRecordPtr& record) {
    if (record->key.op() != key.op()) return;
    const int differences = CountDifferences(key, record->key);
    if (differences >= fewest) return;
    fewest = differences;
    nearest = record;
  };
  *earlier = false;
  for (const KeyRecordPtr& record : asker.keys) consider(record);
  if (nearest != nullptr) return nearest;
  *earlier = true;
  for (const KeyRecordPtr& record : recalled_) {
    if (record->node == asker.stats.node) consider(record);
  }
  if (nearest != nullptr) return nearest;
  *earlier = false;
  int compared = 0;
  for (const std::shared_ptr<Entry>& entry : lru_) {
    if (entry->record->key.op() != key.op()) continue;
    consider(entry->record);
    if (++compared == kMaxCompared) break;
  }
  return nearest;
}

void PrimitiveCache::Explain(const PrimitiveKey& key, const std::string& id, const Asker& asker,
                             CompileEvent* event) const {
  KeyRecordPtr nearest;
  const auto same = recalled_by_id_.find(id);
  // One that this process has made as well was evicted since.
  if (same != recalled_by_id_.end() && std::none_of(asker.keys.begin(), asker.keys.end(),
                                                    [&](const auto& made) { return made->key.ToString() == id; })) {
    nearest = same->second;
    event->earlier = true;
  } else {
    nearest = NearestTo(key, asker, &event->earlier);
  }
  if (nearest == nullptr) return;
  std::vector<std::string> origin;
  if (nearest->node != event->node) origin.push_back(absl::StrCat("node ", nearest->node));
  if (!nearest->binding.empty()) origin.push_back(nearest->binding);
  event->nearest = origin.empty() ? "this node" : absl::StrJoin(origin, ", ");
  event->changes = key.ChangesFrom(nearest->key);
}

void PrimitiveCache::Erase(const std::shared_ptr<Entry>& entry) {
  if (!entry->kept) return;
  entry->kept = false;
  stats_.bytes -= entry->bytes;
  OperatorCacheStats& of_operator = operators_[entry->record->key.op()];
  --of_operator.entries;
  of_operator.bytes -= entry->bytes;
  entries_.erase(entry->id);
  lru_.erase(entry->lru_position);
}

void PrimitiveCache::EvictBeyondLimits() {
  const auto beyond = [&] {
    return static_cast<int64_t>(entries_.size()) > limits_.entries || stats_.bytes > limits_.bytes;
  };
  for (auto it = lru_.end(); beyond() && it != lru_.begin();) {
    const std::shared_ptr<Entry> victim = *--it;
    // What is being created has waiters and no size yet: it stays.
    if (!victim->ready.try_wait()) continue;
    ++it;
    Erase(victim);
    ++stats_.evictions;
    ++operators_[victim->record->key.op()].evictions;
  }
}

absl::StatusOr<std::shared_ptr<const CachedPrimitive>> PrimitiveCache::GetOrCreate(const PrimitiveKey& key,
                                                                                   absl::string_view node,
                                                                                   const Factory& create) {
  const std::string id = key.ToString();
  const CompileScope::State& scope = CompileScope::Current();
  std::shared_ptr<Entry> entry;
  bool mine = false;
  CompileEvent event;
  {
    std::lock_guard lock(mutex_);
    Asker& asker = askers_[node];
    if (asker.stats.node.empty()) asker.stats.node = std::string(node);
    OperatorCacheStats& of_operator = operators_[key.op()];
    if (of_operator.operation.empty()) of_operator.operation = key.op();
    auto found = entries_.find(id);
    if (found != entries_.end()) {
      entry = found->second;
      ++entry->hits;
      ++stats_.hits;
      ++of_operator.hits;
      ++asker.stats.hits;
      lru_.splice(lru_.begin(), lru_, entry->lru_position);
    } else {
      mine = true;
      ++stats_.misses;
      ++of_operator.misses;
      ++asker.stats.misses;
      event.node = std::string(node);
      event.operation = key.op();
      event.compiled_in = std::string(scope.binding);
      event.thread = CurrentThreadNumber();
      Explain(key, id, asker, &event);
      if (!scope.sealed) {
        entry = std::make_shared<Entry>(
            id, std::make_shared<const KnownKey>(KnownKey{key, event.node, event.compiled_in, ""}));
        lru_.push_front(entry);
        entry->lru_position = lru_.begin();
        entries_.emplace(id, entry);
        ++of_operator.entries;
      }
    }
    if (entry != nullptr && (asker.keys.empty() || asker.keys.front() != entry->record)) {
      auto known = std::find(asker.keys.begin(), asker.keys.end(), entry->record);
      if (known != asker.keys.end()) {
        std::rotate(asker.keys.begin(), known, known + 1);
      } else {
        asker.keys.insert(asker.keys.begin(), entry->record);
        if (asker.keys.size() > kKeysOfANode) asker.keys.pop_back();
      }
    }
  }
  if (!mine) {
    entry->ready.wait();
    log_.Hit([&](CompileEvent* hit) {
      hit->node = std::string(node);
      hit->operation = key.op();
      hit->compiled_in = std::string(scope.binding);
      hit->thread = CurrentThreadNumber();
      if (entry->value != nullptr) hit->implementation = entry->value->Implementation();
    });
    if (!entry->status.ok()) return entry->status;
    return entry->value;
  }

  event.begin_ns = SteadyNowNs();
  if (entry == nullptr) {
    event.end_ns = event.begin_ns;
    event.refused = true;
    absl::Status error = SealedMiss(event);
    log_.Add(std::move(event));
    return error;
  }
  absl::StatusOr<std::shared_ptr<const CachedPrimitive>> made = create();
  if (made.ok() && *made == nullptr) made = absl::InternalError(absl::StrCat("nothing was created for ", id));
  event.end_ns = SteadyNowNs();
  entry->creation_seconds = event.seconds();
  if (made.ok()) {
    entry->value = *made;
    entry->bytes = static_cast<int64_t>(entry->value->bytes());
    event.bytes = entry->bytes;
    event.implementation = entry->value->Implementation();
  } else {
    entry->status = made.status();
    event.refused = true;
  }
  {
    std::lock_guard lock(mutex_);
    OperatorCacheStats& of_operator = operators_[key.op()];
    stats_.bytes += entry->bytes;
    of_operator.bytes += entry->bytes;
    stats_.creation_seconds += entry->creation_seconds;
    of_operator.creation_seconds += entry->creation_seconds;
    Asker& asker = askers_[node];
    asker.stats.creation_seconds += entry->creation_seconds;
    if (made.ok()) {
      ++stats_.creations;
      ++of_operator.creations;
      ++asker.stats.creations;
    }
    entry->ready.count_down();
    // Other failures (memory, say) may pass: the next who asks tries again.
    if (!made.ok() && !absl::IsUnimplemented(made.status())) Erase(entry);
    EvictBeyondLimits();
  }
  log_.Add(std::move(event));
  return made;
}

void PrimitiveCache::Recall(std::vector<KnownKey> keys) {
  std::lock_guard lock(mutex_);
  for (KnownKey& key : keys) {
    auto record = std::make_shared<const KnownKey>(std::move(key));
    if (recalled_by_id_.emplace(record->key.ToString(), record).second) recalled_.push_back(std::move(record));
  }
}

std::vector<KnownKey> PrimitiveCache::Made() const {
  std::vector<KnownKey> made;
  std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Entry>& entry : lru_) {
    if (!entry->ready.try_wait()) continue;
    made.push_back(*entry->record);
    made.back().implementation = entry->value == nullptr ? "refused" : entry->value->Implementation();
  }
  return made;
}

CacheStats PrimitiveCache::stats() const {
  CacheStats result;
  {
    std::lock_guard lock(mutex_);
    result = stats_;
    result.entries = static_cast<int64_t>(entries_.size());
  }
  result.limits = limits_;
  log_.AddTo(&result);
  return result;
}

CacheReport PrimitiveCache::report() const {
  CacheReport report;
  report.totals = stats();
  report.misses = log_.misses();
  {
    std::lock_guard lock(mutex_);
    for (const auto& [operation, of_operator] : operators_) report.operators.push_back(of_operator);
    for (const auto& [node, asker] : askers_) report.nodes.push_back(asker.stats);
    for (const auto& [id, entry] : entries_) {
      if (!entry->ready.try_wait()) continue;
      report.keys.push_back({id, entry->record->node,
                             entry->value == nullptr ? "refused" : entry->value->Implementation(), entry->hits,
                             entry->bytes, entry->creation_seconds});
    }
  }
  // Equal ones in the order of their names, so that two reports can be compared.
  std::sort(report.operators.begin(), report.operators.end(), [](const auto& a, const auto& b) {
    return a.creation_seconds != b.creation_seconds ? a.creation_seconds > b.creation_seconds
                                                    : a.operation < b.operation;
  });
  std::sort(report.nodes.begin(), report.nodes.end(),
            [](const auto& a, const auto& b) { return a.misses != b.misses ? a.misses > b.misses : a.node < b.node; });
  std::sort(report.keys.begin(), report.keys.end(), [](const auto& a, const auto& b) {
    return a.creation_seconds != b.creation_seconds ? a.creation_seconds > b.creation_seconds : a.key < b.key;
  });
  return report;
}

absl::StatusOr<Tensor> WeightCache::GetOrPack(absl::Span<const Tensor> sources, const PackedForm& form,
                                              absl::FunctionRef<absl::Status(Tensor& packed)> fill) {
  // Views of one storage under other dims or types share its address.
  std::string key = form.layout;
  for (const Tensor& source : sources) {
    absl::StrAppend(&key, " ", reinterpret_cast<uintptr_t>(source.raw()), DataTypeName(source.dtype()),
                    DimsToString(source.dims()));
  }
  std::lock_guard lock(mutex_);
  auto found = packed_.find(key);
  if (found != packed_.end()) return found->second.packed;
  CompileEvent event;
  event.kind = CompileEvent::Kind::kWeights;
  event.begin_ns = SteadyNowNs();
  Tensor packed;
  if (store_ != nullptr) packed = store_->Find(sources, form);
  const bool stored = packed.defined();
  if (!stored) {
    RONDO_ASSIGN_OR_RETURN(packed, Tensor::Create(form.dtype, form.dims));
    RONDO_RETURN_IF_ERROR(fill(packed));
    if (store_ != nullptr) store_->Add(sources, form, packed);
    for (const Tensor& source : sources) ForgetFilePages(source.raw(), source.bytes());
  }
  event.end_ns = SteadyNowNs();
  event.found = stored;
  event.node = std::string(CompileScope::Current().node);
  event.operation = form.layout;
  event.compiled_in = std::string(CompileScope::Current().binding);
  event.bytes = static_cast<int64_t>(packed.bytes());
  event.thread = CurrentThreadNumber();
  packed_.emplace(std::move(key), Packed{{sources.begin(), sources.end()},
                                         packed,
                                         {event.node, event.operation, event.bytes, stored, event.seconds()}});
  if (log_ != nullptr) log_->Add(std::move(event));
  return packed;
}

std::vector<PackedWeightStats> WeightCache::stats() const {
  std::vector<PackedWeightStats> result;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : packed_) result.push_back(entry.stats);
  }
  std::sort(result.begin(), result.end(),
            [](const auto& a, const auto& b) { return a.bytes != b.bytes ? a.bytes > b.bytes : a.node < b.node; });
  return result;
}

size_t WeightCache::bytes() const {
  std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [key, entry] : packed_) total += entry.packed.bytes();
  return total;
}

}  // namespace rondo
