#include "rondo/model.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_join.h"
#include "api/model_impl.h"
#include "executor/step_figures.h"
#include "graph/declared_type.h"
#include "ops/parallel.h"

namespace rondo {

absl::StatusOr<std::string> ModelFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".onnx") found.push_back(entry.path().filename().string());
  }
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  std::sort(found.begin(), found.end());
  if (found.size() != 1 && std::find(found.begin(), found.end(), "model.onnx") == found.end()) {
    return InvalidArgument(path, ": expected one .onnx file in this folder, found ",
                           found.empty() ? "none" : absl::StrJoin(found, ", "));
  }
  return (std::filesystem::path(path) / (found.size() == 1 ? found[0] : "model.onnx")).string();
}

absl::StatusOr<ImportedModel> ImportFor(const std::string& file, const ModelOptions& options) {
  ImportOptions import;
  import.follow_links = options.follow_links;
  return ImportModel(file, import);
}

ProgramOptions ProgramOptionsOf(const ModelOptions& options) {
  ProgramOptions program;
  program.threads = options.threads;
  program.plain = options.plain;
  program.disabled_rewrites = options.disabled_rewrites;
  program.weight_bits = options.weight_bits;
  program.max_plans = options.max_plans;
  program.max_tensor_bytes = options.max_tensor_bytes;
  program.max_loop_iterations = options.max_loop_iterations;
  program.cache = options.cache;
  return program;
}

PortInfo MakePortInfo(const std::string& name, const ValueType& type) {
  PortInfo port;
  port.name = name;
  port.type = type.ToString();
  port.dtype = type.dtype;
  if (!type.is_tensor() || !type.shape.has_value()) return port;
  port.has_rank = true;
  for (const Dim& d : *type.shape) {
    port.dims.push_back(d.known() ? d.value() : -1);
    port.dim_names.push_back(d.ToString());
  }
  return port;
}

absl::StatusOr<Model> Model::Load(const std::string& path, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(std::string file, ModelFile(path));
  Model model;
  model.impl_ = std::make_shared<Impl>();
  Impl& impl = *model.impl_;
  impl.cache = std::make_unique<ModelCache>(options, file);
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(file, options));
  impl.options = options;
  impl.summary = SummarizeImport(file, imported);
  for (const Value* input : imported.graph->inputs()) {
    impl.inputs.push_back(MakePortInfo(input->name(), input->type()));
    impl.input_types.push_back(input->type());
  }
  std::vector<std::string> names;
  for (const Value* output : imported.graph->outputs()) names.push_back(output->name());
  ProgramOptions program_options = ProgramOptionsOf(options);
  impl.cache->Bind(imported, &program_options);
  absl::StatusOr<std::unique_ptr<Program>> made = Program::Create(std::move(imported.graph), program_options);
  if (!made.ok()) return Annotate(made.status(), absl::StrCat(file, ": "));
  impl.program = *std::move(made);
  impl.cache->Attach(impl.program.get());
  for (size_t i = 0; i < names.size(); ++i) {
    const ValueType& declared = imported.declared_outputs[i];
    const ValueType& inferred = impl.program->graph().outputs()[i]->type();
    const absl::Status fits = CheckDeclaredType(declared, "inferred", inferred);
    if (!fits.ok()) return Annotate(fits, absl::StrCat(file, ": graph output ", i, " \"", names[i], "\": "));
    impl.output_types.push_back(inferred.kind == ValueType::Kind::kUnknown ? declared : inferred);
    impl.outputs.push_back(MakePortInfo(names[i], impl.output_types.back()));
  }
  SummarizeProgram(*impl.program, &impl.summary);
  return model;
}

const std::vector<PortInfo>& Model::inputs() const { return impl_->inputs; }
const std::vector<PortInfo>& Model::outputs() const { return impl_->outputs; }
const ModelSummary& Model::summary() const { return impl_->summary; }
const ModelOptions& Model::options() const { return impl_->options; }

