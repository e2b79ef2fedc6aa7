#include "ops/onednn/primitive.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_join.h"
#include "ops/foreign_code.h"
#include "ops/kernels/vector_math.h"

namespace rondo::onednn {
namespace {

constexpr size_t kAlignment = 64;

// What one thread does in a nanosecond, roughly, while its data are in its own cache: multiplications and additions
// times the width of their elements, and bytes that are only moved.
constexpr double kFlopBytesPerNs = 400;
constexpr double kStreamedBytesPerNs = 16;
// Work of fewer nanoseconds is done by one thread: to wake a team and to wait for its last member takes as long, and a
// hundred times longer where a member has lost its core.
constexpr double kWorthWakingNs = 40000;

// The library's own names; a set that they lack is told by its number.
std::string IsaText() {
  using Isa = dnnl::cpu_isa;
  const Isa isa = dnnl::get_effective_cpu_isa();
  switch (isa) {
    case Isa::sse41:
      return "sse41";
    case Isa::avx:
      return "avx";
    case Isa::avx2:
      return "avx2";
    case Isa::avx2_vnni:
      return "avx2_vnni";
    case Isa::avx512_core:
      return "avx512_core";
    case Isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case Isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case Isa::avx512_core_amx:
      return "avx512_core_amx";
    default:
      return absl::StrCat("isa_", static_cast<int>(isa));
  }
}

std::string PostOpsText(const std::vector<PostOp>& post_ops) {
  std::string text;
  for (const PostOp& op : post_ops) {
    if (!text.empty()) text += "+";
    switch (op.kind) {
      case PostOp::Kind::kEltwise:
        text += op.activation.ToString();
        break;
      case PostOp::Kind::kLinear:
        absl::StrAppend(&text, "Linear(", op.scale, ")");
        break;
      case PostOp::Kind::kAdd:
        absl::StrAppend(&text, "Add", op.operand.ToString());
        break;
      case PostOp::Kind::kMul:
        absl::StrAppend(&text, "Mul", op.operand.ToString());
        break;
      case PostOp::Kind::kSum:
        text += "Sum";
        break;
    }
  }
  return text;
}

void AppendActivation(const FusedActivation& act, dnnl::post_ops* ops) {
  using A = dnnl::algorithm;
  switch (act.kind) {
    case ActivationKind::kNone:
      return;
    case ActivationKind::kRelu:
      return AppendEltwise(*ops, A::eltwise_relu, 0, 0);
    case ActivationKind::kLeakyRelu:
      return AppendEltwise(*ops, A::eltwise_relu, act.alpha, 0);
    case ActivationKind::kClip:
      return AppendEltwise(*ops, A::eltwise_clip, act.alpha, act.beta);
    case ActivationKind::kSigmoid:
      return AppendEltwise(*ops, A::eltwise_logistic, 0, 0);
    case ActivationKind::kTanh:
      return AppendEltwise(*ops, A::eltwise_tanh, 0, 0);
    case ActivationKind::kSilu:
      return AppendEltwise(*ops, A::eltwise_swish, act.alpha, 0);
    case ActivationKind::kGelu:
      return AppendEltwise(*ops, A::eltwise_gelu_erf, 0, 0);
    case ActivationKind::kGeluTanh:
      return AppendEltwise(*ops, A::eltwise_gelu_tanh, 0, 0);
    case ActivationKind::kHardSwish:
      return AppendHardSwish(*ops);
    case ActivationKind::kHardSigmoid:
      AppendEltwise(*ops, A::eltwise_linear, act.alpha, act.beta);
      return AppendEltwise(*ops, A::eltwise_clip, 0, 1);
    case ActivationKind::kElu:
      return AppendEltwise(*ops, A::eltwise_elu, act.alpha, 0);
    case ActivationKind::kSoftplus:
      return AppendSoftplus(*ops);
    case ActivationKind::kMish:
      return AppendEltwise(*ops, A::eltwise_mish, 0, 0);
  }
}

// What one session keeps per step: memory objects whose handles Run sets, and the argument array of the C call.
struct StepState {
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> args;
};

struct PipelineState final : KernelState {
  dnnl::stream stream{Engine()};
  std::vector<StepState> steps;
};

struct PipelineStep {
  PipelineBuilder::Step step;
  size_t scratchpad_offset = 0;
};

class Pipeline final : public Kernel {
 public:
  Pipeline(std::vector<PipelineStep> steps, std::string implementation)
      : steps_(std::move(steps)), implementation_(std::move(implementation)) {}

