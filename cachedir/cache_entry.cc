#include "cachedir/cache_entry.h"

#include <unistd.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "cachedir/checked_file.h"
#include "cachedir/version.h"
#include "graph/status.h"
#include "ops/compile_log.h"
#include "ops/machine.h"

namespace rondo {
namespace {

// How long a process that has something to write waits for others.
constexpr double kPatienceSeconds = 30;
// More threads than this read no faster from memory.
constexpr int kMaxSweepers = 8;
// How the names of an entry's files begin that are written under its lock.
constexpr absl::string_view kWritten[] = {"weights-", kManifestName};

double SecondsSince(int64_t begin_ns) { return static_cast<double>(SteadyNowNs() - begin_ns) * 1e-9; }

// Of a model of these files, on this machine, for this version.
EntryIdentity IdentityWith(const std::vector<DigestedFile>& files, const std::string& weights_as) {
  EntryIdentity identity = {{}, MachineText(), PackingVersion(), weights_as};
  for (const DigestedFile& file : files) identity.files.push_back({file.path, file.version.bytes, file.digest});
  return identity;
}

}  // namespace

std::shared_ptr<CacheEntry> CacheEntry::Open(const std::string& directory, const std::string& path,
                                             const std::string& weights_as, int threads) {
  std::shared_ptr<CacheEntry> entry(new CacheEntry(directory, weights_as, threads));
  absl::StatusOr<CacheDirectory> opened = CacheDirectory::Open(directory, /*create=*/true);
  if (!opened.ok()) {
    entry->Problem(opened.status());
    return entry;
  }
  entry->directory_ = *std::move(opened);
  if (auto remembered = entry->directory_->Remembered(path); remembered.ok()) {
    entry->remembered_ = *std::move(remembered);
    if (AreCurrent(entry->remembered_)) entry->OpenEntry(IdentityWith(entry->remembered_, weights_as));
  } else {
    entry->Problem(remembered.status());
  }
  return entry;
}

void CacheEntry::Bind(std::vector<SourceFile> files) {
  if (!directory_.has_value()) return;
  const int64_t begin = SteadyNowNs();
  files_ = std::move(files);
  const absl::StatusOr<std::vector<DigestedFile>> digests = directory_->Digests(files_, remembered_);
  report_.identify_seconds = SecondsSince(begin);
  if (!digests.ok()) {
    Problem(digests.status());
    directory_.reset();
    return;
  }
  // Another one than was thought: the files have changed since, or nothing was known of them.
  EntryIdentity identity = IdentityWith(*digests, weights_as_);
  if (report_.entry.empty() || identity.Name(directory_->seed()) != name_) OpenEntry(std::move(identity));
}

void CacheEntry::OpenEntry(EntryIdentity identity) {
  sweep_.reset();
  opened_.clear();
  damaged_paths_.clear();
  manifest_ = Manifest();
  identity_ = std::move(identity);
  name_ = identity_.Name(directory_->seed());
  path_ = directory_->EntryPath(name_.ToHex());
  report_.entry = name_.ToHex();
  if (absl::StatusOr<Manifest> manifest = ReadManifest(path_, name_, directory_->seed()); manifest.ok()) {
    manifest_ = *std::move(manifest);
  } else if (!absl::IsNotFound(manifest.status())) {
    Problem(manifest.status());
  }
  report_.keys_known = static_cast<int64_t>(manifest_.keys.size());
  OpenWeights();
}

void CacheEntry::OpenWeights() {
  for (const WeightsName& weights : ListWeights(path_)) {
    absl::StatusOr<std::shared_ptr<WeightsFile>> file = WeightsFile::Open(weights.path, name_, directory_->seed());
    if (file.ok()) {
      opened_.push_back({*std::move(file), false});
    } else if (!absl::IsNotFound(file.status())) {  // pruned since it was listed
      Problem(file.status());
      // What is somebody else's, or of a format to come, is not ours to remove.
      if (absl::IsInvalidArgument(file.status())) damaged_paths_.push_back(weights.path);
    }
  }
  std::vector<std::shared_ptr<const WeightsFile>> files;
  for (const Opened& opened : opened_) files.push_back(opened.file);
  sweep_ = std::make_unique<WeightSweep>(std::move(files), std::min(threads_, kMaxSweepers) - 1);
}

// A tensor in a mapped file is told by its place: the file's content is known. Others are told by their content.
Digest CacheEntry::IdentityOf(const Tensor& source) const {
  const auto* data = static_cast<const uint8_t*>(source.raw());
  const size_t bytes = source.bytes();
  for (size_t i = 0; i < files_.size(); ++i) {
    const SourceFile& file = files_[i];
    if (file.data == nullptr || data < file.data || data >= file.data + file.version.bytes) continue;
    if (bytes > file.version.bytes - static_cast<size_t>(data - file.data)) continue;
    return DigestOf(absl::StrCat("at ", data - file.data, "+", bytes, " of ", identity_.files[i].digest.ToHex()),
                    directory_->seed());
  }
  return DigestOfBlocks(data, bytes, directory_->seed());
}

Digest CacheEntry::KeyOf(absl::Span<const Tensor> sources, const PackedForm& form) const {
  std::string text = absl::StrCat(DataTypeName(form.dtype), DimsToString(form.dims), " ", form.layout);
  for (const Tensor& source : sources) {
    absl::StrAppend(&text, "\n", DataTypeName(source.dtype()), DimsToString(source.dims()), " ",
                    source.defined() ? IdentityOf(source).ToHex() : "absent");
  }
  return DigestOf(text, directory_->seed());
}

Tensor CacheEntry::Find(absl::Span<const Tensor> sources, const PackedForm& form) {
  if (!directory_.has_value()) return Tensor();
  std::lock_guard lock(mutex_);
  if (opened_.empty()) return Tensor();
  const Digest key = KeyOf(sources, form);
  for (Opened& opened : opened_) {
    const StoredWeight* const weight = opened.file->Find(key);
    // The kernel reads as many bytes as it asked for.
    if (weight == nullptr || weight->dtype != form.dtype || weight->dims != form.dims) continue;
    if (const absl::Status good = sweep_->Check(*weight); !good.ok()) {
      if (!opened.damaged) Problem(good);  // the first is enough
      opened.damaged = true;
      continue;
    }
    report_.bytes_found += static_cast<int64_t>(weight->bytes);
    return opened.file->View(*weight);
  }
  return Tensor();
}

void CacheEntry::Add(absl::Span<const Tensor> sources, const PackedForm& form, const Tensor& packed) {
  if (!directory_.has_value()) return;
  std::lock_guard lock(mutex_);
  pending_.push_back(
      {KeyOf(sources, form), std::string(CompileScope::Current().node), std::string(form.layout), packed});
}

absl::Status CacheEntry::Save(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes) {
  if (!directory_.has_value()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  absl::Status status = SaveLocked(keys, shapes);
  if (!status.ok()) {
    status = Annotate(status, "not saved: ");
    Problem(status);
    pending_.clear();  // once is enough: nothing else will be different the next time
  }
  return status;
}

absl::Status CacheEntry::SaveLocked(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes) {
  Manifest wanted = manifest_;
  const bool damaged =
      !damaged_paths_.empty() || std::any_of(opened_.begin(), opened_.end(), [](const Opened& o) { return o.damaged; });
  if (!wanted.Add(keys, shapes) && pending_.empty() && !damaged) {
    SweepUp();
    EntryLock::Touch(path_);
    return absl::OkStatus();
  }
  const int64_t begin = SteadyNowNs();
  RONDO_ASSIGN_OR_RETURN(const EntryLock lock, EntryLock::Take(path_, kPatienceSeconds));
  // From here on no other process writes to this entry.
  for (Opened& opened : opened_) {
    if (opened.damaged) Salvage(opened);
  }
  RONDO_RETURN_IF_ERROR(WriteWeights());
  RONDO_RETURN_IF_ERROR(WriteManifest(keys, shapes));
  EntryLock::Touch(path_);
  report_.write_seconds += SecondsSince(begin);
  return absl::OkStatus();
}

// A process that was killed may have been the only one with something to write. Who holds the lock sweeps itself.
void CacheEntry::SweepUp() const {
  if (ListUnfinished(path_, kWritten).empty()) return;
  if (const auto lock = EntryLock::Take(path_, /*patience_seconds=*/0); lock.ok()) RemoveUnfinished(path_, kWritten);
}

// What is good in a damaged file is written anew, like what was packed.
void CacheEntry::Salvage(Opened& damaged) {
  for (const StoredWeight& weight : damaged.file->weights()) {
    if (!sweep_->Check(weight).ok()) continue;
    pending_.push_back({weight.key, weight.node, weight.layout, damaged.file->View(weight)});
  }
  damaged_paths_.push_back(damaged.file->path());
}

absl::Status CacheEntry::WriteWeights() {
  // What others have written in the meantime is not written twice. Only their tables are read here: whoever finds such
  // a weight damaged later replaces it.
  absl::flat_hash_set<Digest> there;
  int64_t next = 0;
  const std::vector<WeightsName> names = ListWeights(path_);
  for (const WeightsName& weights : names) {
    next = std::max(next, weights.number + 1);
    if (std::find(damaged_paths_.begin(), damaged_paths_.end(), weights.path) != damaged_paths_.end()) continue;
    const auto file = WeightsFile::Open(weights.path, name_, directory_->seed());
    if (!file.ok()) {
      if (absl::IsInvalidArgument(file.status())) damaged_paths_.push_back(weights.path);
      continue;
    }
    for (const StoredWeight& weight : (*file)->weights()) there.insert(weight.key);
  }
  std::vector<WeightToStore> to_write;
  for (WeightToStore& weight : pending_) {
    if (there.insert(weight.key).second) to_write.push_back(std::move(weight));
  }
  pending_.clear();
  RemoveUnfinished(path_, kWritten);
  if (!to_write.empty()) {
    RONDO_ASSIGN_OR_RETURN(const int64_t bytes, WriteWeightsFile(absl::StrCat(path_, "/weights-", next), name_,
                                                                 directory_->seed(), to_write));
    report_.bytes_written += bytes;
  }
  for (const std::string& path : damaged_paths_) unlink(path.c_str());
  damaged_paths_.clear();
  opened_.erase(std::remove_if(opened_.begin(), opened_.end(), [](const Opened& o) { return o.damaged; }),
                opened_.end());
  return absl::OkStatus();
}

absl::Status CacheEntry::WriteManifest(const std::vector<KnownKey>& keys, const std::vector<PlanShapes>& shapes) {
  // Others may have written it since it was opened.
  Manifest current = ReadManifest(path_, name_, directory_->seed()).value_or(Manifest());
  if (current.created == 0) current.created = absl::ToUnixSeconds(absl::Now());
  current.identity = identity_;
  current.Add(keys, shapes);
  RONDO_RETURN_IF_ERROR(
      WriteCheckedText(absl::StrCat(path_, "/", kManifestName), directory_->seed(), current.ToJson()));
  manifest_ = std::move(current);
  return absl::OkStatus();
}

CacheDirectoryReport CacheEntry::report() const {
  std::lock_guard lock(mutex_);
  return report_;
}

void CacheEntry::Problem(const absl::Status& status) { report_.problems.push_back(std::string(status.message())); }

}  // namespace rondo
