// RNN, GRU and LSTM.
//
//   RNN   h' = f(x W^T + h R^T + Wb + Rb)
//   GRU   z = f(x Wz^T + h Rz^T + Wbz + Rbz)      r likewise       gates in the order z, r, h
//         n = g(x Wh^T + (r * h) Rh^T + Rbh + Wbh)                 linear_before_reset = 0
//         n = g(x Wh^T + r * (h Rh^T + Rbh) + Wbh)                 otherwise
//         h' = (1 - z) * n + z * h
//   LSTM  i = f(x Wi^T + h Ri^T + Pi * c + Wbi + Rbi), forget f likewise (1 - i with input_forget)
//         c' = f * c + i * g(x Wc^T + h Rc^T + Wbc + Rbc)          gates in the order i, o, f, c
//         o = f(x Wo^T + h Ro^T + Po * c' + Wbo + Rbo)             P in the order i, o, f
//         h' = o * h(c')
//
// Inputs (G gates: 1, 3, 4; D directions: 1, 2; T steps, B batch, I input size, H hidden size):
//   X [T, B, I], W [D, G H, I], R [D, G H, H], B [D, 2 G H] (W's, then R's), sequence_lens int32 [B],
//   initial_h [D, B, H], LSTM: initial_c [D, B, H], P [D, 3 H]; optional from B on
// Outputs: Y [T, D, B, H], Y_h [D, B, H], LSTM: Y_c [D, B, H]; all optional. Y is 0 beyond a sequence's end, the last
//   states are those at its end.
// Attributes: hidden_size, direction = forward | reverse | bidirectional, activations, activation_alpha,
//   activation_beta, clip (of what goes into the activations), layout = 0 (1, since opset 14: batch first in X, Y and
//   the states), linear_before_reset, input_forget; output_sequence (opset 1 to 6; Y is there when it is asked for).
//
// How it runs: the products with W of all steps are one GEMM; a step then costs one product with R. Directions, and
// parts of a large batch, are independent and run side by side; otherwise a large step splits R's columns.
#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "ops/axis_split.h"
#include "ops/dispatch.h"
#include "ops/families.h"
#include "ops/half_rows.h"
#include "ops/kernels/isa.h"
#include "ops/kernels/small_gemm.h"
#include "ops/kernels/vector_math.h"
#include "ops/parallel.h"
#include "ops/primitive_cache.h"
#include "ops/recurrent_activation.h"

