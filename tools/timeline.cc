#include "tools/timeline.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/html.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Kind = TraceSpan::Kind;

constexpr double kLeft = 110, kWidth = 1000, kLane = 22, kBar = 16, kTop = 22;
constexpr double kNarrow = 0.4;  // pixels: what ends within this of the one before is drawn with it

const char* LaneName(Kind kind) {
  switch (kind) {
    case Kind::kPhase:
      return "phases";
    case Kind::kPlan:
      return "plans";
    case Kind::kPrimitive:
      return "primitives";
    case Kind::kWeights:
      return "packing";
    case Kind::kStep:
      return "steps";
    case Kind::kHit:
      return "hits";
  }
  return "";
}

// The same operator has the same colour in every picture.
std::string Colour(const TraceSpan& span) {
  if (span.kind == Kind::kPhase) return "hsl(220 10% 60%)";
  uint32_t hash = 2166136261u;
  for (unsigned char c : span.kind == Kind::kPlan ? absl::string_view("plan") : absl::string_view(span.name)) {
    hash = (hash ^ c) * 16777619u;
  }
  return absl::StrFormat("hsl(%d 60%% 55%%)", hash % 360);
}

std::string Tooltip(const TraceSpan& span) {
  std::string text = absl::StrCat(span.name, ", ", SecondsText(span.seconds()));
  for (const std::string* part : {&span.node, &span.implementation, &span.detail}) {
    if (!part->empty()) absl::StrAppend(&text, "; ", *part);
  }
  return text;
}

// Bars of one lane, from left to right.
class Lane {
 public:
  void Add(const TraceSpan& span, double x, double width) {
    if (!bars_.empty() && x + width <= bars_.back().x + bars_.back().width + kNarrow && width < kNarrow) {
      bars_.back().width = std::max(bars_.back().width, x + width - bars_.back().x);
      ++bars_.back().spans;
      return;
    }
    bars_.push_back({&span, x, std::max(width, kNarrow), 1});
  }

  std::string Svg(double y) const {
    std::string svg;
    for (const Bar& bar : bars_) {
      absl::StrAppendFormat(&svg, "<rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\"><title>",
                            bar.x, y, bar.width, kBar, Colour(*bar.span));
      absl::StrAppend(&svg, Markup(Tooltip(*bar.span)),
                      bar.spans > 1 ? absl::StrCat(" and ", bar.spans - 1, " more") : "", "</title></rect>");
      if (bar.width > 7.0 * static_cast<double>(bar.span->name.size())) {
        absl::StrAppendFormat(&svg, "<text x=\"%.2f\" y=\"%.0f\" class=\"in\">%s</text>", bar.x + 3, y + 12,
                              Markup(bar.span->name));
      }
    }
    return svg + "\n";
  }

 private:
  struct Bar {
    const TraceSpan* span;
    double x, width;
    int64_t spans;
  };
  std::vector<Bar> bars_;
};

}  // namespace

std::string TimelineSvg(const std::vector<TraceSpan>& spans, int64_t begin_ns, int64_t end_ns) {
  if (end_ns <= begin_ns) return "";
  std::vector<const TraceSpan*> shown;
  for (const TraceSpan& span : spans) {
    if (span.end_ns > begin_ns && span.begin_ns < end_ns && span.kind != Kind::kHit) shown.push_back(&span);
  }
  if (shown.empty()) return "";
  std::stable_sort(shown.begin(), shown.end(), [](auto* a, auto* b) { return a->begin_ns < b->begin_ns; });
  const double scale = kWidth / static_cast<double>(end_ns - begin_ns);
  std::map<std::tuple<int, Kind>, Lane> lanes;  // thread 0 is the phases
  for (const TraceSpan* span : shown) {
    const int64_t begin = std::max(span->begin_ns, begin_ns), end = std::min(span->end_ns, end_ns);
    lanes[{span->thread, span->kind}].Add(*span, kLeft + static_cast<double>(begin - begin_ns) * scale,
                                          static_cast<double>(end - begin) * scale);
  }
  const bool threads = std::get<0>(lanes.begin()->first) != std::get<0>(lanes.rbegin()->first);
  const double height = kTop + kLane * static_cast<double>(lanes.size());
  std::string svg =
      absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" class=\"timeline\" role=\"img\">\n", kLeft + kWidth + 10, height);
  constexpr int kTicks = 5;
  for (int tick = 0; tick <= kTicks; ++tick) {
    const double x = kLeft + kWidth * tick / kTicks;
    const double seconds = static_cast<double>(end_ns - begin_ns) * 1e-9 * tick / kTicks;
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"14\" y2=\"%.0f\"/><text x=\"%.1f\" y=\"11\" "
                          "text-anchor=\"%s\">%s</text>",
                          x, x, height, x,
                          tick == kTicks ? "end"
                          : tick == 0    ? "start"
                                         : "middle",
                          SecondsText(seconds));
  }
  double y = kTop;
  for (const auto& [key, lane] : lanes) {
    const auto [thread, kind] = key;
    const std::string name =
        thread > 1 && threads ? absl::StrCat(LaneName(kind), " (", thread, ")") : std::string(LaneName(kind));
    absl::StrAppendFormat(&svg, "<text x=\"0\" y=\"%.0f\">%s</text>", y + 12, name);
    svg += lane.Svg(y);
    y += kLane;
  }
  return svg + "</svg>\n";
}

}  // namespace rondo
