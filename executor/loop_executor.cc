#include "executor/loop_executor.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/strings/str_cat.h"
#include "graph/status.h"

namespace rondo {
namespace {

class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin_ = Clock::now();
};

}  // namespace

// One sequence that is being decoded.
struct LoopExecutor::Active {
  int request = 0, continuation = 0;
  int segment = 0;
  int64_t next = 0;  // the token that the next step takes in
  std::optional<Sampler> sampler;
  LoopSequence* result = nullptr;
};

// One call of Run.
class LoopExecutor::Batch {
 public:
  Batch(LoopExecutor& loop, absl::Span<const LoopRequest> requests, const LoopCallback& callback,
        const std::atomic<bool>* cancel, const LoopEndCallback& ended)
      : loop_(loop), requests_(requests), callback_(callback), ended_(ended), cancel_(cancel), runner_(*loop.runner_) {
    for (const LoopRequest& request : requests) results_.emplace_back(request.continuations);
    const int places = runner_.max_batch() > 1 ? std::min(runner_.max_batch(), loop.options_.sequences) : 1;
    for (int segment = places - 1; segment >= 0; --segment) free_.push_back(segment);
    active_.reserve(places);
    segments_.reserve(places);
    tokens_.reserve(places);
    logits_.resize(places);
  }

  absl::StatusOr<std::vector<std::vector<LoopSequence>>> Run() {
    const absl::Status status = RunAll();
    // Whatever happened, the next run finds every segment free.
    for (size_t segment = 0; segment < logits_.size(); ++segment) (void)runner_.Reset(static_cast<int>(segment));
    if (prompt_held_) (void)runner_.Reset(loop_.options_.sequences);
    RONDO_RETURN_IF_ERROR(status);
    return std::move(results_);
  }

 private:
  absl::Status RunAll() {
    while (!Cancelled()) {
      while (CanStart() && !Cancelled()) RONDO_RETURN_IF_ERROR(StartNext());
      if (active_.empty()) {
        if (waiting_ >= requests_.size()) break;
        continue;
      }
      RONDO_RETURN_IF_ERROR(Step());
    }
    for (const Active& sequence : active_) RONDO_RETURN_IF_ERROR(End(sequence));
    return absl::OkStatus();
  }

  bool Cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  // One shared prompt at a time: its segment must be free for the next.
  bool CanStart() const {
    if (free_.empty() || waiting_ >= requests_.size()) return false;
    return requests_[waiting_].continuations == 1 || !draining_;
  }

  // The next continuation of the request at the head of the queue.
  absl::Status StartNext() {
    const int index = static_cast<int>(waiting_);
    const LoopRequest& request = requests_[index];
    const bool shared = request.continuations > 1;
    const int prompt_segment = shared ? loop_.options_.sequences : free_.back();
    if (continuation_ == 0) {
      if (!request.others.empty()) RONDO_RETURN_IF_ERROR(runner_.SetOthers(prompt_segment, request.others));
      const Stopwatch watch;
      RONDO_RETURN_IF_ERROR(Annotate(runner_.Prefill(prompt_segment, request.prompt, &first_logits_),
                                     absl::StrCat("prompt ", index, ": ")));
      loop_.statistics_.prefill_tokens += static_cast<int64_t>(request.prompt.size());
      loop_.statistics_.prefill_seconds += watch.Seconds();
      prompt_held_ = shared;
    }
    Active sequence;
    sequence.request = index;
    sequence.continuation = continuation_;
    sequence.segment = free_.back();
    sequence.result = &results_[index][continuation_];
    sequence.result->tokens.reserve(request.max_new_tokens);
    free_.pop_back();
    if (shared) RONDO_RETURN_IF_ERROR(runner_.Attach(sequence.segment, prompt_segment));
    sequence.sampler.emplace(request.sampling, static_cast<int64_t>(first_logits_.size()),
                             static_cast<uint64_t>(continuation_));
    for (const int64_t token : request.prompt) sequence.sampler->See(token, false);
    logits_[0] = first_logits_;
    const bool goes_on = Take(sequence, logits_[0]);
    if (loop_.statistics_.first_token_seconds == 0) loop_.statistics_.first_token_seconds = since_start_.Seconds();
    if (goes_on) {
      active_.push_back(std::move(sequence));
    } else {
      RONDO_RETURN_IF_ERROR(End(sequence));
    }
    if (++continuation_ == request.continuations) {
      ++waiting_;
      continuation_ = 0;
      if (shared) draining_ = true;
      RONDO_RETURN_IF_ERROR(ReleasePrompt());
    }
    return absl::OkStatus();
  }

