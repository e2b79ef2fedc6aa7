// rondo cache: what the primitive cache does for a model, and what of it is kept on disk. Each subcommand is a row of
// the table at the end.
#include <CLI/CLI.hpp>
#include <memory>

#include "graph/status.h"
#include "tools/cache_dir.h"
#include "tools/cache_profile.h"
#include "tools/cache_profile_report.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text.h"

namespace rondo {
namespace {

struct ProfileCommand {
  ProfileOptions options;
  std::string tokens, batches, json, html, trace;
  size_t top = 10;
};

absl::Status WriteReports(const ProfileCommand& command, const CacheProfile& profile, const Trace& trace) {
  if (!command.json.empty()) RONDO_RETURN_IF_ERROR(WriteFile(command.json, ProfileJson(profile)));
  if (!command.html.empty()) RONDO_RETURN_IF_ERROR(WriteFile(command.html, ProfileHtml(profile, trace)));
  if (!command.trace.empty()) RONDO_RETURN_IF_ERROR(WriteFile(command.trace, trace.ToJson()));
  return absl::OkStatus();
}

absl::StatusOr<bool> Profile(ProfileCommand& command) {
  ProfileOptions& options = command.options;
  // The environment's directory would make the process's first call a second one.
  if (options.load.cache_dir.empty()) options.load.cache_dir = kNoCacheDir;
  RONDO_ASSIGN_OR_RETURN(options.tokens, ParseBuckets("--tokens", command.tokens));
  RONDO_ASSIGN_OR_RETURN(options.batches, ParseBuckets("--batch", command.batches));
  std::unique_ptr<ProgressBar> bar;
  options.progress = ProgressInto(&bar);
  Trace trace;
  RONDO_ASSIGN_OR_RETURN(const CacheProfile profile, ProfileCache(options, &trace));
  Print(ProfileText(profile, command.top));
  WarnOfCacheProblems(profile.report.directory);
  RONDO_RETURN_IF_ERROR(WriteReports(command, profile, trace));
  return profile.ok();
}

std::function<int()> DeclareProfile(CLI::App& app) {
  auto command = std::make_shared<ProfileCommand>();
  ProfileOptions& o = command->options;
  app.add_option("MODEL", o.model, "A folder or file as `rondo generate` or `rondo run` takes it")
      ->required()
      ->type_name("");
  app.add_option("--tokens", command->tokens, "A decoder's prefill buckets (those of `rondo generate`)")
      ->type_name("64,128,...");
  app.add_option("--batch", command->batches, "A decoder's decode batches (1,2,4)")->type_name("1,2,...");
  app.add_option("--decode-steps", o.decode_steps, "Steps that are run of each batch (16)")
      ->check(CLI::Range(1, 100000))
      ->type_name("N");
  app.add_option("--shape", o.shapes, "Dims of another model's input or symbol; all combinations are profiled")
      ->allow_extra_args(false)
      ->type_name("NAME=DIMS/DIMS/...");
  app.add_option("--repeat", o.repeat, "Rounds in which every shape is called (2)")
      ->check(CLI::Range(2, 1000))
      ->type_name("N");
  app.add_option("--cache-entries", o.load.cache.entries, "Bound of the primitive cache (4096)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 32))
      ->type_name("N");
  app.add_option("--top", command->top, "Rows printed of each table (10)")->type_name("N");
  app.add_option("--json", command->json, "Write everything as JSON")->type_name("FILE");
  app.add_option("--html", command->html, "Write one page with pictures and tables")->type_name("FILE");
  app.add_option("--trace", command->trace, "Write a timeline in Chrome's format")->type_name("FILE");
  AddModelOptions(app, &o.load);
  AddCacheDirOption(app, &o.load.cache_dir);
  app.footer(
      "Exit code 1: a verdict fails.\n"
      "Examples:\n"
      "  rondo cache profile qwen2.5-0.5b/ --tokens 64,256 --batch 1,4 --html cache.html\n"
      "  rondo cache profile resnet50.onnx --shape x=1x3x224x224/8x3x224x224 --json cache.json");
  return [command] {
    const absl::StatusOr<bool> ok = Profile(*command);
    if (!ok.ok()) return Fail(ok.status());
    return *ok ? kOk : kCheckFailed;
  };
}

constexpr Command kSubcommands[] = {
    {"profile", "Compile a model's shapes ahead, call each twice, and judge what the cache did", DeclareProfile},
    {"ls", "List what a cache directory holds", DeclareCacheLs},
    {"verify", "Compare every digest in a cache directory", DeclareCacheVerify},
    {"prune", "Remove old, large or damaged entries of a cache directory", DeclareCachePrune},
};

}  // namespace

std::function<int()> DeclareCache(CLI::App& app) { return DeclareSubcommands(app, kSubcommands); }

}  // namespace rondo
