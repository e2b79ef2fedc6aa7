// The text of a template and places in it. Line ends are \n here, and one at the very end is gone, as in Jinja.
#ifndef RONDO_TEXT_JINJA_SOURCE_H_
#define RONDO_TEXT_JINJA_SOURCE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rondo::text::jinja {

class Source {
 public:
  explicit Source(absl::string_view text);
  const std::string& text() const { return text_; }
  // `status` with "line L, column C: " before its message, unless it names a place already.
  absl::Status Locate(const absl::Status& status, size_t offset) const;

 private:
  std::string text_;
};

}  // namespace rondo::text::jinja

#endif  // RONDO_TEXT_JINJA_SOURCE_H_
