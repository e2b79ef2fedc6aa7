// The update of one cache tensor, in whatever form an exporter wrote it: *these rows at a start along an axis*.
#ifndef RONDO_KVCACHE_UPDATE_H_
#define RONDO_KVCACHE_UPDATE_H_

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace rondo {

enum class KvForm {
  kConcat,           // past and new rows joined (Optimum, torch DynamicCache)
  kTensorScatter,    // ONNX TensorScatter-24
  kScatterND,        // torch StaticCache (index_put), jax dynamic_update_slice
  kScatterElements,  // torch scatter
  kOnnxAttention,    // inside Attention-23 (past_key -> present_key)
  kGroupQueryAttention,
  kMultiHeadAttention,
  kPackedAttention,  // com.microsoft Attention: [2, batch, heads, rows, size]
};
absl::string_view KvFormName(KvForm form);

struct CacheUpdate {
  KvForm form = KvForm::kConcat;
  Node* node = nullptr;
  int slot = 0;                  // of the cache among the node's inputs
  const Value* state = nullptr;  // the cache as the graph gets it: an input
  Value* result = nullptr;       // the cache with the new rows, as the node gives it
  Value* rows = nullptr;         // the new rows in the node's layout; null when the attention operator makes them
  Value* start = nullptr;        // what says where the rows go; null: after the past
  // kScatterND: the leading axes of the cache that each tuple of `start` has a coordinate of; 0: `start` lists rows.
  int coordinates = 0;
  int axis = -1;                    // of the rows in the node's layout
  std::vector<int64_t> from_state;  // node layout: its dim d is the state's dim from_state[d]
  int part = -1;                    // of a state that holds keys and values along a first axis of 2: which of them
  bool rows_first = false;          // Concat(new, past): the newest rows lead
  bool circular = false;            // indices wrap at the capacity
  int state_axis() const { return static_cast<int>(from_state[axis]); }
};

// The update that `node` makes of its operand `slot`, when it is one and that operand comes from a graph input through
// transposes and identities alone.
std::optional<CacheUpdate> UpdateAt(Node* node, int slot);
// The update of a graph input, which may reach it through transposes and identities.
std::optional<CacheUpdate> UpdateOf(const Value* input);
// The graph inputs that `value` is computed from, by name.
std::string SourcesOf(const Value* value);
// The graph input behind `value` through Transpose and Identity, with the permutation: value's dim d is the input's dim
// perm[d]. A Gather that takes one half of a state of keys and values is seen through; `part` tells which (else -1).
// Null when something else made it.
const Value* StateBehind(const Value* value, std::vector<int64_t>* perm, int* part);
// The output of `graph` that `value` reaches through Transpose, Identity and Cast, and where `part` >= 0 as that half
// of a state of keys and values; -1 for none.
int OutputReachedBy(const Graph& graph, const Value* value, int part);

}  // namespace rondo

#endif  // RONDO_KVCACHE_UPDATE_H_
