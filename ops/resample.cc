#include "ops/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "ops/dispatch.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

constexpr int64_t kElementsPerTask = 16 * 1024;

int64_t Product(const std::vector<AxisTable>& axes, size_t begin, size_t end, int64_t AxisTable::*extent) {
  int64_t count = 1;
  for (size_t i = begin; i < end; ++i) count *= axes[i].*extent;
  return count;
}

// Rounds to nearest and saturates; NaN becomes 0.
template <typename T, typename C>
T FromCompute(C value) {
  if constexpr (std::is_integral_v<T>) {
    const double rounded = std::nearbyint(static_cast<double>(value));
    if (!(rounded > static_cast<double>(std::numeric_limits<T>::min()))) {
      return std::isnan(rounded) ? T{0} : std::numeric_limits<T>::min();
    }
    if (rounded >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    return static_cast<T>(rounded);
  } else if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return T(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

template <typename T, typename C>
void LoadArray(const void* from, C* to, int64_t count) {
  const T* source = static_cast<const T*>(from);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
      to[i] = static_cast<C>(static_cast<float>(source[i]));
    } else {
      to[i] = static_cast<C>(source[i]);
    }
  }
}

template <typename T, typename C>
void StoreArray(const C* from, void* to, int64_t count) {
  T* target = static_cast<T*>(to);
  for (int64_t i = 0; i < count; ++i) target[i] = FromCompute<T>(from[i]);
}

// Writes `fill` wherever an axis says that the position lies outside.
template <typename T>
void FillOutside(const std::vector<AxisTable>& axes, T fill, T* output) {
  for (size_t a = 0; a < axes.size(); ++a) {
    if (axes[a].outside.empty()) continue;
    const int64_t outer = Product(axes, 0, a, &AxisTable::out);
    const int64_t inner = Product(axes, a + 1, axes.size(), &AxisTable::out);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t x = 0; x < axes[a].out; ++x) {
        if (axes[a].outside[x]) std::fill_n(output + (o * axes[a].out + x) * inner, inner, fill);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Nearest: output rows are gathers of blocks; axes behind the last one that changes make up the block. An output row
// that reads the same input row as the one before it (upsampling) is copied from it.

template <typename T>
class NearestKernel final : public Kernel {
 public:
  NearestKernel(std::vector<AxisTable> axes, T fill) : axes_(std::move(axes)), fill_(fill) {
    for (size_t i = 0; i < axes_.size(); ++i) {
      if (!axes_[i].IsIdentity()) row_axis_ = i;
    }
    if (axes_.empty()) return;
    block_ = Product(axes_, row_axis_ + 1, axes_.size(), &AxisTable::out);
    rows_ = Product(axes_, 0, row_axis_, &AxisTable::out);
  }

  absl::Status Run(RunContext& ctx) const override {
    const T* input = static_cast<const T*>(ctx.input(0).raw());
    T* output = static_cast<T*>(ctx.output(0).mutable_raw());
    if (axes_.empty()) {
      output[0] = input[0];
      return absl::OkStatus();
    }
    const int64_t row = axes_[row_axis_].out * block_;
    ParallelFor(rows_, std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, row)),
                [&](int64_t begin, int64_t end) { Rows(begin, end, input, output); });
    FillOutside(axes_, fill_, output);
    return absl::OkStatus();
  }

 private:
  int64_t InputRow(int64_t row) const {
    int64_t source = 0;
    int64_t stride = 1;
    for (size_t a = row_axis_; a-- > 0;) {
      source += axes_[a].index[row % axes_[a].out] * stride;
      stride *= axes_[a].in;
      row /= axes_[a].out;
    }
    return source;
  }

  void Rows(int64_t begin, int64_t end, const T* input, T* output) const {
    const AxisTable& axis = axes_[row_axis_];
    const int64_t out_row = axis.out * block_;
    const int32_t* index = axis.index.data();
    int64_t previous = -1;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t source_row = InputRow(row);
      T* target = output + row * out_row;
      if (source_row == previous) {
        std::copy(target - out_row, target, target);
        continue;
      }
      previous = source_row;
      const T* source = input + source_row * axis.in * block_;
      if (block_ == 1) {
        for (int64_t x = 0; x < axis.out; ++x) target[x] = source[index[x]];
      } else {
        for (int64_t x = 0; x < axis.out; ++x) std::copy_n(source + index[x] * block_, block_, target + x * block_);
      }
    }
  }

  std::vector<AxisTable> axes_;
  T fill_;
  size_t row_axis_ = 0;
  int64_t block_ = 1;
  int64_t rows_ = 1;
};

