// Replaces the global operator new. This file is part of an archive: programs that do not ask for the count do not get
// the replacement.
#include "tools/allocation_counter.h"

#include <atomic>
#include <cstdlib>
#include <new>

#include "ops/foreign_code.h"

namespace {

std::atomic<int64_t> allocations{0};

[[maybe_unused]] void* Allocate(std::size_t bytes, std::size_t alignment) {
  if (!rondo::ForeignCode::Runs()) allocations.fetch_add(1, std::memory_order_relaxed);
  bytes = bytes == 0 ? 1 : bytes;
  void* data = alignment == 0 ? std::malloc(bytes)
                              : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace

namespace rondo {
int64_t AllocationCount() { return allocations.load(); }
}  // namespace rondo

// The sanitizers' own operators see more: a build with them counts nothing.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void* operator new(std::size_t bytes) { return Allocate(bytes, 0); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return Allocate(bytes, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, const std::nothrow_t&) noexcept { std::free(data); }

#endif
