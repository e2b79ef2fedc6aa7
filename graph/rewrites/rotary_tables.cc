#include "graph/rewrites/rotary_tables.h"

#include <algorithm>
#include <cstring>

#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

// The elementwise operator that makes `value` and may stand between angles and tables, and which operand is the table;
// its node is null when something else makes it.
Use ElementwiseBefore(const Value* value) {
  for (absl::string_view type : {"Cos", "Sin", "Cast"}) {
    if (Node* node = ProducerOf(value, type)) return {node, 0};
  }
  for (absl::string_view type : {"Mul", "Div"}) {
    Node* node = ProducerOf(value, type);
    if (node == nullptr) continue;
    for (int i : {0, 1}) {
      // Ranks: the table will have 3.
      const Value* factor = node->input(1 - i);
      if ((i == 0 || type == "Mul") && ScalarConstant(factor).has_value() && RankOf(factor) <= 3) return {node, i};
    }
  }
  return {nullptr, 0};
}

// A constant whose rows have two equal halves.
bool HasEqualHalves(const Value* value) {
  if (value == nullptr || !value->is_constant() || RankOf(value) < 1) return false;
  const Tensor& t = value->constant();
  const int64_t columns = t.dims().back();
  if (t.dtype() == DataType::kString || columns <= 0 || columns % 2 != 0) return false;
  const size_t half = t.bytes() / static_cast<size_t>(t.size() / columns) / 2;
  const char* data = static_cast<const char*>(t.raw());
  for (size_t at = 0; at < t.bytes(); at += 2 * half) {
    if (std::memcmp(data + at, data + at + half, half) != 0) return false;
  }
  return t.bytes() > 0;
}

Tensor FirstHalf(const Tensor& t) {
  Dims dims(t.dims().begin(), t.dims().end());
  const size_t half = t.bytes() / static_cast<size_t>(t.size() / dims.back()) / 2;
  dims.back() /= 2;
  Tensor result = Tensor::Make(t.dtype(), dims);
  const char* from = static_cast<const char*>(t.raw());
  char* to = static_cast<char*>(result.mutable_raw());
  for (size_t at = 0; at < t.bytes(); at += 2 * half, to += half) std::memcpy(to, from + at, half);
  return result;
}

// Rows of a constant that positions look up.
bool LooksUpRows(const Node* gather) {
  return gather != nullptr && gather->IntOr("axis", 0) == 0 && RankOf(gather->input(0)) == 2;
}

}  // namespace

std::optional<RotaryAxes> ReadRotaryAxes(const Value* x, const Value* table) {
  const int rank = RankOf(x), missing = rank - RankOf(table);
  if (rank < 3 || rank > 4 || missing < 0 || missing > rank - 2) return std::nullopt;
  const Shape& shape = *x->type().shape;
  const auto is_one = [&](int axis) { return axis < missing || (*table->type().shape)[axis - missing] == Dim(1); };
  const auto follows = [&](int axis) {
    return axis < missing ? shape[axis] == Dim(1) : (*table->type().shape)[axis - missing] == shape[axis];
  };
  RotaryAxes axes{rank, -1, -1, -1};
  if (rank == 4) {
    axes.batch = 0;
    if (!is_one(0) && !follows(0)) return std::nullopt;
    axes.tokens = follows(2) && is_one(1) ? 2 : follows(1) && is_one(2) ? 1 : -1;
    axes.heads = 3 - axes.tokens;
  } else if (follows(0) && is_one(1)) {
    axes.tokens = 0;
    axes.heads = 1;
  } else if (follows(1) && is_one(0)) {
    axes.tokens = 1;
    axes.heads = 0;
  } else if (follows(0) && follows(1)) {
    axes.batch = 0;
    axes.tokens = 1;
  }
  return axes.tokens < 0 ? std::nullopt : std::make_optional(axes);
}

