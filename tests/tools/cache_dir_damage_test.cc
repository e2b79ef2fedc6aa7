// A cache directory in which something is wrong, as a user meets it: the results are right, a warning names the file,
// and where it can be put right the run does so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "cachedir/cache_directory.h"
#include "cachedir/checked_file.h"
#include "tests/support/cached_runs.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// A directory with entries of two models; the larger has weights of two blocks each.
struct Good {
  CachedCommand command;
  CachedRun first;
  std::string dir, entry, other_entry;  // `entry`, `other_entry`: names
};
const Good& GoodDirectory() {
  static const Good* const good = [] {
    auto* g = new Good;
    g->dir = NewTempDir() + "/cache";
    const CachedCommand other = CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 64, false));
    other.With(g->dir);
    g->other_entry = fs::path(EntryIn(g->dir)).filename();
    g->command = CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 520, /*external=*/true));
    g->first = g->command.With(g->dir);
    EXPECT_THAT(g->first.warnings, IsEmpty());
    EXPECT_EQ(g->first.results, g->command.With("none").results);
    for (const auto& item : fs::directory_iterator(g->dir)) {
      const std::string name = item.path().filename();
      if (name.size() == 32 && name != g->other_entry) g->entry = name;
    }
    return g;
  }();
  return *good;
}

class CacheDirDamageTest : public testing::Test {
 protected:
  CacheDirDamageTest() : good_(GoodDirectory()), dir_(CopyOf(good_.dir)), entry_(dir_ + "/" + good_.entry) {}

