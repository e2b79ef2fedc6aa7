// What stands behind rondo::Model; shared by model.cc (running) and inspect.cc (telling).
#ifndef RONDO_API_MODEL_IMPL_H_
#define RONDO_API_MODEL_IMPL_H_

#include <memory>
#include <string>
#include <vector>

#include "api/model_cache.h"
#include "executor/program.h"
#include "importer/importer.h"
#include "ops/primitive_cache.h"
#include "rondo/model.h"

namespace rondo {

struct Model::Impl {
  ModelOptions options;
  ModelSummary summary;
  std::vector<PortInfo> inputs, outputs;
  // As declared in the file: rewrites may narrow the types in the program's graph, not what a caller may feed.
  std::vector<ValueType> input_types;
  std::vector<ValueType> output_types;
  std::unique_ptr<Program> program;
  std::unique_ptr<ModelCache> cache;  // after the program: it looks at it when it goes
};

// For the tools: what the public API has no need to show.
struct ModelAccess {
  using Impl = Model::Impl;
  static const Impl& Get(const Model& model) { return *model.impl_; }
};

// The model file of `path`: itself, or the one .onnx file in the folder (model.onnx where there are several).
absl::StatusOr<std::string> ModelFile(const std::string& path);

absl::StatusOr<ImportedModel> ImportFor(const std::string& file, const ModelOptions& options);

ProgramOptions ProgramOptionsOf(const ModelOptions& options);
// Tells `listener` of executed steps.
StepHook StepHookFor(std::function<void(const StepEvent&)> listener);

PortInfo MakePortInfo(const std::string& name, const ValueType& type);

// Everything of the summary that the imported graph tells; Load adds what the rewrites did.
ModelSummary SummarizeImport(const std::string& path, const ImportedModel& model);
void SummarizeProgram(const Program& program, ModelSummary* summary);

}  // namespace rondo

#endif  // RONDO_API_MODEL_IMPL_H_
