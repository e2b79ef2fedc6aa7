// Rotary position embedding as exporters decompose it, back into RotaryEmbedding-23:
//
//   x * cos + rotate_half(x) * sin          rotate_half(x) = Concat(-x2, x1), x1 and x2 the halves of x
//   Concat(x1 * cos - x2 * sin, x2 * cos + x1 * sin)
//
// or with x1 and x2 the even and the odd elements, put side by side again (interleaved); of all of a head or of its
// first part, the rest handed on. Layers share their tables: cosines and sines are computed once per run.
#include <algorithm>

#include "graph/rewrites/list.h"
#include "graph/rewrites/match.h"
#include "graph/rewrites/rotary_tables.h"
#include "graph/status.h"

namespace rondo {
namespace {

bool IsLastAxis(const Node& node, const Value* value) {
  const int64_t axis = node.IntOr("axis", 1);
  return axis == -1 || axis == RankOf(value) - 1;
}

// Elements [begin, end) of the last axis of `source`, each `step`-th.
struct Part {
  Value* source = nullptr;
  int64_t begin = 0, end = 0, step = 1, width = 0;  // width: of the whole last axis

  bool IsFirstHalf() const { return step == 1 && begin == 0 && end * 2 == width; }
  bool IsSecondHalf() const { return step == 1 && begin * 2 == width && end == width; }
  bool IsEven() const { return step == 2 && begin == 0 && end == width && width % 2 == 0; }
  bool IsOdd() const { return step == 2 && begin == 1 && end == width && width % 2 == 0; }
};

std::optional<Part> PartOfSlice(const Node& slice) {
  if (slice.op().version < 10) return std::nullopt;
  Part part{slice.input(0)};
  const auto one = [&](int i) -> std::optional<int64_t> {
    const auto values = IntsConstant(slice.input(i));
    return values.has_value() && values->size() == 1 ? std::make_optional((*values)[0]) : std::nullopt;
  };
  const auto begin = one(1), end = one(2), axis = one(3);
  if (!begin.has_value() || !end.has_value() || !axis.has_value()) return std::nullopt;
  if (*axis != -1 && *axis != RankOf(part.source) - 1) return std::nullopt;
  if (slice.input(4) != nullptr) {
    const auto step = one(4);
    if (!step.has_value() || *step < 1) return std::nullopt;
    part.step = *step;
  }
  part.width = part.source->type().shape->back().value();
  const auto clamped = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + part.width : at, 0, part.width); };
  part.begin = clamped(*begin);
  part.end = clamped(*end);
  return part;
}

std::optional<Part> PartOfSplit(const Node& split, int index) {
  Part part{split.input(0)};
  const int64_t axis = split.IntOr("axis", 0);
  if (axis != -1 && axis != RankOf(part.source) - 1) return std::nullopt;
  part.width = part.source->type().shape->back().value();
  for (int i = 0; i <= index; ++i) {
    const Value* output = split.output(i);
    if (output == nullptr || RankOf(output) < 1 || !output->type().shape->back().known()) return std::nullopt;
    part.begin = part.end;
    part.end += output->type().shape->back().value();
  }
  return part;
}

std::optional<Part> AsPart(const Value* value) {
  Node* node = value == nullptr ? nullptr : value->producer();
  if (node == nullptr || RankOf(node->input(0)) < 1 || !node->input(0)->type().shape->back().known()) {
    return std::nullopt;
  }
  if (node->Is("Slice")) return PartOfSlice(*node);
  if (node->Is("Split")) return PartOfSplit(*node, value->producer_index());
  return std::nullopt;
}

// The two operands of a Concat over the last axis.
std::optional<std::pair<Value*, Value*>> Joined(const Value* value) {
  Node* concat = ProducerOf(value, "Concat");
  if (concat == nullptr || concat->inputs().size() != 2 || !IsLastAxis(*concat, value)) return std::nullopt;
  return std::make_pair(concat->input(0), concat->input(1));
}

// What a view gave a last axis of 1, and nothing else, to make `value`; null otherwise.
Value* WithoutLastAxis(Value* value) {
  Value* bare = BeforeView(value);
  const int rank = RankOf(bare);
  if (rank < 0 || rank != RankOf(value) - 1 || value->type().shape->back() != Dim(1)) return nullptr;
  for (int i = 0; i < rank; ++i) {
    if ((*bare->type().shape)[i] != (*value->type().shape)[i]) return nullptr;
  }
  return bare;
}

