// DFT and STFT: discrete Fourier transforms along one axis.
//
//   X[k] = sum over n of x[n] * exp(-2 pi i k n / N)          inverse: + in the exponent, and divided by N
//
// Powers of two run as an iterative radix-2 FFT, short lengths as the sum itself, all others by Bluestein's chirp
// transform (L. I. Bluestein, "A linear filtering approach to the computation of discrete Fourier transform", 1970),
// which needs power-of-two transforms only. All arithmetic is in double whatever the tensors hold.
#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <utility>
#include <vector>

#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

using Complex = std::complex<double>;

constexpr int64_t kMaxLength = int64_t{1} << 26;
constexpr int64_t kDirectLength = 48;

// exp(-2 pi i k / n), exact to double: k is below n.
Complex Root(int64_t k, int64_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

// The product without the NaN recovery that std::complex's operator* pays for.
inline Complex Multiply(const Complex& a, const Complex& b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

class PowerOfTwoFft {
 public:
  explicit PowerOfTwoFft(int64_t n) : n_(n) {
    for (int64_t k = 0; k < n / 2; ++k) roots_.push_back(Root(k, n));
  }

  // In place, forward.
  void Run(Complex* data) const {
    for (int64_t i = 1, j = 0; i < n_; ++i) {
      int64_t bit = n_ >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) std::swap(data[i], data[j]);
    }
    for (int64_t half = 1; half < n_; half *= 2) {
      const int64_t step = n_ / (2 * half);
      for (int64_t start = 0; start < n_; start += 2 * half) {
        for (int64_t k = 0; k < half; ++k) {
          Complex& low = data[start + k];
          Complex& high = data[start + k + half];
          const Complex turned = Multiply(high, roots_[k * step]);
          high = low - turned;
          low += turned;
        }
      }
    }
  }

 private:
  int64_t n_;
  std::vector<Complex> roots_;
};

// A transform of one length. Const and shareable; Run's work area has ScratchElements().
class Fft {
 public:
  explicit Fft(int64_t n) : n_(n), padded_(1) {
    if ((n & (n - 1)) == 0) {
      kind_ = Kind::kPowerOfTwo;
      core_ = std::make_unique<PowerOfTwoFft>(n);
      return;
    }
    for (int64_t k = 0; k < n; ++k) roots_.push_back(Root(k, n));
    if (n <= kDirectLength) {
      kind_ = Kind::kDirect;
      return;
    }
    kind_ = Kind::kBluestein;
    while (padded_ < 2 * n - 1) padded_ *= 2;
    core_ = std::make_unique<PowerOfTwoFft>(padded_);
    chirp_.resize(n);
    filter_.assign(padded_, 0);
    for (int64_t k = 0; k < n; ++k) {
      chirp_[k] = Root(k * k % (2 * n), 2 * n);
      filter_[k] = std::conj(chirp_[k]);
      if (k > 0) filter_[padded_ - k] = filter_[k];
    }
    core_->Run(filter_.data());
    for (Complex& f : filter_) f /= static_cast<double>(padded_);
  }

  int64_t length() const { return n_; }
  int64_t ScratchElements() const { return kind_ == Kind::kDirect ? n_ : kind_ == Kind::kBluestein ? padded_ : 0; }

  void Run(Complex* data, Complex* scratch, bool inverse) const {
    if (inverse) Conjugate(data);
    switch (kind_) {
      case Kind::kPowerOfTwo:
        core_->Run(data);
        break;
      case Kind::kDirect:
        Direct(data, scratch);
        break;
      case Kind::kBluestein:
        Bluestein(data, scratch);
        break;
    }
    if (!inverse) return;
    Conjugate(data);
    for (int64_t i = 0; i < n_; ++i) data[i] /= static_cast<double>(n_);
  }

 private:
  enum class Kind { kPowerOfTwo, kDirect, kBluestein };

  void Conjugate(Complex* data) const {
    for (int64_t i = 0; i < n_; ++i) data[i] = std::conj(data[i]);
  }

  void Direct(Complex* data, Complex* sums) const {
    for (int64_t k = 0; k < n_; ++k) {
      Complex sum = 0;
      int64_t turn = 0;
      for (int64_t i = 0; i < n_; ++i) {
        sum += Multiply(data[i], roots_[turn]);
        turn += k;
        if (turn >= n_) turn -= n_;
      }
      sums[k] = sum;
    }
    std::copy_n(sums, n_, data);
  }

  // n k = (n^2 + k^2 - (k - n)^2) / 2 makes the sum a convolution with the chirp.
  void Bluestein(Complex* data, Complex* work) const {
    for (int64_t i = 0; i < n_; ++i) work[i] = Multiply(data[i], chirp_[i]);
    std::fill(work + n_, work + padded_, 0);
    core_->Run(work);
    for (int64_t i = 0; i < padded_; ++i) work[i] = std::conj(Multiply(work[i], filter_[i]));
    core_->Run(work);
    for (int64_t i = 0; i < n_; ++i) data[i] = Multiply(std::conj(work[i]), chirp_[i]);
  }

  int64_t n_;
  int64_t padded_;
  Kind kind_;
  std::unique_ptr<PowerOfTwoFft> core_;
  std::vector<Complex> roots_;
  std::vector<Complex> chirp_;
  std::vector<Complex> filter_;
};

template <typename T>
double ToDouble(T value) {
  return static_cast<double>(static_cast<ComputeType<T>>(value));
}

template <typename T>
T FromDouble(double value) {
  return static_cast<T>(static_cast<ComputeType<T>>(value));
}

absl::Status CheckLength(int64_t length, absl::string_view what) {
  if (length >= 1 && length <= kMaxLength) return absl::OkStatus();
  return InvalidArgument(what, ": expected 1 to ", kMaxLength, ", got ", length);
}

// The one element of an integer input that holds a scalar, as far as it is known.
absl::StatusOr<Dim> ScalarContent(const InferContext& ctx, int i, absl::string_view what) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(i, {DataType::kInt64, DataType::kInt32}));
  const std::optional<std::vector<Dim>> content = ctx.content(i);
  if (!content.has_value()) return Dim::Unknown();
  if (content->size() != 1) return InvalidArgument(what, ": expected one integer, got ", content->size());
  return (*content)[0];
}

