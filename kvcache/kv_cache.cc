#include "kvcache/kv_cache.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "graph/status.h"
#include "kvcache/kv_rows.h"

namespace rondo {
namespace {

constexpr int64_t kMaxLayers = 1 << 16;
constexpr int64_t kMaxSegments = 1 << 20;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr int64_t kMaxHeadSize = 1 << 16;
constexpr int64_t kMaxRows = int64_t{1} << 40;
constexpr uint64_t kMaxBytes = uint64_t{1} << 46;  // of a tensor

int64_t RoundUp(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

absl::Status CheckRange(absl::string_view what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidArgument("KV cache: ", what, " is ", value, ": expected ", low, " to ", high);
}

absl::Status CheckConfig(const KvCacheConfig& config) {
  if (!IsKvCacheType(config.dtype)) {
    return InvalidArgument("KV cache: element type ", DataTypeName(config.dtype),
                           ": expected float32, float16, bfloat16 or int8");
  }
  RONDO_RETURN_IF_ERROR(CheckRange("the number of layers", static_cast<int64_t>(config.layers.size()), 1, kMaxLayers));
  RONDO_RETURN_IF_ERROR(CheckRange("the number of sequences", config.sequences, 0, kMaxSegments));
  RONDO_RETURN_IF_ERROR(CheckRange("the number of prompts", config.prompts, 0, kMaxSegments));
  RONDO_RETURN_IF_ERROR(CheckRange("the number of segments", config.sequences + config.prompts, 1, kMaxSegments));
  RONDO_RETURN_IF_ERROR(
      CheckRange("the decode capacity", config.decode_capacity, config.sequences > 0 ? 1 : 0, kMaxRows));
  RONDO_RETURN_IF_ERROR(
      CheckRange("the prefill capacity", config.prefill_capacity, config.prompts > 0 ? 1 : 0, kMaxRows));
  RONDO_RETURN_IF_ERROR(CheckRange("max_new_rows", config.max_new_rows, 1, kMaxRows));
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const KvLayer& layer = config.layers[i];
    const auto what = [i](absl::string_view name) { return absl::StrCat(name, " of layer ", i); };
    RONDO_RETURN_IF_ERROR(CheckRange(what("the number of heads"), layer.kv_heads, 1, kMaxHeads));
    RONDO_RETURN_IF_ERROR(CheckRange(what("the head size"), layer.head_size, 1, kMaxHeadSize));
    RONDO_RETURN_IF_ERROR(CheckRange(what("the head size of V"), layer.v_head_size, 1, kMaxHeadSize));
    if (layer.window != -1) RONDO_RETURN_IF_ERROR(CheckRange(what("the window"), layer.window, 1, kMaxRows));
  }
  return absl::OkStatus();
}

// What the system could give without swapping; 0 when it does not say. Memory is handed out before it is there, so
// that asking too much would end the process later and not fail here.
uint64_t AvailableMemory() {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/meminfo", "re"), std::fclose);
  char line[256];
  unsigned long long kilobytes = 0;
  while (file != nullptr && std::fgets(line, sizeof(line), file.get()) != nullptr) {
    if (std::sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) return uint64_t{kilobytes} * 1024;
  }
  return 0;
}

int64_t ElementBytes(DataType type) { return static_cast<int64_t>(ByteSize(type, 1)); }

}  // namespace

absl::StatusOr<std::shared_ptr<KvCache>> KvCache::Create(KvCacheConfig config) {
  RONDO_RETURN_IF_ERROR(CheckConfig(config));
  std::shared_ptr<KvCache> cache(new KvCache(std::move(config)));
  RONDO_RETURN_IF_ERROR(cache->Allocate());
  return cache;
}

absl::Status KvCache::Place(int64_t capacity, absl::string_view what, Kind* kind) {
  kind->capacity = capacity;
  kind->layers.resize(config_.layers.size());
  uint64_t bytes = 0;
  bool overflow = false;
  // The offset of a new block, a cache line's multiple.
  const auto add = [&](uint64_t elements, uint64_t element_bytes) {
    const uint64_t offset = bytes;
    uint64_t size;
    overflow |= __builtin_mul_overflow(elements, element_bytes, &size) || size > kMaxBytes;
    if (!overflow) bytes += (size + 63) / 64 * 64;
    overflow |= bytes > kMaxBytes;
    return offset;
  };
  const uint64_t element = static_cast<uint64_t>(ElementBytes(config_.dtype));
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    const KvLayer& layer = config_.layers[i];
    Placement& place = kind->layers[i];
    // A continuation's first tile may begin up to 63 positions before its first row.
    place.tiles = (capacity + kKvTile - 1 + kKvTile - 1) / kKvTile;
    if (layer.window >= 0) {
      const int64_t ring = (layer.window + config_.max_new_rows - 1 + kKvTile - 1) / kKvTile;
      has_ring_ |= ring < place.tiles;
      place.tiles = std::min(place.tiles, ring);
    }
    // At most 2^35 tiles of 64 rows of 2^16 heads: below 2^57.
    const uint64_t rows = static_cast<uint64_t>(place.tiles * kKvTile * layer.kv_heads);
    place.k = add(rows, static_cast<uint64_t>(layer.head_size) * element);
    place.v = add(rows, static_cast<uint64_t>(RoundUp(layer.v_head_size, kKvRowPadding)) * element);
    if (config_.dtype == DataType::kInt8) {
      place.k_scales = add(rows, sizeof(float));
      place.v_scales = add(rows, sizeof(float));
    }
  }
  if (overflow) {
    return ResourceExhausted("KV cache: one ", what, " of ", capacity, " positions in ", config_.layers.size(),
                             " layers needs more than the limit of ", kMaxBytes, " bytes");
  }
  kind->segment_bytes = bytes;
  return absl::OkStatus();
}

