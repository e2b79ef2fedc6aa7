#include "ops/op.h"

#include <algorithm>

#include "absl/strings/str_join.h"

namespace rondo {
namespace {

template <typename T>
constexpr absl::string_view kExpectedName = "";
template <>
constexpr absl::string_view kExpectedName<int64_t> = "INT";
template <>
constexpr absl::string_view kExpectedName<float> = "FLOAT";
template <>
constexpr absl::string_view kExpectedName<std::string> = "STRING";
template <>
constexpr absl::string_view kExpectedName<Tensor> = "TENSOR";
template <>
constexpr absl::string_view kExpectedName<std::vector<int64_t>> = "INTS";
template <>
constexpr absl::string_view kExpectedName<std::vector<float>> = "FLOATS";
template <>
constexpr absl::string_view kExpectedName<std::vector<std::string>> = "STRINGS";

template <typename T>
bool IsEmptyList(const Attribute& attribute) {
  // An empty list carries no element from which the importer could tell its type.
  if constexpr (std::is_same_v<T, std::vector<int64_t>> || std::is_same_v<T, std::vector<float>> ||
                std::is_same_v<T, std::vector<std::string>>) {
    return std::visit(
        [](const auto& v) {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<V, std::vector<int64_t>> || std::is_same_v<V, std::vector<float>> ||
                        std::is_same_v<V, std::vector<std::string>>) {
            return v.empty();
          } else {
            return false;
          }
        },
        attribute);
  }
  return false;
}

template <typename T>
absl::StatusOr<T> Required(const Node& node, absl::string_view name) {
  const Attribute* attribute = node.attribute(name);
  if (attribute == nullptr) return InvalidArgument("required attribute \"", name, "\" is missing");
  const T* value = std::get_if<T>(attribute);
  if (value != nullptr) return *value;
  if (IsEmptyList<T>(*attribute)) return T{};
  return InvalidArgument("attribute \"", name, "\": expected ", kExpectedName<T>, ", got ",
                         AttributeTypeName(*attribute));
}

template <typename T>
absl::StatusOr<T> WithFallback(const Node& node, absl::string_view name, T fallback) {
  if (node.attribute(name) == nullptr) return fallback;
  return Required<T>(node, name);
}

}  // namespace

absl::StatusOr<int64_t> AttributeReader::Int(absl::string_view name) const { return Required<int64_t>(node_, name); }
absl::StatusOr<int64_t> AttributeReader::Int(absl::string_view name, int64_t fallback) const {
  return WithFallback<int64_t>(node_, name, fallback);
}
absl::StatusOr<float> AttributeReader::Float(absl::string_view name) const { return Required<float>(node_, name); }
absl::StatusOr<float> AttributeReader::Float(absl::string_view name, float fallback) const {
  return WithFallback<float>(node_, name, fallback);
}
absl::StatusOr<std::string> AttributeReader::String(absl::string_view name) const {
  return Required<std::string>(node_, name);
}
absl::StatusOr<std::string> AttributeReader::String(absl::string_view name, absl::string_view fallback) const {
  return WithFallback<std::string>(node_, name, std::string(fallback));
}
absl::StatusOr<std::vector<int64_t>> AttributeReader::Ints(absl::string_view name) const {
  return Required<std::vector<int64_t>>(node_, name);
}
absl::StatusOr<std::vector<int64_t>> AttributeReader::Ints(absl::string_view name,
                                                           std::vector<int64_t> fallback) const {
  return WithFallback<std::vector<int64_t>>(node_, name, std::move(fallback));
}
absl::StatusOr<std::vector<float>> AttributeReader::Floats(absl::string_view name) const {
  return Required<std::vector<float>>(node_, name);
}
absl::StatusOr<std::vector<float>> AttributeReader::Floats(absl::string_view name, std::vector<float> fallback) const {
  return WithFallback<std::vector<float>>(node_, name, std::move(fallback));
}
absl::StatusOr<std::vector<std::string>> AttributeReader::Strings(absl::string_view name) const {
  return Required<std::vector<std::string>>(node_, name);
}
absl::StatusOr<std::vector<std::string>> AttributeReader::Strings(absl::string_view name,
                                                                  std::vector<std::string> fallback) const {
  return WithFallback<std::vector<std::string>>(node_, name, std::move(fallback));
}
absl::StatusOr<Tensor> AttributeReader::TensorValue(absl::string_view name) const {
  return Required<Tensor>(node_, name);
}
absl::StatusOr<bool> AttributeReader::Flag(absl::string_view name, bool fallback) const {
  RONDO_ASSIGN_OR_RETURN(int64_t value, Int(name, fallback ? 1 : 0));
  if (value != 0 && value != 1) return InvalidArgument("attribute \"", name, "\": expected 0 or 1, got ", value);
  return value == 1;
}

