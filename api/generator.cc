#include "rondo/generator.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "api/encoder.h"
#include "api/model_folder.h"
#include "api/model_impl.h"
#include "api/sequence_maker.h"
#include "executor/activation_recorder.h"
#include "executor/beam_search.h"
#include "executor/decoder.h"
#include "executor/loop_executor.h"
#include "graph/status.h"
#include "ops/primitive_cache.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace rondo {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

RecordSink SinkFor(const std::function<absl::Status(const CapturedSequence&)>& captured) {
  if (!captured) return nullptr;
  return [&captured](const RecordedSequence& from) {
    CapturedSequence sequence;
    sequence.prompt = from.request;
    sequence.continuation = from.continuation;
    sequence.ids = from.tokens;
    sequence.prompt_tokens = from.prompt_tokens;
    for (size_t i = 0; i < from.names.size(); ++i) sequence.values.emplace_back(from.names[i], from.values[i]);
    return captured(sequence);
  };
}

}  // namespace

absl::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "?";
}

struct Generator::Impl {
  GeneratorOptions options;
  ModelFolder folder;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<ModelCache> cache;  // of the decoder; after it: it looks at it when it goes
  std::unique_ptr<EncoderSide> encoder;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::vector<std::string> warnings;
  double load_seconds = 0;

  StepHook hook;  // outlives the loop that it is set in
  std::unique_ptr<LoopExecutor> loop;
  std::unique_ptr<ActivationRecorder> recorder;  // of what the loop's runner captures; null: nothing
  StepRunnerOptions loop_options;                // that `loop` was made with
  double buffers_seconds = 0, precompile_seconds = 0;
  int64_t precompiled_shapes = 0;

  absl::Status LoadParts(const std::string& path);
  absl::Status CheckConfig();
  absl::StatusOr<std::vector<int64_t>> Encode(const Prompt& prompt) const;
  absl::StatusOr<std::vector<LoopRequest>> MakeRequests(absl::Span<const Prompt> prompts,
                                                        const GenerateOptions& generate);
  absl::Status EnsureLoop(absl::Span<const LoopRequest> requests, const GenerateOptions& generate);
  absl::Status Precompile(absl::Span<const LoopRequest> requests);
  absl::Status RunLoop(absl::Span<const LoopRequest> requests, const GenerateOptions& generate,
                       const GenerationCallback& callback, const std::atomic<bool>* cancel, GenerationResult* result);
  absl::Status RecordEnd(const LoopRequest& request, const LoopEnd& ended);
  absl::Status RunBeams(absl::Span<const LoopRequest> requests, const GenerateOptions& generate,
                        const std::atomic<bool>* cancel, GenerationResult* result);
  absl::StatusOr<std::string> Decode(absl::Span<const int64_t> ids) const;
  int64_t PositionLimit() const { return options.max_length > 0 ? options.max_length : folder.context_length; }
  void Summarize(GenerationResult* result) const;
};

absl::Status Generator::Impl::LoadParts(const std::string& path) {
  RONDO_ASSIGN_OR_RETURN(folder, ReadModelFolder(path, options.model_file));
  const ModelOptions& model = options.model;
  cache = std::make_unique<ModelCache>(model, folder.decoder);
  if (folder.has_tokenizer) {
    RONDO_ASSIGN_OR_RETURN(tokenizer, text::Tokenizer::Load(folder.path));
  }
  RONDO_ASSIGN_OR_RETURN(ImportedModel imported, ImportFor(folder.decoder, model));
  for (const std::string& warning : imported.warnings) warnings.push_back(warning);
  DecoderOptions decoder_options;
  decoder_options.growing = options.growing;
  decoder_options.captures = {options.capture.values, options.capture.all_layers, options.capture.layers};
  decoder_options.program = ProgramOptionsOf(model);
  // Every bucket keeps its plan.
  decoder_options.program.max_plans +=
      static_cast<int64_t>(options.prefill_rows.size() + options.decode_batches.size());
  cache->Bind(imported, &decoder_options.program);
  absl::StatusOr<std::unique_ptr<Decoder>> made = Decoder::Create(std::move(imported.graph), decoder_options);
  if (!made.ok()) return Annotate(made.status(), absl::StrCat(folder.decoder, ": "));
  decoder = *std::move(made);
  cache->Attach(&decoder->program());
  if (!folder.encoder.empty()) {
    ModelOptions encoder_options = model;
    encoder_options.fail_on_miss = false;  // it is run once for a prompt, in the shape of its input
    RONDO_ASSIGN_OR_RETURN(encoder, EncoderSide::Load(folder, encoder_options));
    if (folder.decoder_start_token < 0) {
      return InvalidArgument(path, ": expected decoder_start_token_id in config.json or generation_config.json");
    }
  } else if (!decoder->other_inputs().empty()) {
    return InvalidArgument(folder.decoder, ": the decoder needs \"",
                           decoder->program().graph().inputs()[decoder->other_inputs()[0]]->name(),
                           "\": expected an encoder_model.onnx in the folder that gives it");
  }
  return CheckConfig();
}

