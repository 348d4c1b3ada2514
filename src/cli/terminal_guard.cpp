#include "terminal_guard.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "terminal.h"

namespace dsr1::cli {
namespace {

bool same(const termios& a, const termios& b) {
  return a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_cflag == b.c_cflag && a.c_lflag == b.c_lflag &&
         std::memcmp(a.c_cc, b.c_cc, sizeof a.c_cc) == 0;
}

// In the child: only what is safe between fork and exec.
[[noreturn]] void watch(int pipe, const termios& found) {
  ::setpgid(0, 0);  // Ctrl-C and signals to the chat's group are not for us
  for (int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTOU, SIGPIPE}) ::signal(s, SIG_IGN);
  char word = 0;
  ssize_t n;
  do n = ::read(pipe, &word, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1) ::_exit(0);  // it left in order
  termios now{};
  if (::tcgetattr(STDIN_FILENO, &now) != 0) ::_exit(0);
  if (!same(now, editor_mode(found)) && !same(now, quiet_mode(found, true)) && !same(now, quiet_mode(found, false)))
    ::_exit(0);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &found);
  static const char kPlain[] = "\x1b[?2004l\x1b[0m\r\n";
  if (has_escapes(STDOUT_FILENO)) {
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, kPlain, sizeof kPlain - 1);
  }
  ::_exit(0);
}

}  // namespace

termios editor_mode(termios mode) {
  mode.c_iflag &= static_cast<tcflag_t>(~(ICRNL | INLCR | IXON));
  mode.c_lflag &= static_cast<tcflag_t>(~(ECHO | ICANON | IEXTEN | ISIG));
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  return mode;
}

termios quiet_mode(termios mode, bool keys) {
  mode.c_lflag &= static_cast<tcflag_t>(~ECHO);
  if (!keys) return mode;
  mode.c_iflag &= static_cast<tcflag_t>(~(ICRNL | INLCR | IXON));
  mode.c_lflag &= static_cast<tcflag_t>(~(ICANON | IEXTEN));
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  return mode;
}

TerminalGuard::TerminalGuard() {
  termios found{};
  int ends[2];
  if (!is_terminal(STDIN_FILENO) || ::tcgetattr(STDIN_FILENO, &found) != 0 || ::pipe2(ends, O_CLOEXEC) != 0) return;
  child_ = ::fork();
  if (child_ == 0) {
    ::close(ends[1]);
    watch(ends[0], found);
  }
  ::close(ends[0]);
  pipe_ = ends[1];
}

TerminalGuard::~TerminalGuard() {
  if (pipe_ < 0) return;
  [[maybe_unused]] const ssize_t n = ::write(pipe_, "q", 1);
  ::close(pipe_);
  while (child_ > 0 && ::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace dsr1::cli
