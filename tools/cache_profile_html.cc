// The page of `rondo cache profile --html`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "tools/cache_profile_report.h"
#include "tools/html.h"
#include "tools/text.h"
#include "tools/timeline.h"

namespace rondo {
namespace {

constexpr char kStyle[] = R"(
.timeline{width:100%;height:auto;font:11px system-ui,sans-serif;fill:CanvasText;border:1px solid var(--line);
border-radius:.3rem;padding:.3rem;box-sizing:border-box}
.timeline line{stroke:var(--line)}.timeline .in{fill:#000;font-size:10px;pointer-events:none}
.share{display:inline-block;width:6rem;height:.7rem;background:var(--line);border-radius:.35rem;overflow:hidden}
.share i{display:block;height:100%;background:var(--good)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
)";

HtmlCell Count(int64_t count) { return {CountText(count), static_cast<double>(count)}; }
HtmlCell Seconds(double seconds) { return {SecondsText(seconds), seconds}; }
HtmlCell Bytes(int64_t bytes) { return {BytesText(static_cast<double>(bytes)), static_cast<double>(bytes)}; }
std::string Code(absl::string_view text) { return absl::StrCat("<code>", Markup(text), "</code>"); }

// A bar and a number; `fraction` of the full width.
HtmlCell Share(double fraction) {
  return {absl::StrFormat("<span class=\"share\"><i style=\"width:%.0f%%\"></i></span> %.0f&nbsp;%%",
                          100 * std::clamp(fraction, 0.0, 1.0), 100 * fraction),
          fraction};
}

std::string VerdictsHtml(const CacheProfile& profile) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const Verdict& v : profile.verdicts) {
    const char* state = v.state == Verdict::State::kHolds   ? "<span class=\"good\">holds</span>"
                        : v.state == Verdict::State::kFails ? "<span class=\"bad\">fails</span>"
                                                            : "<span class=\"none\">figure</span>";
    rows.push_back({state, Markup(v.claim), Markup(v.found)});
  }
  return HtmlTable("verdicts", {"verdict", "claim", "found"}, "lll", rows);
}

std::string ShapesHtml(const CacheProfile& profile) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const ProfiledShape& s : profile.shapes) {
    const double ratio = s.later_seconds > 0 ? (s.compile_seconds + s.first_seconds) / s.later_seconds : 0;
    rows.push_back({Markup(s.name),
                    Seconds(s.compile_seconds),
                    Seconds(s.first_seconds),
                    Seconds(s.later_seconds),
                    {absl::StrFormat("%.0fx", ratio), ratio}});
  }
  return HtmlTable("shapes", {"shape", "compile", "first call", "later calls", "first with compile / later"}, "lrrrr",
                   rows);
}

std::string TimesHtml(const CacheProfile& profile) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const OperatorTime& o : profile.operators) {
    const double rate = o.seconds_of_bytes > 0 ? static_cast<double>(o.bytes) / o.seconds_of_bytes : 0;
    std::vector<HtmlCell> row = {Markup(o.op), Markup(o.implementation), Count(o.calls), Seconds(o.seconds),
                                 Share(o.seconds / profile.traced_seconds)};
    row.push_back(rate > 0 ? HtmlCell(absl::StrFormat("%.1f", rate * 1e-9), rate) : HtmlCell("-", 0));
    row.push_back(rate > 0 && profile.read_bandwidth > 0 ? Share(rate / profile.read_bandwidth) : HtmlCell("-", 0));
    row.push_back(o.flops > 0 ? HtmlCell(absl::StrFormat("%.1f", o.flops * 1e-9 / o.seconds), o.flops / o.seconds)
                              : HtmlCell("-", 0));
    rows.push_back(std::move(row));
  }
  return HtmlTable(
      "operators",
      {"operator", "implementation", "calls", "time", "share of time", "GB/s", "of the memory limit", "GFLOP/s"},
      "llrrrrrr", rows);
}

