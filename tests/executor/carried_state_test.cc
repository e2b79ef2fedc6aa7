// Caches that Loop and Scan carry from turn to turn are written where they lie: what a turn copies does not grow with
// the cache. And nothing that anybody else can see is written over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "importer/importer.h"
#include "kvcache/carried.h"
#include "ops/movement.h"
#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kCapacity = 64, kHeads = 2, kSize = 4;
constexpr int64_t kCacheBytes = kCapacity * kHeads * kSize * 4;
constexpr int64_t kTurns = 20;

ValueType Int64Scalar() { return ValueType::Tensor(DataType::kInt64, Shape()); }
ValueType FloatsOf(Shape shape) { return ValueType::Tensor(DataType::kFloat, std::move(shape)); }

// One way to write rows into a cache along an axis; position is an int64 scalar, value a float scalar that fills the
// row.
struct Form {
  std::string name;
  Shape cache;  // at full capacity
  std::function<Value*(GraphBuilder&, Value* cache, Value* position, Value* value)> write;
};

Value* Row(GraphBuilder& b, Value* value, const std::vector<int64_t>& dims) {
  return b.Op("Expand", 13, {value, b.Constant(Int64Tensor({static_cast<int64_t>(dims.size())}, dims))});
}
Value* Reshaped(GraphBuilder& b, Value* value, const std::vector<int64_t>& dims) {
  return b.Op("Reshape", 14, {value, b.Constant(Int64Tensor({static_cast<int64_t>(dims.size())}, dims))});
}

std::vector<Form> Forms() {
  return {
      {"ScatterND",
       {kCapacity, kHeads, kSize},
       [](GraphBuilder& b, Value* cache, Value* position, Value* value) {
         return b.Op("ScatterND", 18, {cache, Reshaped(b, position, {1, 1}), Row(b, value, {1, kHeads, kSize})});
       }},
      {"ScatterElements",
       {1, kHeads, kCapacity, kSize},
       [](GraphBuilder& b, Value* cache, Value* position, Value* value) {
         const std::vector<int64_t> row = {1, kHeads, 1, kSize};
         return b.Op("ScatterElements", 18, {cache, Row(b, position, row), Row(b, value, row)}, {{"axis", int64_t{2}}});
       }},
      {"TensorScatter",
       {1, kHeads, kCapacity, kSize},
       [](GraphBuilder& b, Value* cache, Value* position, Value* value) {
         return b.Op("TensorScatter", 24, {cache, Row(b, value, {1, kHeads, 1, kSize}), Reshaped(b, position, {1})});
       }},
      // As torch's index_put on an inner axis is exported.
      {"TransposedScatterND",
       {1, kHeads, kCapacity, kSize},
       [](GraphBuilder& b, Value* cache, Value* position, Value* value) {
         const std::vector<int64_t> perm = {2, 0, 1, 3}, back = {1, 2, 0, 3};
         Value* moved = b.Op("Transpose", 13, {cache}, {{"perm", perm}});
         Value* rows = b.Op("Transpose", 13, {Row(b, value, {1, kHeads, 1, kSize})}, {{"perm", perm}});
         Value* written = b.Op("ScatterND", 18, {moved, Reshaped(b, position, {1, 1}), rows});
         return b.Op("Transpose", 13, {written}, {{"perm", back}});
       }},
      // Elements of the index are known in the run alone, so that the update is not in the plan but in its
      // continuation.
      {"ScatterNDAtARange",
       {kCapacity, kHeads, kSize},
       [](GraphBuilder& b, Value* cache, Value* position, Value* value) {
         Value* one = b.Constant(Int64Tensor({}, {1}));
         Value* range = b.Op("Range", 11, {position, b.Op("Add", 14, {position, one}), one});
         return b.Op("ScatterND", 18, {cache, Reshaped(b, range, {-1, 1}), Row(b, value, {1, kHeads, kSize})});
       }},
  };
}

struct Body {
  explicit Body(Graph& graph) : b(graph) {}
  GraphBuilder b;
  Value* turn = nullptr;   // int64 scalar
  Value* value = nullptr;  // float scalar, turn + 1
  std::vector<Value*> carried, captures;
  std::vector<Value*> carried_out, scan_out;
};
using FillBody = std::function<void(Body&)>;

