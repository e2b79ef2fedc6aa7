#include "tools/generator_command.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "tools/allocation_counter.h"
#include "tools/cache_dir.h"
#include "tools/options.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<DataType> ParseKvDtype(const std::string& name) {
  if (name == "f32" || name == "float32") return DataType::kFloat;
  if (name == "f16" || name == "float16") return DataType::kFloat16;
  if (name == "bf16" || name == "bfloat16") return DataType::kBFloat16;
  if (name == "int8") return DataType::kInt8;
  return InvalidArgument("--kv-dtype: expected f32, f16, bf16 or int8, got \"", Printable(name), "\"");
}

double PerSecond(int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

}  // namespace

void AddGeneratorOptions(CLI::App& app, GeneratorCommand* command) {
  GeneratorOptions& o = command->options;
  app.add_option("--max-length", o.max_length, "Positions of a sequence, prompt included; default: as many as needed")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->type_name("N");
  app.add_option("--batch-size", o.sequences, "Sequences that are decoded together (8)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--prefill-rows", command->prefill_rows,
                 "Sizes of the pieces that prompts run in (8,16,32,64,96,128,192,256)")
      ->type_name("N,N,...");
  app.add_option("--decode-batches", command->decode_batches, "Sizes that decode batches are padded to (powers of two)")
      ->type_name("N,N,...");
  app.add_flag("--precompile", o.precompile, "Compile all of these shapes before the first step");
  app.add_flag("--fail-on-miss", o.model.fail_on_miss, "Then make it an error when a step has to compile something");
  AddCacheDirOption(app, &o.model.cache_dir);
  AddCaptureOptions(app, &command->capture);
  app.add_option("--kv-dtype", command->kv_dtype, "Element type of the KV cache (f32)")->type_name("f32|f16|bf16|int8");
  app.add_flag("--growing", o.growing, "Run the graph as exported, with a cache that grows: slow, for checking");
  app.add_option("--model-file", o.model_file, "Which .onnx file of the folder")->type_name("NAME");
  AddModelOptions(app, &o.model);
}

absl::StatusOr<Generator> LoadGenerator(const std::string& path, const GeneratorCommand& command,
                                        std::unique_ptr<ProgressBar>* bar) {
  GeneratorOptions options = command.options;
  options.allocation_counter = &AllocationCount;
  RONDO_ASSIGN_OR_RETURN(options.kv_dtype, ParseKvDtype(command.kv_dtype));
  RONDO_ASSIGN_OR_RETURN(options.prefill_rows, ParseBuckets("--prefill-rows", command.prefill_rows));
  RONDO_ASSIGN_OR_RETURN(options.decode_batches, ParseBuckets("--decode-batches", command.decode_batches));
  RONDO_ASSIGN_OR_RETURN(options.capture, PrepareCapture(command.capture));
  options.precompile_progress = ProgressInto(bar);
  RONDO_ASSIGN_OR_RETURN(Generator generator, Generator::Load(path, options));
  for (const std::string& warning : generator.warnings()) {
    absl::FPrintF(stderr, "rondo: warning: %s\n", Printable(warning, 1000));
  }
  return generator;
}

std::string TimingsText(const GenerationResult& result, const CacheReport& report) {
  const GenerationTimings& t = result.timings;
  const KvCacheSummary& kv = result.kv_cache;
  std::string text = absl::StrFormat(
      "load %s, buffers %s, first token %s\n"
      "prefill %s tokens in %s (%.1f tok/s), decode %s tokens in %s steps in %s (%.1f tok/s)\n",
      SecondsText(t.load_seconds), SecondsText(t.buffers_seconds), SecondsText(t.first_token_seconds),
      CountText(t.prefill_tokens), SecondsText(t.prefill_seconds), PerSecond(t.prefill_tokens, t.prefill_seconds),
      CountText(t.decode_tokens), CountText(t.decode_steps), SecondsText(t.decode_seconds),
      PerSecond(t.decode_tokens, t.decode_seconds));
  if (t.precompiled_shapes > 0) {
    absl::StrAppend(&text, "compiled ahead: ", t.precompiled_shapes, " shapes in ", SecondsText(t.precompile_seconds),
                    "\n");
  }
  absl::StrAppend(&text, "kv cache: ", kv.in_place ? "in place" : absl::StrCat("growing (", kv.why_growing, ")"), ", ",
                  kv.layers, " layers, ", kv.sequences, " sequences of ", CountText(kv.capacity), " positions, ",
                  kv.dtype, ", ", BytesText(static_cast<double>(kv.bytes)), "\n");
  absl::StrAppend(&text, "primitive cache: ", result.primitive_cache.hits, " hits, ", result.primitive_cache.misses,
                  " misses, after warm-up ", result.misses_after_warmup, " misses");
  if (result.capture_bytes > 0) {
    absl::StrAppend(&text, ", captures: ", BytesText(static_cast<double>(result.capture_bytes)));
  }
  if (t.allocations_after_warmup >= 0) absl::StrAppend(&text, ", ", t.allocations_after_warmup, " allocations");
  return absl::StrCat(text, "\n", CacheDirectoryText(report));
}

void AddTimings(const GenerationResult& result, const CacheReport& report, Json* json) {
  const GenerationTimings& t = result.timings;
  const KvCacheSummary& kv = result.kv_cache;
  const CacheStats& c = result.primitive_cache;
  (*json)["timings"] = {{"load_seconds", t.load_seconds},
                        {"buffers_seconds", t.buffers_seconds},
                        {"precompile_seconds", t.precompile_seconds},
                        {"precompiled_shapes", t.precompiled_shapes},
                        {"first_token_seconds", t.first_token_seconds},
                        {"prefill_seconds", t.prefill_seconds},
                        {"prefill_tokens", t.prefill_tokens},
                        {"prefill_tokens_per_second", PerSecond(t.prefill_tokens, t.prefill_seconds)},
                        {"decode_seconds", t.decode_seconds},
                        {"decode_tokens", t.decode_tokens},
                        {"decode_steps", t.decode_steps},
                        {"decode_tokens_per_second", PerSecond(t.decode_tokens, t.decode_seconds)},
                        {"allocations_after_warmup", t.allocations_after_warmup}};
  Json& kv_cache = (*json)["kv_cache"] = {{"in_place", kv.in_place},   {"dtype", kv.dtype},       {"layers", kv.layers},
                                          {"sequences", kv.sequences}, {"capacity", kv.capacity}, {"bytes", kv.bytes}};
  if (!kv.in_place) kv_cache["why_growing"] = kv.why_growing;
  (*json)["primitive_cache"] = {{"entries", c.entries},
                                {"hits", c.hits},
                                {"misses", c.misses},
                                {"creations", c.creations},
                                {"creation_seconds", c.creation_seconds},
                                {"plans_made", c.plans_made},
                                {"plan_seconds", c.plan_seconds},
                                {"misses_after_warmup", result.misses_after_warmup}};
  if (!report.directory.path.empty()) (*json)["cache_directory"] = CacheDirectoryJson(report);
}

}  // namespace rondo
