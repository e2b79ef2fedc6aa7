// Digests of contents: XXH3 of 128 bits, with a seed that each cache directory draws for itself. They tell damage and
// mix-ups; the seed, which a model's author does not know, is why nobody can make two models with one digest.
#ifndef RONDO_CACHEDIR_DIGEST_H_
#define RONDO_CACHEDIR_DIGEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rondo {

struct Digest {
  uint64_t high = 0, low = 0;

  std::string ToHex() const;  // 32 digits
  static std::optional<Digest> FromHex(absl::string_view hex);
  friend bool operator==(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), d.high, d.low);
  }
};

// Large contents are digested in blocks of this size.
inline constexpr size_t kDigestBlock = size_t{1} << 20;

Digest DigestOf(absl::string_view bytes, uint64_t seed);
uint64_t ShortDigestOf(const void* data, size_t bytes, uint64_t seed);
// The digest of the digests of its blocks, made on all threads.
Digest DigestOfBlocks(const void* data, size_t bytes, uint64_t seed);
// The same of the first `bytes` of a file. Errors: reading, a file that is shorter.
absl::StatusOr<Digest> DigestOfFile(int fd, uint64_t bytes, uint64_t seed);

}  // namespace rondo

#endif  // RONDO_CACHEDIR_DIGEST_H_
