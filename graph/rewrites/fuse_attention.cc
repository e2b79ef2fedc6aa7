// Scaled dot-product attention as exporters decompose it, back into ONNX Attention-23:
//
//   scores = MatMul(Q, K^T);  [soft cap]  [+ mask]  [Where(mask, scores, -inf)];  P = Softmax(scores)
//   [P = Where(IsNaN(P), 0, P)];  Y = MatMul(P, V)
//
// with constant factors on the scores, on Q, on K, or half of one (its root) on each; reshapes between ([B * H, T, D]
// or grouped heads); casts around the softmax; K and V repeated for groups of query heads, which Attention does not
// need.
//
// Masks are handed on as they are: nothing is assumed about what they mask. A row that a mask excludes entirely (all
// -inf) gives 0, which is what the IsNaN form computes and what Attention says.
#include <cfloat>
#include <cmath>

#include "absl/functional/function_ref.h"
#include "graph/rewrites/attention_operand.h"
#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

// Scores below this are excluded by any softmax that sees an included key.
constexpr double kExcluding = -9999;
constexpr int kMaxSteps = 16;

// MatMul, or onnxruntime's FusedMatMul: alpha * a b, either operand transposed.
struct Product {
  Node* node = nullptr;
  Value *a = nullptr, *b = nullptr;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1;

  Shape BatchDims() const {
    const Shape& shape = *node->output(0)->type().shape;
    return Shape(shape.begin(), shape.end() - 2);
  }
};

std::optional<Product> AsProduct(Node* node) {
  if (node == nullptr) return std::nullopt;
  Product p;
  if (node->Is("com.microsoft", "FusedMatMul")) {
    if (node->IntOr("transBatchA", 0) != 0 || node->IntOr("transBatchB", 0) != 0) return std::nullopt;
    p.transpose_a = node->IntOr("transA", 0) != 0;
    p.transpose_b = node->IntOr("transB", 0) != 0;
    p.alpha = node->FloatOr("alpha", 1);
  } else if (!node->Is("MatMul")) {
    return std::nullopt;
  }
  p.node = node;
  p.a = node->input(0);
  p.b = node->input(1);
  // What is attended to is computed; a product with a constant matrix is a linear layer.
  if (p.b->is_constant()) return std::nullopt;
  const bool batched = RankOf(p.a) >= 3 && RankOf(p.b) >= 2 && RankOf(node->output(0)) >= 3;
  return batched ? std::make_optional(p) : std::nullopt;
}

bool IsFloat(const Value* value) {
  const DataType type = value->type().dtype;
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kBFloat16;
}

// The input of a view that makes `value` and keeps the last two axes.
Value* BeforeBatchView(const Value* value) {
  Value* source = BeforeView(value);
  if (RankOf(source) < 3 || RankOf(value) < 3) return nullptr;
  const Shape& from = *source->type().shape;
  const Shape& to = *value->type().shape;
  return from[from.size() - 1] == to[to.size() - 1] && from[from.size() - 2] == to[to.size() - 2] ? source : nullptr;
}

// What is added to the scores, or decides which are replaced.
struct MaskTerm {
  Value* value = nullptr;
  Shape view;  // the scores' shape where it applies
  enum { kAdded, kKeepsTrue, kDropsTrue } kind = kAdded;
  double fill = 0;    // what replaces dropped scores
  double factor = 1;  // of what is added: the scores were scaled after it
};

// Everything between the product of queries and keys and the softmax.
struct Scores {
  Product product;
  double scale = 1;
  double softcap = 0;
  std::vector<MaskTerm> terms;  // the outermost first
};

// softcap * Tanh(x / softcap) -> x
Value* BeforeSoftcap(Value* value, double* softcap) {
  auto outer = WithScalar(SoleProducerOf(value, "Mul"));
  Node* tanh = outer.has_value() ? SoleProducerOf(outer->first, "Tanh") : nullptr;
  if (tanh == nullptr || outer->second <= 0) return nullptr;
  Value* inner = nullptr;
  if (Node* div = SoleProducerOf(tanh->input(0), "Div")) {
    if (IsScalar(div->input(1), outer->second, 1e-6)) inner = div->input(0);
  } else if (auto mul = WithScalar(SoleProducerOf(tanh->input(0), "Mul"))) {
    if (std::abs(mul->second * outer->second - 1) < 1e-5) inner = mul->first;
  }
  if (inner != nullptr) *softcap = outer->second;
  return inner;
}

