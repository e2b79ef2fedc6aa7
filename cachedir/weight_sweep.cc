#include "cachedir/weight_sweep.h"

namespace rondo {
namespace {

std::vector<std::atomic<bool>> MakeFlags(const std::vector<std::shared_ptr<const WeightsFile>>& files) {
  size_t blocks = 0;
  for (const auto& file : files) {
    for (const StoredWeight& weight : file->weights()) blocks += weight.blocks.size();
  }
  return std::vector<std::atomic<bool>>(blocks);
}

}  // namespace

WeightSweep::WeightSweep(std::vector<std::shared_ptr<const WeightsFile>> files, int helpers)
    : files_(std::move(files)), taken_(MakeFlags(files_)) {
  size_t first_block = 0;
  for (const auto& file : files_) {
    for (const StoredWeight& weight : file->weights()) {
      auto item = std::make_unique<Item>();
      item->file = file.get();
      item->weight = &weight;
      item->first_block = first_block;
      item->left.store(weight.blocks.size(), std::memory_order_relaxed);
      first_block += weight.blocks.size();
      item_of_[&weight] = item.get();
      items_.push_back(std::move(item));
    }
  }
  for (int i = 0; i < helpers && first_block > 1; ++i) helpers_.emplace_back([this] { Sweep(); });
}

WeightSweep::~WeightSweep() {
  stop_.store(true, std::memory_order_relaxed);
  for (std::thread& helper : helpers_) helper.join();
}

void WeightSweep::Sweep() {
  for (const auto& item : items_) {
    TakeBlocks(*item);
    if (stop_.load(std::memory_order_relaxed)) return;
  }
}

void WeightSweep::TakeBlocks(Item& item) {
  for (size_t b = 0; b < item.weight->blocks.size(); ++b) {
    if (stop_.load(std::memory_order_relaxed)) return;
    if (taken_[item.first_block + b].exchange(true, std::memory_order_relaxed)) continue;
    if (!item.file->CheckBlock(*item.weight, b).ok()) item.bad.store(true, std::memory_order_relaxed);
    if (item.left.fetch_sub(1, std::memory_order_acq_rel) == 1) item.left.notify_all();
  }
}

absl::Status WeightSweep::Check(const StoredWeight& weight) {
  Item& item = *item_of_.at(&weight);
  TakeBlocks(item);
  // Others have taken the rest: some tens of microseconds each.
  for (size_t left; (left = item.left.load(std::memory_order_acquire)) > 0;) item.left.wait(left);
  return item.bad.load(std::memory_order_relaxed) ? item.file->Check(weight) : absl::OkStatus();
}

}  // namespace rondo
