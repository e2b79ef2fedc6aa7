#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "kvcache/kv_cache.h"
#include "tests/support/kv_rows.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

using testing::HasSubstr;

KvCacheConfig Config(DataType dtype = DataType::kFloat) {
  return {.layers = {{2, 5, 3}, {1, 16, 16, 20}},
          .sequences = 2,
          .decode_capacity = 300,
          .prompts = 1,
          .prefill_capacity = 100,
          .dtype = dtype,
          .max_new_rows = 70};
}
std::shared_ptr<KvCache> MakeCache(KvCacheConfig config) { return *KvCache::Create(std::move(config)); }
std::string Message(const absl::Status& status) { return std::string(status.message()); }
std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void WriteFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
int64_t FilesIn(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

class SessionFileTest : public testing::Test {
 protected:
  // A sequence of 67 shared and 130 own rows.
  std::shared_ptr<KvCache> Filled(DataType dtype = DataType::kFloat) {
    auto cache = MakeCache(Config(dtype));
    EXPECT_TRUE(WriteStep(*cache, 2, 67).ok());
    EXPECT_TRUE(cache->Attach(0, 2).ok());
    for (int64_t rows : {60, 69, 1}) EXPECT_TRUE(WriteStep(*cache, 0, rows).ok());
    return cache;
  }
  const std::string folder_ = NewTempDir();
  const std::string path_ = folder_ + "/session";
};

TEST_F(SessionFileTest, RestoredRowsAreTheSame) {
  for (DataType dtype : {DataType::kFloat, DataType::kFloat16, DataType::kBFloat16, DataType::kInt8}) {
    auto cache = Filled(dtype);
    ASSERT_TRUE(cache->Save(0, path_).ok());
    auto other = MakeCache(Config(dtype));
    ASSERT_TRUE(WriteStep(*other, 1, 5, 3).ok());
    absl::Status restored = other->Restore(1, path_);
    ASSERT_TRUE(restored.ok()) << restored;
    EXPECT_EQ(other->length(1), 197);
    EXPECT_EQ(other->prefix(1), -1);
    for (int layer = 0; layer < 2; ++layer) {
      const int64_t begin = cache->ViewSegment(layer, 0).begin, rows = 197 - begin;
      std::vector<float> k(2 * rows * 16), v(k.size()), k2(k.size()), v2(k.size());
      ASSERT_TRUE(cache->Read(0, layer, begin, rows, k.data(), v.data()).ok());
      ASSERT_TRUE(other->Read(1, layer, begin, rows, k2.data(), v2.data()).ok());
      EXPECT_EQ(k, k2) << DataTypeName(dtype);
      EXPECT_EQ(v, v2) << DataTypeName(dtype);
    }
  }
}

TEST_F(SessionFileTest, ARestoredSequenceGoesOn) {
  auto cache = Filled();
  ASSERT_TRUE(cache->Save(0, path_).ok());
  ASSERT_TRUE(cache->Restore(1, path_).ok());
  ASSERT_TRUE(WriteStep(*cache, 1, 3).ok());
  EXPECT_EQ(FirstWrongRow(*cache, 1, 181, 200), "");
  // A window's older rows were not saved.
  EXPECT_THAT(Message(cache->Truncate(1, 190)), HasSubstr("needs row 171 and keeps those from 178 on"));
}

TEST_F(SessionFileTest, AnEmptySequenceIsSavedAsWell) {
  auto cache = MakeCache(Config());
  ASSERT_TRUE(cache->Save(1, path_).ok());
  ASSERT_TRUE(WriteStep(*cache, 0, 9).ok());
  ASSERT_TRUE(cache->Restore(0, path_).ok());
  EXPECT_EQ(cache->length(0), 0);
}

TEST_F(SessionFileTest, SavingReplacesTheOldFileAndLeavesNothingElse) {
  auto cache = Filled();
  WriteFile(path_, "old");
  ASSERT_TRUE(cache->Save(0, path_).ok());
  EXPECT_EQ(FilesIn(folder_), 1);
  EXPECT_TRUE(cache->Restore(1, path_).ok());
}

TEST_F(SessionFileTest, ErrorsOfTheFileSystemAreNamed) {
  auto cache = Filled();
  EXPECT_THAT(Message(cache->Save(0, folder_ + "/none/session")), HasSubstr("cannot create a file beside"));
  EXPECT_THAT(Message(cache->Save(0, folder_)), HasSubstr("cannot rename a file to"));
  EXPECT_THAT(Message(cache->Restore(1, path_)), HasSubstr("cannot open"));
  EXPECT_THAT(Message(cache->Restore(1, folder_)), HasSubstr("is no regular file"));
  EXPECT_THAT(Message(cache->Save(9, path_)), HasSubstr("segment 9"));
  EXPECT_THAT(Message(cache->Restore(9, path_)), HasSubstr("segment 9"));
}

// A limit on the size of files stands for a full disk: the write fails half way in the same manner.
TEST_F(SessionFileTest, AFullDiskLeavesTheOldFileAndNothingElse) {
  auto cache = Filled();
  WriteFile(path_, "old");
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {10000, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const absl::Status saved = cache->Save(0, path_);
  setrlimit(RLIMIT_FSIZE, &old_limit);
  signal(SIGXFSZ, old_handler);
  EXPECT_THAT(Message(saved), HasSubstr("cannot write " + path_));
  EXPECT_EQ(ReadFile(path_), "old");
  EXPECT_EQ(FilesIn(std::filesystem::path(path_).parent_path()), 1);
}

TEST_F(SessionFileTest, EveryDamagedByteAndEveryLengthIsNoticed) {
  KvCacheConfig config = {.layers = {{1, 2, 1}}, .decode_capacity = 10};
  auto cache = MakeCache(config);
  ASSERT_TRUE(WriteStep(*cache, 0, 3).ok());
  ASSERT_TRUE(cache->Save(0, path_).ok());
  const std::string good = ReadFile(path_);
  const std::string bad_path = folder_ + "/bad";
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    WriteFile(bad_path, bad);
    EXPECT_FALSE(cache->Restore(0, bad_path).ok()) << "byte " << i;
    WriteFile(bad_path, good.substr(0, i));
    EXPECT_THAT(Message(cache->Restore(0, bad_path)), HasSubstr("is truncated")) << "length " << i;
  }
  WriteFile(bad_path, good + "x");
  EXPECT_THAT(Message(cache->Restore(0, bad_path)), HasSubstr("is damaged: it has"));
  WriteFile(bad_path, "something quite different that is long enough for a header, is it not?");
  EXPECT_THAT(Message(cache->Restore(0, bad_path)), HasSubstr("is no saved KV cache"));
  // The segment is as it was.
  EXPECT_EQ(FirstWrongRow(*cache, 0, 0, 3), "");
  EXPECT_EQ(cache->length(0), 3);
}

TEST_F(SessionFileTest, AnotherCacheIsRefused) {
  auto cache = Filled();
  ASSERT_TRUE(cache->Save(0, path_).ok());
  const auto error = [&](auto change, int segment = 0) {
    KvCacheConfig config = Config();
    change(config);
    return Message(MakeCache(config)->Restore(segment, path_));
  };
  EXPECT_THAT(error([](KvCacheConfig& c) { c.dtype = DataType::kInt8; }),
              HasSubstr("its rows are float32, expected int8"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers.pop_back(); }), HasSubstr("the number of layers is 2, expected 1"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[0].kv_heads = 3; }),
              HasSubstr("the number of heads of layer 0 is 2, expected 3"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[1].head_size = 8; }),
              HasSubstr("the head size of layer 1 is 16, expected 8"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[1].v_head_size = 8; }), HasSubstr("the head size of V of layer 1"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.layers[1].window = -1; }),
              HasSubstr("the window of layer 1 is 20, expected -1"));
  EXPECT_THAT(error([](KvCacheConfig& c) { c.decode_capacity = 196; }),
              HasSubstr("has 197 positions, sequence 0 holds 196 (raise --max-length)"));
  EXPECT_THAT(error([](KvCacheConfig&) {}, 2), HasSubstr("prompt 0 holds 100"));
  EXPECT_EQ(error([](KvCacheConfig& c) { c.decode_capacity = 197, c.max_new_rows = 1; }), "");
}

TEST_F(SessionFileTest, APrefixInUseIsNotRestored) {
  auto cache = Filled();
  ASSERT_TRUE(cache->Save(1, path_).ok());
  EXPECT_THAT(Message(cache->Restore(2, path_)), HasSubstr("prompt 0 cannot change"));
}

}  // namespace
}  // namespace rondo
