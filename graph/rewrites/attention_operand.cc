#include "graph/rewrites/attention_operand.h"

#include <algorithm>
#include <optional>

#include "graph/rewrites/match.h"
#include "graph/status.h"

namespace rondo {
namespace {

Dim ExtentOf(const std::vector<AxisTrace::Factor>& factors, size_t from = 0) {
  Dim product(1);
  for (size_t i = from; i < factors.size(); ++i) product = product * factors[i].extent;
  return product;
}

bool AnyRepeated(const std::vector<AxisTrace::Factor>& factors) {
  return std::any_of(factors.begin(), factors.end(), [](const AxisTrace::Factor& f) { return f.repeated; });
}

// What the trace's current value is, seen as [batch, heads, rows, size].
class Reader {
 public:
  explicit Reader(const AxisTrace& trace) : trace_(trace) {
    const std::vector<AxisTrace::Factor> batch = trace.role(kBatchRole);
    for (const AxisTrace::Factor& factor : batch) {
      if (factor.repeated) {
        group_ = group_ * factor.extent;
      } else {
        // Repeated heads are neighbours: h = kv_head * group + i. Other orders are no grouping.
        possible_ &= group_ == Dim(1);
        ++batch_factors_;
      }
    }
    rows_factors_ = static_cast<int>(trace.role(kRowsRole).size());
    size_factors_ = static_cast<int>(trace.role(kSizeRole).size());
    possible_ &= !AnyRepeated(trace.role(kRowsRole)) && !AnyRepeated(trace.role(kSizeRole));
  }

  std::optional<AttentionOperand> Read() const {
    if (!possible_ || (trace_.rank() != 3 && trace_.rank() != 4)) return std::nullopt;
    if (trace_.rank() == 3) {
      if (std::optional<AttentionOperand> split = ReadJoinedHeads()) return split;
      if (std::optional<AttentionOperand> one_row = ReadOneRow()) return one_row;
    }
    AttentionOperand operand;
    std::vector<int64_t>& perm = operand.perm;
    if (trace_.rank() == 3) operand.prepare = AttentionOperand::kAddBatch;
    const auto first = trace_.rank() == 3 ? perm.begin() + 1 : perm.begin();
    do {
      if (Fits(perm, trace_.rank() == 4)) return Filled(operand);
    } while (std::next_permutation(first, perm.end()));
    return std::nullopt;
  }

 private:
  // `perm` over the axes of the value, over those after an added one when `own_batch` is false.
  bool Fits(const std::vector<int64_t>& perm, bool own_batch) const {
    const auto axis = [&](int i) { return static_cast<int>(perm[i]) - (own_batch ? 0 : 1); };
    const int batch = own_batch ? trace_.CountOfRole(axis(0), kBatchRole, 0) : 0;
    return batch >= 0 && trace_.CountOfRole(axis(1), kBatchRole, batch) == batch_factors_ - batch &&
           trace_.CountOfRole(axis(2), kRowsRole, 0) == rows_factors_ &&
           trace_.CountOfRole(axis(3), kSizeRole, 0) == size_factors_;
  }

  AttentionOperand Filled(AttentionOperand operand) const {
    const bool own_batch = operand.prepare == AttentionOperand::kNothing;
    const Shape& shape = *trace_.value()->type().shape;
    const auto dim = [&](int i) { return shape[operand.perm[i] - (own_batch ? 0 : 1)]; };
    operand.value = trace_.value();
    operand.batch = own_batch ? dim(0) : Dim(1);
    operand.heads = dim(1);
    operand.rows = dim(2);
    operand.size = dim(3);
    operand.group = group_;
    return operand;
  }

  // [batch, rows, heads * size]
  std::optional<AttentionOperand> ReadJoinedHeads() const {
    const int batch = trace_.CountOfRole(0, kBatchRole, 0);
    if (batch < 0 || batch > batch_factors_ || trace_.CountOfRole(1, kRowsRole, 0) != rows_factors_)
      return std::nullopt;
    const int heads = batch_factors_ - batch;
    if (heads == 0 || !trace_.Holds(2, {{kBatchRole, batch, heads}, {kSizeRole, 0, size_factors_}}))
      return std::nullopt;
    const std::vector<AxisTrace::Factor> last = trace_.axis(2);
    AttentionOperand operand;
    operand.prepare = AttentionOperand::kSplitHeads;
    operand.perm = {0, 2, 1, 3};
    operand.value = trace_.value();
    const Shape& shape = *trace_.value()->type().shape;
    operand.batch = shape[0];
    operand.rows = shape[1];
    operand.heads = ExtentOf({last.begin(), last.begin() + heads});
    operand.size = ExtentOf(last, heads);
    operand.group = group_;
    if (!operand.heads.known() || !operand.size.known()) return std::nullopt;
    return operand;
  }

