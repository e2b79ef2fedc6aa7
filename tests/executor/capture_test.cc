// What a decoder's blocks hand to each other, and how it is recorded while a loop runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "executor/activation_recorder.h"
#include "executor/loop_executor.h"
#include "importer/importer.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tools/allocation_counter.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::UnorderedElementsAre;

absl::StatusOr<std::unique_ptr<Decoder>> LoadDecoder(const std::string& file, CaptureSpec captures,
                                                     bool growing = false) {
  auto imported = ImportModel(file, {});
  if (!imported.ok()) return imported.status();
  DecoderOptions options;
  options.program.threads = 1;
  options.growing = growing;
  options.captures = std::move(captures);
  return Decoder::Create(std::move(imported->graph), options);
}

CaptureSpec AllBlocks() {
  CaptureSpec spec;
  spec.all_blocks = true;
  return spec;
}

std::string ArcMini() { return SourceDir() + "/tests/data/models/arc-mini/model.onnx"; }

StepRunnerOptions Options(int sequences, int64_t max_length) {
  StepRunnerOptions options;
  options.sequences = sequences;
  options.max_length = max_length;
  options.prefill_rows = {8, 32};
  return options;
}

LoopRequest Request(std::vector<int64_t> prompt, int64_t new_tokens) {
  LoopRequest request;
  request.prompt = std::move(prompt);
  request.max_new_tokens = new_tokens;
  return request;
}

std::vector<int64_t> Prompt(int tokens, int seed = 1) {
  std::vector<int64_t> ids;
  for (int i = 0; i < tokens; ++i) ids.push_back(51 + (i * 7 + seed * 13) % 10);
  return ids;
}

struct Kept {
  RecordedSequence sequence;
  std::vector<std::vector<float>> values;
};

// Runs requests with a recorder; what it hands over, by request and continuation.
std::map<std::pair<int, int>, Kept> Record(const Decoder& decoder, const StepRunnerOptions& options,
                                           const std::vector<LoopRequest>& requests) {
  std::map<std::pair<int, int>, Kept> kept;
  auto loop = LoopExecutor::Create(decoder, options);
  EXPECT_TRUE(loop.ok()) << loop.status();
  auto recorder = ActivationRecorder::Create(decoder, &(*loop)->runner(), options.max_length);
  EXPECT_TRUE(recorder.ok()) << recorder.status();
  (*recorder)->Begin([&](const RecordedSequence& sequence) {
    Kept& to = kept[{sequence.request, sequence.continuation}];
    to.sequence = sequence;
    for (const Tensor& value : sequence.values) {
      EXPECT_EQ(value.dim(0), static_cast<int64_t>(sequence.tokens.size()));
      to.values.emplace_back(value.data<float>(), value.data<float>() + value.size());
    }
    return absl::OkStatus();
  });
  auto results = (*loop)->Run(requests, nullptr, nullptr, [&](const LoopEnd& end) {
    RecordedSequence sequence;
    sequence.request = end.request;
    sequence.continuation = end.continuation;
    sequence.tokens = requests[end.request].prompt;
    sequence.prompt_tokens = static_cast<int64_t>(sequence.tokens.size());
    sequence.tokens.insert(sequence.tokens.end(), end.sequence.tokens.begin(), end.sequence.tokens.end());
    sequence.tokens.resize((*loop)->runner().length(end.segment));
    return (*recorder)->End(end.segment, std::move(sequence));
  });
  EXPECT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*recorder)->Finish().ok());
  return kept;
}

float MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

float Largest(const std::vector<float>& values) { return MaxDifference(values, std::vector<float>(values.size())); }

// ---- the residual stream ----

// What the exporter's configuration says; -1 where there is none.
int64_t LayersOf(const fs::path& folder) {
  const auto read = [&](const char* name) {
    std::ifstream file(folder / name);
    return Json::parse(file, nullptr, false);
  };
  const Json genai = read("genai_config.json");
  if (genai.is_object()) return genai["model"]["decoder"]["num_hidden_layers"];
  const Json config = read("config.json");
  for (const char* name : {"num_hidden_layers", "n_layer"}) {
    if (config.is_object() && config.contains(name)) return config[name];
  }
  return -1;
}

