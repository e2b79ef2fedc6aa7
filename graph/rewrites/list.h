// The rewrites, each listed once, in the order in which they run: RONDO_REWRITES(X) with X(function, name, description).
// The function is defined in graph/rewrites/<name>.cc.
#ifndef RONDO_GRAPH_REWRITES_LIST_H_
#define RONDO_GRAPH_REWRITES_LIST_H_

#include "graph/rewrites/rewrite.h"

#define RONDO_REWRITES(X)                                                                                   \
  X(FoldConstants, "fold_constants", "computes nodes whose inputs are all constant, within the model's size") \
  X(SinkConstants, "sink_constants", "gives subgraphs their own handle of constants that they capture")

namespace rondo {

#define RONDO_DECLARE_REWRITE(Function, name, description) \
  absl::StatusOr<int> Function(Graph& graph, const RewriteContext& context);
RONDO_REWRITES(RONDO_DECLARE_REWRITE)
#undef RONDO_DECLARE_REWRITE

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_LIST_H_
