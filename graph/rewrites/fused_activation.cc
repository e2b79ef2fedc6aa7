#include "graph/rewrites/fused_activation.h"

#include <limits>

#include "graph/rewrites/match.h"

namespace rondo {

std::vector<std::pair<std::string, Attribute>> FusedActivation::Attributes() const {
  return {{"activation", name}, {"activation_alpha", alpha}, {"activation_beta", beta}};
}

std::optional<FusedActivation> AsFusedActivation(const Node& node) {
  if (!IsFloat32(node.output(0))) return std::nullopt;
  for (absl::string_view plain : {"Relu", "Sigmoid", "Tanh", "HardSwish"}) {
    if (node.Is(plain)) return FusedActivation{std::string(plain), 0, 0};
  }
  if (node.Is("LeakyRelu")) return FusedActivation{"LeakyRelu", node.FloatOr("alpha", 0.01f), 0};
  if (node.Is("Swish") && node.FloatOr("alpha", 1) == 1) return FusedActivation{"Silu", 0, 0};
  if (node.Is("Gelu")) {
    return FusedActivation{node.StringOr("approximate", "none") == "tanh" ? "GeluTanh" : "Gelu", 0, 0};
  }
  if (node.Is("Clip")) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    if (node.op().version < 11) {
      return FusedActivation{"Clip", node.FloatOr("min", -kInfinity), node.FloatOr("max", kInfinity)};
    }
    FusedActivation clip{"Clip", -kInfinity, kInfinity};
    for (int i = 1; i <= 2; ++i) {
      if (node.input(i) == nullptr) continue;
      std::optional<double> bound = ScalarConstant(node.input(i));
      if (!bound.has_value()) return std::nullopt;
      (i == 1 ? clip.alpha : clip.beta) = static_cast<float>(*bound);
    }
    return clip;
  }
  return std::nullopt;
}

}  // namespace rondo