// Initial values are inputs of the graph, or constants of zeros.
enum class Initial { kInputs, kConstants };

// A graph of one Loop or Scan of kTurns turns; its outputs are the node's, its inputs the initial values and what the
// body captures.
std::unique_ptr<Graph> Repeat(bool scan, const std::vector<ValueType>& carried, const std::vector<ValueType>& captures,
                              int scan_outputs, const FillBody& fill, Initial initial = Initial::kInputs) {
  GraphBuilder outer;
  auto inner = std::make_unique<Graph>();
  std::vector<Value*> inputs;
  if (!scan) {
    inputs = {outer.Constant(Int64Tensor({}, {kTurns})), nullptr};
    inner->AddInput("turn", Int64Scalar());
    inner->AddInput("condition", ValueType::Tensor(DataType::kBool, Shape()));
  }
  for (const ValueType& type : carried) {
    inner->AddInput("carried", type);
    inputs.push_back(initial == Initial::kConstants
                         ? outer.Constant(Tensor::Make(DataType::kFloat, type.shape->ToDims()))
                         : outer.graph().AddInput(absl::StrCat("initial", inputs.size()), type));
  }
  if (scan) {
    std::vector<int64_t> steps(kTurns);
    std::iota(steps.begin(), steps.end(), 0);
    inputs.push_back(outer.Constant(Int64Tensor({kTurns}, steps)));
    inner->AddInput("turn", Int64Scalar());
  }
  const int outputs = static_cast<int>(carried.size()) + scan_outputs;
  Node* node = outer.graph().AddNode({"", scan ? "Scan" : "Loop", 16}, "repeat", inputs, outputs);
  if (scan) node->set_attribute("num_scan_inputs", int64_t{1});
  outer.graph().SetSubgraph(node, "body", std::move(inner));
  for (const ValueType& type : captures) {
    outer.graph().AddCapture(node, outer.graph().AddInput(absl::StrCat("captured", node->inputs().size()), type));
  }
  Body body(*node->subgraph("body"));
  const std::vector<Value*>& formal = body.b.graph().inputs();
  const size_t first = scan ? 0 : 2;
  body.carried.assign(formal.begin() + first, formal.begin() + first + carried.size());
  body.turn = scan ? formal[carried.size()] : formal[0];
  body.captures.assign(formal.end() - captures.size(), formal.end());
  Value* next = body.b.Op("Add", 14, {body.turn, body.b.Constant(Int64Tensor({}, {1}))});
  body.value = body.b.Op("Cast", 13, {next}, {{"to", static_cast<int64_t>(DataType::kFloat)}});
  fill(body);
  if (!scan) body.b.Output(body.b.Constant(BoolTensor({}, {true})));
  for (Value* value : body.carried_out) body.b.Output(value);
  for (Value* value : body.scan_out) body.b.Output(value);
  for (int i = 0; i < outputs; ++i) outer.Output(node->output(i));
  return outer.Take();
}

struct Result {
  std::vector<Tensor> outputs;
  int64_t copied = 0;
};
Result RunTwice(std::unique_ptr<Graph> graph, const std::vector<RuntimeValue>& inputs, bool plain = false) {
  ProgramOptions options;
  options.plain = plain;
  auto program = MakeProgram(std::move(graph), options);
  Result result;
  RegionState state;
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second run finds what the first left
    const int64_t before = ScatterCopiedBytes();
    auto outputs = RunProgram(*program, inputs, &state);
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    if (!outputs.ok()) return result;
    std::vector<Tensor> tensors;
    for (const RuntimeValue& output : *outputs) tensors.push_back(output.tensor().Clone());
    if (repeat == 1) {
      for (size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(FirstDifference(tensors[i], result.outputs[i]), "");
      EXPECT_EQ(ScatterCopiedBytes() - before, result.copied);
    }
    result.outputs = std::move(tensors);
    result.copied = ScatterCopiedBytes() - before;
  }
  return result;
}

