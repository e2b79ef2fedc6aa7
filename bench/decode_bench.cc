// Times a language model's prompt and its tokens, and prints one JSON line for comparison with a peer
// (compare_decode.py).
//
//   decode_bench MODEL.onnx [--threads N] [--prompts 128,512] [--new 40] [--capacities 1024] [--repeat 3]
//                [--profile PROMPT]
//
// For each capacity of the cache and each prompt: tokens per second of the prompt (the best of `repeat`, as all runs do
// the same) and of `new` tokens after it (the median step). The first run of each is not measured, nothing may be
// created in the measured ones. The read bandwidth of the memory is measured before and after with the same threads: a
// step reads all weights once, so bytes per token over the bandwidth is the time that no program can beat.
// --profile: the time of each operator in the steps after a prompt of that length, to stderr.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "executor/loop_executor.h"
#include "importer/importer.h"
#include "ops/kernels/panel_gemv.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"

namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "decode_bench: %s\n", message.c_str());
  std::exit(2);
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status().ToString());
  return *std::move(value);
}

std::vector<int64_t> Numbers(const std::string& list) {
  std::vector<int64_t> numbers;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(list, ','))) {
    numbers.push_back(std::atoll(part.c_str()));
    if (numbers.back() < 1) Die("expected positive numbers, got " + list);
  }
  return numbers;
}

double PeakMegabytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Gigabytes per second of reading more than any cache holds, with the widest vectors that the processor has.
double ReadBandwidth(int threads) {
  constexpr int64_t kRows = 1024, kPanel = kRows * rondo::kGemvColumns, kPanels = 2048;
  // A tensor, as its memory lies in large pages like that of the weights.
  static rondo::Tensor memory = rondo::Tensor::Make(rondo::DataType::kFloat, {kPanels, kPanel});
  const std::vector<float> x(kRows, 1.0f);
  std::vector<float> y(kPanels * rondo::kGemvColumns);
  std::fill(memory.mutable_data<float>(), memory.mutable_data<float>() + memory.size(), 1.0f);
  const rondo::ScopedThreads scoped(threads);
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const double start = Now();
    rondo::ParallelFor(kPanels, 16, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        rondo::GetPanelGemv().run(x.data(), kRows, memory.data<float>() + p * kPanel, nullptr, nullptr,
                                  rondo::kGemvColumns, y.data() + p * rondo::kGemvColumns);
      }
    });
    best = std::min(best, Now() - start);
  }
  if (y[0] != kRows || y.back() != kRows) Die("the memory was not read");
  return static_cast<double>(memory.bytes()) / best / 1e9;
}

struct Timing {
  double prefill = 1e9;
  std::vector<double> steps;
};

rondo::LoopRequest Request(int64_t prompt, int64_t fresh) {
  std::mt19937 rng(1);
  rondo::LoopRequest request;
  for (int64_t i = 0; i < prompt; ++i) request.prompt.push_back(rng() % 1000);
  request.max_new_tokens = fresh + 1;  // the first comes from the prompt
  return request;
}

Timing Time(rondo::LoopExecutor& loop, int64_t prompt, int64_t fresh, int repeat) {
  const rondo::LoopRequest request = Request(prompt, fresh);
  OrDie(loop.Run({request}));
  Timing timing;
  for (int i = 0; i < repeat; ++i) {
    double last = 0;
    OrDie(loop.Run({request}, [&](const rondo::LoopToken& token) {
      const double now = Now();
      if (token.index > 0) timing.steps.push_back(now - last);
      last = now;
      return true;
    }));
    timing.prefill = std::min(timing.prefill, loop.statistics().prefill_seconds);
  }
  std::sort(timing.steps.begin(), timing.steps.end());
  if (loop.runner().counters().creations_after_warmup != 0) Die("a repeated step created primitives");
  return timing;
}

