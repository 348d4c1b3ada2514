// The terminal's modes of the chat, and who puts them back when the chat cannot: killed by SIGKILL, crashed, or ended
// by a handler that knows nothing of terminals.
#pragma once

#include <sys/types.h>
#include <termios.h>

namespace dsr1::cli {

// For the line editor: no echo, no line buffer; Ctrl-C and Ctrl-Z come as keys.
termios editor_mode(termios found);
// For answers: no echo; `keys`: what is typed can be read key by key.
termios quiet_mode(termios found, bool keys);

// A child process that waits for the end of this one. Where the terminal then still is in one of the modes above, it
// gets the mode back that was found when the guard began; a shell that has put it right already is left alone. To be
// made before memory is: the child shares what exists then. Nothing where standard input is no terminal.
class TerminalGuard {
 public:
  TerminalGuard();
  ~TerminalGuard();
  TerminalGuard(const TerminalGuard&) = delete;
  TerminalGuard& operator=(const TerminalGuard&) = delete;

 private:
  pid_t child_ = -1;
  int pipe_ = -1;
};

}  // namespace dsr1::cli
