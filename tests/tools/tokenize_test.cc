// rondo tokenize, as its users call it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

class TokenizeTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteTestFile(dir_ + "/tokenizer.json", R"({
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, " ": 3}, "merges": [["a", "b"]]},
      "added_tokens": [{"id": 9, "content": "<s>", "special": true}],
      "decoder": {"type": "Fuse"},
      "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}}}})");
    WriteTestFile(
        dir_ + "/tokenizer_config.json",
        R"({"bos_token": "<s>", "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ x }}"})");
  }
  std::string Out(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"tokenize", dir_});
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  void ExpectBadInput(std::vector<std::string> arguments, const std::string& part) {
    arguments.insert(arguments.begin(), {"tokenize", dir_});
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }
  const std::string dir_ = NewTempDir();
};

TEST_F(TokenizeTest, PrintsTokensIdsAndJson) {
  const std::string table = Out({"--text", "ab a"});
  EXPECT_NE(table.find("<s>"), std::string::npos) << table;
  EXPECT_NE(table.find("special"), std::string::npos) << table;
  EXPECT_NE(table.find("4 tokens"), std::string::npos) << table;
  EXPECT_EQ(Out({"--text", "ab a", "--ids"}), "9,2,3,0\n");
  EXPECT_EQ(Out({"--text", "", "--ids", "--no-special"}), "\n");
  const auto json = nlohmann::json::parse(Out({"--text", "ab", "--json"}));
  EXPECT_EQ(json, (nlohmann::json{{"text", "ab"}, {"ids", {9, 2}}, {"tokens", {"<s>", "ab"}}}));
  WriteTestFile(dir_ + "/text.txt", "ba");
  EXPECT_EQ(Out({"--file", dir_ + "/text.txt", "--ids"}), "9,1,0\n");
}

TEST_F(TokenizeTest, Decodes) {
  EXPECT_EQ(Out({"--decode", "9,2,3, 0"}), "<s>ab a\n");
  EXPECT_EQ(Out({"--decode", "9,2", "--no-special"}), "ab\n");
  ExpectBadInput({"--decode", "1,x"}, "--decode: 'x' is no id");
  ExpectBadInput({"--decode", "1,-7"}, "no token has id -7");
}

TEST_F(TokenizeTest, AppliesTheChatTemplate) {
  WriteTestFile(dir_ + "/chat.json", R"([{"role": "user", "content": "ab"}])");
  EXPECT_EQ(Out({"--chat", dir_ + "/chat.json"}), "<s>ab\n");
  EXPECT_EQ(Out({"--chat", dir_ + "/chat.json", "--ids"}), "9,2\n");
  WriteTestFile(dir_ + "/chat.json", R"({"messages": [], "x": "b"})");
  EXPECT_EQ(Out({"--chat", dir_ + "/chat.json"}), "<s>b\n");
  WriteTestFile(dir_ + "/chat.json", R"({"message": []})");
  ExpectBadInput({"--chat", dir_ + "/chat.json"}, "messages: expected an array");
  WriteTestFile(dir_ + "/chat.json", "[");
  ExpectBadInput({"--chat", dir_ + "/chat.json"}, "no valid JSON");
}

TEST_F(TokenizeTest, BadUsageAndMissingFilesAreErrors) {
  ExpectBadInput({"--text", "a", "--decode", "1"}, "excludes");
  ExpectBadInput({"--file", dir_ + "/none"}, "none");
  EXPECT_EQ(RunRondo({"tokenize", dir_ + "/none", "--text", "a"}).exit_code, 2);
  EXPECT_EQ(RunRondo({"tokenize"}).exit_code, 2);
}

}  // namespace
}  // namespace rondo