TEST(ResidualStreamTest, EverySharedDecoderWithACacheHasOneValuePerBlock) {
  const std::string models = SharedDir() + "/models";
  if (!fs::exists(models)) GTEST_SKIP() << "no shared models at " << models;
  std::vector<std::string> without;
  int found = 0;
  for (const auto& folder : fs::directory_iterator(models)) {
    const std::string name = folder.path().filename();
    if (!fs::exists(folder.path() / "generation.json") || !fs::exists(folder.path() / "model.onnx")) continue;
    if (absl::EndsWith(name, "_encoder")) continue;
    SCOPED_TRACE(name);
    auto decoder = LoadDecoder(folder.path() / "model.onnx", AllBlocks());
    if (decoder.ok()) {
      EXPECT_EQ((*decoder)->captures().size(), (*decoder)->layers().size());
      if (const int64_t layers = LayersOf(folder.path()); layers >= 0) {
        EXPECT_EQ(static_cast<int64_t>((*decoder)->captures().size()), layers);
      }
      EXPECT_TRUE((*decoder)->in_place()) << "captures must not keep a cache from being taken out";
      ++found;
    } else {
      EXPECT_THAT(decoder.status().message(), HasSubstr("name values of the file instead of layers"));
      without.push_back(name);
    }
  }
  // They have no cache, by which blocks are told.
  EXPECT_THAT(without, UnorderedElementsAre("optimum_gpt2_nopast", "optimum_qwen2_nopast", "torch_qwen2_nocache_op20",
                                            "torch_gemma2_nocache_op20"));
  EXPECT_GE(found, 50);
}

TEST(ResidualStreamTest, WhatIsNotThereIsAnErrorThatSaysWhatToDo) {
  CaptureSpec spec;
  spec.blocks = {0, 4};
  EXPECT_EQ(LoadDecoder(ArcMini(), spec).status().message(), "capture of layer 4: the model has layers 0 to 3");
  spec.blocks = {-1};
  EXPECT_EQ(LoadDecoder(ArcMini(), spec).status().message(), "capture of layer -1: the model has layers 0 to 3");
  spec.blocks.clear();
  spec.values = {"no such value"};
  EXPECT_EQ(LoadDecoder(ArcMini(), spec).status().message(),
            "capture \"no such value\": no node of the graph makes a value of that name");
}

// A tensor of the reference, by safetensors' layout.
template <typename T>
std::vector<T> ReadReference(const std::string& bytes, const std::string& name) {
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const Json at = Json::parse(bytes.substr(8, header))[name]["data_offsets"];
  std::vector<T> values((at[1].get<size_t>() - at[0].get<size_t>()) / sizeof(T));
  std::memcpy(values.data(), bytes.data() + 8 + header + at[0].get<size_t>(), values.size() * sizeof(T));
  return values;
}

class HiddenStatesTest : public testing::TestWithParam<const char*> {};