namespace rondo {
namespace {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

enum class Cell { kRnn, kGru, kLstm };

constexpr int64_t Gates(Cell cell) { return cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4; }

enum class Direction { kForward, kReverse, kBidirectional };

absl::StatusOr<Direction> ReadDirection(const AttributeReader& attributes) {
  RONDO_ASSIGN_OR_RETURN(std::string name, attributes.String("direction", "forward"));
  absl::AsciiStrToLower(&name);
  if (name == "forward") return Direction::kForward;
  if (name == "reverse") return Direction::kReverse;
  if (name == "bidirectional") return Direction::kBidirectional;
  return InvalidArgument("attribute \"direction\": expected forward, reverse or bidirectional, got \"", name, "\"");
}

template <Cell kCell>
absl::Status InferRecurrent(InferContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(Direction direction, ReadDirection(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(bool batch_first, ctx.attributes.Flag("layout", false));
  RONDO_ASSIGN_OR_RETURN(int64_t hidden, ctx.attributes.Int("hidden_size", 0));
  int directions = direction == Direction::kBidirectional ? 2 : 1;
  for (int i = 0; i < 3; ++i) RONDO_RETURN_IF_ERROR(ctx.ExpectRank(i, 3, 3));
  for (int i : {1, 2, 3, 5, 6, 7}) {
    if (ctx.has_input(i)) RONDO_RETURN_IF_ERROR(ctx.ExpectSameDtype(0, i));
  }
  if (ctx.has_input(4)) RONDO_RETURN_IF_ERROR(ctx.ExpectDtype(4, {DataType::kInt32}));
  Dim h = Dim::Unknown(), t = Dim::Unknown(), b = Dim::Unknown();
  if (ctx.has_shape(2)) h = ctx.shape(2)[2];
  if (hidden > 0) {
    if (h.known() && h.value() != hidden) {
      return InvalidArgument("attribute \"hidden_size\": ", hidden, " does not fit R of shape ",
                             ctx.shape(2).ToString());
    }
    h = hidden;
  }
  if (ctx.has_shape(0)) t = ctx.shape(0)[batch_first ? 1 : 0], b = ctx.shape(0)[batch_first ? 0 : 1];
  Shape state = batch_first ? Shape{b, directions, h} : Shape{directions, b, h};
  ctx.SetOutput(0, ctx.dtype(0), batch_first ? Shape{b, t, directions, h} : Shape{t, directions, b, h});
  ctx.SetOutput(1, ctx.dtype(0), state);
  if (kCell == Cell::kLstm) ctx.SetOutput(2, ctx.dtype(0), state);
  return absl::OkStatus();
}

// ---- Products: packed panels for float, plain dot products for double -----------------------------------------------

struct Matrix {  // n rows of k, to be multiplied from the right, transposed
  int64_t n = 0, k = 0;
};

int64_t PackedSize(const Matrix& m, float) { return GetSmallGemm().PackedSize(m.n, m.k); }
int64_t PackedSize(const Matrix& m, double) { return m.n * m.k; }
void Pack(const Matrix& m, const float* from, float* to) { GetSmallGemm().pack(from, m.k, m.n, m.k, to); }
void Pack(const Matrix& m, const double* from, double* to) { std::copy_n(from, m.n * m.k, to); }

// c [rows, m.n] (rows `ldc` apart) += a [rows, m.k] m^T
void MultiplyAdd(const Matrix& m, const float* a, int64_t rows, const float* packed, float* c, int64_t ldc) {
  const SmallGemm& gemm = GetSmallGemm();
  // Blocks of rows by blocks of columns, so that a block's panels stay in the cache.
  constexpr int64_t kRowBlock = 96, kColumnBlock = 256;
  int64_t across = (m.n + kColumnBlock - 1) / kColumnBlock, down = (rows + kRowBlock - 1) / kRowBlock;
  int64_t cost = std::min(rows, kRowBlock) * std::min(m.n, kColumnBlock) * m.k / 8;
  ParallelFor(across * down, GrainFor(cost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t row = i / across * kRowBlock, column = i % across * kColumnBlock;
      gemm.multiply(a + row * m.k, m.k, std::min(kRowBlock, rows - row), packed + column * m.k,
                    std::min(kColumnBlock, m.n - column), m.k, c + row * ldc + column, ldc, /*accumulate=*/true);
    }
  });
}
void MultiplyAdd(const Matrix& m, const double* a, int64_t rows, const double* packed, double* c, int64_t ldc) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < m.n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < m.k; ++p) sum += a[i * m.k + p] * packed[j * m.k + p];
      c[i * ldc + j] += sum;
    }
  }
}

// ---- The kernel -----------------------------------------------------------------------------------------------------

struct RecurrentSpec {
  Cell cell;
  int64_t directions, steps, batch, input, hidden, gates;
  Direction direction;
  bool batch_first = false;
  bool linear_before_reset = false, input_forget = false;
  float clip = 0;  // 0: none
  std::vector<RecurrentActivation> activations;
  int per_direction = 1;  // activations of one direction
  bool has_bias, has_lengths, has_h, has_c, has_peephole;
  DataType type;
  int64_t parts = 1;  // into which a direction's batch is split

  // Positions of scratch, in elements.
  int64_t x = -1;  // X converted; -1: read in place
  int64_t w, r, bias, projection, h, c, step, candidate, peephole;

  int64_t Row(int64_t t, int64_t b) const { return batch_first ? b * steps + t : t * batch + b; }
  int64_t StateRow(int64_t d, int64_t b) const { return batch_first ? b * directions + d : d * batch + b; }
  int64_t OutputRow(int64_t t, int64_t d, int64_t b) const {
    return batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b;
  }
  bool Reversed(int64_t d) const { return direction == Direction::kReverse || d == 1; }
  // GRU's candidate gate is multiplied apart from z and r.
  Matrix WMatrix() const { return {gates * hidden, input}; }
  Matrix RMatrix() const { return {(cell == Cell::kGru ? 2 : gates) * hidden, hidden}; }
  Matrix CandidateMatrix() const { return {cell == Cell::kGru ? hidden : 0, hidden}; }
};

