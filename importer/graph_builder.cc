#include "importer/graph_builder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "graph/declared_type.h"
#include "graph/status.h"
#include "importer/attributes.h"
#include "importer/names.h"
#include "importer/type_reader.h"

namespace rondo {
namespace {

// Names that inlining multiplies are cut to this, so that a long name cannot be copied a million times.
constexpr size_t kMaxInlinedName = 128;
constexpr size_t kMaxWarnings = 100;

// What messages call a node; exporters leave many unnamed.
absl::string_view LabelOf(const onnx::NodeProto& proto) {
  if (!proto.name().empty()) return proto.name();
  for (const std::string& output : proto.output()) {
    if (!output.empty()) return output;
  }
  return "";
}

std::string Describe(const onnx::NodeProto& proto) {
  const absl::string_view domain = NormalizeDomain(proto.domain());
  return absl::StrCat("node ", Quote(LabelOf(proto)), " (", Printable(domain),
                      domain.empty() ? "" : "::", Printable(proto.op_type()), ")");
}

// The subgraphs of a node as (attribute name, graph).
template <typename Visit>
absl::Status ForEachSubgraph(const onnx::NodeProto& proto, const Visit& visit) {
  for (const onnx::AttributeProto& attribute : proto.attribute()) {
    if (attribute.has_g()) RONDO_RETURN_IF_ERROR(visit(attribute.g()));
  }
  return absl::OkStatus();
}

absl::Status CheckDeclared(const ValueType& declared, const Tensor& tensor) {
  return CheckDeclaredType(declared, "the tensor is",
                           ValueType::Tensor(tensor.dtype(), Shape::FromDims(tensor.dims())));
}

}  // namespace

void GraphBuilder::Warn(std::string text) {
  if (warnings_->size() < kMaxWarnings && warned_.insert(text).second) warnings_->push_back(std::move(text));
}

std::string GraphBuilder::NameIn(const Frame& frame, absl::string_view name) {
  if (frame.function == nullptr) return std::string(name);
  if (name.size() <= kMaxInlinedName) return absl::StrCat(frame.prefix, name);
  return absl::StrCat(frame.prefix, name.substr(0, kMaxInlinedName), "~", next_id_++);
}

// ---- Analysis ----

absl::StatusOr<const GraphBuilder::BodyInfo*> GraphBuilder::AnalyzeGraph(const onnx::GraphProto& proto) {
  Body body{&proto.node(), {}, {}};
  for (const auto& input : proto.input()) body.definitions.push_back(input.name());
  for (const auto& tensor : proto.initializer()) body.definitions.push_back(tensor.name());
  for (const auto& tensor : proto.sparse_initializer()) body.definitions.push_back(tensor.values().name());
  for (const auto& output : proto.output()) body.outputs.push_back(output.name());
  return Analyze(body);
}

absl::StatusOr<const GraphBuilder::BodyInfo*> GraphBuilder::Analyze(const Body& body) {
  auto it = bodies_.find(body.nodes);
  if (it != bodies_.end()) return it->second.get();
  const Nodes& nodes = *body.nodes;

  absl::flat_hash_set<absl::string_view> outside(body.definitions.begin(), body.definitions.end());
  absl::flat_hash_map<absl::string_view, int> producers;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].output()) {
      if (output.empty()) continue;
      if (outside.contains(output)) {
        return InvalidArgument(Describe(nodes[i]), ": duplicate definition of ", Quote(output),
                               ", which is an input or initializer of the same graph");
      }
      auto [producer, inserted] = producers.emplace(output, i);
      if (!inserted) {
        return InvalidArgument(Describe(nodes[i]), ": duplicate definition of ", Quote(output),
                               ", which is also an output of ", Describe(nodes[producer->second]));
      }
    }
  }

  // What each node reads, through its subgraphs too.
  std::vector<std::vector<absl::string_view>> reads(nodes.size());
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string& input : nodes[i].input()) {
      if (!input.empty()) reads[i].push_back(input);
    }
    RONDO_RETURN_IF_ERROR(ForEachSubgraph(nodes[i], [&](const onnx::GraphProto& graph) -> absl::Status {
      RONDO_ASSIGN_OR_RETURN(const BodyInfo* inner, AnalyzeGraph(graph));
      reads[i].insert(reads[i].end(), inner->free_names.begin(), inner->free_names.end());
      return absl::OkStatus();
    }));
  }

  auto info = std::make_unique<BodyInfo>();
  auto add_free = [&](absl::string_view name) {
    if (outside.contains(name) || producers.contains(name)) return;
    if (info->free_set.insert(name).second) info->free_names.push_back(name);
  };
  for (const auto& names : reads) {
    for (absl::string_view name : names) add_free(name);
  }
  for (absl::string_view name : body.outputs) add_free(name);
  RONDO_RETURN_IF_ERROR(OrderNodes(nodes, producers, reads, info.get()));
  return (bodies_[body.nodes] = std::move(info)).get();
}

