#ifndef RONDO_CACHEDIR_VERSION_H_
#define RONDO_CACHEDIR_VERSION_H_

#include <string>

namespace rondo {

// "0.1.0+1a2b3c4d5e6f": rondo's version, and a digest of the sources in ops/, which say how weights are packed. Builds
// that pack differently never read each other's weights, also while a version is being made.
std::string PackingVersion();

}  // namespace rondo

#endif  // RONDO_CACHEDIR_VERSION_H_
