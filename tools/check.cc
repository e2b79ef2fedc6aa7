// rondo check: runs the recorded data sets of model folders (the layout of ONNX's backend tests) and compares.
//
//   folder/model.onnx
//   folder/check.json                      how to compare; optional
//   folder/test_data_set_K/input_J.pb      in the order of the graph's inputs
//   folder/test_data_set_K/output_J.pb
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/model_impl.h"
#include "graph/status.h"
#include "importer/importer.h"
#include "rondo/model.h"
#include "tools/command.h"
#include "tools/compare.h"
#include "tools/files.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/trace.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

struct CheckOptions {
  std::vector<std::string> folders;
  ModelOptions model;
  std::optional<double> rtol, atol;
};

// The numbered entries `<prefix>K<suffix>` of a folder, by number.
std::map<int64_t, fs::path> Numbered(const fs::path& folder, absl::string_view prefix, absl::string_view suffix) {
  std::map<int64_t, fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() <= prefix.size() + suffix.size() || !absl::StartsWith(name, std::string(prefix))) continue;
    if (!absl::EndsWith(name, std::string(suffix))) continue;
    int64_t number;
    const std::string digits = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    if (absl::SimpleAtoi(digits, &number) && number >= 0) found.emplace(number, it->path());
  }
  return found;
}

struct Outcome {
  enum class Kind { kPassed, kFailed, kBadInput } kind = Kind::kPassed;
  std::string message;
};

Outcome Failed(std::string message) { return {Outcome::Kind::kFailed, std::move(message)}; }
// A model that is valid but beyond rondo, or a run that fails, is a failed check; unreadable files are bad input.
Outcome FromLoad(const absl::Status& status) {
  const bool bad = !absl::IsUnimplemented(status) && !absl::IsInternal(status);
  return {bad ? Outcome::Kind::kBadInput : Outcome::Kind::kFailed, std::string(status.message())};
}

// One model and its data sets.
class FolderCheck {
 public:
  FolderCheck(fs::path folder, const CheckOptions& options) : folder_(std::move(folder)), options_(options) {}

  Outcome Run() {
    const absl::StatusOr<Tolerance> tolerance = ReadTolerance();
    if (!tolerance.ok()) return FromLoad(tolerance.status());
    tolerance_ = *tolerance;
    const std::map<int64_t, fs::path> sets = Numbered(folder_, "test_data_set_", "");
    if (sets.empty()) return {Outcome::Kind::kBadInput, "no test_data_set_* in this folder"};
    absl::StatusOr<Model> model = Model::Load(folder_.string(), options_.model);
    if (!model.ok()) return FromLoad(model.status());
    Session session(*model);
    for (const auto& [number, path] : sets) {
      Outcome outcome = RunSet(*model, session, path);
      if (outcome.kind == Outcome::Kind::kPassed) continue;
      outcome.message = absl::StrCat("data set ", number, ": ", outcome.message);
      return outcome;
    }
    const absl::string_view of = tolerance_.measure == Tolerance::Measure::kAllClose ? " of the tolerance" : "";
    return {Outcome::Kind::kPassed,
            absl::StrFormat("%d data set%s, %s %.2g%s", sets.size(), sets.size() == 1 ? "" : "s",
                            MeasureName(tolerance_.measure), worst_, of)};
  }

 private:
  absl::StatusOr<Tolerance> ReadTolerance() const {
    Tolerance tolerance;
    const fs::path file = folder_ / "check.json";
    std::error_code error;
    const bool asked = options_.rtol.has_value() || options_.atol.has_value();
    if (!asked && fs::exists(file, error)) {
      RONDO_ASSIGN_OR_RETURN(const std::string text, ReadFile(file.string()));
      return ParseCheckJson(text);
    }
    tolerance.rtol = options_.rtol.value_or(tolerance.rtol);
    tolerance.atol = options_.atol.value_or(tolerance.atol);
    return tolerance;
  }