// Walks from a value of scores back to the product of queries and keys. scores->scale is, at each point, the product of
// the factors that came after.
bool WalkScores(Value* value, int steps, Scores* scores) {
  if (steps == 0 || !value->has_one_use() || RankOf(value) < 3) return false;
  Node* node = value->producer();
  if (std::optional<Product> product = AsProduct(node)) {
    scores->product = *product;
    scores->scale *= product->alpha;
    return true;
  }
  if (Value* source = BeforeBatchView(value)) return WalkScores(source, steps - 1, scores);
  if (Node* cast = ProducerOf(value, "Cast")) {
    return IsFloat(cast->input(0)) && IsFloat(value) && WalkScores(cast->input(0), steps - 1, scores);
  }
  if (scores->softcap == 0) {
    if (Value* source = BeforeSoftcap(value, &scores->softcap)) {
      // Attention scales, then caps: a factor outside the cap cannot be said.
      return scores->scale == 1 && WalkScores(source, steps - 1, scores);
    }
  }
  if (auto scaled = WithScalar(ProducerOf(value, "Mul"))) {
    scores->scale *= scaled->second;
    return WalkScores(scaled->first, steps - 1, scores);
  }
  if (Node* div = ProducerOf(value, "Div")) {
    std::optional<double> divisor = ScalarConstant(div->input(1));
    if (!divisor.has_value() || *divisor == 0) return false;
    scores->scale /= *divisor;
    return WalkScores(div->input(0), steps - 1, scores);
  }
  if (scores->softcap != 0) return false;  // it masks what it caps
  const Shape& view = *value->type().shape;
  if (Node* where = ProducerOf(value, "Where")) {
    for (int kept : {1, 2}) {
      std::optional<double> fill = ScalarConstant(where->input(3 - kept));
      if (!fill.has_value() || !(*fill * scores->scale <= kExcluding)) continue;
      scores->terms.push_back({where->input(0), view, kept == 1 ? MaskTerm::kKeepsTrue : MaskTerm::kDropsTrue, *fill});
      return RankOf(where->input(kept)) == RankOf(value) && WalkScores(where->input(kept), steps - 1, scores);
    }
    return false;
  }
  Node* add = ProducerOf(value, "Add");
  if (add == nullptr) return false;
  for (int i = 0; i < 2; ++i) {
    if (RankOf(add->input(i)) != RankOf(value)) continue;
    Scores with = *scores;
    with.terms.push_back({add->input(1 - i), view, MaskTerm::kAdded, 0, scores->scale});
    if (!WalkScores(add->input(i), steps - 1, &with)) continue;
    *scores = std::move(with);
    return true;
  }
  return false;
}

// P of Where(IsNaN(P), 0, P), which nothing else reads.
Value* BeforeNanGuard(const Value* value) {
  Node* where = ProducerOf(value, "Where");
  if (where == nullptr || !IsScalar(where->input(1), 0)) return nullptr;
  Value* guarded = where->input(2);
  Node* is_nan = SoleProducerOf(where->input(0), "IsNaN");
  const bool only_here = guarded->uses().size() == 2 && !guarded->is_graph_output();
  return is_nan != nullptr && is_nan->input(0) == guarded && only_here ? guarded : nullptr;
}

// The Softmax over keys that makes the probabilities `value`.
Node* WalkProbabilities(Value* value) {
  bool read_once = value->has_one_use();
  for (int steps = 0; read_once && steps < kMaxSteps; ++steps) {
    if (Node* softmax = ProducerOf(value, "Softmax")) {
      const int64_t axis = softmax->IntOr("axis", softmax->op().version >= 13 ? -1 : 1);
      return axis == -1 || axis == RankOf(softmax->input(0)) - 1 ? softmax : nullptr;
    }
    Node* cast = ProducerOf(value, "Cast");
    if (Value* guarded = BeforeNanGuard(value)) {
      value = guarded;
      continue;
    }
    value = cast != nullptr && IsFloat(cast->input(0)) ? cast->input(0) : BeforeBatchView(value);
    read_once = value != nullptr && value->has_one_use();
  }
  return nullptr;
}

struct Operands {
  AttentionOperand q, k, v;
};

