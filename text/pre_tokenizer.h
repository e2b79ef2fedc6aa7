// The second step of a tokenizer: text is cut into words, which the model then tokenizes one by one.
#ifndef RONDO_TEXT_PRE_TOKENIZER_H_
#define RONDO_TEXT_PRE_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "text/json.h"

namespace rondo::text {

struct Word {
  std::string text;
  bool at_start = false;  // of the whole text that is encoded
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Replaces the words by finer ones; empty ones vanish.
  virtual absl::Status Apply(std::vector<Word>* words) const = 0;
};

// From the "pre_tokenizer" of a tokenizer file; a null gives a null.
absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizerFromJson(const JsonView& json);

// Metaspace is a pre-tokenizer and a decoder with the same fields.
struct MetaspaceOptions {
  std::string replacement;
  enum class Prepend { kAlways, kFirst, kNever } prepend = Prepend::kAlways;
  bool split = true;
};
absl::StatusOr<MetaspaceOptions> MetaspaceFromJson(const JsonView& json);

}  // namespace rondo::text

#endif  // RONDO_TEXT_PRE_TOKENIZER_H_
