// rondo inspect: what a model file holds, what rondo makes of it, and what a shape binding would take.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/rewrites/rewrite.h"
#include "graph/status.h"
#include "rondo/model.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/inspect_kv.h"
#include "tools/options.h"
#include "tools/text.h"

namespace rondo {
namespace {

struct InspectOptions {
  std::vector<std::string> positionals, shapes;
  ModelOptions model;
  bool json = false, rewrites = false, kv = false;
  std::string dot;
};

// A plan for one binding of the dims.
struct Planned {
  BoundDims bound;
  PlanInfo plan;
  size_t packed_weight_bytes = 0;
  std::map<std::string, int64_t> implementations;
};

absl::StatusOr<Planned> MakePlan(const std::string& path, const ModelOptions& options,
                                 const std::vector<std::string>& shapes) {
  ModelOptions unkept = options;
  unkept.cache_dir = kNoCacheDir;  // whoever only looks leaves no trace
  RONDO_ASSIGN_OR_RETURN(const Model model, Model::Load(path, unkept));
  Planned planned;
  RONDO_ASSIGN_OR_RETURN(planned.bound, ChooseDims(model, /*given=*/{}, shapes));
  RONDO_ASSIGN_OR_RETURN(planned.plan, model.Prepare(planned.bound.dims));
  planned.packed_weight_bytes = model.packed_weight_bytes();
  planned.implementations = model.implementations();
  return planned;
}

std::string RewriteNote(const ModelSummary::RewriteCount& rewrite) {
  return rewrite.disabled ? "switched off" : rewrite.fired == 0 ? "found nothing to do" : "";
}

std::string RewriteDescription(const std::string& name) {
  for (const Rewrite& rewrite : AllRewrites()) {
    if (rewrite.name == name) return std::string(rewrite.description);
  }
  return "";
}

class TextReport {
 public:
  explicit TextReport(const ModelSummary& summary) : summary_(summary) {}

  void PrintAll(bool all_rewrites) const {
    PrintHead();
    PrintPorts("input", summary_.inputs);
    PrintPorts("output", summary_.outputs);
    PrintOperators();
    PrintParameters();
    PrintUnsupported();
    PrintRewrites(all_rewrites);
  }

  static void PrintPlan(const Planned& planned) {
    TextTable dims({"input", "dims"});
    for (const auto& [name, d] : planned.bound.dims) dims.Add({Printable(name, 60), DimsToString(d)});
    Print(absl::StrCat("\nplan for\n", dims.ToString("  "), ChosenText(planned.bound)));
    const PlanInfo& plan = planned.plan;
    Print(absl::StrCat("  steps          ", plan.steps, " (", plan.folded_nodes, " nodes folded)\n"));
    Print(absl::StrCat("  arena          ", BytesText(static_cast<double>(plan.arena_bytes)), " (", plan.arena_bytes,
                       " bytes) for values of ", BytesText(static_cast<double>(plan.value_bytes)), "\n"));
    Print(absl::StrCat("  packed weights ", BytesText(static_cast<double>(planned.packed_weight_bytes)), "\n"));
    if (!plan.complete) Print("  the rest is planned in the run, when shapes that depend on data are known\n");
    TextTable kernels({"kernels", "steps"}, "lr");
    for (const auto& [name, count] : planned.implementations) kernels.Add({name, absl::StrCat(count)});
    if (!kernels.empty()) Print(kernels.ToString("  "));
  }

 private:
  void PrintHead() const {
    std::vector<std::string> opsets;
    for (const auto& [domain, version] : summary_.opsets) {
      opsets.push_back(absl::StrCat(domain.empty() ? "ai.onnx" : Printable(domain), " ", version));
    }
    Print(absl::StrCat("model     ", Printable(summary_.path, 500), "\n"));
    Print(absl::StrCat("producer  ", summary_.producer.empty() ? "not stated" : Printable(summary_.producer), "\n"));
    Print(absl::StrCat("ir        ", summary_.ir_version, "\n"));
    Print(absl::StrCat("opset     ", absl::StrJoin(opsets, ", "), "\n"));
    for (const std::string& warning : summary_.warnings)
      Print(absl::StrCat("warning   ", Printable(warning, 500), "\n"));
  }