Tensor Ones(const Shape& shape) {
  Tensor tensor = Tensor::Make(DataType::kFloat, shape.ToDims());
  std::fill_n(tensor.mutable_data<float>(), tensor.size(), 100.0f);
  return tensor;
}
// The rows' values by position, 100 where nothing was written; all elements of a row must be equal.
std::vector<float> RowsOf(const Tensor& cache) {
  const bool rows_first = cache.rank() == 3;
  std::vector<float> rows;
  for (int64_t p = 0; p < kCapacity; ++p) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t d = 0; d < kSize; ++d) {
        const int64_t at = rows_first ? (p * kHeads + h) * kSize + d : (h * kCapacity + p) * kSize + d;
        const float value = cache.data<float>()[at];
        if (h == 0 && d == 0) rows.push_back(value);
        EXPECT_EQ(value, rows.back()) << "position " << p;
      }
    }
  }
  return rows;
}
std::vector<float> ExpectedRows(int64_t turns) {
  std::vector<float> rows(kCapacity, 100);
  for (int64_t i = 0; i < turns; ++i) rows[i] = static_cast<float>(i + 1);
  return rows;
}

class CarriedStateTest : public testing::TestWithParam<std::tuple<bool, int>> {
 protected:
  bool scan() const { return std::get<0>(GetParam()); }
  Form form() const { return Forms()[std::get<1>(GetParam())]; }
};

TEST_P(CarriedStateTest, ATurnWritesItsRowsWhereTheCacheLies) {
  for (const bool plain : {false, true}) {
    const Form f = form();
    const Tensor initial = Ones(f.cache);
    auto graph = Repeat(scan(), {FloatsOf(f.cache)}, {}, 1, [&](Body& body) {
      Value* next = f.write(body.b, body.carried[0], body.turn, body.value);
      body.carried_out = {next};
      body.scan_out = {body.b.Op("ReduceMax", 18, {next}, {{"keepdims", int64_t{0}}})};
    });
    const Result result = RunTwice(std::move(graph), {initial}, plain);
    ASSERT_EQ(result.outputs.size(), 2u);
    EXPECT_EQ(RowsOf(result.outputs[0]), ExpectedRows(kTurns));
    // The caller's initial value, once; transposes, which plain graphs keep, give the scatter a copy to write in.
    const bool transposed = plain && f.name == "TransposedScatterND";
    EXPECT_EQ(result.copied, transposed ? 0 : kCacheBytes);
    EXPECT_THAT(Floats(initial), Each(100.0f));
  }
}

TEST_P(CarriedStateTest, AScanOutputOfTheCacheShowsItAsItWas) {
  const Form f = form();
  auto graph = Repeat(scan(), {FloatsOf(f.cache)}, {}, 2, [&](Body& body) {
    Value* old = body.b.Op("Neg", 13, {body.carried[0]});  // read before it is written over
    Value* next = f.write(body.b, body.carried[0], body.turn, body.value);
    body.carried_out = {next};
    body.scan_out = {next, old};
  });
  const Result result = RunTwice(std::move(graph), {Ones(f.cache)});
  ASSERT_EQ(result.outputs.size(), 3u);
  EXPECT_EQ(result.copied, kCacheBytes);
  for (int64_t turn : {int64_t{0}, int64_t{5}, kTurns - 1}) {
    const int64_t count = kCapacity * kHeads * kSize;
    const Tensor after =
        Tensor::Borrow(DataType::kFloat, f.cache.ToDims(), result.outputs[1].data<float>() + turn * count, nullptr);
    Tensor before =
        Tensor::Borrow(DataType::kFloat, f.cache.ToDims(), result.outputs[2].data<float>() + turn * count, nullptr)
            .Clone();
    for (int64_t i = 0; i < count; ++i) before.mutable_data<float>()[i] *= -1;
    EXPECT_EQ(RowsOf(after), ExpectedRows(turn + 1));
    EXPECT_EQ(RowsOf(before), ExpectedRows(turn));
  }
}

