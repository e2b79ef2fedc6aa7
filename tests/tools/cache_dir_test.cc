// --cache-dir as a user runs it: what a second process finds, what it does where the directory is of no use, and that
// the results are always those of the model as it is now.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/cached_runs.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::string NewDirectory() { return NewTempDir() + "/cache"; }

// The run used no directory, told why in one line, and has the right results.
void ExpectDoneWithout(const CachedRun& run, const CachedRun& expected, const std::string& why) {
  EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
  EXPECT_EQ(run.results, expected.results);
  EXPECT_EQ(run.found, 0);
  EXPECT_GT(run.packed, 0);
  ASSERT_THAT(run.warnings, SizeIs(1)) << run.program.err;
  EXPECT_THAT(run.warnings[0], HasSubstr(why));
}

// ---- what a second process finds ----

void ExpectTheSecondFindsAll(const CachedCommand& command) {
  const CachedRun without = command.With("none");
  ASSERT_EQ(without.program.exit_code, 0) << without.program.err;
  ASSERT_NE(without.results, "");
  EXPECT_EQ(without.found, -1);
  const std::string dir = NewDirectory();
  const CachedRun first = command.With(dir);
  EXPECT_EQ(first.results, without.results);
  EXPECT_EQ(first.found, 0);
  EXPECT_GT(first.packed, 0);
  EXPECT_THAT(first.warnings, IsEmpty());
  EXPECT_EQ(WeightsIn(dir), first.packed);
  const std::vector<std::string> files = FilesIn(dir);
  const std::string manifest = ReadTestFile(EntryIn(dir) + "/manifest");

  const CachedRun second = command.With(dir);
  EXPECT_EQ(second.results, without.results);
  EXPECT_EQ(second.packed, 0);
  EXPECT_EQ(second.found, first.packed);
  EXPECT_THAT(second.warnings, IsEmpty());
  EXPECT_EQ(FilesIn(dir), files);
  EXPECT_EQ(ReadTestFile(EntryIn(dir) + "/manifest"), manifest);
  EXPECT_EQ(Verify(dir).exit_code, 0);
}

TEST(CacheDirTest, ASecondGenerateFindsAllWeightsAndGivesTheSameIds) {
  ExpectTheSecondFindsAll(CachedCommand::Generate(ArcMiniFolder()));
}

TEST(CacheDirTest, ASecondRunFindsAllWeightsAndGivesTheSameOutputs) {
  ExpectTheSecondFindsAll(CachedCommand::Run(ArcMiniFolder()));
}

TEST(CacheDirTest, WeightsInExternalDataAreFound) {
  // Those of 64 x 64 are read, those of 256 x 256 mapped.
  ExpectTheSecondFindsAll(CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 64, /*external=*/true)));
  ExpectTheSecondFindsAll(CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 256, /*external=*/true)));
}

TEST(CacheDirTest, BlockQuantisedWeightsAreFound) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  for (const char* name : {"genai_llama_int4_b32_sym_acc4", "genai_qwen2_int4_b32_asym_acc4"}) {
    SCOPED_TRACE(name);
    const std::string model = SharedDir() + "/models/" + name;
    if (!fs::exists(model)) GTEST_SKIP() << "no model " << model;
    ExpectTheSecondFindsAll(CachedCommand::Run(model));
    CachedCommand generate = CachedCommand::Generate(model);
    generate.arguments[3] = "7,3,5,2";
    ExpectTheSecondFindsAll(generate);
  }
}

TEST(SlowCacheDirTest, SharedModelsFindTheirWeightsInOneDirectory) {
  RONDO_SKIP_WITHOUT_SHARED("models");
  const std::string dir = NewDirectory();
  int64_t weights = 0;
  for (const auto& entry : fs::directory_iterator(SharedDir() + "/models")) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path());
    const CachedCommand command = CachedCommand::Run(entry.path());
    const CachedRun without = command.With("none"), first = command.With(dir), second = command.With(dir);
    ASSERT_EQ(without.program.exit_code, 0) << without.program.err;
    EXPECT_EQ(first.results, without.results);
    EXPECT_EQ(second.results, without.results);
    EXPECT_EQ(second.packed, 0);
    EXPECT_THAT(first.warnings, IsEmpty());
    EXPECT_THAT(second.warnings, IsEmpty());
    weights += first.packed;
  }
  EXPECT_GT(weights, 0);
  EXPECT_EQ(WeightsIn(dir), weights);
  EXPECT_EQ(Verify(dir).exit_code, 0);
}

