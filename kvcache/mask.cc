#include "kvcache/mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "graph/numeric.h"
#include "graph/status.h"

namespace rondo {
namespace {

// What exporters add to scores that must not count: -inf, finfo.min, -1e9, -10000. exp() of any is 0 in float32.
constexpr float kExcluded = -9000.0f;
constexpr int64_t kMaxBiasColumns = 4096;
// Masks of one row stay small at any of these.
constexpr int64_t kLongPasts[] = {65535, 8191, 2047, 1023, 511, 63};

float Element(const Tensor& mask, int64_t i) {
  switch (mask.dtype()) {
    case DataType::kBool:
      return mask.data<uint8_t>()[i] != 0 ? 0.0f : -std::numeric_limits<float>::infinity();
    case DataType::kFloat:
      return mask.data<float>()[i];
    case DataType::kFloat16:
      return static_cast<float>(mask.data<Float16>()[i]);
    case DataType::kBFloat16:
      return static_cast<float>(mask.data<BFloat16>()[i]);
    default:
      return std::numeric_limits<float>::quiet_NaN();
  }
}

// The mask at one point, as [batch, heads, rows, keys] by broadcasting; combined with what the operator masks itself.
class MaskAt {
 public:
  MaskAt(const MaskQuestion& question, const ProbePoint& point, Tensor mask)
      : question_(question), point_(point), mask_(std::move(mask)) {
    keys_ = question.capacity > 0 ? question.capacity : point.past + point.rows;
    int64_t stride = 1;
    for (int i = mask_.defined() ? mask_.rank() - 1 : -1, d = 3; i >= 0; --i, --d) {
      extents_[d] = mask_.dim(i);
      strides_[d] = mask_.dim(i) == 1 ? 0 : stride;
      stride *= mask_.dim(i);
    }
  }

  absl::Status Check() const {
    const int64_t expected[] = {point_.batch, question_.heads, point_.rows, keys_};
    for (int d = 0; d < 4; ++d) {
      if (extents_[d] != 1 && extents_[d] != expected[d]) {
        return Unimplemented("a mask of ", DimsToString(mask_.dims()), " for past ", point_.past, " and ", point_.rows,
                             " rows");
      }
    }
    return absl::OkStatus();
  }
  int64_t keys() const { return keys_; }
  // Batches and heads that may differ from each other: one where the mask is broadcast.
  int64_t batches() const { return std::min(extents_[0], point_.batch); }
  int64_t heads() const { return std::min(extents_[1], question_.heads); }
  // Position of the key in column `j`; -1 for a column that holds no key yet.
  int64_t PositionOf(int64_t j) const {
    if (question_.rows_first) return j < point_.rows ? point_.past + j : j - point_.rows;
    const int64_t last = point_.past + point_.rows - 1;
    // The newest position whose column this is.
    if (question_.circular && last >= keys_) return last - (last - j + keys_) % keys_;
    return j < point_.past + point_.rows ? j : -1;
  }
  int64_t ColumnOf(int64_t position) const {
    if (question_.circular) return position % keys_;
    if (!question_.rows_first) return position;
    return position >= point_.past ? position - point_.past : position + point_.rows;
  }
  // Every key that some query of the point may see under this window is still there.
  bool HoldsWindow(int64_t window) const {
    return !question_.circular || point_.past + point_.rows <= keys_ ||
           (window >= 0 && window + point_.rows - 1 <= keys_);
  }
  float At(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t query = point_.past + i;
    // The operator's own masks count columns.
    if (question_.causal && j > query) return -std::numeric_limits<float>::infinity();
    if (question_.left_window >= 0 && query - j > question_.left_window) {
      return -std::numeric_limits<float>::infinity();
    }
    if (question_.valid_lengths && j >= point_.past + point_.rows) return -std::numeric_limits<float>::infinity();
    if (!mask_.defined()) return 0;
    return Element(mask_, b * strides_[0] + h * strides_[1] + i * strides_[2] + j * strides_[3]);
  }

