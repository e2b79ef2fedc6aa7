// What an entry of the cache directory is for, and the keys that were seen: a text file beside the weights.
#ifndef RONDO_CACHEDIR_MANIFEST_H_
#define RONDO_CACHEDIR_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cachedir/digest.h"
#include "ops/primitive_cache.h"

namespace rondo {

// Dims of a plan's inputs, by name: what compiling ahead needs to make the plan again.
using PlanShapes = std::map<std::string, Dims>;

// What an entry is of. Two that differ in any field but the paths share nothing.
struct EntryIdentity {
  struct File {
    std::string path;
    uint64_t bytes = 0;
    Digest digest;
  };
  std::vector<File> files;  // the .onnx file, then its external data
  std::string machine;      // instruction sets and oneDNN: MachineText()
  std::string version;      // of rondo, with the digest of what packs
  std::string weights_as;   // "int8", "int4": quantised when they were packed; "": as exported

  // The entry's name: of everything but the paths.
  Digest Name(uint64_t seed) const;
};

struct Manifest {
  EntryIdentity identity;
  int64_t created = 0;             // seconds since 1970
  std::vector<KnownKey> keys;      // of primitives
  std::vector<PlanShapes> shapes;  // of plans of the whole graph

  std::string ToJson() const;
  static absl::StatusOr<Manifest> FromJson(absl::string_view text);
  // Adds what is not there yet, up to kMaxKeys and kMaxShapes in all. False: nothing was new.
  bool Add(const std::vector<KnownKey>& more_keys, const std::vector<PlanShapes>& more_shapes);

  static constexpr size_t kMaxKeys = 16384;
  static constexpr size_t kMaxShapes = 1024;
  static constexpr size_t kMaxBytes = size_t{64} << 20;
};

}  // namespace rondo

#endif  // RONDO_CACHEDIR_MANIFEST_H_
