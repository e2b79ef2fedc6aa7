// WeightSweep: compares the digests of all blocks of some weights files, ahead of whoever asks for them. While a model
// is read and rewritten by one thread, others sweep over its packed weights from front to back; who needs a weight
// checks those of its blocks that nobody has taken yet, and waits for the rest.
#ifndef RONDO_CACHEDIR_WEIGHT_SWEEP_H_
#define RONDO_CACHEDIR_WEIGHT_SWEEP_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "cachedir/weights_file.h"

namespace rondo {

class WeightSweep {
 public:
  // `helpers`: threads that sweep; 0: blocks are checked when they are asked for.
  WeightSweep(std::vector<std::shared_ptr<const WeightsFile>> files, int helpers);
  WeightSweep(const WeightSweep&) = delete;
  WeightSweep& operator=(const WeightSweep&) = delete;
  ~WeightSweep();  // ends the helpers

  // Is every block of the weight (of one of the files) as it was written? The error names the first that is not.
  // Thread-safe.
  absl::Status Check(const StoredWeight& weight);

 private:
  struct Item {
    const WeightsFile* file;
    const StoredWeight* weight;
    size_t first_block;
    std::atomic<size_t> left;  // blocks that are not checked
    std::atomic<bool> bad{false};
  };
  void Sweep();
  // Checks the blocks of an item that nobody has taken.
  void TakeBlocks(Item& item);

  const std::vector<std::shared_ptr<const WeightsFile>> files_;
  std::vector<std::unique_ptr<Item>> items_;
  absl::flat_hash_map<const StoredWeight*, Item*> item_of_;
  std::vector<std::atomic<bool>> taken_;  // per block
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace rondo

#endif  // RONDO_CACHEDIR_WEIGHT_SWEEP_H_