// Depth first in file order, with an explicit stack: an ordered file stays as it is.
absl::Status GraphBuilder::OrderNodes(const Nodes& nodes, const absl::flat_hash_map<absl::string_view, int>& producers,
                                      const std::vector<std::vector<absl::string_view>>& reads, BodyInfo* info) const {
  enum : uint8_t { kNew, kActive, kDone };
  std::vector<uint8_t> state(nodes.size(), kNew);
  struct Step {
    int node;
    size_t next_read;
  };
  std::vector<Step> stack;
  info->order.reserve(nodes.size());
  for (int root = 0; root < nodes.size(); ++root) {
    if (state[root] != kNew) continue;
    state[root] = kActive;
    stack.push_back({root, 0});
    while (!stack.empty()) {
      Step& step = stack.back();
      if (step.next_read == reads[step.node].size()) {
        state[step.node] = kDone;
        info->order.push_back(step.node);
        stack.pop_back();
        continue;
      }
      auto producer = producers.find(reads[step.node][step.next_read++]);
      if (producer == producers.end() || state[producer->second] == kDone) continue;
      if (state[producer->second] == kNew) {
        state[producer->second] = kActive;
        stack.push_back({producer->second, 0});
        continue;
      }
      size_t first = stack.size();
      while (stack[--first].node != producer->second) {
      }
      std::vector<std::string> names;
      constexpr size_t kMaxShown = 5;
      for (size_t i = stack.size(); i > first && names.size() < kMaxShown; --i) {
        names.push_back(Describe(nodes[stack[i - 1].node]));
      }
      const size_t length = stack.size() - first;
      return InvalidArgument("cycle through nodes ", absl::StrJoin(names, ", "),
                             length > kMaxShown ? absl::StrCat(" and ", length - kMaxShown, " more") : "");
    }
  }
  return absl::OkStatus();
}

// ---- Names ----

bool GraphBuilder::Find(const Scope* scope, absl::string_view name, Value** value) {
  for (; scope != nullptr; scope = scope->parent) {
    auto it = scope->names.find(name);
    if (it == scope->names.end()) continue;
    *value = it->second;
    return true;
  }
  return false;
}

bool GraphBuilder::Lookup(Scope* scope, absl::string_view name, Value** value) {
  auto it = scope->names.find(name);
  if (it != scope->names.end()) {
    *value = it->second;
    return true;
  }
  if (!Find(scope->parent, name, value)) return false;
  // Values from outside were captured before the body was built; what is left are constants and absent inputs.
  if (*value != nullptr) {
    if (!(*value)->is_constant()) return false;
    *value = scope->graph->AddConstant((*value)->name().substr(0, kMaxInlinedName), (*value)->constant());
  }
  scope->names[name] = *value;
  return true;
}

absl::StatusOr<std::vector<Value*>> GraphBuilder::ResolveInputs(const onnx::NodeProto& proto, Scope* scope) {
  std::vector<Value*> inputs;
  inputs.reserve(proto.input_size());
  for (int i = 0; i < proto.input_size(); ++i) {
    Value* value = nullptr;
    if (!proto.input(i).empty() && !Lookup(scope, proto.input(i), &value)) {
      return InvalidArgument(Describe(proto), ": input ", i, " ", Quote(proto.input(i)), " is undefined");
    }
    inputs.push_back(value);
  }
  return inputs;
}

// ---- Graphs ----

