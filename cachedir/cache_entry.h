// CacheEntry: what the cache directory holds for one model, machine and version of rondo, as one process sees it.
// Weights are found by what they are made of and lie where the file is mapped; what was packed here is written by Save.
//
// Nothing that is wrong with a directory is fatal: it is told in report().problems, and the process does without.
#ifndef RONDO_CACHEDIR_CACHE_ENTRY_H_
#define RONDO_CACHEDIR_CACHE_ENTRY_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cachedir/cache_directory.h"
#include "cachedir/weight_sweep.h"
#include "cachedir/weights_file.h"
#include "graph/source_file.h"
#include "ops/primitive_cache.h"
#include "rondo/cache.h"

namespace rondo {

class CacheEntry final : public PackedWeightStore {
 public:
  // Of the model file `path`, as far as can be told before it is read: where its files are the same versions as the
  // last time, their entry is opened and the check of what is there begins. Up to `threads` check, this one included.
  // `weights_as` as in EntryIdentity: weights in another form are another entry, so that no time goes into checking
  // what is not wanted.
  static std::shared_ptr<CacheEntry> Open(const std::string& directory, const std::string& path,
                                          const std::string& weights_as, int threads);
  // The files that the model was read from: they decide which entry it is. REQUIRES: called once, before all below.
  void Bind(std::vector<SourceFile> files);

  // Thread-safe, as is all that follows.
  Tensor Find(absl::Span<const Tensor> sources, const PackedForm& form) override;
  void Add(absl::Span<const Tensor> sources, const PackedForm& form, const Tensor& packed) override;

  // Of earlier processes.
  const std::vector<KnownKey>& keys() const { return manifest_.keys; }
  const std::vector<PlanShapes>& shapes() const { return manifest_.shapes; }

  // Writes what was added since the last time, and those of the keys and shapes that the entry does not have. Damaged
  // files are replaced. The error is among the problems too.
  absl::Status Save(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes);

  CacheDirectoryReport report() const;

 private:
  struct Opened {
    std::shared_ptr<WeightsFile> file;
    bool damaged = false;
  };

  CacheEntry(std::string directory, std::string weights_as, int threads)
      : weights_as_(std::move(weights_as)), threads_(threads) {
    report_.path = std::move(directory);
  }
  void OpenEntry(EntryIdentity identity);
  void OpenWeights();
  Digest IdentityOf(const Tensor& source) const;
  Digest KeyOf(absl::Span<const Tensor> sources, const PackedForm& form) const;
  absl::Status SaveLocked(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes);
  void SweepUp() const;
  absl::Status WriteWeights();
  absl::Status WriteManifest(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes);
  void Salvage(Opened& damaged);
  void Problem(const absl::Status& status);

  const std::string weights_as_;
  const int threads_;
  std::vector<DigestedFile> remembered_;
  std::vector<SourceFile> files_;
  std::optional<CacheDirectory> directory_;  // none: there is nothing to be had
  std::string path_;
  Digest name_;
  EntryIdentity identity_;
  Manifest manifest_;  // as it was when it was opened

  mutable std::mutex mutex_;
  std::vector<Opened> opened_;              // guarded by mutex_
  std::unique_ptr<WeightSweep> sweep_;      // of the opened files
  std::vector<std::string> damaged_paths_;  // guarded by mutex_; files to be removed
  std::vector<WeightToStore> pending_;      // guarded by mutex_
  CacheDirectoryReport report_;             // guarded by mutex_
};

}  // namespace rondo

#endif  // RONDO_CACHEDIR_CACHE_ENTRY_H_
