// rondo conformance: isolation, reports, lists, the program as its users call it; and the whole of the official tests.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"
#include "tools/conformance_report.h"
#include "tools/isolate.h"
#include "tools/operator_table.h"

namespace rondo {
namespace {

bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(IsolateTest, EachEndIsAResult) {
  std::map<size_t, IsolatedResult> results;
  auto work = [](size_t i) -> std::string {
    if (i == 1) std::raise(SIGKILL);
    if (i == 2) pause();
    if (i == 3) {
      if (write(STDERR_FILENO, "first\nlast words\n", 17) < 0) return "";
      _exit(3);
    }
    if (i == 4) throw std::runtime_error("thrown");
    return "report " + std::to_string(i);
  };
  RunIsolated(6, 3, 0.5, work, [&](size_t i, const IsolatedResult& result) { results[i] = result; });
  ASSERT_EQ(results.size(), 6u);
  EXPECT_EQ(results[0].report, "report 0");
  EXPECT_EQ(results[5].report, "report 5");
  EXPECT_TRUE(Contains(IsolationText(results[1], 0.5), "signal 9 (Killed)")) << IsolationText(results[1], 0.5);
  EXPECT_EQ(IsolationText(results[2], 0.5), "no end within the limit of 0.5 s");
  EXPECT_EQ(IsolationText(results[3], 0.5), "the process ended with code 3: last words");
  EXPECT_TRUE(Contains(IsolationText(results[4], 0.5), "thrown"));
}

TEST(IsolateTest, LargeReportsArriveWhole) {
  std::string got;
  RunIsolated(
      1, 1, 60, [](size_t) { return std::string(3 << 20, 'x'); },
      [&](size_t, const IsolatedResult& result) { got = result.report; });
  EXPECT_EQ(got, std::string(3 << 20, 'x'));
}

std::vector<ConformanceResult> SomeResults() {
  return {{"test_a", "node", {{"Add", 14}}, TestStatus::kPassed, "", 0.1},
          {"test_b", "node", {{"Add", 14}, {"Mul", 7}}, TestStatus::kFailed, "got <3> & \"4\"\x01", 0.2},
          {"test_c", "simple", {{"x::Foo", 1}}, TestStatus::kUnsupported, "unsupported operators", 0}};
}

TEST(ConformanceReportTest, TextHasOperatorsByVersionAndSets) {
  const std::string text = ConformanceText(SomeResults());
  EXPECT_TRUE(Contains(text, "Add            14       1       1            0")) << text;
  EXPECT_TRUE(Contains(text, "node        2       1       1            0")) << text;
  EXPECT_TRUE(Contains(text, "all         3       1       1            1")) << text;
}

TEST(ConformanceReportTest, JsonHasTotalsAndTests) {
  const nlohmann::json json = nlohmann::json::parse(ConformanceJson(SomeResults()));
  EXPECT_EQ(json["totals"], (nlohmann::json{{"passed", 1}, {"failed", 1}, {"unsupported", 1}}));
  ASSERT_EQ(json["tests"].size(), 3u);
  EXPECT_EQ(json["tests"][1]["operators"], (nlohmann::json{"Add", "Mul"}));
  EXPECT_EQ(json["tests"][1]["status"], "failed");
  EXPECT_EQ(json["tests"][2]["set"], "simple");
}

TEST(ConformanceReportTest, MarkupIsEscaped) {
  for (const std::string& text : {ConformanceJUnit(SomeResults()), ConformanceHtml(SomeResults())}) {
    EXPECT_TRUE(Contains(text, "got &lt;3&gt; &amp; &quot;4&quot;\\x01")) << text;
  }
  EXPECT_FALSE(Contains(ConformanceHtml(SomeResults()), "src="));
  EXPECT_FALSE(Contains(ConformanceHtml(SomeResults()), "http"));
}

TEST(ExpectListTest, NamesCommentsAndJunk) {
  const auto names = ParseExpectList("# all\n\ntest_a # why\n  test_b\n");
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(*names, (std::vector<std::string>{"test_a", "test_b"}));
  EXPECT_FALSE(ParseExpectList("test_a test_b").ok());
}

TEST(ExpectListTest, EveryContradictionIsNamed) {
  const auto results = SomeResults();
  EXPECT_TRUE(CompareWithList(results, {"test_a"}, true).empty());
  EXPECT_EQ(CompareWithList(results, {}, true), (std::vector<std::string>{"test_a passed and is not listed"}));
  EXPECT_TRUE(CompareWithList(results, {"?test_a", "?test_b", "?test_z"}, true).empty());
  EXPECT_EQ(CompareWithList(results, {"test_a", "test_b", "test_c"}, true),
            (std::vector<std::string>{"test_b is listed and failed", "test_c is listed and is unsupported"}));
  EXPECT_EQ(CompareWithList(results, {"test_a", "test_z"}, true),
            (std::vector<std::string>{"test_z is listed and not in the data"}));
  EXPECT_TRUE(CompareWithList(results, {"test_a", "test_z"}, false).empty());
}

TEST(OperatorTableTest, IsSortedAndComplete) {
  const auto& table = KnownOperators();
  EXPECT_TRUE(std::is_sorted(table.begin(), table.end(), [](const KnownOperator& a, const KnownOperator& b) {
    return std::make_pair(a.domain, a.type) < std::make_pair(b.domain, b.type);
  }));
  std::map<std::string, int> count;
  for (const KnownOperator& known : table) {
    ++count[std::string(known.domain)];
    EXPECT_TRUE(std::is_sorted(known.since.begin(), known.since.end())) << known.type;
    if (known.domain.empty()) {
      EXPECT_LE(known.since.back(), kNewestOpset) << known.type;
    }
  }
  EXPECT_EQ(count[""], 203);
  EXPECT_EQ(count["ai.onnx.ml"], 19);
}

TEST(OperatorTableTest, DefinitionsHoldUntilTheNext) {
  EXPECT_EQ(DefinitionVersion("", "Relu", 5), 1);
  EXPECT_EQ(DefinitionVersion("", "Relu", 13), 13);
  EXPECT_EQ(DefinitionVersion("", "Relu", 28), 14);
  EXPECT_EQ(DefinitionVersion("ai.onnx", "Relu", 28), 14);
  EXPECT_EQ(DefinitionVersion("x", "Foo", 3), 3);
  EXPECT_EQ(FindKnownOperator("x", "Foo"), nullptr);
}

// Coverage is measured against the table: an operator of ai.onnx that is not in it would not be counted.
TEST(OperatorTableTest, HoldsEveryOperatorThatRondoHas) {
  const ProgramResult result = RunRondo({"ops", "--json"});
  for (const auto& op : nlohmann::json::parse(result.out)) {
    const std::string domain = op["domain"], type = op["type"];
    // ONNX Runtime's own operator, which exporters write in the domain of ONNX; no version of ONNX has it.
    if (type == "SimplifiedLayerNormalization") continue;
    EXPECT_NE(FindKnownOperator(domain, type), nullptr) << domain << "::" << type;
  }
}

TEST(OperatorTableTest, TheDocumentIsUpToDate) {
  EXPECT_EQ(ReadTestFile(SourceDir() + "/docs/operators.md"), CoverageMarkdown())
      << "run: rondo ops --coverage --markdown > docs/operators.md";
}

constexpr int kFloatType = 1;

class ConformanceTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  // A test whose model is y = <type>(x), with x = 1 and y = `want`.
  void AddTest(const std::string& name, const std::string& type, float want) {
    WriteTestFile(
        Path(name + "/model.onnx"),
        TinyModel().Input("x", kFloatType, {"1"}).Node(type, {"x"}, {"y"}).Output("y", kFloatType, {"1"}).Bytes());
    Value(name + "/test_data_set_0/input_0.pb", 1);
    Value(name + "/test_data_set_0/output_0.pb", want);
  }
  void Value(const std::string& file, float value) {
    const std::string raw(reinterpret_cast<const char*>(&value), sizeof(value));
    WriteTestFile(Path(file), TensorProtoBytes("", kFloatType, {1}, raw));
  }
  const std::string dir_ = NewTempDir();
};

TEST_F(ConformanceTest, TellsStatusesAndWritesReports) {
  AddTest("data/one/test_neg", "Neg", -1);
  AddTest("data/one/test_off", "Neg", 2);
  AddTest("data/two/test_new", "NoSuchOperator", 2);
  std::filesystem::create_directories(Path("data/three/test_without_model"));
  std::filesystem::create_directories(Path("data/loose"));  // as in ONNX 1.17: models, but no tests
  std::filesystem::copy_file(Path("data/one/test_neg/model.onnx"), Path("data/loose/neg.onnx"));
  const ProgramResult result = RunRondo({"conformance", "--data", Path("data"), "--json", Path("r.json"), "--junit",
                                         Path("r.xml"), "--html", Path("r.html"), "--jobs", "2"});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_TRUE(Contains(result.out, "failed       test_off  data set 0: output \"y\" [0]: got -1, expected 2"));
  EXPECT_TRUE(Contains(result.out, "unsupported  test_new")) << result.out;
  EXPECT_TRUE(Contains(result.out, "three: no tests here")) << result.out;
  EXPECT_TRUE(Contains(result.out, "loose: no tests here")) << result.out;
  const nlohmann::json json = nlohmann::json::parse(ReadTestFile(Path("r.json")));
  EXPECT_EQ(json["totals"], (nlohmann::json{{"passed", 1}, {"failed", 1}, {"unsupported", 1}}));
  EXPECT_EQ(json["tests"][0]["name"], "test_neg");
  EXPECT_EQ(json["tests"][0]["set"], "one");
  EXPECT_EQ(json["tests"][0]["operators"], nlohmann::json::array({"Neg"}));
  EXPECT_TRUE(Contains(ReadTestFile(Path("r.xml")), "<testsuite name=\"one\" tests=\"2\" failures=\"1\""));
  EXPECT_TRUE(Contains(ReadTestFile(Path("r.html")), "<table id=\"tests\">"));
}

TEST_F(ConformanceTest, FiltersByNameAndOperator) {
  AddTest("set/test_neg", "Neg", -1);
  AddTest("set/test_abs", "Abs", 1);
  const std::vector<std::string> run = {"conformance", "--data", Path("set")};
  auto with = [&run](std::vector<std::string> more) {
    more.insert(more.begin(), run.begin(), run.end());
    return RunRondo(more);
  };
  EXPECT_TRUE(Contains(with({}).out, "set      2       2"));
  EXPECT_TRUE(Contains(with({"--filter", "n.g$"}).out, "set      1       1"));
  EXPECT_TRUE(Contains(with({"--operator", "Abs"}).out, "set      1       1"));
  EXPECT_EQ(with({"--operator", "Conv"}).exit_code, 2);
  EXPECT_EQ(with({"--filter", "("}).exit_code, 2);
  EXPECT_EQ(with({"--data", Path("nowhere")}).exit_code, 2);
  EXPECT_EQ(RunRondo({"conformance", "--data", Path("set/test_neg")}).exit_code, 0);
}

TEST_F(ConformanceTest, TheListDecides) {
  AddTest("set/test_neg", "Neg", -1);
  AddTest("set/test_off", "Neg", 2);
  auto run = [this](const std::string& list) {
    WriteTestFile(Path("list.txt"), list);
    return RunRondo({"conformance", "--data", Path("set"), "--expect", Path("list.txt")});
  };
  EXPECT_EQ(run("test_neg\n").exit_code, 0);
  EXPECT_EQ(run("test_neg\ntest_off\n").exit_code, 1);
  const ProgramResult result = run("# nothing\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Contains(result.out, "unexpected: test_neg passed and is not listed")) << result.out;
  EXPECT_EQ(run("two words\n").exit_code, 2);
}

TEST_F(ConformanceTest, ABadFileIsAFailedTest) {
  AddTest("set/test_neg", "Neg", -1);
  WriteTestFile(Path("set/test_junk/model.onnx"), "junk");
  const ProgramResult result = RunRondo({"conformance", "--data", Path("set")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Contains(result.out, "failed       test_junk")) << result.out;
}

// One set, both plans, against its list; and the plans against each other.
void CheckSet(const std::string& data, const std::string& list) {
  const std::string dir = NewTempDir(), lists = SourceDir() + "/tests/conformance/";
  // "?name" in a list: left to chance, for the plans too.
  std::map<std::string, std::string> statuses[2];
  const absl::StatusOr<std::vector<std::string>> listed = ParseExpectList(ReadTestFile(lists + list + ".txt"));
  ASSERT_TRUE(listed.ok()) << listed.status();
  for (const bool plain : {false, true}) {
    std::vector<std::string> arguments = {"conformance",         "--data", data,           "--expect",
                                          lists + list + ".txt", "--json", dir + "/r.json"};
    if (plain) arguments.push_back("--plain");
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 0) << (plain ? "plain\n" : "optimised\n") << result.out << result.err;
    for (const auto& test : nlohmann::json::parse(ReadTestFile(dir + "/r.json"))["tests"]) {
      const std::string name = test["name"];
      if (std::count(listed->begin(), listed->end(), "?" + name) == 0) statuses[plain][name] = test["status"];
    }
  }
  EXPECT_EQ(statuses[0], statuses[1]);
}

class SlowDebianConformanceTest : public testing::TestWithParam<const char*> {};
TEST_P(SlowDebianConformanceTest, IsAsListed) {
  const std::string data = std::string("/usr/share/libonnx-testdata/data/") + GetParam();
  // The lists are of 1.12, the first release without the operators of opset 18.
  const bool newer = std::filesystem::exists("/usr/share/libonnx-testdata/data/node/test_bitwise_and_i16_3d");
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no " << data << ": install Debian's package libonnx-testdata";
  if (newer) GTEST_SKIP() << data << " is newer than ONNX 1.12, of which the list is";
  CheckSet(data, GetParam());
}
INSTANTIATE_TEST_SUITE_P(Sets, SlowDebianConformanceTest,
                         testing::Values("node", "simple", "pytorch-converted", "pytorch-operator"),
                         [](const auto& info) {
                           std::string name = info.param;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name;
                         });

TEST(SlowSharedConformanceTest, IsAsListed) {
  RONDO_SKIP_WITHOUT_SHARED("conformance");
  CheckSet(SharedDir() + "/conformance/node", "shared-node");
}

}  // namespace
}  // namespace rondo
