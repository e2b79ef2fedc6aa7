// Weights that were exported in floating point, kept in fewer bits: a product with a constant matrix becomes a
// rondo.QuantizedMatMul, which quantises the matrix when it packs it. Only where the user asks for it: results change.
//
// The last product, whose result leaves the graph, keeps 8 bits: the choice between close tokens hangs on it. Small
// matrices stay as they are: they cost little, and what they do (gates, tables of angles) suffers most.
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr int64_t kBlock = 32;
constexpr int64_t kMinSide = 64;

bool IsHalf(const Value* value) {
  return value->type().dtype == DataType::kFloat16 || value->type().dtype == DataType::kBFloat16;
}

bool IsWeight(const Value* value) {
  return value != nullptr && value->is_constant() && value->constant().rank() == 2 &&
         (IsFloat32(value) || IsHalf(value)) && value->constant().dim(0) >= kMinSide &&
         value->constant().dim(1) >= kMinSide;
}

// A @ B alone, but for the bias of a Gemm.
bool IsProduct(const Node& node) {
  if (node.Is("MatMul")) return true;
  if (node.FloatOr("alpha", 1) != 1) return false;
  if (node.Is("Gemm")) return node.IntOr("transA", 0) == 0;
  return node.Is(kRondoDomain, "MatMul") && node.input(2) == nullptr && node.input(3) == nullptr &&
         node.StringOr("activation", "").empty();
}

// The bias of a Gemm is taken along: null where there is none, nullopt where it is none that a product can have.
std::optional<Value*> BiasOfGemm(const Node& node) {
  Value* const bias = node.input(2);
  if (!node.Is("Gemm") || bias == nullptr) return nullptr;
  const Shape& y = *node.output(0)->type().shape;
  if (!bias->is_constant() || bias->constant().rank() != 1 || node.FloatOr("beta", 1) != 1) return std::nullopt;
  return y.back() == Dim(bias->constant().size()) ? std::optional<Value*>(bias) : std::nullopt;
}

}  // namespace

absl::StatusOr<int> QuantizeWeights(Graph& graph, const RewriteContext& context) {
  if (context.weight_bits == 0) return 0;
  if (context.weight_bits != 8 && context.weight_bits != 4) {
    return InvalidArgument("weight bits is ", context.weight_bits, ": expected 8, 4, or 0 for as exported");
  }
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!IsProduct(*node)) continue;
    if (!IsWeight(node->input(1)) || RankOf(node->input(0)) < 2 || !node->output(0)->type().shape.has_value()) continue;
    const std::optional<Value*> bias = BiasOfGemm(*node);
    if (!bias.has_value()) continue;
    const bool leaves = node->output(0)->is_graph_output();
    const int64_t trans_b = node->IntOr(node->Is("Gemm") ? "transB" : "trans_b", 0);
    std::vector<Value*> inputs = {node->input(0), node->input(1)};
    if (*bias != nullptr) inputs.push_back(*bias);
    RONDO_ASSIGN_OR_RETURN(
        Node * quantised,
        AddTyped(graph, context, {kRondoDomain, "QuantizedMatMul", 1}, *node, inputs, 1,
                 {{"bits", int64_t{leaves ? 8 : context.weight_bits}}, {"block_size", kBlock}, {"trans_b", trans_b}}));
    graph.ReplaceAllUses(node->output(0), quantised->output(0));
    ++fired;
  }
  return fired;
}

}  // namespace rondo