template <typename C>
void LoadRun(const Tensor& t, int64_t offset, int64_t n, C* to) {
  if constexpr (std::is_same_v<C, float>) {
    const float* from = ReadRow(GetVectorMath(), t.dtype(), t.raw(), offset, n, to);
    if (from != to) std::copy_n(from, n, to);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = ElementAs<C>(t, offset + i);
  }
}
template <typename C>
void StoreRun(Tensor& t, int64_t offset, int64_t n, const C* from) {
  if constexpr (std::is_same_v<C, float>) {
    WriteRow(GetVectorMath(), t.dtype(), from, t.mutable_raw(), offset, n);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      switch (t.dtype()) {
        case DataType::kFloat16:
          t.mutable_data<Float16>()[offset + i] = Float16(static_cast<float>(from[i]));
          break;
        case DataType::kBFloat16:
          t.mutable_data<BFloat16>()[offset + i] = BFloat16(static_cast<float>(from[i]));
          break;
        case DataType::kDouble:
          t.mutable_data<double>()[offset + i] = from[i];
          break;
        default:
          t.mutable_data<float>()[offset + i] = static_cast<float>(from[i]);
      }
    }
  }
}

// One direction's matrices, packed, one after the other: [rows of W] or [z, r or all gates of R][candidate of R].
template <typename C>
int64_t PackedInput(const RecurrentSpec& s) {
  return PackedSize(s.WMatrix(), C{});
}
template <typename C>
int64_t PackedRecurrence(const RecurrentSpec& s) {
  return PackedSize(s.RMatrix(), C{}) + PackedSize(s.CandidateMatrix(), C{});
}
// Elements of a weight as C: in place where that is its type, else converted into `buffer`.
template <typename C>
const C* Elements(const Tensor& t, std::vector<C>* buffer) {
  if (t.dtype() == DataTypeOf<C>::value) return t.data<C>();
  buffer->resize(t.size());
  LoadRun(t, 0, t.size(), buffer->data());
  return buffer->data();
}
template <typename C>
void PackInput(const RecurrentSpec& s, const Tensor& w, C* to) {
  Matrix m = s.WMatrix();
  std::vector<C> buffer;
  const C* from = Elements<C>(w, &buffer);
  for (int64_t d = 0; d < s.directions; ++d) Pack(m, from + d * m.n * m.k, to + d * PackedInput<C>(s));
}
template <typename C>
void PackRecurrence(const RecurrentSpec& s, const Tensor& r, C* to) {
  Matrix m = s.RMatrix(), candidate = s.CandidateMatrix();
  std::vector<C> buffer;
  const C* from = Elements<C>(r, &buffer);
  for (int64_t d = 0; d < s.directions; ++d) {
    C* out = to + d * PackedRecurrence<C>(s);
    const C* rows = from + d * s.gates * s.hidden * s.hidden;
    Pack(m, rows, out);
    if (candidate.n > 0) Pack(candidate, rows + m.n * m.k, out + PackedSize(m, C{}));
  }
}

template <typename C>
class RecurrentKernel final : public Kernel {
 public:
  // packed_*: undefined when the weights are not constant; Run then packs them into scratch.
  RecurrentKernel(RecurrentSpec spec, Tensor packed_w, Tensor packed_r)
      : s_(std::move(spec)), packed_w_(std::move(packed_w)), packed_r_(std::move(packed_r)) {}

  std::string Implementation() const override {
    return std::is_same_v<C, double> ? "plain" : std::string("own:") + IsaName(ActiveIsa());
  }

