// rondo generate, as a user runs it.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int64_t>;
namespace fs = std::filesystem;

std::string Model() { return SourceDir() + "/tests/data/models/arc-mini"; }

Json Generate(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "generate");
  arguments.push_back("--json");
  const ProgramResult result = RunRondo(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return Json::parse(result.out, nullptr, false);
}
std::string Error(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "generate");
  const ProgramResult result = RunRondo(arguments);
  EXPECT_EQ(result.exit_code, 2) << result.out;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  return result.err;
}
std::string Join(const Ids& ids) {
  std::string text;
  for (const int64_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return text;
}

TEST(GenerateTest, PuzzlesAreAnsweredAsPyTorchDid) {
  const Json reference = Json::parse(ReadTestFile(Model() + "/generation.json"));
  std::vector<std::string> arguments = {Model(), "--max-new-tokens", "20"};
  for (const Json& prompt : reference["prompts"]) {
    arguments.push_back("--prompt-ids");
    arguments.push_back(Join(prompt.get<Ids>()));
  }
  const Json json = Generate(arguments);
  ASSERT_EQ(json["sequences"].size(), reference["prompts"].size());
  for (size_t i = 0; i < json["sequences"].size(); ++i) {
    const Json& sequence = json["sequences"][i];
    EXPECT_EQ(sequence["ids"].get<Ids>(), reference["greedy"][i].get<Ids>()) << "prompt " << i;
    EXPECT_EQ(sequence["prompt_ids"].get<Ids>(), reference["prompts"][i].get<Ids>());
    EXPECT_EQ(sequence["finish"], "stop");
  }
  EXPECT_EQ(json["primitive_cache"]["misses_after_warmup"], 0);
  EXPECT_TRUE(json["kv_cache"]["in_place"].get<bool>());
  EXPECT_EQ(json["timings"]["allocations_after_warmup"], 0);
}

TEST(GenerateTest, TextStreamsAndEndsWithALine) {
  const ProgramResult result = RunRondo({"generate", Model(), "--prompt-file", SourceDir() + "/examples/puzzle.txt"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "543\n800\n092\n\n");
  EXPECT_EQ(result.err, "");
}

TEST(GenerateTest, AStopStringEndsTheTextEvenWhereItSpansTokens) {
  const Json json = Generate({Model(), "--prompt-file", SourceDir() + "/examples/puzzle.txt", "--stop", "00\n09"});
  EXPECT_EQ(json["sequences"][0]["text"], "543\n8");
  EXPECT_EQ(json["sequences"][0]["finish"], "stop");
}

TEST(GenerateTest, ABatchFileMixesForms) {
  const std::string path = NewTempDir() + "/batch.jsonl";
  WriteTestFile(path, "{\"prompt\": \"I\\n7\"}\n\n{\"prompt_ids\": [76, 13]}\n");
  const Json json = Generate({Model(), "--batch", path, "--max-new-tokens", "3", "--ignore-eos"});
  ASSERT_EQ(json["sequences"].size(), 2u);
  EXPECT_EQ(json["sequences"][1]["prompt_ids"].get<Ids>(), (Ids{76, 13}));
  EXPECT_EQ(json["sequences"][0]["ids"].size(), 3u);
}

TEST(GenerateTest, ASeedGivesTheSameTextAndContinuationsDiffer) {
  const std::vector<std::string> arguments = {Model(), "--prompt",     "I", "--temperature",    "1.5", "--seed",
                                              "5",     "--num-return", "3", "--max-new-tokens", "12",  "--ignore-eos"};
  const Json first = Generate(arguments), second = Generate(arguments);
  EXPECT_EQ(first["sequences"], second["sequences"]);
  ASSERT_EQ(first["sequences"].size(), 3u);
  EXPECT_NE(first["sequences"][0]["ids"], first["sequences"][1]["ids"]);
}

TEST(GenerateTest, BareFilesTakeIds) {
  const Json json = Generate({Model() + "/model.onnx", "--prompt-ids", "76,13", "--max-new-tokens", "2"});
  EXPECT_EQ(json["sequences"][0]["ids"].size(), 2u);
  EXPECT_EQ(json["sequences"][0]["text"], "");
}

TEST(GenerateTest, GrowingPlainAndInPlaceAgree) {
  const std::vector<std::string> arguments = {Model(), "--prompt-ids", "76,13,60,52", "--max-new-tokens",
                                              "6",     "--ignore-eos"};
  const Json in_place = Generate(arguments);
  for (const char* flag : {"--growing", "--plain"}) {
    std::vector<std::string> other = arguments;
    other.push_back(flag);
    const Json json = Generate(other);
    EXPECT_EQ(json["sequences"], in_place["sequences"]) << flag;
    EXPECT_FALSE(json["kv_cache"]["in_place"].get<bool>()) << flag;
  }
}

TEST(GenerateTest, BadInputIsOneLineThatSaysWhatToDo) {
  EXPECT_EQ(Error({"/nowhere", "--prompt", "x"}), "rondo: /nowhere: no such file or folder\n");
  EXPECT_EQ(Error({Model()}),
            "rondo: no prompt: give --prompt, --prompt-file, --prompt-ids, --chat or --batch (see --help)\n");
  EXPECT_EQ(Error({Model(), "--prompt", ""}), "rondo: --prompt: the prompt is empty\n");
  EXPECT_EQ(Error({Model(), "--prompt-ids", "1,x"}),
            "rondo: --prompt-ids: expected numbers such as 1,2,3, got \"x\"\n");
  EXPECT_EQ(Error({Model(), "--prompt-ids", "1,400"}), "rondo: prompt 0: token 1 is 400, out of range [0, 319]\n");
  EXPECT_EQ(Error({Model(), "--prompt", "x", "--kv-dtype", "f4"}),
            "rondo: --kv-dtype: expected f32, f16, bf16 or int8, got \"f4\"\n");
  EXPECT_EQ(Error({Model(), "--prompt", "x", "--top-p", "0"}), "rondo: top-p is 0: expected a number in (0, 1]\n");
  EXPECT_EQ(Error({Model(), "--prompt", "a long prompt", "--max-length", "4"}),
            "rondo: prompt 0: 13 tokens, the maximal length is 4 positions\n");
  EXPECT_EQ(Error({Model() + "/model.onnx", "--prompt", "x"}),
            "rondo: prompt 0: " + Model() +
                "/model.onnx has no tokenizer.json: give the prompt as token ids "
                "(--prompt-ids)\n");
}

TEST(GenerateTest, BrokenConfigurationsNameTheFieldAndTheContradiction) {
  const auto copy = [](const std::string& name, const std::string& content) {
    const std::string dir = NewTempDir();
    for (const auto& entry : fs::directory_iterator(Model())) {
      if (entry.is_regular_file()) fs::copy(entry.path(), fs::path(dir) / entry.path().filename());
    }
    WriteTestFile(dir + "/" + name, content);
    return dir;
  };
  std::string dir = copy("config.json", "{\"vocab_size\": 100000}");
  EXPECT_EQ(
      Error({dir, "--prompt", "x"}),
      "rondo: " + dir + ": the configuration says vocab_size 100000, the graph of " + dir + "/model.onnx has 320\n");
  dir = copy("config.json", "{\"num_hidden_layers\": \"four\"}");
  EXPECT_EQ(Error({dir, "--prompt", "x"}),
            "rondo: " + dir + ": config.json: num_hidden_layers: expected an integer of at least 1, got a string\n");
  dir = copy("generation_config.json", "{\"eos_token_id\": [1, \"x\"]}");
  EXPECT_EQ(Error({dir, "--prompt", "x"}),
            "rondo: " + dir + ": generation_config.json: eos_token_id: expected integers, got a string\n");
  dir = copy("tokenizer.json", "{");
  EXPECT_NE(Error({dir, "--prompt", "x"}).find("tokenizer.json"), std::string::npos);
}

// ---- encoder and decoder ----

std::string MakeFolder(const std::vector<std::pair<std::string, std::string>>& files, const std::string& config_of) {
  const std::string models = SharedDir() + "/models/", dir = NewTempDir();
  for (const auto& [from, to] : files) fs::copy(models + from + "/model.onnx", dir + "/" + to);
  for (const char* name : {"config.json", "generation_config.json"}) {
    fs::copy(models + config_of + "/" + name, dir + "/" + name);
  }
  return dir;
}

TEST(GenerateTest, T5WithAMergedDecoderGivesTheReferenceTokens) {
  RONDO_SKIP_WITHOUT_SHARED("models/optimum_t5_encoder");
  const std::string dir = MakeFolder(
      {{"optimum_t5_encoder", "encoder_model.onnx"}, {"optimum_t5_decoder_merged", "decoder_model_merged.onnx"}},
      "optimum_t5_decoder_merged");
  const Json reference = Json::parse(ReadTestFile(SharedDir() + "/models/optimum_t5_encoder/generation.json"));
  for (const Json& test : reference["cases"]) {
    const Ids prompt = test["encoder_inputs"]["input_ids"]["data"].get<Ids>();
    const Json json = Generate({dir, "--prompt-ids", Join(prompt), "--max-new-tokens", "24", "--ignore-eos"});
    EXPECT_EQ(json["sequences"][0]["ids"], test["greedy"]);
    EXPECT_TRUE(json["kv_cache"]["in_place"].get<bool>());
  }
}

void WriteFloatNpy(const std::string& path, const std::vector<float>& values, const std::string& shape) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  WriteTestFile(path, bytes);
}

TEST(GenerateTest, WhisperTakesItsFeaturesFromAFile) {
  RONDO_SKIP_WITHOUT_SHARED("models/optimum_whisper_encoder");
  const std::string dir = MakeFolder({{"optimum_whisper_encoder", "encoder_model.onnx"},
                                      {"optimum_whisper_decoder", "decoder_model.onnx"},
                                      {"optimum_whisper_decoder_with_past", "decoder_with_past_model.onnx"}},
                                     "optimum_whisper_encoder");
  const Json reference = Json::parse(ReadTestFile(SharedDir() + "/models/optimum_whisper_encoder/generation.json"));
  for (const Json& test : reference["cases"]) {
    const Json& features = test["encoder_inputs"]["input_features"];
    WriteFloatNpy(dir + "/features.npy", features["data"].get<std::vector<float>>(),
                  Join(features["shape"].get<Ids>()));
    const Json json = Generate(
        {dir, "--encoder-input", "input_features=" + dir + "/features.npy", "--max-new-tokens", "24", "--ignore-eos"});
    EXPECT_EQ(json["sequences"][0]["ids"], test["greedy"]);
  }
  EXPECT_NE(Error({dir, "--prompt-ids", "1,2"}).find("encoder: "), std::string::npos);
}

TEST(InspectKvTest, EveryLayerIsToldWithItsForm) {
  const ProgramResult result = RunRondo({"inspect", "--kv", "--json", Model()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["level"], 1);
  ASSERT_EQ(json["layers"].size(), 4u);
  EXPECT_EQ(json["layers"][0]["form"], "Concat");
  EXPECT_EQ(json["layers"][0]["layout"], "BNSH");
  EXPECT_EQ(json["layers"][0]["axis"], 2);
  EXPECT_EQ(json["layers"][0]["mask"], "causal");
  EXPECT_EQ(json["layers"][3]["value_input"], "past_key_values.3.value");
}

// ---- captures ----

struct Safetensors {
  Json header;
  std::string data;
};

Safetensors ReadSafetensors(const std::string& path) {
  const std::string bytes = ReadTestFile(path);
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return {};
  std::memcpy(&length, bytes.data(), sizeof(length));
  EXPECT_EQ(length % 8, 0u);
  return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
}

TEST(GenerateCaptureTest, AFileForEachSequenceHasARowForEachToken) {
  const std::string folder = NewTempDir() + "/a/captures";
  const Json json =
      Generate({Model(), "--prompt-ids", "76,13,60", "--prompt-ids", "76,13", "--max-new-tokens", "4", "--ignore-eos",
                "--capture", folder, "--capture-layers", "3,0", "--capture-value", "/model/norm/Mul_1_output_0"});
  for (int i = 0; i < 2; ++i) {
    const Safetensors file = ReadSafetensors(folder + "/prompt-" + std::to_string(i) + ".safetensors");
    ASSERT_TRUE(file.header.is_object());
    Ids ids = json["sequences"][i]["prompt_ids"].get<Ids>();
    EXPECT_EQ(file.header["__metadata__"]["prompt_tokens"], std::to_string(ids.size()));
    for (const int64_t id : json["sequences"][i]["ids"].get<Ids>()) ids.push_back(id);
    ids.pop_back();  // the last one is not run
    const Json& stored = file.header["input_ids"];
    EXPECT_EQ(stored["shape"], Json({ids.size()}));
    EXPECT_EQ(std::memcmp(file.data.data() + stored["data_offsets"][0].get<size_t>(), ids.data(), 8 * ids.size()), 0);
    EXPECT_EQ(file.header.size(), 5u);
    for (const char* name : {"layers.0", "layers.3", "/model/norm/Mul_1_output_0"}) {
      EXPECT_EQ(file.header[name]["shape"], Json({ids.size(), 128})) << name;
      EXPECT_EQ(file.header[name]["dtype"], "F32");
    }
    EXPECT_LE(file.header["layers.3"]["data_offsets"][1].get<size_t>(), file.data.size());
  }
}

TEST(GenerateCaptureTest, ContinuationsHaveFilesOfTheirOwn) {
  const std::string folder = NewTempDir();
  Generate({Model(), "--prompt-ids", "76,13,60", "--max-new-tokens", "3", "--num-return", "2", "--temperature", "1",
            "--capture", folder});
  for (const char* name : {"/prompt-0-0.safetensors", "/prompt-0-1.safetensors"}) {
    EXPECT_EQ(ReadSafetensors(folder + name).header.size(), 6u) << "input_ids, four layers, metadata";
  }
}

TEST(GenerateCaptureTest, WhatDoesNotGoTogetherIsAnErrorOfOneLine) {
  const std::string folder = NewTempDir();
  const auto error = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {Model(), "--prompt-ids", "76,13"});
    return Error(more);
  };
  EXPECT_EQ(error({"--capture-layers", "all"}),
            "rondo: --capture-layers: expected --capture with the folder for the files\n");
  EXPECT_EQ(error({"--capture", folder, "--capture-layers", "1,x"}),
            "rondo: --capture-layers: expected all or numbers such as 0,3,11, got \"1,x\"\n");
  EXPECT_EQ(error({"--capture", folder, "--capture-layers", "4"}),
            "rondo: " + Model() + "/model.onnx: capture of layer 4: the model has layers 0 to 3\n");
  EXPECT_EQ(error({"--capture", folder, "--num-beams", "2"}), "rondo: captures do not go with beam search\n");
  WriteTestFile(folder + "/file", "");
  EXPECT_NE(error({"--capture", folder + "/file"}).find("/file"), std::string::npos);
  fs::create_directory(folder + "/prompt-0.safetensors");
  EXPECT_NE(error({"--capture", folder}).find("cannot rename a file to"), std::string::npos);
}

