// A rewrite turns a graph into an equivalent, cheaper one. Each is one file in this folder, has a name by which it can
// be switched off, and is tested alone. AllRewrites() lists them in the order in which they run.
//
// Rewrites know operators by name and by ONNX's semantics, never by their kernels: what they need of the operator
// library comes through RewriteContext, so that graph/ depends on nothing above it.
#ifndef RONDO_GRAPH_REWRITES_REWRITE_H_
#define RONDO_GRAPH_REWRITES_REWRITE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace rondo {

struct RewriteContext {
  // Types the outputs of a node that a rewrite added.
  std::function<absl::Status(Node&)> infer;
  // Runs one node without subgraphs on constant inputs (an undefined tensor for an absent one). Unimplemented when the
  // operator cannot be folded (random, unsupported).
  std::function<absl::StatusOr<std::vector<Tensor>>(const Node&, absl::Span<const Tensor>)> evaluate;
  // Bytes that constant folding may add in all: the model's own size (a small file must not become a large model).
  size_t fold_budget_bytes = 0;
  // Bits in which constant matrices of products are kept, 8 or 4; 0: as they were exported.
  int weight_bits = 0;
};

struct Rewrite {
  absl::string_view name;         // "fold_constants"
  absl::string_view description;  // one line, for `rondo inspect --rewrites`
  // Applies it to this graph (not to subgraphs; the driver visits them). Returns how often it fired.
  absl::StatusOr<int> (*apply)(Graph& graph, const RewriteContext& context);
};

absl::Span<const Rewrite> AllRewrites();

struct RewriteReport {
  std::string name;
  int fired = 0;
  bool disabled = false;
};

// Runs every rewrite that is not in `disabled` over the graph and its subgraphs, until nothing fires any more
// (bounded), sorting and removing dead nodes between; verifies the graph after each rewrite in debug builds. Unknown
// names in `disabled` are InvalidArgument, with the list of names.
absl::StatusOr<std::vector<RewriteReport>> ApplyRewrites(Graph& graph, const RewriteContext& context,
                                                         absl::Span<const std::string> disabled);

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_REWRITE_H_
