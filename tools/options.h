// Options that several subcommands share.
#ifndef RONDO_TOOLS_OPTIONS_H_
#define RONDO_TOOLS_OPTIONS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rondo/model.h"
#include "tools/progress.h"

namespace CLI {
class App;
}

namespace rondo {

// --threads, --plain, --follow-links, --disable-rewrite.
void AddModelOptions(CLI::App& app, ModelOptions* options);

// "64,128,256" -> numbers: positive, ascending, each once. "" is an empty list.
absl::StatusOr<std::vector<int64_t>> ParseBuckets(absl::string_view option, absl::string_view text);

// A callback that draws what is compiled ahead into a bar of its own, which it keeps in `*bar` until the end.
std::function<void(int64_t done, int64_t total, absl::string_view next)> ProgressInto(
    std::unique_ptr<ProgressBar>* bar);

// What stands on the command line without an option before it: the model, and further values of a list
// (`--input a=1.npy b=2.npy`), told apart by what they hold: `b=3x4` is a shape, `b=FILE` an input.
struct Positionals {
  std::string model;
  std::vector<std::string> inputs, shapes;
};
absl::StatusOr<Positionals> SortPositionals(const std::vector<std::string>& arguments);

}  // namespace rondo

#endif  // RONDO_TOOLS_OPTIONS_H_
