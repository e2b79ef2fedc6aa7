// rondo generate: text from an exported language model, as it is made.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "graph/status.h"
#include "rondo/generator.h"
#include "tools/cache_dir.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/generator_command.h"
#include "tools/interrupt.h"
#include "tools/npy.h"
#include "tools/text.h"
#include "tools/trace.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

struct GenerateCommand {
  std::string model;
  std::vector<std::string> prompts, prompt_files, prompt_ids, encoder_inputs, logit_bias;
  std::string chat, batch, trace;
  GeneratorCommand generator;
  GenerateOptions generate;
  bool json = false, timings = false, no_special_tokens = false;
};

// ---- prompts ----

absl::StatusOr<std::vector<int64_t>> ParseIds(absl::string_view text) {
  std::vector<int64_t> ids;
  for (absl::string_view part : absl::StrSplit(text, absl::ByAnyChar(", \n\t"), absl::SkipEmpty())) {
    int64_t id;
    if (!absl::SimpleAtoi(part, &id)) {
      return InvalidArgument("--prompt-ids: expected numbers such as 1,2,3, got \"", Printable(part), "\"");
    }
    ids.push_back(id);
  }
  if (ids.empty()) return InvalidArgument("--prompt-ids: the prompt is empty");
  return ids;
}

// One line of a batch file: {"prompt": TEXT}, {"prompt_ids": [..]} or {"messages": [..]}.
absl::StatusOr<Prompt> ParseBatchLine(const Generator& generator, const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return InvalidArgument("expected a JSON object");
  Prompt prompt;
  if (json.contains("prompt")) {
    if (!json["prompt"].is_string()) return InvalidArgument("prompt: expected a string");
    prompt.text = json["prompt"].get<std::string>();
  } else if (json.contains("prompt_ids")) {
    if (!json["prompt_ids"].is_array()) return InvalidArgument("prompt_ids: expected a list of integers");
    for (const Json& id : json["prompt_ids"]) {
      if (!id.is_number_integer()) return InvalidArgument("prompt_ids: expected integers");
      prompt.ids.push_back(id.get<int64_t>());
    }
  } else if (json.contains("messages")) {
    RONDO_ASSIGN_OR_RETURN(prompt.text, generator.ApplyChatTemplate(line));
    prompt.add_special_tokens = false;
  } else {
    return InvalidArgument("expected \"prompt\", \"prompt_ids\" or \"messages\"");
  }
  if (prompt.text.empty() && prompt.ids.empty()) return InvalidArgument("the prompt is empty");
  return prompt;
}

absl::Status AddBatch(const Generator& generator, const std::string& path, std::vector<Prompt>* prompts) {
  RONDO_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  int number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripSuffix(line, "\r");
    if (line.find_first_not_of(" \t") == absl::string_view::npos) continue;
    absl::StatusOr<Prompt> prompt = ParseBatchLine(generator, std::string(line));
    if (!prompt.ok()) return Annotate(prompt.status(), absl::StrCat(path, ":", number, ": "));
    prompts->push_back(*std::move(prompt));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const GenerateCommand& command, const Generator& generator) {
  std::vector<Prompt> prompts;
  const auto add_text = [&](std::string text, bool special) {
    Prompt prompt;
    prompt.text = std::move(text);
    prompt.add_special_tokens = special;
    prompts.push_back(std::move(prompt));
  };
  for (const std::string& text : command.prompts) {
    if (text.empty()) return InvalidArgument("--prompt: the prompt is empty");
    add_text(text, !command.no_special_tokens);
  }
  for (const std::string& path : command.prompt_files) {
    RONDO_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
    if (text.empty()) return InvalidArgument(path, ": the prompt is empty");
    add_text(std::move(text), !command.no_special_tokens);
  }
  for (const std::string& text : command.prompt_ids) {
    Prompt prompt;
    RONDO_ASSIGN_OR_RETURN(prompt.ids, ParseIds(text));
    prompts.push_back(std::move(prompt));
  }
  if (!command.chat.empty()) {
    RONDO_ASSIGN_OR_RETURN(const std::string messages, ReadFile(command.chat));
    absl::StatusOr<std::string> text = generator.ApplyChatTemplate(messages);
    if (!text.ok()) return Annotate(text.status(), absl::StrCat(command.chat, ": "));
    add_text(*std::move(text), false);
  }
  if (!command.batch.empty()) RONDO_RETURN_IF_ERROR(AddBatch(generator, command.batch, &prompts));
  if (!command.encoder_inputs.empty()) {
    if (prompts.size() > 1) return InvalidArgument("--encoder-input goes with one prompt at most");
    if (prompts.empty()) prompts.emplace_back();
    for (const std::string& argument : command.encoder_inputs) {
      const size_t equals = argument.find('=');
      if (equals == std::string::npos) {
        return InvalidArgument("--encoder-input: expected NAME=FILE.npy, got \"", Printable(argument), "\"");
      }
      RONDO_ASSIGN_OR_RETURN(Tensor tensor, ReadNpy(argument.substr(equals + 1)));
      prompts[0].encoder_inputs.emplace_back(argument.substr(0, equals), std::move(tensor));
    }
  }
  if (prompts.empty()) {
    return InvalidArgument("no prompt: give --prompt, --prompt-file, --prompt-ids, --chat or --batch (see --help)");
  }
  return prompts;
}

