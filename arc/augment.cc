#include "arc/augment.h"

#include <numeric>
#include <utility>

namespace rondo::arc {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): the standard library's distributions and shuffles differ between vendors.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Uniform below `bound`, but for a bias of bound / 2^64.
  uint64_t Below(uint64_t bound) { return Next() % bound; }

  template <typename Sequence>
  void Shuffle(Sequence* sequence) {
    for (size_t i = sequence->size(); i > 1; --i) std::swap((*sequence)[i - 1], (*sequence)[Below(i)]);
  }

 private:
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

Grid ApplyTo(const Augmentation& augmentation, const Grid& grid) {
  return Recolour(Transform(grid, augmentation.symmetry), augmentation.colours);
}

}  // namespace

std::vector<Augmentation> MakeAugmentations(int count, int train_pairs, uint64_t seed) {
  std::vector<Augmentation> augmentations;
  Random random(seed);
  for (int i = 0; i < count; ++i) {
    Augmentation augmentation;
    augmentation.symmetry = i % kSymmetries;
    if (i >= kSymmetries) {
      random.Shuffle(&augmentation.colours);
      augmentation.order.resize(train_pairs);
      std::iota(augmentation.order.begin(), augmentation.order.end(), 0);
      random.Shuffle(&augmentation.order);
    }
    augmentations.push_back(std::move(augmentation));
  }
  return augmentations;
}

Task Apply(const Augmentation& augmentation, const Task& task) {
  Task to;
  to.id = task.id;
  for (size_t i = 0; i < task.train.size(); ++i) {
    const Pair& pair = task.train[augmentation.order.empty() ? i : augmentation.order[i]];
    to.train.push_back({ApplyTo(augmentation, pair.input), ApplyTo(augmentation, pair.output)});
  }
  for (const Test& test : task.test) {
    Test changed{ApplyTo(augmentation, test.input), std::nullopt};
    if (test.output.has_value()) changed.output = ApplyTo(augmentation, *test.output);
    to.test.push_back(std::move(changed));
  }
  return to;
}

Grid Undo(const Augmentation& augmentation, const Grid& answer) {
  return Transform(Recolour(answer, Inverse(augmentation.colours)), Inverse(augmentation.symmetry));
}

}  // namespace rondo::arc
