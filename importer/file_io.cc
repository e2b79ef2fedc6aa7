#include "importer/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif

#include <new>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "graph/file_pages.h"
#include "graph/status.h"
#include "importer/names.h"

namespace rondo {
namespace {

constexpr size_t kMaxLocationBytes = 4096;
constexpr size_t kMapFromBytes = 64 * 1024;
// Never block on a FIFO, never become a terminal's process group, never leak into a child.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

class FdCloser {
 public:
  explicit FdCloser(int fd) : fd_(fd) {}
  FdCloser(const FdCloser&) = delete;
  FdCloser& operator=(const FdCloser&) = delete;
  ~FdCloser() { close(fd_); }

 private:
  const int fd_;
};

absl::Status ErrnoStatus(int error, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

absl::StatusOr<int> OpenAt(int directory, const char* path, int flags) {
  int fd;
  do {
    fd = openat(directory, path, flags);
  } while (fd < 0 && errno == EINTR);
  if (fd >= 0) return fd;
  if (errno == ELOOP) return absl::PermissionDeniedError("is a symbolic link");
  // A directory opened as a file, a socket, a path through a file.
  return ErrnoStatus(errno, "cannot open");
}

}  // namespace

FileBytes::~FileBytes() {
  if (!mapped_) return;
  RemoveFilePages(data_);
  munmap(const_cast<uint8_t*>(data_), size_);
}

absl::StatusOr<std::shared_ptr<const FileBytes>> ReadAll(int fd, size_t size) {
  auto bytes = std::make_shared<FileBytes>();
  bytes->memory_.reset(new (std::nothrow) uint8_t[size == 0 ? 1 : size]);
  if (bytes->memory_ == nullptr) return ResourceExhausted("no memory for a file of ", size, " bytes");
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, bytes->memory_.get() + done, size - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "cannot read");
    if (n == 0) return InvalidArgument("the file shrank from ", size, " to ", done, " bytes while it was read");
    done += static_cast<size_t>(n);
  }
  bytes->data_ = bytes->memory_.get();
  bytes->size_ = size;
  return std::shared_ptr<const FileBytes>(std::move(bytes));
}

absl::StatusOr<std::shared_ptr<const FileBytes>> Map(int fd, size_t size) {
  auto bytes = std::make_shared<FileBytes>();
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, "cannot map");
  bytes->data_ = static_cast<const uint8_t*>(address);
  bytes->size_ = size;
  bytes->mapped_ = true;
  AddFilePages(address, size);
  return std::shared_ptr<const FileBytes>(std::move(bytes));
}

absl::StatusOr<std::shared_ptr<const FileBytes>> ReadRegularFile(const std::string& path, uint64_t limit,
                                                                 FileVersion* version) {
  if (path.find('\0') != std::string::npos) return InvalidArgument("the path holds a NUL byte");
  RONDO_ASSIGN_OR_RETURN(const int fd, OpenAt(AT_FDCWD, path.c_str(), kOpenFlags));
  FdCloser closer(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "cannot stat");
  if (!S_ISREG(info.st_mode)) return InvalidArgument("not a regular file");
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > limit) {
    return ResourceExhausted("model file ", size, " bytes, limit ", limit, "; use external data");
  }
  if (version != nullptr) *version = FileVersion::Of(info);
  return ReadAll(fd, size);
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

ExternalFiles::~ExternalFiles() {
  if (directory_fd_ >= 0) close(directory_fd_);
}

absl::StatusOr<int> ExternalFiles::OpenByComponents(const std::string& path) {
  std::vector<std::string> parts = absl::StrSplit(path, '/');
  int directory = directory_fd_;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool last = i + 1 == parts.size();
    // O_PATH | O_NOFOLLOW would open a link itself; O_DIRECTORY | O_NOFOLLOW fails on it with ENOTDIR.
    const int flags = last ? kOpenFlags | O_NOFOLLOW : O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW;
    struct stat info;
    const bool is_link =
        !last && fstatat(directory, parts[i].c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
    absl::StatusOr<int> next = OpenAt(directory, parts[i].c_str(), flags);
    if (directory != directory_fd_) close(directory);
    if (!next.ok()) return is_link ? absl::PermissionDeniedError("is a symbolic link") : next.status();
    directory = *next;
  }
  return directory;
}

