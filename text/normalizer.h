// The first step of a tokenizer: text to text (Unicode normal forms, lower case, replacements).
#ifndef RONDO_TEXT_NORMALIZER_H_
#define RONDO_TEXT_NORMALIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "text/json.h"

namespace rondo::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `text` is valid UTF-8 and stays so.
  virtual absl::Status Apply(std::string* text) const = 0;
};

// From the "normalizer" of a tokenizer file; a null gives a null.
absl::StatusOr<std::unique_ptr<Normalizer>> NormalizerFromJson(const JsonView& json);

}  // namespace rondo::text

#endif  // RONDO_TEXT_NORMALIZER_H_
