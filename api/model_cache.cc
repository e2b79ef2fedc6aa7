#include "api/model_cache.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "ops/parallel.h"

namespace rondo {
namespace {

std::string DirectoryFor(const ModelOptions& options) {
  if (options.cache_dir == kNoCacheDir) return "";
  if (!options.cache_dir.empty()) return options.cache_dir;
  const char* const value = std::getenv("RONDO_CACHE_DIR");
  return value == nullptr || value == absl::string_view(kNoCacheDir) ? "" : value;
}

}  // namespace

ModelCache::ModelCache(const ModelOptions& options, const std::string& file)
    : threads_(options.threads > 0 ? options.threads : AvailableCores()) {
  const std::string directory = DirectoryFor(options);
  if (directory.empty()) return;
  const std::string weights_as = options.weight_bits == 0 ? "" : absl::StrCat("int", options.weight_bits);
  entry_ = CacheEntry::Open(directory, file, weights_as, threads_);
}

void ModelCache::Bind(const ImportedModel& model, ProgramOptions* program) {
  if (entry_ == nullptr) return;
  const ScopedThreads threads(threads_);
  entry_->Bind(model.files);
  program->weight_store = entry_;
}

ModelCache::~ModelCache() { (void)Save(); }

void ModelCache::Attach(const Program* program) {
  program_ = program;
  if (entry_ != nullptr) program->primitives().Recall(entry_->keys());
}

absl::Status ModelCache::Save() const {
  if (entry_ == nullptr || program_ == nullptr) return absl::OkStatus();
  const ScopedThreads threads(program_->resources().threads);
  return entry_->Save(program_->primitives().Made(), program_->root().bindings());
}

CacheReport ModelCache::Report() const {
  CacheReport report = program_->Report();
  if (entry_ != nullptr) report.directory = entry_->report();
  return report;
}

std::vector<PlanShapes> ModelCache::known_shapes() const {
  return entry_ == nullptr ? std::vector<PlanShapes>() : entry_->shapes();
}

}  // namespace rondo
