// SIGINT, SIGTERM and SIGHUP. While an Interruptible lives they set its flag and the work ends by itself with what it
// has; a second one, or one at any other time (loading), leaves at once with 130, 143 or 129. SIGTSTP and SIGCONT: the
// terminal gets its own mode back while the program sleeps.
#pragma once

#include <atomic>

struct termios;

namespace dsr1::cli {

// Once, at start. A signal that the parent ignores (nohup, a background job) stays ignored. SIGPIPE is ignored: writers
// see EPIPE.
void install_signal_handlers();

// The last signal that asked for an end: 0, SIGINT, SIGTERM or SIGHUP.
int last_signal();
void forget_signal();

class Interruptible {
 public:
  Interruptible();
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  const std::atomic<bool>* flag() const;
  bool interrupted() const { return flag()->load(std::memory_order_relaxed); }
};

// Puts the terminal into a mode, from which signal handlers, and everything that ends the program, go back to `found`.
bool enter_terminal_mode(const termios& found, const termios& mode);
void leave_terminal_mode();

// True once after the window changed its size, or the program slept and woke up: what is on the screen is not known.
bool take_screen_change();

}  // namespace dsr1::cli
