// Determinants and inverses of small square matrices, by elimination with partial pivoting in double precision: Det and
// com.microsoft's Inverse.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/dispatch.h"
#include "ops/families.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

absl::Status CheckSquare(InferContext& ctx) {
  if (!ctx.has_shape(0)) return absl::OkStatus();
  const Shape& x = ctx.shape(0);
  const int r = x.rank();
  if (r < 2 || (x[r - 1].known() && x[r - 2].known() && x[r - 1] != x[r - 2])) {
    return InvalidArgument("expected square matrices [*, M, M], got ", x.ToString());
  }
  return absl::OkStatus();
}

// Swaps the row with the largest pivot of column `c` to row c; false when the column is zero from there on.
bool Pivot(double* matrix, int64_t size, int64_t width, int64_t c, bool* swapped) {
  int64_t best = c;
  for (int64_t r = c + 1; r < size; ++r) {
    if (std::abs(matrix[r * width + c]) > std::abs(matrix[best * width + c])) best = r;
  }
  *swapped = best != c;
  if (*swapped) std::swap_ranges(matrix + c * width, matrix + (c + 1) * width, matrix + best * width);
  return matrix[c * width + c] != 0;
}

// Det(X [*, M, M]) -> Y [*].
absl::Status InferDet(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(CheckSquare(ctx));
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  ctx.SetOutput(0, ctx.dtype(0), Shape(ctx.shape(0).begin(), ctx.shape(0).end() - 2));
  return absl::OkStatus();
}

double Determinant(double* matrix, int64_t size) {
  double result = 1;
  for (int64_t c = 0; c < size; ++c) {
    bool swapped;
    if (!Pivot(matrix, size, size, c, &swapped)) return 0;
    if (swapped) result = -result;
    const double pivot = matrix[c * size + c];
    result *= pivot;
    for (int64_t r = c + 1; r < size; ++r) {
      const double factor = matrix[r * size + c] / pivot;
      for (int64_t j = c + 1; j < size; ++j) matrix[r * size + j] -= factor * matrix[c * size + j];
    }
  }
  return result;
}

// Inverse(X [*, M, M]) -> Y of that shape; a singular matrix gives infinities.
absl::Status InferInverse(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(CheckSquare(ctx));
  ctx.SetOutputType(0, ctx.input_type(0));
  return absl::OkStatus();
}

// `matrix` is [size, 2 * size]: X beside the identity, which becomes the inverse.
bool Invert(double* matrix, int64_t size) {
  const int64_t width = 2 * size;
  for (int64_t c = 0; c < size; ++c) {
    bool swapped;
    if (!Pivot(matrix, size, width, c, &swapped)) return false;
    const double pivot = matrix[c * width + c];
    for (int64_t j = 0; j < width; ++j) matrix[c * width + j] /= pivot;
    for (int64_t r = 0; r < size; ++r) {
      const double factor = matrix[r * width + c];
      if (r == c || factor == 0) continue;
      for (int64_t j = 0; j < width; ++j) matrix[r * width + j] -= factor * matrix[c * width + j];
    }
  }
  return true;
}

template <bool kInverse>
KernelOr Prepare(PrepareContext& ctx) {
  const Dims dims = ctx.input_dims(0);
  const int64_t size = dims.back();
  int64_t batch = 1;
  for (size_t i = 0; i + 2 < dims.size(); ++i) batch *= dims[i];
  ctx.RequestScratch(sizeof(double) * static_cast<size_t>(size * size * (kInverse ? 2 : 1)));
  return DispatchResult<KernelOr>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([size, batch](RunContext& run) {
      auto* work = static_cast<double*>(run.scratch());
      const int64_t width = kInverse ? 2 * size : size;
      for (int64_t b = 0; b < batch; ++b) {
        const T* x = run.in<T>(0) + b * size * size;
        for (int64_t r = 0; r < size; ++r) {
          for (int64_t c = 0; c < size; ++c) work[r * width + c] = static_cast<ComputeType<T>>(x[r * size + c]);
          for (int64_t c = size; c < width; ++c) work[r * width + c] = c - size == r;
        }
        if constexpr (kInverse) {
          const bool regular = Invert(work, size);
          T* y = run.out<T>(0) + b * size * size;
          for (int64_t i = 0; i < size * size; ++i) {
            const double v =
                regular ? work[i / size * width + size + i % size] : std::numeric_limits<double>::infinity();
            y[i] = static_cast<T>(static_cast<ComputeType<T>>(v));
          }
        } else {
          run.out<T>(0)[b] = static_cast<T>(static_cast<ComputeType<T>>(Determinant(work, size)));
        }
      }
      return absl::OkStatus();
    });
  });
}

const OpDef kRows[] = {
    {.type = "Det", .since = 11, .infer = InferDet, .prepare = Prepare<false>},
    {.domain = "com.microsoft", .type = "Inverse", .infer = InferInverse, .prepare = Prepare<true>},
};

}  // namespace

absl::Span<const OpDef> LinearAlgebraFamily() { return kRows; }

}  // namespace rondo
