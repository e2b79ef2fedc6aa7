#include "arc/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "arc/submission.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo::arc {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::SizeIs;

class DatasetTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    WriteTestFile(dir_ + "/" + name, content);
    return dir_ + "/" + name;
  }
  // The message of reading a file with this content, without the folder.
  std::string Error(const std::string& content) {
    const auto tasks = ReadTasks(Write("c.json", content));
    if (tasks.ok()) return "ok";
    return absl::StrReplaceAll(tasks.status().message(), {{dir_ + "/", ""}});
  }
  const std::string dir_ = NewTempDir();
};

constexpr char kTask[] = R"({"train": [{"input": [[1, 2]], "output": [[2], [1]]}], "test": [{"input": [[3]]}]})";

TEST_F(DatasetTest, AFileOfThePrizeKeepsItsOrder) {
  const auto tasks = ReadTasks(Write("c.json", absl::StrCat(R"({"zz": )", kTask, R"(, "aa-1": )", kTask, "}")));
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_THAT(*tasks, SizeIs(2));
  EXPECT_EQ((*tasks)[0].id, "zz");
  EXPECT_EQ((*tasks)[1].id, "aa-1");
  EXPECT_EQ(ToText((*tasks)[0].train[0].output), "2\n1\n");
  EXPECT_FALSE((*tasks)[0].test[0].output.has_value());
}

TEST_F(DatasetTest, AFolderOfTaskFilesComesInTheirOrderWithTheirSolutions) {
  const std::string solved =
      absl::StrReplaceAll(kTask, {{R"({"input": [[3]]})", R"({"input": [[3]], "output": [[4]]})"}});
  Write("b.json", solved);
  Write("a.json", kTask);
  Write("notes.txt", "not a task");
  const auto tasks = ReadTasks(dir_);
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_THAT(*tasks, SizeIs(2));
  EXPECT_EQ((*tasks)[0].id, "a");
  EXPECT_EQ(ToText(*(*tasks)[1].test[0].output), "4\n");
  // One of them alone.
  const auto one = ReadTasks(dir_ + "/b.json");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ((*one)[0].id, "b");
}

