#include "ops/primitive_cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
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
  PrimitiveCache cache(CacheLimits{.entries = 2});
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
  PrimitiveCache cache(CacheLimits{.entries = 1});
  std::atomic<int> made{0};
  auto held = *cache.GetOrCreate(Key(1), "node", Counting(&made));
  ASSERT_TRUE(cache.GetOrCreate(Key(2), "node", Counting(&made)).ok());
  EXPECT_EQ(held->Implementation(), "own:test");
}

TEST(PrimitiveCacheTest, FailedCreationIsReportedAndTriedAgain) {
  PrimitiveCache cache;
  auto failing = []() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> { return ResourceExhausted("memory"); };
  EXPECT_EQ(cache.GetOrCreate(Key(1), "node", failing).status().message(), "memory");
  EXPECT_EQ(cache.stats().entries, 0);
  EXPECT_EQ(cache.stats().creations, 0);
  std::atomic<int> made{0};
  EXPECT_TRUE(cache.GetOrCreate(Key(1), "node", Counting(&made)).ok());
  EXPECT_EQ(cache.stats().misses, 2);
}

TEST(PrimitiveCacheTest, WhatTheLibraryRefusesIsAskedOnce) {
  PrimitiveCache cache;
  int asked = 0;
  auto refusing = [&]() -> absl::StatusOr<std::shared_ptr<const CachedPrimitive>> {
    ++asked;
    return Unimplemented("no such");
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cache.GetOrCreate(Key(1), "node", refusing).status().message(), "no such");
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(cache.stats().misses, 1);
  EXPECT_EQ(cache.stats().hits, 2);
  EXPECT_EQ(cache.stats().creations, 0);
  EXPECT_EQ(cache.report().keys[0].implementation, "refused");
}

TEST(PrimitiveCacheTest, BytesAreABoundToo) {
  PrimitiveCache cache(CacheLimits{.entries = 100, .bytes = 250});
  std::atomic<int> made{0};
  for (int m = 1; m <= 5; ++m) {
    ASSERT_TRUE(cache.GetOrCreate(Key(m), "node", Counting(&made)).ok());
    EXPECT_LE(cache.stats().bytes, 250);
  }
  EXPECT_EQ(cache.stats().entries, 2);
  EXPECT_EQ(cache.stats().evictions, 3);
  EXPECT_EQ(cache.report().operators[0].bytes, 200);
  EXPECT_EQ(cache.report().operators[0].evictions, 3);
}

TEST(PrimitiveCacheTest, WithoutRoomEveryLookupCreates) {
  PrimitiveCache cache(CacheLimits{.entries = 0});
  std::atomic<int> made{0};
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(cache.GetOrCreate(Key(1), "node", Counting(&made)).ok());
  EXPECT_EQ(made, 3);
  EXPECT_EQ(cache.stats().entries, 0);
  EXPECT_EQ(cache.stats().bytes, 0);
}

TEST(PrimitiveCacheTest, RacingThreadsWithARoomOfOneGetTheirKeys) {
  PrimitiveCache cache(CacheLimits{.entries = 1});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        auto got = cache.GetOrCreate(Key((i + t) % 7), "node", [] { return std::make_shared<const Made>(); });
        wrong += !got.ok() || *got == nullptr;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(cache.stats().entries, 1);
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, 2000);
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
  const CacheReport report = cache.report();
  ASSERT_EQ(report.keys.size(), 2);
  ASSERT_EQ(report.nodes.size(), 2);
  EXPECT_EQ(report.nodes[0].node, "a");
  EXPECT_EQ(report.nodes[0].misses, 2);
  EXPECT_EQ(report.nodes[1].hits, 1);
  ASSERT_EQ(report.operators.size(), 1);
  EXPECT_EQ(report.operators[0].operation, "MatMul");
  EXPECT_EQ(report.operators[0].creations, 2);
}

// ---- explanations ----

