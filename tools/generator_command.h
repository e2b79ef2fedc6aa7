// What the commands that run a language model share: its options, and what a run tells of itself.
#ifndef RONDO_TOOLS_GENERATOR_COMMAND_H_
#define RONDO_TOOLS_GENERATOR_COMMAND_H_

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "rondo/generator.h"
#include "tools/capture.h"
#include "tools/progress.h"

namespace CLI {
class App;
}

namespace rondo {

struct GeneratorCommand {
  GeneratorOptions options;
  std::string kv_dtype = "f32", prefill_rows, decode_batches;
  CaptureCommand capture;
};

// --max-length, --batch-size, the buckets, --precompile, --fail-on-miss, --cache-dir, --kv-dtype, --capture, and those
// of every model.
void AddGeneratorOptions(CLI::App& app, GeneratorCommand* command);

// Loads the model as the options say and prints its warnings. Compiling ahead draws into a bar that `*bar` keeps, which
// outlives the generator.
absl::StatusOr<Generator> LoadGenerator(const std::string& path, const GeneratorCommand& command,
                                        std::unique_ptr<ProgressBar>* bar);

// Lines for a person, and the members "timings", "kv_cache", "primitive_cache" and, with a directory, "cache_directory"
// of docs/cli.md.
std::string TimingsText(const GenerationResult& result, const CacheReport& report);
void AddTimings(const GenerationResult& result, const CacheReport& report, nlohmann::ordered_json* json);

}  // namespace rondo

#endif  // RONDO_TOOLS_GENERATOR_COMMAND_H_
