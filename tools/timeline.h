// A picture of a trace: time from left to right, a lane for the phases and, per thread, lanes for plans, primitives,
// weights that were packed or found, and steps; below them which colours took how much time.
#ifndef RONDO_TOOLS_TIMELINE_H_
#define RONDO_TOOLS_TIMELINE_H_

#include <string>
#include <vector>

#include "tools/trace.h"

namespace rondo {

// An <svg> element of what lies in [begin_ns, end_ns); each span tells about itself when pointed at. "" for an empty
// stretch of time. Spans that are too narrow to be seen are drawn together.
std::string TimelineSvg(const std::vector<TraceSpan>& spans, int64_t begin_ns, int64_t end_ns);

}  // namespace rondo

#endif  // RONDO_TOOLS_TIMELINE_H_
