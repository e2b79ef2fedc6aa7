// The contract between an operator and the rest of rondo. A family file (ops/elementwise.cc, ops/conv.cc ...) holds,
// per operator: a contract comment, its Infer function, its Kernel, its Prepare function; and at the end the family's
// rows.
//
//   Infer    (InferContext&)   -> Status                   types and shapes, symbolic or concrete; pure
//   Prepare  (PrepareContext&) -> StatusOr<unique_ptr<Kernel>>   once per shape binding; may allocate, may fail
//   Kernel::Run(RunContext&)   -> Status                   hot: allocates nothing, looks up nothing by name
//
// The executor guarantees to Prepare: every present input has a concrete shape; inputs listed in OpDef::content_inputs
// are constant; all outputs that Infer gave concrete shapes have them. To Run: tensors have exactly those dims, outputs
// have memory (unless Infer left their shape unknown: then Run calls AllocateOutput). Nodes all of whose outputs have
// zero elements are not run.
#ifndef RONDO_OPS_OP_H_
#define RONDO_OPS_OP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "graph/status.h"
#include "rondo/tensor.h"

namespace rondo {

class PrimitiveCache;
class WeightCache;

// Reads a node's attributes with their types checked: an attribute of another type than asked for is an
// InvalidArgument such as `attribute "strides": expected INTS, got FLOAT`.
class AttributeReader {
 public:
  explicit AttributeReader(const Node& node) : node_(node) {}
  bool Has(absl::string_view name) const { return node_.attribute(name) != nullptr; }
  absl::StatusOr<int64_t> Int(absl::string_view name) const;  // required
  absl::StatusOr<int64_t> Int(absl::string_view name, int64_t fallback) const;
  absl::StatusOr<float> Float(absl::string_view name) const;
  absl::StatusOr<float> Float(absl::string_view name, float fallback) const;
  absl::StatusOr<std::string> String(absl::string_view name) const;
  absl::StatusOr<std::string> String(absl::string_view name, absl::string_view fallback) const;
  absl::StatusOr<std::vector<int64_t>> Ints(absl::string_view name) const;
  absl::StatusOr<std::vector<int64_t>> Ints(absl::string_view name, std::vector<int64_t> fallback) const;
  absl::StatusOr<std::vector<float>> Floats(absl::string_view name) const;
  absl::StatusOr<std::vector<float>> Floats(absl::string_view name, std::vector<float> fallback) const;
  absl::StatusOr<std::vector<std::string>> Strings(absl::string_view name) const;
  absl::StatusOr<std::vector<std::string>> Strings(absl::string_view name, std::vector<std::string> fallback) const;
  absl::StatusOr<Tensor> TensorValue(absl::string_view name) const;
  // An int attribute used as a flag: 0 or 1, anything else is an error.
  absl::StatusOr<bool> Flag(absl::string_view name, bool fallback) const;

 private:
  const Node& node_;
};

// What Infer and Prepare both see of a node. Inputs count without the captures of its subgraphs.
class NodeContext {
 public:
  explicit NodeContext(const Node& node) : attributes(node), node_(node) {}
  virtual ~NodeContext() = default;

  const Node& node() const { return node_; }
  int version() const { return node_.op().version; }
  AttributeReader attributes;

  int num_inputs() const { return node_.num_formal_inputs(); }
  int num_outputs() const { return static_cast<int>(node_.outputs().size()); }
  bool has_input(int i) const { return i < num_inputs() && node_.inputs()[i] != nullptr; }
  bool has_output(int i) const { return i < num_outputs() && node_.outputs()[i] != nullptr; }

 private:
  const Node& node_;
};

// What Infer sees. Dims may be numbers, symbols or unknown; the same rule serves at load and at each shape binding.
class InferContext : public NodeContext {
 public:
  using NodeContext::NodeContext;

  // REQUIRES for all of these: has_input(i).
  virtual const ValueType& input_type(int i) const = 0;  // i may go on into the captures
  DataType dtype(int i) const { return input_type(i).dtype; }
  bool has_shape(int i) const { return input_type(i).is_tensor() && input_type(i).shape.has_value(); }
  const Shape& shape(int i) const { return *input_type(i).shape; }  // REQUIRES: has_shape(i)
  // The whole tensor where it is constant; undefined tensor otherwise.
  virtual Tensor constant(int i) const = 0;
  // Elements of a small integer tensor, each a number, symbolic, or unknown; nullopt when nothing is known.
  virtual std::optional<std::vector<Dim>> content(int i) const = 0;
  // Constant int64/int32 input as numbers; nullopt when it is not constant.
  std::optional<std::vector<int64_t>> constant_ints(int i) const;