  absl::Status Run(RunContext& ctx) const override {
    C* scratch = static_cast<C*>(ctx.scratch());
    const int32_t* lengths = s_.has_lengths ? ctx.in<int32_t>(4) : nullptr;
    for (int64_t b = 0; lengths != nullptr && b < s_.batch; ++b) {
      if (lengths[b] < 0 || lengths[b] > s_.steps) {
        return OutOfRange("sequence_lens: ", lengths[b], " of batch item ", b, " is out of range [0, ", s_.steps, "]");
      }
    }
    const C* w = packed_w_.data<C>();
    const C* r = packed_r_.data<C>();
    if (w == nullptr) {
      PackInput(s_, ctx.input(1), scratch + s_.w);
      w = scratch + s_.w;
    }
    if (r == nullptr) {
      PackRecurrence(s_, ctx.input(2), scratch + s_.r);
      r = scratch + s_.r;
    }
    const C* x = ctx.in<C>(0);
    if (s_.x >= 0) {
      LoadRun(ctx.input(0), 0, ctx.input(0).size(), scratch + s_.x);
      x = scratch + s_.x;
    }
    // Steps beyond a sequence's end stay 0.
    if (lengths != nullptr && ctx.has_output(0)) {
      std::fill_n(static_cast<uint8_t*>(ctx.output(0).mutable_raw()), ctx.output(0).bytes(), uint8_t{0});
    }
    for (int64_t d = 0; d < s_.directions; ++d) Project(ctx, d, x, w + d * PackedInput<C>(s_), scratch);
    int64_t cost = s_.steps * (s_.batch / s_.parts) * Width() * (s_.hidden / 8 + 2 * kScalarCost);
    ParallelFor(s_.directions * s_.parts, GrainFor(cost), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t d = i / s_.parts, part = i % s_.parts;
        int64_t first = s_.batch * part / s_.parts, last = s_.batch * (part + 1) / s_.parts;
        RunPart(ctx, d, first, last, lengths, r + d * PackedRecurrence<C>(s_), scratch);
      }
    });
    return absl::OkStatus();
  }

 private:
  int64_t Width() const { return s_.gates * s_.hidden; }

  // projection[d] = X W^T + biases, all steps at once.
  void Project(RunContext& ctx, int64_t d, const C* x, const C* packed, C* scratch) const {
    int64_t width = Width(), rows = s_.steps * s_.batch;
    C* projection = scratch + s_.projection + d * rows * width;
    C* bias = scratch + s_.bias + d * 2 * width;
    if (s_.has_bias) {
      LoadRun(ctx.input(3), d * 2 * width, 2 * width, bias);
      // R's bias goes with W's, but for the candidate of a GRU that is reset after the product.
      int64_t together = s_.linear_before_reset ? 2 * s_.hidden : width;
      for (int64_t i = 0; i < together; ++i) bias[i] += bias[width + i];
    } else {
      std::fill_n(bias, 2 * width, C{0});
    }
    for (int64_t i = 0; i < rows; ++i) std::copy_n(bias, width, projection + i * width);
    MultiplyAdd(s_.WMatrix(), x, rows, packed, projection, width);
    if (s_.has_peephole) {
      LoadRun(ctx.input(7), d * 3 * s_.hidden, 3 * s_.hidden, scratch + s_.peephole + d * 3 * s_.hidden);
    }
  }

  // All steps of batch items [first, last) in direction d.
  void RunPart(RunContext& ctx, int64_t d, int64_t first, int64_t last, const int32_t* lengths, const C* r,
               C* scratch) const {
    int64_t hidden = s_.hidden, width = Width(), count = last - first;
    int64_t at = d * s_.batch + first;
    C* h = scratch + s_.h + at * hidden;
    C* c = scratch + s_.c + at * hidden;
    C* gates = scratch + s_.step + at * width;
    C* candidate = scratch + s_.candidate + at * hidden;
    int64_t longest = lengths == nullptr ? s_.steps : 0;
    for (int64_t b = 0; b < count; ++b) {
      LoadState(ctx, s_.has_h, 5, d, first + b, h + b * hidden);
      if (s_.cell == Cell::kLstm) LoadState(ctx, s_.has_c, 6, d, first + b, c + b * hidden);
      if (lengths != nullptr) longest = std::max<int64_t>(longest, lengths[first + b]);
    }
    for (int64_t step = 0; step < longest; ++step) {
      auto time = [&](int64_t b) {  // of this step for a batch item; -1 when its sequence has ended
        int64_t length = lengths == nullptr ? s_.steps : lengths[first + b];
        return step >= length ? -1 : s_.Reversed(d) ? length - 1 - step : step;
      };
      for (int64_t b = 0; b < count; ++b) {
        int64_t t = time(b);
        if (t < 0) {
          std::fill_n(gates + b * width, width, C{0});
          continue;
        }
        int64_t row = d * s_.steps * s_.batch + s_.Row(t, first + b);
        std::copy_n(scratch + s_.projection + row * width, width, gates + b * width);
      }
      MultiplyAdd(s_.RMatrix(), h, count, r, gates, width);
      switch (s_.cell) {
        case Cell::kRnn:
          for (int64_t b = 0; b < count; ++b) {
            if (time(b) < 0) continue;
            C* g = gates + b * width;
            Activate(d, 0, g, hidden);
            std::copy_n(g, hidden, h + b * hidden);
          }
          break;
        case Cell::kGru:
          GruStep(d, count, time, r + PackedSize(s_.RMatrix(), C{}), scratch, gates, candidate, h);
          break;
        case Cell::kLstm:
          for (int64_t b = 0; b < count; ++b) {
            if (time(b) >= 0)
              LstmStep(d, scratch, gates + b * width, candidate + b * hidden, c + b * hidden, h + b * hidden);
          }
          break;
      }
      if (ctx.has_output(0)) {
        for (int64_t b = 0; b < count; ++b) {
          int64_t t = time(b);
          if (t >= 0) StoreRun(ctx.output(0), s_.OutputRow(t, d, first + b) * hidden, hidden, h + b * hidden);
        }
      }
    }
    for (int64_t b = 0; b < count; ++b) {
      int64_t row = s_.StateRow(d, first + b) * hidden;
      if (ctx.has_output(1)) StoreRun(ctx.output(1), row, hidden, h + b * hidden);
      if (s_.cell == Cell::kLstm && ctx.has_output(2)) StoreRun(ctx.output(2), row, hidden, c + b * hidden);
    }
  }

  // gates [count, 3H]: z and r whole, the candidate with x's part only.
  template <typename Time>
  void GruStep(int64_t d, int64_t count, const Time& time, const C* r_candidate, const C* scratch, C* gates,
               C* candidate, C* h) const {
    int64_t hidden = s_.hidden, width = Width();
    const C* rbh = scratch + s_.bias + d * 2 * width + width + 2 * hidden;
    for (int64_t b = 0; b < count; ++b) {
      C* g = gates + b * width;
      Activate(d, 0, g, 2 * hidden);
      if (s_.linear_before_reset) std::copy_n(rbh, hidden, candidate + b * hidden);
    }
    if (s_.linear_before_reset) {
      MultiplyAdd(s_.CandidateMatrix(), h, count, r_candidate, candidate, hidden);
      for (int64_t b = 0; b < count; ++b) {
        C* n = gates + b * width + 2 * hidden;
        const C *reset = gates + b * width + hidden, *hr = candidate + b * hidden;
        for (int64_t i = 0; i < hidden; ++i) n[i] += reset[i] * hr[i];
      }
    } else {
      for (int64_t b = 0; b < count; ++b) {
        const C *reset = gates + b * width + hidden, *now = h + b * hidden;
        for (int64_t i = 0; i < hidden; ++i) candidate[b * hidden + i] = reset[i] * now[i];
      }
      MultiplyAdd(s_.CandidateMatrix(), candidate, count, r_candidate, gates + 2 * hidden, width);
    }
    for (int64_t b = 0; b < count; ++b) {
      if (time(b) < 0) continue;
      C *z = gates + b * width, *n = z + 2 * hidden, *now = h + b * hidden;
      Activate(d, 1, n, hidden);
      for (int64_t i = 0; i < hidden; ++i) now[i] = n[i] + z[i] * (now[i] - n[i]);
    }
  }

  // g [4H]: i, o, f, c before their activations.
  void LstmStep(int64_t d, const C* scratch, C* g, C* squashed, C* c, C* h) const {
    int64_t n = s_.hidden;
    C *i = g, *o = g + n, *f = g + 2 * n, *update = g + 3 * n;
    const C* p = scratch + s_.peephole + d * 3 * n;
    if (s_.has_peephole) {
      for (int64_t k = 0; k < n; ++k) {
        i[k] += p[k] * c[k];
        f[k] += p[2 * n + k] * c[k];
      }
      Activate(d, 0, i, n);
      Activate(d, 0, f, n);
    } else {
      Activate(d, 0, g, 3 * n);  // i, o and f in one run
    }
    if (s_.input_forget) {
      for (int64_t k = 0; k < n; ++k) f[k] = C{1} - i[k];
    }
    Activate(d, 1, update, n);
    for (int64_t k = 0; k < n; ++k) c[k] = f[k] * c[k] + i[k] * update[k];
    if (s_.has_peephole) {
      for (int64_t k = 0; k < n; ++k) o[k] += p[n + k] * c[k];
      Activate(d, 0, o, n);
    }
    std::copy_n(c, n, squashed);
    Activate(d, 2, squashed, n);
    for (int64_t k = 0; k < n; ++k) h[k] = o[k] * squashed[k];
  }

  void Activate(int64_t d, int which, C* x, int64_t n) const {
    if (s_.clip > 0) {
      C limit = static_cast<C>(s_.clip);
      for (int64_t i = 0; i < n; ++i) x[i] = std::min(std::max(x[i], -limit), limit);
    }
    s_.activations[d * s_.per_direction + which].Apply(x, n);
  }

  void LoadState(RunContext& ctx, bool given, int input, int64_t d, int64_t b, C* to) const {
    if (given) {
      LoadRun(ctx.input(input), s_.StateRow(d, b) * s_.hidden, s_.hidden, to);
    } else {
      std::fill_n(to, s_.hidden, C{0});
    }
  }

  const RecurrentSpec s_;
  const Tensor packed_w_, packed_r_;
};