// ---------------------------------------------------------------------------------------------------------------------
// Interpolation. C is float or double; other types are converted before the first and after the last axis.

template <typename C>
struct Taps {
  explicit Taps(const AxisTable& axis)
      : in(axis.in),
        out(axis.out),
        count(axis.taps),
        index(axis.index),
        weight(axis.weight.begin(), axis.weight.end()) {}
  int64_t in;
  int64_t out;
  int count;
  std::vector<int32_t> index;
  std::vector<C> weight;
};

// One line: to[x] = sum over taps of weight * from[index].
template <typename C>
void ResampleLine(const Taps<C>& taps, const C* from, C* to) {
  const int32_t* index = taps.index.data();
  const C* weight = taps.weight.data();
  if (taps.count == 2) {
    for (int64_t x = 0; x < taps.out; ++x) {
      to[x] = weight[2 * x] * from[index[2 * x]] + weight[2 * x + 1] * from[index[2 * x + 1]];
    }
    return;
  }
  for (int64_t x = 0; x < taps.out; ++x) {
    C sum = 0;
    for (int k = 0; k < taps.count; ++k) sum += weight[x * taps.count + k] * from[index[x * taps.count + k]];
    to[x] = sum;
  }
}

// to = sum over taps of weight[k] * row(k), rows of `width` contiguous elements.
template <typename C, typename RowAt>
void CombineRows(int count, const C* weight, RowAt row_at, int64_t width, C* to) {
  const C* first = row_at(0);
  if (count == 2) {
    const C* second = row_at(1);
    for (int64_t i = 0; i < width; ++i) to[i] = weight[0] * first[i] + weight[1] * second[i];
    return;
  }
  for (int64_t i = 0; i < width; ++i) to[i] = weight[0] * first[i];
  for (int k = 1; k < count; ++k) {
    const C* row = row_at(k);
    for (int64_t i = 0; i < width; ++i) to[i] += weight[k] * row[i];
  }
}

// [outer, in, inner] -> [outer, out, inner].
template <typename C>
struct Pass {
  Taps<C> taps;
  int64_t outer;
  int64_t inner;

  void Run(const C* input, C* output) const {
    if (inner == 1) {
      ParallelFor(outer, std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, taps.out * taps.count)),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t o = begin; o < end; ++o)
                      ResampleLine(taps, input + o * taps.in, output + o * taps.out);
                  });
      return;
    }
    ParallelFor(outer * taps.out, std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, inner * taps.count)),
                [&](int64_t begin, int64_t end) {
                  for (int64_t r = begin; r < end; ++r) {
                    const C* plane = input + r / taps.out * taps.in * inner;
                    const int64_t x = r % taps.out;
                    const auto row_at = [&](int k) { return plane + taps.index[x * taps.count + k] * inner; };
                    CombineRows(taps.count, &taps.weight[x * taps.count], row_at, inner, output + r * inner);
                  }
                });
  }
};

template <typename C>
class PassesKernel final : public Kernel {
 public:
  // load and store are null when the tensor's elements are C.
  using Load = void (*)(const void*, C*, int64_t);
  using Store = void (*)(const C*, void*, int64_t);

