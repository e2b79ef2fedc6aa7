// The files that a model was read from, as they were when they were opened: who wants to know later whether a file is
// still the same, or what lies where in it, asks these.
#ifndef RONDO_GRAPH_SOURCE_FILE_H_
#define RONDO_GRAPH_SOURCE_FILE_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace rondo {

// What the system says of a file's version. Two equal ones a good while after the last change are one content: whoever
// writes to a file changes both times, and nobody can set `changed_ns`.
struct FileVersion {
  uint64_t device = 0, inode = 0, bytes = 0;
  int64_t modified_ns = 0, changed_ns = 0;  // since 1970; of the content, of the inode

  static FileVersion Of(const struct stat& info) {
    const auto nanoseconds = [](const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
    return {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim),
            nanoseconds(info.st_ctim)};
  }
  friend bool operator==(const FileVersion&, const FileVersion&) = default;
};

struct SourceFile {
  std::string path;
  FileVersion version;
  // Where all of it is mapped, as long as somebody holds `mapping`. Null: it was read.
  const uint8_t* data = nullptr;
  std::shared_ptr<const void> mapping;
};

}  // namespace rondo

#endif  // RONDO_GRAPH_SOURCE_FILE_H_