// ---------------------------------------------------------------------------------------------------------------------
// DFT(input [..., n, ..., 1 or 2], dft_length?, axis?) -> [..., m, ..., 2]: the last axis holds the real part, and the
// imaginary part where there is one. Attributes inverse (0), onesided (0), and before opset 20 axis (1); since then
// axis is an input (default -2). The signal is cut or padded with zeros to dft_length (default n); onesided keeps
// m = dft_length / 2 + 1 values. Inverse and onesided: the input is such a half, the output real ([..., 1]) and
// dft_length defaults to 2 (n - 1).

struct DftSpec {
  bool inverse = false;
  bool onesided = false;
  std::optional<int> axis;  // nullopt: not known yet
};

absl::StatusOr<DftSpec> ReadDft(const Node& node, const AttributeReader& attributes, int rank, bool has_axis,
                                std::optional<std::vector<int64_t>> axis_input) {
  DftSpec spec;
  RONDO_ASSIGN_OR_RETURN(spec.inverse, attributes.Flag("inverse", false));
  RONDO_ASSIGN_OR_RETURN(spec.onesided, attributes.Flag("onesided", false));
  int64_t axis = -2;
  if (node.op().version < 20) {
    RONDO_ASSIGN_OR_RETURN(axis, attributes.Int("axis", 1));
  } else if (has_axis) {
    if (!axis_input.has_value()) return spec;
    if (axis_input->size() != 1) return InvalidArgument("axis: expected one integer, got ", axis_input->size());
    axis = (*axis_input)[0];
  }
  if (rank < 2) return InvalidArgument("input 0: expected rank >= 2, got ", rank);
  RONDO_ASSIGN_OR_RETURN(int normalized, NormalizeAxis(axis, rank));
  if (normalized == rank - 1) return InvalidArgument("axis ", axis, " holds the real and imaginary parts");
  spec.axis = normalized;
  return spec;
}

