// What is compiled when, and what is told of it: explanations of misses, compiling ahead, bounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "executor/loop_executor.h"
#include "graph/numeric.h"
#include "graph/status.h"
#include "importer/importer.h"
#include "ops/onednn/onednn.h"
#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- changing one thing at a time ----

// y = relu(x @ up) @ down of a [batch, tokens, 16] input.
std::unique_ptr<Graph> TwoLayers(DataType dtype) {
  GraphBuilder b;
  const auto weight = [&](int64_t rows, int64_t columns) {
    const Tensor values = RandomFloats({rows, columns});
    if (dtype == DataType::kFloat) return b.Constant(values);
    Tensor narrow = Tensor::Make(dtype, {rows, columns});
    for (int64_t i = 0; i < values.size(); ++i) {
      narrow.mutable_data<BFloat16>()[i] = BFloat16(values.data<float>()[i]);
    }
    return b.Constant(narrow);
  };
  Value* x = b.Input("x", dtype, {"batch", "tokens", "16"});
  Node* up = b.Node_("MatMul", 13, {x, weight(16, 32)}, 1);
  up->set_name("up");
  Value* h = b.Op("Relu", 14, {up->output(0)});
  Node* down = b.Node_("MatMul", 13, {h, weight(32, 16)}, 1);
  down->set_name("down");
  b.Output(down->output(0));
  return b.Take();
}

struct Setting {
  int64_t batch = 2, tokens = 8;
  DataType dtype = DataType::kFloat;
  int threads = 1;
  std::vector<std::string> disabled = {};
};

// Every primitive miss of one run in this setting, "node: the fields that differ".
std::vector<std::string> MissesOf(const Setting& setting, const std::shared_ptr<PrimitiveCache>& cache) {
  ProgramOptions options;
  options.primitives = cache;
  options.threads = setting.threads;
  options.disabled_rewrites = setting.disabled;
  auto program = MakeProgram(TwoLayers(setting.dtype), options);
  const size_t before = cache->report().misses.size();
  auto out = RunProgram(*program, {Tensor::Make(setting.dtype, {setting.batch, setting.tokens, 16})});
  EXPECT_TRUE(out.ok()) << out.status();
  std::vector<std::string> lines;
  const std::vector<CompileEvent> misses = cache->report().misses;
  for (size_t i = before; i < misses.size(); ++i) {
    if (misses[i].kind != CompileEvent::Kind::kPrimitive) continue;
    lines.push_back(
        misses[i].node + ": " +
        absl::StrJoin(misses[i].changes, " ", [](std::string* out, const KeyFieldChange& c) { out->append(c.field); }));
  }
  return lines;
}

struct Change {
  const char* name;
  Setting setting;
  std::vector<std::string> misses;
  Setting base = {};
};

TEST(ExplainedMissTest, EachChangeMakesExactlyItsMissesAndTheyNameTheField) {
  const bool bf16 = onednn::HasBFloat16();
  // a, b and y are the operands' types, which the rows are part of.
  const std::vector<Change> changes = {
      {"nothing", {}, {}},
      {"batch", {.batch = 3}, {"up: M a y", "down: M a y"}},
      {"tokens", {.tokens = 9}, {"up: M a y", "down: M a y"}},
      // An activation is fused in float32 alone. Where the library has no bfloat16, products are computed in float32,
      // by the same primitives.
      {"element type",
       {.dtype = DataType::kBFloat16},
       bf16 ? std::vector<std::string>{"up: a b y post_ops", "down: a b y"} : std::vector<std::string>{}},
      {"threads", {.tokens = 5000, .threads = 2}, {"up: threads", "down: threads"}, {.tokens = 5000}},
      {"threads, for work of one", {.threads = 2}, {}},
      {"a rewrite", {.disabled = {"fuse_matmul"}}, {"up: post_ops"}},
  };
  for (const Change& change : changes) {
    auto cache = std::make_shared<PrimitiveCache>();
    EXPECT_THAT(MissesOf(change.base, cache), ElementsAre("up: ", "down: K N a b y post_ops")) << change.name;
    EXPECT_EQ(MissesOf(change.setting, cache), change.misses) << change.name;
    EXPECT_THAT(MissesOf(change.setting, cache), IsEmpty()) << change.name;
    EXPECT_THAT(MissesOf(change.base, cache), IsEmpty()) << change.name;
  }
}

