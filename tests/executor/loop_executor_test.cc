// The promises of the decode loop, on the small trained decoder of the repository: what is computed does not depend on
// how the steps are cut and batched; from the second step on nothing is created, allocated or copied.
#include "executor/loop_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "executor/beam_search.h"
#include "importer/importer.h"
#include "tests/support/paths.h"
#include "tools/allocation_counter.h"

namespace rondo {
namespace {

using Ids = std::vector<int64_t>;

const Decoder& ArcMini() {
  static const Decoder* const decoder = [] {
    auto imported = ImportModel(SourceDir() + "/tests/data/models/arc-mini/model.onnx", {});
    EXPECT_TRUE(imported.ok()) << imported.status();
    DecoderOptions options;
    options.program.threads = 1;
    auto made = Decoder::Create(std::move(imported->graph), options);
    EXPECT_TRUE(made.ok()) << made.status();
    return made->release();
  }();
  return *decoder;
}

Ids Prompt(int64_t length, int64_t seed = 1) {
  Ids ids;
  uint64_t state = static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15u;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int64_t>(state >> 33) % 320);
  }
  return ids;
}

std::unique_ptr<LoopExecutor> MakeLoop(StepRunnerOptions options) {
  auto loop = LoopExecutor::Create(ArcMini(), options);
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}
StepRunnerOptions Options(int64_t max_length, int sequences = 1) {
  StepRunnerOptions options;
  options.max_length = max_length;
  options.sequences = sequences;
  return options;
}

LoopRequest Request(Ids prompt, int64_t new_tokens) {
  LoopRequest request;
  request.prompt = std::move(prompt);
  request.max_new_tokens = new_tokens;
  return request;
}

double MaxError(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double error = 0;
  for (size_t i = 0; i < a.size(); ++i) error = std::max<double>(error, std::fabs(a[i] - b[i]));
  return error;
}

// Logits lie within some 20 of zero; two ways to sum one row differ in the last bits.
constexpr double kTolerance = 2e-4;

TEST(LoopExecutorTest, TheDecoderIsLowered) { EXPECT_TRUE(ArcMini().in_place()) << ArcMini().report().why; }

TEST(LoopExecutorTest, StepwiseDecodeEqualsFullPrefill) {
  const Ids prompt = Prompt(90);
  auto whole = MakeLoop(Options(128));
  std::vector<float> expected;
  ASSERT_TRUE(whole->runner().Prefill(0, prompt, &expected).ok());
  auto stepwise = MakeLoop(Options(128));
  std::vector<std::vector<float>> logits(1);
  ASSERT_TRUE(stepwise->runner().Prefill(0, absl::MakeSpan(prompt).subspan(0, 20), &logits[0]).ok());
  for (size_t i = 20; i < prompt.size(); ++i) {
    ASSERT_TRUE(stepwise->runner().Decode({0}, {prompt[i]}, absl::MakeSpan(logits)).ok());
  }
  EXPECT_EQ(stepwise->runner().length(0), whole->runner().length(0));
  EXPECT_LT(MaxError(logits[0], expected), kTolerance);
}

TEST(LoopExecutorTest, PrefillDoesNotDependOnItsBuckets) {
  StepRunnerOptions exact = Options(256);
  exact.prefill_rows = {1};
  auto by_one = MakeLoop(exact);
  StepRunnerOptions padded = Options(256);
  padded.prefill_rows = {8, 32, 128};
  auto by_bucket = MakeLoop(padded);
  const Ids prompt = Prompt(130);
  std::vector<float> expected, logits;
  for (size_t length = 1; length <= prompt.size(); ++length) {
    // One row more each time: what was computed for shorter prompts stays in the cache.
    ASSERT_TRUE(by_one->runner().Prefill(0, absl::MakeSpan(prompt).subspan(length - 1, 1), &expected).ok());
    ASSERT_TRUE(by_bucket->runner().Reset(0).ok());
    ASSERT_TRUE(by_bucket->runner().Prefill(0, absl::MakeSpan(prompt).subspan(0, length), &logits).ok());
    EXPECT_LT(MaxError(logits, expected), kTolerance) << "length " << length;
  }
  EXPECT_EQ(by_bucket->runner().counters().plans, 3);
}

