#include "graph/file_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

namespace rondo {
namespace {

constexpr size_t kPages = 8;

int64_t ResidentPages(const void* begin) {
  // What the process itself has mapped in: lines "Rss:" of its mapping. mincore tells of the page cache instead.
  FILE* file = std::fopen("/proc/self/smaps", "r");
  if (file == nullptr) return -1;
  char line[512];
  bool inside = false;
  long kilobytes = -1;
  while (std::fgets(line, sizeof(line), file) != nullptr && kilobytes < 0) {
    unsigned long first, last;
    if (std::sscanf(line, "%lx-%lx ", &first, &last) == 2) inside = first == reinterpret_cast<uintptr_t>(begin);
    if (inside) std::sscanf(line, "Rss: %ld kB", &kilobytes);
  }
  std::fclose(file);
  return kilobytes < 0 ? -1 : kilobytes * 1024 / sysconf(_SC_PAGESIZE);
}

TEST(FilePagesTest, LeaveMemoryAndComeBackFromTheFile) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), bytes = kPages * page;
  FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  const std::vector<char> content(bytes, 'x');
  ASSERT_EQ(std::fwrite(content.data(), 1, bytes, file), bytes);
  ASSERT_EQ(std::fflush(file), 0);
  void* address = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fileno(file), 0);
  ASSERT_NE(address, MAP_FAILED);
  const char* data = static_cast<const char*>(address);
  EXPECT_EQ(std::memcmp(data, content.data(), bytes), 0);
  EXPECT_EQ(ResidentPages(address), kPages);

  ForgetFilePages(address, bytes);  // not known yet
  EXPECT_EQ(ResidentPages(address), kPages);
  AddFilePages(address, bytes);
  ForgetFilePages(data + 1, 3 * page);  // whole pages only: the second and the third
  EXPECT_LT(ResidentPages(address), kPages);
  ForgetFilePages(address, bytes);
  EXPECT_EQ(ResidentPages(address), 0);
  EXPECT_EQ(std::memcmp(data, content.data(), bytes), 0);
  RemoveFilePages(address);
  EXPECT_GT(ResidentPages(address), 0);
  ForgetFilePages(address, bytes);
  EXPECT_GT(ResidentPages(address), 0);
  munmap(address, bytes);
  std::fclose(file);
}

TEST(FilePagesTest, OtherMemoryKeepsItsContent) {
  const std::vector<char> memory(1 << 16, 'x');
  ForgetFilePages(memory.data(), memory.size());
  EXPECT_EQ(memory, std::vector<char>(1 << 16, 'x'));
}

}  // namespace
}  // namespace rondo
