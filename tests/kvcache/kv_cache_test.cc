#include "kvcache/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "graph/numeric.h"
#include "tests/support/kv_rows.h"
#include "tools/allocation_counter.h"

namespace rondo {
namespace {

using testing::HasSubstr;

std::shared_ptr<KvCache> MakeCache(KvCacheConfig config) {
  absl::StatusOr<std::shared_ptr<KvCache>> cache = KvCache::Create(std::move(config));
  EXPECT_TRUE(cache.ok()) << cache.status();
  return cache.ok() ? *std::move(cache) : nullptr;
}
std::string CreateError(KvCacheConfig config) {
  return std::string(KvCache::Create(std::move(config)).status().message());
}
std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Two layers of different shapes, neither of them round.
KvCacheConfig TwoLayers() {
  return {
      .layers = {{2, 5, 3}, {1, 16, 20}}, .sequences = 2, .decode_capacity = 100, .prompts = 1, .prefill_capacity = 70};
}
KvCacheConfig Windowed(int64_t window, int64_t max_new_rows) {
  return {.layers = {{2, 4, 4, window}, {1, 4, 6}},
          .sequences = 3,
          .decode_capacity = 1000,
          .prompts = 1,
          .prefill_capacity = 500,
          .max_new_rows = max_new_rows};
}

TEST(KvCacheTest, CreatesEmptySegmentsOfTheConfiguredCapacity) {
  auto cache = MakeCache(TwoLayers());
  EXPECT_EQ(cache->num_segments(), 3);
  for (int s = 0; s < 3; ++s) EXPECT_EQ(cache->length(s), 0);
  EXPECT_EQ(cache->capacity(0), 100);
  EXPECT_EQ(cache->capacity(2), 70);
}

TEST(KvCacheTest, PrefillThenUpdatesAtAPositionReadBack) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 0, 61).ok());
  EXPECT_EQ(cache->length(0), 61);
  for (int i = 0; i < 39; ++i) ASSERT_TRUE(WriteStep(*cache, 0, 1).ok());
  EXPECT_EQ(cache->length(0), 100);
  EXPECT_EQ(FirstWrongRow(*cache, 0, 0, 100), "");
  EXPECT_EQ(FirstWrongRow(*cache, 0, 63, 65), "");
  EXPECT_EQ(cache->length(1), 0);
}

TEST(KvCacheTest, ViewShowsTheRowsOfTheStep) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 1, 7).ok());
  ASSERT_TRUE(cache->BeginStep({1, 0}, 4, {3, 0}).ok());
  const KvView view = cache->View(1, 0);
  EXPECT_EQ(view.begin, 0);
  EXPECT_EQ(view.start, 7);
  EXPECT_EQ(view.end, 10);
  EXPECT_EQ(view.kv_heads, 1);
  EXPECT_EQ(view.head_size, 16);
  EXPECT_EQ(view.v_head_size, 20);
  // K is transposed within its tile, V is rows.
  const KvTile tile = KvTileAt(view, view.own, 0, 0);
  EXPECT_EQ(reinterpret_cast<const float*>(tile.k)[3 * kKvTile + 6], KvElement(0, 1, 0, 6, 3));
  EXPECT_EQ(reinterpret_cast<const float*>(tile.v)[6 * view.v_row + 3], -KvElement(0, 1, 0, 6, 3));
  EXPECT_EQ(cache->View(0, 1).end, 0);
}

TEST(KvCacheTest, LengthsAdvanceOnlyWhenTheStepEnds) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(cache->BeginStep({0, 1}, 8, {8, 5}).ok());
  EXPECT_EQ(cache->length(0), 0);
  ASSERT_TRUE(cache->EndStep().ok());
  EXPECT_EQ(cache->length(0), 8);
  EXPECT_EQ(cache->length(1), 5);
  EXPECT_THAT(Message(cache->EndStep()), HasSubstr("without BeginStep"));
}

