#include "ops/parallel.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ops/axis_split.h"

namespace rondo {
namespace {

TEST(ParallelForTest, CoversEveryItemOnce) {
  ScopedThreads threads(4);
  for (int64_t n : {0, 1, 2, 7, 100, 1001}) {
    for (int64_t grain : {1, 3, 50, 5000}) {
      std::vector<std::atomic<int>> seen(n);
      ParallelFor(n, grain, [&](int64_t begin, int64_t end) {
        ASSERT_LT(begin, end);
        if (end != n) {
          EXPECT_GE(end - begin, grain);
        }
        for (int64_t i = begin; i < end; ++i) ++seen[i];
      });
      for (auto& s : seen) ASSERT_EQ(s, 1);
    }
  }
}

TEST(ParallelForTest, RunsInlineWhenNested) {
  ScopedThreads threads(2);
  const int all = NumThreads();
  ParallelFor(8, 1, [&](int64_t, int64_t) {
    std::thread::id outer = std::this_thread::get_id();
    int worker = WorkerIndex();
    EXPECT_LT(worker, all);
    ParallelFor(100, 1, [&](int64_t, int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      EXPECT_EQ(WorkerIndex(), worker);
    });
  });
}

TEST(ParallelForTest, OneThreadRunsInline) {
  ScopedThreads threads(1);
  EXPECT_EQ(NumThreads(), 1);
  std::thread::id caller = std::this_thread::get_id();
  int calls = 0;
  ParallelFor(1000, 1, [&](int64_t begin, int64_t end) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(end - begin, 1000);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(ParallelForTest, ScopedThreadsRestoresThePreviousNumber) {
  ScopedThreads outer(3);
  {
    ScopedThreads inner(2);
    EXPECT_EQ(NumThreads(), 2);
  }
  EXPECT_EQ(NumThreads(), 3);
}

TEST(RowTasksTest, DealsEveryRowToOneTask) {
  ScopedThreads threads(2);
  for (int64_t rows : {0, 1, 5, 64, 1000}) {
    RowTasks tasks = RowTasks::For(2, rows, 1 << 20);
    EXPECT_GE(tasks.tasks, 1);
    EXPECT_LE(tasks.tasks, 8);
    std::vector<std::atomic<int>> seen(rows);
    tasks.Run([&](int64_t task, int64_t begin, int64_t end) {
      EXPECT_LT(task, tasks.tasks);
      for (int64_t i = begin; i < end; ++i) ++seen[i];
    });
    for (auto& s : seen) ASSERT_EQ(s, 1);
  }
}

}  // namespace
}  // namespace rondo