absl::Status KvCache::Allocate() {
  RONDO_RETURN_IF_ERROR(Place(config_.decode_capacity, "sequence", &kinds_[0]));
  RONDO_RETURN_IF_ERROR(Place(config_.prefill_capacity, "prompt", &kinds_[1]));
  const int64_t counts[2] = {config_.sequences, config_.prompts};
  for (int k = 0; k < 2; ++k) {
    uint64_t size;
    kinds_[k].offset = bytes_;
    if (__builtin_mul_overflow(kinds_[k].segment_bytes, static_cast<uint64_t>(counts[k]), &size) ||
        size > kMaxBytes - bytes_) {
      return ResourceExhausted("KV cache: ", counts[k], " segments of ", kinds_[k].segment_bytes,
                               " bytes each exceed the limit of ", kMaxBytes, " bytes");
    }
    bytes_ += size;
  }
  const uint64_t available = AvailableMemory();
  if (available > 0 && bytes_ > available) {
    return ResourceExhausted("KV cache: ", bytes_, " bytes are needed (", config_.sequences, " sequences of ",
                             config_.decode_capacity, " positions, ", config_.prompts, " prompts of ",
                             config_.prefill_capacity, ", ", config_.layers.size(), " layers, ",
                             DataTypeName(config_.dtype), "), ", available,
                             " are available: lower the lengths or the batch, or store a smaller type");
  }
  absl::StatusOr<Tensor> memory = Tensor::Create(DataType::kUInt8, {static_cast<int64_t>(bytes_)});
  if (!memory.ok()) return Annotate(memory.status(), "KV cache: ");
  memory_ = *std::move(memory);
  // Now, not in the first steps: a page fault in the decode loop costs more than the attention around it.
  std::memset(memory_.mutable_raw(), 0, bytes_);
  for (const KvLayer& layer : config_.layers) row_bytes_ += RowBytes(layer);
  segments_.resize(static_cast<size_t>(config_.sequences + config_.prompts));
  for (Segment& segment : segments_) segment.intact.resize(config_.layers.size());
  step_.reserve(segments_.size());
  in_batch_.resize(segments_.size());
  return absl::OkStatus();
}

