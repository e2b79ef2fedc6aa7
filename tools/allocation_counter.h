// Counts calls of operator new, in programs that use it: the decode loop promises none.
#ifndef RONDO_TOOLS_ALLOCATION_COUNTER_H_
#define RONDO_TOOLS_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace rondo {

// By all threads since the program started, outside of library calls (ops/foreign_code.h).
int64_t AllocationCount();

}  // namespace rondo

#endif  // RONDO_TOOLS_ALLOCATION_COUNTER_H_
