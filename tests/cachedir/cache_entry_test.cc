#include "cachedir/cache_entry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CacheEntryTest : public testing::Test {
 protected:
  CacheEntryTest() {
    std::string content;
    for (int i = 0; i < 100000; ++i) content.push_back(static_cast<char>(i * 31 + i / 77));
    WriteTestFile(model_, content);
  }

  SourceFile Source(bool mapped) {
    struct stat info;
    EXPECT_EQ(stat(model_.c_str(), &info), 0);
    SourceFile file{model_, FileVersion::Of(info), nullptr, nullptr};
    if (!mapped) return file;
    bytes_ = ReadTestFile(model_);
    file.data = reinterpret_cast<const uint8_t*>(bytes_.data());
    return file;
  }
  std::shared_ptr<CacheEntry> Open(bool mapped = false, int threads = 2) {
    std::shared_ptr<CacheEntry> entry = CacheEntry::Open(directory_, model_, "", threads);
    entry->Bind({Source(mapped)});
    return entry;
  }
  static Tensor Filled(size_t bytes, int value) {
    Tensor tensor = Tensor::Make(DataType::kUInt8, {static_cast<int64_t>(bytes)});
    std::memset(tensor.mutable_raw(), value, bytes);
    return tensor;
  }
  static PackedForm FormOf(const Tensor& packed, const std::string& layout = "form") {
    return {layout, packed.dtype(), packed.dims()};
  }
  std::string WeightsPath(int number) {
    return directory_ + "/" + Open()->report().entry + "/weights-" + std::to_string(number);
  }

  const std::string directory_ = NewTempDir() + "/cache";
  const std::string model_ = NewTempDir() + "/model.onnx";
  std::string bytes_;
  const Tensor source_ = Filled(5000, 3), packed_ = Filled(3 << 20, 9);
};

TEST_F(CacheEntryTest, WhatOneProcessAddsTheNextFinds) {
  {
    const auto entry = Open();
    EXPECT_FALSE(entry->Find({source_}, FormOf(packed_)).defined());
    entry->Add({source_}, FormOf(packed_), packed_);
    ASSERT_TRUE(entry->Save({}, {}).ok());
    EXPECT_GT(entry->report().bytes_written, 3 << 20);
  }
  const auto entry = Open();
  const Tensor found = entry->Find({source_.Clone()}, FormOf(packed_));
  ASSERT_TRUE(found.defined());
  EXPECT_EQ(std::memcmp(found.raw(), packed_.raw(), packed_.bytes()), 0);
  EXPECT_EQ(entry->report().bytes_found, 3 << 20);
  // Nothing was new.
  ASSERT_TRUE(entry->Save({}, {}).ok());
  EXPECT_EQ(entry->report().write_seconds, 0);
  EXPECT_THAT(entry->report().problems, IsEmpty());
}

// What is remembered of the files is a guess until they are read.
class CacheEntrySlowTest : public CacheEntryTest {};
TEST_F(CacheEntrySlowTest, AModelThatChangedWhileItWasOpenedIsAnotherEntry) {
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));  // younger files are not remembered
  PrimitiveCache primitives;
  PrimitiveKey key("MatMul");
  ASSERT_TRUE(absl::IsUnimplemented(primitives
                                        .GetOrCreate(key, "up",
                                                     [] {
                                                       return absl::StatusOr<std::shared_ptr<const CachedPrimitive>>(
                                                           absl::UnimplementedError("no"));
                                                     })
                                        .status()));
  std::string first;
  {
    const auto entry = Open();
    first = entry->report().entry;
    entry->Add({source_}, FormOf(packed_), packed_);
    ASSERT_TRUE(entry->Save(primitives.Made(), {}).ok());
  }
  const auto entry = CacheEntry::Open(directory_, model_, "", 2);
  EXPECT_EQ(entry->report().entry, first);
  EXPECT_EQ(entry->report().keys_known, 1);
  WriteTestFile(model_, "another model");
  entry->Bind({Source(false)});
  EXPECT_NE(entry->report().entry, first);
  EXPECT_FALSE(entry->Find({source_}, FormOf(packed_)).defined());
  EXPECT_EQ(entry->report().keys_known, 0);
  EXPECT_THAT(entry->keys(), IsEmpty());
}

