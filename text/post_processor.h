// The last step of encoding: special tokens around one sequence or a pair ("[CLS] A [SEP] B [SEP]"), and type ids.
#ifndef RONDO_TEXT_POST_PROCESSOR_H_
#define RONDO_TEXT_POST_PROCESSOR_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "text/json.h"
#include "text/token_model.h"

namespace rondo::text {

struct TypedToken {
  Token token;
  int64_t type_id = 0;
};
using TokenSequence = std::vector<TypedToken>;

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  // One sequence or two; special tokens may join as sequences of their own.
  virtual absl::Status Apply(bool add_special_tokens, std::vector<TokenSequence>* sequences) const = 0;
};

// From the "post_processor" of a tokenizer file; a null gives a null.
absl::StatusOr<std::unique_ptr<PostProcessor>> PostProcessorFromJson(const JsonView& json);

}  // namespace rondo::text

#endif  // RONDO_TEXT_POST_PROCESSOR_H_
