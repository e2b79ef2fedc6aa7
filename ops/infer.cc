#include "ops/infer.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "ops/registry.h"

namespace rondo {
namespace {

constexpr int64_t kMaxContentElements = 64;

class Context final : public InferContext {
 public:
  Context(const Node& node, const InferInputs& inputs, bool annotate, std::vector<InferredOutput>* outputs)
      : InferContext(node), inputs_(inputs), annotate_(annotate), outputs_(outputs) {}

  const ValueType& input_type(int i) const override { return inputs_.type(i); }
  Tensor constant(int i) const override { return has_input(i) ? inputs_.constant(i) : Tensor(); }
  std::optional<std::vector<Dim>> content(int i) const override {
    if (!has_input(i)) return std::nullopt;
    Tensor tensor = inputs_.constant(i);
    if (!tensor.defined()) return inputs_.content(i);
    if (tensor.size() > kMaxContentElements) return std::nullopt;
    std::vector<Dim> dims;
    dims.reserve(tensor.size());
    for (int64_t k = 0; k < tensor.size(); ++k) {
      switch (tensor.dtype()) {
        case DataType::kInt64:
          dims.emplace_back(tensor.data<int64_t>()[k]);
          break;
        case DataType::kInt32:
          dims.emplace_back(tensor.data<int32_t>()[k]);
          break;
        case DataType::kBool:
          dims.emplace_back(tensor.data<uint8_t>()[k]);
          break;
        default:
          return std::nullopt;
      }
    }
    return dims;
  }
  void SetOutputType(int i, ValueType type) override {
    if (has_output(i)) (*outputs_)[i].type = std::move(type);
  }
  void SetOutputContent(int i, std::vector<Dim> content) override {
    if (has_output(i) && content.size() <= kMaxContentElements) (*outputs_)[i].content = std::move(content);
  }
  absl::StatusOr<std::vector<ValueType>> InferSubgraph(absl::string_view attribute,
                                                       absl::Span<const ValueType> inputs) override {
    Graph* graph = node().subgraph(attribute);
    if (graph == nullptr) return InvalidArgument("required attribute \"", attribute, "\" (a graph) is missing");
    if (inputs.size() != graph->inputs().size()) {
      return InvalidArgument("subgraph \"", attribute, "\": expected ", inputs.size(), " inputs, got ",
                             graph->inputs().size(), " (captures included)");
    }
    absl::StatusOr<std::vector<ValueType>> types = InferBody(*graph, inputs);
    if (types.ok() || annotate_) return types;
    // With these numbers the body cannot run. It may never be asked to (the branch of a merged decoder that is not
    // taken); if it is, it gives this error then. Until then its outputs have the element types found at load.
    std::vector<ValueType> unknown;
    for (const Value* output : graph->outputs()) {
      unknown.push_back(output->type());
      if (unknown.back().is_tensor()) unknown.back().shape = std::nullopt;
    }
    return unknown;
  }

 private:
  // Types of the body's outputs. Annotating, the body's own values get their types; otherwise the graph stays as it is
  // (a shape binding must not write to a graph that other threads read).
  absl::StatusOr<std::vector<ValueType>> InferBody(Graph& body, absl::Span<const ValueType> inputs) const;

