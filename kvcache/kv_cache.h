// KvCache: the keys and values of all layers of a decoder, in buffers of fixed capacity that are written in place.
//
// A cache has *segments*, each the rows of one sequence: ids [0, sequences) are decode segments, [sequences, sequences
// + prompts) prefill segments, which differ in capacity only. A segment may continue another one's rows without a copy
// (Attach): one prefilled prompt serves many continuations. Valid length and capacity are kept apart everywhere: no
// shape contains either.
//
//   RONDO_ASSIGN_OR_RETURN(std::shared_ptr<KvCache> cache, KvCache::Create({.layers = {...}, .decode_capacity =
//   1024})); RONDO_RETURN_IF_ERROR(cache->BeginStep({0}, /*rows=*/7, /*valid=*/{7}));   // capacity is checked here
//   ... run the plan: every layer's KvAttention writes its rows and attends ...
//   RONDO_RETURN_IF_ERROR(cache->EndStep());                                   // only here do lengths advance
//
// A step that is not ended never happened: BeginStep may be called again, and whatever else changes the cache ends it.
// Layers with a window keep a ring that holds what the rows of one step can see.
//
// One thread at a time, but for WriteHead and View, which may be called for different heads at once. BeginStep,
// EndStep, Write and View allocate nothing.
#ifndef RONDO_KVCACHE_KV_CACHE_H_
#define RONDO_KVCACHE_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvcache/kv_view.h"
#include "rondo/tensor.h"

namespace rondo {

struct KvLayer {
  int64_t kv_heads = 0;
  int64_t head_size = 0;    // of K
  int64_t v_head_size = 0;  // of V
  int64_t window = -1;      // keys that a query sees, itself included; -1: all
};

struct KvCacheConfig {
  std::vector<KvLayer> layers = {};
  int64_t sequences = 1;
  int64_t decode_capacity = 0;  // rows of a decode segment, those of its prefix not counted
  int64_t prompts = 0;
  int64_t prefill_capacity = 0;
  DataType dtype = DataType::kFloat;  // float32, float16, bfloat16; int8 with one scale per row and head
  int64_t max_new_rows = 1;           // of one step where a layer has a window: sizes the rings
};

struct KvCacheInfo {
  DataType dtype = DataType::kFloat;
  int64_t layers = 0;
  int64_t segments = 0;
  uint64_t bytes = 0;  // all that was allocated: decode_bytes + prefill_bytes
  uint64_t decode_bytes = 0;
  uint64_t prefill_bytes = 0;
  uint64_t scale_bytes = 0;   // of these, the scales of int8
  uint64_t row_bytes = 0;     // one position in all layers
  int64_t rows_used = 0;      // own rows of all segments
  int64_t rows_capacity = 0;  // of all segments
  // Since Create.
  uint64_t steps = 0;
  uint64_t bytes_written = 0;  // by steps and Append: new rows
  uint64_t bytes_copied = 0;   // by Copy: rows that were in the cache before
};

// Rows of one or more heads in a caller's memory, any of the floating-point types but float64.
struct KvRows {
  const void* data = nullptr;  // head 0, row 0
  DataType dtype = DataType::kFloat;
  int64_t head_stride = 0;  // elements; features are adjacent
  int64_t row_stride = 0;
};

class KvCache final : public RuntimeState {
 public:
  // Allocates and touches everything. Errors: sizes that make no sense, memory.
  static absl::StatusOr<std::shared_ptr<KvCache>> Create(KvCacheConfig config);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvCacheConfig& config() const { return config_; }
  int num_segments() const { return static_cast<int>(segments_.size()); }
  KvCacheInfo Info() const;

  // Positions so far, the prefix included; positions that fit. REQUIRES: segment in [0, num_segments()).
  int64_t length(int segment) const { return segments_[segment].length; }
  int64_t capacity(int segment) const;
  // The segment that this one continues, or -1.
  int prefix(int segment) const { return segments_[segment].prefix; }

  // `segment`'s rows are dropped and it continues those of `prefix`, which has no prefix itself and must not be changed
  // while a segment continues it.
  absl::Status Attach(int segment, int prefix);
  // `to` becomes what `from` is: the same prefix, and a copy of its own rows.
  absl::Status Copy(int from, int to);
  absl::Status Reset(int segment);
  // Rewinds to `length` positions; not into the prefix, and with a window only while the rows that the next query sees
  // have not been overwritten.
  absl::Status Truncate(int segment, int64_t length);

