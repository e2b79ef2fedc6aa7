// What an attention mask does, found by evaluating it: nothing but causality, a sliding window and a bias that depends
// on the distance between query and key alone, or something else.
#ifndef RONDO_KVCACHE_MASK_H_
#define RONDO_KVCACHE_MASK_H_

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kvcache/probe.h"

namespace rondo {

// How one attention operator reads its mask.
struct MaskQuestion {
  const Value* mask = nullptr;  // broadcast to [batch, heads, rows, keys]; null: none
  int64_t heads = 0;
  bool causal = false;         // the operator masks later keys itself
  bool valid_lengths = false;  // ... and those beyond past + rows
  int64_t left_window = -1;    // ... and those more than this far back
  int64_t capacity = 0;        // keys of a cache of fixed length; 0: there are past + rows keys
  bool circular = false;       // ... in which position p lies at p modulo capacity
  bool rows_first = false;     // the new rows' keys come before the past's
  bool keep_offsets = false;   // a constant added to a whole row matters (attention sinks)

  friend bool operator==(const MaskQuestion&, const MaskQuestion&) = default;
};

struct MaskAnswer {
  int64_t window = -1;   // keys that a query sees, itself included; -1: all up to itself
  Tensor relative_bias;  // float32 [heads, N] by distance, the last column for all that are further; undefined: none
  int64_t proven_length = 0;  // positions up to which this was seen to hold
  Tensor alibi_slopes;        // float32 [heads], slope * (key - query); undefined: none
};

// Answers the layers of one graph. They share one mask as a rule, and looking at every element for every head is most
// of what it takes to load a decoder: each question is looked into once.
class MaskProver {
 public:
  explicit MaskProver(Prober& prober) : prober_(prober) {}
  Prober& prober() const { return prober_; }

  // Unimplemented, with the first element that fits no such mask.
  absl::StatusOr<MaskAnswer> Prove(const MaskQuestion& question);

 private:
  absl::StatusOr<MaskAnswer> LookInto(const MaskQuestion& question);

  Prober& prober_;
  std::vector<std::pair<MaskQuestion, absl::StatusOr<MaskAnswer>>> answers_;
};

}  // namespace rondo

#endif  // RONDO_KVCACHE_MASK_H_