std::string CacheHtml(const CacheReport& report) {
  std::vector<std::vector<HtmlCell>> operations, keys, nodes, misses;
  for (const OperatorCacheStats& o : report.operators) {
    operations.push_back({Markup(o.operation), Count(o.entries), Count(o.hits), Count(o.misses), Count(o.creations),
                          Count(o.evictions), Bytes(o.bytes), Seconds(o.creation_seconds)});
  }
  for (const KeyCacheStats& k : report.keys) {
    keys.push_back({Code(k.key), Markup(k.node), Markup(k.implementation), Count(k.hits), Seconds(k.creation_seconds)});
  }
  for (const NodeCacheStats& n : report.nodes) {
    nodes.push_back({Markup(n.node), Count(n.hits), Count(n.misses), Count(n.creations), Seconds(n.creation_seconds)});
  }
  for (const CompileEvent& event : report.misses) {
    misses.push_back({Markup(event.compiled_in), Code(absl::StripPrefix(event.Explanation(), "MISS ")),
                      Markup(event.implementation), Seconds(event.seconds())});
  }
  std::vector<std::vector<HtmlCell>> weights;
  for (const PackedWeightStats& w : report.weights) {
    weights.push_back({Markup(w.node), Code(w.layout), Bytes(w.bytes), Seconds(w.packing_seconds)});
  }
  return absl::StrCat(
      "<h2>Primitive cache</h2>\n",
      HtmlTable("cache", {"operation", "entries", "hits", "misses", "creations", "evictions", "bytes", "time creating"},
                "lrrrrrrr", operations),
      "<h2>Keys</h2>\n",
      HtmlTable("keys", {"key", "created for", "implementation", "hits", "time creating"}, "lllrr", keys),
      "<h2>Why lookups missed</h2>\n",
      HtmlTable("misses", {"compiled for", "miss", "implementation", "time"}, "lllr", misses), "<h2>Nodes</h2>\n",
      HtmlTable("nodes", {"node", "hits", "misses", "creations", "time creating"}, "lrrrr", nodes),
      "<h2>Packed weights</h2>\n", HtmlTable("weights", {"node", "layout", "bytes", "time packing"}, "llrr", weights));
}

std::string Picture(const std::string& title, const std::vector<TraceSpan>& spans, int64_t begin, int64_t end) {
  const std::string svg = TimelineSvg(spans, begin, end);
  return svg.empty() ? "" : absl::StrCat("<h3>", Markup(title), "</h3>\n", svg);
}

// The whole run, the compilation, and the last call of the first and last shape.
std::string Pictures(const CacheProfile& profile, const Trace& trace) {
  const std::vector<TraceSpan> spans = trace.spans();
  int64_t begin = INT64_MAX, end = 0;
  const TraceSpan* precompile = nullptr;
  std::string calls;
  for (const TraceSpan& span : spans) {
    begin = std::min(begin, span.begin_ns);
    end = std::max(end, span.end_ns);
    if (span.kind != TraceSpan::Kind::kPhase) continue;
    if (span.name == "precompile") precompile = &span;
    for (const ProfiledShape* shape : {&profile.shapes.front(), &profile.shapes.back()}) {
      if (span.name != absl::StrCat("traced ", shape->name)) continue;
      // Tracing costs time itself.
      const int64_t call = static_cast<int64_t>(shape->later_seconds * 2e9);
      calls += Picture(absl::StrCat("A call: ", shape->name), spans, std::max(span.begin_ns, span.end_ns - call),
                       span.end_ns);
      if (profile.shapes.size() == 1) break;
    }
  }
  std::string html = "<h2>Timeline</h2>\n";
  html += Picture("Everything", spans, begin, end);
  if (precompile != nullptr) html += Picture("Compiling ahead", spans, precompile->begin_ns, precompile->end_ns);
  return html + calls;
}

}  // namespace

std::string ProfileHtml(const CacheProfile& profile, const Trace& trace) {
  const CacheReport& report = profile.report;
  std::string html =
      absl::StrCat(HtmlHead("rondo cache profile", kStyle), "<h1>rondo cache profile</h1>\n<p>", Markup(profile.model),
                   ": ", Markup(profile.kind), ", ", profile.threads, " threads</p>\n<dl>");
  const auto fact = [&](const char* name, const std::string& value) {
    absl::StrAppend(&html, "<dt>", name, "</dt><dd>", value, "</dd>\n");
  };
  const auto bytes = [](int64_t count) { return BytesText(static_cast<double>(count)); };
  fact("load", SecondsText(profile.load_seconds));
  fact("compiling ahead", absl::StrCat(SecondsText(profile.precompile_seconds), ", the second time ",
                                       SecondsText(profile.second_precompile_seconds), ", with all plans made anew ",
                                       SecondsText(profile.replan_seconds)));
  fact("memory", absl::StrCat("parameters ", bytes(profile.parameter_bytes), ", primitives ",
                              bytes(report.totals.bytes), ", packed weights ", bytes(report.weight_bytes), ", arenas ",
                              bytes(report.arena_bytes), ", KV cache ", bytes(profile.kv_bytes)));
  fact("read bandwidth, measured with this profile", absl::StrFormat("%.1f GB/s", profile.read_bandwidth * 1e-9));
  absl::StrAppend(&html, "</dl>\n<h2>Verdicts</h2>\n", VerdictsHtml(profile), "<h2>Shapes</h2>\n", ShapesHtml(profile),
                  Pictures(profile, trace), "<h2>Time by operator</h2>\n", TimesHtml(profile), CacheHtml(report));
  return absl::StrCat(html, HtmlTableScript(), "</body></html>\n");
}

}  // namespace rondo