TEST(ExplainedMissTest, APlanNamesTheInputsThatDiffer) {
  auto program = MakeProgram(TwoLayers(DataType::kFloat));
  for (int64_t tokens : {8, 9}) {
    ASSERT_TRUE(RunProgram(*program, {Tensor::Make(DataType::kFloat, {2, tokens, 16})}).ok());
  }
  const CacheReport report = program->Report();
  EXPECT_EQ(report.totals.plans_made, 2);
  EXPECT_GE(report.totals.plan_seconds, report.totals.creation_seconds);
  EXPECT_EQ(report.misses.back().Explanation(),
            "MISS node graph plan: x was float32[2, 8, 16], is float32[2, 9, 16] (entry created for x float32[2, 8, "
            "16])");
  EXPECT_GT(report.weight_bytes, 0);
  EXPECT_EQ(report.weights.size(), 2u);
}

TEST(ExplainedMissTest, PlansThatAreMadeAnewFindEverythingElse) {
  auto program = MakeProgram(TwoLayers(DataType::kFloat));
  const std::vector<RuntimeValue> inputs = {Tensor::Make(DataType::kFloat, {2, 8, 16})};
  ASSERT_TRUE(RunProgram(*program, inputs).ok());
  const CacheStats before = program->primitives().stats();
  program->root().DropPlans();
  ASSERT_TRUE(RunProgram(*program, inputs).ok());
  const CacheStats after = program->primitives().stats();
  EXPECT_EQ(after.plans_made, before.plans_made + 1);
  EXPECT_EQ(after.misses, before.misses);
  EXPECT_EQ(after.hits, before.hits + 2);
}

// ---- what outlives a process ----

// A store in memory: by layout, type and dims, and the first bytes of each source.
class MapStore final : public PackedWeightStore {
 public:
  Tensor Find(absl::Span<const Tensor> sources, const PackedForm& form) override {
    const auto found = kept.find(KeyOf(sources, form));
    if (found == kept.end()) return Tensor();
    ++finds;
    return found->second;
  }
  void Add(absl::Span<const Tensor> sources, const PackedForm& form, const Tensor& packed) override {
    kept[KeyOf(sources, form)] = packed;
  }
  std::map<std::string, Tensor> kept;
  int finds = 0;

 private:
  static std::string KeyOf(absl::Span<const Tensor> sources, const PackedForm& form) {
    std::string key = absl::StrCat(form.layout, DataTypeName(form.dtype), DimsToString(form.dims));
    for (const Tensor& source : sources) {
      key.append(static_cast<const char*>(source.raw()), std::min<size_t>(source.bytes(), 64));
    }
    return key;
  }
};

// y = x @ -(-w) - c: what is computed of w is large, of c small.
std::unique_ptr<Graph> WithLargeConstant() {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "512"});
  Value* negative = b.Op("Neg", 13, {b.Constant(RandomFloats({512, 1024}))});
  Value* back = b.Op("Neg", 13, {negative});
  Value* small = b.Op("Neg", 13, {b.Constant(RandomFloats({1024}))});
  b.Output(b.Op("Add", 14, {b.Op("MatMul", 13, {x, back}), small}));
  return b.Take();
}

TEST(WeightStoreTest, ASecondProgramFindsPackedWeightsAndLargeFoldedConstants) {
  auto store = std::make_shared<MapStore>();
  ProgramOptions options;
  options.weight_store = store;
  const std::vector<RuntimeValue> inputs = {RandomFloats({3, 512})};
  auto first = MakeProgram(WithLargeConstant(), options);
  auto expected = RunProgram(*first, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(store->finds, 0);
  int64_t folded = 0;
  for (const auto& [key, tensor] : store->kept) folded += key.rfind("folded Neg@", 0) == 0;
  EXPECT_EQ(folded, 2);  // the small one is computed in no time
  EXPECT_GT(first->primitives().stats().weights_packed, 0);

  const size_t kept = store->kept.size();
  auto second = MakeProgram(WithLargeConstant(), options);
  auto found = RunProgram(*second, inputs);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(store->kept.size(), kept);
  EXPECT_EQ(second->primitives().stats().weights_packed, 0);
  EXPECT_EQ(second->primitives().stats().weights_found, first->primitives().stats().weights_packed);
  EXPECT_EQ(static_cast<size_t>(store->finds), kept);
  const Tensor &a = (*expected)[0].tensor(), &b = (*found)[0].tensor();
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
}

TEST(WeightStoreTest, OneQuantizedWeightWithTwoTablesOfScalesIsPackedTwice) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"rows", "32"});
  Tensor packed = Tensor::Make(DataType::kUInt8, {16, 1, 16});
  for (int64_t i = 0; i < packed.size(); ++i) packed.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
  Value* weight = b.Constant(packed);
  const NamedAttributes attributes = {
      {"K", int64_t{32}}, {"N", int64_t{16}}, {"bits", int64_t{4}}, {"block_size", int64_t{32}}};
  for (int seed : {1, 2}) {
    Value* scales = b.Constant(RandomFloats({16}, seed));
    b.Output(b.Op("com.microsoft::MatMulNBits", 1, {x, weight, scales}, attributes));
  }
  const std::unique_ptr<Graph> graph = b.Take();
  const std::vector<Tensor> inputs = {RandomFloats({3, 32})};
  const std::vector<Tensor> ours = RunGraph(*graph, inputs), plain = RunGraph(*graph, inputs, /*plain=*/true);
  for (size_t output : {0, 1}) {
    for (int64_t i = 0; i < ours[output].size(); ++i) {
      EXPECT_NEAR(ours[output].data<float>()[i], plain[output].data<float>()[i], 1e-4) << output << " " << i;
    }
  }
}

