// The program as its users call it: exit codes, one-line errors, what is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/op_runner.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"
#include "tools/npy.h"

namespace rondo {
namespace {

constexpr int kFloatType = 1, kInt64Type = 7;

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// z = Concat(x, y) on the last axis.
std::string ConcatModel() {
  return TinyModel()
      .Input("x", kFloatType, {"batch", "2"})
      .Input("y", kFloatType, {"batch", "n"})
      .Node("Concat", {"x", "y"}, {"z"}, {{"axis", 1}})
      .Output("z", kFloatType, {"batch", "n + 2"})
      .Bytes();
}

class CliTest : public testing::Test {
 protected:
  void SetUp() override { WriteTestFile(Path("model.onnx"), ConcatModel()); }
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }

  // Expects exit code 2 and one line on standard error that begins with "rondo: " and has each part.
  void ExpectBadInput(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.err.rfind("rondo: ", 0), 0u) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const std::string& part : parts) EXPECT_TRUE(Contains(result.err, part)) << part << "\n" << result.err;
  }

  const std::string dir_ = NewTempDir();
};

TEST_F(CliTest, EveryCommandHasHelp) {
  EXPECT_TRUE(Contains(RunRondo({"--help"}).out, "inspect"));
  for (const char* command : {"run", "check", "conformance", "inspect", "ops", "tokenize"}) {
    const ProgramResult result = RunRondo({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(Contains(result.out, "--help")) << command;
  }
  EXPECT_TRUE(Contains(RunRondo({"--version"}).out, "rondo "));
}

TEST_F(CliTest, BadUsageIsCode2) {
  ExpectBadInput({}, {"subcommand"});
  ExpectBadInput({"fly"}, {});
  ExpectBadInput({"run"}, {"MODEL is missing"});
  ExpectBadInput({"run", Path("model.onnx"), "--nonsense"}, {"nonsense"});
  ExpectBadInput({"run", Path("model.onnx"), "--threads", "-1"}, {"--threads"});
  ExpectBadInput({"run", Path("model.onnx"), Path("model.onnx")}, {"unexpected argument"});
  ExpectBadInput({"check"}, {"DIR"});
}

TEST_F(CliTest, RunFillsInputsAndChoosesDims) {
  const ProgramResult result = RunRondo({"run", dir_, "--random", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Contains(result.out, "dims chosen: batch = 1, n = 8")) << result.out;
  EXPECT_TRUE(Contains(result.out, "[1, 10]")) << result.out;
  EXPECT_TRUE(Contains(result.out, "repeat runs: 0 misses, 0 created")) << result.out;
  EXPECT_TRUE(Contains(result.out, "primitive cache after the first run:")) << result.out;
  EXPECT_TRUE(Contains(result.out, "median of 3 more")) << result.out;
}

// y = x + table, where the table is made for one size of image.
std::string ImageModel(const std::string& size) {
  return TinyModel()
      .Input("x", kFloatType, {"batch", "num_channels", "height", "width"})
      .Input("table", kFloatType, {"1", "1", size, size})
      .Node("Add", {"x", "table"}, {"y"})
      .Output("y", kFloatType, {"batch", "num_channels", "height", "width"})
      .Bytes();
}

TEST_F(CliTest, RunTriesUsualSizesUntilTheModelsShapesFit) {
  WriteTestFile(Path("image.onnx"), ImageModel("32"));
  const ProgramResult result = RunRondo({"run", Path("image.onnx"), "--random", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Contains(result.out, "batch = 1, num_channels = 3, height = 32, width = 32")) << result.out;
}

TEST_F(CliTest, RunShowsTheShapeToGiveWhereNoUsualSizeFits) {
  WriteTestFile(Path("image.onnx"), ImageModel("33"));
  const std::string flag = "--shape x=1x3x224x224";
  ExpectBadInput({"run", Path("image.onnx"), "--random", "1"}, {flag, "(Add)", "224 against 33"});
  // What the caller says is not replaced.
  ExpectBadInput({"run", Path("image.onnx"), "--random", "1", "--shape", "height=32"}, {"(Add)", "32 against 33"});
  EXPECT_EQ(RunRondo({"run", Path("image.onnx"), "--random", "1", "--shape", "x=1x3x33x33"}).exit_code, 0);
}

TEST_F(CliTest, RunTakesNpyAndPbFilesAndWritesOutputs) {
  ASSERT_TRUE(WriteNpy(Path("x.npy"), FloatTensor({1, 2}, {1, 2})).ok());
  const std::vector<float> y = {3};
  WriteTestFile(Path("y.pb"),
                TensorProtoBytes("y", kFloatType, {1, 1}, std::string(reinterpret_cast<const char*>(y.data()), 4)));
  const ProgramResult result = RunRondo({"run", Path("model.onnx"), "--input", "x=" + Path("x.npy"), "--input",
                                         Path("y.pb"), "--output-dir", Path("out/deep"), "--repeat", "0"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Contains(result.out, "1, 2, 3")) << result.out;
  const absl::StatusOr<Tensor> z = ReadNpy(Path("out/deep/z.npy"));
  ASSERT_TRUE(z.ok()) << z.status();
  EXPECT_EQ(Floats(*z), (std::vector<float>{1, 2, 3}));
}

TEST_F(CliTest, RunTakesAListAfterInputAndShape) {
  ASSERT_TRUE(WriteNpy(Path("x.npy"), FloatTensor({1, 2}, {1, 2})).ok());
  ASSERT_TRUE(WriteNpy(Path("y.npy"), FloatTensor({1, 1}, {3})).ok());
  EXPECT_EQ(RunRondo({"run", dir_, "--input", "x=" + Path("x.npy"), "y=" + Path("y.npy")}).exit_code, 0);
  const ProgramResult shapes = RunRondo({"run", dir_, "--shape", "x=3x2", "y=3x5"});
  EXPECT_EQ(shapes.exit_code, 0) << shapes.err;
  EXPECT_TRUE(Contains(shapes.out, "[3, 7]")) << shapes.out;
}

TEST_F(CliTest, RunNamesWhatIsWrongWithTheInputs) {
  const std::string model = Path("model.onnx");
  ASSERT_TRUE(WriteNpy(Path("x.npy"), FloatTensor({1, 2}, {1, 2})).ok());
  ASSERT_TRUE(WriteNpy(Path("rank.npy"), FloatTensor({2}, {1, 2})).ok());
  ASSERT_TRUE(WriteNpy(Path("ints.npy"), Int64Tensor({1, 2}, {1, 2})).ok());
  ASSERT_TRUE(WriteNpy(Path("batch.npy"), FloatTensor({2, 1}, {1, 2})).ok());
  WriteTestFile(Path("junk.npy"), "junk");
  const std::string x = "x=" + Path("x.npy");
  ExpectBadInput({"run", model},
                 {"inputs \"x\" (float32[batch, 2]), \"y\" (float32[batch, n]): no value", "--random SEED"});
  ExpectBadInput({"run", model, "--input", x}, {"input \"y\"", "no value"});
  ExpectBadInput({"run", model, "--input", x, "--input", x}, {"given twice"});
  ExpectBadInput({"run", model, "--input", "q=" + Path("x.npy")}, {"no input of that name", "x, y"});
  ExpectBadInput({"run", model, "--input", "x=" + Path("none.npy")}, {"none.npy: cannot open"});
  ExpectBadInput({"run", model, "--input", "x=" + Path("junk.npy")}, {"junk.npy: not an npy file"});
  ExpectBadInput({"run", model, "--input", "x=" + model}, {"expected a file named *.npy or *.pb"});
  ExpectBadInput({"run", model, "--random", "1", "--input", "x=" + Path("ints.npy")},
                 {"input \"x\": expected float32", "got int64"});
  ExpectBadInput({"run", model, "--random", "1", "--input", "x=" + Path("rank.npy")},
                 {"input \"x\"", "expected rank 2", "got rank 1"});
  ExpectBadInput({"run", model, "--input", x, "--input", "y=" + Path("batch.npy")}, {"batch"});
  ExpectBadInput({"run", model, "--shape", "x=1x2"}, {"input \"y\""});
}

TEST_F(CliTest, RunReportsFilesThatAreNoModels) {
  WriteTestFile(Path("empty.onnx"), "");
  WriteTestFile(Path("text.onnx"), "hello");
  std::filesystem::create_directory(Path("nothing"));
  WriteTestFile(Path("two/a.onnx"), ConcatModel());
  WriteTestFile(Path("two/b.onnx"), ConcatModel());
  ExpectBadInput({"run", Path("missing.onnx")}, {"missing.onnx"});
  ExpectBadInput({"run", Path("empty.onnx")}, {"empty.onnx"});
  ExpectBadInput({"run", Path("text.onnx")}, {"text.onnx"});
  ExpectBadInput({"run", Path("nothing")}, {"expected one .onnx file"});
  ExpectBadInput({"run", Path("two")}, {"a.onnx, b.onnx"});
  ExpectBadInput({"run", "/dev/zero"}, {"/dev/zero"});
}

TEST_F(CliTest, NamesFromTheModelArePrintedEscaped) {
  const std::string evil = "\x1b]0;owned\x07\n";
  WriteTestFile(Path("evil.onnx"), TinyModel()
                                       .Input(evil, kFloatType, {"1"})
                                       .Node("Identity", {evil}, {"y"})
                                       .Output("y", kFloatType, {"1"})
                                       .Bytes());
  ExpectBadInput({"run", Path("evil.onnx")}, {"\\x1b]0;owned"});
  const ProgramResult result = RunRondo({"inspect", Path("evil.onnx")});
  EXPECT_FALSE(Contains(result.out, "\x1b")) << result.out;
}

TEST_F(CliTest, OutputNamesCannotLeaveTheFolder) {
  WriteTestFile(Path("slip.onnx"), TinyModel()
                                       .Input("x", kFloatType, {"1"})
                                       .Node("Identity", {"x"}, {"../../slipped"})
                                       .Output("../../slipped", kFloatType, {"1"})
                                       .Bytes());
  const ProgramResult result =
      RunRondo({"run", Path("slip.onnx"), "--random", "1", "--output-dir", Path("a/b/out"), "--repeat", "0"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("a"))) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(entry.path().parent_path(), Path("a/b/out"));
  }
  EXPECT_EQ(files, 1);
}

TEST_F(CliTest, ProfileIsAChromeTrace) {
  const ProgramResult result =
      RunRondo({"run", dir_, "--random", "1", "--repeat", "1", "--profile", Path("trace.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json trace = nlohmann::json::parse(ReadTestFile(Path("trace.json")));
  int concats = 0;
  for (const auto& event : trace["traceEvents"]) concats += event["name"] == "Concat";
  EXPECT_EQ(concats, 2);
  std::filesystem::create_symlink(Path("trace.json"), Path("link.json"));
  ExpectBadInput({"run", dir_, "--random", "1", "--profile", Path("link.json")}, {"symbolic link"});
}

TEST_F(CliTest, AFullStandardOutputIsAnError) {
  const ProgramResult result = RunProgram("/bin/sh", {"-c", RondoProgram() + " ops > /dev/full"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(Contains(result.err, "cannot write to standard output"));
}

class CheckTest : public CliTest {
 protected:
  static std::string Raw(const std::vector<float>& v) {
    return std::string(reinterpret_cast<const char*>(v.data()), v.size() * 4);
  }
  // A folder whose data set expects `z`.
  std::string Folder(const std::string& name, const std::vector<float>& z, int set = 0) {
    const std::string folder = Path(name), data = folder + "/test_data_set_" + std::to_string(set);
    WriteTestFile(folder + "/model.onnx", ConcatModel());
    WriteTestFile(data + "/input_0.pb", TensorProtoBytes("", kFloatType, {1, 2}, Raw({1, 2})));
    WriteTestFile(data + "/input_1.pb", TensorProtoBytes("", kFloatType, {1, 1}, Raw({3})));
    WriteTestFile(data + "/output_0.pb", TensorProtoBytes("", kFloatType, {1, static_cast<int64_t>(z.size())}, Raw(z)));
    return folder;
  }
};

TEST_F(CheckTest, GoodFoldersPass) {
  const ProgramResult result = RunRondo({"check", Folder("good", {1, 2, 3})});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_TRUE(Contains(result.out, "ok    good")) << result.out;
  EXPECT_TRUE(Contains(result.out, "1 passed, 0 failed")) << result.out;
  EXPECT_EQ(RunRondo({"check", "--plain", Folder("good", {1, 2, 3})}).exit_code, 0);
}

TEST_F(CheckTest, ADifferenceIsCode1AndNamesIndexAndValues) {
  const ProgramResult result = RunRondo({"check", Folder("good", {1, 2, 3}), Folder("off", {1, 2, 4}, 7)});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Contains(result.out, "FAIL  off ")) << result.out;
  EXPECT_TRUE(Contains(result.out, "data set 7: output \"z\" [0, 2]: got 3, expected 4")) << result.out;
  EXPECT_TRUE(Contains(result.out, "1 passed, 1 failed")) << result.out;
}

TEST_F(CheckTest, TolerancesComeFromFlagsOrCheckJson) {
  const std::string folder = Folder("near", {1, 2, 3.01f});
  EXPECT_EQ(RunRondo({"check", folder}).exit_code, 1);
  EXPECT_EQ(RunRondo({"check", folder, "--rtol", "0.01"}).exit_code, 0);
  EXPECT_EQ(RunRondo({"check", folder, "--atol", "0.1"}).exit_code, 0);
  WriteTestFile(folder + "/check.json", R"({"measure": "max_rel", "tol": 0.01})");
  EXPECT_EQ(RunRondo({"check", folder}).exit_code, 0);
  WriteTestFile(folder + "/check.json", R"({"measure": "max_rel", "tol": 0.0001, "or": "f32compute"})");
  EXPECT_EQ(RunRondo({"check", folder}).exit_code, 1);
  WriteTestFile(folder + "/test_data_set_0/f32compute_output_0.pb",
                TensorProtoBytes("", kFloatType, {1, 3}, Raw({1, 2, 3})));
  EXPECT_EQ(RunRondo({"check", folder}).exit_code, 0);
}

TEST_F(CheckTest, FilesAreMatchedByNameBeforeNumber) {
  const std::string folder = Folder("swapped", {1, 2, 3});
  const std::string data = folder + "/test_data_set_0";
  WriteTestFile(data + "/input_0.pb", TensorProtoBytes("y", kFloatType, {1, 1}, Raw({3})));
  WriteTestFile(data + "/input_1.pb", TensorProtoBytes("x", kFloatType, {1, 2}, Raw({1, 2})));
  EXPECT_EQ(RunRondo({"check", folder}).exit_code, 0);
}

TEST_F(CheckTest, AFolderOfFoldersIsCheckedWhole) {
  Folder("all/a", {1, 2, 3});
  Folder("all/b", {1, 2, 3});
  const ProgramResult result = RunRondo({"check", Path("all") + "/"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(Contains(result.out, "2 passed, 0 failed")) << result.out;
}

TEST_F(CheckTest, MissingAndBadFilesAreCode2) {
  ExpectBadInput({"check", Path("nowhere")}, {"no such folder"});
  std::filesystem::create_directory(Path("empty"));
  ExpectBadInput({"check", Path("empty")}, {"no model in this folder"});
  const auto message = [](const std::string& folder) {
    const ProgramResult result = RunRondo({"check", folder});
    EXPECT_EQ(result.exit_code, 2) << result.out;
    return result.out;
  };
  const std::string folder = Folder("f", {1, 2, 3}), data = folder + "/test_data_set_0";
  std::filesystem::remove(data + "/input_1.pb");
  EXPECT_TRUE(Contains(message(folder), "input_1.pb is missing (input \"y\")"));
  Folder("f", {1, 2, 3});
  std::filesystem::remove(data + "/output_0.pb");
  EXPECT_TRUE(Contains(message(folder), "output_0.pb is missing"));
  Folder("f", {1, 2, 3});
  WriteTestFile(data + "/input_2.pb", TensorProtoBytes("", kFloatType, {1}, Raw({3})));
  EXPECT_TRUE(Contains(message(folder), "the model has only 2 inputs"));
  std::filesystem::remove(data + "/input_2.pb");
  WriteTestFile(data + "/output_0.pb", "junk");
  EXPECT_TRUE(Contains(message(folder), "output_0.pb"));
  Folder("f", {1, 2, 3});
  WriteTestFile(folder + "/check.json", "{");
  EXPECT_TRUE(Contains(message(folder), "check.json"));
  std::filesystem::remove(folder + "/check.json");
  std::filesystem::remove_all(data);
  EXPECT_TRUE(Contains(message(folder), "no test_data_set_*"));
}

class InspectTest : public CliTest {};

TEST_F(InspectTest, TellsInputsOperatorsAndOpset) {
  const ProgramResult result = RunRondo({"inspect", dir_});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* part : {"tiny_model", "ai.onnx 18", "float32[batch, 2]", "float32[batch, n + 2]", "Concat",
                           "unsupported operators: none"}) {
    EXPECT_TRUE(Contains(result.out, part)) << part << "\n" << result.out;
  }
}

TEST_F(InspectTest, JsonHoldsTheSame) {
  const ProgramResult result = RunRondo({"inspect", dir_, "--json", "--shape", "n=6"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["inputs"][1]["dims"], (nlohmann::json::array({"batch", "n"})));
  EXPECT_EQ(json["opsets"]["ai.onnx"], 18);
  EXPECT_EQ(json["operators"][0]["operator"], "Concat");
  EXPECT_EQ(json["plan"]["dims"]["y"], (nlohmann::json::array({1, 6})));
  EXPECT_EQ(json["plan"]["steps"], 1);
}

TEST_F(InspectTest, UnsupportedOperatorsAreAllNamed) {
  WriteTestFile(Path("strange.onnx"), TinyModel()
                                          .Input("x", kFloatType, {"1"})
                                          .Node("Foo", {"x"}, {"a"}, {}, "com.x")
                                          .Node("Foo", {"a"}, {"b"}, {}, "com.x")
                                          .Node("Bar", {"b"}, {"y"})
                                          .Output("y", kFloatType, {"1"})
                                          .Bytes());
  const ProgramResult result = RunRondo({"inspect", Path("strange.onnx")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Contains(result.out, "unsupported operators: 2")) << result.out;
  EXPECT_TRUE(Contains(result.out, "com.x::Foo (opset 1): 2 nodes")) << result.out;
  ExpectBadInput({"run", Path("strange.onnx"), "--random", "1"}, {"Bar", "com.x::Foo"});
}

TEST_F(InspectTest, DotIsAGraph) {
  ASSERT_EQ(RunRondo({"inspect", dir_, "--dot", Path("g.dot")}).exit_code, 0);
  const std::string dot = ReadTestFile(Path("g.dot"));
  EXPECT_EQ(dot.rfind("digraph", 0), 0u);
  EXPECT_TRUE(Contains(dot, "Concat"));
  EXPECT_TRUE(Contains(dot, "float32[batch, 2]"));
}

TEST_F(InspectTest, RewritesAreListed) {
  const ProgramResult result = RunRondo({"inspect", dir_, "--rewrites"});
  EXPECT_TRUE(Contains(result.out, "fold_constants")) << result.out;
  EXPECT_TRUE(Contains(result.out, "found nothing to do")) << result.out;
  const ProgramResult off = RunRondo({"inspect", dir_, "--rewrites", "--disable-rewrite", "fold_constants"});
  EXPECT_TRUE(Contains(off.out, "switched off")) << off.out;
  ExpectBadInput({"inspect", dir_, "--disable-rewrite", "magic"}, {"magic"});
}

TEST(OpsCommandTest, ListsOperatorsAndFilters) {
  const ProgramResult all = RunRondo({"ops"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_TRUE(Contains(all.out, "Concat"));
  const ProgramResult some = RunRondo({"ops", "concat", "--json"});
  const nlohmann::json json = nlohmann::json::parse(some.out);
  bool found = false;
  for (const auto& op : json) found |= op["type"] == "Concat" && op["domain"] == "ai.onnx" && !op["since"].empty();
  EXPECT_TRUE(found) << some.out;
}

// Every model of the shared collection, as recorded there.
void CheckSharedModels(bool plain) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  std::vector<std::string> arguments = {"check", SharedDir() + "/models"};
  if (plain) arguments.push_back("--plain");
  const ProgramResult result = RunRondo(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}
TEST(SlowSharedModelsTest, AllPassOptimised) { CheckSharedModels(/*plain=*/false); }
TEST(SlowSharedModelsTest, AllPassPlain) { CheckSharedModels(/*plain=*/true); }

// The model that lies in the repository.
TEST(ArcMiniTest, MatchesPyTorchBothWays) {
  const std::string model = SourceDir() + "/tests/data/models/arc-mini";
  const ProgramResult optimised = RunRondo({"check", model});
  EXPECT_EQ(optimised.exit_code, 0) << optimised.out;
  const ProgramResult plain = RunRondo({"check", model, "--plain"});
  EXPECT_EQ(plain.exit_code, 0) << plain.out;
}

TEST(ArcMiniTest, ARepeatCreatesNothing) {
  const ProgramResult result = RunRondo({"run", SourceDir() + "/tests/data/models/arc-mini", "--random", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Contains(result.out, "repeat runs: 0 misses, 0 created")) << result.out;
}

}  // namespace
}  // namespace rondo
