#include "arc/dataset.h"

#include <algorithm>
#include <filesystem>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "text/status.h"

namespace rondo::arc {
namespace {

namespace fs = std::filesystem;
using text::Json;
using text::JsonView;

constexpr size_t kMaxIdBytes = 100;

// An id names files too.
absl::Status CheckId(absl::string_view id, absl::string_view file) {
  const bool good = !id.empty() && id.size() <= kMaxIdBytes && id[0] != '.' && absl::c_all_of(id, [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (good) return absl::OkStatus();
  return text::InvalidArgument(file, ": task \"", absl::CHexEscape(id.substr(0, kMaxIdBytes)),
                               "\": expected an id of 1 to ", kMaxIdBytes, " letters, digits, '.', '_' and '-'");
}

absl::StatusOr<Task> ParseTask(const JsonView& json, std::string id) {
  if (json.json().object() == nullptr) return json.Expected("an object with \"train\" and \"test\"");
  Task task;
  task.id = std::move(id);
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> train, json["train"].Elements());
  if (train.empty()) return json["train"].Expected("at least one pair");
  for (const JsonView& pair : train) {
    RONDO_ASSIGN_OR_RETURN(Grid input, ParseGrid(pair["input"]));
    RONDO_ASSIGN_OR_RETURN(Grid output, ParseGrid(pair["output"]));
    task.train.push_back({std::move(input), std::move(output)});
  }
  RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> tests, json["test"].Elements());
  if (tests.empty()) return json["test"].Expected("at least one input");
  for (const JsonView& view : tests) {
    Test test;
    RONDO_ASSIGN_OR_RETURN(test.input, ParseGrid(view["input"]));
    if (const JsonView output = view["output"]; !output.is_null()) {
      RONDO_ASSIGN_OR_RETURN(test.output, ParseGrid(output));
    }
    task.test.push_back(std::move(test));
  }
  return task;
}

std::string TaskPath(absl::string_view file, absl::string_view id) { return absl::StrCat(file, ": task ", id); }

absl::StatusOr<Task> ReadTaskFile(const fs::path& file, const Json& json) {
  std::string id = file.stem();
  RONDO_RETURN_IF_ERROR(CheckId(id, file.string()));
  const std::string path = TaskPath(file.string(), id);
  return ParseTask(JsonView(json, path), std::move(id));
}

absl::StatusOr<std::vector<Task>> ReadFolder(const std::string& path) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".json") files.push_back(it->path());
  }
  if (error) return absl::UnavailableError(absl::StrCat(path, ": cannot be listed: ", error.message()));
  if (files.empty()) return text::InvalidArgument(path, ": expected a file ID.json for each task, there is none");
  std::sort(files.begin(), files.end());
  std::vector<Task> tasks;
  for (const fs::path& file : files) {
    RONDO_ASSIGN_OR_RETURN(const Json json, text::ReadJsonFile(file.string(), kMaxFileBytes));
    RONDO_ASSIGN_OR_RETURN(Task task, ReadTaskFile(file, json));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

}  // namespace

absl::StatusOr<Grid> ParseGrid(const JsonView& json) {
  const Json::Array* const rows = json.json().array();
  if (rows == nullptr) return json.Expected("a grid, a list of rows");
  if (rows->empty() || rows->size() > kMaxSide) {
    return text::InvalidArgument(json.path(), ": expected 1 to ", kMaxSide, " rows, got ", rows->size());
  }
  Grid grid;
  grid.rows = static_cast<int>(rows->size());
  for (size_t r = 0; r < rows->size(); ++r) {
    const std::string place = absl::StrCat(json.path(), ": row ", r);
    const Json::Array* const cells = (*rows)[r].array();
    if (cells == nullptr)
      return text::InvalidArgument(place, ": expected a list of cells, got ", (*rows)[r].TypeName());
    if (cells->empty() || cells->size() > kMaxSide) {
      return text::InvalidArgument(place, ": expected 1 to ", kMaxSide, " cells, got ", cells->size());
    }
    if (r == 0) grid.columns = static_cast<int>(cells->size());
    if (static_cast<int>(cells->size()) != grid.columns) {
      return text::InvalidArgument(place, " has ", cells->size(), " cells, row 0 has ", grid.columns);
    }
    for (size_t c = 0; c < cells->size(); ++c) {
      const int64_t* const cell = (*cells)[c].integer();
      if (cell == nullptr || *cell < 0 || *cell >= kColours) {
        return text::InvalidArgument(place, ", cell ", c, ": expected an integer from 0 to ", kColours - 1, ", got ",
                                     cell == nullptr ? std::string((*cells)[c].TypeName()) : absl::StrCat(*cell));
      }
      grid.cells.push_back(static_cast<uint8_t>(*cell));
    }
  }
  return grid;
}

absl::StatusOr<std::vector<Task>> ReadTasks(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return ReadFolder(path);
  RONDO_ASSIGN_OR_RETURN(const Json json, text::ReadJsonFile(path, kMaxFileBytes));
  const Json::Object* const members = json.object();
  if (members == nullptr) return JsonView(json, path).Expected("an object of tasks");
  std::vector<Task> tasks;
  if (const Json* train = json.Find("train"); train != nullptr && train->array() != nullptr) {
    RONDO_ASSIGN_OR_RETURN(Task task, ReadTaskFile(path, json));
    tasks.push_back(std::move(task));
    return tasks;
  }
  if (members->empty()) return text::InvalidArgument(path, ": expected tasks, there is none");
  absl::flat_hash_map<absl::string_view, size_t> seen;
  for (const auto& [id, value] : *members) {
    RONDO_RETURN_IF_ERROR(CheckId(id, path));
    if (!seen.emplace(id, tasks.size()).second) return text::InvalidArgument(TaskPath(path, id), " stands twice");
    RONDO_ASSIGN_OR_RETURN(Task task, ParseTask(JsonView(value, TaskPath(path, id)), id));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

absl::Status AddSolutions(const std::string& path, std::vector<Task>* tasks) {
  RONDO_ASSIGN_OR_RETURN(const Json json, text::ReadJsonFile(path, kMaxFileBytes));
  if (json.object() == nullptr) return JsonView(json, path).Expected("an object of solutions, {id: [grid, ...]}");
  size_t found = 0;
  for (Task& task : *tasks) {
    const Json* const solution = json.Find(task.id);
    if (solution == nullptr) continue;
    const JsonView view(*solution, TaskPath(path, task.id));
    RONDO_ASSIGN_OR_RETURN(const std::vector<JsonView> grids, view.Elements());
    if (grids.size() != task.test.size()) {
      return text::InvalidArgument(view.path(), ": expected a grid for each of ", task.test.size(), " tests, got ",
                                   grids.size());
    }
    for (size_t i = 0; i < grids.size(); ++i) {
      RONDO_ASSIGN_OR_RETURN(task.test[i].output, ParseGrid(grids[i]));
    }
    ++found;
  }
  if (found > 0) return absl::OkStatus();
  return text::InvalidArgument(path, ": expected solutions of these tasks (the first is ", tasks->front().id,
                               "), there is none");
}

}  // namespace rondo::arc
