#include "importer/function_table.h"

#include <algorithm>
#include <limits>

#include "graph/status.h"
#include "importer/attributes.h"
#include "importer/names.h"
#include "importer/proto_compat.h"

namespace rondo {
namespace {

constexpr int64_t kMaxDefaultOpset = 28;
constexpr int64_t kMaxCount = std::numeric_limits<int64_t>::max() / 4;

int64_t SaturatingAdd(int64_t a, int64_t b) { return std::min(a + b, kMaxCount); }

std::string Key(absl::string_view domain, absl::string_view name, absl::string_view overload) {
  domain = NormalizeDomain(domain);
  // Lengths first: names may hold any byte.
  return absl::StrCat(domain.size(), ",", name.size(), ",", domain, name, overload);
}

// Memory that copying a node costs, tensors (which are shared) and subgraphs' nodes not counted.
int64_t PayloadBytes(const onnx::NodeProto& node) {
  const size_t bytes =
      256 + 48 * static_cast<size_t>(node.input_size()) + 256 * static_cast<size_t>(node.output_size());
  int64_t bytes_of_attributes = 0;
  for (const onnx::AttributeProto& attribute : node.attribute())
    bytes_of_attributes += AttributePayloadBytes(attribute);
  return static_cast<int64_t>(bytes) + bytes_of_attributes;
}

}  // namespace

absl::StatusOr<OpsetTable> ReadOpsetImports(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports,
                                            std::vector<std::string>* warnings) {
  OpsetTable table;
  for (const onnx::OperatorSetIdProto& import : imports) {
    const std::string domain(NormalizeDomain(import.domain()));
    const std::string shown = domain.empty() ? "ai.onnx" : Printable(domain);
    const int64_t version = import.version();
    if (domain.empty() && (version < 1 || version > kMaxDefaultOpset)) {
      return Unimplemented("unsupported: ", shown, " opset ", version, " (min 1, max ", kMaxDefaultOpset, ")");
    }
    if (version < 1 || version > std::numeric_limits<int>::max()) {
      return InvalidArgument("opset_import: ", shown, " opset ", version, ", expected 1 or more");
    }
    auto [it, inserted] = table.emplace(domain, version);
    if (inserted) continue;
    if (it->second != version) {
      return InvalidArgument("opset_import: duplicate domain ", shown, " with versions ", it->second, " and ", version);
    }
    warnings->push_back(absl::StrCat("opset_import lists domain ", shown, " twice"));
  }
  return table;
}

absl::Status FunctionTable::Init(onnx::ModelProto* model, const ImportLimits& limits,
                                 std::vector<std::string>* warnings) {
  limits_ = limits;
  for (onnx::FunctionProto& proto : *model->mutable_functions()) {
    auto function = std::make_unique<Function>();
    function->proto = &proto;
    function->label = absl::StrCat(Printable(NormalizeDomain(proto.domain())), "::", Printable(proto.name()));
    const std::string overload = FunctionOverload(proto);
    if (!overload.empty()) absl::StrAppend(&function->label, ":", Printable(overload));
    const std::string where = absl::StrCat("function ", function->label, ": ");
    if (proto.name().empty()) return InvalidArgument(where, "empty name");
    absl::StatusOr<OpsetTable> opsets = ReadOpsetImports(proto.opset_import(), warnings);
    if (!opsets.ok()) return Annotate(opsets.status(), where);
    function->opsets = *std::move(opsets);
    absl::StatusOr<std::vector<onnx::AttributeProto>> defaults = FunctionAttributeDefaults(proto);
    if (!defaults.ok()) return Annotate(defaults.status(), where);
    function->defaults = *std::move(defaults);
    if (!by_key_.emplace(Key(proto.domain(), proto.name(), overload), function.get()).second) {
      return InvalidArgument(where, "duplicate definition");
    }
    functions_.push_back(std::move(function));
  }
  return absl::OkStatus();
}

Function* FunctionTable::Find(const onnx::NodeProto& node) const {
  if (by_key_.empty()) return nullptr;
  auto it = by_key_.find(Key(node.domain(), node.op_type(), NodeOverload(node)));
  return it == by_key_.end() ? nullptr : it->second;
}

absl::Status FunctionTable::Measure(const onnx::GraphProto& graph) {
  for (auto& function : functions_) RONDO_RETURN_IF_ERROR(MeasureFunction(function.get()));
  Cost total;
  RONDO_RETURN_IF_ERROR(AddCost(graph.node(), &total));
  if (total.nodes > limits_.max_nodes) {
    return ResourceExhausted("inlined nodes ", total.nodes >= kMaxCount ? "2^61 or more" : absl::StrCat(total.nodes),
                             " > max_nodes ", limits_.max_nodes);
  }
  if (total.payload_bytes > limits_.max_expanded_bytes) {
    return ResourceExhausted("inlined nodes would take about ", total.payload_bytes, " bytes, limit ",
                             limits_.max_expanded_bytes);
  }
  return absl::OkStatus();
}

absl::Status FunctionTable::MeasureFunction(Function* function) {
  if (function->state == Function::State::kDone) return absl::OkStatus();
  if (function->state == Function::State::kActive) {
    std::string path;
    bool on_cycle = false;
    for (const Function* active : active_) {
      on_cycle |= active == function;
      if (on_cycle) absl::StrAppend(&path, active->label, " -> ");
    }
    return InvalidArgument("recursive function ", path, function->label);
  }
  if (static_cast<int64_t>(active_.size()) >= limits_.max_function_depth) {
    return ResourceExhausted("inlined nodes: functions call each other deeper than ", limits_.max_function_depth,
                             " (at ", function->label, ")");
  }
  function->state = Function::State::kActive;
  active_.push_back(function);
  Cost cost;
  RONDO_RETURN_IF_ERROR(AddCost(function->proto->node(), &cost));
  active_.pop_back();
  function->state = Function::State::kDone;
  function->nodes = cost.nodes;
  function->payload_bytes = cost.payload_bytes;
  function->depth = cost.depth + 1;
  if (function->depth > limits_.max_function_depth) {
    return ResourceExhausted("inlined nodes: functions call each other ", function->depth, " deep, limit ",
                             limits_.max_function_depth, " (at ", function->label, ")");
  }
  return absl::OkStatus();
}

absl::Status FunctionTable::AddCost(const Nodes& nodes, Cost* cost) {
  for (const onnx::NodeProto& node : nodes) {
    cost->nodes = SaturatingAdd(cost->nodes, 1);
    cost->payload_bytes = SaturatingAdd(cost->payload_bytes, PayloadBytes(node));
    if (Function* callee = Find(node)) {
      RONDO_RETURN_IF_ERROR(MeasureFunction(callee));
      cost->nodes = SaturatingAdd(cost->nodes, callee->nodes);
      cost->payload_bytes = SaturatingAdd(cost->payload_bytes, callee->payload_bytes);
      cost->depth = std::max(cost->depth, callee->depth);
      continue;
    }
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) RONDO_RETURN_IF_ERROR(AddCost(attribute.g().node(), cost));
      for (const onnx::GraphProto& graph : attribute.graphs()) RONDO_RETURN_IF_ERROR(AddCost(graph.node(), cost));
    }
  }
  return absl::OkStatus();
}

}  // namespace rondo
