#include "executor/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/status.h"

namespace rondo {

absl::Status SamplingOptions::Check() const {
  if (!(temperature >= 0) || std::isinf(temperature)) {
    return InvalidArgument("temperature is ", temperature, ": expected 0 (greedy) or a positive number");
  }
  if (top_k < 0) return InvalidArgument("top-k is ", top_k, ": expected 0 (off) or a positive number");
  if (!(top_p > 0 && top_p <= 1)) return InvalidArgument("top-p is ", top_p, ": expected a number in (0, 1]");
  if (!(min_p >= 0 && min_p <= 1)) return InvalidArgument("min-p is ", min_p, ": expected a number in [0, 1]");
  if (!(repetition_penalty > 0) || std::isinf(repetition_penalty)) {
    return InvalidArgument("repetition-penalty is ", repetition_penalty, ": expected a positive number, 1 for none");
  }
  if (!std::isfinite(frequency_penalty)) return InvalidArgument("frequency-penalty is ", frequency_penalty);
  if (!std::isfinite(presence_penalty)) return InvalidArgument("presence-penalty is ", presence_penalty);
  return absl::OkStatus();
}

int64_t ArgMax(absl::Span<const float> values) {
  int64_t best = 0;
  float largest = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] > largest) {
      largest = values[i];
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

Sampler::Sampler(const SamplingOptions& options, int64_t vocabulary, uint64_t stream)
    : options_(options), generated_(vocabulary), seen_(vocabulary) {
  std::seed_seq seed{static_cast<uint32_t>(options.seed), static_cast<uint32_t>(options.seed >> 32),
                     static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  generator_.seed(seed);
  touched_.reserve(vocabulary);
  if (options.temperature > 0) candidates_.reserve(vocabulary);
}

void Sampler::See(int64_t token, bool generated) {
  if (token < 0 || token >= static_cast<int64_t>(seen_.size())) return;
  if (!seen_[token]) touched_.push_back(token);
  seen_[token] = 1;
  generated_[token] += generated;
}

void Sampler::Adjust(absl::Span<float> logits) const {
  const float repetition = static_cast<float>(options_.repetition_penalty);
  const bool penalties = options_.frequency_penalty != 0 || options_.presence_penalty != 0;
  if (repetition != 1 || penalties) {
    for (const int64_t token : touched_) {
      float& logit = logits[token];
      logit = logit > 0 ? logit / repetition : logit * repetition;
      if (generated_[token] > 0) {
        logit -= static_cast<float>(options_.frequency_penalty * generated_[token] + options_.presence_penalty);
      }
    }
  }
  for (const auto& [token, bias] : options_.logit_bias) {
    if (token >= 0 && token < static_cast<int64_t>(logits.size())) logits[token] += bias;
  }
}

double Sampler::Uniform() { return static_cast<double>(generator_() >> 11) * 0x1.0p-53; }

int64_t Sampler::Choose(absl::Span<float> logits) {
  Adjust(logits);
  const int64_t token = options_.temperature == 0 ? ArgMax(logits) : Draw(logits);
  See(token, true);
  return token;
}

int64_t Sampler::Draw(absl::Span<float> logits) {
  const float inverse = static_cast<float>(1 / options_.temperature);
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) candidates_.emplace_back(logits[i] * inverse, static_cast<int32_t>(i));
  }
  if (candidates_.empty()) return 0;
  // Larger first; of equals the smaller id, so that the order does not depend on the sort.
  const auto before = [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  const int64_t top_k = options_.top_k > 0 ? options_.top_k : static_cast<int64_t>(candidates_.size());
  if (top_k < static_cast<int64_t>(candidates_.size())) {
    std::nth_element(candidates_.begin(), candidates_.begin() + top_k, candidates_.end(), before);
    candidates_.resize(top_k);
  }
  if (options_.top_k > 0 || options_.top_p < 1) std::sort(candidates_.begin(), candidates_.end(), before);
  const float largest = std::max_element(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) {
                          return a.first < b.first;
                        })->first;
  double total = 0;
  for (auto& [weight, token] : candidates_) {
    weight = std::exp(weight - largest);
    total += weight;
  }
  if (options_.top_p < 1) {
    double sum = 0;
    size_t kept = 0;
    while (kept < candidates_.size() && sum < options_.top_p * total) sum += candidates_[kept++].first;
    candidates_.resize(std::max<size_t>(kept, 1));
    total = sum;
  }
  if (options_.min_p > 0) {
    // Weights are relative to the most likely token's.
    const auto end = std::remove_if(candidates_.begin(), candidates_.end(),
                                    [&](const auto& candidate) { return candidate.first < options_.min_p; });
    candidates_.erase(end, candidates_.end());
    total = 0;
    for (const auto& candidate : candidates_) total += candidate.first;
  }
  double at = Uniform() * total;
  for (const auto& [weight, token] : candidates_) {
    at -= weight;
    if (at < 0) return token;
  }
  return candidates_.back().second;
}

}  // namespace rondo
