// Text of one sequence as it streams, held back where it may be the start of a stop string: stop strings span tokens.
#ifndef RONDO_API_STOP_TEXT_H_
#define RONDO_API_STOP_TEXT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rondo {

class StopText {
 public:
  explicit StopText(const std::vector<std::string>& stops) : stops_(stops) {}

  // Takes in more text; returns what is certain not to belong to a stop string. Once one is complete, stopped() holds
  // and nothing after its start is ever returned.
  std::string Push(absl::string_view piece);
  // The rest, when the sequence ends for another reason.
  std::string Finish();
  bool stopped() const { return stopped_; }

 private:
  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace rondo

#endif  // RONDO_API_STOP_TEXT_H_
