// rondo run: one model, inputs from files or filled at random; a table of what came out and how long it took.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "importer/importer.h"
#include "rondo/model.h"
#include "tools/cache_dir.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/npy.h"
#include "tools/options.h"
#include "tools/text.h"
#include "tools/trace.h"
#include "tools/values.h"

namespace rondo {
namespace {

struct RunOptions {
  std::vector<std::string> positionals;
  InputRequest inputs;
  ModelOptions model;
  std::string output_dir, profile;
  int repeat = 3;
  bool precompile = false;
};

// Elements shown of each output.
constexpr int64_t kFirstElements = 4;

void AddOutputRow(const std::string& name, const RuntimeValue& value, TextTable* table) {
  if (!value.is_tensor()) {
    table->Add({Printable(name, 60), ValueTypeText(value), "", "", "", "", ""});
    if (value.is_map()) {
      AddOutputRow(absl::StrCat(name, " keys"), value.map().keys, table);
      AddOutputRow(absl::StrCat(name, " values"), value.map().values, table);
    }
    if (!value.is_sequence()) return;
    for (size_t i = 0; i < value.sequence().size(); ++i) {
      AddOutputRow(absl::StrCat(name, "[", i, "]"), value.sequence()[i], table);
    }
    return;
  }
  const Tensor& tensor = value.tensor();
  const Statistics s = ComputeStatistics(tensor);
  const auto number = [&](double v) { return s.defined ? absl::StrFormat("%.6g", v) : std::string("-"); };
  std::string first = FirstElementsText(tensor, kFirstElements);
  if (s.nans > 0) absl::StrAppend(&first, " (", s.nans, " NaN)");
  table->Add({Printable(name, 60), std::string(DataTypeName(tensor.dtype())), DimsToString(tensor.dims()),
              number(s.min), number(s.mean), number(s.max), first});
}

absl::Status WriteOutput(const std::string& folder, const std::string& name, const RuntimeValue& value,
                         absl::flat_hash_set<std::string>* used) {
  if (value.is_sequence()) {
    for (size_t i = 0; i < value.sequence().size(); ++i) {
      RONDO_RETURN_IF_ERROR(WriteOutput(folder, absl::StrCat(name, "_", i), value.sequence()[i], used));
    }
    return absl::OkStatus();
  }
  if (value.is_map()) {
    RONDO_RETURN_IF_ERROR(WriteOutput(folder, absl::StrCat(name, "_keys"), value.map().keys, used));
    return WriteOutput(folder, absl::StrCat(name, "_values"), value.map().values, used);
  }
  if (value.empty()) return absl::OkStatus();
  const std::string path = (std::filesystem::path(folder) / SafeFileName(name, used)).string() + ".npy";
  return WriteNpy(path, value.tensor());
}

// The timed life of a model: load, prepare, first run, repeats.
class Runner {
 public:
  explicit Runner(const RunOptions& options) : options_(options) {}

  absl::Status Run(const std::string& path, const InputRequest& request) {
    int64_t begin = NowNs();
    RONDO_ASSIGN_OR_RETURN(const Model model, Model::Load(path, options_.model));
    load_ = Phase("load", begin);
    for (const std::string& warning : model.summary().warnings) {
      absl::FPrintF(stderr, "rondo: warning: %s\n", Printable(warning, 1000));
    }
    if (!options_.profile.empty()) {
      model.SetCompileListener([this](const CompileEvent& event) { trace_.AddCompile(event); });
    }
    if (options_.precompile) RONDO_RETURN_IF_ERROR(Precompile(model, request.shapes));
    RONDO_ASSIGN_OR_RETURN(const PreparedInputs inputs, MakeInputs(model, request));
    Print(ChosenText(inputs.bound));

    // What was not compiled ahead is, with --fail-on-miss, the run's to find.
    if (!options_.precompile) {
      begin = NowNs();
      RONDO_ASSIGN_OR_RETURN(plan_, model.Prepare(inputs.bound.dims));
      prepare_ = Phase("prepare", begin);
    }

    Session session(model);
    if (!options_.profile.empty()) {
      session.SetStepListener([this](const StepEvent& event) { trace_.AddStep(event); });
    }
    begin = NowNs();
    RONDO_ASSIGN_OR_RETURN(NamedTensors outputs, session.Run(inputs.tensors));
    first_ = Phase("first run", begin);
    after_first_ = model.cache_counters();
    for (int i = 0; i < options_.repeat; ++i) {
      begin = NowNs();
      RONDO_RETURN_IF_ERROR(session.Run(inputs.tensors).status());
      repeats_.push_back(Phase(absl::StrCat("run ", i + 2), begin));
    }
    after_all_ = model.cache_counters();
    model.SetCompileListener(nullptr);
    packed_ = model.packed_weight_bytes();
    (void)model.SaveCache();  // among the problems of the report
    report_ = model.cache_report();
    WarnOfCacheProblems(report_.directory);

    PrintOutputs(outputs);
    PrintFigures();
    return WriteFiles(outputs);
  }

 private:
  absl::Status Precompile(const Model& model, const std::vector<std::string>& shapes) {
    const int64_t begin = NowNs();
    RONDO_ASSIGN_OR_RETURN(const BoundDims bound, ChooseDims(model, {}, shapes));
    RONDO_ASSIGN_OR_RETURN(plan_, model.Prepare(bound.dims));
    std::unique_ptr<ProgressBar> bar;
    RONDO_RETURN_IF_ERROR(model.PrepareKnown(ProgressInto(&bar)).status());
    prepare_ = Phase("precompile", begin);
    return absl::OkStatus();
  }

