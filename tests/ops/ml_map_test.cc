#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ints = std::vector<int64_t>;
using Texts = std::vector<std::string>;

OpRunner WithMap(absl::string_view type, Tensor keys, Tensor values) {
  OpRunner run(type, 1, "ai.onnx.ml");
  const ValueType map = ValueType::Map(keys.dtype(), ValueType::Tensor(values.dtype(), Shape()));
  run.Value(RuntimeValue(TensorMap{std::move(keys), std::move(values)}), map);
  return run;
}

TEST(CastMapTest, DenseValuesAreInTheOrderOfTheKeys) {
  OpRunner run = WithMap("CastMap", Int64Tensor({3}, {5, -1, 2}), FloatTensor({3}, {50, 10, 20.5}));
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{1, 3}));
  EXPECT_THAT(Floats(y), ElementsAre(10, 20.5, 50));
}

TEST(CastMapTest, SparseValuesAreAtTheirKeys) {
  OpRunner run = WithMap("CastMap", Int64Tensor({2}, {3, 0}), StringTensor({2}, {"9007199254740993", "7"}));
  run.Attr("cast_to", std::string("TO_INT64")).Attr("map_form", std::string("SPARSE")).Attr("max_map", int64_t{5});
  EXPECT_THAT(Int64s(run.Run()[0]), ElementsAre(7, 0, 0, 9007199254740993, 0));
}

TEST(CastMapTest, BadValuesKeysAndAttributesAreErrors) {
  OpRunner text = WithMap("CastMap", Int64Tensor({1}, {0}), StringTensor({1}, {"seven"}));
  EXPECT_THAT(text.RunError(), HasSubstr("\"seven\" of the map is no number"));
  OpRunner large = WithMap("CastMap", Int64Tensor({1}, {0}), FloatTensor({1}, {1e30f}));
  large.Attr("cast_to", std::string("TO_INT64"));
  EXPECT_THAT(large.RunError(), HasSubstr("does not fit int64"));
  OpRunner key = WithMap("CastMap", Int64Tensor({1}, {-1}), FloatTensor({1}, {1}));
  key.Attr("map_form", std::string("SPARSE")).Attr("max_map", int64_t{5});
  EXPECT_THAT(key.RunError(), HasSubstr("key -1 is out of range [0, 4]"));
  OpRunner huge = WithMap("CastMap", Int64Tensor({1}, {1}), FloatTensor({1}, {1}));
  huge.Attr("map_form", std::string("SPARSE")).Attr("max_map", std::numeric_limits<int64_t>::max());
  EXPECT_NE(huge.RunError(), "");
}

TEST(DictVectorizerTest, WordsOfTheVocabularyHavePlaces) {
  OpRunner run = WithMap("DictVectorizer", StringTensor({2}, {"a", "c"}), Int64Tensor({2}, {4, 8}));
  run.Attr("string_vocabulary", Texts{"a", "c", "b", "z"});
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.dims(), (Dims{1, 4}));
  EXPECT_THAT(Int64s(y), ElementsAre(4, 8, 0, 0));
}

TEST(DictVectorizerTest, IntegerWordsAndStringValues) {
  OpRunner run = WithMap("DictVectorizer", Int64Tensor({1}, {9}), StringTensor({1}, {"nine"}));
  run.Attr("int64_vocabulary", Ints{8, 9});
  const Tensor y = run.Run()[0];
  EXPECT_EQ(y.data<std::string>()[0], "");
  EXPECT_EQ(y.data<std::string>()[1], "nine");
}

TEST(DictVectorizerTest, BadKeysAndVocabulariesAreErrors) {
  OpRunner unknown = WithMap("DictVectorizer", StringTensor({1}, {"q"}), FloatTensor({1}, {1}));
  unknown.Attr("string_vocabulary", Texts{"a"});
  EXPECT_THAT(unknown.RunError(), HasSubstr("key q of the map is not in the vocabulary"));
  OpRunner type = WithMap("DictVectorizer", StringTensor({1}, {"q"}), FloatTensor({1}, {1}));
  type.Attr("int64_vocabulary", Ints{1});
  EXPECT_THAT(type.RunError(), HasSubstr("expected a map of scalars from int64, got map(string"));
  OpRunner none = WithMap("DictVectorizer", StringTensor({1}, {"q"}), FloatTensor({1}, {1}));
  EXPECT_THAT(none.RunError(), HasSubstr("expected one of them"));
}

TEST(DictVectorizerTest, AMapOfOtherTypesThanDeclaredIsAnError) {
  OpRunner run("DictVectorizer", 1, "ai.onnx.ml");
  run.Attr("int64_vocabulary", Ints{1});
  run.Value(RuntimeValue(TensorMap{StringTensor({1}, {"a"}), FloatTensor({1}, {1})}),
            ValueType::Map(DataType::kInt64, ValueType::Tensor(DataType::kFloat, Shape())));
  EXPECT_THAT(run.RunError(), HasSubstr("got one from string to float32"));
}

TEST(ZipMapTest, EachRowIsAMap) {
  OpRunner run("ZipMap", 1, "ai.onnx.ml");
  run.Attr("classlabels_strings", Texts{"no", "yes"}).Input(FloatTensor({2, 2}, {0.25, 0.75, 1, 0}));
  const auto result = run.TryRun();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(run.inferred_type().ToString(), "seq(map(string, float32[]))");
  const TensorSequence& maps = (*result)[0].sequence();
  ASSERT_EQ(maps.size(), 2u);
  EXPECT_EQ(maps[1].map().keys.data<std::string>()[1], "yes");
  EXPECT_THAT(Floats(maps[0].map().values), ElementsAre(0.25, 0.75));
  EXPECT_THAT(Floats(maps[1].map().values), ElementsAre(1, 0));
}

TEST(ZipMapTest, ColumnsAndLabelsMustMatch) {
  OpRunner run("ZipMap", 1, "ai.onnx.ml");
  run.Attr("classlabels_int64s", Ints{1, 2, 3}).Input(FloatTensor({2, 2}, {0.25, 0.75, 1, 0}));
  EXPECT_THAT(run.RunError(), HasSubstr("expected as many columns as labels, 3, got 2"));
}

}  // namespace
}  // namespace rondo
