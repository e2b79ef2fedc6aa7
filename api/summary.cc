#include <map>

#include "absl/container/flat_hash_set.h"
#include "api/model_impl.h"

namespace rondo {
namespace {

std::vector<OperatorCount> CountOperators(const Graph& graph) {
  std::map<std::pair<std::string, int64_t>, int64_t> counts;
  graph.ForEachGraph([&](const Graph& g) {
    for (const auto& node : g.nodes()) ++counts[{node->op().ToString(), node->op().version}];
  });
  std::vector<OperatorCount> list;
  for (const auto& [op, count] : counts) list.push_back({op.first, op.second, count});
  return list;
}

// Distinct constant tensors by element type; one shared by several values counts once.
std::vector<ModelSummary::TypeBytes> CountParameters(const Graph& graph) {
  std::map<DataType, ModelSummary::TypeBytes> by_type;
  absl::flat_hash_set<const void*> seen;
  graph.ForEachGraph([&](const Graph& g) {
    for (const auto& value : g.values()) {
      if (!value->is_constant() || !seen.insert(value->constant().raw()).second) continue;
      ModelSummary::TypeBytes& t = by_type[value->constant().dtype()];
      t.parameters += value->constant().size();
      t.bytes += static_cast<int64_t>(value->constant().bytes());
    }
  });
  std::vector<ModelSummary::TypeBytes> list;
  for (auto& [type, t] : by_type) {
    t.dtype = std::string(DataTypeName(type));
    list.push_back(t);
  }
  return list;
}

}  // namespace

ModelSummary SummarizeImport(const std::string& path, const ImportedModel& model) {
  ModelSummary summary;
  summary.path = path;
  summary.producer = model.producer_name;
  if (!model.producer_version.empty()) absl::StrAppend(&summary.producer, " ", model.producer_version);
  summary.ir_version = model.ir_version;
  summary.opsets = model.opset_imports;
  summary.warnings = model.warnings;
  for (const Value* input : model.graph->inputs()) {
    summary.inputs.push_back(MakePortInfo(input->name(), input->type()));
  }
  for (const Value* output : model.graph->outputs()) {
    summary.outputs.push_back(MakePortInfo(output->name(), output->type()));
  }
  summary.operators = CountOperators(*model.graph);
  summary.parameters = CountParameters(*model.graph);
  summary.unsupported = UnsupportedOperators(*model.graph);
  return summary;
}

void SummarizeProgram(const Program& program, ModelSummary* summary) {
  summary->optimized_operators = CountOperators(program.graph());
  for (const RewriteReport& report : program.rewrites()) {
    summary->rewrites.push_back({report.name, report.fired, report.disabled});
  }
}

}  // namespace rondo