TEST(CacheDirTest, RunAndGenerateShareAnEntry) {
  const std::string dir = NewDirectory();
  const int64_t packed = CachedCommand::Generate(ArcMiniFolder()).With(dir).packed;
  const CachedCommand run = CachedCommand::Run(ArcMiniFolder());
  const CachedRun with = run.With(dir);
  EXPECT_GT(with.found, 0);
  EXPECT_LT(with.packed, packed);
  EXPECT_EQ(with.results, run.With("none").results);
  EXPECT_NE(EntryIn(dir), "");
  // What the second packed is beside what the first did.
  EXPECT_EQ(run.With(dir).packed, 0);
  EXPECT_EQ(CachedCommand::Generate(ArcMiniFolder()).With(dir).packed, 0);
}

TEST(CacheDirTest, AnotherNumberOfThreadsGetsTheSameResultsAsWithout) {
  const std::string dir = NewDirectory();
  for (const char* threads : {"2", "1"}) {
    CachedCommand command = CachedCommand::Run(ArcMiniFolder());
    command.arguments.insert(command.arguments.end(), {"--threads", threads});
    const CachedRun run = command.With(dir);
    EXPECT_EQ(run.results, command.With("none").results);
    EXPECT_EQ(run.warnings, std::vector<std::string>());
  }
}

TEST(CacheDirTest, TheVariableNamesADirectoryAndTheOptionOverridesIt) {
  const std::string dir = NewDirectory(), other = NewDirectory();
  const CachedCommand command = CachedCommand::Generate(ArcMiniFolder());
  const auto with = [&](const std::string& variable, std::vector<std::string> more) {
    std::vector<std::string> all = {"RONDO_CACHE_DIR=" + variable, RondoProgram()};
    all.insert(all.end(), command.arguments.begin(), command.arguments.end());
    all.insert(all.end(), more.begin(), more.end());
    const CachedRun run = command.Read(RunProgram("/usr/bin/env", all));
    EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
    return run;
  };
  EXPECT_EQ(with(dir, {"--cache-dir", "none"}).packed, -1);
  EXPECT_FALSE(fs::exists(dir));
  EXPECT_EQ(with("none", {}).packed, -1);
  EXPECT_EQ(with("", {}).packed, -1);
  EXPECT_EQ(with(dir, {}).found, 0);
  EXPECT_EQ(with(dir, {}).packed, 0);
  EXPECT_EQ(with(dir, {"--cache-dir", other}).found, 0);
  EXPECT_EQ(with("none", {"--cache-dir", other}).packed, 0);
  EXPECT_FALSE(fs::exists("none"));
}

TEST(CacheDirTest, ProfilesUseTheDirectory) {
  const std::string dir = NewDirectory();
  const std::string model = WriteStackModel(NewTempDir(), 3, 64, false);
  const auto profile = [&] {
    const std::string path = NewTempDir() + "/p.json";
    const ProgramResult result =
        RunRondo({"cache", "profile", model, "--repeat", "2", "--cache-dir", dir, "--json", path});
    EXPECT_NE(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.err, "");
    return Json::parse(ReadTestFile(path), nullptr, false);
  };
  profile();
  const int64_t weights = WeightsIn(dir);
  EXPECT_GT(weights, 0);
  profile();
  EXPECT_EQ(WeightsIn(dir), weights);
  EXPECT_EQ(CachedCommand::Run(model).With(dir).found, weights);
}

TEST(CacheDirTest, ADirectoryMayBeMoved) {
  const std::string dir = NewDirectory();
  const CachedCommand command = CachedCommand::Generate(ArcMiniFolder());
  command.With(dir);
  const CachedRun moved = command.With(CopyOf(dir));
  EXPECT_EQ(moved.packed, 0);
  EXPECT_THAT(moved.warnings, IsEmpty());
}

