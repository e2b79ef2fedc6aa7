#include "ops/runtime_values.h"

#include <algorithm>
#include <cstring>

#include "graph/numeric.h"

namespace rondo {
namespace {

// Each level of Loops may infer its body a few times, so depth multiplies; below this many levels of loops inside a
// body, its carried shapes are left unknown at once.
constexpr int kMaxExactLoopDepth = 3;

int LoopDepth(const Graph& graph) {
  int depth = 0;
  for (const auto& node : graph.nodes()) {
    const int self = node->Is("Loop") || node->Is("Scan") ? 1 : 0;
    for (const auto& [name, body] : node->subgraphs()) depth = std::max(depth, self + LoopDepth(*body));
  }
  return depth;
}

absl::StatusOr<ValueType> MergeElements(const ValueType& a, const ValueType& b) {
  if (a.element == nullptr) return b.element == nullptr ? ValueType() : *b.element;
  if (b.element == nullptr) return *a.element;
  return MergeTypes(*a.element, *b.element);
}

}  // namespace

absl::StatusOr<ValueType> MergeTypes(const ValueType& a, const ValueType& b) {
  using Kind = ValueType::Kind;
  if (a.kind == Kind::kUnknown) return b;
  if (b.kind == Kind::kUnknown) return a;
  if (a.kind != b.kind) {
    if (a.kind == Kind::kOptional || b.kind == Kind::kOptional) {
      const ValueType& optional = a.kind == Kind::kOptional ? a : b;
      const ValueType& content = a.kind == Kind::kOptional ? b : a;
      RONDO_ASSIGN_OR_RETURN(ValueType merged, MergeElements(optional, ValueType::Optional(content)));
      return ValueType::Optional(std::move(merged));
    }
    return InvalidArgument("types ", a.ToString(), " and ", b.ToString(), " do not agree");
  }
  switch (a.kind) {
    case Kind::kTensor: {
      if (a.dtype != b.dtype && a.dtype != DataType::kUndefined && b.dtype != DataType::kUndefined) {
        return InvalidArgument("element types ", DataTypeName(a.dtype), " and ", DataTypeName(b.dtype),
                               " do not agree");
      }
      ValueType merged = a.dtype != DataType::kUndefined ? a : b;
      if (!a.shape.has_value() || !b.shape.has_value() || a.shape->rank() != b.shape->rank()) {
        merged.shape.reset();
        return merged;
      }
      for (int i = 0; i < merged.shape->rank(); ++i) {
        if ((*a.shape)[i] != (*b.shape)[i]) (*merged.shape)[i] = Dim::Unknown();
      }
      return merged;
    }
    case Kind::kSequence: {
      RONDO_ASSIGN_OR_RETURN(ValueType element, MergeElements(a, b));
      return ValueType::Sequence(std::move(element));
    }
    case Kind::kOptional: {
      RONDO_ASSIGN_OR_RETURN(ValueType element, MergeElements(a, b));
      return ValueType::Optional(std::move(element));
    }
    default:
      return a;
  }
}

bool SameType(const ValueType& a, const ValueType& b) {
  if (a.kind != b.kind || a.dtype != b.dtype || a.shape.has_value() != b.shape.has_value()) return false;
  if ((a.element == nullptr) != (b.element == nullptr)) return false;
  if (a.element != nullptr && !SameType(*a.element, *b.element)) return false;
  if (!a.shape.has_value()) return true;
  if (a.shape->rank() != b.shape->rank()) return false;
  for (int i = 0; i < a.shape->rank(); ++i) {
    const Dim& x = (*a.shape)[i];
    const Dim& y = (*b.shape)[i];
    if (x != y && !(x.unknown() && y.unknown())) return false;
  }
  return true;
}

ValueType WithoutShape(ValueType type) {
  type.shape.reset();
  if (type.element != nullptr) type.element = std::make_shared<const ValueType>(WithoutShape(*type.element));
  return type;
}

std::vector<ValueType> CaptureTypes(const InferContext& ctx) {
  std::vector<ValueType> types;
  const int total = static_cast<int>(ctx.node().inputs().size());
  for (int i = ctx.num_inputs(); i < total; ++i) types.push_back(ctx.input_type(i));
  return types;
}

absl::Status ExpectSubgraph(const Node& node, absl::string_view attribute, int formal_inputs) {
  const Graph* body = node.subgraph(attribute);
  if (body == nullptr) return InvalidArgument("attribute \"", attribute, "\": expected GRAPH, got none");
  const int captures = static_cast<int>(node.inputs().size()) - node.num_formal_inputs();
  const int got = static_cast<int>(body->inputs().size()) - captures;
  if (got != formal_inputs) {
    return InvalidArgument("subgraph \"", attribute, "\": expected ", formal_inputs, " inputs, got ", got);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ValueType>> InferRepeatedBody(InferContext& ctx, absl::string_view attribute,
                                                         const CarriedValues& carried, std::vector<ValueType>* inputs) {
  const bool deep = LoopDepth(*ctx.node().subgraph(attribute)) > kMaxExactLoopDepth;
  if (deep) {
    for (int i = 0; i < carried.count; ++i) {
      ValueType& type = (*inputs)[carried.first_input + i];
      type = WithoutShape(std::move(type));
    }
  }
  // Every round widens a dim, drops a rank or makes an optional, so few are ever needed; the bound is for safety.
  for (int round = 0; round < 64; ++round) {
    RONDO_ASSIGN_OR_RETURN(std::vector<ValueType> outputs, ctx.InferSubgraph(attribute, *inputs));
    if (static_cast<int>(outputs.size()) < carried.first_output + carried.count) {
      return InvalidArgument("subgraph \"", attribute, "\": expected at least ", carried.first_output + carried.count,
                             " outputs, got ", outputs.size());
    }
    bool changed = false;
    for (int i = 0; i < carried.count; ++i) {
      ValueType& before = (*inputs)[carried.first_input + i];
      absl::StatusOr<ValueType> merged = MergeTypes(before, outputs[carried.first_output + i]);
      if (!merged.ok()) {
        return InvalidArgument("carried value ", i, " starts as ", before.ToString(), " and comes out of the body as ",
                               outputs[carried.first_output + i].ToString());
      }
      if (SameType(before, *merged)) continue;
      changed = true;
      before = *std::move(merged);
    }
    if (!changed) return outputs;
    if (deep) return InvalidArgument("a carried value of deeply nested loops changes its type in the body");
    if (round == 32) {
      for (int i = 0; i < carried.count; ++i) {
        ValueType& type = (*inputs)[carried.first_input + i];
        type = WithoutShape(std::move(type));
      }
    }
  }
  return InvalidArgument("the types of the carried values reach no fixed point");
}

void CopyBlocks(const Tensor& from, Tensor* to, const BlockCopy& copy) {
  if (copy.blocks <= 0 || copy.block <= 0) return;
  if (from.dtype() == DataType::kString) {
    for (int64_t b = 0; b < copy.blocks; ++b) {
      const std::string* source = from.data<std::string>() + copy.from_offset + b * copy.from_stride;
      std::copy(source, source + copy.block, to->mutable_data<std::string>() + copy.to_offset + b * copy.to_stride);
    }
    return;
  }
  const int bits = BitWidth(from.dtype());
  if (bits >= 8) {
    const int64_t width = bits / 8;
    const char* source = static_cast<const char*>(from.raw()) + copy.from_offset * width;
    char* target = static_cast<char*>(to->mutable_raw()) + copy.to_offset * width;
    for (int64_t b = 0; b < copy.blocks; ++b) {
      std::memcpy(target + b * copy.to_stride * width, source + b * copy.from_stride * width, copy.block * width);
    }
    return;
  }
  // Packed types: element by element, since a run may begin inside a byte.
  const uint8_t* source = from.data<uint8_t>();
  uint8_t* target = to->mutable_data<uint8_t>();
  for (int64_t b = 0; b < copy.blocks; ++b) {
    for (int64_t i = 0; i < copy.block; ++i) {
      const int64_t s = copy.from_offset + b * copy.from_stride + i;
      const int64_t t = copy.to_offset + b * copy.to_stride + i;
      if (bits == 4) {
        SetInt4(target, t, GetUInt4(source, s));
      } else {
        SetInt2(target, t, GetUInt2(source, s));
      }
    }
  }
}

Dims WithoutAxis(absl::Span<const int64_t> dims, int axis) {
  Dims result(dims.begin(), dims.end());
  result.erase(result.begin() + axis);
  return result;
}

Dims WithAxis(absl::Span<const int64_t> dims, int axis, int64_t extent) {
  Dims result(dims.begin(), dims.end());
  result.insert(result.begin() + axis, extent);
  return result;
}

int64_t CountBetween(absl::Span<const int64_t> dims, int begin, int end) {
  int64_t count = 1;
  for (int i = begin; i < end; ++i) count *= dims[i];
  return count;
}

OutputSlots::OutputSlots(const PrepareContext& ctx) {
  slots_.resize(ctx.num_outputs());
  for (int i = 0; i < ctx.num_outputs(); ++i) {
    if (!ctx.has_output(i)) continue;
    slots_[i].present = true;
    slots_[i].type = ctx.output_type(i);
    slots_[i].has_memory = slots_[i].type.has_known_shape();
    if (slots_[i].has_memory) slots_[i].dims = slots_[i].type.shape->ToDims();
  }
}

absl::Status OutputSlots::Store(const RunContext& ctx, int i, const RuntimeValue& value) const {
  if (i >= static_cast<int>(slots_.size()) || !slots_[i].present || !ctx.has_output(i)) return absl::OkStatus();
  const Slot& slot = slots_[i];
  if (slot.type.is_tensor()) {
    if (!value.is_tensor()) {
      return InvalidArgument("output ", i, ": expected ", slot.type.ToString(), ", got ",
                             value.empty() ? "an empty optional" : "a sequence or map");
    }
    const Tensor& tensor = value.tensor();
    if (tensor.dtype() != slot.type.dtype) {
      return InvalidArgument("output ", i, ": expected element type ", DataTypeName(slot.type.dtype), ", got ",
                             DataTypeName(tensor.dtype()));
    }
    if (slot.has_memory) {
      if (tensor.dims() != slot.dims) {
        return InvalidArgument("output ", i, ": expected shape ", DimsToString(slot.dims), ", got ",
                               DimsToString(tensor.dims()));
      }
      if (tensor.size() > 0 && tensor.raw() != ctx.output(i).raw()) ctx.output(i).CopyFrom(tensor);
      return absl::OkStatus();
    }
  }
  ctx.SetOutputValue(i, value);
  return absl::OkStatus();
}

Dims OutputSlots::EmptyDims(int i) const {
  const std::optional<Shape>& shape = slots_[i].type.shape;
  if (!shape.has_value()) return {0};
  Dims dims;
  for (const Dim& dim : *shape) dims.push_back(dim.known() ? dim.value() : 0);
  return dims;
}

absl::StatusOr<bool> ScalarBool(const Tensor& tensor, absl::string_view what) {
  if (tensor.dtype() != DataType::kBool || tensor.size() != 1) {
    return InvalidArgument(what, ": expected one bool, got ", DataTypeName(tensor.dtype()),
                           DimsToString(tensor.dims()));
  }
  return *tensor.data<uint8_t>() != 0;
}

absl::StatusOr<int64_t> ScalarInt(const Tensor& tensor, absl::string_view what) {
  if (tensor.size() == 1 && tensor.dtype() == DataType::kInt64) return *tensor.data<int64_t>();
  if (tensor.size() == 1 && tensor.dtype() == DataType::kInt32) return *tensor.data<int32_t>();
  return InvalidArgument(what, ": expected one integer, got ", DataTypeName(tensor.dtype()),
                         DimsToString(tensor.dims()));
}

}  // namespace rondo
