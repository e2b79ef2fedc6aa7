// Small files of the cache directory: text with a digest in front, and the rules by which any file there is opened.
#ifndef RONDO_CACHEDIR_CHECKED_FILE_H_
#define RONDO_CACHEDIR_CHECKED_FILE_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/atomic_file.h"

namespace rondo {

inline constexpr mode_t kCacheFileMode = 0644;

// Opens a regular file for reading, no link, that this user or root owns; whoever else could change it could change
// results. Errors: NotFound, PermissionDenied, InvalidArgument for what is no regular file, others.
absl::StatusOr<FileDescriptor> OpenTrusted(const std::string& path, struct stat* info);
// Is the owner of a file or folder trusted?
bool IsTrustedOwner(uid_t owner);

// "<16 digits of the text's digest>\n<text>". Errors: reading, damage, more than `max_bytes`.
absl::StatusOr<std::string> ReadCheckedText(const std::string& path, uint64_t seed, size_t max_bytes);
absl::Status WriteCheckedText(const std::string& path, uint64_t seed, absl::string_view text);

}  // namespace rondo

#endif  // RONDO_CACHEDIR_CHECKED_FILE_H_
