#include "executor/memory_planner.h"

#include <gtest/gtest.h>

#include <random>

namespace rondo {
namespace {

void ExpectNoOverlap(const std::vector<BufferRequest>& requests, const ArenaLayout& layout) {
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(layout.offsets[i] % kArenaAlignment, 0u);
    EXPECT_LE(layout.offsets[i] + requests[i].bytes, layout.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together =
          requests[i].first_step <= requests[j].last_step && requests[j].first_step <= requests[i].last_step;
      const bool apart = layout.offsets[i] + requests[i].bytes <= layout.offsets[j] ||
                         layout.offsets[j] + requests[j].bytes <= layout.offsets[i];
      if (together && requests[i].bytes > 0 && requests[j].bytes > 0) {
        EXPECT_TRUE(apart) << i << " overlaps " << j;
      }
    }
  }
}

TEST(MemoryPlannerTest, BuffersThatAreNeverAliveTogetherShareMemory) {
  const std::vector<BufferRequest> requests = {{1024, 0, 1}, {1024, 2, 3}, {1024, 4, 5}};
  const ArenaLayout layout = PlanArena(requests);
  EXPECT_EQ(layout.bytes, 1024u);
}

TEST(MemoryPlannerTest, AChainNeedsTwoBuffers) {
  std::vector<BufferRequest> requests;
  for (int i = 0; i < 10; ++i) requests.push_back({4096, i, i + 1});
  EXPECT_EQ(PlanArena(requests).bytes, 2 * 4096u);
}

TEST(MemoryPlannerTest, RandomLifetimesNeverOverlap) {
  std::mt19937 rng(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<BufferRequest> requests;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(rng() % 40);
      requests.push_back({rng() % 5000, first, first + static_cast<int>(rng() % 10)});
    }
    ExpectNoOverlap(requests, PlanArena(requests));
  }
}

TEST(MemoryPlannerTest, NothingToPlaceIsAnEmptyArena) { EXPECT_EQ(PlanArena({}).bytes, 0u); }

}  // namespace
}  // namespace rondo