TEST_P(CarriedStateTest, ACacheThatIsReadAfterItsUpdateIsCopied) {
  const Form f = form();
  auto graph = Repeat(scan(), {FloatsOf(f.cache)}, {}, 1, [&](Body& body) {
    Value* next = f.write(body.b, body.carried[0], body.turn, body.value);
    body.carried_out = {next};
    Value* difference = body.b.Op("Sub", 14, {next, body.carried[0]});
    body.scan_out = {body.b.Op("ReduceSum", 13, {difference}, {{"keepdims", int64_t{0}}})};
  });
  const Result result = RunTwice(std::move(graph), {Ones(f.cache)});
  ASSERT_EQ(result.outputs.size(), 2u);
  EXPECT_EQ(result.copied, kTurns * kCacheBytes);
  EXPECT_EQ(RowsOf(result.outputs[0]), ExpectedRows(kTurns));
  EXPECT_EQ(result.outputs[1].data<float>()[3], kHeads * kSize * (4.0f - 100.0f));
}

TEST_P(CarriedStateTest, CachesMayChangePlaces) {
  const Form f = form();
  auto graph = Repeat(scan(), {FloatsOf(f.cache), FloatsOf(f.cache)}, {}, 0, [&](Body& body) {
    body.carried_out = {f.write(body.b, body.carried[1], body.turn, body.value),
                        f.write(body.b, body.carried[0], body.turn, body.b.Op("Neg", 13, {body.value}))};
  });
  const Tensor initial = Ones(f.cache);
  const Result result = RunTwice(std::move(graph), {initial, initial});
  ASSERT_EQ(result.outputs.size(), 2u);
  EXPECT_EQ(result.copied, 2 * kCacheBytes);
  std::vector<float> first(kCapacity, 100), second(kCapacity, 100);
  for (int64_t i = 0; i < kTurns; ++i) {
    const float value = static_cast<float>(i + 1);
    first[i] = (kTurns - i) % 2 == 1 ? value : -value;
    second[i] = -first[i];
  }
  EXPECT_EQ(RowsOf(result.outputs[0]), first);
  EXPECT_EQ(RowsOf(result.outputs[1]), second);
}

TEST_P(CarriedStateTest, OneValueCarriedTwiceBecomesTwo) {
  const Form f = form();
  auto graph = Repeat(scan(), {FloatsOf(f.cache), FloatsOf(f.cache)}, {}, 1, [&](Body& body) {
    Value* next = f.write(body.b, body.carried[0], body.turn, body.value);
    body.carried_out = {next, next};
    body.scan_out = {body.b.Op("ReduceMin", 18, {body.carried[1]}, {{"keepdims", int64_t{0}}})};
  });
  const Tensor initial = Ones(f.cache);
  const Result result = RunTwice(std::move(graph), {initial, initial});
  ASSERT_EQ(result.outputs.size(), 3u);
  EXPECT_EQ(RowsOf(result.outputs[0]), ExpectedRows(kTurns));
  EXPECT_EQ(RowsOf(result.outputs[1]), ExpectedRows(kTurns));
  EXPECT_EQ(result.outputs[2].data<float>()[0], 100.0f);
  EXPECT_EQ(result.outputs[2].data<float>()[4], 1.0f);
}

TEST_P(CarriedStateTest, WeightsAndCapturesAreNeverWrittenTo) {
  const Form f = form();
  auto graph = Repeat(
      scan(), {FloatsOf(f.cache)}, {FloatsOf(f.cache)}, 1,
      [&](Body& body) {
        body.carried_out = {f.write(body.b, body.carried[0], body.turn, body.value)};
        body.scan_out = {f.write(body.b, body.captures[0], body.turn, body.value)};
      },
      Initial::kConstants);
  const Tensor captured = Ones(f.cache);
  const Result result = RunTwice(std::move(graph), {captured});  // twice: a weight written to would show
  ASSERT_EQ(result.outputs.size(), 2u);
  EXPECT_THAT(Floats(captured), Each(100.0f));
  EXPECT_EQ(result.copied, (1 + kTurns) * kCacheBytes);
  for (int64_t i = 0; i < kTurns; ++i)
    EXPECT_EQ(result.outputs[0].data<float>()[f.cache.rank() == 3 ? i * 8 : i * 4], static_cast<float>(i + 1));
}