  std::string Implementation() const override { return implementation_; }

  std::unique_ptr<KernelState> CreateState() const override {
    auto state = std::make_unique<PipelineState>();
    state->steps.resize(steps_.size());
    for (size_t s = 0; s < steps_.size(); ++s) {
      if (steps_[s].step.primitive == nullptr) continue;
      const DnnlPrimitive& primitive = Cast(steps_[s].step.primitive);
      StepState& to = state->steps[s];
      for (const auto& [number, md] : primitive.args()) {
        to.memories.emplace_back(md, Engine(), static_cast<void*>(DNNL_MEMORY_NONE));
        to.args.push_back({number, to.memories.back().get()});
      }
      to.memories.emplace_back(primitive.scratchpad(), Engine(), static_cast<void*>(DNNL_MEMORY_NONE));
      to.args.push_back({DNNL_ARG_SCRATCHPAD, to.memories.back().get()});
    }
    return state;
  }

  absl::Status Run(RunContext& ctx) const override {
    auto* state = static_cast<PipelineState*>(ctx.state());
    for (size_t s = 0; s < steps_.size(); ++s) {
      const PipelineStep& step = steps_[s];
      absl::InlinedVector<void*, 8> pointers;
      for (const Arg& arg : step.step.args) pointers.push_back(Resolve(ctx, arg));
      if (step.step.primitive == nullptr) {
        RONDO_RETURN_IF_ERROR(step.step.host(pointers));
        continue;
      }
      pointers.push_back(static_cast<char*>(ctx.scratch()) + step.scratchpad_offset);
      StepState& to = state->steps[s];
      for (size_t i = 0; i < pointers.size(); ++i) {
        dnnl_memory_set_data_handle(const_cast<dnnl_memory_t>(to.args[i].memory), pointers[i]);
      }
      const DnnlPrimitive& primitive = Cast(step.step.primitive);
      // Some implementations ask for the thread count again.
      std::optional<ScopedThreads> fewer;
      if (primitive.threads() < NumThreads()) fewer.emplace(primitive.threads());
      const ForeignCode library;
      const dnnl_status_t status = dnnl_primitive_execute(primitive.primitive().get(), state->stream.get(),
                                                          static_cast<int>(to.args.size()), to.args.data());
      if (status != dnnl_success) {
        return Internal("oneDNN failed with status ", static_cast<int>(status), " in ", implementation_);
      }
    }
    return absl::OkStatus();
  }

 private:
  static void* Resolve(RunContext& ctx, const Arg& arg) {
    switch (arg.from) {
      case Arg::From::kInput:
        return const_cast<void*>(ctx.input(arg.index).raw());
      case Arg::From::kOutput:
        return ctx.output(arg.index).mutable_raw();
      case Arg::From::kConstant:
        return const_cast<void*>(arg.constant.raw());
      case Arg::From::kScratch:
        return static_cast<char*>(ctx.scratch()) + arg.offset;
      case Arg::From::kNone:
        return nullptr;
    }
    return nullptr;
  }