TEST(LoopExecutorTest, AThousandStepsCreateMissAndAllocateNothing) {
  StepRunnerOptions options = Options(1100);
  options.allocation_counter = &AllocationCount;
  auto loop = MakeLoop(options);
  auto results = loop->Run({Request(Prompt(12), 1000)});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0][0].tokens.size(), 1000u);
  const StepCounters& counters = loop->runner().counters();
  EXPECT_EQ(counters.misses_after_warmup, 0);
  EXPECT_EQ(counters.creations_after_warmup, 0);
  EXPECT_EQ(counters.allocations_after_warmup, 0);
  EXPECT_EQ(counters.plans, 2);  // one of prefill, one of decode
  EXPECT_EQ(loop->runner().cache()->Info().bytes_copied, 0u);
}

TEST(LoopExecutorTest, AStepWritesItsRowsAndNothingElse) {
  auto loop = MakeLoop(Options(64));
  std::vector<std::vector<float>> logits(1);
  ASSERT_TRUE(loop->runner().Prefill(0, Prompt(5), &logits[0]).ok());
  const KvCacheInfo before = loop->runner().cache()->Info();
  ASSERT_TRUE(loop->runner().Decode({0}, {7}, absl::MakeSpan(logits)).ok());
  const KvCacheInfo after = loop->runner().cache()->Info();
  EXPECT_EQ(after.bytes_written - before.bytes_written, before.row_bytes);
  EXPECT_EQ(after.bytes_copied, 0u);
  EXPECT_EQ(after.rows_used, before.rows_used + 1);
}

TEST(LoopExecutorTest, CapacityAndStartMakeNoNewPlan) {
  auto small = MakeLoop(Options(64));
  ASSERT_TRUE(small->Run({Request(Prompt(9), 20)}).ok());
  const CacheStats before = ArcMini().program().primitives().stats();
  auto large = MakeLoop(Options(4096));
  ASSERT_TRUE(large->Run({Request(Prompt(9), 300)}).ok());
  const CacheStats after = ArcMini().program().primitives().stats();
  EXPECT_EQ(after.misses, before.misses);
  EXPECT_EQ(after.creations, before.creations);
}

TEST(LoopExecutorTest, ContinuationsShareOnePrefillWithoutCopies) {
  StepRunnerOptions options = Options(64, 3);
  options.prompts = 1;
  options.max_prompt = 40;
  auto loop = MakeLoop(options);
  LoopRequest request = Request(Prompt(40), 8);
  request.continuations = 5;  // more than places
  auto results = loop->Run({request});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ((*results)[0].size(), 5u);
  auto alone = MakeLoop(Options(64))->Run({Request(Prompt(40), 8)});
  ASSERT_TRUE(alone.ok());
  for (const LoopSequence& sequence : (*results)[0]) EXPECT_EQ(sequence.tokens, (*alone)[0][0].tokens);
  EXPECT_EQ(loop->statistics().prefill_tokens, 40);
  EXPECT_EQ(loop->runner().cache()->Info().bytes_copied, 0u);
}

TEST(LoopExecutorTest, SequencesOfDifferentLengthsDoNotDisturbEachOther) {
  std::vector<LoopRequest> requests;
  for (int i = 0; i < 9; ++i) requests.push_back(Request(Prompt(1 + 7 * i, i + 1), 3 + 5 * (i % 4)));
  auto together = MakeLoop(Options(128, 3))->Run(requests);
  ASSERT_TRUE(together.ok()) << together.status();
  for (size_t i = 0; i < requests.size(); ++i) {
    auto alone = MakeLoop(Options(128))->Run({requests[i]});
    ASSERT_TRUE(alone.ok());
    EXPECT_EQ((*together)[i][0].tokens, (*alone)[0][0].tokens) << "request " << i;
    EXPECT_EQ((*together)[i][0].finish, LoopFinish::kLength);
  }
}

