// The page of `rondo cache profile --html`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "tools/cache_dir.h"
#include "tools/cache_profile_report.h"
#include "tools/html.h"
#include "tools/text.h"
#include "tools/timeline.h"

namespace rondo {
namespace {

constexpr char kStyle[] = R"(
.timeline{width:100%;min-width:56rem;height:auto;font:11px system-ui,sans-serif;fill:CanvasText;border:1px solid var(--line);
border-radius:.3rem;padding:.3rem;box-sizing:border-box}
.timeline line{stroke:var(--line)}.timeline .in{fill:#000;font-size:10px;pointer-events:none}
.share{display:inline-block;width:6rem;height:.7rem;background:var(--line);border-radius:.35rem;overflow:hidden}
.share i{display:block;height:100%;background:var(--good)}.share .over{background:#4c8bd6}
.share+b{display:inline-block;min-width:3.6rem;font-weight:400}
h3{margin:1.2rem 0 .4rem;font-size:1rem}summary{cursor:pointer;margin:.6rem 0;font-weight:600}
.note{margin:.4rem 0;opacity:.75;font-size:13px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:50rem){dl{display:block}dt{opacity:.75}dd{margin:0 0 .3rem}}
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}td code{display:block;min-width:18rem}
)";

HtmlCell Count(int64_t count) { return {CountText(count), static_cast<double>(count)}; }
HtmlCell Seconds(double seconds) { return {SecondsText(seconds), seconds}; }
HtmlCell Bytes(int64_t bytes) { return {BytesText(static_cast<double>(bytes)), static_cast<double>(bytes)}; }
std::string Code(absl::string_view text) { return absl::StrCat("<code>", Markup(text), "</code>"); }

// A node's path, which may be broken where it has parts.
std::string Path(absl::string_view node) {
  return absl::StrReplaceAll(Markup(node), {{"/", "/<wbr>"}, {"::", "::<wbr>"}});
}

// A bar and a number; `fraction` of the full width, in another colour where it is more than all.
HtmlCell Share(double fraction) {
  return {absl::StrFormat("<span class=\"share\"><i%s style=\"width:%.0f%%\"></i></span><b>%.0f&nbsp;%%</b>",
                          fraction > 1 ? " class=\"over\"" : "", 100 * std::clamp(fraction, 0.0, 1.0), 100 * fraction),
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

std::string CountersHtml(const CacheProfile& profile) {
  std::vector<std::vector<HtmlCell>> rows;
  for (const auto& [name, c] :
       {std::pair("first precompile", profile.precompile), std::pair("first round", profile.first_round),
        std::pair("later rounds", profile.later_rounds), std::pair("plans made anew", profile.replan)}) {
    rows.push_back({name, Count(c.plans_made), Count(c.plan_hits), Count(c.hits), Count(c.misses), Count(c.creations),
                    Count(c.evictions), Seconds(c.creation_seconds)});
  }
  return HtmlTable("phases",
                   {"phase", "plans made", "plan hits", "hits", "misses", "creations", "evictions", "time creating"},
                   "lrrrrrrr", rows);
}

std::string OperatorsHtml(absl::string_view id, const std::vector<OperatorTime>& operators, double read_bandwidth) {
  double total = 0;
  for (const OperatorTime& o : operators) total += o.seconds;
  std::vector<std::vector<HtmlCell>> rows;
  for (const OperatorTime& o : operators) {
    const double rate = o.seconds_of_bytes > 0 ? static_cast<double>(o.bytes) / o.seconds_of_bytes : 0;
    std::vector<HtmlCell> row = {Markup(o.op), Markup(o.implementation), Count(o.calls), Seconds(o.seconds),
                                 Share(total > 0 ? o.seconds / total : 0)};
    row.push_back(rate > 0 ? HtmlCell(absl::StrFormat("%.1f", rate * 1e-9), rate) : HtmlCell("-", 0));
    row.push_back(rate > 0 && read_bandwidth > 0 ? Share(rate / read_bandwidth) : HtmlCell("-", 0));
    row.push_back(o.flops > 0 ? HtmlCell(absl::StrFormat("%.1f", o.flops * 1e-9 / o.seconds), o.flops / o.seconds)
                              : HtmlCell("-", 0));
    rows.push_back(std::move(row));
  }
  return HtmlTable(
      id, {"operator", "implementation", "steps", "time", "share of time", "GB/s", "of the memory limit", "GFLOP/s"},
      "llrrrrrr", rows);
}

// All traced calls, then each shape's own: a prefill calculates where a decode step reads weights.
std::string TimesHtml(const CacheProfile& profile) {
  std::string html = absl::StrCat(
      "<h2>Time by operator</h2>\n<p class=\"note\">GB/s: operands and results, each once. The memory limit is the "
      "read bandwidth above, measured at another moment; what exceeds it by far comes from the processor's "
      "caches.</p>\n",
      OperatorsHtml("operators", profile.operators, profile.read_bandwidth));
  for (size_t i = 0; i < profile.shapes.size(); ++i) {
    const ProfiledShape& shape = profile.shapes[i];
    if (shape.operators.empty()) continue;
    absl::StrAppend(
        &html, "<details", i + 1 == profile.shapes.size() ? " open" : "", "><summary>", Markup(shape.name),
        shape.traced_calls == 1 ? ": one call" : absl::StrCat(": ", shape.traced_calls, " calls"), "</summary>\n",
        OperatorsHtml(absl::StrCat("operators", i), shape.operators, profile.read_bandwidth), "</details>\n");
  }
  return html;
}

// A heading and a table; long ones are folded. `none` is said of an empty one.
std::string Section(const char* heading, const char* none, size_t rows, const std::string& table) {
  constexpr size_t kLong = 40;
  const std::string title = absl::StrCat("<h2>", heading, "</h2>\n");
  if (rows == 0) return absl::StrCat(title, "<p class=\"note\">", none, "</p>\n");
  if (rows <= kLong) return title + table;
  return absl::StrCat(title, "<details><summary>", CountText(static_cast<int64_t>(rows)), " rows</summary>\n", table,
                      "</details>\n");
}

std::string CacheHtml(const CacheReport& report) {
  std::vector<std::vector<HtmlCell>> operations, keys, nodes, misses;
  for (const OperatorCacheStats& o : report.operators) {
    operations.push_back({Markup(o.operation), Count(o.entries), Count(o.hits), Count(o.misses), Count(o.creations),
                          Count(o.evictions), Bytes(o.bytes), Seconds(o.creation_seconds)});
  }
  for (const KeyCacheStats& k : report.keys) {
    keys.push_back({Code(k.key), Path(k.node), Markup(k.implementation), Count(k.hits), Seconds(k.creation_seconds)});
  }
  for (const NodeCacheStats& n : report.nodes) {
    nodes.push_back({Path(n.node), Count(n.hits), Count(n.misses), Count(n.creations), Seconds(n.creation_seconds)});
  }
  for (const CompileEvent& event : report.misses) {
    misses.push_back({Markup(event.compiled_in), Code(absl::StripPrefix(event.Explanation(), "MISS ")),
                      Markup(event.implementation), Seconds(event.seconds())});
  }
  std::vector<std::vector<HtmlCell>> weights;
  for (const PackedWeightStats& w : report.weights) {
    weights.push_back({Path(w.node), Code(w.layout), w.found ? "found in the cache directory" : "packed",
                       Bytes(w.bytes), Seconds(w.packing_seconds)});
  }
  const char* const none = "None: no primitive was looked up, kernels of rondo's own do all of the work.";
  return absl::StrCat(
      Section("Primitive cache", none, operations.size(),
              HtmlTable("cache",
                        {"operation", "entries", "hits", "misses", "creations", "evictions", "bytes", "time creating"},
                        "lrrrrrrr", operations)),
      Section("Keys", none, keys.size(),
              HtmlTable("keys", {"key", "created for", "implementation", "hits", "time creating"}, "lllrr", keys)),
      Section("Why lookups missed", "None did.", misses.size(),
              HtmlTable("misses", {"compiled for", "miss", "implementation", "time"}, "lllr", misses)),
      Section("Nodes", none, nodes.size(),
              HtmlTable("nodes", {"node", "hits", "misses", "creations", "time creating"}, "lrrrr", nodes)),
      Section("Packed weights", "None: no weight is kept in another order than the file's.", weights.size(),
              HtmlTable("weights", {"node", "layout", "from", "bytes", "time"}, "lllrr", weights)));
}

std::string Picture(absl::string_view title, const std::vector<TraceSpan>& spans, int64_t begin, int64_t end) {
  const std::string svg = TimelineSvg(spans, begin, end);
  if (svg.empty()) return "";
  return absl::StrCat("<h3>", Markup(title), ", ", SecondsText(static_cast<double>(end - begin) * 1e-9),
                      "</h3>\n<div class=\"wide\">", svg, "</div>\n");
}

// What lies between loading and the last traced call, the calls that compile, and the last call of the first and last
// shape.
std::string Pictures(const CacheProfile& profile, const Trace& trace) {
  const std::vector<TraceSpan> spans = trace.spans();
  const auto call = [&](absl::string_view title, int64_t begin, double seconds) {
    return Picture(title, spans, begin, begin + static_cast<int64_t>(seconds * 1e9));
  };
  std::string compiled, calls;
  for (const TraceSpan& span : spans) {
    if (span.kind != TraceSpan::Kind::kPhase || span.name != "precompile") continue;
    compiled += Picture("Compiling ahead", spans, span.begin_ns, span.end_ns);
  }
  int64_t end = 0;
  for (size_t i = 0; i < profile.shapes.size(); ++i) {
    const ProfiledShape& shape = profile.shapes[i];
    end = std::max(end, shape.last_end_ns);
    if (i != 0 && i + 1 != profile.shapes.size()) continue;
    calls += Picture(absl::StrCat("A call while steps are traced: ", shape.name), spans, shape.last_begin_ns,
                     shape.last_end_ns);
  }
  std::string html = "<h2>Timeline</h2>\n<p class=\"note\">Point at a bar to see what it is.</p>\n";
  if (!spans.empty()) {
    const auto first = std::min_element(spans.begin(), spans.end(),
                                        [](const auto& a, const auto& b) { return a.begin_ns < b.begin_ns; });
    html += Picture("From loading to the traced calls", spans, first->begin_ns, end);
  }
  html += call(absl::StrCat("The cold call: ", profile.cold.name), profile.cold.begin_ns, profile.cold.first_seconds);
  if (profile.second_start.has_value()) {
    html +=
        call("The cold call of the second start", profile.second_start->begin_ns, profile.second_start->first_seconds);
  }
  return absl::StrCat(html, compiled, calls);
}

}  // namespace

std::string ProfileHtml(const CacheProfile& profile, const Trace& trace) {
  const CacheReport& report = profile.report;
  std::string html = absl::StrCat(HtmlHead(absl::StrCat("rondo cache profile: ", profile.model), kStyle),
                                  "<h1>rondo cache profile</h1>\n<p>", Markup(profile.model), ": ",
                                  Markup(profile.kind), ", ", profile.threads, " threads</p>\n<dl>");
  const auto fact = [&](const char* name, const std::string& value) {
    absl::StrAppend(&html, "<dt>", name, "</dt><dd>", value, "</dd>\n");
  };
  const auto bytes = [](int64_t count) { return BytesText(static_cast<double>(count)); };
  fact("load", SecondsText(profile.load_seconds));
  const ColdCall& cold = profile.cold;
  fact("cold call",
       absl::StrCat(Markup(cold.name), ": ", SecondsText(cold.first_seconds),
                    " with all that it makes (plans: ", cold.plans_made, ", primitives: ", cold.creations,
                    "), repeated ", SecondsText(cold.later_seconds), " (median of ", cold.later_calls, ")"));
  if (profile.second_start.has_value()) {
    const SecondStart& start = *profile.second_start;
    const std::string directory = CacheDirectoryText(start.report);
    fact("second start",
         absl::StrCat("load ", SecondsText(start.load_seconds), ", cold call ", SecondsText(start.first_seconds), "; ",
                      Markup(absl::StripSuffix(directory, "\n"))));
  }
  fact("compiling ahead", absl::StrCat(SecondsText(profile.precompile_seconds), ", the second time ",
                                       SecondsText(profile.second_precompile_seconds), ", with all plans made anew ",
                                       SecondsText(profile.replan_seconds)));
  fact("memory",
       absl::StrCat("parameters ", bytes(profile.parameter_bytes), ", primitives ", bytes(report.totals.bytes),
                    ", packed weights ", bytes(report.weight_bytes), ", arenas ", bytes(report.arena_bytes),
                    profile.kv_bytes > 0 ? ", KV cache " + bytes(profile.kv_bytes) : ""));
  fact("read bandwidth, measured with this profile", absl::StrFormat("%.1f GB/s", profile.read_bandwidth * 1e-9));
  absl::StrAppend(&html, "</dl>\n<h2>Verdicts</h2>\n", VerdictsHtml(profile), "<h2>Shapes</h2>\n", ShapesHtml(profile),
                  "<h2>Counters by phase</h2>\n", CountersHtml(profile), Pictures(profile, trace), TimesHtml(profile),
                  CacheHtml(report));
  return absl::StrCat(html, HtmlTableScript(), "</body></html>\n");
}

}  // namespace rondo