// ---- weights in fewer bits ----

TEST(GenerateWeightsTest, FewerBitsStayInPlaceAndOneFormIsNotTakenForAnother) {
  const std::string cache = NewTempDir() + "/cache";
  const std::vector<std::string> common = {Model(),          "--prompt-file", SourceDir() + "/examples/puzzle.txt",
                                           "--fail-on-miss", "--cache-dir",   cache,
                                           "--weights"};
  const auto run = [&](const char* weights) {
    std::vector<std::string> arguments = common;
    arguments.push_back(weights);
    const Json json = Generate(arguments);
    EXPECT_TRUE(json["kv_cache"]["in_place"].get<bool>());
    EXPECT_EQ(json["primitive_cache"]["misses_after_warmup"], 0);
    EXPECT_EQ(json["timings"]["allocations_after_warmup"], 0);
    EXPECT_EQ(json["sequences"][0]["text"], "543\n800\n092\n") << weights;
    return json["cache_directory"];
  };
  for (const char* weights : {"exported", "int8", "int4"}) {
    SCOPED_TRACE(weights);
    const Json first = run(weights);
    EXPECT_EQ(first["weights_found"], 0);
    const Json second = run(weights);
    EXPECT_EQ(second["weights_packed"], 0);
    EXPECT_EQ(second["weights_found"], first["weights_packed"]);
    EXPECT_EQ(second["entry"], first["entry"]);
  }
  const Json entries = Json::parse(RunRondo({"cache", "ls", cache, "--json"}).out);
  std::set<std::string> forms;
  for (const Json& entry : entries) forms.insert(entry["weights_as"]);
  EXPECT_EQ(forms, (std::set<std::string>{"", "int4", "int8"}));
  EXPECT_NE(Error({Model(), "--prompt-ids", "1", "--weights", "int5"}).find("int5"), std::string::npos);
}

}  // namespace
}  // namespace rondo