absl::StatusOr<std::unique_ptr<Graph>> GraphBuilder::Build(onnx::GraphProto* proto) {
  auto graph = std::make_unique<Graph>();
  graph->name = proto->name();
  Scope scope;
  scope.graph = graph.get();
  const Frame frame;
  RONDO_RETURN_IF_ERROR(AddInitializers(proto, &scope, frame));
  RONDO_RETURN_IF_ERROR(AddModelInputs(*proto, &scope));
  RONDO_ASSIGN_OR_RETURN(const BodyInfo* info, AnalyzeGraph(*proto));
  RONDO_RETURN_IF_ERROR(BuildNodes(proto->mutable_node(), *info, &scope, frame));
  RONDO_RETURN_IF_ERROR(AddModelOutputs(*proto, &scope));
  RONDO_RETURN_IF_ERROR(ApplyDeclaredTypes(*proto, &scope));
  return graph;
}

absl::Status GraphBuilder::AddInitializers(onnx::GraphProto* proto, Scope* scope, const Frame& frame) {
  // `name` belongs to the message: the scope keeps views of it.
  auto add = [&](const std::string& name, const absl::StatusOr<Tensor>& tensor) {
    if (name.empty()) return InvalidArgument("initializer without a name");
    const std::string where = absl::StrCat("initializer ", Quote(name), ": ");
    if (!tensor.ok()) return Annotate(tensor.status(), where);
    if (scope->names.contains(name)) {
      return InvalidArgument(where, "duplicate definition of ", Quote(name));
    }
    scope->names[name] = scope->graph->AddConstant(NameIn(frame, name), *tensor);
    return absl::OkStatus();
  };
  for (onnx::TensorProto& tensor : *proto->mutable_initializer()) {
    RONDO_RETURN_IF_ERROR(add(tensor.name(), tensors_->Read(&tensor)));
  }
  for (onnx::SparseTensorProto& sparse : *proto->mutable_sparse_initializer()) {
    RONDO_RETURN_IF_ERROR(add(sparse.values().name(), tensors_->ReadSparse(&sparse)));
  }
  return absl::OkStatus();
}

absl::Status GraphBuilder::AddModelInputs(const onnx::GraphProto& proto, Scope* scope) {
  absl::flat_hash_set<absl::string_view> seen;
  for (const onnx::ValueInfoProto& input : proto.input()) {
    const std::string where = absl::StrCat("graph input ", Quote(input.name()), ": ");
    if (input.name().empty()) return InvalidArgument("graph input without a name");
    if (!seen.insert(input.name()).second) {
      return InvalidArgument(where, "duplicate definition of ", Quote(input.name()));
    }
    absl::StatusOr<ValueType> type = ReadType(input.type(), limits_);
    if (!type.ok()) return Annotate(type.status(), where);
    auto initializer = scope->names.find(input.name());
    if (initializer != scope->names.end()) {
      absl::Status fits = CheckDeclared(*type, initializer->second->constant());
      if (!fits.ok()) return Annotate(fits, absl::StrCat("initializer ", Quote(input.name()), ": "));
      overridable_inputs_.push_back(input.name());
      continue;
    }
    if (type->kind == ValueType::Kind::kUnknown) return InvalidArgument(where, "has no type");
    if (type->is_tensor() && type->dtype == DataType::kUndefined) return InvalidArgument(where, "unknown data type 0");
    scope->names[input.name()] = scope->graph->AddInput(input.name(), *std::move(type));
  }
  return absl::OkStatus();
}

absl::Status GraphBuilder::AddModelOutputs(const onnx::GraphProto& proto, Scope* scope) {
  if (proto.output_size() == 0) return InvalidArgument("the graph has no outputs");
  for (int i = 0; i < proto.output_size(); ++i) {
    const std::string& name = proto.output(i).name();
    const std::string where = absl::StrCat("graph output ", i, " ", Quote(name));
    Value* value = nullptr;
    if (name.empty() || !Lookup(scope, name, &value) || value == nullptr) {
      return InvalidArgument(where, " is undefined: nothing produces it");
    }
    absl::StatusOr<ValueType> declared = ReadType(proto.output(i).type(), limits_);
    if (!declared.ok()) return Annotate(declared.status(), absl::StrCat(where, ": "));
    declared_outputs_.push_back(*std::move(declared));
    // A function that returns its argument, or one value twice, gives one value two names.
    if (value->name() != name) {
      auto version = opsets_->find("");
      OpId identity{"", "Identity", version == opsets_->end() ? 1 : static_cast<int>(version->second)};
      value = scope->graph->AddNode(std::move(identity), name, {value}, std::vector<std::string>{name})->output(0);
      scope->names[name] = value;
    }
    scope->graph->AddOutput(value);
  }
  return absl::OkStatus();
}

