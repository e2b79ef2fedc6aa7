// Runs a program and catches what it prints.
#ifndef RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_
#define RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace rondo {

struct ProgramResult {
  int exit_code = -1;  // -1: it did not start, or a signal ended it
  int signal = 0;      // that ended it
  std::string out, err;
};

// A program while it runs; the destructor kills what still does.
class RunningProgram {
 public:
  RunningProgram(const std::string& program, const std::vector<std::string>& arguments);
  RunningProgram(RunningProgram&& other) noexcept;
  ~RunningProgram();
  bool Ended();
  void Kill();  // by SIGKILL, wherever it is
  void Signal(int signal);
  ProgramResult Wait();

 private:
  std::string dir_;  // of its output
  pid_t pid_ = -1;   // -1: it did not start, or Wait has come back
  bool ended_ = false;
};

ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments);
// The `rondo` of this build.
ProgramResult RunRondo(const std::vector<std::string>& arguments);

// A file's whole content, "" when there is none; and the reverse.
std::string ReadTestFile(const std::string& path);
void WriteTestFile(const std::string& path, const std::string& bytes);

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_
