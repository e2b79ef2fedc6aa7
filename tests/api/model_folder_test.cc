#include "api/model_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

// A folder with these files; graphs are empty, only their names are looked at.
std::string Folder(const std::vector<std::pair<std::string, std::string>>& files) {
  const std::string dir = NewTempDir();
  for (const auto& [name, content] : files) {
    std::filesystem::create_directories(std::filesystem::path(dir + "/" + name).parent_path());
    WriteTestFile(dir + "/" + name, content);
  }
  return dir;
}
ModelFolder Read(const std::string& dir, const std::string& file = "") {
  auto folder = ReadModelFolder(dir, file);
  EXPECT_TRUE(folder.ok()) << folder.status();
  return folder.ok() ? *folder : ModelFolder();
}
std::string Error(const std::string& dir, const std::string& file = "") {
  return std::string(ReadModelFolder(dir, file).status().message());
}

TEST(ModelFolderTest, OptimumsFolder) {
  const std::string dir = Folder({{"model.onnx", "x"},
                                  {"config.json", R"({"vocab_size": 10, "num_hidden_layers": 2, "eos_token_id": 1,
                                    "max_position_embeddings": 99, "num_key_value_heads": 3, "sliding_window": null})"},
                                  {"generation_config.json", R"({"eos_token_id": [7, 8]})"},
                                  {"tokenizer.json", "{}"}});
  const ModelFolder folder = Read(dir);
  EXPECT_EQ(folder.decoder, dir + "/model.onnx");
  EXPECT_EQ(folder.encoder, "");
  EXPECT_TRUE(folder.has_tokenizer);
  EXPECT_EQ(folder.eos_tokens, (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(folder.context_length, 99);
  EXPECT_EQ(folder.vocabulary, 10);
  EXPECT_EQ(folder.layers, 2);
  EXPECT_EQ(folder.kv_heads, 3);
  EXPECT_EQ(folder.sliding_window, 0);
}

TEST(ModelFolderTest, GenaisFolderNamesItsGraph) {
  const std::string dir = Folder({{"decoder.onnx", "x"},
                                  {"embedding.onnx", "x"},
                                  {"genai_config.json", R"({"model": {"eos_token_id": 2, "context_length": 50,
                                    "vocab_size": 9, "decoder": {"filename": "decoder.onnx", "num_hidden_layers": 4}}})"}});
  const ModelFolder folder = Read(dir);
  EXPECT_EQ(folder.decoder, dir + "/decoder.onnx");
  EXPECT_EQ(folder.eos_tokens, std::vector<int64_t>{2});
  EXPECT_EQ(folder.context_length, 50);
  EXPECT_EQ(folder.layers, 4);
}

TEST(ModelFolderTest, TransformersJsKeepsGraphsInAFolderOfTheirOwn) {
  const std::string dir = Folder({{"onnx/model.onnx", "x"}, {"onnx/model_q4.onnx", "x"}, {"config.json", "{}"}});
  EXPECT_EQ(Read(dir).decoder, dir + "/onnx/model.onnx");
  EXPECT_EQ(Read(dir, "model_q4.onnx").decoder, dir + "/onnx/model_q4.onnx");
}

TEST(ModelFolderTest, AnEncoderWithItsDecoders) {
  const std::string merged = Folder({{"encoder_model.onnx", "x"}, {"decoder_model_merged.onnx", "x"}});
  EXPECT_EQ(Read(merged).encoder, merged + "/encoder_model.onnx");
  EXPECT_EQ(Read(merged).decoder, merged + "/decoder_model_merged.onnx");
  EXPECT_EQ(Read(merged).first_decoder, merged + "/decoder_model_merged.onnx");
  const std::string split =
      Folder({{"encoder_model.onnx", "x"}, {"decoder_model.onnx", "x"}, {"decoder_with_past_model.onnx", "x"}});
  EXPECT_EQ(Read(split).decoder, split + "/decoder_with_past_model.onnx");
  EXPECT_EQ(Read(split).first_decoder, split + "/decoder_model.onnx");
}

TEST(ModelFolderTest, ErrorsNameFileAndField) {
  EXPECT_NE(Error(Folder({{"a.onnx", "x"}, {"b.onnx", "x"}})).find("found a.onnx, b.onnx"), std::string::npos);
  EXPECT_NE(Error(Folder({{"readme", "x"}})).find("found none"), std::string::npos);
  EXPECT_NE(
      Error(Folder({{"model.onnx", "x"}}), "other.onnx").find("there is no \"other.onnx\"; there are: model.onnx"),
      std::string::npos);
  const auto config = [](const char* text) { return Error(Folder({{"model.onnx", "x"}, {"config.json", text}})); };
  EXPECT_NE(config("[]").find("config.json: expected an object, got an array"), std::string::npos);
  EXPECT_NE(config("{\"vocab_size\": -3}").find("vocab_size: expected an integer of at least 1, got -3"),
            std::string::npos);
  EXPECT_NE(config("{\"eos_token_id\": {}}").find("eos_token_id: expected an integer or a list of them"),
            std::string::npos);
  EXPECT_NE(Error(Folder({{"model.onnx", "x"},
                          {"genai_config.json", R"({"model": {"decoder": {"filename": "../x.onnx"}}})"}}))
                .find("filename: expected the name of a file in this folder"),
            std::string::npos);
  EXPECT_NE(
      Error(Folder({{"model.onnx", "x"}, {"genai_config.json", "{\"model\": 1}"}})).find("model: expected an object"),
      std::string::npos);
}

}  // namespace
}  // namespace rondo
