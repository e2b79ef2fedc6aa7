#include "cachedir/digest.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>

#include "graph/atomic_file.h"
#include "ops/parallel.h"
#include "tests/support/paths.h"
#include "tests/support/run_program.h"

namespace rondo {
namespace {

std::string Content(size_t bytes) {
  std::string content(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) content[i] = static_cast<char>(i * 31 + i / 251);
  return content;
}

TEST(DigestTest, IsTheSameWhateverWasDigestedBefore) {
  for (size_t bytes : {size_t{0}, size_t{100}, size_t{16384}, size_t{16385}, size_t{100001}, kDigestBlock}) {
    const std::string content = Content(bytes);
    const uint64_t expected = ShortDigestOf(content.data(), bytes, 7);
    const Digest blocks = DigestOfBlocks(content.data(), bytes, 7);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      (void)ShortDigestOf(content.data(), bytes, seed);
      (void)DigestOfBlocks(content.data(), bytes, seed);
      EXPECT_EQ(ShortDigestOf(content.data(), bytes, 7), expected) << bytes << " after " << seed;
      EXPECT_EQ(DigestOfBlocks(content.data(), bytes, 7), blocks) << bytes << " after " << seed;
    }
  }
}

TEST(DigestTest, OfAFileIsThatOfItsContentOnAnyNumberOfThreads) {
  const std::string path = NewTempDir() + "/file";
  for (size_t bytes : {size_t{0}, size_t{5}, kDigestBlock, 5 * kDigestBlock + 3}) {
    const std::string content = Content(bytes);
    WriteTestFile(path, content);
    const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    for (int threads : {1, 4}) {
      const ScopedThreads scope(threads);
      const auto digest = DigestOfFile(fd.get(), bytes, 3);
      ASSERT_TRUE(digest.ok()) << digest.status();
      EXPECT_EQ(*digest, DigestOfBlocks(content.data(), bytes, 3));
    }
    EXPECT_FALSE(DigestOfFile(fd.get(), bytes + 1, 3).ok());
  }
}

TEST(DigestTest, TellsSeedsLengthsAndEveryByteApart) {
  std::set<std::string> seen;
  const std::string content = Content(3 * kDigestBlock);
  for (uint64_t seed : {0, 1, 2}) seen.insert(DigestOfBlocks(content.data(), content.size(), seed).ToHex());
  for (size_t bytes : {content.size() - 1, content.size() - 2}) {
    seen.insert(DigestOfBlocks(content.data(), bytes, 0).ToHex());
  }
  for (size_t at : {size_t{0}, kDigestBlock - 1, kDigestBlock, content.size() - 1}) {
    std::string changed = content;
    changed[at] ^= 1;
    seen.insert(DigestOfBlocks(changed.data(), changed.size(), 0).ToHex());
  }
  EXPECT_EQ(seen.size(), 9u);
}

TEST(DigestTest, HexIsReadAsItIsWritten) {
  const Digest digest = {0x0123456789abcdef, 5};
  EXPECT_EQ(digest.ToHex(), "0123456789abcdef0000000000000005");
  EXPECT_EQ(Digest::FromHex(digest.ToHex()), digest);
  for (const char* bad : {"", "0", "0123456789abcdef000000000000000", "0123456789ABCDEF0000000000000005",
                          "0123456789abcdef000000000000000g", " 123456789abcdef0000000000000005"}) {
    EXPECT_EQ(Digest::FromHex(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace rondo
