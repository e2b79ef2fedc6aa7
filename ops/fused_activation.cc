#include "ops/fused_activation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace rondo {
namespace {

struct ActivationRow {
  absl::string_view name;
  ActivationKind kind;
  float alpha;
  float beta;
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr ActivationRow kActivations[] = {
    {"", ActivationKind::kNone, 0, 0},
    {"Relu", ActivationKind::kRelu, 0, 0},
    {"LeakyRelu", ActivationKind::kLeakyRelu, 0.01f, 0},
    {"Clip", ActivationKind::kClip, -kInfinity, kInfinity},
    {"Sigmoid", ActivationKind::kSigmoid, 0, 0},
    {"Tanh", ActivationKind::kTanh, 0, 0},
    {"Silu", ActivationKind::kSilu, 1, 0},
    {"Swish", ActivationKind::kSilu, 1, 0},
    {"QuickGelu", ActivationKind::kSilu, 1.702f, 0},
    {"Gelu", ActivationKind::kGelu, 0, 0},
    {"GeluTanh", ActivationKind::kGeluTanh, 0, 0},
    {"HardSwish", ActivationKind::kHardSwish, 0, 0},
    {"HardSigmoid", ActivationKind::kHardSigmoid, 0.2f, 0.5f},
    {"Elu", ActivationKind::kElu, 1, 0},
    {"Softplus", ActivationKind::kSoftplus, 0, 0},
    {"Mish", ActivationKind::kMish, 0, 0},
};

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float Softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

}  // namespace

float FusedActivation::Apply(float x) const {
  switch (kind) {
    case ActivationKind::kNone:
      return x;
    case ActivationKind::kRelu:
      return x < 0 ? 0 : x;
    case ActivationKind::kLeakyRelu:
      return x < 0 ? alpha * x : x;
    case ActivationKind::kClip:
      return x < alpha ? alpha : (x > beta ? beta : x);
    case ActivationKind::kSigmoid:
      return Sigmoid(x);
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kSilu:
      return x * Sigmoid(alpha * x);
    case ActivationKind::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case ActivationKind::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case ActivationKind::kHardSwish:
      return x * std::max(0.0f, std::min(1.0f, x / 6.0f + 0.5f));
    case ActivationKind::kHardSigmoid:
      return std::max(0.0f, std::min(1.0f, alpha * x + beta));
    case ActivationKind::kElu:
      return x < 0 ? alpha * std::expm1(x) : x;
    case ActivationKind::kSoftplus:
      return Softplus(x);
    case ActivationKind::kMish:
      return x * std::tanh(Softplus(x));
  }
  return x;
}

std::string FusedActivation::ToString() const {
  for (const ActivationRow& row : kActivations) {
    if (row.kind != kind) continue;
    if (alpha == 0 && beta == 0) return std::string(row.name);
    return absl::StrCat(row.name, "(", alpha, ",", beta, ")");
  }
  return "";
}

absl::StatusOr<FusedActivation> MakeActivation(absl::string_view name, const float* alpha, const float* beta) {
  for (const ActivationRow& row : kActivations) {
    if (row.name != name) continue;
    return FusedActivation{row.kind, alpha != nullptr ? *alpha : row.alpha, beta != nullptr ? *beta : row.beta};
  }
  return Unimplemented("activation \"", name, "\" cannot be fused");
}

absl::StatusOr<FusedActivation> ReadActivation(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string name, attributes.String("activation", ""));
  RONDO_ASSIGN_OR_RETURN(float alpha, attributes.Float("activation_alpha", 0.0f));
  RONDO_ASSIGN_OR_RETURN(float beta, attributes.Float("activation_beta", 0.0f));
  return MakeActivation(name, attributes.Has("activation_alpha") ? &alpha : nullptr,
                        attributes.Has("activation_beta") ? &beta : nullptr);
}

}  // namespace rondo