// ---- Prepare --------------------------------------------------------------------------------------------------------

absl::Status ExpectDims(const PrepareContext& ctx, int i, absl::string_view name, const Dims& expected) {
  if (!ctx.has_input(i) || ctx.input_dims(i) == expected) return absl::OkStatus();
  return InvalidArgument(name, ": expected the shape ", DimsToString(expected), ", got ",
                         DimsToString(ctx.input_dims(i)));
}

absl::StatusOr<RecurrentSpec> ReadSpec(PrepareContext& ctx, Cell cell) {
  RecurrentSpec s;
  s.cell = cell;
  s.type = ctx.input_dtype(0);
  RONDO_ASSIGN_OR_RETURN(s.direction, ReadDirection(ctx.attributes));
  RONDO_ASSIGN_OR_RETURN(s.batch_first, ctx.attributes.Flag("layout", false));
  RONDO_ASSIGN_OR_RETURN(s.clip, ctx.attributes.Float("clip", 0.0f));
  s.directions = s.direction == Direction::kBidirectional ? 2 : 1;
  s.gates = Gates(cell);
  Dims x = ctx.input_dims(0), r = ctx.input_dims(2);
  s.steps = x[s.batch_first ? 1 : 0];
  s.batch = x[s.batch_first ? 0 : 1];
  s.input = x[2];
  s.hidden = r[2];
  s.has_bias = ctx.has_input(3);
  s.has_lengths = ctx.has_input(4);
  s.has_h = ctx.has_input(5);
  s.has_c = cell == Cell::kLstm && ctx.has_input(6);
  s.has_peephole = cell == Cell::kLstm && ctx.has_input(7);
  if (cell == Cell::kGru) {
    RONDO_ASSIGN_OR_RETURN(s.linear_before_reset, ctx.attributes.Flag("linear_before_reset", false));
  }
  if (cell == Cell::kLstm) {
    RONDO_ASSIGN_OR_RETURN(s.input_forget, ctx.attributes.Flag("input_forget", false));
  }
  using Names = absl::Span<const absl::string_view>;
  static constexpr absl::string_view kNames[3][3] = {{"Tanh"}, {"Sigmoid", "Tanh"}, {"Sigmoid", "Tanh", "Tanh"}};
  s.per_direction = static_cast<int>(cell) + 1;
  RONDO_ASSIGN_OR_RETURN(s.activations, ReadActivations(ctx.attributes, static_cast<int>(s.directions),
                                                        Names(kNames[static_cast<int>(cell)], s.per_direction)));
  int64_t width = s.gates * s.hidden;
  Dims state = s.batch_first ? Dims{s.batch, s.directions, s.hidden} : Dims{s.directions, s.batch, s.hidden};
  RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 1, "W", {s.directions, width, s.input}));
  RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 2, "R", {s.directions, width, s.hidden}));
  RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 3, "B", {s.directions, 2 * width}));
  RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 4, "sequence_lens", {s.batch}));
  RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 5, "initial_h", state));
  if (cell == Cell::kLstm) {
    RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 6, "initial_c", state));
    RONDO_RETURN_IF_ERROR(ExpectDims(ctx, 7, "P", {s.directions, 3 * s.hidden}));
  }
  return s;
}

