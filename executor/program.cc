#include "executor/program.h"

#include <sched.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "graph/verify.h"
#include "ops/infer.h"
#include "ops/parallel.h"
#include "ops/registry.h"

namespace rondo {

int AvailableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::vector<std::string> UnsupportedOperators(const Graph& graph) {
  struct Missing {
    int64_t nodes = 0;
    std::string first;
  };
  std::map<std::string, Missing> missing;
  graph.ForEachGraph([&](const Graph& g) {
    for (const auto& node : g.nodes()) {
      if (OpRegistry::Get().Find(node->op()) != nullptr) continue;
      Missing& m = missing[absl::StrCat(node->op().ToString(), " (opset ", node->op().version, ")")];
      if (m.nodes++ == 0) m.first = node->Describe();
    }
  });
  std::vector<std::string> lines;
  for (const auto& [op, m] : missing) {
    lines.push_back(absl::StrCat(op, ": ", m.nodes, m.nodes == 1 ? " node, " : " nodes, first ", m.first));
  }
  return lines;
}

CacheReport Program::Report() const {
  CacheReport report = primitives_->report();
  report.weights = weights_->stats();
  report.weight_bytes = static_cast<int64_t>(weights_->bytes());
  for (const auto& plan : root_->plans()) report.arena_bytes += static_cast<int64_t>(plan->statistics.arena_bytes);
  return report;
}

absl::Status Program::Rewrite(const ProgramOptions& options) {
  RewriteContext context;
  context.infer = [](Node& node) { return InferNode(node); };
  context.evaluate = [this](const Node& node, absl::Span<const Tensor> inputs) {
    return EvaluateNode(node, inputs, resources_);
  };
  context.weight_bits = options.weight_bits;
  context.fold_budget_bytes = graph_->ConstantBytes() + (size_t{1} << 20);
  RONDO_ASSIGN_OR_RETURN(rewrites_, ApplyRewrites(*graph_, context, options.disabled_rewrites));
  // Rewrites may have made more shapes known; the types of all values are final from here on.
  RONDO_RETURN_IF_ERROR(InferGraph(*graph_));
  if (!options.transform) return absl::OkStatus();
  // A transform looks at small values, masks and positions: a graph that makes others of them is not for it.
  constexpr uint64_t kMaxProbedBytes = uint64_t{64} << 20;
  ProgramResources bounded = resources_;
  bounded.max_tensor_bytes = std::min(bounded.max_tensor_bytes, kMaxProbedBytes);
  bounded.store = nullptr;  // what is only looked at is not worth keeping
  RewriteContext probing = context;
  probing.evaluate = [&](const Node& node, absl::Span<const Tensor> inputs) {
    return EvaluateNode(node, inputs, bounded);
  };
  RONDO_ASSIGN_OR_RETURN(graph_, options.transform(std::move(graph_), probing));
  RONDO_ASSIGN_OR_RETURN(const std::vector<RewriteReport> again,
                         ApplyRewrites(*graph_, context, options.disabled_rewrites));
  for (size_t i = 0; i < again.size(); ++i) rewrites_[i].fired += again[i].fired;
  return InferGraph(*graph_);
}

absl::StatusOr<std::unique_ptr<Program>> Program::Create(std::unique_ptr<Graph> graph, const ProgramOptions& options) {
  const std::vector<std::string> unsupported = UnsupportedOperators(*graph);
  if (!unsupported.empty()) {
    return Unimplemented("unsupported operators: ", absl::StrJoin(unsupported, "; "));
  }
  std::unique_ptr<Program> program(new Program);
  program->graph_ = std::move(graph);
  ProgramResources& resources = program->resources_;
  resources.threads = options.threads > 0 ? options.threads : AvailableCores();
  resources.plain = options.plain;
  resources.max_plans = options.max_plans;
  resources.max_tensor_bytes = options.max_tensor_bytes;
  resources.max_loop_iterations = options.max_loop_iterations;
  program->primitives_ =
      options.primitives != nullptr ? options.primitives : std::make_shared<PrimitiveCache>(options.cache);
  program->weights_ = std::make_unique<WeightCache>(&program->primitives_->log(), options.weight_store);
  resources.primitives = program->primitives_.get();
  resources.weights = program->weights_.get();
  program->store_ = options.weight_store;
  resources.store = program->store_.get();
  ScopedThreads threads(resources.threads);

  RONDO_RETURN_IF_ERROR(InferGraph(*program->graph_));
  if (!options.plain) RONDO_RETURN_IF_ERROR(program->Rewrite(options));
  program->root_ =
      std::make_unique<RegionExecutable>(RegionOf(*program->graph_), std::vector<Tensor>(), program->resources_);
  return program;
}

}  // namespace rondo
