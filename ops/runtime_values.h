// What operators on subgraphs, sequences and optionals share: the meeting of two static types, bodies whose carried
// values reach a fixed point, copies of runs of elements of any type, and the way results get into a node's outputs.
//
// A value that outlives the node (an element of a sequence, an optional's content, an output of unknown shape) must be
// kept (RuntimeValue::Kept): tensors in the executor's arena are overwritten after their last use.
#ifndef RONDO_OPS_RUNTIME_VALUES_H_
#define RONDO_OPS_RUNTIME_VALUES_H_

#include <vector>

#include "ops/op.h"

namespace rondo {

// The most special type that both are instances of: dims that differ become unknown, ranks that differ drop the shape,
// an optional absorbs what it may hold. InvalidArgument when the element types or kinds differ.
absl::StatusOr<ValueType> MergeTypes(const ValueType& a, const ValueType& b);
// Equal as descriptions: an unknown dim equals an unknown dim.
bool SameType(const ValueType& a, const ValueType& b);
// The type without any shape, inside sequences and optionals too. Elements of a sequence may differ in shape, and what
// a caller feeds is not checked against the shape that the model declares for them.
ValueType WithoutShape(ValueType type);

// Types of the values that the node's subgraphs capture.
std::vector<ValueType> CaptureTypes(const InferContext& ctx);
// InvalidArgument unless the node has this subgraph with `formal_inputs` inputs before the captures.
absl::Status ExpectSubgraph(const Node& node, absl::string_view attribute, int formal_inputs);

// Where a body's inputs and outputs hold its carried values.
struct CarriedValues {
  int count;
  int first_input;
  int first_output;
};
// Infers a body that feeds its carried outputs back: widens the types of its carried inputs (in `inputs`, which holds
// formal inputs and captures) until they no longer change; returns the types of its outputs.
absl::StatusOr<std::vector<ValueType>> InferRepeatedBody(InferContext& ctx, absl::string_view attribute,
                                                         const CarriedValues& carried, std::vector<ValueType>* inputs);

// Copies `blocks` runs of `block` elements between tensors of the same type; offsets and strides count elements.
struct BlockCopy {
  int64_t blocks;
  int64_t block;
  int64_t from_offset;
  int64_t from_stride;
  int64_t to_offset;
  int64_t to_stride;
};
void CopyBlocks(const Tensor& from, Tensor* to, const BlockCopy& copy);
// `dims` without / with one more axis.
Dims WithoutAxis(absl::Span<const int64_t> dims, int axis);
Dims WithAxis(absl::Span<const int64_t> dims, int axis, int64_t extent);
// Product of dims[begin, end).
int64_t CountBetween(absl::Span<const int64_t> dims, int begin, int end);

// The outputs of a node as Prepare saw them: those of known shape have memory already, the others are set whole.
class OutputSlots {
 public:
  explicit OutputSlots(const PrepareContext& ctx);
  // Copies into the output's memory, or hands the value over. Checks element type and, where known, shape.
  absl::Status Store(const RunContext& ctx, int i, const RuntimeValue& value) const;
  bool has_memory(int i) const { return slots_[i].has_memory; }
  // Dims that an output without any element still has: unknown dims count as zero; {0} when the rank is unknown.
  Dims EmptyDims(int i) const;
  DataType dtype(int i) const { return slots_[i].type.dtype; }

 private:
  struct Slot {
    bool present = false;
    bool has_memory = false;
    ValueType type;
    Dims dims;
  };
  std::vector<Slot> slots_;
};

// The one element of a tensor that stands for a scalar ([] or [1]); InvalidArgument for anything else.
absl::StatusOr<bool> ScalarBool(const Tensor& tensor, absl::string_view what);
absl::StatusOr<int64_t> ScalarInt(const Tensor& tensor, absl::string_view what);

}  // namespace rondo

#endif  // RONDO_OPS_RUNTIME_VALUES_H_
