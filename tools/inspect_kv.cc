#include "tools/inspect_kv.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "api/model_folder.h"
#include "api/model_impl.h"
#include "executor/decoder.h"
#include "graph/status.h"
#include "tools/text.h"

namespace rondo {
namespace {

const char* LevelText(int level) {
  switch (level) {
    case 1:
      return "in place: new rows are written into a cache of fixed size, attention reads it there";
    case 2:
      return "bucketed: every step makes a new cache, padded to a length from a short list and masked";
    default:
      return "as exported: every step makes a new, longer cache, or runs the whole sequence";
  }
}

// The caches that Loops and Scans of the graph carry.
absl::StatusOr<KvReport> InspectCarried(std::unique_ptr<Graph> graph, const ProgramOptions& options) {
  RONDO_ASSIGN_OR_RETURN(std::unique_ptr<Program> program, Program::Create(std::move(graph), options));
  KvReport report;
  report.carried = FindCarriedCaches(program->graph());
  report.level = 1;
  for (const CarriedCache& cache : report.carried) {
    if (cache.in_place || report.level != 1) continue;
    report.level = 3;
    report.why = absl::StrCat(cache.node, ", ", cache.input, ": ", cache.why);
  }
  return report;
}

}  // namespace

absl::StatusOr<KvReport> InspectKv(const std::string& path, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const ModelFolder folder, ReadModelFolder(path, ""));
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(folder.decoder, options));
  DecoderOptions decoder;
  decoder.program = ProgramOptionsOf(options);
  std::unique_ptr<Graph> copy = imported.graph->Clone();
  absl::StatusOr<std::unique_ptr<Decoder>> made = Decoder::Create(std::move(imported.graph), decoder);
  if (made.ok() && (*made)->ports().HasCache()) return (*made)->report();
  // No decoder of one step: perhaps it holds the loop over the steps itself.
  RONDO_ASSIGN_OR_RETURN(KvReport report, InspectCarried(std::move(copy), decoder.program));
  if (!report.carried.empty()) return report;
  if (!made.ok()) return Annotate(made.status(), absl::StrCat(folder.decoder, ": "));
  return (*made)->report();
}

std::string KvText(const KvReport& report) {
  const bool copied = report.level == 3 && !report.carried.empty();
  std::string text = absl::StrCat("kv cache  level ", report.level, ", ",
                                  copied ? "copied: a turn makes a new cache" : LevelText(report.level), "\n");
  if (!report.why.empty()) absl::StrAppend(&text, "  because   ", Printable(report.why, 1000), "\n");
  if (!report.carried.empty()) {
    TextTable carried({"carried cache", "next", "form", "shape", "axis", "start", "in place", "why not"}, "lllll");
    for (const CarriedCache& cache : report.carried) {
      carried.Add({Printable(cache.input, 60), Printable(cache.output, 60), cache.form, Printable(cache.shape, 60),
                   absl::StrCat(cache.axis), Printable(cache.start, 40), cache.in_place ? "yes" : "no",
                   Printable(cache.why, 200)});
    }
    absl::StrAppend(&text, carried.ToString("  "));
  }
  if (report.layers.empty()) return text;
  TextTable table({"layer", "key cache", "next", "form", "layout", "axis", "start", "length", "mask"}, "rlllll");
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const KvLayerReport& layer = report.layers[i];
    table.Add({absl::StrCat(i), Printable(layer.key_input, 60), Printable(layer.key_output, 60), layer.form,
               layer.layout, absl::StrCat(layer.axis), Printable(layer.start, 40), Printable(layer.length, 60),
               layer.mask});
  }
  return text + table.ToString("  ");
}

nlohmann::ordered_json KvJson(const KvReport& report) {
  nlohmann::ordered_json json = {{"level", report.level}, {"why", report.why}};
  json["layers"] = nlohmann::ordered_json::array();
  for (const KvLayerReport& layer : report.layers) {
    json["layers"].push_back({{"key_input", layer.key_input},
                              {"key_output", layer.key_output},
                              {"value_input", layer.value_input},
                              {"value_output", layer.value_output},
                              {"form", layer.form},
                              {"layout", layer.layout},
                              {"axis", layer.axis},
                              {"start", layer.start},
                              {"length", layer.length},
                              {"mask", layer.mask}});
  }
  if (report.carried.empty()) return json;
  json["carried"] = nlohmann::ordered_json::array();
  for (const CarriedCache& cache : report.carried) {
    json["carried"].push_back({{"node", cache.node},
                               {"input", cache.input},
                               {"output", cache.output},
                               {"form", cache.form},
                               {"shape", cache.shape},
                               {"axis", cache.axis},
                               {"start", cache.start},
                               {"level", cache.in_place ? 1 : 3},
                               {"why", cache.why}});
  }
  return json;
}

}  // namespace rondo
