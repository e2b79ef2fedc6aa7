// The activations that an operator may apply to its own result: attributes `activation`, `activation_alpha` and
// `activation_beta` of the "rondo" operators and of com.microsoft's FusedConv and FusedMatMul. One enum serves the
// plain kernels (Apply) and oneDNN's post-ops (ops/onednn).
#ifndef RONDO_OPS_FUSED_ACTIVATION_H_
#define RONDO_OPS_FUSED_ACTIVATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "ops/op.h"

namespace rondo {

enum class ActivationKind {
  kNone,
  kRelu,
  kLeakyRelu,  // x < 0 ? alpha * x : x; alpha = 0.01
  kClip,       // min(max(x, alpha), beta)
  kSigmoid,
  kTanh,
  kSilu,  // x * sigmoid(alpha * x); alpha = 1 (Swish, QuickGelu)
  kGelu,  // 0.5 x (1 + erf(x / sqrt 2))
  kGeluTanh,
  kHardSwish,    // x * max(0, min(1, x / 6 + 0.5))
  kHardSigmoid,  // max(0, min(1, alpha * x + beta)); alpha = 0.2, beta = 0.5
  kElu,          // x < 0 ? alpha * (exp(x) - 1) : x; alpha = 1
  kSoftplus,
  kMish,
};

struct FusedActivation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;

  bool none() const { return kind == ActivationKind::kNone; }
  float Apply(float x) const;
  std::string ToString() const;  // "Clip(0,6)", "" for none: part of primitive keys
};

// From an ONNX operator name ("Relu", "Clip", "Gelu", "GeluTanh" ...; "" is none) and its parameters.
absl::StatusOr<FusedActivation> MakeActivation(absl::string_view name, const float* alpha, const float* beta);
// From the attributes activation, activation_alpha, activation_beta.
absl::StatusOr<FusedActivation> ReadActivation(const AttributeReader& attributes);

}  // namespace rondo

#endif  // RONDO_OPS_FUSED_ACTIVATION_H_
