// What a model answered, as it came: a file of JSON Lines from which an interrupted run goes on.
//
//   {"rondo_arc": 1, "settings": "..."}
//   {"task": "b51284af", "test": 0, "form": 0, "text": "113\n113\n999\n", "tokens": 13, "finish": "stop"}
#ifndef RONDO_ARC_ANSWERS_H_
#define RONDO_ARC_ANSWERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace rondo::arc {

struct Answer {
  std::string task;    // id
  int test = 0;        // index in the task
  int form = 0;        // of the question (arc/augment.h)
  std::string text;    // bytes that are no UTF-8 are kept as U+FFFD
  int64_t tokens = 0;  // that were made
  std::string finish;  // why it ended: "stop", "length"

  bool operator==(const Answer&) const = default;
};

class AnswerLog {
 public:
  // `settings` is what the answers depend on. With `resume` the file may exist: its answers are read, and it must be of
  // the same settings; a last line that is not whole, as a process that was killed leaves it, is taken away. Without, a
  // file that exists is an error. Only one process at a time may have the file open. Errors name the line.
  static absl::StatusOr<std::unique_ptr<AnswerLog>> Open(const std::string& path, const std::string& settings,
                                                         bool resume);
  ~AnswerLog();
  AnswerLog(const AnswerLog&) = delete;
  AnswerLog& operator=(const AnswerLog&) = delete;

  // Of earlier runs, in the order in which they came.
  const std::vector<Answer>& earlier() const { return earlier_; }
  // One write, so that a process that is killed leaves whole lines.
  absl::Status Append(const Answer& answer);

 private:
  AnswerLog(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status ReadEarlier(const std::string& settings);
  absl::Status WriteLine(const std::string& line);

  const std::string path_;
  const int fd_;
  std::vector<Answer> earlier_;
};

}  // namespace rondo::arc

#endif  // RONDO_ARC_ANSWERS_H_