  void SetOutput(int i, DataType dtype, Shape shape);
  void SetOutputOfUnknownRank(int i, DataType dtype);
  virtual void SetOutputType(int i, ValueType type) = 0;  // no-op for an absent output
  virtual void SetOutputContent(int i, std::vector<Dim> content) = 0;

  // Infers a subgraph with inputs of the given types (formal inputs, then captures); returns its outputs' types.
  virtual absl::StatusOr<std::vector<ValueType>> InferSubgraph(absl::string_view attribute,
                                                               absl::Span<const ValueType> inputs) = 0;

  // Checks that read well in rules; all return InvalidArgument that names the input.
  absl::Status ExpectRank(int i, int min_rank, int max_rank) const;  // passes when the rank is unknown
  absl::Status ExpectSameDtype(int i, int j) const;
  absl::Status ExpectDtype(int i, absl::Span<const DataType> allowed) const;
};

// [-rank, rank) -> [0, rank); InvalidArgument otherwise.
absl::StatusOr<int> NormalizeAxis(int64_t axis, int rank, absl::string_view what = "axis");
// Multidirectional broadcast of ONNX. Unknown against a number > 1 gives the number; a provable mismatch is an error.
absl::StatusOr<Shape> BroadcastShapes(const Shape& a, const Shape& b);
absl::StatusOr<Dims> BroadcastDims(absl::Span<const int64_t> a, absl::Span<const int64_t> b);

class Kernel;

// Mutable companion of a kernel in one session: oneDNN memory handles, RNN work areas, subgraph sessions.
class KernelState {
 public:
  virtual ~KernelState() = default;
};

// Runs one subgraph of a node. Const and shareable; the session holds what changes.
class SubgraphRunner {
 public:
  virtual ~SubgraphRunner() = default;
  virtual std::unique_ptr<KernelState> CreateState() const = 0;
  // `inputs`: formal inputs followed by captures. `outputs` is resized; storage belongs to the values. Binds a plan for
  // shapes that it has not seen. `donated`, per input (missing: false): the caller will not read this value again;
  // where its handle is the only one, the run may write an output over it.
  virtual absl::Status Run(absl::Span<const RuntimeValue> inputs, std::vector<RuntimeValue>* outputs,
                           KernelState* state, absl::Span<const bool> donated) const = 0;
};

class PrepareContext : public NodeContext {
 public:
  using NodeContext::NodeContext;

  virtual const ValueType& input_type(int i) const = 0;
  virtual const ValueType& output_type(int i) const = 0;  // REQUIRES: has_output(i)
  DataType input_dtype(int i) const { return input_type(i).dtype; }
  DataType output_dtype(int i) const { return output_type(i).dtype; }
  Dims input_dims(int i) const { return input_type(i).shape->ToDims(); }    // REQUIRES: a tensor input
  Dims output_dims(int i) const { return output_type(i).shape->ToDims(); }  // REQUIRES: its shape is known
  // Defined when the input is constant in this binding (weights, folded shape arithmetic).
  virtual Tensor constant(int i) const = 0;
  // Constant integer input as int64s. REQUIRES: i is among the content_inputs.
  std::vector<int64_t> constant_ints(int i) const;

  virtual int threads() const = 0;
  virtual bool plain() const = 0;  // --plain: choose reference kernels
  // Limits of the program, for what grows in a run: turns of one loop, bytes of one value.
  virtual int64_t max_loop_iterations() const = 0;
  virtual uint64_t max_tensor_bytes() const = 0;
  virtual PrimitiveCache& primitive_cache() const = 0;
  virtual WeightCache& weight_cache() const = 0;
  // Bytes of 64-byte aligned memory that Run finds at RunContext::scratch(); part of the arena plan.
  virtual void RequestScratch(size_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<SubgraphRunner>> PrepareSubgraph(absl::string_view attribute) = 0;
};

// What Run sees: pointers that were resolved when the session was created.
class RunContext {
 public:
  bool has_input(int i) const { return i < static_cast<int>(inputs_.size()) && inputs_[i] != nullptr; }
  bool has_output(int i) const { return i < static_cast<int>(outputs_.size()) && outputs_[i] != nullptr; }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  // REQUIRES: present, and a tensor. Inputs go on into the captures.
  const Tensor& input(int i) const { return inputs_[i]->tensor(); }
  Tensor& output(int i) const { return outputs_[i]->tensor(); }
  template <typename T>
  const T* in(int i) const {
    return input(i).data<T>();
  }
  template <typename T>
  T* out(int i) const {
    return output(i).mutable_data<T>();
  }

