#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ValueType kFloats = ValueType::Sequence(ValueType::Tensor(DataType::kFloat, std::nullopt));

// [1], [2, 2], [3, 3, 3]
RuntimeValue ThreeTensors() {
  TensorSequence sequence;
  for (int n = 1; n <= 3; ++n) sequence.emplace_back(FloatTensor({n}, std::vector<float>(n, static_cast<float>(n))));
  return RuntimeValue(std::move(sequence));
}

TensorSequence RunToSequence(OpRunner& run) {
  absl::StatusOr<std::vector<RuntimeValue>> outputs = run.TryRun();
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok() || !(*outputs)[0].is_sequence()) return {};
  return (*outputs)[0].sequence();
}

std::vector<int64_t> Sizes(const TensorSequence& sequence) {
  std::vector<int64_t> sizes;
  for (const RuntimeValue& value : sequence) sizes.push_back(value.tensor().size());
  return sizes;
}

TEST(SequenceAtTest, PositionsCountFromEitherEnd) {
  for (const auto& [position, size] : {std::pair{0, 1}, {2, 3}, {-1, 3}, {-3, 1}}) {
    OpRunner run("SequenceAt", 11);
    run.Value(ThreeTensors(), kFloats).Input(Int64Tensor({}, {position}));
    EXPECT_EQ(run.Run()[0].size(), size) << position;
  }
}

TEST(SequenceAtTest, PositionOutsideIsAnError) {
  for (int64_t position : {int64_t{3}, int64_t{-4}, INT64_MIN, INT64_MAX}) {
    OpRunner run("SequenceAt", 11);
    run.Value(ThreeTensors(), kFloats).Input(Int64Tensor({}, {position}));
    EXPECT_THAT(run.RunError(), HasSubstr(absl::StrCat("position ", position, " is out of range [-3, 2]")));
  }
}

TEST(SequenceConstructTest, KeepsTensorsOfDifferentShapes) {
  OpRunner run("SequenceConstruct", 11);
  run.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({0, 3}, {})).Input(FloatTensor({}, {5}));
  EXPECT_THAT(Sizes(RunToSequence(run)), ElementsAre(2, 0, 1));
}

TEST(SequenceConstructTest, RefusesMixedElementTypes) {
  OpRunner run("SequenceConstruct", 11);
  run.Input(FloatTensor({1}, {1})).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(run.RunError(), HasSubstr("element types float32 and int64 do not agree"));
}

TEST(SequenceEmptyTest, HasTheElementTypeOfItsAttribute) {
  OpRunner run("SequenceEmpty", 11);
  run.Attr("dtype", int64_t{7});
  EXPECT_THAT(RunToSequence(run), testing::IsEmpty());
  EXPECT_EQ(run.inferred_type().element->dtype, DataType::kInt64);
}

TEST(SequenceInsertTest, InsertsBeforeThePositionOrAtTheEnd) {
  OpRunner at_end("SequenceInsert", 11);
  at_end.Value(ThreeTensors(), kFloats).Input(FloatTensor({4}, {4, 4, 4, 4}));
  EXPECT_THAT(Sizes(RunToSequence(at_end)), ElementsAre(1, 2, 3, 4));
  OpRunner before("SequenceInsert", 11);
  before.Value(ThreeTensors(), kFloats).Input(FloatTensor({4}, {4, 4, 4, 4})).Input(Int32Tensor({}, {-2}));
  EXPECT_THAT(Sizes(RunToSequence(before)), ElementsAre(1, 4, 2, 3));
  OpRunner outside("SequenceInsert", 11);
  outside.Value(ThreeTensors(), kFloats).Input(FloatTensor({1}, {4})).Input(Int64Tensor({}, {4}));
  EXPECT_THAT(outside.RunError(), HasSubstr("position 4 is out of range [-3, 3]"));
}

TEST(SequenceEraseTest, ErasesThePositionOrTheLast) {
  OpRunner last("SequenceErase", 11);
  last.Value(ThreeTensors(), kFloats);
  EXPECT_THAT(Sizes(RunToSequence(last)), ElementsAre(1, 2));
  OpRunner first("SequenceErase", 11);
  first.Value(ThreeTensors(), kFloats).Input(Int64Tensor({}, {-3}));
  EXPECT_THAT(Sizes(RunToSequence(first)), ElementsAre(2, 3));
  OpRunner empty("SequenceErase", 11);
  empty.Value(RuntimeValue(TensorSequence()), kFloats);
  EXPECT_THAT(empty.RunError(), HasSubstr("the sequence is empty"));
}

TEST(SequenceLengthTest, Counts) {
  OpRunner run("SequenceLength", 11);
  run.Value(ThreeTensors(), kFloats);
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(3));
}

