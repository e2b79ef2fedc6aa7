// Runs a program and catches what it prints.
#ifndef RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_
#define RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_

#include <string>
#include <vector>

namespace rondo {

struct ProgramResult {
  int exit_code = -1;  // -1: it did not start, or a signal ended it
  std::string out, err;
};
ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments);
// The `rondo` of this build.
ProgramResult RunRondo(const std::vector<std::string>& arguments);

// A file's whole content, "" when there is none; and the reverse.
std::string ReadTestFile(const std::string& path);
void WriteTestFile(const std::string& path, const std::string& bytes);

}  // namespace rondo

#endif  // RONDO_TESTS_SUPPORT_RUN_PROGRAM_H_
