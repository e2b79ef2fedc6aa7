#include "kvcache/residual.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "graph/status.h"

namespace rondo {
namespace {

// com.microsoft::SkipLayerNormalization and SkipSimplifiedLayerNormalization: the sum before the norm.
constexpr int kSkipSumOutput = 3;

bool IsSkipNorm(const Node& node) {
  return node.Is("com.microsoft", "SkipLayerNormalization") ||
         node.Is("com.microsoft", "SkipSimplifiedLayerNormalization");
}

using ValueSet = absl::flat_hash_set<const Value*>;

bool AnyIn(const std::vector<Value*>& values, const ValueSet& set) {
  return std::any_of(values.begin(), values.end(), [&](const Value* value) { return set.contains(value); });
}

// Tells how large a value is, nothing of what is in it.
bool TellsSize(const Node& node) { return node.Is("Shape") || node.Is("Size"); }

// Values that depend on what the tokens are, not only on how many there are. REQUIRES: sorted.
ValueSet DependingOn(const Graph& graph, const Value* tokens) {
  ValueSet reached = {tokens};
  for (const auto& node : graph.nodes()) {
    if (TellsSize(*node) || !AnyIn(node->inputs(), reached)) continue;
    reached.insert(node->outputs().begin(), node->outputs().end());
  }
  reached.erase(nullptr);
  return reached;
}

ValueSet NeededFor(const Graph& graph, const Value* logits) {
  ValueSet needed = {logits};
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (AnyIn((*node)->outputs(), needed)) needed.insert((*node)->inputs().begin(), (*node)->inputs().end());
  }
  needed.erase(nullptr);
  return needed;
}

// A node that everything flows through.
struct Cut {
  Node* node;
  bool after_attention;  // a cache was read since the last cut
};

class Flow {
 public:
  Flow(const Graph& graph, const DecoderPorts& ports)
      : graph_(graph),
        tokens_(graph.inputs()[ports.tokens]),
        depending_(DependingOn(graph, tokens_)),
        needed_(NeededFor(graph, graph.outputs()[ports.logits])) {
    for (const StatePort& state : ports.states) {
      if (state.output >= 0) past_.insert(graph.inputs()[state.input]);
    }
  }

  std::vector<Cut> Cuts() {
    std::vector<Cut> cuts;
    absl::flat_hash_map<const Value*, int> open;  // values on the way, and how many of their readers are to come
    bool attention = false;
    for (const auto& node : graph_.nodes()) {
      if (std::none_of(node->outputs().begin(), node->outputs().end(), [&](const Value* v) { return OnTheWay(v); })) {
        if (!TellsSize(*node) && AnyIn(node->inputs(), past_)) {
          past_.insert(node->outputs().begin(), node->outputs().end());
          past_.erase(nullptr);
        }
        continue;
      }
      attention |= AnyIn(node->inputs(), past_);
      for (const Value* input : node->inputs()) {
        const auto read = open.find(input);
        if (read != open.end() && --read->second == 0) open.erase(read);
      }
      const bool cut = open.empty();
      for (const Value* output : node->outputs()) {
        if (const int readers = OnTheWay(output) ? ReadersOf(*output) : 0; readers > 0) open[output] = readers;
      }
      if (!cut) continue;
      cuts.push_back({node.get(), attention});
      attention = false;
    }
    return cuts;
  }

  // What of a cut goes on; null where several values do that are not told apart.
  static Value* Carried(Graph& graph, Node& node) {
    if (IsSkipNorm(node)) return SkipSum(graph, node);
    Value* only = nullptr;
    for (Value* output : node.outputs()) {
      if (output == nullptr) continue;
      if (only != nullptr) return nullptr;
      only = output;
    }
    return only;
  }

 private:
  bool OnTheWay(const Value* value) const {
    return value != nullptr && value != tokens_ && depending_.contains(value) && needed_.contains(value);
  }
  int ReadersOf(const Value& value) const {
    const auto& uses = value.uses();
    return static_cast<int>(std::count_if(uses.begin(), uses.end(), [&](const Use& use) {
      const auto& outputs = use.node->outputs();
      return std::any_of(outputs.begin(), outputs.end(), [&](const Value* v) { return OnTheWay(v); });
    }));
  }

  static Value* SkipSum(Graph& graph, Node& node) {
    if (Value* sum = node.output(kSkipSumOutput); sum != nullptr) return sum;
    std::vector<std::string> names(kSkipSumOutput + 1);
    std::vector<Value*> old(kSkipSumOutput + 1);
    for (int i = 0; i < kSkipSumOutput; ++i) {
      old[i] = node.output(i);
      if (old[i] != nullptr) names[i] = old[i]->name() + ".asked";
    }
    names[kSkipSumOutput] = node.name() + ".sum";
    Node* asked = graph.AddNode(node.op(), node.name(), node.inputs(), names);
    for (const auto& [name, attribute] : node.attributes()) asked->set_attribute(name, attribute);
    Value* const sum = asked->output(kSkipSumOutput);
    for (int i = 0; i < kSkipSumOutput; ++i) {
      if (old[i] == nullptr) continue;
      asked->output(i)->set_type(old[i]->type());
      if (i == 0) sum->set_type(old[0]->type());
      graph.ReplaceAllUses(old[i], asked->output(i));
    }
    graph.RemoveNode(&node);
    return sum;
  }

  const Graph& graph_;
  const Value* const tokens_;
  const ValueSet depending_, needed_;
  ValueSet past_;  // the caches, and what is made of them alone
};

// A residual sum by its operator: where no other block shows which of the cuts it is.
bool IsSum(const Node& node) { return node.Is("Add") || IsSkipNorm(node); }

absl::Status NotFound(const Node* node) {
  return Unimplemented("the residual stream was not found in the graph",
                       node == nullptr ? "" : " at " + node->Describe(),
                       ": name values of the file instead of layers (--capture-value)");
}

}  // namespace

absl::StatusOr<std::vector<Value*>> FindResidualStream(Graph& graph, const DecoderPorts& ports) {
  RONDO_RETURN_IF_ERROR(graph.Sort());
  std::vector<std::vector<Node*>> blocks;  // the cuts from a block's attention to the next one's
  for (const Cut& cut : Flow(graph, ports).Cuts()) {
    if (cut.after_attention) blocks.emplace_back();
    if (!blocks.empty()) blocks.back().push_back(cut.node);
  }
  if (blocks.empty()) return NotFound(nullptr);
  // In the last block norm and head follow.
  std::vector<Node*>& last = blocks.back();
  if (blocks.size() > 1) {
    const size_t usual = blocks[blocks.size() - 2].size();
    if (last.size() <= usual) return NotFound(last.front());
    last.resize(usual);
  } else {
    while (!last.empty() && !IsSum(*last.back())) last.pop_back();
    if (last.empty()) return NotFound(nullptr);
  }
  std::vector<Value*> stream;
  for (const std::vector<Node*>& block : blocks) {
    Value* const value = Flow::Carried(graph, *block.back());
    if (value == nullptr) return NotFound(block.back());
    if (!value->type().is_tensor() || !IsFloatingPoint(value->type().dtype)) return NotFound(value->producer());
    stream.push_back(value);
  }
  return stream;
}

}  // namespace rondo