// The best operands that `suits` takes.
std::optional<Operands> FindOperands(const Product& scores, const Product& values,
                                     absl::FunctionRef<bool(const Operands&)> suits) {
  const Shape batch = scores.BatchDims();
  const auto all = [](Value* value, const Shape& batch, AttentionRole second_last, AttentionRole last, bool scalable) {
    return AttentionOperands(TraceOfFactor(value, batch, second_last, last), scalable, /*castable=*/true);
  };
  const auto qs = scores.transpose_a ? all(scores.a, batch, kSizeRole, kRowsRole, true)
                                     : all(scores.a, batch, kRowsRole, kSizeRole, true);
  const auto ks = scores.transpose_b ? all(scores.b, batch, kRowsRole, kSizeRole, true)
                                     : all(scores.b, batch, kSizeRole, kRowsRole, true);
  const auto vs = all(values.b, values.BatchDims(), kRowsRole, kSizeRole, false);
  for (const AttentionOperand& k : ks) {
    for (const AttentionOperand& v : vs) {
      if (!Agree(k, v)) continue;
      for (const AttentionOperand& q : qs) {
        if (q.group == Dim(1) && q.batch == k.batch && q.heads == k.heads * k.group && q.size == k.size &&
            q.value->type().dtype == k.value->type().dtype && suits({q, k, v})) {
          return Operands{q, k, v};
        }
      }
    }
  }
  return std::nullopt;
}

// `term` as [B|1, H|1, T|1, S] broadcast from the right; its value is null when it cannot be read so.
AttentionOperand Aligned(const MaskTerm& term, const Operands& o) {
  Value* value = term.value;
  const Shape target = {o.q.batch, o.q.heads, o.q.rows, o.k.rows};
  const auto suits = [&](const Value* mask) {
    if (RankOf(mask) < 1 || RankOf(mask) > 4) return false;
    const Shape& shape = *mask->type().shape;
    for (int i = 1; i <= shape.rank(); ++i) {
      const Dim& dim = shape[shape.size() - i];
      // Keys: K and V have equal rows, so a mask of another length than 1 has theirs, provably or not.
      if (i > 1 && dim != Dim(1) && dim != target[4 - i]) return false;
    }
    return true;
  };
  bool same_view = true;  // the term's dims beyond the last two mean what they mean in the target
  for (int i = 3; i <= RankOf(value); ++i) {
    const Dim& dim = (*value->type().shape)[RankOf(value) - i];
    const int in_view = term.view.rank() - i;
    same_view &= dim == Dim(1) || (term.view.rank() <= 4 && in_view >= 0 && term.view[in_view] == target[4 - i] &&
                                   (in_view > 0 || term.view.rank() == 4 || o.q.batch == Dim(1)));
  }
  AttentionOperand aligned;
  if (same_view) aligned.value = suits(value) ? value : nullptr;
  if (same_view || RankOf(value) != term.view.rank()) return aligned;
  AxisTrace trace = TraceOfFactor(value, Shape(term.view.begin(), term.view.end() - 2), kRowsRole, kSizeRole);
  for (const AttentionOperand& reading : AttentionOperands(std::move(trace), false, false)) {
    const bool in_order = reading.AsIs() || reading.prepare == AttentionOperand::kAddRows;
    if (in_order && reading.batch == o.q.batch && reading.heads == o.q.heads &&
        (reading.rows == Dim(1) || reading.rows == o.q.rows)) {
      return reading;
    }
  }
  return aligned;
}

struct Mask {
  std::vector<AttentionOperand> added;                        // each times its scale
  std::vector<std::pair<AttentionOperand, bool>> conditions;  // true keeps the score, unless inverted
  bool excludes = true;                                       // by -inf; otherwise by a large number
};

// Puts the terms in order; false when they cannot be said as one mask.
bool ReadMask(const Scores& scores, const Operands& operands, Mask* mask) {
  for (const MaskTerm& term : scores.terms) {
    const AttentionOperand aligned = Aligned(term, operands);
    if (aligned.value == nullptr) return false;
    const DataType type = aligned.value->type().dtype;
    if (term.kind == MaskTerm::kAdded) {
      if (!IsFloat(aligned.value)) return false;
      if (!mask->added.empty() && mask->added[0].value->type().dtype != type) return false;
      mask->added.push_back(aligned);
      mask->added.back().scale = term.factor;
    } else {
      if (type != DataType::kBool) return false;
      mask->conditions.emplace_back(aligned, term.kind == MaskTerm::kDropsTrue);
      mask->excludes &= std::isinf(term.fill);
    }
  }
  // A finite fill under another condition: rows that both drop differ.
  return mask->excludes || mask->conditions.size() == 1;
}