TEST_F(DatasetTest, WhatIsNoDatasetIsAnErrorThatNamesThePlace) {
  const auto with = [](const char* from, const char* to) {
    return absl::StrCat(R"({"t1": )", absl::StrReplaceAll(kTask, {{from, to}}), "}");
  };
  std::string row = "[1";
  for (int i = 0; i < 30; ++i) row += ",1";
  row += "]";
  const struct {
    std::string content, message;
  } kCases[] = {
      {"[]", "c.json: expected an object of tasks, got an array"},
      {"{}", "c.json: expected tasks, there is none"},
      {R"({"t1": 3})", "c.json: task t1: expected an object with \"train\" and \"test\", got an integer"},
      {R"({"../x": 3})", "c.json: task \"../x\": expected an id of 1 to 100 letters, digits, '.', '_' and '-'"},
      {R"({"": 3})", "c.json: task \"\": expected an id of 1 to 100 letters, digits, '.', '_' and '-'"},
      {R"({".h": 3})", "c.json: task \".h\": expected an id of 1 to 100 letters, digits, '.', '_' and '-'"},
      {R"({"a\u001b": 3})", "c.json: task \"a\\x1b\": expected an id of 1 to 100 letters, digits, '.', '_' and '-'"},
      {absl::StrCat(R"({"t": )", kTask, R"(, "t": )", kTask, "}"), "c.json: task t stands twice"},
      {with("\"train\": [", "\"train\": [], \"x\": ["),
       "c.json: task t1.train: expected at least one pair, got an array"},
      {with("\"test\": [", "\"test\": [], \"x\": ["),
       "c.json: task t1.test: expected at least one input, got an array"},
      {with("\"test\"", "\"tests\""), "c.json: task t1.test: expected at least one input, got null"},
      {with("[[1, 2]]", "7"), "c.json: task t1.train[0].input: expected a grid, a list of rows, got an integer"},
      {with("[[1, 2]]", "[]"), "c.json: task t1.train[0].input: expected 1 to 30 rows, got 0"},
      {with("[[1, 2]]", "[[]]"), "c.json: task t1.train[0].input: row 0: expected 1 to 30 cells, got 0"},
      {with("[[1, 2]]", absl::StrCat("[", row, "]").c_str()),
       "c.json: task t1.train[0].input: row 0: expected 1 to 30 cells, got 31"},
      {with("[[1, 2]]", "[1, 2]"), "c.json: task t1.train[0].input: row 0: expected a list of cells, got an integer"},
      {with("[[1, 2]]", "[[1, 2], [3]]"), "c.json: task t1.train[0].input: row 1 has 1 cells, row 0 has 2"},
      {with("[[1, 2]]", "[[1, 10]]"),
       "c.json: task t1.train[0].input: row 0, cell 1: expected an integer from 0 to 9, got 10"},
      {with("[[1, 2]]", "[[-1, 2]]"),
       "c.json: task t1.train[0].input: row 0, cell 0: expected an integer from 0 to 9, got -1"},
      {with("[[1, 2]]", "[[1.5, 2]]"),
       "c.json: task t1.train[0].input: row 0, cell 0: expected an integer from 0 to 9, got a number"},
      {with("[[2], [1]]", "null"), "c.json: task t1.train[0].output: expected a grid, a list of rows, got null"},
      {with("[[3]]", "\"x\""), "c.json: task t1.test[0].input: expected a grid, a list of rows, got a string"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Error(c.content), c.message) << c.content;
  EXPECT_THAT(Error(""), testing::StartsWith("c.json: no valid JSON: parse error at line 1, column 1"));
  EXPECT_THAT(std::string(ReadTasks(dir_ + "/none.json").status().message()), testing::HasSubstr("cannot open"));
  fs::create_directory(dir_ + "/empty");
  EXPECT_THAT(std::string(ReadTasks(dir_ + "/empty").status().message()),
              testing::HasSubstr("expected a file ID.json for each task, there is none"));
}

TEST_F(DatasetTest, SolutionsAreMatchedById) {
  auto tasks = *ReadTasks(Write("c.json", absl::StrCat(R"({"a": )", kTask, R"(, "b": )", kTask, "}")));
  ASSERT_TRUE(AddSolutions(Write("s.json", R"({"b": [[[5, 6]]], "other": 7})"), &tasks).ok());
  EXPECT_FALSE(tasks[0].test[0].output.has_value());
  EXPECT_EQ(ToText(*tasks[1].test[0].output), "56\n");
  const auto error = [&](const char* content) {
    return absl::StrReplaceAll(AddSolutions(Write("s.json", content), &tasks).message(), {{dir_ + "/", ""}});
  };
  EXPECT_EQ(error("[]"), "s.json: expected an object of solutions, {id: [grid, ...]}, got an array");
  EXPECT_EQ(error(R"({"x": []})"), "s.json: expected solutions of these tasks (the first is a), there is none");
  EXPECT_EQ(error(R"({"a": [[[1]], [[2]]]})"), "s.json: task a: expected a grid for each of 1 tests, got 2");
  EXPECT_EQ(error(R"({"a": [[[11]]]})"), "s.json: task a[0]: row 0, cell 0: expected an integer from 0 to 9, got 11");
}

TEST_F(DatasetTest, TheSharedDatasetIsRead) {
  const std::string arc = SharedDir() + "/arc";
  if (!fs::exists(arc)) GTEST_SKIP() << "no shared puzzles at " << arc;
  auto tasks = ReadTasks(arc + "/challenges.json");
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  EXPECT_THAT(*tasks, SizeIs(120));
  ASSERT_TRUE(AddSolutions(arc + "/solutions.json", &*tasks).ok());
  for (const Task& task : *tasks) EXPECT_TRUE(task.test[0].output.has_value());
}

// ---- submissions ----

class SubmissionTest : public DatasetTest {
 protected:
  SubmissionTest() {
    tasks_.resize(2);
    tasks_[0].id = "a";
    tasks_[0].test = {{kOne, kTwo}, {kOne, kOne}};
    tasks_[1].id = "b";
    tasks_[1].test = {{kOne, std::nullopt}};
  }
  const Grid kOne = {1, 1, {1}}, kTwo = {1, 2, {2, 2}}, kThree = {2, 1, {3, 3}};
  std::vector<Task> tasks_;
};

TEST_F(SubmissionTest, HasBothAttemptsAtEveryTest) {
  const std::vector<Attempts> attempts = {{{{kTwo, kThree, kOne}, {kOne}}}, {{{}}}};
  const std::string json = SubmissionJson(tasks_, attempts);
  EXPECT_EQ(json,
            "{\"a\": [{\"attempt_1\": [[2, 2]], \"attempt_2\": [[3], [3]]}, {\"attempt_1\": [[1]], \"attempt_2\": "
            "[[1]]}],\n \"b\": [{\"attempt_1\": [[0]], \"attempt_2\": [[0]]}]}\n");
  const auto read = ReadSubmission(Write("s.json", json), tasks_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(SubmissionJson(tasks_, *read), json);
}

TEST_F(SubmissionTest, ScoresCountTestsAndWholeTasks) {
  const auto score = [&](std::vector<std::vector<Grid>> first, std::vector<std::vector<Grid>> second) {
    return ScoreAttempts(tasks_, {{std::move(first)}, {std::move(second)}});
  };
  Score s = score({{kTwo}, {kOne}}, {{kOne}});
  EXPECT_EQ(s.tasks, 2);
  EXPECT_EQ(s.tasks_with_solution, 1);
  EXPECT_EQ(s.tasks_solved, 1);
  EXPECT_EQ(s.tests, 3);
  EXPECT_EQ(s.tests_with_solution, 2);
  EXPECT_EQ(s.solved_first, 2);
  s = score({{kOne, kTwo}, {kThree, kTwo, kOne}}, {{}});
  EXPECT_EQ(s.solved_first, 0);
  EXPECT_EQ(s.solved_either, 1) << "a third answer is no attempt";
  EXPECT_EQ(s.tasks_solved, 0);
  s = score({{}, {}}, {{}});
  EXPECT_EQ(s.solved_either, 0);
}

TEST_F(SubmissionTest, WhatIsNoSubmissionIsAnErrorThatNamesThePlace) {
  const auto error = [&](const char* content) {
    const auto read = ReadSubmission(Write("s.json", content), tasks_);
    return read.ok() ? "ok" : absl::StrReplaceAll(read.status().message(), {{dir_ + "/", ""}});
  };
  EXPECT_EQ(error("3"), "s.json: expected an object of tasks, got an integer");
  EXPECT_EQ(error("{}"), "s.json: expected attempts at these tasks (the first is a), there is none");
  EXPECT_EQ(error(R"({"b": []})"), "s.json: task b: expected attempts for each of 1 tests, got 0");
  EXPECT_EQ(error(R"({"b": [[]]})"), "s.json: task b[0]: expected an object of attempts, got an array");
  EXPECT_EQ(error(R"({"b": [{"attempt_1": [[1]]}]})"), "s.json: task b[0].attempt_2: expected a grid, got null");
  EXPECT_EQ(error(R"({"b": [{"attempt_1": [[1]], "attempt_2": [[1], [1, 2]]}]})"),
            "s.json: task b[0].attempt_2: row 1 has 2 cells, row 0 has 1");
  EXPECT_EQ(error(R"({"b": [{"attempt_1": [[1]], "attempt_2": [[1]]}], "x": 5})"), "ok") << "a task may be missing";
}

}  // namespace
}  // namespace rondo::arc
