#include "api/sequence_maker.h"

#include "graph/status.h"

namespace rondo {

SequenceMaker::Stream::Stream(const std::shared_ptr<const text::Tokenizer>& tokenizer,
                              const std::vector<std::string>& stops)
    : stop(stops) {
  if (tokenizer == nullptr) return;
  text::DecodeOptions options;
  options.skip_unknown_ids = true;  // heads are often padded beyond the vocabulary
  decoder.emplace(tokenizer, options);
}

SequenceMaker::SequenceMaker(absl::Span<const LoopRequest> requests,
                             const std::shared_ptr<const text::Tokenizer>& tokenizer,
                             const std::vector<std::string>& stops, const GenerationCallback& callback)
    : callback_(callback) {
  for (size_t i = 0; i < requests.size(); ++i) {
    first_.push_back(streams_.size());
    for (int c = 0; c < requests[i].continuations; ++c) {
      GeneratedSequence& sequence = streams_.emplace_back(tokenizer, stops).sequence;
      sequence.prompt = static_cast<int>(i);
      sequence.continuation = c;
      sequence.prompt_ids = requests[i].prompt;
    }
  }
}

bool SequenceMaker::Take(const LoopToken& token) {
  Stream& stream = At(token.request, token.continuation);
  std::string piece;
  if (stream.decoder.has_value()) {
    absl::StatusOr<std::string> decoded = stream.decoder->Push(token.token);
    if (!decoded.ok()) {
      failure_ = decoded.status();
      return false;
    }
    piece = stream.stop.Push(*decoded);
    stream.sequence.text += piece;
  }
  if (callback_) callback_({token.request, token.continuation, token.token, piece});
  return !stream.stop.stopped();
}

absl::StatusOr<const GeneratedSequence*> SequenceMaker::End(int request, int continuation, const LoopSequence& from) {
  RONDO_RETURN_IF_ERROR(failure_);
  Stream& stream = At(request, continuation);
  GeneratedSequence& sequence = stream.sequence;
  sequence.ids = from.tokens;
  sequence.finish = static_cast<FinishReason>(from.finish);
  if (stream.decoder.has_value() && !stream.stop.stopped()) {
    RONDO_ASSIGN_OR_RETURN(std::string rest, stream.decoder->Finish());
    rest = stream.stop.Push(rest) + stream.stop.Finish();
    sequence.text += rest;
    if (callback_ && !rest.empty()) callback_({request, continuation, -1, rest});
  }
  stream.ended = true;
  return &sequence;
}

std::vector<GeneratedSequence> SequenceMaker::TakeAll() {
  std::vector<GeneratedSequence> all;
  all.reserve(streams_.size());
  for (Stream& stream : streams_) all.push_back(std::move(stream.sequence));
  return all;
}

}  // namespace rondo
