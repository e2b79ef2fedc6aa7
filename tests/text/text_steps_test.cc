// Normalizers, pre-tokenizers, added tokens and post-processors, each through a whole tokenizer or on its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "tests/text/tokenizer_json.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"

namespace rondo::text {
namespace {

using testing::HasSubstr;
using Words = std::vector<std::string>;

std::string Normalized(const std::string& json_text, std::string text) {
  const auto json = ParseJson(json_text, "test");
  EXPECT_TRUE(json.ok()) << json.status();
  const auto normalizer = NormalizerFromJson(JsonView(*json, "normalizer"));
  EXPECT_TRUE(normalizer.ok()) << normalizer.status();
  if (!normalizer.ok()) return "";
  const absl::Status status = (*normalizer)->Apply(&text);
  EXPECT_TRUE(status.ok()) << status;
  return text;
}

TEST(NormalizerTest, UnicodeForms) {
  const std::string composed = "\xc3\xa9", decomposed = "e\xcc\x81", ligature = "\xef\xac\x81";
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", decomposed + ligature), composed + ligature);
  EXPECT_EQ(Normalized(R"({"type": "NFD"})", composed + ligature), decomposed + ligature);
  EXPECT_EQ(Normalized(R"({"type": "NFKC"})", decomposed + ligature), composed + "fi");
  EXPECT_EQ(Normalized(R"({"type": "NFKD"})", composed + ligature), decomposed + "fi");
}

TEST(NormalizerTest, LowercaseKnowsTheDottedI) {
  EXPECT_EQ(Normalized(R"({"type": "Lowercase"})", "A\xc3\x84\xc4\xb0"), "a\xc3\xa4i\xcc\x87");
}

TEST(NormalizerTest, StripTakesWhiteSpaceFromTheSidesAsked) {
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \xe3\x80\x80 a b\n"), "a b");
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a "), " a");
  EXPECT_EQ(Normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " a "), "a ");
  EXPECT_EQ(Normalized(R"({"type": "Strip"})", "  "), "");
}

TEST(NormalizerTest, StripAccentsNeedsDecomposedText) {
  EXPECT_EQ(
      Normalized(R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]})", "caf\xc3\xa9"),
      "cafe");
  EXPECT_EQ(Normalized(R"({"type": "StripAccents"})", "caf\xc3\xa9"), "caf\xc3\xa9");
}

TEST(NormalizerTest, BertCleansSplitsChineseAndFolds) {
  EXPECT_EQ(Normalized(R"({"type": "BertNormalizer"})", "\x01H\xc3\xa9\tA\xe4\xb8\xadz"), "he a \xe4\xb8\xad z");
  EXPECT_EQ(Normalized(R"({"type": "BertNormalizer", "lowercase": false})", "H\xc3\xa9"), "H\xc3\xa9");
  EXPECT_EQ(Normalized(R"({"type": "BertNormalizer", "lowercase": true, "strip_accents": false})", "H\xc3\x89"),
            "h\xc3\xa9");
}

TEST(NormalizerTest, NmtReplacePrependAndByteLevel) {
  EXPECT_EQ(Normalized(R"({"type": "Nmt"})",
                       "a\x01\tb\xe2\x80\x8b"
                       "c\x7f"),
            "a b c");
  EXPECT_EQ(Normalized(R"({"type": "Replace", "pattern": {"String": ".."}, "content": "-"})", "a...b"), "a-.b");
  EXPECT_EQ(Normalized(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"})", "a  b   c d"),
            "a_b_c d");
  EXPECT_EQ(Normalized(R"({"type": "Prepend", "prepend": "_"})", "a"), "_a");
  EXPECT_EQ(Normalized(R"({"type": "Prepend", "prepend": "_"})", ""), "");
  EXPECT_EQ(Normalized(R"({"type": "ByteLevel"})", "a \xc3\xb6"), "a\xc4\xa0\xc3\x83\xc2\xb6");
}

// A charsmap with the double array for one key of one byte.
std::string Charsmap(unsigned char key, const std::string& replacements, uint32_t value) {
  // Root at 0 with offset 256: the child of byte k lies at 256 ^ k, its leaf at (256 ^ k) ^ 1.
  std::vector<uint32_t> units(512, 0);
  units[0] = 256u << 10;
  units[256 ^ key] = key | (1u << 8) | (1u << 10);
  units[(256 ^ key) ^ 1] = value | (1u << 31);
  const auto bytes = static_cast<uint32_t>(units.size() * 4);
  std::string block(reinterpret_cast<const char*>(&bytes), 4);
  block.append(reinterpret_cast<const char*>(units.data()), bytes);
  return block + replacements;
}
std::string PrecompiledJson(const std::string& block) {
  return absl::StrCat(R"({"type": "Precompiled", "precompiled_charsmap": ")", absl::Base64Escape(block), R"("})");
}

