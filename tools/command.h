// One subcommand of the program. main.cc holds the table of them; each lives in a file of its own.
#ifndef RONDO_TOOLS_COMMAND_H_
#define RONDO_TOOLS_COMMAND_H_

#include <functional>

#include "absl/types/span.h"

namespace CLI {
class App;
}

namespace rondo {

// Exit codes, promised to scripts.
inline constexpr int kOk = 0;
inline constexpr int kCheckFailed = 1;
inline constexpr int kBadInput = 2;  // bad usage too

struct Command {
  const char* name;
  const char* summary;
  // Declares the command's options on `app`. What it returns runs the command after parsing and gives the exit code.
  std::function<int()> (*declare)(CLI::App& app);
};

// Declares a table of commands below one, and runs the one that was chosen.
std::function<int()> DeclareSubcommands(CLI::App& app, absl::Span<const Command> commands);

std::function<int()> DeclareRun(CLI::App& app);
std::function<int()> DeclareArc(CLI::App& app);
std::function<int()> DeclareCache(CLI::App& app);
std::function<int()> DeclareCheck(CLI::App& app);
std::function<int()> DeclareConformance(CLI::App& app);
std::function<int()> DeclareGenerate(CLI::App& app);
std::function<int()> DeclareInspect(CLI::App& app);
std::function<int()> DeclareOps(CLI::App& app);
std::function<int()> DeclareTokenize(CLI::App& app);

}  // namespace rondo

#endif  // RONDO_TOOLS_COMMAND_H_
