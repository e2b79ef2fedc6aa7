#include "tools/command.h"

#include <CLI/CLI.hpp>
#include <memory>

namespace rondo {

std::function<int()> DeclareSubcommands(CLI::App& app, absl::Span<const Command> commands) {
  app.require_subcommand(1);
  auto chosen = std::make_shared<std::function<int()>>();
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->callback([chosen, run = command.declare(*sub)] { *chosen = run; });
  }
  return [chosen] { return (*chosen)(); };
}

}  // namespace rondo
