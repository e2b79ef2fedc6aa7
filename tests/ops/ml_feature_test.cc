#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

OpRunner Ml(absl::string_view type) { return OpRunner(type, 1, "ai.onnx.ml"); }
using Ints = std::vector<int64_t>;
using Numbers = std::vector<float>;

TEST(ArrayFeatureExtractorTest, TakesColumnsByIndex) {
  OpRunner run = Ml("ArrayFeatureExtractor");
  run.Input(Int64Tensor({2, 3}, {1, 2, 3, 4, 5, 6})).Input(Int64Tensor({1, 2}, {2, 0}));
  const Tensor z = run.Run()[0];
  EXPECT_EQ(z.dims(), (Dims{2, 2}));
  EXPECT_THAT(Int64s(z), ElementsAre(3, 1, 6, 4));
}

TEST(ArrayFeatureExtractorTest, AVectorIsOneRow) {
  OpRunner run = Ml("ArrayFeatureExtractor");
  run.Input(StringTensor({3}, {"a", "b", "c"})).Input(Int64Tensor({3}, {2, 2, 1}));
  const Tensor z = run.Run()[0];
  EXPECT_EQ(z.dims(), (Dims{1, 3}));
  EXPECT_EQ(z.data<std::string>()[0], "c");
  EXPECT_EQ(z.data<std::string>()[2], "b");
}

TEST(ArrayFeatureExtractorTest, IndicesOutsideTheAxisAreErrors) {
  for (int64_t index : {int64_t{-1}, int64_t{3}, std::numeric_limits<int64_t>::max()}) {
    OpRunner run = Ml("ArrayFeatureExtractor");
    run.Input(FloatTensor({2, 3}, {1, 2, 3, 4, 5, 6})).Input(Int64Tensor({1}, {index}));
    EXPECT_THAT(run.RunError(), HasSubstr("out of range [0, 2] on axis 1")) << index;
  }
}

TEST(BinarizerTest, OnlyWhatIsGreaterIsOne) {
  OpRunner run = Ml("Binarizer");
  run.Attr("threshold", 1.5f).Input(FloatTensor({4}, {1.5f, 1.6f, -3, NAN}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 1, 0, 0));
  OpRunner ints = Ml("Binarizer");
  ints.Input(Int64Tensor({3}, {-1, 0, 1}));
  EXPECT_THAT(Int64s(ints.Run()[0]), ElementsAre(0, 0, 1));
}

TEST(FeatureVectorizerTest, CutsAndFillsToTheWidths) {
  OpRunner run = Ml("FeatureVectorizer");
  run.Attr("inputdimensions", Ints{1, 3});
  run.Input(Int64Tensor({2, 2}, {1, 2, 3, 4})).Input(Int64Tensor({2, 2}, {5, 6, 7, 8}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 4}));
  EXPECT_THAT(Floats(y), ElementsAre(1, 5, 6, 0, 3, 7, 8, 0));
}

