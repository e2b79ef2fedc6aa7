#include "executor/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/graph_builder.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> DimsOf(const RuntimeValue& value) {
  return {value.tensor().dims().begin(), value.tensor().dims().end()};
}

// y = (x + 1) * 2, a chain of `length` such pairs.
std::unique_ptr<Graph> Chain(int length) {
  GraphBuilder b;
  Value* v = b.Input("x", DataType::kFloat, {"n", "64"});
  for (int i = 0; i < length; ++i) {
    v = b.Op("Add", 14, {v, b.Constant(FloatTensor({1}, {1}))});
    v = b.Op("Mul", 14, {v, b.Constant(FloatTensor({1}, {0.5}))});
  }
  b.Output(v);
  return b.Take();
}

TEST(PlanTest, AChainOfElementwiseNodesRunsInPlace) {
  auto program = MakeProgram(Chain(8));
  RegionState state;
  auto out = RunProgram(*program, {FloatTensor({1, 64}, std::vector<float>(64, 1.0f))}, &state);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_FLOAT_EQ((*out)[0].tensor().data<float>()[5], 1.0f);
  auto plans = program->root().plans();
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(plans[0]->statistics.steps, 16);
  // Every value lives in the output's buffer.
  EXPECT_EQ(plans[0]->statistics.arena_bytes, 0u);
}

TEST(PlanTest, EachShapeHasOnePlanAndTheOldestGoesFirst) {
  ProgramOptions options;
  options.max_plans = 2;
  auto program = MakeProgram(Chain(1), options);
  RegionState state;
  for (int64_t n : {1, 2, 1, 3, 2, 1}) {
    auto out = RunProgram(*program, {Tensor::Make(DataType::kFloat, {n, 64})}, &state);
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_THAT(DimsOf((*out)[0]), ElementsAre(n, 64));
    EXPECT_LE(program->root().plans().size(), 2u);
  }
}

TEST(PlanTest, OutputsOfTheLastRunStayTheCallers) {
  auto program = MakeProgram(Chain(1));
  RegionState state;
  auto first = RunProgram(*program, {FloatTensor({1, 64}, std::vector<float>(64, 1.0f))}, &state);
  auto second = RunProgram(*program, {FloatTensor({1, 64}, std::vector<float>(64, 3.0f))}, &state);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_FLOAT_EQ((*first)[0].tensor().data<float>()[0], 1.0f);
  EXPECT_FLOAT_EQ((*second)[0].tensor().data<float>()[0], 2.0f);
}

TEST(PlanTest, AnOutputBufferIsReusedOnceTheCallerLetsGo) {
  auto program = MakeProgram(Chain(1));
  RegionState state;
  const void* address;
  {
    auto first = RunProgram(*program, {Tensor::Make(DataType::kFloat, {1, 64})}, &state);
    ASSERT_TRUE(first.ok());
    address = (*first)[0].tensor().raw();
  }
  auto second = RunProgram(*program, {Tensor::Make(DataType::kFloat, {1, 64})}, &state);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ((*second)[0].tensor().raw(), address);
}

TEST(PlanTest, InputsAreNeverWrittenTo) {
  auto program = MakeProgram(Chain(2));
  Tensor x = FloatTensor({1, 64}, std::vector<float>(64, 5.0f));
  ASSERT_TRUE(RunProgram(*program, {x}).ok());
  for (int i = 0; i < 64; ++i) ASSERT_EQ(x.data<float>()[i], 5.0f);
}

