#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Reads the row 0 1 2 3 at normalized positions.
std::vector<float> SampleRow(const std::vector<float>& positions, const char* mode, const char* padding,
                             int64_t align_corners) {
  OpRunner run("GridSample", 20);
  run.Attr("mode", std::string(mode)).Attr("padding_mode", std::string(padding)).Attr("align_corners", align_corners);
  std::vector<float> grid;
  for (float x : positions) grid.insert(grid.end(), {x, 0});
  const int64_t count = static_cast<int64_t>(positions.size());
  run.Input(FloatTensor({1, 1, 1, 4}, {0, 1, 2, 3})).Input(FloatTensor({1, 1, count, 2}, grid));
  return Floats(run.Run()[0]);
}

TEST(GridSampleTest, CornersLieOnPixelCentresOrEdges) {
  EXPECT_THAT(SampleRow({-1, 1, 0}, "linear", "border", 1), ElementsAre(0, 3, 1.5f));
  EXPECT_THAT(SampleRow({-0.75f, 0.75f, 0}, "linear", "border", 0), ElementsAre(0, 3, 1.5f));
}

TEST(GridSampleTest, PaddingDecidesWhatLiesOutside) {
  EXPECT_THAT(SampleRow({-3, 3}, "nearest", "zeros", 1), ElementsAre(0, 0));
  EXPECT_THAT(SampleRow({-3, 3}, "nearest", "border", 1), ElementsAre(0, 3));
  EXPECT_THAT(SampleRow({-1 - 2.0f / 3, 1 + 2.0f / 3}, "nearest", "reflection", 1), ElementsAre(1, 2));
}

TEST(GridSampleTest, NoPositionReadsOutOfBounds) {
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (const char* padding : {"zeros", "border", "reflection"}) {
      for (int64_t align : {0, 1}) {
        for (float value : SampleRow({NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 1e9f}, mode, padding, align)) {
          EXPECT_GE(value, -1) << mode << " " << padding;
          EXPECT_LE(value, 4) << mode << " " << padding;
        }
      }
    }
  }
}

TEST(GridSampleTest, ReadsOnePixelVolumes) {
  OpRunner run("GridSample", 20);
  run.Attr("padding_mode", std::string("reflection")).Attr("align_corners", int64_t{1});
  run.Input(FloatTensor({1, 1, 1, 1, 1}, {7})).Input(FloatTensor({1, 1, 1, 2, 3}, {0, 0, 0, 5, -5, 0.3f}));
  EXPECT_THAT(Floats(run.Run()[0]), Each(7));
}

TEST(GridSampleTest, RefusesAGridOfAnotherRank) {
  OpRunner run("GridSample", 20);
  run.Input(FloatTensor({1, 1, 2, 2}, {0, 1, 2, 3})).Input(FloatTensor({1, 1, 1, 3}, {0, 0, 0}));
  EXPECT_THAT(run.RunError(), HasSubstr("expected 2 coordinates on its last axis"));
}

TEST(AffineGridTest, IdentityGivesTheRegularGrid) {
  OpRunner run("AffineGrid", 20);
  run.Attr("align_corners", int64_t{1});
  run.Input(FloatTensor({1, 2, 3}, {1, 0, 0, 0, 1, 0})).Input(Int64Tensor({4}, {1, 1, 2, 2}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 2, 2, 2}, {-1, -1, 1, -1, -1, 1, 1, 1})), "");
}

TEST(AffineGridTest, RefusesSizesBelowZero) {
  OpRunner run("AffineGrid", 20);
  run.Input(FloatTensor({1, 2, 3}, {1, 0, 0, 0, 1, 0})).Constant(Int64Tensor({4}, {1, 1, -2, 2}));
  EXPECT_THAT(run.RunError(), HasSubstr("size: expected extents >= 0, got -2"));
}

}  // namespace
}  // namespace rondo
