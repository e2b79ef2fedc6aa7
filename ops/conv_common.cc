#include "ops/conv_common.h"

#include "ops/onednn/onednn.h"

namespace rondo {
namespace {

using onednn::Arg;
using onednn::Layout;
using onednn::PostOp;

int64_t Product(absl::Span<const int64_t> dims) {
  int64_t product = 1;
  for (int64_t d : dims) product *= d;
  return product;
}

// oneDNN's fast convolutions read channels-last (or blocked) tensors. Channels-first ones are turned around the call; a
// rewrite that keeps a whole net channels-last saves that.
absl::StatusOr<std::unique_ptr<Kernel>> PrepareOneDnn(PrepareContext& ctx, const ConvRequest& request) {
  const ConvGeometry& g = request.g;
  const DataType dtype = ctx.output_dtype(0);
  const bool native = dtype == DataType::kFloat || (dtype == DataType::kBFloat16 && onednn::HasBFloat16());
  const DataType compute = native ? dtype : DataType::kFloat;
  onednn::PipelineBuilder pipeline(ctx);
  onednn::ConvSpec spec;
  spec.transposed = g.transposed;
  spec.x = Layout::ChannelsLast(compute, g.x);
  spec.w = Layout::Dense(compute, g.w);
  spec.y = Layout::ChannelsLast(compute, g.y);
  spec.group = g.group;
  spec.strides = g.window.strides;
  spec.dilations = g.window.dilations;
  spec.pads_begin = g.window.pads_begin;
  spec.pads_end = g.window.pads_end;
  if (g.transposed) {
    // Output padding is a negative pad.
    for (int i = 0; i < g.spatial_rank(); ++i) {
      spec.pads_end[i] = (g.x[i + 2] - 1) * spec.strides[i] + g.window.Extent(i) - spec.pads_begin[i] - g.y[i + 2];
    }
  }
  spec.bias = request.bias >= 0;
  if (request.residual >= 0) spec.post_ops.push_back(PostOp::Sum());
  if (!request.activation.none()) spec.post_ops.push_back(PostOp::Eltwise(request.activation));
  RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr conv, onednn::Conv(ctx, spec));

  auto turned = [&](const Dims& dims) {
    return !g.channels_last && ChannelsFirstStrides(dims, true) != onednn::DenseStrides(dims);
  };
  // A channels-first tensor in scratch, channels-last and in the computation's type.
  auto read = [&](int input, const Dims& dims, const Arg* into) -> absl::StatusOr<Arg> {
    Arg arg = Arg::InputOrConstant(ctx, input);
    if (!native) {
      RONDO_ASSIGN_OR_RETURN(arg, pipeline.AsFloat(arg, dtype, Product(dims)));
    }
    const Layout last = Layout::ChannelsLast(compute, dims);
    if (turned(dims)) {
      RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr reorder, onednn::Reorder(ctx, Layout::Dense(compute, dims), last));
      const Arg to = into != nullptr ? *into : pipeline.Scratch(last.bytes());
      pipeline.Add(reorder, {arg, to});
      return to;
    }
    if (into != nullptr) pipeline.CopyUnlessSame(arg, *into, last.bytes());
    return into != nullptr ? *into : arg;
  };

