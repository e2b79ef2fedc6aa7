#include "ops/matmul_common.h"

#include <algorithm>

#include "ops/dispatch.h"
#include "ops/kernels/panel_gemv.h"
#include "ops/onednn/onednn.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

int64_t Product(absl::Span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t d : dims) product *= d;
  return product;
}

// Wrapping arithmetic for integers; a wider float for the 16-bit formats.
template <typename T>
using Accumulator =
    std::conditional_t<std::is_integral_v<T>, std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>, ComputeType<T>>;

template <typename T>
Accumulator<T> Widen(T v) {
  return static_cast<Accumulator<T>>(v);
}

// Element offsets of every batch of one operand, in y's order.
std::vector<int64_t> BatchOffsets(const StridedView& view, absl::Span<const int64_t> y_batch) {
  std::vector<int64_t> offsets(static_cast<size_t>(Product(y_batch)), 0);
  int64_t repeat = 1;
  for (int axis = static_cast<int>(y_batch.size()) - 1; axis >= 0; --axis) {
    int64_t stride = view.dims[axis] == 1 ? 0 : view.strides[axis];
    for (size_t i = 0; i < offsets.size(); ++i) {
      offsets[i] += static_cast<int64_t>(i) / repeat % y_batch[axis] * stride;
    }
    repeat *= y_batch[axis];
  }
  return offsets;
}

// The plain kernel's view of everything that is added after the product.
struct PlainEpilogue {
  float alpha = 1, beta = 1;
  FusedActivation activation;
  int bias = -1, residual = -1;
  int64_t bias_batch_stride = 0, bias_row_stride = 0, bias_column_stride = 0;
};

struct PlainMatMul {
  MatMulGeometry g;
  std::vector<int64_t> a_offsets, b_offsets, bias_offsets;
  int a_input, b_input;
  PlainEpilogue e;
};

constexpr int kTile = 64;

template <typename T>
void PlainRow(const PlainMatMul& p, const T* a, const T* b, const T* bias, const T* residual, T* y) {
  using Acc = Accumulator<T>;
  const int rank = p.g.a.rank();
  const int64_t a_step = p.g.a.strides[rank - 1];
  const int64_t b_row = p.g.b.strides[rank - 2], b_step = p.g.b.strides[rank - 1];
  for (int64_t j0 = 0; j0 < p.g.n; j0 += kTile) {
    const int64_t width = std::min<int64_t>(kTile, p.g.n - j0);
    Acc acc[kTile] = {};
    if (b_step == 1 && width == kTile) {
      for (int64_t k = 0; k < p.g.k; ++k) {
        const Acc av = Widen(a[k * a_step]);
        const T* row = b + k * b_row + j0;
        for (int j = 0; j < kTile; ++j) acc[j] += av * Widen(row[j]);
      }
    } else {
      for (int64_t k = 0; k < p.g.k; ++k) {
        const Acc av = Widen(a[k * a_step]);
        const T* row = b + k * b_row + j0 * b_step;
        for (int64_t j = 0; j < width; ++j) acc[j] += av * Widen(row[j * b_step]);
      }
    }
    for (int64_t j = 0; j < width; ++j) {
      if constexpr (std::is_integral_v<T>) {
        Acc v = acc[j];
        if (p.e.alpha != 1) v = static_cast<Acc>(static_cast<int64_t>(p.e.alpha)) * v;
        if (bias != nullptr) {
          v += static_cast<Acc>(static_cast<int64_t>(p.e.beta)) * Widen(bias[(j0 + j) * p.e.bias_column_stride]);
        }
        y[j0 + j] = static_cast<T>(v);
      } else {
        Acc v = acc[j] * static_cast<Acc>(p.e.alpha);
        if (bias != nullptr) v += static_cast<Acc>(p.e.beta) * Widen(bias[(j0 + j) * p.e.bias_column_stride]);
        if (!p.e.activation.none()) v = static_cast<Acc>(p.e.activation.Apply(static_cast<float>(v)));
        if (residual != nullptr) v += Widen(residual[j0 + j]);
        y[j0 + j] = static_cast<T>(v);
      }
    }
  }
}