TEST(PrimitiveKeyTest, NamesTheFieldsThatDiffer) {
  const auto changes = [](const PrimitiveKey& is, const PrimitiveKey& was) {
    std::string text;
    for (const KeyFieldChange& c : is.ChangesFrom(was)) text += c.field + ":" + c.was + ">" + c.is + " ";
    return text;
  };
  EXPECT_EQ(changes(Key(65), Key(64)), "M:64>65 ");
  EXPECT_EQ(changes(Key(65, 9), Key(64)), "M:64>65 K:8>9 ");
  EXPECT_EQ(changes(Key(1).Add("isa", "x"), Key(1)), "isa:>x ");
  EXPECT_EQ(changes(Key(1), Key(1).Add("isa", "x")), "isa:x> ");
  EXPECT_EQ(changes(Key(1).Add("post_ops", ""), Key(1).Add("post_ops", "Add")), "post_ops:Add>none ");
  EXPECT_EQ(Key(1).ToString(), "MatMul{M=1, K=8}");
}

class ExplanationTest : public testing::Test {
 protected:
  // The explanation of this lookup's miss.
  std::string Miss(const PrimitiveKey& key, const char* node, const char* binding) {
    CompileScope scope;
    scope.Binding(binding);
    const size_t before = cache_.report().misses.size();
    EXPECT_TRUE(cache_.GetOrCreate(key, node, [] { return std::make_shared<const Made>(); }).ok());
    const std::vector<CompileEvent> misses = cache_.report().misses;
    return misses.size() == before ? "hit" : misses.back().Explanation();
  }
  PrimitiveCache cache_{CacheLimits{.entries = 3}};
};

TEST_F(ExplanationTest, TheNodesOwnKeysComeFirstThenTheFewestDifferences) {
  EXPECT_EQ(Miss(Key(64), "up", "prefill of 64 rows"), "MISS node up MatMul: first of its operation");
  EXPECT_EQ(Miss(Key(65), "up", "prefill of 65 rows"),
            "MISS node up MatMul: key field M was 64, is 65 (entry created for prefill of 64 rows)");
  EXPECT_EQ(Miss(Key(64), "up", "prefill of 64 rows"), "hit");
  EXPECT_EQ(Miss(Key(64, 9), "down", "prefill of 64 rows"),
            "MISS node down MatMul: key field K was 8, is 9 (entry created for node up, prefill of 64 rows)");
  // Its own key differs in two fields, that of `up` in one.
  EXPECT_EQ(Miss(Key(1, 8), "down", "decode"),
            "MISS node down MatMul: key field M was 64, is 1; key field K was 9, is 8 (entry created for prefill of 64 "
            "rows)");
}

TEST_F(ExplanationTest, AnEvictedKeyIsRemembered) {
  Miss(Key(64), "up", "a");
  for (int m = 1; m <= 3; ++m) Miss(Key(m), "up", "b");
  EXPECT_EQ(Miss(Key(64), "up", "c"), "MISS node up MatMul: was evicted (entry created for a)");
}

TEST_F(ExplanationTest, TheRecordIsBounded) {
  for (size_t m = 0; m < CompileLog::kMaxMisses + 100; ++m) Miss(Key(static_cast<int64_t>(m)), "up", "b");
  const std::vector<CompileEvent> misses = cache_.report().misses;
  EXPECT_EQ(misses.size(), CompileLog::kMaxMisses);
  EXPECT_EQ(misses.back().changes[0].is, std::to_string(CompileLog::kMaxMisses + 99));
  EXPECT_EQ(misses.back().implementation, "own:test");
}

