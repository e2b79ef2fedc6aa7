// The activations that rondo.MatMul and rondo.Conv apply to their result, and how a following node is recognised as
// one.
#ifndef RONDO_GRAPH_REWRITES_FUSED_ACTIVATION_H_
#define RONDO_GRAPH_REWRITES_FUSED_ACTIVATION_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace rondo {

struct FusedActivation {
  std::string name;  // "Relu", "Clip", "Gelu", "GeluTanh", "Silu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu"
  float alpha = 0;   // Clip: minimum; LeakyRelu: slope
  float beta = 0;    // Clip: maximum

  std::vector<std::pair<std::string, Attribute>> Attributes() const;
};

// nullopt when the node is no activation of one input that can be fused.
std::optional<FusedActivation> AsFusedActivation(const Node& node);

}  // namespace rondo

#endif  // RONDO_GRAPH_REWRITES_FUSED_ACTIVATION_H_
