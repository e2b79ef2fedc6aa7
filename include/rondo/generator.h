// Text from an exported language model.
//
//   auto generator = rondo::Generator::Load("model_dir");
//   auto result = generator->Generate({{.text = "Once upon a time"}}, {.max_new_tokens = 64});
//   puts(result->sequences[0].text.c_str());
//
// `model_dir` is what exporters write: Optimum's folder (model.onnx, config.json, tokenizer.json), onnxruntime-genai's
// (genai_config.json), the layout of transformers.js (onnx/model.onnx), an encoder and a decoder (T5, Whisper), or one
// bare .onnx file. A Generator serves one thread at a time.
#ifndef RONDO_GENERATOR_H_
#define RONDO_GENERATOR_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rondo/model.h"
#include "rondo/sampling.h"
#include "rondo/tensor.h"

namespace rondo {

// What of the decoder's inner values is kept, a row for each token (GenerateOptions::captured gets them).
struct CaptureOptions {
  bool all_layers = false;
  std::vector<int64_t> layers;      // the residual stream after these blocks, counted from 0: "layers.0"
  std::vector<std::string> values;  // others, by their names in the file
  bool any() const { return all_layers || !layers.empty() || !values.empty(); }
};

struct GeneratorOptions {
  // Threads, cache directory and so on. `plain` implies growing caches. `fail_on_miss`: precompiles, and then a step of
  // the decoder that has to compile something is an error.
  ModelOptions model;
  bool growing = false;                  // do not take the cache out of the graph
  std::string model_file;                // which .onnx file of the folder; "": model.onnx, or the only one
  int sequences = 8;                     // decoded together
  int64_t max_length = 0;                // positions per sequence; 0: what the prompts and max_new_tokens need
  DataType kv_dtype = DataType::kFloat;  // of the cache: float32, float16, bfloat16, int8
  // Rows of the plans that prompts run in, ascending: a prompt's pieces are padded to one of them. Sequences that are
  // decoded together are padded likewise, to these batches. Results do not depend on either. Empty: rondo's choice.
  std::vector<int64_t> prefill_rows;
  std::vector<int64_t> decode_batches;
  bool precompile = false;  // compile all of these shapes before the first step
  std::function<void(int64_t done, int64_t total, absl::string_view next)> precompile_progress;
  CaptureOptions capture;
  // Counts allocations of the process, when the program has such a counter; for GenerationTimings.
  int64_t (*allocation_counter)() = nullptr;
};

struct Prompt {
  std::string text;  // used when `ids` is empty
  std::vector<int64_t> ids;
  bool add_special_tokens = true;  // what the tokenizer puts around a text
  NamedTensors encoder_inputs;     // of a model with an encoder that takes no text
};

enum class FinishReason { kLength, kStop, kCancelled };
absl::string_view FinishReasonName(FinishReason reason);  // "length", "stop", "cancelled"

struct GeneratedSequence {
  int prompt = 0;        // index
  int continuation = 0;  // of the prompt
  std::vector<int64_t> prompt_ids;
  std::vector<int64_t> ids;  // the end token included, if the model ended it
  std::string text;          // "" without a tokenizer
  FinishReason finish = FinishReason::kLength;
  double score = 0;  // beam search: sum of log-probabilities over length^length_penalty
};

// What was captured of one sequence.
struct CapturedSequence {
  int prompt = 0, continuation = 0;
  std::vector<int64_t> ids;   // [rows]: the prompt, then what was made of it; a last token is not run and has no row
  int64_t prompt_tokens = 0;  // of the rows
  NamedTensors values;        // [rows, width] each, of the value's own type; views, good until the callback returns
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  int num_return = 1;         // continuations of each prompt
  int num_beams = 1;          // more than 1: beam search; num_return of them are returned
  double length_penalty = 1;  // beam search: scores are divided by length^length_penalty
  SamplingOptions sampling;
  std::vector<std::string> stop;  // strings that end a sequence; they are not part of its text
  bool ignore_eos = false;
  // Told of each sequence as it ends, in the order in which they end (beam search: when all of a prompt are through);
  // an error ends the call.
  std::function<absl::Status(const GeneratedSequence&)> ended;
  // Given what GeneratorOptions::capture names, of each sequence that has ended, in another thread, so that files can
  // be written while the next ones run; an error ends the call. Not for beam search.
  std::function<absl::Status(const CapturedSequence&)> captured;
};

struct GenerationTimings {
  double load_seconds = 0;     // files, rewrites
  double buffers_seconds = 0;  // the cache
  double precompile_seconds = 0;
  int64_t precompiled_shapes = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double first_token_seconds = 0;
  int64_t prefill_tokens = 0, decode_tokens = 0, decode_steps = 0;
  int64_t allocations_after_warmup = -1;  // in decode steps of shapes run before; -1: not counted
};

struct KvCacheSummary {
  bool in_place = false;
  std::string why_growing;
  std::string dtype;
  int64_t layers = 0;
  int64_t capacity = 0;  // positions per sequence
  int64_t sequences = 0;
  int64_t bytes = 0;
};

struct GenerationResult {
  std::vector<GeneratedSequence> sequences;  // by prompt, then continuation
  GenerationTimings timings;
  KvCacheSummary kv_cache;
  CacheStats primitive_cache;
  int64_t misses_after_warmup = 0;  // in steps of shapes that had been run before
  int64_t capture_bytes = 0;        // of the buffers
};

struct GenerationEvent {
  int prompt, continuation;
  int64_t token;
  absl::string_view text;  // what this token made certain: whole characters, perhaps none
};
using GenerationCallback = std::function<void(const GenerationEvent&)>;

class Generator {
 public:
  static absl::StatusOr<Generator> Load(const std::string& path, const GeneratorOptions& options = {});
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;
  ~Generator();

  // `callback` is told of every token as it is chosen (not in beam search). `cancel` is looked at between steps; what
  // was made until then is returned. Errors: prompts that are empty, too long or hold unknown tokens.
  absl::StatusOr<GenerationResult> Generate(absl::Span<const Prompt> prompts, const GenerateOptions& options = {},
                                            const GenerationCallback& callback = nullptr,
                                            const std::atomic<bool>* cancel = nullptr);

  // What was compiled, why, and what it cost.
  CacheReport cache_report() const;
  // As Model::SaveCache, of all models of the folder.
  absl::Status SaveCache() const;
  void SetCompileListener(CompileListener listener);  // null turns it off
  // Called after every step of the decoder; null turns it off.
  void SetStepListener(std::function<void(const StepEvent&)> listener);

  bool has_tokenizer() const;
  // The ids that Generate runs for a prompt of text.
  absl::StatusOr<std::vector<int64_t>> Encode(const Prompt& prompt) const;
  // The prompt that the model's chat template makes of messages, a JSON array of {"role", "content"}.
  absl::StatusOr<std::string> ApplyChatTemplate(const std::string& messages_json) const;
  // Things worth telling: a contradiction between the folder's files that changes no result, a window that the graph
  // lacks.
  const std::vector<std::string>& warnings() const;
  // Positions that a sequence may have: GeneratorOptions::max_length, else what the model was made for; 0: not known. A
  // prompt must be shorter.
  int64_t position_limit() const;

 private:
  struct Impl;
  explicit Generator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo

#endif  // RONDO_GENERATOR_H_