template <typename C>
KernelOr MakeRecurrent(PrepareContext& ctx, RecurrentSpec s) {
  constexpr DataType kComputed = std::is_same_v<C, double> ? DataType::kDouble : DataType::kFloat;
  // Parts of at least four rows, so that each still reads R for several at a time.
  if (s.directions < ctx.threads()) {
    s.parts = std::max<int64_t>(1, std::min<int64_t>(ctx.threads() / s.directions, s.batch / 4));
  }
  Tensor packed_w, packed_r;
  std::string layout = absl::StrCat("recurrent:", Gates(s.cell), std::is_same_v<C, double> ? ":plain" : ":panels");
  const auto pack = [&](const Tensor& weight, absl::string_view which, int64_t size, auto fill) {
    return ctx.weight_cache().GetOrPack({weight}, {absl::StrCat(layout, which), kComputed, {size}}, [&](Tensor& t) {
      fill(s, weight, t.mutable_data<C>());
      return absl::OkStatus();
    });
  };
  Tensor w = ctx.constant(1), r = ctx.constant(2);
  if (w.defined()) {
    RONDO_ASSIGN_OR_RETURN(packed_w, pack(w, ":W", s.directions * PackedInput<C>(s), PackInput<C>));
  }
  if (r.defined()) {
    RONDO_ASSIGN_OR_RETURN(packed_r, pack(r, ":R", s.directions * PackedRecurrence<C>(s), PackRecurrence<C>));
  }
  int64_t width = s.gates * s.hidden, total = 0;
  // X may have no elements and yet many steps.
  RONDO_RETURN_IF_ERROR(CheckedByteSize(kComputed, {s.directions, s.steps, s.batch, width}).status());
  int64_t states = s.directions * s.batch * s.hidden;
  auto reserve = [&](int64_t elements) {
    int64_t at = total;
    total += (elements + 15) / 16 * 16;
    return at;
  };
  if (s.type != kComputed) s.x = reserve(s.steps * s.batch * s.input);
  s.w = w.defined() ? 0 : reserve(s.directions * PackedInput<C>(s));
  s.r = r.defined() ? 0 : reserve(s.directions * PackedRecurrence<C>(s));
  s.bias = reserve(s.directions * 2 * width);
  s.projection = reserve(s.directions * s.steps * s.batch * width);
  s.h = reserve(states);
  s.c = reserve(s.cell == Cell::kLstm ? states : 0);
  s.step = reserve(s.directions * s.batch * width);
  s.candidate = reserve(s.cell == Cell::kRnn ? 0 : states);
  s.peephole = reserve(s.has_peephole ? s.directions * 3 * s.hidden : 0);
  ctx.RequestScratch(static_cast<size_t>(total) * sizeof(C));
  return KernelOr(std::make_unique<RecurrentKernel<C>>(std::move(s), std::move(packed_w), std::move(packed_r)));
}

