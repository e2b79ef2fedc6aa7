// Files and texts that mean harm: errors or defined results, in bounded time and memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tests/text/tokenizer_json.h"
#include "text/json.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) {
  EXPECT_FALSE(status.ok());
  return std::string(status.message());
}

TEST(HostileFileTest, BrokenJsonTellsWhere) {
  const std::string good = TokenizerJson().Text();
  for (size_t length : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 1}) {
    EXPECT_THAT(Message(Tokenizer::Parse(good.substr(0, length)).status()), HasSubstr("no valid JSON"));
  }
  EXPECT_THAT(Message(Tokenizer::Parse("[1,2]").status()), HasSubstr("tokenizer: expected an object, got an array"));
  EXPECT_THAT(Message(Tokenizer::Parse("{\"model\": \"\xff\"}").status()), HasSubstr("no valid JSON"));
}

// The parser's words end with the token that it read last.
TEST(HostileFileTest, ErrorsAboutJsonAreShortHoweverLongTheToken) {
  for (const std::string& token : {"\"" + std::string(1 << 20, 'x'), "1e" + std::string(1 << 20, '9')}) {
    const std::string message = Message(ParseJson(token, "x").status());
    EXPECT_THAT(message, HasSubstr("x: no valid JSON: "));
    EXPECT_LT(message.size(), 400u);
  }
}

TEST(HostileFileTest, EveryTruncationAndManyMutationsLoadOrFailCleanly) {
  TokenizerJson json;
  json.model =
      R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<0x41>": 3}, "merges": [["a", "b"]], "byte_fallback": true})";
  json.normalizer = R"({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Prepend", "prepend": "b"}]})";
  json.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Removed"})";
  json.decoder = R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]})";
  json.added_tokens = R"([{"id": 9, "content": "<x>", "lstrip": true}])";
  const std::string good = json.Text();
  const std::string junk = "{}[]\",:-9e\\0tn";
  int loaded = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(Tokenizer::Parse(good.substr(0, i)).ok());
    std::string changed = good;
    changed[i] = junk[i % junk.size()];
    const auto tokenizer = Tokenizer::Parse(changed);
    if (!tokenizer.ok()) continue;
    ++loaded;
    (void)(*tokenizer)->Encode("ab <x> \xff A");
    (void)(*tokenizer)->Decode({0, 1, 2, 3});
  }
  EXPECT_GT(loaded, 0);
}

TEST(HostileFileTest, DeepNestingIsAnError) {
  EXPECT_THAT(Message(ParseJson(std::string(1000000, '['), "x").status()), HasSubstr("nested too deeply"));
  std::string deep = R"({"type": "NFC"})";
  for (int i = 0; i < 20; ++i) deep = R"({"type": "Sequence", "normalizers": [)" + deep + "]}";
  TokenizerJson json;
  json.normalizer = deep;
  EXPECT_THAT(json.Error(), HasSubstr("nested more than 16 deep"));
}

TEST(HostileFileTest, AHugeVocabularyLoads) {
  std::string vocab;
  constexpr int kTokens = 300000;
  for (int i = 0; i < kTokens; ++i) absl::StrAppend(&vocab, i > 0 ? "," : "", "\"t", i, "\":", i);
  TokenizerJson json;
  json.model = R"({"type": "WordLevel", "unk_token": "t0", "vocab": {)" + vocab + "}}";
  const auto tokenizer = json.Load();
  EXPECT_EQ(tokenizer->vocab_size(), kTokens);
  EXPECT_EQ(IdsOf(*tokenizer, "t299999"), std::vector<int64_t>({299999}));
}

TEST(HostileFileTest, OverlongPiecesAreErrors) {
  TokenizerJson json;
  json.model = R"({"type": "Unigram", "unk_id": 0, "vocab": [[")" + std::string(5000, 'a') + R"(", -1.0]]})";
  EXPECT_THAT(json.Error(), HasSubstr("a piece of 5000 bytes"));
  json = TokenizerJson();
  json.added_tokens = R"([{"id": 9, "content": ")" + std::string(5000, 'a') + R"("}])";
  EXPECT_THAT(json.Error(), HasSubstr("content: 5000 bytes"));
}

TEST(HostileFileTest, NormalizersThatGrowTheTextStop) {
  TokenizerJson json;
  std::string steps;
  for (int i = 0; i < 64; ++i) {
    absl::StrAppend(&steps, i > 0 ? "," : "",
                    R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"})");
  }
  json.normalizer = R"({"type": "Sequence", "normalizers": [)" + steps + "]}";
  EXPECT_THAT(Message(json.Load()->Encode("a").status()), HasSubstr("the text grew beyond"));
}

