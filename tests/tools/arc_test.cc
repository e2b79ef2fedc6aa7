// rondo arc, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::SizeIs;

std::string Model() { return SourceDir() + "/tests/data/models/arc-mini"; }
std::string Challenges() { return SourceDir() + "/tests/data/arc/challenges.json"; }
std::string Solutions() { return SourceDir() + "/tests/data/arc/solutions.json"; }

class ArcTest : public testing::Test {
 protected:
  ProgramResult Run(std::vector<std::string> more) {
    std::vector<std::string> all = {"arc", "solve", Model(), Challenges(), "--output", output_};
    all.insert(all.end(), more.begin(), more.end());
    return RunRondo(all);
  }
  std::string Submission(const std::vector<std::string>& more) {
    const ProgramResult result = Run(more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return ReadTestFile(output_);
  }
  std::string Error(const std::vector<std::string>& arguments) {
    const ProgramResult result = RunRondo(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.out;
    return result.err;
  }
  const std::string dir_ = NewTempDir();
  const std::string output_ = dir_ + "/submission.json", log_ = dir_ + "/answers.jsonl";
};

TEST_F(ArcTest, ATaskInSeveralFormsIsSolvedWhereOneIsNotEnough) {
  ProgramResult result = Run({"--solutions", Solutions(), "--augment", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::StartsWith("solved 8 of 10 tests (80.0 %), 8 at the first attempt; 8 of 10 tasks\n"
                                              "10 answers in "));
  EXPECT_EQ(result.err, "");
  result = Run({"--solutions", Solutions()});
  EXPECT_THAT(result.out, testing::StartsWith("solved 10 of 10 tests (100.0 %), 8 at the first attempt; 10 of 10"));
  result = Run({"--solutions", Solutions(), "--augment", "8"});
  EXPECT_THAT(result.out, testing::StartsWith("solved 10 of 10 tests (100.0 %), 10 at the first attempt; 10 of 10"));
  const ProgramResult score = RunRondo({"arc", "score", output_, Challenges(), "--solutions", Solutions()});
  EXPECT_EQ(score.out, "solved 10 of 10 tests (100.0 %), 10 at the first attempt; 10 of 10 tasks\n");
}

TEST_F(ArcTest, TheSubmissionDependsOnNothingButTheAnswers) {
  const std::string expected = Submission({});
  EXPECT_EQ(Json::parse(expected).size(), 10u);
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--batch-size", "1"},
                                             {"--batch-size", "3", "--threads", "1"},
                                             {"--precompile", "--fail-on-miss"},
                                             {"--growing"},
                                             {"--cache-dir", dir_ + "/cache"},
                                             {"--cache-dir", dir_ + "/cache", "--fail-on-miss"}}) {
    EXPECT_EQ(Submission(more), expected) << testing::PrintToString(more);
  }
}

TEST_F(ArcTest, JsonTellsScoreAnswersAndCounters) {
  const ProgramResult result = Run({"--solutions", Solutions(), "--json", "--precompile", "--fail-on-miss"});
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.err;
  EXPECT_EQ(json["score"]["solved_first"], 8);
  EXPECT_EQ(json["score"]["solved_either"], 10);
  EXPECT_EQ(json["score"]["tasks_solved"], 10);
  EXPECT_EQ(json["answers"]["given"], 20);
  EXPECT_EQ(json["answers"]["wanted"], 20);
  EXPECT_EQ(json["answers"]["tokens"], 20 * 13);
  EXPECT_EQ(json["answers"]["without_grid"], 0);
  EXPECT_THAT(json["tasks"], SizeIs(10));
  EXPECT_EQ(json["tasks"][0]["tests"][0]["solved_by"], 1);
  EXPECT_EQ(json["primitive_cache"]["misses_after_warmup"], 0);
  EXPECT_EQ(json["timings"]["allocations_after_warmup"], 0);
  EXPECT_EQ(json["interrupted"], false);
}

TEST_F(ArcTest, ThePageHasAPictureOfEveryGrid) {
  Run({"--solutions", Solutions(), "--html", dir_ + "/page.html", "--augment", "1"});
  const std::string page = ReadTestFile(dir_ + "/page.html");
  size_t pictures = 0;
  for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) ++pictures;
  EXPECT_EQ(pictures, 10u * (3 * 2 + 3));  // three pairs; test, solution, attempt
  EXPECT_LT(page.find("attempt 1, wrong"), page.find("attempt 1, right")) << "what was not solved comes first";
  EXPECT_EQ(page.find("http"), std::string::npos) << "needs nothing else";
}