TEST(KvCacheTest, AStepThatIsNotEndedNeverHappened) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 0, 10).ok());
  ASSERT_TRUE(cache->BeginStep({0}, 5, {5}).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 2).ok());
  EXPECT_EQ(cache->length(0), 12);
  EXPECT_EQ(FirstWrongRow(*cache, 0, 0, 12), "");
}

TEST(KvCacheTest, ABatchRowMayHaveNoSequence) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(cache->BeginStep({-1, 0}, 1, {0, 1}).ok());
  EXPECT_EQ(cache->View(0, 0).end, 0);
  ASSERT_TRUE(cache->EndStep().ok());
  EXPECT_EQ(cache->length(0), 1);
}

TEST(KvCacheTest, CapacityIsCheckedBeforeAnythingIsWritten) {
  auto cache = MakeCache({.layers = {{1, 4, 4}}, .sequences = 4, .decode_capacity = 1024});
  ASSERT_TRUE(WriteStep(*cache, 3, 1020).ok());
  EXPECT_EQ(Message(cache->BeginStep({0, 3}, 8, {8, 8})),
            "sequence 3: position 1020 + 8 rows, the cache holds 1024 (raise --max-length)");
  EXPECT_FALSE(cache->in_step());
  EXPECT_EQ(cache->length(0), 0);
  EXPECT_TRUE(cache->BeginStep({0, 3}, 8, {8, 4}).ok());
}

TEST(KvCacheTest, StepsThatMakeNoSenseAreRefused) {
  auto cache = MakeCache(TwoLayers());
  EXPECT_THAT(Message(cache->BeginStep({0, 0}, 1, {1, 1})), HasSubstr("sequence 0 is twice in one step"));
  EXPECT_THAT(Message(cache->BeginStep({7}, 1, {1})), HasSubstr("segment 7 does not exist: expected 0 to 2"));
  EXPECT_THAT(Message(cache->BeginStep({-1}, 1, {1})), HasSubstr("segment -1 does not exist"));
  EXPECT_THAT(Message(cache->BeginStep({0}, 1, {2})), HasSubstr("batch row 0 writes 2 rows: expected 0 to 1"));
  EXPECT_THAT(Message(cache->BeginStep({0}, 1, {-1})), HasSubstr("writes -1 rows"));
  EXPECT_THAT(Message(cache->BeginStep({0, 1}, 1, {1})), HasSubstr("2 segments and 1 counts"));
  EXPECT_THAT(Message(cache->BeginStep({}, 1, {})), HasSubstr("0 segments"));
}

TEST(KvCacheTest, WriteChecksWhatItIsGiven) {
  auto cache = MakeCache(TwoLayers());
  const KvLayer& layer = cache->config().layers[0];
  const DenseKv dense = MakeKv(layer, 0, 0, 0, 1);
  KvRows k = dense.KRows(layer, 1), v = dense.VRows(layer, 1);
  EXPECT_THAT(Message(cache->Write(0, 0, k, v)), HasSubstr("without BeginStep"));
  ASSERT_TRUE(cache->BeginStep({0}, 1, {1}).ok());
  EXPECT_THAT(Message(cache->Write(2, 0, k, v)), HasSubstr("layer 2 does not exist: it has 2"));
  EXPECT_THAT(Message(cache->Write(-1, 0, k, v)), HasSubstr("layer -1"));
  EXPECT_THAT(Message(cache->Write(0, 1, k, v)), HasSubstr("batch row 1 does not exist"));
  k.dtype = DataType::kInt8;
  EXPECT_THAT(Message(cache->Write(0, 0, k, v)), HasSubstr("rows of int8 and float32"));
}

TEST(KvCacheTest, ReadRefusesRowsThatDoNotExist) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 0, 5).ok());
  EXPECT_THAT(Message(cache->Read(0, 0, 3, 3, nullptr, nullptr)),
              HasSubstr("rows [3, 6) of sequence 0, layer 0: it keeps [0, 5)"));
  EXPECT_THAT(Message(cache->Read(0, 2, 0, 1, nullptr, nullptr)), HasSubstr("layer 2"));
  EXPECT_THAT(Message(cache->Read(3, 0, 0, 1, nullptr, nullptr)), HasSubstr("segment 3"));
  EXPECT_TRUE(cache->Read(0, 0, 0, 5, nullptr, nullptr).ok());
}

