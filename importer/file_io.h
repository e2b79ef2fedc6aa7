// Files that a model is made of.
//
// The .onnx file itself is read into memory: it may be changed or truncated while it is parsed without harm. External
// data is mapped, and that has a price: when another process truncates the file *after* it was mapped, reading the lost
// pages raises SIGBUS, which no check at load time can prevent. Files under 64 KiB are therefore read; whoever shares a
// folder with untrusted writers must copy large ones first. Replacing a file by rename, as downloads do, is safe.
#ifndef RONDO_IMPORTER_FILE_IO_H_
#define RONDO_IMPORTER_FILE_IO_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/source_file.h"

namespace rondo {

// Read-only bytes of a file, in memory or mapped.
class FileBytes {
 public:
  FileBytes() = default;
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  ~FileBytes();

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  absl::string_view view() const { return absl::string_view(reinterpret_cast<const char*>(data_), size_); }
  bool mapped() const { return mapped_; }

 private:
  friend absl::StatusOr<std::shared_ptr<const FileBytes>> ReadAll(int fd, size_t size);
  friend absl::StatusOr<std::shared_ptr<const FileBytes>> Map(int fd, size_t size);
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  std::unique_ptr<uint8_t[]> memory_;
};

// Reads a regular file. Errors: NotFound, PermissionDenied, InvalidArgument `not a regular file`, ResourceExhausted
// when it exceeds `limit` bytes.
// `version`, if not null, gets what the system says of the file that was read.
absl::StatusOr<std::shared_ptr<const FileBytes>> ReadRegularFile(const std::string& path, uint64_t limit,
                                                                 FileVersion* version = nullptr);

// The folder part of a path, "." when there is none.
std::string DirectoryOf(const std::string& path);

// Opens the files that tensors name as external data. A location comes from the model file, so it is confined:
// relative, without "..", beneath the base directory, no symbolic link in any component, a regular file with one name.
// The checks that depend on the file are made on the descriptor that is then read.
class ExternalFiles {
 public:
  // An empty `base_directory` refuses every location. `follow_links` permits symbolic links, which then may lead out of
  // the directory, and hard links.
  ExternalFiles(std::string base_directory, bool follow_links)
      : base_directory_(std::move(base_directory)), follow_links_(follow_links) {}
  ExternalFiles(const ExternalFiles&) = delete;
  ExternalFiles& operator=(const ExternalFiles&) = delete;
  ~ExternalFiles();

  // Each file is opened once; the bytes live as long as somebody holds them or this object.
  absl::StatusOr<std::shared_ptr<const FileBytes>> Open(absl::string_view location);
  uint64_t total_bytes() const { return total_bytes_; }  // of all files opened
  const std::vector<SourceFile>& opened() const { return opened_; }

 private:
  absl::StatusOr<int> OpenBeneath(const std::string& path);
  absl::StatusOr<int> OpenByComponents(const std::string& path);

  const std::string base_directory_;
  const bool follow_links_;
  int directory_fd_ = -1;
  uint64_t total_bytes_ = 0;
  absl::flat_hash_map<std::string, std::shared_ptr<const FileBytes>> files_;
  std::vector<SourceFile> opened_;
};

}  // namespace rondo

#endif  // RONDO_IMPORTER_FILE_IO_H_
