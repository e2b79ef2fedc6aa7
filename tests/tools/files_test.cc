#include "tools/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

TEST(SafeFileNameTest, NeverLeavesTheFolder) {
  absl::flat_hash_set<std::string> used;
  EXPECT_EQ(SafeFileName("../../etc/passwd", &used), "_._.._etc_passwd");
  EXPECT_EQ(SafeFileName("/abs", &used), "_abs");
  EXPECT_EQ(SafeFileName("..", &used), "_.");
  EXPECT_EQ(SafeFileName(".hidden", &used), "_hidden");
  EXPECT_EQ(SafeFileName(std::string("nul\0l", 5), &used), "nul_l");
  EXPECT_EQ(SafeFileName("\x1b[2J", &used), "__2J");
  EXPECT_EQ(SafeFileName("", &used), "unnamed");
  EXPECT_EQ(SafeFileName(std::string(5000, 'x'), &used).size(), 100u);
}

TEST(SafeFileNameTest, DifferentNamesGetDifferentFiles) {
  absl::flat_hash_set<std::string> used;
  EXPECT_EQ(SafeFileName("a/b", &used), "a_b");
  EXPECT_EQ(SafeFileName("a_b", &used), "a_b_2");
  EXPECT_EQ(SafeFileName("a:b", &used), "a_b_3");
}

TEST(WriteFileTest, RefusesASymbolicLink) {
  const std::string dir = NewTempDir();
  WriteTestFile(dir + "/victim", "precious");
  std::filesystem::create_symlink(dir + "/victim", dir + "/link");
  const absl::Status status = WriteFile(dir + "/link", "overwritten");
  EXPECT_NE(status.message().find("symbolic link"), absl::string_view::npos) << status;
  EXPECT_EQ(ReadTestFile(dir + "/victim"), "precious");
}

TEST(WriteFileTest, ReportsAFullDisk) { EXPECT_FALSE(WriteFile("/dev/full", std::string(100, 'x')).ok()); }

TEST(ReadFileTest, RefusesWhatIsNoRegularFile) {
  const std::string dir = NewTempDir();
  mkfifo((dir + "/fifo").c_str(), 0600);
  for (const std::string& path : {dir + "/fifo", dir, std::string("/dev/zero")}) {
    const absl::StatusOr<std::string> bytes = ReadFile(path);
    ASSERT_FALSE(bytes.ok()) << path;
    EXPECT_NE(bytes.status().message().find("not a regular file"), absl::string_view::npos) << bytes.status();
  }
}

}  // namespace
}  // namespace rondo
