// The activation functions that RNN, GRU and LSTM take by name, with their alpha and beta.
#ifndef RONDO_OPS_RECURRENT_ACTIVATION_H_
#define RONDO_OPS_RECURRENT_ACTIVATION_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ops/op.h"

namespace rondo {

struct RecurrentActivation {
  enum class Kind {
    kSigmoid,
    kTanh,
    kRelu,
    kAffine,           // alpha x + beta
    kLeakyRelu,        // x < 0 ? alpha x : x
    kThresholdedRelu,  // x > alpha ? x : 0
    kScaledTanh,       // alpha tanh(beta x)
    kHardSigmoid,      // min(1, max(0, alpha x + beta))
    kElu,              // x < 0 ? alpha (e^x - 1) : x
    kSoftsign,         // x / (1 + |x|)
    kSoftplus,         // log(1 + e^x)
  };
  Kind kind = Kind::kSigmoid;
  float alpha = 0;
  float beta = 0;

  // x[i] = f(x[i])
  void Apply(float* x, int64_t n) const;
  void Apply(double* x, int64_t n) const;
  bool operator==(const RecurrentActivation& o) const { return kind == o.kind && alpha == o.alpha && beta == o.beta; }
};

// Reads attributes activations, activation_alpha, activation_beta for `directions` directions; `defaults` are the
// functions of one direction. Result: directions * defaults.size() functions. alpha and beta values go to the functions
// that take one, in order; where there are as many values as functions, each goes to its own.
absl::StatusOr<std::vector<RecurrentActivation>> ReadActivations(const AttributeReader& attributes, int directions,
                                                                 absl::Span<const absl::string_view> defaults);

}  // namespace rondo

#endif  // RONDO_OPS_RECURRENT_ACTIVATION_H_