// ---- Shared prefixes ----

TEST(KvCacheTest, ContinuationsShareOnePrefillWithoutACopy) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 2, 67, 9).ok());
  for (int s : {0, 1}) {
    ASSERT_TRUE(cache->Attach(s, 2).ok());
    EXPECT_EQ(cache->length(s), 67);
    EXPECT_EQ(cache->prefix(s), 2);
    EXPECT_EQ(cache->capacity(s), 167);
  }
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(WriteStep(*cache, 0, 20, 1).ok());
    ASSERT_TRUE(WriteStep(*cache, 1, 30, 2).ok());
  }
  for (int s : {0, 1}) {
    EXPECT_EQ(FirstWrongRow(*cache, s, 0, 67, 9), "");
    EXPECT_EQ(FirstWrongRow(*cache, s, 67, cache->length(s), s + 1), "");
  }
  EXPECT_EQ(cache->Info().bytes_copied, 0u);
}

TEST(KvCacheTest, AContinuationHasItsFullCapacityWhereverThePrefixEnds) {
  auto cache = MakeCache(TwoLayers());
  for (int64_t prefix : {1, 63, 64, 65, 70}) {
    ASSERT_TRUE(cache->Reset(0).ok());
    ASSERT_TRUE(cache->Reset(2).ok());
    ASSERT_TRUE(WriteStep(*cache, 2, prefix).ok());
    ASSERT_TRUE(cache->Attach(0, 2).ok());
    ASSERT_TRUE(WriteStep(*cache, 0, 100).ok());
    EXPECT_EQ(FirstWrongRow(*cache, 0, 0, prefix + 100), "");
    EXPECT_THAT(Message(WriteStep(*cache, 0, 1)), HasSubstr(absl::StrCat("the cache holds ", prefix + 100)));
  }
}

TEST(KvCacheTest, APrefixInUseCannotChange) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 2, 10).ok());
  ASSERT_TRUE(cache->Attach(0, 2).ok());
  EXPECT_THAT(Message(cache->Reset(2)), HasSubstr("prompt 0 cannot change: 1 segment continues it"));
  EXPECT_THAT(Message(cache->Truncate(2, 5)), HasSubstr("prompt 0 cannot change"));
  EXPECT_THAT(Message(cache->Copy(1, 2)), HasSubstr("prompt 0 cannot change"));
  EXPECT_THAT(Message(cache->BeginStep({2}, 1, {1})), HasSubstr("prompt 0 cannot grow"));
  EXPECT_THAT(Message(cache->Attach(2, 1)), HasSubstr("prompt 0 cannot change"));
  ASSERT_TRUE(cache->Reset(0).ok());
  EXPECT_TRUE(cache->Reset(2).ok());
}

TEST(KvCacheTest, APrefixHasNoPrefixItself) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(cache->Attach(0, 2).ok());
  EXPECT_THAT(Message(cache->Attach(1, 0)), HasSubstr("sequence 0 continues prompt 0 and cannot be continued itself"));
  EXPECT_THAT(Message(cache->Attach(1, 1)), HasSubstr("cannot continue itself"));
  EXPECT_THAT(Message(cache->Attach(1, 5)), HasSubstr("segment 5"));
}

