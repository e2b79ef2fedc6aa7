#include "tests/support/run_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "tests/support/paths.h"

namespace rondo {

// Output goes through files: nothing has to be read while the program runs, and no pipe can fill up.
RunningProgram::RunningProgram(const std::string& program, const std::vector<std::string>& arguments)
    : dir_(NewTempDir()) {
  const std::string out = dir_ + "/out", err = dir_ + "/err";
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    const int out_fd = open(out.c_str(), O_WRONLY | O_CREAT, 0600);
    const int err_fd = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
}

RunningProgram::RunningProgram(RunningProgram&& other) noexcept
    : dir_(std::move(other.dir_)), pid_(std::exchange(other.pid_, -1)), ended_(other.ended_) {}

RunningProgram::~RunningProgram() {
  if (pid_ < 0) return;
  Kill();
  (void)Wait();
}

bool RunningProgram::Ended() {
  // It stays to be waited for, so that its number cannot become somebody else's.
  siginfo_t info = {};
  if (!ended_) ended_ = pid_ < 0 || (waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0);
  return ended_;
}

void RunningProgram::Kill() { Signal(SIGKILL); }
void RunningProgram::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

ProgramResult RunningProgram::Wait() {
  ProgramResult result;
  if (pid_ < 0) return result;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) != 127) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = ReadTestFile(dir_ + "/out");
  result.err = ReadTestFile(dir_ + "/err");
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
  return result;
}

ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments) {
  return RunningProgram(program, arguments).Wait();
}

ProgramResult RunRondo(const std::vector<std::string>& arguments) { return RunProgram(RondoProgram(), arguments); }

std::string ReadTestFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteTestFile(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace rondo
