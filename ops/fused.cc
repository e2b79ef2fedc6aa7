// Operators that rewrites make (domain "rondo"): a product or a convolution with everything that is applied to its
// result. oneDNN does all of it in one pass over the output. The channels-last poolings are in pool.cc.
#include "ops/conv_common.h"
#include "ops/families.h"
#include "ops/matmul_common.h"

namespace rondo {
namespace {

// MatMul(A [..., M, K], B [..., K, N], bias?, residual?) -> Y = activation(alpha * A @ B + bias) + residual.
// bias broadcasts to [N], residual has Y's shape. trans_b = 0 (1: B is [..., N, K]); alpha = 1; activation = "" and its
// activation_alpha, activation_beta.
absl::Status InferMatMul(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  RONDO_RETURN_IF_ERROR(ReadActivation(ctx.attributes).status());
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("trans_b", false));
  for (int i : {2, 3}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
  }
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape y, MatMulShape(ctx.shape(0), trans_b ? TransposeLast(ctx.shape(1)) : ctx.shape(1)));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFusedMatMul(PrepareContext& ctx) {
  MatMulRequest request;
  Dims a = ctx.input_dims(0), b = ctx.input_dims(1);
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("trans_b", false));
  if (a.size() == 1) a.insert(a.begin(), 1);
  const bool column = b.size() == 1;
  if (column) b.push_back(1);
  request.a = StridedView::Of(a);
  request.b = StridedView::Of(b);
  if (trans_b && !column) request.b.SwapLast();
  RONDO_ASSIGN_OR_RETURN(request.alpha, ctx.attributes.Float("alpha", 1.0f));
  RONDO_ASSIGN_OR_RETURN(request.activation, ReadActivation(ctx.attributes));
  if (ctx.has_input(2)) request.bias = 2;
  if (ctx.has_input(3)) {
    if (ctx.input_dims(3) != ctx.output_dims(0)) {
      return InvalidArgument("the residual has shape ", DimsToString(ctx.input_dims(3)), ", expected ",
                             DimsToString(ctx.output_dims(0)));
    }
    request.residual = 3;
  }
  return PrepareMatMul(ctx, request);
}

// Conv(X, W [O, C/group, kernel...], B? [O], residual?) -> Y = activation(conv(X, W) + B + residual). Conv's
// attributes, activation with its parameters, and layout = "NCHW" or "NHWC": that of X, residual and Y.
absl::Status InferConv(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  RONDO_RETURN_IF_ERROR(ReadActivation(ctx.attributes).status());
  RONDO_ASSIGN_OR_RETURN(bool last, ReadChannelsLast(ctx.attributes));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  RONDO_ASSIGN_OR_RETURN(Shape y, ConvShape(ctx.attributes, ToChannelsFirst(ctx.shape(0), last), ctx.shape(1)));
  ctx.SetOutput(0, ctx.dtype(0), FromChannelsFirst(y, last));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFusedConv(PrepareContext& ctx) {
  ConvRequest request;
  ConvGeometry& g = request.g;
  RONDO_ASSIGN_OR_RETURN(g.channels_last, ReadChannelsLast(ctx.attributes));
  g.x = ToChannelsFirst(ctx.input_dims(0), g.channels_last);
  g.w = ctx.input_dims(1);
  g.y = ToChannelsFirst(ctx.output_dims(0), g.channels_last);
  RONDO_ASSIGN_OR_RETURN(ConvAttributes attributes, ReadConv(ctx.attributes, g.w));
  g.group = attributes.group;
  g.window = attributes.window;
  g.window.Resolve(absl::Span<const int64_t>(g.x).subspan(2));
  RONDO_ASSIGN_OR_RETURN(request.activation, ReadActivation(ctx.attributes));
  if (ctx.has_input(2)) request.bias = 2;
  if (ctx.has_input(3)) {
    if (ctx.input_dims(3) != ctx.output_dims(0)) {
      return InvalidArgument("the residual has shape ", DimsToString(ctx.input_dims(3)), ", expected ",
                             DimsToString(ctx.output_dims(0)));
    }
    request.residual = 3;
  }
  return PrepareConv(ctx, request);
}

const OpDef kRows[] = {
    {.domain = kRondoDomain, .type = "MatMul", .inputs = {2, 4}, .infer = InferMatMul, .prepare = PrepareFusedMatMul},
    // The residual is oneDNN's "sum": in place it is added without a copy.
    {.domain = kRondoDomain,
     .type = "Conv",
     .inputs = {2, 4},
     .infer = InferConv,
     .prepare = PrepareFusedConv,
     .in_place = InputBit(3)},
};

}  // namespace

absl::Span<const OpDef> FusedFamily() { return kRows; }

}  // namespace rondo
