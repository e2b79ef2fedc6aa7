// Running pieces of work in child processes, so that one that crashes or hangs is a result and not the program's end.
#ifndef RONDO_TOOLS_ISOLATE_H_
#define RONDO_TOOLS_ISOLATE_H_

#include <cstddef>
#include <functional>
#include <string>

namespace rondo {

struct IsolatedResult {
  enum class Kind { kFinished, kSignal, kExit, kTimeLimit, kNotStarted } kind = Kind::kFinished;
  int code = 0;         // the signal of kSignal, the exit code of kExit, errno of kNotStarted
  double seconds = 0;   // from start to end
  std::string report;   // what `work` returned (kFinished)
  std::string printed;  // what else the child wrote, both streams, the last part of it
};

// Calls work(i) for every i in [0, count), each in a process of its own, at most `jobs` at a time, and done(i, result)
// in this process as each ends. The children are forked: call this from a process that has no other threads.
void RunIsolated(size_t count, int jobs, double limit_seconds, const std::function<std::string(size_t)>& work,
                 const std::function<void(size_t, const IsolatedResult&)>& done);

// "signal 11 (Segmentation fault)", "no end after 60 s" ...; "" for kFinished.
std::string IsolationText(const IsolatedResult& result, double limit_seconds);

}  // namespace rondo

#endif  // RONDO_TOOLS_ISOLATE_H_
