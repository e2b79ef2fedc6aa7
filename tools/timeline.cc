#include "tools/timeline.h"

#include <algorithm>
#include <cmath>
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
constexpr double kLetter = 6.5;  // a wide one, in pixels
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
    case Kind::kFound:
      return "found weights";
    case Kind::kStep:
      return "steps";
    case Kind::kHit:
      return "hits";
  }
  return "";
}

// The same operator has the same colour in every picture. Neighbours among the phases differ.
std::string Colour(const TraceSpan& span, size_t position) {
  switch (span.kind) {
    case Kind::kPhase:
      return position % 2 == 0 ? "hsl(220 10% 60%)" : "hsl(220 12% 70%)";
    case Kind::kPlan:
      return "hsl(255 60% 68%)";
    case Kind::kWeights:
      return "hsl(28 80% 58%)";
    case Kind::kFound:
      return "hsl(150 55% 48%)";
    default:
      break;
  }
  uint32_t hash = 51957;  // sets frequent operators apart: products, convolutions, attention
  for (unsigned char c : span.name) hash = (hash ^ c) * 16777619u;
  hash = (hash ^ (hash >> 15)) * 2246822519u;
  return absl::StrFormat("hsl(%d 60%% 60%%)", (hash ^ (hash >> 13)) % 24 * 15);
}

// Time between ticks: 1, 2 or 5 of a power of ten, so that there are four to ten of them.
double TickSeconds(double seconds) {
  const double power = std::pow(10, std::floor(std::log10(seconds / 4)));
  for (double factor : {5.0, 2.0}) {
    if (seconds / (factor * power) >= 4) return factor * power;
  }
  return power;
}

std::string TickText(double seconds, double whole) {
  if (seconds == 0) return "0";
  const auto [factor, unit] = whole < 1e-3 ? std::pair(1e6, "us")
                              : whole < 1  ? std::pair(1e3, "ms")
                                           : std::pair(1.0, "s");
  return absl::StrFormat("%.6g %s", seconds * factor, unit);
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
    for (size_t i = 0; i < bars_.size(); ++i) {
      const Bar& bar = bars_[i];
      absl::StrAppendFormat(&svg, "<rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\"><title>",
                            bar.x, y, bar.width, kBar, Colour(*bar.span, i));
      absl::StrAppend(&svg, Markup(Tooltip(*bar.span)),
                      bar.spans > 1 ? absl::StrCat(" and ", bar.spans - 1, " more") : "", "</title></rect>");
      if (bar.width > kLetter * static_cast<double>(bar.span->name.size())) {
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

// Steps by name, longest first: what the colours mean. As far as the line goes, and what took any time.
std::string Legend(const std::vector<const TraceSpan*>& shown, double y) {
  struct Row {
    const TraceSpan* span = nullptr;
    double seconds = 0;
  };
  std::map<std::string, Row> by_name;
  double total = 0;
  for (const TraceSpan* span : shown) {
    if (span->kind != Kind::kStep) continue;
    Row& row = by_name[span->name];
    row.span = span;
    row.seconds += span->seconds();
    total += span->seconds();
  }
  std::vector<Row> rows;
  for (const auto& [name, row] : by_name) rows.push_back(row);
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
  std::string svg;
  double x = kLeft;
  for (const Row& row : rows) {
    const double percent = total > 0 ? 100 * row.seconds / total : 0;
    const std::string text = absl::StrFormat("%s %.0f%%", row.span->name, percent);
    const double width = 28 + kLetter * static_cast<double>(text.size());
    if (percent < 0.5 || x + width > kLeft + kWidth) break;
    absl::StrAppendFormat(&svg,
                          "<rect x=\"%.0f\" y=\"%.0f\" width=\"10\" height=\"10\" fill=\"%s\"></rect>"
                          "<text x=\"%.0f\" y=\"%.0f\">%s</text>",
                          x, y, Colour(*row.span, 0), x + 14, y + 9, Markup(text));
    x += width;
  }
  return svg;
}

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
  const double bottom = kTop + kLane * static_cast<double>(lanes.size());
  const std::string legend = Legend(shown, bottom + 4);
  const double height = bottom + (legend.empty() ? 0 : kLane);
  std::string svg =
      absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" class=\"timeline\" role=\"img\">\n", kLeft + kWidth + 10, height);
  const double whole = static_cast<double>(end_ns - begin_ns) * 1e-9, between = TickSeconds(whole);
  for (int tick = 0; tick * between <= whole; ++tick) {
    const double x = kLeft + kWidth * tick * between / whole;
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"14\" y2=\"%.0f\"/><text x=\"%.1f\" y=\"11\" "
                          "text-anchor=\"%s\">%s</text>",
                          x, x, bottom, x,
                          tick == 0                          ? "start"
                          : x > kLeft + kWidth - kLetter * 4 ? "end"
                                                             : "middle",
                          TickText(tick * between, whole));
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
  return absl::StrCat(svg, legend, "</svg>\n");
}

}  // namespace rondo
