// A profile in Chrome's trace format, for ui.perfetto.dev or chrome://tracing.
#ifndef RONDO_TOOLS_TRACE_H_
#define RONDO_TOOLS_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "rondo/model.h"

namespace rondo {

// Nanoseconds of the steady clock, as in StepEvent.
int64_t NowNs();

// Collects spans; not thread-safe (steps of one session come one after another).
class Trace {
 public:
  void AddStep(const StepEvent& event);
  void AddPhase(const std::string& name, int64_t begin_ns, int64_t end_ns);
  // {"traceEvents": [...]}: phases on track 1, steps on track 2, times in microseconds from the first event.
  std::string ToJson() const;

 private:
  struct Span {
    std::string name, node, implementation;
    int64_t begin_ns, end_ns, output_bytes;
    int track;
  };
  std::vector<Span> spans_;
};

}  // namespace rondo

#endif  // RONDO_TOOLS_TRACE_H_
