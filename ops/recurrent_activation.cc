#include "ops/recurrent_activation.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "ops/kernels/vector_math.h"

namespace rondo {
namespace {

using Kind = RecurrentActivation::Kind;

struct Known {
  absl::string_view name;
  Kind kind;
  bool takes_alpha, takes_beta;
  float alpha, beta;  // defaults
};
constexpr Known kKnown[] = {
    {"Sigmoid", Kind::kSigmoid, false, false, 0, 0},
    {"Tanh", Kind::kTanh, false, false, 0, 0},
    {"Relu", Kind::kRelu, false, false, 0, 0},
    {"Affine", Kind::kAffine, true, true, 1, 0},
    {"LeakyRelu", Kind::kLeakyRelu, true, false, 0.01f, 0},
    {"ThresholdedRelu", Kind::kThresholdedRelu, true, false, 1, 0},
    {"ScaledTanh", Kind::kScaledTanh, true, true, 1, 1},
    {"HardSigmoid", Kind::kHardSigmoid, true, true, 0.2f, 0.5f},
    {"Elu", Kind::kElu, true, false, 1, 0},
    {"Softsign", Kind::kSoftsign, false, false, 0, 0},
    {"Softplus", Kind::kSoftplus, false, false, 0, 0},
};

template <typename F>
void Each(double* x, int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) x[i] = f(x[i]);
}

}  // namespace

void RecurrentActivation::Apply(float* x, int64_t n) const {
  const VectorMath& math = GetVectorMath();
  switch (kind) {
    case Kind::kSigmoid:
      return math.sigmoid(x, x, n);
    case Kind::kTanh:
      return math.tanh(x, x, n);
    case Kind::kRelu:
      return math.relu(x, x, n);
    case Kind::kAffine:
      return math.scale_shift(x, x, n, alpha, beta);
    case Kind::kLeakyRelu:
      return math.leaky_relu(x, x, n, alpha);
    case Kind::kThresholdedRelu:
      for (int64_t i = 0; i < n; ++i) x[i] = x[i] <= alpha ? 0.0f : x[i];
      return;
    case Kind::kScaledTanh:
      math.mul_scalar(x, beta, x, n);
      math.tanh(x, x, n);
      return math.mul_scalar(x, alpha, x, n);
    case Kind::kHardSigmoid:
      return math.hard_sigmoid(x, x, n, alpha, beta);
    case Kind::kElu:
      return math.elu(x, x, n, alpha);
    case Kind::kSoftsign:
      return math.softsign(x, x, n);
    case Kind::kSoftplus:
      return math.softplus(x, x, n);
  }
}

void RecurrentActivation::Apply(double* x, int64_t n) const {
  double a = static_cast<double>(alpha), b = static_cast<double>(beta);
  switch (kind) {
    case Kind::kSigmoid:
      return Each(x, n, [](double v) { return 1 / (1 + std::exp(-v)); });
    case Kind::kTanh:
      return Each(x, n, [](double v) { return std::tanh(v); });
    case Kind::kRelu:
      return Each(x, n, [](double v) { return v < 0 ? 0 : v; });
    case Kind::kAffine:
      return Each(x, n, [=](double v) { return a * v + b; });
    case Kind::kLeakyRelu:
      return Each(x, n, [=](double v) { return v < 0 ? a * v : v; });
    case Kind::kThresholdedRelu:
      return Each(x, n, [=](double v) { return v <= a ? 0 : v; });
    case Kind::kScaledTanh:
      return Each(x, n, [=](double v) { return a * std::tanh(b * v); });
    case Kind::kHardSigmoid:
      return Each(x, n, [=](double v) { return std::min(1.0, std::max(0.0, a * v + b)); });
    case Kind::kElu:
      return Each(x, n, [=](double v) { return v < 0 ? a * std::expm1(v) : v; });
    case Kind::kSoftsign:
      return Each(x, n, [](double v) { return v / (1 + std::abs(v)); });
    case Kind::kSoftplus:
      return Each(x, n, [](double v) { return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))); });
  }
}

absl::StatusOr<std::vector<RecurrentActivation>> ReadActivations(const AttributeReader& attributes, int directions,
                                                                 absl::Span<const absl::string_view> defaults) {
  std::vector<std::string> names;
  for (int d = 0; d < directions; ++d) {
    for (absl::string_view name : defaults) names.emplace_back(name);
  }
  size_t count = names.size();
  RONDO_ASSIGN_OR_RETURN(names, attributes.Strings("activations", names));
  if (names.size() != count) {
    return InvalidArgument("attribute \"activations\": expected ", count, " functions (", defaults.size(),
                           " for each direction), got ", names.size());
  }
  RONDO_ASSIGN_OR_RETURN(std::vector<float> alphas, attributes.Floats("activation_alpha", {}));
  RONDO_ASSIGN_OR_RETURN(std::vector<float> betas, attributes.Floats("activation_beta", {}));
  std::vector<RecurrentActivation> result;
  size_t next_alpha = 0, next_beta = 0;
  for (size_t i = 0; i < count; ++i) {
    const Known* known = nullptr;
    for (const Known& k : kKnown) {
      if (absl::EqualsIgnoreCase(k.name, names[i])) known = &k;
    }
    if (known == nullptr) {
      return InvalidArgument("attribute \"activations\": \"", names[i],
                             "\" is no activation function that it may name");
    }
    RecurrentActivation a{known->kind, known->alpha, known->beta};
    auto take = [&](const std::vector<float>& values, bool takes, size_t* next, float* value) {
      if (!takes) return;
      size_t at = values.size() == count ? i : (*next)++;
      if (at < values.size()) *value = values[at];
    };
    take(alphas, known->takes_alpha, &next_alpha, &a.alpha);
    take(betas, known->takes_beta, &next_beta, &a.beta);
    result.push_back(a);
  }
  return result;
}

}  // namespace rondo
