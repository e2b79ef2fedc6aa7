// Caches that an ONNX Loop or Scan carries from turn to turn (torch.jit, jax while_loop): found in bodies by the same
// update operators as a decoder's state. The executor writes a carried value in place where the update is its last use
// (executor/plan.h: Donation); this says of a graph which ones those are, and why the others are not.
#ifndef RONDO_KVCACHE_CARRIED_H_
#define RONDO_KVCACHE_CARRIED_H_

#include <string>
#include <vector>

#include "graph/graph.h"

namespace rondo {

struct CarriedCache {
  std::string node;           // the Loop or Scan
  std::string input, output;  // of its body
  std::string form;           // "Loop-carried ScatterND"
  std::string shape;
  int axis = -1;      // of the rows in it
  std::string start;  // what says where new rows go: names of values that the body gets
  bool in_place = false;
  std::string why;  // not in place: what makes a turn copy the cache
};

// Of the graph and its subgraphs, as it is after the rewrites.
std::vector<CarriedCache> FindCarriedCaches(const Graph& graph);

}  // namespace rondo

#endif  // RONDO_KVCACHE_CARRIED_H_
