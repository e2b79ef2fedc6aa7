#include "arc/answers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "text/json.h"
#include "text/status.h"

namespace rondo::arc {
namespace {

using text::Json;
using text::JsonView;

constexpr int64_t kVersion = 1;
constexpr char kVersionKey[] = "rondo_arc";
constexpr size_t kShown = 300;  // bytes of settings in an error

absl::Status FileError(absl::string_view path, absl::string_view what) {
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot ", what));
}

std::string Dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string Header(const std::string& settings) { return Dump({{kVersionKey, kVersion}, {"settings", settings}}); }

absl::Status CheckHeader(const JsonView& json, const std::string& settings) {
  int64_t version = 0;
  if (json.json().object() != nullptr) RONDO_RETURN_IF_ERROR(json.Read(kVersionKey, &version));
  if (version != kVersion) {
    return text::InvalidArgument(json.path(), ": expected the first line of an answers file, {\"", kVersionKey,
                                 "\": ", kVersion, ", ...}");
  }
  RONDO_ASSIGN_OR_RETURN(const std::string theirs, json.String("settings"));
  // As written: bytes that are no UTF-8 are compared as what they became.
  const std::string ours = nlohmann::ordered_json::parse(Header(settings))["settings"];
  if (theirs == ours) return absl::OkStatus();
  return text::InvalidArgument(json.path(), ": its answers were given to other settings:\n  there ",
                               absl::CHexEscape(theirs.substr(0, kShown)), "\n  here  ",
                               absl::CHexEscape(ours.substr(0, kShown)));
}

absl::StatusOr<Answer> ParseAnswerLine(const JsonView& json) {
  if (json.json().object() == nullptr) return json.Expected("an object");
  Answer answer;
  const auto read_index = [&](absl::string_view key, int* value) -> absl::Status {
    int64_t index = -1;
    RONDO_RETURN_IF_ERROR(json.Read(key, &index));
    if (index < 0 || index > std::numeric_limits<int>::max()) return json[key].Expected("an index from 0");
    *value = static_cast<int>(index);
    return absl::OkStatus();
  };
  RONDO_ASSIGN_OR_RETURN(answer.task, json.String("task"));
  RONDO_RETURN_IF_ERROR(read_index("test", &answer.test));
  RONDO_RETURN_IF_ERROR(read_index("form", &answer.form));
  RONDO_ASSIGN_OR_RETURN(answer.text, json.String("text"));
  RONDO_RETURN_IF_ERROR(json.Read("tokens", &answer.tokens));
  RONDO_RETURN_IF_ERROR(json.Read("finish", &answer.finish));
  return answer;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AnswerLog>> AnswerLog::Open(const std::string& path, const std::string& settings,
                                                           bool resume) {
  // O_NONBLOCK: a FIFO is refused, not waited for.
  const int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (resume ? 0 : O_EXCL);
  const int fd = open(path.c_str(), flags, 0644);
  if (fd < 0 && errno == EEXIST) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, ": exists already: go on from its answers (--resume) or remove it"));
  }
  if (fd < 0) return FileError(path, "open");
  std::unique_ptr<AnswerLog> log(new AnswerLog(path, fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(path, ": another process writes to it"));
  }
  RONDO_RETURN_IF_ERROR(log->ReadEarlier(settings));
  return log;
}

AnswerLog::~AnswerLog() { close(fd_); }

absl::Status AnswerLog::ReadEarlier(const std::string& settings) {
  struct stat info;
  if (fstat(fd_, &info) != 0) return FileError(path_, "stat");
  if (!S_ISREG(info.st_mode)) return text::InvalidArgument(path_, ": expected a regular file");
  RONDO_ASSIGN_OR_RETURN(const std::string content, text::ReadTextFile(path_));
  const size_t whole = content.rfind('\n') == std::string::npos ? 0 : content.rfind('\n') + 1;
  if (whole == 0 && !absl::StartsWith(Header(settings), content)) {
    return text::InvalidArgument(path_, ": expected an answers file, its first line is another one's");
  }
  size_t begin = 0;
  for (int64_t number = 1; begin < whole; ++number) {
    const size_t end = content.find('\n', begin);
    const std::string place = absl::StrCat(path_, ":", number);
    RONDO_ASSIGN_OR_RETURN(const Json json,
                           text::ParseJson(absl::string_view(content).substr(begin, end - begin), place));
    const JsonView view(json, place);
    if (number == 1) {
      RONDO_RETURN_IF_ERROR(CheckHeader(view, settings));
    } else {
      RONDO_ASSIGN_OR_RETURN(Answer answer, ParseAnswerLine(view));
      earlier_.push_back(std::move(answer));
    }
    begin = end + 1;
  }
  // It is ours: what is behind the last whole line may go.
  if (whole < content.size() && ftruncate(fd_, static_cast<off_t>(whole)) != 0) return FileError(path_, "truncate");
  return whole == 0 ? WriteLine(Header(settings)) : absl::OkStatus();
}

absl::Status AnswerLog::WriteLine(const std::string& line) {
  const std::string text = line + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(fd_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path_, "write");
    done += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

absl::Status AnswerLog::Append(const Answer& answer) {
  return WriteLine(Dump({{"task", answer.task},
                         {"test", answer.test},
                         {"form", answer.form},
                         {"text", answer.text},
                         {"tokens", answer.tokens},
                         {"finish", answer.finish}}));
}

}  // namespace rondo::arc
