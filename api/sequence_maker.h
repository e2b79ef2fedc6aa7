// SequenceMaker: from the loop's tokens to GeneratedSequence: text as it becomes certain, stop strings, the callback.
#ifndef RONDO_API_SEQUENCE_MAKER_H_
#define RONDO_API_SEQUENCE_MAKER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "api/stop_text.h"
#include "executor/loop_executor.h"
#include "rondo/generator.h"
#include "text/tokenizer.h"

namespace rondo {

class SequenceMaker {
 public:
  // Without a tokenizer there is no text. What is passed by reference outlives the maker.
  SequenceMaker(absl::Span<const LoopRequest> requests, const std::shared_ptr<const text::Tokenizer>& tokenizer,
                const std::vector<std::string>& stops, const GenerationCallback& callback);

  // A token was chosen; false ends its sequence. An error shows in End.
  bool Take(const LoopToken& token);
  // The sequence has ended: what is left of its text comes out.
  absl::StatusOr<const GeneratedSequence*> End(int request, int continuation, const LoopSequence& from);
  // All of them, by request and continuation. REQUIRES: End was called for each.
  std::vector<GeneratedSequence> TakeAll();
  bool ended(int request, int continuation) const { return At(request, continuation).ended; }

 private:
  struct Stream {
    Stream(const std::shared_ptr<const text::Tokenizer>& tokenizer, const std::vector<std::string>& stops);
    std::optional<text::StreamDecoder> decoder;
    StopText stop;
    GeneratedSequence sequence;
    bool ended = false;
  };
  Stream& At(int request, int continuation) { return streams_[first_[request] + continuation]; }
  const Stream& At(int request, int continuation) const { return streams_[first_[request] + continuation]; }

  const GenerationCallback& callback_;
  std::vector<Stream> streams_;
  std::vector<size_t> first_;  // of each request, in `streams_`
  absl::Status failure_;
};

}  // namespace rondo

#endif  // RONDO_API_SEQUENCE_MAKER_H_