// The two values whose elements alternate in `value`: [..., n] and [..., n] put side by side as [..., n, 2], then
// viewed as [..., 2 n].
std::optional<std::pair<Value*, Value*>> Alternating(const Value* value) {
  const Value* pairs = BeforeView(value);
  const auto joined = Joined(pairs);
  if (!joined.has_value() || RankOf(pairs) != RankOf(value) + 1 || pairs->type().shape->back() != Dim(2)) {
    return std::nullopt;
  }
  const std::pair bare(WithoutLastAxis(joined->first), WithoutLastAxis(joined->second));
  if (bare.first == nullptr || bare.second == nullptr) return std::nullopt;
  return bare;
}

Value* Negated(const Value* value) {
  if (Node* neg = ProducerOf(value, "Neg")) return neg->input(0);
  const auto scaled = WithScalar(ProducerOf(value, "Mul"));
  return scaled.has_value() && scaled->second == -1 ? scaled->first : nullptr;
}

struct Rotation {
  Value *x = nullptr, *cos = nullptr, *sin = nullptr;
  Value* result = nullptr;
  bool interleaved = false;
  bool once = false;  // the tables have each angle once
};

// Whether (first, second) are the parts of one tensor that rotate together; sets x and interleaved.
bool ArePair(const Value* first, const Value* second, Rotation* r) {
  const auto a = AsPart(first), b = AsPart(second);
  if (!a.has_value() || !b.has_value() || a->source != b->source) return false;
  r->interleaved = a->IsEven() && b->IsOdd();
  r->x = a->source;
  return r->interleaved || (a->IsFirstHalf() && b->IsSecondHalf());
}

// rotate_half(x) -> x
bool IsRotatedHalf(const Value* value, Rotation* r) {
  const auto halves = Joined(value);
  const auto pair = halves.has_value() ? halves : Alternating(value);
  if (!pair.has_value()) return false;
  Value* second = Negated(pair->first);
  return second != nullptr && ArePair(pair->second, second, r) && r->interleaved == !halves.has_value();
}

// x * cos + rotate_half(x) * sin
bool MatchSum(Node* add, Rotation* r) {
  for (int i = 0; i < 2; ++i) {
    Node* turned = SoleProducerOf(add->input(i), "Mul");
    Node* straight = SoleProducerOf(add->input(1 - i), "Mul");
    if (turned == nullptr || straight == nullptr) continue;
    for (int j = 0; j < 2; ++j) {
      if (!IsRotatedHalf(turned->input(j), r)) continue;
      r->sin = turned->input(1 - j);
      r->cos = OtherInput(straight, r->x);
      r->result = add->output(0);
      if (r->cos != nullptr) return true;
    }
  }
  return false;
}

// a * t1 (+ or -) b * t2; products commute, so there are four readings.
struct Products {
  Value *a, *t1, *b, *t2;
};
std::vector<Products> ReadProducts(const Node* node) {
  Node* first = SoleProducerOf(node->input(0), "Mul");
  Node* second = SoleProducerOf(node->input(1), "Mul");
  std::vector<Products> readings;
  if (first == nullptr || second == nullptr) return readings;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      readings.push_back({first->input(i), first->input(1 - i), second->input(j), second->input(1 - j)});
    }
  }
  return readings;
}

// Concat(x1 * cos - x2 * sin, x2 * cos + x1 * sin), or the two alternating.
bool MatchParts(Value* value, Rotation* r) {
  const auto halves = Joined(value);
  const auto parts = halves.has_value() ? halves : Alternating(value);
  if (!parts.has_value()) return false;
  Node* sub = SoleProducerOf(parts->first, "Sub");
  Node* add = SoleProducerOf(parts->second, "Add");
  if (sub == nullptr || add == nullptr) return false;
  for (const Products& s : ReadProducts(sub)) {
    if (!ArePair(s.a, s.b, r) || r->interleaved == halves.has_value()) continue;
    for (const Products& p : ReadProducts(add)) {
      const bool cos_first = p.a == s.b && p.t1 == s.t1 && p.b == s.a && p.t2 == s.t2;
      const bool sin_first = p.a == s.a && p.t1 == s.t2 && p.b == s.b && p.t2 == s.t1;
      if (!cos_first && !sin_first) continue;
      r->cos = s.t1;
      r->sin = s.t2;
      r->once = true;
      r->result = value;
      return true;
    }
  }
  return false;
}

// Rotates the first part of a head only: x becomes the whole head, the result what joins the rest to the rotated part.
// Returns the width of the rotated part, 0 when it is everything.
int64_t WidenToHead(Rotation* r) {
  const auto part = AsPart(r->x);
  Node* concat = SoleUserOf(r->result, "Concat");
  if (!part.has_value() || part->begin != 0 || part->step != 1 || concat == nullptr) return 0;
  const auto joined = Joined(concat->output(0));
  if (!joined.has_value() || joined->first != r->result) return 0;
  const auto rest = AsPart(joined->second);
  if (!rest.has_value() || rest->source != part->source || rest->begin != part->end || rest->end != part->width ||
      rest->step != 1) {
    return 0;
  }
  r->x = part->source;
  r->result = concat->output(0);
  return part->end;
}

