#include "text/token_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/text/tokenizer_json.h"

namespace rondo::text {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<std::string>;

TokenizerJson Model(const std::string& model) {
  TokenizerJson json;
  json.model = model;
  return json;
}

TEST(BpeTest, MergesByRankThenFromTheLeft) {
  // "b c" has the lower rank, so "abc" is a + bc although a + b comes first.
  const auto tokenizer = Model(R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4, "aa": 5},
                                   "merges": [["b", "c"], ["a", "b"], ["a", "a"]]})")
                             .Load();
  EXPECT_EQ(TokensOf(*tokenizer, "abc"), Tokens({"a", "bc"}));
  EXPECT_EQ(TokensOf(*tokenizer, "abab"), Tokens({"ab", "ab"}));
  EXPECT_EQ(TokensOf(*tokenizer, "aaaaa"), Tokens({"aa", "aa", "a"}));
}

TEST(BpeTest, ReadsMergesOfOldFiles) {
  const auto tokenizer = Model(R"({"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["#version: 0.2", "a b"]})").Load();
  EXPECT_EQ(TokensOf(*tokenizer, "ab"), Tokens({"ab"}));
}

TEST(BpeTest, IgnoreMergesTakesWholeWordsOfTheVocabulary) {
  const std::string head = R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4},
                               "merges": [["a", "b"]])";
  EXPECT_EQ(TokensOf(*Model(head + R"(, "ignore_merges": true})").Load(), "abc"), Tokens({"abc"}));
  EXPECT_EQ(TokensOf(*Model(head + "}").Load(), "abc"), Tokens({"ab", "c"}));
}

TEST(BpeTest, FallsBackToBytesOnlyIfAllAreThere) {
  const auto tokenizer = Model(R"({"type": "BPE", "vocab": {"<unk>": 0, "a": 1, "<0xC3>": 2, "<0xB6>": 3},
                                   "merges": [], "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true})")
                             .Load();
  EXPECT_EQ(TokensOf(*tokenizer, "a\xc3\xb6"), Tokens({"a", "<0xC3>", "<0xB6>"}));
  EXPECT_EQ(TokensOf(*tokenizer, "a\xc3\xa4"), Tokens({"a", "<unk>"}));
}

TEST(BpeTest, FusesUnknownCharactersOrNot) {
  const std::string head = R"({"type": "BPE", "vocab": {"<unk>": 0, "a": 1}, "merges": [], "unk_token": "<unk>")";
  EXPECT_EQ(IdsOf(*Model(head + R"(, "fuse_unk": true})").Load(), "xyzax"), std::vector<int64_t>({0, 1, 0}));
  EXPECT_EQ(IdsOf(*Model(head + "}").Load(), "xyzax"), std::vector<int64_t>({0, 0, 0, 1, 0}));
}

TEST(BpeTest, WithoutUnknownTokenUnknownCharactersVanish) {
  EXPECT_EQ(TokensOf(*Model(R"({"type": "BPE", "vocab": {"a": 0}, "merges": []})").Load(), "xax"), Tokens({"a"}));
}

TEST(BpeTest, PrefixesAndSuffixesMarkPlaces) {
  const auto prefixed = Model(R"({"type": "BPE", "vocab": {"a": 0, "##b": 1, "ab": 2}, "merges": [["a", "##b"]],
                                  "continuing_subword_prefix": "##"})")
                            .Load();
  EXPECT_EQ(TokensOf(*prefixed, "ab"), Tokens({"ab"}));
  const auto suffixed = Model(R"({"type": "BPE", "vocab": {"a": 0, "b</w>": 1, "ab</w>": 2, "a</w>": 3},
                                  "merges": [["a", "b</w>"]], "end_of_word_suffix": "</w>"})")
                            .Load();
  EXPECT_EQ(TokensOf(*suffixed, "ab"), Tokens({"ab</w>"}));
  EXPECT_EQ(TokensOf(*suffixed, "aa"), Tokens({"a", "a</w>"}));
}

TEST(BpeTest, OneWordOfAMegabyteTakesSecondsNotHours) {
  // a, aa, aaaa ... : every merge makes a candidate for the next.
  std::string vocab = R"("a": 0)", merges;
  std::string token = "a";
  for (int i = 1; i <= 8; ++i) {
    absl::StrAppend(&merges, i > 1 ? "," : "", R"([")", token, R"(",")", token, R"("])");
    token += token;
    absl::StrAppend(&vocab, R"(, ")", token, R"(": )", i);
  }
  const auto tokenizer =
      Model(absl::StrCat(R"({"type": "BPE", "vocab": {)", vocab, R"(}, "merges": [)", merges, "]}")).Load();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(IdsOf(*tokenizer, std::string(1 << 20, 'a')).size(), size_t{1} << 12);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(UnigramTest, TakesTheBestSumNotTheLongestPiece) {
  const auto tokenizer = Model(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -1.0],
                                   ["ab", -3.0], ["abc", -10.0], ["bc", -1.5]]})")
                             .Load();
  EXPECT_EQ(TokensOf(*tokenizer, "ab"), Tokens({"a", "b"}));
  EXPECT_EQ(TokensOf(*tokenizer, "abc"), Tokens({"a", "bc"}));
}

