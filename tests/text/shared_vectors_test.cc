// The tokenizers and chats recorded from Hugging Face's libraries, in the shared folder: every one must come out equal.
#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/paths.h"
#include "text/chat_template.h"
#include "text/json.h"
#include "text/tokenizer.h"

namespace rondo::text {
namespace {

std::vector<int64_t> Ids(const Json* json) {
  std::vector<int64_t> ids;
  for (const Json& id : *json->array()) ids.push_back(*id.integer());
  return ids;
}

std::vector<std::string> Strings(const Json* json) {
  std::vector<std::string> strings;
  for (const Json& text : *json->array()) strings.push_back(*text.string());
  return strings;
}

std::string StreamAll(const std::shared_ptr<const Tokenizer>& tokenizer, const std::vector<int64_t>& ids,
                      DecodeOptions options) {
  StreamDecoder stream(tokenizer, options);
  std::string text;
  for (const int64_t id : ids) {
    const absl::StatusOr<std::string> piece = stream.Push(id);
    EXPECT_TRUE(piece.ok()) << piece.status();
    text += *piece;
  }
  return text + *stream.Finish();
}

class SharedTokenizerTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    RONDO_SKIP_WITHOUT_SHARED("tokenizers");
    folder_ = SharedDir() + "/tokenizers/" + GetParam();
    auto tokenizer = Tokenizer::Load(folder_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *tokenizer;
    auto vectors = ReadJsonFile(folder_ + "/vectors.json");
    ASSERT_TRUE(vectors.ok()) << vectors.status();
    vectors_ = *std::move(vectors);
  }
  const Json::Array& List(const char* name) { return *vectors_.Find(name)->array(); }
  void ExpectDecodes(const std::vector<int64_t>& ids, bool skip_special, const std::string& text) {
    DecodeOptions options;
    options.skip_special_tokens = skip_special;
    const auto decoded = tokenizer_->Decode(ids, options);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, text);
    EXPECT_EQ(StreamAll(tokenizer_, ids, options), text);
  }

  std::string folder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Json vectors_;
};

TEST_P(SharedTokenizerTest, HasAllTokens) {
  EXPECT_EQ(tokenizer_->vocab_size(), *vectors_.Find("vocab_size")->integer());
}

TEST_P(SharedTokenizerTest, EncodesAndDecodesTexts) {
  ASSERT_FALSE(List("vectors").empty());
  for (const Json& vector : List("vectors")) {
    const std::string& text = *vector.Find("text")->string();
    SCOPED_TRACE(text);
    const auto encoding = tokenizer_->Encode(text);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(encoding->ids, Ids(vector.Find("ids")));
    EXPECT_EQ(encoding->tokens, Strings(vector.Find("tokens")));
    const auto bare = tokenizer_->Encode(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(bare.ok()) << bare.status();
    EXPECT_EQ(bare->ids, Ids(vector.Find("ids_no_special")));
    ExpectDecodes(encoding->ids, true, *vector.Find("decode")->string());
    ExpectDecodes(encoding->ids, false, *vector.Find("decode_with_special")->string());
    ExpectDecodes(bare->ids, false, *vector.Find("decode_no_special")->string());
  }
}

TEST_P(SharedTokenizerTest, DecodesRandomIds) {
  ASSERT_FALSE(List("random_decode").empty());
  for (const Json& vector : List("random_decode")) {
    ExpectDecodes(Ids(vector.Find("ids")), true, *vector.Find("decode")->string());
    ExpectDecodes(Ids(vector.Find("ids")), false, *vector.Find("decode_with_special")->string());
  }
}

TEST_P(SharedTokenizerTest, EncodesPairs) {
  ASSERT_FALSE(List("pairs").empty());
  for (const Json& vector : List("pairs")) {
    const auto encoding = tokenizer_->EncodePair(*vector.Find("a")->string(), *vector.Find("b")->string());
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(encoding->ids, Ids(vector.Find("ids")));
    EXPECT_EQ(encoding->type_ids, Ids(vector.Find("type_ids")));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SharedTokenizerTest,
                         testing::Values("bytebpe_gpt2", "bytebpe_llama3", "bytebpe_qwen2", "spbpe_llama2",
                                         "unigram_xlmr", "wordpiece_bert"),
                         [](const auto& info) { return std::string(info.param); });

class SharedChatTest : public testing::TestWithParam<const char*> {};

TEST_P(SharedChatTest, RendersAndEncodesChats) {
  RONDO_SKIP_WITHOUT_SHARED("tokenizers");
  const std::string folder = SharedDir() + "/tokenizers/" + GetParam();
  const auto tokenizer = Tokenizer::Load(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto vectors = ReadJsonFile(folder + "/chat.json");
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  ASSERT_FALSE(vectors->Find("chats")->array()->empty());
  for (const Json& chat : *vectors->Find("chats")->array()) {
    ChatRequest request;
    request.messages = *chat.Find("messages");
    request.add_generation_prompt = *chat.Find("add_generation_prompt")->boolean();
    const auto text = ApplyChatTemplate(**tokenizer, request);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, *chat.Find("text")->string());
    EXPECT_EQ((*tokenizer)->Encode(*text, /*add_special_tokens=*/false)->ids, Ids(chat.Find("ids")));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SharedChatTest, testing::Values("bytebpe_llama3", "bytebpe_qwen2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SharedModelsTest, TokenizersOfAllModelFoldersLoadAndRoundTrip) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  const std::string root = SharedDir() + "/models";
  DIR* dir = opendir(root.c_str());
  ASSERT_NE(dir, nullptr);
  int count = 0;
  while (const dirent* entry = readdir(dir)) {
    const std::string folder = root + "/" + entry->d_name;
    if (!ReadTextFile(folder + "/tokenizer.json").ok()) continue;
    ++count;
    const auto tokenizer = Tokenizer::Load(folder);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const std::string text = "Grids 012\n345 \xe2\x86\x92 \xf0\x9f\x99\x82 done";
    const auto encoding = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(*(*tokenizer)->Decode(encoding->ids), text) << folder;
  }
  closedir(dir);
  EXPECT_GE(count, 1);
}

}  // namespace
}  // namespace rondo::text
