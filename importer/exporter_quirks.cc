#include "importer/exporter_quirks.h"

#include "absl/strings/str_cat.h"

namespace rondo {

void CorrectExporterQuirks(Graph& graph, std::vector<std::string>* warnings) {
  int corrected = 0;
  std::string first;
  graph.ForEachGraph([&](Graph& each) {
    for (const auto& node : each.nodes()) {
      if (!node->Is("TensorScatter") || node->StringOr("mode", "linear") != "none") continue;
      node->set_attribute("mode", std::string("linear"));
      if (corrected++ == 0) first = node->Describe();
    }
  });
  if (corrected == 0) return;
  warnings->push_back(absl::StrCat("TensorScatter has no mode \"none\"; it is taken as \"linear\" (", corrected,
                                   corrected == 1 ? " node, " : " nodes, the first ", first, ")"));
}

}  // namespace rondo
