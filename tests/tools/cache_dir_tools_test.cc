// rondo cache ls, verify and prune.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "cachedir/cache_directory.h"
#include "cachedir/checked_file.h"
#include "graph/atomic_file.h"
#include "tests/support/cached_runs.h"
#include "tests/support/paths.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr int64_t kDay = 86400;

ProgramResult Cache(const std::string& tool, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"cache", tool});
  return RunRondo(arguments);
}

// Three entries of different sizes, last used now, ten and forty days ago.
class CacheDirToolsTest : public testing::Test {
 protected:
  CacheDirToolsTest() {
    static const std::string* const made = [] {
      auto* dir = new std::string(NewTempDir() + "/cache");
      for (const int n : {64, 80, 96}) {
        const std::string model = WriteStackModel(NewTempDir() + "/stack" + std::to_string(n), 2, n, false);
        EXPECT_GT(CachedCommand::Run(model).With(*dir).packed, 0);
      }
      return dir;
    }();
    dir_ = CopyOf(*made);
    for (const Json& entry : List()) {
      const std::string path = entry["files"][0]["path"];
      const int age = path.find("stack80") != std::string::npos   ? 10
                      : path.find("stack96") != std::string::npos ? 40
                                                                  : 0;
      (age == 0 ? now_ : age == 10 ? ten_days_ : forty_days_) = entry["entry"];
      SetAge(entry["entry"], age * kDay);
    }
  }

  void SetAge(const std::string& entry, int64_t seconds) {
    const timespec time = {std::time(nullptr) - seconds, 0};
    const timespec times[2] = {time, time};
    ASSERT_EQ(utimensat(AT_FDCWD, (dir_ + "/" + entry + "/lock").c_str(), times, 0), 0);
  }

  Json List() const {
    const ProgramResult result = Cache("ls", {dir_, "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(result.out, nullptr, false);
  }
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const Json& entry : List()) names.push_back(entry["entry"]);
    return names;
  }
  int64_t BytesOf(const std::string& name) const {
    for (const Json& entry : List()) {
      if (entry["entry"] == name) return entry["bytes"];
    }
    return -1;
  }
  // The names of what went, or would.
  std::vector<std::string> Prune(std::vector<std::string> more, int exit_code = 0) const {
    more.insert(more.begin(), {dir_, "--json"});
    const ProgramResult result = Cache("prune", more);
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    std::vector<std::string> names;
    for (const Json& entry : Json::parse(result.out, nullptr, false)) names.push_back(entry["entry"]);
    return names;
  }
  void Damage(const std::string& entry) const { WriteTestFile(dir_ + "/" + entry + "/weights-0", "text"); }

  std::string dir_, now_, ten_days_, forty_days_;
};

TEST_F(CacheDirToolsTest, LsTellsWhatEntriesAreOf) {
  const Json entries = List();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_THAT(Entries(), ElementsAre(now_, ten_days_, forty_days_));  // most recently used first
  for (const Json& entry : entries) {
    ASSERT_EQ(entry["files"].size(), 1u);
    EXPECT_EQ(entry["files"][0]["bytes"], fs::file_size(entry["files"][0]["path"]));
    EXPECT_EQ(entry["weights"], 2);
    EXPECT_EQ(entry["shapes"], 1);
    EXPECT_GT(entry["keys"], 0);
    EXPECT_EQ(entry["problems"], Json::array());
    EXPECT_NEAR(entry["created"].get<double>(), std::time(nullptr), 3600);
    int64_t bytes = 0;
    for (const auto& file : fs::directory_iterator(dir_ + "/" + entry["entry"].get<std::string>())) {
      bytes += static_cast<int64_t>(file.file_size());
    }
    EXPECT_EQ(entry["bytes"], bytes);
  }
  EXPECT_NEAR(entries[2]["last_used"].get<double>(), std::time(nullptr) - 40 * kDay, 3600);

  const ProgramResult text = Cache("ls", {dir_});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_EQ(text.err, "");
  for (const std::string& name : {now_, ten_days_, forty_days_}) EXPECT_THAT(text.out, HasSubstr(name.substr(0, 12)));
  EXPECT_THAT(text.out, HasSubstr("stack80/model.onnx"));
  EXPECT_THAT(text.out, HasSubstr("\n3 entries, "));
}

TEST_F(CacheDirToolsTest, AnEmptyDirectoryHasNoEntries) {
  for (const std::string& name : Entries()) fs::remove_all(dir_ + "/" + name);
  EXPECT_EQ(Cache("ls", {dir_}).out, "0 entries, 0 B\n");
  EXPECT_EQ(Cache("ls", {dir_, "--json"}).out, "[]\n");
  EXPECT_EQ(Cache("verify", {dir_}).out, "0 entries, 0 B: every digest matches\n");
  EXPECT_EQ(Cache("prune", {dir_}).out, "0 entries removed, 0 B\n");
}

