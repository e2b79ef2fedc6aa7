// Program: a graph made ready to run: inferred, rewritten, with the caches that its plans share. Thread-safe once made.
#ifndef RONDO_EXECUTOR_PROGRAM_H_
#define RONDO_EXECUTOR_PROGRAM_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/region.h"
#include "graph/rewrites/rewrite.h"

namespace rondo {

struct ProgramOptions {
  int threads = 0;  // 0: all cores that the process may use
  bool plain = false;
  std::vector<std::string> disabled_rewrites;
  int weight_bits = 0;  // of constant matrices of products: 8, 4; 0: as they were exported
  int64_t max_plans = 32;
  uint64_t max_tensor_bytes = uint64_t{1} << 36;
  int64_t max_loop_iterations = 10'000'000;
  CacheLimits cache;                           // of a cache of its own
  std::shared_ptr<PrimitiveCache> primitives;  // shared with other programs; null: its own
  // Where packed weights are looked for before they are packed, and kept; null: nowhere.
  std::shared_ptr<PackedWeightStore> weight_store;
  // Called on the rewritten graph; what it returns is rewritten once more. Not called with `plain`.
  std::function<absl::StatusOr<std::unique_ptr<Graph>>(std::unique_ptr<Graph> graph, const RewriteContext& context)>
      transform;
};

class Program {
 public:
  // Checks that all operators are supported (all that are not are named in one error), infers, rewrites.
  static absl::StatusOr<std::unique_ptr<Program>> Create(std::unique_ptr<Graph> graph, const ProgramOptions& options);

  const Graph& graph() const { return *graph_; }
  const ProgramResources& resources() const { return resources_; }
  const std::vector<RewriteReport>& rewrites() const { return rewrites_; }
  RegionExecutable& root() const { return *root_; }
  PrimitiveCache& primitives() const { return *primitives_; }
  const WeightCache& weights() const { return *weights_; }
  CacheReport Report() const;

 private:
  Program() = default;
  absl::Status Rewrite(const ProgramOptions& options);

  std::unique_ptr<Graph> graph_;
  ProgramResources resources_;
  std::vector<RewriteReport> rewrites_;
  std::shared_ptr<PrimitiveCache> primitives_;
  std::unique_ptr<WeightCache> weights_;
  std::shared_ptr<PackedWeightStore> store_;
  std::unique_ptr<RegionExecutable> root_;
};

// `com.x::Foo (opset 1): 3 nodes, first node "n3" (com.x::Foo)` for each operator that rondo lacks, subgraphs included.
std::vector<std::string> UnsupportedOperators(const Graph& graph);

// Cores that this process may run on.
int AvailableCores();

}  // namespace rondo

#endif  // RONDO_EXECUTOR_PROGRAM_H_
