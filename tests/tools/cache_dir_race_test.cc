// A cache directory that several processes use at once, and one whose writers are killed: nobody sees a damaged file,
// nothing is kept twice, and nothing of the killed is left.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

#include "graph/atomic_file.h"
#include "tests/support/cached_runs.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kSeed = 20240917;

// ---- races ----

// What all of several processes have to find and to leave.
class Race {
 public:
  explicit Race(CachedCommand command) : command_(std::move(command)), alone_(command_.With(dir_)) {
    EXPECT_EQ(alone_.program.exit_code, 0) << alone_.program.err;
    EXPECT_GT(alone_.packed, 0);
  }

  const std::string& dir() const { return dir_; }
  const CachedCommand& command() const { return command_; }

  // `processes` at once; the directory is as the caller left it. `warned`: damage may be told of.
  void Run(const std::vector<CachedCommand>& processes, bool warned) const {
    std::vector<RunningProgram> running;
    for (const CachedCommand& process : processes) running.push_back(process.Start(dir_));
    // Whoever looks meanwhile sees nothing half done.
    while (!warned && !running[0].Ended()) {
      const bool begun = fs::exists(dir_ + "/CACHEDIR.TAG");
      const ProgramResult verify = Verify(dir_);
      EXPECT_TRUE(verify.exit_code == 0 || !begun) << verify.out << verify.err;
    }
    for (size_t i = 0; i < processes.size(); ++i) {
      const CachedRun run = processes[i].Read(running[i].Wait());
      EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
      EXPECT_EQ(run.results, alone_.results) << "process " << i;
      EXPECT_EQ(run.packed + run.found, alone_.packed) << "process " << i;
      EXPECT_TRUE(warned || run.warnings.empty()) << run.program.err;
    }
    EXPECT_EQ(WeightsIn(dir_), alone_.packed);
    EXPECT_THAT(LeftoversIn(dir_), IsEmpty());
    const ProgramResult verify = Verify(dir_);
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    EXPECT_NE(EntryIn(dir_), "");
  }

 private:
  const CachedCommand command_;
  const std::string dir_ = NewTempDir() + "/cache";
  const CachedRun alone_;
};

// Each process has a folder for its outputs.
std::vector<CachedCommand> Several(int processes, const std::string& model, bool generate) {
  std::vector<CachedCommand> commands;
  for (int i = 0; i < processes; ++i) {
    commands.push_back(generate ? CachedCommand::Generate(model) : CachedCommand::Run(model));
  }
  return commands;
}

void RaceOnEmptyDirectories(int rounds, int processes) {
  const std::string stack = WriteStackModel(NewTempDir(), 4, 128, false);
  for (const bool generate : {true, false}) {
    const std::vector<CachedCommand> commands = Several(processes, generate ? ArcMiniFolder() : stack, generate);
    const Race race(commands[0]);
    for (int round = 0; round < rounds; ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      // Without the folder, without the tag, and without the entry.
      if (round % 3 != 2) fs::remove_all(race.dir());
      if (round % 3 == 1) fs::create_directory(race.dir());
      if (round % 3 == 2) fs::remove_all(EntryIn(race.dir()));
      race.Run(commands, /*warned=*/false);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(CacheDirRaceTest, TwoProcessesOnAnEmptyDirectoryKeepEachWeightOnce) { RaceOnEmptyDirectories(3, 2); }
TEST(SlowCacheDirRaceTest, TwoProcessesOnAnEmptyDirectoryKeepEachWeightOnce) { RaceOnEmptyDirectories(21, 2); }
TEST(SlowCacheDirRaceTest, FourProcessesOnAnEmptyDirectoryKeepEachWeightOnce) { RaceOnEmptyDirectories(9, 4); }

TEST(SlowCacheDirRaceTest, ProcessesThatFindOneDamageMendItOnce) {
  const std::vector<CachedCommand> commands = Several(3, ArcMiniFolder(), /*generate=*/true);
  const Race race(commands[0]);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    for (const std::string& file : FilesIn(EntryIn(race.dir()))) {
      if (file.rfind("weights-", 0) != 0 && (file != "manifest" || round % 3 != 0)) continue;
      const std::string path = EntryIn(race.dir()) + "/" + file;
      std::string bytes = ReadTestFile(path);
      // Of what is not covered by digests, the gaps between the weights, there is a little.
      for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] ^= 0x20;
      // As another process would: running ones keep the file that they have mapped.
      WriteTestFile(path + ".new", bytes);
      fs::rename(path + ".new", path);
    }
    race.Run(commands, /*warned=*/true);
    if (HasFailure()) return;
  }
}

TEST(SlowCacheDirRaceTest, PruningNeverDisturbsWhoUsesAnEntry) {
  const std::vector<CachedCommand> commands = Several(2, ArcMiniFolder(), /*generate=*/true);
  const std::string dir = NewTempDir() + "/cache";
  const std::string expected = commands[0].With(dir).results;
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    RunningProgram user = commands[0].Start(dir), other = commands[1].Start(dir);
    while (!user.Ended() || !other.Ended()) {
      const ProgramResult prune = RunRondo({"cache", "prune", dir, "--max-size", "0"});
      EXPECT_TRUE(prune.exit_code == 0 || prune.exit_code == 1) << prune.err;
      if (prune.exit_code == 1) {
        EXPECT_THAT(prune.out, HasSubstr("is being written by another process"));
      }
    }
    for (RunningProgram* program : {&user, &other}) {
      const CachedRun run = commands[0].Read(program->Wait());
      EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
      EXPECT_EQ(run.results, expected);
      EXPECT_THAT(run.warnings, IsEmpty());
    }
    EXPECT_EQ(Verify(dir).exit_code, 0) << Verify(dir).out;
    if (HasFailure()) return;
  }
  EXPECT_EQ(commands[0].With(dir).results, expected);
  EXPECT_EQ(commands[0].With(dir).packed, 0);
}

