# xxHash: RONDO_XXHASH is the library, RONDO_XXHASH_DEFINITIONS says whether it chooses the widest vectors at run time,
# which Debian's does on x86.
include(CheckCXXSourceCompiles)
find_library(RONDO_XXHASH xxhash REQUIRED)
set(CMAKE_REQUIRED_LIBRARIES ${RONDO_XXHASH})
check_cxx_source_compiles("
  #include <xxh_x86dispatch.h>
  int main() { return static_cast<int>(XXH3_64bits_withSeed(\"\", 0, 1)); }" RONDO_XXHASH_DISPATCHES)
unset(CMAKE_REQUIRED_LIBRARIES)
set(RONDO_XXHASH_DEFINITIONS "")
if(RONDO_XXHASH_DISPATCHES)
  set(RONDO_XXHASH_DEFINITIONS RONDO_XXHASH_DISPATCHES)
endif()