TEST(NormalizerTest, PrecompiledReplacesByItsMap) {
  const std::string replacements("xy\0zz\0", 6);
  EXPECT_EQ(Normalized(PrecompiledJson(Charsmap('a', replacements, 0)), "bab\xc3\xb6"), "bxyb\xc3\xb6");
  EXPECT_EQ(Normalized(PrecompiledJson(Charsmap('a', replacements, 3)), "a"), "zz");
  EXPECT_EQ(Normalized(PrecompiledJson(std::string(4, '\0')), "abc"), "abc");
}

TEST(NormalizerTest, APrecompiledMapThatPointsOutsideIsHarmlessOrAnError) {
  EXPECT_EQ(Normalized(PrecompiledJson(Charsmap('a', "x", 1000000)), "aba"), "aba");
  std::string wild = Charsmap('a', "x", 0);
  wild[4 + 3] = '\x7f';  // an offset far beyond the array
  EXPECT_EQ(Normalized(PrecompiledJson(wild), "aba"), "aba");
  TokenizerJson json;
  json.normalizer = PrecompiledJson("\xff\xff\xff\x7f");
  EXPECT_THAT(json.Error(), HasSubstr("precompiled_charsmap: a trie of"));
  json.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": "!!"})";
  EXPECT_THAT(json.Error(), HasSubstr("no valid base64"));
}

Words Cut(const std::string& json_text, const std::string& text, bool at_start = true) {
  const auto json = ParseJson(json_text, "test");
  EXPECT_TRUE(json.ok()) << json.status();
  const auto pre_tokenizer = PreTokenizerFromJson(JsonView(*json, "pre_tokenizer"));
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  if (!pre_tokenizer.ok()) return {};
  std::vector<Word> words = {{text, at_start}};
  const absl::Status status = (*pre_tokenizer)->Apply(&words);
  EXPECT_TRUE(status.ok()) << status;
  Words texts;
  for (const Word& word : words) texts.push_back(word.text);
  return texts;
}