uint64_t KvCache::RowBytes(const KvLayer& layer) const {
  const int64_t scales = config_.dtype == DataType::kInt8 ? int64_t{2 * sizeof(float)} : 0;
  return static_cast<uint64_t>(layer.kv_heads *
                               ((layer.head_size + layer.v_head_size) * ElementBytes(config_.dtype) + scales));
}

KvCacheInfo KvCache::Info() const {
  KvCacheInfo info;
  info.dtype = config_.dtype;
  info.layers = static_cast<int64_t>(config_.layers.size());
  info.segments = num_segments();
  info.bytes = bytes_;
  info.decode_bytes = kinds_[0].segment_bytes * static_cast<uint64_t>(config_.sequences);
  info.prefill_bytes = bytes_ - info.decode_bytes;
  info.row_bytes = row_bytes_;
  for (int s = 0; s < num_segments(); ++s) {
    info.rows_used += segments_[s].length - segments_[s].own_first;
    info.rows_capacity += KindOf(s).capacity;
    for (size_t i = 0; config_.dtype == DataType::kInt8 && i < config_.layers.size(); ++i) {
      const int64_t rows = KindOf(s).layers[i].tiles * kKvTile * config_.layers[i].kv_heads;
      info.scale_bytes += static_cast<uint64_t>(rows) * 2 * sizeof(float);
    }
  }
  info.steps = steps_;
  info.bytes_written = bytes_written_;
  info.bytes_copied = bytes_copied_;
  return info;
}

std::string KvCache::Name(int segment) const {
  if (segment < config_.sequences) return absl::StrCat("sequence ", segment);
  return absl::StrCat("prompt ", segment - config_.sequences);
}

absl::Status KvCache::CheckSegment(int segment) const {
  if (segment >= 0 && segment < num_segments()) return absl::OkStatus();
  return InvalidArgument("KV cache: segment ", segment, " does not exist: expected 0 to ", num_segments() - 1);
}

int64_t KvCache::capacity(int segment) const { return segments_[segment].own_first + KindOf(segment).capacity; }

// ---- Segments ----

absl::Status KvCache::BeginChange(int segment) {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  if (const int attached = segments_[segment].attached; attached > 0) {
    return InvalidArgument("KV cache: ", Name(segment), " cannot change: ", attached,
                           attached == 1 ? " segment continues it" : " segments continue it");
  }
  in_step_ = false;
  return absl::OkStatus();
}

void KvCache::Restart(int segment, int prefix) {
  Segment& s = segments_[segment];
  if (s.prefix >= 0) --segments_[s.prefix].attached;
  if (prefix >= 0) ++segments_[prefix].attached;
  s.prefix = prefix;
  s.length = s.own_first = prefix >= 0 ? segments_[prefix].length : 0;
  std::fill(s.intact.begin(), s.intact.end(), s.own_first);
}

void KvCache::Overwrite(int segment, int64_t end) {
  Segment& s = segments_[segment];
  for (int layer = 0; layer < num_layers(); ++layer) {
    s.intact[layer] = std::max(s.intact[layer], end - RingRows(segment, layer));
  }
}

absl::Status KvCache::Attach(int segment, int prefix) {
  RONDO_RETURN_IF_ERROR(CheckSegment(prefix));
  if (segment == prefix) return InvalidArgument("KV cache: ", Name(segment), " cannot continue itself");
  if (segments_[prefix].prefix >= 0) {
    return InvalidArgument("KV cache: ", Name(prefix), " continues ", Name(segments_[prefix].prefix),
                           " and cannot be continued itself (Copy it instead)");
  }
  RONDO_RETURN_IF_ERROR(BeginChange(segment));
  Restart(segment, prefix);
  return absl::OkStatus();
}

