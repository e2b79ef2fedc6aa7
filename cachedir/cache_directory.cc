#include "cachedir/cache_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cachedir/checked_file.h"
#include "cachedir/weights_file.h"
#include "graph/status.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kTagName[] = "CACHEDIR.TAG";
constexpr char kSignature[] = "Signature: 8a477f597d28d172789f06886806bc55";
constexpr char kFormatPrefix[] = "# rondo cache format 1, seed ";
constexpr char kDigestsName[] = "digests";
constexpr size_t kMaxTagBytes = 4096;
constexpr size_t kMaxDigestsBytes = size_t{4} << 20;
// Two changes of a file may have one time where a file system's clock is coarse: a version is taken for a content's
// only when it was this old when the content was read.
constexpr int64_t kSettledNs = 2'000'000'000;
// Writing a tag takes milliseconds; who was stopped while doing so is not waited for.
constexpr std::chrono::seconds kTagPatience(5);
constexpr std::chrono::milliseconds kRetry(5);

std::string Join(absl::string_view folder, absl::string_view name) { return absl::StrCat(folder, "/", name); }

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* const folder = opendir(path.c_str());
  if (folder == nullptr) return FileError("list", path);
  while (const dirent* item = readdir(folder)) {
    const std::string name = item->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

// Of a file that has not got its name: AtomicFile's.
bool IsUnfinished(absl::string_view name) {
  const size_t dot = name.rfind('.');
  return dot != absl::string_view::npos && name.size() - dot == sizeof(".XXXXXX") - 1;
}

// The tag's seed. NotFound: there is no tag.
absl::StatusOr<uint64_t> ReadTag(const std::string& path) {
  const std::string tag = Join(path, kTagName);
  struct stat info;
  RONDO_ASSIGN_OR_RETURN(const FileDescriptor fd, OpenTrusted(tag, &info));
  char buffer[kMaxTagBytes];
  const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
  if (n < 0) return FileError("read", tag);
  const absl::string_view text(buffer, static_cast<size_t>(n));
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    uint64_t seed;
    if (absl::ConsumePrefix(&line, kFormatPrefix) && line.size() == 16 && absl::SimpleHexAtoi(line, &seed)) return seed;
  }
  return InvalidArgument(tag, ": expected the tag of a rondo cache of format 1");
}

absl::Status WriteTag(const std::string& path) {
  uint64_t seed;
  if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) return absl::ErrnoToStatus(errno, "no random numbers");
  const std::string text = absl::StrFormat(
      "%s\n# This folder holds what rondo has compiled for models. It may be removed at any time.\n%s%016x\n",
      kSignature, kFormatPrefix, seed);
  AtomicFile file(Join(path, kTagName), kCacheFileMode);
  RONDO_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
  return file.Commit();
}

// Of two processes that find no tag one writes it.
absl::Status MakeTag(const std::string& path) {
  const FileDescriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.ok()) return FileError("open", path);
  const auto end = std::chrono::steady_clock::now() + kTagPatience;
  while (flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return FileError("lock", path);
    if (std::chrono::steady_clock::now() >= end) {
      return absl::UnavailableError(absl::StrCat(path, " is being made by another process"));
    }
    std::this_thread::sleep_for(kRetry);
  }
  if (ReadTag(path).ok()) return absl::OkStatus();
  RemoveUnfinished(path, {kTagName});
  RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(path));
  if (names.empty()) return WriteTag(path);
  return InvalidArgument(path, " holds other files (", names[0], ") and no ", kTagName,
                         " of rondo: expected an empty folder, or a cache directory");
}

absl::Status CheckFolder(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return FileError("open", path);
  if (!S_ISDIR(info.st_mode)) return InvalidArgument(path, " is no folder");
  if (!IsTrustedOwner(info.st_uid)) {
    return absl::PermissionDeniedError(absl::StrCat(path, " belongs to user ", info.st_uid, ", not to this one"));
  }
  if ((info.st_mode & S_IWOTH) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " can be written by everybody, who could change results: expected chmod o-w"));
  }
  return absl::OkStatus();
}

// ---- digests of model files ----

