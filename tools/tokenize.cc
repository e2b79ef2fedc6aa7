// rondo tokenize: text to tokens and back, and chats to prompts, as a model folder's tokenizer does it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "text/chat_template.h"
#include "text/status.h"
#include "text/tokenizer.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr size_t kMaxInputBytes = size_t{1} << 28;

struct TokenizeOptions {
  std::string tokenizer, text, file, decode, chat;
  bool has_text = false, has_decode = false;
  bool ids = false, no_special = false, json = false;
};

absl::StatusOr<std::string> ReadStandardInput() {
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0) return absl::UnavailableError("cannot read standard input");
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kMaxInputBytes) {
      return text::ResourceExhausted("standard input: more than ", kMaxInputBytes, " bytes");
    }
  }
}

absl::StatusOr<std::vector<int64_t>> ParseIds(absl::string_view list) {
  std::vector<int64_t> ids;
  for (const absl::string_view part : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    int64_t id;
    if (!absl::SimpleAtoi(part, &id)) {
      return text::InvalidArgument("--decode: '", Printable(part), "' is no id (expected numbers like 1,2,3)");
    }
    ids.push_back(id);
  }
  return ids;
}

// A file of messages, or of an object with "messages" and any of "tools", "add_generation_prompt" and further
// variables.
absl::StatusOr<text::ChatRequest> ReadChat(const std::string& path) {
  RONDO_ASSIGN_OR_RETURN(text::Json json, text::ReadJsonFile(path));
  text::ChatRequest request;
  if (json.array() != nullptr) {
    request.messages = std::move(json);
    return request;
  }
  const text::JsonView view(json, path);
  if (view["messages"].json().array() == nullptr) {
    return view["messages"].Expected("an array (a chat is an array of messages, or an object with \"messages\")");
  }
  RONDO_RETURN_IF_ERROR(view.Read("add_generation_prompt", &request.add_generation_prompt));
  text::Json::Object extra;
  for (auto& [name, value] : *json.object()) {
    if (name == "messages") {
      request.messages = std::move(value);
    } else if (name == "tools") {
      request.tools = std::move(value);
    } else if (name != "add_generation_prompt") {
      extra.emplace_back(name, std::move(value));
    }
  }
  request.extra = text::Json(std::move(extra));
  return request;
}

void PrintJson(const nlohmann::ordered_json& json) {
  Print(json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void PrintTokens(const text::Tokenizer& tokenizer, const text::Encoding& encoding) {
  TextTable table({"id", "token", ""}, "rl");
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    table.Add({absl::StrCat(encoding.ids[i]), Printable(encoding.tokens[i]),
               tokenizer.IsSpecial(encoding.ids[i]) ? "special" : ""});
  }
  if (!table.empty()) Print(table.ToString());
  Print(absl::StrCat(encoding.ids.size(), " tokens\n"));
}

absl::Status Tokenize(const TokenizeOptions& options) {
  RONDO_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::Load(options.tokenizer));
  if (options.has_decode) {
    RONDO_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, ParseIds(options.decode));
    text::DecodeOptions decode;
    decode.skip_special_tokens = options.no_special;
    RONDO_ASSIGN_OR_RETURN(const std::string decoded, tokenizer->Decode(ids, decode));
    if (options.json) {
      PrintJson({{"ids", ids}, {"text", decoded}});
    } else {
      Print(decoded + "\n");
    }
    return absl::OkStatus();
  }

  std::string text;
  const bool is_chat = !options.chat.empty();
  if (is_chat) {
    RONDO_ASSIGN_OR_RETURN(text::ChatRequest request, ReadChat(options.chat));
    RONDO_ASSIGN_OR_RETURN(text, text::ApplyChatTemplate(*tokenizer, std::move(request)));
  } else if (options.has_text) {
    text = options.text;
  } else if (!options.file.empty()) {
    RONDO_ASSIGN_OR_RETURN(text, ReadFile(options.file));
  } else {
    RONDO_ASSIGN_OR_RETURN(text, ReadStandardInput());
  }
  // A chat template writes the special tokens itself.
  RONDO_ASSIGN_OR_RETURN(const text::Encoding encoding,
                         tokenizer->Encode(text, /*add_special_tokens=*/!is_chat && !options.no_special));
  if (options.json) {
    PrintJson({{"text", text}, {"ids", encoding.ids}, {"tokens", encoding.tokens}});
  } else if (options.ids) {
    Print(absl::StrJoin(encoding.ids, ",") + "\n");
  } else if (is_chat) {
    Print(text + "\n");
  } else {
    PrintTokens(*tokenizer, encoding);
  }
  return absl::OkStatus();
}

}  // namespace

std::function<int()> DeclareTokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("TOKENIZER", options->tokenizer, "A model folder, or its tokenizer.json")->type_name("")->required();
  CLI::Option* text = app.add_option("--text", options->text, "Tokenize this text");
  CLI::Option* file = app.add_option("--file", options->file, "Tokenize this file; without a text, standard input");
  CLI::Option* decode = app.add_option("--decode", options->decode, "Turn ids (1,2,3) into text");
  CLI::Option* chat = app.add_option("--chat", options->chat, "Apply the chat template to the messages of a JSON file");
  text->excludes(file, decode, chat);
  file->excludes(decode, chat);
  decode->excludes(chat);
  app.add_flag("--ids", options->ids, "Print only the ids, with commas");
  app.add_flag("--no-special", options->no_special, "No special tokens: none are added, and --decode leaves them out");
  app.add_flag("--json", options->json, "Print JSON: text, ids, tokens");
  return [options, text, decode] {
    options->has_text = text->count() > 0;
    options->has_decode = decode->count() > 0;
    const absl::Status status = Tokenize(*options);
    return status.ok() ? kOk : Fail(status);
  };
}

}  // namespace rondo