template <typename T>
void RunPlain(const PlainMatMul& p, const T* a, const T* b, const T* bias, const T* residual, T* y) {
  const int64_t a_row = p.g.a.strides[p.g.a.rank() - 2];
  const int64_t cost = std::max<int64_t>(1, p.g.k * p.g.n);
  ParallelFor(p.g.batch() * p.g.m, std::max<int64_t>(1, 40000 / cost), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t batch = r / p.g.m, i = r % p.g.m;
      PlainRow<T>(p, a + p.a_offsets[batch] + i * a_row, b + p.b_offsets[batch],
                  bias == nullptr ? nullptr : bias + p.bias_offsets[batch] + i * p.e.bias_row_stride,
                  residual == nullptr ? nullptr : residual + r * p.g.n, y + r * p.g.n);
    }
  });
}

template <typename T>
std::unique_ptr<Kernel> MakePlain(PlainMatMul plain, std::string implementation) {
  return MakeKernel(
      [p = std::move(plain)](RunContext& ctx) {
        RunPlain(p, ctx.in<T>(p.a_input), ctx.in<T>(p.b_input), p.e.bias >= 0 ? ctx.in<T>(p.e.bias) : nullptr,
                 p.e.residual >= 0 ? ctx.in<T>(p.e.residual) : nullptr, ctx.out<T>(0));
        return absl::OkStatus();
      },
      std::move(implementation));
}

// Dims of `bias` as a view of y's (merged) dims, which is possible when its leading dims are 1 or y was not merged.
absl::StatusOr<StridedView> BiasView(absl::Span<const int64_t> bias, const MatMulGeometry& g) {
  StridedView view = StridedView::Of(bias);
  while (view.rank() > 0 && view.rank() > static_cast<int>(g.y.size()) && view.dims.front() == 1) {
    view.dims.erase(view.dims.begin());
    view.strides.erase(view.strides.begin());
  }
  while (view.rank() < static_cast<int>(g.y.size())) {
    view.dims.insert(view.dims.begin(), 1);
    view.strides.insert(view.strides.begin(), 0);
  }
  bool fits = view.rank() == static_cast<int>(g.y.size());
  for (int i = 0; fits && i < view.rank(); ++i) fits = view.dims[i] == 1 || view.dims[i] == g.y[i];
  if (!fits) {
    return InvalidArgument("bias of shape ", DimsToString(bias), " does not broadcast to the product ",
                           DimsToString(g.y));
  }
  return view;
}

absl::StatusOr<std::unique_ptr<Kernel>> PreparePlain(PrepareContext& ctx, const MatMulRequest& request,
                                                     const MatMulGeometry& g) {
  PlainMatMul p{g, {}, {}, {}, request.a_input, request.b_input, {}};
  absl::Span<const int64_t> batch(g.y.data(), g.y.size() - 2);
  p.a_offsets = BatchOffsets(g.a, batch);
  p.b_offsets = BatchOffsets(g.b, batch);
  p.e.alpha = request.alpha;
  p.e.beta = request.beta;
  p.e.activation = request.activation;
  p.e.residual = request.residual;
  if (request.bias >= 0) {
    RONDO_ASSIGN_OR_RETURN(StridedView bias, BiasView(ctx.input_dims(request.bias), g));
    p.e.bias = request.bias;
    p.bias_offsets = BatchOffsets(bias, batch);
    p.e.bias_row_stride = bias.dims[bias.rank() - 2] == 1 ? 0 : bias.strides[bias.rank() - 2];
    p.e.bias_column_stride = bias.dims[bias.rank() - 1] == 1 ? 0 : bias.strides[bias.rank() - 1];
  }
  return DispatchResult<absl::StatusOr<std::unique_ptr<Kernel>>>(
      NumericTypes{}, ctx.output_dtype(0), [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
        return MakePlain<typename decltype(tag)::type>(std::move(p), ctx.plain() ? "plain" : "own");
      });
}

