#include "tools/capture.h"

#include <CLI/CLI.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "graph/status.h"
#include "tools/files.h"
#include "tools/safetensors.h"
#include "tools/text.h"

namespace rondo {

void AddCaptureOptions(CLI::App& app, CaptureCommand* command) {
  app.add_option("--capture", command->folder,
                 "Write what the layers hand on (the residual stream), a row for each token, a .safetensors file for "
                 "each sequence")
      ->type_name("FOLDER");
  app.add_option("--capture-layers", command->layers, "Of these layers only, counted from 0 (all)")
      ->type_name("all|N,N,...");
  app.add_option("--capture-value", command->values, "A value of the model file by its name (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("NAME");
}

absl::StatusOr<CaptureOptions> PrepareCapture(const CaptureCommand& command) {
  CaptureOptions options;
  if (command.folder.empty()) {
    if (command.layers.empty() && command.values.empty()) return options;
    return InvalidArgument(command.layers.empty() ? "--capture-value" : "--capture-layers",
                           ": expected --capture with the folder for the files");
  }
  options.values = command.values;
  options.all_layers = command.layers == "all" || (command.layers.empty() && command.values.empty());
  if (!options.all_layers && !command.layers.empty()) {
    for (absl::string_view part : absl::StrSplit(command.layers, ',')) {
      int64_t layer;
      if (!absl::SimpleAtoi(part, &layer) || layer < 0) {
        return InvalidArgument("--capture-layers: expected all or numbers such as 0,3,11, got \"",
                               Printable(command.layers), "\"");
      }
      options.layers.push_back(layer);
    }
  }
  RONDO_RETURN_IF_ERROR(MakeDirectory(command.folder));
  return options;
}

absl::Status WriteCapture(const std::string& folder, const std::string& name, const CapturedSequence& sequence) {
  std::vector<std::pair<std::string, Tensor>> tensors = {{"input_ids", Tensor::FromInt64s(sequence.ids)}};
  for (const auto& [value, tensor] : sequence.values) tensors.emplace_back(value, tensor.tensor());
  return WriteSafetensors(absl::StrCat(folder, "/", name, ".safetensors"), tensors,
                          {{"prompt_tokens", absl::StrCat(sequence.prompt_tokens)}});
}

}  // namespace rondo
