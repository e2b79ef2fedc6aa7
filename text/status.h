// The macros by which an absl::Status travels through text/, which stands alone and cannot take them from graph/. They
// are token for token those of graph/status.h, so that a file may include both.
#ifndef RONDO_TEXT_STATUS_H_
#define RONDO_TEXT_STATUS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#define RONDO_RETURN_IF_ERROR(expr)                \
  do {                                             \
    absl::Status rondo_status_ = (expr);           \
    if (!rondo_status_.ok()) return rondo_status_; \
  } while (0)

#define RONDO_CONCAT_INNER_(a, b) a##b
#define RONDO_CONCAT_(a, b) RONDO_CONCAT_INNER_(a, b)
#define RONDO_ASSIGN_OR_RETURN(lhs, expr) \
  RONDO_ASSIGN_OR_RETURN_IMPL_(RONDO_CONCAT_(rondo_statusor_, __LINE__), lhs, expr)
#define RONDO_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = std::move(tmp).value()

namespace rondo::text {

template <typename... Args>
absl::Status InvalidArgument(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(args...));
}
template <typename... Args>
absl::Status Unimplemented(const Args&... args) {
  return absl::UnimplementedError(absl::StrCat(args...));
}
template <typename... Args>
absl::Status OutOfRange(const Args&... args) {
  return absl::OutOfRangeError(absl::StrCat(args...));
}
template <typename... Args>
absl::Status ResourceExhausted(const Args&... args) {
  return absl::ResourceExhaustedError(absl::StrCat(args...));
}
// The same error with `prefix` before its message.
inline absl::Status Annotate(const absl::Status& status, absl::string_view prefix) {
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat(prefix, status.message()));
}

}  // namespace rondo::text

#endif  // RONDO_TEXT_STATUS_H_