TEST_F(CacheDirToolsTest, VerifyNamesDamageAndLsTellsOfWhatItSees) {
  EXPECT_EQ(Cache("verify", {dir_}).exit_code, 0);
  EXPECT_THAT(Cache("verify", {dir_}).out, HasSubstr("every digest matches\n"));
  // The last byte of a block: the header and the table are good.
  const std::string path = dir_ + "/" + ten_days_ + "/weights-0";
  std::string bytes = ReadTestFile(path);
  bytes.back() ^= 1;
  WriteTestFile(path, bytes);
  EXPECT_THAT(Cache("ls", {dir_}).out, Not(HasSubstr("damaged")));
  const ProgramResult verify = Cache("verify", {dir_});
  EXPECT_EQ(verify.exit_code, 1);
  EXPECT_EQ(verify.err, "");
  EXPECT_THAT(verify.out, StartsWith(path + " is damaged: block 0 of 1 of node "));
  const ProgramResult json = Cache("verify", {dir_, "--json"});
  EXPECT_EQ(json.exit_code, 1);
  for (const Json& entry : Json::parse(json.out)) EXPECT_EQ(entry["problems"].size(), entry["entry"] == ten_days_);
  Damage(now_);
  const ProgramResult list = Cache("ls", {dir_});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, HasSubstr(now_ + "/weights-0 is truncated: it has 4 bytes\n"));
}

TEST_F(CacheDirToolsTest, PruneWithoutBoundsRemovesWhatIsDamaged) {
  EXPECT_THAT(Prune({}), IsEmpty());
  Damage(ten_days_);
  EXPECT_THAT(Prune({"--keep-damaged"}), IsEmpty());
  EXPECT_THAT(Prune({}), ElementsAre(ten_days_));
  EXPECT_THAT(Entries(), ElementsAre(now_, forty_days_));
  EXPECT_EQ(Cache("verify", {dir_}).exit_code, 0);
}

TEST_F(CacheDirToolsTest, MaxAgeRemovesWhatWasNotUsedSince) {
  EXPECT_THAT(Prune({"--max-age", "41d"}), IsEmpty());
  EXPECT_THAT(Prune({"--max-age", "39d"}), ElementsAre(forty_days_));
  EXPECT_THAT(Prune({"--max-age", "241h"}), IsEmpty());
  EXPECT_THAT(Prune({"--max-age", "1w"}), ElementsAre(ten_days_));
  EXPECT_THAT(Entries(), ElementsAre(now_));
  SetAge(now_, 100);
  EXPECT_THAT(Prune({"--max-age", "2m"}), IsEmpty());
  EXPECT_THAT(Prune({"--max-age", "30s"}), ElementsAre(now_));
  EXPECT_THAT(Entries(), IsEmpty());
  EXPECT_FALSE(fs::exists(dir_ + "/" + now_));
}

TEST_F(CacheDirToolsTest, UsingAnEntryMakesItYoung) {
  SetAge(now_, 40 * kDay);
  std::string model;
  for (const Json& entry : List()) {
    if (entry["entry"] == now_) model = entry["files"][0]["path"];
  }
  EXPECT_EQ(CachedCommand::Run(model).With(dir_).packed, 0);
  EXPECT_THAT(Prune({"--max-age", "1h"}), UnorderedElementsAre(ten_days_, forty_days_));
}

TEST_F(CacheDirToolsTest, MaxSizeRemovesTheLeastRecentlyUsedFirst) {
  const int64_t total = BytesOf(now_) + BytesOf(ten_days_) + BytesOf(forty_days_);
  EXPECT_THAT(Prune({"--max-size", std::to_string(total)}), IsEmpty());
  EXPECT_THAT(Prune({"--max-size", "1G"}), IsEmpty());
  EXPECT_THAT(Prune({"--max-size", std::to_string(total - 1)}), ElementsAre(forty_days_));
  EXPECT_THAT(Prune({"--max-size", std::to_string(BytesOf(now_))}), ElementsAre(ten_days_));
  EXPECT_THAT(Prune({"--max-size", "0"}), ElementsAre(now_));
  EXPECT_THAT(Entries(), IsEmpty());
}

