#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> PadRow(absl::string_view mode, int64_t begin, int64_t end, int version = 19) {
  return Floats(OpRunner("Pad", version)
                    .Attr("mode", std::string(mode))
                    .Input(FloatTensor({3}, {1, 2, 3}))
                    .Input(Tensor::FromInt64s({begin, end}))
                    .Run()[0]);
}

TEST(PadTest, Modes) {
  EXPECT_THAT(PadRow("constant", 1, 2), ElementsAre(0, 1, 2, 3, 0, 0));
  EXPECT_THAT(PadRow("reflect", 2, 2), ElementsAre(3, 2, 1, 2, 3, 2, 1));
  EXPECT_THAT(PadRow("reflect", 0, 5), ElementsAre(1, 2, 3, 2, 1, 2, 3, 2));
  EXPECT_THAT(PadRow("edge", 2, 1), ElementsAre(1, 1, 1, 2, 3, 3));
  EXPECT_THAT(PadRow("wrap", 4, 2), ElementsAre(3, 1, 2, 3, 1, 2, 3, 1, 2));
}

TEST(PadTest, NegativePadsCrop) {
  EXPECT_THAT(PadRow("constant", -1, 1), ElementsAre(2, 3, 0));
  EXPECT_THAT(PadRow("constant", -1, -2), ElementsAre());
  EXPECT_THAT(PadRow("edge", -1, 2), ElementsAre(2, 3, 3, 3));
  EXPECT_THAT(OpRunner("Pad", 13).Input(FloatTensor({3}, {1, 2, 3})).Constant(Tensor::FromInt64s({-4, 9})).RunError(),
              HasSubstr("crop more than the 3 of axis 0"));
}

TEST(PadTest, AxesValueAndInnerBlocks) {
  Tensor y = OpRunner("Pad", 18)
                 .Input(FloatTensor({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}))
                 .Input(Tensor::FromInt64s({1, 0}))
                 .Input(FloatTensor({}, {9}))
                 .Input(Tensor::FromInt64s({-2}))
                 .Run()[0];
  EXPECT_THAT(Floats(y), ElementsAre(9, 9, 1, 2, 3, 4, 9, 9, 5, 6, 7, 8));
  EXPECT_THAT(Floats(OpRunner("Pad", 2)
                         .Attr("pads", std::vector<int64_t>{1, 0, 0, 1})
                         .Attr("value", 7.0f)
                         .Input(FloatTensor({1, 2}, {1, 2}))
                         .Run()[0]),
              ElementsAre(7, 7, 7, 1, 2, 7));
}

TEST(PadTest, EmptyInputsAndHugePads) {
  Tensor none = Tensor::Make(DataType::kFloat, {0});
  EXPECT_THAT(Floats(OpRunner("Pad", 13).Input(none).Constant(Tensor::FromInt64s({1, 1})).Run()[0]), ElementsAre(0, 0));
  EXPECT_THAT(
      OpRunner("Pad", 13).Attr("mode", std::string("edge")).Input(none).Constant(Tensor::FromInt64s({1, 1})).RunError(),
      HasSubstr("expected elements to pad from"));
  EXPECT_THAT(
      OpRunner("Pad", 13).Input(FloatTensor({1}, {1})).Constant(Tensor::FromInt64s({INT64_MAX, INT64_MAX})).RunError(),
      testing::Not(""));
  EXPECT_THAT(
      OpRunner("Pad", 13).Input(FloatTensor({1}, {1})).Constant(Tensor::FromInt64s({INT64_MIN, INT64_MIN})).RunError(),
      testing::Not(""));
}

TEST(CenterCropPadTest, CropsAndPads) {
  EXPECT_THAT(Floats(OpRunner("CenterCropPad", 18)
                         .Input(FloatTensor({4, 1}, {1, 2, 3, 4}))
                         .Input(Tensor::FromInt64s({1, 4}))
                         .Run()[0]),
              ElementsAre(0, 2, 0, 0));
}

TEST(DepthToSpaceTest, BothModesAndInverse) {
  Tensor x = RandomFloats({2, 8, 3, 5});
  Tensor y = OpRunner("DepthToSpace", 13).Attr("blocksize", int64_t{2}).Input(x).Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 2, 6, 10}));
  EXPECT_EQ(FirstDifference(OpRunner("SpaceToDepth", 13).Attr("blocksize", int64_t{2}).Input(y).Run()[0], x), "");
  EXPECT_THAT(Floats(OpRunner("DepthToSpace", 11)
                         .Attr("blocksize", int64_t{2})
                         .Attr("mode", std::string("CRD"))
                         .Input(FloatTensor({1, 4, 1, 1}, {1, 2, 3, 4}))
                         .Run()[0]),
              ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(OpRunner("SpaceToDepth", 13).Attr("blocksize", int64_t{0}).Input(x).RunError(), HasSubstr("blocksize"));
  EXPECT_THAT(OpRunner("DepthToSpace", 13).Attr("blocksize", int64_t{3}).Input(x).RunError(),
              HasSubstr("multiple of 9, got 8"));
}

TEST(ReverseSequenceTest, ChecksLengths) {
  auto run = [](const std::vector<int64_t>& lens) {
    OpRunner op("ReverseSequence", 10);
    op.Attr("time_axis", int64_t{1}).Attr("batch_axis", int64_t{0});
    return op.Input(FloatTensor({2, 3}, {1, 2, 3, 4, 5, 6})).Input(Tensor::FromInt64s(lens));
  };
  EXPECT_THAT(Floats(run({2, 3}).Run()[0]), ElementsAre(2, 1, 3, 6, 5, 4));
  EXPECT_THAT(run({2, 4}).RunError(), HasSubstr("sequence_lens[1] is 4, expected 0 to 3"));
}

TEST(TriluTest, DiagonalsOfAnySize) {
  auto run = [](int64_t upper, int64_t k) {
    OpRunner op("Trilu", 14);
    op.Attr("upper", upper).Input(FloatTensor({2, 3}, {1, 2, 3, 4, 5, 6})).Input(Int64Tensor({}, {k}));
    return Floats(op.Run()[0]);
  };
  EXPECT_THAT(run(1, 1), ElementsAre(0, 2, 3, 0, 0, 6));
  EXPECT_THAT(run(0, -1), ElementsAre(0, 0, 0, 4, 0, 0));
  EXPECT_THAT(run(0, INT64_MAX), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(run(1, INT64_MAX), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(run(0, INT64_MIN), ElementsAre(0, 0, 0, 0, 0, 0));
}

}  // namespace
}  // namespace rondo
