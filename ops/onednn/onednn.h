// oneDNN for operator families, without its headers: a family describes a computation (MatMulSpec, ConvSpec ...), gets
// a Primitive from the plan's PrimitiveCache, and strings primitives and host functions together into one Kernel.
//
//   PipelineBuilder pipeline(ctx);
//   RONDO_ASSIGN_OR_RETURN(auto matmul, onednn::MatMul(ctx, spec));
//   RONDO_ASSIGN_OR_RETURN(Arg weights, pipeline.Operand(matmul, 1, b, spec.b));   // packed once if constant
//   pipeline.Add(matmul, {Arg::Input(0), weights, Arg::Output(0)});
//   return pipeline.Build();
//
// A primitive's arguments come in a fixed order: sources (a, b / x, w), bias if any, the operands of kAdd and kMul
// post-ops in their order, destination. oneDNN's scratchpad is part of the plan's scratch; Run only sets pointers.
//
// Makers return Unimplemented when oneDNN has no implementation, or none better than its reference: the family then
// takes its own kernel. No maker accepts a zero dim.
#ifndef RONDO_OPS_ONEDNN_ONEDNN_H_
#define RONDO_OPS_ONEDNN_ONEDNN_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "ops/fused_activation.h"
#include "ops/op.h"
#include "ops/primitive_cache.h"

namespace rondo::onednn {

// A tensor's logical dims and where its elements lie. Empty strides: oneDNN chooses (weights that Operand() packs).
struct Layout {
  DataType dtype = DataType::kFloat;
  Dims dims;
  Dims strides;

  static Layout Dense(DataType dtype, absl::Span<const int64_t> dims);
  static Layout Packed(DataType dtype, absl::Span<const int64_t> dims);
  // dims are [N, C, spatial...]; memory holds [N, spatial..., C].
  static Layout ChannelsLast(DataType dtype, absl::Span<const int64_t> dims);
  size_t bytes() const;
  std::string ToString() const;
};
Dims DenseStrides(absl::Span<const int64_t> dims);

// Applied to the result in order. kSum adds what the destination holds before.
struct PostOp {
  enum class Kind { kEltwise, kLinear, kAdd, kMul, kSum };
  Kind kind = Kind::kEltwise;
  FusedActivation activation;  // kEltwise
  float scale = 1;             // kLinear: y = scale * x
  Layout operand;              // kAdd, kMul: dims are 1 where it is broadcast

  static PostOp Eltwise(const FusedActivation& activation) { return {Kind::kEltwise, activation, 1, {}}; }
  static PostOp Linear(float scale) { return {Kind::kLinear, {}, scale, {}}; }
  static PostOp Add(Layout operand) { return {Kind::kAdd, {}, 1, std::move(operand)}; }
  static PostOp Mul(Layout operand) { return {Kind::kMul, {}, 1, std::move(operand)}; }
  static PostOp Sum() { return {Kind::kSum, {}, 1, {}}; }
};

class Primitive : public CachedPrimitive {
 public:
  virtual size_t scratch_bytes() const = 0;
};
using PrimitivePtr = std::shared_ptr<const Primitive>;

// y = a @ b + bias: a [batch..., M, K], b [batch..., K, N], y [batch..., M, N]; equal ranks, batch dims equal or 1.
// bias is f32 [1, ..., N].
struct MatMulSpec {
  Layout a, b, y;
  bool bias = false;
  std::vector<PostOp> post_ops;
};
absl::StatusOr<PrimitivePtr> MatMul(PrepareContext& ctx, const MatMulSpec& spec);

// How the constant matrix b [K, N] of that product is packed, when it is in panels of adjacent columns, each [K,
// columns] and the last one padded: then kernels of our own can read it too. `columns` is 0 for other layouts.
struct Panels {
  int64_t columns = 0;
  int64_t stride = 0;  // elements from panel to panel
};
Panels PanelsOf(const PrimitivePtr& matmul);

// x [N, C, spatial...], y [N, O, spatial...]. w: [O, C/group, kernel...] or, transposed, [C, O/group, kernel...] as
// ONNX has it; bias [O] of y's computation type (f32).
struct ConvSpec {
  bool transposed = false;
  Layout x, w, y;
  int64_t group = 1;
  Dims strides, dilations, pads_begin, pads_end;  // ONNX's: dilation 1 is none
  bool bias = false;
  std::vector<PostOp> post_ops;
};
absl::StatusOr<PrimitivePtr> Conv(PrepareContext& ctx, const ConvSpec& spec);
// The layout in which Operand() takes the weights of `spec`: w's, with the groups as a dim of their own.
Layout ConvWeights(const ConvSpec& spec);

enum class PoolKind { kMax, kAverageIncludePad, kAverageExcludePad };
struct PoolSpec {
  PoolKind kind = PoolKind::kMax;
  Layout x, y;
  Dims kernel, strides, dilations, pads_begin, pads_end;
};
absl::StatusOr<PrimitivePtr> Pool(PrepareContext& ctx, const PoolSpec& spec);

// Copies between layouts and element types.
absl::StatusOr<PrimitivePtr> Reorder(PrepareContext& ctx, const Layout& from, const Layout& to);

// Whether this CPU multiplies int8 without the 16-bit saturation of older instruction sets.
bool HasExactInt8();
bool HasBFloat16();
// The library and the instruction set that it may use: "oneDNN 2.6.3 avx512_core_bf16".
std::string LibraryText();

// Where an argument lies when Run is called.
struct Arg {
  enum class From { kNone, kInput, kOutput, kConstant, kScratch };
  From from = From::kNone;
  int index = 0;      // kInput, kOutput
  size_t offset = 0;  // kScratch: bytes
  Tensor constant;

