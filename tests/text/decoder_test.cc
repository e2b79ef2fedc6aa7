#include "text/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/tokenizer_json.h"
#include "text/unicode.h"

namespace rondo::text {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<std::string>;

Decoder Make(const std::string& json_text) {
  const auto json = ParseJson(json_text, "test");
  EXPECT_TRUE(json.ok()) << json.status();
  auto decoder = Decoder::FromJson(JsonView(*json, "decoder"));
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  return *std::move(decoder);
}

// What comes out after each token, and at the end.
Tokens Stream(const std::string& json, const Tokens& tokens) {
  const Decoder decoder = Make(json);
  Decoder::Pipeline pipeline = decoder.Start();
  Tokens pieces;
  for (const std::string& token : tokens) {
    EXPECT_TRUE(pipeline.Push(token).ok());
    pieces.push_back(pipeline.Take());
  }
  EXPECT_TRUE(pipeline.Finish().ok());
  pieces.push_back(pipeline.Take());
  for (const std::string& piece : pieces) EXPECT_TRUE(IsValidUtf8(piece));
  return pieces;
}

std::string Decoded(const std::string& json, const Tokens& tokens) {
  std::string text;
  for (const std::string& piece : Stream(json, tokens)) text += piece;
  return text;
}

TEST(DecoderTest, WithoutDecoderTokensAreJoinedBySpaces) { EXPECT_EQ(Decoded("null", {"a", "b"}), "a b"); }

TEST(DecoderTest, ByteLevelWaitsForWholeCharacters) {
  const std::string json = R"({"type": "ByteLevel"})";
  // ö is C3 B6, in the alphabet Ã ¶.
  EXPECT_EQ(Stream(json, {"\xc3\x83",
                          "\xc2\xb6"
                          "x",
                          "!"}),
            Tokens({"", "\xc3\xb6x", "!", ""}));
  EXPECT_EQ(Stream(json, {"\xc3\x83", "a"}), Tokens({"",
                                                     "\xef\xbf\xbd"
                                                     "a",
                                                     ""}))
      << "what was cut is decided";
  EXPECT_EQ(Stream(json, {"\xc3\x83"}), Tokens({"", "\xef\xbf\xbd"}));
  EXPECT_EQ(Stream(json, {"\xe2\x86\x92"}), Tokens({"\xe2\x86\x92", ""})) << "a token beyond the alphabet stays";
}

TEST(DecoderTest, ByteFallbackDecidesRunsAsAWhole) {
  const std::string json = R"({"type": "ByteFallback"})";
  EXPECT_EQ(Decoded(json, {"<0xE5>", "<0x8f>", "<0xAB>", "a"}),
            "\xe5\x8f\xab"
            "a");
  EXPECT_EQ(Decoded(json, {"<0xE5>", "<0x8F>", "a"}),
            "\xef\xbf\xbd\xef\xbf\xbd"
            "a");
  EXPECT_EQ(Decoded(json, {"<0x61>", "<0xZZ>", "<0x6>"}), "a<0xZZ><0x6>");
  EXPECT_EQ(Stream(json, {"<0x61>", "b"}), Tokens({"", "ab", ""}));
}

TEST(DecoderTest, MetaspaceDropsTheFirstSpace) {
  const std::string m = "\xe2\x96\x81";
  EXPECT_EQ(Decoded(R"({"type": "Metaspace", "replacement": ")" + m + "\"}", {m + "a" + m, m + "b"}), "a b");
  EXPECT_EQ(Decoded(R"({"type": "Metaspace", "replacement": ")" + m + R"(", "prepend_scheme": "never"})", {m + "a"}),
            " a");
}

TEST(DecoderTest, WordPieceJoinsAndCleansUp) {
  EXPECT_EQ(Decoded(R"({"type": "WordPiece"})", {"un", "##aff", "do", "n't", ".", "I", "'m"}), "unaff don't. I'm");
  EXPECT_EQ(Decoded(R"({"type": "WordPiece", "prefix": "##", "cleanup": false})", {"a", "."}), "a .");
}

TEST(DecoderTest, StripTakesFromTheEndsOfATokenOrOfAll) {
  const std::string strip = R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})";
  EXPECT_EQ(Decoded(strip, {"  a  ", " b "}), " a b");
  const std::string fused = R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, )" + strip + "]}";
  EXPECT_EQ(Decoded(fused, {"  a  ", " b ", " "}), " a   b ");
  EXPECT_EQ(Stream(fused, {" a ", "b", " ", "c", " "}), Tokens({"a", " b", "", " c", "", ""}));
}

TEST(DecoderTest, ReplaceWorksAcrossFusedTokens) {
  const auto replace = [](const std::string& pattern) {
    return R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": )" + pattern +
           R"(, "content": "-"}]})";
  };
  EXPECT_EQ(Stream(replace(R"({"String": "abc"})"), {"xa", "b", "cab", "d"}), Tokens({"x", "", "-", "abd", ""}));
  EXPECT_EQ(Decoded(replace(R"({"String": "aa"})"), {"a", "a", "a"}), "-a");
  EXPECT_EQ(Decoded(replace(R"({"Regex": "a+"})"), {"xa", "ab"}), "x-b");
}

TEST(DecoderTest, BpeSuffixIsASpaceButAtTheEnd) {
  EXPECT_EQ(Stream(R"({"type": "BPEDecoder"})", {"He</w>", "is</w>"}), Tokens({"", "He ", "is"}));
}

TEST(DecoderTest, CtcDropsRepeatsAndPadding) {
  EXPECT_EQ(Decoded(R"({"type": "CTC"})", {"<pad>", "h", "h", "e", "l", "<pad>", "l", "o", "|", "|", "w"}), "hello w");
}

TEST(DecoderTest, BrokenOnesAreErrors) {
  const std::pair<std::string, const char*> kCases[] = {
      {R"({"type": "Magic"})", "unknown decoder 'Magic'"},
      {R"({"type": "Strip", "content": "ab", "start": 0, "stop": 0})", "expected one character"},
      {R"({"type": "Strip", "content": "a", "start": -1, "stop": 0})", "start -1"},
      {R"({"type": "Replace", "pattern": {"String": ""}, "content": ""})", "not empty"},
      {R"({"type": "Sequence", "decoders": 4})", "expected an array, got an integer"},
  };
  for (const auto& [decoder, message] : kCases) {
    TokenizerJson json;
    json.decoder = decoder;
    EXPECT_THAT(json.Error(), HasSubstr(message)) << decoder;
  }
}

TEST(DecodeTest, UnknownIdsAreErrorsUnlessSkipped) {
  const auto tokenizer = TokenizerJson().Load();
  for (const int64_t id : {int64_t{2}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    EXPECT_THAT(std::string(tokenizer->Decode({id}).status().message()),
                HasSubstr(absl::StrCat("no token has id ", id)));
    DecodeOptions skip;
    skip.skip_unknown_ids = true;
    EXPECT_EQ(*tokenizer->Decode({0, id, 0}, skip), "a a");
    StreamDecoder stream(tokenizer, {});
    EXPECT_FALSE(stream.Push(id).ok());
    EXPECT_EQ(*stream.Push(0), "a") << "the decoder goes on after a refused id";
  }
}

}  // namespace
}  // namespace rondo::text
