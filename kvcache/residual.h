// The residual stream of a decoder: what its blocks hand to each other. Exporters agree on no names for it, and each
// writes norms and sums in its own way; so it is found by structure.
//
// A *cut* is a node that everything flows through on its way from the tokens to the logits: where it has run, nothing
// else that depends on the tokens is still to be read. In a block of a transformer the sums after attention and after
// the feed-forward part are cuts; norms and projections are none, as the residual passes them by. (Masks and positions
// flow beside it, but come from other inputs, or from the tokens' shape only.) A cut lies after a block's attention
// when it depends on that block's keys and values of the past. So the last cut before the next block's attention is
// the block's output, and in the last block, where norm and head follow, it is the cut that stands where the other
// blocks have theirs.
#ifndef RONDO_KVCACHE_RESIDUAL_H_
#define RONDO_KVCACHE_RESIDUAL_H_

#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "kvcache/ports.h"

namespace rondo {

// What each block adds up to, in order: [batch, rows, hidden], or [batch * rows, hidden] where a graph flattens. A
// SkipLayerNormalization whose sum nobody asked for is given that output, which is the one edit of the graph. Errors:
// no cache, or no cuts where they are expected; the message says what to do.
absl::StatusOr<std::vector<Value*>> FindResidualStream(Graph& graph, const DecoderPorts& ports);

}  // namespace rondo

#endif  // RONDO_KVCACHE_RESIDUAL_H_