  PassesKernel(const std::vector<AxisTable>& axes, C fill, Load load, Store store)
      : axes_(axes), fill_(fill), load_(load), store_(store) {
    std::vector<int64_t> extents;
    for (const AxisTable& axis : axes) extents.push_back(axis.in);
    in_count_ = Count(extents);
    // Shrinking axes first: later passes have less to do.
    std::vector<size_t> order;
    for (size_t a = 0; a < axes.size(); ++a) {
      if (!axes[a].IsIdentity()) order.push_back(a);
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return static_cast<double>(axes[a].out) / axes[a].in < static_cast<double>(axes[b].out) / axes[b].in;
    });
    buffer_ = load != nullptr ? in_count_ : 0;
    for (size_t a : order) {
      int64_t outer = 1;
      int64_t inner = 1;
      for (size_t i = 0; i < axes.size(); ++i) (i < a ? outer : inner) *= i == a ? 1 : extents[i];
      passes_.push_back({Taps<C>(axes[a]), outer, inner});
      extents[a] = axes[a].out;
      buffer_ = std::max(buffer_, Count(extents));
    }
    out_count_ = Count(extents);
    buffer_ = (buffer_ + 15) / 16 * 16;
  }

  size_t ScratchBytes() const { return 2 * buffer_ * sizeof(C); }

  absl::Status Run(RunContext& ctx) const override {
    C* buffers[2] = {static_cast<C*>(ctx.scratch()), static_cast<C*>(ctx.scratch()) + buffer_};
    int next = 0;
    const C* current = static_cast<const C*>(ctx.input(0).raw());
    if (load_ != nullptr) {
      load_(ctx.input(0).raw(), buffers[0], in_count_);
      current = buffers[0];
      next = 1;
    }
    C* output = static_cast<C*>(ctx.output(0).mutable_raw());
    for (size_t p = 0; p < passes_.size(); ++p) {
      C* target = p + 1 == passes_.size() && store_ == nullptr ? output : buffers[next];
      passes_[p].Run(current, target);
      current = target;
      next = 1 - next;
    }
    if (store_ != nullptr) {
      // FillOutside works on C; what it fills is in a buffer of ours, never in the input.
      if (!passes_.empty()) FillOutside(axes_, fill_, const_cast<C*>(current));
      store_(current, ctx.output(0).mutable_raw(), out_count_);
      return absl::OkStatus();
    }
    if (passes_.empty()) std::copy_n(current, out_count_, output);
    FillOutside(axes_, fill_, output);
    return absl::OkStatus();
  }

 private:
  static int64_t Count(const std::vector<int64_t>& extents) {
    int64_t count = 1;
    for (int64_t extent : extents) count *= extent;
    return count;
  }

  std::vector<AxisTable> axes_;
  C fill_;
  Load load_;
  Store store_;
  std::vector<Pass<C>> passes_;
  int64_t in_count_ = 0;
  int64_t out_count_ = 0;
  int64_t buffer_ = 0;  // elements of each of the two scratch buffers
};

// float32 planes whose last two axes change. An input row is resampled along the width once, into a ring that holds as
// many rows as an output row needs; output rows combine ring rows.
class PlaneKernel final : public Kernel {
 public:
  PlaneKernel(const std::vector<AxisTable>& axes, float fill)
      : axes_(axes), fill_(fill), height_(axes[axes.size() - 2]), width_(axes.back()) {
    planes_ = Product(axes, 0, axes.size() - 2, &AxisTable::out);
    row_ = (width_.out + 15) / 16 * 16;
  }

  size_t ScratchBytes(int threads) const { return static_cast<size_t>(threads) * height_.count * row_ * sizeof(float); }

  absl::Status Run(RunContext& ctx) const override {
    const float* input = ctx.in<float>(0);
    float* output = ctx.out<float>(0);
    float* scratch = static_cast<float*>(ctx.scratch());
    const int64_t work = width_.out * (height_.count + 2);
    ParallelFor(planes_ * height_.out, std::max<int64_t>(8, kElementsPerTask / std::max<int64_t>(1, work)),
                [&](int64_t begin, int64_t end) {
                  Rows(begin, end, input, output, scratch + WorkerIndex() * height_.count * row_);
                });
    FillOutside(axes_, fill_, output);
    return absl::OkStatus();
  }