TEST_F(ArcTest, ChosenTasksAlone) {
  const Json one = Json::parse(Submission({"--task", "9aba4977"}));
  EXPECT_EQ(one.size(), 1u);
  EXPECT_TRUE(one.contains("9aba4977"));
  EXPECT_EQ(Json::parse(Submission({"--first", "3"})).size(), 3u);
}

TEST_F(ArcTest, CapturesAreNamedByTaskTestAndForm) {
  Submission({"--first", "2", "--capture", dir_ + "/captures", "--capture-layers", "2"});
  for (const char* name : {"b51284af-0-0", "b51284af-0-1", "c9a92197-0-0", "c9a92197-0-1"}) {
    EXPECT_TRUE(fs::exists(dir_ + "/captures/" + name + ".safetensors")) << name;
  }
}

TEST_F(ArcTest, ARunThatFailsWritesWhatItHas) {
  fs::create_directories(dir_ + "/captures/9aba4977-0-0.safetensors");  // cannot be replaced by a file
  const ProgramResult result = Run({"--capture", dir_ + "/captures", "--batch-size", "1", "--augment", "4"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("9aba4977-0-0.safetensors"));
  EXPECT_THAT(result.out, HasSubstr(output_ + ": written"));
  EXPECT_EQ(Json::parse(ReadTestFile(output_))["b51284af"][0]["attempt_1"], Json::parse("[[1,1,3],[1,1,3],[9,9,9]]"));
}

TEST_F(ArcTest, PromptsThatDoNotFitAreToldOfAndTheOthersSolved) {
  // A task with large grids needs more positions than there are.
  Json tasks = Json::parse(ReadTestFile(Challenges()));
  const Json row(std::vector<int>(30, 1));
  Json large = {{"train", {{{"input", Json(std::vector<Json>(30, row))}, {"output", {{1}}}}}},
                {"test", {{{"input", {{1}}}}}}};
  WriteTestFile(dir_ + "/c.json", Json({{"b51284af", tasks["b51284af"]}, {"large", large}}).dump());
  const ProgramResult result = RunRondo(
      {"arc", "solve", Model(), dir_ + "/c.json", "--output", output_, "--augment", "1", "--max-length", "300"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("rondo: warning: task large, test 0: the prompt has 9"));
  const Json submission = Json::parse(ReadTestFile(output_));
  EXPECT_EQ(submission["large"], Json::parse(R"([{"attempt_1": [[0]], "attempt_2": [[0]]}])"));
  EXPECT_EQ(submission["b51284af"][0]["attempt_1"], Json::parse("[[1,1,3],[1,1,3],[9,9,9]]"));
}

TEST_F(ArcTest, MistakesAreErrorsOfOneLine) {
  EXPECT_EQ(Error({"arc", "solve", Model(), Challenges(), "--task", "x"}),
            "rondo: --task: " + Challenges() + " has no task \"x\"\n");
  EXPECT_EQ(Error({"arc", "solve", Model(), Challenges(), "--resume"}),
            "rondo: --resume: expected --answers with the file to go on from\n");
  EXPECT_THAT(Error({"arc", "solve", Model(), dir_ + "/none.json"}), HasSubstr("none.json: cannot open"));
  EXPECT_THAT(Error({"arc", "solve", dir_ + "/none", Challenges()}), HasSubstr(dir_ + "/none"));
  EXPECT_THAT(Error({"arc", "solve", Model(), Challenges(), "--chat"}), HasSubstr("chat_template"));
  EXPECT_EQ(Error({"arc", "solve", Model(), Challenges(), "--system", "x"}), "rondo: --system: goes with --chat\n");
  WriteTestFile(dir_ + "/t.jinja", "{% for %}");
  EXPECT_THAT(Error({"arc", "solve", Model(), Challenges(), "--template", dir_ + "/t.jinja"}), HasSubstr("/t.jinja: "));
  EXPECT_THAT(Error({"arc", "solve", Model(), Challenges(), "--output", dir_ + "/no/such/s.json"}),
              HasSubstr("s.json"));
  EXPECT_THAT(Error({"arc", "score", Challenges(), Challenges()}), HasSubstr("task b51284af"));
  Submission({"--first", "1"});
  EXPECT_EQ(Error({"arc", "score", output_, Challenges()}),
            "rondo: " + Challenges() + ": no test has a solution (expected --solutions)\n");
  EXPECT_THAT(Error({"arc"}), HasSubstr("subcommand"));
}

TEST_F(ArcTest, TheTemplateMakesThePrompt) {
  WriteTestFile(dir_ + "/t.jinja", "{{ train | length }} pairs, {{ input[0] | join('') }}");
  EXPECT_EQ(RunRondo({"arc", "prompt", Challenges(), "--task", "b51284af", "--template", dir_ + "/t.jinja"}).out,
            "3 pairs, 119");
  EXPECT_THAT(RunRondo({"arc", "prompt", Challenges()}).out, testing::StartsWith("== task b51284af, test 0\nI\n918\n"));
}

// ---- the log of answers ----

TEST_F(ArcTest, ARunThatGoesOnAsksForNothingTwice) {
  const std::string expected = Submission({"--augment", "4"});
  Submission({"--augment", "2", "--first", "7", "--answers", log_});
  const std::string before = ReadTestFile(log_);
  const ProgramResult result = Run({"--augment", "4", "--answers", log_, "--resume", "--json"});
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.err;
  EXPECT_EQ(json["answers"]["given"], 40);
  EXPECT_EQ(json["answers"]["given_now"], 40 - 14);
  EXPECT_EQ(ReadTestFile(output_), expected);
  EXPECT_EQ(ReadTestFile(log_).substr(0, before.size()), before);
  // Everything is there.
  EXPECT_EQ(Submission({"--augment", "4", "--answers", log_, "--resume"}), expected);
  EXPECT_THAT(Error({"arc", "solve", Model(), Challenges(), "--answers", log_}), HasSubstr("exists already"));
  EXPECT_THAT(Error({"arc", "solve", Model(), Challenges(), "--answers", log_, "--resume", "--max-new-tokens", "9"}),
              HasSubstr("its answers were given to other settings"));
}

TEST_F(ArcTest, AKilledRunLosesNothingThatWasAnswered) {
  const std::vector<std::string> more = {"--augment", "32", "--answers", log_};
  std::vector<std::string> all = {"arc", "solve", Model(), Challenges(), "--output", output_};
  all.insert(all.end(), more.begin(), more.end());
  const auto lines = [&] {
    const std::string text = ReadTestFile(log_);
    return std::count(text.begin(), text.end(), '\n');
  };
  RunningProgram program(RondoProgram(), all);
  while (lines() < 30 && !program.Ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  program.Kill();
  ASSERT_EQ(program.Wait().signal, SIGKILL) << "it must not have ended";
  const int64_t answered = lines() - 1;
  EXPECT_FALSE(fs::exists(output_));
  const ProgramResult result = Run({"--augment", "32", "--answers", log_, "--resume", "--json"});
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.err;
  EXPECT_EQ(json["answers"]["given_now"], 320 - answered);
  const std::string resumed = ReadTestFile(output_);
  EXPECT_EQ(Submission({"--augment", "32"}), resumed);
}

TEST_F(ArcTest, AnInterruptedRunWritesWhatItHas) {
  std::vector<std::string> all = {"arc",   "solve",     Model(), Challenges(), "--output",
                                  output_, "--augment", "32",    "--answers",  log_};
  RunningProgram program(RondoProgram(), all);
  while (ReadTestFile(log_).size() < 3000 && !program.Ended())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  program.Signal(SIGINT);
  const ProgramResult result = program.Wait();
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("rondo: interrupted after "));
  EXPECT_THAT(result.err, HasSubstr(" of 320 answers; --resume goes on from there\n"));
  EXPECT_EQ(Json::parse(ReadTestFile(output_)).size(), 10u);
}

// ---- the whole dataset ----

TEST(ArcSlowTest, FirstAnswersAreThoseOfPyTorchWordForWord) {
  const std::string arc = SharedDir() + "/arc";
  if (!fs::exists(arc)) GTEST_SKIP() << "no shared puzzles at " << arc;
  const Json expected = Json::parse(ReadTestFile(arc + "/pytorch_greedy.json"));
  const Json result = Json::parse(ReadTestFile(arc + "/result.json"));
  for (const char* model : {"arc-mini", "arc-mini-genai-fp32"}) {
    SCOPED_TRACE(model);
    const std::string dir = NewTempDir();
    const ProgramResult run = RunRondo({"arc", "solve", SharedDir() + "/models/" + model, arc + "/challenges.json",
                                        "--solutions", arc + "/solutions.json", "--augment", "1", "--answers",
                                        dir + "/answers.jsonl", "--output", dir + "/submission.json", "--json"});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(Json::parse(run.out)["score"]["solved_first"], result["solved"]);
    std::map<std::string, std::string> said;
    std::istringstream lines(ReadTestFile(dir + "/answers.jsonl"));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      const Json answer = Json::parse(line);
      said[answer["task"]] = answer["text"];
    }
    EXPECT_THAT(said, SizeIs(120));
    for (const auto& [task, text] : expected.items()) EXPECT_EQ(said[task], text.get<std::string>()) << task;
  }
}

}  // namespace
}  // namespace rondo
