// Every invariant of a Graph, checked. Run after import, and after every rewrite in debug builds.
#ifndef RONDO_GRAPH_VERIFY_H_
#define RONDO_GRAPH_VERIFY_H_

#include "absl/status/status.h"
#include "graph/graph.h"

namespace rondo {

// Internal error naming the node or value: topological order, use lists both ways, single definition, captures that
// match the subgraphs' inputs, constants with types that fit, outputs that belong to the graph.
absl::Status Verify(const Graph& graph);

}  // namespace rondo

#endif  // RONDO_GRAPH_VERIFY_H_
