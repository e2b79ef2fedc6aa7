#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OpRunner ResizeByScales(Tensor x, const std::vector<float>& scales, const char* mode, const char* transform) {
  OpRunner run("Resize", 13);
  run.Attr("mode", std::string(mode)).Attr("coordinate_transformation_mode", std::string(transform));
  run.Input(std::move(x)).Absent().Constant(FloatTensor({static_cast<int64_t>(scales.size())}, scales));
  return run;
}

Tensor ToDouble(const Tensor& tensor) {
  Tensor result = Tensor::Make(DataType::kDouble, tensor.dims());
  std::copy_n(tensor.data<float>(), tensor.size(), result.mutable_data<double>());
  return result;
}
Tensor ToFloat(const Tensor& tensor) {
  Tensor result = Tensor::Make(DataType::kFloat, tensor.dims());
  std::copy_n(tensor.data<double>(), tensor.size(), result.mutable_data<float>());
  return result;
}

TEST(ResizeTest, LinearHalfPixelDoublesARow) {
  OpRunner run = ResizeByScales(FloatTensor({1, 1, 1, 2}, {0, 4}), {1, 1, 1, 2}, "linear", "half_pixel");
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 1, 3, 4));
}

// float32 planes and doubles of any axes take different ways through the code.
TEST(ResizeTest, PlanesAgreeWithAxisByAxis) {
  const std::vector<std::vector<float>> all_scales = {{1, 1, 2, 2},       {1, 1, 0.5f, 1.7f}, {1, 1, 3, 0.3f},
                                                      {1, 1, 0.2f, 0.2f}, {1, 1, 1, 2.5f},    {1, 1, 2.5f, 1}};
  for (const char* mode : {"linear", "cubic"}) {
    for (const char* transform : {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"}) {
      for (const std::vector<float>& scales : all_scales) {
        for (int64_t antialias : {0, 1}) {
          const Tensor x = RandomFloats({2, 3, 17, 23});
          OpRunner planes("Resize", 18);
          OpRunner axes("Resize", 18);
          for (OpRunner* run : {&planes, &axes}) {
            run->Attr("mode", std::string(mode)).Attr("antialias", antialias);
            run->Attr("coordinate_transformation_mode", std::string(transform));
            run->Input(run == &planes ? x : ToDouble(x)).Absent().Constant(FloatTensor({4}, scales));
          }
          EXPECT_EQ(FirstDifference(planes.Run()[0], ToFloat(axes.Run()[0]), 1e-4, 1e-5), "")
              << mode << " " << transform << " " << scales[2] << " x " << scales[3] << " antialias " << antialias;
        }
      }
    }
  }
}

TEST(ResizeTest, AntialiasedHalvingAverages) {
  OpRunner run("Resize", 18);
  run.Attr("mode", std::string("linear")).Attr("antialias", int64_t{1});
  run.Input(FloatTensor({1, 1, 1, 8}, {1, 1, 1, 1, 1, 1, 1, 1})).Absent().Constant(FloatTensor({4}, {1, 1, 1, 0.5f}));
  for (float value : Floats(run.Run()[0])) EXPECT_NEAR(value, 1, 1e-6);
}

TEST(ResizeTest, NearestCopiesElementsOfAnyType) {
  OpRunner strings("Resize", 13);
  strings.Input(StringTensor({2}, {"a", "b"})).Absent().Constant(FloatTensor({1}, {2}));
  const Tensor out = strings.Run()[0];
  ASSERT_THAT(out.dims(), ElementsAre(4));
  EXPECT_EQ(out.data<std::string>()[1], "a");
  EXPECT_EQ(out.data<std::string>()[2], "b");
}

TEST(ResizeTest, NearestWithChannelsLast) {
  OpRunner run = ResizeByScales(FloatTensor({1, 1, 2, 2}, {1, 2, 3, 4}), {1, 2, 2, 1}, "nearest", "asymmetric");
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({1, 2, 4, 2}, {1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4})),
            "");
}

TEST(ResizeTest, ScaleThatIsNoBinaryFractionHitsWholePixels) {
  // 3 / 0.1f is a little less than 30.
  std::vector<float> values(100);
  std::iota(values.begin(), values.end(), 0.0f);
  OpRunner run = ResizeByScales(FloatTensor({100}, values), {0.1f}, "nearest", "asymmetric");
  run.Attr("nearest_mode", std::string("floor"));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 10, 20, 30, 40, 50, 60, 70, 80, 90));
}

TEST(ResizeTest, IntegersRoundAndSaturate) {
  Tensor x = Tensor::Make(DataType::kUInt8, {4});
  for (int i : {0, 1}) x.mutable_data<uint8_t>()[i] = 0;
  for (int i : {2, 3}) x.mutable_data<uint8_t>()[i] = 255;
  OpRunner run = ResizeByScales(x, {2}, "cubic", "half_pixel");
  const Tensor out = run.Run()[0];
  EXPECT_EQ(out.data<uint8_t>()[2], 0);    // undershoots below 0
  EXPECT_EQ(out.data<uint8_t>()[5], 255);  // overshoots
}

