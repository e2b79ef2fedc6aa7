#include "tests/support/paths.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Temporary folders of this program, removed at exit.
class TempDirs {
 public:
  ~TempDirs() {
    std::error_code ignored;
    for (const fs::path& dir : dirs_) fs::remove_all(dir, ignored);
  }
  std::string New() {
    std::string pattern = (fs::temp_directory_path() / "rondo_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) return "";
    dirs_.push_back(pattern);
    return pattern;
  }

 private:
  std::vector<fs::path> dirs_;
};

}  // namespace

std::string SourceDir() { return RONDO_SOURCE_DIR; }

std::string SharedDir() {
  const char* env = std::getenv("RONDO_SHARED_DIR");
  fs::path dir = env != nullptr ? fs::path(env) : fs::path(RONDO_SOURCE_DIR) / ".." / "shared";
  std::error_code error;
  return fs::is_directory(dir / "models", error) ? fs::weakly_canonical(dir).string() : "";
}

std::string RondoProgram() { return RONDO_BINARY_DIR "/rondo"; }

std::string NewTempDir() {
  static TempDirs dirs;
  return dirs.New();
}

}  // namespace rondo