  // Chooses the sequence's next token; false when that ends it.
  bool Take(Active& sequence, std::vector<float>& logits) {
    const LoopRequest& request = requests_[sequence.request];
    const int64_t token = sequence.sampler->Choose(absl::MakeSpan(logits));
    LoopSequence& result = *sequence.result;
    const int64_t index = static_cast<int64_t>(result.tokens.size());
    result.tokens.push_back(token);
    if (std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) != request.stop_tokens.end()) {
      result.finish = LoopFinish::kStop;
      return false;
    }
    sequence.next = token;
    if (callback_ && !callback_({sequence.request, sequence.continuation, token, index, logits})) {
      result.finish = LoopFinish::kStop;
      return false;
    }
    if (index + 1 >= request.max_new_tokens) {
      result.finish = LoopFinish::kLength;
      return false;
    }
    return true;
  }

  absl::Status End(const Active& sequence) {
    if (ended_) {
      RONDO_RETURN_IF_ERROR(ended_({sequence.request, sequence.continuation, sequence.segment, *sequence.result}));
    }
    RONDO_RETURN_IF_ERROR(runner_.Reset(sequence.segment));
    free_.push_back(sequence.segment);
    return absl::OkStatus();
  }

  // Once the last continuation of a shared prompt has ended, its segment is free for the next.
  absl::Status ReleasePrompt() {
    if (!draining_) return absl::OkStatus();
    const int request = static_cast<int>(waiting_) - 1;
    for (const Active& sequence : active_) {
      if (sequence.request == request) return absl::OkStatus();
    }
    draining_ = prompt_held_ = false;
    return runner_.Reset(loop_.options_.sequences);
  }

  absl::Status Step() {
    const Stopwatch watch;
    segments_.clear();
    tokens_.clear();
    for (const Active& sequence : active_) {
      segments_.push_back(sequence.segment);
      tokens_.push_back(sequence.next);
    }
    RONDO_RETURN_IF_ERROR(runner_.Decode(segments_, tokens_, absl::MakeSpan(logits_).subspan(0, active_.size())));
    size_t kept = 0;
    const size_t count = active_.size();
    for (size_t i = 0; i < count; ++i) {
      if (Take(active_[i], logits_[i])) {
        if (kept != i) active_[kept] = std::move(active_[i]);
        ++kept;
      } else {
        RONDO_RETURN_IF_ERROR(End(active_[i]));
      }
    }
    active_.erase(active_.begin() + static_cast<int64_t>(kept), active_.end());
    loop_.statistics_.decode_tokens += static_cast<int64_t>(count);
    ++loop_.statistics_.decode_steps;
    loop_.statistics_.decode_seconds += watch.Seconds();
    return kept < count ? ReleasePrompt() : absl::OkStatus();
  }

  LoopExecutor& loop_;
  const absl::Span<const LoopRequest> requests_;
  const LoopCallback& callback_;
  const LoopEndCallback& ended_;
  const std::atomic<bool>* const cancel_;
  StepRunner& runner_;
  const Stopwatch since_start_;
  std::vector<std::vector<LoopSequence>> results_;
  std::vector<Active> active_;
  std::vector<int> free_;  // segments
  size_t waiting_ = 0;     // request at the head of the queue
  int continuation_ = 0;   // of it, to be started next
  std::vector<float> first_logits_;
  bool prompt_held_ = false, draining_ = false;
  std::vector<int> segments_;
  std::vector<int64_t> tokens_;
  std::vector<std::vector<float>> logits_;
};