  // [batch, heads, size], one row each
  std::optional<AttentionOperand> ReadOneRow() const {
    const int batch = trace_.CountOfRole(0, kBatchRole, 0);
    if (batch < 0 || rows_factors_ != 0 || trace_.CountOfRole(1, kBatchRole, batch) != batch_factors_ - batch ||
        trace_.CountOfRole(2, kSizeRole, 0) != size_factors_) {
      return std::nullopt;
    }
    const Shape& shape = *trace_.value()->type().shape;
    AttentionOperand operand;
    operand.prepare = AttentionOperand::kAddRows;
    operand.value = trace_.value();
    operand.batch = shape[0];
    operand.heads = shape[1];
    operand.rows = Dim(1);
    operand.size = shape[2];
    operand.group = group_;
    return operand;
  }

  const AxisTrace& trace_;
  bool possible_ = true;
  Dim group_ = Dim(1);
  int batch_factors_ = 0, rows_factors_ = 0, size_factors_ = 0;
};

// The value of which `value` is a multiple by a constant; multiplies the factor to `scale`.
Value* Unscaled(const Value* value, double* scale) {
  if (auto scaled = WithScalar(ProducerOf(value, "Mul"))) {
    *scale *= scaled->second;
    return scaled->first;
  }
  if (Node* div = ProducerOf(value, "Div")) {
    std::optional<double> divisor = ScalarConstant(div->input(1));
    if (divisor.has_value() && *divisor != 0 && RankOf(div->input(1)) <= RankOf(div->input(0))) {
      *scale /= *divisor;
      return div->input(0);
    }
  }
  return nullptr;
}

// The 16-bit value that was cast to float32.
Value* BeforeWidening(const Value* value) {
  Node* cast = ProducerOf(value, "Cast");
  if (cast == nullptr || !IsFloat32(value)) return nullptr;
  const DataType type = cast->input(0)->type().dtype;
  return type == DataType::kFloat16 || type == DataType::kBFloat16 ? cast->input(0) : nullptr;
}

}  // namespace

std::vector<AttentionOperand> AttentionOperands(AxisTrace trace, bool scalable, bool castable) {
  std::vector<AttentionOperand> readings;
  double scale = 1;
  int stripped = 0;
  // Chains are short; the bound is for files that are not.
  for (int steps = 0; steps < 64; ++steps) {
    if (std::optional<AttentionOperand> reading = Reader(trace).Read()) {
      reading->scale = scale;
      reading->stripped = stripped;
      readings.push_back(*std::move(reading));
    }
    if (trace.StepBack()) continue;
    Value* source = scalable ? Unscaled(trace.value(), &scale) : nullptr;
    if (source == nullptr && castable) source = BeforeWidening(trace.value());
    if (source == nullptr || !SameShape(source, trace.value())) break;
    trace.MoveTo(source);
    ++stripped;
  }
  std::reverse(readings.begin(), readings.end());  // nearest to the source first
  const auto work = [](const AttentionOperand& o) {
    return o.AsIs() ? 0 : o.prepare == AttentionOperand::kSplitHeads ? 2 : 1;
  };
  std::stable_sort(readings.begin(), readings.end(), [&](const AttentionOperand& a, const AttentionOperand& b) {
    return a.stripped != b.stripped ? a.stripped > b.stripped : work(a) < work(b);
  });
  return readings;
}

AxisTrace TraceOfFactor(Value* operand, const Shape& batch_dims, AttentionRole second_last, AttentionRole last) {
  const Shape& shape = *operand->type().shape;
  const int batch_axes = shape.rank() - 2;
  std::vector<std::vector<AxisTrace::Factor>> axes(shape.size());
  for (int i = 0; i < batch_dims.rank(); ++i) {
    const int axis = i - (batch_dims.rank() - batch_axes);
    // An axis that the operand lacks is one more that is repeated, before all of its own.
    const bool repeated = axis < 0 || (shape[axis] == Dim(1) && batch_dims[i] != Dim(1));
    axes[std::max(axis, 0)].push_back({kBatchRole, batch_dims[i], repeated});
  }
  axes[batch_axes].push_back({second_last, shape[batch_axes]});
  axes[batch_axes + 1].push_back({last, shape[batch_axes + 1]});
  return AxisTrace(operand, std::move(axes));
}

absl::StatusOr<Value*> Materialise(Graph& graph, const RewriteContext& context, const Node& like,
                                   const AttentionOperand& operand) {
  Value* value = operand.value;
  if (operand.prepare == AttentionOperand::kSplitHeads) {
    const int64_t dims[] = {0, 0, operand.heads.value(), operand.size.value()};
    RONDO_ASSIGN_OR_RETURN(value, AddReshape(graph, context, like, value, dims));
  } else if (operand.prepare != AttentionOperand::kNothing) {
    const int64_t axis = operand.prepare == AttentionOperand::kAddBatch ? 0 : 2;
    Value* axes = graph.AddConstant("", Tensor::FromInt64s({axis}));
    RONDO_ASSIGN_OR_RETURN(Node * unsqueeze, AddTyped(graph, context, {"", "Unsqueeze", 13}, like, {value, axes}, 1));
    value = unsqueeze->output(0);
  }
  return Transposed(graph, context, like, value, operand.perm);
}

bool Agree(const AttentionOperand& k, const AttentionOperand& v) {
  return k.batch == v.batch && k.heads == v.heads && k.rows == v.rows && k.group == v.group;
}

}  // namespace rondo
