#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OpRunner Suppress(const std::vector<float>& scores, float iou, int64_t limit) {
  OpRunner run("NonMaxSuppression", 11);
  run.Input(FloatTensor({1, 3, 4}, {0, 0, 1, 1, 0, 0.1f, 1, 1.1f, 5, 5, 6, 6}));
  run.Input(FloatTensor({1, 1, 3}, scores)).Input(Int64Tensor({}, {limit})).Input(FloatTensor({}, {iou}));
  return run;
}

TEST(NonMaxSuppressionTest, DropsOverlappingBoxesOfLowerScore) {
  OpRunner run = Suppress({0.9f, 0.95f, 0.1f}, 0.5f, 10);
  EXPECT_EQ(FirstDifference(run.Run()[0], Int64Tensor({2, 3}, {0, 0, 1, 0, 0, 2})), "");
}

TEST(NonMaxSuppressionTest, EqualScoresGoByIndex) {
  OpRunner run = Suppress({0.5f, 0.5f, 0.5f}, 1.0f, 2);
  EXPECT_EQ(FirstDifference(run.Run()[0], Int64Tensor({2, 3}, {0, 0, 0, 0, 0, 1})), "");
}

TEST(NonMaxSuppressionTest, NoLimitMeansNothing) {
  for (int64_t limit : {int64_t{0}, int64_t{-3}, INT64_MIN}) {
    OpRunner run = Suppress({0.5f, 0.5f, 0.5f}, 0.5f, limit);
    EXPECT_THAT(run.Run()[0].dims(), ElementsAre(0, 3));
  }
}

TEST(NonMaxSuppressionTest, NanScoresAreLeftOut) {
  OpRunner run = Suppress({NAN, 0.5f, NAN}, 0.5f, INT64_MAX);
  EXPECT_EQ(FirstDifference(run.Run()[0], Int64Tensor({1, 3}, {0, 0, 1})), "");
}

TEST(NonMaxSuppressionTest, ThresholdOutsideIsAnError) {
  for (float iou : {-0.1f, 1.5f, NAN}) {
    EXPECT_THAT(Suppress({1, 1, 1}, iou, 1).RunError(), HasSubstr("iou_threshold: expected a number in [0, 1]"));
  }
}

OpRunner Align(const std::vector<float>& roi, int64_t batch) {
  OpRunner run("RoiAlign", 16);
  run.Attr("output_height", int64_t{2}).Attr("output_width", int64_t{2}).Attr("sampling_ratio", int64_t{2});
  run.Attr("coordinate_transformation_mode", std::string("output_half_pixel"));
  std::vector<float> image(16);
  for (int i = 0; i < 16; ++i) image[i] = static_cast<float>(i % 4);
  run.Input(FloatTensor({1, 1, 4, 4}, image)).Input(FloatTensor({1, 4}, roi)).Input(Int64Tensor({1}, {batch}));
  return run;
}

TEST(RoiAlignTest, AveragesARamp) {
  EXPECT_THAT(Floats(Align({0, 0, 2, 2}, 0).Run()[0]), ElementsAre(0.5f, 1.5f, 0.5f, 1.5f));
}

TEST(RoiAlignTest, BatchIndexOutsideIsAnError) {
  for (int64_t batch : {int64_t{1}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    EXPECT_THAT(Align({0, 0, 2, 2}, batch).RunError(),
                HasSubstr(absl::StrCat("index ", batch, " is out of range [0, 0] on axis 0")));
  }
}

TEST(RoiAlignTest, RegionsWithoutBoundsAreErrors) {
  for (float edge : {NAN, INFINITY, 1e20f}) {
    EXPECT_THAT(Align({0, 0, edge, 2}, 0).RunError(), HasSubstr("rois[0, 2]: expected a coordinate below"));
  }
}

TEST(RoiAlignTest, RegionOutsideTheImageReadsZero) {
  EXPECT_THAT(Floats(Align({100, 100, 102, 102}, 0).Run()[0]), ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace rondo
