// The functions that a model brings along. They are inlined, so before anything is expanded their call graph is
// measured: no recursion, bounded depth, bounded result. Thirty functions that each call the next one twice are a
// kilobyte in the file and 2^30 nodes when inlined.
#ifndef RONDO_IMPORTER_FUNCTION_TABLE_H_
#define RONDO_IMPORTER_FUNCTION_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "importer/importer.h"
#include "onnx/onnx_pb.h"

namespace rondo {

// Domain -> version of one opset_import list; "ai.onnx" is stored as "".
using OpsetTable = std::map<std::string, int64_t>;

// "ai.onnx" and "" are one domain.
inline absl::string_view NormalizeDomain(absl::string_view domain) { return domain == "ai.onnx" ? "" : domain; }

// `what`: "model" or "function d::F". Versions of the default domain beyond 28 are Unimplemented.
absl::StatusOr<OpsetTable> ReadOpsetImports(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports,
                                            std::vector<std::string>* warnings);

struct Function {
  onnx::FunctionProto* proto = nullptr;
  std::string label;  // "d::F", for messages
  OpsetTable opsets;
  std::vector<onnx::AttributeProto> defaults;

  // Set by FunctionTable::Measure: what one call expands to.
  enum class State { kNew, kActive, kDone } state = State::kNew;
  int64_t nodes = 0;
  int64_t payload_bytes = 0;
  int64_t depth = 0;
};

class FunctionTable {
 public:
  // Collects the model's functions; `model` outlives the table.
  absl::Status Init(onnx::ModelProto* model, const ImportLimits& limits, std::vector<std::string>* warnings);
  // The function that a node calls; null when the node is an operator.
  Function* Find(const onnx::NodeProto& node) const;
  // Checks every function and the size of the model after inlining.
  absl::Status Measure(const onnx::GraphProto& graph);

 private:
  struct Cost {
    int64_t nodes = 0;
    int64_t payload_bytes = 0;
    int64_t depth = 0;
  };
  using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
  absl::Status AddCost(const Nodes& nodes, Cost* cost);
  absl::Status MeasureFunction(Function* function);

  ImportLimits limits_;
  std::vector<std::unique_ptr<Function>> functions_;
  absl::flat_hash_map<std::string, Function*> by_key_;
  std::vector<Function*> active_;  // call path of the walk
};

}  // namespace rondo

#endif  // RONDO_IMPORTER_FUNCTION_TABLE_H_