// ---- directories that are of no use ----

class CacheDirUselessTest : public testing::Test {
 protected:
  const CachedCommand command_ = CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 64, false));
  const CachedRun expected_ = command_.With("none");
};

TEST_F(CacheDirUselessTest, AFileIsNoFolder) {
  const std::string file = NewTempDir() + "/file";
  WriteTestFile(file, "text");
  ExpectDoneWithout(command_.With(file), expected_, file + " is no folder");
  ExpectDoneWithout(command_.With(file + "/below"), expected_, file + "/below");
  EXPECT_EQ(ReadTestFile(file), "text");
  ExpectDoneWithout(command_.With("/dev/null"), expected_, "/dev/null is no folder");
}

TEST_F(CacheDirUselessTest, ALinkLeadsToADirectoryOrNowhere) {
  const std::string folder = NewTempDir();
  fs::create_symlink("/nowhere/at/all", folder + "/dangling");
  ExpectDoneWithout(command_.With(folder + "/dangling"), expected_, folder + "/dangling");
  fs::create_directory(folder + "/real");
  fs::create_symlink(folder + "/real", folder + "/link");
  EXPECT_THAT(command_.With(folder + "/link").warnings, IsEmpty());
  EXPECT_EQ(command_.With(folder + "/real").packed, 0);
}

TEST_F(CacheDirUselessTest, AFolderOfSomethingElseIsLeftAlone) {
  const std::string dir = NewTempDir();
  WriteTestFile(dir + "/letter.txt", "text");
  ExpectDoneWithout(command_.With(dir), expected_, dir + " holds other files (letter.txt)");
  EXPECT_THAT(FilesIn(dir), ElementsAre("letter.txt"));
}

TEST_F(CacheDirUselessTest, ATagOfAnotherProgramIsLeftAlone) {
  const std::string dir = NewTempDir();
  const std::string tag = "Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n";
  WriteTestFile(dir + "/CACHEDIR.TAG", tag);
  ExpectDoneWithout(command_.With(dir), expected_, dir + "/CACHEDIR.TAG: expected the tag of a rondo cache");
  EXPECT_EQ(ReadTestFile(dir + "/CACHEDIR.TAG"), tag);
  EXPECT_THAT(FilesIn(dir), ElementsAre("CACHEDIR.TAG"));
}

TEST_F(CacheDirUselessTest, AFolderThatEverybodyMayWriteToIsRefused) {
  const std::string dir = NewTempDir();
  ASSERT_EQ(chmod(dir.c_str(), 0777), 0);
  ExpectDoneWithout(command_.With(dir), expected_, dir + " can be written by everybody");
  EXPECT_THAT(FilesIn(dir), IsEmpty());
  // Also when it was good before.
  ASSERT_EQ(chmod(dir.c_str(), 0755), 0);
  EXPECT_GT(command_.With(dir).packed, 0);
  ASSERT_EQ(chmod(dir.c_str(), 0757), 0);
  ExpectDoneWithout(command_.With(dir), expected_, dir + " can be written by everybody");
}

TEST_F(CacheDirUselessTest, WhereNoFolderCanBeMadeNothingIsKept) {
  ExpectDoneWithout(command_.With("/proc/rondo-cache"), expected_, "cannot create /proc/rondo-cache");
  ExpectDoneWithout(command_.With("/proc/self/fd"), expected_, "/proc/self/fd");
  ExpectDoneWithout(command_.With("/proc/a/b"), expected_, "/proc/a/b");
  ExpectDoneWithout(command_.With(NewTempDir() + "/" + std::string(300, 'x')), expected_, "xxx");
}