absl::Status KvCache::Copy(int from, int to) {
  RONDO_RETURN_IF_ERROR(CheckSegment(from));
  RONDO_RETURN_IF_ERROR(CheckSegment(to));
  if (from == to) return InvalidArgument("KV cache: ", Name(from), " cannot be copied onto itself");
  const Segment& source = segments_[from];
  const int64_t own = source.length - source.own_first;
  if (own > KindOf(to).capacity) {
    return OutOfRange("KV cache: ", Name(from), " has ", own, " rows, ", Name(to), " holds ", KindOf(to).capacity);
  }
  RONDO_RETURN_IF_ERROR(BeginChange(to));
  Restart(to, source.prefix);
  Segment& target = segments_[to];
  target.length = source.length;
  for (int layer = 0; layer < num_layers(); ++layer) {
    const int64_t first = std::min(source.length, std::max(source.intact[layer], source.length - RingRows(to, layer)));
    target.intact[layer] = first;
    const KvView source_view = ViewSegment(layer, from), target_view = ViewSegment(layer, to);
    for (int64_t head = 0; head < source_view.kv_heads; ++head) {
      CopyOwnKvRows(source_view, target_view, head, first, source.length);
    }
    bytes_copied_ += static_cast<uint64_t>(source.length - first) * RowBytes(config_.layers[layer]);
  }
  return absl::OkStatus();
}

absl::Status KvCache::Reset(int segment) {
  RONDO_RETURN_IF_ERROR(BeginChange(segment));
  Restart(segment, -1);
  return absl::OkStatus();
}

absl::Status KvCache::Truncate(int segment, int64_t length) {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  Segment& s = segments_[segment];
  if (length < 0 || length > s.length) {
    return OutOfRange("KV cache: ", Name(segment), " cannot be rewound to position ", length, ": it has ", s.length);
  }
  if (length < s.own_first) {
    return OutOfRange("KV cache: ", Name(segment), " cannot be rewound to position ", length, ": the first ",
                      s.own_first, " belong to ", Name(s.prefix), " (Reset or Attach instead)");
  }
  for (int layer = 0; layer < num_layers(); ++layer) {
    const int64_t window = config_.layers[layer].window;
    const int64_t first = window < 0 ? s.own_first : std::max(s.own_first, length - window + 1);
    if (first < length && first < s.intact[layer]) {
      return OutOfRange("KV cache: ", Name(segment), " cannot be rewound to position ", length, ": layer ", layer,
                        " with a window of ", window, " needs row ", first, " and keeps those from ", s.intact[layer],
                        " on");
    }
  }
  RONDO_RETURN_IF_ERROR(BeginChange(segment));
  s.length = length;
  for (int64_t& intact : s.intact) intact = std::min(intact, length);
  return absl::OkStatus();
}

// ---- Steps ----

absl::Status KvCache::CheckCapacity(int segment, int64_t rows) const {
  const int64_t start = segments_[segment].length;
  if (rows <= capacity(segment) - start) return absl::OkStatus();
  return OutOfRange(Name(segment), ": position ", start, " + ", rows, rows == 1 ? " row" : " rows",
                    ", the cache holds ", capacity(segment), " (raise --max-length)");
}

absl::Status KvCache::BeginStep(absl::Span<const int> segments, int64_t rows, absl::Span<const int64_t> valid) {
  in_step_ = false;
  step_.clear();
  if (segments.empty() || segments.size() > segments_.size() || segments.size() != valid.size()) {
    return InvalidArgument("KV cache: a step of ", segments.size(), " segments and ", valid.size(),
                           " counts of rows: expected equal numbers, 1 to ", segments_.size());
  }
  std::fill(in_batch_.begin(), in_batch_.end(), uint8_t{0});
  for (size_t b = 0; b < segments.size(); ++b) {
    const int segment = segments[b];
    if (valid[b] < 0 || valid[b] > rows) {
      return InvalidArgument("KV cache: batch row ", b, " writes ", valid[b], " rows: expected 0 to ", rows);
    }
    if (segment == -1 && valid[b] == 0) continue;
    RONDO_RETURN_IF_ERROR(CheckSegment(segment));
    if (in_batch_[segment]++ != 0) return InvalidArgument("KV cache: ", Name(segment), " is twice in one step");
    if (valid[b] == 0) continue;
    if (segments_[segment].attached > 0) {
      return InvalidArgument("KV cache: ", Name(segment), " cannot grow: other segments continue it");
    }
    RONDO_RETURN_IF_ERROR(CheckCapacity(segment, valid[b]));
    if (has_ring_ && valid[b] > config_.max_new_rows) {
      return OutOfRange(Name(segment), ": ", valid[b], " rows in one step, the cache's windows allow ",
                        config_.max_new_rows, " (max_new_rows)");
    }
  }
  for (size_t b = 0; b < segments.size(); ++b) {
    if (segments[b] < 0) {
      step_.push_back({-1, 0, 0});
      continue;
    }
    const Segment& s = segments_[segments[b]];
    step_.push_back({segments[b], s.length, valid[b]});
    Overwrite(segments[b], s.length + valid[b]);
  }
  step_rows_ = rows;
  in_step_ = true;
  return absl::OkStatus();
}

