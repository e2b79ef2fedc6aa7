// rondo check: runs the recorded data sets of model folders (the layout of ONNX's backend tests) and compares.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "rondo/model.h"
#include "tools/command.h"
#include "tools/data_sets.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/trace.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

struct CheckOptions {
  std::vector<std::string> folders;
  DataSetOptions data_sets;
};

// A folder without a model stands for the folders in it that have one.
absl::StatusOr<std::vector<fs::path>> Expand(const std::vector<std::string>& folders) {
  std::vector<fs::path> expanded;
  for (const std::string& text : folders) {
    fs::path folder = text;
    std::error_code error;
    if (!fs::exists(folder, error)) return absl::NotFoundError(absl::StrCat(text, ": no such folder"));
    if (!fs::is_directory(folder, error))
      return InvalidArgument(text, ": not a folder (expected one that holds a model)");
    if (!folder.has_filename()) folder = folder.parent_path();
    if (HoldsModel(folder)) {
      expanded.push_back(folder);
      continue;
    }
    const std::vector<fs::path> children = ModelFolders(folder);
    if (children.empty()) return InvalidArgument(text, ": no model in this folder (expected an .onnx file)");
    expanded.insert(expanded.end(), children.begin(), children.end());
  }
  return expanded;
}

int CheckMain(const CheckOptions& options) {
  const absl::StatusOr<std::vector<fs::path>> folders = Expand(options.folders);
  if (!folders.ok()) return Fail(Annotate(folders.status(), "check: "));
  size_t width = 0;
  for (const fs::path& folder : *folders) width = std::max(width, std::min<size_t>(FolderName(folder).size(), 60));
  int64_t passed = 0, failed = 0;
  bool bad_input = false;
  ProgressBar progress(static_cast<int64_t>(folders->size()));
  for (const fs::path& folder : *folders) {
    const std::string name = Printable(FolderName(folder), 80);
    progress.Show(passed + failed, name);
    const int64_t begin = NowNs();
    const DataSetOutcome outcome = RunDataSets(folder, options.data_sets);
    const double seconds = static_cast<double>(NowNs() - begin) * 1e-9;
    const bool ok = outcome.kind == DataSetOutcome::Kind::kPassed;
    ++(ok ? passed : failed);
    bad_input |= outcome.kind == DataSetOutcome::Kind::kBadInput;
    progress.Hide();
    Print(absl::StrFormat("%s  %-*s  %s%s\n", ok ? "ok  " : "FAIL", static_cast<int>(width), name,
                          Printable(outcome.message, 1000), ok ? absl::StrCat(", ", SecondsText(seconds)) : ""));
    // Lines appear as they are made, also in a pipe.
    std::fflush(stdout);
  }
  Print(absl::StrCat(passed, " passed, ", failed, " failed\n"));
  return bad_input ? kBadInput : failed > 0 ? kCheckFailed : kOk;
}

}  // namespace

std::function<int()> DeclareCheck(CLI::App& app) {
  auto options = std::make_shared<CheckOptions>();
  app.add_option("DIR", options->folders,
                 "Folders with a model and test_data_set_*/{input,output}_J.pb, or folders of such folders")
      ->required()
      ->type_name("");
  app.add_option("--rtol", options->data_sets.rtol, "Relative tolerance (1e-3); overrides the folder's check.json")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X");
  app.add_option("--atol", options->data_sets.atol, "Absolute tolerance (1e-7); overrides the folder's check.json")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X");
  AddModelOptions(app, &options->data_sets.model);
  app.footer(
      "Exit code: 0 all passed, 1 a result differs or a model is not supported, 2 a folder or file is missing or bad.\n"
      "Example:\n"
      "  rondo check tests/data/models/arc-mini");
  return [options] { return CheckMain(*options); };
}

}  // namespace rondo