  std::vector<PipelineStep> steps_;
  std::string implementation_;
};

// Element conversions outside of a Run, as oneDNN reorders.
absl::Status ReorderNow(const Md& from, const void* source, const Md& to, void* destination) {
  try {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::library);
    dnnl::stream stream(Engine());
    dnnl::memory a(from, Engine(), const_cast<void*>(source));
    dnnl::memory b(to, Engine(), destination);
    dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to, attr)).execute(stream, a, b);
    stream.wait();
    return absl::OkStatus();
  } catch (const dnnl::error& e) {
    return Unimplemented("oneDNN refused to pack weights: ", e.what());
  }
}

}  // namespace

const dnnl::engine& Engine() {
  static const dnnl::engine* const engine = [] {
    // PrimitiveCache is the bounded one. oneDNN's own would keep a thousand primitives alive that it has evicted; and
    // they lie between larger blocks, which the heap then cannot give back. A few serve packing, where equal reorders
    // follow each other. Whoever set a number keeps it.
    if (std::getenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == nullptr &&
        std::getenv("DNNL_PRIMITIVE_CACHE_CAPACITY") == nullptr) {
      dnnl::set_primitive_cache_capacity(16);
    }
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return *engine;
}

const DnnlPrimitive& Cast(const PrimitivePtr& primitive) { return static_cast<const DnnlPrimitive&>(*primitive); }

DnnlPrimitive::DnnlPrimitive(const dnnl::primitive_desc_base& pd, dnnl::primitive primitive,
                             std::vector<std::pair<int, Md>> args)
    : primitive_(std::move(primitive)),
      args_(std::move(args)),
      scratchpad_(pd.scratchpad_desc()),
      implementation_(pd.impl_info_str()),
      is_reorder_(pd.get_kind() == dnnl::primitive::kind::reorder),
      threads_(NumThreads()) {}

absl::StatusOr<dnnl::memory::data_type> ToDnnl(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat:
      return dnnl::memory::data_type::f32;
    case DataType::kBFloat16:
      return dnnl::memory::data_type::bf16;
    case DataType::kInt32:
      return dnnl::memory::data_type::s32;
    case DataType::kInt8:
      return dnnl::memory::data_type::s8;
    case DataType::kUInt8:
      return dnnl::memory::data_type::u8;
    default:
      return Unimplemented("oneDNN has no element type ", DataTypeName(dtype));
  }
}

Dims DenseStrides(absl::Span<const int64_t> dims) {
  Dims strides(dims.size());
  uint64_t stride = 1;  // wraps for a tensor without elements, whose strides nobody follows
  for (int i = static_cast<int>(dims.size()) - 1; i >= 0; --i) {
    strides[i] = static_cast<int64_t>(stride);
    stride *= static_cast<uint64_t>(dims[i]);
  }
  return strides;
}

Layout Layout::Dense(DataType dtype, absl::Span<const int64_t> dims) {
  return {dtype, Dims(dims.begin(), dims.end()), DenseStrides(dims)};
}
Layout Layout::Packed(DataType dtype, absl::Span<const int64_t> dims) {
  return {dtype, Dims(dims.begin(), dims.end()), {}};
}
Layout Layout::ChannelsLast(DataType dtype, absl::Span<const int64_t> dims) {
  Layout layout{dtype, Dims(dims.begin(), dims.end()), Dims(dims.size())};
  int64_t stride = dims[1];
  layout.strides[1] = 1;
  for (int i = static_cast<int>(dims.size()) - 1; i >= 2; --i) {
    layout.strides[i] = stride;
    stride *= dims[i];
  }
  layout.strides[0] = stride;
  return layout;
}
size_t Layout::bytes() const {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  return ByteSize(dtype, count);
}
std::string Layout::ToString() const {
  return absl::StrCat(DataTypeName(dtype), "[", absl::StrJoin(dims, ","), "]",
                      strides.empty()                 ? ":any"
                      : strides == DenseStrides(dims) ? ""
                                                      : absl::StrCat(":", absl::StrJoin(strides, ",")));
}