TEST(FeatureVectorizerTest, VectorsAreRows) {
  OpRunner run = Ml("FeatureVectorizer");
  run.Input(FloatTensor({2}, {1, 2})).Input(FloatTensor({1, 1}, {3}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(1, 2, 3));
}

TEST(FeatureVectorizerTest, BadWidthsAndRowsAreErrors) {
  OpRunner count = Ml("FeatureVectorizer");
  count.Attr("inputdimensions", Ints{1, 1}).Input(FloatTensor({1, 1}, {3}));
  EXPECT_THAT(count.RunError(), HasSubstr("\"inputdimensions\": expected 1 elements, got 2"));
  OpRunner negative = Ml("FeatureVectorizer");
  negative.Attr("inputdimensions", Ints{-1}).Input(FloatTensor({1, 1}, {3}));
  EXPECT_THAT(negative.RunError(), HasSubstr("element 0 is -1"));
  OpRunner rows = Ml("FeatureVectorizer");
  rows.Input(FloatTensor({2, 1}, {3, 4})).Input(FloatTensor({1, 1}, {3}));
  EXPECT_THAT(rows.RunError(), HasSubstr("expected 2 rows"));
}

TEST(ImputerTest, ReplacesPerFeature) {
  OpRunner run = Ml("Imputer");
  run.Attr("imputed_value_floats", Numbers{10, 20}).Attr("replaced_value_float", -1.0f);
  run.Input(FloatTensor({2, 2}, {-1, -1, 0, -1}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(10, 20, 0, 20));
}

TEST(ImputerTest, NanMeansEveryNan) {
  OpRunner run = Ml("Imputer");
  run.Attr("imputed_value_floats", Numbers{7}).Attr("replaced_value_float", std::numeric_limits<float>::quiet_NaN());
  run.Input(FloatTensor({1, 3}, {NAN, 1, -NAN}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(7, 1, 7));
}

TEST(ImputerTest, IntegersUseTheirOwnAttributes) {
  OpRunner run = Ml("Imputer");
  run.Attr("imputed_value_int64s", Ints{5}).Attr("replaced_value_int64", int64_t{0});
  run.Input(Int32Tensor({3}, {0, 1, 0}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.data<int32_t>()[0], 5);
  EXPECT_EQ(y.data<int32_t>()[1], 1);
}

TEST(ImputerTest, BadAttributesAreErrors) {
  OpRunner missing = Ml("Imputer");
  missing.Attr("imputed_value_int64s", Ints{5}).Input(FloatTensor({1}, {0}));
  EXPECT_THAT(missing.RunError(), HasSubstr("\"imputed_value_floats\" is missing"));
  OpRunner length = Ml("Imputer");
  length.Attr("imputed_value_floats", Numbers{5, 6}).Input(FloatTensor({1, 3}, {0, 0, 0}));
  EXPECT_THAT(length.RunError(), HasSubstr("expected 1 or 3 imputed values"));
  OpRunner wide = Ml("Imputer");
  wide.Attr("imputed_value_int64s", Ints{int64_t{1} << 40}).Input(Int32Tensor({1}, {0}));
  EXPECT_THAT(wide.RunError(), HasSubstr("does not fit int32"));
}

TEST(NormalizerTest, DividesRowsByTheirNorm) {
  const Tensor x = FloatTensor({2, 2}, {3, -4, 0, 0});
  const auto normalized = [&](const char* norm) {
    OpRunner run = Ml("Normalizer");
    run.Attr("norm", std::string(norm)).Input(x);
    return run.Run()[0];
  };
  EXPECT_EQ(FirstDifference(normalized("MAX"), FloatTensor({2, 2}, {0.75, -1, 0, 0})), "");
  EXPECT_EQ(FirstDifference(normalized("L1"), FloatTensor({2, 2}, {3.0f / 7, -4.0f / 7, 0, 0})), "");
  EXPECT_EQ(FirstDifference(normalized("L2"), FloatTensor({2, 2}, {0.6f, -0.8f, 0, 0})), "");
  OpRunner run = Ml("Normalizer");
  run.Attr("norm", std::string("L3")).Input(x);
  EXPECT_THAT(run.RunError(), HasSubstr("expected MAX, L1 or L2, got \"L3\""));
}

TEST(OneHotEncoderTest, AddsAnAxisOfCategories) {
  OpRunner run = Ml("OneHotEncoder");
  run.Attr("cats_int64s", Ints{4, 9, -2}).Input(FloatTensor({2, 2}, {9.7f, -2.9f, NAN, 1e30f}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{2, 2, 3}));
  EXPECT_THAT(Floats(y), ElementsAre(0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0));
}

TEST(OneHotEncoderTest, StringsAndUnknownCategories) {
  OpRunner run = Ml("OneHotEncoder");
  run.Attr("cats_strings", std::vector<std::string>{"a", "b"}).Input(StringTensor({3}, {"b", "c", "a"}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 1, 0, 0, 1, 0));
  run.Attr("zeros", int64_t{0});
  EXPECT_THAT(run.RunError(), HasSubstr("element 1 of the input, c, is none of the 2 categories"));
}

TEST(OneHotEncoderTest, CategoriesMustFitTheInput) {
  OpRunner none = Ml("OneHotEncoder");
  none.Input(FloatTensor({1}, {1}));
  EXPECT_THAT(none.RunError(), HasSubstr("expected one of them"));
  OpRunner other = Ml("OneHotEncoder");
  other.Attr("cats_int64s", Ints{1}).Input(StringTensor({1}, {"1"}));
  EXPECT_THAT(other.RunError(), HasSubstr("categories are int64, the input is string"));
}

TEST(ScalerTest, ShiftsThenScales) {
  OpRunner run = Ml("Scaler");
  run.Attr("offset", Numbers{1, 2}).Attr("scale", Numbers{10}).Input(Int64Tensor({2, 2}, {1, 2, 3, 4}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 0, 20, 20));
  OpRunner bad = Ml("Scaler");
  bad.Attr("offset", Numbers{1, 2, 3}).Input(Int64Tensor({2, 2}, {1, 2, 3, 4}));
  EXPECT_THAT(bad.RunError(), HasSubstr("\"offset\": expected 2 elements, got 3"));
}

}  // namespace
}  // namespace rondo