// What the configuration says against what the graph has.
absl::Status Generator::Impl::CheckConfig() {
  const auto contradicts = [&](absl::string_view what, int64_t config, int64_t graph) -> absl::Status {
    return InvalidArgument(folder.path, ": the configuration says ", what, " ", config, ", the graph of ",
                           folder.decoder, " has ", graph);
  };
  if (folder.vocabulary > 0 && decoder->vocabulary() > 0 && folder.vocabulary > decoder->vocabulary()) {
    return contradicts("vocab_size", folder.vocabulary, decoder->vocabulary());
  }
  const std::vector<KvLayer>& layers = decoder->layers();
  if (folder.layers > 0 && !layers.empty() && folder.layers < static_cast<int64_t>(layers.size())) {
    return contradicts("num_hidden_layers", folder.layers, static_cast<int64_t>(layers.size()));
  }
  bool windows = false;
  for (const KvLayer& layer : layers) windows |= layer.window > 0;
  if (folder.sliding_window > 0 && decoder->in_place() && !windows) {
    warnings.push_back(absl::StrCat("the configuration says sliding_window ", folder.sliding_window,
                                    ", the graph attends to everything: beyond that many positions its results ",
                                    "are not the original model's"));
  }
  if (tokenizer != nullptr && decoder->vocabulary() > 0 && tokenizer->vocab_size() > decoder->vocabulary()) {
    warnings.push_back(
        absl::StrCat("the tokenizer has ", tokenizer->vocab_size(), " tokens, the model ", decoder->vocabulary()));
  }
  if (decoder->in_place() && decoder->max_length() > 0 && folder.context_length > decoder->max_length()) {
    folder.context_length = decoder->max_length();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> Generator::Impl::Encode(const Prompt& prompt) const {
  if (!prompt.ids.empty()) return prompt.ids;
  if (prompt.text.empty()) return InvalidArgument("the prompt is empty");
  if (tokenizer == nullptr) {
    return InvalidArgument(folder.path, " has no tokenizer.json: give the prompt as token ids (--prompt-ids)");
  }
  RONDO_ASSIGN_OR_RETURN(text::Encoding encoding, tokenizer->Encode(prompt.text, prompt.add_special_tokens));
  return std::move(encoding.ids);
}

absl::StatusOr<std::vector<LoopRequest>> Generator::Impl::MakeRequests(absl::Span<const Prompt> prompts,
                                                                       const GenerateOptions& generate) {
  std::vector<LoopRequest> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string prefix = absl::StrCat("prompt ", i, ": ");
    LoopRequest request;
    request.max_new_tokens = generate.max_new_tokens;
    request.continuations = generate.num_return;
    request.sampling = generate.sampling;
    if (!generate.ignore_eos) request.stop_tokens = folder.eos_tokens;
    const bool with_files = !prompts[i].encoder_inputs.empty();
    std::vector<int64_t> ids;
    if (!with_files) {
      absl::StatusOr<std::vector<int64_t>> encoded = Encode(prompts[i]);
      if (!encoded.ok()) return Annotate(encoded.status(), prefix);
      ids = *std::move(encoded);
    }
    if (encoder != nullptr) {
      absl::StatusOr<std::vector<RuntimeValue>> others =
          encoder->Run(*decoder, ids, prompts[i].encoder_inputs, folder.decoder_start_token);
      if (!others.ok()) return Annotate(others.status(), prefix);
      request.others = *std::move(others);
      request.prompt =
          with_files && !prompts[i].ids.empty() ? prompts[i].ids : std::vector<int64_t>{folder.decoder_start_token};
    } else if (with_files) {
      return InvalidArgument(prefix, "the model has no encoder to feed files to");
    } else {
      request.prompt = std::move(ids);
    }
    const int64_t length = static_cast<int64_t>(request.prompt.size());
    const int64_t limit = PositionLimit();
    if (limit > 0 && length >= limit) {
      return OutOfRange(prefix, length, " tokens, ",
                        options.max_length > 0 ? "the maximal length is " : "the model was made for ", limit,
                        " positions");
    }
    // What fits: the model knows no positions beyond.
    if (limit > 0) request.max_new_tokens = std::min(request.max_new_tokens, limit - length + 1);
    requests.push_back(std::move(request));
  }
  return requests;
}

absl::Status Generator::Impl::EnsureLoop(absl::Span<const LoopRequest> requests, const GenerateOptions& generate) {
  int64_t longest = 0, longest_prompt = 0, sequences = 0;
  bool shares = generate.num_beams > 1;
  for (const LoopRequest& request : requests) {
    const int64_t prompt = static_cast<int64_t>(request.prompt.size());
    longest = std::max(longest, prompt + request.max_new_tokens);
    longest_prompt = std::max(longest_prompt, prompt);
    sequences += request.continuations;
    shares |= request.continuations > 1;
  }
  StepRunnerOptions wanted;
  wanted.sequences = static_cast<int>(std::min<int64_t>(sequences, std::max(options.sequences, 1)));
  if (generate.num_beams > 1) wanted.sequences = 2 * generate.num_beams;  // old and new beams side by side
  wanted.max_length = options.max_length > 0 ? options.max_length : longest;
  wanted.prompts = shares ? 1 : 0;
  wanted.max_prompt = shares ? longest_prompt : 0;
  wanted.kv_dtype = options.kv_dtype;
  wanted.allocation_counter = options.allocation_counter;
  if (!options.prefill_rows.empty()) wanted.prefill_rows = options.prefill_rows;
  wanted.decode_batches = options.decode_batches;
  wanted.fail_on_miss = options.model.fail_on_miss;
  if (loop != nullptr && wanted.sequences <= loop_options.sequences && wanted.max_length <= loop_options.max_length &&
      wanted.prompts <= loop_options.prompts && wanted.max_prompt <= loop_options.max_prompt) {
    return absl::OkStatus();
  }
  const auto begin = std::chrono::steady_clock::now();
  recorder.reset();
  loop.reset();  // its memory first
  RONDO_ASSIGN_OR_RETURN(loop, LoopExecutor::Create(*decoder, wanted));
  if (options.capture.any()) {
    auto made = ActivationRecorder::Create(*decoder, &loop->runner(), std::max(wanted.max_length, wanted.max_prompt));
    if (!made.ok()) {
      loop.reset();  // the next call is to fail as well
      return made.status();
    }
    recorder = *std::move(made);
  }
  loop_options = wanted;
  loop->runner().SetHook(hook ? &hook : nullptr);
  buffers_seconds = SecondsSince(begin);
  if (!options.precompile && !options.model.fail_on_miss) return absl::OkStatus();
  absl::Status status = Precompile(requests);
  if (!status.ok()) {  // likewise
    recorder.reset();
    loop.reset();
  }
  return status;
}

absl::Status Generator::Impl::Precompile(absl::Span<const LoopRequest> requests) {
  const auto begin = std::chrono::steady_clock::now();
  StepRunner& runner = loop->runner();
  if (!requests[0].others.empty()) RONDO_RETURN_IF_ERROR(runner.SetOthers(0, requests[0].others));
  RONDO_ASSIGN_OR_RETURN(const std::vector<PrecompiledShape> shapes, runner.Precompile(options.precompile_progress));
  precompiled_shapes = static_cast<int64_t>(shapes.size());
  precompile_seconds = SecondsSince(begin);
  // A server may never end in an orderly way. What could not be written is among the report's problems.
  (void)cache->Save();
  return absl::OkStatus();
}

absl::StatusOr<std::string> Generator::Impl::Decode(absl::Span<const int64_t> ids) const {
  if (tokenizer == nullptr) return std::string();
  text::DecodeOptions decode;
  decode.skip_unknown_ids = true;
  return tokenizer->Decode(ids, decode);
}

absl::Status Generator::Impl::RunLoop(absl::Span<const LoopRequest> requests, const GenerateOptions& generate,
                                      const GenerationCallback& callback, const std::atomic<bool>* cancel,
                                      GenerationResult* result) {
  SequenceMaker maker(requests, tokenizer, generate.stop, callback);
  const auto take = [&](const LoopToken& token) { return maker.Take(token); };
  const auto end = [&](const LoopEnd& ended) -> absl::Status {
    RONDO_ASSIGN_OR_RETURN(const GeneratedSequence* sequence,
                           maker.End(ended.request, ended.continuation, ended.sequence));
    if (recorder != nullptr) RONDO_RETURN_IF_ERROR(RecordEnd(requests[ended.request], ended));
    return generate.ended ? generate.ended(*sequence) : absl::OkStatus();
  };
  if (recorder != nullptr) recorder->Begin(SinkFor(generate.captured));
  const auto made = loop->Run(requests, take, cancel, end);
  absl::Status status = made.status();
  if (recorder != nullptr) status.Update(recorder->Finish());
  RONDO_RETURN_IF_ERROR(status);
  for (int i = 0; i < static_cast<int>(made->size()); ++i) {
    for (int c = 0; c < static_cast<int>((*made)[i].size()); ++c) {
      // Cancelled before it began.
      if (!maker.ended(i, c)) RONDO_RETURN_IF_ERROR(maker.End(i, c, (*made)[i][c]).status());
    }
  }
  result->sequences = maker.TakeAll();
  return absl::OkStatus();
}

absl::Status Generator::Impl::RecordEnd(const LoopRequest& request, const LoopEnd& ended) {
  RecordedSequence sequence;
  sequence.request = ended.request;
  sequence.continuation = ended.continuation;
  sequence.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  sequence.tokens = request.prompt;
  sequence.tokens.insert(sequence.tokens.end(), ended.sequence.tokens.begin(), ended.sequence.tokens.end());
  sequence.tokens.resize(loop->runner().length(ended.segment));  // those that were run
  return recorder->End(ended.segment, std::move(sequence));
}

absl::Status Generator::Impl::RunBeams(absl::Span<const LoopRequest> requests, const GenerateOptions& generate,
                                       const std::atomic<bool>* cancel, GenerationResult* result) {
  BeamOptions beam;
  beam.beams = generate.num_beams;
  beam.num_return = generate.num_return;
  beam.length_penalty = generate.length_penalty;
  for (size_t i = 0; i < requests.size(); ++i) {
    absl::StatusOr<std::vector<BeamSequence>> made = SearchBeams(loop->runner(), requests[i], beam, cancel);
    if (!made.ok()) return Annotate(made.status(), absl::StrCat("prompt ", i, ": "));
    int continuation = 0;
    for (BeamSequence& best : *made) {
      GeneratedSequence sequence;
      sequence.prompt = static_cast<int>(i);
      sequence.continuation = continuation++;
      sequence.prompt_ids = requests[i].prompt;
      RONDO_ASSIGN_OR_RETURN(sequence.text, Decode(best.tokens));
      sequence.ids = std::move(best.tokens);
      sequence.finish = static_cast<FinishReason>(best.finish);
      sequence.score = best.score;
      if (generate.ended) RONDO_RETURN_IF_ERROR(generate.ended(sequence));
      result->sequences.push_back(std::move(sequence));
    }
  }
  return absl::OkStatus();
}

void Generator::Impl::Summarize(GenerationResult* result) const {
  const LoopStatistics& s = loop->statistics();
  GenerationTimings& t = result->timings;
  t.load_seconds = load_seconds;
  t.buffers_seconds = buffers_seconds;
  t.precompile_seconds = precompile_seconds;
  t.precompiled_shapes = precompiled_shapes;
  t.prefill_seconds = s.prefill_seconds;
  t.decode_seconds = s.decode_seconds;
  t.first_token_seconds = s.first_token_seconds;
  t.prefill_tokens = s.prefill_tokens;
  t.decode_tokens = s.decode_tokens;
  t.decode_steps = s.decode_steps;
  const StepCounters& counters = loop->runner().counters();
  t.allocations_after_warmup = options.allocation_counter == nullptr ? -1 : counters.allocations_after_warmup;
  result->misses_after_warmup = counters.misses_after_warmup;

  KvCacheSummary& kv = result->kv_cache;
  kv.in_place = decoder->in_place();
  kv.why_growing = decoder->report().why;
  kv.dtype = std::string(DataTypeName(options.kv_dtype));
  kv.layers = static_cast<int64_t>(decoder->layers().size());
  kv.capacity = loop_options.max_length;
  kv.sequences = loop_options.sequences;
  kv.bytes = static_cast<int64_t>(loop->runner().cache_bytes());
  result->primitive_cache = decoder->program().primitives().stats();
  result->capture_bytes = recorder == nullptr ? 0 : static_cast<int64_t>(recorder->bytes());
}

Generator::Generator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;
Generator::~Generator() = default;

absl::StatusOr<Generator> Generator::Load(const std::string& path, const GeneratorOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  RONDO_RETURN_IF_ERROR(impl->LoadParts(path));
  impl->load_seconds = SecondsSince(begin);
  return Generator(std::move(impl));
}

absl::StatusOr<GenerationResult> Generator::Generate(absl::Span<const Prompt> prompts, const GenerateOptions& options,
                                                     const GenerationCallback& callback,
                                                     const std::atomic<bool>* cancel) {
  if (prompts.empty()) return InvalidArgument("there is no prompt");
  if (options.num_return < 1) return InvalidArgument("num-return is ", options.num_return, ": expected at least 1");
  if (options.num_beams < 1) return InvalidArgument("num-beams is ", options.num_beams, ": expected at least 1");
  if (options.num_beams > 1 && options.num_return > options.num_beams) {
    return InvalidArgument("num-return is ", options.num_return, ": expected at most the ", options.num_beams,
                           " beams");
  }
  if (options.num_beams > 1 && !options.stop.empty()) return InvalidArgument("stop strings do not go with beam search");
  if (options.num_beams > 1 && options.captured) return InvalidArgument("captures do not go with beam search");
  if (!options.stop.empty() && !has_tokenizer()) return InvalidArgument("stop strings need a tokenizer.json");
  RONDO_ASSIGN_OR_RETURN(std::vector<LoopRequest> requests, impl_->MakeRequests(prompts, options));
  RONDO_RETURN_IF_ERROR(impl_->EnsureLoop(requests, options));
  GenerationResult result;
  if (options.num_beams > 1) {
    RONDO_RETURN_IF_ERROR(impl_->RunBeams(requests, options, cancel, &result));
  } else {
    RONDO_RETURN_IF_ERROR(impl_->RunLoop(requests, options, callback, cancel, &result));
  }
  impl_->Summarize(&result);
  return result;
}

CacheReport Generator::cache_report() const { return impl_->cache->Report(); }
absl::Status Generator::SaveCache() const {
  RONDO_RETURN_IF_ERROR(impl_->cache->Save());
  return impl_->encoder == nullptr ? absl::OkStatus() : impl_->encoder->SaveCache();
}
void Generator::SetCompileListener(CompileListener listener) {
  impl_->decoder->program().primitives().log().SetListener(std::move(listener));
}

void Generator::SetStepListener(std::function<void(const StepEvent&)> listener) {
  if (impl_->loop != nullptr) impl_->loop->runner().SetHook(nullptr);
  impl_->hook = listener ? StepHookFor(std::move(listener)) : nullptr;
  if (impl_->loop != nullptr && impl_->hook) impl_->loop->runner().SetHook(&impl_->hook);
}

bool Generator::has_tokenizer() const { return impl_->tokenizer != nullptr; }
absl::StatusOr<std::vector<int64_t>> Generator::Encode(const Prompt& prompt) const { return impl_->Encode(prompt); }

absl::StatusOr<std::string> Generator::ApplyChatTemplate(const std::string& messages_json) const {
  if (impl_->tokenizer == nullptr) return InvalidArgument(impl_->folder.path, " has no tokenizer.json");
  RONDO_ASSIGN_OR_RETURN(text::Json json, text::ParseJson(messages_json, "messages"));
  text::ChatRequest request;
  if (const text::Json* messages = json.Find("messages")) {
    request.messages = *messages;
    if (const text::Json* tools = json.Find("tools")) request.tools = *tools;
  } else {
    request.messages = std::move(json);
  }
  if (request.messages.array() == nullptr) {
    return InvalidArgument("messages: expected an array of {\"role\", \"content\"}, got ", request.messages.TypeName());
  }
  return text::ApplyChatTemplate(*impl_->tokenizer, std::move(request));
}

const std::vector<std::string>& Generator::warnings() const { return impl_->warnings; }
int64_t Generator::position_limit() const { return impl_->PositionLimit(); }

}  // namespace rondo
