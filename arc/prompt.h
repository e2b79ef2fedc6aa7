// Prompts: what of a task a language model is shown, by a Jinja template (docs/text.md has the language). Its
// variables:
//
//   train   a list of {"input": grid, "output": grid}
//   input   the grid of the test
//
// where a grid is a list of rows and a row a list of integers, so that `row | join('')` is a line of digits.
#ifndef RONDO_ARC_PROMPT_H_
#define RONDO_ARC_PROMPT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "arc/dataset.h"
#include "text/chat_template.h"

namespace rondo::arc {

// "I", the input's rows, "O", the output's rows for each pair; "I", the rows of the test, "O".
extern const char kRowsTemplate[];
// The same task in words, for a model that answers messages.
extern const char kChatTemplate[];

class PromptTemplate {
 public:
  // `name` stands before the message of an error.
  static absl::StatusOr<PromptTemplate> Parse(absl::string_view source, absl::string_view name);
  absl::StatusOr<std::string> Render(const Task& task, int test) const;

 private:
  PromptTemplate(text::ChatTemplate parsed, absl::string_view name) : parsed_(std::move(parsed)), name_(name) {}
  text::ChatTemplate parsed_;
  std::string name_;
};

}  // namespace rondo::arc

#endif  // RONDO_ARC_PROMPT_H_