// ---- sealed runs ----

TEST(SealedRunTest, AMissIsAnErrorThatNamesTheShapeTheNodeAndTheField) {
  auto program = MakeProgram(TwoLayers(DataType::kFloat));
  const std::vector<RuntimeValue> known = {Tensor::Make(DataType::kFloat, {2, 8, 16})};
  const std::vector<RuntimeValue> longer = {Tensor::Make(DataType::kFloat, {2, 9, 16})};
  const std::vector<RuntimeValue> same_rows = {Tensor::Make(DataType::kFloat, {4, 4, 16})};
  RegionState state;
  ASSERT_TRUE(RunProgram(*program, known, &state).ok());
  {
    CompileScope scope;
    scope.Seal();
    EXPECT_TRUE(RunProgram(*program, known, &state).ok());
    const absl::Status primitive = RunProgram(*program, longer, &state).status();
    EXPECT_EQ(primitive.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(primitive.message()), HasSubstr("x float32[2, 9, 16]: "));
    EXPECT_THAT(std::string(primitive.message()), HasSubstr("MISS node up MatMul: key field M was 16, is 18"));
    // The same primitives, another plan.
    const absl::Status plan = RunProgram(*program, same_rows, &state).status();
    EXPECT_THAT(std::string(plan.message()),
                HasSubstr("MISS node graph plan: x was float32[2, 8, 16], is float32[4, 4, 16]"));
  }
  EXPECT_TRUE(RunProgram(*program, longer, &state).ok());
  EXPECT_TRUE(RunProgram(*program, same_rows, &state).ok());
}

// ---- compiling ahead ----