TEST_F(ExplanationTest, ASealedThreadGetsTheExplanationAsAnError) {
  Miss(Key(64), "up", "prefill of 64 rows");
  std::atomic<int> made{0};
  {
    CompileScope scope;
    scope.Seal();
    EXPECT_TRUE(cache_.GetOrCreate(Key(64), "up", Counting(&made)).ok());
    const absl::Status error = cache_.GetOrCreate(Key(65), "up", Counting(&made)).status();
    EXPECT_EQ(error.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(error.message(),
              "not compiled ahead: MISS node up MatMul: key field M was 64, is 65 (entry created for prefill of 64 "
              "rows); compile this shape ahead, or allow misses");
    // Other threads may.
    std::thread([&] { EXPECT_TRUE(cache_.GetOrCreate(Key(66), "up", Counting(&made)).ok()); }).join();
  }
  EXPECT_EQ(made, 1);
  EXPECT_TRUE(cache_.GetOrCreate(Key(65), "up", Counting(&made)).ok());
}

TEST_F(ExplanationTest, TheLogOfCompilesHasOneLinePerMiss) {
  setenv("RONDO_LOG_COMPILES", "1", 1);
  testing::internal::CaptureStderr();
  Miss(Key(64), "x", "prefill");
  Miss(Key(65), "x\n", "decode");
  Miss(Key(65), "x", "decode");
  const std::string log = testing::internal::GetCapturedStderr();
  unsetenv("RONDO_LOG_COMPILES");
  EXPECT_NE(log.find("rondo: MISS node x MatMul: first of its operation; made in "), std::string::npos) << log;
  EXPECT_NE(log.find(" ms (own:test)\n"), std::string::npos) << log;
  EXPECT_NE(log.find("MISS node x\\n MatMul: key field M was 64, is 65 (entry created for node x, prefill); made in"),
            std::string::npos)
      << log;
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2);
}

TEST_F(ExplanationTest, AListenerIsToldOfHitsMissesAndPacking) {
  std::vector<CompileEvent> events;
  cache_.log().SetListener([&](const CompileEvent& event) { events.push_back(event); });
  Miss(Key(64), "x", "prefill");
  Miss(Key(64), "y", "prefill");
  WeightCache weights(&cache_.log());
  const Tensor weight = Tensor::Make(DataType::kFloat, {4});
  const PackedForm form = {"packed", DataType::kUInt8, {16}};
  ASSERT_TRUE(weights.GetOrPack({weight}, form, [](Tensor&) { return absl::OkStatus(); }).ok());
  cache_.log().SetListener(nullptr);
  Miss(Key(65), "x", "prefill");
  ASSERT_EQ(events.size(), 3);
  EXPECT_FALSE(events[0].hit);
  EXPECT_EQ(events[0].bytes, 100);
  EXPECT_TRUE(events[1].hit);
  EXPECT_EQ(events[1].node, "y");
  EXPECT_EQ(events[2].kind, CompileEvent::Kind::kWeights);
  EXPECT_EQ(events[2].bytes, 16);
}

TEST(WeightCacheTest, PacksATensorOncePerLayout) {
  WeightCache cache;
  Tensor weight = Tensor::Make(DataType::kFloat, {4});
  int packs = 0;
  const auto pack = [&](absl::Span<const Tensor> sources, const char* layout) {
    return *cache.GetOrPack(sources, {layout, DataType::kUInt8, {64}}, [&](Tensor&) {
      ++packs;
      return absl::OkStatus();
    });
  };
  const Tensor first = pack({weight}, "a");
  EXPECT_EQ(pack({weight}, "a").raw(), first.raw());
  EXPECT_NE(pack({weight}, "b").raw(), first.raw());
  EXPECT_NE(pack({weight.Reshaped({2, 2})}, "a").raw(), first.raw());
  // One weight with two tables of scales makes two packed forms.
  const Tensor scales = Tensor::Make(DataType::kFloat, {4}), others = Tensor::Make(DataType::kFloat, {4});
  EXPECT_NE(pack({weight, scales}, "a").raw(), pack({weight, others}, "a").raw());
  EXPECT_EQ(packs, 5);
  EXPECT_EQ(cache.bytes(), 5 * 64u);
}

}  // namespace
}  // namespace rondo