absl::Status KvCache::EndStep() {
  if (!in_step_) return InvalidArgument("KV cache: EndStep without BeginStep");
  in_step_ = false;
  for (const StepRow& row : step_) {
    if (row.segment < 0) continue;
    segments_[row.segment].length += row.valid;
    bytes_written_ += static_cast<uint64_t>(row.valid) * row_bytes_;
  }
  ++steps_;
  return absl::OkStatus();
}

// ---- Rows ----

KvPart KvCache::PartOf(int segment, int layer) const {
  const Kind& kind = KindOf(segment);
  const Placement& place = kind.layers[layer];
  const int64_t index = segment < config_.sequences ? segment : segment - config_.sequences;
  char* base = static_cast<char*>(const_cast<void*>(memory_.raw())) + kind.offset +
               static_cast<uint64_t>(index) * kind.segment_bytes;
  KvPart part;
  part.k = base + place.k;
  part.v = base + place.v;
  if (config_.dtype == DataType::kInt8) {
    part.k_scales = reinterpret_cast<float*>(base + place.k_scales);
    part.v_scales = reinterpret_cast<float*>(base + place.v_scales);
  }
  part.first_tile = segments_[segment].own_first / kKvTile;
  part.tiles = place.tiles;
  return part;
}

KvView KvCache::MakeView(int layer, int segment, int64_t start, int64_t end) const {
  const KvLayer& shape = config_.layers[layer];
  KvView view;
  view.dtype = config_.dtype;
  view.element_bytes = ElementBytes(config_.dtype);
  view.kv_heads = shape.kv_heads;
  view.head_size = shape.head_size;
  view.v_head_size = shape.v_head_size;
  view.v_row = RoundUp(shape.v_head_size, kKvRowPadding);
  view.begin = shape.window < 0 ? 0 : std::max<int64_t>(0, start - shape.window + 1);
  view.start = start;
  view.end = end;
  if (segment < 0) {  // a batch row without a sequence sees nothing
    view.begin = view.start = view.end = 0;
    return view;
  }
  const Segment& s = segments_[segment];
  view.own_first = s.own_first;
  view.own = PartOf(segment, layer);
  if (s.prefix >= 0) view.prefix = PartOf(s.prefix, layer);
  return view;
}

KvView KvCache::View(int layer, int64_t batch_row) const {
  const StepRow& row = step_[batch_row];
  return MakeView(layer, row.segment, row.start, row.start + row.valid);
}

KvView KvCache::ViewSegment(int layer, int segment) const {
  return MakeView(layer, segment, segments_[segment].length, segments_[segment].length);
}

void KvCache::WriteRange(const KvView& view, int64_t head, int64_t first, int64_t rows, const KvRows& k,
                         const KvRows& v) {
  const char* k_data = static_cast<const char*>(k.data);
  const char* v_data = static_cast<const char*>(v.data);
  const int64_t bytes = ElementBytes(k.dtype);
  // Of more rows than a ring has, the last are left.
  const int64_t skipped = std::max<int64_t>(0, rows - view.own.tiles * kKvTile);
  for (int64_t r = skipped; r < rows; ++r) {
    StoreKvRow(view, head, first + r, k.dtype, k_data + (head * k.head_stride + r * k.row_stride) * bytes,
               v_data + (head * v.head_stride + r * v.row_stride) * bytes);
  }
}