// Arguments a, packed b, then bias and residual as they are, y.
onednn::PipelineBuilder::HostFn PanelGemvStep(const MatMulGeometry& g, int64_t stride, bool bias, bool residual) {
  return [=, k = g.k, n = g.n](absl::Span<void* const> args) {
    const auto* x = static_cast<const float*>(args[0]);
    const auto* panels = static_cast<const float*>(args[1]);
    const auto* b = bias ? static_cast<const float*>(args[2]) : nullptr;
    const auto* r = residual ? static_cast<const float*>(args[2 + (bias ? 1 : 0)]) : nullptr;
    auto* y = static_cast<float*>(args.back());
    const PanelGemv& gemv = GetPanelGemv();
    // Some 10 floats a nanosecond.
    ParallelFor((n + kGemvColumns - 1) / kGemvColumns, 1 + 200000 / (k * kGemvColumns),
                [&](int64_t first, int64_t last) {
                  for (int64_t p = first; p < last; ++p) {
                    const int64_t at = p * kGemvColumns;
                    gemv.run(x, k, panels + p * stride, b == nullptr ? nullptr : b + at,
                             r == nullptr ? nullptr : r + at, std::min(kGemvColumns, n - at), y + at);
                  }
                });
    return absl::OkStatus();
  };
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareOneDnn(PrepareContext& ctx, const MatMulRequest& request,
                                                      const MatMulGeometry& g) {
  using onednn::Arg;
  using onednn::Layout;
  using onednn::PostOp;
  const DataType dtype = ctx.output_dtype(0);
  // float16, and bfloat16 where the CPU cannot multiply it, are computed in float32.
  const bool native = dtype == DataType::kFloat || (dtype == DataType::kBFloat16 && onednn::HasBFloat16());
  const DataType compute = native ? dtype : DataType::kFloat;
  onednn::PipelineBuilder pipeline(ctx);
  onednn::MatMulSpec spec;
  const Arg raw_b = Arg::InputOrConstant(ctx, request.b_input);
  const bool constant_b = raw_b.from == Arg::From::kConstant;
  const Layout b_layout{dtype, g.b.dims, g.b.strides};
  spec.a = {compute, g.a.dims, g.a.strides};
  spec.b = constant_b ? Layout::Packed(compute, g.b.dims) : Layout{compute, g.b.dims, g.b.strides};
  spec.y = Layout::Dense(compute, g.y);

  std::vector<Arg> operands;
  StridedView bias;
  Arg bias_arg;
  if (request.bias >= 0) {
    RONDO_ASSIGN_OR_RETURN(bias, BiasView(ctx.input_dims(request.bias), g));
    bias_arg = Arg::InputOrConstant(ctx, request.bias);
    spec.bias = request.alpha == 1 && request.beta == 1 && Product(bias.dims) == g.n && bias.dims.back() == g.n;
    if (spec.bias || !native) {
      RONDO_ASSIGN_OR_RETURN(bias_arg, pipeline.AsFloat(bias_arg, dtype, Product(bias.dims)));
    }
    if (spec.bias) operands.push_back(bias_arg);
  }
  // oneDNN 2.6 gives the second of two linear post-ops the first one's factor: only one of them may be linear.
  bool linear = request.activation.kind == ActivationKind::kHardSigmoid;
  auto scale = [&](float factor) {
    if (factor == 1.0f) return;
    if (!linear) {
      spec.post_ops.push_back(PostOp::Linear(factor));
      linear = true;
      return;
    }
    const Dims ones(g.y.size(), 1);
    spec.post_ops.push_back(PostOp::Mul(Layout::Dense(DataType::kFloat, ones)));
    operands.push_back(Arg::Constant(Tensor::FromVector<float>(DataType::kFloat, ones, {factor})));
  };
  // alpha * p + beta * c = beta * (alpha / beta * p + c).
  const bool adds = request.bias >= 0 && !spec.bias;
  const float beta = adds ? request.beta : 1.0f;
  scale(request.alpha / beta);
  if (adds) {
    spec.post_ops.push_back(PostOp::Add(Layout::Dense(compute, bias.dims)));
    operands.push_back(bias_arg);
  }
  scale(beta);
  if (!request.activation.none()) spec.post_ops.push_back(PostOp::Eltwise(request.activation));
  if (request.residual >= 0) {
    spec.post_ops.push_back(PostOp::Add(spec.y));
    RONDO_ASSIGN_OR_RETURN(Arg arg, pipeline.AsFloat(Arg::InputOrConstant(ctx, request.residual),
                                                     native ? DataType::kFloat : dtype, Product(g.y)));
    operands.push_back(arg);
  }

  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr primitive, onednn::MatMul(ctx, spec));
  Arg a = Arg::InputOrConstant(ctx, request.a_input);
  if (!native) {
    RONDO_ASSIGN_OR_RETURN(a, pipeline.AsFloat(a, dtype, Product(ctx.input_dims(request.a_input))));
  }
  Arg b = raw_b;
  if (constant_b) {
    RONDO_ASSIGN_OR_RETURN(b, pipeline.Operand(primitive, 1, raw_b, b_layout));
  } else if (!native) {
    RONDO_ASSIGN_OR_RETURN(b, pipeline.AsFloat(raw_b, dtype, Product(ctx.input_dims(request.b_input))));
  }
  std::vector<Arg> args = {a, b};
  args.insert(args.end(), operands.begin(), operands.end());
  const Arg y = native ? Arg::Output(0) : pipeline.Scratch(Product(g.y) * sizeof(float));
  args.push_back(y);
  // A single row of a decoding step is bound by the memory; ours shares it among threads that may come late.
  const onednn::Panels panels = constant_b ? onednn::PanelsOf(primitive) : onednn::Panels();
  const bool gemv = compute == DataType::kFloat && g.y.size() == 2 && g.m == 1 && g.a.strides.back() == 1 &&
                    panels.columns == kGemvColumns && request.alpha == 1 && !adds && request.activation.none();
  if (gemv) {
    pipeline.Host(PanelGemvStep(g, panels.stride, spec.bias, request.residual >= 0), std::move(args));
  } else {
    pipeline.Add(primitive, std::move(args));
  }
  if (!native) pipeline.FinishFloat(y, Arg::Output(0), dtype, Product(g.y));
  return pipeline.Build(gemv ? "own:gemv" : "");
}

}  // namespace

