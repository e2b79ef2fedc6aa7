// Runs of the program with a cache directory, and looks into what they left there: for tests of whole programs.
#ifndef RONDO_TESTS_SUPPORT_CACHED_RUNS_H_
#define RONDO_TESTS_SUPPORT_CACHED_RUNS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/run_program.h"

namespace rondo {

struct CachedRun {
  ProgramResult program;
  std::string results;                // every output's name, size and hash, or what was generated
  int64_t found = -1, packed = -1;    // weights; -1: it used no directory
  std::vector<std::string> warnings;  // of the directory, without what they all begin with
};

// A command to be run with --cache-dir. "": without that option.
struct CachedCommand {
  std::vector<std::string> arguments;  // of rondo
  std::string output_dir;              // of `run`; "": results are the JSON of `generate`

  // generate, with a fixed prompt; run, with random inputs.
  static CachedCommand Generate(const std::string& model);
  static CachedCommand Run(const std::string& model);

  RunningProgram Start(const std::string& cache_dir) const;
  CachedRun Read(ProgramResult program) const;
  CachedRun With(const std::string& cache_dir) const { return Read(Start(cache_dir).Wait()); }
};

std::string ArcMiniFolder();
// Writes `folder`/model.onnx: float x[4, n], multiplied by `layers` matrices [n, n] with Tanh between. With `external`
// the matrices are in model.data. Returns the folder.
std::string WriteStackModel(const std::string& folder, int layers, int n, bool external, uint32_t seed = 1);

// ---- what is in a directory ----

std::vector<std::string> FilesIn(const std::string& dir);      // relative, sorted; all but folders
std::vector<std::string> LeftoversIn(const std::string& dir);  // what writers leave that were killed
// The only entry's folder; a failure when there is another number of them.
std::string EntryIn(const std::string& cache_dir);
// The weights of all entries, as `rondo cache ls` tells; -1: an error.
int64_t WeightsIn(const std::string& cache_dir);
ProgramResult Verify(const std::string& cache_dir);
// The copy has the name of the original nowhere in it: a cache directory may be moved.
std::string CopyOf(const std::string& folder);

// ---- damage ----

void FlipByte(const std::string& path, size_t at);
// What may be in place of a file or folder.
using Replacement = std::function<void(const std::string& path)>;
void PutFifo(const std::string& path);
void PutDanglingLink(const std::string& path);
void PutFolder(const std::string& path);  // with a file in it
void PutFile(const std::string& path);
void Replace(const std::string& path, const Replacement& replacement);

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_CACHED_RUNS_H_