absl::Status InferDft(InferContext& ctx) {
  if (!ctx.has_shape(0)) {
    ctx.SetOutputOfUnknownRank(0, ctx.dtype(0));
    return absl::OkStatus();
  }
  Shape out = ctx.shape(0);
  const int rank = out.rank();
  RONDO_ASSIGN_OR_RETURN(DftSpec spec, ReadDft(ctx.node(), ctx.attributes, rank, ctx.has_input(2),
                                               ctx.has_input(2) ? ctx.constant_ints(2) : std::nullopt));
  if (out[rank - 1].known() && out[rank - 1].value() != 1 && out[rank - 1].value() != 2) {
    return InvalidArgument("input 0: expected 1 or 2 on the last axis, got ", out.ToString());
  }
  const bool real_output = spec.inverse && spec.onesided;
  if (!spec.axis.has_value()) {
    for (Dim& dim : out) dim = Dim::Unknown();
  } else {
    Dim& dim = out[*spec.axis];
    if (ctx.has_input(1)) {
      RONDO_ASSIGN_OR_RETURN(dim, ScalarContent(ctx, 1, "dft_length"));
    } else if (real_output) {
      dim = (dim - Dim(1)) * Dim(2);
    }
    if (dim.known()) RONDO_RETURN_IF_ERROR(CheckLength(dim.value(), "transform length"));
    if (spec.onesided && !spec.inverse) dim = Dim::FloorDiv(dim, 2) + Dim(1);
  }
  out[rank - 1] = real_output ? 1 : 2;
  ctx.SetOutput(0, ctx.dtype(0), std::move(out));
  return absl::OkStatus();
}

template <typename T>
class DftKernel final : public Kernel {
 public:
  DftKernel(PrepareContext& ctx, const DftSpec& spec, int64_t length) : spec_(spec), fft_(length) {
    const Dims in = ctx.input_dims(0);
    const Dims out = ctx.output_dims(0);
    const int rank = static_cast<int>(in.size());
    in_extent_ = in[*spec.axis];
    out_extent_ = out[*spec.axis];
    in_parts_ = in[rank - 1];
    out_parts_ = out[rank - 1];
    for (int i = 0; i < *spec.axis; ++i) lines_ *= in[i];
    for (int i = *spec.axis + 1; i < rank - 1; ++i) inner_ *= in[i];
    lines_ *= inner_;
    scratch_ = fft_.length() + fft_.ScratchElements();
    ctx.RequestScratch(static_cast<size_t>(ctx.threads()) * scratch_ * sizeof(Complex));
  }

  absl::Status Run(RunContext& ctx) const override {
    const int64_t grain = std::max<int64_t>(1, 2000 / fft_.length());
    ParallelFor(lines_, grain, [&](int64_t begin, int64_t end) {
      Complex* line = static_cast<Complex*>(ctx.scratch()) + WorkerIndex() * scratch_;
      for (int64_t i = begin; i < end; ++i) {
        Load(ctx.in<T>(0) + (i / inner_ * in_extent_ * inner_ + i % inner_) * in_parts_, line);
        fft_.Run(line, line + fft_.length(), spec_.inverse);
        Store(line, ctx.out<T>(0) + (i / inner_ * out_extent_ * inner_ + i % inner_) * out_parts_);
      }
    });
    return absl::OkStatus();
  }

 private:
  void Load(const T* from, Complex* line) const {
    const int64_t n = fft_.length();
    const int64_t stride = inner_ * in_parts_;
    const bool half = spec_.inverse && spec_.onesided;
    const int64_t given = std::min(half ? n / 2 + 1 : n, in_extent_);
    for (int64_t i = 0; i < given; ++i) {
      line[i] = {ToDouble(from[i * stride]), in_parts_ == 2 ? ToDouble(from[i * stride + 1]) : 0.0};
    }
    std::fill(line + given, line + n, 0);
    if (!half) return;
    // A real signal's spectrum is Hermitian.
    for (int64_t i = n / 2 + 1; i < n; ++i) line[i] = std::conj(line[n - i]);
    line[0] = line[0].real();
    if (n % 2 == 0) line[n / 2] = line[n / 2].real();
  }

