#include "graph/rewrites/match.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "graph/numeric.h"
#include "graph/status.h"

namespace rondo {

Node* ProducerOf(const Value* value, absl::string_view type) {
  if (value == nullptr || value->producer() == nullptr || !value->producer()->Is(type)) return nullptr;
  return value->producer_index() == 0 ? value->producer() : nullptr;
}

Node* SoleProducerOf(const Value* value, absl::string_view type) {
  return value != nullptr && value->has_one_use() ? ProducerOf(value, type) : nullptr;
}

Node* SoleUserOf(const Value* value) {
  return value != nullptr && value->has_one_use() ? value->uses()[0].node : nullptr;
}

Node* SoleUserOf(const Value* value, absl::string_view type) {
  Node* user = SoleUserOf(value);
  return user != nullptr && user->Is(type) ? user : nullptr;
}

std::optional<double> ScalarConstant(const Value* value) {
  if (value == nullptr || !value->is_constant() || value->constant().size() != 1) return std::nullopt;
  const Tensor& t = value->constant();
  switch (t.dtype()) {
    case DataType::kFloat:
      return *t.data<float>();
    case DataType::kDouble:
      return *t.data<double>();
    case DataType::kFloat16:
      return static_cast<float>(*t.data<Float16>());
    case DataType::kBFloat16:
      return static_cast<float>(*t.data<BFloat16>());
    case DataType::kInt64:
      return static_cast<double>(*t.data<int64_t>());
    case DataType::kInt32:
      return *t.data<int32_t>();
    default:
      return std::nullopt;
  }
}

bool IsScalar(const Value* value, double expected, double relative_tolerance) {
  std::optional<double> scalar = ScalarConstant(value);
  return scalar.has_value() && std::abs(*scalar - expected) <= relative_tolerance * std::abs(expected);
}

std::optional<std::vector<int64_t>> IntsConstant(const Value* value) {
  if (value == nullptr || !value->is_constant()) return std::nullopt;
  const Tensor& t = value->constant();
  if (t.dtype() == DataType::kInt64) return std::vector<int64_t>(t.data<int64_t>(), t.data<int64_t>() + t.size());
  if (t.dtype() == DataType::kInt32) return std::vector<int64_t>(t.data<int32_t>(), t.data<int32_t>() + t.size());
  return std::nullopt;
}

Value* OtherInput(const Node* node, const Value* known) {
  if (node == nullptr || node->inputs().size() != 2) return nullptr;
  if (node->input(0) == known) return node->input(1);
  return node->input(1) == known ? node->input(0) : nullptr;
}

std::optional<std::pair<Value*, double>> WithScalar(const Node* node) {
  if (node == nullptr || node->inputs().size() != 2) return std::nullopt;
  for (int i = 0; i < 2; ++i) {
    std::optional<double> scalar = ScalarConstant(node->input(i));
    // A constant of higher rank than the other operand would change the result's rank.
    if (scalar.has_value() && RankOf(node->input(i)) <= std::max(0, RankOf(node->input(1 - i)))) {
      return std::make_pair(node->input(1 - i), *scalar);
    }
  }
  return std::nullopt;
}

int RankOf(const Value* value) {
  if (value == nullptr || !value->type().is_tensor() || !value->type().shape.has_value()) return -1;
  return value->type().shape->rank();
}

bool SameShape(const Value* a, const Value* b) {
  if (RankOf(a) < 0 || RankOf(a) != RankOf(b)) return false;
  for (int i = 0; i < RankOf(a); ++i) {
    if ((*a->type().shape)[i] != (*b->type().shape)[i]) return false;
  }
  return true;
}

bool IsFloat32(const Value* value) { return value != nullptr && value->type().dtype == DataType::kFloat; }

std::optional<std::vector<int64_t>> ReduceAxes(const Node* node) {
  const int rank = RankOf(node->input(0));
  if (rank < 0) return std::nullopt;
  std::vector<int64_t> axes = node->IntsOr("axes", {});
  if (axes.empty() && node->input(1) != nullptr) {
    std::optional<std::vector<int64_t>> constant = IntsConstant(node->input(1));
    if (!constant.has_value()) return std::nullopt;
    axes = *constant;
  }
  for (int64_t& axis : axes) axis = axis < 0 ? axis + rank : axis;
  return axes;
}

bool ReducesLastAxis(const Node* node) {
  if (node == nullptr || node->IntOr("keepdims", 1) != 1) return false;
  std::optional<std::vector<int64_t>> axes = ReduceAxes(node);
  return axes.has_value() && axes->size() == 1 && (*axes)[0] == RankOf(node->input(0)) - 1;
}

absl::StatusOr<Node*> AddTyped(Graph& graph, const RewriteContext& context, OpId op, const Node& like,
                               absl::Span<Value* const> inputs, int num_outputs,
                               std::vector<std::pair<std::string, Attribute>> attributes) {
  Node* node = graph.AddNode(std::move(op), like.name(), inputs, num_outputs);
  for (auto& [name, value] : attributes) node->set_attribute(name, std::move(value));
  RONDO_RETURN_IF_ERROR(context.infer(*node));
  return node;
}

std::optional<std::vector<int64_t>> ReshapeDims(const Shape& from, const Shape& to) {
  std::vector<int64_t> dims;
  bool free = true;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].known() && to[i].value() != 0) {
      dims.push_back(to[i].value());
    } else if (i < from.size() && from[i] == to[i]) {
      dims.push_back(0);
    } else if (free && !to[i].known()) {
      free = false;
      dims.push_back(-1);
    } else {
      return std::nullopt;
    }
  }
  return dims;
}

absl::StatusOr<Value*> AddReshape(Graph& graph, const RewriteContext& context, const Node& like, Value* value,
                                  absl::Span<const int64_t> dims) {
  // Numbers instead of copies where they are known: remove_no_ops can then merge it with a view before.
  std::vector<int64_t> numbers(dims.begin(), dims.end());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const Dim dim = static_cast<int>(i) < RankOf(value) ? (*value->type().shape)[i] : Dim::Unknown();
    if (numbers[i] == 0 && dim.known()) numbers[i] = dim.value();
  }
  Value* shape = graph.AddConstant("", Tensor::FromInt64s(numbers));
  RONDO_ASSIGN_OR_RETURN(Node * reshape, AddTyped(graph, context, {"", "Reshape", 14}, like, {value, shape}, 1));
  return reshape->output(0);
}

absl::StatusOr<Value*> Transposed(Graph& graph, const RewriteContext& context, const Node& like, Value* value,
                                  const std::vector<int64_t>& perm) {
  if (std::is_sorted(perm.begin(), perm.end())) return value;
  for (const Use& use : value->uses()) {
    if (use.node->Is("Transpose") && use.node->IntsOr("perm", {}) == perm) return use.node->output(0);
  }
  RONDO_ASSIGN_OR_RETURN(Node * transpose,
                         AddTyped(graph, context, {"", "Transpose", 13}, like, {value}, 1, {{"perm", perm}}));
  return transpose->output(0);
}

Value* BeforeView(const Value* value) {
  for (absl::string_view type : {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}) {
    if (Node* node = ProducerOf(value, type)) return node->input(0);
  }
  return nullptr;
}

}  // namespace rondo