INSTANTIATE_TEST_SUITE_P(Forms, CarriedStateTest, testing::Combine(testing::Bool(), testing::Range(0, 5)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param) ? "Scan" : "Loop",
                                               Forms()[std::get<1>(info.param)].name);
                         });

class LoopStateTest : public testing::TestWithParam<int> {};

TEST_P(LoopStateTest, ASequenceKeepsTheCacheAsItWas) {
  const Form f = Forms()[GetParam()];
  GraphBuilder outer;
  Value* initial = outer.graph().AddInput("initial", FloatsOf(f.cache));
  Value* empty = outer.Op("SequenceEmpty", 11, {}, {{"dtype", static_cast<int64_t>(DataType::kFloat)}});
  Node* loop = outer.graph().AddNode({"", "Loop", 16}, "loop",
                                     {outer.Constant(Int64Tensor({}, {kTurns})), nullptr, initial, empty}, 2);
  outer.graph().SetSubgraph(loop, "body", std::make_unique<Graph>());
  GraphBuilder b(*loop->subgraph("body"));
  Value* turn = b.graph().AddInput("turn", Int64Scalar());
  b.graph().AddInput("condition", ValueType::Tensor(DataType::kBool, Shape()));
  Value* cache = b.graph().AddInput("cache", FloatsOf(f.cache));
  Value* sequence = b.graph().AddInput("sequence", empty->type());
  Value* next = b.Op("Add", 14, {turn, b.Constant(Int64Tensor({}, {1}))});
  Value* value = b.Op("Cast", 13, {next}, {{"to", static_cast<int64_t>(DataType::kFloat)}});
  Value* longer = b.Op("SequenceInsert", 11, {sequence, cache});
  b.Output(b.Constant(BoolTensor({}, {true})));
  b.Output(f.write(b, cache, turn, value));
  b.Output(longer);
  outer.Output(loop->output(0));
  outer.Output(loop->output(1));
  auto program = MakeProgram(outer.Take());
  auto outputs = RunProgram(*program, {Ones(f.cache)});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_EQ(RowsOf((*outputs)[0].tensor()), ExpectedRows(kTurns));
  const TensorSequence& kept = (*outputs)[1].sequence();
  ASSERT_EQ(kept.size(), static_cast<size_t>(kTurns));
  for (int64_t i = 0; i < kTurns; ++i) EXPECT_EQ(RowsOf(kept[i].tensor()), ExpectedRows(i));
}

INSTANTIATE_TEST_SUITE_P(Forms, LoopStateTest, testing::Range(0, 5),
                         [](const auto& info) { return Forms()[info.param].name; });

// What `inspect --kv` says of one carried cache of this body.
CarriedCache ReportOf(const Shape& shape, const FillBody& fill, int scan_outputs = 0) {
  auto program = MakeProgram(Repeat(/*scan=*/false, {FloatsOf(shape)}, {}, scan_outputs, fill));
  const std::vector<CarriedCache> caches = FindCarriedCaches(program->graph());
  EXPECT_EQ(caches.size(), 1u);
  return caches.empty() ? CarriedCache() : caches[0];
}

TEST(CarriedReportTest, EveryFormIsNamedAndInPlace) {
  for (const Form& f : Forms()) {
    const CarriedCache cache = ReportOf(
        f.cache, [&](Body& body) { body.carried_out = {f.write(body.b, body.carried[0], body.turn, body.value)}; });
    EXPECT_TRUE(cache.in_place) << f.name << ": " << cache.why;
    EXPECT_THAT(f.name, HasSubstr(cache.form.substr(std::string("Loop-carried ").size())));
    EXPECT_EQ(cache.axis, f.cache.rank() == 3 ? 0 : 2) << f.name;
    EXPECT_EQ(cache.start, "turn") << f.name;
  }
}

