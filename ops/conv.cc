// Convolution in floating point: Conv and ConvTranspose over 1, 2 and 3 spatial axes with groups, dilations and pads,
// and com.microsoft's FusedConv and ConvTransposeWithDynamicPads. Quantised convolutions are in conv_integer.cc,
// deformable ones and Col2Im in conv_sampled.cc.
#include <algorithm>

#include "ops/conv_common.h"
#include "ops/families.h"

namespace rondo {
namespace {

// Conv(X [N, C, spatial...], W [O, C/group, kernel...], B? [O]) -> Y [N, O, spatial...].
// group = 1; kernel_shape = W's; strides, dilations = 1; pads = 0; auto_pad = NOTSET.
absl::Status InferConv(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (ctx.has_input(2)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
    if (ctx.has_shape(2) && ctx.has_shape(1) && ctx.shape(1).rank() > 0) {
      const Dim &bias = ctx.shape(2)[0], &out = ctx.shape(1)[0];
      if (bias.known() && out.known() && bias != out) {
        return InvalidArgument("B has ", bias.value(), " elements, W ", out.value(), " output channels");
      }
    }
  }
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape w = ctx.has_shape(1) ? ctx.shape(1) : Shape::UnknownOfRank(ctx.shape(0).rank());
  RONDO_ASSIGN_OR_RETURN(Shape y, ConvShape(ctx.attributes, ctx.shape(0), w));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::StatusOr<ConvRequest> ReadConvRequest(PrepareContext& ctx) {
  ConvRequest request;
  request.g.x = ctx.input_dims(0);
  request.g.w = ctx.input_dims(1);
  request.g.y = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(ConvAttributes attributes, ReadConv(ctx.attributes, request.g.w));
  request.g.group = attributes.group;
  request.g.window = attributes.window;
  request.g.window.Resolve(absl::Span<const int64_t>(request.g.x).subspan(2));
  if (ctx.has_input(2)) request.bias = 2;
  return request;
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConvOp(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ConvRequest request, ReadConvRequest(ctx));
  return PrepareConv(ctx, request);
}

// com.microsoft FusedConv(X, W, B?, Z?) = activation(Conv(X, W, B) + Z); activation is an operator's name,
// activation_params its parameters.
absl::Status InferFusedConv(InferContext& ctx) {
  if (ctx.has_input(3)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 3));
  return InferConv(ctx);
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFusedConv(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(ConvRequest request, ReadConvRequest(ctx));
  RONDO_ASSIGN_OR_RETURN(std::string name, ctx.attributes.String("activation", ""));
  RONDO_ASSIGN_OR_RETURN(std::vector<float> params, ctx.attributes.Floats("activation_params", {}));
  RONDO_ASSIGN_OR_RETURN(request.activation, MakeActivation(name, params.empty() ? nullptr : &params[0],
                                                            params.size() < 2 ? nullptr : &params[1]));
  if (ctx.has_input(3)) {
    if (ctx.input_dims(3) != request.g.y) {
      return InvalidArgument("Z has shape ", DimsToString(ctx.input_dims(3)), ", expected Y's ",
                             DimsToString(request.g.y));
    }
    request.residual = 3;
  }
  return PrepareConv(ctx, request);
}

// ConvTranspose(X [N, C, spatial...], W [C, O/group, kernel...], B? [O]) -> Y [N, O, spatial...]; each input adds its
// kernel to the output at its stride: size = stride * (in - 1) + output_padding + extent - pads. output_shape (spatial
// dims, or all) decides the pads instead; SAME_* makes it in * stride.
struct TransposedWindow {
  Window window;
  Dims output_padding;
  std::vector<int64_t> output_shape;  // empty or spatial
};

absl::StatusOr<TransposedWindow> ReadTransposed(const AttributeReader& attributes, const Dims& kernel,
                                                const std::vector<int64_t>* pads) {
  TransposedWindow t;
  RONDO_ASSIGN_OR_RETURN(t.window, ReadWindow(attributes, kernel));
  const size_t n = kernel.size();
  if (pads != nullptr) {
    if (pads->size() != 2 * n) return InvalidArgument("Pads: expected ", 2 * n, " values, got ", pads->size());
    for (int64_t p : *pads) {
      if (p < 0 || p > (int64_t{1} << 31)) return InvalidArgument("Pads: expected values in [0, 2^31], got ", p);
    }
    t.window.pads_begin.assign(pads->begin(), pads->begin() + n);
    t.window.pads_end.assign(pads->begin() + n, pads->end());
  }
  std::vector<int64_t> zeros(n, 0);
  RONDO_ASSIGN_OR_RETURN(std::vector<int64_t> padding, attributes.Ints("output_padding", zeros));
  if (padding.empty()) padding = zeros;
  if (padding.size() != n) {
    return InvalidArgument("attribute \"output_padding\": expected ", n, " values, got ", padding.size());
  }
  for (int64_t p : padding) {
    if (p < 0 || p > (int64_t{1} << 31)) {
      return InvalidArgument("attribute \"output_padding\": expected values in [0, 2^31], got ", p);
    }
  }
  t.output_padding.assign(padding.begin(), padding.end());
  RONDO_ASSIGN_OR_RETURN(t.output_shape, attributes.Ints("output_shape", {}));
  if (t.output_shape.size() == n + 2) t.output_shape.erase(t.output_shape.begin(), t.output_shape.begin() + 2);
  if (!t.output_shape.empty()) RONDO_RETURN_IF_ERROR(CheckPositive("output_shape", t.output_shape, n));
  return t;
}

absl::StatusOr<Dim> TransposedOutput(const TransposedWindow& t, int i, const Dim& input) {
  if (!t.output_shape.empty()) return Dim(t.output_shape[i]);
  const Window& w = t.window;
  if (w.auto_pad == AutoPad::kSameUpper || w.auto_pad == AutoPad::kSameLower) return input * Dim(w.strides[i]);
  Dim output =
      (input - Dim(1)) * Dim(w.strides[i]) + Dim(t.output_padding[i] + w.Extent(i) - w.pads_begin[i] - w.pads_end[i]);
  if (output.known() && output.value() < 0) {
    return InvalidArgument("pads ", w.pads_begin[i], " and ", w.pads_end[i], " exceed the output on spatial axis ", i);
  }
  return output;
}

absl::Status InferTransposed(InferContext& ctx, const std::optional<std::vector<int64_t>>& pads, bool pads_unknown) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (!ctx.has_shape(0) || !ctx.has_shape(1)) {
    if (ctx.has_shape(0)) {
      ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(ctx.shape(0).rank()));
    } else {
      ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    }
    return absl::OkStatus();
  }
  const Shape &x = ctx.shape(0), &w = ctx.shape(1);
  if (x.rank() < 3) return InvalidArgument("expected X of rank 3 or more, [N, C, spatial...], got ", x.ToString());
  if (w.rank() != x.rank()) return InvalidArgument("expected W of X's rank ", x.rank(), ", got ", w.ToString());
  RONDO_ASSIGN_OR_RETURN(int64_t group, ctx.attributes.Int("group", 1));
  if (group < 1) return InvalidArgument("attribute \"group\": expected at least 1, got ", group);
  if (x[1].known() && w[0].known() && x[1] != w[0]) {
    return InvalidArgument("X has ", x[1].value(), " channels, W ", w.ToString(), " takes ", w[0].value());
  }
  if (w[0].known() && w[0].value() % group != 0) {
    return InvalidArgument("the ", w[0].value(), " input channels do not divide into ", group, " groups");
  }
  Shape y = Shape::UnknownOfRank(x.rank());
  y[0] = x[0];
  y[1] = w[1] * Dim(group);
  if (ctx.has_input(ctx.num_inputs() - 1)) {
    const int bias = pads.has_value() || pads_unknown ? 3 : 2;
    if (ctx.has_input(bias) && ctx.has_shape(bias)) {
      const Shape& b = ctx.shape(bias);
      if (b.rank() != 1 || (b[0].known() && y[1].known() && b[0] != y[1])) {
        return InvalidArgument("expected B of shape [", y[1].ToString(), "], got ", b.ToString());
      }
    }
  }
  Dims kernel;
  for (int i = 2; i < w.rank() && w[i].known(); ++i) kernel.push_back(w[i].value());
  if (static_cast<int>(kernel.size()) == w.rank() - 2 && !pads_unknown) {
    RONDO_ASSIGN_OR_RETURN(TransposedWindow t, ReadTransposed(ctx.attributes, kernel, pads ? &*pads : nullptr));
    for (int i = 2; i < x.rank(); ++i) {
      RONDO_ASSIGN_OR_RETURN(y[i], TransposedOutput(t, i - 2, x[i]));
    }
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::Status InferConvTranspose(InferContext& ctx) { return InferTransposed(ctx, std::nullopt, false); }

absl::StatusOr<std::unique_ptr<Kernel>> PrepareTransposed(PrepareContext& ctx, const std::vector<int64_t>* pads,
                                                          int bias) {
  ConvRequest request;
  ConvGeometry& g = request.g;
  g.transposed = true;
  g.x = ctx.input_dims(0);
  g.w = ctx.input_dims(1);
  g.y = ctx.output_dims(0);
  RONDO_ASSIGN_OR_RETURN(g.group, ctx.attributes.Int("group", 1));
  Dims kernel(g.w.begin() + 2, g.w.end());
  RONDO_ASSIGN_OR_RETURN(TransposedWindow t, ReadTransposed(ctx.attributes, kernel, pads));
  const bool from_shape =
      !t.output_shape.empty() || t.window.auto_pad == AutoPad::kSameUpper || t.window.auto_pad == AutoPad::kSameLower;
  if (from_shape) {
    for (int i = 0; i < t.window.rank(); ++i) {
      const int64_t total = std::max<int64_t>(
          0, (g.x[i + 2] - 1) * t.window.strides[i] + t.output_padding[i] + t.window.Extent(i) - g.y[i + 2]);
      t.window.pads_begin[i] = t.window.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
    }
  }
  g.window = t.window;
  g.window.auto_pad = AutoPad::kNotSet;
  if (ctx.has_input(bias)) request.bias = bias;
  return PrepareConv(ctx, request);
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareConvTranspose(PrepareContext& ctx) {
  return PrepareTransposed(ctx, nullptr, 2);
}

// com.microsoft ConvTransposeWithDynamicPads(X, W, Pads? [2 * axes], B?): ConvTranspose whose pads are an input.
absl::Status InferDynamicPads(InferContext& ctx) {
  if (!ctx.has_input(2)) return InferTransposed(ctx, std::nullopt, false);
  std::optional<std::vector<int64_t>> pads = ctx.constant_ints(2);
  return InferTransposed(ctx, pads, !pads.has_value());
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareDynamicPads(PrepareContext& ctx) {
  if (!ctx.has_input(2)) return PrepareTransposed(ctx, nullptr, 3);
  std::vector<int64_t> pads = ctx.constant_ints(2);
  return PrepareTransposed(ctx, &pads, 3);
}

const OpDef kRows[] = {
    {.type = "Conv", .since = 1, .inputs = {2, 3}, .infer = InferConv, .prepare = PrepareConvOp},
    {.type = "ConvTranspose",
     .since = 1,
     .inputs = {2, 3},
     .infer = InferConvTranspose,
     .prepare = PrepareConvTranspose},
    {.domain = "com.microsoft",
     .type = "FusedConv",
     .inputs = {2, 4},
     .infer = InferFusedConv,
     .prepare = PrepareFusedConv},
    {.domain = "com.microsoft",
     .type = "ConvTransposeWithDynamicPads",
     .inputs = {2, 4},
     .infer = InferDynamicPads,
     .prepare = PrepareDynamicPads,
     .content_inputs = InputBit(2)},
};

}  // namespace

absl::Span<const OpDef> ConvFamily() { return kRows; }

}  // namespace rondo