absl::StatusOr<Md> ToMd(const Layout& layout) {
  RONDO_ASSIGN_OR_RETURN(dnnl::memory::data_type dtype, ToDnnl(layout.dtype));
  if (layout.dims.size() > 6) return Unimplemented("oneDNN takes up to 6 dims, got ", layout.dims.size());
  for (int64_t d : layout.dims) {
    if (d <= 0) return Unimplemented("oneDNN takes no empty tensor, got ", DimsToString(layout.dims));
  }
  if (layout.strides.empty()) return Md(ToMdDims(layout.dims), dtype, dnnl::memory::format_tag::any);
  return Md(ToMdDims(layout.dims), dtype, ToMdDims(layout.strides));
}

absl::StatusOr<dnnl::primitive_attr> MakeAttributes(const std::vector<PostOp>& post_ops,
                                                    std::vector<std::pair<int, Md>>* operands) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  for (const PostOp& op : post_ops) {
    switch (op.kind) {
      case PostOp::Kind::kEltwise:
        AppendActivation(op.activation, &ops);
        break;
      case PostOp::Kind::kLinear:
        AppendEltwise(ops, dnnl::algorithm::eltwise_linear, op.scale, 0);
        break;
      case PostOp::Kind::kSum:
        ops.append_sum(1.0f);
        break;
      case PostOp::Kind::kAdd:
      case PostOp::Kind::kMul: {
        RONDO_ASSIGN_OR_RETURN(Md md, ToMd(op.operand));
        operands->emplace_back(DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, md);
        ops.append_binary(op.kind == PostOp::Kind::kAdd ? dnnl::algorithm::binary_add : dnnl::algorithm::binary_mul,
                          md);
        break;
      }
    }
  }
  attr.set_post_ops(ops);
  return attr;
}

int ThreadsFor(const Work& work, int available) {
  const double width = static_cast<double>(std::max<size_t>(ByteSize(work.dtype, 1), 1));
  const double ns =
      std::max(work.flops * width / kFlopBytesPerNs, static_cast<double>(work.bytes) / kStreamedBytesPerNs);
  return ns < kWorthWakingNs ? 1 : available;
}

void AddCommonFields(const std::vector<PostOp>& post_ops, int threads, PrimitiveKey* key) {
  key->Add("post_ops", absl::string_view(PostOpsText(post_ops)));
  key->Add("threads", threads);
  static const auto* const isa = new std::string(IsaText());
  key->Add("isa", absl::string_view(*isa));
}

absl::StatusOr<PrimitivePtr> Reorder(PrepareContext& ctx, const Layout& from, const Layout& to) {
  PrimitiveKey key("Reorder");
  key.Add("from", absl::string_view(from.ToString())).Add("to", absl::string_view(to.ToString()));
  const Work work{0, from.bytes() + to.bytes(), from.dtype};
  return Cached(ctx, std::move(key), {}, work, [&]() -> absl::StatusOr<PrimitivePtr> {
    RONDO_ASSIGN_OR_RETURN(Md a, ToMd(from));
    RONDO_ASSIGN_OR_RETURN(Md b, ToMd(to));
    std::vector<std::pair<int, Md>> none;
    RONDO_ASSIGN_OR_RETURN(dnnl::primitive_attr attr, MakeAttributes({}, &none));
    dnnl::reorder::primitive_desc pd(Engine(), a, Engine(), b, attr);
    std::vector<std::pair<int, Md>> args = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
    return std::make_shared<const DnnlPrimitive>(pd, dnnl::reorder(pd), std::move(args));
  });
}

std::string LibraryText() {
  const dnnl_version_t* const version = dnnl_version();
  return absl::StrCat("oneDNN ", version->major, ".", version->minor, ".", version->patch, " ", IsaText());
}

bool HasExactInt8() {
  using Isa = dnnl::cpu_isa;
  static const bool value = [] {
    switch (dnnl::get_effective_cpu_isa()) {
      case Isa::avx512_core:
      case Isa::avx2:
      case Isa::avx:
      case Isa::sse41:
        return false;
      default:
        return true;
    }
  }();
  return value;
}