TEST(KvCacheTest, CopyTakesPrefixAndOwnRows) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 2, 30).ok());
  ASSERT_TRUE(cache->Attach(0, 2).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 80).ok());
  ASSERT_TRUE(cache->Copy(0, 1).ok());
  EXPECT_EQ(cache->prefix(1), 2);
  EXPECT_EQ(cache->Info().bytes_copied, 80 * cache->Info().row_bytes);
  ASSERT_TRUE(WriteStep(*cache, 0, 5, 7).ok());
  ASSERT_TRUE(WriteStep(*cache, 1, 5).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 1, 0, 115), "");
  EXPECT_EQ(FirstWrongRow(*cache, 0, 110, 115, 7), "");
  // Both hold on to the prefix.
  ASSERT_TRUE(cache->Reset(0).ok());
  EXPECT_THAT(Message(cache->Reset(2)), HasSubstr("1 segment continues it"));
  EXPECT_THAT(Message(cache->Copy(1, 1)), HasSubstr("onto itself"));
}

TEST(KvCacheTest, CopyRefusesWhatDoesNotFit) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 0, 90).ok());
  EXPECT_THAT(Message(cache->Copy(0, 2)), HasSubstr("sequence 0 has 90 rows, prompt 0 holds 70"));
}

TEST(KvCacheTest, TruncateRewinds) {
  auto cache = MakeCache(TwoLayers());
  ASSERT_TRUE(WriteStep(*cache, 2, 10).ok());
  ASSERT_TRUE(cache->Attach(0, 2).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 50, 3).ok());
  ASSERT_TRUE(cache->Truncate(0, 20).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 5).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 0, 10, 20, 3), "");
  EXPECT_EQ(FirstWrongRow(*cache, 0, 20, 25), "");
  EXPECT_THAT(Message(cache->Truncate(0, 26)), HasSubstr("cannot be rewound to position 26: it has 25"));
  EXPECT_THAT(Message(cache->Truncate(0, -1)), HasSubstr("position -1"));
  EXPECT_THAT(Message(cache->Truncate(0, 9)), HasSubstr("the first 10 belong to prompt 0"));
}

// ---- Windows ----

TEST(KvCacheTest, ARingKeepsWhatTheNextQueriesSeeAcrossManyWraps) {
  for (int64_t window : {1, 2, 63, 64, 65, 100}) {
    for (int64_t chunk : {1, 7, 64}) {
      auto cache = MakeCache(Windowed(window, chunk));
      for (int64_t length = 0; length + chunk <= 1000; length += chunk) {
        ASSERT_TRUE(WriteStep(*cache, 0, chunk).ok());
        const int64_t now = length + chunk;
        const KvView view = cache->ViewSegment(0, 0);
        ASSERT_EQ(view.begin, std::max<int64_t>(0, now - window + 1));
        ASSERT_EQ(FirstWrongRow(*cache, 0, view.begin, now), "") << "window " << window << ", length " << now;
      }
    }
  }
}

TEST(KvCacheTest, ARingIsSmallerThanTheCapacity) {
  KvCacheConfig config = Windowed(100, 8);
  config.layers.pop_back();
  const uint64_t ring = MakeCache(config)->Info().decode_bytes;
  config.layers[0].window = -1;
  EXPECT_LT(ring, MakeCache(config)->Info().decode_bytes / 5);
}

TEST(KvCacheTest, AContinuationSeesThePrefixThroughTheWindow) {
  auto cache = MakeCache(Windowed(100, 64));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(WriteStep(*cache, 3, 60).ok());  // wraps
  ASSERT_TRUE(cache->Attach(0, 3).ok());
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(WriteStep(*cache, 0, 1).ok());
    const int64_t begin = cache->ViewSegment(0, 0).begin;
    ASSERT_EQ(FirstWrongRow(*cache, 0, begin, cache->length(0)), "") << "length " << cache->length(0);
  }
}

TEST(KvCacheTest, ARingIsRewoundOnlyWhileItsRowsAreThere) {
  auto cache = MakeCache(Windowed(50, 15));  // a ring of 64 rows
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(WriteStep(*cache, 0, 5).ok());
  EXPECT_THAT(Message(cache->Truncate(0, 100)),
              HasSubstr("cannot be rewound to position 100: layer 0 with a window of 50 needs row 51 and keeps those "
                        "from 136 on"));
  EXPECT_EQ(cache->length(0), 200);
  ASSERT_TRUE(cache->Truncate(0, 190).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 0, 141, 190), "");
  // The rows beyond were overwritten once; going back step by step does not bring older ones back.
  EXPECT_FALSE(cache->Truncate(0, 180).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 15).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 0, cache->ViewSegment(0, 0).begin, 205), "");
  EXPECT_TRUE(cache->Truncate(0, 0).ok() || cache->Reset(0).ok());
}