// PyTorch's hidden states, whichever exporter wrote the file, however the tokens came: in a prompt, or step by step.
TEST_P(HiddenStatesTest, AreThoseOfPyTorch) {
  const std::string models = SharedDir() + "/models/";
  if (!fs::exists(models)) GTEST_SKIP() << "no shared models at " << models;
  const std::string reference = ReadTestFile(models + "arc-mini/hidden_states.safetensors");
  const std::vector<int64_t> ids = ReadReference<int64_t>(reference, "input_ids");
  for (const bool growing : {false, true}) {
    auto decoder = LoadDecoder(models + GetParam() + "/model.onnx", AllBlocks(), growing);
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    ASSERT_THAT((*decoder)->captures(), ElementsAre("layers.0", "layers.1", "layers.2", "layers.3"));
    for (const size_t prompt : {ids.size(), ids.size() - 12}) {
      SCOPED_TRACE(absl::StrCat(growing ? "growing" : "in place", ", a prompt of ", prompt));
      const std::vector<int64_t> begin(ids.begin(), ids.begin() + static_cast<int64_t>(prompt));
      const auto kept =
          Record(**decoder, Options(1, 130), {Request(begin, static_cast<int64_t>(ids.size() - prompt) + 1)});
      ASSERT_THAT(kept, SizeIs(1));
      const Kept& sequence = kept.at({0, 0});
      EXPECT_EQ(sequence.sequence.tokens, ids) << "the reference is the model's own answer";
      EXPECT_EQ(sequence.sequence.prompt_tokens, static_cast<int64_t>(prompt));
      for (int layer = 0; layer < 4; ++layer) {
        const auto expected = ReadReference<float>(reference, absl::StrCat("layers.", layer));
        EXPECT_LT(MaxDifference(sequence.values[layer], expected), 1e-5f * Largest(expected)) << "layer " << layer;
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Exporters, HiddenStatesTest, testing::Values("arc-mini", "arc-mini-genai-fp32"),
                         [](const auto& info) { return std::string(info.param) == "arc-mini" ? "Optimum" : "Genai"; });

struct Family {
  const char* name;
  std::vector<const char*> folders;  // of one network
};
class ExportersTest : public testing::TestWithParam<Family> {};

// Exporters write norms, sums and residuals in ways of their own; the stream is the network's.
TEST_P(ExportersTest, GiveOneResidualStream) {
  const std::string models = SharedDir() + "/models/";
  if (!fs::exists(models)) GTEST_SKIP() << "no shared models at " << models;
  std::vector<std::vector<float>> expected;
  for (const char* folder : GetParam().folders) {
    SCOPED_TRACE(folder);
    auto decoder = LoadDecoder(models + folder + "/model.onnx", AllBlocks());
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    const auto kept = Record(**decoder, Options(1, 24), {Request({5, 17, 200, 33, 64, 9, 120, 77, 3}, 1)});
    const std::vector<std::vector<float>>& values = kept.at({0, 0}).values;
    if (expected.empty()) expected = values;
    ASSERT_EQ(values.size(), expected.size());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LT(MaxDifference(values[i], expected[i]), 1e-5f * Largest(expected[i])) << "layer " << i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(
    Networks, ExportersTest,
    testing::Values(
        Family{"Qwen2",
               {"optimum_qwen2", "optimum_qwen2_dynamo", "genai_qwen2_fp32", "torch_qwen2_dyncache_op18",
                "torch_qwen2_dyncache_op23", "torch_qwen2_dyncache_op24", "torch_qwen2_static_index_copy_op18",
                "torch_qwen2_static_index_put_op18", "torch_qwen2_static_index_put_op23"}},
        Family{"Llama",
               {"optimum_llama", "ortopt_llama", "genai_llama_fp32", "genai_llama_fp32_prunehead",
                "torch_llama_dyncache_op18", "torch_llama_nativecache_op20", "torch_llama_static_index_put_op23",
                "hand_lm_concat_op23", "hand_lm_scatter4d_causal_op24", "hand_lm_scatter4d_mask_op24"}},
        Family{"Gpt2", {"optimum_gpt2", "ortopt_gpt2", "torch_gpt2_dyncache_op23"}},
        Family{"Phi3", {"optimum_phi3", "genai_phi3_fp32"}}),
    [](const auto& info) { return info.param.name; });

// ---- the recorder ----

std::unique_ptr<Decoder> ArcMiniWith(CaptureSpec spec) {
  auto decoder = LoadDecoder(ArcMini(), std::move(spec));
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  return *std::move(decoder);
}

TEST(ActivationRecorderTest, ABatchGivesEachSequenceWhatItHasAlone) {
  CaptureSpec spec;
  spec.blocks = {3, 1};
  const auto decoder = ArcMiniWith(spec);
  // More requests than places, of different lengths, so that places are taken again.
  std::vector<LoopRequest> requests;
  for (int i = 0; i < 9; ++i) requests.push_back(Request(Prompt(3 + 5 * i, i), 2 + (i * 5) % 7));
  const auto together = Record(*decoder, Options(3, 80), requests);
  ASSERT_THAT(together, SizeIs(9));
  for (int i = 0; i < 9; ++i) {
    SCOPED_TRACE(i);
    const auto alone = Record(*decoder, Options(1, 80), {requests[i]});
    const Kept& a = together.at({i, 0});
    const Kept& b = alone.at({0, 0});
    EXPECT_EQ(a.sequence.tokens, b.sequence.tokens);
    EXPECT_THAT(a.sequence.names, ElementsAre("layers.3", "layers.1"));
    for (int v = 0; v < 2; ++v) EXPECT_LT(MaxDifference(a.values[v], b.values[v]), 1e-4f);
  }
}

TEST(ActivationRecorderTest, ContinuationsBeginWithTheRowsOfTheirPrompt) {
  const auto decoder = ArcMiniWith(AllBlocks());
  StepRunnerOptions options = Options(3, 60);
  options.prompts = 1;
  options.max_prompt = 40;
  LoopRequest request = Request(Prompt(21), 5);
  request.continuations = 4;
  request.sampling.temperature = 2;
  LoopRequest ends_at_once = Request(Prompt(17), 1);
  ends_at_once.continuations = 2;
  const auto kept = Record(*decoder, options, {request, ends_at_once});
  ASSERT_THAT(kept, SizeIs(6));
  for (const auto& [key, sequence] : kept) {
    SCOPED_TRACE(absl::StrCat("request ", key.first, ", continuation ", key.second));
    // The same tokens as one prompt.
    const auto whole = Record(*decoder, Options(1, 60), {Request(sequence.sequence.tokens, 1)});
    for (int layer = 0; layer < 4; ++layer) {
      EXPECT_LT(MaxDifference(sequence.values[layer], whole.at({0, 0}).values[layer]), 1e-4f) << "layer " << layer;
    }
  }
}

TEST(ActivationRecorderTest, StepsAllocateNothing) {
  const auto decoder = ArcMiniWith(AllBlocks());
  StepRunnerOptions options = Options(2, 200);
  options.allocation_counter = &AllocationCount;
  auto loop = LoopExecutor::Create(*decoder, options);
  ASSERT_TRUE(loop.ok());
  auto recorder = ActivationRecorder::Create(*decoder, &(*loop)->runner(), 200);
  ASSERT_TRUE(recorder.ok());
  const std::vector<LoopRequest> requests = {Request(Prompt(10), 100), Request(Prompt(14), 100)};
  (*recorder)->Begin([](const RecordedSequence&) { return absl::OkStatus(); });
  for (int run = 0; run < 2; ++run) ASSERT_TRUE((*loop)->Run(requests).ok());
  EXPECT_EQ((*loop)->runner().counters().allocations_after_warmup, 0);
  EXPECT_EQ((*loop)->runner().counters().misses_after_warmup, 0);
}

TEST(ActivationRecorderTest, AnErrorOfTheSinkEndsTheRunOnceAndTheNextOneWorks) {
  const auto decoder = ArcMiniWith(AllBlocks());
  const StepRunnerOptions options = Options(2, 60);
  auto loop = LoopExecutor::Create(*decoder, options);
  ASSERT_TRUE(loop.ok());
  auto recorder = ActivationRecorder::Create(*decoder, &(*loop)->runner(), 60);
  ASSERT_TRUE(recorder.ok());
  const std::vector<LoopRequest> requests(12, Request(Prompt(10), 4));
  int delivered = 0, failing = 3;
  const auto run = [&] {
    (*recorder)->Begin([&](const RecordedSequence&) {
      return ++delivered == failing ? absl::ResourceExhaustedError("the disk is full") : absl::OkStatus();
    });
    const auto results = (*loop)->Run(requests, nullptr, nullptr, [&](const LoopEnd& end) {
      RecordedSequence sequence;
      sequence.tokens.resize((*loop)->runner().length(end.segment));
      return (*recorder)->End(end.segment, std::move(sequence));
    });
    return results.ok() ? (*recorder)->Finish() : results.status();
  };
  EXPECT_EQ(run().message(), "the disk is full");
  (void)(*recorder)->Finish();
  delivered = 0, failing = -1;
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(delivered, 12);
}

TEST(ActivationRecorderTest, AValueWithoutARowPerTokenIsRefused) {
  CaptureSpec spec;
  spec.values = {"/model/Shape_output_0"};
  auto decoder = LoadDecoder(ArcMini(), spec);
  if (!decoder.ok()) GTEST_SKIP() << "the value is gone: " << decoder.status();
  auto loop = LoopExecutor::Create(**decoder, Options(1, 40));
  ASSERT_TRUE(loop.ok());
  EXPECT_THAT(ActivationRecorder::Create(**decoder, &(*loop)->runner(), 40).status().message(),
              HasSubstr("expected a row of known width for each token"));
}

}  // namespace
}  // namespace rondo
