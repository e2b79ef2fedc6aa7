#include "tools/cache_profile_report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/cache_dir.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

std::string Bytes(int64_t bytes) { return BytesText(static_cast<double>(bytes)); }

const char* StateName(Verdict::State state) {
  switch (state) {
    case Verdict::State::kHolds:
      return "holds";
    case Verdict::State::kFails:
      return "fails";
    case Verdict::State::kFigure:
      return "figure";
  }
  return "";
}

std::string Ratio(double a, double b) { return b > 0 ? absl::StrFormat("%.0fx", a / b) : "-"; }

std::string ShapesTable(const CacheProfile& profile) {
  TextTable table({"shape", "compile", "first call", "later calls", "first / later"}, "lrrrr");
  for (const ProfiledShape& s : profile.shapes) {
    table.Add({Printable(s.name, 80), SecondsText(s.compile_seconds), SecondsText(s.first_seconds),
               SecondsText(s.later_seconds), Ratio(s.compile_seconds + s.first_seconds, s.later_seconds)});
  }
  return table.ToString();
}

std::string CountersTable(const CacheProfile& profile) {
  TextTable table({"phase", "plans made", "plan hits", "hits", "misses", "creations", "evictions", "creating"},
                  "lrrrrrrr");
  for (const auto& [name, c] :
       {std::pair("first precompile", profile.precompile), std::pair("first round", profile.first_round),
        std::pair("later rounds", profile.later_rounds), std::pair("plans made anew", profile.replan)}) {
    table.Add({name, CountText(c.plans_made), CountText(c.plan_hits), CountText(c.hits), CountText(c.misses),
               CountText(c.creations), CountText(c.evictions), SecondsText(c.creation_seconds)});
  }
  return table.ToString();
}

std::string OperatorsTable(const CacheReport& report) {
  TextTable table({"operation", "entries", "hits", "misses", "creations", "evictions", "bytes", "creating"},
                  "lrrrrrrr");
  for (const OperatorCacheStats& o : report.operators) {
    table.Add({Printable(o.operation, 60), CountText(o.entries), CountText(o.hits), CountText(o.misses),
               CountText(o.creations), CountText(o.evictions), Bytes(o.bytes), SecondsText(o.creation_seconds)});
  }
  return table.empty() ? "" : table.ToString() + "\n";
}

// Packed bytes by node, for the table of nodes.
std::map<std::string, int64_t> WeightsByNode(const CacheReport& report) {
  std::map<std::string, int64_t> bytes;
  for (const PackedWeightStats& weight : report.weights) bytes[weight.node] += weight.bytes;
  return bytes;
}

std::string NodesTable(const CacheReport& report, size_t top) {
  TextTable table({"node", "hits", "misses", "creations", "creating", "packed weights"}, "lrrrrr");
  const std::map<std::string, int64_t> weights = WeightsByNode(report);
  for (size_t i = 0; i < std::min(top, report.nodes.size()); ++i) {
    const NodeCacheStats& n = report.nodes[i];
    const auto packed = weights.find(n.node);
    table.Add({Printable(n.node, 80), CountText(n.hits), CountText(n.misses), CountText(n.creations),
               SecondsText(n.creation_seconds), packed == weights.end() ? "-" : Bytes(packed->second)});
  }
  if (table.empty()) return "";
  const size_t left = report.nodes.size() - std::min(top, report.nodes.size());
  return absl::StrCat(table.ToString(), left > 0 ? absl::StrCat("and ", left, " nodes more (--top)\n") : "", "\n");
}

std::string KeysTable(const CacheReport& report, size_t top) {
  TextTable table({"creating", "hits", "implementation", "slowest creations"}, "rrll");
  for (size_t i = 0; i < std::min(top, report.keys.size()); ++i) {
    const KeyCacheStats& k = report.keys[i];
    table.Add({SecondsText(k.creation_seconds), CountText(k.hits), k.implementation, Printable(k.key, 160)});
  }
  return table.empty() ? "" : table.ToString() + "\n";
}

std::string TimesTable(const CacheProfile& profile, size_t top) {
  TextTable table({"operator", "implementation", "calls", "time", "share", "GB/s", "of the limit", "GFLOP/s"},
                  "llrrrrrr");
  for (size_t i = 0; i < std::min(top, profile.operators.size()); ++i) {
    const OperatorTime& o = profile.operators[i];
    const double rate = o.seconds_of_bytes > 0 ? static_cast<double>(o.bytes) / o.seconds_of_bytes : 0;
    table.Add(
        {Printable(o.op, 40), Printable(o.implementation, 40), CountText(o.calls), SecondsText(o.seconds),
         absl::StrFormat("%.1f %%", 100 * o.seconds / profile.traced_seconds),
         rate > 0 ? absl::StrFormat("%.1f", rate * 1e-9) : "-",
         rate > 0 && profile.read_bandwidth > 0 ? absl::StrFormat("%.0f %%", 100 * rate / profile.read_bandwidth) : "-",
         o.flops > 0 ? absl::StrFormat("%.1f", o.flops * 1e-9 / o.seconds) : "-"});
  }
  return table.empty() ? "" : table.ToString() + "\n";
}

