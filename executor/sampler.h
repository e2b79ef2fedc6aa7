// Choosing the next token from logits (rondo/sampling.h). The same seed gives the same tokens on every machine: the
// generator and the draw are defined here, not by the standard library's distributions.
#ifndef RONDO_EXECUTOR_SAMPLER_H_
#define RONDO_EXECUTOR_SAMPLER_H_

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rondo/sampling.h"

namespace rondo {

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