absl::Status ParseBias(const std::vector<std::string>& arguments, SamplingOptions* sampling) {
  for (const std::string& argument : arguments) {
    const std::vector<std::string> parts = absl::StrSplit(argument, '=');
    int64_t token;
    float bias;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &token) || !absl::SimpleAtof(parts[1], &bias)) {
      return InvalidArgument("--logit-bias: expected TOKEN=BIAS such as 42=-5, got \"", Printable(argument), "\"");
    }
    sampling->logit_bias[token] = bias;
  }
  return absl::OkStatus();
}

// ---- output ----

// On a terminal, what a model says must not move the cursor or change colours.
std::string ForTerminal(absl::string_view text) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  std::string out(text);
  if (!terminal) return out;
  for (char& c : out) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) c = '?';
  }
  return out;
}

Json ToJson(const GenerationResult& result, const CacheReport& report) {
  Json sequences = Json::array();
  for (const GeneratedSequence& s : result.sequences) {
    Json sequence = {{"prompt", s.prompt},
                     {"prompt_ids", s.prompt_ids},
                     {"ids", s.ids},
                     {"text", s.text},
                     {"finish", std::string(FinishReasonName(s.finish))}};
    if (s.score != 0) sequence["score"] = s.score;
    sequences.push_back(std::move(sequence));
  }
  Json json = {{"sequences", std::move(sequences)}};
  AddTimings(result, report, &json);
  return json;
}

void PrintSequences(const GenerationResult& result, bool has_text) {
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const GeneratedSequence& s = result.sequences[i];
    const bool alone = result.sequences.size() == 1;
    if (!alone)
      Print(absl::StrCat(i > 0 ? "\n" : "", "== prompt ", s.prompt, ", ", s.ids.size(), " tokens, ",
                         FinishReasonName(s.finish), "\n"));
    Print(absl::StrCat(has_text ? ForTerminal(s.text) : absl::StrJoin(s.ids, ","), "\n"));
  }
}

absl::Status Generate(const GenerateCommand& command) {
  GenerateOptions generate = command.generate;
  RONDO_RETURN_IF_ERROR(ParseBias(command.logit_bias, &generate.sampling));
  RONDO_RETURN_IF_ERROR(generate.sampling.Check());
  std::unique_ptr<ProgressBar> bar;
  RONDO_ASSIGN_OR_RETURN(Generator generator, LoadGenerator(command.model, command.generator, &bar));
  if (const std::string& folder = command.generator.capture.folder; !folder.empty()) {
    const bool several = generate.num_return > 1;
    generate.captured = [&folder, several](const CapturedSequence& sequence) {
      const std::string name = several ? absl::StrCat("prompt-", sequence.prompt, "-", sequence.continuation)
                                       : absl::StrCat("prompt-", sequence.prompt);
      return WriteCapture(folder, name, sequence);
    };
  }
  RONDO_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(command, generator));
  const std::atomic<bool>& cancelled = CatchInterrupts();
  Trace trace;
  if (!command.trace.empty()) {
    generator.SetCompileListener([&](const CompileEvent& event) { trace.AddCompile(event); });
    generator.SetStepListener([&](const StepEvent& event) { trace.AddStep(event); });
  }

  // One sequence alone streams; several would mix.
  const bool has_text = generator.has_tokenizer();
  const bool streams = !command.json && prompts.size() == 1 && generate.num_return == 1 && generate.num_beams == 1;
  bool first = true;
  GenerationCallback callback;
  if (streams) {
    callback = [&](const GenerationEvent& event) {
      if (has_text) {
        Print(ForTerminal(event.text));
      } else if (event.token >= 0) {
        Print(absl::StrCat(first ? "" : ",", event.token));
      }
      first = false;
      if (std::fflush(stdout) != 0) Interrupt();  // nobody reads any more
    };
  }
  const int64_t begin = NowNs();
  RONDO_ASSIGN_OR_RETURN(const GenerationResult result, generator.Generate(prompts, generate, callback, &cancelled));
  if (!command.trace.empty()) {
    trace.AddPhase("generate", begin, NowNs());
    RONDO_RETURN_IF_ERROR(WriteFile(command.trace, trace.ToJson()));
  }
  if (streams) {
    Print("\n");
  } else if (!command.json) {
    PrintSequences(result, has_text);
  }
  std::fflush(stdout);
  // The text is out: nobody waits while the cache directory is written.
  (void)generator.SaveCache();  // its error is among the problems
  const CacheReport report = generator.cache_report();
  WarnOfCacheProblems(report.directory);
  if (command.json) {
    Print(ToJson(result, report).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return absl::OkStatus();
  }
  if (cancelled.load()) absl::FPrintF(stderr, "rondo: interrupted\n");
  if (command.timings) absl::FPrintF(stderr, "%s", TimingsText(result, report));
  return absl::OkStatus();
}

}  // namespace

