#include "graph/file_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <mutex>

namespace rondo {
namespace {

struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, uintptr_t> ends;  // by begin
};
Mappings& AllMappings() {
  static auto* const mappings = new Mappings;  // outlives every static that holds a model
  return *mappings;
}

}  // namespace

void AddFilePages(const void* begin, size_t bytes) {
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  all.ends[reinterpret_cast<uintptr_t>(begin)] = reinterpret_cast<uintptr_t>(begin) + bytes;
}

void RemoveFilePages(const void* begin) {
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  all.ends.erase(reinterpret_cast<uintptr_t>(begin));
}

void ForgetFilePages(const void* begin, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (address + page - 1) / page * page, last = (address + bytes) / page * page;
  if (first >= last) return;
  Mappings& all = AllMappings();
  const std::lock_guard lock(all.mutex);
  auto mapping = all.ends.upper_bound(address);
  if (mapping == all.ends.begin()) return;
  --mapping;
  if (last > mapping->second) return;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);  // a hint: failure costs memory only
}

}  // namespace rondo
