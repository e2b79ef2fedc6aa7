#include "importer/importer.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "graph/status.h"
#include "graph/verify.h"
#include "importer/exporter_quirks.h"
#include "importer/file_io.h"
#include "importer/function_table.h"
#include "importer/graph_builder.h"
#include "importer/names.h"
#include "importer/tensor_reader.h"
#include "importer/wire_scan.h"
#include "onnx/onnx_pb.h"

namespace rondo {
namespace {

constexpr int64_t kMinIrVersion = 3;
constexpr int64_t kNewestIrVersion = 13;
constexpr int64_t kMaxIrVersion = 1000;  // beyond it the number is nonsense, not a newer format
// protobuf's sizes are ints.
constexpr uint64_t kMaxModelBytes = std::numeric_limits<int32_t>::max();

// What the bytes look like when they are no model; empty when nothing is recognised.
absl::string_view ForeignFormat(absl::string_view bytes) {
  struct Magic {
    size_t offset;
    absl::string_view bytes;
    absl::string_view name;
  };
  static constexpr Magic kMagics[] = {
      {0, "GGUF", "GGUF"},
      {0, "PK\x03\x04", "a zip archive"},
      {0, "\x1f\x8b", "gzip"},
      {0, "\x28\xb5\x2f\xfd", "zstd"},
      {0, "\x89HDF", "HDF5"},
      {0, "\x93NUMPY", "a .npy file"},
      {0, "\x80\x02", "a Python pickle"},
      {0, "version https://git-lfs", "a Git LFS pointer, not the file itself"},
      {0, "<!DOCTYPE", "HTML"},
      {0, "<html", "HTML"},
      {0, "{", "JSON text"},
      {0, "<", "ONNX or XML text"},
      {0, "ir_version", "protobuf text"},
      {0, "graph {", "protobuf text"},
      {4, "ORTM", "onnxruntime's .ort"},
      {4, "TFL3", "TensorFlow Lite"},
      {8, "{\"", "safetensors"},
  };
  for (const Magic& magic : kMagics) {
    if (bytes.size() >= magic.offset && absl::StartsWith(bytes.substr(magic.offset), magic.bytes)) return magic.name;
  }
  return "";
}

absl::Status NotAModel(absl::string_view bytes, const absl::Status& status) {
  const absl::string_view format = ForeignFormat(bytes);
  if (format.empty()) return status;
  return InvalidArgument("not an ONNX protobuf (looks like ", format, "); ", status.message());
}

absl::Status Parse(absl::string_view bytes, const ImportLimits& limits, onnx::ModelProto* model) {
  if (bytes.empty()) return InvalidArgument("no graph: the file is empty");
  WireLimits wire;
  wire.max_nodes = limits.max_nodes;
  wire.max_subgraph_depth = limits.max_subgraph_depth;
  absl::Status scanned = ScanModel(bytes, wire);
  if (absl::IsInvalidArgument(scanned)) return NotAModel(bytes, scanned);
  RONDO_RETURN_IF_ERROR(scanned);
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetRecursionLimit(ParserDepth(wire));
  if (!model->ParseFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
    return NotAModel(bytes, InvalidArgument("protobuf does not parse"));
  }
  if (!model->has_graph()) return NotAModel(bytes, InvalidArgument("no graph"));
  return absl::OkStatus();
}

absl::Status CheckIrVersion(const onnx::ModelProto& model, std::vector<std::string>* warnings) {
  const int64_t version = model.ir_version();
  if (version < kMinIrVersion || version > kMaxIrVersion) {
    return Unimplemented("unsupported: ir_version ", version, " (supported ", kMinIrVersion, " to ", kNewestIrVersion,
                         ")");
  }
  if (version > kNewestIrVersion) {
    warnings->push_back(absl::StrCat("ir_version ", version, " is newer than the newest known, ", kNewestIrVersion));
  }
  return absl::OkStatus();
}

absl::StatusOr<ImportedModel> ImportParsed(onnx::ModelProto* model, const std::string& base_directory,
                                           const ImportOptions& options) {
  ImportedModel result;
  RONDO_RETURN_IF_ERROR(CheckIrVersion(*model, &result.warnings));
  if (model->opset_import_size() == 0) return InvalidArgument("no opset_import");
  RONDO_ASSIGN_OR_RETURN(result.opset_imports, ReadOpsetImports(model->opset_import(), &result.warnings));
  result.ir_version = model->ir_version();
  result.producer_name = model->producer_name();
  result.producer_version = model->producer_version();
  for (const auto& entry : model->metadata_props()) result.metadata[entry.key()] = entry.value();

  FunctionTable functions;
  RONDO_RETURN_IF_ERROR(functions.Init(model, options.limits, &result.warnings));
  RONDO_RETURN_IF_ERROR(functions.Measure(model->graph()));
  ExternalFiles files(base_directory, options.follow_links);
  TensorReader tensors(&files, options.limits);
  GraphBuilder builder(&functions, &result.opset_imports, &tensors, options.limits, &result.warnings);
  RONDO_ASSIGN_OR_RETURN(result.graph, builder.Build(model->mutable_graph()));
  CorrectExporterQuirks(*result.graph, &result.warnings);
  RONDO_RETURN_IF_ERROR(Verify(*result.graph));
  result.declared_outputs = builder.declared_outputs();
  result.overridable_inputs = builder.overridable_inputs();
  result.external_bytes = static_cast<int64_t>(tensors.external_bytes());
  result.files = files.opened();
  result.warnings.insert(result.warnings.end(), tensors.notes().begin(), tensors.notes().end());
  return result;
}

absl::StatusOr<ImportedModel> ImportBytes(std::shared_ptr<const FileBytes> file, absl::string_view bytes,
                                          const std::string& base_directory, const ImportOptions& options) try {
  onnx::ModelProto model;
  RONDO_RETURN_IF_ERROR(Parse(bytes, options.limits, &model));
  file.reset();  // parsed messages hold copies; do not keep the file's bytes beside them
  return ImportParsed(&model, base_directory, options);
} catch (const std::bad_alloc&) {
  return ResourceExhausted("out of memory while importing");
} catch (const std::length_error&) {
  return ResourceExhausted("a size beyond what memory can hold");
}

}  // namespace

absl::StatusOr<ImportedModel> ImportModel(const std::string& path, const ImportOptions& options) {
  const std::string where = absl::StrCat(Printable(path), ": ");
  SourceFile source{path, {}, nullptr, nullptr};
  absl::StatusOr<std::shared_ptr<const FileBytes>> file = ReadRegularFile(path, kMaxModelBytes, &source.version);
  if (!file.ok()) return Annotate(file.status(), where);
  const absl::string_view bytes = (*file)->view();
  absl::StatusOr<ImportedModel> model = ImportBytes(*std::move(file), bytes, DirectoryOf(path), options);
  if (!model.ok()) return Annotate(model.status(), where);
  model->file_bytes = static_cast<int64_t>(bytes.size());
  model->files.insert(model->files.begin(), std::move(source));
  return model;
}

absl::StatusOr<ImportedModel> ImportModelFromBytes(absl::string_view bytes, const std::string& base_directory,
                                                   const ImportOptions& options) {
  if (bytes.size() > kMaxModelBytes) {
    return ResourceExhausted("model of ", bytes.size(), " bytes, limit ", kMaxModelBytes, "; use external data");
  }
  absl::StatusOr<ImportedModel> model = ImportBytes(nullptr, bytes, base_directory, options);
  if (model.ok()) model->file_bytes = static_cast<int64_t>(bytes.size());
  return model;
}

}  // namespace rondo