StridedView StridedView::Of(absl::Span<const int64_t> dims) {
  return {Dims(dims.begin(), dims.end()), onednn::DenseStrides(dims)};
}

void StridedView::SwapLast() {
  std::swap(dims[rank() - 1], dims[rank() - 2]);
  std::swap(strides[rank() - 1], strides[rank() - 2]);
}

int64_t MatMulGeometry::batch() const { return Product(absl::Span<const int64_t>(y.data(), y.size() - 2)); }

absl::StatusOr<MatMulGeometry> MakeMatMulGeometry(StridedView a, StridedView b) {
  while (a.rank() < b.rank()) {
    a.dims.insert(a.dims.begin(), 1);
    a.strides.insert(a.strides.begin(), 0);
  }
  while (b.rank() < a.rank()) {
    b.dims.insert(b.dims.begin(), 1);
    b.strides.insert(b.strides.begin(), 0);
  }
  MatMulGeometry g;
  const int rank = a.rank();
  g.m = a.dims[rank - 2];
  g.k = a.dims[rank - 1];
  g.n = b.dims[rank - 1];
  if (b.dims[rank - 2] != g.k) {
    return InvalidArgument("inner dims differ: A is ", DimsToString(a.dims), ", B is ", DimsToString(b.dims));
  }
  // Merge batch dims from the inside out: a group is (y, a, b) with strides that continue.
  struct Group {
    int64_t y, a, b, a_stride, b_stride;
  };
  std::vector<Group> groups;  // innermost first
  for (int i = rank - 3; i >= 0; --i) {
    const int64_t da = a.dims[i], db = b.dims[i];
    if (da != db && da != 1 && db != 1) {
      return InvalidArgument("batch dims do not broadcast: A is ", DimsToString(a.dims), ", B is ",
                             DimsToString(b.dims));
    }
    const int64_t dy = da == 1 ? db : da;
    if (dy == 1) continue;
    if (!groups.empty()) {
      Group& g0 = groups.back();
      bool a_merges = (da == 1) == (g0.a == 1) && (da == 1 || a.strides[i] == g0.a_stride * g0.a);
      bool b_merges = (db == 1) == (g0.b == 1) && (db == 1 || b.strides[i] == g0.b_stride * g0.b);
      // Only the innermost stride of a group is kept, which is the group's own.
      if (a_merges && b_merges) {
        g0.y *= dy;
        g0.a *= da;
        g0.b *= db;
        continue;
      }
    }
    groups.push_back({dy, da, db, a.strides[i], b.strides[i]});
  }
  // A batch of rows times one matrix is one taller product.
  if (groups.size() == 1 && groups[0].b == 1 && groups[0].a_stride == a.strides[rank - 2] * g.m &&
      a.strides[rank - 1] == 1) {
    g.m *= groups[0].y;
    groups.clear();
  }
  for (auto it = groups.rbegin(); it != groups.rend(); ++it) {
    g.a.dims.push_back(it->a);
    g.a.strides.push_back(it->a_stride);
    g.b.dims.push_back(it->b);
    g.b.strides.push_back(it->b_stride);
    g.y.push_back(it->y);
  }
  auto add = [&](StridedView& to, int64_t d0, int64_t s0, int64_t d1, int64_t s1) {
    to.dims.push_back(d0);
    to.strides.push_back(s0);
    to.dims.push_back(d1);
    to.strides.push_back(s1);
  };
  add(g.a, g.m, a.strides[rank - 2], g.k, a.strides[rank - 1]);
  add(g.b, g.k, b.strides[rank - 2], g.n, b.strides[rank - 1]);
  g.y.push_back(g.m);
  g.y.push_back(g.n);
  return g;
}