bool HasBFloat16() {
  using Isa = dnnl::cpu_isa;
  static const bool value = [] {
    switch (dnnl::get_effective_cpu_isa()) {
      case Isa::avx512_core_bf16:
      case Isa::avx512_core_amx:
        return true;
      default:
        return static_cast<int>(dnnl::get_effective_cpu_isa()) > static_cast<int>(Isa::avx512_core_bf16);
    }
  }();
  return value;
}

Arg Arg::InputOrConstant(const PrepareContext& ctx, int i) {
  // Only what is constant in the graph: what a shape binding computes once would pile up in the WeightCache.
  const Value* value = ctx.node().input(i);
  return value != nullptr && value->is_constant() ? Constant(value->constant()) : Input(i);
}

Arg PipelineBuilder::Scratch(size_t bytes) {
  Arg arg{Arg::From::kScratch, 0, scratch_bytes_, {}};
  scratch_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return arg;
}

void PipelineBuilder::Add(PrimitivePtr primitive, std::vector<Arg> args) {
  steps_.push_back({std::move(primitive), nullptr, std::move(args)});
}

void PipelineBuilder::Host(HostFn run, std::vector<Arg> args) {
  steps_.push_back({nullptr, std::move(run), std::move(args)});
}

absl::StatusOr<Arg> PipelineBuilder::Operand(const PrimitivePtr& primitive, int i, const Arg& raw,
                                             const Layout& layout) {
  const Md& want = Cast(primitive).args()[i].second;
  bool half = layout.dtype == DataType::kFloat16;
  Layout as_float = layout;
  if (half) as_float.dtype = DataType::kFloat;
  RONDO_ASSIGN_OR_RETURN(Md have, ToMd(as_float));
  if (raw.from == Arg::From::kConstant) {
    if (have == want && !half) return raw;
    const Tensor& weight = raw.constant;
    auto pack = [&](Tensor& packed) -> absl::Status {
      Tensor converted;
      const void* source = weight.raw();
      if (half) {
        RONDO_ASSIGN_OR_RETURN(converted, Tensor::Create(DataType::kFloat, weight.dims()));
        ToFloat32(layout.dtype, weight.raw(), converted.mutable_data<float>(), weight.size());
        source = converted.raw();
      }
      ScopedThreads threads(ctx_.threads());
      return ReorderNow(have, source, want, packed.mutable_raw());
    };
    const PackedForm form = {absl::StrCat(layout.ToString(), "->", LayoutText(want)),
                             DataType::kUInt8,
                             {static_cast<int64_t>(want.get_size())}};
    RONDO_ASSIGN_OR_RETURN(Tensor packed, ctx_.weight_cache().GetOrPack({weight}, form, pack));
    return Arg::Constant(std::move(packed));
  }
  Arg source = raw;
  if (half) {
    int64_t count = 1;
    for (int64_t d : layout.dims) count *= d;
    RONDO_ASSIGN_OR_RETURN(source, AsFloat(raw, layout.dtype, count));
  }
  if (have == want) return source;
  PrimitiveKey key("Reorder");
  key.Add("from", absl::string_view(as_float.ToString())).Add("to", absl::string_view(LayoutText(want)));
  const Work work{0, layout.bytes() + want.get_size(), layout.dtype};
  RONDO_ASSIGN_OR_RETURN(PrimitivePtr reorder,
                         Cached(ctx_, std::move(key), {}, work, [&]() -> absl::StatusOr<PrimitivePtr> {
                           std::vector<std::pair<int, Md>> none;
                           RONDO_ASSIGN_OR_RETURN(dnnl::primitive_attr attr, MakeAttributes({}, &none));
                           dnnl::reorder::primitive_desc pd(Engine(), have, Engine(), want, attr);
                           std::vector<std::pair<int, Md>> args = {{DNNL_ARG_FROM, have}, {DNNL_ARG_TO, want}};
                           return std::make_shared<const DnnlPrimitive>(pd, dnnl::reorder(pd), std::move(args));
                         }));
  Arg packed = Scratch(want.get_size());
  Add(std::move(reorder), {source, packed});
  return packed;
}