absl::StatusOr<int> ExternalFiles::OpenBeneath(const std::string& path) {
#if defined(SYS_openat2) && defined(RESOLVE_BENEATH)
  struct open_how how = {};
  how.flags = kOpenFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < 16; ++attempt) {
    const long fd = syscall(SYS_openat2, directory_fd_, path.c_str(), &how, sizeof(how));
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == EINTR || errno == EAGAIN) continue;  // EAGAIN: a rename raced with the walk
    if (errno == ELOOP) return absl::PermissionDeniedError("is a symbolic link");
    if (errno == EXDEV) return absl::PermissionDeniedError("leaves the model directory");
    // Old kernels, and sandboxes that refuse system calls they do not know.
    if (errno == ENOSYS || errno == EPERM || errno == EINVAL) break;
    return ErrnoStatus(errno, "cannot open");
  }
#endif
  return OpenByComponents(path);
}

absl::StatusOr<std::shared_ptr<const FileBytes>> ExternalFiles::Open(absl::string_view location) {
  const std::string where = absl::StrCat("external data ", Quote(location));
  if (base_directory_.empty()) {
    return InvalidArgument(where, ": the model was loaded from memory and has no base directory");
  }
  if (location.empty()) return InvalidArgument(where, ": empty location");
  if (location.size() > kMaxLocationBytes) {
    return InvalidArgument(where, ": location of ", location.size(), " bytes, limit ", kMaxLocationBytes);
  }
  if (location.find('\0') != absl::string_view::npos) return InvalidArgument(where, ": location holds a NUL byte");
  const bool drive = location.size() >= 2 && location[1] == ':';
  if (location[0] == '/' || drive || absl::StrContains(location, "://") || absl::StartsWith(location, "file:")) {
    return absl::PermissionDeniedError(absl::StrCat(where, " leaves the model directory: not a relative path"));
  }
  if (absl::StrContains(location, '\\')) {
    return absl::PermissionDeniedError(absl::StrCat(where, ": backslash in the path; '/' separates folders"));
  }
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(location, '/')) {
    if (part == "..") return absl::PermissionDeniedError(absl::StrCat(where, " leaves the model directory"));
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  if (parts.empty() || absl::EndsWith(location, "/") || absl::EndsWith(location, "/.")) {
    return InvalidArgument(where, ": names a directory, not a file");
  }
  const std::string path = absl::StrJoin(parts, "/");
  auto it = files_.find(path);
  if (it != files_.end()) return it->second;

  if (directory_fd_ < 0) {
    absl::StatusOr<int> fd = OpenAt(AT_FDCWD, base_directory_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (!fd.ok()) return Annotate(fd.status(), absl::StrCat("folder ", Quote(base_directory_), ": "));
    directory_fd_ = *fd;
  }
  absl::StatusOr<int> opened = follow_links_ ? OpenAt(directory_fd_, path.c_str(), kOpenFlags) : OpenBeneath(path);
  if (!opened.ok()) return Annotate(opened.status(), absl::StrCat(where, ": "));
  FdCloser closer(*opened);
  struct stat info;
  if (fstat(*opened, &info) != 0) return ErrnoStatus(errno, absl::StrCat(where, ": cannot stat"));
  if (!S_ISREG(info.st_mode)) return InvalidArgument(where, ": not a regular file");
  if (!follow_links_ && info.st_nlink != 1) {
    return absl::PermissionDeniedError(absl::StrCat(where, ": the file has ", info.st_nlink, " hard links, allowed 1"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  absl::StatusOr<std::shared_ptr<const FileBytes>> bytes =
      size < kMapFromBytes ? ReadAll(*opened, size) : Map(*opened, size);
  if (!bytes.ok()) return Annotate(bytes.status(), absl::StrCat(where, ": "));
  files_[path] = *bytes;
  opened_.push_back({absl::StrCat(base_directory_, "/", path), FileVersion::Of(info), nullptr, nullptr});
  if ((*bytes)->mapped()) {
    opened_.back().data = (*bytes)->data();
    opened_.back().mapping = *bytes;
  }
  total_bytes_ += size;
  return bytes;
}

}  // namespace rondo