  // A run that may neither hang nor fail.
  CachedRun Run() const {
    RunningProgram program = good_.command.Start(dir_);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(25);
    while (!program.Ended() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_TRUE(program.Ended()) << "it hangs";
    if (!program.Ended()) program.Kill();
    CachedRun run = good_.command.Read(program.Wait());
    EXPECT_EQ(run.program.exit_code, 0) << run.program.signal << run.program.err;
    EXPECT_EQ(run.results, good_.first.results);
    return run;
  }

  void ExpectVerifyNames(const std::string& path) const {
    const ProgramResult verify = Verify(dir_);
    EXPECT_EQ(verify.exit_code, 1) << verify.out << verify.err;
    EXPECT_THAT(verify.out, HasSubstr(path));
  }

  // Nothing is wrong any more, and nothing is there twice.
  void ExpectWhole() const {
    const ProgramResult verify = Verify(dir_);
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    EXPECT_THAT(LeftoversIn(dir_), IsEmpty());
    EXPECT_EQ(WeightsIn(dir_), WeightsIn(good_.dir));
    const CachedRun run = Run();
    EXPECT_THAT(run.warnings, IsEmpty());
    EXPECT_EQ(run.packed, 0);
    EXPECT_EQ(run.found, good_.first.packed);
  }

  // `path` is damaged: it is named before and in one warning, and put right by the run. Returns the run.
  CachedRun ExpectMended(const std::string& path) const {
    ExpectVerifyNames(path);
    CachedRun run = Run();
    EXPECT_THAT(run.warnings, SizeIs(1)) << run.program.err;
    EXPECT_THAT(run.warnings, Each(HasSubstr(path)));
    ExpectWhole();
    return run;
  }

  // `path` is not for rondo to put right: it is named before, by every run, and afterwards.
  void ExpectToldEveryTime(const std::string& path) const {
    ExpectVerifyNames(path);
    for (int i = 0; i < 2; ++i) {
      const CachedRun run = Run();
      EXPECT_THAT(run.warnings, Not(IsEmpty()));
      EXPECT_THAT(run.warnings, Each(HasSubstr(path)));
    }
    ExpectVerifyNames(path);
  }

  void Reset() const {
    fs::remove_all(dir_);
    fs::copy(good_.dir, dir_, fs::copy_options::recursive);
  }

  uint64_t Seed() const { return CacheDirectory::Open(dir_, false)->seed(); }

  const Good& good_;
  const std::string dir_, entry_;  // paths
};

// Many of them.
class SlowCacheDirDamageTest : public CacheDirDamageTest {};

// ---- weights ----

TEST_F(CacheDirDamageTest, AByteInABlockCostsThatWeightOnly) {
  const std::string path = entry_ + "/weights-0";
  const size_t size = fs::file_size(path);
  // In the second block of the last weight, in the first block of one in the middle, in the first one.
  for (const size_t at : {size - 1, size / 2, size_t{8192}}) {
    SCOPED_TRACE(at);
    FlipByte(path, at);
    const CachedRun run = ExpectMended(path);
    EXPECT_EQ(run.packed, 1);
    EXPECT_EQ(run.found, good_.first.packed - 1);
    EXPECT_THAT(run.warnings, Each(HasSubstr("block ")));
    EXPECT_FALSE(fs::exists(path));
    EXPECT_TRUE(fs::exists(entry_ + "/weights-1"));
    Reset();
  }
}

TEST_F(CacheDirDamageTest, AllBlocksOfAFileAreDamaged) {
  const std::string path = entry_ + "/weights-0";
  std::string bytes = ReadTestFile(path);
  std::fill(bytes.begin() + 4096, bytes.end(), '\0');
  WriteTestFile(path, bytes);
  EXPECT_EQ(ReadTestFile(path).size(), bytes.size());
  const ProgramResult verify = Verify(dir_);
  EXPECT_THAT(verify.out, HasSubstr(path));
  EXPECT_EQ(ExpectMended(path).packed, good_.first.packed);
}

TEST_F(CacheDirDamageTest, DamageToAFileAsAWholeCostsTheFile) {
  const std::string path = entry_ + "/weights-0";
  FlipByte(path, 160);  // in the table
  EXPECT_EQ(ExpectMended(path).packed, good_.first.packed);
  Reset();
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_EQ(ExpectMended(path).packed, good_.first.packed);
  Reset();
  FlipByte(entry_ + "/manifest", 100);
  EXPECT_EQ(ExpectMended(entry_ + "/manifest").packed, 0);
}

TEST_F(SlowCacheDirDamageTest, AByteInHeaderOrTableCostsTheFile) {
  const std::string path = entry_ + "/weights-0";
  // Magic, entry, number of weights, size of the table, of the file, digests, reserved; rows, names and digests.
  for (const size_t at : {0, 16, 32, 40, 48, 56, 64, 112, 119, 128, 160, 176, 200, 260, 400}) {
    SCOPED_TRACE(at);
    FlipByte(path, at);
    EXPECT_EQ(ExpectMended(path).packed, good_.first.packed);
    Reset();
  }
}

TEST_F(SlowCacheDirDamageTest, ATruncatedFileIsReplaced) {
  const std::string path = entry_ + "/weights-0";
  const size_t size = fs::file_size(path);
  for (const size_t length : {size_t{0}, size_t{1}, size_t{127}, size_t{128}, size_t{300}, size_t{5000},
                              size_t{1} << 20, size - 4096, size - 1, size + 1, size + 4096}) {
    SCOPED_TRACE(length);
    fs::resize_file(path, length);
    ExpectMended(path);
    Reset();
  }
}

TEST_F(CacheDirDamageTest, OtherBytesAreReplaced) {
  const std::string path = entry_ + "/weights-0";
  for (const std::string& bytes : {std::string(4 << 20, '\0'), std::string(3000, '\xff'), std::string("text\n")}) {
    WriteTestFile(path, bytes);
    ExpectMended(path);
    Reset();
  }
}

TEST_F(CacheDirDamageTest, WeightsOfAnotherEntryAreReplaced) {
  const std::string path = entry_ + "/weights-0";
  fs::copy_file(dir_ + "/" + good_.other_entry + "/weights-0", path, fs::copy_options::overwrite_existing);
  EXPECT_THAT(ExpectMended(path).warnings, Each(HasSubstr("belongs to entry " + good_.other_entry)));
  // Beside the right ones they are only removed.
  Reset();
  fs::copy_file(dir_ + "/" + good_.other_entry + "/weights-0", entry_ + "/weights-7");
  EXPECT_EQ(ExpectMended(entry_ + "/weights-7").packed, 0);
  EXPECT_FALSE(fs::exists(entry_ + "/weights-7"));
}

TEST_F(CacheDirDamageTest, WeightsOfAnotherDirectoryAreReplaced) {
  const std::string other = NewTempDir() + "/cache";
  good_.command.With(other);
  const std::string path = entry_ + "/weights-0";
  fs::copy_file(EntryIn(other) + "/weights-0", path, fs::copy_options::overwrite_existing);
  ExpectMended(path);
}

TEST_F(CacheDirDamageTest, WeightsOfAnotherFormatStayAndAreToldOf) {
  const std::string path = entry_ + "/weights-0";
  for (const size_t at : {8, 12}) {  // version, byte order
    FlipByte(path, at);
    ExpectToldEveryTime(path);
    const CachedRun run = Run();
    EXPECT_EQ(run.packed, 0);
    EXPECT_EQ(run.found, good_.first.packed);
    EXPECT_TRUE(fs::exists(path));
    Reset();
  }
}

TEST_F(CacheDirDamageTest, TheSameFileTwiceIsNoProblem) {
  fs::copy_file(entry_ + "/weights-0", entry_ + "/weights-3");
  EXPECT_THAT(Run().warnings, IsEmpty());
  // One of them damaged: the other is used, and one is left.
  FlipByte(entry_ + "/weights-0", fs::file_size(entry_ + "/weights-0") - 1);
  EXPECT_EQ(ExpectMended(entry_ + "/weights-0").packed, 0);
}

TEST_F(CacheDirDamageTest, FilesWithOddNamesAreNoWeights) {
  const std::vector<std::string> names = {"weights-",
                                          "weights-01",
                                          "weights-x",
                                          "weights--1",
                                          "weights-9223372036854775807",
                                          "weights-99999999999999999999",
                                          "readme"};
  for (const std::string& name : names) WriteTestFile(entry_ + "/" + name, "text");
  fs::remove(entry_ + "/weights-0");
  EXPECT_EQ(Run().packed, good_.first.packed);
  ExpectWhole();
  EXPECT_TRUE(fs::exists(entry_ + "/weights-0"));
}

TEST_F(CacheDirDamageTest, WhatIsNoFileInPlaceOfWeights) {
  const std::string path = entry_ + "/weights-0";
  for (const Replacement& replacement : {Replacement(PutFifo), Replacement(PutDanglingLink)}) {
    Replace(path, replacement);
    ExpectMended(path);
    Reset();
  }
  // A link to what would be right is none of ours either.
  fs::rename(path, dir_ + "/elsewhere");
  fs::create_symlink(dir_ + "/elsewhere", path);
  ExpectMended(path);
  EXPECT_TRUE(fs::exists(dir_ + "/elsewhere"));
  Reset();
  Replace(path, PutFolder);
  ExpectToldEveryTime(path);
  EXPECT_EQ(Run().packed, 0);
  EXPECT_TRUE(fs::exists(path + "/file"));
}

// ---- the manifest ----

TEST_F(SlowCacheDirDamageTest, ADamagedManifestIsReplaced) {
  const std::string path = entry_ + "/manifest";
  const std::string good = ReadTestFile(path);
  std::vector<std::string> bad = {"",
                                  "x",
                                  good.substr(0, 16),
                                  good.substr(0, 17),
                                  good.substr(0, good.size() / 2),
                                  good + "x",
                                  std::string(good.size(), '\0'),
                                  std::string(3000, '\xff')};
  for (const size_t at : {size_t{0}, size_t{16}, size_t{17}, good.size() / 2, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 0x41);
  }
  for (const std::string& bytes : bad) {
    SCOPED_TRACE(testing::PrintToString(bytes.substr(0, 40)) + " " + std::to_string(bytes.size()));
    WriteTestFile(path, bytes);
    EXPECT_EQ(ExpectMended(path).packed, 0);
  }
}

TEST_F(SlowCacheDirDamageTest, AManifestWithAGoodDigestAndABadTextIsReplaced) {
  const std::string path = entry_ + "/manifest";
  for (const std::string& text :
       {std::string(), std::string("text"), std::string("{}"), std::string("[1, 2]"),
        std::string(R"({"rondo": 1, "machine": [], "created": "x", "files": {}, "shapes": 3, "keys": null})"),
        std::string(200000, '[')}) {
    SCOPED_TRACE(text.substr(0, 20));
    ASSERT_TRUE(WriteCheckedText(path, Seed(), text).ok());
    EXPECT_EQ(ExpectMended(path).packed, 0);
  }
}

TEST_F(CacheDirDamageTest, TheManifestOfAnotherEntryIsReplaced) {
  const std::string path = entry_ + "/manifest";
  fs::copy_file(dir_ + "/" + good_.other_entry + "/manifest", path, fs::copy_options::overwrite_existing);
  EXPECT_THAT(ExpectMended(path).warnings, Each(HasSubstr("is of another entry")));
}

TEST_F(CacheDirDamageTest, AMissingManifestIsWrittenAnew) {
  fs::remove(entry_ + "/manifest");
  const CachedRun run = Run();
  EXPECT_THAT(run.warnings, IsEmpty());
  EXPECT_EQ(run.packed, 0);
  EXPECT_TRUE(fs::exists(entry_ + "/manifest"));
  ExpectWhole();
}

TEST_F(SlowCacheDirDamageTest, WhatIsNoFileInPlaceOfTheManifest) {
  const std::string path = entry_ + "/manifest";
  for (const Replacement& replacement : {Replacement(PutFifo), Replacement(PutDanglingLink)}) {
    Replace(path, replacement);
    ExpectMended(path);
    Reset();
  }
  Replace(path, PutFolder);
  ExpectToldEveryTime(path);
  EXPECT_EQ(Run().packed, 0);
}

// ---- lock, entry, digests, tag ----

TEST_F(CacheDirDamageTest, WhatIsNoFileInPlaceOfTheLock) {
  const std::string path = entry_ + "/lock";
  for (const Replacement& replacement : {Replacement(PutFolder), Replacement(PutDanglingLink)}) {
    Replace(path, replacement);
    EXPECT_THAT(Run().warnings, IsEmpty());  // nothing to write
    fs::remove(entry_ + "/weights-0");
    for (int i = 0; i < 2; ++i) {
      const CachedRun run = Run();
      EXPECT_THAT(run.warnings, SizeIs(1));
      EXPECT_THAT(run.warnings, Each(HasSubstr(path)));
      EXPECT_EQ(run.packed, good_.first.packed);
    }
    Reset();
  }
  Replace(path, PutFifo);
  fs::remove(entry_ + "/weights-0");
  EXPECT_THAT(Run().warnings, IsEmpty());
  ExpectWhole();
}

TEST_F(CacheDirDamageTest, WhatIsNoFolderInPlaceOfTheEntry) {
  for (const Replacement& replacement : {Replacement(PutFile), Replacement(PutFifo), Replacement(PutDanglingLink)}) {
    Replace(entry_, replacement);
    ExpectToldEveryTime(entry_);
    const ProgramResult prune = RunRondo({"cache", "prune", dir_});
    EXPECT_EQ(prune.exit_code, 1);
    EXPECT_THAT(prune.out, HasSubstr(entry_));
  }
}

TEST_F(SlowCacheDirDamageTest, ADamagedTagIsLeftAloneAndNothingElseUsed) {
  const std::string path = dir_ + "/CACHEDIR.TAG";
  const std::string good = ReadTestFile(path);
  const std::vector<std::string> before = FilesIn(dir_);
  const auto expect_useless = [&](const std::string& named) {
    const CachedRun run = Run();
    EXPECT_EQ(run.found, 0);
    EXPECT_THAT(run.warnings, SizeIs(1));
    EXPECT_THAT(run.warnings, Each(HasSubstr(named)));
    for (const char* tool : {"verify", "ls", "prune"}) {
      const ProgramResult result = RunRondo({"cache", tool, dir_});
      EXPECT_EQ(result.exit_code, 2);
      EXPECT_THAT(result.err, HasSubstr(named));
    }
  };
  for (const std::string& bytes :
       {std::string(), std::string(good.size(), '\0'), good.substr(0, good.size() - 4), std::string(100000, 'x'),
        std::string("Signature: 8a477f597d28d172789f06886806bc55")}) {
    WriteTestFile(path, bytes);
    expect_useless(path);
    EXPECT_EQ(ReadTestFile(path), bytes);
    EXPECT_EQ(FilesIn(dir_), before);
  }
  for (const Replacement& replacement : {Replacement(PutFifo), Replacement(PutDanglingLink), Replacement(PutFolder)}) {
    Replace(path, replacement);
    expect_useless(path);
  }
  fs::remove_all(path);
  expect_useless(dir_);
  WriteTestFile(path, good);
  ExpectWhole();
}

// With another seed no digest matches.
TEST_F(CacheDirDamageTest, AnotherSeedInTheTagMakesAllEntriesForeign) {
  const std::string path = dir_ + "/CACHEDIR.TAG";
  std::string tag = ReadTestFile(path);
  char& digit = tag[tag.size() - 2];
  digit = digit == '0' ? '1' : '0';
  WriteTestFile(path, tag);
  ExpectVerifyNames(good_.entry);
  const CachedRun run = Run();
  EXPECT_EQ(run.packed, good_.first.packed);
  EXPECT_EQ(Run().packed, 0);
  ExpectVerifyNames(good_.entry);
  EXPECT_EQ(RunRondo({"cache", "prune", dir_}).exit_code, 0);
  EXPECT_EQ(Verify(dir_).exit_code, 0);
  EXPECT_EQ(Run().packed, 0);
  EXPECT_FALSE(fs::exists(entry_));
}

}  // namespace
}  // namespace rondo
