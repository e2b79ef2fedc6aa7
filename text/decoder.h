// Tokens to text. Every decoder is a stage of a pipeline that takes tokens one at a time and passes on what can no
// longer change, so that decoding a list and streaming while a model generates are the same code and give the same
// text.
//
// A stage sees each token as text in one or more fragments, then its end: a stage that joins tokens (Fuse, ByteLevel)
// passes on one token whose end comes with the end of everything. Fragments hold whole characters.
#ifndef RONDO_TEXT_DECODER_H_
#define RONDO_TEXT_DECODER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "text/json.h"

namespace rondo::text {

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual absl::Status Append(absl::string_view fragment) = 0;
  virtual absl::Status EndToken() = 0;
  virtual absl::Status Finish() = 0;  // no more tokens

  void set_next(DecoderStage* next) { next_ = next; }

 protected:
  DecoderStage& next() { return *next_; }
  // Passes on a whole token.
  absl::Status Pass(absl::string_view token);

 private:
  DecoderStage* next_ = nullptr;
};

// Made from the "decoder" of a tokenizer file; thread-safe. A null gives a decoder that puts spaces between tokens.
class Decoder {
 public:
  static absl::StatusOr<Decoder> FromJson(const JsonView& json);

  // One pass over tokens.
  class Pipeline {
   public:
    absl::Status Push(absl::string_view token);
    absl::Status Finish();
    // The text since the last call.
    std::string Take();

   private:
    friend class Decoder;
    Pipeline() = default;
    std::vector<std::unique_ptr<DecoderStage>> stages_;  // the last one collects text_
    std::unique_ptr<std::string> text_;
  };
  Pipeline Start() const;

 private:
  std::vector<std::function<std::unique_ptr<DecoderStage>()>> makers_;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_DECODER_H_