absl::StatusOr<bool> Fuse(Graph& graph, const RewriteContext& context, Node* node, CutConstants* cut) {
  Rotation r;
  const bool found =
      node->Is("Add") ? MatchSum(node, &r) : node->output(0) != nullptr && MatchParts(node->output(0), &r);
  if (!found || RankOf(r.cos) < 1 || RankOf(r.sin) < 1 || !SameShape(r.cos, r.sin)) return false;
  if (r.cos->type().dtype != r.x->type().dtype || r.sin->type().dtype != r.x->type().dtype) return false;
  const std::optional<RotaryAxes> axes = ReadRotaryAxes(r.x, r.cos);
  if (!axes.has_value()) return false;
  const auto cos = RotaryTable::Trace(r.cos, *axes, r.once, r.interleaved);
  const auto sin = RotaryTable::Trace(r.sin, *axes, r.once, r.interleaved);
  if (!cos.has_value() || !sin.has_value()) return false;
  const int64_t rotated = WidenToHead(&r);
  const Shape& shape = *r.x->type().shape;
  const bool heads_first = axes->heads >= 0 && axes->heads < axes->tokens;
  const Dim heads = axes->heads >= 0 ? shape[axes->heads] : Dim(1);
  // Of rank 4 the heads come first; tokens come first in rank 3, where all heads are one axis.
  if (!heads_first && (!heads.known() || !shape.back().known())) return false;

  std::vector<std::pair<std::string, Attribute>> attributes = {{"interleaved", int64_t{r.interleaved}}};
  if (rotated > 0) attributes.emplace_back("rotary_embedding_dim", rotated);
  std::vector<Value*> inputs = {r.x, nullptr, nullptr};
  const auto add_axis = [&](Value* value, absl::string_view type) -> absl::StatusOr<Value*> {
    Value* first = graph.AddConstant("", Tensor::FromInt64s({0}));
    RONDO_ASSIGN_OR_RETURN(Node * view,
                           AddTyped(graph, context, {"", std::string(type), 13}, *node, {value, first}, 1));
    return view->output(0);
  };
  const bool has_batch = axes->rank == 4 || axes->heads < 0;
  std::vector<int64_t> back;
  if (heads_first) {
    if (!has_batch) {
      RONDO_ASSIGN_OR_RETURN(inputs[0], add_axis(r.x, "Unsqueeze"));
    }
  } else {
    const int64_t hidden = heads.value() * shape.back().value();
    attributes.emplace_back("num_heads", heads.value());
    if (axes->rank == 4) {
      back = {0, 0, heads.value(), shape.back().value()};
      RONDO_ASSIGN_OR_RETURN(inputs[0], AddReshape(graph, context, *node, r.x, {0, 0, hidden}));
    } else if (!has_batch) {
      back = {-1, heads.value(), shape.back().value()};
      RONDO_ASSIGN_OR_RETURN(inputs[0], AddReshape(graph, context, *node, r.x, {1, -1, hidden}));
    }
  }
  RONDO_ASSIGN_OR_RETURN(inputs[1], cos->Build(graph, context, *node, cut));
  RONDO_ASSIGN_OR_RETURN(inputs[2], sin->Build(graph, context, *node, cut));
  RONDO_ASSIGN_OR_RETURN(
      Node * fused, AddTyped(graph, context, {"", "RotaryEmbedding", 23}, *node, inputs, 1, std::move(attributes)));
  Value* end = fused->output(0);
  if (!back.empty()) {
    RONDO_ASSIGN_OR_RETURN(end, AddReshape(graph, context, *node, end, back));
  } else if (heads_first && !has_batch) {
    RONDO_ASSIGN_OR_RETURN(end, add_axis(end, "Squeeze"));
  }
  graph.ReplaceAllUses(r.result, end);
  return true;
}

}  // namespace

absl::StatusOr<int> FuseRotaryEmbedding(Graph& graph, const RewriteContext& context) {
  int fired = 0;
  CutConstants cut;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    if (!node->Is("Add") && !node->Is("Concat") && !node->Is("Reshape") && !node->Is("Flatten")) continue;
    const Value* output = node->output(0);
    if (output == nullptr || (output->uses().empty() && !output->is_graph_output()) || RankOf(output) < 3) continue;
    RONDO_ASSIGN_OR_RETURN(const bool fused, Fuse(graph, context, node, &cut));
    fired += fused;
  }
  return fired;
}

}  // namespace rondo
