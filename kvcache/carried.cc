#include "kvcache/carried.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "kvcache/update.h"

namespace rondo {
namespace {

// Where a node's body has its carried values.
struct CarriedPorts {
  int count = 0, first_input = 0, first_output = 0;
};

CarriedPorts PortsOf(const Node& node, const Graph& body) {
  CarriedPorts ports;
  if (node.Is("Loop")) {
    ports = {node.num_formal_inputs() - 2, 2, 1};
  } else if (node.Is("Scan")) {
    const int first = node.op().version < 9 ? 1 : 0;  // sequence_lens
    ports = {node.num_formal_inputs() - first - static_cast<int>(node.IntOr("num_scan_inputs", 0)), 0, 0};
  }
  const int room = std::min(static_cast<int>(body.inputs().size()) - ports.first_input,
                            static_cast<int>(body.outputs().size()) - ports.first_output);
  ports.count = std::clamp(ports.count, 0, std::max(room, 0));
  return ports;
}

const Value* BeforeIdentities(const Value* value) {
  while (value->producer() != nullptr && value->producer()->Is("Identity")) value = value->producer()->input(0);
  return value;
}

// Why the update cannot write over the cache; empty when it can.
std::string WhyCopied(const Graph& body, const CacheUpdate& update, int slot_of_cache, const Value* carried_out) {
  switch (update.form) {
    case KvForm::kConcat:
      return "Concat makes a new, longer cache in every turn";
    case KvForm::kTensorScatter:
    case KvForm::kScatterND:
    case KvForm::kScatterElements:
      break;
    default:
      return absl::StrCat(KvFormName(update.form), " makes a new cache in every turn");
  }
  if (BeforeIdentities(update.node->input(slot_of_cache)) != update.state) {
    return "the cache is transposed or taken apart before its update";
  }
  if (BeforeIdentities(carried_out) != update.result) return "the updated cache is changed before the next turn";
  if (update.state->is_graph_output()) return "the old cache is an output of the body too";
  absl::flat_hash_map<const Node*, int> order;
  for (const auto& node : body.nodes()) order.emplace(node.get(), static_cast<int>(order.size()));
  for (const Use& use : update.state->uses()) {
    // A Shape reads no element and is gone once shapes are bound.
    if (use.node->Is("Shape") || (use.node == update.node && use.index == slot_of_cache)) continue;
    if (order.at(use.node) >= order.at(update.node)) {
      return absl::StrCat("the old cache is read after its update, by ", use.node->Describe());
    }
  }
  return "";
}

void FindIn(const Node& node, const Graph& body, std::vector<CarriedCache>* found) {
  const CarriedPorts ports = PortsOf(node, body);
  for (int i = 0; i < ports.count; ++i) {
    const Value* input = body.inputs()[ports.first_input + i];
    if (!input->type().is_tensor() || !input->type().shape.has_value() || input->type().shape->rank() < 3) continue;
    const std::optional<CacheUpdate> update = UpdateOf(input);
    if (!update.has_value()) continue;
    const int output = OutputReachedBy(body, update->result, update->part);
    if (output < ports.first_output || output >= ports.first_output + ports.count) continue;
    CarriedCache cache;
    cache.node = node.name();
    cache.input = input->name();
    cache.output = body.outputs()[output]->name();
    cache.form = absl::StrCat(node.op().type, "-carried ", KvFormName(update->form));
    cache.shape = input->type().shape->ToString();
    cache.axis = update->state_axis();
    cache.start = update->start == nullptr ? "length" : SourcesOf(update->start);
    cache.why = WhyCopied(body, *update, update->slot, body.outputs()[output]);
    cache.in_place = cache.why.empty();
    found->push_back(std::move(cache));
  }
}

}  // namespace

std::vector<CarriedCache> FindCarriedCaches(const Graph& graph) {
  std::vector<CarriedCache> found;
  graph.ForEachGraph([&](const Graph& each) {
    for (const auto& node : each.nodes()) {
      const Graph* body = node->subgraph("body");
      if (body != nullptr && (node->Is("Loop") || node->Is("Scan"))) FindIn(*node, *body, &found);
    }
  });
  return found;
}

}  // namespace rondo
