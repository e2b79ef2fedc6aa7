#include "arc/prompt.h"

#include <utility>

#include "text/status.h"

namespace rondo::arc {
namespace {

using text::Json;

Json ToJson(const Grid& grid) {
  Json::Array rows;
  for (int r = 0; r < grid.rows; ++r) {
    Json::Array row;
    for (int c = 0; c < grid.columns; ++c) row.emplace_back(int64_t{grid.at(r, c)});
    rows.emplace_back(std::move(row));
  }
  return Json(std::move(rows));
}

}  // namespace

const char kRowsTemplate[] = R"({% macro rows(grid) %}
{% for row in grid %}
{{ row | join('') }}
{% endfor %}
{% endmacro %}
{% for pair in train %}
I
{{ rows(pair.input) }}O
{{ rows(pair.output) }}
{%- endfor %}
I
{{ rows(input) }}O
{{ '' }})";

const char kChatTemplate[] = R"({% macro rows(grid) %}
{% for row in grid %}
{{ row | join(' ') }}
{% endfor %}
{% endmacro %}
Each input grid becomes its output grid by one rule, the same for all examples. Numbers are colours.

{% for pair in train %}
Example {{ loop.index }}, input:
{{ rows(pair.input) }}
Example {{ loop.index }}, output:
{{ rows(pair.output) }}
{% endfor %}
Test, input:
{{ rows(input) }}
Give the output grid of the test in the same form, a line for each row, and nothing else.
)";

absl::StatusOr<PromptTemplate> PromptTemplate::Parse(absl::string_view source, absl::string_view name) {
  absl::StatusOr<text::ChatTemplate> parsed = text::ChatTemplate::Parse(source);
  if (!parsed.ok()) return text::Annotate(parsed.status(), absl::StrCat(name, ": "));
  return PromptTemplate(*std::move(parsed), name);
}

absl::StatusOr<std::string> PromptTemplate::Render(const Task& task, int test) const {
  Json::Array train;
  for (const Pair& pair : task.train) {
    train.emplace_back(Json::Object{{"input", ToJson(pair.input)}, {"output", ToJson(pair.output)}});
  }
  text::ChatRequest request;
  request.messages = Json(Json::Array());
  request.extra = Json(Json::Object{{"train", Json(std::move(train))}, {"input", ToJson(task.test[test].input)}});
  absl::StatusOr<std::string> text = parsed_.Render(request);
  if (!text.ok()) return text::Annotate(text.status(), absl::StrCat(name_, ": "));
  if (text->empty()) return text::InvalidArgument(name_, ": the prompt is empty");
  return text;
}

}  // namespace rondo::arc