TEST(KvCacheTest, AnAbandonedStepCountsAsWrittenWhenARingIsRewound) {
  auto cache = MakeCache(Windowed(50, 15));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(WriteStep(*cache, 0, 10).ok());
  ASSERT_TRUE(cache->BeginStep({0}, 15, {15}).ok());  // may overwrite rows below 151
  EXPECT_FALSE(cache->Truncate(0, 195).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 0, 151, 200), "");
}

TEST(KvCacheTest, CopyBetweenRingsOfDifferentSizes) {
  KvCacheConfig config = Windowed(40, 30);
  config.decode_capacity = 40;  // its ring holds all, the prompt's wraps
  auto cache = MakeCache(config);
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(WriteStep(*cache, 3, 3).ok());
  ASSERT_TRUE(cache->Copy(3, 0).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 4).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 0, 1, 40), "");
}

TEST(KvCacheTest, AStepLongerThanARingAllowsIsRefused) {
  auto cache = MakeCache(Windowed(50, 15));
  EXPECT_THAT(Message(cache->BeginStep({0}, 20, {16})), HasSubstr("16 rows in one step, the cache's windows allow 15"));
  EXPECT_TRUE(cache->BeginStep({0}, 20, {15}).ok());
}

TEST(KvCacheTest, AppendTakesRowsComputedElsewhere) {
  auto cache = MakeCache(Windowed(50, 1));
  std::vector<DenseKv> dense;
  std::vector<KvRows> k, v;
  for (int i = 0; i < 2; ++i) dense.push_back(MakeKv(cache->config().layers[i], i, 0, 0, 300));
  for (int i = 0; i < 2; ++i) {
    k.push_back(dense[i].KRows(cache->config().layers[i], 300));
    v.push_back(dense[i].VRows(cache->config().layers[i], 300));
  }
  ASSERT_TRUE(cache->Append(1, 300, k, v).ok());  // more than the ring holds
  EXPECT_EQ(cache->length(1), 300);
  EXPECT_EQ(FirstWrongRow(*cache, 1, 251, 300), "");
  ASSERT_TRUE(WriteStep(*cache, 1, 1).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 1, 252, 301), "");
  EXPECT_THAT(Message(cache->Append(3, 501, k, v)), HasSubstr("prompt 0: position 0 + 501 rows, the cache holds 500"));
  EXPECT_THAT(Message(cache->Append(1, 1, absl::MakeSpan(k).subspan(1), v)),
              HasSubstr("rows of 1 and 2 layers: expected 2"));
}

// ---- Types ----

TEST(KvCacheTest, EachTypeReadsBackWithinItsRounding) {
  const KvLayer layer{2, 24, 40};
  const Tensor unused;
  for (const auto& [dtype, tolerance] : {std::pair{DataType::kFloat, 0.0},
                                         {DataType::kFloat16, 0x1p-11},
                                         {DataType::kBFloat16, 0x1p-8},
                                         {DataType::kInt8, 0.5 / 127}}) {
    auto cache = MakeCache({.layers = {layer}, .decode_capacity = 100, .dtype = dtype});
    DenseKv dense;
    uint32_t x = 1;
    for (int64_t i = 0; i < 2 * 70 * 40; ++i) {
      x = x * 1664525 + 1013904223;
      dense.v.push_back(static_cast<float>(x >> 8) / (1 << 24) - 0.5f);
      dense.k.push_back(3 * dense.v.back());
    }
    ASSERT_TRUE(cache->BeginStep({0}, 70, {70}).ok());
    ASSERT_TRUE(cache->Write(0, 0, dense.KRows(layer, 70), dense.VRows(layer, 70)).ok());
    ASSERT_TRUE(cache->EndStep().ok());
    std::vector<float> k(2 * 70 * 24), v(2 * 70 * 40);
    ASSERT_TRUE(cache->Read(0, 0, 0, 70, k.data(), v.data()).ok());
    // A row's largest is at most 1.5; int8's step is by row, the others' by element.
    for (size_t i = 0; i < k.size(); ++i) ASSERT_NEAR(k[i], dense.k[i], tolerance * 1.5001) << DataTypeName(dtype);
    for (size_t i = 0; i < v.size(); ++i) ASSERT_NEAR(v[i], dense.v[i], tolerance * 0.5001) << DataTypeName(dtype);
  }
}

