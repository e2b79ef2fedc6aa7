// The `rondo` program: a table of subcommands. Exit codes: 0 ok, 1 a check failed, 2 bad usage or bad input.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "absl/strings/str_cat.h"
#include "tools/command.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr Command kCommands[] = {
    {"run", "Run a model on inputs from files or on random ones", DeclareRun},
    {"arc", "Solve ARC puzzles with a language model, from a dataset to a submission file", DeclareArc},
    {"cache", "Show what the primitive cache does for a model, and keep its directory", DeclareCache},
    {"check", "Run the recorded data sets of model folders and compare", DeclareCheck},
    {"conformance", "Run the tests of ONNX and tell where rondo stands", DeclareConformance},
    {"generate", "Make text with an exported language model", DeclareGenerate},
    {"inspect", "Show what a model holds and what rondo makes of it", DeclareInspect},
    {"ops", "List the operators and versions that are supported", DeclareOps},
    {"tokenize", "Turn text into a model's tokens and back, and chats into prompts", DeclareTokenize},
};

int Main(int argc, char** argv) {
  CLI::App app("rondo runs ONNX models on a CPU.");
  app.name("rondo");
  app.set_version_flag("--version", std::string("rondo ") + RONDO_VERSION);
  app.footer("'rondo COMMAND --help' tells more about a command.");
  const std::function<int()> action = DeclareSubcommands(app, kCommands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(error.what(), " (see rondo --help)")));
  }
  return action();
}

// Threads that wait for the next parallel region spin for a few microseconds, then sleep. OpenMP's default,
// milliseconds, makes a busy machine ten times slower: a spinning thread keeps the core that the working one needs. The
// OpenMP library reads this when it is loaded, before main, so the program starts itself once more. Whoever set a
// policy keeps it.
void SpinBriefly(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv("/proc/self/exe", argv);  // returns only where it is not possible
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  rondo::SpinBriefly(argv);
  // A reader that goes away is an error to report, not a reason to die.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond its limit likewise
  int code;
  try {
    code = rondo::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    code = rondo::Fail(absl::ResourceExhaustedError("out of memory"));
  } catch (const std::exception& error) {
    code = rondo::Fail(absl::InternalError(absl::StrCat("internal error: ", error.what())));
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    return rondo::Fail(absl::UnavailableError("cannot write to standard output"));
  }
  return code;
}
