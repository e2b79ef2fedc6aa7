// Choosing the next token from logits. Order and meaning of the steps are those of Hugging Face's generate():
// penalties and bias on the logits, then temperature, top-k, top-p, min-p, then a draw. The same seed gives the same
// tokens on every machine: the generator and the draw are defined here, not by the standard library's distributions.
#ifndef RONDO_EXECUTOR_SAMPLER_H_
#define RONDO_EXECUTOR_SAMPLER_H_

#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rondo {

struct SamplingOptions {
  double temperature = 0;         // 0: greedy, the most likely token
  int64_t top_k = 0;              // keep the k most likely; 0: all
  double top_p = 1;               // keep the smallest set with at least this probability
  double min_p = 0;               // keep tokens at least this fraction as likely as the most likely
  double repetition_penalty = 1;  // divides positive logits of tokens seen (prompt included), multiplies negative ones
  double frequency_penalty = 0;   // subtracted per occurrence among the generated tokens
  double presence_penalty = 0;    // subtracted once for each generated token
  uint64_t seed = 0;
  std::map<int64_t, float> logit_bias;  // added to these tokens' logits

  // InvalidArgument naming the option, what is allowed and what came.
  absl::Status Check() const;
};

// Of one sequence. Allocates in its constructor only.
class Sampler {
 public:
  // `stream` tells sequences of one seed apart.
  Sampler(const SamplingOptions& options, int64_t vocabulary, uint64_t stream = 0);

  // A token of the prompt, or one that was chosen elsewhere.
  void See(int64_t token, bool generated);
  // Chooses from logits[vocabulary], which are overwritten, and sees the choice. NaN is never chosen.
  int64_t Choose(absl::Span<float> logits);
  // Applies penalties and bias only.
  void Adjust(absl::Span<float> logits) const;

 private:
  int64_t Draw(absl::Span<float> logits);
  double Uniform();  // [0, 1)

  SamplingOptions options_;
  std::mt19937_64 generator_;
  std::vector<int32_t> generated_;  // occurrences per token
  std::vector<uint8_t> seen_;
  std::vector<int64_t> touched_;  // tokens seen, each once
  std::vector<std::pair<float, int32_t>> candidates_;
};

// Index of the largest element, the first of equals; NaN is never chosen.
int64_t ArgMax(absl::Span<const float> values);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_SAMPLER_H_
