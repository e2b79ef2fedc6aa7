#include "executor/memory_planner.h"

#include <algorithm>
#include <numeric>

namespace rondo {

ArenaLayout PlanArena(const std::vector<BufferRequest>& requests) {
  ArenaLayout layout;
  layout.offsets.assign(requests.size(), 0);
  std::vector<int> by_size(requests.size());
  std::iota(by_size.begin(), by_size.end(), 0);
  std::stable_sort(by_size.begin(), by_size.end(), [&](int a, int b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<int> placed;  // sorted by offset
  for (int i : by_size) {
    const BufferRequest& request = requests[i];
    const size_t bytes = (request.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    size_t offset = 0;
    for (int j : placed) {
      const BufferRequest& other = requests[j];
      if (other.last_step < request.first_step || request.last_step < other.first_step) continue;
      const size_t other_bytes = (other.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
      if (offset + bytes <= layout.offsets[j]) break;
      offset = std::max(offset, layout.offsets[j] + other_bytes);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return layout.offsets[a] < layout.offsets[b]; }),
                  i);
  }
  return layout;
}

}  // namespace rondo