TEST(ResizeTest, CropReadsTheRegionAndFillsOutside) {
  OpRunner run("Resize", 13);
  run.Attr("mode", std::string("linear")).Attr("coordinate_transformation_mode", std::string("tf_crop_and_resize"));
  run.Attr("extrapolation_value", 9.0f);
  run.Input(FloatTensor({3}, {0, 1, 2})).Constant(FloatTensor({2}, {0, 1.5f})).Absent();
  run.Constant(Int64Tensor({1}, {4}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 1, 2, 9));
}

TEST(ResizeTest, KeepsTheAspectRatio) {
  for (const auto& [policy, height, width] : {std::tuple{"not_larger", 4, 8}, std::tuple{"not_smaller", 6, 12}}) {
    OpRunner run("Resize", 18);
    run.Attr("keep_aspect_ratio_policy", std::string(policy)).Attr("axes", std::vector<int64_t>{0, 1});
    run.Input(RandomFloats({2, 4})).Absent().Absent().Constant(Int64Tensor({2}, {6, 8}));
    EXPECT_THAT(run.Run()[0].dims(), ElementsAre(height, width));
  }
}

TEST(ResizeTest, SizesMayComeInTheRun) {
  OpRunner run("Resize", 18);
  run.Attr("axes", std::vector<int64_t>{-1}).Input(FloatTensor({1, 2}, {1, 2})).Absent().Absent();
  run.Input(Int64Tensor({1}, {4}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1, 1, 2, 2));
}

TEST(ResizeTest, ZeroBatchGivesZeroBatch) {
  OpRunner run = ResizeByScales(FloatTensor({0, 2}, {}), {1, 2}, "linear", "half_pixel");
  EXPECT_THAT(run.Run()[0].dims(), ElementsAre(0, 4));
}

TEST(ResizeTest, BadScalesAndSizesAreErrors) {
  for (float scale : {0.0f, -1.0f, NAN, INFINITY}) {
    OpRunner run = ResizeByScales(FloatTensor({2}, {1, 2}), {scale}, "linear", "half_pixel");
    EXPECT_THAT(run.RunError(), HasSubstr("scales[0]: expected a positive number"));
  }
  OpRunner huge = ResizeByScales(FloatTensor({2}, {1, 2}), {1e30f}, "linear", "half_pixel");
  EXPECT_THAT(huge.RunError(), HasSubstr("is too large"));
  OpRunner count = ResizeByScales(FloatTensor({2}, {1, 2}), {1, 2}, "linear", "half_pixel");
  EXPECT_THAT(count.RunError(), HasSubstr("scales: expected 1 values, got 2"));
  OpRunner negative("Resize", 13);
  negative.Input(FloatTensor({2}, {1, 2})).Absent().Absent().Constant(Int64Tensor({1}, {-4}));
  EXPECT_THAT(negative.RunError(), HasSubstr("sizes[0]: expected 0 to"));
  OpRunner type("Resize", 13);
  type.Input(FloatTensor({2}, {1, 2})).Absent().Absent().Input(FloatTensor({1}, {4}));
  EXPECT_THAT(type.RunError(), HasSubstr("input 3: expected int64 or int32, got float32"));
  OpRunner neither("Resize", 13);
  neither.Input(FloatTensor({2}, {1, 2}));
  EXPECT_THAT(neither.RunError(), HasSubstr("expected scales or sizes, got neither"));
  OpRunner mode = ResizeByScales(FloatTensor({2}, {1, 2}), {2}, "quartic", "half_pixel");
  EXPECT_THAT(mode.RunError(), HasSubstr("expected one of nearest, linear, bilinear, cubic, got \"quartic\""));
}

TEST(ResizeTest, FirstVersionTakesTheUpperPixelWhenShrinking) {
  OpRunner run("Resize", 10);
  run.Input(FloatTensor({4}, {1, 2, 3, 4})).Constant(FloatTensor({1}, {0.6f}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1, 3));
}

TEST(UpsampleTest, AllVersionsScale) {
  OpRunner first("Upsample", 1);
  first.Attr("height_scale", 1.0f).Attr("width_scale", 2.0f).Input(FloatTensor({1, 1, 1, 2}, {1, 2}));
  EXPECT_THAT(Floats(first.Run()[0]), ElementsAre(1, 1, 2, 2));
  OpRunner second("Upsample", 7);
  second.Attr("scales", std::vector<float>{2}).Attr("mode", std::string("linear")).Input(FloatTensor({2}, {1, 2}));
  EXPECT_THAT(Floats(second.Run()[0]), ElementsAre(1, 1.5f, 2, 2));
  OpRunner third("Upsample", 9);
  third.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({1}, {2}));
  EXPECT_THAT(Floats(third.Run()[0]), ElementsAre(1, 1, 2, 2));
  OpRunner removed("Upsample", 10);
  removed.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({1}, {2}));
  EXPECT_THAT(removed.RunError(), HasSubstr("Upsample"));
}

}  // namespace
}  // namespace rondo