TEST(HostileFileTest, MissingFilesFoldersAndPipesAreErrors) {
  const std::string dir = NewTempDir();
  EXPECT_THAT(Message(Tokenizer::Load(dir).status()), HasSubstr("tokenizer.json: cannot open"));
  EXPECT_THAT(Message(Tokenizer::Load("/dev/null").status()), HasSubstr("expected a regular file"));
  WriteTestFile(dir + "/tokenizer.json", TokenizerJson().Text());
  EXPECT_TRUE(Tokenizer::Load(dir).ok());
  EXPECT_TRUE(Tokenizer::Load(dir + "/tokenizer.json").ok());
  WriteTestFile(dir + "/tokenizer_config.json", "{");
  EXPECT_THAT(Message(Tokenizer::Load(dir).status()), HasSubstr("tokenizer_config.json: no valid JSON"));
  WriteTestFile(dir + "/tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(Message(Tokenizer::Load(dir).status()), HasSubstr("chat_template: expected an array, got an integer"));
}

TEST(TokenizerConfigTest, SpecialTokensAndTemplatesComeFromTheFilesBeside) {
  const std::string dir = NewTempDir();
  WriteTestFile(dir + "/tokenizer.json", TokenizerJson().Text());
  WriteTestFile(dir + "/tokenizer_config.json",
                R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
                    "chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]})");
  WriteTestFile(dir + "/special_tokens_map.json", R"({"eos_token": "other", "unk_token": {"content": "<unk>"}})");
  auto tokenizer = *Tokenizer::Load(dir);
  const std::map<std::string, std::string> expected = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  EXPECT_EQ(tokenizer->special_tokens(), expected);
  EXPECT_EQ(*tokenizer->ChatTemplateSource(), "D");
  EXPECT_EQ(*tokenizer->ChatTemplateSource(/*tools=*/true), "T");
  WriteTestFile(dir + "/chat_template.jinja", "J");
  tokenizer = *Tokenizer::Load(dir);
  EXPECT_EQ(*tokenizer->ChatTemplateSource(), "J") << "the file counts before the config";
}

TEST(HostileRegexTest, BacktrackingWithoutBoundIsAnError) {
  for (const char* pattern : {"(a+)+$b", "(a|aa)+$b", "(a*)*c", "(?:a|a)*d", "(.*.*.*.*.*)x"}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.status();
    EXPECT_THAT(Message(Regex::Finder(*regex).FindAll(std::string(5000, 'a')).status()), HasSubstr("too many steps"))
        << pattern;
  }
}

TEST(HostileRegexTest, AFinderGoesOnAfterAnError) {
  const auto regex = Regex::Compile("(a+)+$b|c");
  Regex::Finder finder(*regex);
  EXPECT_FALSE(finder.FindAll(std::string(5000, 'a')).ok());
  EXPECT_EQ(finder.FindAll("xcx")->size(), 1u);
}

TEST(HostileRegexTest, EmptyMatchesEnd) {
  const auto regex = Regex::Compile("x*");
  EXPECT_EQ(Regex::Finder(*regex).FindAll("ab")->size(), 3u);
}

TEST(HostileTextTest, IllFormedUtf8IsReplacedByPart) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(ToValidUtf8("a\xff"
                        "b"),
            "a" + r + "b");
  EXPECT_EQ(ToValidUtf8("\xe2\x82"), r) << "a cut character is one part";
  EXPECT_EQ(ToValidUtf8("\xed\xa0\x80"), r + r + r) << "a surrogate is none";
  EXPECT_EQ(ToValidUtf8("\xc0\x80"), r + r) << "an overlong form is none";
  EXPECT_EQ(ToValidUtf8("\xf0\x9f\x99\x82"), "\xf0\x9f\x99\x82");
  TokenizerJson json;
  json.model = R"({"type": "WordLevel", "vocab": {"a)" + r + R"(": 0, "?": 1}, "unk_token": "?"})";
  EXPECT_EQ(IdsOf(*json.Load(), "a\xff"), std::vector<int64_t>({0}));
}

TEST(HostileTextTest, StreamedBytesComeOutAsDecodedAtOnce) {
  // Every cut of bytes that are valid, cut, overlong, surrogates: the same characters in the end, never half of one.
  const std::string bytes = "a\xe2\x82\xac\xf0\x9f\x99\x82\xc3\xed\xa0\x80\xf4\x90\x80\x80\xe0\x80\xc0\xaf\xf0\x9f\xff";
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    std::string pending = bytes.substr(0, cut), text;
    DrainUtf8(&pending, false, &text);
    EXPECT_TRUE(IsValidUtf8(text));
    EXPECT_LE(pending.size(), 3u);
    pending += bytes.substr(cut);
    DrainUtf8(&pending, true, &text);
    EXPECT_EQ(text, ToValidUtf8(bytes)) << cut;
  }
}

TEST(HostileTextTest, EmptyTextAndNulAreTexts) {
  TokenizerJson json;
  json.model = R"({"type": "BPE", "vocab": {"a": 0, "\u0000": 1}, "merges": []})";
  const auto tokenizer = json.Load();
  EXPECT_TRUE(IdsOf(*tokenizer, "").empty());
  EXPECT_EQ(IdsOf(*tokenizer, absl::string_view("a\0a", 3)), std::vector<int64_t>({0, 1, 0}));
  EXPECT_EQ(*tokenizer->Decode({}), "");
}

}  // namespace
}  // namespace rondo::text
