// Runs the program under test as a user would and gives what it wrote and how it ended.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "support/byte_writer.h"

namespace dsr1::test {

// A folder of this test process, removed at the end.
inline const std::filesystem::path& scratch() {
  struct Dir {
    std::filesystem::path path = std::filesystem::temp_directory_path() / ("dsr1-e2e-" + std::to_string(getpid()));
    Dir() { std::filesystem::create_directories(path / "home"); }
    ~Dir() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static Dir dir;
  return dir.path;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

struct Ran {
  int code = -1;  // exit code; -1 where a signal killed it
  int signal = 0;
  std::string out, err;
};

struct RunOptions {
  std::string program = DSR1_PROGRAM;
  std::string in = {};                // standard input: this text, from a file
  std::vector<std::string> env = {};  // "NAME=value", added to a bare environment
  std::string out_path = {};          // where stdout goes instead of into Ran::out
  bool close_stdout = false;
  bool broken_pipe = false;  // stdout is a pipe nobody reads
  int kill_signal = 0;       // sent when stdout has its first bytes
};

inline pid_t spawn(const std::vector<std::string>& args, const RunOptions& o, const std::string& in,
                   const std::string& out, const std::string& err) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  const int fds[] = {::open(in.c_str(), O_RDONLY), ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
                     ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600)};
  for (int i = 0; i < 3; ++i) ::dup2(fds[i], i);
  if (o.broken_pipe) {
    int ends[2];
    if (::pipe(ends) == 0) {
      ::close(ends[0]);
      ::dup2(ends[1], 1);
    }
  }
  if (o.close_stdout) ::close(1);
  ::signal(SIGPIPE, SIG_DFL);
  std::vector<std::string> env = {"PATH=/usr/bin:/bin", "TERM=xterm", "HOME=" + (scratch() / "home").string()};
  env.insert(env.end(), o.env.begin(), o.env.end());
  std::vector<char*> argv = {const_cast<char*>(o.program.c_str())}, envp;
  for (const auto& a : args) argv.push_back(const_cast<char*>(a.c_str()));
  for (const auto& e : env) envp.push_back(const_cast<char*>(e.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::execve(o.program.c_str(), argv.data(), envp.data());
  ::_exit(126);
}

inline Ran run(const std::vector<std::string>& args, const RunOptions& o = {}) {
  static int n = 0;
  const std::string base = (scratch() / std::to_string(n++)).string();
  write_file(base + ".in", o.in);
  const std::string out = o.out_path.empty() ? base + ".out" : o.out_path;
  const pid_t pid = spawn(args, o, base + ".in", out, base + ".err");
  if (o.kill_signal != 0) {
    std::error_code ec;
    for (int i = 0; i < 2000 && (!std::filesystem::exists(out, ec) || std::filesystem::file_size(out, ec) == 0); ++i)
      ::usleep(5000);
    ::kill(pid, o.kill_signal);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  Ran r;
  r.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  r.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (o.out_path.empty()) r.out = read_file(out);
  r.err = read_file(base + ".err");
  return r;
}

// A refusal: this exit code, nothing on stdout, one line on stderr that says all these words.
inline void expect_refusal(const Ran& r, int code, const std::vector<std::string>& words) {
  EXPECT_EQ(r.code, code) << r.err;
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
  EXPECT_TRUE(r.err.starts_with("dsr1: error: ")) << r.err;
  for (const auto& w : words) EXPECT_NE(r.err.find(w), std::string::npos) << "expected \"" << w << "\" in: " << r.err;
}

}  // namespace dsr1::test
