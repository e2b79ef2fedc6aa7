#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/text.h"

namespace rondo {
namespace {

int TerminalColumns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string ProgressText(int64_t done, int64_t total, double seconds, absl::string_view current, int columns) {
  constexpr int64_t kWidth = 24;
  const int64_t filled = total > 0 ? done * kWidth / total : 0;
  std::string text = absl::StrFormat("[%s%s] %d/%d  %.0f s", std::string(filled, '#'),
                                     std::string(kWidth - filled, '-'), done, total, seconds);
  absl::StrAppend(&text, "  ", Printable(current, 60));
  return text.substr(0, std::max(columns - 1, 0));
}

ProgressBar::ProgressBar(int64_t total) : total_(total), enabled_(total > 1 && isatty(STDERR_FILENO) != 0) {}

void ProgressBar::Show(int64_t done, absl::string_view current) {
  if (!enabled_) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  std::fflush(stdout);
  std::fprintf(stderr, "\r\x1b[K%s", ProgressText(done, total_, seconds, current, TerminalColumns()).c_str());
  std::fflush(stderr);
  visible_ = true;
}

void ProgressBar::Hide() {
  if (!visible_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace rondo
