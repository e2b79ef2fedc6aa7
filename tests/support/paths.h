// Where tests find things.
#ifndef RONDO_TESTS_SUPPORT_PATHS_H_
#define RONDO_TESTS_SUPPORT_PATHS_H_

#include <string>

namespace rondo {

std::string SourceDir();  // the checkout
// The folder with shared models and conformance tests: $RONDO_SHARED_DIR, else ../shared beside the checkout. Empty
// when there is none: such a test skips, saying so.
std::string SharedDir();
std::string RondoProgram();  // the `rondo` of this build
// A fresh empty folder, removed when the program ends.
std::string NewTempDir();

}  // namespace rondo

// At the start of a test that needs shared data: `sub` is a path in the shared folder.
#define RONDO_SKIP_WITHOUT_SHARED(sub) \
  if (rondo::SharedDir().empty())      \
  GTEST_SKIP() << "no shared data (" sub "): set RONDO_SHARED_DIR or put it at ../shared of the checkout"

#endif  // RONDO_TESTS_SUPPORT_PATHS_H_
