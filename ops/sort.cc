// TopK and Unique.
#include <cmath>
#include <numeric>
#include <type_traits>

#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// ---- TopK -----------------------------------------------------------------------------------------------------------
//
//   values, indices = the k greatest (largest = 1) or least elements along the axis, best first (also with sorted = 0);
//   of equal elements the one of lower index first. NaN counts as greater than every number.
//
// Inputs:     x [rank >= 1]; since opset 10 k int64, one element; before, an attribute
// Outputs:    values as x with k on the axis, indices int64
// Attributes: axis = -1; since opset 11 largest = 1, sorted = 1

template <bool kInput>
absl::Status InferTopK(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("largest", true).status());
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("sorted", true).status());
  Dim k = Dim::Unknown();
  if constexpr (kInput) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(1, {DataType::kInt64}));
    std::optional<std::vector<Dim>> content = ctx.content(1);
    if (std::optional<std::vector<int64_t>> given = ctx.constant_ints(1); given.has_value()) {
      if (given->size() != 1) return InvalidArgument("k: expected one element, got ", given->size());
      k = (*given)[0];
    } else if (content.has_value() && content->size() == 1) {
      k = (*content)[0];
    }
  } else {
    RONDO_ASSIGN_OR_RETURN(int64_t given, ctx.attributes.Int("k"));
    k = given;
  }
  if (k.known() && k.value() < 0) return InvalidArgument("k: expected at least 0, got ", k.value());
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    ctx.SetOutputOfUnknownRank(1, DataType::kInt64);
    return absl::OkStatus();
  }
  Shape y = ctx.shape(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, y.rank()));
  if (k.known() && y[a].known() && k.value() > y[a].value()) {
    return InvalidArgument("k: ", k.value(), " of the ", y[a].value(), " elements on axis ", axis, " are asked for");
  }
  y[a] = k;
  ctx.SetOutput(0, ctx.dtype(0), y);
  ctx.SetOutput(1, DataType::kInt64, std::move(y));
  return absl::OkStatus();
}

template <typename T>
struct Candidate {
  ComputeType<T> value;
  int64_t index;
};

template <typename C, bool kLargest>
bool ValueBefore(C a, C b) {
  if (a != a || b != b) return kLargest ? (a != a && b == b) : (b != b && a == a);
  return kLargest ? a > b : a < b;
}
template <typename T, bool kLargest>
bool Before(const Candidate<T>& a, const Candidate<T>& b) {
  using C = ComputeType<T>;
  if (ValueBefore<C, kLargest>(a.value, b.value)) return true;
  if (ValueBefore<C, kLargest>(b.value, a.value)) return false;
  return a.index < b.index;
}

// A heap of the k best seen so far, the worst of them on top: most elements fail one comparison with it.
template <typename T, bool kLargest>
void SelectTop(const AxisSplit& s, int64_t k, int64_t begin, int64_t end, const T* x, T* values, int64_t* indices,
               Candidate<T>* heap) {
  using C = ComputeType<T>;
  for (int64_t row = begin; row < end; ++row) {
    const T* in = x + row / s.inner * s.size * s.inner + row % s.inner;
    for (int64_t i = 0; i < k; ++i) heap[i] = {static_cast<C>(in[i * s.inner]), i};
    std::make_heap(heap, heap + k, Before<T, kLargest>);
    for (int64_t i = k; i < s.size; ++i) {
      C v = static_cast<C>(in[i * s.inner]);
      // A later element must be better to get in: of equal ones the lower index stays.
      if (!ValueBefore<C, kLargest>(v, heap[0].value)) continue;
      std::pop_heap(heap, heap + k, Before<T, kLargest>);
      heap[k - 1] = {v, i};
      std::push_heap(heap, heap + k, Before<T, kLargest>);
    }
    std::sort_heap(heap, heap + k, Before<T, kLargest>);
    int64_t out = row / s.inner * k * s.inner + row % s.inner;
    for (int64_t i = 0; i < k; ++i) {
      if (values != nullptr) values[out + i * s.inner] = in[heap[i].index * s.inner];
      if (indices != nullptr) indices[out + i * s.inner] = heap[i].index;
    }
  }
}