TEST(UnigramTest, UnknownNeighboursAreOneToken) {
  const auto tokenizer = Model(R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]})").Load();
  EXPECT_EQ(TokensOf(*tokenizer, "xyazx"), Tokens({"xy", "a", "zx"}));
  EXPECT_EQ(IdsOf(*tokenizer, "xyazx"), std::vector<int64_t>({0, 1, 0}));
}

TEST(UnigramTest, FallsBackToBytes) {
  const auto tokenizer = Model(R"({"type": "Unigram", "unk_id": 0, "byte_fallback": true,
                                   "vocab": [["<unk>", 0.0], ["a", -1.0], ["<0xC3>", -9.0], ["<0xB6>", -9.0]]})")
                             .Load();
  EXPECT_EQ(TokensOf(*tokenizer, "a\xc3\xb6"), Tokens({"a", "<0xC3>", "<0xB6>"}));
}

TEST(UnigramTest, WithoutUnknownPieceUnknownTextIsAnError) {
  const auto tokenizer = Model(R"({"type": "Unigram", "vocab": [["a", -1.0]]})").Load();
  EXPECT_THAT(std::string(tokenizer->Encode("ax").status().message()), HasSubstr("no unk_id"));
}

TEST(WordPieceTest, TakesTheLongestPrefixAgainAndAgain) {
  const auto tokenizer = Model(R"({"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 6,
                                   "vocab": {"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "##a": 4, "u": 5, "\u00e4": 6}})")
                             .Load();
  EXPECT_EQ(TokensOf(*tokenizer, "unaff"), Tokens({"un", "##aff"}));
  EXPECT_EQ(TokensOf(*tokenizer, "unab"), Tokens({"[UNK]"})) << "one part that fits nothing spoils the word";
  EXPECT_EQ(TokensOf(*tokenizer, "unaffab"), Tokens({"[UNK]"})) << "longer than max_input_chars_per_word";
  EXPECT_EQ(TokensOf(*tokenizer, "\xc3\xa4"), Tokens({"\xc3\xa4"}));
  EXPECT_EQ(TokensOf(*tokenizer, "\xc3\xb6"), Tokens({"[UNK]"}));
}

TEST(WordLevelTest, TakesWholeWords) {
  TokenizerJson json = Model(R"({"type": "WordLevel", "vocab": {"hello": 0, "?": 1}, "unk_token": "?"})");
  json.pre_tokenizer = R"({"type": "WhitespaceSplit"})";
  EXPECT_EQ(IdsOf(*json.Load(), "hello world hello"), std::vector<int64_t>({0, 1, 0}));
}

TEST(TokenModelTest, AMissingUnknownTokenIsAnErrorWhenItIsNeeded) {
  for (const char* model : {R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "?"})",
                            R"({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "?"})",
                            R"({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"})"}) {
    const auto tokenizer = Model(model).Load();
    EXPECT_EQ(TokensOf(*tokenizer, "a"), Tokens({"a"}));
    EXPECT_THAT(std::string(tokenizer->Encode("b").status().message()),
                HasSubstr("'?', which is not in the vocabulary"));
  }
}

TEST(TokenModelTest, BrokenModelsAreErrorsThatNameTheirPlace) {
  const std::pair<const char*, const char*> kCases[] = {
      {"[]", "tokenizer.model: expected an object, got an array"},
      {R"({"type": "Magic"})", "unknown model 'Magic'"},
      {R"({"type": "BPE"})", "tokenizer.model.vocab: expected an object of tokens and ids, got null"},
      {R"({"type": "BPE", "vocab": {"a": "0"}})", "tokenizer.model.vocab.a: expected an integer, got a string"},
      {R"({"type": "BPE", "vocab": {"a": 1.5}})", "expected an integer, got a number"},
      {R"({"type": "BPE", "vocab": {"a": -1}})", "token 'a' has id -1"},
      {R"({"type": "BPE", "vocab": {"a": 4294967296}})", "token 'a' has id 4294967296"},
      {R"({"type": "BPE", "vocab": {"a": 0, "b": 0}})", "id 0 belongs to both 'a' and 'b'"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]})", "merges[0]: token 'b' of the merge 'a' + 'b'"},
      {R"({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]})", "token 'ab' of the merge"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a a a"]})", "merges[0]: expected a pair of tokens"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]})", "merges[0]: expected a pair of tokens"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": 5})", "merges: expected an array, got an integer"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "fuse_unk": 1})", "fuse_unk: expected true or false"},
      {R"({"type": "Unigram", "vocab": [["a"]]})", "vocab[0]: expected [piece, score]"},
      {R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})", "unk_id: 1 (expected an index into 1 pieces)"},
      {R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": -1})", "unk_id: -1"},
      {R"({"type": "WordPiece", "vocab": 3})", "expected an object of tokens and ids"},
  };
  for (const auto& [model, message] : kCases) EXPECT_THAT(Model(model).Error(), HasSubstr(message)) << model;
}

TEST(TokenModelTest, LargeGapsBetweenIdsTakeNoMemory) {
  const auto tokenizer = Model(R"({"type": "WordLevel", "vocab": {"a": 0, "b": 2147483647}, "unk_token": "a"})").Load();
  EXPECT_EQ(IdsOf(*tokenizer, "b"), std::vector<int64_t>({2147483647}));
  EXPECT_EQ(tokenizer->vocab_size(), 2);
}

}  // namespace
}  // namespace rondo::text
