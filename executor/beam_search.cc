#include "executor/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/status.h"

namespace rondo {
namespace {

struct Beam {
  int segment = 0;
  double sum = 0;  // of log-probabilities
  std::vector<int64_t> tokens;
  Sampler sampler;
};
struct Candidate {
  double sum;
  int beam;
  int64_t token;
};

class Search {
 public:
  Search(StepRunner& runner, const LoopRequest& request, const BeamOptions& options)
      : runner_(runner), request_(request), options_(options) {}

  absl::StatusOr<std::vector<BeamSequence>> Run(int prompt_segment, const std::atomic<bool>* cancel) {
    if (!request_.others.empty()) RONDO_RETURN_IF_ERROR(runner_.SetOthers(prompt_segment, request_.others));
    std::vector<std::vector<float>> logits(1);
    RONDO_RETURN_IF_ERROR(runner_.Prefill(prompt_segment, request_.prompt, &logits[0]));
    for (int segment = 2 * options_.beams - 1; segment >= 0; --segment) free_.push_back(segment);
    Sampler sampler(request_.sampling, static_cast<int64_t>(logits[0].size()));
    for (const int64_t token : request_.prompt) sampler.See(token, false);
    // The first choice has one beam to continue: the prompt itself.
    beams_.push_back({Take(), 0, {}, std::move(sampler)});
    RONDO_RETURN_IF_ERROR(runner_.Attach(beams_[0].segment, prompt_segment));
    for (int64_t length = 1;; ++length) {
      RONDO_RETURN_IF_ERROR(Advance(absl::MakeSpan(logits)));
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return Best(LoopFinish::kCancelled);
      if (length >= request_.max_new_tokens || Decided(length)) return Best(LoopFinish::kLength);
      RONDO_RETURN_IF_ERROR(Decode(&logits));
    }
  }

 private:
  int Take() {
    const int segment = free_.back();
    free_.pop_back();
    return segment;
  }
  double Score(double sum, size_t length) const {
    return sum / std::pow(static_cast<double>(std::max<size_t>(length, 1)), options_.length_penalty);
  }
  bool Stops(int64_t token) const {
    return std::find(request_.stop_tokens.begin(), request_.stop_tokens.end(), token) != request_.stop_tokens.end();
  }

  // Chooses the next beams from the running ones and their logits.
  absl::Status Advance(absl::Span<std::vector<float>> logits) {
    candidates_.clear();
    // Twice the beams, and more where several tokens stop: enough that ended ones leave a full set.
    const size_t wanted = static_cast<size_t>(options_.beams) * (1 + std::max<size_t>(1, request_.stop_tokens.size()));
    for (size_t b = 0; b < beams_.size(); ++b) {
      beams_[b].sampler.Adjust(absl::MakeSpan(logits[b]));
      AddBest(logits[b], static_cast<int>(b), wanted);
    }
    const auto better = [](const Candidate& a, const Candidate& b) {
      return a.sum > b.sum || (a.sum == b.sum && (a.beam < b.beam || (a.beam == b.beam && a.token < b.token)));
    };
    std::sort(candidates_.begin(), candidates_.end(), better);
    std::vector<Candidate> chosen;
    for (size_t i = 0; i < candidates_.size() && chosen.size() < static_cast<size_t>(options_.beams); ++i) {
      const Candidate& candidate = candidates_[i];
      if (!Stops(candidate.token)) {
        chosen.push_back(candidate);
      } else if (i < static_cast<size_t>(options_.beams)) {
        const Beam& beam = beams_[candidate.beam];
        BeamSequence ended{beam.tokens, Score(candidate.sum, beam.tokens.size() + 1), LoopFinish::kStop};
        ended.tokens.push_back(candidate.token);
        Keep(std::move(ended));
      }
    }
    return Continue(chosen);
  }

  // The likeliest tokens after one beam.
  void AddBest(absl::Span<const float> logits, int b, size_t wanted) {
    float largest = -std::numeric_limits<float>::infinity();
    for (const float x : logits) largest = std::max(largest, x);
    double total = 0;
    for (const float x : logits) total += std::isnan(x) ? 0 : std::exp(static_cast<double>(x) - largest);
    const double log_total = largest + std::log(total);
    best_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!std::isnan(logits[i])) best_.emplace_back(logits[i], static_cast<int64_t>(i));
    }
    const size_t count = std::min(wanted, best_.size());
    std::partial_sort(
        best_.begin(), best_.begin() + static_cast<int64_t>(count), best_.end(),
        [](const auto& x, const auto& y) { return x.first > y.first || (x.first == y.first && x.second < y.second); });
    for (size_t i = 0; i < count; ++i) {
      candidates_.push_back({beams_[b].sum + static_cast<double>(best_[i].first) - log_total, b, best_[i].second});
    }
  }

