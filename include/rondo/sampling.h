// How the next token is chosen from logits. Order and meaning of the steps are those of Hugging Face's generate():
// penalties and bias on the logits, then temperature, top-k, top-p, min-p, then a draw.
#ifndef RONDO_SAMPLING_H_
#define RONDO_SAMPLING_H_

#include <cstdint>
#include <map>

#include "absl/status/status.h"

namespace rondo {

struct SamplingOptions {
  double temperature = 0;         // 0: greedy, the most likely token
  int64_t top_k = 0;              // keep the k most likely; 0: all
  double top_p = 1;               // keep the smallest set with at least this probability
  double min_p = 0;               // keep tokens at least this fraction as likely as the most likely
  double repetition_penalty = 1;  // divides positive logits of tokens seen (prompt included), multiplies negative ones
  double frequency_penalty = 0;   // subtracted per occurrence among the generated tokens
  double presence_penalty = 0;    // subtracted once for each generated token
  uint64_t seed = 0;              // the same seed gives the same tokens on every run
  std::map<int64_t, float> logit_bias;  // added to these tokens' logits

  // InvalidArgument naming the option, what is allowed and what came.
  absl::Status Check() const;
};

}  // namespace rondo

#endif  // RONDO_SAMPLING_H_