TEST(LoopExecutorTest, AStopTokenEndsASequenceAsItsLast) {
  auto free_run = MakeLoop(Options(64))->Run({Request(Prompt(6), 10)});
  ASSERT_TRUE(free_run.ok());
  const Ids& tokens = (*free_run)[0][0].tokens;
  LoopRequest request = Request(Prompt(6), 10);
  request.stop_tokens = {tokens[4]};
  auto stopped = MakeLoop(Options(64))->Run({request});
  ASSERT_TRUE(stopped.ok());
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[4]) - tokens.begin();
  EXPECT_EQ((*stopped)[0][0].tokens, Ids(tokens.begin(), tokens.begin() + first + 1));
  EXPECT_EQ((*stopped)[0][0].finish, LoopFinish::kStop);
}

TEST(LoopExecutorTest, ACancelledRunReturnsWhatWasMadeAndTheNextIsWhole) {
  auto loop = MakeLoop(Options(64, 2));
  std::atomic<bool> cancel{false};
  const auto callback = [&](const LoopToken& token) {
    if (token.index == 4) cancel = true;
    return true;
  };
  auto cut = loop->Run({Request(Prompt(6), 20), Request(Prompt(3), 20)}, callback, &cancel);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ((*cut)[0][0].finish, LoopFinish::kCancelled);
  EXPECT_EQ((*cut)[0][0].tokens.size(), 5u);
  auto again = loop->Run({Request(Prompt(6), 20)});
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ((*again)[0][0].tokens.size(), 20u);
  EXPECT_TRUE(std::equal((*cut)[0][0].tokens.begin(), (*cut)[0][0].tokens.end(), (*again)[0][0].tokens.begin()));
}

TEST(LoopExecutorTest, ASavedSequenceContinuesWithTheSameTokens) {
  const std::string path = NewTempDir() + "/session.kv";
  auto loop = MakeLoop(Options(64));
  std::vector<std::vector<float>> logits(1), restored(1);
  ASSERT_TRUE(loop->runner().Prefill(0, Prompt(21), &logits[0]).ok());
  ASSERT_TRUE(loop->runner().cache()->Save(0, path).ok());
  auto other = MakeLoop(Options(100));
  ASSERT_TRUE(other->runner().cache()->Restore(0, path).ok());
  EXPECT_EQ(other->runner().length(0), 21);
  int64_t token = ArgMax(logits[0]), copy = token;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(loop->runner().Decode({0}, {token}, absl::MakeSpan(logits)).ok());
    ASSERT_TRUE(other->runner().Decode({0}, {copy}, absl::MakeSpan(restored)).ok());
    EXPECT_EQ(logits[0], restored[0]) << "step " << i;
    token = ArgMax(logits[0]);
    copy = ArgMax(restored[0]);
  }
}

TEST(LoopExecutorTest, ARewoundSequenceGoesTheSameWayAgain) {
  auto loop = MakeLoop(Options(64));
  std::vector<std::vector<float>> first(1), second(1);
  ASSERT_TRUE(loop->runner().Prefill(0, Prompt(10), &first[0]).ok());
  ASSERT_TRUE(loop->runner().Decode({0}, {5}, absl::MakeSpan(first)).ok());
  ASSERT_TRUE(loop->runner().Decode({0}, {6}, absl::MakeSpan(second)).ok());
  ASSERT_TRUE(loop->runner().cache()->Truncate(0, 10).ok());
  ASSERT_TRUE(loop->runner().Decode({0}, {5}, absl::MakeSpan(second)).ok());
  EXPECT_EQ(first[0], second[0]);
}

