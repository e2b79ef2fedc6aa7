#include "api/stop_text.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace rondo {

std::string StopText::Push(absl::string_view piece) {
  if (stopped_) return "";
  held_.append(piece.data(), piece.size());
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string text = held_.substr(0, first);
    held_.clear();
    return text;
  }
  // The longest end of what is held that starts a stop string must wait.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(held_.size(), stop.empty() ? 0 : stop.size() - 1); n > keep; --n) {
      if (absl::EndsWith(held_, absl::string_view(stop).substr(0, n))) keep = n;
    }
  }
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return text;
}

std::string StopText::Finish() {
  std::string rest = std::move(held_);
  held_.clear();
  return rest;
}

}  // namespace rondo