TEST_F(CacheDirUselessTest, ADirectoryThatCanOnlyBeReadIsRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const std::string dir = NewDirectory();
  const int64_t packed = command_.With(dir).packed;
  const std::string entry = EntryIn(dir);
  for (const std::string& folder : {entry, dir}) ASSERT_EQ(chmod(folder.c_str(), 0555), 0);
  const CachedRun run = command_.With(dir);
  EXPECT_EQ(run.found, packed);
  EXPECT_THAT(run.warnings, IsEmpty());
  // There is something to write, and it cannot be.
  const CachedCommand other = CachedCommand::Run(WriteStackModel(NewTempDir(), 2, 64, false));
  ExpectDoneWithout(other.With(dir), other.With("none"), "not saved: ");
  for (const std::string& folder : {dir, entry}) ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
}

// A limit of file sizes stands for a full disk: write() fails in the middle.
TEST(CacheDirFullDiskTest, WhatDoesNotFitIsToldOnceAndLeavesNothing) {
  const CachedCommand command = CachedCommand::Run(WriteStackModel(NewTempDir(), 4, 256, false));
  const CachedRun expected = command.With("none");
  const std::string dir = NewDirectory();
  const auto with_limit = [&](const std::string& blocks) {  // of 512 bytes
    std::vector<std::string> all = {"-c", "trap '' XFSZ; ulimit -f " + blocks + "; exec \"$@\"", "sh", RondoProgram()};
    all.insert(all.end(), command.arguments.begin(), command.arguments.end());
    all.insert(all.end(), {"--cache-dir", dir});
    return command.Read(RunProgram("/bin/sh", all));
  };
  for (const char* blocks : {"100", "1000"}) {
    SCOPED_TRACE(blocks);
    const CachedRun run = with_limit(blocks);
    EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
    EXPECT_EQ(run.results, expected.results);
    EXPECT_GT(run.packed, 0);
    ASSERT_THAT(run.warnings, SizeIs(1)) << run.program.err;
    EXPECT_THAT(run.warnings[0], StartsWith("not saved: cannot write " + EntryIn(dir) + "/weights-0: File too large"));
    EXPECT_THAT(LeftoversIn(dir), IsEmpty());
    EXPECT_EQ(WeightsIn(dir), 0);
    EXPECT_EQ(Verify(dir).exit_code, 0) << Verify(dir).out;
  }
  EXPECT_THAT(command.With(dir).warnings, IsEmpty());
  const CachedRun whole = with_limit("100");  // nothing to write any more
  EXPECT_EQ(whole.packed, 0);
  EXPECT_EQ(whole.results, expected.results);
  EXPECT_THAT(whole.warnings, IsEmpty());
}

// ---- the model changes ----

// Writes other bytes into the middle of a file; size and time of change are as before.
void ChangeInPlace(const std::string& path) {
  struct stat before;
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  const int fd = open(path.c_str(), O_WRONLY);
  ASSERT_GE(fd, 0);
  const float value = 0.75f;
  ASSERT_EQ(pwrite(fd, &value, sizeof(value), before.st_size / 8 * 4), static_cast<ssize_t>(sizeof(value)));
  close(fd);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

void ExpectResultsOfTheNewFile(const CachedCommand& command, const std::string& dir, const std::string& stale) {
  const CachedRun expected = command.With("none");
  ASSERT_NE(expected.results, stale);
  for (int i = 0; i < 2; ++i) {
    const CachedRun run = command.With(dir);
    EXPECT_EQ(run.results, expected.results) << "run " << i;
    EXPECT_THAT(run.warnings, IsEmpty());
    EXPECT_EQ(run.packed > 0, i == 0);
  }
}

// Of 64 x 64 the weights are read, of 256 x 256 mapped.
class CacheDirChangedWeightTest : public testing::Test {
 protected:
  struct Stack {
    int n;
    std::string folder, dir;
    CachedCommand command;
    std::string stale;
  };
  CacheDirChangedWeightTest() {
    for (const int n : {64, 256}) {
      const std::string folder = WriteStackModel(NewTempDir(), 2, n, /*external=*/true);
      stacks_.push_back({n, folder, NewDirectory(), CachedCommand::Run(folder), ""});
    }
  }

  void RunAll() {
    for (Stack& stack : stacks_) stack.stale = stack.command.With(stack.dir).results;
  }
  std::vector<Stack> stacks_;
};

TEST_F(CacheDirChangedWeightTest, AtOnceWhenTimesTellNothing) {
  RunAll();
  for (const Stack& stack : stacks_) {
    EXPECT_FALSE(fs::exists(stack.dir + "/digests")) << "a version that may yet change was taken for its content's";
    ChangeInPlace(stack.folder + "/model.data");
    ExpectResultsOfTheNewFile(stack.command, stack.dir, stack.stale);
  }
}

TEST_F(CacheDirChangedWeightTest, SlowLaterWhenTimesAreReliedOn) {
  const auto settle = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2100)); };
  settle();
  RunAll();
  for (const Stack& stack : stacks_) {
    EXPECT_THAT(FilesIn(stack.dir), Contains(StartsWith("digests/")));
    ChangeInPlace(stack.folder + "/model.data");
    ExpectResultsOfTheNewFile(stack.command, stack.dir, stack.stale);
  }
  // The data file is another one, of the same size.
  settle();
  RunAll();
  for (const Stack& stack : stacks_) {
    WriteStackModel(stack.folder, 2, stack.n, /*external=*/true, 2);
    ExpectResultsOfTheNewFile(stack.command, stack.dir, stack.stale);
    EXPECT_EQ(Verify(stack.dir).exit_code, 0);
  }
}