  const InferInputs& inputs_;
  const bool annotate_;
  std::vector<InferredOutput>* outputs_;
};

std::string ArityText(const Arity& arity) {
  if (arity.min == arity.max) return absl::StrCat(arity.min);
  if (arity.max == Arity::kMany) return absl::StrCat(arity.min, " or more");
  return absl::StrCat(arity.min, " to ", arity.max);
}

absl::Status CheckArity(absl::string_view what, int count, const Arity& arity) {
  if (count >= arity.min && count <= arity.max) return absl::OkStatus();
  return InvalidArgument("expected ", ArityText(arity), " ", what, ", got ", count);
}

// Made for an error only: it takes longer than to infer most operators.
std::string Prefix(const Node& node) { return absl::StrCat(node.Describe(), ": "); }

// Any other operator would take the captures of its subgraph for inputs.
bool TakesSubgraphs(const Node& node) {
  return node.Is("If") || node.Is("Loop") || node.Is("Scan") || node.Is("SequenceMap") ||
         node.Is("ai.onnx.preview", "FlexAttention");
}

absl::StatusOr<const OpDef*> FindChecked(const Node& node) {
  const OpDef* def = OpRegistry::Get().Find(node.op());
  if (def == nullptr) {
    return Unimplemented("operator ", node.op().ToString(), " (opset ", node.op().version, ") is not supported");
  }
  if (!node.subgraphs().empty() && !TakesSubgraphs(node)) {
    return InvalidArgument("attribute \"", node.subgraphs().begin()->first,
                           "\": unexpected GRAPH, the operator takes none");
  }
  int given = 0;  // trailing absent inputs do not count
  for (int i = 0; i < node.num_formal_inputs(); ++i) {
    if (node.inputs()[i] != nullptr) given = i + 1;
  }
  RONDO_RETURN_IF_ERROR(CheckArity("inputs", given, def->inputs));
  RONDO_RETURN_IF_ERROR(CheckArity("outputs", static_cast<int>(node.outputs().size()), def->outputs));
  for (int i = 0; i < def->inputs.min; ++i) {
    if (node.inputs()[i] == nullptr) return InvalidArgument("input ", i, " is required, but absent");
  }
  return def;
}

absl::StatusOr<std::vector<InferredOutput>> Infer(const Node& node, const InferInputs& inputs, bool annotate) {
  absl::StatusOr<const OpDef*> def = FindChecked(node);
  if (!def.ok()) return Annotate(def.status(), Prefix(node));
  std::vector<InferredOutput> outputs(node.outputs().size());
  Context context(node, inputs, annotate, &outputs);
  if (const absl::Status status = (*def)->infer(context); !status.ok()) return Annotate(status, Prefix(node));
  return outputs;
}

absl::StatusOr<std::vector<ValueType>> Context::InferBody(Graph& body, absl::Span<const ValueType> inputs) const {
  std::vector<ValueType> types;
  if (annotate_) {
    for (size_t i = 0; i < inputs.size(); ++i) body.inputs()[i]->set_type(inputs[i]);
    RONDO_RETURN_IF_ERROR(InferGraph(body));
    for (const Value* output : body.outputs()) types.push_back(output->type());
    return types;
  }
  absl::flat_hash_map<const Value*, InferredOutput> facts;
  for (size_t i = 0; i < inputs.size(); ++i) facts[body.inputs()[i]] = {inputs[i], std::nullopt};
  auto fact_type = [&](const Value* value) -> const ValueType& {
    return value->is_constant() ? value->type() : facts[value].type;
  };
  for (const auto& node : body.nodes()) {
    auto type = [&](int i) -> const ValueType& { return fact_type(node->inputs()[i]); };
    auto constant = [&](int i) { return node->inputs()[i]->constant(); };
    auto content = [&](int i) { return facts[node->inputs()[i]].content; };
    RONDO_ASSIGN_OR_RETURN(std::vector<InferredOutput> outputs, Infer(*node, {type, constant, content}, false));
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (node->outputs()[i] != nullptr) facts[node->outputs()[i]] = std::move(outputs[i]);
    }
  }
  for (const Value* output : body.outputs()) types.push_back(fact_type(output));
  return types;
}

}  // namespace

absl::Status CheckNode(const Node& node) {
  const absl::Status status = FindChecked(node).status();
  return status.ok() ? status : Annotate(status, Prefix(node));
}

absl::StatusOr<std::vector<InferredOutput>> InferNodeWith(const Node& node, const InferInputs& inputs) {
  return Infer(node, inputs, /*annotate=*/false);
}

absl::Status InferNode(Node& node) {
  auto type = [&](int i) -> const ValueType& { return node.inputs()[i]->type(); };
  auto constant = [&](int i) { return node.inputs()[i]->constant(); };
  auto content = [&](int i) { return node.inputs()[i]->content(); };
  RONDO_ASSIGN_OR_RETURN(std::vector<InferredOutput> outputs,
                         Infer(node, {type, constant, content}, /*annotate=*/true));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs()[i] == nullptr) continue;
    node.outputs()[i]->set_type(std::move(outputs[i].type));
    node.outputs()[i]->set_content(std::move(outputs[i].content));
  }
  return absl::OkStatus();
}

absl::Status InferGraph(Graph& graph) {
  for (const auto& node : graph.nodes()) RONDO_RETURN_IF_ERROR(InferNode(*node));
  return absl::OkStatus();
}

}  // namespace rondo
