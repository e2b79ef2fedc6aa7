#include "arc/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo::arc {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class AnswerLogTest : public testing::Test {
 protected:
  std::string Error(const std::string& settings, bool resume) {
    const auto log = AnswerLog::Open(path_, settings, resume);
    return log.ok() ? "ok" : absl::StrReplaceAll(log.status().message(), {{dir_ + "/", ""}});
  }
  // A file of two answers.
  std::string Fill() {
    auto log = AnswerLog::Open(path_, "s", false);
    EXPECT_TRUE(log.ok()) << log.status();
    EXPECT_TRUE((*log)->Append(first_).ok());
    EXPECT_TRUE((*log)->Append(second_).ok());
    return ReadTestFile(path_);
  }
  const std::string dir_ = NewTempDir(), path_ = dir_ + "/a.jsonl";
  const Answer first_ = {"t1", 0, 3, "12\n34\n", 7, "stop"};
  const Answer second_ = {"t2", 1, 0, "\"quoted\"\t\xc3\xa9", 1024, "length"};
};

TEST_F(AnswerLogTest, ARunGoesOnFromTheAnswersOfTheLast) {
  Fill();
  auto log = AnswerLog::Open(path_, "s", true);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_THAT((*log)->earlier(), ElementsAre(first_, second_));
  ASSERT_TRUE((*log)->Append(first_).ok());
  log->reset();
  EXPECT_THAT((*AnswerLog::Open(path_, "s", true))->earlier(), ElementsAre(first_, second_, first_));
}

TEST_F(AnswerLogTest, ResumingWithoutAFileBegins) {
  EXPECT_THAT((*AnswerLog::Open(path_, "s", true))->earlier(), IsEmpty());
  EXPECT_EQ(ReadTestFile(path_), "{\"rondo_arc\":1,\"settings\":\"s\"}\n");
}

TEST_F(AnswerLogTest, WhereverAProcessWasKilledTheWholeLinesAreKept) {
  const std::string whole = Fill();
  const size_t header = whole.find('\n') + 1, second = whole.find('\n', header) + 1;
  for (size_t length = 0; length <= whole.size(); ++length) {
    WriteTestFile(path_, whole.substr(0, length));
    auto log = AnswerLog::Open(path_, "s", true);
    ASSERT_TRUE(log.ok()) << length << ": " << log.status();
    const size_t expected = length == whole.size() ? 2 : length >= second ? 1 : 0;
    EXPECT_EQ((*log)->earlier().size(), expected) << length;
    ASSERT_TRUE((*log)->Append(second_).ok());
    log->reset();
    EXPECT_EQ((*AnswerLog::Open(path_, "s", true))->earlier().size(), expected + 1) << length;
  }
}

TEST_F(AnswerLogTest, ABytesThatAreNoUtf8DoNotDamageTheFile) {
  const std::string settings = "a\xff";
  auto log = AnswerLog::Open(path_, settings, false);
  ASSERT_TRUE((*log)->Append({"t", 0, 0, std::string("1\xfe\n\0 2", 6), 1, "stop"}).ok());
  log->reset();
  const auto again = AnswerLog::Open(path_, settings, true);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->earlier()[0].text, std::string("1\xef\xbf\xbd\n\0 2", 8));
}

TEST_F(AnswerLogTest, WhatCannotBeGoneOnFromIsLeftAloneAndToldOf) {
  const std::string whole = Fill();
  EXPECT_EQ(Error("s", false), "a.jsonl: exists already: go on from its answers (--resume) or remove it");
  EXPECT_EQ(Error("other", true), "a.jsonl:1: its answers were given to other settings:\n  there s\n  here  other");
  const std::string first_line = whole.substr(0, whole.find('\n') + 1);
  const struct {
    std::string content, message;
  } kCases[] = {
      {"some text", "a.jsonl: expected an answers file, its first line is another one's"},
      {"some text\n", "a.jsonl:1: no valid JSON: "},
      {"{\"rondo_arc\":2}\n", "a.jsonl:1: expected the first line of an answers file, {\"rondo_arc\": 1, ...}"},
      {"[]\nx", "a.jsonl:1: expected the first line of an answers file"},
      {first_line + "{]\n", "a.jsonl:2: no valid JSON: "},
      {first_line + "\n", "a.jsonl:2: no valid JSON: "},
      {first_line + "[]\n", "a.jsonl:2: expected an object, got an array"},
      {first_line + "{\"task\":7}\n", "a.jsonl:2.task: expected a string, got an integer"},
      {first_line + "{\"task\":\"t\",\"test\":-1}\n", "a.jsonl:2.test: expected an index from 0, got an integer"},
      {first_line + "{\"task\":\"t\",\"test\":0,\"form\":9999999999}\n", "a.jsonl:2.form: expected an index from 0"},
      {first_line + "{\"task\":\"t\",\"test\":0,\"form\":0}\n", "a.jsonl:2.text: expected a string, got null"},
  };
  for (const auto& c : kCases) {
    WriteTestFile(path_, c.content);
    EXPECT_THAT(Error("s", true), HasSubstr(c.message)) << c.content;
    EXPECT_EQ(ReadTestFile(path_), c.content);
  }
  fs::remove(path_);
  fs::create_symlink("/dev/null", path_);
  EXPECT_THAT(Error("s", true), HasSubstr("cannot open"));
  fs::remove(path_);
  fs::create_directory(path_);
  EXPECT_THAT(Error("s", true), HasSubstr("cannot open"));
}

TEST_F(AnswerLogTest, TwoProcessesDoNotMixTheirAnswers) {
  const auto log = AnswerLog::Open(path_, "s", false);
  ASSERT_TRUE(log.ok());
  EXPECT_EQ(Error("s", true), "a.jsonl: another process writes to it");
}

}  // namespace
}  // namespace rondo::arc
