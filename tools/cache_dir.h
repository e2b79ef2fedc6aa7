// What commands share about the cache directory: its option, what it did for a run, and its upkeep.
#ifndef RONDO_TOOLS_CACHE_DIR_H_
#define RONDO_TOOLS_CACHE_DIR_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "rondo/cache.h"

namespace CLI {
class App;
}

namespace rondo {

// --cache-dir.
void AddCacheDirOption(CLI::App& app, std::string* cache_dir);

// "cache directory DIR: 242 packed weights (294.4 MiB) found in 24 ms, 0 packed ...; nothing written\n"; "" without
// one. What is known of a weight (that its scales are halves) counts as one.
std::string CacheDirectoryText(const CacheReport& report);
// The same with the names of docs/primitive_cache.md.
nlohmann::ordered_json CacheDirectoryJson(const CacheReport& report);
// A line on standard error for each thing that was wrong with it.
void WarnOfCacheProblems(const CacheDirectoryReport& directory);

// rondo cache ls, verify, prune.
std::function<int()> DeclareCacheLs(CLI::App& app);
std::function<int()> DeclareCacheVerify(CLI::App& app);
std::function<int()> DeclareCachePrune(CLI::App& app);

}  // namespace rondo

#endif  // RONDO_TOOLS_CACHE_DIR_H_
