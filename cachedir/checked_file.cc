#include "cachedir/checked_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_format.h"
#include "cachedir/digest.h"
#include "graph/status.h"

namespace rondo {
namespace {

constexpr size_t kPrefix = 17;  // the digest and a line break

std::string PrefixOf(absl::string_view text, uint64_t seed) {
  return absl::StrFormat("%016x\n", ShortDigestOf(text.data(), text.size(), seed));
}

}  // namespace

bool IsTrustedOwner(uid_t owner) { return owner == geteuid() || owner == 0 || geteuid() == 0; }

absl::StatusOr<FileDescriptor> OpenTrusted(const std::string& path, struct stat* info) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!fd.ok() && errno == ELOOP) return InvalidArgument(path, " is a link");
  if (!fd.ok() || fstat(fd.get(), info) != 0) return FileError("open", path);
  if (!S_ISREG(info->st_mode)) return InvalidArgument(path, " is no regular file");
  if (!IsTrustedOwner(info->st_uid)) {
    return absl::PermissionDeniedError(absl::StrCat(path, " belongs to user ", info->st_uid));
  }
  return fd;
}

absl::StatusOr<std::string> ReadCheckedText(const std::string& path, uint64_t seed, size_t max_bytes) {
  struct stat info;
  RONDO_ASSIGN_OR_RETURN(const FileDescriptor fd, OpenTrusted(path, &info));
  const auto size = static_cast<size_t>(info.st_size);
  if (size < kPrefix) return InvalidArgument(path, " is truncated: it has ", size, " bytes");
  if (size > max_bytes + kPrefix) return InvalidArgument(path, " is damaged: it has ", size, " bytes");
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t n = read(fd.get(), bytes.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError("read", path);
    if (n == 0) return InvalidArgument(path, " is truncated: it ends after ", done, " bytes");
    done += static_cast<size_t>(n);
  }
  const std::string text = bytes.substr(kPrefix);
  if (bytes.compare(0, kPrefix, PrefixOf(text, seed)) != 0) {
    return InvalidArgument(path, " is damaged: its digest does not match");
  }
  return text;
}

absl::Status WriteCheckedText(const std::string& path, uint64_t seed, absl::string_view text) {
  const std::string prefix = PrefixOf(text, seed);
  AtomicFile file(path, kCacheFileMode);
  RONDO_RETURN_IF_ERROR(file.Write(prefix.data(), prefix.size()));
  RONDO_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
  return file.Commit();
}

}  // namespace rondo
