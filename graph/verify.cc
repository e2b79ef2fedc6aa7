#include "graph/verify.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "graph/status.h"

namespace rondo {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  absl::Status Check() {
    for (const auto& value : graph_.values()) owned_.insert(value.get());
    for (const Value* input : graph_.inputs()) RONDO_RETURN_IF_ERROR(Define(input, "graph input"));
    for (const auto& value : graph_.values()) {
      if (!value->is_constant()) continue;
      RONDO_RETURN_IF_ERROR(Define(value.get(), "constant"));
      if (value->producer() != nullptr) return Internal("constant \"", value->name(), "\" has a producer");
      if (value->type().dtype != value->constant().dtype()) {
        return Internal("constant \"", value->name(), "\" is typed ", value->type().ToString());
      }
    }
    for (const auto& node : graph_.nodes()) {
      nodes_.insert(node.get());
      RONDO_RETURN_IF_ERROR(CheckNode(*node));
    }
    for (const Value* output : graph_.outputs()) {
      if (!defined_.contains(output)) return Internal("graph output \"", output->name(), "\" is not defined");
    }
    return CheckUses();
  }

 private:
  absl::Status Define(const Value* value, absl::string_view what) {
    if (!owned_.contains(value)) return Internal(what, " \"", value->name(), "\" belongs to another graph");
    if (!defined_.insert(value).second) return Internal(what, " \"", value->name(), "\" is defined twice");
    return absl::OkStatus();
  }

  absl::Status CheckNode(const Node& node) {
    const int inputs = static_cast<int>(node.inputs().size());
    if (node.num_formal_inputs() > inputs) return Internal(node.Describe(), ": more formal inputs than inputs");
    for (int i = 0; i < inputs; ++i) {
      const Value* input = node.inputs()[i];
      if (input == nullptr) continue;
      if (!defined_.contains(input)) {
        return Internal(node.Describe(), ": input ", i, " \"", input->name(), "\" is used before it is defined");
      }
      ++expected_uses_[input];
    }
    for (int i = 0; i < static_cast<int>(node.outputs().size()); ++i) {
      const Value* output = node.outputs()[i];
      if (output == nullptr) continue;
      RONDO_RETURN_IF_ERROR(Define(output, "output"));
      if (output->producer() != &node || output->producer_index() != i) {
        return Internal(node.Describe(), ": output ", i, " names another producer");
      }
    }
    const int captures = inputs - node.num_formal_inputs();
    if (node.subgraphs().empty() && captures > 0) return Internal(node.Describe(), ": captures without a subgraph");
    for (const auto& [name, subgraph] : node.subgraphs()) {
      if (static_cast<int>(subgraph->inputs().size()) < captures) {
        return Internal(node.Describe(), ": subgraph \"", name, "\" has fewer inputs than captures");
      }
      RONDO_RETURN_IF_ERROR(Annotate(Verify(*subgraph), absl::StrCat(node.Describe(), " ", name, ": ")));
    }
    return absl::OkStatus();
  }

  // As many entries as uses, each of them right and none twice: so every use has its entry. Linear, since a model may
  // read one value a million times.
  absl::Status CheckUses() {
    absl::flat_hash_set<std::pair<const Node*, int>> seen;
    for (const auto& value : graph_.values()) {
      auto it = expected_uses_.find(value.get());
      const size_t expected = it == expected_uses_.end() ? 0 : it->second;
      if (value->uses().size() != expected) {
        return Internal("value \"", value->name(), "\" lists ", value->uses().size(), " uses, has ", expected);
      }
      for (const Use& use : value->uses()) {
        if (!nodes_.contains(use.node) || use.index < 0 || use.index >= static_cast<int>(use.node->inputs().size()) ||
            use.node->inputs()[use.index] != value.get() || !seen.insert({use.node, use.index}).second) {
          return Internal("value \"", value->name(), "\" lists a use that is none");
        }
      }
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  absl::flat_hash_set<const Node*> nodes_;
  absl::flat_hash_set<const Value*> owned_;
  absl::flat_hash_set<const Value*> defined_;
  absl::flat_hash_map<const Value*, size_t> expected_uses_;
};

}  // namespace

absl::Status Verify(const Graph& graph) { return Verifier(graph).Check(); }

}  // namespace rondo