std::string DigestsToJson(const std::vector<DigestedFile>& files) {
  Json json = Json::array();
  for (const DigestedFile& file : files) {
    const FileVersion& v = file.version;
    json.push_back({{"path", file.path},
                    {"device", v.device},
                    {"inode", v.inode},
                    {"bytes", v.bytes},
                    {"modified_ns", v.modified_ns},
                    {"changed_ns", v.changed_ns},
                    {"digest", file.digest.ToHex()}});
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::vector<DigestedFile>> DigestsFromJson(absl::string_view text) try {
  std::vector<DigestedFile> files;
  for (const Json& json : Json::parse(text.begin(), text.end())) {
    const std::optional<Digest> digest = Digest::FromHex(json.at("digest").get<std::string>());
    if (!digest.has_value()) return InvalidArgument("a digest");
    files.push_back(
        {json.at("path").get<std::string>(),
         {json.at("device").get<uint64_t>(), json.at("inode").get<uint64_t>(), json.at("bytes").get<uint64_t>(),
          json.at("modified_ns").get<int64_t>(), json.at("changed_ns").get<int64_t>()},
         *digest});
  }
  return files;
} catch (const Json::exception& e) {
  return InvalidArgument(e.what());
}

std::string Canonical(const std::string& path) {
  std::error_code error;
  return std::filesystem::weakly_canonical(path, error).string();
}

absl::StatusOr<Digest> DigestSource(const SourceFile& file, uint64_t seed) {
  const FileDescriptor fd(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info;
  if (!fd.ok() || fstat(fd.get(), &info) != 0) return FileError("open", file.path);
  const auto changed = [&] { return InvalidArgument(file.path, " has changed since the model was read"); };
  if (FileVersion::Of(info) != file.version) return changed();
  absl::StatusOr<Digest> digest = DigestOfFile(fd.get(), file.version.bytes, seed);
  if (!digest.ok()) return Annotate(digest.status(), absl::StrCat(file.path, ": "));
  if (fstat(fd.get(), &info) != 0 || FileVersion::Of(info) != file.version) return changed();
  return digest;
}

absl::StatusOr<std::vector<DigestedFile>> ReadRecord(const std::string& path, uint64_t seed) {
  RONDO_ASSIGN_OR_RETURN(const std::string text, ReadCheckedText(path, seed, kMaxDigestsBytes));
  absl::StatusOr<std::vector<DigestedFile>> files = DigestsFromJson(text);
  return files.ok() ? files : Annotate(files.status(), absl::StrCat(path, ": "));
}

// Not being able to write a record costs the next process the time of reading the model's files, nothing else. One
// process at a time writes, so that what is unfinished is of one that was killed.
void WriteRecord(const std::string& folder, const std::string& name, uint64_t seed,
                 const std::vector<DigestedFile>& files) {
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return;
  const FileDescriptor lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.ok() || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return;
  RemoveUnfinished(folder, {""});
  (void)WriteCheckedText(Join(folder, name), seed, DigestsToJson(files));
}

bool Settled(const FileVersion& version, int64_t now_ns) {
  return std::max(version.modified_ns, version.changed_ns) < now_ns - kSettledNs;
}

}  // namespace

absl::StatusOr<CacheDirectory> CacheDirectory::Open(const std::string& path, bool create) {
  if (path.empty()) return InvalidArgument("the cache directory has no name");
  if (create && mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return FileError("create", path);
  }
  RONDO_RETURN_IF_ERROR(CheckFolder(path));
  absl::StatusOr<uint64_t> seed = ReadTag(path);
  if (create && absl::IsNotFound(seed.status())) {
    RONDO_RETURN_IF_ERROR(MakeTag(path));
    seed = ReadTag(path);
  }
  if (absl::IsNotFound(seed.status())) return InvalidArgument(path, " is no cache directory: it has no ", kTagName);
  if (!seed.ok()) return seed.status();
  return CacheDirectory(path, *seed);
}

std::string CacheDirectory::EntryPath(absl::string_view name) const { return Join(path_, name); }

std::string CacheDirectory::RecordOf(const std::string& path) const { return DigestOf(Canonical(path), seed_).ToHex(); }

absl::StatusOr<std::vector<DigestedFile>> CacheDirectory::Remembered(const std::string& path) const {
  absl::StatusOr<std::vector<DigestedFile>> files = ReadRecord(Join(Join(path_, kDigestsName), RecordOf(path)), seed_);
  if (absl::IsNotFound(files.status())) return std::vector<DigestedFile>();
  return files;
}

bool AreCurrent(const std::vector<DigestedFile>& files) {
  struct stat info;
  return !files.empty() && std::all_of(files.begin(), files.end(), [&](const DigestedFile& file) {
    return stat(file.path.c_str(), &info) == 0 && FileVersion::Of(info) == file.version;
  });
}

absl::StatusOr<std::vector<DigestedFile>> CacheDirectory::Digests(const std::vector<SourceFile>& files,
                                                                  const std::vector<DigestedFile>& remembered) const {
  if (files.empty()) return InvalidArgument("a model that was not read from a file");
  std::vector<DigestedFile> now;
  const int64_t now_ns = absl::GetCurrentTimeNanos();
  bool settled = true, as_remembered = remembered.size() == files.size();
  for (size_t i = 0; i < files.size(); ++i) {
    DigestedFile file = {Canonical(files[i].path), files[i].version, {}};
    if (i < remembered.size() && remembered[i].version == file.version) {
      file.digest = remembered[i].digest;
    } else {
      as_remembered = false;
      RONDO_ASSIGN_OR_RETURN(file.digest, DigestSource(files[i], seed_));
    }
    settled &= Settled(file.version, now_ns);
    now.push_back(std::move(file));
  }
  if (settled && !as_remembered) WriteRecord(Join(path_, kDigestsName), RecordOf(files[0].path), seed_, now);
  return now;
}

absl::StatusOr<EntryLock> EntryLock::Take(const std::string& entry_path, double patience_seconds) {
  const std::string path = Join(entry_path, kLockName);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_seconds);
  while (true) {
    if (mkdir(entry_path.c_str(), 0755) != 0 && errno != EEXIST) return FileError("create", entry_path);
    FileDescriptor fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kCacheFileMode));
    if (!fd.ok() && errno == ENOENT) {
      struct stat info;  // a link to nowhere exists as well
      if (lstat(entry_path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode)) {
        return InvalidArgument(entry_path, " is no folder");
      }
      continue;  // pruned between the two calls
    }
    if (!fd.ok()) return FileError("open", path);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      // Whoever held it before may have removed the entry.
      struct stat ours, named;
      if (fstat(fd.get(), &ours) == 0 && stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino) {
        return EntryLock(std::move(fd));
      }
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return FileError("lock", path);
    if (std::chrono::steady_clock::now() >= end) {
      return absl::UnavailableError(absl::StrCat(entry_path, " is being written by another process"));
    }
    std::this_thread::sleep_for(kRetry);
  }
}