std::unique_ptr<Decoder> ArcMini(CacheLimits cache = {}) {
  auto imported = ImportModel(SourceDir() + "/tests/data/models/arc-mini/model.onnx", {});
  EXPECT_TRUE(imported.ok()) << imported.status();
  DecoderOptions options;
  options.program.threads = 1;
  options.program.cache = cache;
  auto made = Decoder::Create(std::move(imported->graph), options);
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::vector<LoopRequest> Requests(int count) {
  std::vector<LoopRequest> requests(count);
  for (int i = 0; i < count; ++i) {
    for (int k = 0; k < 5 + 13 * i; ++k) requests[i].prompt.push_back((i * 31 + k * 7 + 3) % 320);
    requests[i].max_new_tokens = 4 + 3 * i;
  }
  return requests;
}

std::vector<std::vector<int64_t>> TokensOf(const std::vector<std::vector<LoopSequence>>& sequences) {
  std::vector<std::vector<int64_t>> tokens;
  for (const auto& of_request : sequences) tokens.push_back(of_request[0].tokens);
  return tokens;
}

TEST(PrecompileTest, TheStepsOfALoopFindEverythingMade) {
  const auto decoder = ArcMini();
  StepRunnerOptions options;
  options.max_length = 128;
  options.sequences = 6;
  options.prefill_rows = {8, 64};
  options.decode_batches = {1, 3};
  options.fail_on_miss = true;
  auto loop = LoopExecutor::Create(*decoder, options);
  ASSERT_TRUE(loop.ok()) << loop.status();
  std::vector<std::string> told;
  auto shapes = (*loop)->runner().Precompile([&](int64_t done, int64_t total, absl::string_view next) {
    told.push_back(absl::StrCat(done, "/", total, " ", next));
  });
  ASSERT_TRUE(shapes.ok()) << shapes.status();
  // |rows| + |batches|, not their product; the largest batch is the number of sequences.
  EXPECT_THAT(told, ElementsAre("0/5 prefill of 8 rows", "1/5 prefill of 64 rows", "2/5 decode of batch 1",
                                "3/5 decode of batch 3", "4/5 decode of batch 6", "5/5 "));
  const CacheStats before = decoder->program().primitives().stats();
  EXPECT_EQ(before.plans_made, 5);
  auto results = (*loop)->Run(Requests(7));
  ASSERT_TRUE(results.ok()) << results.status();
  const CacheStats after = decoder->program().primitives().stats();
  EXPECT_EQ(after.plans_made, before.plans_made);
  EXPECT_EQ(after.misses, before.misses);
  EXPECT_GT(after.plan_hits, before.plan_hits);
  EXPECT_THAT(decoder->program().Report().misses.back().compiled_in, "decode of batch 6");
  // A second time nothing is left to do, and results are those of a loop that compiles as it goes.
  ASSERT_TRUE((*loop)->runner().Precompile(nullptr).ok());
  EXPECT_EQ(decoder->program().primitives().stats().plans_made, 5);
  StepRunnerOptions other;
  other.max_length = 128;
  other.sequences = 6;
  auto plain = LoopExecutor::Create(*decoder, other);
  auto expected = (*plain)->Run(Requests(7));
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(TokensOf(*results), TokensOf(*expected));
}

TEST(PrecompileTest, BucketsThatNoPromptCanFillAreLeftOut) {
  const auto decoder = ArcMini();
  StepRunnerOptions options;
  options.max_length = 60;
  options.prefill_rows = {16, 64, 256};
  auto loop = LoopExecutor::Create(*decoder, options);
  auto shapes = (*loop)->runner().Precompile(nullptr);
  ASSERT_TRUE(shapes.ok()) << shapes.status();
  std::vector<std::string> names;
  for (const PrecompiledShape& shape : *shapes) names.push_back(shape.name);
  EXPECT_THAT(names, ElementsAre("prefill of 16 rows", "prefill of 64 rows", "decode of batch 1"));
}

TEST(PrecompileTest, MoreShapesThanPlansAreKeptIsAnError) {
  const auto decoder = ArcMini();
  StepRunnerOptions options;
  options.max_length = 4096;
  options.prefill_rows.clear();
  for (int64_t rows = 1; rows <= 40; ++rows) options.prefill_rows.push_back(rows);
  auto loop = LoopExecutor::Create(*decoder, options);
  EXPECT_THAT(std::string((*loop)->runner().Precompile(nullptr).status().message()),
              HasSubstr("40 shapes to compile ahead, 32 plans are kept"));
}

TEST(PrecompileTest, BatchesAreChecked) {
  const auto decoder = ArcMini();
  StepRunnerOptions options;
  options.max_length = 16;
  options.decode_batches = {4, 2};
  EXPECT_EQ(LoopExecutor::Create(*decoder, options).status().message(),
            "decode batches: expected positive numbers in ascending order");
}

// ---- bounds ----

TEST(CacheBoundTest, RoomForOnePrimitiveOrNoneGivesTheSameTokens) {
  StepRunnerOptions options;
  options.max_length = 128;
  options.sequences = 3;
  std::vector<std::vector<int64_t>> expected;
  for (int64_t entries : {4096, 1, 0}) {
    const auto decoder = ArcMini({.entries = entries});
    auto results = (*LoopExecutor::Create(*decoder, options))->Run(Requests(5));
    ASSERT_TRUE(results.ok()) << results.status();
    if (entries == 4096) expected = TokensOf(*results);
    EXPECT_EQ(TokensOf(*results), expected) << entries << " entries";
    EXPECT_LE(decoder->program().primitives().stats().entries, entries);
  }
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(CacheBoundSlowTest, TenThousandShapesLeaveNothingBehind) {
  ProgramOptions options;
  options.cache = {.entries = 16, .bytes = int64_t{4} << 20};
  options.max_plans = 4;
  auto program = MakeProgram(TwoLayers(DataType::kFloat), options);
  RegionState state;
  int64_t before = 0;
  for (int64_t tokens = 1; tokens <= 10000; ++tokens) {
    auto out = RunProgram(*program, {Tensor::Make(DataType::kFloat, {1, tokens, 16})}, &state);
    ASSERT_TRUE(out.ok()) << out.status();
    // What is bounded has filled its bounds by now.
    if (tokens == 4000) before = ResidentBytes();
  }
  const CacheReport report = program->Report();
  EXPECT_EQ(report.totals.misses, 20000);
  EXPECT_LE(report.totals.entries, 16);
  EXPECT_EQ(report.misses.size(), CompileLog::kMaxMisses);
  EXPECT_EQ(report.nodes.size(), 2u);
  // The four plans and the input hold 6,000 rows more, of 32 and 16 floats.
  EXPECT_LT(ResidentBytes() - before, int64_t{16} << 20);
}

}  // namespace
}  // namespace rondo