absl::Status GraphBuilder::ApplyDeclaredTypes(const onnx::GraphProto& proto, Scope* scope) {
  absl::flat_hash_set<absl::string_view> initializers;
  for (const auto& tensor : proto.initializer()) initializers.insert(tensor.name());
  for (const auto& tensor : proto.sparse_initializer()) initializers.insert(tensor.values().name());
  auto apply = [&](const onnx::ValueInfoProto& declaration, absl::string_view kind) {
    const std::string where = absl::StrCat(kind, " ", Quote(declaration.name()), ": ");
    absl::StatusOr<ValueType> type = ReadType(declaration.type(), limits_);
    if (!type.ok()) return Annotate(type.status(), where);
    auto it = scope->names.find(declaration.name());
    if (it == scope->names.end() || it->second == nullptr) return absl::OkStatus();
    Value* value = it->second;
    if (value->is_constant() && initializers.contains(declaration.name())) {
      return Annotate(CheckDeclared(*type, value->constant()), where);
    }
    if (value->producer() != nullptr) value->set_type(*std::move(type));
    return absl::OkStatus();
  };
  for (const auto& declaration : proto.value_info()) RONDO_RETURN_IF_ERROR(apply(declaration, "value_info"));
  for (const auto& declaration : proto.output()) RONDO_RETURN_IF_ERROR(apply(declaration, "graph output"));
  return absl::OkStatus();
}

// ---- Nodes ----

absl::Status GraphBuilder::BuildNodes(Nodes* nodes, const BodyInfo& info, Scope* scope, const Frame& frame) {
  for (int i : info.order) RONDO_RETURN_IF_ERROR(BuildNode(nodes->Mutable(i), scope, frame));
  return absl::OkStatus();
}

absl::StatusOr<int> GraphBuilder::OpsetVersion(const onnx::NodeProto& proto, const Frame& frame) {
  const std::string domain(NormalizeDomain(proto.domain()));
  if (frame.function != nullptr) {
    auto own = frame.function->opsets.find(domain);
    if (own != frame.function->opsets.end()) return static_cast<int>(own->second);
  }
  auto it = opsets_->find(domain);
  if (it != opsets_->end()) return static_cast<int>(it->second);
  if (domain.empty()) return InvalidArgument(Describe(proto), ": no opset_import for the default domain ai.onnx");
  Warn(absl::StrCat("no opset_import for domain ", Quote(domain), "; version 1 is assumed"));
  return 1;
}

absl::StatusOr<onnx::AttributeProto*> GraphBuilder::Resolve(onnx::AttributeProto* proto, const Frame& frame) {
  if (proto->ref_attr_name().empty()) return proto;
  const std::string& name = proto->ref_attr_name();
  if (frame.function == nullptr) {
    return InvalidArgument("refers to ", Quote(name), " (ref_attr_name), but is in no function");
  }
  auto it = frame.attributes.find(name);
  if (it == frame.attributes.end()) {
    const auto& declared = frame.function->proto->attribute();
    if (std::find(declared.begin(), declared.end(), name) != declared.end()) return nullptr;
    return InvalidArgument("refers to ", Quote(name), ", which is no attribute of function ", frame.function->label);
  }
  RONDO_ASSIGN_OR_RETURN(const auto type, CheckAttribute(*it->second));
  if (proto->type() != onnx::AttributeProto::UNDEFINED && proto->type() != type) {
    return InvalidArgument("refers to ", Quote(name), ": expected ",
                           onnx::AttributeProto::AttributeType_Name(proto->type()), ", got ",
                           onnx::AttributeProto::AttributeType_Name(type));
  }
  copied_attribute_bytes_ += AttributePayloadBytes(*it->second);
  if (copied_attribute_bytes_ > limits_.max_expanded_bytes) {
    return ResourceExhausted("attributes of inlined functions take more than ", limits_.max_expanded_bytes, " bytes");
  }
  return it->second;
}