Json CountersJson(const CacheStats& c) {
  return {{"hits", c.hits},
          {"misses", c.misses},
          {"creations", c.creations},
          {"evictions", c.evictions},
          {"creation_seconds", c.creation_seconds},
          {"plan_hits", c.plan_hits},
          {"plans_made", c.plans_made},
          {"plan_seconds", c.plan_seconds}};
}

Json OperatorsJson(const std::vector<OperatorTime>& operators) {
  Json rows = Json::array();
  for (const OperatorTime& o : operators) {
    rows.push_back({{"operator", o.op},
                    {"implementation", o.implementation},
                    {"calls", o.calls},
                    {"seconds", o.seconds},
                    {"bytes", o.bytes},
                    {"seconds_of_bytes", o.seconds_of_bytes},
                    {"flops", o.flops}});
  }
  return rows;
}

Json MissJson(const CompileEvent& event) {
  Json changes = Json::array();
  for (const KeyFieldChange& change : event.changes) {
    changes.push_back({{"field", change.field}, {"was", change.was}, {"is", change.is}});
  }
  return {{"kind", event.kind == CompileEvent::Kind::kPlan ? "plan" : "primitive"},
          {"node", event.node},
          {"operation", event.operation},
          {"compiled_in", event.compiled_in},
          {"nearest_created_for", event.nearest},
          {"earlier_process", event.earlier},
          {"changes", std::move(changes)},
          {"seconds", event.seconds()},
          {"implementation", event.implementation},
          {"refused", event.refused},
          {"explanation", event.Explanation()}};
}

Json CacheJson(const CacheReport& report) {
  const CacheStats& t = report.totals;
  Json totals = CountersJson(t);
  totals["entries"] = t.entries;
  totals["bytes"] = t.bytes;
  totals["max_entries"] = t.limits.entries;
  totals["max_bytes"] = t.limits.bytes;
  Json operators = Json::array(), nodes = Json::array(), keys = Json::array(), weights = Json::array(),
       misses = Json::array();
  for (const OperatorCacheStats& o : report.operators) {
    operators.push_back({{"operation", o.operation},
                         {"entries", o.entries},
                         {"hits", o.hits},
                         {"misses", o.misses},
                         {"creations", o.creations},
                         {"evictions", o.evictions},
                         {"bytes", o.bytes},
                         {"creation_seconds", o.creation_seconds}});
  }
  for (const NodeCacheStats& n : report.nodes) {
    nodes.push_back({{"node", n.node},
                     {"hits", n.hits},
                     {"misses", n.misses},
                     {"creations", n.creations},
                     {"creation_seconds", n.creation_seconds}});
  }
  for (const KeyCacheStats& k : report.keys) {
    keys.push_back({{"key", k.key},
                    {"node", k.node},
                    {"implementation", k.implementation},
                    {"hits", k.hits},
                    {"bytes", k.bytes},
                    {"creation_seconds", k.creation_seconds}});
  }
  for (const PackedWeightStats& w : report.weights) {
    weights.push_back({{"node", w.node},
                       {"layout", w.layout},
                       {"bytes", w.bytes},
                       {"packing_seconds", w.packing_seconds},
                       {"found", w.found}});
  }
  for (const CompileEvent& event : report.misses) misses.push_back(MissJson(event));
  return {{"totals", std::move(totals)}, {"operators", std::move(operators)}, {"nodes", std::move(nodes)},
          {"keys", std::move(keys)},     {"weights", std::move(weights)},     {"misses", std::move(misses)}};
}

}  // namespace

