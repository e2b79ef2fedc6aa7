// Forms of a task that have the same rule: turned and mirrored, other colours, the examples in another order. A model
// that is asked in several forms gives several answers, which can vote.
#ifndef RONDO_ARC_AUGMENT_H_
#define RONDO_ARC_AUGMENT_H_

#include <cstdint>
#include <vector>

#include "arc/dataset.h"
#include "arc/grid.h"

namespace rondo::arc {

struct Augmentation {
  int symmetry = 0;
  Colours colours = kSameColours;
  std::vector<int> order;  // of the train pairs; empty: as they stand

  bool operator==(const Augmentation&) const = default;
};

// First the task as it stands, then its seven other symmetries, then all eight in turn with colours permuted and pairs
// reordered. The same for a seed on every machine, and the first n of more are the n.
std::vector<Augmentation> MakeAugmentations(int count, int train_pairs, uint64_t seed);

// Solutions are transformed too.
Task Apply(const Augmentation& augmentation, const Task& task);
// The answer to the plain task that corresponds to one to the other form.
Grid Undo(const Augmentation& augmentation, const Grid& answer);

}  // namespace rondo::arc

#endif  // RONDO_ARC_AUGMENT_H_
