// Regular expressions of tokenizer files. Those are written for Oniguruma; ICU's engine understands the same language
// where real files use it (property classes, lookahead, possessive quantifiers, set intersection). Lines end at \n only
// and ^ $ match at every line, as there.
//
// A pattern from a file may backtrack without end: each text has a budget of steps, proportional to its length, and
// going beyond it is an error.
#ifndef RONDO_TEXT_REGEX_H_
#define RONDO_TEXT_REGEX_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rondo::text {

struct Span {
  size_t begin = 0, end = 0;  // bytes
};

class Regex {
 public:
  static absl::StatusOr<Regex> Compile(absl::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Finds in many texts with one matcher; for one thread.
  class Finder {
   public:
    explicit Finder(const Regex& regex);
    ~Finder();
    // All matches in `text` (valid UTF-8) from left to right; they do not overlap, and may be empty.
    absl::StatusOr<std::vector<Span>> FindAll(absl::string_view text);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace rondo::text

#endif  // RONDO_TEXT_REGEX_H_
