// A progress bar on a terminal; silent elsewhere.
#ifndef RONDO_TOOLS_PROGRESS_H_
#define RONDO_TOOLS_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace rondo {

// One line on standard error that is redrawn in place:
//
//   [##########----------]  45/90  12 s  optimum_llama
//
// Call Hide() before anything else is printed; the next Show() draws it again below.
class ProgressBar {
 public:
  // Shown only when standard error is a terminal and there is more than one thing to do.
  explicit ProgressBar(int64_t total);
  ~ProgressBar() { Hide(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `done` of the total are finished; `current` is being worked on.
  void Show(int64_t done, absl::string_view current);
  void Hide();

 private:
  const int64_t total_;
  const bool enabled_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool visible_ = false;
};

// The bar's text, at most `columns` wide.
std::string ProgressText(int64_t done, int64_t total, double seconds, absl::string_view current, int columns);

}  // namespace rondo

#endif  // RONDO_TOOLS_PROGRESS_H_
