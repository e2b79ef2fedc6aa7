#include "cachedir/version.h"

#include "cachedir/packing_version.h"  // written by cmake/PackingVersion.cmake

namespace rondo {

std::string PackingVersion() { return RONDO_PACKING_VERSION; }

}  // namespace rondo
