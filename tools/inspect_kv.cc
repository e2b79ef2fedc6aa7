#include "tools/inspect_kv.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "api/model_folder.h"
#include "executor/decoder.h"
#include "graph/status.h"
#include "importer/importer.h"
#include "tools/text.h"

namespace rondo {
namespace {

const char* LevelText(int level) {
  switch (level) {
    case 1:
      return "in place: new rows are written into a cache of fixed size, attention reads it there";
    default:
      return "as exported: every step makes a new, longer cache, or runs the whole sequence";
  }
}

}  // namespace

absl::StatusOr<KvReport> InspectKv(const std::string& path, const ModelOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const ModelFolder folder, ReadModelFolder(path, ""));
  ImportOptions import;
  import.follow_links = options.follow_links;
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportModel(folder.decoder, import));
  DecoderOptions decoder;
  decoder.program.threads = options.threads;
  decoder.program.disabled_rewrites = options.disabled_rewrites;
  absl::StatusOr<std::unique_ptr<Decoder>> made = Decoder::Create(std::move(imported.graph), decoder);
  if (!made.ok()) return Annotate(made.status(), absl::StrCat(folder.decoder, ": "));
  return (*made)->report();
}

std::string KvText(const KvReport& report) {
  std::string text = absl::StrCat("kv cache  level ", report.level, ", ", LevelText(report.level), "\n");
  if (!report.why.empty()) absl::StrAppend(&text, "  because   ", Printable(report.why, 1000), "\n");
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
  return json;
}

}  // namespace rondo
