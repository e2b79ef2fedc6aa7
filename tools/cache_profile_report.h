// The forms in which a cache profile is told.
#ifndef RONDO_TOOLS_CACHE_PROFILE_REPORT_H_
#define RONDO_TOOLS_CACHE_PROFILE_REPORT_H_

#include <string>

#include "tools/cache_profile.h"

namespace rondo {

// For a terminal; tables are cut to `top` rows.
std::string ProfileText(const CacheProfile& profile, size_t top);
// All of it, under the names of docs/primitive_cache.md.
std::string ProfileJson(const CacheProfile& profile);
// One page that needs nothing else.
std::string ProfileHtml(const CacheProfile& profile, const Trace& trace);

}  // namespace rondo

#endif  // RONDO_TOOLS_CACHE_PROFILE_REPORT_H_
