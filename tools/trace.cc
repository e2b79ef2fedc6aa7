#include "tools/trace.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace rondo {

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Trace::AddStep(const StepEvent& event) {
  spans_.push_back({event.op, *event.node, *event.implementation, event.begin_ns, event.end_ns, event.output_bytes, 2});
}

void Trace::AddPhase(const std::string& name, int64_t begin_ns, int64_t end_ns) {
  spans_.push_back({name, "", "", begin_ns, end_ns, 0, 1});
}

std::string Trace::ToJson() const {
  int64_t start = spans_.empty() ? 0 : spans_[0].begin_ns;
  for (const Span& span : spans_) start = std::min(start, span.begin_ns);
  nlohmann::json events = nlohmann::json::array();
  for (const auto& [track, name] : {std::pair(1, "phases"), std::pair(2, "steps")}) {
    events.push_back({{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", track}, {"args", {{"name", name}}}});
  }
  for (const Span& span : spans_) {
    nlohmann::json event = {{"name", span.name},
                            {"cat", span.track == 1 ? "phase" : "step"},
                            {"ph", "X"},
                            {"pid", 1},
                            {"tid", span.track},
                            {"ts", static_cast<double>(span.begin_ns - start) / 1e3},
                            {"dur", static_cast<double>(span.end_ns - span.begin_ns) / 1e3}};
    if (span.track == 2) {
      event["args"] = {
          {"node", span.node}, {"implementation", span.implementation}, {"output_bytes", span.output_bytes}};
    }
    events.push_back(std::move(event));
  }
  const nlohmann::json trace = {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
  // Names come from the model and need not be UTF-8.
  return trace.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace rondo