  // Sequences, optionals, maps, and tensors whose shape Infer left unknown. Transient tensors in `value` (handles of
  // inputs that live in the arena) are cloned.
  const RuntimeValue& input_value(int i) const { return *inputs_[i]; }
  void SetOutputValue(int i, const RuntimeValue& value) const { *outputs_[i] = value.Kept(); }
  // For outputs whose shape Infer left unknown. Errors: limits, memory.
  absl::Status AllocateOutput(int i, absl::Span<const int64_t> dims) const;

  void* scratch() const { return scratch_; }
  KernelState* state() const { return state_; }
  const Node& node() const { return *node_; }  // for error messages

 private:
  friend class RunContextBuilder;
  absl::InlinedVector<const RuntimeValue*, 8> inputs_;
  absl::InlinedVector<RuntimeValue*, 4> outputs_;
  absl::InlinedVector<DataType, 4> output_dtypes_;
  void* scratch_ = nullptr;
  KernelState* state_ = nullptr;
  const Node* node_ = nullptr;
};

// The executor's way to fill a RunContext.
class RunContextBuilder {
 public:
  static void Set(RunContext* ctx, const Node* node, absl::Span<const RuntimeValue* const> inputs,
                  absl::Span<RuntimeValue* const> outputs, absl::Span<const DataType> output_dtypes, void* scratch,
                  KernelState* state);
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual absl::Status Run(RunContext& ctx) const = 0;
  // Null when the kernel keeps nothing per session.
  virtual std::unique_ptr<KernelState> CreateState() const { return nullptr; }
  // What did the work, for profiles: "plain", "own:avx512", or oneDNN's implementation name ("brgemm:avx512_core").
  virtual std::string Implementation() const { return "own"; }
};

// A kernel from a callable `absl::Status(RunContext&)`, for the many that need no class of their own.
template <typename F>
class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(F run, std::string implementation)
      : run_(std::move(run)), implementation_(std::move(implementation)) {}
  absl::Status Run(RunContext& ctx) const override { return run_(ctx); }
  std::string Implementation() const override { return implementation_; }

 private:
  F run_;
  std::string implementation_;
};
template <typename F>
std::unique_ptr<Kernel> MakeKernel(F run, std::string implementation = "own") {
  return std::make_unique<FunctionKernel<F>>(std::move(run), std::move(implementation));
}

using InferFn = absl::Status (*)(InferContext&);
using PrepareFn = absl::StatusOr<std::unique_ptr<Kernel>> (*)(PrepareContext&);

// How many inputs or outputs an operator takes. Inputs before `min` must be present, not only counted: an operator
// whose optional inputs come before required ones sets a smaller min and checks the rest in Infer.
struct Arity {
  int min;
  int max;
  static constexpr int kMany = 1 << 30;
};

// One row of a family's table. Build with designated initializers; the defaults are the common case.
struct OpDef {
  absl::string_view domain = "";  // ai.onnx
  absl::string_view type = "";
  int since = 1;  // first opset version with these semantics; holds until the next row of the same operator
  Arity inputs = {1, 1};
  Arity outputs = {1, 1};
  InferFn infer = nullptr;
  PrepareFn prepare = nullptr;
  // Bit i: the *values* of input i decide output shapes or what Prepare builds (Reshape's shape, Slice's starts). Where
  // they are not constant, the executor prepares the node at run time, once they are known.
  uint32_t content_inputs = 0;
  // Bit i: output 0 may be written over input i when that is its last use (same bytes, same dtype width; elementwise).
  uint32_t in_place = 0;
  // Output 0 is input 0's bytes under other dims (Reshape, Squeeze): no kernel runs unless a copy is unavoidable.
  bool view = false;
  // False for random generators: never folded, never merged with an equal node.
  bool deterministic = true;
};

// Marks an operator that a later opset removed: Find() on or after `since` reports it as unsupported.
absl::Status RemovedOperator(InferContext& ctx);

inline constexpr uint32_t InputBit(int i) { return uint32_t{1} << i; }
inline constexpr uint32_t kAllInputs = 0xffffffffu;

}  // namespace rondo

#endif  // RONDO_OPS_OP_H_
