// From ONNX bytes to a Graph. The only folder that includes protobuf headers; it knows no operator.
//
// A model file is untrusted: every size is checked before use, external data stays inside the model's folder, functions
// and subgraphs are bounded in depth and count. Errors name the place, what was expected and what came.
#ifndef RONDO_IMPORTER_IMPORTER_H_
#define RONDO_IMPORTER_IMPORTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/graph.h"
#include "graph/source_file.h"

namespace rondo {

struct ImportLimits {
  int64_t max_nodes = 1000000;  // after inlining, subgraphs included
  int64_t max_subgraph_depth = 32;
  int64_t max_function_depth = 100;
  int64_t max_rank = 64;
  uint64_t max_tensor_bytes = uint64_t{1} << 40;
  int64_t max_expanded_bytes = int64_t{4} << 30;  // of nodes and attributes after inlining, tensors not counted
};

struct ImportOptions {
  // Allows external data behind symbolic or hard links (the caches of Hugging Face are made of them).
  bool follow_links = false;
  ImportLimits limits;
};

struct ImportedModel {
  std::unique_ptr<Graph> graph;  // functions inlined, sorted, verified; types only where the file declares them
  int64_t ir_version = 0;
  std::string producer_name, producer_version;
  std::map<std::string, int64_t> opset_imports;  // domain -> version
  std::map<std::string, std::string> metadata;
  // Types that the file declares for the graph's outputs, by index; inference replaces those in the graph and may
  // contradict them (CheckDeclaredType).
  std::vector<ValueType> declared_outputs;
  // Initializers that are graph inputs too: defaults that a caller may override by ONNX's rules. They are constants
  // here, and no inputs.
  std::vector<std::string> overridable_inputs;
  std::vector<std::string> warnings;
  std::vector<SourceFile> files;  // the .onnx file, if there was one, then external data as it was met
  int64_t file_bytes = 0;         // of the .onnx file
  int64_t external_bytes = 0;     // of the external data that it refers to
};

// Reads a model file; external data is mapped read-only. Does not check that operators are supported (InferGraph does).
absl::StatusOr<ImportedModel> ImportModel(const std::string& path, const ImportOptions& options);
// From memory: external data needs `base_directory`; empty refuses it.
absl::StatusOr<ImportedModel> ImportModelFromBytes(absl::string_view bytes, const std::string& base_directory,
                                                   const ImportOptions& options);

// One TensorProto / SequenceProto / OptionalProto file, as in test_data_set_*/input_0.pb. The kind is not in the file:
// `type` says it (kUnknown: a tensor). Returns the value and the name stored with it.
struct NamedValue {
  std::string name;
  RuntimeValue value;
};
absl::StatusOr<NamedValue> ReadValueFile(const std::string& path, const ValueType& type);
// Writes a tensor as a TensorProto file (raw_data; strings as string_data).
absl::Status WriteTensorFile(const std::string& path, absl::string_view name, const Tensor& tensor);

}  // namespace rondo

#endif  // RONDO_IMPORTER_IMPORTER_H_
