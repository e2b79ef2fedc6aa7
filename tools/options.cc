#include "tools/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "graph/status.h"
#include "tools/text.h"

namespace rondo {

void AddModelOptions(CLI::App& app, ModelOptions* options) {
  app.add_option("--threads", options->threads, "Threads to use; 0: all cores that the process may use")
      ->check(CLI::Range(0, 4096))
      ->type_name("N");
  app.add_option("--weights", options->weight_bits,
                 "Keep the matrices of products in 8 or 4 bits (blocks of 32 with a scale), and multiply so: smaller, "
                 "faster, less exact (exported)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, int>{{"exported", 0}, {"int8", 8}, {"int4", 4}}))
      ->type_name("exported|int8|int4");
  app.add_flag("--plain", options->plain, "Reference kernels and no rewrites: slow, for checking");
  app.add_flag("--follow-links", options->follow_links,
               "Allow external data behind links, as in the caches of Hugging Face");
  app.add_option("--disable-rewrite", options->disabled_rewrites, "Switch off a rewrite by its name (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("NAME");
}

absl::StatusOr<std::vector<int64_t>> ParseBuckets(absl::string_view option, absl::string_view text) {
  constexpr size_t kMaxBuckets = 64;
  constexpr int64_t kMaxBucket = int64_t{1} << 20;
  std::vector<int64_t> buckets;
  for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    int64_t bucket;
    if (!absl::SimpleAtoi(part, &bucket) || bucket < 1 || bucket > kMaxBucket) {
      return InvalidArgument(option, ": expected numbers from 1 to ", kMaxBucket, " such as 64,128, got \"",
                             Printable(part), "\"");
    }
    buckets.push_back(bucket);
  }
  std::sort(buckets.begin(), buckets.end());
  buckets.erase(std::unique(buckets.begin(), buckets.end()), buckets.end());
  if (buckets.size() > kMaxBuckets) {
    return InvalidArgument(option, ": ", buckets.size(), " sizes, expected at most ", kMaxBuckets);
  }
  return buckets;
}

std::function<void(int64_t done, int64_t total, absl::string_view next)> ProgressInto(
    std::unique_ptr<ProgressBar>* bar) {
  return [bar](int64_t done, int64_t total, absl::string_view next) {
    if (*bar == nullptr) *bar = std::make_unique<ProgressBar>(total);
    (*bar)->Show(done, next);
    if (done == total) bar->reset();
  };
}

absl::StatusOr<Positionals> SortPositionals(const std::vector<std::string>& arguments) {
  Positionals sorted;
  std::vector<std::string> models;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.rfind('=');
    if (equals == std::string::npos) {
      models.push_back(argument);
    } else if (argument.find_first_not_of("0123456789x,[]", equals + 1) == std::string::npos) {
      sorted.shapes.push_back(argument);
    } else {
      sorted.inputs.push_back(argument);
    }
  }
  // A model's path may hold '=' itself, as long as it comes first.
  if (models.empty() && !arguments.empty()) {
    models.push_back(arguments.front());
    for (std::vector<std::string>* list : {&sorted.inputs, &sorted.shapes}) {
      if (!list->empty() && list->front() == arguments.front()) {
        list->erase(list->begin());
        break;
      }
    }
  }
  if (models.empty()) return InvalidArgument("MODEL is missing (a file, or a folder that holds one .onnx; see --help)");
  if (models.size() > 1) {
    return InvalidArgument("unexpected argument \"", Printable(models[1]), "\" (one MODEL is expected; see --help)");
  }
  sorted.model = models[0];
  return sorted;
}

}  // namespace rondo