TEST(KvCacheTest, Int8KeepsZeroRowsAndShowsWhatIsNotFinite) {
  const KvLayer layer{1, 4, 4};
  auto cache = MakeCache({.layers = {layer}, .decode_capacity = 10, .dtype = DataType::kInt8});
  DenseKv dense;
  dense.k = {0, 0, 0, 0, 1e-44f, 0, 0, 0};
  dense.v = {1, std::numeric_limits<float>::infinity(), 0, 0, 3e38f, -3e38f, 0, 1};
  ASSERT_TRUE(cache->BeginStep({0}, 2, {2}).ok());
  ASSERT_TRUE(cache->Write(0, 0, dense.KRows(layer, 2), dense.VRows(layer, 2)).ok());
  ASSERT_TRUE(cache->EndStep().ok());
  float k[8], v[8];
  ASSERT_TRUE(cache->Read(0, 0, 0, 2, k, v).ok());
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(k[i], 0, 1e-37);
  EXPECT_TRUE(std::isnan(v[0]));
  EXPECT_FLOAT_EQ(v[4], 3e38f);
  EXPECT_FLOAT_EQ(v[5], -3e38f);
}

TEST(KvCacheTest, RowsOfHalfTypesAreTaken) {
  const KvLayer layer{1, 2, 2};
  auto cache = MakeCache({.layers = {layer}, .decode_capacity = 10});
  const Float16 k[2] = {Float16(1.5f), Float16(-2.0f)};
  const Float16 v[2] = {Float16(0.25f), Float16(8.0f)};
  ASSERT_TRUE(cache->BeginStep({0}, 1, {1}).ok());
  ASSERT_TRUE(cache->Write(0, 0, {k, DataType::kFloat16, 2, 2}, {v, DataType::kFloat16, 2, 2}).ok());
  ASSERT_TRUE(cache->EndStep().ok());
  float rk[2], rv[2];
  ASSERT_TRUE(cache->Read(0, 0, 0, 1, rk, rv).ok());
  EXPECT_EQ(rk[1], -2.0f);
  EXPECT_EQ(rv[0], 0.25f);
}

// ---- Info, memory, errors ----

TEST(KvCacheTest, InfoCountsBytesAndRows) {
  auto cache = MakeCache({.layers = std::vector<KvLayer>(24, KvLayer{2, 64, 64}),
                          .sequences = 2,
                          .decode_capacity = 129,
                          .prompts = 1,
                          .prefill_capacity = 65});
  KvCacheInfo info = cache->Info();
  EXPECT_EQ(info.layers, 24);
  EXPECT_EQ(info.segments, 3);
  EXPECT_EQ(info.row_bytes, 24u * 2 * 2 * 64 * 4);
  EXPECT_EQ(info.rows_capacity, 2 * 129 + 65);
  EXPECT_EQ(info.bytes, info.decode_bytes + info.prefill_bytes);
  // Tiles of 64 rows, and room for a continuation that begins within one.
  EXPECT_EQ(info.decode_bytes, 2 * 192 * info.row_bytes);
  EXPECT_EQ(info.prefill_bytes, 128 * info.row_bytes);
  EXPECT_EQ(info.scale_bytes, 0u);
  ASSERT_TRUE(WriteStep(*cache, 2, 10).ok());
  ASSERT_TRUE(cache->Attach(0, 2).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 3).ok());
  info = cache->Info();
  EXPECT_EQ(info.rows_used, 13);
  EXPECT_EQ(info.bytes_written, 13 * info.row_bytes);
  EXPECT_EQ(info.steps, 2u);

  info = MakeCache({.layers = {{2, 64, 64}}, .decode_capacity = 65, .dtype = DataType::kInt8})->Info();
  EXPECT_EQ(info.row_bytes, 2u * (64 + 64 + 8));
  EXPECT_EQ(info.bytes, 128 * info.row_bytes);
  EXPECT_EQ(info.scale_bytes, 128u * 2 * 8);
}

