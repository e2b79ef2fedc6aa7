#include "arc/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"
#include "text/json.h"

namespace rondo::arc {
namespace {

namespace fs = std::filesystem;

Task MakeTask() {
  Task task;
  task.id = "t";
  task.train.push_back({{1, 2, {1, 2}}, {2, 1, {2, 1}}});
  task.train.push_back({{1, 1, {0}}, {1, 1, {9}}});
  task.test.push_back({{2, 2, {3, 4, 5, 6}}, std::nullopt});
  task.test.push_back({{1, 1, {7}}, std::nullopt});
  return task;
}

std::string Render(absl::string_view source, int test = 0) {
  auto prompt = PromptTemplate::Parse(source, "p.jinja");
  if (!prompt.ok()) return std::string(prompt.status().message());
  auto text = prompt->Render(MakeTask(), test);
  return text.ok() ? *text : std::string(text.status().message());
}

TEST(PromptTest, TheDefaultShowsRowsOfDigits) {
  EXPECT_EQ(Render(kRowsTemplate), "I\n12\nO\n2\n1\nI\n0\nO\n9\nI\n34\n56\nO\n");
  EXPECT_EQ(Render(kRowsTemplate, 1), "I\n12\nO\n2\n1\nI\n0\nO\n9\nI\n7\nO\n");
}

TEST(PromptTest, TheOneForChatsSaysWhatIsWanted) {
  const std::string text = Render(kChatTemplate);
  EXPECT_THAT(text, testing::StartsWith("Each input grid becomes its output grid by one rule"));
  EXPECT_THAT(text,
              testing::HasSubstr("\n\nExample 1, input:\n1 2\n\nExample 1, output:\n2\n1\n\nExample 2, input:\n"));
  EXPECT_THAT(text, testing::HasSubstr("\n\nTest, input:\n3 4\n5 6\n\nGive the output grid"));
}

TEST(PromptTest, ATemplateHasPairsAndTheInput) {
  EXPECT_EQ(Render("{{ train | length }} {{ input[1][0] }} {{ train[0].output }}"), "2 5 [[2], [1]]");
}

TEST(PromptTest, ErrorsNameTheTemplate) {
  EXPECT_THAT(Render("{% for %}"), testing::StartsWith("p.jinja: "));
  EXPECT_THAT(Render("{{ nothing.at.all }}"), testing::StartsWith("p.jinja: "));
  EXPECT_EQ(Render("{% if false %}x{% endif %}"), "p.jinja: the prompt is empty");
}

// The model was trained on prompts in this form: its recorded ones are 3 + the byte.
TEST(PromptTest, TheDefaultIsTheFormThatArcMiniWasTrainedOn) {
  const std::string arc = SharedDir() + "/arc/challenges.json", model = SharedDir() + "/models/arc-mini";
  if (!fs::exists(arc)) GTEST_SKIP() << "no shared puzzles at " << arc;
  const auto tasks = ReadTasks(arc);
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  const auto json = text::ReadJsonFile(model + "/generation.json");
  ASSERT_TRUE(json.ok()) << json.status();
  std::vector<std::string> recorded;
  for (const text::Json& ids : *json->Find("prompts")->array()) {
    std::string bytes;
    for (const text::Json& id : *ids.array()) bytes.push_back(static_cast<char>(*id.integer() - 3));
    recorded.push_back(bytes);
  }
  const auto prompt = PromptTemplate::Parse(kRowsTemplate, "default");
  int found = 0;
  for (const Task& task : *tasks) {
    const std::string text = *prompt->Render(task, 0);
    found += std::count(recorded.begin(), recorded.end(), text) > 0;
  }
  EXPECT_GT(found, 0) << recorded[0];
}

}  // namespace
}  // namespace rondo::arc