std::function<int()> DeclareGenerate(CLI::App& app) {
  auto command = std::make_shared<GenerateCommand>();
  GenerateCommand& c = *command;
  app.add_option("MODEL_DIR", c.model, "A folder with an exported language model, or one .onnx file")
      ->required()
      ->type_name("");
  const auto list = [&](const char* name, std::vector<std::string>* to, const char* help, const char* type) {
    return app.add_option(name, *to, help)->allow_extra_args(false)->type_name(type);
  };
  list("--prompt", &c.prompts, "A prompt (may be repeated)", "TEXT");
  list("--prompt-file", &c.prompt_files, "A file with a prompt (may be repeated)", "FILE");
  list("--prompt-ids", &c.prompt_ids, "A prompt as token ids (may be repeated)", "1,2,3");
  app.add_option("--chat", c.chat, "Messages for the model's chat template: a JSON array, or {\"messages\", \"tools\"}")
      ->type_name("FILE.json");
  app.add_option("--batch", c.batch, "One prompt per line: {\"prompt\"}, {\"prompt_ids\"} or {\"messages\"}")
      ->type_name("FILE.jsonl");
  list("--encoder-input", &c.encoder_inputs, "An input of the encoder (Whisper's features)", "NAME=FILE.npy");
  app.add_flag("--no-special-tokens", c.no_special_tokens, "Do not let the tokenizer add its tokens to a text");

  GenerateOptions& g = c.generate;
  app.add_option("--max-new-tokens", g.max_new_tokens, "Tokens to make at most (128)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32))
      ->type_name("N");
  app.add_option("--temperature", g.sampling.temperature, "0: always the most likely token (0)")->type_name("T");
  app.add_option("--top-k", g.sampling.top_k, "Draw from the K most likely tokens; 0: all")->type_name("K");
  app.add_option("--top-p", g.sampling.top_p, "Draw from the most likely tokens with this probability in all (1)")
      ->type_name("P");
  app.add_option("--min-p", g.sampling.min_p, "Draw from tokens at least this fraction as likely as the first (0)")
      ->type_name("P");
  app.add_option("--repetition-penalty", g.sampling.repetition_penalty, "More than 1: tokens seen become less likely")
      ->type_name("X");
  app.add_option("--frequency-penalty", g.sampling.frequency_penalty, "Subtracted per earlier occurrence")
      ->type_name("X");
  app.add_option("--presence-penalty", g.sampling.presence_penalty, "Subtracted once for tokens made before")
      ->type_name("X");
  list("--logit-bias", &c.logit_bias, "Added to a token's logit (may be repeated)", "TOKEN=BIAS");
  app.add_option("--seed", g.sampling.seed, "Of the random draws; equal seeds give equal text (0)")->type_name("SEED");
  list("--stop", &g.stop, "A string that ends the text (may be repeated)", "STRING");
  app.add_option("--num-return", g.num_return, "Continuations of each prompt; they share its prefill (1)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("--num-beams", g.num_beams, "Beam search with N beams (1: none)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  app.add_option("--length-penalty", g.length_penalty, "Beam search: scores are divided by length^X (1)")
      ->type_name("X");
  app.add_flag("--ignore-eos", g.ignore_eos, "Go on where the model would end");

  AddGeneratorOptions(app, &c.generator);
  app.add_option("--trace", c.trace, "Write a timeline of compiles and steps, in Chrome's format")->type_name("FILE");
  app.add_flag("--json", c.json, "Print one JSON object with sequences, timings and counters");
  app.add_flag("--timings", c.timings, "Print timings and counters on standard error");
  app.footer(
      "Examples:\n"
      "  rondo generate qwen2.5-0.5b/ --prompt \"The capital of France is\" --max-new-tokens 32\n"
      "  rondo generate qwen2.5-0.5b/ --chat messages.json --temperature 0.7 --top-p 0.9 --seed 1\n"
      "  rondo generate model.onnx --prompt-ids 1,2,3 --json\n"
      "  rondo generate t5/ --prompt \"translate English to German: Hello\" --num-beams 4");
  return [command] {
    const absl::Status status = Generate(*command);
    return status.ok() ? kOk : Fail(status);
  };
}

}  // namespace rondo