absl::StatusOr<Arg> PipelineBuilder::AsFloat(const Arg& arg, DataType dtype, int64_t count) {
  if (dtype == DataType::kFloat) return arg;
  if (arg.from == Arg::From::kConstant) {
    RONDO_ASSIGN_OR_RETURN(Tensor converted,
                           ctx_.weight_cache().GetOrPack(
                               {arg.constant}, {"float32", DataType::kFloat, arg.constant.dims()}, [&](Tensor& t) {
                                 ToFloat32(dtype, arg.constant.raw(), t.mutable_data<float>(), t.size());
                                 return absl::OkStatus();
                               }));
    return Arg::Constant(std::move(converted));
  }
  Arg buffer = Scratch(sizeof(float) * static_cast<size_t>(count));
  Host(
      [dtype, count](absl::Span<void* const> p) {
        ToFloat32(dtype, p[0], static_cast<float*>(p[1]), count);
        return absl::OkStatus();
      },
      {arg, buffer});
  return buffer;
}

void PipelineBuilder::FinishFloat(const Arg& buffer, const Arg& destination, DataType dtype, int64_t count) {
  Host(
      [dtype, count](absl::Span<void* const> p) {
        FromFloat32(dtype, static_cast<const float*>(p[0]), p[1], count);
        return absl::OkStatus();
      },
      {buffer, destination});
}

void PipelineBuilder::CopyUnlessSame(const Arg& from, const Arg& to, size_t bytes) {
  Host(
      [bytes](absl::Span<void* const> p) {
        if (p[0] == p[1]) return absl::OkStatus();
        ParallelFor(static_cast<int64_t>(bytes), 256 << 10, [&](int64_t begin, int64_t end) {
          std::memcpy(static_cast<char*>(p[1]) + begin, static_cast<const char*>(p[0]) + begin,
                      static_cast<size_t>(end - begin));
        });
        return absl::OkStatus();
      },
      {from, to});
}

std::unique_ptr<Kernel> PipelineBuilder::Build(std::string implementation) {
  std::vector<PipelineStep> steps;
  // Steps run one after the other, so one scratchpad serves them all.
  size_t scratchpad = 0;
  for (Step& step : steps_) {
    if (step.primitive != nullptr) {
      scratchpad = std::max(scratchpad, step.primitive->scratch_bytes());
      if (implementation.empty() && !Cast(step.primitive).is_reorder()) {
        implementation = step.primitive->Implementation();
      }
    }
    steps.push_back({std::move(step), scratch_bytes_});
  }
  if (implementation.empty()) implementation = "own";
  size_t total = scratch_bytes_ + scratchpad;
  if (total > 0) ctx_.RequestScratch(total);
  return std::make_unique<Pipeline>(std::move(steps), std::move(implementation));
}

void ToFloat32(DataType from, const void* source, float* destination, int64_t count) {
  const VectorMath& math = GetVectorMath();
  const auto convert = from == DataType::kFloat16 ? math.float16_to_float : math.bfloat16_to_float;
  const auto* bits = static_cast<const uint16_t*>(source);
  ParallelFor(count, 64 << 10,
              [&](int64_t begin, int64_t end) { convert(bits + begin, destination + begin, end - begin); });
}

void FromFloat32(DataType to, const float* source, void* destination, int64_t count) {
  const VectorMath& math = GetVectorMath();
  const auto convert = to == DataType::kFloat16 ? math.float_to_float16 : math.float_to_bfloat16;
  auto* bits = static_cast<uint16_t*>(destination);
  ParallelFor(count, 64 << 10, [&](int64_t begin, int64_t end) { convert(source + begin, bits + begin, end - begin); });
}

}  // namespace rondo::onednn
