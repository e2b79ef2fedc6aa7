// The lowering of an exported decoder to one whose cache is written in place.
//
// Before: the cache is an input and an output of the graph, in one of the forms of kvcache/update.h, and lengths show
// in shapes, masks and positions. After: each attention layer is one rondo::KvAttention that takes the new rows and the
// cache (an input of kind state); no shape contains the past's length or the cache's capacity, so one plan per (batch,
// rows) serves every step. The lowered graph has these inputs and one output:
//
//   <tokens>      int64[batch, rows]   as in the file
//   rondo.positions  int64[batch, rows]   position of each new token
//   rondo.last       int64[batch]         row whose logits are wanted
//   rondo.cache      state                a KvCache
//   ...           what else the file asks for (an encoder's keys and values)
//   -> logits [batch, 1, vocabulary], then the captured values
//
// Masks and positions are dropped only when the prober has shown what they are. What cannot be lowered runs as it is,
// with a cache that grows; the report says why.
#ifndef RONDO_KVCACHE_LOWERING_H_
#define RONDO_KVCACHE_LOWERING_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "graph/rewrites/rewrite.h"
#include "kvcache/carried.h"
#include "kvcache/kv_cache.h"
#include "kvcache/ports.h"

namespace rondo {

inline constexpr char kPositionsInput[] = "rondo.positions";
inline constexpr char kLastInput[] = "rondo.last";
inline constexpr char kCacheInput[] = "rondo.cache";

// For `rondo inspect --kv`: how one layer's cache stands in the file.
struct KvLayerReport {
  std::string key_input, key_output, value_input, value_output;
  std::string form;    // "Concat", "TensorScatter (circular)", "GroupQueryAttention" ...
  std::string layout;  // of the file's cache: "BNSH", "BSNH", "BSH" ...
  int axis = -1;       // of the rows in it
  std::string start;   // what says where new rows go: "past length", an input's name
  std::string length;  // what says how many rows are valid
  std::string mask;    // "causal", "window 4096", "causal, relative bias" ...
};

struct KvReport {
  // 1: in place, fused; 2: growing, over pasts padded to a few lengths; 3: growing
  int level = 3;
  std::string why;  // for levels 2 and 3
  std::vector<KvLayerReport> layers;
  std::vector<CarriedCache> carried;  // of Loops and Scans; level 1: all are written in place
};

struct LoweredDecoder {
  std::unique_ptr<Graph> graph;
  std::vector<KvLayer> layers;
  // Rows beyond the last one wanted may be padding. Otherwise every row given must be a token.
  bool pads = true;
  int64_t max_length = 0;  // positions that the file can tell apart; 0: no limit seen
};

// `graph` is the rewritten graph that `ports` describes; it is left as it is. The report is filled in either case.
absl::StatusOr<LoweredDecoder> LowerDecoder(const Graph& graph, const DecoderPorts& ports,
                                            const RewriteContext& context, KvReport* report);

}  // namespace rondo

#endif  // RONDO_KVCACHE_LOWERING_H_