TEST(PlanTest, ShapeArithmeticIsFoldedWhenTheShapesAreBound) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"batch", "seq", "8"});
  Value* shape = b.Op("Shape", 15, {x});
  Value* two = b.Op("Slice", 13, {shape, b.Constant(Int64Tensor({1}, {0})), b.Constant(Int64Tensor({1}, {2}))});
  Value* target = b.Op("Concat", 13, {two, b.Constant(Int64Tensor({2}, {2, 4}))}, {{"axis", int64_t{0}}});
  Value* y = b.Op("Reshape", 14, {x, target});
  b.Output(b.Op("Transpose", 13, {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
  EXPECT_EQ(y->type().shape->ToString(), "[batch, seq, 2, 4]");
  auto program = MakeProgram(b.Take());
  auto out = RunProgram(*program, {RandomFloats({3, 5, 8})});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(DimsOf((*out)[0]), ElementsAre(3, 2, 5, 4));
  EXPECT_EQ(program->root().plans()[0]->statistics.steps, 2);  // the view and the transpose
}

TEST(PlanTest, WhatFollowsADataDependentShapeIsBoundInTheRun) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n"});
  Value* indices = b.Op("NonZero", 13, {x});  // [1, k]
  Value* flat = b.Op("Squeeze", 13, {indices, b.Constant(Int64Tensor({1}, {0}))});
  Value* picked = b.Op("Gather", 13, {x, flat});
  b.Output(b.Op("Add", 14, {picked, b.Constant(FloatTensor({1}, {1}))}));
  auto program = MakeProgram(b.Take());
  RegionState state;
  auto two = RunProgram(*program, {FloatTensor({4}, {0, 3, 0, 5})}, &state);
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(Floats((*two)[0].tensor()), ElementsAre(4, 6));
  auto none = RunProgram(*program, {FloatTensor({4}, {0, 0, 0, 0})}, &state);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_THAT(Floats((*none)[0].tensor()), IsEmpty());
  EXPECT_THAT(Floats((*two)[0].tensor()), ElementsAre(4, 6));
}

TEST(PlanTest, AShapeComputedFromDataIsBoundInTheRun) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n"});
  Value* shape = b.Input("shape", DataType::kInt64, {"2"});
  Value* y = b.Op("Reshape", 14, {x, shape});
  b.Output(b.Op("Transpose", 13, {y}));
  auto program = MakeProgram(b.Take());
  RegionState state;
  for (int64_t rows : {2, 3, 6, 2}) {
    auto out = RunProgram(*program, {FloatTensor({6}, {0, 1, 2, 3, 4, 5}), Int64Tensor({2}, {rows, -1})}, &state);
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_THAT(DimsOf((*out)[0]), ElementsAre(6 / rows, rows));
    EXPECT_FLOAT_EQ((*out)[0].tensor().data<float>()[6 / rows > 1 ? rows : 0], 6 / rows > 1 ? 1.0f : 0.0f);
  }
  auto bad = RunProgram(*program, {Tensor::Make(DataType::kFloat, {6}), Int64Tensor({2}, {4, -1})}, &state);
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("Reshape"));
}

TEST(PlanTest, ADanglingSideBranchIsNotRun) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"4"});
  b.Op("Exp", 13, {x});
  b.Output(b.Op("Neg", 13, {x}));
  ProgramOptions plain;
  plain.plain = true;
  auto program = MakeProgram(b.Take(), plain);
  ASSERT_TRUE(RunProgram(*program, {RandomFloats({4})}).ok());
  EXPECT_EQ(program->root().plans()[0]->statistics.steps, 1);
}

TEST(PlanTest, AnOutputThatIsAnInputOrAConstantIsHandedOn) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"2"});
  b.Output(x);
  b.Output(b.Constant(FloatTensor({1}, {7})));
  b.Output(x);
  auto program = MakeProgram(b.Take());
  auto out = RunProgram(*program, {FloatTensor({2}, {1, 2})});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(Floats((*out)[0].tensor()), ElementsAre(1, 2));
  EXPECT_THAT(Floats((*out)[1].tensor()), ElementsAre(7));
  EXPECT_THAT(Floats((*out)[2].tensor()), ElementsAre(1, 2));
}

TEST(PlanTest, ZeroElementsAreAShapeLikeAnyOther) {
  auto program = MakeProgram(Chain(2));
  auto out = RunProgram(*program, {Tensor::Make(DataType::kFloat, {0, 64})});
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(DimsOf((*out)[0]), ElementsAre(0, 64));
}

TEST(PlanTest, TwoThreadsRunOnePlan) {
  ProgramOptions options;
  options.threads = 1;
  auto program = MakeProgram(Chain(4), options);
  auto work = [&](float start, bool* right) {
    RegionState state;
    *right = true;
    for (int i = 0; i < 200; ++i) {
      auto out = RunProgram(*program, {FloatTensor({1, 64}, std::vector<float>(64, start))}, &state);
      const float expected = start / 16 + 0.5f + 0.25f + 0.125f + 0.0625f;
      *right &= out.ok() && std::abs((*out)[0].tensor().data<float>()[63] - expected) < 1e-5;
    }
  };
  bool right[2] = {false, false};
  std::thread other(work, 4.0f, &right[0]);
  work(16.0f, &right[1]);
  other.join();
  EXPECT_TRUE(right[0] && right[1]);
  EXPECT_EQ(program->root().plans().size(), 1u);
}

TEST(PlanTest, AnErrorNamesTheNode) {
  GraphBuilder b;
  Value* x = b.Input("x", DataType::kFloat, {"n"});
  Value* i = b.Input("i", DataType::kInt64, {"1"});
  b.Output(b.Op("Gather", 13, {x, i}));
  auto program = MakeProgram(b.Take());
  auto out = RunProgram(*program, {RandomFloats({3}), Int64Tensor({1}, {3})});
  EXPECT_THAT(std::string(out.status().message()),
              HasSubstr("node \"node0\" (Gather): index 3 is out of range [-3, 2]"));
}

}  // namespace
}  // namespace rondo