  static void PrintPorts(const std::string& what, const std::vector<PortInfo>& ports) {
    TextTable table({what, "type"});
    for (const PortInfo& port : ports) {
      table.Add(
          {Printable(port.name, 80), absl::StrCat(Printable(port.type), port.optional ? " (has a default)" : "")});
    }
    Print(absl::StrCat("\n", table.ToString()));
  }

  void PrintOperators() const {
    std::map<std::string, std::pair<int64_t, int64_t>> counts;  // in the file, after the rewrites
    int64_t before = 0, after = 0;
    for (const OperatorCount& op : summary_.operators) counts[op.op].first += op.count, before += op.count;
    for (const OperatorCount& op : summary_.optimized_operators) counts[op.op].second += op.count, after += op.count;
    const bool both = !summary_.optimized_operators.empty();
    TextTable table(both ? std::vector<std::string>{"operator", "count", "after rewrites"}
                         : std::vector<std::string>{"operator", "count"},
                    "lrr");
    const auto add = [&](const std::string& name, int64_t a, int64_t b) {
      std::vector<std::string> row = {name, CountText(a)};
      if (both) row.push_back(CountText(b));
      table.Add(std::move(row));
    };
    for (const auto& [op, count] : counts) add(Printable(op, 80), count.first, count.second);
    add("all", before, after);
    Print(absl::StrCat("\n", table.ToString()));
  }

  void PrintParameters() const {
    TextTable table({"parameters", "count", "bytes"}, "lrr");
    int64_t count = 0, bytes = 0;
    for (const ModelSummary::TypeBytes& p : summary_.parameters) {
      table.Add({p.dtype, CountText(p.parameters), CountText(p.bytes)});
      count += p.parameters;
      bytes += p.bytes;
    }
    table.Add({"all", CountText(count), CountText(bytes)});
    Print(absl::StrCat("\n", table.ToString()));
  }

  void PrintUnsupported() const {
    if (summary_.unsupported.empty()) return Print("\nunsupported operators: none\n");
    Print(absl::StrCat("\nunsupported operators: ", summary_.unsupported.size(), "\n"));
    for (const std::string& op : summary_.unsupported) Print(absl::StrCat("  ", Printable(op, 500), "\n"));
  }

  void PrintRewrites(bool all) const {
    if (summary_.rewrites.empty()) return;
    TextTable table(all ? std::vector<std::string>{"rewrite", "fired", "", "what it does"}
                        : std::vector<std::string>{"rewrite", "fired"},
                    "lr");
    for (const ModelSummary::RewriteCount& rewrite : summary_.rewrites) {
      if (all) {
        table.Add({rewrite.name, absl::StrCat(rewrite.fired), RewriteNote(rewrite), RewriteDescription(rewrite.name)});
      } else if (rewrite.fired > 0) {
        table.Add({rewrite.name, absl::StrCat(rewrite.fired)});
      }
    }
    Print(table.empty() ? std::string("\nrewrites: none fired\n") : absl::StrCat("\n", table.ToString()));
  }