TEST(KvCacheTest, StepsAllocateNothing) {
  KvCacheConfig config = Windowed(50, 4);
  config.dtype = DataType::kInt8;
  auto cache = MakeCache(config);
  const DenseKv dense = MakeKv(config.layers[1], 0, 0, 0, 8);
  const int segments[] = {2, 0};
  const int64_t valid[] = {4, 3};
  ASSERT_TRUE(cache->Attach(2, 3).ok());
  const int64_t before = AllocationCount();
  for (int i = 0; i < 50; ++i) {
    bool ok = cache->BeginStep(segments, 4, valid).ok();
    for (int64_t b = 0; b < 2; ++b) {
      ok &= cache->Write(1, b, dense.KRows(config.layers[1], 4), dense.VRows(config.layers[1], 4)).ok();
      ok &= cache->View(1, b).end == cache->step_start(b) + valid[b];
    }
    ok &= cache->EndStep().ok();
    if (!ok) FAIL() << "step " << i;
  }
  EXPECT_EQ(AllocationCount() - before, 0);
}

TEST(KvCacheTest, ConfigsThatMakeNoSenseAreRefused) {
  const KvCacheConfig good = TwoLayers();
  const auto error = [&](auto change) {
    KvCacheConfig config = good;
    change(config);
    return CreateError(config);
  };
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers.clear(); }), HasSubstr("the number of layers is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.dtype = DataType::kInt32; }),
              HasSubstr("element type int32: expected float32"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.sequences = -1; }), HasSubstr("the number of sequences is -1"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.sequences = c.prompts = 0; }), HasSubstr("the number of segments is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.decode_capacity = 0; }), HasSubstr("the decode capacity is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.prefill_capacity = -5; }), HasSubstr("the prefill capacity is -5"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.max_new_rows = 0; }), HasSubstr("max_new_rows is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[1].kv_heads = 0; }),
              HasSubstr("the number of heads of layer 1 is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[0].head_size = -3; }), HasSubstr("the head size of layer 0 is -3"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[0].v_head_size = int64_t{1} << 62; }),
              HasSubstr("the head size of V"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[0].window = 0; }), HasSubstr("the window of layer 0 is 0"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.decode_capacity = std::numeric_limits<int64_t>::max(); }),
              HasSubstr("the decode capacity is 9223372036854775807"));
}

TEST(KvCacheTest, TooMuchMemoryIsAnErrorThatNamesTheBytes) {
  KvCacheConfig config = TwoLayers();
  config.decode_capacity = int64_t{1} << 38;
  EXPECT_THAT(CreateError(config),
              HasSubstr("one sequence of 274877906944 positions in 2 layers needs more than the limit"));
  config.decode_capacity = int64_t{1} << 32;
  config.sequences = 1 << 10;
  EXPECT_THAT(CreateError(config), HasSubstr("exceed the limit"));
  config.sequences = 8;
  const std::string error = CreateError(config);
  EXPECT_THAT(error, HasSubstr("bytes are needed (8 sequences of 4294967296 positions"));
  EXPECT_THAT(error, HasSubstr("are available: lower the lengths or the batch"));
}

}  // namespace
}  // namespace rondo
