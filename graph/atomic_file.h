// Files that appear whole or not at all: written beside their name, and given the name once they are on the disk.
// Whoever reads the name finds the old file or the new one, also when the writer is killed or the power fails.
#ifndef RONDO_GRAPH_ATOMIC_FILE_H_
#define RONDO_GRAPH_ATOMIC_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rondo {

// "cannot <verb> <path>: <errno's text>".
absl::Status FileError(absl::string_view verb, absl::string_view path);

// Owns a descriptor; -1: none.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~FileDescriptor() { Close(); }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  bool Close();  // false: the system reports that something was not written

 private:
  int fd_;
};

class AtomicFile {
 public:
  // Creates a file beside `path`, named path + ".XXXXXX". What was written is removed unless it is committed.
  explicit AtomicFile(std::string path, mode_t mode = 0600);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  absl::Status Write(const void* data, size_t bytes);
  // Syncs the file, gives it its name, syncs the folder. Once only.
  absl::Status Commit();

 private:
  absl::Status CheckCreated() const;

  const std::string path_;
  std::string temporary_;
  FileDescriptor file_;
  const int error_;  // of the creation: errno, or 0
  bool created_;
};

}  // namespace rondo

#endif  // RONDO_GRAPH_ATOMIC_FILE_H_
