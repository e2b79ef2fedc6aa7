// Text to token ids and back, as the tokenizer.json of a model folder says (the format of Hugging Face's tokenizers).
//
//   RONDO_ASSIGN_OR_RETURN(auto tokenizer, text::Tokenizer::Load("model_dir"));
//   RONDO_ASSIGN_OR_RETURN(text::Encoding prompt, tokenizer->Encode("Hello", /*add_special_tokens=*/true));
//   text::StreamDecoder stream(tokenizer, {});
//   for (int64_t id : generated) { RONDO_ASSIGN_OR_RETURN(std::string piece, stream.Push(id)); std::cout << piece; }
//
// A tokenizer is immutable and may serve any number of threads; a StreamDecoder serves one.
#ifndef RONDO_TEXT_TOKENIZER_H_
#define RONDO_TEXT_TOKENIZER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"

namespace rondo::text {

struct Encoding {
  std::vector<int64_t> ids;
  std::vector<int64_t> type_ids;
  std::vector<std::string> tokens;  // as the model has them; an unknown token may stand as its text
};

struct DecodeOptions {
  bool skip_special_tokens = true;
  // Ids that no token has vanish instead of being an error: a model's head is often padded beyond its vocabulary.
  bool skip_unknown_ids = false;
};

class Tokenizer {
 public:
  // `path` is a tokenizer.json or a folder with one. tokenizer_config.json, special_tokens_map.json,
  // chat_template.jinja and chat_template.json beside it are read too, where there are any.
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Load(const std::string& path);
  // The content of a tokenizer.json, and of a tokenizer_config.json or "".
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Parse(absl::string_view tokenizer_json,
                                                                absl::string_view config_json = "");
  ~Tokenizer();

  // Bytes that are no valid UTF-8 count as U+FFFD. The sections "truncation" and "padding" of the file are not applied.
  absl::StatusOr<Encoding> Encode(absl::string_view text, bool add_special_tokens = true) const;
  absl::StatusOr<Encoding> EncodePair(absl::string_view first, absl::string_view second,
                                      bool add_special_tokens = true) const;
  absl::StatusOr<std::string> Decode(absl::Span<const int64_t> ids, DecodeOptions options = {}) const;

  absl::optional<int64_t> IdOf(absl::string_view token) const;
  // nullptr: no token has this id.
  const std::string* TokenOf(int64_t id) const;
  bool IsSpecial(int64_t id) const;
  // The number of tokens, added ones included.
  int64_t vocab_size() const;

  // "bos_token", "eos_token", "pad_token" ... of the config, to the token's text.
  const std::map<std::string, std::string>& special_tokens() const;
  // The source of the chat template; with `tools` the one for tool use where there are several. nullptr: there is none.
  const std::string* ChatTemplateSource(bool tools = false) const;

 private:
  friend class StreamDecoder;
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Decodes ids as a model makes them. All pieces together are what Decode gives for the whole list; a piece holds whole
// characters and is never taken back.
class StreamDecoder {
 public:
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, DecodeOptions options);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  // The text that is certain now, often one token's, sometimes none or several tokens'.
  absl::StatusOr<std::string> Push(int64_t id);
  // The rest. The decoder is then at its end.
  absl::StatusOr<std::string> Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_TOKENIZER_H_
