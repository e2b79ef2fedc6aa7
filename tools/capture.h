// The options of commands that keep what a language model's layers hand on, and the files that it goes to.
#ifndef RONDO_TOOLS_CAPTURE_H_
#define RONDO_TOOLS_CAPTURE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rondo/generator.h"

namespace CLI {
class App;
}

namespace rondo {

struct CaptureCommand {
  std::string folder;  // "": nothing is kept
  std::string layers;  // "all", "0,3,11"; "" is all, unless values are named
  std::vector<std::string> values;
};

void AddCaptureOptions(CLI::App& app, CaptureCommand* command);
// What the options ask for, the folder made. Errors name the option.
absl::StatusOr<CaptureOptions> PrepareCapture(const CaptureCommand& command);
// FOLDER/NAME.safetensors: input_ids [rows], each value [rows, width]; how many rows are the prompt's as metadata.
absl::Status WriteCapture(const std::string& folder, const std::string& name, const CapturedSequence& sequence);

}  // namespace rondo

#endif  // RONDO_TOOLS_CAPTURE_H_
