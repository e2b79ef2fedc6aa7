#include "kvcache/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "graph/numeric.h"

namespace rondo {
namespace {

// A tile and the column in it of one position and head.
struct Place {
  KvTile tile;
  int64_t column;
};
Place PlaceOf(const KvView& view, int64_t head, int64_t position) {
  return {KvTileAt(view, KvPartOf(view, position), head, position / kKvTile), position % kKvTile};
}

// x[i] -> y[i * stride], through `convert`.
template <typename From, typename To, typename Convert>
void Scatter(const From* x, int64_t n, To* y, int64_t stride, const Convert& convert) {
  for (int64_t i = 0; i < n; ++i) y[i * stride] = convert(x[i]);
}

template <typename From>
float Quantize(const From* x, int64_t n, int8_t* y, int64_t stride) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    const float a = std::abs(static_cast<float>(x[i]));
    finite &= a <= std::numeric_limits<float>::max();
    largest = std::max(largest, a);
  }
  // A row that holds an infinity or a NaN reads back as NaN, so that it shows.
  if (!finite) {
    Scatter(x, n, y, stride, [](From) { return int8_t{0}; });
    return std::numeric_limits<float>::quiet_NaN();
  }
  // Not below the smallest normal: its reciprocal must be finite.
  const float scale = std::max(largest / 127.0f, std::numeric_limits<float>::min());
  const float inverse = 1.0f / scale;
  Scatter(x, n, y, stride, [inverse](From f) {
    // Adding 1.5 * 2^23 rounds to the nearest integer; the product is at most 127 by a rounding.
    constexpr float kRound = 12582912.0f;
    return static_cast<int8_t>(static_cast<int32_t>((static_cast<float>(f) * inverse + kRound) - kRound));
  });
  return scale;
}

template <typename From>
void StoreElements(const From* x, int64_t n, DataType type, void* y, int64_t stride, float* scale) {
  switch (type) {
    case DataType::kFloat16:
      Scatter(x, n, static_cast<Float16*>(y), stride, [](From f) { return Float16(static_cast<float>(f)); });
      break;
    case DataType::kBFloat16:
      Scatter(x, n, static_cast<BFloat16*>(y), stride, [](From f) { return BFloat16(static_cast<float>(f)); });
      break;
    case DataType::kInt8:
      *scale = Quantize(x, n, static_cast<int8_t*>(y), stride);
      break;
    default:
      Scatter(x, n, static_cast<float*>(y), stride, [](From f) { return static_cast<float>(f); });
  }
}

template <typename From>
void StoreRow(const KvView& view, const Place& at, const From* k, const From* v) {
  StoreElements(k, view.head_size, view.dtype, at.tile.k + at.column * view.element_bytes, kKvTile,
                at.tile.k_scales + at.column);
  StoreElements(v, view.v_head_size, view.dtype, at.tile.v + at.column * view.v_row * view.element_bytes, 1,
                at.tile.v_scales + at.column);
}

void LoadElements(DataType type, const void* x, int64_t stride, const float* scale, int64_t n, float* y) {
  switch (type) {
    case DataType::kFloat16:
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(static_cast<const Float16*>(x)[i * stride]);
      break;
    case DataType::kBFloat16:
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(static_cast<const BFloat16*>(x)[i * stride]);
      break;
    case DataType::kInt8:
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(static_cast<const int8_t*>(x)[i * stride]) * *scale;
      break;
    default:
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<const float*>(x)[i * stride];
  }
}

}  // namespace

void StoreKvRow(const KvView& view, int64_t head, int64_t position, DataType type, const void* k, const void* v) {
  const Place at = PlaceOf(view, head, position);
  switch (type) {
    case DataType::kFloat16:
      return StoreRow(view, at, static_cast<const Float16*>(k), static_cast<const Float16*>(v));
    case DataType::kBFloat16:
      return StoreRow(view, at, static_cast<const BFloat16*>(k), static_cast<const BFloat16*>(v));
    default:
      return StoreRow(view, at, static_cast<const float*>(k), static_cast<const float*>(v));
  }
}

