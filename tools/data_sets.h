// Model folders with recorded data sets, in the layout of ONNX's backend tests:
//
//   folder/model.onnx
//   folder/check.json                      how to compare; optional
//   folder/test_data_set_K/input_J.pb      in the order of the graph's inputs
//   folder/test_data_set_K/output_J.pb
//
// `rondo check` and `rondo conformance` run them through here.
#ifndef RONDO_TOOLS_DATA_SETS_H_
#define RONDO_TOOLS_DATA_SETS_H_

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rondo/model.h"
#include "tools/compare.h"

namespace rondo {

struct DataSetOptions {
  ModelOptions model;
  Tolerance tolerance;               // where the folder has no check.json
  std::optional<double> rtol, atol;  // win over check.json
  // An input recorded as one element where the model declares more is repeated, not refused.
  bool repeat_single_elements = false;
};

struct DataSetOutcome {
  // kUnsupported: the model is valid but beyond rondo. kBadInput: a file is missing or malformed.
  enum class Kind { kPassed, kFailed, kUnsupported, kBadInput } kind = Kind::kPassed;
  std::string message;  // of a pass: "2 data sets, allclose 0.01 of the tolerance"; else what went wrong
};

// Runs all data sets of one model and compares; stops at the first that differs.
DataSetOutcome RunDataSets(const std::filesystem::path& folder, const DataSetOptions& options);

// Whether there is an .onnx file in this folder.
bool HoldsModel(const std::filesystem::path& folder);
// The folders in `folder` that hold a model, sorted.
std::vector<std::filesystem::path> ModelFolders(const std::filesystem::path& folder);
// The last part of its path, also of "dir/" and ".".
std::string FolderName(const std::filesystem::path& folder);

}  // namespace rondo

#endif  // RONDO_TOOLS_DATA_SETS_H_