TEST(CarriedReportTest, WhyACacheIsCopied) {
  const Form f = Forms()[0];
  const CarriedCache late = ReportOf(
      f.cache,
      [&](Body& body) {
        Value* next = f.write(body.b, body.carried[0], body.turn, body.value);
        body.carried_out = {next};
        body.scan_out = {body.b.Op("Sub", 14, {next, body.carried[0]})};
      },
      /*scan_outputs=*/1);
  EXPECT_FALSE(late.in_place);
  EXPECT_THAT(late.why, HasSubstr("read after its update, by node"));

  const CarriedCache grows = ReportOf({Dim::Symbol("n"), 2, 4}, [](Body& body) {
    body.carried_out = {
        body.b.Op("Concat", 13, {body.carried[0], Row(body.b, body.value, {1, 2, 4})}, {{"axis", int64_t{0}}})};
  });
  EXPECT_FALSE(grows.in_place);
  EXPECT_EQ(grows.form, "Loop-carried Concat");
  EXPECT_THAT(grows.why, HasSubstr("longer cache in every turn"));
}

// A whole decoder in a Loop, its caches carried: what a run copies is the same for few tokens and for many.
TEST(CarriedSharedModelTest, TokensOfAGenerationLoopCopyNoCache) {
  const std::string path = SharedDir() + "/models/hand_generate_loop_op18/model.onnx";
  if (!std::ifstream(path)) GTEST_SKIP() << "shared models not found";
  for (const bool plain : {false, true}) {
    auto imported = ImportModel(path, {});
    ASSERT_TRUE(imported.ok()) << imported.status();
    ProgramOptions options;
    options.plain = plain;
    auto program = MakeProgram(std::move(imported->graph), options);
    const std::vector<CarriedCache> caches = FindCarriedCaches(program->graph());
    ASSERT_EQ(caches.size(), 4u);
    for (const CarriedCache& cache : caches) {
      EXPECT_TRUE(cache.in_place) << cache.why;
      EXPECT_EQ(cache.form, "Loop-carried ScatterND");
      EXPECT_EQ(cache.axis, 0);
      EXPECT_EQ(cache.start, "pos_in");
    }
    std::vector<int64_t> copied;
    for (const int64_t tokens : {2, 3, 40}) {
      const int64_t before = ScatterCopiedBytes();
      auto outputs =
          RunProgram(*program, {Int64Tensor({1, 4}, {5, 17, 3, 8}), Int64Tensor({}, {tokens}), Int64Tensor({}, {-1})});
      ASSERT_TRUE(outputs.ok()) << outputs.status();
      EXPECT_EQ((*outputs)[0].tensor().size(), tokens);
      copied.push_back(ScatterCopiedBytes() - before);
    }
    EXPECT_THAT(copied, Each(copied[0]));
  }
}

// Without a Loop: a value in the arena whose last use is the scatter is written over too.
TEST(ScatterInAPlanTest, AnIntermediateValueIsWrittenInPlace) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"1", "2", "64", "4"});
  Value* cache = b.Op("Exp", 13, {x});
  Value* rows = b.Input("rows", DataType::kFloat, {"1", "2", "1", "4"});
  b.Output(b.Op("TensorScatter", 24, {cache, rows, b.Input("start", DataType::kInt64, {"1"})}));
  const int64_t before = ScatterCopiedBytes();
  const std::vector<Tensor> outputs =
      RunGraph(b.graph(), {RandomFloats({1, 2, 64, 4}), RandomFloats({1, 2, 1, 4}), Int64Tensor({1}, {3})});
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(ScatterCopiedBytes(), before);
}

// What is replaced as a whole moves by its handle; growing values take a plan per length, and their results are right.
TEST(CarriedGrowingTest, AValueThatGrowsByConcatIsRight) {
  auto graph = Repeat(false, {FloatsOf({Dim::Symbol("n"), 4})}, {}, 0, [](Body& body) {
    body.carried_out = {
        body.b.Op("Concat", 13, {body.carried[0], Row(body.b, body.value, {1, 4})}, {{"axis", int64_t{0}}})};
  });
  const Result result = RunTwice(std::move(graph), {Tensor::Make(DataType::kFloat, {1, 4})});
  ASSERT_EQ(result.outputs.size(), 1u);
  EXPECT_THAT(std::vector<int64_t>(result.outputs[0].dims().begin(), result.outputs[0].dims().end()),
              ElementsAre(kTurns + 1, 4));
  EXPECT_EQ(result.outputs[0].data<float>()[kTurns * 4], static_cast<float>(kTurns));
}

}  // namespace
}  // namespace rondo