  const bool y_turned = turned(g.y);
  const Arg y = native && !y_turned ? Arg::Output(0) : pipeline.Scratch(spec.y.bytes());
  RONDO_ASSIGN_OR_RETURN(Arg x, read(request.x_input, g.x, nullptr));
  if (request.residual >= 0) RONDO_RETURN_IF_ERROR(read(request.residual, g.y, &y).status());
  Layout weights = onednn::ConvWeights(spec);
  weights.dtype = dtype;
  RONDO_ASSIGN_OR_RETURN(Arg w, pipeline.Operand(conv, 1, Arg::InputOrConstant(ctx, request.w_input), weights));
  std::vector<Arg> args = {x, w};
  if (spec.bias) {
    RONDO_ASSIGN_OR_RETURN(Arg bias,
                           pipeline.AsFloat(Arg::InputOrConstant(ctx, request.bias), dtype, g.out_channels()));
    args.push_back(bias);
  }
  args.push_back(y);
  pipeline.Add(conv, std::move(args));
  Arg result = y;
  if (y_turned) {
    RONDO_ASSIGN_OR_RETURN(onednn::PrimitivePtr reorder, onednn::Reorder(ctx, spec.y, Layout::Dense(compute, g.y)));
    result = native ? Arg::Output(0) : pipeline.Scratch(spec.y.bytes());
    pipeline.Add(reorder, {y, result});
  }
  if (!native) pipeline.FinishFloat(result, Arg::Output(0), dtype, Product(g.y));
  return pipeline.Build();
}

}  // namespace

absl::StatusOr<ConvAttributes> ReadConv(const AttributeReader& attributes, const Dims& weights) {
  ConvAttributes result;
  RONDO_ASSIGN_OR_RETURN(result.group, attributes.Int("group", 1));
  if (result.group < 1) return InvalidArgument("attribute \"group\": expected at least 1, got ", result.group);
  Dims kernel(weights.begin() + 2, weights.end());
  std::vector<int64_t> from_weights(kernel.begin(), kernel.end());
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> declared, attributes.Ints("kernel_shape", from_weights));
  if (!declared.empty() && declared != from_weights) {
    return InvalidArgument("attribute \"kernel_shape\": the weights have ", DimsToString(kernel), ", got ",
                           DimsToString(declared));
  }
  RONDO_ASSIGN_OR_RETURN(result.window, ReadWindow(attributes, kernel));
  return result;
}

absl::StatusOr<Shape> ConvShape(const AttributeReader& attributes, const Shape& x, const Shape& w) {
  if (x.rank() < 3) return InvalidArgument("expected X of rank 3 or more, [N, C, spatial...], got ", x.ToString());
  if (w.rank() != x.rank()) {
    return InvalidArgument("expected W of X's rank ", x.rank(), ", got ", w.ToString());
  }
  Shape y = Shape::UnknownOfRank(x.rank());
  y[0] = x[0];
  y[1] = w[0];
  Dims weights;
  for (int i = 0; i < w.rank(); ++i) {
    if (!w[i].known()) {
      // The kernel may be declared where the weights are not known.
      RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> kernel, attributes.Ints("kernel_shape", {}));
      if (static_cast<int>(kernel.size()) != x.rank() - 2 || i >= 2) return y;
      weights.assign({1, 1});
      weights.insert(weights.end(), kernel.begin(), kernel.end());
      break;
    }
    weights.push_back(w[i].value());
  }
  RONDO_ASSIGN_OR_RETURN(ConvAttributes conv, ReadConv(attributes, weights));
  if (w[0].known() && w[0].value() % conv.group != 0) {
    return InvalidArgument("the ", w[0].value(), " output channels do not divide into ", conv.group, " groups");
  }
  if (x[1].known() && w[1].known() && (x[1].value() % conv.group != 0 || x[1].value() / conv.group != w[1].value())) {
    return InvalidArgument("X has ", x[1].value(), " channels, but W ", w.ToString(), " in ", conv.group,
                           " groups takes another number");
  }
  for (int i = 2; i < x.rank(); ++i) {
    RONDO_ASSIGN_OR_RETURN(y[i], conv.window.Output(i - 2, x[i]));
  }
  return y;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConv(PrepareContext& ctx, const ConvRequest& request) {
  if (!ctx.plain() && !request.g.empty() && request.g.spatial_rank() <= 3 && request.g.window.IsModest()) {
    auto kernel = PrepareOneDnn(ctx, request);
    if (kernel.ok() || !absl::IsUnimplemented(kernel.status())) return kernel;
  }
  return PreparePlainConv(ctx, request);
}

}  // namespace rondo