TEST_F(CacheDirToolsTest, DryRunTellsTheSameAndRemovesNothing) {
  Damage(now_);
  const std::vector<std::string> before = FilesIn(dir_);
  const ProgramResult dry = Cache("prune", {dir_, "--dry-run", "--max-age", "30d"});
  EXPECT_EQ(dry.exit_code, 0);
  EXPECT_THAT(dry.out, HasSubstr("would remove " + now_.substr(0, 12) + " ("));
  EXPECT_THAT(dry.out, HasSubstr("): damaged\n"));
  EXPECT_THAT(dry.out, HasSubstr("would remove " + forty_days_.substr(0, 12) + " ("));
  EXPECT_THAT(dry.out, HasSubstr("): last used 960h"));
  EXPECT_THAT(dry.out, HasSubstr("\n2 entries would go, "));
  EXPECT_THAT(Prune({"--dry-run", "--max-size", "0"}), SizeIs(3));
  EXPECT_EQ(FilesIn(dir_), before);
  const ProgramResult done = Cache("prune", {dir_, "--max-age", "30d"});
  EXPECT_THAT(done.out, HasSubstr("removed " + now_.substr(0, 12) + " ("));
  EXPECT_THAT(done.out, HasSubstr("\n2 entries removed, "));
  EXPECT_THAT(Entries(), ElementsAre(ten_days_));
}

TEST_F(CacheDirToolsTest, AnEntryThatIsBeingWrittenStays) {
  const FileDescriptor lock(open((dir_ + "/" + ten_days_ + "/lock").c_str(), O_RDWR));
  ASSERT_EQ(flock(lock.get(), LOCK_EX), 0);
  const ProgramResult result = Cache("prune", {dir_, "--max-size", "0"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("kept " + ten_days_.substr(0, 12) + " ("));
  EXPECT_THAT(result.out, HasSubstr("is being written by another process\n"));
  EXPECT_THAT(result.out, HasSubstr("\n2 entries removed, "));
  EXPECT_THAT(Entries(), ElementsAre(ten_days_));
  EXPECT_EQ(Cache("verify", {dir_}).exit_code, 0);
}

TEST_F(CacheDirToolsTest, PruneRemovesWhatKilledWritersLeft) {
  const std::string entry = dir_ + "/" + now_;
  for (const std::string& file : {entry + "/weights-1.a1B2c3", entry + "/manifest.xxxxxx"}) WriteTestFile(file, "text");
  EXPECT_EQ(Cache("verify", {dir_}).exit_code, 0);
  EXPECT_THAT(Prune({"--max-size", "0"}), SizeIs(3));
  for (const std::string& file : FilesIn(dir_)) {
    EXPECT_TRUE(file == "CACHEDIR.TAG" || file.rfind("digests/", 0) == 0) << file;
  }
}

TEST_F(CacheDirToolsTest, OtherThingsInTheDirectoryAreLeftAlone) {
  WriteTestFile(dir_ + "/readme", "text");
  WriteTestFile(dir_ + "/folder/weights-0", "text");
  EXPECT_EQ(Cache("verify", {dir_}).exit_code, 0);
  EXPECT_THAT(Prune({"--max-size", "0"}), SizeIs(3));
  EXPECT_TRUE(fs::exists(dir_ + "/readme"));
  EXPECT_TRUE(fs::exists(dir_ + "/folder/weights-0"));
}

TEST_F(CacheDirToolsTest, NamesFromFilesAreSafeToPrint) {
  const std::string model = WriteStackModel(NewTempDir() + "/a\x1b[31m\nb\xff", 2, 64, false);
  const std::string dir = NewTempDir() + "/cache\x1b[31m\nb";
  EXPECT_GT(CachedCommand::Run(model).With(dir).packed, 0);
  for (const char* tool : {"ls", "verify", "prune"}) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{dir}, {dir, "--json"}}) {
      const ProgramResult result = Cache(tool, arguments);
      EXPECT_EQ(result.exit_code, 0) << result.err;
      EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
      EXPECT_THAT(result.out, Not(HasSubstr("\xff")));
    }
  }
}

