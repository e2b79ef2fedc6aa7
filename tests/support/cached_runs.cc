#include "tests/support/cached_runs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/tiny_model.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kWarning[] = "rondo: warning: cache directory: ";

bool IsEntryName(const std::string& name) {
  return name.size() == 32 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

CachedCommand CachedCommand::Generate(const std::string& model) {
  return {{"generate", model, "--prompt-ids", "76,13,60,52", "--max-new-tokens", "6", "--ignore-eos", "--json"}, ""};
}

CachedCommand CachedCommand::Run(const std::string& model) {
  const std::string dir = NewTempDir();
  return {{"run", model, "--random", "1", "--repeat", "0", "--output-dir", dir}, dir};
}

RunningProgram CachedCommand::Start(const std::string& cache_dir) const {
  std::vector<std::string> all = arguments;
  if (!cache_dir.empty()) all.insert(all.end(), {"--cache-dir", cache_dir});
  return RunningProgram(RondoProgram(), all);
}

CachedRun CachedCommand::Read(ProgramResult program) const {
  CachedRun run;
  run.program = std::move(program);
  std::istringstream lines(run.program.err);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(kWarning, 0) == 0) run.warnings.push_back(line.substr(sizeof(kWarning) - 1));
  }
  if (run.program.exit_code != 0) return run;
  if (output_dir.empty()) {
    const Json json = Json::parse(run.program.out, nullptr, false);
    if (json.is_discarded()) return run;
    run.results = json["sequences"].dump();
    if (!json.contains("cache_directory")) return run;
    run.found = json["cache_directory"]["weights_found"];
    run.packed = json["cache_directory"]["weights_packed"];
    return run;
  }
  for (const std::string& name : FilesIn(output_dir)) {
    const std::string bytes = ReadTestFile(output_dir + "/" + name);
    run.results += name + " of " + std::to_string(bytes.size()) + " bytes, hash " +
                   std::to_string(std::hash<std::string>()(bytes)) + "\n";
    fs::remove(output_dir + "/" + name);
  }
  std::smatch match;
  const std::regex line(R"(cache directory .*: ([0-9,]+) packed weights \(.*\) found in .*, ([0-9,]+) packed in )");
  if (std::regex_search(run.program.out, match, line)) {
    run.found = std::stoll(match[1]);
    run.packed = std::stoll(match[2]);
  }
  return run;
}

std::string ArcMiniFolder() { return SourceDir() + "/tests/data/models/arc-mini"; }

std::string WriteStackModel(const std::string& folder, int layers, int n, bool external, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-0.1f, 0.1f);
  const int64_t bytes = int64_t{n} * n * 4;
  TinyModel model;
  model.Input("x", 1, {"4", std::to_string(n)});
  std::string data;
  for (int i = 0; i < layers; ++i) {
    const std::string name = "w" + std::to_string(i);
    std::string raw(static_cast<size_t>(bytes), '\0');
    for (int64_t k = 0; k < int64_t{n} * n; ++k) {
      const float value = uniform(random);
      std::copy_n(reinterpret_cast<const char*>(&value), 4, raw.data() + k * 4);
    }
    if (external) {
      model.External(name, 1, {n, n}, "model.data", i * bytes, bytes);
      data += raw;
    } else {
      model.Initializer(name, 1, {n, n}, raw);
    }
    const std::string from = i == 0 ? "x" : "t" + std::to_string(i - 1);
    model.Node("MatMul", {from, name}, {"m" + std::to_string(i)});
    model.Node("Tanh", {"m" + std::to_string(i)}, {"t" + std::to_string(i)});
  }
  model.Output("t" + std::to_string(layers - 1), 1, {"4", std::to_string(n)});
  if (external) WriteTestFile(folder + "/model.data", data);
  WriteTestFile(folder + "/model.onnx", model.Bytes());
  return folder;
}

std::vector<std::string> FilesIn(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator it(dir, error), end; it != end; it.increment(error)) {
    if (!it->is_directory(error)) files.push_back(it->path().lexically_relative(dir).string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> LeftoversIn(const std::string& dir) {
  std::vector<std::string> leftovers;
  for (const std::string& file : FilesIn(dir)) {
    if (fs::path(file).extension().string().size() == 7) leftovers.push_back(file);
  }
  return leftovers;
}

std::string EntryIn(const std::string& cache_dir) {
  std::vector<std::string> entries;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(cache_dir, error)) {
    if (IsEntryName(item.path().filename().string())) entries.push_back(item.path().string());
  }
  EXPECT_EQ(entries.size(), 1u) << cache_dir;
  return entries.empty() ? "" : entries[0];
}

int64_t WeightsIn(const std::string& cache_dir) {
  const Json json = Json::parse(RunRondo({"cache", "ls", "--json", cache_dir}).out, nullptr, false);
  if (!json.is_array()) return -1;
  int64_t weights = 0;
  for (const Json& entry : json) weights += entry["weights"].get<int64_t>();
  return weights;
}

ProgramResult Verify(const std::string& cache_dir) { return RunRondo({"cache", "verify", cache_dir}); }

std::string CopyOf(const std::string& folder) {
  const std::string copy = NewTempDir() + "/copy";
  fs::copy(folder, copy, fs::copy_options::recursive);
  return copy;
}

void FlipByte(const std::string& path, size_t at) {
  std::string bytes = ReadTestFile(path);
  ASSERT_LT(at, bytes.size());
  bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
  WriteTestFile(path, bytes);
}

void PutFifo(const std::string& path) { ASSERT_EQ(mkfifo(path.c_str(), 0644), 0); }
void PutDanglingLink(const std::string& path) { fs::create_symlink("/nowhere/at/all", path); }
void PutFolder(const std::string& path) { WriteTestFile(path + "/file", "text"); }
void PutFile(const std::string& path) { WriteTestFile(path, "text"); }

void Replace(const std::string& path, const Replacement& replacement) {
  fs::remove_all(path);
  replacement(path);
}

}  // namespace rondo