absl::Status GraphBuilder::BuildNode(onnx::NodeProto* proto, Scope* scope, const Frame& frame) {
  if (proto->op_type().empty()) return InvalidArgument(Describe(*proto), ": empty op_type");
  if (Function* function = functions_->Find(*proto)) return BuildCall(proto, function, scope, frame);
  const absl::string_view domain = NormalizeDomain(proto->domain());
  if (domain == kRondoDomain) {
    return Unimplemented(Describe(*proto), ": domain \"", kRondoDomain, "\" is internal and not allowed in a file");
  }
  if (domain.empty() && proto->op_type() == "Constant") return BuildConstant(proto, scope, frame);

  RONDO_ASSIGN_OR_RETURN(const std::vector<Value*> inputs, ResolveInputs(*proto, scope));
  RONDO_ASSIGN_OR_RETURN(const int version, OpsetVersion(*proto, frame));
  std::vector<std::string> output_names;
  for (const std::string& output : proto->output()) {
    output_names.push_back(output.empty() ? "" : NameIn(frame, output));
  }
  Node* node = scope->graph->AddNode(OpId{std::string(domain), proto->op_type(), version},
                                     NameIn(frame, LabelOf(*proto)), inputs, output_names);
  for (int i = 0; i < proto->output_size(); ++i) {
    if (!proto->output(i).empty()) scope->names[proto->output(i)] = node->output(i);
  }

  absl::flat_hash_set<absl::string_view> seen;
  std::vector<Subgraph> subgraphs;
  for (onnx::AttributeProto& attribute : *proto->mutable_attribute()) {
    auto where = [&] { return absl::StrCat(Describe(*proto), ": attribute ", Quote(attribute.name()), ": "); };
    if (attribute.name().empty()) return InvalidArgument(where(), "empty name");
    if (!seen.insert(attribute.name()).second) return InvalidArgument(where(), "duplicate attribute");
    absl::StatusOr<onnx::AttributeProto*> resolved = Resolve(&attribute, frame);
    if (!resolved.ok()) return Annotate(resolved.status(), where());
    if (*resolved == nullptr) continue;
    auto type = CheckAttribute(**resolved);
    if (!type.ok()) return Annotate(type.status(), where());
    if (*type == onnx::AttributeProto::GRAPH) {
      if (*resolved != &attribute) return Unimplemented(where(), "a graph as an attribute of a function");
      subgraphs.push_back({attribute.name(), (*resolved)->mutable_g()});
      continue;
    }
    absl::StatusOr<Attribute> value = ReadAttribute(*resolved, tensors_, limits_);
    if (!value.ok()) return Annotate(value.status(), where());
    node->set_attribute(attribute.name(), *std::move(value));
  }
  if (subgraphs.empty()) return absl::OkStatus();
  return BuildSubgraphs(node, std::move(subgraphs), scope, frame);
}

absl::Status GraphBuilder::BuildConstant(onnx::NodeProto* proto, Scope* scope, const Frame& frame) {
  if (proto->input_size() != 0) {
    return InvalidArgument(Describe(*proto), ": ", proto->input_size(), " inputs, expected 0");
  }
  if (proto->output_size() != 1 || proto->output(0).empty()) {
    return InvalidArgument(Describe(*proto), ": ", proto->output_size(), " outputs, expected 1 with a name");
  }
  int values = 0;
  Tensor tensor;
  for (onnx::AttributeProto& attribute : *proto->mutable_attribute()) {
    auto where = [&] { return absl::StrCat(Describe(*proto), ": attribute ", Quote(attribute.name()), ": "); };
    absl::StatusOr<onnx::AttributeProto*> resolved = Resolve(&attribute, frame);
    if (!resolved.ok()) return Annotate(resolved.status(), where());
    if (*resolved == nullptr) continue;
    ++values;
    if (values > 1) continue;
    auto known = constants_.find(*resolved);
    if (known == constants_.end()) {
      absl::StatusOr<Tensor> read = ReadConstantAttribute(attribute.name(), *resolved, tensors_);
      if (!read.ok()) return Annotate(read.status(), where());
      known = constants_.emplace(*resolved, *std::move(read)).first;
    }
    tensor = known->second;
  }
  if (values != 1) {
    return InvalidArgument(Describe(*proto), ": ", values, " value attributes, expected exactly 1");
  }
  scope->names[proto->output(0)] = scope->graph->AddConstant(NameIn(frame, proto->output(0)), std::move(tensor));
  return absl::OkStatus();
}