std::string ProfileText(const CacheProfile& profile, size_t top) {
  const CacheReport& report = profile.report;
  std::string text = absl::StrFormat(
      "%s: %s, %d threads, parameters %s\n"
      "load %s, first precompile of %d shapes %s, second %s, with all plans made anew %s\n\n",
      Printable(profile.model), Printable(profile.kind), profile.threads, Bytes(profile.parameter_bytes),
      SecondsText(profile.load_seconds), profile.shapes.size(), SecondsText(profile.precompile_seconds),
      SecondsText(profile.second_precompile_seconds), SecondsText(profile.replan_seconds));
  absl::StrAppendFormat(&text, "very first call, %s: %s with all that it compiles; repeated %s\n\n",
                        Printable(profile.cold.name, 80), SecondsText(profile.cold.first_seconds),
                        SecondsText(profile.cold.later_seconds));
  absl::StrAppend(&text, ShapesTable(profile), "\n", CountersTable(profile), "\n", OperatorsTable(report),
                  NodesTable(report, top), KeysTable(report, top), TimesTable(profile, top));
  absl::StrAppendFormat(&text, "memory: primitives %s (%d entries; at most %s, %d), packed weights %s, arenas %s",
                        Bytes(report.totals.bytes), report.totals.entries, Bytes(report.totals.limits.bytes),
                        report.totals.limits.entries, Bytes(report.weight_bytes), Bytes(report.arena_bytes));
  if (profile.kv_bytes > 0) absl::StrAppend(&text, ", KV cache ", Bytes(profile.kv_bytes));
  absl::StrAppendFormat(&text, "\nread bandwidth measured now: %.1f GB/s\n", profile.read_bandwidth * 1e-9);
  absl::StrAppend(&text, "implementations: ", absl::StrJoin(profile.implementations, ", ", absl::PairFormatter(" x")),
                  "\n");
  for (size_t i = report.misses.size() - std::min(top, report.misses.size()); i < report.misses.size(); ++i) {
    if (i + top == report.misses.size() || i == 0) text += "\nlast misses\n";
    absl::StrAppend(&text, "  ", Printable(report.misses[i].Explanation(), 400), "\n");
  }
  text += "\n";
  if (profile.second_start.has_value()) {
    absl::StrAppend(&text, "second start: ", CacheDirectoryText(profile.second_start->report), "\n");
  }
  TextTable verdicts({"verdict", "claim", "found"});
  for (const Verdict& v : profile.verdicts) verdicts.Add({StateName(v.state), v.claim, Printable(v.found, 400)});
  return text + verdicts.ToString();
}

std::string ProfileJson(const CacheProfile& profile) {
  Json shapes = Json::array(), verdicts = Json::array();
  for (const ProfiledShape& s : profile.shapes) {
    shapes.push_back({{"name", s.name},
                      {"compile_seconds", s.compile_seconds},
                      {"first_seconds", s.first_seconds},
                      {"later_seconds", s.later_seconds},
                      {"traced_calls", s.traced_calls},
                      {"operators", OperatorsJson(s.operators)}});
  }
  for (const Verdict& v : profile.verdicts) {
    verdicts.push_back(
        {{"id", v.id}, {"state", StateName(v.state)}, {"claim", v.claim}, {"found", v.found}, {"value", v.value}});
  }
  const CacheReport& r = profile.report;
  Json json = {{"model", profile.model},
               {"kind", profile.kind},
               {"threads", profile.threads},
               {"load_seconds", profile.load_seconds},
               {"precompile_seconds", profile.precompile_seconds},
               {"second_precompile_seconds", profile.second_precompile_seconds},
               {"replan_seconds", profile.replan_seconds},
               {"cold_call",
                {{"name", profile.cold.name},
                 {"first_seconds", profile.cold.first_seconds},
                 {"later_seconds", profile.cold.later_seconds},
                 {"later_calls", profile.cold.later_calls},
                 {"plans_made", profile.cold.plans_made},
                 {"creations", profile.cold.creations}}},
               {"shapes", std::move(shapes)},
               {"phases",
                {{"precompile", CountersJson(profile.precompile)},
                 {"first_round", CountersJson(profile.first_round)},
                 {"later_rounds", CountersJson(profile.later_rounds)},
                 {"replan", CountersJson(profile.replan)}}},
               {"cache", CacheJson(r)},
               {"memory",
                {{"parameters", profile.parameter_bytes},
                 {"primitives", r.totals.bytes},
                 {"packed_weights", r.weight_bytes},
                 {"arenas", r.arena_bytes},
                 {"kv_cache", profile.kv_bytes}}},
               {"implementations", profile.implementations},
               {"operators", OperatorsJson(profile.operators)},
               {"read_bandwidth", profile.read_bandwidth},
               {"verdicts", std::move(verdicts)}};
  if (profile.second_start.has_value()) {
    json["second_start"] = {{"load_seconds", profile.second_start->load_seconds},
                            {"first_seconds", profile.second_start->first_seconds}};
    json["cache_directory"] = CacheDirectoryJson(profile.second_start->report);
  }
  // Names come from the model and need not be UTF-8.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace rondo
