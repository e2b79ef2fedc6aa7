#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/support/paths.h"

namespace rondo::text {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<std::string> Render(absl::string_view source, ChatRequest request = {}) {
  if (request.messages.is_null()) request.messages = ChatMessages({});
  const auto chat_template = ChatTemplate::Parse(source);
  if (!chat_template.ok()) return chat_template.status();
  return chat_template->Render(request);
}

std::string Error(absl::string_view source) {
  const auto text = Render(source);
  EXPECT_FALSE(text.ok()) << source << "\ngave: " << text->substr(0, 200);
  return std::string(text.status().message());
}

// Templates with what Jinja 3.1 makes of them in Hugging Face's settings (trim_blocks, lstrip_blocks, loop controls,
// immutable sandbox, its tojson). Where it raises an error, so do we; the words differ.
TEST(ChatTemplateTest, RendersAsJinja) {
  const auto vectors = ReadJsonFile(SourceDir() + "/tests/data/text/jinja.json");
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  ASSERT_GT(vectors->array()->size(), 400u);
  for (const Json& vector : *vectors->array()) {
    const std::string& source = *vector.Find("template")->string();
    SCOPED_TRACE(source);
    ChatRequest request;
    request.now = 1721995200;  // 2024-07-26
    if (const Json* variables = vector.Find("variables")) {
      request.extra = *variables;
      request.messages = *variables->Find("messages");
    }
    const auto text = Render(source, request);
    if (vector.Find("error") != nullptr) {
      EXPECT_FALSE(text.ok()) << *vector.Find("error")->string() << "\ngave: " << *text;
    } else if (text.ok()) {
      EXPECT_EQ(*text, *vector.Find("text")->string());
    } else {
      ADD_FAILURE() << text.status();
    }
  }
}

TEST(ChatTemplateTest, ErrorsNameLineColumnAndConstruct) {
  const std::pair<const char*, const char*> kCases[] = {
      {"a\n{% include 'x' %}", "chat template: line 2, column 4: statement 'include' is not supported"},
      {"{% frobnicate %}", "line 1, column 4: unknown statement 'frobnicate'"},
      {"x\n\n  {{ 1 | frob }}", "line 3, column 10: unknown filter 'frob'"},
      {"{{ 1 is frob }}", "unknown test 'frob'"},
      {"{{ frob(1) }}", "'frob' is undefined"},
      {"{{ messages[0].x.y }}", "line 1, column 15: '[0]' is undefined"},
      {"\xc3\xb6{{ nope.x }}", "line 1, column 9: 'nope' is undefined"},
      {"{{ 1 + 'a' }}", "column 6: '+' between int and str"},
      {"{{ raise_exception('Only user and assistant!') }}", "Only user and assistant!"},
      {"{% if x %}a", "the template ends before 'elif' or 'else' or 'endif'"},
      {"{{ 'abc", "column 4: string without end"},
      {"{{ 1", "tag without end (expected '}}')"},
      {"{{ a ? b }}", "unexpected character '?'"},
      {"{{ messages.append(1) }}", "cannot be changed"},
      {"{{ 9223372036854775807 + 1 }}", "an integer beyond 64 bits"},
      {"{{ 99999999999999999999 }}", "too large"},
      {"{{ 'a'.join(1) }}", "cannot be iterated over"},
      {"{{ '%q' % 1 }}", "format '%q'"},
  };
  for (const auto& [source, message] : kCases) {
    const std::string error = Error(source);
    EXPECT_THAT(error, StartsWith("chat template: line ")) << source;
    EXPECT_THAT(error, HasSubstr(message)) << source;
  }
}

TEST(ChatTemplateTest, AFilterThatIsMissingMattersOnlyWhereItIsReached) {
  EXPECT_EQ(*Render("{% if false %}{{ 1 | frob }}{% endif %}ok"), "ok");
}

TEST(ChatTemplateTest, VariablesComeFromTheRequest) {
  ChatRequest request;
  request.messages = ChatMessages({{"user", "Hi"}});
  request.special_tokens = {{"bos_token", "<s>"}};
  request.add_generation_prompt = false;
  request.extra = Json(Json::Object{{"enable_thinking", Json(true)}});
  EXPECT_EQ(*Render("{{ bos_token }}{{ messages[0].content }}{{ add_generation_prompt }}{{ enable_thinking }}"
                    "{{ tools is none }}{{ eos_token }}",
                    request),
            "<s>HiFalseTrueTrue");
}

TEST(ChatTemplateTest, WrongRequestsAreErrors) {
  ChatRequest request;
  request.messages = Json("hello");
  EXPECT_THAT(std::string(Render("x", request).status().message()),
              HasSubstr("messages: expected an array, got a string"));
  request.messages = ChatMessages({});
  request.extra = Json(int64_t{3});
  EXPECT_THAT(std::string(Render("x", request).status().message()), HasSubstr("expected an object, got an integer"));
  EXPECT_THAT(std::string(ApplyChatTemplate(**Tokenizer::Parse(R"({"model": {"type": "WordLevel", "vocab": {}}})"), {})
                              .status()
                              .message()),
              HasSubstr("no chat template"));
}

// --- Templates that mean harm ---

std::string Repeat(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST(HostileTemplateTest, NestingIsBounded) {
  constexpr int kMany = 20000;
  for (const std::string& source :
       {"{{ " + Repeat("(", kMany) + "1" + Repeat(")", kMany) + " }}",
        "{{ " + Repeat("[", kMany) + Repeat("]", kMany) + " }}", "{{ " + Repeat("not ", kMany) + "1 }}",
        "{{ " + Repeat("-", kMany) + "1 }}", "{{ 1" + Repeat(" + 1", kMany) + " }}",
        "{{ a" + Repeat(".a", kMany) + " }}", "{{ a" + Repeat("|upper", kMany) + " }}",
        "{{ a" + Repeat("[0]", kMany) + " }}", "{{ 1" + Repeat(" if 1 else 1", kMany) + " }}",
        Repeat("{% if 1 %}", kMany), Repeat("{% for a in b %}", kMany),
        "{% set " + Repeat("(", kMany) + Repeat(")", kMany) + " %}",
        "{{ " + Repeat("{1:", kMany) + Repeat("}", kMany) + " }}",
        "{{ " + Repeat("f(", kMany) + Repeat(")", kMany) + " }}"}) {
    EXPECT_THAT(Error(source), HasSubstr("nested more than")) << source.substr(0, 40);
  }
}

TEST(HostileTemplateTest, EndlessWorkIsBounded) {
  EXPECT_THAT(Error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("nested more than"));
  EXPECT_THAT(Error("{% for a in [[]] recursive %}{{ loop([[]]) }}{% endfor %}"), HasSubstr("nested more than"));
  EXPECT_THAT(Error("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
              HasSubstr("the template "));
  EXPECT_THAT(Error("{% for a in range(100001) %}{% endfor %}"), HasSubstr("more than 100000 numbers"));
  EXPECT_THAT(Error("{% for a in range(-9223372036854775807, 9223372036854775807, 1) %}{% endfor %}"),
              HasSubstr("more than 100000 numbers"));
  EXPECT_THAT(Error("{{ 'x' * 9223372036854775807 }}"), HasSubstr("repeated"));
  EXPECT_THAT(Error("{{ [1] * 1000000000000 }}"), HasSubstr("repeated"));
  EXPECT_THAT(Error("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(1000) %}"
                    "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
              HasSubstr("bytes of values"));
  EXPECT_THAT(Error("{{ 'x'.ljust(99999999999) }}"), HasSubstr("bytes of values"));
  EXPECT_THAT(Error("{{ 2 ** 64 }}"), HasSubstr("beyond 64 bits"));
}

TEST(HostileTemplateTest, ValuesThatNestWithoutEndAreErrors) {
  for (const char* next : {"[ns.x]", "{'a': ns.x}", "(ns.x, 1)", "[ns.x].count", "{'a': ns.x}.items"}) {
    EXPECT_THAT(Error(absl::StrCat("{% set ns = namespace(x=0) %}{% for i in range(100000) %}{% set ns.x = ", next,
                                   " %}{% endfor %}")),
                HasSubstr("values nested more than"))
        << next;
  }
}

TEST(HostileTemplateTest, CyclesAndChainsOfObjectsAreTakenDown) {
  EXPECT_EQ(*Render("{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = [ns] %}ok"), "ok");
  EXPECT_EQ(*Render("{% macro m() %}{% endmacro %}{% set x = m %}ok"), "ok");
  EXPECT_EQ(*Render("{% set ns = namespace(x=0) %}{% for i in range(50000) %}{% set ns.x = namespace(p=ns.x) %}"
                    "{% endfor %}ok"),
            "ok");
  // Macros that keep the scope in which they were made, each made by the one before.
  EXPECT_EQ(
      *Render("{% set ns = namespace() %}{% macro make() %}{% macro inner() %}{% set ns.m = inner %}{% endmacro %}"
              "{% set ns.m = inner %}{% endmacro %}{% for i in range(20000) %}{{ make() }}{% endfor %}ok"),
      "ok");
  EXPECT_EQ(*Render("{% set ns = namespace() %}{% for i in [1] recursive %}{% set ns.l = loop %}{% endfor %}"
                    "{{ ns.l.index }}ok"),
            "1ok");
}

TEST(HostileTemplateTest, EveryTruncationAndManyMutationsRenderOrFailCleanly) {
  const std::string good =
      "{%- set ns = namespace(i=0) -%}{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}\n{% for x in messages if x.role %}"
      "{{ loop.index }}{{ x['role'] | upper | trim('\\n') }}{{ x.content[1:-1] if x is mapping else {'a': [1.5, none]} "
      "}}"
      "{% set ns.i = ns.i + 1 %}{% call m(1) %}c{% endcall %}{% endfor %}{# c #}{% raw %}{{{% endraw %}{{ ns.i // 2 }}";
  ChatRequest request;
  request.messages = ChatMessages({{"user", "Hello"}, {"assistant", "\xc3\xb6"}});
  ASSERT_TRUE(Render(good, request).ok()) << Render(good, request).status();
  const std::string junk = "{}%#-+()[]'\".|~0a \n";
  for (size_t i = 0; i < good.size(); ++i) {
    (void)Render(good.substr(0, i), request);
    for (const char c : junk) {
      std::string changed = good;
      changed[i] = c;
      (void)Render(changed, request);
    }
  }
}

}  // namespace
}  // namespace rondo::text
