#include "tools/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "graph/status.h"

namespace rondo {
namespace {

absl::Status FileError(const std::string& path, absl::string_view what, int error) {
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM || error == ELOOP) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

// Closes the descriptor when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status WriteAll(int fd, const std::string& path, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path, "cannot write", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return FileError(path, "cannot open", errno);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(path, "cannot stat", errno);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path, ": not a regular file");
  if (static_cast<uint64_t>(info.st_size) > uint64_t{1} << 40) {
    return ResourceExhausted(path, ": ", info.st_size, " bytes (limit ", uint64_t{1} << 40, ")");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = read(fd.get(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "cannot read", errno);
    if (got == 0) return InvalidArgument(path, ": became shorter while it was read");
    filled += static_cast<size_t>(got);
  }
  return bytes;
}

absl::Status CheckWritable(const std::string& path) {
  struct stat info;
  const bool exists = lstat(path.c_str(), &info) == 0;
  const Descriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
  if (fd.get() < 0) return FileError(path, errno == ELOOP ? "is a symbolic link" : "cannot create", errno);
  if (!exists) unlink(path.c_str());
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, absl::string_view bytes) {
  Descriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (fd.get() < 0) return FileError(path, errno == ELOOP ? "is a symbolic link" : "cannot create", errno);
  struct stat info;
  const bool regular = fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode);
  absl::Status status = WriteAll(fd.get(), path, bytes);
  if (close(fd.Release()) != 0 && status.ok()) status = FileError(path, "cannot write", errno);
  if (!status.ok() && regular) unlink(path.c_str());  // never a device
  return status;
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FileError(path, "cannot create the folder", error.value());
  if (!std::filesystem::is_directory(path, error)) return InvalidArgument(path, ": not a folder");
  return absl::OkStatus();
}

std::string SafeFileName(absl::string_view name, absl::flat_hash_set<std::string>* used) {
  std::string safe;
  for (char c : name.substr(0, 100)) {
    const bool kept = absl::ascii_isalnum(c) || c == '_' || c == '-' || (c == '.' && !safe.empty());
    safe.push_back(kept ? c : '_');
  }
  if (safe.empty()) safe = "unnamed";
  std::string unique = safe;
  for (int n = 2; !used->insert(unique).second; ++n) unique = absl::StrCat(safe, "_", n);
  return unique;
}

}  // namespace rondo
