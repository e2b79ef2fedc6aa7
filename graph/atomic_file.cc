#include "graph/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace rondo {

absl::Status FileError(absl::string_view verb, absl::string_view path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", verb, " ", path));
}

bool FileDescriptor::Close() { return fd_ < 0 || close(std::exchange(fd_, -1)) == 0; }

AtomicFile::AtomicFile(std::string path, mode_t mode)
    : path_(std::move(path)),
      temporary_(path_ + ".XXXXXX"),
      file_(mkostemp(temporary_.data(), O_CLOEXEC)),
      error_(file_.ok() ? 0 : errno),
      created_(file_.ok()) {
  if (created_ && mode != 0600) fchmod(file_.get(), mode);  // failure leaves it to its owner alone
}

AtomicFile::~AtomicFile() {
  if (created_) unlink(temporary_.c_str());
}

absl::Status AtomicFile::CheckCreated() const {
  if (created_) return absl::OkStatus();
  return absl::ErrnoToStatus(error_, absl::StrCat("cannot create a file beside ", path_));
}

absl::Status AtomicFile::Write(const void* data, size_t bytes) {
  if (absl::Status status = CheckCreated(); !status.ok()) return status;
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = write(file_.get(), from, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError("write", path_);
    from += n;
    bytes -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (absl::Status status = CheckCreated(); !status.ok()) return status;
  if (fsync(file_.get()) != 0 || !file_.Close()) return FileError("write", path_);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return FileError("rename a file to", path_);
  created_ = false;
  // The name itself is on the disk when its folder is; a file system that cannot say so is no error.
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const FileDescriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.ok()) fsync(opened.get());
  return absl::OkStatus();
}

}  // namespace rondo
