// Files that the program reads and writes. Writing never goes through a symbolic link and leaves no partial file.
#ifndef RONDO_TOOLS_FILES_H_
#define RONDO_TOOLS_FILES_H_

#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rondo {

// The whole of a regular file.
absl::StatusOr<std::string> ReadFile(const std::string& path);
// Creates or replaces `path`; on failure what was written is removed.
absl::Status WriteFile(const std::string& path, absl::string_view bytes);
// Can `path` be written? Asked before long work whose result goes there; nothing is left of the question.
absl::Status CheckWritable(const std::string& path);
// Creates the folder and its parents where missing.
absl::Status MakeDirectory(const std::string& path);

// A file name made of a value's name: [A-Za-z0-9._-] is kept, anything else becomes '_', no leading dot, at most 100
// bytes. Names that were handed out before (`used`) get a number.
std::string SafeFileName(absl::string_view name, absl::flat_hash_set<std::string>* used);

}  // namespace rondo

#endif  // RONDO_TOOLS_FILES_H_