  Outcome RunSet(const Model& model, Session& session, const fs::path& set) {
    const ModelAccess::Impl& impl = ModelAccess::Get(model);
    absl::StatusOr<NamedTensors> inputs = ReadValues(set, "input", model.inputs(), impl.input_types);
    if (!inputs.ok()) return FromLoad(inputs.status());
    absl::StatusOr<NamedTensors> expected = ReadValues(set, "output", model.outputs(), impl.output_types);
    if (!expected.ok()) return FromLoad(expected.status());
    if (expected->size() != model.outputs().size()) {
      return {Outcome::Kind::kBadInput,
              absl::StrCat("expected ", model.outputs().size(), " output_*.pb, found ", expected->size())};
    }
    absl::StatusOr<NamedTensors> outputs = session.Run(*inputs);
    if (!outputs.ok()) return Failed(std::string(outputs.status().message()));
    for (size_t i = 0; i < outputs->size(); ++i) {
      const auto& [name, got] = (*outputs)[i];
      auto want = std::find_if(expected->begin(), expected->end(), [&](const auto& e) { return e.first == name; });
      if (want == expected->end()) return {Outcome::Kind::kBadInput, absl::StrCat("no file for output \"", name, "\"")};
      Comparison comparison = CompareValues(got, want->second, tolerance_);
      if (!comparison.same && tolerance_.or_f32compute) {
        const fs::path other = set / absl::StrCat("f32compute_output_", i, ".pb");
        std::error_code error;
        if (fs::exists(other, error)) {
          const absl::StatusOr<NamedValue> value = ReadValueFile(other.string(), impl.output_types[i]);
          if (!value.ok()) return FromLoad(value.status());
          const Comparison second = CompareValues(got, value->value, tolerance_);
          if (second.same) comparison = second;
        }
      }
      if (!comparison.same) return Failed(absl::StrCat("output \"", name, "\" ", comparison.message));
      worst_ = std::max(worst_, comparison.error);
    }
    return {};
  }

  // input_0.pb, input_1.pb ...: file J is the port whose name the file holds, else port J. An optional port may lack
  // its file.
  absl::StatusOr<NamedTensors> ReadValues(const fs::path& set, absl::string_view what,
                                          const std::vector<PortInfo>& ports,
                                          const std::vector<ValueType>& types) const {
    NamedTensors values;
    std::vector<bool> filled(ports.size(), false);
    for (const auto& [number, path] : Numbered(set, absl::StrCat(what, "_"), ".pb")) {
      const size_t j = static_cast<size_t>(number);
      absl::StatusOr<NamedValue> value = ReadValueFile(path.string(), j < ports.size() ? types[j] : ValueType{});
      size_t port = j;
      for (size_t p = 0; value.ok() && p < ports.size(); ++p) {
        if (!value->name.empty() && ports[p].name == value->name) port = p;
      }
      if (port != j && port < ports.size()) value = ReadValueFile(path.string(), types[port]);
      if (!value.ok()) return value.status();
      const std::string file = path.filename().string();
      if (port >= ports.size()) {
        return InvalidArgument(file, ": the model has only ", ports.size(), " ", what, "s");
      }
      if (filled[port]) return InvalidArgument(file, ": a second value for ", what, " \"", ports[port].name, "\"");
      filled[port] = true;
      // Old ONNX releases recorded bfloat16 as uint16 with its bits.
      if (types[port].dtype == DataType::kBFloat16 && value->value.is_tensor() &&
          value->value.tensor().dtype() == DataType::kUInt16) {
        const Tensor bits = value->value.tensor();
        value->value = RuntimeValue(Tensor::Borrow(DataType::kBFloat16, bits.dims(), bits.raw(), bits.owner()));
      }
      values.emplace_back(ports[port].name, std::move(value->value));
    }
    for (size_t p = 0; p < ports.size(); ++p) {
      if (filled[p] || ports[p].optional) continue;
      return absl::NotFoundError(absl::StrCat(what, "_", p, ".pb is missing (", what, " \"", ports[p].name, "\")"));
    }
    return values;
  }

  const fs::path folder_;
  const CheckOptions& options_;
  Tolerance tolerance_;
  double worst_ = 0;
};

bool HoldsModel(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".onnx") return true;
  }
  return false;
}

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
    std::vector<fs::path> children;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (it->is_directory(error) && HoldsModel(it->path())) children.push_back(it->path());
    }
    if (children.empty()) return InvalidArgument(text, ": no model in this folder (expected an .onnx file)");
    std::sort(children.begin(), children.end());
    expanded.insert(expanded.end(), children.begin(), children.end());
  }
  return expanded;
}

std::string FolderName(const fs::path& folder) {
  std::error_code error;
  const fs::path name = folder.filename();
  return name.empty() || name == "." || name == ".." ? fs::weakly_canonical(folder, error).filename().string()
                                                     : name.string();
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
    const Outcome outcome = FolderCheck(folder, options).Run();
    const double seconds = static_cast<double>(NowNs() - begin) * 1e-9;
    const bool ok = outcome.kind == Outcome::Kind::kPassed;
    ++(ok ? passed : failed);
    bad_input |= outcome.kind == Outcome::Kind::kBadInput;
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
  app.add_option("--rtol", options->rtol, "Relative tolerance (1e-3); overrides the folder's check.json")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X");
  app.add_option("--atol", options->atol, "Absolute tolerance (1e-7); overrides the folder's check.json")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X");
  AddModelOptions(app, &options->model);
  app.footer(
      "Exit code: 0 all passed, 1 a result differs or a model is not supported, 2 a folder or file is missing or bad.\n"
      "Example:\n"
      "  rondo check tests/data/models/arc-mini");
  return [options] { return CheckMain(*options); };
}

}  // namespace rondo
