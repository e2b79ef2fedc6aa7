// BatchNormalization after a convolution with constant weights is a scale and a shift per output channel, which the
// convolution's own weights and bias can carry:  W' = W * s,  B' = (B - mean) * s + bias,  s = scale / sqrt(var + eps).
#include <cmath>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsFloatVector(const Value* value, int64_t size) {
  return value != nullptr && value->is_constant() && IsFloat32(value) && value->constant().size() == size;
}

bool IsInference(const Node& node) {
  if (node.op().version >= 14) return node.IntOr("training_mode", 0) == 0;
  for (size_t i = 1; i < node.outputs().size(); ++i) {
    if (node.outputs()[i] != nullptr && (!node.outputs()[i]->uses().empty() || node.outputs()[i]->is_graph_output())) {
      return false;
    }
  }
  return node.op().version >= 7 || node.IntOr("is_test", 0) == 1;
}

}  // namespace

absl::StatusOr<int> FoldBatchNorm(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* norm : nodes) {
    if (!norm->Is("BatchNormalization") || !IsInference(*norm)) continue;
    Node* conv = SoleProducerOf(norm->input(0), "Conv");
    if (conv == nullptr || conv->input(1) == nullptr || !conv->input(1)->is_constant() || !IsFloat32(conv->input(1))) {
      continue;
    }
    const Tensor& weights = conv->input(1)->constant();
    if (weights.rank() < 3) continue;
    const int64_t channels = weights.dim(0);
    bool fits = conv->input(2) == nullptr || IsFloatVector(conv->input(2), channels);
    for (int i = 1; i <= 4; ++i) fits &= IsFloatVector(norm->input(i), channels);
    if (!fits || channels == 0) continue;
    const float epsilon = norm->FloatOr("epsilon", 1e-5f);
    const float* scale = norm->input(1)->constant().data<float>();
    const float* shift = norm->input(2)->constant().data<float>();
    const float* mean = norm->input(3)->constant().data<float>();
    const float* variance = norm->input(4)->constant().data<float>();
    Tensor folded = weights.Clone();
    Tensor bias = Tensor::Make(DataType::kFloat, {channels});
    const int64_t per_channel = weights.size() / channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float s = scale[c] / std::sqrt(variance[c] + epsilon);
      float* w = folded.mutable_data<float>() + c * per_channel;
      for (int64_t k = 0; k < per_channel; ++k) w[k] *= s;
      const float b = conv->input(2) == nullptr ? 0.0f : conv->input(2)->constant().data<float>()[c];
      bias.mutable_data<float>()[c] = (b - mean[c]) * s + shift[c];
    }
    std::vector<Value*> inputs = {conv->input(0), graph.AddConstant(conv->input(1)->name(), std::move(folded)),
                                  graph.AddConstant(norm->input(2)->name(), std::move(bias))};
    std::vector<std::pair<std::string, Attribute>> attributes(conv->attributes().begin(), conv->attributes().end());
    RONDO_ASSIGN_OR_RETURN(Node * fused, AddTyped(graph, context, conv->op(), *conv, inputs, 1, std::move(attributes)));
    graph.ReplaceAllUses(norm->output(0), fused->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
