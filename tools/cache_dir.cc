#include "tools/cache_dir.h"

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cachedir/cache_directory.h"
#include "graph/status.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

// Digits of an entry's name that tell it from others.
constexpr size_t kShortName = 12;

std::string ModelOf(const StoredEntry& entry) {
  return entry.manifest.identity.files.empty() ? "?" : Printable(entry.manifest.identity.files[0].path, 80);
}

std::string TimeText(int64_t unix_seconds) {
  if (unix_seconds == 0) return "?";
  return absl::FormatTime("%Y-%m-%d %H:%M", absl::FromUnixSeconds(unix_seconds), absl::LocalTimeZone());
}

int64_t BytesOf(const std::vector<StoredEntry>& entries) {
  int64_t bytes = 0;
  for (const StoredEntry& entry : entries) bytes += entry.bytes;
  return bytes;
}

Json ToJson(const StoredEntry& entry) {
  const Manifest& manifest = entry.manifest;
  Json files = Json::array();
  for (const EntryIdentity::File& file : manifest.identity.files) {
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"digest", file.digest.ToHex()}});
  }
  return {{"entry", entry.name},
          {"files", std::move(files)},
          {"machine", manifest.identity.machine},
          {"weights_as", manifest.identity.weights_as},
          {"rondo", manifest.identity.version},
          {"created", manifest.created},
          {"last_used", entry.last_used},
          {"bytes", entry.bytes},
          {"weights", entry.weights},
          {"keys", manifest.keys.size()},
          {"shapes", manifest.shapes.size()},
          {"problems", entry.problems}};
}

Json ToJson(const std::vector<StoredEntry>& entries) {
  Json json = Json::array();
  for (const StoredEntry& entry : entries) json.push_back(ToJson(entry));
  return json;
}

std::string CountAndSize(const std::vector<StoredEntry>& entries) {
  return absl::StrCat(entries.size(), entries.size() == 1 ? " entry, " : " entries, ",
                      BytesText(static_cast<double>(BytesOf(entries))));
}

std::string Dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::string TableOf(const std::vector<StoredEntry>& entries) {
  TextTable table({"entry", "model", "as", "rondo", "machine", "weights", "size", "keys", "shapes", "last used"},
                  "lllllrrrrl");
  for (const StoredEntry& entry : entries) {
    const std::string& as = entry.manifest.identity.weights_as;
    table.Add({entry.name.substr(0, kShortName), ModelOf(entry), as.empty() ? "exported" : Printable(as),
               Printable(entry.manifest.identity.version), Printable(entry.manifest.identity.machine),
               CountText(entry.weights), BytesText(static_cast<double>(entry.bytes)),
               CountText(static_cast<int64_t>(entry.manifest.keys.size())),
               CountText(static_cast<int64_t>(entry.manifest.shapes.size())), TimeText(entry.last_used)});
  }
  return table.ToString();
}

std::string LinesOf(const std::vector<std::string>& problems) {
  std::string text;
  for (const std::string& problem : problems) absl::StrAppend(&text, Printable(problem, 1000), "\n");
  return text;
}

std::string ProblemsOf(const std::vector<StoredEntry>& entries) {
  std::string text;
  for (const StoredEntry& entry : entries) text += LinesOf(entry.problems);
  return text;
}

// Of a number without its unit. An error's text, or "".
std::string IsBound(const std::string& text) {
  int64_t number;
  return absl::SimpleAtoi(text, &number) && number >= 0 ? "" : absl::StrCat("expected a number from 0 on, got ", text);
}

struct Upkeep {
  std::string directory;
  bool json = false;
  PruneOptions prune;
};

// Options that all three have; `run` gives the exit code.
std::function<int()> Declare(CLI::App& app, const std::shared_ptr<Upkeep>& command,
                             absl::StatusOr<int> (*run)(const Upkeep& command, const CacheDirectory& directory)) {
  app.add_option("DIR", command->directory, "The cache directory; default: $RONDO_CACHE_DIR")
      ->envname("RONDO_CACHE_DIR")
      ->required()
      ->type_name("");
  app.add_flag("--json", command->json, "Print JSON");
  return [command, run] {
    const absl::StatusOr<CacheDirectory> directory = CacheDirectory::Open(command->directory, /*create=*/false);
    if (!directory.ok()) return Fail(directory.status());
    const absl::StatusOr<int> code = run(*command, *directory);
    return code.ok() ? *code : Fail(code.status());
  };
}

absl::StatusOr<int> List(const Upkeep& command, const CacheDirectory& directory) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<StoredEntry> entries, ListEntries(directory, false, nullptr));
  if (command.json) {
    Print(Dump(ToJson(entries)));
    return kOk;
  }
  if (!entries.empty()) Print(TableOf(entries));
  Print(absl::StrCat(CountAndSize(entries), "\n", ProblemsOf(entries)));
  return kOk;
}

absl::StatusOr<int> Verify(const Upkeep& command, const CacheDirectory& directory) {
  std::unique_ptr<ProgressBar> bar;
  RONDO_ASSIGN_OR_RETURN(const std::vector<StoredEntry> entries, ListEntries(directory, true, ProgressInto(&bar)));
  const std::vector<std::string> of_digests = CheckDigests(directory, /*remove=*/false);
  const std::string problems = absl::StrCat(ProblemsOf(entries), LinesOf(of_digests));
  if (command.json) {
    // They are of no entry.
    if (!of_digests.empty()) absl::FPrintF(stderr, "%s", LinesOf(of_digests));
    Print(Dump(ToJson(entries)));
  } else {
    Print(absl::StrCat(problems, CountAndSize(entries),
                       problems.empty() ? ": every digest matches\n"
                                        : ": damaged; what is left is used, `rondo cache prune` removes it\n"));
  }
  return problems.empty() ? kOk : kCheckFailed;
}

