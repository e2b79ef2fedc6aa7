#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/op_runner.h"

namespace rondo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Strings(const Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), DataType::kString);
  return std::vector<std::string>(tensor.data<std::string>(), tensor.data<std::string>() + tensor.size());
}

TEST(StringNormalizerTest, DropsStopWordsThenChangesCase) {
  OpRunner run("StringNormalizer", 10);
  run.Attr("case_change_action", std::string("UPPER")).Attr("stopwords", std::vector<std::string>{"Monday"});
  run.Input(StringTensor({1, 3}, {"monday", "tuesday",
                                  "stra\xc3\x9f"
                                  "e"}));
  const Tensor out = run.Run()[0];
  EXPECT_THAT(out.dims(), ElementsAre(1, 2));
  EXPECT_THAT(Strings(out), ElementsAre("TUESDAY", "STRASSE"));
}

TEST(StringNormalizerTest, CaseSensitiveStopWordsMatchExactly) {
  OpRunner run("StringNormalizer", 10);
  run.Attr("is_case_sensitive", int64_t{1}).Attr("stopwords", std::vector<std::string>{"Monday"});
  run.Input(StringTensor({3}, {"monday", "Monday", "x"}));
  EXPECT_THAT(Strings(run.Run()[0]), ElementsAre("monday", "x"));
}

TEST(StringNormalizerTest, NothingLeftIsOneEmptyString) {
  OpRunner run("StringNormalizer", 10);
  run.Attr("stopwords", std::vector<std::string>{"x"}).Input(StringTensor({1, 2}, {"x", "X"}));
  const Tensor out = run.Run()[0];
  EXPECT_THAT(out.dims(), ElementsAre(1, 1));
  EXPECT_THAT(Strings(out), ElementsAre(""));
}

TEST(StringNormalizerTest, CaseFollowsTheLocale) {
  OpRunner run("StringNormalizer", 10);
  run.Attr("case_change_action", std::string("LOWER")).Attr("locale", std::string("tr_TR"));
  run.Input(StringTensor({1}, {"TITLE"}));
  EXPECT_THAT(Strings(run.Run()[0]), ElementsAre("t\xc4\xb1tle"));
}

TEST(StringConcatTest, Broadcasts) {
  OpRunner run("StringConcat", 20);
  run.Input(StringTensor({2, 1}, {"a", "b"})).Input(StringTensor({2}, {"x", "y"}));
  EXPECT_THAT(Strings(run.Run()[0]), ElementsAre("ax", "ay", "bx", "by"));
}

TEST(StringSplitTest, WhiteSpaceRunsSeparateAndEndsDrop) {
  OpRunner run("StringSplit", 20);
  run.Outputs(2).Input(StringTensor({3}, {"  a\tb  ", "",
                                          "c\xe2\x80\x83"
                                          "d e"}));
  const auto out = run.Run();
  EXPECT_THAT(out[0].dims(), ElementsAre(3, 3));
  EXPECT_THAT(Strings(out[0]), ElementsAre("a", "b", "", "", "", "", "c", "d", "e"));
  EXPECT_THAT(Int64s(out[1]), ElementsAre(2, 0, 3));
}

TEST(StringSplitTest, DelimiterKeepsEmptyPiecesAndMaxsplitTheRest) {
  OpRunner run("StringSplit", 20);
  run.Outputs(2).Attr("delimiter", std::string("--")).Attr("maxsplit", int64_t{2});
  run.Input(StringTensor({2}, {"a----b--c", ""}));
  const auto out = run.Run();
  EXPECT_THAT(Strings(out[0]), ElementsAre("a", "", "b--c", "", "", ""));
  EXPECT_THAT(Int64s(out[1]), ElementsAre(3, 1));
}

TEST(StringSplitTest, NoStringsGiveNoPieces) {
  OpRunner run("StringSplit", 20);
  run.Outputs(2).Input(StringTensor({0}, {}));
  const auto out = run.Run();
  EXPECT_THAT(out[0].dims(), ElementsAre(0, 0));
  EXPECT_THAT(out[1].dims(), ElementsAre(0));
}

TEST(RegexFullMatchTest, MatchesWholeStringsOnly) {
  OpRunner run("RegexFullMatch", 20);
  run.Attr("pattern", std::string("a+b")).Input(StringTensor({3}, {"aab", "aabc", ""}));
  const Tensor out = run.Run()[0];
  EXPECT_TRUE(out.data<bool>()[0]);
  EXPECT_FALSE(out.data<bool>()[1]);
  EXPECT_FALSE(out.data<bool>()[2]);
}

TEST(RegexFullMatchTest, BadPatternIsAnError) {
  OpRunner run("RegexFullMatch", 20);
  run.Attr("pattern", std::string("(a")).Input(StringTensor({1}, {"a"}));
  EXPECT_THAT(run.RunError(), HasSubstr("expected an RE2 regular expression, got \"(a\""));
}

OpRunner Vectorizer(const char* mode, int64_t skip) {
  // 1-grams 2, 3, 5; 2-grams (5, 4), (5, 6), (7, 8)
  OpRunner run("TfIdfVectorizer", 9);
  run.Attr("mode", std::string(mode)).Attr("min_gram_length", int64_t{1}).Attr("max_gram_length", int64_t{2});
  run.Attr("max_skip_count", skip).Attr("ngram_counts", std::vector<int64_t>{0, 3});
  run.Attr("ngram_indexes", std::vector<int64_t>{0, 1, 2, 5, 4, 3});
  run.Attr("pool_int64s", std::vector<int64_t>{2, 3, 5, 5, 4, 5, 6, 7, 8});
  return run;
}

TEST(TfIdfVectorizerTest, CountsGramsIntoTheirColumns) {
  OpRunner run = Vectorizer("TF", 0);
  run.Input(Int64Tensor({2, 4}, {2, 5, 4, 2, 7, 8, 7, 8}));
  EXPECT_EQ(FirstDifference(run.Run()[0], FloatTensor({2, 6}, {2, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0})), "");
}

TEST(TfIdfVectorizerTest, SkipsWidenGrams) {
  OpRunner run = Vectorizer("TF", 2);
  run.Input(Int32Tensor({4}, {5, 0, 0, 4}));
  EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 0, 1, 0, 0, 1));
}

TEST(TfIdfVectorizerTest, WeightsBelongToGramsOfThePool) {
  for (const auto& [mode, factor] : {std::pair{"IDF", 1.0f}, std::pair{"TFIDF", 2.0f}}) {
    OpRunner run = Vectorizer(mode, 0);
    run.Attr("weights", std::vector<float>{1, 2, 3, 10, 20, 30}).Input(Int64Tensor({4}, {7, 8, 7, 8}));
    EXPECT_THAT(Floats(run.Run()[0]), ElementsAre(0, 0, 0, 30 * factor, 0, 0));
  }
}

TEST(TfIdfVectorizerTest, InconsistentTablesAreErrors) {
  OpRunner counts = Vectorizer("TF", 0);
  counts.Attr("ngram_counts", std::vector<int64_t>{0, 100}).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(counts.RunError(), HasSubstr("do not fit a pool of 9"));
  OpRunner columns = Vectorizer("TF", 0);
  columns.Attr("ngram_indexes", std::vector<int64_t>{0, 1, 2, -5, 4, 3}).Input(Int64Tensor({1}, {1}));
  EXPECT_THAT(columns.RunError(), HasSubstr("attribute \"ngram_indexes\": expected 0 to"));
}

}  // namespace
}  // namespace rondo