void LoadKvRow(const KvView& view, int64_t head, int64_t position, float* k, float* v) {
  const Place at = PlaceOf(view, head, position);
  if (k != nullptr) {
    LoadElements(view.dtype, at.tile.k + at.column * view.element_bytes, kKvTile, at.tile.k_scales + at.column,
                 view.head_size, k);
  }
  if (v != nullptr) {
    LoadElements(view.dtype, at.tile.v + at.column * view.v_row * view.element_bytes, 1, at.tile.v_scales + at.column,
                 view.v_head_size, v);
  }
}

int64_t RawKvRowBytes(const KvView& view) {
  return (view.head_size + view.v_head_size) * view.element_bytes +
         (view.dtype == DataType::kInt8 ? int64_t{2 * sizeof(float)} : 0);
}

void LoadRawKvRow(const KvView& view, int64_t head, int64_t position, char* raw) {
  const Place at = PlaceOf(view, head, position);
  const size_t bytes = static_cast<size_t>(view.element_bytes);
  for (int64_t d = 0; d < view.head_size; ++d, raw += bytes) {
    std::memcpy(raw, at.tile.k + (d * kKvTile + at.column) * view.element_bytes, bytes);
  }
  const size_t v_bytes = static_cast<size_t>(view.v_head_size) * bytes;
  std::memcpy(raw, at.tile.v + at.column * view.v_row * view.element_bytes, v_bytes);
  if (at.tile.k_scales == nullptr) return;
  std::memcpy(raw + v_bytes, at.tile.k_scales + at.column, sizeof(float));
  std::memcpy(raw + v_bytes + sizeof(float), at.tile.v_scales + at.column, sizeof(float));
}

void StoreRawKvRow(const KvView& view, int64_t head, int64_t position, const char* raw) {
  const Place at = PlaceOf(view, head, position);
  const size_t bytes = static_cast<size_t>(view.element_bytes);
  for (int64_t d = 0; d < view.head_size; ++d, raw += bytes) {
    std::memcpy(at.tile.k + (d * kKvTile + at.column) * view.element_bytes, raw, bytes);
  }
  const size_t v_bytes = static_cast<size_t>(view.v_head_size) * bytes;
  std::memcpy(at.tile.v + at.column * view.v_row * view.element_bytes, raw, v_bytes);
  if (at.tile.k_scales == nullptr) return;
  std::memcpy(at.tile.k_scales + at.column, raw + v_bytes, sizeof(float));
  std::memcpy(at.tile.v_scales + at.column, raw + v_bytes + sizeof(float), sizeof(float));
}

void CopyOwnKvRows(const KvView& from, const KvView& to, int64_t head, int64_t first, int64_t end) {
  for (int64_t at = first; at < end;) {
    const int64_t tile = at / kKvTile, column = at % kKvTile;
    const int64_t columns = std::min(kKvTile - column, end - at);
    const KvTile source = KvTileAt(from, from.own, head, tile), target = KvTileAt(to, to.own, head, tile);
    const size_t bytes = static_cast<size_t>(columns * from.element_bytes);
    for (int64_t d = 0; d < from.head_size; ++d) {
      const int64_t offset = (d * kKvTile + column) * from.element_bytes;
      std::memcpy(target.k + offset, source.k + offset, bytes);
    }
    const int64_t offset = column * from.v_row * from.element_bytes;
    std::memcpy(target.v + offset, source.v + offset, bytes * static_cast<size_t>(from.v_row));
    if (source.k_scales != nullptr) {
      std::memcpy(target.k_scales + column, source.k_scales + column, static_cast<size_t>(columns) * sizeof(float));
      std::memcpy(target.v_scales + column, source.v_scales + column, static_cast<size_t>(columns) * sizeof(float));
    }
    at += columns;
  }
}

}  // namespace rondo