  // The first to continue a beam takes over its segment, others get copies.
  absl::Status Continue(const std::vector<Candidate>& chosen) {
    std::vector<Beam> next;
    std::vector<bool> taken(beams_.size());
    for (const Candidate& candidate : chosen) {
      const Beam& from = beams_[candidate.beam];
      Beam beam{from.segment, candidate.sum, from.tokens, from.sampler};
      if (taken[candidate.beam]) {
        beam.segment = Take();
        RONDO_RETURN_IF_ERROR(runner_.Copy(from.segment, beam.segment));
      }
      taken[candidate.beam] = true;
      beam.tokens.push_back(candidate.token);
      beam.sampler.See(candidate.token, true);
      next.push_back(std::move(beam));
    }
    for (size_t b = 0; b < beams_.size(); ++b) {
      if (taken[b]) continue;
      RONDO_RETURN_IF_ERROR(runner_.Reset(beams_[b].segment));
      free_.push_back(beams_[b].segment);
    }
    beams_ = std::move(next);
    return absl::OkStatus();
  }

  absl::Status Decode(std::vector<std::vector<float>>* logits) {
    logits->resize(beams_.size());
    const size_t at_once = static_cast<size_t>(std::max(1, runner_.max_batch()));
    for (size_t begin = 0; begin < beams_.size(); begin += at_once) {
      const size_t count = std::min(at_once, beams_.size() - begin);
      std::vector<int> segments;
      std::vector<int64_t> tokens;
      for (size_t b = begin; b < begin + count; ++b) {
        segments.push_back(beams_[b].segment);
        tokens.push_back(beams_[b].tokens.back());
      }
      RONDO_RETURN_IF_ERROR(runner_.Decode(segments, tokens, absl::MakeSpan(*logits).subspan(begin, count)));
    }
    return absl::OkStatus();
  }

  void Keep(BeamSequence sequence) {
    finished_.push_back(std::move(sequence));
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const BeamSequence& a, const BeamSequence& b) { return a.score > b.score; });
    if (finished_.size() > static_cast<size_t>(options_.beams)) finished_.pop_back();
  }
  // No running beam can still beat the worst that is kept.
  bool Decided(int64_t length) const {
    if (beams_.empty()) return true;
    if (finished_.size() < static_cast<size_t>(options_.beams)) return false;
    return finished_.back().score >= Score(beams_.front().sum, static_cast<size_t>(length));
  }

  absl::StatusOr<std::vector<BeamSequence>> Best(LoopFinish finish) {
    for (const Beam& beam : beams_) {
      Keep({beam.tokens, Score(beam.sum, beam.tokens.size()), finish});
    }
    if (finished_.size() > static_cast<size_t>(options_.num_return)) finished_.resize(options_.num_return);
    return std::move(finished_);
  }

  StepRunner& runner_;
  const LoopRequest& request_;
  const BeamOptions options_;
  std::vector<Beam> beams_;
  std::vector<int> free_;
  std::vector<Candidate> candidates_;
  std::vector<std::pair<float, int64_t>> best_;
  std::vector<BeamSequence> finished_;
};

}  // namespace

absl::StatusOr<std::vector<BeamSequence>> SearchBeams(StepRunner& runner, const LoopRequest& request,
                                                      const BeamOptions& options, const std::atomic<bool>* cancel) {
  const int sequences = 2 * options.beams;
  if (runner.sequences() < sequences || runner.prompts() < 1) {
    return InvalidArgument("beam search with ", options.beams, " beams needs ", sequences,
                           " sequences and a prompt segment, there are ", runner.sequences(), " and ",
                           runner.prompts());
  }
  const int prompt_segment = runner.sequences();
  absl::StatusOr<std::vector<BeamSequence>> result = Search(runner, request, options).Run(prompt_segment, cancel);
  for (int segment = 0; segment < sequences; ++segment) (void)runner.Reset(segment);
  (void)runner.Reset(prompt_segment);
  return result;
}

}  // namespace rondo