template <bool kInput>
KernelOr PrepareTopK(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", -1));
  RONDO_ASSIGN_OR_RETURN(bool largest, ctx.attributes.Flag("largest", true));
  Dims dims = ctx.input_dims(0);
  RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, static_cast<int>(dims.size())));
  int64_t k;
  if constexpr (kInput) {
    k = ctx.constant_ints(1)[0];
  } else {
    RONDO_ASSIGN_OR_RETURN(k, ctx.attributes.Int("k"));
  }
  AxisSplit s = SplitAtAxis(dims, a);
  if (k < 0 || k > s.size) {
    return InvalidArgument("k: ", k, " of the ", s.size, " elements on axis ", axis, " are asked for");
  }
  RowTasks tasks = RowTasks::For(ctx.threads(), s.outer * s.inner, s.size * kScalarCost);
  return DispatchResult<KernelOr>(NumericTypes{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    ctx.RequestScratch(sizeof(Candidate<T>) * k * tasks.tasks);
    return MakeKernel([s, k, tasks, largest](RunContext& run) {
      if (k == 0) return absl::OkStatus();
      const T* x = run.in<T>(0);
      T* values = run.has_output(0) ? run.out<T>(0) : nullptr;
      int64_t* indices = run.has_output(1) ? run.out<int64_t>(1) : nullptr;
      tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
        Candidate<T>* heap = static_cast<Candidate<T>*>(run.scratch()) + task * k;
        if (largest) {
          SelectTop<T, true>(s, k, begin, end, x, values, indices, heap);
        } else {
          SelectTop<T, false>(s, k, begin, end, x, values, indices, heap);
        }
      });
      return absl::OkStatus();
    });
  });
}

// ---- Unique (opset 11) ----------------------------------------------------------------------------------------------
//
//   y = the distinct elements of x (flattened), or without `axis` absent: the distinct slices along it, sorted
//   (sorted = 1) or in the order of their first occurrence.
//
// Outputs, the last three int64 and optional:
//   y [u] or x's shape with u on the axis
//   indices [u]          where each of y first occurs in x
//   inverse_indices [n]  for each of x its place in y
//   counts [u]           how often it occurs

absl::Status InferUnique(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.attributes.Flag("sorted", true).status());
  RONDO_ASSIGN_OR_RETURN(int64_t axis, ctx.attributes.Int("axis", 0));
  Dim n = Dim::Unknown();
  if (!ctx.attributes.Has("axis")) {
    ctx.SetOutput(0, ctx.dtype(0), Shape::UnknownOfRank(1));
    if (ctx.has_shape(0)) n = ctx.shape(0).ElementCount();
  } else if (ctx.has_shape(0)) {
    Shape y = ctx.shape(0);
    RONDO_ASSIGN_OR_RETURN(int a, NormalizeAxis(axis, y.rank()));
    n = y[a];
    y[a] = Dim::Unknown();
    ctx.SetOutput(0, ctx.dtype(0), std::move(y));
  } else {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
  }
  if (ctx.has_output(1)) ctx.SetOutput(1, DataType::kInt64, Shape::UnknownOfRank(1));
  if (ctx.has_output(2)) ctx.SetOutput(2, DataType::kInt64, Shape{n});
  if (ctx.has_output(3)) ctx.SetOutput(3, DataType::kInt64, Shape::UnknownOfRank(1));
  return absl::OkStatus();
}

// -1, 0, 1; NaNs are equal to each other and greater than every number.
template <typename T>
int Compare(const T& a, const T& b) {
  if constexpr (std::is_same_v<T, std::string>) {
    int c = a.compare(b);
    return c < 0 ? -1 : c > 0;
  } else {
    using C = ComputeType<T>;
    C x = static_cast<C>(a), y = static_cast<C>(b);
    if (x < y) return -1;
    if (y < x) return 1;
    return static_cast<int>(x != x) - static_cast<int>(y != y);
  }
}

// Of slices [outer, i, inner] for fixed i.
template <typename T>
int CompareSlices(const T* x, const AxisSplit& s, int64_t i, int64_t j) {
  for (int64_t o = 0; o < s.outer; ++o) {
    const T* base = x + o * s.size * s.inner;
    for (int64_t k = 0; k < s.inner; ++k) {
      if (int c = Compare(base[i * s.inner + k], base[j * s.inner + k]); c != 0) return c;
    }
  }
  return 0;
}