  void Store(const Complex* line, T* to) const {
    const int64_t stride = inner_ * out_parts_;
    for (int64_t i = 0; i < out_extent_; ++i) {
      to[i * stride] = FromDouble<T>(line[i].real());
      if (out_parts_ == 2) to[i * stride + 1] = FromDouble<T>(line[i].imag());
    }
  }

  DftSpec spec_;
  Fft fft_;
  int64_t in_extent_;
  int64_t out_extent_;
  int64_t in_parts_;
  int64_t out_parts_;
  int64_t lines_ = 1;
  int64_t inner_ = 1;
  int64_t scratch_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareDft(PrepareContext& ctx) {
  const Dims in = ctx.input_dims(0);
  const int rank = static_cast<int>(in.size());
  std::optional<std::vector<int64_t>> axis;
  if (ctx.has_input(2)) axis = ctx.constant_ints(2);
  RONDO_ASSIGN_OR_RETURN(DftSpec spec, ReadDft(ctx.node(), ctx.attributes, rank, ctx.has_input(2), std::move(axis)));
  int64_t length = spec.inverse && spec.onesided ? 2 * (in[*spec.axis] - 1) : in[*spec.axis];
  if (ctx.has_input(1)) length = ctx.constant_ints(1)[0];
  RONDO_RETURN_IF_ERROR(CheckLength(length, "transform length"));
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  return DispatchResult<Result>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> Result {
    return std::make_unique<DftKernel<typename decltype(tag)::type>>(ctx, spec, length);
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// STFT(signal [B, L] or [B, L, 1 or 2], frame_step, window? [F], frame_length?) -> [B, frames, bins, 2]: the transforms
// of frames = (L - F) / frame_step + 1 pieces of the signal, each times the window. Attribute onesided (1): bins = F /
// 2 + 1 instead of F. F is frame_length, or the window's length, or L.

absl::Status InferStft(InferContext& ctx) {
  RONDO_RETURN_IF_ERROR(ctx.ExpectRank(0, 2, 3));
  if (ctx.has_input(2)) {
    RONDO_RETURN_IF_ERROR(ctx.ExpectRank(2, 1, 1));
    RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, 2));
  }
  RONDO_ASSIGN_OR_RETURN(bool onesided, ctx.attributes.Flag("onesided", true));
  RONDO_ASSIGN_OR_RETURN(Dim step, ScalarContent(ctx, 1, "frame_step"));
  const Dim batch = ctx.has_shape(0) ? ctx.shape(0)[0] : Dim::Unknown();
  const Dim signal = ctx.has_shape(0) ? ctx.shape(0)[1] : Dim::Unknown();
  Dim frame = signal;
  if (ctx.has_input(2)) frame = ctx.has_shape(2) ? ctx.shape(2)[0] : Dim::Unknown();
  if (ctx.has_input(3)) {
    RONDO_ASSIGN_OR_RETURN(Dim length, ScalarContent(ctx, 3, "frame_length"));
    if (ctx.has_input(2) && frame.known() && length.known() && frame.value() != length.value()) {
      return InvalidArgument("frame_length is ", length.value(), ", the window's length ", frame.value());
    }
    if (!ctx.has_input(2) || length.known()) frame = length;
  }
  if (step.known() && step.value() < 1) return InvalidArgument("frame_step: expected >= 1, got ", step.value());
  if (frame.known()) RONDO_RETURN_IF_ERROR(CheckLength(frame.value(), "frame length"));
  if (frame.known() && signal.known() && frame.value() > signal.value()) {
    return InvalidArgument("a signal of ", signal.value(), " has no frame of ", frame.value());
  }
  const Dim frames = Dim::FloorDiv(signal - frame, step) + Dim(1);
  ctx.SetOutput(0, ctx.dtype(0), {batch, frames, onesided ? Dim::FloorDiv(frame, 2) + Dim(1) : frame, 2});
  return absl::OkStatus();
}

template <typename T>
class StftKernel final : public Kernel {
 public:
  StftKernel(PrepareContext& ctx, int64_t frame, int64_t step) : fft_(frame), step_(step) {
    const Dims in = ctx.input_dims(0);
    signal_ = in[1];
    parts_ = in.size() == 3 ? in[2] : 1;
    frames_ = ctx.output_dims(0)[1];
    bins_ = ctx.output_dims(0)[2];
    scratch_ = fft_.length() + fft_.ScratchElements();
    ctx.RequestScratch(static_cast<size_t>(ctx.threads()) * scratch_ * sizeof(Complex));
  }