TEST(CacheDirChangedModelTest, AModelThatIsReplacedHasAnEntryOfItsOwn) {
  const std::string model = WriteStackModel(NewTempDir(), 3, 64, false);
  const CachedCommand command = CachedCommand::Run(model);
  const std::string dir = NewDirectory();
  const std::string first = command.With(dir).results;
  const std::string kept = CopyOf(model);
  WriteStackModel(model, 3, 64, false, 2);
  ExpectResultsOfTheNewFile(command, dir, first);
  // The first is still there.
  fs::rename(kept + "/model.onnx", model + "/model.onnx");
  const CachedRun again = command.With(dir);
  EXPECT_EQ(again.results, first);
  EXPECT_EQ(again.packed, 0);
}

TEST(CacheDirChangedModelTest, FoldersWithTheSameFilesShareAnEntry) {
  const std::string model = WriteStackModel(NewTempDir(), 3, 256, /*external=*/true);
  const std::string dir = NewDirectory();
  const CachedRun first = CachedCommand::Run(model).With(dir);
  const CachedRun second = CachedCommand::Run(CopyOf(model)).With(dir);
  EXPECT_EQ(second.packed, 0);
  EXPECT_EQ(second.found, first.packed);
  EXPECT_EQ(second.results, first.results);
  EXPECT_NE(EntryIn(dir), "");
}

TEST(CacheDirChangedModelTest, RewritesThatAreSwitchedOffNeverGetOthersWeights) {
  const std::string dir = NewDirectory();
  CachedCommand command = CachedCommand::Run(ArcMiniFolder());
  command.With(dir);
  command.arguments.push_back("--plain");
  const CachedRun expected = command.With("none");
  const CachedRun plain = command.With(dir);
  EXPECT_EQ(plain.program.exit_code, 0) << plain.program.err;
  EXPECT_EQ(plain.results, expected.results);
}

// Both keep the shapes of their plans in one entry; a lowered decoder's have other inputs than the file.
TEST(CacheDirTest, RunCompilesAheadWhatRunsLeftAndNotWhatGenerateLeft) {
  const std::string model = SourceDir() + "/tests/data/models/arc-mini", dir = NewTempDir() + "/cache";
  ASSERT_EQ(
      RunRondo({"generate", model, "--prompt-ids", "1,2,3", "--max-new-tokens", "2", "--cache-dir", dir}).exit_code, 0);
  std::vector<std::string> run = {"run", model, "--random", "1", "--repeat", "0", "--cache-dir", dir};
  ASSERT_EQ(RunRondo(run).exit_code, 0);
  // The third finds the shapes of the second by themselves: nothing else names them.
  run.insert(run.end(), {"--precompile", "--fail-on-miss"});
  const ProgramResult again = RunRondo(run);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.err, "");
}

}  // namespace
}  // namespace rondo