TEST(SplitToSequenceTest, ScalarSplitLeavesAShorterLastPiece) {
  OpRunner run("SplitToSequence", 11);
  run.Attr("axis", int64_t{-1}).Input(FloatTensor({2, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  run.Input(Int64Tensor({}, {2}));
  const TensorSequence pieces = RunToSequence(run);
  ASSERT_THAT(Sizes(pieces), ElementsAre(4, 4, 2));
  EXPECT_THAT(Floats(pieces[1].tensor()), ElementsAre(2, 3, 7, 8));
  EXPECT_THAT(pieces[2].tensor().dims(), ElementsAre(2, 1));
}

TEST(SplitToSequenceTest, LengthsMustSumToTheExtent) {
  OpRunner fits("SplitToSequence", 11);
  fits.Input(FloatTensor({3}, {1, 2, 3})).Input(Int64Tensor({3}, {1, 0, 2}));
  EXPECT_THAT(Sizes(RunToSequence(fits)), ElementsAre(1, 0, 2));
  for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{1, 1}, {2, 2}, {-1, 4}, {INT64_MAX, 1}}) {
    OpRunner run("SplitToSequence", 11);
    run.Input(FloatTensor({3}, {1, 2, 3})).Input(Int64Tensor({2}, lengths));
    EXPECT_THAT(run.RunError(), HasSubstr("expected"));
  }
  OpRunner zero("SplitToSequence", 11);
  zero.Input(FloatTensor({3}, {1, 2, 3})).Input(Int64Tensor({}, {0}));
  EXPECT_THAT(zero.RunError(), HasSubstr("expected a positive length, got 0"));
}

TEST(SplitToSequenceTest, WithoutSplitDropsTheAxisOnRequest) {
  OpRunner run("SplitToSequence", 11);
  run.Attr("keepdims", int64_t{0}).Input(StringTensor({2, 2}, {"a", "b", "c", "d"}));
  const TensorSequence pieces = RunToSequence(run);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_THAT(pieces[1].tensor().dims(), ElementsAre(2));
  EXPECT_EQ(pieces[1].tensor().data<std::string>()[0], "c");
}

TEST(ConcatFromSequenceTest, JoinsOrStacks) {
  const auto pair = [] {
    TensorSequence sequence;
    sequence.emplace_back(FloatTensor({2, 1}, {1, 2}));
    sequence.emplace_back(FloatTensor({2, 1}, {3, 4}));
    return RuntimeValue(std::move(sequence));
  };
  OpRunner join("ConcatFromSequence", 11);
  join.Attr("axis", int64_t{1}).Value(pair(), kFloats);
  EXPECT_EQ(FirstDifference(join.Run()[0], FloatTensor({2, 2}, {1, 3, 2, 4})), "");
  OpRunner stack("ConcatFromSequence", 11);
  stack.Attr("axis", int64_t{-1}).Attr("new_axis", int64_t{1}).Value(pair(), kFloats);
  EXPECT_EQ(FirstDifference(stack.Run()[0], FloatTensor({2, 1, 2}, {1, 3, 2, 4})), "");
}

TEST(ConcatFromSequenceTest, MisfitsAreErrors) {
  OpRunner stack("ConcatFromSequence", 11);
  stack.Attr("axis", int64_t{0}).Attr("new_axis", int64_t{1}).Value(ThreeTensors(), kFloats);
  EXPECT_THAT(stack.RunError(), HasSubstr("element 1 of the sequence is float32[2], which does not fit element 0"));
  OpRunner empty("ConcatFromSequence", 11);
  empty.Attr("axis", int64_t{0}).Value(RuntimeValue(TensorSequence()), kFloats);
  EXPECT_THAT(empty.RunError(), HasSubstr("got an empty one"));
}

TEST(OptionalTest, EmptyOptionalHasNoElement) {
  const ValueType type = ValueType::Optional(ValueType::Tensor(DataType::kFloat, std::nullopt));
  OpRunner has("OptionalHasElement", 15);
  has.Value(RuntimeValue(), type);
  EXPECT_FALSE(*has.Run()[0].data<bool>());
  OpRunner get("OptionalGetElement", 15);
  get.Value(RuntimeValue(), type);
  EXPECT_THAT(get.RunError(), HasSubstr("got an empty one"));
}

TEST(OptionalTest, HoldsATensor) {
  OpRunner make("Optional", 15);
  make.Input(FloatTensor({2}, {1, 2}));
  auto outputs = make.TryRun();
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  ASSERT_TRUE((*outputs)[0].is_tensor());
  EXPECT_THAT(Floats((*outputs)[0].tensor()), ElementsAre(1, 2));
  EXPECT_EQ(make.inferred_type().kind, ValueType::Kind::kOptional);
}

TEST(OptionalTest, WithoutInputNeedsAType) {
  OpRunner run("Optional", 15);
  EXPECT_THAT(run.RunError(), HasSubstr("expected an input or attribute \"type\""));
}

}  // namespace
}  // namespace rondo