 private:
  void Rows(int64_t begin, int64_t end, const float* input, float* output, float* ring) const {
    constexpr int kMaxHeld = 64;
    const int taps = height_.count;
    int64_t held[kMaxHeld];  // input row in each ring slot, counted over all planes
    std::fill_n(held, std::min(taps, kMaxHeld), -1);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t plane = r / height_.out;
      const int64_t y = r % height_.out;
      const int32_t* index = &height_.index[y * taps];
      for (int k = 0; k < taps; ++k) {
        const int slot = index[k] % taps;
        const int64_t row = plane * height_.in + index[k];
        if (taps <= kMaxHeld) {
          if (held[slot] == row) continue;
          held[slot] = row;
        } else if (k > 0 && index[k] == index[k - 1]) {
          continue;
        }
        ResampleLine(width_, input + row * width_.in, ring + slot * row_);
      }
      const auto row_at = [&](int k) { return ring + index[k] % taps * row_; };
      CombineRows(taps, &height_.weight[y * taps], row_at, width_.out, output + r * width_.out);
    }
  }

  std::vector<AxisTable> axes_;
  float fill_;
  Taps<float> height_;
  Taps<float> width_;
  int64_t planes_ = 1;
  int64_t row_ = 0;  // elements between rows of the ring
};

template <typename C>
absl::StatusOr<std::unique_ptr<Kernel>> MakePasses(PrepareContext& ctx, const ResamplePlan& plan) {
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  return DispatchResult<Result>(NumericTypes{}, plan.dtype, [&](auto tag) -> Result {
    using T = typename decltype(tag)::type;
    constexpr bool kSame = std::is_same_v<T, C>;
    auto kernel = std::make_unique<PassesKernel<C>>(
        plan.axes, static_cast<C>(plan.fill), kSame ? nullptr : &LoadArray<T, C>, kSame ? nullptr : &StoreArray<T, C>);
    ctx.RequestScratch(kernel->ScratchBytes());
    return kernel;
  });
}

template <typename T>
T FillElement(DataType dtype, float fill) {
  T element{};
  if constexpr (!std::is_same_v<T, std::string>) {
    // Types that no number converts to (complex, bool) take zero bytes.
    (void)DispatchResult<absl::Status>(NumericTypes{}, dtype, [&](auto tag) {
      using E = typename decltype(tag)::type;
      if constexpr (sizeof(E) <= sizeof(T)) {
        const E value = FromCompute<E>(fill);
        std::memcpy(&element, &value, sizeof(E));
      }
      return absl::OkStatus();
    });
  }
  return element;
}

}  // namespace

bool AxisTable::IsIdentity() const {
  if (in != out || !outside.empty()) return false;
  for (int64_t x = 0; x < out; ++x) {
    for (int k = 0; k < taps; ++k) {
      const int64_t i = x * taps + k;
      if (index[i] != x && (weight.empty() || weight[i] != 0)) return false;
    }
  }
  return true;
}

absl::StatusOr<std::unique_ptr<Kernel>> MakeResampleKernel(PrepareContext& ctx, ResamplePlan plan) {
  if (plan.nearest) {
    return DispatchBySize<absl::StatusOr<std::unique_ptr<Kernel>>>(
        plan.dtype, [&](auto tag) -> absl::StatusOr<std::unique_ptr<Kernel>> {
          using T = typename decltype(tag)::type;
          const T fill = FillElement<T>(plan.dtype, plan.fill);
          return std::make_unique<NearestKernel<T>>(std::move(plan.axes), fill);
        });
  }
  const size_t rank = plan.axes.size();
  bool planes = plan.dtype == DataType::kFloat && rank >= 2 && !plan.axes[rank - 1].IsIdentity();
  for (size_t a = 0; a + 2 < rank; ++a) planes = planes && plan.axes[a].IsIdentity();
  if (planes) {
    auto kernel = std::make_unique<PlaneKernel>(plan.axes, plan.fill);
    ctx.RequestScratch(kernel->ScratchBytes(ctx.threads()));
    return kernel;
  }
  const bool wide = plan.dtype == DataType::kDouble || BitWidth(plan.dtype) == 64 ||
                    (IsInteger(plan.dtype) && BitWidth(plan.dtype) == 32);
  return wide ? MakePasses<double>(ctx, plan) : MakePasses<float>(ctx, plan);
}

}  // namespace rondo
