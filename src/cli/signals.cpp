#include "signals.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

namespace dsr1::cli {
namespace {

std::atomic<bool> g_flag{false}, g_screen_changed{false};
std::atomic<int> g_depth{0}, g_signal{0};
// The terminal's modes; valid while g_in_mode.
std::atomic<bool> g_in_mode{false};
termios g_found, g_mode;
bool g_stderr_is_terminal = false;

static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void restore_terminal() {
  ::tcsetattr(STDIN_FILENO, TCSANOW, &g_found);
  static const char kPlain[] = "\x1b[?2004l\x1b[0m";  // bracketed paste off, dimming off
  [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, kPlain, sizeof kPlain - 1);
}

extern "C" void on_end(int signal) {
  const int saved = errno;
  const bool second = g_flag.load();
  g_signal = signal;
  g_flag = true;
  if (g_depth.load() > 0 && !second) {
    errno = saved;
    return;
  }
  if (g_in_mode.load()) restore_terminal();
  if (g_stderr_is_terminal) {
    // Ends the line of a bar or a half-typed prompt.
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, "\n", 1);
  }
  ::_exit(128 + signal);
}

void install(int signal, void (*handler)(int), int flags) {
  struct sigaction old {};
  if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

extern "C" void on_sleep(int signal) {
  const int saved = errno;
  if (g_in_mode.load()) restore_terminal();
  // The default action, once: stop here, go on after SIGCONT.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  action.sa_handler = on_sleep;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal, &action, nullptr);
  if (g_in_mode.load()) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &g_mode);
    g_screen_changed = true;
  }
  errno = saved;
}

extern "C" void on_resize(int) { g_screen_changed = true; }

}  // namespace

void install_signal_handlers() {
  g_stderr_is_terminal = ::isatty(STDERR_FILENO) == 1;
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit: the write fails with EFBIG, as on a full disk
  for (int s : {SIGINT, SIGTERM, SIGHUP}) install(s, on_end, 0);  // a blocking read returns
  install(SIGTSTP, on_sleep, SA_RESTART);
  install(SIGWINCH, on_resize, SA_RESTART);
}

int last_signal() { return g_signal; }
void forget_signal() {
  g_signal = 0;
  g_flag = false;
}

Interruptible::Interruptible() {
  g_flag = false;
  ++g_depth;
}
Interruptible::~Interruptible() { --g_depth; }
const std::atomic<bool>* Interruptible::flag() const { return &g_flag; }

bool enter_terminal_mode(const termios& found, const termios& mode) {
  g_found = found;
  g_mode = mode;
  g_in_mode = true;
  if (::tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0) return true;
  g_in_mode = false;
  return false;
}

void leave_terminal_mode() {
  if (!g_in_mode.exchange(false)) return;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &g_found);
}

bool take_screen_change() { return g_screen_changed.exchange(false); }

}  // namespace dsr1::cli
