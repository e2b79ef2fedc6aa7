// Chat messages to a prompt, by the template that a model folder brings along (Jinja, as Hugging Face renders it).
//
//   text::ChatRequest request;
//   request.messages = text::ChatMessages({{"user", "Hello!"}});
//   RONDO_ASSIGN_OR_RETURN(std::string prompt, text::ApplyChatTemplate(*tokenizer, request));
//   RONDO_ASSIGN_OR_RETURN(auto encoding, tokenizer->Encode(prompt, /*add_special_tokens=*/false));
//
// docs/text.md lists what the language has. Anything else is an error that names it with line and column.
#ifndef RONDO_TEXT_CHAT_TEMPLATE_H_
#define RONDO_TEXT_CHAT_TEMPLATE_H_

#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "text/json.h"
#include "text/tokenizer.h"

namespace rondo::text {

struct ChatRequest {
  Json messages;  // an array of {"role": ..., "content": ..., ...}
  Json tools;     // an array, or null
  bool add_generation_prompt = true;
  std::map<std::string, std::string> special_tokens;  // "bos_token" ...; variables of the template
  Json extra;                                         // an object with further variables, or null
  // The time of strftime_now, in seconds since 1970, shown as UTC; the clock's local time where there is none.
  absl::optional<std::time_t> now;
};

// An array for ChatRequest::messages from pairs of role and content.
Json ChatMessages(const std::vector<std::pair<std::string, std::string>>& messages);

// A parsed template; immutable, for any number of threads.
class ChatTemplate {
 public:
  static absl::StatusOr<ChatTemplate> Parse(absl::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  absl::StatusOr<std::string> Render(const ChatRequest& request) const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<const Parsed> parsed);
  std::unique_ptr<const Parsed> parsed_;
};

// The tokenizer's template with its special tokens (those of the request count first).
absl::StatusOr<std::string> ApplyChatTemplate(const Tokenizer& tokenizer, ChatRequest request);

}  // namespace rondo::text

#endif  // RONDO_TEXT_CHAT_TEMPLATE_H_