  // Batch row b of the step writes valid[b] <= rows rows at length(segments[b]). Segments are distinct; -1 is a batch
  // row without a sequence, valid[b] = 0. Errors leave the cache as it was.
  absl::Status BeginStep(absl::Span<const int> segments, int64_t rows, absl::Span<const int64_t> valid);
  absl::Status EndStep();
  bool in_step() const { return in_step_; }
  int64_t step_batch() const { return static_cast<int64_t>(step_.size()); }
  int64_t step_rows() const { return step_rows_; }
  int64_t step_valid(int64_t batch_row) const { return step_[batch_row].valid; }
  int64_t step_start(int64_t batch_row) const { return step_[batch_row].start; }

  // The new rows of one head of a batch row: `k` and `v` point to the batch row's first row of head 0.
  // REQUIRES: an open step, layer, batch row and head in range, types float32, float16 or bfloat16.
  void WriteHead(int layer, int64_t batch_row, int64_t head, const KvRows& k, const KvRows& v);
  // All heads, with these checks.
  absl::Status Write(int layer, int64_t batch_row, const KvRows& k, const KvRows& v);
  // What the queries of a batch row see, its new rows included. REQUIRES: an open step, layer and batch row in range.
  KvView View(int layer, int64_t batch_row) const;
  // What the next query of a segment would see of the rows so far. REQUIRES: layer and segment in range.
  KvView ViewSegment(int layer, int segment) const;

  // Appends rows that were computed elsewhere, k[layer] and v[layer] for all layers, and advances the length.
  absl::Status Append(int segment, int64_t rows, absl::Span<const KvRows> k, absl::Span<const KvRows> v);
  // Reads rows back as floats: k [kv heads, rows, head size], v [kv heads, rows, v head size]; null: not wanted.
  // OutOfRange where the rows do not exist or a window has dropped them.
  absl::Status Read(int segment, int layer, int64_t position, int64_t rows, float* k, float* v) const;

  // Writes the rows of a segment, its prefix included, to a file that exists completely or not at all.
  absl::Status Save(int segment, const std::string& path) const;
  // Makes `segment` what was saved, in a cache of the same layers and type; of any capacity that suffices. On an error
  // the segment is as it was.
  absl::Status Restore(int segment, const std::string& path);

 private:
  struct Segment {
    int64_t length = 0;
    int prefix = -1;
    int64_t own_first = 0;  // length of the prefix
    int attached = 0;       // segments that continue this one
    // Per layer, the first own position that still holds what was written there: own_first without a window.
    std::vector<int64_t> intact;
  };
  // Where one layer lies in each segment of a kind.
  struct Placement {
    int64_t tiles = 0;
    uint64_t k = 0, v = 0, k_scales = 0, v_scales = 0;  // offsets in bytes
  };
  struct Kind {
    int64_t capacity = 0;
    uint64_t segment_bytes = 0;
    uint64_t offset = 0;  // of the first segment
    std::vector<Placement> layers;
  };
  struct StepRow {
    int segment;
    int64_t start;
    int64_t valid;
  };

  explicit KvCache(KvCacheConfig config) : config_(std::move(config)) {}
  absl::Status Allocate();
  absl::Status Place(int64_t capacity, absl::string_view what, Kind* kind);

  std::string Name(int segment) const;  // "sequence 3", "prompt 0"
  absl::Status CheckSegment(int segment) const;
  // The segment may lose or change rows; ends an open step.
  absl::Status BeginChange(int segment);
  // Makes the segment an empty continuation of `prefix`, -1: of nothing.
  void Restart(int segment, int prefix);
  // Positions below `end` are about to be written: what that overwrites in the rings is no longer intact.
  void Overwrite(int segment, int64_t end);
  absl::Status CheckCapacity(int segment, int64_t rows) const;
  const Kind& KindOf(int segment) const { return kinds_[segment < config_.sequences ? 0 : 1]; }
  int64_t RingRows(int segment, int layer) const { return KindOf(segment).layers[layer].tiles * kKvTile; }
  int num_layers() const { return static_cast<int>(config_.layers.size()); }
  KvPart PartOf(int segment, int layer) const;
  KvView MakeView(int layer, int segment, int64_t start, int64_t end) const;
  void WriteRange(const KvView& view, int64_t head, int64_t first, int64_t rows, const KvRows& k, const KvRows& v);
  uint64_t RowBytes(const KvLayer& layer) const;

  KvCacheConfig config_;
  Kind kinds_[2];  // decode, prefill
  uint64_t bytes_ = 0;
  uint64_t row_bytes_ = 0;
  bool has_ring_ = false;  // some layer has fewer rows than the capacity
  Tensor memory_;
  std::vector<Segment> segments_;

  bool in_step_ = false;
  int64_t step_rows_ = 0;
  std::vector<StepRow> step_;  // capacity num_segments()
  std::vector<uint8_t> in_batch_;

  uint64_t steps_ = 0, bytes_written_ = 0, bytes_copied_ = 0;
};

}  // namespace rondo

#endif  // RONDO_KVCACHE_KV_CACHE_H_