void KvCache::WriteHead(int layer, int64_t batch_row, int64_t head, const KvRows& k, const KvRows& v) {
  const StepRow& row = step_[batch_row];
  if (row.valid == 0) return;
  WriteRange(MakeView(layer, row.segment, row.start, row.start + row.valid), head, row.start, row.valid, k, v);
}

namespace {

absl::Status CheckRows(const KvRows& k, const KvRows& v) {
  if (IsKvRowType(k.dtype) && k.dtype == v.dtype && k.data != nullptr && v.data != nullptr) return absl::OkStatus();
  return InvalidArgument("KV cache: rows of ", DataTypeName(k.dtype), " and ", DataTypeName(v.dtype),
                         ": expected one type of float32, float16 and bfloat16");
}

}  // namespace

absl::Status KvCache::Write(int layer, int64_t batch_row, const KvRows& k, const KvRows& v) {
  if (!in_step_) return InvalidArgument("KV cache: Write without BeginStep");
  if (layer < 0 || layer >= num_layers()) {
    return InvalidArgument("KV cache: layer ", layer, " does not exist: it has ", config_.layers.size());
  }
  if (batch_row < 0 || batch_row >= step_batch()) {
    return InvalidArgument("KV cache: batch row ", batch_row, " does not exist: the step has ", step_batch());
  }
  RONDO_RETURN_IF_ERROR(CheckRows(k, v));
  for (int64_t head = 0; head < config_.layers[layer].kv_heads; ++head) WriteHead(layer, batch_row, head, k, v);
  return absl::OkStatus();
}

absl::Status KvCache::Append(int segment, int64_t rows, absl::Span<const KvRows> k, absl::Span<const KvRows> v) {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  if (rows < 0) return InvalidArgument("KV cache: ", rows, " rows to append");
  if (k.size() != config_.layers.size() || v.size() != config_.layers.size()) {
    return InvalidArgument("KV cache: rows of ", k.size(), " and ", v.size(), " layers: expected ",
                           config_.layers.size());
  }
  for (size_t i = 0; i < k.size(); ++i) RONDO_RETURN_IF_ERROR(CheckRows(k[i], v[i]));
  RONDO_RETURN_IF_ERROR(CheckCapacity(segment, rows));
  RONDO_RETURN_IF_ERROR(BeginChange(segment));
  Segment& s = segments_[segment];
  for (int layer = 0; layer < num_layers(); ++layer) {
    const KvView view = MakeView(layer, segment, s.length, s.length + rows);
    for (int64_t head = 0; head < view.kv_heads; ++head) WriteRange(view, head, s.length, rows, k[layer], v[layer]);
  }
  s.length += rows;
  Overwrite(segment, s.length);
  bytes_written_ += static_cast<uint64_t>(rows) * row_bytes_;
  return absl::OkStatus();
}

absl::Status KvCache::Read(int segment, int layer, int64_t position, int64_t rows, float* k, float* v) const {
  RONDO_RETURN_IF_ERROR(CheckSegment(segment));
  if (layer < 0 || layer >= num_layers()) {
    return InvalidArgument("KV cache: layer ", layer, " does not exist: it has ", config_.layers.size());
  }
  const KvView view = ViewSegment(layer, segment);
  if (rows < 0 || position < view.begin || position > view.end || rows > view.end - position) {
    return OutOfRange("KV cache: rows [", position, ", ", position + rows, ") of ", Name(segment), ", layer ", layer,
                      ": it keeps [", view.begin, ", ", view.end, ")");
  }
  for (int64_t head = 0; head < view.kv_heads; ++head) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = head * rows + r;
      LoadKvRow(view, head, position + r, k == nullptr ? nullptr : k + row * view.head_size,
                v == nullptr ? nullptr : v + row * view.v_head_size);
    }
  }
  return absl::OkStatus();
}

}  // namespace rondo