absl::Status GraphBuilder::BuildCall(onnx::NodeProto* proto, Function* function, Scope* scope, const Frame& frame) {
  const onnx::FunctionProto& definition = *function->proto;
  if (proto->input_size() > definition.input_size()) {
    return InvalidArgument(Describe(*proto), ": function takes ", definition.input_size(), " inputs, got ",
                           proto->input_size());
  }
  if (proto->output_size() > definition.output_size()) {
    return InvalidArgument(Describe(*proto), ": function has ", definition.output_size(), " outputs, ",
                           proto->output_size(), " are asked for");
  }

  Frame inner;
  inner.function = function;
  const std::string label(LabelOf(*proto).substr(0, kMaxInlinedName));
  // Deep call paths would make names grow with their depth.
  inner.prefix = frame.prefix.size() > kMaxInlinedName ? absl::StrCat("~", next_id_++, "/")
                                                       : absl::StrCat(frame.prefix, label, "/");
  if (!prefixes_.insert(inner.prefix).second) {
    inner.prefix.back() = '~';
    absl::StrAppend(&inner.prefix, next_id_++, "/");
  }

  absl::flat_hash_set<absl::string_view> seen;
  for (onnx::AttributeProto& attribute : *proto->mutable_attribute()) {
    auto where = [&] { return absl::StrCat(Describe(*proto), ": attribute ", Quote(attribute.name()), ": "); };
    if (!seen.insert(attribute.name()).second) return InvalidArgument(where(), "duplicate attribute");
    absl::StatusOr<onnx::AttributeProto*> resolved = Resolve(&attribute, frame);
    if (!resolved.ok()) return Annotate(resolved.status(), where());
    if (*resolved == nullptr) continue;
    auto type = CheckAttribute(**resolved);
    if (!type.ok()) return Annotate(type.status(), where());
    if (*type == onnx::AttributeProto::GRAPH || *type == onnx::AttributeProto::GRAPHS) {
      return Unimplemented(where(), "a graph as an argument of a function");
    }
    inner.attributes[attribute.name()] = *resolved;
  }
  for (onnx::AttributeProto& attribute : function->defaults) inner.attributes.emplace(attribute.name(), &attribute);

  RONDO_ASSIGN_OR_RETURN(std::vector<Value*> arguments, ResolveInputs(*proto, scope));
  arguments.resize(definition.input_size(), nullptr);
  Scope body;
  body.graph = scope->graph;
  body.depth = scope->depth;
  for (int i = 0; i < definition.input_size(); ++i) {
    if (!body.names.emplace(definition.input(i), arguments[i]).second) {
      return InvalidArgument("function ", function->label, ": duplicate definition of input ",
                             Quote(definition.input(i)));
    }
  }
  absl::StatusOr<const BodyInfo*> info =
      Analyze({&definition.node(), {definition.input().begin(), definition.input().end()}, {}});
  if (!info.ok()) return Annotate(info.status(), absl::StrCat("function ", function->label, ": "));
  absl::Status built = BuildNodes(function->proto->mutable_node(), **info, &body, inner);
  if (!built.ok()) {
    // Named once: the innermost function is the one that holds the node.
    const bool named = absl::StartsWith(built.message(), "function ");
    return named ? built : Annotate(built, absl::StrCat("function ", function->label, ": "));
  }

  absl::flat_hash_set<const Value*> named(arguments.begin(), arguments.end());
  for (int i = 0; i < proto->output_size(); ++i) {
    if (proto->output(i).empty()) continue;
    auto result = body.names.find(definition.output(i));
    if (result == body.names.end()) {
      return InvalidArgument("function ", function->label, ": output ", i, " ", Quote(definition.output(i)),
                             " is undefined");
    }
    Value* value = result->second;
    scope->names[proto->output(i)] = value;
    if (value != nullptr && named.insert(value).second) value->set_name(NameIn(frame, proto->output(i)));
  }
  return absl::OkStatus();
}