absl::StatusOr<PlainProduct> MakePlainProduct(DataType dtype, const MatMulGeometry& g) {
  absl::Span<const int64_t> batch(g.y.data(), g.y.size() - 2);
  PlainMatMul p{g, BatchOffsets(g.a, batch), BatchOffsets(g.b, batch), {}, 0, 1, {}};
  return DispatchResult<absl::StatusOr<PlainProduct>>(
      NumericTypes{}, dtype, [&](auto tag) -> absl::StatusOr<PlainProduct> {
        using T = typename decltype(tag)::type;
        return PlainProduct([p = std::move(p)](const void* a, const void* b, void* y) {
          RunPlain<T>(p, static_cast<const T*>(a), static_cast<const T*>(b), nullptr, nullptr, static_cast<T*>(y));
        });
      });
}

absl::StatusOr<Shape> MatMulShape(const Shape& a, const Shape& b) {
  if (a.rank() < 1 || b.rank() < 1) {
    return InvalidArgument("expected operands of rank 1 or more, got A ", a.ToString(), " and B ", b.ToString());
  }
  const Dim& k_a = a[a.rank() - 1];
  const Dim& k_b = b[b.rank() == 1 ? 0 : b.rank() - 2];
  if (k_a.known() && k_b.known() && k_a != k_b) {
    return InvalidArgument("inner dims differ: A is ", a.ToString(), ", B is ", b.ToString());
  }
  Shape batch_a(a.begin(), a.end() - std::min(2, a.rank())), batch_b(b.begin(), b.end() - std::min(2, b.rank()));
  RONDO_ASSIGN_OR_RETURN(Shape y, BroadcastShapes(batch_a, batch_b));
  if (a.rank() > 1) y.push_back(a[a.rank() - 2]);
  if (b.rank() > 1) y.push_back(b[b.rank() - 1]);
  return y;
}

Shape TransposeLast(const Shape& shape) {
  Shape result = shape;
  if (result.rank() >= 2) std::swap(result[result.rank() - 1], result[result.rank() - 2]);
  return result;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMatMul(PrepareContext& ctx, const MatMulRequest& request) {
  RONDO_ASSIGN_OR_RETURN(MatMulGeometry g, MakeMatMulGeometry(request.a, request.b));
  if (request.bias >= 0) {
    // A bias with batch dims of its own needs y's dims as they were: no merging into M.
    Dims bias = ctx.input_dims(request.bias);
    while (!bias.empty() && bias.front() == 1) bias.erase(bias.begin());
    if (bias.size() > 2 && bias.size() != g.y.size()) {
      return Unimplemented("bias of shape ", DimsToString(bias), " with merged batch dims");
    }
    if (bias.size() == 2 && bias.front() != g.m) {
      return Unimplemented("bias of shape ", DimsToString(bias), " for a product of ", g.m, " rows");
    }
  }
  const DataType dtype = ctx.output_dtype(0);
  const bool float_like = dtype == DataType::kFloat || dtype == DataType::kFloat16 || dtype == DataType::kBFloat16;
  const bool empty = g.m == 0 || g.k == 0 || g.n == 0 || g.batch() == 0;
  if (float_like && !empty && !ctx.plain() && request.beta != 0) {
    auto kernel = PrepareOneDnn(ctx, request, g);
    if (kernel.ok() || !absl::IsUnimplemented(kernel.status())) return kernel;
  }
  return PreparePlain(ctx, request, g);
}

}  // namespace rondo