// ---- locks ----

FileDescriptor Locked(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(flock(fd.get(), LOCK_EX | LOCK_NB), 0) << path;
  return fd;
}

TEST(CacheDirLockTest, WhoeverWaitedWhileTheEntryWasRemovedMakesItAnew) {
  const CachedCommand command = CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 64, false));
  const std::string dir = NewTempDir() + "/cache";
  const CachedRun first = command.With(dir);
  const std::string entry = EntryIn(dir);
  fs::remove(entry + "/weights-0");
  FileDescriptor lock = Locked(entry + "/lock");
  RunningProgram waiting = command.Start(dir);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(waiting.Ended());
  fs::remove_all(entry);
  WriteTestFile(entry + "/lock", "");  // somebody else was faster
  FileDescriptor other = Locked(entry + "/lock");
  lock.Close();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(waiting.Ended()) << "the lock that it got is of a file that is gone";
  fs::remove_all(entry);
  other.Close();
  const CachedRun run = command.Read(waiting.Wait());
  EXPECT_EQ(run.results, first.results);
  EXPECT_THAT(run.warnings, IsEmpty());
  EXPECT_EQ(WeightsIn(dir), first.packed);
  EXPECT_EQ(command.With(dir).packed, 0);
}

// As of a process that was stopped while it wrote.
TEST(SlowCacheDirLockTest, ALockThatIsNeverGivenBackIsToldOfAndNotWaitedForForEver) {
  const CachedCommand command = CachedCommand::Run(WriteStackModel(NewTempDir(), 3, 64, false));
  const std::string dir = NewTempDir() + "/cache", empty = NewTempDir();
  const CachedRun first = command.With(dir);
  const std::string entry = EntryIn(dir);
  fs::remove(entry + "/weights-0");
  const FileDescriptor entry_lock = Locked(entry + "/lock"), folder_lock = Locked(empty);
  RunningProgram of_entry = command.Start(dir), of_folder = command.Start(empty);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while ((!of_entry.Ended() || !of_folder.Ended()) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_TRUE(of_entry.Ended() && of_folder.Ended());
  const CachedRun folder_run = command.Read(of_folder.Wait());
  EXPECT_EQ(folder_run.program.exit_code, 0);
  EXPECT_THAT(folder_run.warnings, ElementsAre(HasSubstr(empty + " is being made by another process")));
  const CachedRun entry_run = command.Read(of_entry.Wait());
  EXPECT_EQ(entry_run.program.exit_code, 0);
  EXPECT_THAT(entry_run.warnings, ElementsAre("not saved: " + entry + " is being written by another process"));
  // Reading needs no lock.
  EXPECT_EQ(Verify(dir).exit_code, 0);
}

// ---- kills ----

// Is a file there, in the folder or one below, whose name begins with `prefix` and that has no name of its own yet?
bool IsBeingWritten(const std::string& dir, const std::string& prefix, bool below = true) {
  DIR* const folder = opendir(dir.c_str());
  if (folder == nullptr) return false;
  bool found = false;
  for (const dirent* item; !found && (item = readdir(folder)) != nullptr;) {
    const std::string name = item->d_name;
    if (name == "." || name == "..") continue;
    const size_t dot = name.rfind('.');
    found = dot != std::string::npos && name.size() - dot == 7 && name.rfind(prefix, 0) == 0;
    if (!found && below && item->d_type == DT_DIR) found = IsBeingWritten(dir + "/" + name, prefix, false);
  }
  closedir(folder);
  return found;
}

using Clock = std::chrono::steady_clock;
std::chrono::microseconds Microseconds(uint32_t n) { return std::chrono::microseconds(n); }

// One command that is killed over and over, always with something to write.
class Killer {
 public:
  Killer(CachedCommand command, uint32_t seed) : command_(std::move(command)), random_(seed) {
    const Clock::time_point begin = Clock::now();
    const CachedRun first = command_.With(dir_);
    duration_us_ = static_cast<uint32_t>((Clock::now() - begin) / Microseconds(1));
    weights_ = first.packed;
    results_ = first.results;
    EXPECT_GT(weights_, 0) << first.program.err;
    EXPECT_EQ(results_, command_.With("none").results);
  }

  int kills() const { return kills_; }
  int kills_in_writing() const { return in_writing_; }

  void KillOnce() {
    TakeSomethingAway();
    const std::vector<std::string> before = LeftoversIn(dir_);
    RunningProgram program = command_.Start(dir_);
    // Most while a certain file is written, the others at any time.
    static constexpr const char* kFiles[] = {"weights-", "weights-", "weights-", "manifest.", "", "CACHEDIR.TAG."};
    if (random_() % 8 != 0) {
      const std::string file = kFiles[random_() % std::size(kFiles)];
      while (!IsBeingWritten(dir_, file) && !program.Ended()) std::this_thread::sleep_for(Microseconds(20));
      const uint32_t most = random_() % 2 == 0 ? 300 : 2500;
      std::this_thread::sleep_for(Microseconds(random_() % most));
    } else {
      std::this_thread::sleep_for(Microseconds(random_() % duration_us_));
    }
    program.Kill();
    if (program.Wait().signal == SIGKILL) {
      ++kills_;
      const std::vector<std::string> after = LeftoversIn(dir_);
      in_writing_ += std::any_of(after.begin(), after.end(), [&](const std::string& file) {
        return std::find(before.begin(), before.end(), file) == before.end();
      });
    }
    ExpectNothingDamaged();
  }

  // What was killed costs the next process nothing but what is not there.
  void RunWhole() {
    const CachedRun run = command_.With(dir_);
    EXPECT_EQ(run.program.exit_code, 0) << run.program.err;
    EXPECT_EQ(run.results, results_);
    EXPECT_EQ(run.found + run.packed, weights_);
    EXPECT_TRUE(run.warnings.empty() || damaged_ != "") << run.program.err;
    EXPECT_THAT(LeftoversIn(dir_), IsEmpty());
    EXPECT_EQ(WeightsIn(dir_), weights_);
    EXPECT_TRUE(fs::exists(EntryIn(dir_) + "/manifest"));
    EXPECT_EQ(Verify(dir_).exit_code, 0) << Verify(dir_).out;
    damaged_.clear();
  }

  void ExpectAllFound() const { EXPECT_EQ(command_.With(dir_).packed, 0); }

 private:
  // Or damages it: `damaged_` is to be replaced then.
  void TakeSomethingAway() {
    const uint32_t what = random_() % 5;
    std::error_code ignored;
    if (what == 0) fs::remove_all(dir_, ignored);
    for (const std::string& file : FilesIn(dir_)) {
      const std::string name = fs::path(file).filename();
      const bool goes = (what == 1 && file.rfind("digests/", 0) == 0) ||
                        (what <= 2 && name.rfind("weights-", 0) == 0) || (what <= 3 && name == "manifest");
      // Leftovers stay, for the next process to find.
      if (name.find('.') != std::string::npos) continue;
      if (goes) fs::remove(dir_ + "/" + file, ignored);
      if (what == 4 && name.rfind("weights-", 0) == 0) Damage(dir_ + "/" + file);
    }
  }

  // As another process would: by a new file. Twice is not back to what it was.
  void Damage(const std::string& path) {
    std::string bytes = ReadTestFile(path);
    ++bytes.back();
    WriteTestFile(dir_ + "/new", bytes);
    fs::rename(dir_ + "/new", path);
    damaged_ = path;
  }

  void ExpectNothingDamaged() const {
    if (!fs::exists(dir_ + "/CACHEDIR.TAG")) {
      // Killed before the tag had its name: there is nothing else yet.
      EXPECT_THAT(FilesIn(dir_), Each(HasSubstr("CACHEDIR.TAG.")));
      return;
    }
    const ProgramResult verify = Verify(dir_);
    if (verify.exit_code == 0) return;
    EXPECT_EQ(verify.exit_code, 1) << verify.err;
    // A line per problem, and the last one for all.
    std::istringstream lines(verify.out);
    for (std::string line; std::getline(lines, line) && lines.peek() != EOF;) {
      EXPECT_THAT(line, HasSubstr(damaged_ + " is damaged")) << testing::PrintToString(FilesIn(dir_));
    }
    EXPECT_NE(damaged_, "") << verify.out;
  }

  const CachedCommand command_;
  const std::string dir_ = NewTempDir() + "/cache";
  std::mt19937 random_;
  uint32_t duration_us_ = 1;
  int64_t weights_ = 0;
  std::string results_, damaged_;
  int kills_ = 0, in_writing_ = 0;
};

// At least `kills`, at least half of them while a file was written.
void KillUntil(Killer* killer, int kills) {
  constexpr int kKillsPerWholeRun = 10;
  const auto enough = [&] {
    return killer->kills() >= 2 * kills || (killer->kills() >= kills && killer->kills_in_writing() >= kills / 2);
  };
  for (int whole = kKillsPerWholeRun; !enough() && !testing::Test::HasFailure();) {
    killer->KillOnce();
    if (killer->kills() < whole) continue;
    killer->RunWhole();
    whole = killer->kills() + kKillsPerWholeRun;
  }
  killer->RunWhole();
  killer->ExpectAllFound();
}

TEST(SlowCacheDirKillTest, KilledWritersLeaveNothingDamagedAndNothingForEver) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Killer generate(CachedCommand::Generate(ArcMiniFolder()), kSeed);
  KillUntil(&generate, 140);
  // Some megabytes, so that a kill hits more of write() than of the waits for the disk.
  Killer run(CachedCommand::Run(WriteStackModel(NewTempDir(), 6, 640, /*external=*/true)), kSeed + 1);
  if (!HasFailure()) KillUntil(&run, 80);
  const int kills = generate.kills() + run.kills();
  const int in_writing = generate.kills_in_writing() + run.kills_in_writing();
  std::cout << kills << " kills, " << in_writing << " of them while a file was written (" << generate.kills() << "/"
            << generate.kills_in_writing() << " generate, " << run.kills() << "/" << run.kills_in_writing()
            << " run)\n";
  RecordProperty("kills", kills);
  RecordProperty("kills_in_writing", in_writing);
  if (HasFailure()) return;
  EXPECT_GE(kills, 200);
  EXPECT_GE(in_writing, 100);
}

