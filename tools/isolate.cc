#include "tools/isolate.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rondo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxOutput = size_t{16} << 20;  // of one child; more is thrown away

struct Child {
  size_t index;
  pid_t pid;
  int report_fd, printed_fd;  // -1: at its end
  Clock::time_point begin, deadline;
  IsolatedResult result;
};

void WriteAll(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

[[noreturn]] void RunChild(int report_fd, int printed_fd, const std::function<std::string(size_t)>& work,
                           size_t index) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a child that hangs must not outlive the program
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  dup2(printed_fd, STDOUT_FILENO);
  dup2(printed_fd, STDERR_FILENO);
  try {
    WriteAll(report_fd, work(index));
  } catch (const std::exception& error) {
    WriteAll(STDERR_FILENO, absl::StrCat("exception: ", error.what()));
    _exit(125);
  }
  std::fflush(stdout);
  // No destructors: they belong to the parent's state, of which this is a copy.
  _exit(0);
}

// False when no process could be made.
bool Start(Child* child, double limit_seconds, const std::function<std::string(size_t)>& work) {
  int report[2] = {-1, -1}, printed[2] = {-1, -1};
  pid_t pid = -1;
  if (pipe2(report, O_CLOEXEC) == 0 && pipe2(printed, O_CLOEXEC) == 0) {
    std::fflush(nullptr);  // or the child prints it again
    pid = fork();
    if (pid == 0) RunChild(report[1], printed[1], work, child->index);
  }
  const int error = errno;
  for (int fd : {report[1], printed[1]}) {
    if (fd >= 0) close(fd);
  }
  if (pid < 0) {
    for (int fd : {report[0], printed[0]}) {
      if (fd >= 0) close(fd);
    }
    child->result.kind = IsolatedResult::Kind::kNotStarted;
    child->result.code = error;
    return false;
  }
  child->pid = pid;
  child->report_fd = report[0];
  child->printed_fd = printed[0];
  child->begin = Clock::now();
  child->deadline = child->begin + std::chrono::milliseconds(static_cast<int64_t>(limit_seconds * 1000));
  return true;
}

// Reads what is there; at the end closes and sets the descriptor to -1.
void Drain(int* fd, std::string* text) {
  char buffer[65536];
  const ssize_t n = read(*fd, buffer, sizeof(buffer));
  if (n < 0 && errno == EINTR) return;
  if (n > 0) {
    text->append(buffer, std::min(static_cast<size_t>(n), kMaxOutput - std::min(kMaxOutput, text->size())));
    return;
  }
  close(*fd);
  *fd = -1;
}

void Finish(Child* child, bool killed) {
  if (killed) kill(child->pid, SIGKILL);
  int status = 0;
  while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  for (int* fd : {&child->report_fd, &child->printed_fd}) {
    if (*fd >= 0) close(*fd);
  }
  IsolatedResult& result = child->result;
  result.seconds = std::chrono::duration<double>(Clock::now() - child->begin).count();
  if (killed) {
    result.kind = IsolatedResult::Kind::kTimeLimit;
  } else if (WIFSIGNALED(status)) {
    result.kind = IsolatedResult::Kind::kSignal;
    result.code = WTERMSIG(status);
  } else if (WEXITSTATUS(status) != 0) {
    result.kind = IsolatedResult::Kind::kExit;
    result.code = WEXITSTATUS(status);
  }
  constexpr size_t kTail = 2000;
  if (result.printed.size() > kTail) result.printed.erase(0, result.printed.size() - kTail);
}

}  // namespace

void RunIsolated(size_t count, int jobs, double limit_seconds, const std::function<std::string(size_t)>& work,
                 const std::function<void(size_t, const IsolatedResult&)>& done) {
  std::vector<Child> active;
  size_t next = 0;
  while (next < count || !active.empty()) {
    while (next < count && active.size() < static_cast<size_t>(std::max(jobs, 1))) {
      Child child{next++, -1, -1, -1, {}, {}, {}};
      if (Start(&child, limit_seconds, work)) {
        active.push_back(std::move(child));
      } else {
        done(child.index, child.result);
      }
    }
    std::vector<pollfd> fds;
    Clock::time_point soonest = Clock::now() + std::chrono::seconds(60);
    for (const Child& child : active) {
      fds.push_back({child.report_fd, POLLIN, 0});  // poll skips negative descriptors
      fds.push_back({child.printed_fd, POLLIN, 0});
      soonest = std::min(soonest, child.deadline);
    }
    if (fds.empty()) continue;
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(soonest - Clock::now()).count() + 1;
    if (poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(wait, 0))) < 0 && errno != EINTR) return;
    const Clock::time_point now = Clock::now();
    for (size_t c = 0; c < active.size(); ++c) {
      if (fds[2 * c].revents != 0) Drain(&active[c].report_fd, &active[c].result.report);
      if (fds[2 * c + 1].revents != 0) Drain(&active[c].printed_fd, &active[c].result.printed);
    }
    for (size_t c = active.size(); c-- > 0;) {
      const bool ended = active[c].report_fd < 0 && active[c].printed_fd < 0;
      if (!ended && now < active[c].deadline) continue;
      Finish(&active[c], /*killed=*/!ended);
      done(active[c].index, active[c].result);
      active.erase(active.begin() + static_cast<std::ptrdiff_t>(c));
    }
  }
}

std::string IsolationText(const IsolatedResult& result, double limit_seconds) {
  std::string text;
  switch (result.kind) {
    case IsolatedResult::Kind::kFinished:
      return "";
    case IsolatedResult::Kind::kSignal:
      text = absl::StrCat("signal ", result.code, " (", strsignal(result.code), ")");
      break;
    case IsolatedResult::Kind::kExit:
      text = absl::StrCat("the process ended with code ", result.code);
      break;
    case IsolatedResult::Kind::kTimeLimit:
      text = absl::StrFormat("no end within the limit of %g s", limit_seconds);
      break;
    case IsolatedResult::Kind::kNotStarted:
      text = absl::StrCat("cannot make a process: ", std::strerror(result.code));
      break;
  }
  // What the child said last is often the reason.
  std::string last = result.printed;
  while (!last.empty() && last.back() == '\n') last.pop_back();
  if (const size_t line = last.rfind('\n'); line != std::string::npos) last.erase(0, line + 1);
  if (!last.empty()) absl::StrAppend(&text, ": ", last);
  return text;
}

}  // namespace rondo