namespace {

// Elements of an integer tensor as int64s; nullopt for other types.
std::optional<std::vector<int64_t>> IntsOf(const Tensor& tensor) {
  if (!tensor.defined()) return std::nullopt;
  if (tensor.dtype() == DataType::kInt64) {
    return std::vector<int64_t>(tensor.data<int64_t>(), tensor.data<int64_t>() + tensor.size());
  }
  if (tensor.dtype() == DataType::kInt32) {
    return std::vector<int64_t>(tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.size());
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<int64_t>> InferContext::constant_ints(int i) const {
  if (!has_input(i)) return std::nullopt;
  if (auto ints = IntsOf(constant(i))) return ints;
  std::optional<std::vector<Dim>> dims = content(i);
  if (!dims.has_value()) return std::nullopt;
  std::vector<int64_t> ints;
  for (const Dim& d : *dims) {
    if (!d.known()) return std::nullopt;
    ints.push_back(d.value());
  }
  return ints;
}

std::vector<int64_t> PrepareContext::constant_ints(int i) const {
  if (!has_input(i)) return {};
  return IntsOf(constant(i)).value_or(std::vector<int64_t>{});
}

void InferContext::SetOutput(int i, DataType dtype, Shape shape) {
  SetOutputType(i, ValueType::Tensor(dtype, std::move(shape)));
}
void InferContext::SetOutputOfUnknownRank(int i, DataType dtype) {
  SetOutputType(i, ValueType::Tensor(dtype, std::nullopt));
}

absl::Status InferContext::ExpectRank(int i, int min_rank, int max_rank) const {
  if (!has_shape(i)) return absl::OkStatus();
  const int rank = shape(i).rank();
  if (rank >= min_rank && rank <= max_rank) return absl::OkStatus();
  const std::string expected = min_rank == max_rank    ? absl::StrCat(min_rank)
                               : max_rank >= (1 << 20) ? absl::StrCat(min_rank, " or more")
                                                       : absl::StrCat(min_rank, " to ", max_rank);
  return InvalidArgument("input ", i, ": expected rank ", expected, ", got ", rank, " (", shape(i).ToString(), ")");
}

absl::Status InferContext::ExpectSameDtype(int i, int j) const {
  if (dtype(i) == dtype(j)) return absl::OkStatus();
  return InvalidArgument("inputs ", i, " and ", j, ": expected equal element types, got ", DataTypeName(dtype(i)),
                         " and ", DataTypeName(dtype(j)));
}

absl::Status InferContext::ExpectDtype(int i, absl::Span<const DataType> allowed) const {
  if (std::find(allowed.begin(), allowed.end(), dtype(i)) != allowed.end()) return absl::OkStatus();
  return InvalidArgument(
      "input ", i, ": expected ",
      absl::StrJoin(allowed, " or ", [](std::string* out, DataType t) { absl::StrAppend(out, DataTypeName(t)); }),
      ", got ", DataTypeName(dtype(i)));
}

absl::StatusOr<int> NormalizeAxis(int64_t axis, int rank, absl::string_view what) {
  if (axis < -rank || axis >= rank) {
    return InvalidArgument(what, " ", axis, " is out of range [", -rank, ", ", rank - 1, "]");
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

absl::StatusOr<Shape> BroadcastShapes(const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  const int offset = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const Dim& x = longer[offset + i];
    const Dim& y = shorter[i];
    Dim& result = out[offset + i];
    if (x.known() && y.known() && x != y && x.value() != 1 && y.value() != 1) {
      return InvalidArgument("shapes ", a.ToString(), " and ", b.ToString(), " do not broadcast: ", x.value(),
                             " against ", y.value());
    }
    // A number other than 1 is the result, whatever the other turns out to be.
    const Dim number = x.known() && x.value() != 1 ? x : y.known() && y.value() != 1 ? y : Dim::Unknown();
    result = number.known() ? number : Dim::Broadcast(x, y);
  }
  return out;
}

absl::StatusOr<Dims> BroadcastDims(absl::Span<const int64_t> a, absl::Span<const int64_t> b) {
  RONDO_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(Shape::FromDims(a), Shape::FromDims(b)));
  return shape.ToDims();
}

absl::Status RunContext::AllocateOutput(int i, absl::Span<const int64_t> dims) const {
  RONDO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(output_dtypes_[i], dims));
  *outputs_[i] = RuntimeValue(std::move(tensor));
  return absl::OkStatus();
}

void RunContextBuilder::Set(RunContext* ctx, const Node* node, absl::Span<const RuntimeValue* const> inputs,
                            absl::Span<RuntimeValue* const> outputs, absl::Span<const DataType> output_dtypes,
                            void* scratch, KernelState* state) {
  ctx->node_ = node;
  ctx->inputs_.assign(inputs.begin(), inputs.end());
  ctx->outputs_.assign(outputs.begin(), outputs.end());
  ctx->output_dtypes_.assign(output_dtypes.begin(), output_dtypes.end());
  ctx->scratch_ = scratch;
  ctx->state_ = state;
}

absl::Status RemovedOperator(InferContext& ctx) {
  return Unimplemented("operator ", ctx.node().op().ToString(), " was removed before opset ", ctx.version());
}

}  // namespace rondo