TEST(PreTokenizerTest, SplitKnowsAllBehaviours) {
  const auto split = [](const std::string& behavior, bool invert = false) {
    return Cut(absl::StrCat(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")", behavior,
                            R"(", "invert": )", invert ? "true" : "false", "}"),
               "the-final--countdown");
  };
  EXPECT_EQ(split("Removed"), Words({"the", "final", "countdown"}));
  EXPECT_EQ(split("Isolated"), Words({"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split("MergedWithPrevious"), Words({"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split("MergedWithNext"), Words({"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split("Contiguous"), Words({"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split("Removed", /*invert=*/true), Words({"-", "-", "-"}));
}

TEST(PreTokenizerTest, ByteLevelSplitsAsGpt2) {
  EXPECT_EQ(Cut(R"({"type": "ByteLevel", "add_prefix_space": false})", "it's 42  caf\xc3\xa9!"),
            Words({"it", "'s",
                   "\xc4\xa0"
                   "42",
                   "\xc4\xa0",
                   "\xc4\xa0"
                   "caf\xc3\x83\xc2\xa9",
                   "!"}));
  EXPECT_EQ(Cut(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": false})", "a b"), Words({"\xc4\xa0"
                                                                                                         "a\xc4\xa0"
                                                                                                         "b"}));
}

TEST(PreTokenizerTest, MetaspacePrependSchemes) {
  const std::string m = "\xe2\x96\x81";
  const auto cut = [&](const std::string& options, bool at_start) {
    return Cut(R"({"type": "Metaspace", "replacement": ")" + m + "\"" + options + "}", "a b", at_start);
  };
  EXPECT_EQ(cut(R"(, "prepend_scheme": "always")", false), Words({m + "a", m + "b"}));
  EXPECT_EQ(cut(R"(, "prepend_scheme": "first")", true), Words({m + "a", m + "b"}));
  EXPECT_EQ(cut(R"(, "prepend_scheme": "first")", false), Words({"a", m + "b"}));
  EXPECT_EQ(cut(R"(, "prepend_scheme": "never")", true), Words({"a", m + "b"}));
  EXPECT_EQ(cut(R"(, "prepend_scheme": "always", "split": false)", true), Words({m + "a" + m + "b"}));
  EXPECT_EQ(cut(R"(, "add_prefix_space": false)", true), Words({"a", m + "b"})) << "files before 2024";
}

TEST(PreTokenizerTest, TheSimpleOnes) {
  EXPECT_EQ(Cut(R"({"type": "BertPreTokenizer"})", "Hey,  you\xe3\x80\x82!"),
            Words({"Hey", ",", "you", "\xe3\x80\x82", "!"}));
  EXPECT_EQ(Cut(R"({"type": "Whitespace"})", "Hey you's!?  x_1"), Words({"Hey", "you", "'", "s", "!?", "x_1"}));
  EXPECT_EQ(Cut(R"({"type": "WhitespaceSplit"})", " a,b\tc "), Words({"a,b", "c"}));
  EXPECT_EQ(Cut(R"({"type": "Digits"})", "a12b"), Words({"a", "12", "b"}));
  EXPECT_EQ(Cut(R"({"type": "Digits", "individual_digits": true})", "a12b"), Words({"a", "1", "2", "b"}));
  EXPECT_EQ(Cut(R"({"type": "Punctuation"})", "a?!b"), Words({"a", "?", "!", "b"}));
  EXPECT_EQ(Cut(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a?!b"), Words({"a", "?!", "b"}));
  EXPECT_EQ(Cut(R"({"type": "CharDelimiterSplit", "delimiter": "|"})", "a|b||c"), Words({"a", "b", "c"}));
  EXPECT_EQ(Cut(R"({"type": "FixedLength", "length": 2})", "abc\xc3\xb6z"), Words({"ab", "c\xc3\xb6", "z"}));
  // どこで生れ。Yes and Apples are りんご 林檎
  EXPECT_EQ(Cut(R"({"type": "UnicodeScripts"})", "\xe3\x81\x93\xe7\x94\x9f\xe3\x80\x82Yes"),
            Words({"\xe3\x81\x93\xe7\x94\x9f", "\xe3\x80\x82", "Yes"}));
  EXPECT_EQ(Cut(R"({"type": "UnicodeScripts"})", "A b \xe3\x82\x8a \xe6\x9e\x97"),
            Words({"A b ", "\xe3\x82\x8a \xe6\x9e\x97"}));
  EXPECT_EQ(Cut(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits"}]})", "a1 b2"),
            Words({"a", "1", "b", "2"}));
}

TEST(PreTokenizerTest, PatternsOfRealModelsMeanWhatTheyDoInOniguruma) {
  const auto split = [](const std::string& regex, const std::string& text) {
    return Cut(R"({"type": "Split", "pattern": {"Regex": ")" + regex + R"("}, "behavior": "Isolated"})", text);
  };
  // Set intersection, as Kimi has it: letters that are not Han.
  EXPECT_EQ(split(R"([\\p{L}&&[^\\p{Han}]]+|\\p{Han}+)", "ab\xe4\xb8\xad\xe6\x96\x87z"),
            Words({"ab", "\xe4\xb8\xad\xe6\x96\x87", "z"}));
  // A line separator is white space; ^ and $ hold at every \n; the dot stops at \n only.
  EXPECT_EQ(split(R"(\\s)",
                  "a\xe2\x80\xa8"
                  "b"),
            Words({"a", "\xe2\x80\xa8", "b"}));
  EXPECT_EQ(split("^b", "a\\nb"), Words({"a\\nb"}));
  EXPECT_EQ(split("^b$", "a\nb\nbc"), Words({"a\n", "b", "\nbc"}));
  EXPECT_EQ(split("a.b", "a\rb"), Words({"a\rb"}));
}

TEST(PreTokenizerTest, PatternsOfManyFamiliesCompileAndSplit) {
  const auto split = [](const std::string& regex, const std::string& text) {
    const auto compiled = Regex::Compile(regex);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    Words words;
    if (!compiled.ok()) return words;
    const auto matches = Regex::Finder(*compiled).FindAll(text);
    EXPECT_TRUE(matches.ok()) << matches.status();
    for (const Span& match : *matches) words.push_back(text.substr(match.begin, match.end - match.begin));
    return words;
  };
  // Upper and lower case apart, contractions with the word.
  EXPECT_EQ(
      split(R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}|\s+)",
            "HelloWorld's 12345"),
      Words({"Hello", "World's", " ", "123", "45"}));
  // ASCII punctuation as a set with brackets, backslash and braces in it.
  EXPECT_EQ(
      split(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+)",
            "{ab }} x"),
      Words({"{ab", " }}", " x"}));
  // A set in a set.
  EXPECT_EQ(split(R"( ?[^(\s|[.,!?])]+)", "ab, c.d"), Words({"ab", " c", "d"}));
  EXPECT_EQ(split("[\xe4\xb8\x80-\xe9\xbe\xa5]+", "a\xe4\xb8\xad\xe6\x96\x87z"), Words({"\xe4\xb8\xad\xe6\x96\x87"}));
  EXPECT_EQ(split("a++b?+[}+]{2}", "aab}+"), Words({"aab}+"}));
}

TEST(PreTokenizerTest, UnknownAndBrokenOnesAreErrors) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"type": "Magic"})", "tokenizer.pre_tokenizer: unknown pre-tokenizer 'Magic'"},
      {R"({})", "tokenizer.pre_tokenizer.type: expected a string, got null"},
      {R"({"type": "Split", "pattern": {"Regex": "("}})", "regular expression '('"},
      {R"({"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}+"}})", "means a repeated repetition"},
      {R"({"type": "Split", "pattern": {}})", "pattern: expected {\"String\": ...} or {\"Regex\": ...}"},
      {R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Eaten"})", "unknown behavior 'Eaten'"},
      {R"({"type": "Metaspace", "replacement": "ab"})", "expected one character"},
      {R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "no"})", "prepend_scheme: 'no'"},
      {R"({"type": "FixedLength", "length": 0})", "length: 0"},
  };
  for (const auto& [pre_tokenizer, message] : kCases) {
    TokenizerJson json;
    json.pre_tokenizer = pre_tokenizer;
    EXPECT_THAT(json.Error(), HasSubstr(message)) << pre_tokenizer;
  }
}