absl::StatusOr<Value*> BuildMask(Graph& graph, const RewriteContext& context, const Node& like, const Mask& mask) {
  Value* added = nullptr;
  for (const AttentionOperand& operand : mask.added) {
    RONDO_ASSIGN_OR_RETURN(Value * term, Materialise(graph, context, like, operand));
    if (operand.scale != 1) {
      const std::vector<float> factor = {static_cast<float>(operand.scale)};
      Value* scale = graph.AddConstant("", Tensor::FromVector(DataType::kFloat, {}, factor));
      RONDO_ASSIGN_OR_RETURN(Node * cast, AddTyped(graph, context, {"", "Cast", 13}, like, {scale}, 1,
                                                   {{"to", static_cast<int64_t>(term->type().dtype)}}));
      RONDO_ASSIGN_OR_RETURN(Node * scaled,
                             AddTyped(graph, context, {"", "Mul", 14}, like, {term, cast->output(0)}, 1));
      term = scaled->output(0);
    }
    if (added != nullptr) {
      RONDO_ASSIGN_OR_RETURN(Node * sum, AddTyped(graph, context, {"", "Add", 14}, like, {term, added}, 1));
      term = sum->output(0);
    }
    added = term;
  }
  Value* keep = nullptr;
  for (const auto& [operand, inverted] : mask.conditions) {
    RONDO_ASSIGN_OR_RETURN(Value * condition, Materialise(graph, context, like, operand));
    if (inverted) {
      RONDO_ASSIGN_OR_RETURN(Node * inverse, AddTyped(graph, context, {"", "Not", 1}, like, {condition}, 1));
      condition = inverse->output(0);
    }
    if (keep != nullptr) {
      RONDO_ASSIGN_OR_RETURN(Node * both, AddTyped(graph, context, {"", "And", 7}, like, {condition, keep}, 1));
      condition = both->output(0);
    }
    keep = condition;
  }
  if (keep == nullptr) return added;
  if (added == nullptr && mask.excludes) return keep;
  // Replaced scores differ from excluded ones only in rows that have no others, where the softmax of equal scores is
  // their mean: the lowest number absorbs what it is added to, so they are equal here too.
  const auto scalar = [&](float x) {
    return graph.AddConstant("", Tensor::FromVector<float>(DataType::kFloat, {}, {x}));
  };
  Value* otherwise = scalar(mask.excludes ? -INFINITY : -FLT_MAX);
  if (added == nullptr) added = scalar(0);
  if (!IsFloat32(added)) {
    RONDO_ASSIGN_OR_RETURN(Node * cast, AddTyped(graph, context, {"", "Cast", 13}, like, {added}, 1,
                                                 {{"to", static_cast<int64_t>(DataType::kFloat)}}));
    added = cast->output(0);
  }
  RONDO_ASSIGN_OR_RETURN(Node * where, AddTyped(graph, context, {"", "Where", 16}, like, {keep, added, otherwise}, 1));
  return where->output(0);
}

// What makes a value of the shape of another from the attention's result [B, H, T, Dv].
struct View {
  enum { kNone, kSqueeze, kReshape } kind = kNone;
  std::vector<int64_t> dims;  // of the Reshape
};

std::optional<View> ViewAs(const Shape& result, const Value* target) {
  if (RankOf(target) < 0) return std::nullopt;
  const Shape& shape = *target->type().shape;
  if (std::equal(result.begin(), result.end(), shape.begin(), shape.end())) return View{};
  if (result[0] == Dim(1) && std::equal(result.begin() + 1, result.end(), shape.begin(), shape.end())) {
    return View{View::kSqueeze, {}};
  }
  std::optional<std::vector<int64_t>> dims = ReshapeDims(result, shape);
  return dims.has_value() ? std::make_optional(View{View::kReshape, *std::move(dims)}) : std::nullopt;
}

