// The primitives that operator families ask for. Each maker: a key, the descriptors, the arguments in contract order.
#include "ops/onednn/primitive.h"

namespace rondo::onednn {
namespace {

using Args = std::vector<std::pair<int, Md>>;

// Bias of the last or the channel dim, f32.
Md BiasOfMatMul(const Layout& y) {
  MdDims dims(y.dims.size(), 1);
  dims.back() = y.dims.back();
  MdDims strides(y.dims.size(), dims.back());
  strides.back() = 1;
  return Md(dims, dnnl::memory::data_type::f32, strides);
}

double Elements(const Layout& layout) {
  double count = 1;
  for (int64_t d : layout.dims) count *= static_cast<double>(d);
  return count;
}

Work WorkOf(const MatMulSpec& spec) {
  return {2 * Elements(spec.y) * static_cast<double>(spec.a.dims.back()),
          spec.a.bytes() + spec.b.bytes() + spec.y.bytes(), spec.a.dtype};
}

// Each weight meets each place of the output (transposed: of the input) once; groups and channels are in its dims.
Work WorkOf(const ConvSpec& spec) {
  const Layout& places = spec.transposed ? spec.x : spec.y;
  const double channels = static_cast<double>(places.dims[1]);
  return {2 * Elements(places) / channels * Elements(spec.w), spec.x.bytes() + spec.w.bytes() + spec.y.bytes(),
          spec.x.dtype};
}

Work WorkOf(const PoolSpec& spec) {
  double taps = 1;
  for (int64_t k : spec.kernel) taps *= static_cast<double>(k);
  return {Elements(spec.y) * taps, spec.x.bytes() + spec.y.bytes(), spec.x.dtype};
}

Layout WithGroups(const Layout& w, int64_t group) {
  Layout result{w.dtype, {group, w.dims[0] / group}, {}};
  for (size_t i = 1; i < w.dims.size(); ++i) result.dims.push_back(w.dims[i]);
  if (!w.strides.empty()) {
    result.strides = {w.strides[0] * (w.dims[0] / group)};
    for (int64_t s : w.strides) result.strides.push_back(s);
  }
  return result;
}

MdDims ZeroBased(const Dims& dilations) {
  MdDims result;
  for (int64_t d : dilations) result.push_back(d - 1);
  return result;
}

}  // namespace

absl::StatusOr<PrimitivePtr> MatMul(PrepareContext& ctx, const MatMulSpec& spec) {
  PrimitiveKey key("MatMul");
  size_t rank = spec.a.dims.size();
  key.Add("M", spec.a.dims[rank - 2]).Add("K", spec.a.dims[rank - 1]).Add("N", spec.b.dims[rank - 1]);
  key.Add("a", absl::string_view(spec.a.ToString())).Add("b", absl::string_view(spec.b.ToString()));
  key.Add("y", absl::string_view(spec.y.ToString())).Add("bias", spec.bias ? 1 : 0);
  return Cached(ctx, std::move(key), spec.post_ops, WorkOf(spec), [&]() -> absl::StatusOr<PrimitivePtr> {
    RONDO_ASSIGN_OR_RETURN(Md a, ToMd(spec.a));
    RONDO_ASSIGN_OR_RETURN(Md b, ToMd(spec.b));
    RONDO_ASSIGN_OR_RETURN(Md y, ToMd(spec.y));
    Md bias = spec.bias ? BiasOfMatMul(spec.y) : Md();
    Args operands;
    RONDO_ASSIGN_OR_RETURN(dnnl::primitive_attr attr, MakeAttributes(spec.post_ops, &operands));
    auto pd = MakeMatMulPd(Engine(), a, b, bias, y, attr);
    Args args = {{DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}};
    if (spec.bias) args.emplace_back(DNNL_ARG_BIAS, pd.bias_desc());
    args.insert(args.end(), operands.begin(), operands.end());
    args.emplace_back(DNNL_ARG_DST, pd.dst_desc());
    return std::make_shared<const DnnlPrimitive>(pd, dnnl::matmul(pd), std::move(args));
  });
}

Panels PanelsOf(const PrimitivePtr& matmul) {
  const Blocking blocking = BlockingOf(Cast(matmul).args()[1].second);
  if (blocking.padded.size() != 2 || blocking.inner.size() != 2) return {};
  const auto [row_axis, rows] = blocking.inner[0];
  const auto [column_axis, columns] = blocking.inner[1];
  // Blocks of `rows` x `columns`, one below the other, then the next columns.
  const bool panels = row_axis == 0 && column_axis == 1 && blocking.strides[0] == rows * columns &&
                      blocking.strides[1] == blocking.padded[0] * columns;
  return panels ? Panels{columns, blocking.strides[1]} : Panels{};
}

Layout ConvWeights(const ConvSpec& spec) {
  if (!spec.transposed) return spec.group == 1 ? spec.w : WithGroups(spec.w, spec.group);
  // ONNX has [C, O/group, kernel]; oneDNN's logical order is [group, O/group, C/group, kernel].
  Layout w = WithGroups(spec.w, spec.group);
  std::swap(w.dims[1], w.dims[2]);
  if (!w.strides.empty()) std::swap(w.strides[1], w.strides[2]);
  if (spec.group == 1) {
    w.dims.erase(w.dims.begin());
    if (!w.strides.empty()) w.strides.erase(w.strides.begin());
  }
  return w;
}

absl::StatusOr<PrimitivePtr> Conv(PrepareContext& ctx, const ConvSpec& spec) {
  PrimitiveKey key(spec.transposed ? "ConvTranspose" : "Conv");
  key.Add("batch", spec.x.dims[0]).Add("x", absl::string_view(spec.x.ToString()));
  key.Add("w", absl::string_view(spec.w.ToString())).Add("y", absl::string_view(spec.y.ToString()));
  key.Add("group", spec.group).Add("strides", spec.strides).Add("dilations", spec.dilations);
  key.Add("pads_begin", spec.pads_begin).Add("pads_end", spec.pads_end).Add("bias", spec.bias ? 1 : 0);
  return Cached(ctx, std::move(key), spec.post_ops, WorkOf(spec), [&]() -> absl::StatusOr<PrimitivePtr> {
    RONDO_ASSIGN_OR_RETURN(Md x, ToMd(spec.x));
    Layout weights = ConvWeights(spec);
    weights.strides.clear();
    RONDO_ASSIGN_OR_RETURN(Md w, ToMd(weights));
    RONDO_ASSIGN_OR_RETURN(Md y, ToMd(spec.y));
    Md bias = spec.bias ? Md({spec.y.dims[1]}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a) : Md();
    Args operands;
    RONDO_ASSIGN_OR_RETURN(dnnl::primitive_attr attr, MakeAttributes(spec.post_ops, &operands));
    WindowGeometry g{
        {}, ToMdDims(spec.strides), ZeroBased(spec.dilations), ToMdDims(spec.pads_begin), ToMdDims(spec.pads_end)};
    auto finish = [&](const auto& pd, auto primitive) {
      Args args = {{DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}};
      if (spec.bias) args.emplace_back(DNNL_ARG_BIAS, pd.bias_desc());
      args.insert(args.end(), operands.begin(), operands.end());
      args.emplace_back(DNNL_ARG_DST, pd.dst_desc());
      return std::make_shared<const DnnlPrimitive>(pd, std::move(primitive), std::move(args));
    };
    if (spec.transposed) {
      auto pd = MakeDeconvPd(Engine(), x, w, bias, y, g, attr);
      return finish(pd, dnnl::deconvolution_forward(pd));
    }
    auto pd = MakeConvPd(Engine(), x, w, bias, y, g, attr);
    return finish(pd, dnnl::convolution_forward(pd));
  });
}

absl::StatusOr<PrimitivePtr> Pool(PrepareContext& ctx, const PoolSpec& spec) {
  PrimitiveKey key(spec.kind == PoolKind::kMax ? "MaxPool" : "AveragePool");
  key.Add("batch", spec.x.dims[0]).Add("x", absl::string_view(spec.x.ToString()));
  key.Add("y", absl::string_view(spec.y.ToString())).Add("kind", static_cast<int64_t>(spec.kind));
  key.Add("kernel", spec.kernel).Add("strides", spec.strides).Add("dilations", spec.dilations);
  key.Add("pads_begin", spec.pads_begin).Add("pads_end", spec.pads_end);
  return Cached(ctx, std::move(key), {}, WorkOf(spec), [&]() -> absl::StatusOr<PrimitivePtr> {
    RONDO_ASSIGN_OR_RETURN(Md x, ToMd(spec.x));
    RONDO_ASSIGN_OR_RETURN(Md y, ToMd(spec.y));
    Args operands;
    RONDO_ASSIGN_OR_RETURN(dnnl::primitive_attr attr, MakeAttributes({}, &operands));
    WindowGeometry g{ToMdDims(spec.kernel), ToMdDims(spec.strides), ZeroBased(spec.dilations),
                     ToMdDims(spec.pads_begin), ToMdDims(spec.pads_end)};
    dnnl::algorithm algorithm = spec.kind == PoolKind::kMax ? dnnl::algorithm::pooling_max
                                : spec.kind == PoolKind::kAverageIncludePad
                                    ? dnnl::algorithm::pooling_avg_include_padding
                                    : dnnl::algorithm::pooling_avg_exclude_padding;
    auto pd = MakePoolPd(Engine(), algorithm, x, y, g, attr);
    Args args = {{DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_DST, pd.dst_desc()}};
    return std::make_shared<const DnnlPrimitive>(pd, PoolPrimitive(pd), std::move(args));
  });
}

}  // namespace rondo::onednn