TEST(LoopExecutorTest, NarrowCachesStayCloseToTheWideOne) {
  const Ids prompt = Prompt(60);
  std::vector<float> expected;
  ASSERT_TRUE(MakeLoop(Options(64))->runner().Prefill(0, prompt, &expected).ok());
  double largest = 0;
  for (const float x : expected) largest = std::max<double>(largest, std::fabs(x));
  for (const auto& [dtype, tolerance] : {std::pair{DataType::kBFloat16, 0.02}, std::pair{DataType::kInt8, 0.05}}) {
    StepRunnerOptions options = Options(64);
    options.kv_dtype = dtype;
    std::vector<float> logits;
    auto loop = MakeLoop(options);
    ASSERT_TRUE(loop->runner().Prefill(0, prompt, &logits).ok());
    EXPECT_LT(MaxError(logits, expected), tolerance * largest) << DataTypeName(dtype);
    EXPECT_LT(loop->runner().cache_bytes(), MakeLoop(Options(64))->runner().cache_bytes());
  }
}

TEST(LoopExecutorTest, BeamSearchFindsASequenceAtLeastAsLikelyAsTheGreedyOne) {
  StepRunnerOptions options = Options(64, 8);
  options.prompts = 1;
  options.max_prompt = 16;
  auto loop = MakeLoop(options);
  const LoopRequest request = Request(Prompt(11), 6);
  BeamOptions one;
  one.beams = 1;
  auto greedy = SearchBeams(loop->runner(), request, one, nullptr);
  ASSERT_TRUE(greedy.ok()) << greedy.status();
  auto loop_greedy = MakeLoop(Options(64))->Run({request});
  EXPECT_EQ((*greedy)[0].tokens, (*loop_greedy)[0][0].tokens);
  BeamOptions four;
  four.num_return = 3;
  auto beams = SearchBeams(loop->runner(), request, four, nullptr);
  ASSERT_TRUE(beams.ok()) << beams.status();
  ASSERT_EQ(beams->size(), 3u);
  EXPECT_GE((*beams)[0].score, (*greedy)[0].score - 1e-9);
  EXPECT_GE((*beams)[0].score, (*beams)[1].score);
  // The score is what the model says of these tokens, asked one by one.
  auto check = MakeLoop(Options(64));
  std::vector<std::vector<float>> logits(1);
  ASSERT_TRUE(check->runner().Prefill(0, request.prompt, &logits[0]).ok());
  double sum = 0;
  for (const int64_t token : (*beams)[0].tokens) {
    double total = 0;
    for (const float x : logits[0]) total += std::exp(static_cast<double>(x));
    sum += logits[0][token] - std::log(total);
    ASSERT_TRUE(check->runner().Decode({0}, {token}, absl::MakeSpan(logits)).ok());
  }
  EXPECT_NEAR((*beams)[0].score, sum / 6, 1e-4);
}

// Without the rewrite that finds attention nothing can be lowered; the graph honours its mask and takes positions.
TEST(LoopExecutorTest, WhatCannotBeLoweredRunsOverPaddedPasts) {
  auto imported = ImportModel(SourceDir() + "/tests/data/models/arc-mini/model.onnx", {});
  ASSERT_TRUE(imported.ok());
  DecoderOptions options;
  options.program.threads = 1;
  options.program.disabled_rewrites = {"fuse_attention"};
  auto decoder = Decoder::Create(std::move(imported->graph), options);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  EXPECT_FALSE((*decoder)->in_place());
  EXPECT_TRUE((*decoder)->bucketed()) << (*decoder)->report().why;
  EXPECT_EQ((*decoder)->report().level, 2);
  auto loop = LoopExecutor::Create(**decoder, Options(160));
  ASSERT_TRUE(loop.ok()) << loop.status();
  const auto plans = [&] { return (*decoder)->program().root().plans().size(); };
  const LoopRequest request = Request(Prompt(30), 110);  // across 64 and 128 positions
  auto results = (*loop)->Run({request});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0][0].tokens, (*MakeLoop(Options(160))->Run({request}))[0][0].tokens);
  EXPECT_LE(plans(), 10u) << "one per bucket, prompt and trial";
}

