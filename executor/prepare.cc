#include "executor/prepare.h"

#include <optional>

#include "executor/region.h"
#include "graph/content.h"
#include "graph/operation_text.h"
#include "ops/registry.h"

namespace rondo {
namespace {

class Context final : public PrepareContext {
 public:
  Context(const Node& node, absl::Span<const Fact* const> inputs, absl::Span<const Fact> outputs,
          const ProgramResources& resources)
      : PrepareContext(node), inputs_(inputs), outputs_(outputs), resources_(resources) {}

  const ValueType& input_type(int i) const override { return inputs_[i]->type; }
  const ValueType& output_type(int i) const override { return outputs_[i].type; }
  Tensor constant(int i) const override { return has_input(i) ? inputs_[i]->constant : Tensor(); }
  int threads() const override { return resources_.threads; }
  bool plain() const override { return resources_.plain; }
  int64_t max_loop_iterations() const override { return resources_.max_loop_iterations; }
  uint64_t max_tensor_bytes() const override { return resources_.max_tensor_bytes; }
  PrimitiveCache& primitive_cache() const override { return *resources_.primitives; }
  WeightCache& weight_cache() const override { return *resources_.weights; }
  void RequestScratch(size_t bytes) override { scratch_bytes_ = std::max(scratch_bytes_, bytes); }
  absl::StatusOr<std::unique_ptr<SubgraphRunner>> PrepareSubgraph(absl::string_view attribute) override {
    Graph* graph = node().subgraph(attribute);
    if (graph == nullptr) return InvalidArgument("required attribute \"", attribute, "\" (a graph) is missing");
    return MakeSubgraphRunner(*graph, absl::StrCat(node().name(), ".", attribute), resources_);
  }
  size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  absl::Span<const Fact* const> inputs_;
  absl::Span<const Fact> outputs_;
  const ProgramResources& resources_;
  size_t scratch_bytes_ = 0;
};

absl::Status CheckSize(const Node& node, const ValueType& type, const ProgramResources& resources) {
  if (!type.has_known_shape()) return absl::OkStatus();
  const Dims dims = type.shape->ToDims();
  absl::StatusOr<size_t> bytes = CheckedByteSize(type.dtype, dims);
  if (!bytes.ok()) return Annotate(bytes.status(), absl::StrCat(node.Describe(), ": output: "));
  if (*bytes > resources.max_tensor_bytes) {
    return ResourceExhausted(node.Describe(), ": output ", DimsToString(dims), " needs ", *bytes,
                             " bytes, the limit is ", resources.max_tensor_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Fact>> InferFacts(const Node& node, absl::Span<const Fact* const> inputs,
                                             const ProgramResources& resources) {
  auto type = [&](int i) -> const ValueType& { return inputs[i]->type; };
  auto constant = [&](int i) { return inputs[i]->constant; };
  auto content = [&](int) -> std::optional<std::vector<Dim>> { return std::nullopt; };
  RONDO_ASSIGN_OR_RETURN(std::vector<InferredOutput> inferred, InferNodeWith(node, {type, constant, content}));
  std::vector<Fact> facts(inferred.size());
  for (size_t i = 0; i < inferred.size(); ++i) {
    facts[i].type = std::move(inferred[i].type);
    RONDO_RETURN_IF_ERROR(CheckSize(node, facts[i].type, resources));
    if (inferred[i].content.has_value()) facts[i].constant = TensorFromContent(facts[i].type, *inferred[i].content);
  }
  return facts;
}

absl::StatusOr<PreparedKernel> PrepareNode(const Node& node, absl::Span<const Fact* const> inputs,
                                           absl::Span<const Fact> outputs, const ProgramResources& resources) {
  const OpDef* def = OpRegistry::Get().Find(node.op());
  if (def == nullptr) return Unimplemented(node.Describe(), ": not supported");
  CompileScope scope;
  scope.Node(node.name());
  Context context(node, inputs, outputs, resources);
  absl::StatusOr<std::unique_ptr<Kernel>> kernel = def->prepare(context);
  if (!kernel.ok()) return Annotate(kernel.status(), absl::StrCat(node.Describe(), ": "));
  return PreparedKernel{*std::move(kernel), context.scratch_bytes()};
}

namespace {

absl::StatusOr<std::vector<Tensor>> Compute(const Node& node, const OpDef& def, absl::Span<const Fact* const> inputs,
                                            absl::Span<const Fact> outputs, const ProgramResources& resources) {
  if (def.view) {
    if (!outputs[0].type.has_known_shape()) return Unimplemented(node.Describe(), ": cannot be folded");
    return std::vector<Tensor>{inputs[0]->constant.Reshaped(outputs[0].type.shape->ToDims())};
  }
  std::vector<RuntimeValue> in(inputs.size()), out(outputs.size());
  std::vector<const RuntimeValue*> in_pointers(inputs.size(), nullptr);
  std::vector<RuntimeValue*> out_pointers(outputs.size(), nullptr);
  std::vector<DataType> out_types(outputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    in[i] = inputs[i]->constant;
    in_pointers[i] = &in[i];
  }
  bool any_elements = false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs()[i] == nullptr) continue;
    if (!outputs[i].type.is_tensor()) return Unimplemented(node.Describe(), ": cannot be folded");
    out_types[i] = outputs[i].type.dtype;
    out_pointers[i] = &out[i];
    any_elements |= !outputs[i].type.has_known_shape();
    if (!outputs[i].type.has_known_shape()) continue;
    RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(out_types[i], outputs[i].type.shape->ToDims()));
    any_elements |= tensor.size() > 0;
    out[i] = std::move(tensor);
  }
  if (any_elements) {
    RONDO_ASSIGN_OR_RETURN(PreparedKernel prepared, PrepareNode(node, inputs, outputs, resources));
    Tensor scratch = Tensor::Make(DataType::kUInt8, {static_cast<int64_t>(prepared.scratch_bytes)});
    std::unique_ptr<KernelState> state = prepared.kernel->CreateState();
    RunContext run;
    RunContextBuilder::Set(&run, &node, in_pointers, out_pointers, out_types, scratch.mutable_raw(), state.get());
    RONDO_RETURN_IF_ERROR(Annotate(prepared.kernel->Run(run), absl::StrCat(node.Describe(), ": ")));
  }
  std::vector<Tensor> tensors(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (out_pointers[i] == nullptr) continue;
    if (!out[i].is_tensor()) return Unimplemented(node.Describe(), ": cannot be folded");
    tensors[i] = out[i].tensor();
  }
  return tensors;
}

// Results below this are computed as fast as they are found.
constexpr size_t kMinStoredBytes = size_t{1} << 20;

// As what the store knows the result of a node; nullopt where it is not to be kept.
std::optional<PackedForm> FoldedForm(const Node& node, absl::Span<const Tensor> inputs, absl::Span<const Fact> outputs,
                                     const ProgramResources& resources) {
  for (const Tensor& input : inputs) {
    if (input.dtype() == DataType::kString) return std::nullopt;  // its bytes are addresses
  }
  if (resources.store == nullptr || outputs.size() != 1 || !outputs[0].type.has_known_shape() ||
      outputs[0].type.dtype == DataType::kString) {
    return std::nullopt;
  }
  const Dims dims = outputs[0].type.shape->ToDims();
  const absl::StatusOr<size_t> bytes = CheckedByteSize(outputs[0].type.dtype, dims);
  if (!bytes.ok() || *bytes < kMinStoredBytes) return std::nullopt;
  std::optional<std::string> operation = OperationText(node);
  if (!operation.has_value()) return std::nullopt;
  return PackedForm{absl::StrCat("folded ", *operation), outputs[0].type.dtype, dims};
}

}  // namespace

absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, absl::Span<const Fact* const> inputs,
                                                 absl::Span<const Fact> outputs, const ProgramResources& resources) {
  const OpDef* def = OpRegistry::Get().Find(node.op());
  if (def == nullptr || !def->deterministic || !node.subgraphs().empty()) {
    return Unimplemented(node.Describe(), ": cannot be folded");
  }
  std::vector<Tensor> sources;
  for (const Fact* input : inputs) sources.push_back(input == nullptr ? Tensor() : input->constant);
  const std::optional<PackedForm> form = def->view ? std::nullopt : FoldedForm(node, sources, outputs, resources);
  if (!form.has_value()) return Compute(node, *def, inputs, outputs, resources);
  if (Tensor found = resources.store->Find(sources, *form); found.defined()) return std::vector<Tensor>{found};
  RONDO_ASSIGN_OR_RETURN(std::vector<Tensor> made, Compute(node, *def, inputs, outputs, resources));
  CompileScope scope;
  scope.Node(node.name());
  resources.store->Add(sources, *form, made[0]);
  return made;
}

absl::StatusOr<std::vector<Tensor>> EvaluateNode(const Node& node, absl::Span<const Tensor> inputs,
                                                 const ProgramResources& resources) {
  std::vector<Fact> facts(inputs.size());
  std::vector<const Fact*> pointers(inputs.size(), nullptr);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    facts[i] = Fact::Of(inputs[i]);
    pointers[i] = &facts[i];
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<Fact> outputs, InferFacts(node, pointers, resources));
  return EvaluateNode(node, pointers, outputs, resources);
}

}  // namespace rondo
