#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ints = std::vector<int64_t>;
using Texts = std::vector<std::string>;

std::vector<std::string> Strings(const Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), DataType::kString);
  return {tensor.data<std::string>(), tensor.data<std::string>() + tensor.size()};
}

TEST(CategoryMapperTest, MapsBothWays) {
  OpRunner to_ints("CategoryMapper", 1, "ai.onnx.ml");
  to_ints.Attr("cats_strings", Texts{"x", "y"}).Attr("cats_int64s", Ints{7, 8}).Attr("default_int64", int64_t{-5});
  to_ints.Input(StringTensor({3}, {"y", "z", "x"}));
  EXPECT_THAT(Int64s(to_ints.Run()[0]), ElementsAre(8, -5, 7));
  OpRunner to_strings("CategoryMapper", 1, "ai.onnx.ml");
  to_strings.Attr("cats_strings", Texts{"x", "y"}).Attr("cats_int64s", Ints{7, 8});
  to_strings.Input(Int64Tensor({1, 2}, {8, 1}));
  EXPECT_THAT(Strings(to_strings.Run()[0]), ElementsAre("y", "_Unused"));
}

TEST(CategoryMapperTest, ListsMustMatch) {
  OpRunner run("CategoryMapper", 1, "ai.onnx.ml");
  run.Attr("cats_strings", Texts{"x", "y"}).Attr("cats_int64s", Ints{7}).Input(StringTensor({1}, {"x"}));
  EXPECT_THAT(run.RunError(), HasSubstr("\"cats_strings\": expected 1 elements, got 2"));
}

TEST(LabelEncoderTest, Version1CountsClasses) {
  OpRunner to_ints("LabelEncoder", 1, "ai.onnx.ml");
  to_ints.Attr("classes_strings", Texts{"a", "b", "a"}).Input(StringTensor({3}, {"b", "a", "q"}));
  EXPECT_THAT(Int64s(to_ints.Run()[0]), ElementsAre(1, 0, -1));
  OpRunner to_strings("LabelEncoder", 1, "ai.onnx.ml");
  to_strings.Attr("classes_strings", Texts{"a", "b"}).Attr("default_string", std::string("?"));
  to_strings.Input(Int64Tensor({3}, {1, -1, 2}));
  EXPECT_THAT(Strings(to_strings.Run()[0]), ElementsAre("b", "?", "?"));
}

TEST(LabelEncoderTest, Version2MapsAnyTwoTypes) {
  OpRunner run("LabelEncoder", 2, "ai.onnx.ml");
  run.Attr("keys_floats", std::vector<float>{NAN, 0, 2}).Attr("values_strings", Texts{"nan", "zero", "two"});
  run.Input(FloatTensor({4}, {2, -NAN, -0.0f, 5}));
  EXPECT_THAT(Strings(run.Run()[0]), ElementsAre("two", "nan", "zero", "_Unused"));
}

TEST(LabelEncoderTest, TheLastOfEqualKeysCounts) {
  OpRunner run("LabelEncoder", 4, "ai.onnx.ml");
  run.Attr("keys_int64s", Ints{1, 1}).Attr("values_int64s", Ints{5, 6}).Input(Int64Tensor({2}, {1, 3}));
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(6, -1));
}

TEST(LabelEncoderTest, Version4TakesTensorsAndADefaultTensor) {
  OpRunner run("LabelEncoder", 4, "ai.onnx.ml");
  run.Attr("keys_tensor", Tensor::FromVector<int16_t>(DataType::kInt16, {2}, {3, 4}));
  run.Attr("values_tensor", Tensor::FromVector<double>(DataType::kDouble, {2}, {0.5, 0.25}));
  run.Attr("default_tensor", Tensor::FromVector<double>(DataType::kDouble, {}, {9.0}));
  run.Input(Tensor::FromVector<int16_t>(DataType::kInt16, {3}, {4, 5, 3}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(FirstDifference(y, Tensor::FromVector<double>(DataType::kDouble, {3}, {0.25, 9.0, 0.5})), "");
}

TEST(LabelEncoderTest, BadListsAreErrors) {
  OpRunner none("LabelEncoder", 2, "ai.onnx.ml");
  none.Attr("keys_int64s", Ints{1}).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(none.RunError(), HasSubstr("\"values_*\": expected one of"));
  OpRunner two("LabelEncoder", 2, "ai.onnx.ml");
  two.Attr("keys_int64s", Ints{1}).Attr("keys_strings", Texts{"a"}).Attr("values_int64s", Ints{1});
  two.Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(two.RunError(), HasSubstr("\"keys_*\": expected one of"));
  OpRunner length("LabelEncoder", 2, "ai.onnx.ml");
  length.Attr("keys_int64s", Ints{1, 2}).Attr("values_int64s", Ints{1}).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(length.RunError(), HasSubstr("got 2 and 1"));
  OpRunner type("LabelEncoder", 2, "ai.onnx.ml");
  type.Attr("keys_int64s", Ints{1}).Attr("values_int64s", Ints{1}).Input(StringTensor({1}, {"a"}));
  EXPECT_THAT(type.RunError(), HasSubstr("int64"));
  OpRunner fallback("LabelEncoder", 4, "ai.onnx.ml");
  fallback.Attr("keys_int64s", Ints{1}).Attr("values_tensor", Int64Tensor({1}, {1}));
  fallback.Attr("default_tensor", FloatTensor({1}, {1})).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(fallback.RunError(), HasSubstr("\"default_tensor\": expected one int64, got float32[1]"));
}

}  // namespace
}  // namespace rondo
