#include "tools/data_sets.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/model_impl.h"
#include "graph/status.h"
#include "importer/importer.h"
#include "tools/files.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

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

using Kind = DataSetOutcome::Kind;

DataSetOutcome BadInput(std::string message) { return {Kind::kBadInput, std::move(message)}; }
// Of a model that was read: what it asks for may be beyond rondo, anything else is a failure.
DataSetOutcome FromRun(const absl::Status& status) {
  return {absl::IsUnimplemented(status) ? Kind::kUnsupported : Kind::kFailed, std::string(status.message())};
}
DataSetOutcome FromLoad(const absl::Status& status) {
  if (absl::IsUnimplemented(status) || absl::IsInternal(status)) return FromRun(status);
  return BadInput(std::string(status.message()));
}

// A tensor of one element in the dims that the port declares, where these are other numbers; else the tensor itself.
absl::StatusOr<Tensor> RepeatSingle(const Tensor& value, const PortInfo& port) {
  const bool symbolic = std::any_of(port.dims.begin(), port.dims.end(), [](int64_t d) { return d < 0; });
  const size_t bytes = ByteSize(value.dtype(), 1);
  const bool packed = ByteSize(value.dtype(), 2) != 2 * bytes;
  if (value.size() != 1 || value.dtype() == DataType::kString || packed || !port.has_rank || symbolic) return value;
  RONDO_ASSIGN_OR_RETURN(Tensor repeated, Tensor::Create(value.dtype(), port.dims));
  char* to = static_cast<char*>(repeated.mutable_raw());
  for (int64_t i = 0; i < repeated.size(); ++i) std::memcpy(to + static_cast<size_t>(i) * bytes, value.raw(), bytes);
  return repeated;
}

// One model and its data sets.
class DataSetRun {
 public:
  DataSetRun(fs::path folder, const DataSetOptions& options) : folder_(std::move(folder)), options_(options) {}

  DataSetOutcome Run() {
    const absl::StatusOr<Tolerance> tolerance = ReadTolerance();
    if (!tolerance.ok()) return FromLoad(tolerance.status());
    tolerance_ = *tolerance;
    const std::map<int64_t, fs::path> sets = Numbered(folder_, "test_data_set_", "");
    if (sets.empty()) return BadInput("no test_data_set_* in this folder");
    // Data sets are run once: nothing is to be kept of them.
    ModelOptions model_options = options_.model;
    model_options.cache_dir = kNoCacheDir;
    absl::StatusOr<Model> model = Model::Load(folder_.string(), model_options);
    if (!model.ok()) return FromLoad(model.status());
    Session session(*model);
    for (const auto& [number, path] : sets) {
      DataSetOutcome outcome = RunSet(*model, session, path);
      if (outcome.kind == Kind::kPassed) continue;
      outcome.message = absl::StrCat("data set ", number, ": ", outcome.message);
      return outcome;
    }
    const absl::string_view of = tolerance_.measure == Tolerance::Measure::kAllClose ? " of the tolerance" : "";
    return {Kind::kPassed, absl::StrFormat("%d data set%s, %s %.2g%s", sets.size(), sets.size() == 1 ? "" : "s",
                                           MeasureName(tolerance_.measure), worst_, of)};
  }

 private:
  absl::StatusOr<Tolerance> ReadTolerance() const {
    Tolerance tolerance = options_.tolerance;
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

  DataSetOutcome RunSet(const Model& model, Session& session, const fs::path& set) {
    const ModelAccess::Impl& impl = ModelAccess::Get(model);
    absl::StatusOr<NamedTensors> inputs = ReadValues(set, "input", model.inputs(), impl.input_types);
    if (!inputs.ok()) return FromLoad(inputs.status());
    absl::StatusOr<NamedTensors> expected = ReadValues(set, "output", model.outputs(), impl.output_types);
    if (!expected.ok()) return FromLoad(expected.status());
    if (expected->size() != model.outputs().size()) {
      return BadInput(absl::StrCat("expected ", model.outputs().size(), " output_*.pb, found ", expected->size()));
    }
    absl::StatusOr<NamedTensors> outputs = session.Run(*inputs);
    if (!outputs.ok()) return FromRun(outputs.status());
    for (size_t i = 0; i < outputs->size(); ++i) {
      const auto& [name, got] = (*outputs)[i];
      auto want = std::find_if(expected->begin(), expected->end(), [&](const auto& e) { return e.first == name; });
      if (want == expected->end()) return BadInput(absl::StrCat("no file for output \"", name, "\""));
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
      if (!comparison.same) return {Kind::kFailed, absl::StrCat("output \"", name, "\" ", comparison.message)};
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
      if (options_.repeat_single_elements && value->value.is_tensor()) {
        RONDO_ASSIGN_OR_RETURN(Tensor repeated, RepeatSingle(value->value.tensor(), ports[port]));
        value->value = RuntimeValue(std::move(repeated));
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
  const DataSetOptions& options_;
  Tolerance tolerance_;
  double worst_ = 0;
};

}  // namespace

DataSetOutcome RunDataSets(const fs::path& folder, const DataSetOptions& options) {
  return DataSetRun(folder, options).Run();
}

bool HoldsModel(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".onnx") return true;
  }
  return false;
}

std::vector<fs::path> ModelFolders(const fs::path& folder) {
  std::vector<fs::path> children;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored) && HoldsModel(it->path())) children.push_back(it->path());
  }
  std::sort(children.begin(), children.end());
  return children;
}

std::string FolderName(const fs::path& folder) {
  std::error_code error;
  const fs::path name = folder.filename();
  return name.empty() || name == "." || name == ".." ? fs::weakly_canonical(folder, error).filename().string()
                                                     : name.string();
}

}  // namespace rondo