void EntryLock::Touch(const std::string& entry_path) {
  (void)utimensat(AT_FDCWD, Join(entry_path, kLockName).c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

absl::StatusOr<Manifest> ReadManifest(const std::string& entry_path, const Digest& name, uint64_t seed) {
  const std::string path = Join(entry_path, kManifestName);
  RONDO_ASSIGN_OR_RETURN(const std::string text, ReadCheckedText(path, seed, Manifest::kMaxBytes));
  absl::StatusOr<Manifest> manifest = Manifest::FromJson(text);
  if (manifest.ok() && manifest->identity.Name(seed) != name) manifest = InvalidArgument("it is of another entry");
  return manifest.ok() ? manifest : Annotate(manifest.status(), absl::StrCat(path, ": "));
}

std::vector<std::string> ListUnfinished(const std::string& folder, absl::Span<const absl::string_view> prefixes) {
  std::vector<std::string> paths;
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(folder);
  if (!names.ok()) return paths;
  for (const std::string& name : *names) {
    const auto begins = [&](absl::string_view prefix) { return absl::StartsWith(name, prefix); };
    if (IsUnfinished(name) && absl::c_any_of(prefixes, begins)) paths.push_back(Join(folder, name));
  }
  return paths;
}

void RemoveUnfinished(const std::string& folder, absl::Span<const absl::string_view> prefixes) {
  for (const std::string& path : ListUnfinished(folder, prefixes)) unlink(path.c_str());
}

std::vector<WeightsName> ListWeights(const std::string& entry_path) {
  std::vector<WeightsName> weights;
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(entry_path);
  if (!names.ok()) return weights;
  for (absl::string_view name : *names) {
    absl::string_view number = name;
    int32_t n;
    if (!absl::ConsumePrefix(&number, "weights-") || !absl::SimpleAtoi(number, &n) || n < 0) continue;
    if (number != absl::StrCat(n)) continue;  // what is being written, or was when its process ended
    weights.push_back({n, Join(entry_path, name)});
  }
  std::sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return weights;
}

// ---- for the tools ----

namespace {

StoredEntry ReadEntry(const CacheDirectory& directory, const std::string& name, bool check_weights) {
  StoredEntry entry;
  entry.name = name;
  const std::string path = directory.EntryPath(name);
  const auto problem = [&](const absl::Status& status) { entry.problems.push_back(std::string(status.message())); };
  struct stat info;
  if (const absl::StatusOr<std::vector<std::string>> names = NamesIn(path); names.ok()) {
    for (const std::string& file : *names) {
      if (lstat(Join(path, file).c_str(), &info) == 0) entry.bytes += info.st_size;
    }
  } else {
    problem(names.status());
  }
  if (stat(Join(path, kLockName).c_str(), &info) == 0) entry.last_used = info.st_mtim.tv_sec;
  const Digest digest = Digest::FromHex(name).value_or(Digest());
  if (absl::StatusOr<Manifest> manifest = ReadManifest(path, digest, directory.seed()); manifest.ok()) {
    entry.manifest = *std::move(manifest);
  } else if (!absl::IsNotFound(manifest.status())) {  // the first weights come before it
    problem(manifest.status());
  }
  for (const WeightsName& weights : ListWeights(path)) {
    const auto file = WeightsFile::Open(weights.path, digest, directory.seed());
    if (absl::IsNotFound(file.status())) continue;  // replaced since it was listed
    if (!file.ok()) {
      problem(file.status());
      continue;
    }
    entry.weights += static_cast<int64_t>((*file)->weights().size());
    for (const StoredWeight& weight : (*file)->weights()) {
      if (!check_weights) break;
      if (const absl::Status good = (*file)->Check(weight); !good.ok()) problem(good);
    }
  }
  return entry;
}

absl::Status RemoveEntry(const CacheDirectory& directory, const std::string& name) {
  const std::string path = directory.EntryPath(name);
  RONDO_ASSIGN_OR_RETURN(const EntryLock lock, EntryLock::Take(path, 0));
  RONDO_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(path));
  // The lock goes last: until then nobody else writes here.
  for (const std::string& file : names) {
    if (file != kLockName && unlink(Join(path, file).c_str()) != 0) return FileError("remove", Join(path, file));
  }
  if (unlink(Join(path, kLockName).c_str()) != 0) return FileError("remove", Join(path, kLockName));
  if (rmdir(path.c_str()) != 0 && errno != ENOTEMPTY) return FileError("remove", path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<StoredEntry>> ListEntries(const CacheDirectory& directory, bool check_weights,
                                                     const EntryProgress& progress) {
  RONDO_ASSIGN_OR_RETURN(std::vector<std::string> names, NamesIn(directory.path()));
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& name) { return !Digest::FromHex(name).has_value(); }),
              names.end());
  std::vector<StoredEntry> entries;
  for (const std::string& name : names) {
    if (progress) progress(static_cast<int64_t>(entries.size()), static_cast<int64_t>(names.size()), name);
    entries.push_back(ReadEntry(directory, name, check_weights));
  }
  if (progress) progress(static_cast<int64_t>(names.size()), static_cast<int64_t>(names.size()), "");
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.last_used > b.last_used; });
  return entries;
}