absl::StatusOr<int> Prune(const Upkeep& command, const CacheDirectory& directory) {
  RONDO_ASSIGN_OR_RETURN(const std::vector<PrunedEntry> pruned, PruneEntries(directory, command.prune));
  const bool dry = command.prune.dry_run;
  int64_t bytes = 0, failures = 0;
  Json json = Json::array();
  for (const PrunedEntry& row : pruned) {
    failures += !row.error.empty();
    if (row.error.empty()) bytes += row.entry.bytes;
    if (command.json) {
      json.push_back(ToJson(row.entry));
      json.back()["why"] = row.why;
      json.back()["error"] = row.error;
      continue;
    }
    const char* const what = !row.error.empty() ? "kept" : dry ? "would remove" : "removed";
    Print(absl::StrCat(what, " ", row.entry.name.substr(0, kShortName), " (", ModelOf(row.entry), ", ",
                       BytesText(static_cast<double>(row.entry.bytes)),
                       "): ", row.error.empty() ? row.why : Printable(row.error, 1000), "\n"));
  }
  if (command.json) {
    Print(Dump(json));
  } else {
    const size_t count = pruned.size() - static_cast<size_t>(failures);
    Print(absl::StrCat(count, count == 1 ? " entry " : " entries ", dry ? "would go, " : "removed, ",
                       BytesText(static_cast<double>(bytes)), "\n"));
  }
  return failures == 0 ? kOk : kCheckFailed;
}

}  // namespace

void AddCacheDirOption(CLI::App& app, std::string* cache_dir) {
  app.add_option("--cache-dir", *cache_dir,
                 "Keep packed weights and keys in this folder, for a faster start of the next process; "
                 "\"none\": do not (default: $RONDO_CACHE_DIR)")
      ->type_name("DIR");
}

std::string CacheDirectoryText(const CacheReport& report) {
  const CacheDirectoryReport& d = report.directory;
  if (d.path.empty()) return "";
  const CacheStats& t = report.totals;
  return absl::StrCat("cache directory ", Printable(d.path), ": ", CountText(t.weights_found), " packed weights (",
                      BytesText(static_cast<double>(d.bytes_found)), ") found in ", SecondsText(t.finding_seconds),
                      ", ", CountText(t.weights_packed), " packed in ", SecondsText(t.packing_seconds),
                      "; files identified in ", SecondsText(d.identify_seconds), "; ",
                      d.write_seconds == 0 ? "nothing written"
                                           : absl::StrCat(BytesText(static_cast<double>(d.bytes_written)),
                                                          " written in ", SecondsText(d.write_seconds)),
                      "\n");
}

Json CacheDirectoryJson(const CacheReport& report) {
  const CacheDirectoryReport& d = report.directory;
  const CacheStats& t = report.totals;
  return {{"path", d.path},
          {"entry", d.entry},
          {"weights_found", t.weights_found},
          {"bytes_found", d.bytes_found},
          {"finding_seconds", t.finding_seconds},
          {"weights_packed", t.weights_packed},
          {"packing_seconds", t.packing_seconds},
          {"identify_seconds", d.identify_seconds},
          {"keys_known", d.keys_known},
          {"bytes_written", d.bytes_written},
          {"write_seconds", d.write_seconds},
          {"problems", d.problems}};
}

void WarnOfCacheProblems(const CacheDirectoryReport& directory) {
  for (const std::string& problem : directory.problems) {
    absl::FPrintF(stderr, "rondo: warning: cache directory: %s\n", Printable(problem, 1000));
  }
}

std::function<int()> DeclareCacheLs(CLI::App& app) {
  app.footer("Example:\n  rondo cache ls ~/.cache/rondo");
  return Declare(app, std::make_shared<Upkeep>(), List);
}

std::function<int()> DeclareCacheVerify(CLI::App& app) {
  app.footer("Exit code 1: a file is damaged.\nExample:\n  rondo cache verify ~/.cache/rondo");
  return Declare(app, std::make_shared<Upkeep>(), Verify);
}

std::function<int()> DeclareCachePrune(CLI::App& app) {
  auto command = std::make_shared<Upkeep>();
  PruneOptions& p = command->prune;
  static const std::map<std::string, int64_t> kAges = {
      {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 7 * 86400}};
  app.add_option("--max-age", p.max_age_seconds, "Remove what was not used for this long: 30d, 12h, 2w")
      ->transform(CLI::AsNumberWithUnit(kAges, CLI::AsNumberWithUnit::UNIT_REQUIRED))
      ->check(CLI::Validator(IsBound, ""))
      ->type_name("AGE");
  app.add_option("--max-size", p.max_bytes, "Keep at most this much, most recently used entries first: 10G, 500M")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Validator(IsBound, ""))
      ->type_name("SIZE");
  app.add_flag_callback(
      "--keep-damaged", [&p] { p.damaged = false; }, "Do not look for damaged files, and leave them");
  app.add_flag("--dry-run", p.dry_run, "Tell what would go, and remove nothing");
  app.footer(
      "Entries with damaged files are removed whatever the bounds. Exit code 1: an entry could not be removed.\n"
      "Example:\n  rondo cache prune ~/.cache/rondo --max-age 30d --max-size 10G");
  return Declare(app, command, Prune);
}

}  // namespace rondo
