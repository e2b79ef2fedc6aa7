// Places buffers with known lifetimes in one arena, so that buffers which are never alive together share memory.
#ifndef RONDO_EXECUTOR_MEMORY_PLANNER_H_
#define RONDO_EXECUTOR_MEMORY_PLANNER_H_

#include <cstddef>
#include <vector>

namespace rondo {

struct BufferRequest {
  size_t bytes = 0;
  int first_step = 0;  // the step that writes it
  int last_step = 0;   // the last step that touches it, inclusive
};

struct ArenaLayout {
  std::vector<size_t> offsets;  // per request, multiples of kArenaAlignment
  size_t bytes = 0;
};

inline constexpr size_t kArenaAlignment = 64;

// Greedy by size: the largest buffer first, each at the lowest offset where it meets no buffer that is alive with it.
ArenaLayout PlanArena(const std::vector<BufferRequest>& requests);

}  // namespace rondo

#endif  // RONDO_EXECUTOR_MEMORY_PLANNER_H_
