// A model's part of the cache directory: what joins a Program, which compiles, and a CacheEntry, which keeps.
#ifndef RONDO_API_MODEL_CACHE_H_
#define RONDO_API_MODEL_CACHE_H_

#include <memory>

#include "cachedir/cache_entry.h"
#include "executor/program.h"
#include "importer/importer.h"
#include "rondo/model.h"

namespace rondo {

// Made before the program, and gone after it; writes at the end what was not written by then.
class ModelCache {
 public:
  // Opens the entry that `options` ask for, if they do, and lets `program` look there.
  ModelCache(const ModelOptions& options, const ImportedModel& model, ProgramOptions* program);
  ModelCache(const ModelCache&) = delete;
  ModelCache& operator=(const ModelCache&) = delete;
  ~ModelCache();

  // The program that was made. Both live as long as this.
  void Attach(const Program* program);
  absl::Status Save() const;
  // Adds what the directory has to tell.
  void Report(CacheReport* report) const;
  std::vector<PlanShapes> known_shapes() const;

 private:
  std::shared_ptr<CacheEntry> entry_;  // null: no directory
  const Program* program_ = nullptr;
};

}  // namespace rondo

#endif  // RONDO_API_MODEL_CACHE_H_