template <typename T>
absl::Status RunUnique(const AxisSplit& s, int axis, bool sorted, RunContext& ctx) {
  const Tensor& x = ctx.input(0);
  const T* in = x.data<T>();
  std::vector<int64_t> order(s.size);
  std::iota(order.begin(), order.end(), 0);
  // Stable, so that the first of a run of equals is the first occurrence.
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return CompareSlices(in, s, i, j) < 0; });
  std::vector<int64_t> first, counts, inverse(s.size);
  for (int64_t i = 0; i < s.size; ++i) {
    if (i == 0 || CompareSlices(in, s, order[i - 1], order[i]) != 0) {
      first.push_back(order[i]);
      counts.push_back(0);
    }
    ++counts.back();
    inverse[order[i]] = static_cast<int64_t>(first.size()) - 1;
  }
  int64_t u = static_cast<int64_t>(first.size());
  std::vector<int64_t> place(u);  // place[p] = which group stands at p
  std::iota(place.begin(), place.end(), 0);
  if (!sorted) std::sort(place.begin(), place.end(), [&](int64_t a, int64_t b) { return first[a] < first[b]; });

  if (ctx.has_output(0)) {
    Dims dims = {u};
    if (axis >= 0) {
      dims = x.dims();
      dims[axis] = u;
    }
    RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(0, dims));
    T* y = ctx.out<T>(0);
    for (int64_t o = 0; o < s.outer; ++o) {
      for (int64_t p = 0; p < u; ++p) {
        std::copy_n(in + (o * s.size + first[place[p]]) * s.inner, s.inner, y + (o * u + p) * s.inner);
      }
    }
  }
  if (ctx.has_output(1)) {
    RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(1, {u}));
    for (int64_t p = 0; p < u; ++p) ctx.out<int64_t>(1)[p] = first[place[p]];
  }
  if (ctx.has_output(2)) {
    std::vector<int64_t> position(u);
    for (int64_t p = 0; p < u; ++p) position[place[p]] = p;
    for (int64_t i = 0; i < s.size; ++i) ctx.out<int64_t>(2)[i] = position[inverse[i]];
  }
  if (ctx.has_output(3)) {
    RONDO_RETURN_IF_ERROR(ctx.AllocateOutput(3, {u}));
    for (int64_t p = 0; p < u; ++p) ctx.out<int64_t>(3)[p] = counts[place[p]];
  }
  return absl::OkStatus();
}

KernelOr PrepareUnique(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(bool sorted, ctx.attributes.Flag("sorted", true));
  Dims dims = ctx.input_dims(0);
  AxisSplit split = {1, Product(dims), 1};
  int axis = -1;
  if (ctx.attributes.Has("axis")) {
    RONDO_ASSIGN_OR_RETURN(int64_t given, ctx.attributes.Int("axis"));
    RONDO_ASSIGN_OR_RETURN(axis, NormalizeAxis(given, static_cast<int>(dims.size())));
    split = SplitAtAxis(dims, axis);
  }
  using Types = TypeList<float, double, Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t,
                         int64_t, uint64_t, bool, std::string>;
  return DispatchResult<KernelOr>(Types{}, ctx.input_dtype(0), [&](auto tag) -> KernelOr {
    using T = typename decltype(tag)::type;
    return MakeKernel([split, axis, sorted](RunContext& run) { return RunUnique<T>(split, axis, sorted, run); });
  });
}

const OpDef kRows[] = {
    {.type = "TopK", .since = 1, .outputs = {2, 2}, .infer = InferTopK<false>, .prepare = PrepareTopK<false>},
    {.type = "TopK",
     .since = 10,
     .inputs = {2, 2},
     .outputs = {2, 2},
     .infer = InferTopK<true>,
     .prepare = PrepareTopK<true>,
     .content_inputs = InputBit(1)},
    {.type = "Unique", .since = 11, .outputs = {1, 4}, .infer = InferUnique, .prepare = PrepareUnique},
};

}  // namespace

absl::Span<const OpDef> SortFamily() { return kRows; }

}  // namespace rondo
