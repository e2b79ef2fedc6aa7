// What a model had compiled, why, and what it cost: counters of the primitive cache, of packed weights and of plans,
// and the misses of the recent past, each with the field of its key that was new.
#ifndef RONDO_CACHE_H_
#define RONDO_CACHE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace rondo {

// Bounds of a primitive cache; least recently used entries go first. Plans keep what they use alive, so results never
// depend on these numbers.
struct CacheLimits {
  int64_t entries = 4096;
  int64_t bytes = int64_t{1} << 28;  // as the entries estimate them
};

struct CacheStats {
  // Primitives: a lookup that finds its key is a hit, one that does not a miss; a miss that succeeds is a creation.
  int64_t entries = 0, hits = 0, misses = 0, creations = 0, evictions = 0, bytes = 0;
  double creation_seconds = 0;
  // Plans: one per binding of shapes. A run whose shapes have a plan is a hit.
  int64_t plan_hits = 0, plans_made = 0;
  double plan_seconds = 0;  // the creations in them included
  // Packed forms of weights: made here, or found in the cache directory.
  int64_t weights_packed = 0, weights_found = 0;
  double packing_seconds = 0, finding_seconds = 0;
  CacheLimits limits;
};

struct OperatorCacheStats {
  std::string operation;  // of the key: "MatMul", "Conv", "Reorder"
  int64_t entries = 0, hits = 0, misses = 0, creations = 0, evictions = 0, bytes = 0;
  double creation_seconds = 0;
};

struct NodeCacheStats {
  std::string node;
  int64_t hits = 0, misses = 0, creations = 0;
  double creation_seconds = 0;
};

struct KeyCacheStats {
  std::string key;             // "MatMul{M=64, K=896, ...}"
  std::string node;            // that it was created for
  std::string implementation;  // "refused": the library has none
  int64_t hits = 0, bytes = 0;
  double creation_seconds = 0;
};

struct PackedWeightStats {
  std::string node;    // that asked first
  std::string layout;  // the packed form
  int64_t bytes = 0;
  bool found = false;          // in the cache directory
  double packing_seconds = 0;  // or of finding it
};

// A field of a key that differs. "" stands for a field that the other key does not have.
struct KeyFieldChange {
  std::string field, was, is;
};

// One thing looked up: found, or compiled.
struct CompileEvent {
  enum class Kind { kPrimitive, kWeights, kPlan };
  Kind kind = Kind::kPrimitive;
  bool hit = false;
  bool refused = false;     // a miss that made nothing: an error, or fail-on-miss
  bool found = false;       // packed weights that were not packed, but found in the cache directory
  std::string node;         // who asked; of a plan: the part of the graph
  std::string operation;    // "MatMul"; the layout of weights; "plan"
  std::string compiled_in;  // the shapes whose compilation asked: "prefill of 64 rows"
  // Of a miss: the nearest key that is or was known, the node's own first, and what sets this one apart. Without any
  // `nearest` is empty; without changes the entry was evicted or, with `earlier`, is to be made again.
  std::string nearest;   // what that entry was created for
  bool earlier = false;  // by an earlier process, as the cache directory tells
  std::vector<KeyFieldChange> changes;
  std::string implementation;
  int64_t bytes = 0;
  int64_t begin_ns = 0, end_ns = 0;  // of the steady clock
  int thread = 0;                    // CurrentThreadNumber()

  double seconds() const { return static_cast<double>(end_ns - begin_ns) * 1e-9; }
  // "MISS node /mlp/up MatMul: key field M was 64, is 65 (entry created for prefill of 64 rows)"
  std::string Explanation() const;
};
// May be called from any thread; must not call back into the model.
using CompileListener = std::function<void(const CompileEvent&)>;

// What a model has to do with the cache directory.
struct CacheDirectoryReport {
  std::string path;   // "": there is none
  std::string entry;  // folder in it: of this model, machine and version
  // What was wrong, and was worked around: the folder itself, damaged or foreign files, what could not be written.
  std::vector<std::string> problems;
  double identify_seconds = 0;  // digests of the model's files
  int64_t bytes_found = 0;      // of packed weights
  int64_t bytes_written = 0;
  double write_seconds = 0;
  int64_t keys_known = 0;  // that earlier processes made
};

// All of it at one moment.
struct CacheReport {
  CacheStats totals;
  std::vector<OperatorCacheStats> operators;  // most expensive first
  std::vector<NodeCacheStats> nodes;          // most misses first
  std::vector<KeyCacheStats> keys;            // most expensive first
  std::vector<PackedWeightStats> weights;     // largest first
  std::vector<CompileEvent> misses;           // of primitives and plans, oldest first; the last few hundred
  int64_t weight_bytes = 0, arena_bytes = 0;  // arenas: as planned, of the plans that are kept
  CacheDirectoryReport directory;
};

// A small number for each thread that asked, from 1 on, for traces.
int CurrentThreadNumber();

}  // namespace rondo

#endif  // RONDO_CACHE_H_
