// The cache directory: what outlives a process of what was compiled. oneDNN's code cannot be kept, but packed weights
// can, and the keys and shapes that were seen.
//
//   CACHEDIR.TAG          says that the folder is a cache (bford.info/cachedir), of which format, and holds its seed
//   digests/<path>        digests of model files, with the version of each file that they were made of
//   <entry>/manifest      what the entry is of, keys, shapes
//   <entry>/weights-<n>   packed weights, never changed once they are there
//   <entry>/lock          held by whoever writes; its time is that of the last use
//
// Every file is written beside its name and renamed, and carries digests; what is damaged, foreign or of another
// version is reported and left out. Any number of processes may use one directory.
#ifndef RONDO_CACHEDIR_CACHE_DIRECTORY_H_
#define RONDO_CACHEDIR_CACHE_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "cachedir/digest.h"
#include "cachedir/manifest.h"
#include "graph/atomic_file.h"
#include "graph/source_file.h"

namespace rondo {

// The digest of a version of a file.
struct DigestedFile {
  std::string path;  // canonical
  FileVersion version;
  Digest digest;
};
// Is each of them the same version still? False of none.
bool AreCurrent(const std::vector<DigestedFile>& files);

class CacheDirectory {
 public:
  // Opens a directory; `create` makes it, and its tag, where they are missing. Errors: what is no cache directory of
  // this format, belongs to somebody else, or can be written by everybody.
  static absl::StatusOr<CacheDirectory> Open(const std::string& path, bool create);

  const std::string& path() const { return path_; }
  uint64_t seed() const { return seed_; }
  std::string EntryPath(absl::string_view name) const;

  // What was written down of the files that the model file `path` was made of the last time; empty: nothing. Errors: a
  // damaged record, which Digests replaces.
  absl::StatusOr<std::vector<DigestedFile>> Remembered(const std::string& path) const;
  // Digests of a model's files. Those that are the versions that `remembered` has of them are not read again; what is
  // new is written down. Errors: a file that is not the one any more that the model was read from.
  absl::StatusOr<std::vector<DigestedFile>> Digests(const std::vector<SourceFile>& files,
                                                    const std::vector<DigestedFile>& remembered) const;

 private:
  CacheDirectory(std::string path, uint64_t seed) : path_(std::move(path)), seed_(seed) {}
  std::string RecordOf(const std::string& path) const;  // name of the file that remembers its digests

  std::string path_;
  uint64_t seed_;
};

// The right to write to an entry, which one process has at a time. It ends with the object, or with the process.
class EntryLock {
 public:
  // Waits for up to `patience_seconds`. Makes the entry's folder where it is missing. Errors: Unavailable when others
  // held it all the time; what the system says.
  static absl::StatusOr<EntryLock> Take(const std::string& entry_path, double patience_seconds);
  // The entry was used now; a directory that cannot be written does not remember.
  static void Touch(const std::string& entry_path);

 private:
  explicit EntryLock(FileDescriptor fd) : fd_(std::move(fd)) {}
  FileDescriptor fd_;
};

// Names of an entry's files.
inline constexpr char kManifestName[] = "manifest";
inline constexpr char kLockName[] = "lock";
// The manifest of the entry `name`. Errors: NotFound; damage, another entry's.
absl::StatusOr<Manifest> ReadManifest(const std::string& entry_path, const Digest& name, uint64_t seed);
// Paths of the files in a folder whose names begin so and which have not got their names: they are being written, or
// their writers were killed.
std::vector<std::string> ListUnfinished(const std::string& folder, absl::Span<const absl::string_view> prefixes);
// Removes them. REQUIRES: the lock under which such files are written.
void RemoveUnfinished(const std::string& folder, absl::Span<const absl::string_view> prefixes);
// The weights of an entry, in the order of their numbers.
struct WeightsName {
  int64_t number;
  std::string path;
};
std::vector<WeightsName> ListWeights(const std::string& entry_path);

// ---- for `rondo cache ls`, `verify` and `prune` ----

struct StoredEntry {
  std::string name;
  Manifest manifest;  // empty where it is damaged
  int64_t weights = 0;
  int64_t bytes = 0;      // on disk
  int64_t last_used = 0;  // seconds since 1970
  std::vector<std::string> problems;
};
using EntryProgress = std::function<void(int64_t done, int64_t total, absl::string_view next)>;

// All entries, most recently used first. `check_weights`: compares every digest, not only those of headers and tables.
absl::StatusOr<std::vector<StoredEntry>> ListEntries(const CacheDirectory& directory, bool check_weights,
                                                     const EntryProgress& progress);

// What is wrong with the records of digests. `remove`: those that are damaged go.
std::vector<std::string> CheckDigests(const CacheDirectory& directory, bool remove);

struct PruneOptions {
  int64_t max_age_seconds = -1;  // since the last use; -1: any
  int64_t max_bytes = -1;        // of all that stays; least recently used entries go first
  bool damaged = true;           // entries with damaged files go, and damaged records of digests
  bool dry_run = false;
};
struct PrunedEntry {
  StoredEntry entry;
  std::string why;    // "not used for 31 days"
  std::string error;  // it is still there
};
// Entries that a process is writing to stay.
absl::StatusOr<std::vector<PrunedEntry>> PruneEntries(const CacheDirectory& directory, const PruneOptions& options);

}  // namespace rondo

#endif  // RONDO_CACHEDIR_CACHE_DIRECTORY_H_
