#include "tools/trace.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rondo {
namespace {

using Kind = TraceSpan::Kind;
using Json = nlohmann::json;

constexpr int kProcess = 1;
constexpr int kPhases = 0;  // the track of the phases; threads have their numbers

// Billions per second, to four digits: what little a step did that had to wait for a core is not nothing.
double Rate(double count, double seconds) {
  double rate = 0;
  (void)absl::SimpleAtod(absl::StrFormat("%.4g", count * 1e-9 / seconds), &rate);
  return rate;
}

Json Arguments(const TraceSpan& span) {
  Json args = {{"node", span.node}};
  if (!span.implementation.empty()) args["implementation"] = span.implementation;
  if (span.kind == Kind::kStep) {
    args["shapes"] = span.detail;
    args["output_bytes"] = span.output_bytes;
    if (span.bytes > 0) args["bytes"] = span.bytes;
    const double seconds = span.seconds();
    if (span.bytes > 0 && seconds > 0) args["GB/s"] = Rate(static_cast<double>(span.bytes), seconds);
    if (span.flops > 0 && seconds > 0) args["GFLOP/s"] = Rate(span.flops, seconds);
    return args;
  }
  args["bytes"] = span.bytes;
  args[span.kind == Kind::kWeights || span.kind == Kind::kFound ? "layout" : "explanation"] = span.detail;
  return args;
}

// `what` is "process_name" or "thread_name".
Json NameOf(const char* what, int track, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", kProcess}, {"tid", track}, {"args", {{"name", name}}}};
}

}  // namespace

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

const char* TraceKindName(Kind kind) {
  switch (kind) {
    case Kind::kPhase:
      return "phase";
    case Kind::kStep:
      return "step";
    case Kind::kPlan:
      return "plan";
    case Kind::kPrimitive:
      return "primitive";
    case Kind::kWeights:
      return "packing";
    case Kind::kFound:
      return "found";
    case Kind::kHit:
      return "hit";
  }
  return "";
}

void Trace::Add(TraceSpan span) {
  std::lock_guard lock(mutex_);
  spans_.push_back(std::move(span));
}

void Trace::AddStep(const StepEvent& event) {
  TraceSpan span;
  span.kind = Kind::kStep;
  span.name = event.op;
  span.node = *event.node;
  span.implementation = *event.implementation;
  if (event.shapes != nullptr) span.detail = *event.shapes;
  span.begin_ns = event.begin_ns;
  span.end_ns = event.end_ns;
  span.output_bytes = event.output_bytes;
  span.bytes = event.bytes;
  span.flops = event.flops;
  span.thread = CurrentThreadNumber();
  Add(std::move(span));
}

void Trace::AddCompile(const CompileEvent& event) {
  TraceSpan span;
  switch (event.kind) {
    case CompileEvent::Kind::kPrimitive:
      span.kind = Kind::kPrimitive;
      span.name = absl::StrCat("create ", event.operation);
      break;
    case CompileEvent::Kind::kPlan:
      span.kind = Kind::kPlan;
      span.name = absl::StrCat("plan: ", event.compiled_in);
      break;
    case CompileEvent::Kind::kWeights:
      span.kind = event.found ? Kind::kFound : Kind::kWeights;
      span.name = event.found ? "find weights" : "pack weights";
      break;
  }
  if (event.hit) {
    span.kind = Kind::kHit;
    span.name = absl::StrCat("hit ", event.operation);
  }
  span.node = event.node;
  span.implementation = event.implementation;
  span.detail = event.kind == CompileEvent::Kind::kWeights ? event.operation : event.Explanation();
  span.begin_ns = event.begin_ns;
  span.end_ns = event.end_ns;
  span.bytes = event.bytes;
  span.thread = event.thread;
  Add(std::move(span));
}

void Trace::AddPhase(const std::string& name, int64_t begin_ns, int64_t end_ns) {
  TraceSpan span;
  span.name = name;
  span.begin_ns = begin_ns;
  span.end_ns = end_ns;
  span.thread = kPhases;
  Add(std::move(span));
}

std::vector<TraceSpan> Trace::spans() const {
  std::lock_guard lock(mutex_);
  return spans_;
}

std::string Trace::ToJson() const {
  const std::vector<TraceSpan> spans = this->spans();
  int64_t start = spans.empty() ? 0 : spans[0].begin_ns;
  std::set<int> threads;
  for (const TraceSpan& span : spans) {
    start = std::min(start, span.begin_ns);
    if (span.kind != Kind::kPhase) threads.insert(span.thread);
  }
  Json events = Json::array();
  events.push_back(NameOf("process_name", kPhases, "rondo"));
  events.push_back(NameOf("thread_name", kPhases, "phases"));
  for (int thread : threads) events.push_back(NameOf("thread_name", thread, absl::StrCat("thread ", thread)));
  for (const TraceSpan& span : spans) {
    Json event = {{"name", span.name},
                  {"cat", TraceKindName(span.kind)},
                  {"ph", span.kind == Kind::kHit ? "i" : "X"},
                  {"pid", kProcess},
                  {"tid", span.thread},
                  {"ts", static_cast<double>(span.begin_ns - start) / 1e3}};
    if (span.kind == Kind::kHit) {
      event["s"] = "t";
    } else {
      event["dur"] = static_cast<double>(span.end_ns - span.begin_ns) / 1e3;
    }
    if (span.kind != Kind::kPhase) event["args"] = Arguments(span);
    events.push_back(std::move(event));
  }
  const Json trace = {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
  // Names come from the model and need not be UTF-8.
  return trace.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace rondo
