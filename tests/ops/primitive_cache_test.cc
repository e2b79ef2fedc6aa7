#include "ops/primitive_cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <thread>

#include "graph/status.h"

namespace rondo {
namespace {

struct Made final : CachedPrimitive {
  std::string Implementation() const override { return "own:test"; }
  size_t bytes() const override { return 100; }
};

PrimitiveKey Key(int64_t m, int64_t k = 8) { return PrimitiveKey("MatMul").Add("M", m).Add("K", k); }

PrimitiveCache::Factory Counting(std::atomic<int>* made) {
  return [made]() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> {
    ++*made;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return std::make_shared<const Made>();
  };
}

TEST(PrimitiveCacheTest, ManyThreadsMakeOneKeyOnce) {
  PrimitiveCache cache;
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  std::vector<const CachedPrimitive*> got(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { got[i] = cache.GetOrCreate(Key(1), "node", Counting(&made))->get(); });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(made, 1);
  for (const auto* p : got) EXPECT_EQ(p, got[0]);
  EXPECT_EQ(cache.stats().misses, 1);
  EXPECT_EQ(cache.stats().hits, 7);
  EXPECT_EQ(cache.stats().creations, 1);
  EXPECT_GE(cache.stats().creation_seconds, 0.02);
}

TEST(PrimitiveCacheTest, KeepsTheMostRecentlyUsedEntries) {
  PrimitiveCache cache(2);
  std::atomic<int> made{0};
  auto get = [&](int m) { ASSERT_TRUE(cache.GetOrCreate(Key(m), "node", Counting(&made)).ok()); };
  get(1);
  get(2);
  get(1);
  get(3);  // evicts 2
  EXPECT_EQ(cache.stats().entries, 2);
  EXPECT_EQ(cache.stats().evictions, 1);
  EXPECT_EQ(cache.stats().bytes, 200);
  get(1);
  EXPECT_EQ(made, 3);
  get(2);
  EXPECT_EQ(made, 4);
}

TEST(PrimitiveCacheTest, HoldersKeepEvictedEntriesAlive) {
  PrimitiveCache cache(1);
  std::atomic<int> made{0};
  auto held = *cache.GetOrCreate(Key(1), "node", Counting(&made));
  ASSERT_TRUE(cache.GetOrCreate(Key(2), "node", Counting(&made)).ok());
  EXPECT_EQ(held->Implementation(), "own:test");
}

TEST(PrimitiveCacheTest, FailedCreationIsReportedAndTriedAgain) {
  PrimitiveCache cache;
  auto failing = []() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> { return Unimplemented("no such"); };
  EXPECT_EQ(cache.GetOrCreate(Key(1), "node", failing).status().message(), "no such");
  EXPECT_EQ(cache.stats().entries, 0);
  EXPECT_EQ(cache.stats().creations, 0);
  std::atomic<int> made{0};
  EXPECT_TRUE(cache.GetOrCreate(Key(1), "node", Counting(&made)).ok());
  EXPECT_EQ(cache.stats().misses, 2);
}

TEST(PrimitiveCacheTest, WaitersGetTheFailureToo) {
  PrimitiveCache cache;
  std::atomic<int> calls{0};
  auto failing = [&]() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> {
    ++calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return Unimplemented("no such");
  };
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { failures += !cache.GetOrCreate(Key(1), "node", failing).ok(); });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(failures, 4);
}

TEST(PrimitiveCacheTest, CountsPerKeyAndPerNode) {
  PrimitiveCache cache;
  std::atomic<int> made{0};
  ASSERT_TRUE(cache.GetOrCreate(Key(1), "a", Counting(&made)).ok());
  ASSERT_TRUE(cache.GetOrCreate(Key(1), "b", Counting(&made)).ok());
  ASSERT_TRUE(cache.GetOrCreate(Key(2), "a", Counting(&made)).ok());
  ASSERT_EQ(cache.key_stats().size(), 2);
  ASSERT_EQ(cache.node_stats().size(), 2);
  EXPECT_EQ(cache.node_stats()[0].node, "a");
  EXPECT_EQ(cache.node_stats()[0].misses, 2);
  EXPECT_EQ(cache.node_stats()[1].hits, 1);
}

TEST(PrimitiveKeyTest, NamesTheFieldsThatDiffer) {
  EXPECT_EQ(Key(65).DifferenceFrom(Key(64)), "key field M was 64, is 65");
  EXPECT_EQ(Key(65, 9).DifferenceFrom(Key(64)), "key field M was 64, is 65; key field K was 8, is 9");
  EXPECT_EQ(Key(1).Add("isa", "x").DifferenceFrom(Key(1)), "key field isa was absent, is x");
  EXPECT_EQ(Key(1).ToString(), "MatMul{M=1, K=8}");
}

TEST(PrimitiveCacheTest, LogsACreationWithItsReason) {
  setenv("RONDO_LOG_COMPILES", "1", 1);
  PrimitiveCache cache;
  std::atomic<int> made{0};
  testing::internal::CaptureStderr();
  ASSERT_TRUE(cache.GetOrCreate(Key(64), "x", Counting(&made)).ok());
  ASSERT_TRUE(cache.GetOrCreate(Key(1, 1), "y", Counting(&made)).ok());
  ASSERT_TRUE(cache.GetOrCreate(Key(65), "x", Counting(&made)).ok());
  ASSERT_TRUE(cache.GetOrCreate(Key(65, 1), "z", Counting(&made)).ok());
  std::string log = testing::internal::GetCapturedStderr();
  unsetenv("RONDO_LOG_COMPILES");
  EXPECT_NE(log.find("rondo: created MatMul for node \"x\" in "), std::string::npos) << log;
  EXPECT_NE(log.find("(own:test): first of its operation\n"), std::string::npos) << log;
  EXPECT_NE(log.find("for node \"x\" in "), std::string::npos) << log;
  EXPECT_NE(log.find("(own:test): key field M was 64, is 65\n"), std::string::npos) << log;
  EXPECT_NE(log.find("is 1\n"), std::string::npos) << log;  // z: one field from either of two entries
}

TEST(WeightCacheTest, PacksATensorOncePerLayout) {
  WeightCache cache;
  Tensor weight = Tensor::Make(DataType::kFloat, {4});
  int packs = 0;
  auto pack = [&]() -> absl::StatusOr<Tensor> {
    ++packs;
    return Tensor::Make(DataType::kUInt8, {64});
  };
  Tensor first = *cache.GetOrPack(weight, "a", pack);
  EXPECT_EQ(cache.GetOrPack(weight, "a", pack)->raw(), first.raw());
  EXPECT_NE(cache.GetOrPack(weight, "b", pack)->raw(), first.raw());
  EXPECT_NE(cache.GetOrPack(weight.Reshaped({2, 2}), "a", pack)->raw(), first.raw());
  EXPECT_EQ(packs, 3);
  EXPECT_EQ(cache.bytes(), 192);
}

}  // namespace
}  // namespace rondo
