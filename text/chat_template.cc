#include "text/chat_template.h"

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/source.h"
#include "text/status.h"

namespace rondo::text {
namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20;
constexpr absl::string_view kWhere = "chat template: ";

}  // namespace

struct ChatTemplate::Parsed {
  explicit Parsed(absl::string_view text) : source(text) {}
  jinja::Source source;
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(absl::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return ResourceExhausted(kWhere, source.size(), " bytes (expected at most ", kMaxTemplateBytes, ")");
  }
  auto parsed = std::make_unique<Parsed>(source);
  absl::StatusOr<jinja::Body> body = jinja::ParseTemplate(parsed->source);
  if (!body.ok()) return Annotate(body.status(), kWhere);
  parsed->body = *std::move(body);
  return ChatTemplate(std::move(parsed));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatRequest& request) const {
  using jinja::Value;
  if (request.messages.array() == nullptr) {
    return InvalidArgument(kWhere, "messages: expected an array, got ", request.messages.TypeName());
  }
  if (!request.extra.is_null() && request.extra.object() == nullptr) {
    return InvalidArgument(kWhere, "extra variables: expected an object, got ", request.extra.TypeName());
  }
  absl::flat_hash_map<std::string, Value> variables;
  for (const auto& [name, token] : request.special_tokens) variables[name] = Value::String(token);
  variables["messages"] = Value::FromJson(request.messages);
  variables["tools"] = Value::FromJson(request.tools);  // None where there are none, as in Hugging Face
  variables["documents"] = Value::None();
  variables["add_generation_prompt"] = Value::Bool(request.add_generation_prompt);
  if (request.extra.object() != nullptr) {
    for (const auto& [name, value] : *request.extra.object()) variables[name] = Value::FromJson(value);
  }
  jinja::Interpreter interpreter(parsed_->source, parsed_->body);
  interpreter.set_now(request.now);
  absl::StatusOr<std::string> text = interpreter.Render(std::move(variables));
  if (!text.ok()) return Annotate(text.status(), kWhere);
  return text;
}

Json ChatMessages(const std::vector<std::pair<std::string, std::string>>& messages) {
  Json::Array array;
  for (const auto& [role, content] : messages) {
    array.push_back(Json(Json::Object{{"role", Json(role)}, {"content", Json(content)}}));
  }
  return Json(std::move(array));
}

absl::StatusOr<std::string> ApplyChatTemplate(const Tokenizer& tokenizer, ChatRequest request) {
  const std::string* source = tokenizer.ChatTemplateSource(!request.tools.is_null());
  if (source == nullptr) {
    return absl::NotFoundError(
        "no chat template (expected chat_template.jinja, or \"chat_template\" in tokenizer_config.json)");
  }
  for (const auto& special : tokenizer.special_tokens()) request.special_tokens.insert(special);
  RONDO_ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::Parse(*source));
  return chat_template.Render(request);
}

}  // namespace rondo::text
