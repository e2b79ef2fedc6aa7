# Writes OUTPUT, a header that defines RONDO_PACKING_VERSION: VERSION, and a digest of all sources below SOURCE_DIR. The
# file is touched only when that changes.
cmake_minimum_required(VERSION 3.25)
file(GLOB_RECURSE sources ${SOURCE_DIR}/*.cc ${SOURCE_DIR}/*.h)
list(SORT sources)
set(digests "")
foreach(source IN LISTS sources)
  file(SHA256 ${source} digest)
  string(APPEND digests ${digest})
endforeach()
string(SHA256 digest "${digests}")
string(SUBSTRING ${digest} 0 12 digest)
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define RONDO_PACKING_VERSION \"@VERSION@+@digest@\"\n" @ONLY)