  double Phase(const std::string& name, int64_t begin) {
    const int64_t end = NowNs();
    if (!options_.profile.empty()) trace_.AddPhase(name, begin, end);
    return static_cast<double>(end - begin) * 1e-9;
  }

  static void PrintOutputs(const NamedTensors& outputs) {
    TextTable table({"output", "type", "shape", "min", "mean", "max", "first values"}, "lllrrrl");
    for (const auto& [name, value] : outputs) AddOutputRow(name, value, &table);
    Print(table.ToString());
  }

  void PrintFigures() const {
    Print(absl::StrCat("\nload ", SecondsText(load_), ", prepare ", SecondsText(prepare_), ", first run ",
                       SecondsText(first_)));
    if (!repeats_.empty())
      Print(absl::StrCat(", median of ", repeats_.size(), " more ", SecondsText(Median(repeats_))));
    Print(absl::StrCat("\nplan: ", plan_.steps, " steps, ", plan_.folded_nodes, " nodes folded, arena ",
                       BytesText(static_cast<double>(plan_.arena_bytes)), " for values of ",
                       BytesText(static_cast<double>(plan_.value_bytes)), ", packed weights ",
                       BytesText(static_cast<double>(packed_)),
                       plan_.complete ? "" : "; the rest is planned in the run (shapes depend on data)", "\n"));
    const CacheStats& c = after_first_;
    Print(absl::StrCat("primitive cache after the first run: ", c.entries, " entries, ", c.hits, " hits, ", c.misses,
                       " misses, ", c.creations, " created in ", SecondsText(c.creation_seconds), ", ", c.evictions,
                       " evicted, ", BytesText(static_cast<double>(c.bytes)), "\n", CacheDirectoryText(report_)));
    if (repeats_.empty()) return;
    Print(absl::StrCat("repeat runs: ", after_all_.misses - c.misses, " misses, ", after_all_.creations - c.creations,
                       " created\n"));
  }

  absl::Status WriteFiles(const NamedTensors& outputs) {
    if (!options_.output_dir.empty()) {
      RONDO_RETURN_IF_ERROR(MakeDirectory(options_.output_dir));
      absl::flat_hash_set<std::string> used;
      for (const auto& [name, value] : outputs) {
        RONDO_RETURN_IF_ERROR(WriteOutput(options_.output_dir, name, value, &used));
      }
      Print(absl::StrCat("outputs written to ", Printable(options_.output_dir), "\n"));
    }
    if (!options_.profile.empty()) {
      RONDO_RETURN_IF_ERROR(WriteFile(options_.profile, trace_.ToJson()));
      Print(absl::StrCat("profile written to ", Printable(options_.profile), " (open it in ui.perfetto.dev)\n"));
    }
    return absl::OkStatus();
  }

  const RunOptions& options_;
  Trace trace_;
  PlanInfo plan_;
  CacheStats after_first_, after_all_;
  CacheReport report_;
  size_t packed_ = 0;
  double load_ = 0, prepare_ = 0, first_ = 0;
  std::vector<double> repeats_;
};

int RunMain(RunOptions& options) {
  const absl::StatusOr<Positionals> positionals = SortPositionals(options.positionals);
  if (!positionals.ok()) return Fail(Annotate(positionals.status(), "run: "));
  InputRequest request = options.inputs;
  request.files.insert(request.files.end(), positionals->inputs.begin(), positionals->inputs.end());
  request.shapes.insert(request.shapes.end(), positionals->shapes.begin(), positionals->shapes.end());
  const absl::Status status = Runner(options).Run(positionals->model, request);
  return status.ok() ? kOk : Fail(status);
}

}  // namespace

std::function<int()> DeclareRun(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  app.add_option("MODEL", options->positionals, "An .onnx file, or a folder that holds one")->type_name("");
  app.add_option("--input", options->inputs.files, "An input's value, from an .npy or .pb (TensorProto) file")
      ->allow_extra_args(false)
      ->type_name("NAME=FILE");
  app.add_option("--shape", options->inputs.shapes,
                 "Dims of an input that is filled, or the number of a symbolic dim (batch=4)")
      ->allow_extra_args(false)
      ->type_name("NAME=1x3x224x224");
  app.add_option("--random", options->inputs.seed, "Fill the inputs that are not given, from this seed")
      ->type_name("SEED");
  app.add_option("--output-dir", options->output_dir, "Write every output to DIR/<name>.npy")->type_name("DIR");
  app.add_option("--repeat", options->repeat, "Further runs after the first one, for the median (3)")
      ->check(CLI::Range(0, 1000000))
      ->type_name("N");
  app.add_option("--profile,--trace", options->profile,
                 "Write a timeline of everything compiled and every step, in Chrome's format")
      ->type_name("FILE");
  app.add_flag("--precompile", options->precompile,
               "Compile for the dims of --shape (defaults for the rest), before the inputs are looked at; with a cache "
               "directory also for all dims that earlier processes ran");
  app.add_flag("--fail-on-miss", options->model.fail_on_miss,
               "Make it an error when a run has to compile something that was not compiled ahead");
  AddModelOptions(app, &options->model);
  AddCacheDirOption(app, &options->model.cache_dir);
  app.footer(
      "Examples:\n"
      "  rondo run resnet50.onnx --random 1 --shape x=1x3x224x224\n"
      "  rondo run bert/ --input input_ids=ids.npy --input attention_mask=mask.npy --output-dir out\n"
      "  rondo run decoder/ --random 1 --shape batch_size=1 --shape sequence_length=32 --profile trace.json");
  return [options] { return RunMain(*options); };
}

}  // namespace rondo