TEST(SlowCacheDirKillTest, AKilledPruneLeavesNothingDamaged) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  const CachedCommand command = CachedCommand::Run(WriteStackModel(NewTempDir(), 6, 256, false));
  const std::string dir = NewTempDir() + "/cache";
  const CachedRun first = command.With(dir);
  std::mt19937 random(kSeed);
  int kills = 0;
  for (int i = 0; i < 200 && kills < 30 && !HasFailure(); ++i) {
    RunningProgram prune(RondoProgram(), {"cache", "prune", dir, "--max-size", "0"});
    while (random() % 4 != 0 && FilesIn(dir).size() > 3 && !prune.Ended())
      std::this_thread::sleep_for(Microseconds(10));
    std::this_thread::sleep_for(Microseconds(random() % 200));
    prune.Kill();
    kills += prune.Wait().signal == SIGKILL ? 1 : 0;
    EXPECT_EQ(Verify(dir).exit_code, 0) << Verify(dir).out;
    const CachedRun run = command.With(dir);
    EXPECT_EQ(run.results, first.results);
    EXPECT_THAT(run.warnings, IsEmpty());
    EXPECT_EQ(WeightsIn(dir), first.packed);
  }
  EXPECT_GE(kills, 30);
}

}  // namespace
}  // namespace rondo