TEST(LoopExecutorTest, CapturedValuesAreShownRowByRow) {
  const std::string name = "/model/layers.1/Add_1_output_0";
  const auto load = [&](bool growing) {
    auto imported = ImportModel(SourceDir() + "/tests/data/models/arc-mini/model.onnx", {});
    EXPECT_TRUE(imported.ok());
    DecoderOptions options;
    options.program.threads = 1;
    options.growing = growing;
    options.captures.values = {name};
    auto decoder = Decoder::Create(std::move(imported->graph), options);
    EXPECT_TRUE(decoder.ok()) << decoder.status();
    return *std::move(decoder);
  };
  std::vector<float> seen[2];
  for (const bool growing : {false, true}) {
    const std::unique_ptr<Decoder> decoder = load(growing);
    EXPECT_NE(decoder->in_place(), growing);
    auto loop = LoopExecutor::Create(*decoder, Options(64));
    ASSERT_TRUE(loop.ok()) << loop.status();
    std::vector<float>& rows = seen[growing];
    (*loop)->runner().SetActivationHook([&](const Activation& activation) {
      EXPECT_EQ(activation.index, 0);
      EXPECT_EQ(activation.rows, activation.tensor.dim(1));
      EXPECT_THAT(activation.starts, testing::ElementsAre(static_cast<int64_t>(rows.size() / 128)));
      ASSERT_EQ(activation.tensor.rank(), 3) << DimsToString(activation.tensor.dims());
      EXPECT_EQ(activation.tensor.dim(2), 128);
      const float* data = activation.tensor.data<float>();
      rows.insert(rows.end(), data, data + activation.valid[0] * 128);
    });
    ASSERT_TRUE((*loop)->Run({Request(Prompt(11), 5)}).ok());
  }
  ASSERT_EQ(seen[0].size(), 15u * 128);  // the last token is not run
  EXPECT_LT(MaxError(seen[0], seen[1]), kTolerance);
}

TEST(LoopExecutorTest, ErrorsNameTheNumbers) {
  auto loop = MakeLoop(Options(16));
  const auto message = [&](const LoopRequest& request) { return std::string(loop->Run({request}).status().message()); };
  EXPECT_EQ(message(Request({}, 4)), "prompt 0: is empty, expected at least one token");
  EXPECT_EQ(message(Request(Prompt(17), 4)),
            "prompt 0: 17 tokens, the cache holds 16 positions (raise the maximal length)");
  EXPECT_EQ(
      message(Request(Prompt(10), 8)),
      "prompt 0: 10 tokens and up to 8 new ones, the cache holds 16 positions (raise the maximal length or ask for "
      "fewer)");
  EXPECT_EQ(message(Request({3, 320}, 4)), "prompt 0: token 1 is 320, out of range [0, 319]");
  EXPECT_EQ(message(Request({-1}, 4)), "prompt 0: token 0 is -1, out of range [0, 319]");
  LoopRequest hot = Request({1}, 4);
  hot.sampling.temperature = -1;
  EXPECT_EQ(message(hot), "prompt 0: temperature is -1: expected 0 (greedy) or a positive number");
  // What failed left the executor usable.
  EXPECT_TRUE(loop->Run({Request(Prompt(10), 7)}).ok());
}

int64_t ResidentPages() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident;
}

TEST(LoopExecutorSlowTest, MemoryIsFlatOverFiveThousandSteps) {
  auto loop = MakeLoop(Options(5200));
  int64_t before = 0;
  const auto callback = [&](const LoopToken& token) {
    if (token.index == 100) before = ResidentPages();
    return true;
  };
  auto results = loop->Run({Request(Prompt(12), 5000)}, callback);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_LE(ResidentPages() - before, 64) << "pages more after 4,900 steps";
}

}  // namespace
}  // namespace rondo