TEST_F(CacheDirToolsTest, BadArgumentsAreOneLine) {
  const auto expect_bad = [](const std::string& tool, const std::vector<std::string>& arguments,
                             const std::string& told) {
    SCOPED_TRACE(tool + " " + testing::PrintToString(arguments));
    const ProgramResult result = Cache(tool, arguments);
    EXPECT_EQ(result.exit_code, 2) << result.out;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, StartsWith("rondo: "));
    EXPECT_THAT(result.err, HasSubstr(told));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  };
  for (const char* age : {"5x", "5", "x", "-1d", "1.5d", "99999999999999999w", "99999999999999999999d"}) {
    expect_bad("prune", {dir_, "--max-age", age}, "--max-age");
  }
  for (const char* size : {"-1", "-5G", "5x", "x", "1.5", "99999999999999999999", "18446744073709551615",
                           "9223372036854775808", "9999999999T"}) {
    expect_bad("prune", {dir_, "--max-size", size}, "--max-size");
  }
  unsetenv("RONDO_CACHE_DIR");
  for (const char* tool : {"ls", "verify", "prune"}) {
    expect_bad(tool, {}, "DIR");
    expect_bad(tool, {""}, "");
    expect_bad(tool, {dir_, dir_}, dir_);
    expect_bad(tool, {dir_, "--wrong"}, "--wrong");
    expect_bad(tool, {"/nowhere/at/all"}, "/nowhere/at/all");
    expect_bad(tool, {"/dev/null"}, "/dev/null is no folder");
    expect_bad(tool, {fs::path(dir_).parent_path()}, " is no cache directory: it has no CACHEDIR.TAG");
    fs::permissions(dir_, fs::perms::others_write, fs::perm_options::add);
    expect_bad(tool, {dir_}, " can be written by everybody");
    fs::permissions(dir_, fs::perms::others_write, fs::perm_options::remove);
  }
  EXPECT_THAT(Entries(), SizeIs(3));
}

TEST_F(CacheDirToolsTest, TheVariableNamesTheDirectory) {
  const ProgramResult result =
      RunProgram("/usr/bin/env", {"RONDO_CACHE_DIR=" + dir_, RondoProgram(), "cache", "ls", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out, nullptr, false).size(), 3u);
}

// Digests are recorded of files that have not changed for a while.
TEST(CacheDirDigestsTest, DamagedRecordsAreToldOfAndReplaced) {
  const std::string dir = NewTempDir() + "/cache";
  const CachedCommand command = CachedCommand::Generate(ArcMiniFolder());
  const std::string expected = command.With(dir).results;
  const auto records = [&] {
    std::vector<std::string> paths;
    for (const std::string& file : FilesIn(dir + "/digests")) paths.push_back(dir + "/digests/" + file);
    return paths;
  };
  ASSERT_THAT(records(), SizeIs(1));
  const std::string path = records()[0], good = ReadTestFile(path);
  const auto expect_mended = [&](const std::string& what) {
    SCOPED_TRACE(what);
    const ProgramResult verify = Verify(dir);
    EXPECT_EQ(verify.exit_code, 1);
    EXPECT_THAT(verify.out, HasSubstr(path));
    const CachedRun run = command.With(dir);
    EXPECT_EQ(run.results, expected);
    EXPECT_EQ(run.packed, 0);
    EXPECT_THAT(run.warnings, SizeIs(1));
    EXPECT_THAT(run.warnings, Each(HasSubstr(path)));
    EXPECT_EQ(ReadTestFile(path), good);
    EXPECT_EQ(Verify(dir).exit_code, 0);
  };
  for (const std::string& bytes : {std::string(), good.substr(0, good.size() - 1), std::string(5000, '\0')}) {
    WriteTestFile(path, bytes);
    expect_mended(std::to_string(bytes.size()));
  }
  FlipByte(path, good.size() / 2);
  expect_mended("a byte");
  Replace(path, PutFifo);
  expect_mended("a FIFO");
  Replace(path, PutDanglingLink);
  expect_mended("a link");
  ASSERT_TRUE(WriteCheckedText(path, CacheDirectory::Open(dir, false)->seed(), "{").ok());
  expect_mended("no JSON");
  WriteTestFile(path, "text");
  const ProgramResult json = RunRondo({"cache", "verify", dir, "--json"});
  EXPECT_EQ(json.exit_code, 1);
  EXPECT_THAT(json.err, HasSubstr(path));
  EXPECT_EQ(RunRondo({"cache", "prune", dir, "--dry-run"}).exit_code, 0);
  EXPECT_EQ(Verify(dir).exit_code, 1);
  EXPECT_EQ(RunRondo({"cache", "prune", dir}).exit_code, 0);
  EXPECT_FALSE(fs::exists(path));
  EXPECT_EQ(Verify(dir).exit_code, 0);
  EXPECT_EQ(command.With(dir).packed, 0);
  // A folder there, or none for all, costs reading the model's files.
  Replace(path, PutFolder);
  EXPECT_EQ(command.With(dir).packed, 0);
  for (const Replacement& replacement : {Replacement(PutFile), Replacement(PutFifo), Replacement(PutDanglingLink)}) {
    Replace(dir + "/digests", replacement);
    const CachedRun run = command.With(dir);
    EXPECT_EQ(run.results, expected);
    EXPECT_EQ(run.packed, 0);
  }
}

}  // namespace
}  // namespace rondo