template <Cell kCell>
KernelOr PrepareRecurrent(PrepareContext& ctx) {
  RONDO_ASSIGN_OR_RETURN(RecurrentSpec spec, ReadSpec(ctx, kCell));
  if (spec.type == DataType::kDouble || (ctx.plain() && IsFloatOrHalf(spec.type))) {
    return MakeRecurrent<double>(ctx, std::move(spec));
  }
  if (IsFloatOrHalf(spec.type)) return MakeRecurrent<float>(ctx, std::move(spec));
  return Unimplemented("element type ", DataTypeName(spec.type), " is not supported here");
}

const OpDef kRows[] = {
    {.type = "RNN",
     .inputs = {3, 6},
     .outputs = {0, 2},
     .infer = InferRecurrent<Cell::kRnn>,
     .prepare = PrepareRecurrent<Cell::kRnn>},
    {.type = "GRU",
     .inputs = {3, 6},
     .outputs = {0, 2},
     .infer = InferRecurrent<Cell::kGru>,
     .prepare = PrepareRecurrent<Cell::kGru>},
    {.type = "LSTM",
     .inputs = {3, 8},
     .outputs = {0, 3},
     .infer = InferRecurrent<Cell::kLstm>,
     .prepare = PrepareRecurrent<Cell::kLstm>},
};

}  // namespace

absl::Span<const OpDef> RecurrentFamily() { return kRows; }

}  // namespace rondo