  const ModelSummary& summary_;
};

nlohmann::json PortsJson(const std::vector<PortInfo>& ports) {
  nlohmann::json list = nlohmann::json::array();
  for (const PortInfo& port : ports) {
    nlohmann::json entry = {{"name", port.name},
                            {"type", port.type},
                            {"element_type", std::string(DataTypeName(port.dtype))},
                            {"has_default", port.optional}};
    if (port.has_rank) {
      entry["dims"] = nlohmann::json::array();
      for (size_t i = 0; i < port.dims.size(); ++i) {
        if (port.dims[i] >= 0) {
          entry["dims"].push_back(port.dims[i]);
        } else {
          entry["dims"].push_back(port.dim_names[i]);
        }
      }
    }
    list.push_back(std::move(entry));
  }
  return list;
}

nlohmann::json OperatorsJson(const std::vector<OperatorCount>& operators) {
  nlohmann::json list = nlohmann::json::array();
  for (const OperatorCount& op : operators) {
    list.push_back({{"operator", op.op}, {"version", op.version}, {"count", op.count}});
  }
  return list;
}

std::string JsonReport(const ModelSummary& summary, const Planned* planned) {
  nlohmann::json opsets = nlohmann::json::object();
  for (const auto& [domain, version] : summary.opsets) opsets[domain.empty() ? "ai.onnx" : domain] = version;
  nlohmann::json parameters = nlohmann::json::array();
  for (const ModelSummary::TypeBytes& p : summary.parameters) {
    parameters.push_back({{"element_type", p.dtype}, {"count", p.parameters}, {"bytes", p.bytes}});
  }
  nlohmann::json rewrites = nlohmann::json::array();
  for (const ModelSummary::RewriteCount& rewrite : summary.rewrites) {
    rewrites.push_back({{"name", rewrite.name}, {"fired", rewrite.fired}, {"disabled", rewrite.disabled}});
  }
  nlohmann::json report = {{"path", summary.path},
                           {"producer", summary.producer},
                           {"ir_version", summary.ir_version},
                           {"opsets", opsets},
                           {"warnings", summary.warnings},
                           {"inputs", PortsJson(summary.inputs)},
                           {"outputs", PortsJson(summary.outputs)},
                           {"operators", OperatorsJson(summary.operators)},
                           {"optimized_operators", OperatorsJson(summary.optimized_operators)},
                           {"parameters", parameters},
                           {"unsupported", summary.unsupported},
                           {"rewrites", rewrites}};
  if (planned != nullptr) {
    nlohmann::json dims = nlohmann::json::object();
    for (const auto& [name, d] : planned->bound.dims) dims[name] = d;
    report["plan"] = {{"dims", dims},
                      {"steps", planned->plan.steps},
                      {"folded_nodes", planned->plan.folded_nodes},
                      {"arena_bytes", planned->plan.arena_bytes},
                      {"value_bytes", planned->plan.value_bytes},
                      {"packed_weight_bytes", planned->packed_weight_bytes},
                      {"complete", planned->plan.complete},
                      {"implementations", planned->implementations}};
  }
  return report.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

absl::Status Inspect(const InspectOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const Positionals positionals, SortPositionals(options.positionals));
  if (options.kv) {
    RONDO_ASSIGN_OR_RETURN(const KvReport report, InspectKv(positionals.model, options.model));
    Print(options.json ? KvJson(report).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
                       : KvText(report));
    return absl::OkStatus();
  }
  if (!positionals.inputs.empty())
    return InvalidArgument("unexpected argument \"", Printable(positionals.inputs[0]), "\"");
  std::vector<std::string> shapes = options.shapes;
  shapes.insert(shapes.end(), positionals.shapes.begin(), positionals.shapes.end());
  RONDO_ASSIGN_OR_RETURN(const ModelSummary summary, Model::Inspect(positionals.model, options.model));
  std::optional<Planned> planned;
  if (!shapes.empty()) {
    RONDO_ASSIGN_OR_RETURN(planned, MakePlan(positionals.model, options.model, shapes));
  }
  if (options.json) {
    Print(JsonReport(summary, planned.has_value() ? &*planned : nullptr));
  } else {
    TextReport(summary).PrintAll(options.rewrites);
    if (planned.has_value()) TextReport::PrintPlan(*planned);
  }
  if (options.dot.empty()) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(const std::string dot, Model::Dot(positionals.model, options.model));
  RONDO_RETURN_IF_ERROR(WriteFile(options.dot, dot));
  if (!options.json) {
    Print(absl::StrCat("\npicture written to ", Printable(options.dot), " (dot -Tsvg ", Printable(options.dot), ")\n"));
  }
  return absl::OkStatus();
}

}  // namespace

std::function<int()> DeclareInspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  app.add_option("MODEL", options->positionals, "An .onnx file, or a folder that holds one")->type_name("");
  app.add_flag("--json", options->json, "Print everything as JSON");
  app.add_flag("--rewrites", options->rewrites, "List all rewrites: what fired, what did not and why");
  app.add_flag("--kv", options->kv, "Show how a language model keeps its KV cache, layer by layer");
  app.add_option(
         "--shape", options->shapes,
         "Plan for these dims of an input, or for this number of a symbolic dim (batch=4), and tell the arena's "
         "size; other symbolic dims get a default, which is printed")
      ->allow_extra_args(false)
      ->type_name("NAME=1x3x224x224");
  app.add_option("--dot", options->dot, "Write a picture of the rewritten graph for Graphviz")->type_name("FILE");
  AddModelOptions(app, &options->model);
  return [options] {
    const absl::Status status = Inspect(*options);
    return status.ok() ? kOk : Fail(Annotate(status, "inspect: "));
  };
}

}  // namespace rondo