absl::StatusOr<std::unique_ptr<LoopExecutor>> LoopExecutor::Create(const Decoder& decoder,
                                                                   const StepRunnerOptions& options) {
  if (options.sequences < 1) return InvalidArgument("sequences is ", options.sequences, ": expected at least 1");
  if (options.max_length < 1) return InvalidArgument("max length is ", options.max_length, ": expected at least 1");
  if (options.prefill_rows.empty() || options.prefill_rows.front() < 1 ||
      !std::is_sorted(options.prefill_rows.begin(), options.prefill_rows.end())) {
    return InvalidArgument("prefill rows: expected positive numbers in ascending order");
  }
  if (!options.decode_batches.empty() &&
      (options.decode_batches.front() < 1 ||
       !std::is_sorted(options.decode_batches.begin(), options.decode_batches.end()))) {
    return InvalidArgument("decode batches: expected positive numbers in ascending order");
  }
  std::unique_ptr<LoopExecutor> loop(new LoopExecutor(decoder, options));
  RONDO_ASSIGN_OR_RETURN(loop->runner_, MakeStepRunner(decoder, options));
  return loop;
}

absl::Status LoopExecutor::Check(absl::Span<const LoopRequest> requests) const {
  for (size_t i = 0; i < requests.size(); ++i) {
    const LoopRequest& request = requests[i];
    const std::string prefix = absl::StrCat("prompt ", i, ": ");
    if (request.prompt.empty()) return InvalidArgument(prefix, "is empty, expected at least one token");
    if (request.max_new_tokens < 1) {
      return InvalidArgument(prefix, "max new tokens is ", request.max_new_tokens, ", expected at least 1");
    }
    if (request.continuations < 1) return InvalidArgument(prefix, "continuations is ", request.continuations);
    if (request.continuations > 1 && options_.prompts < 1) {
      return InvalidArgument(prefix, "continuations share a prompt: expected options with room for one");
    }
    RONDO_RETURN_IF_ERROR(Annotate(request.sampling.Check(), prefix));
    const int64_t length = static_cast<int64_t>(request.prompt.size());
    if (length > options_.max_length || (request.continuations > 1 && length > options_.max_prompt)) {
      return OutOfRange(prefix, length, " tokens, the cache holds ",
                        request.continuations > 1 ? options_.max_prompt : options_.max_length,
                        " positions (raise the maximal length)");
    }
    // The last token is not run.
    if (length + request.max_new_tokens - 1 > options_.max_length) {
      return OutOfRange(prefix, length, " tokens and up to ", request.max_new_tokens, " new ones, the cache holds ",
                        options_.max_length, " positions (raise the maximal length or ask for fewer)");
    }
    if (decoder_.vocabulary() < 0) continue;
    for (size_t k = 0; k < request.prompt.size(); ++k) {
      if (request.prompt[k] >= 0 && request.prompt[k] < decoder_.vocabulary()) continue;
      return OutOfRange(prefix, "token ", k, " is ", request.prompt[k], ", out of range [0, ",
                        decoder_.vocabulary() - 1, "]");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<LoopSequence>>> LoopExecutor::Run(absl::Span<const LoopRequest> requests,
                                                                         const LoopCallback& callback,
                                                                         const std::atomic<bool>* cancel,
                                                                         const LoopEndCallback& ended) {
  RONDO_RETURN_IF_ERROR(Check(requests));
  statistics_ = {};
  return Batch(*this, requests, callback, cancel, ended).Run();
}

}  // namespace rondo
