// A profile in Chrome's trace format, for ui.perfetto.dev or chrome://tracing: the phases of the program, and on a
// track per thread what was compiled (primitives, plans, packed weights) or found in the cache directory, every hit,
// and every step that ran.
#ifndef RONDO_TOOLS_TRACE_H_
#define RONDO_TOOLS_TRACE_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "rondo/model.h"

namespace rondo {

// Nanoseconds of the steady clock, as in StepEvent.
int64_t NowNs();

struct TraceSpan {
  // kWeights: packed; kFound: packed weights that the cache directory had.
  enum class Kind { kPhase, kStep, kPlan, kPrimitive, kWeights, kFound, kHit };
  Kind kind = Kind::kPhase;
  std::string name, node, implementation;
  std::string detail;  // of a step its shapes; of what was compiled the explanation
  int64_t begin_ns = 0, end_ns = 0;
  int64_t output_bytes = 0, bytes = 0;
  double flops = 0;
  int thread = 0;

  double seconds() const { return static_cast<double>(end_ns - begin_ns) * 1e-9; }
};
const char* TraceKindName(TraceSpan::Kind kind);  // "phase", "step", "plan" ...: the categories of the trace

// Collects spans. Thread-safe.
class Trace {
 public:
  void AddStep(const StepEvent& event);  // called by the thread that ran it
  void AddCompile(const CompileEvent& event);
  void AddPhase(const std::string& name, int64_t begin_ns, int64_t end_ns);

  std::vector<TraceSpan> spans() const;
  // {"traceEvents": [...]}: times in microseconds from the first event.
  std::string ToJson() const;

 private:
  void Add(TraceSpan span);
  mutable std::mutex mutex_;
  std::vector<TraceSpan> spans_;  // guarded by mutex_
};

}  // namespace rondo

#endif  // RONDO_TOOLS_TRACE_H_