std::optional<RotaryTable> RotaryTable::Trace(Value* table, const RotaryAxes& axes, bool once, bool interleaved) {
  const Shape& shape = *table->type().shape;
  const int angles = axes.rank - 1;  // role of the last axis; all roles are axes of the rotated tensor
  std::vector<std::vector<AxisTrace::Factor>> factors(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    factors[i].push_back({axes.rank - static_cast<int>(shape.size() - i), shape[i]});
  }
  RotaryTable result(AxisTrace(table, std::move(factors)));
  AxisTrace& trace = result.trace_;
  bool found = once;
  for (int steps = 0; !found && steps < 32; ++steps) {
    Value* value = trace.value();
    const bool in_halves = !interleaved && trace.axis(trace.rank() - 1).size() == 1 && trace.role(angles).size() == 1;
    if (in_halves && (HasEqualHalves(value) ||
                      (LooksUpRows(ProducerOf(value, "Gather")) && HasEqualHalves(value->producer()->input(0))))) {
      result.cut_ = found = true;
      break;
    }
    if (!trace.StepBack()) {
      const Use use = ElementwiseBefore(value);
      if (use.node == nullptr || !SameShape(use.node->input(use.index), value)) return std::nullopt;
      result.applied_.push_back(use);
      trace.MoveTo(use.node->input(use.index));
      continue;
    }
    const std::vector<AxisTrace::Factor> columns = trace.role(angles);
    const auto twice = std::find_if(columns.begin(), columns.end(), [](const auto& f) { return f.repeated; });
    if (twice == columns.end()) continue;
    if (columns.size() > 2 || twice->extent != Dim(2)) return std::nullopt;
    if (columns.size() == 2 && (twice == columns.begin()) == interleaved) return std::nullopt;
    found = true;
  }
  if (!found) return std::nullopt;
  // Each axis counts one thing in full. Only the batch may be repeated: one table serves all.
  const auto counts = [&](int axis) -> std::optional<Counts> {
    const std::vector<AxisTrace::Factor> held = trace.axis(axis);
    if (held.empty()) return kNothing;
    const int role = held[0].role;
    int unrepeated = 0;
    for (const AxisTrace::Factor& factor : trace.role(role)) {
      unrepeated += !factor.repeated;
      if (factor.repeated && role == axes.tokens) return std::nullopt;
    }
    if (!trace.Holds(axis, {{role, 0, unrepeated}})) return std::nullopt;
    if (role == angles) return kAngles;
    if (role == axes.tokens) return kTokens;
    return role == axes.batch ? std::make_optional(kBatches) : std::nullopt;
  };
  for (int i = 0; i < trace.rank(); ++i) {
    const std::optional<Counts> counted = counts(i);
    if (!counted.has_value()) return std::nullopt;
    result.counts_.push_back(*counted);
  }
  return result;
}

absl::StatusOr<Value*> RotaryTable::Source(Graph& graph, const RewriteContext& context, const Node& like,
                                           CutConstants* cut) const {
  Value* value = trace_.value();
  if (!cut_) return value;
  const Node* gather = value->is_constant() ? nullptr : value->producer();
  const Value* whole = gather == nullptr ? value : gather->input(0);
  Value*& half = (*cut)[whole->constant().raw()];
  if (half == nullptr) half = graph.AddConstant(whole->name(), FirstHalf(whole->constant()));
  if (gather == nullptr) return half;
  RONDO_ASSIGN_OR_RETURN(Node * look_up, AddTyped(graph, context, gather->op(), like, {half, gather->input(1)}, 1,
                                                  {{"axis", int64_t{0}}}));
  return look_up->output(0);
}

absl::StatusOr<Value*> RotaryTable::Build(Graph& graph, const RewriteContext& context, const Node& like,
                                          CutConstants* cut) const {
  RONDO_ASSIGN_OR_RETURN(Value * value, Source(graph, context, like, cut));
  bool in_place = counts_.size() == 3;
  for (size_t i = 0; i < counts_.size(); ++i)
    in_place &= counts_[i] == kNothing || counts_[i] == static_cast<Counts>(i);
  if (!in_place) {
    const auto view = [&](absl::string_view type, const std::vector<int64_t>& axes) -> absl::Status {
      if (axes.empty()) return absl::OkStatus();
      Value* constant = graph.AddConstant("", Tensor::FromInt64s(axes));
      RONDO_ASSIGN_OR_RETURN(Node * node,
                             AddTyped(graph, context, {"", std::string(type), 13}, like, {value, constant}, 1));
      value = node->output(0);
      return absl::OkStatus();
    };
    // What is missing goes first; then all are put in order.
    std::vector<int64_t> ones, added, perm;
    std::vector<Counts> order;
    for (Counts count : {kBatches, kTokens, kAngles}) {
      if (std::find(counts_.begin(), counts_.end(), count) != counts_.end()) continue;
      added.push_back(static_cast<int64_t>(order.size()));
      order.push_back(count);
    }
    for (size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == kNothing) {
        ones.push_back(static_cast<int64_t>(i));
      } else {
        order.push_back(counts_[i]);
      }
    }
    for (Counts count : {kBatches, kTokens, kAngles}) {
      perm.push_back(std::find(order.begin(), order.end(), count) - order.begin());
    }
    RONDO_RETURN_IF_ERROR(view("Squeeze", ones));
    RONDO_RETURN_IF_ERROR(view("Unsqueeze", added));
    RONDO_ASSIGN_OR_RETURN(value, Transposed(graph, context, like, value, perm));
  }
  for (auto it = applied_.rbegin(); it != applied_.rend(); ++it) {
    const Node& node = *it->node;
    std::vector<Value*> inputs = node.inputs();
    inputs[it->index] = value;
    RONDO_ASSIGN_OR_RETURN(Node * again, AddTyped(graph, context, node.op(), like, inputs, 1,
                                                  {node.attributes().begin(), node.attributes().end()}));
    value = again->output(0);
  }
  return value;
}

}  // namespace rondo