 private:
  MaskQuestion question_;
  ProbePoint point_;
  Tensor mask_;
  int64_t keys_ = 0;
  int64_t extents_[4] = {1, 1, 1, 1}, strides_[4] = {0, 0, 0, 0};
};

absl::StatusOr<MaskAt> Look(Prober& prober, const MaskQuestion& question, const ProbePoint& point) {
  Tensor mask;
  if (question.mask != nullptr) {
    RONDO_ASSIGN_OR_RETURN(mask, prober.Evaluate(question.mask, point));
    if (mask.rank() > 4) return Unimplemented("a mask of rank ", mask.rank());
  }
  MaskAt look(question, point, std::move(mask));
  RONDO_RETURN_IF_ERROR(look.Check());
  return look;
}

bool Close(float a, float b) { return std::fabs(a - b) <= 1e-4f * (1 + std::fabs(b)); }

// bias[h][d]: what is added for a key d positions back, relative to the query's own key unless `keep_offsets`. One head
// stands for all where they are alike.
struct Bias {
  int64_t heads = 0, distances = 0;
  std::vector<float> values;
  float at(int64_t h, int64_t d) const { return values[(heads == 1 ? 0 : h) * distances + d]; }
};

absl::Status CheckPoint(const MaskAt& look, const MaskQuestion& question, const ProbePoint& point, int64_t window,
                        const Bias& bias) {
  // Of heads that the mask does not tell apart the first answers for all, if all are to have one bias.
  const int64_t heads = bias.heads == 1 ? look.heads() : question.heads;
  for (int64_t b = 0; b < look.batches(); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < point.rows; ++i) {
        const int64_t query = point.past + i;
        const float offset = question.keep_offsets ? 0 : look.At(b, h, i, look.ColumnOf(query));
        for (int64_t j = 0; j < look.keys(); ++j) {
          const int64_t key = look.PositionOf(j);
          const bool expected = key >= 0 && key <= query && (window < 0 || query - key < window);
          const float value = look.At(b, h, i, j);
          const bool visible = !(value <= kExcluded);
          const bool fits =
              visible == expected &&
              (!visible || (query - key < bias.distances && Close(value - offset, bias.at(h, query - key))));
          if (fits) continue;
          return Unimplemented("the mask is not causal, a window or a bias by distance: query ", query, ", key ", key,
                               ", head ", h, " (past ", point.past, ", rows ", point.rows, ") has ", value,
                               expected ? ", expected it to be seen" : ", expected it to be excluded");
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Describe(const Bias& bias, int64_t heads, MaskAnswer* answer) {
  const auto all = [&](auto predicate) {
    for (int64_t h = 0; h < bias.heads; ++h) {
      for (int64_t d = 0; d < bias.distances; ++d) {
        if (!predicate(h, d)) return false;
      }
    }
    return true;
  };
  if (all([&](int64_t h, int64_t d) { return bias.at(h, d) == 0; })) return absl::OkStatus();
  const int64_t last = bias.distances - 1;
  std::vector<float> slopes(heads);
  for (int64_t h = 0; h < heads; ++h) slopes[h] = last > 0 ? -bias.at(h, last) / static_cast<float>(last) : 0;
  if (last > 0 && all([&](int64_t h, int64_t d) { return Close(-slopes[h] * static_cast<float>(d), bias.at(h, d)); })) {
    answer->alibi_slopes = Tensor::FromVector(DataType::kFloat, {heads}, slopes);
    return absl::OkStatus();
  }
  int64_t columns = bias.distances;
  const auto repeats = [&](int64_t d) {
    for (int64_t h = 0; h < bias.heads; ++h) {
      if (bias.at(h, d) != bias.at(h, d - 1)) return false;
    }
    return true;
  };
  while (columns > 1 && repeats(columns - 1)) --columns;
  if (columns > kMaxBiasColumns || (columns == bias.distances && columns > 1 && answer->window < 0)) {
    return Unimplemented("a bias by distance that is neither linear nor constant beyond ", columns, " positions");
  }
  Tensor table = Tensor::Make(DataType::kFloat, {heads, columns});
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t d = 0; d < columns; ++d) table.mutable_data<float>()[h * columns + d] = bias.at(h, d);
  }
  answer->relative_bias = std::move(table);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MaskAnswer> MaskProver::Prove(const MaskQuestion& question) {
  for (const auto& [asked, answer] : answers_) {
    if (asked == question) return answer;
  }
  return answers_.emplace_back(question, LookInto(question)).second;
}

absl::StatusOr<MaskAnswer> MaskProver::LookInto(const MaskQuestion& question) {
  MaskAnswer answer;
  // The newest row after a long past tells the window and the bias for every distance. Graphs with tables (a triangle
  // of ones, learned positions) cannot be asked beyond these.
  ProbePoint far{};
  absl::StatusOr<MaskAt> found = Unimplemented("no past to look at");
  const int64_t limit = question.circular ? 0 : question.capacity;
  for (int64_t past : kLongPasts) {
    far = prober_.LongPoint(limit, past);
    found = Look(prober_, question, far);
    if (found.ok()) break;
  }
  if (!found.ok()) return found.status();
  const MaskAt& long_look = *found;
  answer.proven_length = far.past + far.rows;
  const int64_t newest = far.rows - 1, query = far.past + newest;
  const auto column = [&](int64_t key) { return long_look.ColumnOf(key); };
  const int64_t held = question.circular ? std::min(query + 1, long_look.keys()) : query + 1;
  int64_t seen = 0;
  while (seen < held && !(long_look.At(0, 0, newest, column(query - seen)) <= kExcluded)) ++seen;
  if (seen == 0) return Unimplemented("the mask excludes a query's own key");
  if (seen <= query) answer.window = seen;
  Bias bias;
  bias.heads = long_look.heads();
  bias.distances = seen;
  bias.values.resize(bias.heads * seen);
  for (int64_t h = 0; h < bias.heads; ++h) {
    const float offset = question.keep_offsets ? 0 : long_look.At(0, h, newest, column(query));
    for (int64_t d = 0; d < seen; ++d) {
      bias.values[h * seen + d] = long_look.At(0, h, newest, column(query - d)) - offset;
    }
  }
  RONDO_RETURN_IF_ERROR(CheckPoint(long_look, question, far, answer.window, bias));
  // Some graphs are defined for one row after a past and for several without, but not for several after a past.
  bool saw_rows = false, saw_past = false;
  absl::Status undefined;
  for (const ProbePoint& point : prober_.Points(limit)) {
    const absl::StatusOr<MaskAt> look = Look(prober_, question, point);
    if (!look.ok()) {
      undefined = look.status();
      continue;
    }
    if (!look->HoldsWindow(answer.window)) continue;
    RONDO_RETURN_IF_ERROR(CheckPoint(*look, question, point, answer.window, bias));
    saw_rows |= point.rows > 1;
    saw_past |= point.past > 0;
  }
  if (!undefined.ok() && !(saw_rows && saw_past)) return undefined;
  RONDO_RETURN_IF_ERROR(Describe(bias, question.heads, &answer));
  return answer;
}

}  // namespace rondo