// The value that the attention replaces: the product's result, or the only view of it where that is easier to express;
// null when neither is expressible.
Value* ReplacedValue(Node* product, const Shape& result) {
  Value* output = product->output(0);
  const std::optional<View> view = ViewAs(result, output);
  if (view.has_value() && view->kind == View::kNone) return output;
  if (Node* user = SoleUserOf(output)) {
    Value* viewed = user->output(0);
    if (BeforeView(viewed) == output && ViewAs(result, viewed).has_value()) return viewed;
  }
  return view.has_value() ? output : nullptr;
}

absl::StatusOr<Value*> AddView(Graph& graph, const RewriteContext& context, const Node& like, Value* result,
                               const View& view) {
  if (view.kind == View::kNone) return result;
  if (view.kind == View::kReshape) return AddReshape(graph, context, like, result, view.dims);
  Value* axes = graph.AddConstant("", Tensor::FromInt64s({0}));
  RONDO_ASSIGN_OR_RETURN(Node * squeeze, AddTyped(graph, context, {"", "Squeeze", 13}, like, {result, axes}, 1));
  return squeeze->output(0);
}

// Who asks for the shape of `value` asks `equal`, which has the same, so that only readers of its elements are left.
void AskForShape(Graph& graph, Value* value, Value* equal) {
  if (!SameShape(value, equal)) return;
  const std::vector<Use> uses = value->uses();
  for (const Use& use : uses) {
    if (use.node->Is("Shape")) graph.SetInput(use.node, use.index, equal);
  }
}

absl::StatusOr<bool> Fuse(Graph& graph, const RewriteContext& context, Node* node) {
  std::optional<Product> values = AsProduct(node);
  if (!values.has_value() || values->transpose_a || values->transpose_b || values->alpha != 1) return false;
  Node* softmax = WalkProbabilities(values->a);
  Scores scores;
  if (softmax == nullptr || !WalkScores(softmax->input(0), kMaxSteps, &scores)) return false;
  AskForShape(graph, node->output(0), scores.product.a);
  Mask mask;
  Shape result;
  Value* replaced = nullptr;
  const std::optional<Operands> operands = FindOperands(scores.product, *values, [&](const Operands& o) {
    mask = Mask();
    result = {o.q.batch, o.q.heads, o.q.rows, o.v.size};
    replaced = ReplacedValue(node, result);
    return replaced != nullptr && ReadMask(scores, o, &mask) && IsFloat(o.q.value) && IsFloat(o.v.value);
  });
  if (!operands.has_value()) return false;
  const auto& [q, k, v] = *operands;
  const DataType type = q.value->type().dtype;

  std::vector<Value*> inputs(3);
  RONDO_ASSIGN_OR_RETURN(inputs[0], Materialise(graph, context, *node, q));
  RONDO_ASSIGN_OR_RETURN(inputs[1], Materialise(graph, context, *node, k));
  RONDO_ASSIGN_OR_RETURN(inputs[2], Materialise(graph, context, *node, v));
  RONDO_ASSIGN_OR_RETURN(Value * attn_mask, BuildMask(graph, context, *node, mask));
  if (attn_mask != nullptr) inputs.push_back(attn_mask);
  std::vector<std::pair<std::string, Attribute>> attributes = {
      {"scale", static_cast<float>(scores.scale * q.scale * k.scale)}};
  if (scores.softcap != 0) attributes.emplace_back("softcap", static_cast<float>(scores.softcap));
  if (type != DataType::kFloat && IsFloat32(softmax->input(0))) {
    attributes.emplace_back("softmax_precision", static_cast<int64_t>(DataType::kFloat));
  }
  RONDO_ASSIGN_OR_RETURN(Node * fused,
                         AddTyped(graph, context, {"", "Attention", 23}, *node, inputs, 1, std::move(attributes)));
  RONDO_ASSIGN_OR_RETURN(Value * end, AddView(graph, context, *node, fused->output(0), *ViewAs(result, replaced)));
  if (type != replaced->type().dtype) {
    RONDO_ASSIGN_OR_RETURN(Node * cast, AddTyped(graph, context, {"", "Cast", 13}, *node, {end}, 1,
                                                 {{"to", static_cast<int64_t>(replaced->type().dtype)}}));
    end = cast->output(0);
  }
  graph.ReplaceAllUses(replaced, end);
  return true;
}

}  // namespace

absl::StatusOr<int> FuseAttention(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    RONDO_ASSIGN_OR_RETURN(const bool fused, Fuse(graph, context, node));
    fired += fused;
  }
  return fired;
}

}  // namespace rondo
