// One attention layer over a cache, read from whatever operators an exporter used for it.
#ifndef RONDO_KVCACHE_CACHED_ATTENTION_H_
#define RONDO_KVCACHE_CACHED_ATTENTION_H_

#include <optional>

#include "absl/status/statusor.h"
#include "kvcache/lowering.h"
#include "kvcache/mask.h"
#include "kvcache/probe.h"

namespace rondo {

struct CachedAttention {
  Node* node = nullptr;
  Value *q = nullptr, *k = nullptr, *v = nullptr;  // the new rows, [B, H, S, D] or [B, S, H * D]
  Value* sinks = nullptr;                          // constant float32 [q_heads], or null
  const Value *key_state = nullptr, *value_state = nullptr;
  int64_t q_heads = 0;
  KvLayer layer;
  float scale = 0, softcap = 0;
  MaskAnswer mask;
  KvLayerReport report;
};

// Reads `node`, adding to the graph what its new rows need (transposes, a split of packed projections, rotary
// embeddings by `positions`). Nullopt: no attention operator, or one without a growing cache. Errors say what cannot be
// taken over; the graph then holds nodes that nobody uses.
absl::StatusOr<std::optional<CachedAttention>> ReadCachedAttention(Graph& graph, Node* node, Value* positions,
                                                                   MaskProver& masks, const RewriteContext& context);

}  // namespace rondo

#endif  // RONDO_KVCACHE_CACHED_ATTENTION_H_