namespace {

// Checks dims against the declared ones, binding symbols as they are met.
class DimBinder {
 public:
  absl::Status Bind(const std::string& name, const ValueType& type, absl::Span<const int64_t> dims) {
    if (!type.shape.has_value()) return absl::OkStatus();
    if (type.shape->rank() != static_cast<int>(dims.size())) {
      return InvalidArgument("input \"", name, "\": expected rank ", type.shape->rank(), " (", type.ToString(),
                             "), got rank ", dims.size(), " (", DimsToString(dims), ")");
    }
    for (size_t i = 0; i < dims.size(); ++i) {
      const Dim& d = (*type.shape)[i];
      if (dims[i] < 0) return InvalidArgument("input \"", name, "\": dim ", i, " is ", dims[i]);
      if (d.known() && d.value() != dims[i]) {
        return InvalidArgument("input \"", name, "\": expected ", d.value(), " for dim ", i, " (", type.ToString(),
                               "), got ", dims[i], " (", DimsToString(dims), ")");
      }
      if (!d.IsSymbol()) continue;
      auto [it, inserted] = symbols_.emplace(d.ToString(), Bound{dims[i], name});
      // An empty tensor may stand for one that is not used, such as a cache that a merged decoder does not read.
      if (!inserted && it->second.value == 0) it->second = Bound{dims[i], name};
      if (it->second.value != dims[i] && dims[i] != 0) {
        return InvalidArgument("symbol \"", d.ToString(), "\" is bound to ", it->second.value, " by input \"",
                               it->second.input, "\", but input \"", name, "\" has ", dims[i], " for dim ", i);
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Bound {
    int64_t value;
    std::string input;
  };
  absl::flat_hash_map<std::string, Bound> symbols_;
};

std::string InputNames(const std::vector<PortInfo>& ports) {
  return absl::StrJoin(ports, ", ", [](std::string* out, const PortInfo& port) { absl::StrAppend(out, port.name); });
}

}  // namespace

absl::StatusOr<PlanInfo> Model::Prepare(const std::map<std::string, std::vector<int64_t>>& dims) const {
  std::vector<Fact> facts(impl_->inputs.size());
  DimBinder binder;
  size_t used = 0;
  for (size_t i = 0; i < facts.size(); ++i) {
    const PortInfo& port = impl_->inputs[i];
    facts[i].type = impl_->input_types[i];
    auto it = dims.find(port.name);
    used += it != dims.end();
    if (it == dims.end()) {
      if (facts[i].waits()) return InvalidArgument("input \"", port.name, "\": dims are needed for ", port.type);
      continue;
    }
    RONDO_RETURN_IF_ERROR(binder.Bind(port.name, impl_->input_types[i], it->second));
    facts[i].type.shape = Shape::FromDims(it->second);
  }
  if (used != dims.size()) {
    for (const auto& [name, unused] : dims) {
      if (std::none_of(impl_->inputs.begin(), impl_->inputs.end(), [&](const PortInfo& p) { return p.name == name; })) {
        return InvalidArgument("there is no input \"", name, "\"; the model has: ", InputNames(impl_->inputs));
      }
    }
  }
  ScopedThreads threads(impl_->program->resources().threads);
  RONDO_ASSIGN_OR_RETURN(std::shared_ptr<const Plan> plan, impl_->program->root().Bind(facts));
  PlanInfo info;
  info.steps = plan->statistics.steps;
  info.folded_nodes = plan->statistics.folded_nodes;
  info.arena_bytes = plan->statistics.arena_bytes;
  info.value_bytes = plan->statistics.value_bytes;
  info.complete = plan->rest.region == nullptr;
  return info;
}

CacheStats Model::cache_counters() const { return impl_->program->primitives().stats(); }
absl::StatusOr<int64_t> Model::PrepareKnown(
    const std::function<void(int64_t done, int64_t total, absl::string_view next)>& progress) const {
  std::vector<PlanShapes> known = impl_->cache->known_shapes();
  // The plans of a decoder whose cache was taken out of its graph have other inputs than the file.
  const auto of_other_inputs = [&](const PlanShapes& shapes) {
    size_t tensors = 0;
    for (size_t i = 0; i < impl_->inputs.size(); ++i) {
      if (!impl_->input_types[i].is_tensor()) continue;
      ++tensors;
      if (shapes.find(impl_->inputs[i].name) == shapes.end()) return true;
    }
    return tensors != shapes.size();
  };
  known.erase(std::remove_if(known.begin(), known.end(), of_other_inputs), known.end());
  const int64_t total = std::min<int64_t>(static_cast<int64_t>(known.size()), impl_->options.max_plans);
  for (int64_t i = 0; i < total; ++i) {
    std::map<std::string, std::vector<int64_t>> dims;
    std::string name;
    for (const auto& [input, of_input] : known[i]) {
      dims[input].assign(of_input.begin(), of_input.end());
      absl::StrAppend(&name, name.empty() ? "" : ", ", input, DimsToString(of_input));
    }
    if (progress) progress(i, total, name);
    RONDO_RETURN_IF_ERROR(Prepare(dims).status());
  }
  if (progress) progress(total, total, "");
  return total;
}

absl::Status Model::SaveCache() const { return impl_->cache->Save(); }

CacheReport Model::cache_report() const { return impl_->cache->Report(); }
void Model::SetCompileListener(CompileListener listener) const {
  impl_->program->primitives().log().SetListener(std::move(listener));
}

size_t Model::packed_weight_bytes() const { return impl_->program->weights().bytes(); }

std::map<std::string, int64_t> Model::implementations() const {
  std::map<std::string, int64_t> counts;
  for (const auto& plan : impl_->program->root().plans()) {
    for (const Step& step : plan->steps) ++counts[step.implementation];
  }
  return counts;
}

StepHook StepHookFor(std::function<void(const StepEvent&)> listener) {
  return [listener = std::move(listener)](const Plan& plan, const Step& step, int64_t begin, int64_t end) {
    const StepFigures figures = FiguresOf(plan, step);
    listener({step.node->op().type.c_str(), &step.node->name(), &step.implementation, begin, end, step.output_bytes,
              &figures.shapes, figures.bytes, figures.flops});
  };
}

struct Session::Impl {
  explicit Impl(const Model& m) : model(m) {}
  Model model;  // keeps the weights and plans alive
  RegionState state;
  StepHook hook;
  absl::flat_hash_map<std::string, int> input_index;
  std::vector<const RuntimeValue*> inputs;
};

Session::Session(const Model& model) : impl_(std::make_unique<Impl>(model)) {
  for (size_t i = 0; i < model.inputs().size(); ++i) impl_->input_index[model.inputs()[i].name] = static_cast<int>(i);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::SetStepListener(std::function<void(const StepEvent&)> listener) {
  impl_->hook = nullptr;
  impl_->state.hook = nullptr;
  if (!listener) return;
  impl_->hook = StepHookFor(std::move(listener));
  impl_->state.hook = &impl_->hook;
}

absl::StatusOr<NamedTensors> Session::Run(const NamedTensors& inputs) {
  const Model::Impl& model = *impl_->model.impl_;
  impl_->inputs.assign(model.inputs.size(), nullptr);
  DimBinder binder;
  for (const auto& [name, value] : inputs) {
    auto it = impl_->input_index.find(name);
    if (it == impl_->input_index.end()) {
      return InvalidArgument("there is no input \"", name, "\"; the model has: ", InputNames(model.inputs));
    }
    if (impl_->inputs[it->second] != nullptr) return InvalidArgument("input \"", name, "\" is given twice");
    const ValueType& type = model.input_types[it->second];
    if (type.is_tensor()) {
      if (!value.is_tensor() || value.tensor().dtype() != type.dtype) {
        return InvalidArgument(
            "input \"", name, "\": expected ", type.ToString(), ", got ",
            value.is_tensor() ? absl::StrCat(DataTypeName(value.tensor().dtype()), DimsToString(value.tensor().dims()))
                              : std::string("no tensor"));
      }
      RONDO_RETURN_IF_ERROR(binder.Bind(name, type, value.tensor().dims()));
      if (value.tensor().raw() == nullptr && value.tensor().size() > 0) {
        return InvalidArgument("input \"", name, "\": the tensor has no data");
      }
    }
    impl_->inputs[it->second] = &value;
  }
  for (size_t i = 0; i < impl_->inputs.size(); ++i) {
    if (impl_->inputs[i] == nullptr) {
      return InvalidArgument("input \"", model.inputs[i].name, "\" (", model.inputs[i].type, ") is not given");
    }
  }
  NamedTensors outputs(model.outputs.size());
  std::vector<RuntimeValue*> pointers;
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].first = model.outputs[i].name;
    pointers.push_back(&outputs[i].second);
  }
  ScopedThreads threads(model.program->resources().threads);
  CompileScope scope;
  if (model.options.fail_on_miss) scope.Seal();
  RONDO_RETURN_IF_ERROR(model.program->root().Run(impl_->inputs, absl::MakeSpan(pointers), &impl_->state));
  return outputs;
}

}  // namespace rondo