  absl::Status Run(RunContext& ctx) const override {
    const T* window = ctx.has_input(2) ? ctx.in<T>(2) : nullptr;
    const int64_t grain = std::max<int64_t>(1, 2000 / fft_.length());
    ParallelFor(ctx.input(0).dim(0) * frames_, grain, [&](int64_t begin, int64_t end) {
      Complex* line = static_cast<Complex*>(ctx.scratch()) + WorkerIndex() * scratch_;
      for (int64_t f = begin; f < end; ++f) {
        const T* from = ctx.in<T>(0) + (f / frames_ * signal_ + f % frames_ * step_) * parts_;
        for (int64_t i = 0; i < fft_.length(); ++i) {
          const double scale = window != nullptr ? ToDouble(window[i]) : 1.0;
          line[i] = {ToDouble(from[i * parts_]) * scale, parts_ == 2 ? ToDouble(from[i * parts_ + 1]) * scale : 0.0};
        }
        fft_.Run(line, line + fft_.length(), /*inverse=*/false);
        T* to = ctx.out<T>(0) + f * bins_ * 2;
        for (int64_t i = 0; i < bins_; ++i) {
          to[2 * i] = FromDouble<T>(line[i].real());
          to[2 * i + 1] = FromDouble<T>(line[i].imag());
        }
      }
    });
    return absl::OkStatus();
  }

 private:
  Fft fft_;
  int64_t step_;
  int64_t signal_;
  int64_t parts_;
  int64_t frames_;
  int64_t bins_;
  int64_t scratch_;
};

absl::StatusOr<std::unique_ptr<Kernel>> PrepareStft(PrepareContext& ctx) {
  const Dims in = ctx.input_dims(0);
  if (in.size() == 3 && in[2] != 1 && in[2] != 2) {
    return InvalidArgument("signal: expected 1 or 2 on the last axis, got ", DimsToString(in));
  }
  const int64_t step = ctx.constant_ints(1)[0];
  const int64_t frame = ctx.has_input(3) ? ctx.constant_ints(3)[0] : ctx.has_input(2) ? ctx.input_dims(2)[0] : in[1];
  using Result = absl::StatusOr<std::unique_ptr<Kernel>>;
  return DispatchResult<Result>(FloatTypes{}, ctx.input_dtype(0), [&](auto tag) -> Result {
    return std::make_unique<StftKernel<typename decltype(tag)::type>>(ctx, frame, step);
  });
}

const OpDef kRows[] = {
    {.type = "DFT",
     .since = 17,
     .inputs = {1, 2},
     .infer = InferDft,
     .prepare = PrepareDft,
     .content_inputs = InputBit(1)},
    {.type = "DFT",
     .since = 20,
     .inputs = {1, 3},
     .infer = InferDft,
     .prepare = PrepareDft,
     .content_inputs = InputBit(1) | InputBit(2)},
    {.type = "STFT",
     .since = 17,
     .inputs = {2, 4},
     .infer = InferStft,
     .prepare = PrepareStft,
     .content_inputs = InputBit(1) | InputBit(3)},
};

}  // namespace

absl::Span<const OpDef> SignalFamily() { return kRows; }

}  // namespace rondo
