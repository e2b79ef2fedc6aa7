#include "cachedir/cache_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "cachedir/checked_file.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

void SetTimes(const std::string& path, int64_t seconds) {
  const timespec times[2] = {{seconds, 0}, {seconds, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

SourceFile Source(const std::string& path) {
  struct stat info;
  EXPECT_EQ(stat(path.c_str(), &info), 0);
  return {path, FileVersion::Of(info), nullptr, nullptr};
}

Digest DigestNow(const CacheDirectory& directory, const std::string& path) {
  const auto remembered = directory.Remembered(path);
  const auto digests = directory.Digests({Source(path)}, remembered.value_or(std::vector<DigestedFile>()));
  EXPECT_TRUE(digests.ok()) << digests.status();
  return digests.ok() ? digests->front().digest : Digest();
}

// ---- opening ----

TEST(CacheDirectoryTest, IsMadeWithItsParentsAndKeepsItsSeed) {
  const std::string path = NewTempDir() + "/a/b";
  EXPECT_FALSE(CacheDirectory::Open(path, false).ok());
  const auto made = CacheDirectory::Open(path, true);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(CacheDirectory::Open(path, false)->seed(), made->seed());
  EXPECT_THAT(ReadTestFile(path + "/CACHEDIR.TAG"), testing::StartsWith("Signature: 8a477f597d28d172789f06886806bc55"));
}

TEST(CacheDirectoryTest, ThreadsThatMakeItAtOnceAgreeOnOneSeed) {
  for (int round = 0; round < 20; ++round) {
    const std::string path = NewTempDir() + "/cache";
    std::vector<uint64_t> seeds(4);
    std::vector<std::thread> threads;
    for (uint64_t& seed : seeds) {
      threads.emplace_back([&] {
        const auto directory = CacheDirectory::Open(path, true);
        ASSERT_TRUE(directory.ok()) << directory.status();
        seed = directory->seed();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(seeds, testing::Each(seeds[0]));
  }
}

TEST(CacheDirectoryTest, WhatIsNoCacheDirectoryIsRefused) {
  const std::string folder = NewTempDir();
  WriteTestFile(folder + "/thesis.txt", "x");
  EXPECT_THAT(Message(CacheDirectory::Open(folder, true).status()), HasSubstr("holds other files (thesis.txt)"));
  EXPECT_FALSE(std::filesystem::exists(folder + "/CACHEDIR.TAG"));
  EXPECT_FALSE(CacheDirectory::Open(folder + "/thesis.txt", true).ok());
  EXPECT_FALSE(CacheDirectory::Open("", true).ok());
  EXPECT_FALSE(CacheDirectory::Open(folder + "/thesis.txt/below", true).ok());
  EXPECT_FALSE(CacheDirectory::Open("/proc/rondo", true).ok());

  const std::string other = NewTempDir();  // another program's cache
  WriteTestFile(other + "/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
  EXPECT_THAT(Message(CacheDirectory::Open(other, true).status()), HasSubstr("expected the tag of a rondo cache"));

  const std::string open = NewTempDir();
  ASSERT_EQ(chmod(open.c_str(), 0777), 0);
  EXPECT_THAT(Message(CacheDirectory::Open(open, true).status()), HasSubstr("can be written by everybody"));
}

// ---- digests of model files ----

TEST(DigestsTest, AreThoseOfTheContentWhateverTheNameAndTheTimes) {
  const std::string folder = NewTempDir();
  const auto directory = CacheDirectory::Open(folder + "/cache", true);
  WriteTestFile(folder + "/a", std::string(3 << 20, 'a'));
  WriteTestFile(folder + "/b", std::string(3 << 20, 'a'));
  WriteTestFile(folder + "/c", std::string(3 << 20, 'a') + "b");
  EXPECT_EQ(DigestNow(*directory, folder + "/a"), DigestNow(*directory, folder + "/b"));
  EXPECT_NE(DigestNow(*directory, folder + "/a"), DigestNow(*directory, folder + "/c"));
  const auto other = CacheDirectory::Open(folder + "/other", true);
  EXPECT_NE(DigestNow(*directory, folder + "/a"), DigestNow(*other, folder + "/a"));
  EXPECT_FALSE(directory->Digests({}, {}).ok());
}

// Files must be two seconds old before their version stands for their content.
TEST(DigestsSlowTest, AVersionIsReadOnceAndAChangeIsSeenWhateverTimesItSets) {
  const std::string folder = NewTempDir(), path = folder + "/model";
  const auto directory = CacheDirectory::Open(folder + "/cache", true);
  WriteTestFile(path, "first");
  SetTimes(path, 1'000'000'000);
  DigestNow(*directory, path);
  EXPECT_FALSE(std::filesystem::exists(folder + "/cache/digests")) << "a version that may still change";
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  const Digest first = DigestNow(*directory, path);
  ASSERT_TRUE(std::filesystem::exists(folder + "/cache/digests"));
  // It is known now: the file is not even there any more.
  const SourceFile before = Source(path);
  ASSERT_EQ(rename(path.c_str(), (path + "x").c_str()), 0);
  EXPECT_EQ(directory->Digests({before}, *directory->Remembered(path))->front().digest, first);
  ASSERT_EQ(rename((path + "x").c_str(), path.c_str()), 0);
  // As many bytes, the same time, the same inode.
  const int fd = open(path.c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(fd, "F", 1, 0), 1);
  close(fd);
  SetTimes(path, 1'000'000'000);
  EXPECT_NE(DigestNow(*directory, path), first);
  // A model that was read before the change is not what lies there now.
  EXPECT_THAT(Message(CacheDirectory::Open(folder + "/new", true)->Digests({before}, {}).status()),
              HasSubstr("has changed since the model was read"));
}

TEST(DigestsTest, ADamagedRecordIsMadeAnew) {
  const std::string folder = NewTempDir(), path = folder + "/model";
  const auto directory = CacheDirectory::Open(folder + "/cache", true);
  WriteTestFile(path, "content");
  const Digest digest = DigestNow(*directory, path);
  std::filesystem::create_directory(folder + "/cache/digests");
  for (const auto& item : std::filesystem::directory_iterator(folder + "/cache/digests")) {
    WriteTestFile(item.path(), "{");
  }
  EXPECT_EQ(DigestNow(*directory, path), digest);
}

// ---- locks ----

TEST(EntryLockTest, OneHolderAtATime) {
  const std::string entry = NewTempDir() + "/entry";
  {
    const auto lock = EntryLock::Take(entry, 0);
    ASSERT_TRUE(lock.ok()) << lock.status();
    EXPECT_TRUE(absl::IsUnavailable(EntryLock::Take(entry, 0.02).status()));
  }
  EXPECT_TRUE(EntryLock::Take(entry, 0).ok());
}

TEST(EntryLockTest, WhoWaitedForARemovedEntryMakesItAnew) {
  const std::string entry = NewTempDir() + "/entry";
  std::optional<EntryLock> lock = *EntryLock::Take(entry, 0);
  std::thread waiter([&] {
    const auto taken = EntryLock::Take(entry, 10);
    ASSERT_TRUE(taken.ok()) << taken.status();
    EXPECT_TRUE(std::filesystem::exists(entry + "/lock"));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  std::filesystem::remove_all(entry);
  lock.reset();
  waiter.join();
}

// ---- manifests ----

Manifest SomeManifest() {
  Manifest manifest;
  manifest.identity.files = {{"/a/model.onnx", 12, {1, 2}}, {"/a/model.onnx.data", 1 << 20, {3, 4}}};
  manifest.identity.machine = "avx512; oneDNN 2.6";
  manifest.identity.version = "0.1.0+abc";
  manifest.created = 123;
  PrimitiveKey key("MatMul");
  key.Add("M", 64).Add("post_ops", "");
  manifest.keys = {{key, "/layers.0/up \"\xff", "prefill of 64 rows", "brg:avx512"}};
  manifest.shapes = {{{"x", {1, 3}}, {"y", {}}}};
  return manifest;
}

TEST(ManifestTest, IsReadAsItWasWritten) {
  const Manifest manifest = SomeManifest();
  const auto read = Manifest::FromJson(manifest.ToJson());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->identity.Name(5), manifest.identity.Name(5));
  EXPECT_EQ(read->keys[0].key.ToString(), manifest.keys[0].key.ToString());
  EXPECT_EQ(read->keys[0].binding, "prefill of 64 rows");
  EXPECT_EQ(read->shapes, manifest.shapes);
  EXPECT_EQ(read->created, 123);
}

TEST(ManifestTest, WhatIsNoManifestIsAnError) {
  const std::string good = SomeManifest().ToJson();
  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[]"), std::string("null"), good.substr(0, good.size() / 2),
        std::string(100000, '['), std::string("{\"rondo\": 1}")}) {
    EXPECT_FALSE(Manifest::FromJson(bad).ok()) << bad.substr(0, 40);
  }
  // Every value replaced by one of another kind.
  for (size_t at = good.find(": "); at != std::string::npos; at = good.find(": ", at + 1)) {
    const size_t end = good.find_first_of(",\n", at);
    for (const char* other : {"null", "[[1]]", "{\"a\": {}}", "-1e300"}) {
      std::string changed = good.substr(0, at + 2) + other + good.substr(end);
      (void)Manifest::FromJson(changed);  // an error or not, never a crash
    }
  }
}

TEST(ManifestTest, TheNameIsOfFilesMachineAndVersionAndNotOfPaths) {
  const EntryIdentity identity = SomeManifest().identity;
  EntryIdentity other = identity;
  other.files[0].path = "/elsewhere";
  EXPECT_EQ(other.Name(5), identity.Name(5));
  EXPECT_NE(identity.Name(6), identity.Name(5));
  other.files[1].digest.low ^= 1;
  EXPECT_NE(other.Name(5), identity.Name(5));
  other = identity;
  other.machine += "x";
  EXPECT_NE(other.Name(5), identity.Name(5));
  other = identity;
  other.version += "x";
  EXPECT_NE(other.Name(5), identity.Name(5));
  other = identity;
  other.weights_as = "int8";
  EXPECT_NE(other.Name(5), identity.Name(5));
  Manifest manifest = SomeManifest();
  EXPECT_EQ(Manifest::FromJson(manifest.ToJson())->identity.weights_as, "");
  manifest.identity.weights_as = "int4";
  EXPECT_EQ(Manifest::FromJson(manifest.ToJson())->identity.Name(5), manifest.identity.Name(5));
}

TEST(ManifestTest, AddsWhatIsNewWithinBounds) {
  Manifest manifest = SomeManifest();
  EXPECT_FALSE(manifest.Add(manifest.keys, manifest.shapes));
  std::vector<KnownKey> keys;
  std::vector<PlanShapes> shapes;
  for (size_t i = 0; i < Manifest::kMaxKeys + 10; ++i) {
    PrimitiveKey key("MatMul");
    key.Add("M", static_cast<int64_t>(i));
    keys.push_back({key, "n", "b", "i"});
    shapes.push_back({{"x", {static_cast<int64_t>(i)}}});
  }
  EXPECT_TRUE(manifest.Add(keys, shapes));
  EXPECT_EQ(manifest.keys.size(), Manifest::kMaxKeys);
  EXPECT_EQ(manifest.shapes.size(), Manifest::kMaxShapes);
  EXPECT_LT(manifest.ToJson().size(), Manifest::kMaxBytes);
}

// ---- upkeep ----

class PruneTest : public testing::Test {
 protected:
  // An entry of so many bytes that was used so many days ago.
  std::string MakeEntry(uint64_t number, size_t bytes, int days) {
    Manifest manifest = SomeManifest();
    manifest.identity.files[0].digest.low = number;
    const std::string name = manifest.identity.Name(directory_.seed()).ToHex();
    const std::string path = directory_.EntryPath(name);
    EXPECT_TRUE(EntryLock::Take(path, 0).ok());
    EXPECT_TRUE(WriteCheckedText(path + "/manifest", directory_.seed(), manifest.ToJson()).ok());
    WriteTestFile(path + "/weights-0.abcdef", std::string(bytes, 'x'));
    SetTimes(path + "/lock", time(nullptr) - days * 86400);
    return name;
  }
  std::vector<std::string> Prune(const PruneOptions& options) {
    std::vector<std::string> removed;
    const auto pruned = PruneEntries(directory_, options);
    EXPECT_TRUE(pruned.ok()) << pruned.status();
    for (const PrunedEntry& row : *pruned) {
      removed.push_back(row.entry.name);
      EXPECT_EQ(std::filesystem::exists(directory_.EntryPath(row.entry.name)), options.dry_run || !row.error.empty());
    }
    return removed;
  }
  CacheDirectory directory_ = *CacheDirectory::Open(NewTempDir() + "/cache", true);
};

TEST_F(PruneTest, RemovesWhatIsOldThenWhatIsBeyondTheSize) {
  const std::string a = MakeEntry(1, 1000, 1), b = MakeEntry(2, 100000, 5), c = MakeEntry(3, 1000, 40);
  EXPECT_THAT(Prune({}), testing::IsEmpty());
  EXPECT_THAT(Prune({.max_age_seconds = 30 * 86400, .dry_run = true}), testing::ElementsAre(c));
  EXPECT_THAT(Prune({.max_age_seconds = 30 * 86400}), testing::ElementsAre(c));
  EXPECT_THAT(Prune({.max_bytes = 50000}), testing::ElementsAre(b));
  EXPECT_THAT(Prune({.max_bytes = 0}), testing::ElementsAre(a));
}

TEST_F(PruneTest, RemovesWhatIsDamagedUnlessTold) {
  const std::string a = MakeEntry(1, 10, 1), b = MakeEntry(2, 10, 1);
  WriteTestFile(directory_.EntryPath(b) + "/manifest", "x");
  EXPECT_THAT(Prune({.damaged = false}), testing::IsEmpty());
  EXPECT_THAT(Prune({}), testing::ElementsAre(b));
}

TEST_F(PruneTest, AnEntryThatIsBeingWrittenStays) {
  const std::string a = MakeEntry(1, 10, 50);
  const auto lock = EntryLock::Take(directory_.EntryPath(a), 0);
  const auto pruned = PruneEntries(directory_, {.max_age_seconds = 1});
  ASSERT_EQ(pruned->size(), 1u);
  EXPECT_THAT(pruned->front().error, HasSubstr("is being written by another process"));
  EXPECT_TRUE(std::filesystem::exists(directory_.EntryPath(a) + "/manifest"));
}

TEST_F(PruneTest, OtherFoldersAreLeftAlone) {
  std::filesystem::create_directory(directory_.path() + "/mine");
  WriteTestFile(directory_.path() + "/mine/file", "x");
  EXPECT_THAT(Prune({.max_age_seconds = 0, .max_bytes = 0}), testing::IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/mine/file"));
}

}  // namespace
}  // namespace rondo