TEST_F(CacheEntryTest, OnlyTheSameSourcesInTheSameFormAreFound) {
  const Tensor scales = Filled(10, 1);
  auto entry = Open();
  entry->Add({source_, scales}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  entry = Open();
  EXPECT_TRUE(entry->Find({source_, scales}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({source_}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({scales, source_}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({source_, Filled(10, 2)}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({source_, Tensor()}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({source_.Reshaped({50, 100}), scales}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({source_, scales}, FormOf(packed_, "other")).defined());
  EXPECT_FALSE(entry->Find({source_, scales}, {"form", DataType::kUInt8, {(3 << 20) + 1}}).defined());
  EXPECT_FALSE(entry->Find({source_, scales}, {"form", DataType::kInt8, packed_.dims()}).defined());
}

TEST_F(CacheEntryTest, AMappedTensorIsToldByItsPlaceInTheFile) {
  const auto at = [&](size_t offset) {
    return Tensor::Borrow(DataType::kUInt8, {64}, bytes_.data() + offset, nullptr);
  };
  auto entry = Open(/*mapped=*/true);
  entry->Add({at(128)}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  entry = Open(true);
  // Not by its content: nobody looks at it.
  const std::string content = bytes_;
  bytes_[130] ^= 1;
  EXPECT_TRUE(entry->Find({at(128)}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({at(129)}, FormOf(packed_)).defined());
  EXPECT_FALSE(entry->Find({at(128).Clone()}, FormOf(packed_)).defined());
}

TEST_F(CacheEntryTest, ADamagedWeightIsNotUsedAndTheFileIsReplacedWithWhatIsGood) {
  const Tensor other = Filled(100, 4), other_packed = Filled(200, 5);
  auto entry = Open();
  entry->Add({source_}, FormOf(packed_), packed_);
  entry->Add({other}, FormOf(other_packed), other_packed);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  const std::string path = WeightsPath(0);
  std::string bytes = ReadTestFile(path);
  bytes[bytes.find(std::string(1000, 9)) + (2 << 20)] ^= 1;
  WriteTestFile(path, bytes);

  entry = Open();
  EXPECT_FALSE(entry->Find({source_}, FormOf(packed_)).defined());
  EXPECT_THAT(entry->report().problems, ElementsAre(HasSubstr("weights-0 is damaged: block ")));
  entry->Add({source_}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(path));

  entry = Open();
  EXPECT_TRUE(entry->Find({source_}, FormOf(packed_)).defined());
  EXPECT_TRUE(entry->Find({other}, FormOf(other_packed)).defined());
  EXPECT_THAT(entry->report().problems, IsEmpty());
}

TEST_F(CacheEntryTest, TwoProcessesKeepOneCopyAndBothAdditions) {
  const Tensor mine = Filled(100, 4), yours = Filled(100, 5);
  const auto a = Open(), b = Open();
  a->Add({source_}, FormOf(packed_), packed_);
  a->Add({mine}, FormOf(packed_), packed_);
  b->Add({source_}, FormOf(packed_), packed_);
  b->Add({yours}, FormOf(packed_), packed_);
  std::thread other([&] { EXPECT_TRUE(b->Save({}, {{{"x", {2}}}}).ok()); });
  EXPECT_TRUE(a->Save({}, {{{"x", {1}}}}).ok());
  other.join();
  const auto entry = Open();
  for (const Tensor& source : {source_, mine, yours}) EXPECT_TRUE(entry->Find({source}, FormOf(packed_)).defined());
  EXPECT_EQ(entry->shapes().size(), 2u);
  const auto stored = ListEntries(*CacheDirectory::Open(directory_, false), true, nullptr);
  ASSERT_EQ(stored->size(), 1u);
  EXPECT_EQ(stored->front().weights, 3);
  EXPECT_THAT(stored->front().problems, IsEmpty());
}

TEST_F(CacheEntryTest, WhatKilledWritersLeftIsSweptAway) {
  auto entry = Open();
  entry->Add({source_}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  const std::string folder = directory_ + "/" + entry->report().entry;
  WriteTestFile(folder + "/weights-1.Ab3dEf", "half");
  WriteTestFile(folder + "/manifest.Ab3dEf", "half");
  WriteTestFile(folder + "/notes", "not ours");
  entry = Open();
  EXPECT_TRUE(entry->Find({source_}, FormOf(packed_)).defined());
  EXPECT_THAT(entry->report().problems, IsEmpty());
  entry->Add({Filled(7, 7)}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/weights-1.Ab3dEf"));
  EXPECT_FALSE(std::filesystem::exists(folder + "/manifest.Ab3dEf"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/notes"));
  EXPECT_TRUE(std::filesystem::exists(folder + "/weights-1"));
}

TEST_F(CacheEntryTest, WhoHasNothingToWriteSweepsUpButWaitsForNobody) {
  auto entry = Open();
  entry->Add({source_}, FormOf(packed_), packed_);
  ASSERT_TRUE(entry->Save({}, {}).ok());
  const std::string folder = directory_ + "/" + entry->report().entry;
  const std::string unfinished = folder + "/weights-1.Ab3dEf";
  WriteTestFile(unfinished, "half");
  WriteTestFile(folder + "/notes.Ab3dEf", "not ours");
  {
    const auto writer = EntryLock::Take(folder, 0);
    ASSERT_TRUE(writer.ok());
    entry = Open();
    ASSERT_TRUE(entry->Save({}, {}).ok());
    EXPECT_TRUE(std::filesystem::exists(unfinished)) << "it is the writer's";
  }
  ASSERT_TRUE(entry->Save({}, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(unfinished));
  EXPECT_TRUE(std::filesystem::exists(folder + "/notes.Ab3dEf"));
  EXPECT_EQ(entry->report().write_seconds, 0);
  EXPECT_THAT(entry->report().problems, IsEmpty());
}

TEST_F(CacheEntryTest, WithoutAUsableDirectoryItSaysWhyAndFindsNothing) {
  const std::string folder = NewTempDir();
  WriteTestFile(folder + "/file", "x");
  for (const std::string& bad : {folder, folder + "/file", std::string("/proc/rondo")}) {
    const auto entry = CacheEntry::Open(bad, model_, "", 1);
    entry->Bind({Source(false)});
    EXPECT_EQ(entry->report().problems.size(), 1u) << bad;
    entry->Add({source_}, FormOf(packed_), packed_);
    EXPECT_FALSE(entry->Find({source_}, FormOf(packed_)).defined());
    EXPECT_TRUE(entry->Save({}, {}).ok());
  }
}

TEST_F(CacheEntryTest, WhatCannotBeWrittenIsToldOnce) {
  auto entry = Open();
  entry->Add({source_}, FormOf(packed_), packed_);
  WriteTestFile(directory_ + "/" + entry->report().entry, "in the way");
  EXPECT_FALSE(entry->Save({}, {}).ok());
  EXPECT_TRUE(entry->Save({}, {}).ok());
  EXPECT_THAT(entry->report().problems, ElementsAre(HasSubstr("not saved: ")));
}

TEST_F(CacheEntryTest, KeysOfEarlierProcessesExplainMisses) {
  const auto key = [](int64_t rows) {
    PrimitiveKey k("MatMul");
    return k.Add("M", rows).Add("K", 8);
  };
  const auto miss = [&](PrimitiveCache& cache, int64_t rows) {
    CompileScope scope;
    scope.Binding("prefill");
    EXPECT_TRUE(
        cache
            .GetOrCreate(
                key(rows), "up",
                [] { return absl::StatusOr<std::shared_ptr<const CachedPrimitive>>(absl::UnimplementedError("no")); })
            .status()
            .code() == absl::StatusCode::kUnimplemented);
    return cache.log().misses().back();
  };
  PrimitiveCache first;
  EXPECT_EQ(miss(first, 64).Explanation(), "MISS node up MatMul: first of its operation");
  ASSERT_TRUE(Open()->Save(first.Made(), {}).ok());

  PrimitiveCache second;
  const auto entry = Open();
  EXPECT_EQ(entry->report().keys_known, 1);
  second.Recall(entry->keys());
  EXPECT_EQ(miss(second, 65).Explanation(),
            "MISS node up MatMul: key field M was 64, is 65 (entry created for prefill by an earlier process)");
  EXPECT_EQ(miss(second, 64).Explanation(),
            "MISS node up MatMul: is to be made in each process (entry created for prefill by an earlier process)");
  EXPECT_TRUE(second.log().misses().back().earlier);
  // What this process has made explains better.
  EXPECT_EQ(miss(second, 66).Explanation(),
            "MISS node up MatMul: key field M was 64, is 66 (entry created for prefill)");
}

}  // namespace
}  // namespace rondo
