#include "cachedir/digest.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#define XXH_STATIC_LINKING_ONLY  // states on the stack
#ifdef RONDO_XXHASH_DISPATCHES
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "graph/status.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

// One of these costs some 5 microseconds.
constexpr size_t kPiece = size_t{128} << 10;
constexpr int64_t kBlocksPerChunk = 2;
// A digest takes what memory gives. Asking for lines this far ahead, a page at a time, gives one thread half as much
// again; asking beyond the end does no harm.
constexpr size_t kAhead = 16384, kStride = 4096, kCacheLine = 64;

Digest FromXxh(const XXH128_hash_t& hash) { return {hash.high64, hash.low64}; }

int64_t BlocksOf(uint64_t bytes) { return static_cast<int64_t>((bytes + kDigestBlock - 1) / kDigestBlock); }

Digest Combine(const std::vector<Digest>& blocks, uint64_t bytes, uint64_t seed) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset_withSeed(&state, seed);
  XXH3_128bits_update(&state, &bytes, sizeof(bytes));
  XXH3_128bits_update(&state, blocks.data(), blocks.size() * sizeof(Digest));
  return FromXxh(XXH3_128bits_digest(&state));
}

// errno, or 0; -1 where the file ends before.
int DigestBlockOfFile(int fd, uint64_t begin, uint64_t end, uint64_t seed, Digest* digest) {
  alignas(64) char buffer[kPiece];
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset_withSeed(&state, seed);
  while (begin < end) {
    const ssize_t n = pread(fd, buffer, std::min<uint64_t>(kPiece, end - begin), static_cast<off_t>(begin));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return -1;
    XXH3_128bits_update(&state, buffer, static_cast<size_t>(n));
    begin += static_cast<uint64_t>(n);
  }
  *digest = FromXxh(XXH3_128bits_digest(&state));
  return 0;
}

}  // namespace

std::string Digest::ToHex() const { return absl::StrFormat("%016x%016x", high, low); }

std::optional<Digest> Digest::FromHex(absl::string_view hex) {
  Digest digest;
  if (hex.size() != 32 || hex.find_first_not_of("0123456789abcdef") != absl::string_view::npos) return std::nullopt;
  if (!absl::SimpleHexAtoi(hex.substr(0, 16), &digest.high) || !absl::SimpleHexAtoi(hex.substr(16), &digest.low)) {
    return std::nullopt;
  }
  return digest;
}

Digest DigestOf(absl::string_view bytes, uint64_t seed) {
  return FromXxh(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

uint64_t ShortDigestOf(const void* data, size_t bytes, uint64_t seed) {
  if (bytes <= kAhead) return XXH3_64bits_withSeed(data, bytes, seed);
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset_withSeed(&state, seed);
  const char* at = static_cast<const char*>(data);
  for (size_t left = bytes; left > 0;) {
    const size_t stride = std::min(kStride, left);
    for (size_t line = 0; line < stride; line += kCacheLine) __builtin_prefetch(at + kAhead + line, 0, 2);
    XXH3_64bits_update(&state, at, stride);
    at += stride;
    left -= stride;
  }
  return XXH3_64bits_digest(&state);
}

Digest DigestOfBlocks(const void* data, size_t bytes, uint64_t seed) {
  std::vector<Digest> blocks(static_cast<size_t>(BlocksOf(bytes)));
  ParallelFor(static_cast<int64_t>(blocks.size()), kBlocksPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const size_t at = static_cast<size_t>(b) * kDigestBlock;
      blocks[b] =
          FromXxh(XXH3_128bits_withSeed(static_cast<const char*>(data) + at, std::min(kDigestBlock, bytes - at), seed));
    }
  });
  return Combine(blocks, bytes, seed);
}

absl::StatusOr<Digest> DigestOfFile(int fd, uint64_t bytes, uint64_t seed) {
  std::vector<Digest> blocks(static_cast<size_t>(BlocksOf(bytes)));
  std::atomic<int> error{0};
  ParallelFor(static_cast<int64_t>(blocks.size()), kBlocksPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end && error.load(std::memory_order_relaxed) == 0; ++b) {
      const uint64_t at = static_cast<uint64_t>(b) * kDigestBlock;
      const int failed = DigestBlockOfFile(fd, at, std::min<uint64_t>(at + kDigestBlock, bytes), seed, &blocks[b]);
      if (failed != 0) error.store(failed);
    }
  });
  if (error.load() < 0) return InvalidArgument("the file is shorter than ", bytes, " bytes");
  if (error.load() > 0) return absl::ErrnoToStatus(error.load(), "cannot read");
  return Combine(blocks, bytes, seed);
}

}  // namespace rondo
