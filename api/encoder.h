// The encoder's side of a sequence-to-sequence model: runs the encoder, and the decoder once without its cache, for the
// keys and values that cross-attention reads in every step.
#ifndef RONDO_API_ENCODER_H_
#define RONDO_API_ENCODER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/model_folder.h"
#include "executor/decoder.h"
#include "rondo/generator.h"
#include "rondo/model.h"

namespace rondo {

class EncoderSide {
 public:
  static absl::StatusOr<std::unique_ptr<EncoderSide>> Load(const ModelFolder& folder, const ModelOptions& options);

  // What `decoder` asks for besides tokens and its own cache, for one prompt: `ids` of a text, or `inputs` by name.
  absl::StatusOr<std::vector<RuntimeValue>> Run(const Decoder& decoder, absl::Span<const int64_t> ids,
                                                const NamedTensors& inputs, int64_t start_token);
  absl::Status SaveCache() const;

 private:
  EncoderSide(Model encoder, Model first_decoder)
      : encoder_(std::move(encoder)), first_decoder_(std::move(first_decoder)) {}
  absl::StatusOr<NamedTensors> RunFirstStep(const NamedTensors& known, int64_t start_token);

  Model encoder_, first_decoder_;
};

}  // namespace rondo

#endif  // RONDO_API_ENCODER_H_
