// Dense matrix products in floating point and plain integers: MatMul, Gemm and com.microsoft's FusedMatMul. All of them
// describe their operands as strided views and leave the rest to PrepareMatMul (ops/matmul_common.h). Quantised
// products are in matmul_integer.cc.
#include <algorithm>

#include "ops/families.h"
#include "ops/matmul_common.h"

namespace rondo {
namespace {

bool KnownShapes(InferContext& ctx) {
  if (ctx.has_shape(0) && ctx.has_shape(1)) return true;
  ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
  return false;
}

// A [K] operand is a row on the left and a column on the right.
StridedView AsMatrix(Dims dims, bool left) {
  if (dims.size() == 1) dims.insert(left ? dims.begin() : dims.end(), 1);
  return StridedView::Of(dims);
}

// MatMul(A [..., M, K], B [..., K, N]) -> Y [..., M, N], numpy.matmul: batch dims broadcast, rank 1 is a row or column.
absl::Status InferMatMul(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (!KnownShapes(ctx)) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(Shape y, MatMulShape(ctx.shape(0), ctx.shape(1)));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareMatMulOp(PrepareContext& ctx) {
  MatMulRequest request;
  request.a = AsMatrix(ctx.input_dims(0), true);
  request.b = AsMatrix(ctx.input_dims(1), false);
  return PrepareMatMul(ctx, request);
}

// Gemm(A [M, K], B [K, N], C?) -> Y [M, N] = alpha * A' B' + beta * C; transA, transB = 0; alpha, beta = 1; C
// broadcasts to [M, N]. Before opset 7 an attribute "broadcast" said whether C may broadcast; it always may here.
absl::Status InferGemm(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 2));
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(1, 2, 2));
  RONDO_ASSIGN_OR_RETURN(bool trans_a, ctx.attributes.Flag("transA", false));
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("transB", false));
  if (ctx.has_input(2)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  Shape y = Shape::UnknownOfRank(2);
  if (ctx.has_shape(0) && ctx.has_shape(1)) {
    RONDO_ASSIGN_OR_RETURN(y, MatMulShape(trans_a ? TransposeLast(ctx.shape(0)) : ctx.shape(0),
                                          trans_b ? TransposeLast(ctx.shape(1)) : ctx.shape(1)));
    if (ctx.has_input(2) && ctx.has_shape(2)) {
      const Shape& c = ctx.shape(2);
      bool fits = c.rank() <= 2;
      for (int i = 0; fits && i < c.rank(); ++i) {
        const Dim& have = c[i];
        const Dim& want = y[2 - c.rank() + i];
        fits = !have.known() || !want.known() || have.value() == 1 || have == want;
      }
      if (!fits) return InvalidArgument("C of shape ", c.ToString(), " does not broadcast to ", y.ToString());
    }
  } else if (ctx.has_shape(0)) {
    y[0] = ctx.shape(0)[trans_a ? 1 : 0];
  } else if (ctx.has_shape(1)) {
    y[1] = ctx.shape(1)[trans_b ? 0 : 1];
  }
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareGemm(PrepareContext& ctx) {
  MatMulRequest request;
  request.a = StridedView::Of(ctx.input_dims(0));
  request.b = StridedView::Of(ctx.input_dims(1));
  RONDO_ASSIGN_OR_RETURN(bool trans_a, ctx.attributes.Flag("transA", false));
  RONDO_ASSIGN_OR_RETURN(bool trans_b, ctx.attributes.Flag("transB", false));
  if (trans_a) request.a.SwapLast();
  if (trans_b) request.b.SwapLast();
  RONDO_ASSIGN_OR_RETURN(request.alpha, ctx.attributes.Float("alpha", 1.0f));
  RONDO_ASSIGN_OR_RETURN(request.beta, ctx.attributes.Float("beta", 1.0f));
  if (ctx.has_input(2) && request.beta != 0) request.bias = 2;
  if (request.bias < 0) request.beta = 1;
  return PrepareMatMul(ctx, request);
}

// com.microsoft FusedMatMul(A, B) = alpha * A' B'. transA/transB swap the last two dims; transBatchA/B move dim 0 to
// the place before last: [M, batch..., K] is then read as [batch..., M, K].
void RotateBatch(StridedView* view) {
  if (view->rank() < 3) return;
  std::rotate(view->dims.begin(), view->dims.begin() + 1, view->dims.end() - 1);
  std::rotate(view->strides.begin(), view->strides.begin() + 1, view->strides.end() - 1);
}

struct FusedFlags {
  bool trans_a, trans_b, batch_a, batch_b;
};
absl::StatusOr<FusedFlags> ReadFusedFlags(const AttributeReader& attributes) {
  FusedFlags f;
  RONDO_ASSIGN_OR_RETURN(f.trans_a, attributes.Flag("transA", false));
  RONDO_ASSIGN_OR_RETURN(f.trans_b, attributes.Flag("transB", false));
  RONDO_ASSIGN_OR_RETURN(f.batch_a, attributes.Flag("transBatchA", false));
  RONDO_ASSIGN_OR_RETURN(f.batch_b, attributes.Flag("transBatchB", false));
  return f;
}

absl::Status InferFusedMatMul(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 1));
  if (!KnownShapes(ctx)) return absl::OkStatus();
  RONDO_ASSIGN_OR_RETURN(FusedFlags flags, ReadFusedFlags(ctx.attributes));
  auto view = [](Shape shape, bool trans, bool batch) {
    if (batch && shape.rank() >= 3) std::rotate(shape.begin(), shape.begin() + 1, shape.end() - 1);
    return trans ? TransposeLast(shape) : shape;
  };
  RONDO_ASSIGN_OR_RETURN(Shape y, MatMulShape(view(ctx.shape(0), flags.trans_a, flags.batch_a),
                                              view(ctx.shape(1), flags.trans_b, flags.batch_b)));
  ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Kernel>> PrepareFusedMatMul(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(FusedFlags flags, ReadFusedFlags(ctx.attributes));
  MatMulRequest request;
  RONDO_ASSIGN_OR_RETURN(request.alpha, ctx.attributes.Float("alpha", 1.0f));
  RONDO_ASSIGN_OR_RETURN(request.activation, ReadActivation(ctx.attributes));
  const Dims a = ctx.input_dims(0), b = ctx.input_dims(1);
  request.a = AsMatrix(a, true);
  request.b = AsMatrix(b, false);
  if (flags.batch_a) RotateBatch(&request.a);
  if (flags.batch_b) RotateBatch(&request.b);
  if (flags.trans_a && a.size() >= 2) request.a.SwapLast();
  if (flags.trans_b && b.size() >= 2) request.b.SwapLast();
  return PrepareMatMul(ctx, request);
}

const OpDef kRows[] = {
    {.type = "MatMul", .since = 1, .inputs = {2, 2}, .infer = InferMatMul, .prepare = PrepareMatMulOp},
    {.type = "Gemm", .since = 1, .inputs = {2, 3}, .infer = InferGemm, .prepare = PrepareGemm},
    {.domain = "com.microsoft",
     .type = "FusedMatMul",
     .inputs = {2, 2},
     .infer = InferFusedMatMul,
     .prepare = PrepareFusedMatMul},
    {.domain = "com.microsoft",
     .type = "FusedMatMulActivation",
     .inputs = {2, 2},
     .infer = InferFusedMatMul,
     .prepare = PrepareFusedMatMul},
};

}  // namespace

absl::Span<const OpDef> MatMulFamily() { return kRows; }

}  // namespace rondo
