// A model's part of the cache directory: what joins a Program, which compiles, and a CacheEntry, which keeps.
#ifndef RONDO_API_MODEL_CACHE_H_
#define RONDO_API_MODEL_CACHE_H_

#include <memory>

#include "cachedir/cache_entry.h"
#include "executor/program.h"
#include "importer/importer.h"
#include "rondo/model.h"

namespace rondo {

// Writes at the end what was not written by then. In order:
//
//   ModelCache cache(options, file);    before the file is read: what is known of it is checked meanwhile
//   cache.Bind(imported, &program);     the program looks there for what it would have to compute
//   cache.Attach(program);
class ModelCache {
 public:
  // Of the model in `file`; nothing where `options` ask for no directory.
  ModelCache(const ModelOptions& options, const std::string& file);
  ModelCache(const ModelCache&) = delete;
  ModelCache& operator=(const ModelCache&) = delete;
  ~ModelCache();

  void Bind(const ImportedModel& model, ProgramOptions* program);
  // The program that was made. Both live as long as this.
  void Attach(const Program* program);
  absl::Status Save() const;
  // The program's, with what the directory has to tell.
  CacheReport Report() const;
  std::vector<PlanShapes> known_shapes() const;

 private:
  const int threads_;
  std::shared_ptr<CacheEntry> entry_;  // null: no directory
  const Program* program_ = nullptr;
};

}  // namespace rondo

#endif  // RONDO_API_MODEL_CACHE_H_