std::vector<std::string> CheckDigests(const CacheDirectory& directory, bool remove) {
  std::vector<std::string> problems;
  const std::string folder = Join(directory.path(), kDigestsName);
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(folder);
  if (!names.ok() && !absl::IsNotFound(names.status())) problems.push_back(std::string(names.status().message()));
  if (!names.ok()) return problems;
  for (const std::string& name : *names) {
    const absl::Status status = ReadRecord(Join(folder, name), directory.seed()).status();
    if (IsUnfinished(name) || status.ok() || absl::IsNotFound(status)) continue;
    problems.push_back(std::string(status.message()));
    if (remove && absl::IsInvalidArgument(status)) unlink(Join(folder, name).c_str());
  }
  return problems;
}

absl::StatusOr<std::vector<PrunedEntry>> PruneEntries(const CacheDirectory& directory, const PruneOptions& options) {
  RONDO_ASSIGN_OR_RETURN(std::vector<StoredEntry> entries, ListEntries(directory, options.damaged, nullptr));
  if (options.damaged) CheckDigests(directory, /*remove=*/!options.dry_run);
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  std::vector<PrunedEntry> pruned;
  int64_t kept_bytes = 0;
  for (StoredEntry& entry : entries) {  // most recently used first
    const int64_t age = now - entry.last_used;
    std::string why;
    if (options.damaged && !entry.problems.empty()) {
      why = "damaged";
    } else if (options.max_age_seconds >= 0 && age > options.max_age_seconds) {
      why = absl::StrCat("last used ", absl::FormatDuration(absl::Seconds(age)), " ago");
    } else if (options.max_bytes >= 0 && kept_bytes + entry.bytes > options.max_bytes) {
      why = "beyond the size";
    } else {
      kept_bytes += entry.bytes;
      continue;
    }
    PrunedEntry row{std::move(entry), std::move(why), ""};
    if (!options.dry_run) row.error = std::string(RemoveEntry(directory, row.entry.name).message());
    pruned.push_back(std::move(row));
  }
  return pruned;
}

}  // namespace rondo