// ---- Subgraphs ----

absl::Status GraphBuilder::BuildSubgraphs(Node* node, std::vector<Subgraph> subgraphs, Scope* scope,
                                          const Frame& frame) {
  if (scope->depth >= limits_.max_subgraph_depth) {
    return ResourceExhausted(node->Describe(), ": nesting: subgraphs deeper than ", limits_.max_subgraph_depth);
  }
  // The bodies exist with their formal inputs, then get one input per capture, then their nodes.
  std::vector<const BodyInfo*> infos;
  for (Subgraph& subgraph : subgraphs) {
    RONDO_ASSIGN_OR_RETURN(const BodyInfo* info, AnalyzeGraph(*subgraph.proto));
    infos.push_back(info);
    auto graph = std::make_unique<Graph>();
    graph->name = subgraph.proto->name().substr(0, kMaxInlinedName);
    for (const onnx::ValueInfoProto& input : subgraph.proto->input()) {
      absl::StatusOr<ValueType> type = ReadType(input.type(), limits_);
      if (!type.ok()) {
        return Annotate(type.status(), absl::StrCat(node->Describe(), ": input ", Quote(input.name()), " of ",
                                                    Printable(subgraph.name), ": "));
      }
      graph->AddInput(NameIn(frame, input.name()), *std::move(type));
    }
    subgraph.graph = graph.get();
    scope->graph->SetSubgraph(node, subgraph.name, std::move(graph));
  }

  absl::flat_hash_map<const Value*, int> captures;  // -> index among the captures
  for (const BodyInfo* info : infos) {
    for (absl::string_view name : info->free_names) {
      Value* value = nullptr;
      if (!Find(scope, name, &value) || value == nullptr || value->is_constant()) continue;
      if (!captures.emplace(value, static_cast<int>(captures.size())).second) continue;
      scope->graph->AddCapture(node, value);
      for (Subgraph& subgraph : subgraphs) {
        Value* inner = subgraph.graph->inputs().back();
        if (inner->name().size() > kMaxInlinedName) inner->set_name(inner->name().substr(0, kMaxInlinedName));
      }
    }
  }
  for (size_t i = 0; i < subgraphs.size(); ++i) {
    const Subgraph& subgraph = subgraphs[i];
    Scope body;
    body.graph = subgraph.graph;
    body.parent = scope;
    body.depth = scope->depth + 1;
    const std::vector<Value*>& inputs = subgraph.graph->inputs();
    const int formal = subgraph.proto->input_size();
    for (int k = 0; k < formal; ++k) {
      if (!body.names.emplace(subgraph.proto->input(k).name(), inputs[k]).second) {
        return InvalidArgument(node->Describe(), ": duplicate input ", Quote(subgraph.proto->input(k).name()), " of ",
                               Printable(subgraph.name));
      }
    }
    for (absl::string_view name : infos[i]->free_names) {
      Value* value = nullptr;
      if (!Find(scope, name, &value)) continue;
      auto capture = captures.find(value);
      if (capture != captures.end()) body.names[name] = inputs[formal + capture->second];
    }
    RONDO_RETURN_IF_ERROR(BuildSubgraph(subgraph, *infos[i], node->Describe(), &body, frame));
  }
  return absl::OkStatus();
}

absl::Status GraphBuilder::BuildSubgraph(const Subgraph& subgraph, const BodyInfo& info, absl::string_view owner,
                                         Scope* scope, const Frame& frame) {
  RONDO_RETURN_IF_ERROR(AddInitializers(subgraph.proto, scope, frame));
  RONDO_RETURN_IF_ERROR(BuildNodes(subgraph.proto->mutable_node(), info, scope, frame));
  for (int i = 0; i < subgraph.proto->output_size(); ++i) {
    const std::string& name = subgraph.proto->output(i).name();
    Value* value = nullptr;
    if (name.empty() || !Lookup(scope, name, &value) || value == nullptr) {
      return InvalidArgument(owner, ": output ", i, " ", Quote(name), " of ", Printable(subgraph.name),
                             " is undefined: nothing produces it");
    }
    subgraph.graph->AddOutput(value);
  }
  return ApplyDeclaredTypes(*subgraph.proto, scope);
}

}  // namespace rondo
