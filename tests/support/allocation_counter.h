// Counts calls of operator new, in test programs that use it.
#ifndef RONDO_TESTS_SUPPORT_ALLOCATION_COUNTER_H_
#define RONDO_TESTS_SUPPORT_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace rondo {

// By all threads since the program started.
int64_t AllocationCount();

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_ALLOCATION_COUNTER_H_