// --- Added tokens ---

std::shared_ptr<const Tokenizer> WithAdded(const std::string& flags, const std::string& normalizer = "null") {
  TokenizerJson json;
  json.model =
      R"({"type": "BPE", "vocab": {"a": 0, "b": 1, " ": 2, "<": 3, "m": 4, ">": 5, "_": 6, "M": 7}, "merges": []})";
  json.added_tokens = R"([{"id": 10, "content": "<m>", "special": true)" + flags + "}]";
  json.normalizer = normalizer;
  return json.Load();
}

TEST(AddedTokenTest, FlagsSayWhatTheyTakeAndWhereTheyMatch) {
  EXPECT_EQ(TokensOf(*WithAdded(""), "a <m> b"), Words({"a", " ", "<m>", " ", "b"}));
  EXPECT_EQ(TokensOf(*WithAdded(R"(, "lstrip": true)"), "a  <m> b"), Words({"a", "  <m>", " ", "b"}));
  EXPECT_EQ(TokensOf(*WithAdded(R"(, "rstrip": true)"), "a <m>  b"), Words({"a", " ", "<m>  ", "b"}));
  EXPECT_EQ(TokensOf(*WithAdded(R"(, "lstrip": true, "rstrip": true)"), "<m> <m>"), Words({"<m> ", "<m>"}));
  EXPECT_EQ(TokensOf(*WithAdded(R"(, "single_word": true)"), "a<m> <m>"), Words({"a", "<", "m", ">", " ", "<m>"}));
}

TEST(AddedTokenTest, NormalizedOnesMatchInTheNormalizedText) {
  const std::string lower = R"({"type": "Lowercase"})";
  EXPECT_EQ(TokensOf(*WithAdded("", lower), "a<M>"), Words({"a", "<", "m", ">"}));
  EXPECT_EQ(TokensOf(*WithAdded(R"(, "normalized": true)", lower), "a<M>"), Words({"a", "<m>"}));
}

TEST(AddedTokenTest, TheLongestOfSeveralMatches) {
  TokenizerJson json;
  json.added_tokens = R"([{"id": 10, "content": "<x"}, {"id": 11, "content": "<x>"}, {"id": 12, "content": "x>y"}])";
  EXPECT_EQ(IdsOf(*json.Load(), "<x>y<xa"), std::vector<int64_t>({11, 1, 10, 0}));
}

TEST(AddedTokenTest, TheModelsIdCountsWhereItHasTheToken) {
  TokenizerJson json;
  json.added_tokens = R"([{"id": 77, "content": "a", "special": true}])";
  const auto tokenizer = json.Load();
  EXPECT_EQ(tokenizer->IdOf("a"), 0);
  EXPECT_TRUE(tokenizer->IsSpecial(0));
  EXPECT_EQ(tokenizer->vocab_size(), 2);
}