  static Arg Input(int i) { return {From::kInput, i, 0, {}}; }
  static Arg Output(int i) { return {From::kOutput, i, 0, {}}; }
  static Arg Constant(Tensor t) { return {From::kConstant, 0, 0, std::move(t)}; }
  // Input i, or the constant of the graph that it is: then it can be packed.
  static Arg InputOrConstant(const PrepareContext& ctx, int i);
};

class PipelineBuilder {
 public:
  // A step in C++: gets the addresses of its arguments. Must not allocate.
  using HostFn = std::function<absl::Status(absl::Span<void* const>)>;

  explicit PipelineBuilder(PrepareContext& ctx) : ctx_(ctx) {}

  Arg Scratch(size_t bytes);
  void Add(PrimitivePtr primitive, std::vector<Arg> args);
  void Host(HostFn run, std::vector<Arg> args);

  // `raw`, which lies as `layout` says, in the form in which `primitive` wants its argument i: itself when that is the
  // same, else packed now and kept in the WeightCache (constants), else reordered in every Run.
  absl::StatusOr<Arg> Operand(const PrimitivePtr& primitive, int i, const Arg& raw, const Layout& layout);
  // `count` elements of `dtype` as float32, converted in Run; itself when it is float32. Constants are converted now.
  absl::StatusOr<Arg> AsFloat(const Arg& arg, DataType dtype, int64_t count);
  // A float32 buffer whose elements end up in `destination` once FinishFloat(buffer...) is called after its last write.
  void FinishFloat(const Arg& buffer, const Arg& destination, DataType dtype, int64_t count);
  // Copies `bytes` unless both are the same address: how a kSum destination gets its first value.
  void CopyUnlessSame(const Arg& from, const Arg& to, size_t bytes);

  // REQUIRES: at least one step. Once only. `implementation`: by default that of the first primitive that is no
  // reorder.
  std::unique_ptr<Kernel> Build(std::string implementation = "");

  struct Step {
    PrimitivePtr primitive;  // or
    HostFn host;
    std::vector<Arg> args;
  };

 private:
  PrepareContext& ctx_;
  size_t scratch_bytes_ = 0;
  std::vector<Step> steps_;
};

// Bulk conversions, parallel. 16-bit floats only.
void ToFloat32(DataType from, const void* source, float* destination, int64_t count);
void FromFloat32(DataType to, const float* source, void* destination, int64_t count);

}  // namespace rondo::onednn

#endif  // RONDO_OPS_ONEDNN_ONEDNN_H_