void Profile(rondo::LoopExecutor& loop, int64_t prompt, int64_t fresh) {
  struct Sum {
    int64_t calls = 0, ns = 0;
  };
  std::map<std::string, Sum> sums;
  bool decoding = false;
  const rondo::StepHook hook = [&](const rondo::Plan&, const rondo::Step& step, int64_t begin, int64_t end) {
    const std::string kind = step.kernel != nullptr ? step.kernel->Implementation() : "view";
    std::string shapes;
    for (const rondo::Value* input : step.node->inputs()) {
      if (input != nullptr) shapes += " " + input->type().ToString();
    }
    Sum& sum = sums[(decoding ? "decode  " : "prefill ") + step.node->op().ToString() + " [" + kind + "]" + shapes];
    ++sum.calls;
    sum.ns += end - begin;
  };
  const rondo::LoopRequest request = Request(prompt, fresh);
  OrDie(loop.Run({request}));
  loop.runner().SetHook(&hook);
  OrDie(loop.Run({request}, [&](const rondo::LoopToken&) { return decoding = true; }));
  loop.runner().SetHook(nullptr);
  std::vector<std::pair<std::string, Sum>> rows(sums.begin(), sums.end());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.ns > b.second.ns; });
  for (const auto& [name, sum] : rows) {
    const bool step = name[0] == 'd';
    const int64_t runs = step ? fresh : 1;
    std::fprintf(stderr, "%10.1f us %5.1f calls  %s\n", static_cast<double>(sum.ns) / 1e3 / static_cast<double>(runs),
                 static_cast<double>(sum.calls) / static_cast<double>(runs), name.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) Die("usage: decode_bench MODEL.onnx [--threads N] [--prompts 128,512] [--new 40] [--capacities 1024]");
  rondo::DecoderOptions options;
  std::vector<int64_t> prompts = {128, 512}, capacities = {1024};
  int64_t fresh = 40, profile = 0;
  int repeat = 3;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--threads") options.program.threads = std::atoi(value.c_str());
    if (key == "--repeat") repeat = std::max(1, std::atoi(value.c_str()));
    if (key == "--new") fresh = std::max(1, std::atoi(value.c_str()));
    if (key == "--prompts") prompts = Numbers(value);
    if (key == "--capacities") capacities = Numbers(value);
    if (key == "--profile") profile = std::max(1, std::atoi(value.c_str()));
  }
  double start = Now();
  rondo::ImportedModel imported = OrDie(rondo::ImportModel(argv[1], {}));
  const auto decoder = OrDie(rondo::Decoder::Create(std::move(imported.graph), options));
  if (!decoder->in_place()) Die("the cache grows: " + decoder->report().why);
  const double load = Now() - start;
  const double load_megabytes = PeakMegabytes();

  std::string results;
  double prepare = 0;
  for (const int64_t capacity : capacities) {
    rondo::StepRunnerOptions runner;
    runner.max_length = capacity;
    start = Now();
    const auto loop = OrDie(rondo::LoopExecutor::Create(*decoder, runner));
    if (prepare == 0) {
      OrDie(loop->Run({Request(1, 1)}));
      prepare = Now() - start;
    }
    if (profile > 0) {
      Profile(*loop, profile, fresh);
      continue;
    }
    for (const int64_t prompt : prompts) {
      if (prompt + fresh > capacity) continue;
      const Timing timing = Time(*loop, prompt, fresh, repeat);
      const double step = timing.steps[timing.steps.size() / 2];
      char text[256];
      std::snprintf(text, sizeof(text),
                    "%s{\"capacity\": %ld, \"prompt\": %ld, \"prefill_tok_s\": %.1f, \"decode_tok_s\": %.1f, "
                    "\"step_s\": %.6f, \"step_min_s\": %.6f}",
                    results.empty() ? "" : ", ", capacity, prompt, static_cast<double>(prompt) / timing.prefill,
                    1 / step, step, timing.steps[0]);
      results += text;
    }
  }
  const double peak = PeakMegabytes();
  // Twice, as the memory of a virtual machine may be slower from one second to the next.
  const int threads = decoder->program().resources().threads;
  const double bandwidth = std::max(ReadBandwidth(threads), ReadBandwidth(threads));
  std::printf(
      "{\"load_s\": %.3f, \"prepare_s\": %.3f, \"load_peak_mb\": %.0f, \"peak_mb\": %.0f, "
      "\"weight_mb\": %.1f, \"bandwidth_gb_s\": %.1f, \"results\": [%s]}\n",
      load, prepare, load_megabytes, peak, static_cast<double>(decoder->program().weights().bytes()) / 1e6, bandwidth,
      results.c_str());
  return 0;
}