TEST(AddedTokenTest, ContradictionsAreErrors) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"([{"id": 0, "content": "x"}])", "added_tokens[0]: id 0 of 'x' belongs to 'a' of the vocabulary"},
      {R"([{"id": 5, "content": "x"}, {"id": 5, "content": "y"}])", "id 5 belongs to both 'x' and 'y'"},
      {R"([{"id": 5, "content": "x"}, {"id": 6, "content": "x"}])", "'x' is added twice"},
      {R"([{"id": -5, "content": "x"}])", "added_tokens[0].id: -5"},
      {R"([{"id": 99999999999, "content": "x"}])", "added_tokens[0].id: 99999999999"},
      {R"([{"id": "5", "content": "x"}])", "added_tokens[0].id: expected an integer, got a string"},
      {R"([{"id": 5}])", "content: expected a string, got null"},
      {R"({})", "added_tokens: expected an array, got an object"},
      {R"([3])", "added_tokens[0].content: expected a string"},
  };
  for (const auto& [added, message] : kCases) {
    TokenizerJson json;
    json.added_tokens = added;
    EXPECT_THAT(json.Error(), HasSubstr(message)) << added;
  }
}

// --- Post-processors ---

TEST(PostProcessorTest, TemplatesSurroundOneAndTwo) {
  TokenizerJson json;
  json.post_processor = R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[C]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "B", "type_id": 2}}, {"SpecialToken": {"id": "[C]", "type_id": 1}},
               {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"[C]": {"id": "[C]", "ids": [7, 8], "tokens": ["[C]", "!"]}}})";
  const auto tokenizer = json.Load();
  EXPECT_EQ(IdsOf(*tokenizer, "a", true), std::vector<int64_t>({7, 8, 0}));
  EXPECT_EQ(IdsOf(*tokenizer, "a", false), std::vector<int64_t>({0}));
  const auto pair = tokenizer->EncodePair("a", "b");
  EXPECT_EQ(pair->ids, std::vector<int64_t>({1, 7, 8, 0}));
  EXPECT_EQ(pair->type_ids, std::vector<int64_t>({2, 1, 1, 0}));
}

TEST(PostProcessorTest, BertAndRoberta) {
  TokenizerJson json;
  json.post_processor = R"({"type": "BertProcessing", "sep": ["[SEP]", 8], "cls": ["[CLS]", 7]})";
  auto pair = json.Load()->EncodePair("a", "b");
  EXPECT_EQ(pair->ids, std::vector<int64_t>({7, 0, 8, 1, 8}));
  EXPECT_EQ(pair->type_ids, std::vector<int64_t>({0, 0, 0, 1, 1}));
  json.post_processor = R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
      {"type": "RobertaProcessing", "sep": ["</s>", 8], "cls": ["<s>", 7], "trim_offsets": true}]})";
  pair = json.Load()->EncodePair("a", "b");
  EXPECT_EQ(pair->ids, std::vector<int64_t>({7, 0, 8, 8, 1, 8}));
  EXPECT_EQ(pair->type_ids, std::vector<int64_t>({0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(IdsOf(*json.Load(), "a", true), std::vector<int64_t>({7, 0, 8}));
}

TEST(PostProcessorTest, WithoutOneThePairFollows) {
  const auto pair = TokenizerJson().Load()->EncodePair("a", "b");
  EXPECT_EQ(pair->ids, std::vector<int64_t>({0, 1}));
  EXPECT_EQ(pair->type_ids, std::vector<int64_t>({0, 1}));
}

TEST(PostProcessorTest, BrokenOnesAreErrors) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"type": "Magic"})", "unknown post-processor 'Magic'"},
      {R"({"type": "BertProcessing", "sep": ["x"], "cls": ["y", 1]})", "sep: expected [token, id]"},
      {R"({"type": "BertProcessing", "sep": ["x", -1], "cls": ["y", 1]})", "sep: id -1"},
      {R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]})",
       "'x' is not among special_tokens"},
      {R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "C"}}]})", "'C' (expected A or B)"},
      {R"({"type": "TemplateProcessing", "special_tokens": {"x": {"ids": [1], "tokens": []}}})", "1 ids and 0 tokens"},
  };
  for (const auto& [post_processor, message] : kCases) {
    TokenizerJson json;
    json.post_processor = post_processor;
    EXPECT_THAT(json.Error(), HasSubstr(message)) << post_processor;
  }
}

TEST(PostProcessorTest, ATemplateForOneThatNamesTwoIsAnErrorInUse) {
  TokenizerJson json;
  json.post_processor = R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}]})";
  EXPECT_FALSE(json.Load()->Encode("a").ok());
}

}  // namespace
}  // namespace rondo::text
